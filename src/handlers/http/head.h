/* SPDX-License-Identifier: MIT */
#ifndef HTTP_HEAD_H
#define HTTP_HEAD_H
/*
 * The strict pass over the raw head of a request, before any parser sees it. What two programs on the way could read
 * differently is refused here (RFC 9112 2.2, 3, 5, 6, 11.2): bare CR and LF, control bytes, space before the colon,
 * folded lines, no Host or several, lengths that contradict each other. The distribution's parser lets several of these
 * pass.
 *
 * Pure functions of bytes. Results are 0 or an HTTP status (status.h).
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "handlers/http/text.h"

struct head_limits {
	size_t head;   /* bytes, from the first to the empty line's end */
	size_t target; /* bytes of the request target */
	size_t fields; /* header fields */
};

/* How far the search for the end of the head has come. Zeroed for each request. */
struct head_scan {
	size_t seen;   /* bytes looked at */
	size_t line;   /* where the line under way begins */
	size_t lines;  /* complete ones that are not empty */
	bool blank;    /* the empty line that may stand before a request has been seen */
	size_t length; /* of the whole head, once it is complete; else 0 */
};

/*
 * Goes on looking for the end of the head in TEXT, of which SIZE bytes have come so far: all that the call before was
 * given, and perhaps more. Returns 0, with scan->length set once the head is complete; or, as early as it is certain:
 * 400 for a byte or line end that no head has, 414 for an endless request line, 431 for too large a head.
 */
int head_scan(struct head_scan *scan, const char *text, size_t size, const struct head_limits *limits);

/* What the strict pass has found in a complete head. Spans point into it. */
struct head {
	struct span line; /* the request line, for the log */
	struct span method;
	struct span target;
	unsigned int minor; /* of HTTP/1.x: 0 or 1 */
	unsigned int hosts; /* Host fields */
	bool has_length;    /* Content-Length is there, and is `length` */
	bool chunked;       /* Transfer-Encoding is there, and is "chunked" */
	uint64_t length;
};

/* Checks a complete head. */
int head_check(const char *text, size_t size, const struct head_limits *limits, struct head *ret_head);

/* Whether TEXT can stand in a Host field or as the authority of a target: uri-host [ ":" port ], perhaps empty. */
bool head_host_valid(struct span text);

#endif
