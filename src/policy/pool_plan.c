/* SPDX-License-Identifier: MIT */
/*
 * The plan of a pool: what there is to do now, and when to look again. What it does for the sake of a reload stands in
 * pool_rolling.c.
 */
#include "policy/count.h"
#include "policy/deadline.h"
#include "policy/pool_private.h"

void plan_wake(struct pool_plan *plan, uint64_t at_ms)
{
	plan->wake_ms = deadline_earlier(plan->wake_ms, at_ms);
}

void plan_add(struct pool_plan *plan, enum slot_event what, uint32_t slot, enum slot_reason reason)
{
	plan->wake_ms = 0;
	if (plan->count == POOL_PLAN_MAX)
		return;
	plan->actions[plan->count++] = (struct pool_action){ .what = what, .slot = slot, .reason = reason };
}

bool plan_names(const struct pool_plan *plan, uint32_t slot)
{
	for (size_t i = 0; i < plan->count; i++)
		if (plan->actions[i].slot == slot)
			return true;
	return false;
}

static void plan_starts(const struct pool_policy *pool, uint64_t now_ms, struct pool_plan *plan)
{
	uint32_t wanted = pool_wanted(pool, now_ms);
	uint32_t allowed = wanted > 0 ? pool_allowed_starts(pool, now_ms) : 0;
	uint32_t canaries = plan_canary(pool, now_ms, plan);
	uint32_t slots = pool->count[SLOT_FREE] - canaries;
	uint32_t room = pool_policy_room(pool), window = pool_window(pool);

	/* The first client of a pool that sleeps is waited for again, once there may be a worker for him. */
	if ((wanted > 0 || pool_is_asleep(pool)) && backoff_holds(&pool->backoff, now_ms))
		plan_wake(plan, pool->backoff.until_ms);
	wanted = count_least(count_least(wanted, allowed), window);
	wanted = count_least(count_least(wanted, slots), room);
	for (uint32_t i = 0; i < pool->rules.capacity && wanted + canaries > 0; i++) {
		if (pool->slots[i].state != SLOT_FREE)
			continue;
		plan_add(plan, SLOT_ASK, i, wanted > 0 ? SLOT_REASON_NONE : SLOT_REASON_RELOAD);
		if (wanted > 0)
			wanted--;
		else
			canaries--;
	}
}

/* What a state that has lasted too long asks for. */
static void plan_overdue(const struct pool_policy *pool, uint32_t number, uint64_t now_ms, struct pool_plan *plan)
{
	const struct slot *slot = &pool->slots[number];

	switch (slot->state) {
	case SLOT_STARTING:
		plan_add(plan, SLOT_KILL, number, SLOT_REASON_START_TIMEOUT);
		break;
	case SLOT_READY:
		plan_add(plan, SLOT_QUIT, number, SLOT_REASON_WATCHDOG);
		break;
	case SLOT_RETIRING:
		if (!slot->was_ready && deadline_passed(slot->deadline_ms, now_ms))
			plan_add(plan, SLOT_KILL, number, SLOT_REASON_START_TIMEOUT);
		else
			plan_add(plan, SLOT_QUIT, number, SLOT_REASON_STOP_TIMEOUT);
		break;
	case SLOT_OVERRUN:
		if (!deadline_passed(slot->deadline_ms, now_ms))
			plan_add(plan, SLOT_QUIT, number, SLOT_REASON_STOP_TIMEOUT);
		else if (slot->warnings < slot_rules(pool, slot)->overrun_warnings)
			plan_add(plan, SLOT_WARN, number, slot->reason);
		else
			plan_add(plan, SLOT_KILL, number, slot->reason);
		break;
	case SLOT_QUITTING:
		plan_add(plan, SLOT_KILL, number, slot->reason);
		break;
	case SLOT_KILLED:
		plan_add(plan, SLOT_GIVE_UP, number, slot->reason);
		break;
	default:
		break;
	}
}

/* One that says nothing of itself is ready once it has lived for long enough. */
static void plan_ready(const struct slot *slot, uint32_t number, uint64_t now_ms, struct pool_plan *plan)
{
	if (slot->state != SLOT_STARTING)
		return;
	if (deadline_passed(slot->ready_at_ms, now_ms))
		plan_add(plan, SLOT_BECAME_READY, number, SLOT_REASON_NONE);
	else
		plan_wake(plan, slot->ready_at_ms);
}

/* What the end of the pool asks of a slot that is not overdue. */
static void plan_ending(const struct pool_policy *pool, uint32_t number, struct pool_plan *plan)
{
	enum slot_state state = pool->slots[number].state;
	bool there = state == SLOT_STARTING || state == SLOT_READY || state == SLOT_RUNNING;

	if (pool->phase == POOL_RETIRING && there)
		plan_add(plan, SLOT_RETIRE, number, SLOT_REASON_STOP);
	if (pool->phase == POOL_QUITTING && (there || slot_is_finishing(state)))
		plan_add(plan, SLOT_QUIT, number, pool->quit_reason);
}

void pool_policy_plan(const struct pool_policy *pool, uint64_t now_ms, struct pool_plan *ret_plan)
{
	uint32_t unseen = pool_used(pool);

	ret_plan->count = 0;
	ret_plan->wake_ms = DEADLINE_NONE;
	for (uint32_t i = 0; unseen > 0; i++) {
		const struct slot *slot = &pool->slots[i];
		uint64_t deadline_ms = slot_deadline(pool, slot);

		if (slot->state == SLOT_FREE)
			continue;
		unseen--;
		if (deadline_passed(deadline_ms, now_ms))
			plan_overdue(pool, i, now_ms, ret_plan);
		else {
			plan_wake(ret_plan, deadline_ms);
			if (pool->phase == POOL_SERVING) {
				plan_ready(slot, i, now_ms, ret_plan);
				plan_wear(pool, i, now_ms, ret_plan);
			}
			plan_ending(pool, i, ret_plan);
		}
	}
	/* Alone: the end of one that is overdue makes the pool smaller, and may be a failure that holds starts back. */
	if (pool->phase == POOL_SERVING && ret_plan->count == 0) {
		plan_refused(pool, ret_plan);
		if (pool_policy_is_rolling(pool))
			plan_roll(pool, now_ms, ret_plan);
		plan_recycling(pool, now_ms, ret_plan);
		if (!pool_policy_is_rolling(pool) && ret_plan->count == 0)
			plan_surplus(pool, ret_plan);
		plan_starts(pool, now_ms, ret_plan);
	}
}
