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

#include <brood/message.h>

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
	bool raw;
	struct brood_framing framing;
	size_t limit;
	uint64_t messages; /* UINT64_MAX: no end */
};

/* The bytes of a length in front, by enum echo_prefix. */
static const size_t prefix_sizes[] = { 1, 2, 4, 8 };

/* ---- the module ---- */

/* Writes back. The last bytes leave with the end of the stream, in one segment: serve() returns after them. */
static int write_back(struct brood_stream *stream, const char *message, size_t size, bool is_last)
{
	return is_last ? brood_write_more(stream, message, size) : brood_write_all(stream, message, size);
}

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
		ret = write_back(stream, buffer, (size_t)got, left == 1);
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
		size_t size;
		int ret = brood_await(stream);

		if (ret <= 0)
			return ret;
		brood_request_begin(stream);
		ret = brood_message_read(stream, &echo->framing, &message, &size);
		if (ret <= 0)
			return ret;
		ret = brood_message_write(stream, &echo->framing, message, size);
		if (ret < 0)
			return ret;
		brood_request_end(stream);
	}
	return 0;
}

static int echo_serve(void *state, struct brood_stream *stream)
{
	const struct echo *echo = state;

	return echo->raw ? serve_raw(echo, stream) : serve_framed(echo, stream);
}

static int echo_check(const union brood_value *values, char *reason, size_t size)
{
	int64_t message = values[OPTION_SIZE].number, limit = values[OPTION_LIMIT].number;

	if (values[OPTION_FRAMING].number != FRAMING_FIXED || message <= limit)
		return 0;
	snprintf(reason, size, "size = %" PRId64 " is over limit = %" PRId64, message, limit);
	return -EINVAL;
}

/* The framing that the options ask for; raw has none. */
static struct brood_framing framing_of(const union brood_value *values)
{
	size_t limit = (size_t)values[OPTION_LIMIT].number;
	enum echo_prefix prefix = (enum echo_prefix)values[OPTION_PREFIX].number;

	switch ((enum echo_framing)values[OPTION_FRAMING].number) {
	case FRAMING_LINE: /* the newline counts towards our limit */
		return (struct brood_framing){
			.kind = BROOD_FRAMING_DELIMITER, .delimiter = "\n", .delimiter_size = 1, .limit = limit - 1
		};
	case FRAMING_LENGTH:
		if (prefix == PREFIX_TEXT)
			return (struct brood_framing){ .kind = BROOD_FRAMING_LENGTH_TEXT, .limit = limit };
		return (struct brood_framing){
			.kind = BROOD_FRAMING_LENGTH, .size = prefix_sizes[prefix], .limit = limit
		};
	case FRAMING_FIXED:
		return (struct brood_framing){ .kind = BROOD_FRAMING_FIXED,
			.size = (size_t)values[OPTION_SIZE].number };
	case FRAMING_RAW:
		break;
	}
	return (struct brood_framing){ 0 };
}

static int echo_start(const struct brood_start *start, void **ret_state)
{
	const union brood_value *values = start->values;
	/* A worker has one handler. From the heap it would cost each of them two pages of its own. */
	static struct echo state;

	state = (struct echo){
		.raw = values[OPTION_FRAMING].number == FRAMING_RAW,
		.framing = framing_of(values),
		.limit = (size_t)values[OPTION_LIMIT].number,
		.messages = values[OPTION_MESSAGES].number == 0 ? UINT64_MAX : (uint64_t)values[OPTION_MESSAGES].number,
	};
	*ret_state = &state;
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
