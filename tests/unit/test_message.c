/* SPDX-License-Identifier: MIT */
#include "tests/unit/stream_pair.h"

#include <sched.h>
#include <stdio.h>

#include <brood/message.h>

/* The idle, read and write time-out, and the deadline, that a test waits for. */
#define SHORT_MS 60

/* clang-format off */
#define FIXED(bytes)        { .kind = BROOD_FRAMING_FIXED, .size = (bytes) }
#define UNTIL(text, most)   { .kind = BROOD_FRAMING_DELIMITER, .delimiter = (text), .delimiter_size = strlen(text), .limit = (most) }
#define LENGTH(bytes, most) { .kind = BROOD_FRAMING_LENGTH, .size = (bytes), .limit = (most) }
#define TEXT(most)          { .kind = BROOD_FRAMING_LENGTH_TEXT, .limit = (most) }
#define SHUTDOWN(most)      { .kind = BROOD_FRAMING_SHUTDOWN, .limit = (most) }
/* clang-format on */

/* A framing of each kind, two messages of it, and both as they go over the socket. */
struct sample {
	struct brood_framing framing;
	const char *messages[2];
	const char *bytes;
	size_t size;
	size_t first; /* bytes of the first message, with what delimits it */
};

#define BYTES(text) (text), sizeof(text) - 1

/* clang-format off */
static const struct sample samples[] = {
	{ FIXED(5), { "hello", "world" }, BYTES("helloworld"), 5 },
	{ { .kind = BROOD_FRAMING_DELIMITER, .delimiter = "\n", .delimiter_size = 1, .limit = 5 },
		{ "hello", "" }, BYTES("hello\n\n"), 6 },
	{ { .kind = BROOD_FRAMING_DELIMITER, .delimiter = "\r\n.\r\n", .delimiter_size = 5, .limit = 5 },
		{ "he\r\n", "two" }, BYTES("he\r\n\r\n.\r\ntwo\r\n.\r\n"), 9 },
	{ LENGTH(1, 5), { "hello", "" }, BYTES("\5hello\0"), 6 },
	{ LENGTH(2, 5), { "hello", "a" }, BYTES("\0\5hello\0\1a"), 7 },
	{ LENGTH(4, 5), { "hello", "" }, BYTES("\0\0\0\5hello\0\0\0\0"), 9 },
	{ LENGTH(8, 5), { "hello", "a" }, BYTES("\0\0\0\0\0\0\0\5hello\0\0\0\0\0\0\0\1a"), 13 },
	{ TEXT(12), { "hello, world", "" }, BYTES("12\nhello, world0\n"), 15 },
	{ SHUTDOWN(5), { "hello", NULL }, BYTES("hello"), 5 },
};
/* clang-format on */

#define SAMPLES (sizeof(samples) / sizeof(samples[0]))

static void expect_message(struct stream_pair *pair, const struct brood_framing *framing, const char *expected)
{
	const char *message;
	size_t size;
	int ret = brood_message_read(&pair->stream, framing, &message, &size);

	cr_assert_eq(ret, 1, "kind %d: %d", framing->kind, ret);
	cr_assert_eq(size, strlen(expected), "kind %d: %zu bytes", framing->kind, size);
	cr_assert_arr_eq(message, expected, size);
}

static void expect_no_message(struct stream_pair *pair, const struct brood_framing *framing, int result)
{
	static const char untouched[] = "untouched";
	const char *message = untouched;
	size_t size = 77;
	int ret = brood_message_read(&pair->stream, framing, &message, &size);

	cr_assert_eq(ret, result, "kind %d, size %zu: %d, not %d", framing->kind, framing->size, ret, result);
	cr_assert_eq(message, untouched);
	cr_assert_eq(size, 77);
}

/* The peer says BYTES and ends: the message EXPECTED (or none, where it is NULL) must be read, and then RESULT. */
static void expect_of(
	struct brood_framing framing, const char *bytes, size_t bytes_size, const char *expected, int result)
{
	struct stream_pair pair;

	pair_tcp(&pair, &far_timeouts);
	peer_send(&pair, bytes, bytes_size);
	shutdown(pair.peer, SHUT_WR);
	if (expected)
		expect_message(&pair, &framing, expected);
	expect_no_message(&pair, &framing, result);
	pair_done(&pair);
}

/* ---- reading ---- */

Test(message, messages_and_then_the_end)
{
	for (size_t k = 0; k < SAMPLES; k++) {
		struct stream_pair pair;

		pair_tcp(&pair, &far_timeouts);
		peer_send(&pair, samples[k].bytes, samples[k].size);
		shutdown(pair.peer, SHUT_WR);
		for (size_t m = 0; m < 2 && samples[k].messages[m]; m++)
			expect_message(&pair, &samples[k].framing, samples[k].messages[m]);
		expect_no_message(&pair, &samples[k].framing, 0);
		expect_no_message(&pair, &samples[k].framing, 0);
		pair_done(&pair);
	}
}

struct drip {
	int fd;
	const struct sample *sample;
};

/* Sends each byte once the one before has been taken up, then ends the stream. */
static void *drip_bytes(void *argument)
{
	struct drip *drip = argument;

	for (size_t k = 0; k < drip->sample->size; k++) {
		int unread = 1;

		if (send(drip->fd, drip->sample->bytes + k, 1, MSG_NOSIGNAL) != 1)
			break;
		while (ioctl(drip->fd, SIOCOUTQ, &unread) == 0 && unread > 0)
			sched_yield();
	}
	shutdown(drip->fd, SHUT_WR);
	return NULL;
}

Test(message, messages_that_come_byte_by_byte)
{
	for (size_t k = 0; k < SAMPLES; k++) {
		struct stream_pair pair;
		struct drip drip = { .sample = &samples[k] };
		pthread_t thread;

		pair_unix(&pair, &far_timeouts);
		drip.fd = pair.peer;
		thread = in_thread(drip_bytes, &drip);
		for (size_t m = 0; m < 2 && samples[k].messages[m]; m++)
			expect_message(&pair, &samples[k].framing, samples[k].messages[m]);
		expect_no_message(&pair, &samples[k].framing, 0);
		pthread_join(thread, NULL);
		pair_done(&pair);
	}
}

/* Every beginning of the bytes, but for those that end between messages. */
Test(message, the_end_of_the_stream_within_a_message)
{
	for (size_t k = 0; k < SAMPLES; k++) {
		const struct sample *sample = &samples[k];

		if (sample->framing.kind == BROOD_FRAMING_SHUTDOWN)
			continue;
		for (size_t size = 1; size < sample->size; size++) {
			if (size == sample->first)
				expect_of(sample->framing, sample->bytes, size, sample->messages[0], 0);
			else
				expect_of(sample->framing, sample->bytes, size,
					size > sample->first ? sample->messages[0] : NULL, -EBADMSG);
		}
	}
}

/* What reading makes of a message of SIZE bytes, which the peer writes with a limit that lets it. */
static int read_of_size(const struct brood_framing *framing, size_t size)
{
	struct brood_framing unlimited = *framing;
	char *body = malloc(size + 1);
	struct stream_pair pair;
	struct brood_stream *writer;
	const char *message;
	size_t got = 0;
	int ret;

	memset(body, 'x', size);
	unlimited.limit = SIZE_MAX;
	pair_unix(&pair, &far_timeouts);
	cr_assert_eq(brood_open(pair.peer, &far_timeouts, &writer), 0);
	cr_assert_eq(brood_message_write(writer, framing, body, size), size > framing->limit ? -EMSGSIZE : 0);
	if (size > framing->limit)
		cr_assert_eq(brood_message_write(writer, &unlimited, body, size), 0);
	brood_shutdown_write(writer);
	ret = brood_message_read(&pair.stream, framing, &message, &got);
	if (ret == 1)
		cr_assert(got == size && memcmp(message, body, size) == 0);
	brood_stream_done(&pair.stream);
	brood_free(writer);
	free(body);
	return ret;
}

Test(message, limits_are_exact)
{
	static const size_t sizes[] = { 0, 1, 2, 100, 255, 16380, 16383, 16384, 16385, 32768, 65535, 100000 };

	for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
		const struct brood_framing framings[] = { UNTIL("\n", sizes[k]), UNTIL("abc", sizes[k]),
			LENGTH(4, sizes[k]), TEXT(sizes[k]), SHUTDOWN(sizes[k]) };

		for (size_t f = 0; f < sizeof(framings) / sizeof(framings[0]); f++) {
			bool none = framings[f].kind == BROOD_FRAMING_SHUTDOWN && sizes[k] == 0;

			cr_assert_eq(read_of_size(&framings[f], sizes[k]), none ? 0 : 1, "limit %zu", sizes[k]);
			cr_assert_eq(read_of_size(&framings[f], sizes[k] + 1), -EMSGSIZE, "limit %zu", sizes[k]);
		}
	}
}

Test(message, a_limit_counts_what_is_there_and_not_what_is_still_to_come)
{
	/* The peer goes on for ever, as far as the stream knows: it has neither ended nor sent a delimiter. */
	const struct brood_framing framings[] = { UNTIL("\n", 8), SHUTDOWN(8), LENGTH(2, 8), TEXT(8) };
	static const char *const bytes[] = { "123456789", "123456789", "\0\11", "9" };
	static const size_t sizes[] = { 9, 9, 2, 1 };

	for (size_t k = 0; k < 4; k++) {
		struct stream_pair pair;

		pair_tcp(&pair, &far_timeouts);
		peer_send(&pair, bytes[k], sizes[k]);
		expect_no_message(&pair, &framings[k], -EMSGSIZE);
		cr_assert_eq(brood_write_all(&pair.stream, "too long", 8), 0, "the peer can be told");
		pair_done(&pair);
	}
}

Test(message, lengths_never_overflow)
{
	for (int bytes = 0; bytes < 64; bytes++) {
		char prefix[8];

		/* From UINT64_MAX downwards, and the top bit alone. */
		memset(prefix, 0xff, sizeof(prefix));
		prefix[7] = (char)(0xff - bytes);
		expect_of((struct brood_framing)LENGTH(8, SIZE_MAX), prefix, 8, NULL, -EMSGSIZE);
	}
	expect_of((struct brood_framing)LENGTH(8, SIZE_MAX), BYTES("\x80\0\0\0\0\0\0\0"), NULL, -EMSGSIZE);
	expect_of((struct brood_framing)LENGTH(8, 1000), BYTES("\0\0\0\1\0\0\0\1x"), NULL, -EMSGSIZE);
	expect_of((struct brood_framing)LENGTH(4, SIZE_MAX), BYTES("\xff\xff\xff\xffx"), NULL, -EBADMSG);
	expect_of((struct brood_framing)TEXT(SIZE_MAX), BYTES("18446744073709551615\n"), NULL, -EMSGSIZE);
	expect_of((struct brood_framing)TEXT(SIZE_MAX), BYTES("18446744073709551616\n"), NULL, -EMSGSIZE);
	expect_of((struct brood_framing)TEXT(SIZE_MAX), BYTES("9223372036854775808\n"), NULL, -EMSGSIZE);
	expect_of((struct brood_framing)TEXT(1000), BYTES("184467440737095516170"), NULL, -EMSGSIZE);
	expect_of((struct brood_framing)TEXT(SIZE_MAX), BYTES("1000000000000000000\nx"), NULL, -EBADMSG);
}

Test(message, lengths_as_text_are_written_in_one_way)
{
	static const char *const bad[] = { "\nx", "05\nhello", "00", "00\n", " 5\nhello", "-1\n", "+1\nx", "5\r\nhello",
		"5:hello,", "0x5\nhello", "5 \nhello", "\x35\xb2\n", "5" };

	for (size_t k = 0; k < sizeof(bad) / sizeof(bad[0]); k++)
		expect_of((struct brood_framing)TEXT(100), bad[k], strlen(bad[k]), NULL, -EBADMSG);
	expect_of((struct brood_framing)TEXT(100), BYTES("0\n"), "", 0);
	expect_of((struct brood_framing)TEXT(5), BYTES("5\nhello6\nhello!"), "hello", -EMSGSIZE);
}

/* The delimiter at each distance from the end of the buffer, behind a message that moves what is buffered. */
Test(message, delimiters_across_the_end_of_the_buffer)
{
	static char text[STREAM_BUFFER_SIZE + 64];

	for (size_t at = STREAM_BUFFER_SIZE - 6; at <= STREAM_BUFFER_SIZE + 2; at++) {
		const struct brood_framing framing = UNTIL("\r\n\r\n", sizeof(text));
		struct stream_pair pair;
		const char *message;
		size_t size;

		memset(text, '\r', sizeof(text));
		memcpy(text, "first\r\n\r\n", 9);
		memcpy(text + at, "\r\n\r\n", 4);
		pair_unix(&pair, &far_timeouts);
		peer_send(&pair, text, at + 4);
		expect_message(&pair, &framing, "first");
		cr_assert_eq(brood_message_read(&pair.stream, &framing, &message, &size), 1);
		cr_assert_eq(size, at - 9);
		cr_assert_arr_eq(message, text + 9, size);
		pair_done(&pair);
	}
}

/* The last wait, for the end of the stream, moves what is buffered already. */
Test(message, all_until_shutdown_behind_a_line)
{
	static char text[STREAM_BUFFER_SIZE];
	const struct brood_framing line = UNTIL("\n", 100), rest = SHUTDOWN(SIZE_MAX);
	struct stream_pair pair;
	const char *message;
	size_t size;

	for (size_t k = 0; k < sizeof(text); k++)
		text[k] = (char)('a' + k % 26);
	memcpy(text, "head\n", 5);
	pair_unix(&pair, &far_timeouts);
	peer_send(&pair, text, sizeof(text));
	shutdown(pair.peer, SHUT_WR);
	expect_message(&pair, &line, "head");
	cr_assert_eq(brood_message_read(&pair.stream, &rest, &message, &size), 1);
	cr_assert_eq(size, sizeof(text) - 5);
	cr_assert_arr_eq(message, text + 5, size);
	expect_no_message(&pair, &rest, 0);
	pair_done(&pair);
}

/* A length that is announced takes no memory: what has come does. */
Test(message, memory_grows_with_what_has_come)
{
	const struct brood_framing framing = LENGTH(8, SIZE_MAX);
	struct stream_pair pair;

	pair_tcp(&pair, &far_timeouts);
	peer_send(&pair, "\0\0\x7f\xff\xff\xff\xff\xff hello", 14);
	shutdown(pair.peer, SHUT_WR);
	expect_no_message(&pair, &framing, -EBADMSG);
	cr_assert_eq(pair.stream.capacity, STREAM_BUFFER_SIZE);
	pair_done(&pair);
}

Test(message, framings_that_make_no_sense)
{
	const struct brood_framing framings[] = {
		FIXED(0), FIXED(SIZE_MAX), LENGTH(0, 9), LENGTH(3, 9), LENGTH(16, 9), UNTIL("", 9),
		UNTIL("12345678901234567", 99), {.kind = BROOD_FRAMING_DELIMITER, .delimiter_size = 1, .limit = 9 },
		{ .kind = 99,			      .limit = 9                                      }
	};

	for (size_t k = 0; k < sizeof(framings) / sizeof(framings[0]); k++) {
		struct stream_pair pair;

		pair_unix(&pair, &far_timeouts);
		peer_send(&pair, "hello", 5);
		expect_no_message(&pair, &framings[k], -EINVAL);
		cr_assert_eq(brood_message_write(&pair.stream, &framings[k], "hello", 5), -EINVAL);
		cr_assert_eq(pair.stream.bytes_out, 0);
		pair_done(&pair);
	}
}

/* ---- writing ---- */

Test(message, writing_is_what_reading_reads)
{
	for (size_t k = 0; k < SAMPLES; k++) {
		struct stream_pair pair;
		char bytes[64];

		pair_tcp(&pair, &far_timeouts);
		for (size_t m = 0; m < 2 && samples[k].messages[m]; m++) {
			const char *message = samples[k].messages[m];
			size_t size = strlen(message);

			cr_assert_eq(
				brood_message_write(&pair.stream, &samples[k].framing, size ? message : NULL, size), 0);
		}
		if (samples[k].framing.kind != BROOD_FRAMING_SHUTDOWN)
			brood_shutdown_write(&pair.stream);
		cr_assert_eq(peer_receive_all(pair.peer, bytes, sizeof(bytes)), (ssize_t)samples[k].size);
		cr_assert_arr_eq(bytes, samples[k].bytes, samples[k].size);
		pair_done(&pair);
	}
}

static void expect_unwritten(struct brood_framing framing, const char *message, size_t size, int result)
{
	struct stream_pair pair;
	int ret;

	pair_unix(&pair, &far_timeouts);
	ret = brood_message_write(&pair.stream, &framing, message, size);
	cr_assert_eq(ret, result, "kind %d, \"%s\": %d, not %d", framing.kind, message, ret, result);
	if (result < 0)
		cr_assert_eq(pair.stream.bytes_out, 0);
	pair_done(&pair);
}

Test(message, what_a_framing_cannot_carry_is_not_written)
{
	static char bytes[70000];

	expect_unwritten((struct brood_framing)FIXED(5), "four", 4, -EINVAL);
	expect_unwritten((struct brood_framing)FIXED(5), "sixsix", 6, -EINVAL);
	expect_unwritten((struct brood_framing)LENGTH(1, 70000), bytes, 255, 0);
	expect_unwritten((struct brood_framing)LENGTH(1, 70000), bytes, 256, -EMSGSIZE);
	expect_unwritten((struct brood_framing)LENGTH(2, 70000), bytes, 65535, 0);
	expect_unwritten((struct brood_framing)LENGTH(2, 70000), bytes, 65536, -EMSGSIZE);
	expect_unwritten((struct brood_framing)UNTIL("\n", 99), "a\nb", 3, -EINVAL);
	expect_unwritten((struct brood_framing)UNTIL("\n", 99), "\n", 1, -EINVAL);
	expect_unwritten((struct brood_framing)UNTIL("\r\n", 99), "a\r\nb", 4, -EINVAL);
	expect_unwritten((struct brood_framing)UNTIL("\r\n", 99), "a\r\r", 3, 0);
	/* The delimiter's own beginning, behind a message that ends with it, would be the end. */
	expect_unwritten((struct brood_framing)UNTIL("\n\n", 99), "text\n", 5, -EINVAL);
	expect_unwritten((struct brood_framing)UNTIL("abab", 99), "ab", 2, -EINVAL);
	expect_unwritten((struct brood_framing)UNTIL("abab", 99), "b", 1, 0);
	expect_unwritten((struct brood_framing)UNTIL("aXa", 99), "aX", 2, -EINVAL);
}

/* Also where a message is too long to be copied to its framing, and the socket takes only a part of it at a time. */
Test(message, long_messages_go_through_narrow_sockets)
{
	static const size_t sizes[] = { 2040, 2044, 2047, 2048, 2049, 300000, 3000000 };

	for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
		const struct brood_framing framings[] = { FIXED(sizes[k]), UNTIL("\r\n", sizes[k]), LENGTH(4, sizes[k]),
			TEXT(sizes[k]), SHUTDOWN(sizes[k]) };

		for (size_t f = 0; f < sizeof(framings) / sizeof(framings[0]); f++) {
			char *body = malloc(sizes[k]);
			struct stream_pair pair;
			struct brood_stream reader;
			const char *message;
			size_t size;
			pid_t pid;
			int status, narrow = 4096;

			for (size_t b = 0; b < sizes[k]; b++)
				body[b] = (char)((b ^ (b >> 8) * 17) | 0x80);
			pair_unix(&pair, &far_timeouts);
			setsockopt(pair.peer, SOL_SOCKET, SO_SNDBUF, &narrow, sizeof(narrow));
			pid = fork();
			if (pid == 0) {
				close(pair.stream.fd);
				brood_stream_init(&reader, NULL);
				brood_stream_attach(&reader, pair.peer, &far_timeouts);
				_exit(brood_message_write(&reader, &framings[f], body, sizes[k]) == 0 ? 0 : 1);
			}
			close(pair.peer);
			pair.peer = -1;
			cr_assert_eq(brood_message_read(&pair.stream, &framings[f], &message, &size), 1);
			cr_assert_eq(size, sizes[k]);
			cr_assert_arr_eq(message, body, size);
			expect_no_message(&pair, &framings[f], 0);
			cr_assert_eq(waitpid(pid, &status, 0), pid);
			cr_assert_eq(status, 0);
			free(body);
			pair_done(&pair);
		}
	}
}

/* ---- time ---- */

static void expect_timeout(struct stream_pair *pair, const struct brood_framing *framing)
{
	uint64_t begin_ms = now_ms(), took_ms;

	expect_no_message(pair, framing, -ETIMEDOUT);
	took_ms = now_ms() - begin_ms;
	cr_assert_geq(took_ms + 1, SHORT_MS);
	cr_assert_lt(took_ms, FAR_MS / 2);
}

Test(message, silence_before_a_message_is_idle_and_within_one_is_read)
{
	static const struct brood_timeouts idle = { SHORT_MS, FAR_MS, FAR_MS }, read = { FAR_MS, SHORT_MS, FAR_MS };

	for (size_t k = 0; k < SAMPLES; k++) {
		struct stream_pair pair;

		pair_tcp(&pair, &idle);
		expect_timeout(&pair, &samples[k].framing);
		pair_done(&pair);
		pair_tcp(&pair, &read);
		peer_send(&pair, samples[k].bytes, samples[k].framing.kind == BROOD_FRAMING_LENGTH_TEXT ? 2 : 1);
		if (samples[k].framing.size == 1)
			peer_send(&pair, "he", 2);
		expect_timeout(&pair, &samples[k].framing);
		pair_done(&pair);
	}
}

static void *trickle(void *argument)
{
	const struct timespec pause = { .tv_nsec = 3000000 };
	const int *fd = argument;

	while (send(*fd, "\1", 1, MSG_NOSIGNAL) == 1)
		nanosleep(&pause, NULL);
	return NULL;
}

Test(message, a_deadline_bounds_a_peer_that_never_ends)
{
	const struct brood_framing framings[] = { FIXED(100000), UNTIL("\n", 100000), LENGTH(4, SIZE_MAX),
		SHUTDOWN(100000) };

	for (size_t k = 0; k < sizeof(framings) / sizeof(framings[0]); k++) {
		struct stream_pair pair;
		pthread_t thread;

		pair_tcp(&pair, &far_timeouts);
		brood_set_deadline(&pair.stream, SHORT_MS);
		thread = in_thread(trickle, &pair.peer);
		expect_timeout(&pair, &framings[k]);
		brood_stream_done(&pair.stream);
		pthread_join(thread, NULL);
		pair_done(&pair);
	}
}

static void no_room(struct stream_pair *pair, const struct brood_framing *framing)
{
	static char bytes[65536];
	uint64_t begin_ms = now_ms();
	int ret;

	do
		ret = brood_message_write(&pair->stream, framing, bytes, sizeof(bytes));
	while (ret == 0);
	cr_assert_eq(ret, -ETIMEDOUT);
	cr_assert_geq(now_ms() - begin_ms + 1, SHORT_MS);
}

Test(message, no_room_to_write_ends_at_write_or_at_the_deadline)
{
	static const struct brood_timeouts write = { FAR_MS, FAR_MS, SHORT_MS };
	const struct brood_framing framings[] = { FIXED(65536), LENGTH(4, 65536), TEXT(65536) };

	for (size_t k = 0; k < sizeof(framings) / sizeof(framings[0]); k++) {
		struct stream_pair pair;

		pair_tcp(&pair, &write);
		no_room(&pair, &framings[k]);
		pair_done(&pair);
		pair_tcp(&pair, &far_timeouts);
		brood_set_deadline(&pair.stream, SHORT_MS);
		no_room(&pair, &framings[k]);
		pair_done(&pair);
	}
}

/* ---- signals ---- */

static volatile sig_atomic_t signals_seen;

static void count_signal(int number)
{
	signals_seen++;
}

static void *answer_slowly(void *argument)
{
	const struct timespec pause = { .tv_nsec = 8000000 };
	struct drip *drip = argument;

	for (size_t k = 0; k < drip->sample->size; k++) {
		nanosleep(&pause, NULL);
		send(drip->fd, drip->sample->bytes + k, 1, MSG_NOSIGNAL);
	}
	shutdown(drip->fd, SHUT_WR);
	return NULL;
}

/* SIGALRM every millisecond, to this thread, without SA_RESTART. */
Test(message, signals_do_not_surface)
{
	struct sigaction action = { .sa_handler = count_signal };
	struct itimerval every = { .it_interval.tv_usec = 1000, .it_value.tv_usec = 1000 }, never = { 0 };

	sigaction(SIGALRM, &action, NULL);
	for (size_t k = 0; k < SAMPLES; k++) {
		struct stream_pair pair;
		struct drip drip = { .sample = &samples[k] };
		pthread_t thread;

		pair_tcp(&pair, &far_timeouts);
		drip.fd = pair.peer;
		setitimer(ITIMER_REAL, &every, NULL);
		thread = in_thread(answer_slowly, &drip);
		for (size_t m = 0; m < 2 && samples[k].messages[m]; m++)
			expect_message(&pair, &samples[k].framing, samples[k].messages[m]);
		expect_no_message(&pair, &samples[k].framing, 0);
		setitimer(ITIMER_REAL, &never, NULL);
		pthread_join(thread, NULL);
		pair_done(&pair);
	}
	cr_assert_gt(signals_seen, 5, "the storm was no storm");
}

/* ---- the peer goes ---- */

Test(message, a_reset_is_not_the_end_of_a_message)
{
	const struct brood_framing framing = SHUTDOWN(100);
	struct linger hard = { .l_onoff = 1 };
	struct stream_pair pair;

	pair_tcp(&pair, &far_timeouts);
	peer_send(&pair, "half", 4);
	cr_assert_eq(brood_await(&pair.stream), 1);
	setsockopt(pair.peer, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(pair.peer);
	pair.peer = -1;
	expect_no_message(&pair, &framing, -ECONNRESET);
	cr_assert_eq(brood_message_write(&pair.stream, &(struct brood_framing)TEXT(9), "x", 1), -EPIPE);
	pair_done(&pair);
}

/* ---- system calls ---- */

struct exchange {
	const struct sample *sample;
	size_t body; /* 0: the sample's first message */
};

/* Reads and writes one message that is there, after one that has brought the buffer into memory. */
static void exchange_message(void *argument)
{
	const struct exchange *exchange = argument;
	const struct brood_framing *framing = &exchange->sample->framing;
	static char bytes[100000];
	struct brood_stream stream;
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0)
		_exit(1);
	set_timeout(ends[0], SO_RCVTIMEO, far_timeouts.idle_ms);
	brood_stream_init(&stream, NULL);
	brood_stream_attach(&stream, ends[0], &far_timeouts);
	for (int round = 0; round < 2; round++) {
		const char *message;
		size_t size;

		if (send(ends[1], exchange->sample->bytes, exchange->sample->size, 0) !=
			(ssize_t)exchange->sample->size)
			_exit(1);
		if (round == 1)
			calls_mark();
		for (size_t m = 0; m < 2; m++)
			if (brood_message_read(&stream, framing, &message, &size) != 1)
				_exit(2);
		if (exchange->body)
			message = bytes, size = exchange->body;
		if (brood_message_write(&stream, framing, message, size) != 0)
			_exit(3);
		if (round == 1)
			calls_mark();
	}
}

Test(message, one_call_to_read_what_has_come_and_one_to_write)
{
	static const long small[] = { SYS_recvfrom, SYS_sendto }, large[] = { SYS_recvfrom, SYS_sendmsg };
	struct calls calls;

	for (size_t k = 0; k < SAMPLES; k++) {
		struct exchange exchange = { .sample = &samples[k] };

		if (samples[k].framing.kind == BROOD_FRAMING_SHUTDOWN)
			continue;
		calls_of(exchange_message, &exchange, &calls);
		calls_expect(&calls, small, 2);
	}
	for (size_t prefix = 4; prefix <= 8; prefix += 4) {
		struct sample sample = { LENGTH(prefix, 100000), { "" }, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
			2 * prefix };
		struct exchange exchange = { &sample, 50000 };

		calls_of(exchange_message, &exchange, &calls);
		calls_expect(&calls, large, 2);
	}
}
