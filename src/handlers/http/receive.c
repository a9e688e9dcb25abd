/* SPDX-License-Identifier: MIT */
#include "handlers/http/receive.h"

#include <errno.h>

#include "base/clock.h"

/*
 * One time-out over several reads. It shortens the stream's read time-out from read to read, rather than set a
 * deadline, which belongs to the request as a whole.
 */
struct patience {
	struct brood_timeouts before;
	uint64_t end_us; /* 0: not begun, as the whole of it came at once */
};

/* To be called before each read but the first. False: the time is over. */
static bool patience_renew(struct patience *patience, struct brood_stream *stream)
{
	struct brood_timeouts timeouts;
	uint64_t now_us, left_ms;

	if (patience->end_us == 0) {
		patience->before = brood_get_timeouts(stream);
		patience->end_us = UINT64_MAX;
		if (patience->before.read_ms > 0)
			patience->end_us = clock_monotonic_us() + (uint64_t)patience->before.read_ms * 1000;
		return true;
	}
	if (patience->end_us == UINT64_MAX)
		return true;
	now_us = clock_monotonic_us();
	if (now_us >= patience->end_us)
		return false;
	left_ms = (patience->end_us - now_us + 999) / 1000;
	timeouts = patience->before;
	timeouts.read_ms = (uint32_t)left_ms;
	brood_set_timeouts(stream, &timeouts);
	return true;
}

static void patience_done(const struct patience *patience, struct brood_stream *stream)
{
	if (patience->end_us != 0)
		brood_set_timeouts(stream, &patience->before);
}

/* What the failure to read inside a request is to the client. */
static int refusal_of(ssize_t result)
{
	if (result == 0)
		return 400; /* the end of the stream; the client may have half-closed, and listen */
	if (result == -ETIMEDOUT)
		return 408;
	return (int)result;
}

int receive_head(struct brood_stream *stream, const struct head_limits *limits, const char **ret_text, size_t *ret_size)
{
	struct head_scan scan = { 0 };
	struct patience patience = { 0 };
	size_t have = 0;
	int refused;

	*ret_text = NULL;
	for (;;) {
		ssize_t size = brood_peek(stream, have, limits->head, ret_text);

		refused = size > 0 ? head_scan(&scan, *ret_text, (size_t)size, limits) : refusal_of(size);
		if (size > 0)
			have = (size_t)size;
		if (refused != 0 || scan.length > 0)
			break;
		if (!patience_renew(&patience, stream)) {
			refused = 408;
			break;
		}
	}
	patience_done(&patience, stream);
	/* A read that brought nothing may have moved what had come before. It is buffered: this waits for nothing. */
	if (refused > 0 && have > 0)
		have = (size_t)brood_peek(stream, 0, 1, ret_text);
	*ret_size = scan.length > 0 ? scan.length : have;
	return refused;
}

/* The next bytes of a body, all that are buffered. Returns their count or, if it is not positive, what to make of it.
 */
static ssize_t next_bytes(struct brood_stream *stream, struct patience *patience, const char **ret_text)
{
	if (!patience_renew(patience, stream))
		return -ETIMEDOUT;
	return brood_peek(stream, 0, 1, ret_text);
}

static int receive_counted(struct brood_stream *stream, uint64_t left, struct patience *patience)
{
	while (left > 0) {
		const char *text;
		ssize_t size = next_bytes(stream, patience, &text);
		size_t taken;

		if (size <= 0)
			return refusal_of(size);
		taken = (uint64_t)size < left ? (size_t)size : (size_t)left;
		brood_consume(stream, taken);
		left -= taken;
	}
	return 0;
}

static int receive_chunked(struct brood_stream *stream, const struct chunk_limits *limits, struct patience *patience)
{
	struct chunk_parser parser = { 0 };
	int result = CHUNK_MORE;

	while (result == CHUNK_MORE) {
		const char *text;
		ssize_t size = next_bytes(stream, patience, &text);
		size_t used;

		if (size <= 0)
			return refusal_of(size);
		result = chunk_feed(&parser, text, (size_t)size, limits, &used);
		brood_consume(stream, used);
	}
	return result == CHUNK_DONE ? 0 : result;
}

int receive_body(struct brood_stream *stream, const struct head *head, const struct chunk_limits *limits)
{
	struct patience patience = { 0 };
	int refused;

	if (head->length > limits->body)
		return 413;
	if (head->chunked)
		refused = receive_chunked(stream, limits, &patience);
	else
		refused = receive_counted(stream, head->length, &patience);
	patience_done(&patience, stream);
	return refused;
}
