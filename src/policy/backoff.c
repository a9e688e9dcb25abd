/* SPDX-License-Identifier: MIT */
#include "policy/backoff.h"

#include "policy/deadline.h"

uint64_t backoff_delay(const struct backoff_rules *rules, uint32_t level)
{
	uint64_t delay_ms = rules->min_ms > 0 ? rules->min_ms : 1;
	uint32_t doublings = level - 1;

	/* Compared before it is doubled, for the product may not fit. A shift by 64 and more is undefined. */
	if (doublings >= 64 || delay_ms > rules->max_ms >> doublings)
		return rules->max_ms > 0 ? rules->max_ms : 1;
	return delay_ms << doublings;
}

struct backoff backoff_next(const struct backoff_rules *rules, struct backoff backoff, uint64_t now_ms)
{
	if (backoff.level < UINT32_MAX)
		backoff.level++;
	backoff.volley++;
	backoff.until_ms = deadline_after(now_ms, backoff_delay(rules, backoff.level));
	return backoff;
}

bool backoff_holds(const struct backoff *backoff, uint64_t now_ms)
{
	return backoff->level > 0 && now_ms < backoff->until_ms;
}
