/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/attrs.h"
#include "board/histogram.h"

#define RANGE_END (UINT64_C(1) << HISTOGRAM_MAX_BITS)

/* The first value that is no longer the bucket's; beyond the last one everything is. */
static uint64_t bucket_end(unsigned int bucket)
{
	return bucket + 1 < HISTOGRAM_BUCKETS ? histogram_lower_us(bucket + 1) : RANGE_END;
}

Test(histogram, buckets_tile_the_range)
{
	cr_assert_eq(histogram_lower_us(0), 0);
	for (unsigned int bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
		uint64_t lower = histogram_lower_us(bucket);
		uint64_t end = bucket_end(bucket);

		cr_assert_lt(lower, end, "bucket %u is empty", bucket);
		cr_assert_eq(histogram_bucket(lower), bucket);
		cr_assert_eq(histogram_bucket(lower + (end - lower) / 2), bucket);
		cr_assert_eq(histogram_bucket(end - 1), bucket);
		if (bucket > 0)
			cr_assert_eq(histogram_bucket(lower - 1), bucket - 1);
	}
}

Test(histogram, longer_values_count_in_the_last_bucket)
{
	cr_assert_eq(histogram_bucket(RANGE_END - 1), HISTOGRAM_BUCKETS - 1);
	cr_assert_eq(histogram_bucket(RANGE_END), HISTOGRAM_BUCKETS - 1);
	cr_assert_eq(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
}

static uint64_t reported_for(uint64_t value)
{
	static struct histogram histogram;

	memset(&histogram, 0, sizeof(histogram));
	histogram_add(&histogram, value);
	return histogram_quantile_us(&histogram, 500);
}

/* The error of the middle is largest at a bucket's edges, so that these two values prove the bound for all of it. */
static void check_error(uint64_t value)
{
	uint64_t reported = reported_for(value);
	uint64_t error = reported > value ? reported - value : value - reported;

	if (value < 16)
		cr_assert_eq(error, 0, "%lu is reported as %lu", value, reported);
	else
		cr_assert_leq(error * 16, value, "%lu is reported as %lu", value, reported);
}

Test(histogram, relative_error_is_bounded_over_the_whole_range)
{
	for (unsigned int bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
		check_error(histogram_lower_us(bucket));
		check_error(bucket_end(bucket) - 1);
	}
	for (uint64_t value = 0; value < 5000; value++)
		check_error(value);
}

static int compare(const void *a, const void *b)
{
	const uint64_t *left = a;
	const uint64_t *right = b;

	return (*left > *right) - (*left < *right);
}

static uint64_t random_value(unsigned int *seed)
{
	uint64_t value = (uint64_t)rand_r(seed) << 16 ^ (uint64_t)rand_r(seed);

	return value >> (rand_r(seed) % 40);
}

/* Against the sorted values themselves: the value of the same rank is in the bucket whose middle is reported. */
static void check_quantiles(unsigned int count, unsigned int seed)
{
	static const unsigned int permilles[] = { 0, 1, 10, 250, 499, 500, 501, 750, 900, 990, 999, 1000 };
	struct histogram *histogram = calloc(1, sizeof(*histogram));
	uint64_t *values = calloc(count, sizeof(*values));

	for (unsigned int i = 0; i < count; i++) {
		values[i] = random_value(&seed);
		histogram_add(histogram, values[i]);
	}
	qsort(values, count, sizeof(*values), compare);
	cr_assert_eq(histogram_count(histogram), count);
	for (size_t i = 0; i < ARRAY_SIZE(permilles); i++) {
		uint64_t rank = ((uint64_t)count * permilles[i] + 999) / 1000;
		uint64_t expected = values[rank > 0 ? rank - 1 : 0];
		uint64_t reported = histogram_quantile_us(histogram, permilles[i]);

		cr_assert_eq(histogram_bucket(reported), histogram_bucket(expected),
			"%u values, quantile %u: %lu, not %lu", count, permilles[i], reported, expected);
	}
	free(values);
	free(histogram);
}

Test(histogram, quantiles_agree_with_the_sorted_values)
{
	for (unsigned int count = 1; count < 200; count++)
		check_quantiles(count, count);
	check_quantiles(1000, 1);
	check_quantiles(99999, 2);
}

Test(histogram, quantile_of_nothing_is_zero)
{
	struct histogram histogram = { 0 };

	cr_assert_eq(histogram_count(&histogram), 0);
	cr_assert_eq(histogram_quantile_us(&histogram, 500), 0);
	cr_assert_eq(histogram_quantile_us(&histogram, 1000), 0);
}

Test(histogram, ranks_do_not_overflow)
{
	struct histogram histogram = { 0 };

	histogram.count[3] = UINT64_MAX / 4;
	histogram.count[5] = UINT64_MAX / 4;
	cr_assert_eq(histogram_quantile_us(&histogram, 499), 3);
	cr_assert_eq(histogram_quantile_us(&histogram, 999), 5);
}

Test(histogram, a_share_beyond_all_is_all)
{
	struct histogram histogram = { 0 };

	histogram_add(&histogram, 3);
	histogram_add(&histogram, 9);
	cr_assert_eq(histogram_quantile_us(&histogram, 5000), 9);
}

Test(histogram, merges)
{
	struct histogram a = { 0 };
	struct histogram b = { 0 };

	for (uint64_t value = 0; value < 100; value++) {
		histogram_add(&a, value);
		histogram_add(&b, value * 1000);
	}
	histogram_merge(&a, &b);
	cr_assert_eq(histogram_count(&a), 200);
	cr_assert_eq(histogram_count(&b), 100);
	cr_assert_eq(histogram_bucket(histogram_quantile_us(&a, 1000)), histogram_bucket(99000));
	cr_assert_eq(a.count[0], 2);
}
