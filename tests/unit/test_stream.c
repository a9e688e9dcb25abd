/* SPDX-License-Identifier: MIT */
#include "tests/unit/stream_pair.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/un.h>

/* The idle, read and write time-out that a test waits for. */
#define SHORT_MS 60

/* ---- reading what is there ---- */

Test(stream, await_tells_a_byte_from_the_end)
{
	struct stream_pair pair;
	char byte;

	pair_tcp(&pair, &far_timeouts);
	peer_send(&pair, "x", 1);
	cr_assert_eq(brood_await(&pair.stream), 1);
	cr_assert_eq(brood_await(&pair.stream), 1);
	shutdown(pair.peer, SHUT_WR);
	cr_assert_eq(brood_read(&pair.stream, &byte, 1), 1);
	cr_assert_eq(brood_await(&pair.stream), 0);
	cr_assert_eq(brood_await(&pair.stream), 0);
	cr_assert_eq(brood_read(&pair.stream, &byte, 1), 0);
	pair_done(&pair);
}

Test(stream, read_takes_what_is_there_buffered_bytes_first)
{
	struct stream_pair pair;
	char bytes[16];

	pair_tcp(&pair, &far_timeouts);
	peer_send(&pair, "hello", 5);
	cr_assert_eq(brood_await(&pair.stream), 1);
	peer_send(&pair, "world", 5);
	cr_assert_eq(brood_read(&pair.stream, bytes, 3), 3);
	cr_assert_eq(brood_read(&pair.stream, bytes + 3, 13), 2);
	cr_assert_eq(brood_read(&pair.stream, bytes + 5, 11), 5);
	cr_assert_arr_eq(bytes, "helloworld", 10);
	cr_assert_eq(pair.stream.bytes_in, 10);
	cr_assert_eq(brood_read(&pair.stream, bytes, 0), -EINVAL);
	pair_done(&pair);
}

Test(stream, read_full_takes_all_or_says_that_the_stream_ended)
{
	struct stream_pair pair;
	char bytes[16];

	pair_tcp(&pair, &far_timeouts);
	peer_send(&pair, "0123456789abcdefXYZ", 19);
	shutdown(pair.peer, SHUT_WR);
	cr_assert_eq(brood_read_full(&pair.stream, bytes, 0), 0);
	cr_assert_eq(brood_read_full(&pair.stream, bytes, 16), 16);
	cr_assert_arr_eq(bytes, "0123456789abcdef", 16);
	cr_assert_eq(brood_read_full(&pair.stream, bytes, 4), -EBADMSG);
	cr_assert_eq(brood_read_full(&pair.stream, bytes, 1), 0);
	pair_done(&pair);
}

Test(stream, read_full_of_more_than_the_buffer)
{
	static char sent[100000], got[100000];
	struct stream_pair pair;

	for (size_t k = 0; k < sizeof(sent); k++)
		sent[k] = (char)(k * 7 + k / 251);
	pair_tcp(&pair, &far_timeouts);
	peer_send(&pair, sent, sizeof(sent));
	cr_assert_eq(brood_await(&pair.stream), 1);
	cr_assert_eq(brood_read_full(&pair.stream, got, sizeof(got)), (ssize_t)sizeof(got));
	cr_assert_arr_eq(got, sent, sizeof(sent));
	pair_done(&pair);
}

/* ---- delimiters ---- */

/* Sends each byte once the one before has been read, then ends the stream. */
struct drip {
	int fd;
	const char *bytes;
	size_t size;
};

static void *drip_bytes(void *argument)
{
	struct drip *drip = argument;

	for (size_t k = 0; k < drip->size; k++) {
		int unread = 1;

		if (send(drip->fd, drip->bytes + k, 1, MSG_NOSIGNAL) != 1)
			break;
		while (ioctl(drip->fd, SIOCOUTQ, &unread) == 0 && unread > 0)
			sched_yield();
	}
	shutdown(drip->fd, SHUT_WR);
	return NULL;
}

Test(stream, delimiters_that_come_byte_by_byte)
{
	static const char text[] = "a\r\n\r\n\r\n\r\nbc\r\r\n\r\n\r\nd";
	struct stream_pair pair;
	struct drip drip;
	pthread_t thread;
	const char *line;

	pair_unix(&pair, &far_timeouts);
	drip = (struct drip){ pair.peer, text, sizeof(text) - 1 };
	thread = in_thread(drip_bytes, &drip);
	cr_assert_eq(brood_read_until(&pair.stream, "\r\n\r\n", 4, 100, &line), 5);
	cr_assert_arr_eq(line, "a\r\n\r\n", 5);
	cr_assert_eq(brood_read_until(&pair.stream, "\r\n\r\n", 4, 100, &line), 4);
	cr_assert_eq(brood_read_until(&pair.stream, "\r\n\r\n", 4, 100, &line), 7);
	cr_assert_arr_eq(line, "bc\r\r\n\r\n", 7);
	cr_assert_eq(brood_read_until(&pair.stream, "\n", 1, 100, &line), 2);
	cr_assert_eq(brood_read_until(&pair.stream, "\n", 1, 100, &line), -EBADMSG);
	pthread_join(thread, NULL);
	pair_done(&pair);
}

/* A delimiter of every size, its first byte at each distance from the buffer's end, behind a line that moves it. */
Test(stream, delimiters_across_the_end_of_the_buffer)
{
	static const char delimiter[] = "aaaaaaaaaaaaaaab";
	static char text[STREAM_BUFFER_SIZE + 64];

	for (size_t size = 1; size <= 16; size += 5) {
		for (size_t at = STREAM_BUFFER_SIZE - 18; at <= STREAM_BUFFER_SIZE + 2; at++) {
			struct stream_pair pair;
			const char *got;

			memset(text, 'a', sizeof(text));
			memcpy(text, "line\n", 5);
			memcpy(text + at, delimiter + 16 - size, size);
			pair_unix(&pair, &far_timeouts);
			peer_send(&pair, text, at + size);
			cr_assert_eq(brood_read_until(&pair.stream, "\n", 1, 5, &got), 5);
			cr_assert_eq(brood_read_until(&pair.stream, delimiter + 16 - size, size, sizeof(text), &got),
				(ssize_t)(at + size - 5));
			cr_assert_arr_eq(got, text + 5, at + size - 5);
			pair_done(&pair);
		}
	}
}

Test(stream, delimiters_of_no_size_or_too_much_are_refused)
{
	struct stream_pair pair;
	const char *text;

	pair_unix(&pair, &far_timeouts);
	cr_assert_eq(brood_read_until(&pair.stream, "", 0, 10, &text), -EINVAL);
	cr_assert_eq(brood_read_until(&pair.stream, "12345678901234567", 17, 100, &text), -EINVAL);
	pair_done(&pair);
}

/* ---- limits ---- */

static ssize_t read_line_of(size_t size, size_t limit, const char *behind)
{
	char *line = malloc(size + 8);
	struct stream_pair pair;
	const char *text;
	ssize_t ret;

	memset(line, 'x', size);
	line[size - 1] = '\n';
	memcpy(line + size, behind, strlen(behind));
	pair_unix(&pair, &far_timeouts);
	peer_send(&pair, line, size + strlen(behind));
	ret = brood_read_until(&pair.stream, "\n", 1, limit, &text);
	free(line);
	pair_done(&pair);
	return ret;
}

Test(stream, limits_are_exact)
{
	static const size_t limits[] = { 1, 2, 100, 16383, 16384, 16385, 32768, 65536, 100000 };

	for (size_t k = 0; k < sizeof(limits) / sizeof(limits[0]); k++) {
		cr_assert_eq(read_line_of(limits[k], limits[k], ""), (ssize_t)limits[k]);
		cr_assert_eq(read_line_of(limits[k], limits[k], "more\n"), (ssize_t)limits[k]);
		cr_assert_eq(read_line_of(limits[k] + 1, limits[k], ""), -EMSGSIZE, "limit %zu", limits[k]);
		cr_assert_eq(read_line_of(limits[k] + 1, limits[k], "more\n"), -EMSGSIZE);
	}
}

Test(stream, peek_takes_nothing_and_waits_for_more)
{
	struct stream_pair pair;
	const char *text;

	pair_unix(&pair, &far_timeouts);
	peer_send(&pair, "abc", 3);
	cr_assert_eq(brood_peek(&pair.stream, 0, 8, &text), 3);
	cr_assert_eq(brood_peek(&pair.stream, 2, 8, &text), 3);
	peer_send(&pair, "defgh", 5);
	cr_assert_eq(brood_peek(&pair.stream, 3, 8, &text), 8);
	cr_assert_arr_eq(text, "abcdefgh", 8);
	cr_assert_eq(brood_peek(&pair.stream, 8, 8, &text), -EMSGSIZE);
	brood_consume(&pair.stream, 6);
	cr_assert_eq(brood_peek(&pair.stream, 0, 8, &text), 2);
	cr_assert_arr_eq(text, "gh", 2);
	shutdown(pair.peer, SHUT_WR);
	cr_assert_eq(brood_peek(&pair.stream, 2, 8, &text), 0);
	brood_consume(&pair.stream, 100);
	cr_assert_eq(brood_peek(&pair.stream, 0, 8, &text), 0);
	pair_done(&pair);
}

Test(stream, a_long_message_does_not_stay_in_memory)
{
	static char text[300000];
	struct stream_pair pair;
	const char *got;

	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\n';
	pair_tcp(&pair, &far_timeouts);
	cr_assert_null(pair.stream.buffer);
	peer_send(&pair, text, sizeof(text));
	cr_assert_eq(brood_read_until(&pair.stream, "\n", 1, sizeof(text), &got), (ssize_t)sizeof(text));
	cr_assert_geq(pair.stream.capacity, sizeof(text));
	shutdown(pair.peer, SHUT_WR);
	cr_assert_eq(brood_await(&pair.stream), 0);
	brood_close(&pair.stream);
	cr_assert_eq(pair.stream.capacity, 0);
	pair_done(&pair);
}
