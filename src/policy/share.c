/* SPDX-License-Identifier: MIT */
#include "policy/share.h"

/* Of one claim, where nobody gets more than LEVEL who does not have to. */
static uint32_t share_at(const struct share_claim *claim, uint32_t level)
{
	if (level <= claim->least)
		return claim->least;
	return level < claim->wish ? level : claim->wish;
}

static uint64_t sum_at(const struct share_claim *claims, size_t count, uint32_t level)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < count; i++)
		sum += share_at(&claims[i], level);
	return sum;
}

/* The highest level that TOTAL reaches, up to TOTAL: none needs to be higher. */
static uint32_t find_level(uint32_t total, const struct share_claim *claims, size_t count)
{
	uint32_t low = 0, high = total;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2 + 1;

		if (sum_at(claims, count, middle) <= total)
			low = middle;
		else
			high = middle - 1;
	}
	return low;
}

/* What even the least numbers are too much for is divided as if they were wishes. */
static void lower_least(uint32_t total, struct share_claim *claims, size_t count)
{
	if (sum_at(claims, count, 0) <= total)
		return;
	for (size_t i = 0; i < count; i++) {
		claims[i].wish = claims[i].least;
		claims[i].least = 0;
	}
}

void share_divide(uint32_t total, struct share_claim *claims, size_t count)
{
	uint32_t level;
	uint64_t left;

	for (size_t i = 0; i < count; i++)
		if (claims[i].wish < claims[i].least)
			claims[i].wish = claims[i].least;
	lower_least(total, claims, count);
	level = find_level(total, claims, count);
	left = total - sum_at(claims, count, level);
	for (size_t i = 0; i < count; i++) {
		struct share_claim *claim = &claims[i];

		claim->share = share_at(claim, level);
		if (left == 0 || claim->share != level || claim->share >= claim->wish)
			continue;
		claim->share++;
		left--;
	}
}
