/* SPDX-License-Identifier: MIT */
#include "libbrood/wait.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define DELIMITER_SIZE_MAX 16

/* Room below this is not worth a recv(2) while what is buffered can be moved down instead. */
#define ROOM_MIN (STREAM_BUFFER_SIZE / 4)

static size_t buffered(const struct brood_stream *stream)
{
	return stream->end - stream->start;
}

/* ---- from the socket ---- */

/* Between requests the peer may be silent for `idle`; within one, `read`. Bytes that are buffered are one begun. */
static uint32_t next_byte_timeout_ms(const struct brood_stream *stream)
{
	if (stream->in_request || stream->start != stream->end)
		return stream->timeouts.read_ms;
	return stream->timeouts.idle_ms;
}

/* Whether a plain recv(2), bounded by SO_RCVTIMEO, waits as long as it should and no longer. */
static bool socket_bounds_wait(const struct brood_stream *stream, uint32_t timeout_ms)
{
	if (timeout_ms != stream->socket_idle_ms)
		return false;
	if (LIKELY(stream->deadline_us == 0))
		return true;
	return timeout_ms != 0 && wait_clock_us() + (uint64_t)timeout_ms * 1000 <= stream->deadline_us;
}

static ssize_t count_received(struct brood_stream *stream, size_t got, size_t asked)
{
	stream->bytes_in += got;
	stream->may_have_more = got == asked;
	if (UNLIKELY(got == 0))
		stream->at_end = true;
	return (ssize_t)got;
}

static ssize_t receive_failed(struct brood_stream *stream, int error)
{
	stream->given_up = true;
	return -error;
}

static ssize_t receive_by_poll(struct brood_stream *stream, void *buffer, size_t size, uint32_t timeout_ms)
{
	uint64_t end_us = 0;

	for (;;) {
		ssize_t got;
		int ret;

		if (wait_deadline_passed(stream)) {
			stream->may_have_more = true;
			return -ETIMEDOUT;
		}
		got = recv(stream->fd, buffer, size, MSG_DONTWAIT);
		if (got >= 0)
			return count_received(stream, (size_t)got, size);
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return receive_failed(stream, errno);
		if (end_us == 0)
			end_us = wait_end_us(stream, timeout_ms);
		ret = wait_for_events(stream->fd, POLLIN, end_us);
		if (ret < 0)
			return receive_failed(stream, -ret);
	}
}

/*
 * Receives at least one byte, at most SIZE (not 0), within TIMEOUT_MS. Returns 0 at the end of the stream.
 *
 * The way of a short request is the one recv(2) here, without a look at the clock. When it is interrupted nobody knows
 * how long it has waited, so the time-out is counted from the first interruption, and from then on by the clock.
 */
static ssize_t receive(struct brood_stream *stream, void *buffer, size_t size, uint32_t timeout_ms)
{
	ssize_t got;

	if (UNLIKELY(!socket_bounds_wait(stream, timeout_ms)))
		return receive_by_poll(stream, buffer, size, timeout_ms);
	got = recv(stream->fd, buffer, size, 0);
	if (LIKELY(got >= 0))
		return count_received(stream, (size_t)got, size);
	if (errno == EINTR)
		return receive_by_poll(stream, buffer, size, timeout_ms);
	if (errno != EAGAIN)
		return receive_failed(stream, errno);
	/* SO_RCVTIMEO has passed. Where there is none, the descriptor has been made non-blocking. */
	if (timeout_ms == 0)
		return receive_by_poll(stream, buffer, size, timeout_ms);
	return receive_failed(stream, ETIMEDOUT);
}

/* ---- into the buffer ---- */

static int buffer_resize(struct brood_stream *stream, size_t capacity)
{
	char *buffer = realloc(stream->buffer, capacity);

	if (!buffer)
		return -ENOMEM;
	stream->buffer = buffer;
	stream->capacity = capacity;
	return 0;
}

static void buffer_move_down(struct brood_stream *stream)
{
	memmove(stream->buffer, stream->buffer + stream->start, buffered(stream));
	stream->end -= stream->start;
	stream->start = 0;
}

/* Makes room behind what is buffered; the buffer holds up to LIMIT bytes, or its standard size where that is more. */
static int buffer_make_room(struct brood_stream *stream, size_t limit)
{
	size_t capacity = stream->capacity * 2;

	if (LIKELY(stream->start == stream->end)) {
		stream->start = stream->end = 0;
		return LIKELY(stream->buffer != NULL) ? 0 : buffer_resize(stream, STREAM_BUFFER_SIZE);
	}
	if (stream->start > 0 && stream->capacity - stream->end < ROOM_MIN)
		buffer_move_down(stream);
	if (stream->end < stream->capacity)
		return 0;
	if (capacity > limit)
		capacity = limit;
	return capacity > stream->capacity ? buffer_resize(stream, capacity) : -EMSGSIZE;
}

/* Receives into the buffer. Returns as receive() does, or -ENOMEM, or -EMSGSIZE if the buffer has LIMIT bytes. */
static ssize_t fill(struct brood_stream *stream, size_t limit, uint32_t timeout_ms)
{
	ssize_t got;
	int ret = buffer_make_room(stream, limit);

	if (UNLIKELY(ret < 0))
		return ret;
	got = receive(stream, stream->buffer + stream->end, stream->capacity - stream->end, timeout_ms);
	if (LIKELY(got > 0))
		stream->end += (size_t)got;
	return got;
}

static size_t take(struct brood_stream *stream, void *buffer, size_t size)
{
	size_t count = buffered(stream) < size ? buffered(stream) : size;

	if (count > 0) {
		memcpy(buffer, stream->buffer + stream->start, count);
		stream->start += count;
	}
	return count;
}

/* ---- the calls ---- */

int brood_await(struct brood_stream *stream)
{
	ssize_t got;

	if (stream->start != stream->end)
		return 1;
	if (stream->at_end)
		return 0;
	got = fill(stream, STREAM_BUFFER_SIZE, stream->timeouts.idle_ms);
	return LIKELY(got > 0) ? 1 : (int)got;
}

ssize_t brood_read(struct brood_stream *stream, void *buffer, size_t size)
{
	if (UNLIKELY(size == 0))
		return -EINVAL;
	if (stream->start != stream->end)
		return (ssize_t)take(stream, buffer, size);
	if (UNLIKELY(stream->at_end))
		return 0;
	return receive(stream, buffer, size, next_byte_timeout_ms(stream));
}

/* Little goes by way of the buffer, so that one recv(2) brings what follows too; much goes straight to its place. */
static ssize_t read_next(struct brood_stream *stream, char *buffer, size_t size, uint32_t timeout_ms)
{
	ssize_t got;

	if (size >= STREAM_BUFFER_SIZE)
		return receive(stream, buffer, size, timeout_ms);
	got = fill(stream, STREAM_BUFFER_SIZE, timeout_ms);
	return got > 0 ? (ssize_t)take(stream, buffer, size) : got;
}

ssize_t brood_read_full(struct brood_stream *stream, void *buffer, size_t size)
{
	uint32_t timeout_ms = next_byte_timeout_ms(stream);
	size_t done = take(stream, buffer, size);

	while (done < size) {
		ssize_t got = stream->at_end ? 0 : read_next(stream, (char *)buffer + done, size - done, timeout_ms);

		if (got < 0)
			return got;
		if (got == 0)
			return done == 0 ? 0 : -EBADMSG;
		done += (size_t)got;
		timeout_ms = stream->timeouts.read_ms;
	}
	return (ssize_t)done;
}

ssize_t brood_peek(struct brood_stream *stream, size_t have, size_t limit, const char **ret_text)
{
	while (buffered(stream) <= have) {
		ssize_t got;

		if (stream->at_end)
			return 0;
		if (buffered(stream) >= limit)
			return -EMSGSIZE;
		got = fill(stream, limit, next_byte_timeout_ms(stream));
		if (got < 0)
			return got;
	}
	*ret_text = stream->buffer + stream->start;
	return (ssize_t)buffered(stream);
}

void brood_consume(struct brood_stream *stream, size_t count)
{
	stream->start += count < buffered(stream) ? count : buffered(stream);
}

/* The length of the text up to and with DELIMITER in the first SIZE bytes of TEXT, of which SEEN held none; or 0. */
static size_t find_end(const char *text, size_t size, size_t seen, const void *delimiter, size_t delimiter_size)
{
	size_t from = seen < delimiter_size ? 0 : seen - (delimiter_size - 1);
	const char *found;

	if (LIKELY(delimiter_size == 1))
		found = memchr(text + from, *(const unsigned char *)delimiter, size - from);
	else
		found = memmem(text + from, size - from, delimiter, delimiter_size);
	return found ? (size_t)(found - text) + delimiter_size : 0;
}

ssize_t brood_read_until(
	struct brood_stream *stream, const void *delimiter, size_t delimiter_size, size_t limit, const char **ret_text)
{
	size_t seen = 0;

	if (delimiter_size == 0 || delimiter_size > DELIMITER_SIZE_MAX)
		return -EINVAL;
	for (;;) {
		const char *text = NULL;
		ssize_t have = brood_peek(stream, seen, limit, &text);
		size_t size, length;

		if (have < 0)
			return have;
		if (have == 0)
			return seen == 0 ? 0 : -EBADMSG;
		size = (size_t)have < limit ? (size_t)have : limit;
		length = find_end(text, size, seen, delimiter, delimiter_size);
		if (length > 0) {
			stream->start += length;
			*ret_text = text;
			return (ssize_t)length;
		}
		if (size == limit)
			return -EMSGSIZE;
		seen = size;
	}
}
