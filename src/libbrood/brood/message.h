/* SPDX-License-Identifier: MIT */
#ifndef BROOD_MESSAGE_H
#define BROOD_MESSAGE_H
/*
 * brood/message.h: whole messages over a stream, for servers and clients alike.
 *
 * A stream socket carries bytes, not messages. A `struct brood_framing` says how the two sides tell where one message
 * ends and the next begins, and how long one may be. A message is what lies between: its length prefix or delimiter is
 * neither part of what is read and written here, nor counted in its size.
 *
 * Time-outs and the deadline are those of the stream (brood/stream.h): waiting for the first byte of a message is
 * bounded by `idle`, for each of the following by `read`, where brood_request_begin() has not been called before.
 * System calls of a message that comes in one piece: one recv(2) to read it and one send(2) to write it; messages that
 * have come together are read with one recv(2).
 */
#include <stddef.h>

#include <brood/stream.h>

#ifdef __cplusplus
extern "C" {
#endif

enum brood_framing_kind {
	/* Every message has `size` bytes, at least 1. */
	BROOD_FRAMING_FIXED,
	/* A message ends with `delimiter`, of `delimiter_size` bytes (1 to 16), which it must not contain. */
	BROOD_FRAMING_DELIMITER,
	/* In front of a message stands its size, big-endian, in `size` bytes: 1, 2, 4 or 8. */
	BROOD_FRAMING_LENGTH,
	/* In front of a message stands its size in decimal digits, without leading zeros, and a newline. */
	BROOD_FRAMING_LENGTH_TEXT,
	/* A message is all that comes until the peer shuts down its side: the only one of its direction. */
	BROOD_FRAMING_SHUTDOWN,
};

struct brood_framing {
	enum brood_framing_kind kind;
	size_t limit; /* bytes of the longest message; BROOD_FRAMING_FIXED needs none, as `size` is that */
	size_t size;
	const void *delimiter;
	size_t delimiter_size;
};

/*
 * Reads the next message. *ret_message, of *ret_size bytes, lies in the stream's own buffer, not terminated, and is
 * valid until the next call that reads or closes. The buffer grows with what has come, never with what a length
 * announces. Returns
 *	1          there is one; it may be empty, except with BROOD_FRAMING_FIXED and BROOD_FRAMING_SHUTDOWN
 *	0          the stream has ended, and no message with it: before the first byte of one
 *	-EBADMSG   the stream has ended within a message, or its length is none
 *	-EMSGSIZE  the message is longer than the limit, by its length or by what has come of it
 *	-EINVAL    `framing` makes no sense
 * or another negative errno of the stream. After -EBADMSG and -EMSGSIZE the stream may still be written, to tell the
 * peer; there is no way to find the next message.
 */
int brood_message_read(
	struct brood_stream *stream, const struct brood_framing *framing, const char **ret_message, size_t *ret_size);

/*
 * Writes MESSAGE (which may be NULL where SIZE is 0) and what delimits it, all at once. BROOD_FRAMING_SHUTDOWN shuts
 * down our side after it. Returns 0;
 *	-EMSGSIZE  the message is longer than the limit, or than its length can say
 *	-EINVAL    it is not of the fixed size, or its end would not be found because of a delimiter in it; or `framing`
 *	           makes no sense
 * or another negative errno of the stream. After -EMSGSIZE and -EINVAL nothing has been written, and the stream can be
 * used on.
 */
int brood_message_write(
	struct brood_stream *stream, const struct brood_framing *framing, const void *message, size_t size);

#ifdef __cplusplus
}
#endif
#endif
