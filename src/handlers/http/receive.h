/* SPDX-License-Identifier: MIT */
#ifndef HTTP_RECEIVE_H
#define HTTP_RECEIVE_H
/*
 * Taking requests off a connection, within limits of size and time: a head, and a body, must each have come completely
 * within the stream's read time-out from the first byte, however small the steps.
 *
 * Results: 0; an HTTP status to refuse with (the stream may still be written); or a negative errno.
 */
#include <brood/stream.h>

#include "base/attrs.h"
#include "handlers/http/chunk.h"
#include "handlers/http/head.h"

/*
 * Waits for a complete head, which stays in the stream's buffer: *ret_text, of *ret_size bytes. After a refusal they
 * are what has come of it. The caller consumes it.
 */
ATTR_NODISCARD int receive_head(
	struct brood_stream *stream, const struct head_limits *limits, const char **ret_text, size_t *ret_size);

/* Reads the body that HEAD announces, if any, and forgets it. */
ATTR_NODISCARD int receive_body(
	struct brood_stream *stream, const struct head *head, const struct chunk_limits *limits);

#endif
