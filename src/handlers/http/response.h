/* SPDX-License-Identifier: MIT */
#ifndef HTTP_RESPONSE_H
#define HTTP_RESPONSE_H
/*
 * Putting the head of an answer together, a field at a time, between response_begin() and response_end(). What does not
 * fit in the buffer sets its overflow flag. No system call.
 */
#include <stdint.h>

#include "handlers/http/conditional.h"
#include "handlers/http/date.h"
#include "handlers/http/status.h"
#include "handlers/http/target.h"
#include "handlers/http/text.h"

#define RESPONSE_METHODS "GET, HEAD, OPTIONS"

/* The status line, Server and Date. */
void response_begin(struct buffer *out, const struct status *status, const struct date_now *now);

void response_field(struct buffer *out, const char *name, const char *value);

/* Content-Type, with CHARSET ("": none) where it is a text, and Content-Length. */
void response_content(struct buffer *out, struct span type, const char *charset, uint64_t length);

/* Last-Modified and ETag. */
void response_validators(struct buffer *out, const struct validators *validators, const struct date_now *now);

/* Content-Range: bytes FIRST-LAST/SIZE, and what a 416 says of the size. */
void response_range(struct buffer *out, uint64_t first, uint64_t last, uint64_t size);
void response_range_unsatisfied(struct buffer *out, uint64_t size);

/* Location: the same target, as a directory. */
void response_location(struct buffer *out, const struct target *target);

/* What the answer says about the connection. */
enum response_connection {
	RESPONSE_STAYS_OPEN,      /* to HTTP/1.1, which expects it: nothing */
	RESPONSE_STAYS_OPEN_SAID, /* to HTTP/1.0, which does not */
	RESPONSE_CLOSES,
};

void response_end(struct buffer *out, enum response_connection connection);

/* The body of an answer that has nothing to show but its status. */
void response_page(struct buffer *out, const struct status *status);

#endif
