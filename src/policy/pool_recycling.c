/* SPDX-License-Identifier: MIT */
/*
 * Workers that have reached a limit, and are replaced while they serve. How one follows the other stands in pool.h.
 */
#include "policy/count.h"
#include "policy/deadline.h"
#include "policy/pool_private.h"

/* ---- limits ---- */

/* What a worker's limits are lowered by counts in this. */
#define WHOLE_PPM 1000000

/* splitmix64: good from any seed. */
static uint64_t draw(uint64_t *state)
{
	uint64_t value = *state += UINT64_C(0x9e3779b97f4a7c15);

	value = (value ^ (value >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	value = (value ^ (value >> 27)) * UINT64_C(0x94d049bb133111eb);
	return value ^ (value >> 31);
}

void pool_policy_seed(struct pool_policy *pool, uint64_t seed)
{
	pool->random = seed;
}

void pool_draw_jitter(struct pool_policy *pool, struct slot *slot)
{
	uint64_t most = (uint64_t)slot_rules(pool, slot)->jitter * (WHOLE_PPM / 100);

	slot->jitter_ppm = (uint32_t)(draw(&pool->random) % (most + 1));
}

/* Of a limit that is too large to be multiplied the part is a little smaller. */
uint64_t pool_policy_own_limit(const struct slot *slot, uint64_t limit)
{
	uint64_t part = limit <= UINT64_MAX / WHOLE_PPM ? limit * slot->jitter_ppm / WHOLE_PPM
							: limit / WHOLE_PPM * slot->jitter_ppm;

	return part < limit ? limit - part : 1;
}

/* ---- wear ---- */

uint32_t pool_policy_worn(const struct pool_policy *pool)
{
	return pool_serving_of(pool, POOL_WORN);
}

uint32_t pool_policy_recycled(const struct pool_policy *pool)
{
	return slot_leaving_in(pool->count_of[POOL_WORN]);
}

bool pool_policy_can_wear(const struct pool_policy *pool, uint32_t number)
{
	const struct slot *slot = &pool->slots[number];

	return slot->state == SLOT_READY && pool_role(pool, slot) == POOL_CURRENT;
}

void slot_wear(struct pool_policy *pool, struct slot *slot, enum slot_reason reason, uint64_t now_ms)
{
	pool->count_of[POOL_CURRENT][slot->state]--;
	slot->worn = reason;
	slot->worn_ms = now_ms;
	pool->count_of[POOL_WORN][slot->state]++;
}

/* ---- one at a time ---- */

/* Until when the next one's turn has not come; a time that has passed, or 0: it has. */
static uint64_t recycling_awaited(const struct pool_policy *pool)
{
	uint32_t left = pool_policy_recycled(pool);
	uint64_t awaited_ms = 0;

	for (const struct slot *slot = pool->slots; left > 0; slot++) {
		if (!slot_is_leaving(slot->state) || pool_role(pool, slot) != POOL_WORN)
			continue;
		left--;
		if (slot->awaited_ms > awaited_ms)
			awaited_ms = slot->awaited_ms;
	}
	return awaited_ms;
}

/* Whether nothing but time is between the next one and its turn. */
static bool recycling_is_due(const struct pool_policy *pool)
{
	return !pool_policy_is_rolling(pool) && pool_policy_worn(pool) > 0 &&
	       pool_policy_serving(pool) <= pool->target && pool_policy_recycled(pool) < pool->target;
}

uint32_t recycling_wanted(const struct pool_policy *pool, uint64_t now_ms)
{
	return recycling_is_due(pool) && deadline_passed(recycling_awaited(pool), now_ms) ? 1 : 0;
}

/* ---- plans ---- */

void plan_wear(const struct pool_policy *pool, uint32_t number, uint64_t now_ms, struct pool_plan *plan)
{
	const struct slot *slot = &pool->slots[number];
	uint64_t worn_ms;

	if (pool->rules.max_age_ms == 0 || !pool_policy_can_wear(pool, number))
		return;
	worn_ms = deadline_after(slot->asked_ms, pool_policy_own_limit(slot, pool->rules.max_age_ms));
	if (deadline_passed(worn_ms, now_ms))
		plan_add(plan, SLOT_WEAR, number, SLOT_REASON_RECYCLE_AGE);
	else
		plan_wake(plan, worn_ms);
}

/* When the next one's turn comes, if nothing happens before. */
static void plan_patience(const struct pool_policy *pool, uint64_t now_ms, struct pool_plan *plan)
{
	uint64_t awaited_ms = recycling_is_due(pool) ? recycling_awaited(pool) : 0;

	if (!deadline_passed(awaited_ms, now_ms))
		plan_wake(plan, awaited_ms);
}

/* Who has been worn for longest, of those whom the plan does not name yet. */
static uint32_t most_worn(const struct pool_policy *pool, const struct pool_plan *plan)
{
	uint32_t found = pool->rules.capacity;

	for (uint32_t i = pool->rules.capacity; i-- > 0;) {
		const struct slot *slot = &pool->slots[i];

		if (slot->state != SLOT_READY || pool_role(pool, slot) != POOL_WORN)
			continue;
		if (!plan_names(plan, i) &&
			(found == pool->rules.capacity || slot->worn_ms < pool->slots[found].worn_ms))
			found = i;
	}
	return found;
}

void plan_recycling(const struct pool_policy *pool, uint64_t now_ms, struct pool_plan *plan)
{
	uint32_t worn = pool->count_of[POOL_WORN][SLOT_READY];
	uint32_t spare = count_beyond(pool_ready(pool), pool->target);

	plan_patience(pool, now_ms, plan);
	if (pool->count_of[POOL_OLD][SLOT_READY] > 0)
		return;
	for (uint32_t i = 0; i < spare && i < worn && plan->count < POOL_PLAN_MAX; i++) {
		uint32_t slot = most_worn(pool, plan);

		if (slot < pool->rules.capacity)
			plan_add(plan, SLOT_RETIRE, slot, pool->slots[slot].worn);
	}
}
