/* SPDX-License-Identifier: MIT */
#include "tests/unit/stream_pair.h"

#include <poll.h>
#include <sched.h>
#include <stdio.h>

#include "handlers/handlers.h"

enum framing { RAW, LINE, LENGTH, FIXED };
enum prefix { BYTES_1, BYTES_2, BYTES_4, BYTES_8, TEXT };

/* In the order of the options. */
struct settings {
	enum framing framing;
	int64_t limit;
	enum prefix prefix;
	int64_t size;
	int64_t messages;
};

static int echo_new(const struct settings *settings, void **ret_state)
{
	union brood_value values[] = {
		{ .number = settings->framing },
		{ .number = settings->limit },
		{ .number = settings->prefix },
		{ .number = settings->size },
		{ .number = settings->messages },
	};
	struct brood_start start = { .pool = "test", .values = values };

	return handler_echo.start(&start, ret_state);
}

/* Serves one connection with the time-outs of the pair, and closes it. */
static int serve(const struct settings *settings, struct stream_pair *pair)
{
	void *state;
	int ret;

	cr_assert_eq(echo_new(settings, &state), 0);
	ret = handler_echo.serve(state, &pair->stream);
	cr_assert_null(handler_echo.stop, "it has nothing to free");
	brood_close(&pair->stream);
	return ret;
}

/* A client says all of SAID and ends; it must hear HEARD, in order and to its end, and serve() return RESULT. */
static void expect_bytes(const struct settings *settings, const char *said, size_t said_size, const char *heard,
	size_t heard_size, int result)
{
	static char got[1 << 20];
	struct stream_pair pair;
	ssize_t size;
	int ret;

	pair_tcp(&pair, &far_timeouts);
	peer_send(&pair, said, said_size);
	shutdown(pair.peer, SHUT_WR);
	ret = serve(settings, &pair);
	cr_assert_eq(ret, result, "serve() returned %d, not %d", ret, result);
	size = peer_receive_all(pair.peer, got, sizeof(got));
	cr_assert_eq(size, (ssize_t)heard_size, "heard %zd bytes, not %zu", size, heard_size);
	cr_assert_arr_eq(got, heard, heard_size);
	cr_assert_eq(pair.stream.bytes_out, heard_size);
	pair_done(&pair);
}

static void expect(const struct settings *settings, const char *said, const char *heard, int result)
{
	expect_bytes(settings, said, strlen(said), heard, strlen(heard), result);
}

/* ---- the options ---- */

Test(echo, defaults_are_as_the_manual_says)
{
	static const char *const names[] = { "framing", "limit", "prefix", "size", "messages", NULL };
	static const char *const fallbacks[] = { "raw", "64K", "4", "128", "0", NULL };
	const struct brood_option *option = handler_echo.options;

	for (size_t k = 0; names[k]; k++, option++) {
		cr_assert_str_eq(option->name, names[k]);
		cr_assert_str_eq(option->fallback, fallbacks[k]);
		cr_assert_not_null(option->help);
	}
	cr_assert_null(option->name);
}

Test(echo, a_fixed_size_over_the_limit_is_refused)
{
	union brood_value values[] = { { .number = FIXED }, { .number = 100 }, { 0 }, { .number = 101 }, { 0 } };
	char reason[64] = "";

	cr_assert_eq(handler_echo.check(values, reason, sizeof(reason)), -EINVAL);
	cr_assert_str_eq(reason, "size = 101 is over limit = 100");
	values[3].number = 100;
	cr_assert_eq(handler_echo.check(values, reason, sizeof(reason)), 0);
	values[0].number = LINE;
	values[3].number = 101;
	cr_assert_eq(handler_echo.check(values, reason, sizeof(reason)), 0, "size counts for fixed alone");
}

/* ---- raw ---- */

Test(echo, raw_returns_what_it_reads_until_the_client_ends)
{
	const struct settings settings = { RAW, 65536, BYTES_4, 128, 0 };
	static char text[100000];

	expect(&settings, "", "", 0);
	expect(&settings, "hello\nworld", "hello\nworld", 0);
	for (size_t k = 0; k < sizeof(text); k++)
		text[k] = (char)(k * 31 + k / 127);
	expect_bytes(&settings, text, sizeof(text), text, sizeof(text), 0);
}

Test(echo, raw_reads_at_most_its_limit_and_counts_reads)
{
	const struct settings settings = { RAW, 4, BYTES_4, 128, 2 };

	expect(&settings, "0123456789", "01234567", 0);
}

/* ---- lines ---- */

Test(echo, lines_come_back_with_their_ends)
{
	const struct settings settings = { LINE, 8, BYTES_4, 128, 0 };

	expect(&settings, "one\n\nthree\r\n", "one\n\nthree\r\n", 0);
	expect(&settings, "1234567\n", "1234567\n", 0);
	expect(&settings, "one\n12345678\ntwo\n", "one\n", -EMSGSIZE);
	expect(&settings, "one\ntwo", "one\n", -EBADMSG);
}

/* ---- a length in front ---- */

Test(echo, lengths_of_each_width)
{
	static const char zeros[7];
	char text[64];

	for (enum prefix prefix = BYTES_1; prefix <= BYTES_8; prefix++) {
		const struct settings settings = { LENGTH, 5, prefix, 128, 0 };
		size_t width = (size_t)1 << prefix, size = 0;

		/* Two messages and an empty one. */
		for (const char *body = "hello\0abc\0\0"; size < 3 * width + 8; body += strlen(body) + 1) {
			memcpy(text + size, zeros, width - 1);
			text[size + width - 1] = (char)strlen(body);
			memcpy(text + size + width, body, strlen(body));
			size += width + strlen(body);
		}
		expect_bytes(&settings, text, size, text, size, 0);
		/* The end of the stream within a body, within a prefix. */
		expect_bytes(&settings, text, width + 4, text, 0, -EBADMSG);
		if (width > 1)
			expect_bytes(&settings, text, width + 5 + width - 1, text, width + 5, -EBADMSG);
		/* One over the limit. */
		text[width - 1] = 6;
		expect_bytes(&settings, text, width + 6, text, 0, -EMSGSIZE);
	}
}

Test(echo, lengths_are_big_endian_and_never_overflow)
{
	static char text[4 + 0x10203];
	const struct settings settings = { LENGTH, 0x10203, BYTES_4, 128, 0 };
	const struct settings wide = { LENGTH, 0x10203, BYTES_8, 128, 0 };

	memset(text, 'x', sizeof(text));
	memcpy(text, "\x00\x01\x02\x03", 4);
	expect_bytes(&settings, text, sizeof(text), text, sizeof(text), 0);
	memcpy(text, "\x00\x01\x02\x04", 4);
	expect_bytes(&settings, text, sizeof(text), text, 0, -EMSGSIZE);
	expect_bytes(&wide, "\xff\xff\xff\xff\xff\xff\xff\xf8", 8, "", 0, -EMSGSIZE);
	expect_bytes(&wide, "\x00\x00\x00\x01\x00\x00\x00\x01x", 9, "", 0, -EMSGSIZE);
}

Test(echo, lengths_as_text)
{
	const struct settings settings = { LENGTH, 12, TEXT, 128, 0 };

	expect(&settings, "5\nhello0\n12\nhello, world1\n\n", "5\nhello0\n12\nhello, world1\n\n", 0);
	expect(&settings, "5\nhello13\nhello, world!", "5\nhello", -EMSGSIZE);
	expect(&settings, "99999999999999999999999999", "", -EMSGSIZE);
	expect(&settings, "\nx", "", -EBADMSG);
	expect(&settings, "05\nhello", "", -EBADMSG);
	expect(&settings, "00", "", -EBADMSG);
	expect(&settings, " 5\nhello", "", -EBADMSG);
	expect(&settings, "-1\n", "", -EBADMSG);
	expect(&settings, "+1\nx", "", -EBADMSG);
	expect(&settings, "5\r\nhello", "", -EBADMSG);
	expect(&settings, "5:hello,", "", -EBADMSG);
	expect(&settings, "5", "", -EBADMSG);
	expect(&settings, "5\nhell", "", -EBADMSG);
}

/* ---- a fixed size ---- */

Test(echo, messages_of_a_fixed_size)
{
	const struct settings settings = { FIXED, 4, BYTES_4, 4, 0 };

	expect(&settings, "abcdefgh", "abcdefgh", 0);
	expect(&settings, "abcdefg", "abcd", -EBADMSG);
}

/* ---- all of them ---- */

static const struct settings every[] = {
	{RAW,     4, BYTES_4, 4, 3},
	{ LINE,   4, BYTES_4, 4, 3},
	{ LENGTH, 4, BYTES_1, 4, 3},
	{ LENGTH, 4, TEXT,    4, 3},
	{ FIXED,  4, BYTES_4, 4, 3},
};
static const char *const messages[] = { "abcd", "abc\n", "\4abcd", "4\nabcd", "abcd" };

#define EVERY (sizeof(every) / sizeof(every[0]))

static void repeat(const char *text, size_t count, char *ret_text)
{
	*ret_text = '\0';
	for (size_t k = 0; k < count; k++)
		strcat(ret_text, text);
}

Test(echo, closes_after_so_many_messages)
{
	char five[64], three[64];

	for (size_t k = 0; k < EVERY; k++) {
		repeat(messages[k], 5, five);
		repeat(messages[k], 3, three);
		expect(&every[k], five, three, 0);
	}
}

/* Each byte is sent once the one before has been taken up, and every answer comes. */
static void *say_by_bytes(void *argument)
{
	struct stream_pair *pair = argument;
	const char *text = *(const char **)(pair + 1);

	for (; *text; text++) {
		int unread = 1;

		if (send(pair->peer, text, 1, MSG_NOSIGNAL) != 1)
			break;
		while (ioctl(pair->peer, SIOCOUTQ, &unread) == 0 && unread > 0)
			sched_yield();
	}
	shutdown(pair->peer, SHUT_WR);
	return NULL;
}

Test(echo, messages_that_come_byte_by_byte)
{
	for (size_t k = 0; k < EVERY; k++) {
		struct {
			struct stream_pair pair;
			const char *text;
		} said;
		struct settings settings = every[k];
		char text[256], heard[256];
		pthread_t thread;

		settings.messages = 0;
		repeat(messages[k], 20, text);
		said.text = text;
		pair_unix(&said.pair, &far_timeouts);
		thread = in_thread(say_by_bytes, &said);
		cr_assert_eq(serve(&settings, &said.pair), 0);
		pthread_join(thread, NULL);
		cr_assert_eq(peer_receive_all(said.pair.peer, heard, sizeof(heard)), (ssize_t)strlen(text));
		cr_assert_arr_eq(heard, text, strlen(text));
		if (settings.framing != RAW)
			cr_assert_eq(said.pair.stream.requests, 20);
		pair_done(&said.pair);
	}
}

Test(echo, silence_between_messages_is_idle_and_within_one_is_read)
{
	const struct brood_timeouts idle = { 50, FAR_MS, FAR_MS }, read = { FAR_MS, 50, FAR_MS };

	for (size_t k = 0; k < EVERY; k++) {
		struct stream_pair pair;
		uint64_t begin_ms = now_ms();

		pair_tcp(&pair, &idle);
		peer_send(&pair, messages[k], strlen(messages[k]));
		cr_assert_eq(serve(&every[k], &pair), -ETIMEDOUT);
		cr_assert_eq(pair.stream.requests, 1);
		pair_done(&pair);
		if (every[k].framing != RAW) {
			pair_tcp(&pair, &read);
			peer_send(&pair, messages[k], strlen(messages[k]) - 1);
			cr_assert_eq(serve(&every[k], &pair), -ETIMEDOUT);
			cr_assert_eq(pair.stream.requests, 0);
			pair_done(&pair);
		}
		cr_assert_lt(now_ms() - begin_ms, FAR_MS / 2);
	}
}

/* ---- requests, as the worker counts them ---- */

static int begun, ended;

static void count_begin(struct brood_stream *stream)
{
	cr_assert_eq(begun, ended);
	begun++;
}

static void count_end(struct brood_stream *stream)
{
	ended++;
	cr_assert_eq(begun, ended);
	cr_assert_eq(stream->requests, (uint32_t)ended);
}

Test(echo, each_message_is_a_request)
{
	static const struct brood_stream_host host = { .request_begin = count_begin, .request_end = count_end };

	for (size_t k = 0; k < EVERY; k++) {
		struct stream_pair pair;
		char text[64];

		begun = ended = 0;
		repeat(messages[k], 3, text);
		pair_tcp(&pair, &far_timeouts);
		pair.stream.host = &host;
		peer_send(&pair, text, strlen(text));
		shutdown(pair.peer, SHUT_WR);
		cr_assert_eq(serve(&every[k], &pair), 0);
		cr_assert_eq(ended, 3);
		cr_assert_eq(begun, 3);
		pair_done(&pair);
	}
}

/* ---- system calls ---- */

struct served {
	struct settings settings;
	const char *text;
};

/* What a worker does with a connection, after one that has brought its buffers into memory. */
static void serve_as_worker(void *argument)
{
	struct served *served = argument;
	struct brood_stream stream;
	struct sockaddr_in address;
	int listener = listen_tcp(&address);
	void *state;

	set_timeout(listener, SO_RCVTIMEO, far_timeouts.idle_ms);
	set_timeout(listener, SO_SNDTIMEO, far_timeouts.write_ms);
	if (echo_new(&served->settings, &state) < 0)
		_exit(1);
	brood_stream_init(&stream, NULL);
	for (int round = 0; round < 2; round++) {
		int peer = connect_tcp(&address);
		char heard[64];

		if (send(peer, served->text, strlen(served->text), 0) != (ssize_t)strlen(served->text))
			_exit(1);
		if (round == 1)
			calls_mark();
		stream.peer_size = sizeof(stream.peer);
		brood_stream_attach(&stream,
			accept4(listener, (struct sockaddr *)&stream.peer, &stream.peer_size, SOCK_CLOEXEC),
			&far_timeouts);
		if (handler_echo.serve(state, &stream) != 0)
			_exit(1);
		brood_close(&stream);
		if (round == 1)
			calls_mark();
		if (peer_receive_all(peer, heard, sizeof(heard)) != (ssize_t)strlen(served->text))
			_exit(1);
		close(peer);
	}
}

Test(echo, one_message_costs_the_four_calls_of_the_bare_loop)
{
	static const long expected[] = { SYS_accept4, SYS_recvfrom, SYS_sendto, SYS_close };

	for (size_t k = 0; k < EVERY; k++) {
		struct served served = { every[k], messages[k] };
		struct calls calls;

		served.settings.messages = 1;
		served.settings.limit = 65536;
		calls_of(serve_as_worker, &served, &calls);
		calls_expect(&calls, expected, 4);
	}
}

/* ---- a close that loses no answer ---- */

/* What a client hears that reads only once the connection has been ended from the other side, by a reset or in order.
 */
static void *hear_after_the_end(void *argument)
{
	struct stream_pair *pair = argument;
	struct pollfd entry = { .fd = pair->peer, .events = POLLRDHUP };
	static char heard[64];
	ssize_t size;

	poll(&entry, 1, FAR_MS);
	size = peer_receive_all(pair->peer, heard, sizeof(heard) - 1);
	close(pair->peer);
	pair->peer = -1;
	if (size < 0)
		return NULL;
	heard[size] = '\0';
	return heard;
}

Test(echo, answers_before_a_violation_arrive)
{
	static const struct settings settings[] = {
		{LINE,    8, BYTES_4, 4, 0},
		{ LENGTH, 8, BYTES_8, 4, 0},
		{ LENGTH, 8, TEXT,    4, 0},
	};
	static const char lengths[] = "\0\0\0\0\0\0\0\2ok\xff\xff\xff\xff\xff\xff\xff\xff";
	static const char *const good[] = { "good\n", lengths, "4\ngood" };
	static const size_t good_sizes[] = { 5, 18, 6 };
	static char flood[60000];

	memset(flood, 'x', sizeof(flood));
	for (size_t k = 0; k < 3; k++) {
		struct stream_pair pair;
		pthread_t thread;
		void *heard;

		pair_tcp(&pair, &far_timeouts);
		peer_send(&pair, good[k], good_sizes[k]);
		peer_send(&pair, flood, sizeof(flood));
		thread = in_thread(hear_after_the_end, &pair);
		cr_assert_lt(serve(&settings[k], &pair), 0);
		pthread_join(thread, &heard);
		cr_assert_not_null(heard, "the connection was reset");
		cr_assert_eq(memcmp(heard, good[k], k == 1 ? 10 : good_sizes[k]), 0);
		pair_done(&pair);
	}
}
