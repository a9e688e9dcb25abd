/* SPDX-License-Identifier: MIT */
#ifndef POLICY_COUNT_H
#define POLICY_COUNT_H
/*
 * Numbers of workers, of which there are never less than none. Pure.
 */
#include <stdint.h>

/* What A is more than B. */
static inline uint32_t count_beyond(uint32_t a, uint32_t b)
{
	return a > b ? a - b : 0;
}

static inline uint32_t count_least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

#endif
