/* SPDX-License-Identifier: MIT */
#ifndef POLICY_SHARE_H
#define POLICY_SHARE_H
/*
 * How pools that together want more workers than there may be share them: max-min. Each has its least number first;
 * what is left goes to those that have the fewest, so that those that do not get what they wish for have equally many,
 * but for those whose least number is more, and for a remainder of one each. Pure.
 */
#include <stddef.h>
#include <stdint.h>

struct share_claim {
	uint32_t least;
	uint32_t wish;  /* less than `least` counts as that */
	uint32_t share; /* the answer: least to wish; less where the least numbers are more than there is */
};

/* The sum of the shares is the least of TOTAL and the sum of the wishes. */
void share_divide(uint32_t total, struct share_claim *claims, size_t count);

#endif
