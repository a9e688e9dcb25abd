/* SPDX-License-Identifier: MIT */
#ifndef BOARD_HISTOGRAM_H
#define BOARD_HISTOGRAM_H
/*
 * A histogram of durations with a bounded relative error, of fixed size, without pointers: it lies in shared memory.
 *
 * Buckets are logarithmic, each power of two divided into 8 equal parts (the layout that HdrHistogram uses). A value of
 * 16 us or more is thus known to within 1/16 of itself (6.25 %) when the middle of its bucket is taken; a smaller one
 * exactly. The range ends at 2^36 us (19 hours); what is longer counts in the last bucket.
 *
 * One writer; any number of readers, who may find the sum of the buckets one or two behind each other.
 */
#include <stdatomic.h>
#include <stdint.h>

#define HISTOGRAM_SUB_BITS 3
#define HISTOGRAM_SUB      (1u << HISTOGRAM_SUB_BITS)
#define HISTOGRAM_MAX_BITS 36
#define HISTOGRAM_BUCKETS  ((HISTOGRAM_MAX_BITS - HISTOGRAM_SUB_BITS + 1) * HISTOGRAM_SUB)

struct histogram {
	_Atomic uint64_t count[HISTOGRAM_BUCKETS];
};

/* The bucket of a value, and the smallest value of a bucket: exact inverses of each other at a bucket's lower edge. */
static inline unsigned int histogram_bucket(uint64_t value_us)
{
	unsigned int shift;

	if (value_us < HISTOGRAM_SUB)
		return (unsigned int)value_us;
	if (value_us >> HISTOGRAM_MAX_BITS != 0)
		return HISTOGRAM_BUCKETS - 1;
	/* The highest SUB_BITS + 1 bits are kept; the highest of them is always 1. */
	shift = 63u - (unsigned int)__builtin_clzll(value_us) - HISTOGRAM_SUB_BITS;
	return shift * HISTOGRAM_SUB + (unsigned int)(value_us >> shift);
}

uint64_t histogram_lower_us(unsigned int bucket);

/* Counts one value, in microseconds. The histogram's one writer needs no locked instruction. */
static inline void histogram_add(struct histogram *histogram, uint64_t value_us)
{
	_Atomic uint64_t *count = &histogram->count[histogram_bucket(value_us)];

	atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + 1, memory_order_relaxed);
}

uint64_t histogram_count(const struct histogram *histogram);

/* The value below which PERMILLE of 1000 values lie: the middle of its bucket. 0 if the histogram is empty. */
uint64_t histogram_quantile_us(const struct histogram *histogram, unsigned int permille);

/* Adds FROM to INTO, which must have no other writer. */
void histogram_merge(struct histogram *into, const struct histogram *from);

#endif
