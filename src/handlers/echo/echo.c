/* SPDX-License-Identifier: MIT */
/*
 * echo: returns what it reads, in one of four ways to tell where a message ends. Each message is a request.
 *
 *	raw     a message is what one read brings, at most `limit` and 16 KiB
 *	line    up to a newline, which is returned too and counts towards `limit`
 *	length  a prefix says how many bytes follow (big-endian in 1, 2, 4 or 8 bytes, or decimal digits without leading
 *	        zeros and a newline); the prefix is returned too and does not count towards `limit`
 *	fixed   `size` bytes
 *
 * A message that violates its framing is not answered: serve() ends with -EMSGSIZE (over the limit), -EBADMSG (a
 * length that is none, an end of the stream in the middle) or the error of the stream, and the connection is
 * closed in order, so that the answers before it arrive. There is no way to say "no more" within the protocol: a
 * connection goes on, also in a worker that retires, until its client ends it or is silent for too long.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "build_config.h"
#include "handlers/handlers.h"

#define READ_SIZE ((size_t)16384)

enum echo_option {
	OPTION_FRAMING,
	OPTION_LIMIT,
	OPTION_PREFIX,
	OPTION_SIZE,
	OPTION_MESSAGES,
};

enum echo_framing {
	FRAMING_RAW,
	FRAMING_LINE,
	FRAMING_LENGTH,
	FRAMING_FIXED,
};

enum echo_prefix {
	PREFIX_1,
	PREFIX_2,
	PREFIX_4,
	PREFIX_8,
	PREFIX_TEXT,
};

static const char *const framings[] = { "raw", "line", "length", "fixed", NULL };
static const char *const prefixes[] = { "1", "2", "4", "8", "text", NULL };

static const struct brood_option options[] = {
	[OPTION_FRAMING] = {
		.name = "framing",
		.type = BROOD_OPTION_CHOICE,
		.fallback = "raw",
		.choices = framings,
		.help = "How a message ends: with what one read brings, at a newline, by a length in front, after a fixed size.",
	},
	[OPTION_LIMIT] = {
		.name = "limit",
		.type = BROOD_OPTION_SIZE,
		.fallback = "64K",
		.min = 1,
		.max = 1024 * 1024 * 1024,
		.help = "The longest message, with its newline and without its length; a longer one closes the connection.",
	},
	[OPTION_PREFIX] = {
		.name = "prefix",
		.type = BROOD_OPTION_CHOICE,
		.fallback = "4",
		.choices = prefixes,
		.help = "With framing = length: the bytes of the length, big-endian, or decimal text that ends in a newline.",
	},
	[OPTION_SIZE] = {
		.name = "size",
		.type = BROOD_OPTION_SIZE,
		.fallback = "128",
		.min = 1,
		.max = 1024 * 1024 * 1024,
		.help = "With framing = fixed: the size of every message, at most the limit.",
	},
	[OPTION_MESSAGES] = {
		.name = "messages",
		.type = BROOD_OPTION_NUMBER,
		.fallback = "0",
		.min = 0,
		.max = 1000000000,
		.help = "Closes a connection after so many messages (raw: reads); 0 leaves that to the client.",
	},
	{ .name = NULL },
};

struct echo {
	/* Finds the next whole message of the stream, which has a byte of it. Returns its length, framing included. */
	ssize_t (*next)(const struct echo *echo, struct brood_stream *stream, const char **ret_message);
	size_t limit;
	size_t size;
	enum echo_prefix prefix;
	uint64_t messages; /* UINT64_MAX: no end */
};

/* ---- the framings ---- */

/* Waits until SIZE bytes of a message are there, and leaves them. Returns SIZE. */
static ssize_t gather(struct brood_stream *stream, size_t size, const char **ret_message)
{
	size_t have = 0;

	while (have < size) {
		ssize_t got = brood_peek(stream, have, size, ret_message);

		if (got < 0)
			return got;
		if (got == 0)
			return -EBADMSG;
		have = (size_t)got;
	}
	return (ssize_t)size;
}

static ssize_t take(struct brood_stream *stream, size_t size, const char **ret_message)
{
	ssize_t ret = gather(stream, size, ret_message);

	if (ret > 0)
		brood_consume(stream, size);
	return ret;
}

static ssize_t next_line(const struct echo *echo, struct brood_stream *stream, const char **ret_message)
{
	return brood_read_until(stream, "\n", 1, echo->limit, ret_message);
}

static ssize_t next_fixed(const struct echo *echo, struct brood_stream *stream, const char **ret_message)
{
	return take(stream, echo->size, ret_message);
}

static ssize_t next_counted(const struct echo *echo, struct brood_stream *stream, const char **ret_message)
{
	size_t prefix_size = (size_t)1 << echo->prefix;
	const char *prefix;
	uint64_t length = 0;
	ssize_t ret = gather(stream, prefix_size, &prefix);

	if (ret < 0)
		return ret;
	for (size_t k = 0; k < prefix_size; k++)
		length = length << 8 | (unsigned char)prefix[k];
	if (length > echo->limit)
		return -EMSGSIZE;
	return take(stream, prefix_size + (size_t)length, ret_message);
}

/* Reads the length at the front of TEXT. Returns the prefix's size, 0 if it has not ended yet, or a negative errno. */
static ssize_t parse_text_length(const char *text, size_t size, size_t limit, size_t *ret_length)
{
	size_t length = 0;

	for (size_t k = 0; k < size; k++) {
		unsigned int digit = (unsigned int)(unsigned char)text[k] - '0';

		if (text[k] == '\n' && k > 0) {
			*ret_length = length;
			return (ssize_t)k + 1;
		}
		if (digit > 9 || (k == 1 && text[0] == '0'))
			return -EBADMSG;
		length = length * 10 + digit;
		if (length > limit)
			return -EMSGSIZE;
	}
	return 0;
}

static ssize_t next_text_counted(const struct echo *echo, struct brood_stream *stream, const char **ret_message)
{
	size_t have = 0, length = 0;
	ssize_t prefix_size = 0;

	while (prefix_size == 0) {
		const char *text;
		ssize_t got = brood_peek(stream, have, have + 1, &text);

		if (got <= 0)
			return got == 0 ? -EBADMSG : got;
		have = (size_t)got;
		prefix_size = parse_text_length(text, have, echo->limit, &length);
	}
	if (prefix_size < 0)
		return prefix_size;
	return take(stream, (size_t)prefix_size + length, ret_message);
}

/* ---- the module ---- */

static int serve_raw(const struct echo *echo, struct brood_stream *stream)
{
	char buffer[READ_SIZE];
	size_t size = echo->limit < sizeof(buffer) ? echo->limit : sizeof(buffer);

	for (uint64_t left = echo->messages; left > 0; left--) {
		ssize_t got = brood_read(stream, buffer, size);
		int ret;

		if (got <= 0)
			return (int)got;
		brood_request_begin(stream);
		ret = brood_write_all(stream, buffer, (size_t)got);
		if (ret < 0)
			return ret;
		brood_request_end(stream);
	}
	return 0;
}

static int serve_framed(const struct echo *echo, struct brood_stream *stream)
{
	for (uint64_t left = echo->messages; left > 0; left--) {
		const char *message;
		ssize_t size;
		int ret = brood_await(stream);

		if (ret <= 0)
			return ret;
		brood_request_begin(stream);
		size = echo->next(echo, stream, &message);
		if (size <= 0)
			return (int)size;
		ret = brood_write_all(stream, message, (size_t)size);
		if (ret < 0)
			return ret;
		brood_request_end(stream);
	}
	return 0;
}

static int echo_serve(void *state, struct brood_stream *stream)
{
	const struct echo *echo = state;

	return echo->next ? serve_framed(echo, stream) : serve_raw(echo, stream);
}

static int echo_check(const union brood_value *values, char *reason, size_t size)
{
	int64_t message = values[OPTION_SIZE].number, limit = values[OPTION_LIMIT].number;

	if (values[OPTION_FRAMING].number != FRAMING_FIXED || message <= limit)
		return 0;
	snprintf(reason, size, "size = %" PRId64 " is over limit = %" PRId64, message, limit);
	return -EINVAL;
}

static int echo_start(const struct brood_start *start, void **ret_state)
{
	const union brood_value *values = start->values;
	enum echo_framing framing = (enum echo_framing)values[OPTION_FRAMING].number;
	/* A worker has one handler. From the heap it would cost each of them two pages of its own. */
	static struct echo state;
	struct echo *echo = &state;

	*echo = (struct echo){ 0 };
	echo->limit = (size_t)values[OPTION_LIMIT].number;
	echo->size = (size_t)values[OPTION_SIZE].number;
	echo->prefix = (enum echo_prefix)values[OPTION_PREFIX].number;
	echo->messages = values[OPTION_MESSAGES].number == 0 ? UINT64_MAX : (uint64_t)values[OPTION_MESSAGES].number;
	if (framing == FRAMING_LINE)
		echo->next = next_line;
	else if (framing == FRAMING_FIXED)
		echo->next = next_fixed;
	else if (framing == FRAMING_LENGTH)
		echo->next = echo->prefix == PREFIX_TEXT ? next_text_counted : next_counted;
	*ret_state = echo;
	return 0;
}

const struct brood_module handler_echo = {
	.abi = BROOD_MODULE_ABI,
	.size = sizeof(struct brood_module),
	.name = "echo",
	.version = BROOD_VERSION,
	.options = options,
	.check = echo_check,
	.start = echo_start,
	.serve = echo_serve,
};
