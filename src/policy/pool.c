/* SPDX-License-Identifier: MIT */
#include "policy/pool.h"

#include "base/attrs.h"
#include "policy/count.h"
#include "policy/deadline.h"
#include "policy/pool_private.h"

/* ---- counts ---- */

uint32_t pool_used(const struct pool_policy *pool)
{
	return pool->rules.capacity - pool->count[SLOT_FREE];
}

uint32_t pool_policy_serving(const struct pool_policy *pool)
{
	return pool_serving_of(pool, POOL_CURRENT) + pool_serving_of(pool, POOL_WORN) + pool_serving_of(pool, POOL_OLD);
}

uint32_t pool_missing(const struct pool_policy *pool)
{
	return count_beyond(pool->target, pool_policy_serving(pool));
}

uint32_t pool_policy_living(const struct pool_policy *pool)
{
	return pool_used(pool) - pool->count[SLOT_LOST];
}

/* In use, but for canaries: those that count against the limit. */
static uint32_t pool_counted(const struct pool_policy *pool)
{
	uint32_t canaries = 0;

	for (int state = 0; state < SLOT_STATES; state++)
		canaries += pool->count_of[POOL_CANARY][state];
	return pool_used(pool) - canaries;
}

uint32_t pool_staying(const struct pool_policy *pool)
{
	return pool_policy_serving(pool) + pool->count[SLOT_RUNNING] - pool->count_of[POOL_CANARY][SLOT_RUNNING];
}

uint32_t pool_limit(const struct pool_policy *pool)
{
	const struct pool_rules *rules = &pool->rules;
	uint32_t limit = rules->limit == 0 ? rules->capacity : count_least(rules->limit, rules->capacity);

	return count_least(pool->allowed, limit);
}

uint32_t pool_policy_room(const struct pool_policy *pool)
{
	return count_least(count_beyond(pool_limit(pool), pool_counted(pool)), pool->count[SLOT_FREE]);
}

/* Often enough: what has not started by now will not start soon. */
static bool pool_has_tried(const struct pool_policy *pool)
{
	uint32_t attempts = pool->rules.give_up_after;

	return pool->backoff.level >= (attempts > 0 ? attempts : POOL_START_ATTEMPTS);
}

void pool_note_ready(struct pool_policy *pool)
{
	uint32_t limit = pool_limit(pool);
	/* What other pools have is not waited for. */
	bool full = pool_ready(pool) >= (limit < pool->target ? limit : pool->target);
	bool some = pool_ready(pool) > 0 && pool_has_tried(pool);

	if (full || some)
		pool->was_ready = true;
}

void pool_policy_init(struct pool_policy *pool, const struct pool_rules *rules, uint32_t target, struct slot *slots)
{
	*pool = (struct pool_policy){
		.rules = *rules,
		.phase = POOL_SERVING,
		.generation = 1,
		.target = count_least(target, rules->capacity),
		.allowed = UINT32_MAX,
		/* A worker of a reload that another image tried, and this one does not know, goes by what there is. */
		.reload = { .rules = *rules },
		.stop_deadline_ms = DEADLINE_NONE,
		.random = 1,
		.slots = slots,
	};
	for (uint32_t i = 0; i < rules->capacity; i++)
		slots[i] = (struct slot){ .state = SLOT_FREE, .deadline_ms = DEADLINE_NONE };
	pool->count[SLOT_FREE] = rules->capacity;
	pool_note_ready(pool);
}

/* ---- events ---- */

uint64_t slot_deadline(const struct pool_policy *pool, const struct slot *slot)
{
	if (slot_is_finishing(slot->state) && pool->phase == POOL_RETIRING)
		return deadline_earlier(pool->stop_deadline_ms, slot->deadline_ms);
	return slot->deadline_ms;
}

static uint64_t retire_deadline(const struct pool_rules *rules, const struct slot *slot, uint64_t now_ms)
{
	bool replaced = slot->reason == SLOT_REASON_RELOAD || slot->reason == SLOT_REASON_REQUEST_TIMEOUT;
	uint64_t timeout_ms =
		replaced && rules->replace_timeout_ms != 0 ? rules->replace_timeout_ms : rules->retire_timeout_ms;
	uint64_t leave_by_ms = slot->state == SLOT_OVERRUN ? slot->leave_by_ms : DEADLINE_NONE;

	return timeout_ms == 0 ? leave_by_ms : deadline_earlier(leave_by_ms, deadline_after(now_ms, timeout_ms));
}

static uint64_t state_deadline(
	const struct pool_policy *pool, const struct slot *slot, enum slot_state state, uint64_t now_ms)
{
	const struct pool_rules *rules = slot_rules(pool, slot);

	switch (state) {
	case SLOT_STARTING:
		return rules->start_timeout_ms == 0 ? DEADLINE_NONE : deadline_after(now_ms, rules->start_timeout_ms);
	case SLOT_READY:
		return rules->watchdog_ms == 0 ? DEADLINE_NONE : deadline_after(now_ms, rules->watchdog_ms);
	case SLOT_RETIRING:
		/* One that is not ready has no connection to finish: its start keeps its bound. */
		if (!slot->was_ready)
			return slot->deadline_ms;
		return retire_deadline(rules, slot, now_ms);
	case SLOT_OVERRUN:
		return deadline_after(now_ms, rules->overrun_grace_ms);
	case SLOT_QUITTING:
		return deadline_after(now_ms, POOL_QUIT_GRACE_MS);
	case SLOT_KILLED:
		return deadline_after(now_ms, POOL_KILL_GRACE_MS);
	default:
		return DEADLINE_NONE;
	}
}

void pool_slot_enter(struct pool_policy *pool, uint32_t number, enum slot_state state, uint64_t now_ms)
{
	struct slot *slot = &pool->slots[number];

	if (slot->state == state)
		return;
	pool->count[slot->state]--;
	pool->count[state]++;
	pool_count_role(pool, slot, state);
	slot->deadline_ms = state_deadline(pool, slot, state, now_ms);
	slot->state = state;
	pool_note_ready(pool);
}

/* A new life. */
static void slot_begin(struct pool_policy *pool, struct slot *slot, enum slot_reason reason, uint64_t now_ms)
{
	slot->generation = reason == SLOT_REASON_RELOAD ? pool->reload.generation : pool->generation;
	slot->reason = SLOT_REASON_NONE;
	slot->was_ready = false;
	slot->volley = pool->backoff.volley;
	slot->asked_ms = now_ms;
	slot->worn = SLOT_REASON_NONE;
	slot->awaited_ms = 0;
	pool_draw_jitter(pool, slot);
}

/* While it starts; 0 is "not before it says so". */
static uint64_t slot_ready_at(const struct pool_policy *pool, const struct slot *slot, uint64_t now_ms)
{
	uint64_t after_ms = slot_rules(pool, slot)->ready_after_ms;

	return after_ms == 0 ? DEADLINE_NONE : deadline_after(now_ms, after_ms);
}

/* A worker may report that it is ready after it was told to leave; once killed, it proves nothing by it. */
static void slot_note_ready(const struct pool_policy *pool, struct slot *slot, uint64_t now_ms)
{
	if (slot->was_ready || slot->state == SLOT_KILLED)
		return;
	slot->was_ready = true;
	slot->ready_ms = now_ms;
	if (slot->state == SLOT_RETIRING)
		slot->deadline_ms = state_deadline(pool, slot, SLOT_RETIRING, now_ms);
}

/* After each warning it has the same time again; a deadline that it had to leave by holds on. */
static void slot_warn(const struct pool_policy *pool, struct slot *slot, uint64_t now_ms)
{
	if (slot->state == SLOT_OVERRUN) {
		slot->warnings++;
		slot->deadline_ms = state_deadline(pool, slot, SLOT_OVERRUN, now_ms);
		return;
	}
	slot->warnings = 1;
	slot->leave_by_ms = slot->state == SLOT_RETIRING ? slot->deadline_ms : DEADLINE_NONE;
}

/* A program has said that it stops, and can have served nobody: the next one would, too, while the first still ends. */
static bool slot_stops_early(const struct slot *slot, enum slot_event event, enum slot_reason reason, uint64_t now_ms)
{
	return event == SLOT_RETIRE && reason == SLOT_REASON_ITSELF && now_ms - slot->asked_ms < POOL_RECYCLE_MS;
}

bool pool_policy_event(
	struct pool_policy *pool, uint32_t number, enum slot_event event, enum slot_reason reason, uint64_t now_ms)
{
	struct slot *slot = &pool->slots[number];
	enum slot_state state = slot_next(slot->state, event);

	if (state == SLOT_STATES || event == SLOT_EXITED)
		return false;
	if (event == SLOT_ASK && reason == SLOT_REASON_RELOAD && pool->reload.canary != CANARY_WANTED)
		return false;
	if (event == SLOT_WEAR && !pool_policy_can_wear(pool, number))
		return false;
	canary_note_event(pool, slot, event, reason, now_ms);
	switch (event) {
	case SLOT_ASK:
		slot_begin(pool, slot, reason, now_ms);
		break;
	case SLOT_BORN:
		slot->ready_at_ms = slot_ready_at(pool, slot, now_ms);
		break;
	case SLOT_FAILED:
		pool_failed_once(pool, slot, now_ms);
		break;
	case SLOT_BECAME_READY:
		slot_note_ready(pool, slot, now_ms);
		break;
	case SLOT_WEAR:
		slot_wear(pool, slot, reason, now_ms);
		break;
	case SLOT_WARN:
		slot_warn(pool, slot, now_ms);
		ATTR_FALLTHROUGH;
	case SLOT_RETIRE:
	case SLOT_QUIT:
	case SLOT_KILL:
		slot->reason = reason;
		if (event == SLOT_RETIRE && slot_reason_is_recycling(reason))
			slot->awaited_ms = deadline_after(now_ms, POOL_PATIENCE_MS);
		/* A failure from now on, however long the process takes to end: what replaces it has to wait. */
		if ((event == SLOT_KILL && reason == SLOT_REASON_START_TIMEOUT) ||
			slot_stops_early(slot, event, reason, now_ms))
			pool_failed_once(pool, slot, now_ms);
		break;
	default:
		break;
	}
	pool_slot_enter(pool, number, state, now_ms);
	sizing_note_event(pool, slot, event, reason, now_ms);
	return true;
}

bool pool_policy_overruns(const struct pool_policy *pool, uint32_t number, enum slot_event *ret_what)
{
	const struct slot *slot = &pool->slots[number];

	if (slot->state != SLOT_READY && slot->state != SLOT_RETIRING)
		return false;
	*ret_what = slot_rules(pool, slot)->overrun_warnings > 0 ? SLOT_WARN : SLOT_KILL;
	return true;
}

bool pool_policy_extend(struct pool_policy *pool, uint32_t number, uint64_t deadline_ms)
{
	struct slot *slot = &pool->slots[number];
	bool watched = slot->state == SLOT_READY && slot->deadline_ms != DEADLINE_NONE;

	if (slot->state != SLOT_STARTING && slot->state != SLOT_RETIRING && !watched)
		return false;
	slot->deadline_ms = deadline_ms;
	return true;
}

/* An operator's number of workers. */
static uint32_t within_bounds(const struct pool_policy *pool, int64_t target)
{
	if (target > pool->rules.capacity)
		return pool->rules.capacity;
	return target > 1 ? (uint32_t)target : 1;
}

uint32_t pool_policy_resize(struct pool_policy *pool, int delta)
{
	pool->target = within_bounds(pool, (int64_t)pool->target + delta);
	pool->reload.target = within_bounds(pool, (int64_t)pool->reload.target + delta);
	pool_note_ready(pool);
	return pool->target;
}

uint32_t pool_policy_scale(struct pool_policy *pool, uint32_t target)
{
	pool->target = within_bounds(pool, target);
	pool->reload.target = pool->target;
	pool_note_ready(pool);
	return pool->target;
}

void pool_policy_retire(struct pool_policy *pool, uint64_t deadline_ms)
{
	if (pool->phase != POOL_SERVING)
		return;
	pool_policy_undo(pool);
	pool->phase = POOL_RETIRING;
	pool->stop_deadline_ms = deadline_ms;
}

void pool_policy_postpone(struct pool_policy *pool, uint64_t deadline_ms)
{
	if (pool->phase == POOL_RETIRING && deadline_ms > pool->stop_deadline_ms)
		pool->stop_deadline_ms = deadline_ms;
}

void pool_policy_quit(struct pool_policy *pool, enum slot_reason reason)
{
	pool_policy_undo(pool);
	pool->phase = POOL_QUITTING;
	pool->quit_reason = reason;
}

bool pool_policy_is_ready(const struct pool_policy *pool)
{
	return pool->was_ready || (pool->rules.give_up_after == 0 && pool_has_tried(pool));
}

bool pool_policy_start_failed(const struct pool_policy *pool)
{
	return !pool->was_ready && pool_ready(pool) == 0 && pool->rules.give_up_after > 0 && pool_has_tried(pool);
}

/* ---- upgrade ---- */

uint64_t pool_policy_leaves_by(const struct pool_policy *pool, uint32_t number)
{
	const struct slot *slot = &pool->slots[number];

	return slot_is_finishing(slot->state) ? slot_deadline(pool, slot) : DEADLINE_NONE;
}

void pool_policy_resume(struct pool_policy *pool, const struct pool_memory *memory)
{
	pool->generation = memory->generation;
	pool->target = count_least(memory->target, pool->rules.capacity);
	pool->target = pool_target_by(pool, &pool->rules, pool->target);
	pool->sizing = memory->sizing;
	pool->backoff = memory->backoff;
	pool->proven = memory->proven;
	pool->was_ready = memory->was_ready;
}

bool pool_policy_adopt(struct pool_policy *pool, uint32_t number, const struct slot *slot)
{
	struct slot *place = number < pool->rules.capacity ? &pool->slots[number] : NULL;

	if (place == NULL || place->state != SLOT_FREE || slot->state == SLOT_FREE || slot->state == SLOT_ASKED ||
		slot->state >= SLOT_STATES)
		return false;
	*place = *slot;
	place->state = SLOT_FREE;
	pool->count[SLOT_FREE]--;
	pool->count[slot->state]++;
	pool_count_role(pool, place, slot->state);
	place->state = slot->state;
	pool_note_ready(pool);
	return true;
}
