/* SPDX-License-Identifier: MIT */
#ifndef HTTP_CONDITIONAL_H
#define HTTP_CONDITIONAL_H
/*
 * Conditional requests (RFC 9110 13), decided for GET and HEAD. Pure functions.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "handlers/http/request.h"

/* Two numbers of 64 bits in hexadecimal, a dash and the quotes. */
#define ETAG_MAX 36

/* What tells one state of a file from another. */
struct validators {
	time_t modified;
	size_t etag_size;
	char etag[ETAG_MAX]; /* strong, with its quotes */
};

/* The file's modification time, to the nanosecond, and its size make its tag: the same on every machine that has the
 * same copy. */
void validators_init(struct validators *validators, const struct timespec *modified, uint64_t size);

/* In the order of RFC 9110 13.2.2. Returns 0: the request stands; 304; or 412. */
int conditional_evaluate(const struct request *request, const struct validators *validators, time_t now);

/* Whether If-Range, where there is one, lets the Range field stand: only for exactly this state of the file. */
bool conditional_allows_range(const struct request *request, const struct validators *validators, time_t now);

#endif
