/* SPDX-License-Identifier: MIT */
#include "board/histogram.h"

static uint64_t bucket_count(const struct histogram *histogram, unsigned int bucket)
{
	return atomic_load_explicit(&histogram->count[bucket], memory_order_relaxed);
}

/* How many values share a bucket, as a power of two. */
static unsigned int bucket_shift(unsigned int bucket)
{
	unsigned int octave = bucket / HISTOGRAM_SUB;

	return octave > 0 ? octave - 1 : 0;
}

uint64_t histogram_lower_us(unsigned int bucket)
{
	unsigned int shift = bucket_shift(bucket);

	/* What histogram_bucket() did, backwards: bucket = shift * SUB + (value >> shift). */
	return (uint64_t)(bucket - shift * HISTOGRAM_SUB) << shift;
}

static uint64_t bucket_middle_us(unsigned int bucket)
{
	return histogram_lower_us(bucket) + (UINT64_C(1) << bucket_shift(bucket)) / 2;
}

uint64_t histogram_count(const struct histogram *histogram)
{
	uint64_t count = 0;

	for (unsigned int bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++)
		count += bucket_count(histogram, bucket);
	return count;
}

/* The rank, from 1 on, of the value that PERMILLE of COUNT values do not exceed: rounded up, without overflow. */
static uint64_t quantile_rank(uint64_t count, unsigned int permille)
{
	uint64_t rank;

	if (permille >= 1000)
		return count;
	rank = count / 1000 * permille + (count % 1000 * permille + 999) / 1000;
	return rank > 0 ? rank : 1;
}

uint64_t histogram_quantile_us(const struct histogram *histogram, unsigned int permille)
{
	uint64_t count = histogram_count(histogram);
	uint64_t rank = quantile_rank(count, permille);
	uint64_t seen = 0;

	if (count == 0)
		return 0;
	/* Counts only grow, so that the second walk reaches what the first one has found. */
	for (unsigned int bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
		seen += bucket_count(histogram, bucket);
		if (seen >= rank)
			return bucket_middle_us(bucket);
	}
	/* ... unless the slot was cleared for a new worker in between. */
	return 0;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
	for (unsigned int bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
		uint64_t sum = bucket_count(into, bucket) + bucket_count(from, bucket);

		atomic_store_explicit(&into->count[bucket], sum, memory_order_relaxed);
	}
}
