/* SPDX-License-Identifier: MIT */
/*
 * A pool's size: what policy/sizing.h says of its load becomes its target, and who leaves where there are too many.
 */
#include "policy/count.h"
#include "policy/deadline.h"
#include "policy/pool_private.h"

static bool pool_may_sleep(const struct pool_policy *pool)
{
	return pool->rules.sizing.kind != SIZING_FIXED && pool->rules.sizing.min == 0;
}

/* On their way to serve; a canary is not one of them. */
static uint32_t pool_coming(const struct pool_policy *pool)
{
	return pool_policy_serving(pool) - pool_ready(pool);
}

uint32_t pool_window(const struct pool_policy *pool)
{
	return sizing_allowed(&pool->rules.sizing, &pool->sizing, pool_policy_serving(pool), pool_coming(pool));
}

uint32_t pool_target_by(const struct pool_policy *pool, const struct pool_rules *rules, uint32_t wanted)
{
	uint32_t target = pool->target > wanted ? pool->target : wanted;

	if (rules->sizing.kind == SIZING_FIXED)
		return wanted;
	target = sizing_within(&rules->sizing, target);
	return count_least(target, pool->rules.capacity);
}

/* ---- looks ---- */

void pool_policy_note_idle(struct pool_policy *pool, uint32_t slot, uint64_t since_ms)
{
	pool->slots[slot].idle_ms = since_ms;
}

static struct sizing_size pool_size(const struct pool_policy *pool, uint64_t now_ms)
{
	uint64_t idle_exit_ms = pool->rules.sizing.idle_exit_ms;
	uint32_t unseen = idle_exit_ms == 0 || pool->rules.sizing.kind != SIZING_SPARE ? 0 : pool_ready(pool);
	struct sizing_size size = {
		.target = pool->target,
		.ready = pool_ready(pool),
		.coming = pool_coming(pool),
		.expires_ms = DEADLINE_NONE,
	};

	for (const struct slot *slot = pool->slots; unseen > 0; slot++) {
		uint64_t expires_ms = deadline_after(slot->idle_ms, idle_exit_ms);

		if (slot->state != SLOT_READY || pool_role(pool, slot) == POOL_CANARY)
			continue;
		unseen--;
		if (slot->idle_ms == 0)
			continue;
		if (deadline_passed(expires_ms, now_ms))
			size.expired++;
		else
			size.expires_ms = deadline_earlier(size.expires_ms, expires_ms);
	}
	return size;
}

uint64_t pool_policy_load(struct pool_policy *pool, const struct sizing_load *load, uint64_t now_ms)
{
	const struct sizing_rules *rules = &pool->rules.sizing;
	struct sizing_size size;
	uint64_t look_ms;
	uint32_t target;

	if (rules->kind == SIZING_FIXED || pool->phase != POOL_SERVING)
		return DEADLINE_NONE;
	size = pool_size(pool, now_ms);
	target = sizing_look(rules, &pool->sizing, &size, load, now_ms, &look_ms);
	pool->target = count_least(target, pool->rules.capacity);
	pool_note_ready(pool);
	return look_ms;
}

void sizing_note_event(
	struct pool_policy *pool, struct slot *slot, enum slot_event event, enum slot_reason reason, uint64_t now_ms)
{
	if (event == SLOT_BECAME_READY && slot->state == SLOT_READY) {
		slot->idle_ms = now_ms;
		if (pool_role(pool, slot) != POOL_CANARY && pool_missing(pool) > 0)
			sizing_note_ready(&pool->sizing, now_ms);
	}
	/* A program that may leave by itself has said that it does. */
	if (event == SLOT_RETIRE && reason == SLOT_REASON_ITSELF)
		pool_note_idle_exit(pool);
}

/* ---- on demand ---- */

void pool_note_idle_exit(struct pool_policy *pool)
{
	uint32_t serving = pool_policy_serving(pool);

	if (pool->rules.sizing.kind != SIZING_QUEUE || !pool_may_sleep(pool) || pool->target <= serving)
		return;
	pool->target = serving;
	pool_note_ready(pool);
}

bool pool_is_asleep(const struct pool_policy *pool)
{
	return pool->phase == POOL_SERVING && pool_may_sleep(pool) && pool->target == 0 &&
	       pool_policy_serving(pool) == 0;
}

bool pool_policy_awaits_demand(const struct pool_policy *pool, uint64_t now_ms)
{
	return pool_is_asleep(pool) && pool_policy_room(pool) > 0 && !backoff_holds(&pool->backoff, now_ms);
}

void pool_policy_demand(struct pool_policy *pool, uint64_t now_ms)
{
	if (pool->phase == POOL_SERVING && pool_may_sleep(pool) && pool->target == 0)
		pool->target = sizing_wake(&pool->rules.sizing, &pool->sizing, now_ms);
}

/* ---- shares ---- */

uint32_t pool_policy_wish(const struct pool_policy *pool)
{
	const struct sizing_rules *rules = &pool->rules.sizing;
	uint32_t running = pool_staying(pool) - pool_policy_serving(pool);
	uint32_t wish = pool->target;

	/* Those beyond are idle, or about to be. */
	if (rules->kind != SIZING_FIXED && pool->sizing.needed > 0 && pool->sizing.needed < wish)
		wish = pool->sizing.needed;
	return wish + running;
}

void pool_policy_allow(struct pool_policy *pool, uint32_t most)
{
	pool->allowed = most;
	pool_note_ready(pool);
}

/* ---- who leaves ---- */

/* Who goes before whom: the higher, the earlier. */
enum leave_rank {
	LEAVES_NOT,
	LEAVES_FOR_LIMIT, /* it is busy */
	LEAVES_COMING,
	LEAVES_IDLE,
};

static enum leave_rank leave_rank(const struct pool_policy *pool, const struct slot *slot)
{
	if ((slot->state != SLOT_STARTING && slot->state != SLOT_READY) || pool_role(pool, slot) == POOL_CANARY)
		return LEAVES_NOT;
	if (slot->state == SLOT_STARTING)
		return LEAVES_COMING;
	return slot->idle_ms == 0 ? LEAVES_FOR_LIMIT : LEAVES_IDLE;
}

/* Whether A leaves before B, which is of a lower number. */
static bool leaves_before(const struct pool_policy *pool, const struct slot *a, const struct slot *b)
{
	enum leave_rank rank = leave_rank(pool, a), other = leave_rank(pool, b);

	if (rank != other)
		return rank > other;
	return rank != LEAVES_IDLE || a->idle_ms <= b->idle_ms;
}

/* Of those that are not in the plan yet, the one to leave first. NULL: there is none. */
static const struct slot *leaves_next(const struct pool_policy *pool, const struct pool_plan *plan)
{
	const struct slot *next = NULL;

	for (uint32_t i = 0; i < pool->rules.capacity; i++) {
		const struct slot *slot = &pool->slots[i];

		if (leave_rank(pool, slot) != LEAVES_NOT && (next == NULL || leaves_before(pool, slot, next)) &&
			!plan_names(plan, i))
			next = slot;
	}
	return next;
}

static void plan_idlest(const struct pool_policy *pool, uint32_t surplus, uint32_t forced, struct pool_plan *plan)
{
	for (uint32_t left = 0; left < surplus && plan->count < POOL_PLAN_MAX; left++) {
		const struct slot *slot = leaves_next(pool, plan);

		if (slot == NULL || (left >= forced && leave_rank(pool, slot) == LEAVES_FOR_LIMIT))
			return;
		plan_add(plan, SLOT_RETIRE, (uint32_t)(slot - pool->slots), SLOT_REASON_SCALE_DOWN);
	}
}

/* The highest numbers leave first, so that the pool's slots stay dense. One that is asked for leaves once it is born.
 */
static void plan_highest(const struct pool_policy *pool, uint32_t surplus, struct pool_plan *plan)
{
	for (uint32_t i = pool->rules.capacity; i-- > 0 && surplus > 0;) {
		const struct slot *slot = &pool->slots[i];

		if (slot->state != SLOT_ASKED && slot->state != SLOT_STARTING && slot->state != SLOT_READY)
			continue;
		if (pool_role(pool, slot) == POOL_CANARY)
			continue;
		surplus--;
		if (slot->state != SLOT_ASKED)
			plan_add(plan, SLOT_RETIRE, i, SLOT_REASON_SCALE_DOWN);
	}
}

void plan_surplus(const struct pool_policy *pool, struct pool_plan *plan)
{
	const struct sizing_rules *rules = &pool->rules.sizing;
	/* One more takes a worn one's place. */
	uint32_t serving = count_beyond(pool_policy_serving(pool), pool_policy_worn(pool) > 0 ? 1 : 0);
	uint32_t surplus = count_beyond(serving, pool->target);
	/* The canary of a reload that was committed may have come on top, or the limit is a lower one. Those that
	 * leave already make room for it, however long they take. */
	uint32_t forced = count_beyond(pool_staying(pool), pool_limit(pool));

	if (rules->kind == SIZING_SPARE && count_beyond(serving, rules->max) > forced)
		forced = count_beyond(serving, rules->max);
	if (forced > surplus)
		surplus = forced;
	if (rules->kind == SIZING_SPARE)
		plan_idlest(pool, surplus, forced, plan);
	else
		plan_highest(pool, surplus, plan);
}
