/* SPDX-License-Identifier: MIT */
/*
 * A pool's part in a reload: the canary, and the roll. What they have to do with each other stands in pool.h.
 */
#include <string.h>

#include "policy/count.h"
#include "policy/deadline.h"
#include "policy/pool_private.h"

/* ---- roles ---- */

enum pool_role pool_role(const struct pool_policy *pool, const struct slot *slot)
{
	if (slot->generation == pool->generation)
		return slot->worn == SLOT_REASON_NONE ? POOL_CURRENT : POOL_WORN;
	return slot->generation < pool->generation ? POOL_OLD : POOL_CANARY;
}

const struct pool_rules *slot_rules(const struct pool_policy *pool, const struct slot *slot)
{
	return pool_role(pool, slot) == POOL_CANARY ? &pool->reload.rules : &pool->rules;
}

uint32_t pool_serving_of(const struct pool_policy *pool, enum pool_role role)
{
	const uint32_t *count = pool->count_of[role];

	return count[SLOT_ASKED] + count[SLOT_STARTING] + count[SLOT_READY];
}

uint32_t pool_ready(const struct pool_policy *pool)
{
	return pool->count[SLOT_READY] - pool->count_of[POOL_CANARY][SLOT_READY];
}

void pool_count_role(struct pool_policy *pool, const struct slot *slot, enum slot_state state)
{
	uint32_t *count = pool->count_of[pool_role(pool, slot)];

	if (slot->state != SLOT_FREE)
		count[slot->state]--;
	if (state != SLOT_FREE)
		count[state]++;
}

static void pool_recount_roles(struct pool_policy *pool)
{
	memset(pool->count_of, 0, sizeof(pool->count_of));
	for (uint32_t i = 0; i < pool->rules.capacity; i++) {
		const struct slot *slot = &pool->slots[i];

		if (slot->state != SLOT_FREE)
			pool->count_of[pool_role(pool, slot)][slot->state]++;
	}
}

/* ---- reload ---- */

static void canary_event(struct pool_policy *pool, enum canary_event event)
{
	pool->reload.canary = canary_next(pool->reload.canary, event);
}

bool pool_policy_reload(
	struct pool_policy *pool, uint32_t generation, const struct pool_rules *rules, uint32_t target, uint64_t now_ms)
{
	if (pool->phase != POOL_SERVING || pool->reload.canary != CANARY_NONE || pool_policy_canaries(pool) > 0 ||
		generation <= pool->generation)
		return false;
	pool->reload = (struct pool_reload){
		.canary = canary_next(CANARY_NONE, CANARY_BEGIN),
		.generation = generation,
		.rules = *rules,
		.target = count_least(target, pool->rules.capacity),
		.try_ms = now_ms,
		.room_by_ms = deadline_after(now_ms, POOL_CANARY_ROOM_MS),
		.retry_by_ms = deadline_after(now_ms, POOL_CANARY_RETRY_MS),
	};
	pool->reload.rules.capacity = pool->rules.capacity;
	return true;
}

enum canary_state pool_policy_canary(const struct pool_policy *pool, uint64_t now_ms)
{
	if (pool->reload.canary == CANARY_WANTED && deadline_passed(pool->reload.room_by_ms, now_ms))
		return canary_next(CANARY_WANTED, CANARY_LACKS_ROOM);
	return pool->reload.canary;
}

/*
 * The failures were the old generation's: a new volley without a failure, of which the canary is the first. What is
 * left of the old volley counts for nothing.
 */
static void backoff_forget(struct pool_policy *pool)
{
	pool->backoff.level = 0;
	pool->backoff.volley++;
	for (uint32_t i = 0; i < pool->rules.capacity; i++)
		if (pool_role(pool, &pool->slots[i]) == POOL_CURRENT)
			pool->slots[i].volley = pool->backoff.volley;
}

bool pool_policy_commit(struct pool_policy *pool)
{
	return pool->reload.canary == CANARY_READY && pool_policy_commit_anyway(pool);
}

bool pool_policy_commit_anyway(struct pool_policy *pool)
{
	if (pool->reload.canary == CANARY_NONE)
		return false;
	pool->generation = pool->reload.generation;
	pool->target = pool_target_by(pool, &pool->reload.rules, pool->reload.target);
	pool->rules = pool->reload.rules;
	canary_event(pool, CANARY_END);
	pool_recount_roles(pool);
	backoff_forget(pool);
	pool_note_ready(pool);
	return true;
}

void pool_policy_undo(struct pool_policy *pool)
{
	canary_event(pool, CANARY_END);
}

bool pool_policy_is_rolling(const struct pool_policy *pool)
{
	return pool_serving_of(pool, POOL_OLD) > 0;
}

uint32_t pool_policy_canaries(const struct pool_policy *pool)
{
	return pool_serving_of(pool, POOL_CANARY);
}

/* ---- the canary ---- */

/* Those of reloads that were undone may still be there. */
static bool slot_is_canary_under_way(const struct pool_policy *pool, const struct slot *slot)
{
	return pool->reload.canary != CANARY_NONE && slot->generation == pool->reload.generation;
}

/* Once more, if that may help in time. */
static void canary_failed(struct pool_policy *pool, enum canary_event event, uint64_t now_ms)
{
	struct pool_reload *reload = &pool->reload;
	uint32_t attempts = reload->rules.give_up_after > 0 ? reload->rules.give_up_after : POOL_START_ATTEMPTS;
	uint64_t try_ms;

	canary_event(pool, event);
	if (!canary_has_failed(reload->canary))
		return;
	reload->failures++;
	try_ms = deadline_after(now_ms, backoff_delay(&reload->rules.backoff, reload->failures));
	if (reload->failures >= attempts || try_ms > reload->retry_by_ms)
		return;
	canary_event(pool, CANARY_AGAIN);
	reload->try_ms = try_ms;
	reload->room_by_ms = deadline_after(try_ms, POOL_CANARY_ROOM_MS);
}

void canary_note_event(struct pool_policy *pool, const struct slot *slot, enum slot_event event,
	enum slot_reason reason, uint64_t now_ms)
{
	if (event == SLOT_ASK && reason == SLOT_REASON_RELOAD)
		canary_event(pool, CANARY_ASK);
	if (event == SLOT_ASK || !slot_is_canary_under_way(pool, slot))
		return;
	if (event == SLOT_FAILED)
		canary_failed(pool, CANARY_FAILS_BIRTH, now_ms);
	if (event == SLOT_KILL && reason == SLOT_REASON_START_TIMEOUT)
		canary_event(pool, CANARY_OVERDUE);
	if (event == SLOT_BECAME_READY && slot->state == SLOT_STARTING)
		canary_event(pool, CANARY_STANDS);
}

void canary_note_death(struct pool_policy *pool, const struct slot *slot, bool failure, uint64_t now_ms)
{
	enum canary_state state = pool->reload.canary;

	/* One that was given up hangs no more. */
	if (slot_is_canary_under_way(pool, slot) && (state == CANARY_ASKED || state == CANARY_READY))
		canary_failed(pool, failure ? CANARY_FALLS : CANARY_LEAVES, now_ms);
}

uint64_t canary_retry_in(const struct pool_policy *pool, const struct slot *slot, uint64_t now_ms)
{
	bool again = pool->reload.canary == CANARY_WANTED && slot->generation == pool->reload.generation;

	return again && pool->reload.try_ms > now_ms ? pool->reload.try_ms - now_ms : 0;
}

uint32_t plan_canary(const struct pool_policy *pool, uint64_t now_ms, struct pool_plan *plan)
{
	uint32_t missing = pool_missing(pool), room = pool_policy_room(pool);

	if (pool_policy_canary(pool, now_ms) != CANARY_WANTED)
		return 0;
	if (!deadline_passed(pool->reload.try_ms, now_ms)) {
		plan_wake(plan, pool->reload.try_ms);
		return 0;
	}
	/* Those that the limit keeps from being started take no slot. */
	if (pool->count[SLOT_FREE] > count_least(missing, room))
		return 1;
	plan_wake(plan, pool->reload.room_by_ms);
	return 0;
}

void plan_refused(const struct pool_policy *pool, struct pool_plan *plan)
{
	uint32_t left = pool->reload.canary == CANARY_NONE ? pool_policy_canaries(pool) : 0;

	for (uint32_t i = 0; left > 0; i++) {
		const struct slot *slot = &pool->slots[i];

		if (pool_role(pool, slot) != POOL_CANARY)
			continue;
		if (slot->state == SLOT_STARTING || slot->state == SLOT_READY)
			plan_add(plan, SLOT_RETIRE, i, SLOT_REASON_RELOAD_UNDONE);
		left -= slot->state == SLOT_ASKED || slot->state == SLOT_STARTING || slot->state == SLOT_READY;
	}
}

/* ---- rolling ---- */

static uint32_t roll_step(const struct pool_policy *pool)
{
	const struct pool_rules *rules = &pool->rules;

	if (rules->roll_step != 0)
		return rules->roll_step;
	if (rules->sizing.kind == SIZING_FIXED)
		return POOL_ROLL_STEP;
	return pool->target < POOL_ROLL_PART ? 1 : pool->target / POOL_ROLL_PART;
}

/* They finish what they have, and take memory until then. Those that may take for ever are waited for by nobody. */
static uint32_t roll_leaving(const struct pool_policy *pool)
{
	uint32_t leaving = 0;

	for (uint32_t i = 0; i < pool->rules.capacity; i++) {
		const struct slot *slot = &pool->slots[i];

		leaving += slot_is_leaving(slot->state) && slot->deadline_ms != DEADLINE_NONE &&
			   pool_role(pool, slot) != POOL_CANARY;
	}
	return leaving;
}

uint32_t pool_wanted(const struct pool_policy *pool, uint64_t now_ms)
{
	uint32_t wanted, room;

	if (!pool_policy_is_rolling(pool))
		return pool_missing(pool) + recycling_wanted(pool, now_ms);
	wanted = count_beyond(pool->target, pool_serving_of(pool, POOL_CURRENT) + pool_serving_of(pool, POOL_WORN));
	room = count_beyond(pool->target + roll_step(pool), pool_policy_serving(pool) + roll_leaving(pool));
	return count_least(wanted, room);
}

/* A slot is taken by nobody, or by one that leaves, be it by itself, or by one of whom it will be known soon. */
static bool roll_has_room(const struct pool_policy *pool)
{
	const uint32_t *current = pool->count_of[POOL_CURRENT];
	uint32_t leaving =
		pool->rules.capacity - pool->count[SLOT_FREE] - pool_policy_serving(pool) - pool->count[SLOT_LOST];

	return pool_policy_room(pool) > 0 || leaving > 0 || current[SLOT_ASKED] > 0 || current[SLOT_STARTING] > 0;
}

/* Whether a new worker may start now, and only an old one is in its way. */
static bool roll_is_stuck(const struct pool_policy *pool, uint64_t now_ms)
{
	return !roll_has_room(pool) && pool_wanted(pool, now_ms) > 0 && pool_allowed_starts(pool, now_ms) > 0;
}

/* How many old ones can be spared. */
struct spare {
	uint32_t starting;
	uint32_t ready;
};

static struct spare roll_spare(const struct pool_policy *pool, uint64_t now_ms)
{
	const uint32_t *old = pool->count_of[POOL_OLD];
	uint32_t ready = pool_ready(pool);
	struct spare spare = {
		.starting = ready >= pool->target ? UINT32_MAX : count_beyond(pool_policy_serving(pool), pool->target),
		.ready = count_beyond(ready, pool->target),
	};

	if (spare.ready > 0 || (spare.starting > 0 && old[SLOT_STARTING] > 0) || !roll_is_stuck(pool, now_ms))
		return spare;
	if (old[SLOT_STARTING] > 0)
		spare.starting = 1;
	else if (old[SLOT_ASKED] == 0)
		spare.ready = 1;
	return spare;
}

void plan_roll(const struct pool_policy *pool, uint64_t now_ms, struct pool_plan *plan)
{
	struct spare spare = roll_spare(pool, now_ms);

	for (uint32_t i = pool->rules.capacity; i-- > 0;) {
		const struct slot *slot = &pool->slots[i];
		uint32_t *left = slot->state == SLOT_READY ? &spare.ready : &spare.starting;

		if ((slot->state != SLOT_STARTING && slot->state != SLOT_READY) || pool_role(pool, slot) != POOL_OLD ||
			*left == 0)
			continue;
		(*left)--;
		plan_add(plan, SLOT_RETIRE, i, SLOT_REASON_RELOAD);
	}
}
