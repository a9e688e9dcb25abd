/* SPDX-License-Identifier: MIT */
#ifndef HTTP_RANGE_H
#define HTTP_RANGE_H
/*
 * The Range field (RFC 9110 14), for one range of bytes. Pure functions.
 */
#include <stdint.h>

#include "handlers/http/text.h"

enum range_result {
	RANGE_WHOLE, /* no range, several, or none that can be read: the whole file is the answer (14.2) */
	RANGE_PART,
	RANGE_UNSATISFIABLE, /* 416 */
};

/* Reads VALUE (`text` NULL: not there) for a file of SIZE bytes. *ret_first and *ret_last are inclusive. */
enum range_result range_parse(struct span value, uint64_t size, uint64_t *ret_first, uint64_t *ret_last);

#endif
