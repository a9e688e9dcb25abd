/* SPDX-License-Identifier: MIT */
#ifndef HTTP_REQUEST_H
#define HTTP_REQUEST_H
/*
 * A request as the distribution's parser reads it (llhttp, or http-parser), after head_check() has found the head in
 * order. Pure functions of bytes; spans point into the head.
 */
#include <stdbool.h>
#include <stddef.h>

#include "handlers/http/head.h"
#include "handlers/http/text.h"

enum request_method {
	REQUEST_GET,
	REQUEST_HEAD,
	REQUEST_OPTIONS,
	REQUEST_OTHER, /* known, but not to files */
};

enum request_expectation {
	REQUEST_EXPECTS_NOTHING,
	REQUEST_EXPECTS_CONTINUE,
	REQUEST_EXPECTS_UNKNOWN,
};

/*
 * The fields that choose the answer. One that is given twice is there, and says nothing: its text is empty, which is no
 * range, no date and no tag. So it asks for less than it might, but what it makes a condition stays one, and what it
 * overrides (RFC 9110 13.1.3, 13.1.4) stays overridden. That is so, too, of the two that are lists and may be given in
 * several lines: they match nothing.
 */
enum request_field {
	REQUEST_IF_MATCH,
	REQUEST_IF_NONE_MATCH,
	REQUEST_IF_MODIFIED_SINCE,
	REQUEST_IF_UNMODIFIED_SINCE,
	REQUEST_IF_RANGE,
	REQUEST_RANGE,
	REQUEST_EXPECT,
	REQUEST_FIELDS,
};

struct request {
	enum request_method method;
	enum request_expectation expectation;
	unsigned int minor; /* of HTTP/1.x */
	bool keep_alive;    /* what the client would have */
	struct span target;
	struct span fields[REQUEST_FIELDS]; /* trimmed, perhaps empty; `text` NULL: not there */
};

/* Parses the head of SIZE bytes that head_check() has described in HEAD. Returns 0 or an HTTP status. */
int request_parse(const char *text, size_t size, const struct head *head, struct request *ret_request);

#endif
