/* SPDX-License-Identifier: MIT */
#include <brood/message.h>

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>

#include "libbrood/wait.h"

#define DELIMITER_SIZE_MAX 16

/* Digits of the largest 64-bit length, and the newline. */
#define TEXT_PREFIX_MAX 21

/* A message and its framing together never overflow a size. */
#define MESSAGE_MAX ((size_t)SSIZE_MAX - 64)

/* Up to this size it is cheaper to copy a message to its framing than to have the kernel gather two parts. */
#define COPY_MAX ((size_t)2048)

static size_t limit_of(const struct brood_framing *framing)
{
	return framing->limit < MESSAGE_MAX ? framing->limit : MESSAGE_MAX;
}

static bool prefix_size_valid(size_t size)
{
	return size == 1 || size == 2 || size == 4 || size == 8;
}

/* The length in PREFIX of SIZE bytes, which are a valid size. */
static uint64_t prefix_decode(const char *prefix, size_t size)
{
	uint64_t eight;
	uint32_t four;
	uint16_t two;

	switch (size) {
	case 1:
		return (unsigned char)*prefix;
	case 2:
		memcpy(&two, prefix, sizeof(two));
		return be16toh(two);
	case 4:
		memcpy(&four, prefix, sizeof(four));
		return be32toh(four);
	default:
		memcpy(&eight, prefix, sizeof(eight));
		return be64toh(eight);
	}
}

static bool delimiter_valid(const struct brood_framing *framing)
{
	return framing->delimiter && framing->delimiter_size > 0 && framing->delimiter_size <= DELIMITER_SIZE_MAX;
}

/* ---- reading ---- */

/*
 * Waits until SIZE bytes (not 0) are buffered, and leaves them there. Returns 1, 0 if the stream ended before the
 * first, -EBADMSG if it ended in between, or another negative errno.
 */
static int gather(struct brood_stream *stream, size_t size, const char **ret_text)
{
	size_t have = stream->end - stream->start;

	while (UNLIKELY(have < size)) {
		const char *text;
		ssize_t got = brood_peek(stream, have, size, &text);

		if (UNLIKELY(got < 0))
			return (int)got;
		if (UNLIKELY(got == 0))
			return have == 0 ? 0 : -EBADMSG;
		have = (size_t)got;
	}
	*ret_text = stream->buffer + stream->start;
	return 1;
}

/* Takes the message of SIZE bytes behind its prefix of PREFIX_SIZE bytes, which are buffered already. */
static int take_behind(
	struct brood_stream *stream, size_t prefix_size, size_t size, const char **ret_message, size_t *ret_size)
{
	const char *text = NULL;
	int ret = gather(stream, prefix_size + size, &text);

	if (UNLIKELY(ret < 0))
		return ret;
	brood_consume(stream, prefix_size + size);
	*ret_message = text + prefix_size;
	*ret_size = size;
	return 1;
}

static int read_fixed(
	struct brood_stream *stream, const struct brood_framing *framing, const char **ret_message, size_t *ret_size)
{
	int ret;

	if (framing->size == 0 || framing->size > MESSAGE_MAX)
		return -EINVAL;
	ret = gather(stream, framing->size, ret_message);
	if (ret <= 0)
		return ret;
	brood_consume(stream, framing->size);
	*ret_size = framing->size;
	return 1;
}

static int read_delimited(
	struct brood_stream *stream, const struct brood_framing *framing, const char **ret_message, size_t *ret_size)
{
	ssize_t got;

	if (!delimiter_valid(framing))
		return -EINVAL;
	got = brood_read_until(stream, framing->delimiter, framing->delimiter_size,
		limit_of(framing) + framing->delimiter_size, ret_message);
	if (got <= 0)
		return (int)got;
	*ret_size = (size_t)got - framing->delimiter_size;
	return 1;
}

static int read_counted(
	struct brood_stream *stream, const struct brood_framing *framing, const char **ret_message, size_t *ret_size)
{
	const char *prefix = NULL;
	uint64_t size;
	int ret;

	if (UNLIKELY(!prefix_size_valid(framing->size)))
		return -EINVAL;
	ret = gather(stream, framing->size, &prefix);
	if (ret <= 0)
		return ret;
	size = prefix_decode(prefix, framing->size);
	if (UNLIKELY(size > limit_of(framing)))
		return -EMSGSIZE;
	return take_behind(stream, framing->size, (size_t)size, ret_message, ret_size);
}

/* Reads the length at the front of TEXT. Returns the prefix's size, 0 if it has not ended yet, or a negative errno. */
static ssize_t parse_text_prefix(const char *text, size_t text_size, size_t limit, size_t *ret_size)
{
	size_t size = 0;

	for (size_t k = 0; k < text_size; k++) {
		unsigned int digit = (unsigned int)(unsigned char)text[k] - '0';

		if (text[k] == '\n' && k > 0) {
			*ret_size = size;
			return (ssize_t)k + 1;
		}
		if (digit > 9 || (k == 1 && text[0] == '0'))
			return -EBADMSG;
		if (size > limit / 10 || size * 10 + digit > limit)
			return -EMSGSIZE;
		size = size * 10 + digit;
	}
	return 0;
}

static int read_text_counted(
	struct brood_stream *stream, const struct brood_framing *framing, const char **ret_message, size_t *ret_size)
{
	size_t have = 0, size = 0;
	ssize_t prefix_size = 0;

	while (prefix_size == 0) {
		const char *text;
		ssize_t got = brood_peek(stream, have, TEXT_PREFIX_MAX, &text);

		if (got < 0)
			return (int)got;
		if (got == 0)
			return have == 0 ? 0 : -EBADMSG;
		have = (size_t)got;
		prefix_size = parse_text_prefix(text, have, limit_of(framing), &size);
	}
	if (prefix_size < 0)
		return (int)prefix_size;
	return take_behind(stream, (size_t)prefix_size, size, ret_message, ret_size);
}

static int read_until_shutdown(
	struct brood_stream *stream, const struct brood_framing *framing, const char **ret_message, size_t *ret_size)
{
	size_t have = 0, limit = limit_of(framing);
	ssize_t got;

	/* One byte over the limit: where the end of the stream comes instead, the message is as long as may be. */
	while ((got = brood_peek(stream, have, limit + 1, ret_message)) > 0) {
		have = (size_t)got;
		if (have > limit)
			return -EMSGSIZE;
	}
	if (got < 0 || have == 0)
		return (int)got;
	/* What was buffered may have been moved by the last wait. */
	brood_peek(stream, 0, have, ret_message);
	brood_consume(stream, have);
	*ret_size = have;
	return 1;
}

int brood_message_read(
	struct brood_stream *stream, const struct brood_framing *framing, const char **ret_message, size_t *ret_size)
{
	const char *message = NULL;
	size_t size = 0;
	int ret = -EINVAL;

	switch (framing->kind) {
	case BROOD_FRAMING_FIXED:
		ret = read_fixed(stream, framing, &message, &size);
		break;
	case BROOD_FRAMING_DELIMITER:
		ret = read_delimited(stream, framing, &message, &size);
		break;
	case BROOD_FRAMING_LENGTH:
		ret = read_counted(stream, framing, &message, &size);
		break;
	case BROOD_FRAMING_LENGTH_TEXT:
		ret = read_text_counted(stream, framing, &message, &size);
		break;
	case BROOD_FRAMING_SHUTDOWN:
		ret = read_until_shutdown(stream, framing, &message, &size);
		break;
	}
	if (LIKELY(ret > 0)) {
		*ret_message = message;
		*ret_size = size;
	}
	return ret;
}

/* ---- writing ---- */

static int write_two(
	struct brood_stream *stream, const void *first, size_t first_size, const void *second, size_t second_size)
{
	struct iovec parts[2] = {
		{.iov_base = (void *)(uintptr_t)first,   .iov_len = first_size },
		{ .iov_base = (void *)(uintptr_t)second, .iov_len = second_size},
	};

	return brood_writev_all(stream, parts, 2);
}

/* A prefix stands at the end of its room: there it is copied with the room, whose size is known, for a move or two. */
struct prefix {
	char room[24];
	size_t size;
};

static_assert(sizeof(((struct prefix *)0)->room) >= TEXT_PREFIX_MAX, "room for the longest prefix");

static int write_behind(struct brood_stream *stream, const struct prefix *prefix, const void *message, size_t size)
{
	const size_t room = sizeof(prefix->room);
	char frame[sizeof(prefix->room) + COPY_MAX];

	if (size > COPY_MAX)
		return write_two(stream, prefix->room + room - prefix->size, prefix->size, message, size);
	memcpy(frame, prefix->room, room);
	if (LIKELY(size > 0))
		memcpy(frame + room, message, size);
	return brood_write_all(stream, frame + room - prefix->size, prefix->size + size);
}

static int write_fixed(
	struct brood_stream *stream, const struct brood_framing *framing, const void *message, size_t size)
{
	if (size == 0 || size != framing->size)
		return -EINVAL;
	return brood_write_all(stream, message, size);
}

/*
 * Whether a reader would see the end of MESSAGE too early: the delimiter is in it, or begins in it and ends in the
 * delimiter that follows, as "\n\n" does behind "text\n".
 */
static bool delimiter_within(const struct brood_framing *framing, const void *message, size_t size)
{
	size_t border = framing->delimiter_size - 1;
	size_t tail_size = size < border ? size : border;
	char tail[2 * (DELIMITER_SIZE_MAX - 1)];

	if (size == 0)
		return false;
	if (border == 0)
		return memchr(message, *(const unsigned char *)framing->delimiter, size);
	if (memmem(message, size, framing->delimiter, framing->delimiter_size))
		return true;
	memcpy(tail, (const char *)message + size - tail_size, tail_size);
	memcpy(tail + tail_size, framing->delimiter, border);
	return memmem(tail, tail_size + border, framing->delimiter, framing->delimiter_size);
}

static int write_delimited(
	struct brood_stream *stream, const struct brood_framing *framing, const void *message, size_t size)
{
	char frame[COPY_MAX + DELIMITER_SIZE_MAX];

	if (!delimiter_valid(framing) || delimiter_within(framing, message, size))
		return -EINVAL;
	if (size > COPY_MAX)
		return write_two(stream, message, size, framing->delimiter, framing->delimiter_size);
	if (size > 0)
		memcpy(frame, message, size);
	memcpy(frame + size, framing->delimiter, framing->delimiter_size);
	return brood_write_all(stream, frame, size + framing->delimiter_size);
}

static int write_counted(
	struct brood_stream *stream, const struct brood_framing *framing, const void *message, size_t size)
{
	uint64_t length = htobe64(size);
	struct prefix prefix = { .size = framing->size };

	if (UNLIKELY(!prefix_size_valid(framing->size)))
		return -EINVAL;
	if (UNLIKELY(framing->size < sizeof(length) && (uint64_t)size >> (8 * framing->size) != 0))
		return -EMSGSIZE;
	memcpy(prefix.room + sizeof(prefix.room) - sizeof(length), &length, sizeof(length));
	return write_behind(stream, &prefix, message, size);
}

static int write_text_counted(struct brood_stream *stream, const void *message, size_t size)
{
	struct prefix prefix = { .size = 1 };
	char *digit = prefix.room + sizeof(prefix.room) - 1;
	size_t rest = size;

	*digit = '\n';
	do {
		*--digit = (char)('0' + rest % 10);
		prefix.size++;
	} while ((rest /= 10) > 0);
	return write_behind(stream, &prefix, message, size);
}

static int write_until_shutdown(struct brood_stream *stream, const void *message, size_t size)
{
	int ret = size > 0 ? brood_write_all(stream, message, size) : 0;

	return ret < 0 ? ret : brood_shutdown_write(stream);
}

int brood_message_write(
	struct brood_stream *stream, const struct brood_framing *framing, const void *message, size_t size)
{
	if (framing->kind == BROOD_FRAMING_FIXED)
		return write_fixed(stream, framing, message, size);
	if (UNLIKELY(size > limit_of(framing)))
		return -EMSGSIZE;
	switch (framing->kind) {
	case BROOD_FRAMING_DELIMITER:
		return write_delimited(stream, framing, message, size);
	case BROOD_FRAMING_LENGTH:
		return write_counted(stream, framing, message, size);
	case BROOD_FRAMING_LENGTH_TEXT:
		return write_text_counted(stream, message, size);
	case BROOD_FRAMING_SHUTDOWN:
		return write_until_shutdown(stream, message, size);
	default:
		return -EINVAL;
	}
}
