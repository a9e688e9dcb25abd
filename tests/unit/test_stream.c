/* SPDX-License-Identifier: MIT */
/* With tcpi_segs_in, which the C library's <netinet/tcp.h> lacks. */
#include <linux/tcp.h>

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

/* ---- time-outs ---- */

/* Runs the call and expects -ETIMEDOUT, not before MIN_MS. */
#define EXPECT_TIMEOUT(min_ms, call)                                                                                   \
	do {                                                                                                           \
		uint64_t begin_ms = now_ms();                                                                          \
		ssize_t result = (call);                                                                               \
		uint64_t took_ms = now_ms() - begin_ms;                                                                \
		cr_assert_eq(result, -ETIMEDOUT, "%s is %zd", #call, result);                                          \
		cr_assert_geq(                                                                                         \
			took_ms + 1, (uint64_t)(min_ms), "%s after %llu ms", #call, (unsigned long long)took_ms);      \
		cr_assert_lt(took_ms, FAR_MS / 2, "%s after %llu ms", #call, (unsigned long long)took_ms);             \
	} while (0)

static const struct brood_timeouts short_idle = { SHORT_MS, FAR_MS, FAR_MS };
static const struct brood_timeouts short_read = { FAR_MS, SHORT_MS, FAR_MS };
static const struct brood_timeouts short_write = { FAR_MS, FAR_MS, SHORT_MS };

Test(stream, silence_before_a_request_ends_at_idle)
{
	struct stream_pair pair;
	char bytes[8];
	const char *text;

	pair_tcp(&pair, &short_idle);
	EXPECT_TIMEOUT(SHORT_MS, brood_await(&pair.stream));
	EXPECT_TIMEOUT(SHORT_MS, brood_read(&pair.stream, bytes, 8));
	EXPECT_TIMEOUT(SHORT_MS, brood_read_full(&pair.stream, bytes, 8));
	EXPECT_TIMEOUT(SHORT_MS, brood_read_until(&pair.stream, "\n", 1, 8, &text));
	EXPECT_TIMEOUT(SHORT_MS, brood_peek(&pair.stream, 0, 8, &text));
	peer_send(&pair, "x", 1);
	cr_assert_eq(brood_read(&pair.stream, bytes, 8), 1);
	EXPECT_TIMEOUT(SHORT_MS, brood_read(&pair.stream, bytes, 8));
	cr_assert_eq(brood_write_all(&pair.stream, "late", 4), 0);
	pair_done(&pair);
}

Test(stream, silence_within_a_request_ends_at_read)
{
	struct stream_pair pair;
	char bytes[8];
	const char *text;

	pair_tcp(&pair, &short_read);
	peer_send(&pair, "x", 1);
	EXPECT_TIMEOUT(SHORT_MS, brood_read_full(&pair.stream, bytes, 8));
	peer_send(&pair, "x", 1);
	EXPECT_TIMEOUT(SHORT_MS, brood_read_until(&pair.stream, "\n", 1, 8, &text));
	EXPECT_TIMEOUT(SHORT_MS, brood_peek(&pair.stream, 1, 8, &text));
	EXPECT_TIMEOUT(SHORT_MS, brood_read_full(&pair.stream, bytes, 8));
	brood_request_begin(&pair.stream);
	EXPECT_TIMEOUT(SHORT_MS, brood_read(&pair.stream, bytes, 8));
	EXPECT_TIMEOUT(SHORT_MS, brood_read_full(&pair.stream, bytes, 8));
	brood_request_end(&pair.stream);
	pair_done(&pair);
}

/* Where the stream wants another time-out than its socket has, shorter or longer. */
Test(stream, timeouts_that_are_not_the_sockets)
{
	static const struct brood_timeouts middle = { 3 * SHORT_MS, FAR_MS, FAR_MS };
	struct stream_pair pair;

	pair_tcp(&pair, &far_timeouts);
	brood_set_timeouts(&pair.stream, &short_idle);
	cr_assert_eq(brood_get_timeouts(&pair.stream).idle_ms, SHORT_MS);
	EXPECT_TIMEOUT(SHORT_MS, brood_await(&pair.stream));
	pair_done(&pair);
	pair_tcp(&pair, &short_idle);
	brood_set_timeouts(&pair.stream, &middle);
	EXPECT_TIMEOUT(3 * SHORT_MS, brood_await(&pair.stream));
	pair_done(&pair);
}

/* Writes until the peer, which does not read, has no room left. */
static ssize_t write_without_reader(struct stream_pair *pair)
{
	static char bytes[65536];
	int ret;

	do
		ret = brood_write_all(&pair->stream, bytes, sizeof(bytes));
	while (ret == 0);
	return ret;
}

static ssize_t writev_without_reader(struct stream_pair *pair)
{
	static char bytes[65536];
	int ret;

	do {
		struct iovec parts[2] = {
			{bytes,  30000},
                        { bytes, 30000}
		};

		ret = brood_writev_all(&pair->stream, parts, 2);
	} while (ret == 0);
	return ret;
}

static int file_of(size_t size)
{
	int fd = memfd_create("file", MFD_CLOEXEC);

	cr_assert_eq(ftruncate(fd, (off_t)size), 0);
	return fd;
}

static ssize_t send_file_without_reader(struct stream_pair *pair, size_t piece)
{
	int fd = file_of(piece);
	int ret;

	do
		ret = brood_send_file(&pair->stream, fd, 0, piece);
	while (ret == 0);
	close(fd);
	return ret;
}

Test(stream, no_room_to_write_ends_at_write)
{
	for (int kind = 0; kind < 8; kind++) {
		struct stream_pair pair;

		(kind % 2 ? pair_unix : pair_tcp)(&pair, &short_write);
		if (kind / 2 == 0)
			EXPECT_TIMEOUT(SHORT_MS, write_without_reader(&pair));
		else if (kind / 2 == 1)
			EXPECT_TIMEOUT(SHORT_MS, writev_without_reader(&pair));
		else
			EXPECT_TIMEOUT(SHORT_MS, send_file_without_reader(&pair, kind / 2 == 2 ? 60000 : 60000000));
		pair_done(&pair);
	}
}

Test(stream, a_write_timeout_that_is_not_the_sockets)
{
	struct stream_pair pair;

	pair_tcp(&pair, &far_timeouts);
	brood_set_timeouts(&pair.stream, &short_write);
	EXPECT_TIMEOUT(SHORT_MS, send_file_without_reader(&pair, 1000));
	pair_done(&pair);
}

/* ---- the deadline ---- */

/* Sends a byte every few milliseconds until the other side is gone. */
static void *trickle(void *argument)
{
	const struct timespec pause = { .tv_nsec = 3000000 };
	const int *fd = argument;

	while (send(*fd, "x", 1, MSG_NOSIGNAL) == 1)
		nanosleep(&pause, NULL);
	return NULL;
}

Test(stream, a_deadline_ends_reading_from_a_peer_that_never_stops)
{
	for (int kind = 0; kind < 3; kind++) {
		struct stream_pair pair;
		pthread_t thread;
		char bytes[8192];
		const char *text;

		pair_tcp(&pair, &far_timeouts);
		brood_set_deadline(&pair.stream, SHORT_MS);
		thread = in_thread(trickle, &pair.peer);
		if (kind == 0)
			EXPECT_TIMEOUT(SHORT_MS, brood_read_full(&pair.stream, bytes, sizeof(bytes)));
		else if (kind == 1)
			EXPECT_TIMEOUT(SHORT_MS, brood_read_until(&pair.stream, "\n", 1, 65536, &text));
		else
			EXPECT_TIMEOUT(SHORT_MS, brood_peek(&pair.stream, 8192, 65536, &text));
		EXPECT_TIMEOUT(0, brood_read_full(&pair.stream, bytes, sizeof(bytes)));
		brood_stream_done(&pair.stream);
		pthread_join(thread, NULL);
		pair_done(&pair);
	}
}

Test(stream, a_deadline_ends_every_wait)
{
	struct stream_pair pair;
	char byte;

	pair_tcp(&pair, &far_timeouts);
	brood_set_deadline(&pair.stream, SHORT_MS);
	EXPECT_TIMEOUT(SHORT_MS, brood_await(&pair.stream));
	brood_set_deadline(&pair.stream, SHORT_MS);
	EXPECT_TIMEOUT(SHORT_MS, brood_read(&pair.stream, &byte, 1));
	brood_set_deadline(&pair.stream, SHORT_MS);
	EXPECT_TIMEOUT(SHORT_MS, write_without_reader(&pair));
	brood_set_deadline(&pair.stream, SHORT_MS);
	EXPECT_TIMEOUT(SHORT_MS, send_file_without_reader(&pair, 1000));
	pair_done(&pair);
}

/* Takes up little at a time, so that there is always progress, until the end of the stream or an error. */
static void *sip(void *argument)
{
	const struct timespec pause = { .tv_nsec = 3000000 };
	const int *fd = argument;
	char bytes[3000];

	while (recv(*fd, bytes, sizeof(bytes), 0) > 0)
		nanosleep(&pause, NULL);
	return NULL;
}

Test(stream, a_deadline_ends_writing_to_a_peer_that_sips)
{
	static char bytes[20000000];

	for (int kind = 0; kind < 3; kind++) {
		struct iovec part = { bytes, sizeof(bytes) };
		int file = file_of(sizeof(bytes));
		struct stream_pair pair;
		pthread_t thread;

		pair_tcp(&pair, &far_timeouts);
		brood_set_deadline(&pair.stream, SHORT_MS);
		thread = in_thread(sip, &pair.peer);
		if (kind == 0)
			EXPECT_TIMEOUT(SHORT_MS, brood_write_all(&pair.stream, bytes, sizeof(bytes)));
		else if (kind == 1)
			EXPECT_TIMEOUT(SHORT_MS, brood_writev_all(&pair.stream, &part, 1));
		else
			EXPECT_TIMEOUT(SHORT_MS, brood_send_file(&pair.stream, file, 0, sizeof(bytes)));
		EXPECT_TIMEOUT(0, brood_write_all(&pair.stream, "x", 1));
		shutdown(pair.peer, SHUT_RDWR);
		brood_stream_done(&pair.stream);
		pthread_join(thread, NULL);
		pair_done(&pair);
		close(file);
	}
}

Test(stream, a_deadline_that_has_passed_ends_also_what_would_not_wait)
{
	struct stream_pair pair;
	int file = file_of(8);
	char bytes[8];

	pair_tcp(&pair, &far_timeouts);
	peer_send(&pair, "0123456789", 10);
	cr_assert_eq(brood_read(&pair.stream, bytes, 1), 1);
	brood_set_deadline(&pair.stream, 1);
	for (uint64_t begin_ms = now_ms(); now_ms() < begin_ms + 3;)
		continue;
	cr_assert_eq(brood_read(&pair.stream, bytes, 1), -ETIMEDOUT);
	cr_assert_eq(brood_write_all(&pair.stream, "x", 1), -ETIMEDOUT);
	cr_assert_eq(brood_send_file(&pair.stream, file, 0, 8), -ETIMEDOUT);
	pair_done(&pair);
	close(file);
}

Test(stream, a_deadline_is_taken_away_by_zero_and_by_the_next_connection)
{
	struct stream_pair pair;

	pair_tcp(&pair, &short_idle);
	brood_set_deadline(&pair.stream, FAR_MS);
	EXPECT_TIMEOUT(SHORT_MS, brood_await(&pair.stream));
	brood_set_deadline(&pair.stream, 1);
	brood_set_deadline(&pair.stream, 0);
	EXPECT_TIMEOUT(SHORT_MS, brood_await(&pair.stream));
	brood_set_deadline(&pair.stream, 1);
	brood_stream_attach(&pair.stream, pair.stream.fd, &short_idle);
	EXPECT_TIMEOUT(SHORT_MS, brood_await(&pair.stream));
	pair_done(&pair);
}

/* ---- signals ---- */

static volatile sig_atomic_t signals_seen;

static void count_signal(int number)
{
	signals_seen++;
}

/* SIGALRM every millisecond, to this thread, without SA_RESTART. */
static void storm_begin(void)
{
	struct sigaction action = { .sa_handler = count_signal };
	struct itimerval every = { .it_interval.tv_usec = 1000, .it_value.tv_usec = 1000 };

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &every, NULL);
}

static void storm_end(void)
{
	struct itimerval never = { 0 };

	setitimer(ITIMER_REAL, &never, NULL);
	cr_assert_gt(signals_seen, 5, "the storm was no storm");
}

Test(stream, signals_do_not_extend_a_timeout)
{
	struct stream_pair pair;
	const char *text;
	char bytes[8];

	pair_tcp(&pair, &short_idle);
	storm_begin();
	EXPECT_TIMEOUT(SHORT_MS, brood_await(&pair.stream));
	EXPECT_TIMEOUT(SHORT_MS, brood_read(&pair.stream, bytes, 8));
	brood_set_timeouts(&pair.stream, &short_read);
	peer_send(&pair, "x", 1);
	EXPECT_TIMEOUT(SHORT_MS, brood_read_until(&pair.stream, "\n", 1, 8, &text));
	brood_set_deadline(&pair.stream, SHORT_MS);
	EXPECT_TIMEOUT(SHORT_MS, brood_read_full(&pair.stream, bytes, 8));
	brood_set_deadline(&pair.stream, 0);
	brood_set_timeouts(&pair.stream, &short_write);
	EXPECT_TIMEOUT(SHORT_MS, write_without_reader(&pair));
	storm_end();
	pair_done(&pair);
	pair_tcp(&pair, &short_write);
	storm_begin();
	EXPECT_TIMEOUT(SHORT_MS, send_file_without_reader(&pair, 50000));
	storm_end();
	pair_done(&pair);
}

static void *answer_late(void *argument)
{
	const struct timespec pause = { .tv_nsec = 30000000 };
	const int *fd = argument;

	nanosleep(&pause, NULL);
	send(*fd, "12", 2, MSG_NOSIGNAL);
	nanosleep(&pause, NULL);
	send(*fd, "34\n", 3, MSG_NOSIGNAL);
	return NULL;
}

/* Also without any time-out, where recv(2) waits for ever. */
Test(stream, signals_do_not_surface)
{
	static const struct brood_timeouts none;

	for (int kind = 0; kind < 2; kind++) {
		struct stream_pair pair;
		const char *text;
		pthread_t thread;

		pair_tcp(&pair, kind ? &none : &far_timeouts);
		storm_begin();
		thread = in_thread(answer_late, &pair.peer);
		cr_assert_eq(brood_read_until(&pair.stream, "\n", 1, 8, &text), 5);
		cr_assert_arr_eq(text, "1234\n", 5);
		storm_end();
		pthread_join(thread, NULL);
		pair_done(&pair);
	}
}

/* ---- much, both ways ---- */

#define MUCH ((size_t)50 * 1024 * 1024)

/* The byte at OFFSET of what is sent: no run of it looks like another near by. */
static char much_byte(size_t offset)
{
	return (char)(offset ^ (offset >> 8) * 17 ^ (offset >> 16) * 101);
}

static void much_fill(char *bytes, size_t offset, size_t size)
{
	for (size_t k = 0; k < size; k++)
		bytes[k] = much_byte(offset + k);
}

static void *much_send(void *argument)
{
	const int *fd = argument;
	static char bytes[100000];

	for (size_t done = 0; done < MUCH;) {
		size_t size = MUCH - done < sizeof(bytes) ? MUCH - done : sizeof(bytes);
		ssize_t sent;

		much_fill(bytes, done, size);
		sent = send(*fd, bytes, size, MSG_NOSIGNAL);
		if (sent < 0)
			break;
		done += (size_t)sent;
	}
	shutdown(*fd, SHUT_WR);
	return NULL;
}

/* Reads in small pieces, with a pause now and then. Returns NULL when all has come as it was sent, or what is wrong. */
static void *much_receive(void *argument)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	const int *fd = argument;
	static char changed[] = "bytes changed or moved", lost[] = "bytes lost";
	char bytes[5000];
	size_t done = 0;
	ssize_t got;

	while ((got = recv(*fd, bytes, sizeof(bytes), 0)) > 0) {
		for (ssize_t k = 0; k < got; k++)
			if (bytes[k] != much_byte(done + (size_t)k))
				return changed;
		done += (size_t)got;
		if (done % 4096 == 0)
			nanosleep(&pause, NULL);
	}
	return done == MUCH && got == 0 ? NULL : lost;
}

static void shrink(int fd)
{
	int size = 32768;

	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

Test(stream, much_both_ways_through_signals)
{
	static char bytes[30000];
	struct stream_pair pair;
	pthread_t sender, receiver;
	void *wrong;
	ssize_t got;

	pair_tcp(&pair, &far_timeouts);
	shrink(pair.peer);
	shrink(pair.stream.fd);
	storm_begin();
	sender = in_thread(much_send, &pair.peer);
	receiver = in_thread(much_receive, &pair.peer);
	while ((got = brood_read(&pair.stream, bytes, sizeof(bytes))) > 0)
		cr_assert_eq(brood_write_all(&pair.stream, bytes, (size_t)got), 0);
	cr_assert_eq(got, 0);
	cr_assert_eq(brood_shutdown_write(&pair.stream), 0);
	pthread_join(sender, NULL);
	pthread_join(receiver, &wrong);
	storm_end();
	cr_assert_null(wrong, "%s", (const char *)wrong);
	cr_assert_eq(pair.stream.bytes_in, MUCH);
	cr_assert_eq(pair.stream.bytes_out, MUCH);
	pair_done(&pair);
}

static void much_in_parts(struct brood_stream *stream, char *bytes)
{
	struct iovec parts[] = {
		{bytes,            0             },
                { bytes,           1             },
                { bytes + 1,       999999        },
                { bytes,           0             },
                { bytes + 1000000, MUCH - 1000000},
		{ bytes,           0             }
	};

	cr_assert_eq(brood_writev_all(stream, parts, 6), 0);
}

static void much_from_a_file(struct brood_stream *stream, const char *bytes, size_t piece)
{
	int file = file_of(0);

	cr_assert_eq(write(file, bytes, MUCH), (ssize_t)MUCH);
	for (size_t done = 0; done < MUCH; done += piece) {
		size_t size = MUCH - done < piece ? MUCH - done : piece;

		cr_assert_eq(brood_send_file(stream, file, (off_t)done, size), 0);
	}
	close(file);
	cr_assert_eq(fcntl(stream->fd, F_GETFL) & O_NONBLOCK, 0);
}

Test(stream, much_in_parts_and_from_a_file_to_a_slow_peer)
{
	static const size_t pieces[] = { 0, 60000, MUCH };
	static char bytes[MUCH];

	much_fill(bytes, 0, MUCH);
	for (int kind = 0; kind < 6; kind++) {
		struct stream_pair pair;
		pthread_t receiver;
		void *wrong;

		(kind % 2 ? pair_unix : pair_tcp)(&pair, &far_timeouts);
		shrink(pair.peer);
		shrink(pair.stream.fd);
		storm_begin();
		receiver = in_thread(much_receive, &pair.peer);
		if (kind < 2)
			much_in_parts(&pair.stream, bytes);
		else
			much_from_a_file(&pair.stream, bytes, pieces[kind / 2]);
		brood_shutdown_write(&pair.stream);
		pthread_join(receiver, &wrong);
		storm_end();
		cr_assert_null(wrong, "%s", (const char *)wrong);
		cr_assert_eq(pair.stream.bytes_out, MUCH);
		pair_done(&pair);
	}
}

/* ---- files ---- */

Test(stream, a_file_that_is_shorter_than_asked)
{
	static const size_t sizes[] = { 0, 1, 1000, 65536, 200000, 1100000 };

	for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
		struct stream_pair pair;
		int file = file_of(sizes[k]);
		pthread_t thread;

		pair_tcp(&pair, &far_timeouts);
		thread = in_thread(sip, &pair.peer);
		shrink(pair.stream.fd);
		cr_assert_eq(brood_send_file(&pair.stream, file, 0, sizes[k]), 0);
		cr_assert_eq(brood_send_file(&pair.stream, file, 0, sizes[k] + 1), -ENODATA);
		cr_assert_eq(brood_send_file(&pair.stream, file, (off_t)sizes[k] + 5, 1), -ENODATA);
		cr_assert_eq(fcntl(pair.stream.fd, F_GETFL) & O_NONBLOCK, 0);
		shutdown(pair.peer, SHUT_RDWR);
		pthread_join(thread, NULL);
		pair_done(&pair);
		close(file);
	}
}

/* ---- ends ---- */

Test(stream, half_close_lets_the_answer_come)
{
	struct stream_pair pair;
	char bytes[8];

	pair_tcp(&pair, &far_timeouts);
	cr_assert_eq(brood_write_all(&pair.stream, "ask", 3), 0);
	cr_assert_eq(brood_shutdown_write(&pair.stream), 0);
	cr_assert_eq(brood_shutdown_write(&pair.stream), 0);
	cr_assert_eq(peer_receive_all(pair.peer, bytes, sizeof(bytes)), 3);
	peer_send(&pair, "told", 4);
	cr_assert_eq(brood_read(&pair.stream, bytes, 8), 4);
	cr_assert_eq(brood_write_all(&pair.stream, "x", 1), -EPIPE);
	pair_done(&pair);
}

static void peer_reset(struct stream_pair *pair)
{
	struct linger hard = { .l_onoff = 1 };

	setsockopt(pair->peer, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(pair->peer);
	pair->peer = -1;
}

Test(stream, a_reset_is_told_and_not_waited_for)
{
	struct stream_pair pair;
	uint64_t begin_ms = now_ms();
	char bytes[8];

	pair_tcp(&pair, &far_timeouts);
	peer_reset(&pair);
	cr_assert_eq(brood_read(&pair.stream, bytes, 8), -ECONNRESET);
	brood_close(&pair.stream);
	cr_assert_eq(pair.stream.fd, -1);
	brood_close(&pair.stream);
	pair_done(&pair);
	pair_tcp(&pair, &far_timeouts);
	peer_reset(&pair);
	cr_assert_eq(brood_write_all(&pair.stream, "x", 1), -ECONNRESET);
	cr_assert_eq(brood_write_all(&pair.stream, "x", 1), -EPIPE);
	brood_close(&pair.stream);
	cr_assert_lt(now_ms() - begin_ms, 1500);
	pair_done(&pair);
}

/* Reads only once the connection has been ended from the other side, by a reset or in order. Returns NULL if the answer
 * was there, or what came instead. */
static void *hear_after_the_end(void *argument)
{
	struct stream_pair *pair = argument;
	static char reset[] = "a reset", other[] = "another answer";
	struct pollfd entry = { .fd = pair->peer, .events = POLLRDHUP };
	char heard[64];
	ssize_t size;

	poll(&entry, 1, FAR_MS);
	size = peer_receive_all(pair->peer, heard, sizeof(heard));
	close(pair->peer);
	pair->peer = -1;
	if (size < 0)
		return reset;
	return size == 6 && memcmp(heard, "answer", 6) == 0 ? NULL : other;
}

Test(stream, a_close_does_not_destroy_the_answer)
{
	static char bytes[60000];
	void *wrong;

	/* Nothing read at all; some of what is there; all that is there, but not taken; all of it, while more is known
	 * to come. */
	for (int kind = 0; kind < 4; kind++) {
		struct stream_pair pair;
		pthread_t thread;

		pair_tcp(&pair, &far_timeouts);
		peer_send(&pair, bytes, kind < 2 ? sizeof(bytes) : 10);
		if (kind == 1)
			cr_assert_eq(brood_read(&pair.stream, bytes, 10), 10);
		else if (kind == 2)
			cr_assert_eq(brood_await(&pair.stream), 1);
		cr_assert_eq(brood_write_all(&pair.stream, "answer", 6), 0);
		if (kind == 2)
			peer_send(&pair, bytes, sizeof(bytes));
		thread = in_thread(hear_after_the_end, &pair);
		brood_close(&pair.stream);
		pthread_join(thread, &wrong);
		cr_assert_null(wrong, "case %d: %s", kind, (const char *)wrong);
		pair_done(&pair);
	}
}

/* A peer that never ends, silent or not, is not waited for for ever. */
Test(stream, a_close_is_bounded)
{
	struct stream_pair pair;
	uint64_t begin_ms = now_ms();
	pthread_t thread;

	pair_tcp(&pair, &far_timeouts);
	storm_begin();
	brood_close(&pair.stream);
	storm_end();
	cr_assert_geq(now_ms() - begin_ms + 1, 2000);
	cr_assert_lt(now_ms() - begin_ms, FAR_MS / 2);
	pair_done(&pair);
	begin_ms = now_ms();
	pair_tcp(&pair, &far_timeouts);
	thread = in_thread(much_send, &pair.peer);
	brood_close(&pair.stream);
	cr_assert_lt(now_ms() - begin_ms, FAR_MS / 2);
	pthread_join(thread, NULL);
	pair_done(&pair);
}

/* ---- addresses ---- */

static const char *peer_text_of(const void *address, socklen_t size)
{
	static struct stream_pair pair;

	brood_stream_init(&pair.stream, NULL);
	memcpy(&pair.stream.peer, address, size);
	pair.stream.peer_size = size;
	cr_assert_eq(brood_peer_text(&pair.stream), brood_peer_text(&pair.stream));
	return brood_peer_text(&pair.stream);
}

static const char *peer_text_v6(const char *text)
{
	struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_port = htons(7) };

	cr_assert_eq(inet_pton(AF_INET6, text, &address.sin6_addr), 1);
	return peer_text_of(&address, sizeof(address));
}

Test(stream, peers_as_text)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(7), .sin_addr.s_addr = htonl(0xc0000201) };
	struct sockaddr_un named = { .sun_family = AF_UNIX, .sun_path = "/run/x" };
	sa_family_t unnamed = AF_UNIX;

	cr_assert_str_eq(peer_text_of(&v4, sizeof(v4)), "192.0.2.1");
	cr_assert_str_eq(peer_text_v6("2001:db8::1"), "2001:db8::1");
	cr_assert_str_eq(peer_text_v6("::1"), "::1");
	cr_assert_str_eq(peer_text_v6("::ffff:192.0.2.7"), "192.0.2.7");
	cr_assert_str_eq(
		peer_text_v6("2001:db8:1111:2222:3333:4444:5555:6666"), "2001:db8:1111:2222:3333:4444:5555:6666");
	cr_assert_str_eq(peer_text_of(&named, sizeof(named)), "unix");
	cr_assert_str_eq(peer_text_of(&unnamed, sizeof(unnamed)), "unix");
	cr_assert_str_eq(peer_text_of(&unnamed, 0), "unknown");
}

Test(stream, both_addresses_of_a_client)
{
	struct sockaddr_in address;
	int listener = listen_tcp(&address);
	struct sockaddr_storage local;
	struct brood_stream *stream;
	struct brood_timeouts timeouts = { FAR_MS, SHORT_MS, FAR_MS };
	socklen_t size;
	int peer;

	cr_assert_eq(brood_open(connect_tcp(&address), &timeouts, &stream), 0);
	cr_assert_eq(((const struct sockaddr_in *)brood_peer(stream, &size))->sin_port, address.sin_port);
	cr_assert_eq(size, sizeof(address));
	cr_assert_str_eq(brood_peer_text(stream), "127.0.0.1");
	peer = accept(listener, (struct sockaddr *)&address, &size);
	cr_assert_eq(brood_local(stream, &local, &size), 0);
	cr_assert_eq(size, sizeof(address));
	cr_assert_eq(((struct sockaddr_in *)&local)->sin_port, address.sin_port);
	cr_assert_eq(send(peer, "x", 1, 0), 1);
	cr_assert_eq(brood_await(stream), 1);
	brood_request_begin(stream);
	cr_assert(!brood_retiring(stream));
	EXPECT_TIMEOUT(SHORT_MS, brood_read_full(stream, &local, 2));
	brood_free(stream);
	brood_free(NULL);
	close(peer);
	close(listener);
}

/* ---- requests ---- */

static int begun, ended;

static void count_begin(struct brood_stream *stream)
{
	begun++;
}

static void count_end(struct brood_stream *stream)
{
	ended++;
}

static bool is_retiring(void)
{
	return ended == 1;
}

Test(stream, requests_are_told_to_the_host)
{
	static const struct brood_stream_host host = { count_begin, count_end, .retiring = is_retiring };
	struct brood_stream stream;

	brood_stream_init(&stream, &host);
	brood_request_end(&stream);
	cr_assert_eq(ended, 0);
	brood_request_begin(&stream);
	brood_request_begin(&stream);
	cr_assert_eq(begun, 1);
	cr_assert(!brood_retiring(&stream));
	brood_request_end(&stream);
	brood_request_end(&stream);
	cr_assert_eq(ended, 1);
	cr_assert_eq(stream.requests, 1);
	cr_assert(brood_retiring(&stream));
	brood_request_begin(&stream);
	brood_stream_attach(&stream, -1, &far_timeouts);
	cr_assert_eq(stream.requests, 0);
	brood_request_begin(&stream);
	cr_assert_eq(begun, 3);
	brood_stream_done(&stream);
}

/* ---- system calls ---- */

static void keep_alive_twice(void *argument)
{
	struct stream_pair pair;
	const char *text;

	pair_tcp(&pair, &far_timeouts);
	peer_send(&pair, "first\n", 6);
	for (int round = 0; round < 2; round++) {
		if (round == 1)
			calls_mark();
		if (brood_await(&pair.stream) != 1)
			_exit(1);
		brood_request_begin(&pair.stream);
		if (brood_read_until(&pair.stream, "\n", 1, 100, &text) != 6)
			_exit(1);
		if (brood_write_all(&pair.stream, text, 6) < 0)
			_exit(1);
		brood_request_end(&pair.stream);
		if (round == 0)
			peer_send(&pair, "again\n", 6);
	}
	brood_close(&pair.stream);
	calls_mark();
}

Test(stream, a_short_request_costs_one_recv_and_one_send)
{
	static const long expected[] = { SYS_recvfrom, SYS_sendto, SYS_close };
	struct calls calls;

	calls_of(keep_alive_twice, NULL, &calls);
	calls_expect(&calls, expected, 3);
}

static void close_after_half_close(void *argument)
{
	struct stream_pair pair;
	char bytes[16];

	pair_tcp(&pair, &far_timeouts);
	peer_send(&pair, "ask", 3);
	if (brood_read(&pair.stream, bytes, sizeof(bytes)) != 3 || brood_shutdown_write(&pair.stream) < 0)
		_exit(1);
	peer_send(&pair, "more", 4);
	close(pair.peer);
	calls_mark();
	brood_close(&pair.stream);
	calls_mark();
}

Test(stream, a_close_after_a_half_close_reads_to_the_end)
{
	static const long expected[] = { SYS_recvfrom, SYS_recvfrom, SYS_close };
	struct calls calls;

	calls_of(close_after_half_close, NULL, &calls);
	calls_expect(&calls, expected, 3);
}

static void close_after_timeout(void *argument)
{
	struct stream_pair pair;
	const char *text;

	pair_tcp(&pair, &short_read);
	peer_send(&pair, "half a li", 9);
	if (brood_read_until(&pair.stream, "\n", 1, 100, &text) != -ETIMEDOUT)
		_exit(1);
	calls_mark();
	brood_close(&pair.stream);
	calls_mark();
}

Test(stream, a_close_after_a_timeout_does_not_wait)
{
	static const long expected[] = { SYS_close };
	struct calls calls;

	calls_of(close_after_timeout, NULL, &calls);
	calls_expect(&calls, expected, 1);
}

static void head_and_small_file(void *argument)
{
	struct stream_pair pair;
	int file = file_of(128);
	char bytes[16];

	pair_tcp(&pair, &far_timeouts);
	peer_send(&pair, "ask", 3);
	calls_mark();
	if (brood_read(&pair.stream, bytes, sizeof(bytes)) != 3)
		_exit(1);
	if (brood_write_more(&pair.stream, "head", 4) < 0 || brood_send_file(&pair.stream, file, 0, 128) < 0)
		_exit(1);
	brood_close(&pair.stream);
	calls_mark();
}

Test(stream, a_short_file_costs_one_sendfile)
{
	static const long expected[] = { SYS_recvfrom, SYS_sendto, SYS_sendfile, SYS_close };
	struct calls calls;

	calls_of(head_and_small_file, NULL, &calls);
	calls_expect(&calls, expected, 4);
}

/* How many segments have reached the peer once it has read to the end. */
static unsigned int segments_to_peer(
	struct stream_pair *pair, int (*last_write)(struct brood_stream *, const void *, size_t))
{
	struct tcp_info info = { 0 };
	socklen_t size = sizeof(info);
	char bytes[16];

	pair_tcp(pair, &far_timeouts);
	peer_send(pair, "ask", 3);
	cr_assert_eq(brood_read(&pair->stream, bytes, sizeof(bytes)), 3);
	cr_assert_eq(last_write(&pair->stream, "answer", 6), 0);
	brood_close(&pair->stream);
	cr_assert_eq(recv(pair->peer, bytes, sizeof(bytes), MSG_WAITALL), 6);
	cr_assert_eq(recv(pair->peer, bytes, sizeof(bytes), 0), 0);
	cr_assert_eq(getsockopt(pair->peer, IPPROTO_TCP, TCP_INFO, &info, &size), 0);
	close(pair->peer);
	return info.tcpi_segs_in;
}

Test(stream, the_last_bytes_travel_with_the_end)
{
	struct stream_pair pair;
	unsigned int apart = segments_to_peer(&pair, brood_write_all);

	cr_assert_eq(segments_to_peer(&pair, brood_write_more), apart - 1);
}
