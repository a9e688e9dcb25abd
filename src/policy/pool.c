/* SPDX-License-Identifier: MIT */
#include "policy/pool.h"

#include <assert.h>

#include "base/attrs.h"
#include "policy/deadline.h"
#include "policy/pool_private.h"

static const char *const kind_names[] = {
	[DEATH_RETIRED] = "retired",
	[DEATH_RECYCLED] = "recycled",
	[DEATH_FINISHED] = "finished",
	[DEATH_EXITED] = "exited",
	[DEATH_SIGNALED] = "signaled",
	[DEATH_KILLED] = "killed",
};
static_assert(ARRAY_SIZE(kind_names) == DEATH_KINDS, "a name for each kind of death");

static const char *const sequel_names[] = {
	[DEATH_NOT_REPLACED] = "not replaced",
	[DEATH_REPLACED] = "replaced",
	[DEATH_BACKING_OFF] = "backing off",
};
static_assert(ARRAY_SIZE(sequel_names) == DEATH_SEQUELS, "a name for each sequel");

const char *death_kind_name(enum death_kind kind)
{
	return kind_names[kind];
}

const char *death_sequel_name(enum death_sequel sequel)
{
	return sequel_names[sequel];
}

/* ---- counts ---- */

static uint32_t pool_used(const struct pool_policy *pool)
{
	return pool->rules.capacity - pool->count[SLOT_FREE];
}

uint32_t pool_serving(const struct pool_policy *pool)
{
	return pool_serving_of(pool, POOL_CURRENT) + pool_serving_of(pool, POOL_OLD);
}

uint32_t pool_missing(const struct pool_policy *pool)
{
	uint32_t serving = pool_serving(pool);

	return serving < pool->target ? pool->target - serving : 0;
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

/* Those of them that were not told to leave. */
static uint32_t pool_staying(const struct pool_policy *pool)
{
	return pool_serving(pool) + pool->count_of[POOL_CURRENT][SLOT_RUNNING] + pool->count_of[POOL_OLD][SLOT_RUNNING];
}

static uint32_t pool_limit(const struct pool_policy *pool)
{
	const struct pool_rules *rules = &pool->rules;

	return rules->limit == 0 || rules->limit > rules->capacity ? rules->capacity : rules->limit;
}

uint32_t pool_policy_room(const struct pool_policy *pool)
{
	uint32_t counted = pool_counted(pool), limit = pool_limit(pool);
	uint32_t room = counted < limit ? limit - counted : 0;

	return room < pool->count[SLOT_FREE] ? room : pool->count[SLOT_FREE];
}

void pool_note_ready(struct pool_policy *pool)
{
	bool full = pool_ready(pool) >= pool->target;
	bool some = pool_ready(pool) > 0 && pool->backoff.level >= POOL_START_ATTEMPTS;

	if (full || some)
		pool->was_ready = true;
}

void pool_policy_init(struct pool_policy *pool, const struct pool_rules *rules, uint32_t target, struct slot *slots)
{
	*pool = (struct pool_policy){
		.rules = *rules,
		.phase = POOL_SERVING,
		.generation = 1,
		.target = target < rules->capacity ? target : rules->capacity,
		/* A worker of a reload that another image tried, and this one does not know, goes by what there is. */
		.reload = { .rules = *rules },
		.stop_deadline_ms = DEADLINE_NONE,
		.slots = slots,
	};
	for (uint32_t i = 0; i < rules->capacity; i++)
		slots[i] = (struct slot){ .state = SLOT_FREE, .deadline_ms = DEADLINE_NONE };
	pool->count[SLOT_FREE] = rules->capacity;
	pool_note_ready(pool);
}

/* ---- backing off ---- */

/* What the workers that are there tell about a failure, and about the time since the last one. */
struct pool_view {
	bool some_healthy; /* one has been ready for POOL_HEALTHY_MS */
	/* Of the workers that were asked for after the last failure: */
	bool probe_starting; /* one is on its way */
	bool probe_stands;   /* one serves: the others may follow */
	bool recovered;      /* one is healthy: the cause is gone */
};

/* Whether a worker was asked for after the last failure. */
static bool slot_is_of_volley(const struct pool_policy *pool, const struct slot *slot)
{
	return slot->volley == pool->backoff.volley;
}

static bool slot_is_healthy(const struct slot *slot, uint64_t now_ms)
{
	return slot->was_ready && now_ms - slot->ready_ms >= POOL_HEALTHY_MS;
}

static struct pool_view pool_look(const struct pool_policy *pool, uint64_t now_ms)
{
	struct pool_view view = { 0 };
	uint32_t unseen = pool_used(pool);

	for (const struct slot *slot = pool->slots; unseen > 0; slot++) {
		bool healthy;

		if (slot->state == SLOT_FREE)
			continue;
		unseen--;
		if (pool_role(pool, slot) == POOL_CANARY)
			continue;
		healthy = slot_is_healthy(slot, now_ms);
		view.some_healthy |= healthy;
		if (!slot_is_of_volley(pool, slot))
			continue;
		view.probe_starting |= slot->state == SLOT_ASKED || slot->state == SLOT_STARTING;
		view.probe_stands |= slot->state == SLOT_READY;
		view.recovered |= healthy;
	}
	return view;
}

/* How many starts are allowed now. After a failure one worker goes first; the others follow when it serves. */
uint32_t pool_allowed_starts(const struct pool_policy *pool, uint64_t now_ms)
{
	struct pool_view view;

	if (pool->backoff.level == 0)
		return UINT32_MAX;
	if (backoff_holds(&pool->backoff, now_ms))
		return 0;
	view = pool_look(pool, now_ms);
	if (view.probe_stands)
		return UINT32_MAX;
	return view.probe_starting ? 0 : 1;
}

/* Takes a failure of the worker in SLOT into account. Those of one volley that fail together are one failure. */
static void pool_failed_once(struct pool_policy *pool, const struct slot *slot, uint64_t now_ms)
{
	if (!slot_is_of_volley(pool, slot) || pool_role(pool, slot) == POOL_CANARY)
		return;
	if (pool_look(pool, now_ms).recovered)
		pool->backoff.level = 0;
	pool->backoff = backoff_next(&pool->rules.backoff, pool->backoff, now_ms);
}

/* ---- the plan ---- */

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

static void plan_starts(const struct pool_policy *pool, uint64_t now_ms, struct pool_plan *plan)
{
	uint32_t wanted = pool_wanted(pool);
	uint32_t allowed = wanted > 0 ? pool_allowed_starts(pool, now_ms) : 0;
	uint32_t canaries = plan_canary(pool, now_ms, plan);
	uint32_t slots = pool->count[SLOT_FREE] - canaries;
	uint32_t room = pool_policy_room(pool);

	if (wanted > 0 && backoff_holds(&pool->backoff, now_ms))
		plan_wake(plan, pool->backoff.until_ms);
	if (wanted > allowed)
		wanted = allowed;
	if (wanted > slots)
		wanted = slots;
	if (wanted > room)
		wanted = room;
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

/* The highest numbers leave first, so that the pool's slots stay dense. One that is asked for leaves once it is born.
 */
static void plan_surplus(const struct pool_policy *pool, struct pool_plan *plan)
{
	uint32_t serving = pool_serving(pool);
	uint32_t surplus = serving > pool->target ? serving - pool->target : 0;
	uint32_t staying = pool_staying(pool), limit = pool_limit(pool);

	/* The canary of a reload that was committed may have come on top, or the limit is a lower one. Those that
	 * leave already make room for it, however long they take. */
	if (staying > limit && staying - limit > surplus)
		surplus = staying - limit;
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

/* What a state that has lasted too long asks for. */
static void plan_overdue(const struct slot *slot, uint32_t number, uint64_t now_ms, struct pool_plan *plan)
{
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

/* When SLOT becomes overdue. A stop bounds retirements that had no bound before it. */
static uint64_t slot_deadline(const struct pool_policy *pool, const struct slot *slot)
{
	if (slot->state == SLOT_RETIRING && pool->phase == POOL_RETIRING)
		return deadline_earlier(pool->stop_deadline_ms, slot->deadline_ms);
	return slot->deadline_ms;
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
	if (pool->phase == POOL_QUITTING && (there || state == SLOT_RETIRING))
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
			plan_overdue(slot, i, now_ms, ret_plan);
		else {
			plan_wake(ret_plan, deadline_ms);
			if (pool->phase == POOL_SERVING)
				plan_ready(slot, i, now_ms, ret_plan);
			plan_ending(pool, i, ret_plan);
		}
	}
	/* Alone: the end of one that is overdue makes the pool smaller, and may be a failure that holds starts back. */
	if (pool->phase == POOL_SERVING && ret_plan->count == 0) {
		plan_refused(pool, ret_plan);
		if (pool_policy_is_rolling(pool))
			plan_roll(pool, now_ms, ret_plan);
		else
			plan_surplus(pool, ret_plan);
		plan_starts(pool, now_ms, ret_plan);
	}
}

/* ---- events ---- */

static uint64_t retire_deadline(const struct pool_rules *rules, const struct slot *slot, uint64_t now_ms)
{
	bool replaced = slot->reason == SLOT_REASON_RELOAD && rules->replace_timeout_ms != 0;
	uint64_t timeout_ms = replaced ? rules->replace_timeout_ms : rules->retire_timeout_ms;

	return timeout_ms == 0 ? DEADLINE_NONE : deadline_after(now_ms, timeout_ms);
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
	case SLOT_QUITTING:
		return deadline_after(now_ms, POOL_QUIT_GRACE_MS);
	case SLOT_KILLED:
		return deadline_after(now_ms, POOL_KILL_GRACE_MS);
	default:
		return DEADLINE_NONE;
	}
}

/* The one place that writes a slot's state. */
static void slot_enter(struct pool_policy *pool, uint32_t number, enum slot_state state, uint64_t now_ms)
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

bool pool_policy_event(
	struct pool_policy *pool, uint32_t number, enum slot_event event, enum slot_reason reason, uint64_t now_ms)
{
	struct slot *slot = &pool->slots[number];
	enum slot_state state = slot_next(slot->state, event);

	if (state == SLOT_STATES || event == SLOT_EXITED)
		return false;
	if (event == SLOT_ASK && reason == SLOT_REASON_RELOAD && pool->reload.canary != CANARY_WANTED)
		return false;
	canary_note_event(pool, slot, event, reason);
	switch (event) {
	case SLOT_ASK:
		slot->generation = reason == SLOT_REASON_RELOAD ? pool->reload.generation : pool->generation;
		slot->reason = SLOT_REASON_NONE;
		slot->was_ready = false;
		slot->volley = pool->backoff.volley;
		slot->asked_ms = now_ms;
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
	case SLOT_RETIRE:
	case SLOT_QUIT:
	case SLOT_KILL:
		slot->reason = reason;
		/* A failure from now on, however long the process takes to end: what replaces it has to wait. */
		if (event == SLOT_KILL && reason == SLOT_REASON_START_TIMEOUT)
			pool_failed_once(pool, slot, now_ms);
		break;
	default:
		break;
	}
	slot_enter(pool, number, state, now_ms);
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

static uint32_t resized(const struct pool_policy *pool, uint32_t target, int delta)
{
	int64_t result = (int64_t)target + delta;

	if (result > pool->rules.capacity)
		result = pool->rules.capacity;
	return result > 1 ? (uint32_t)result : 1;
}

uint32_t pool_policy_resize(struct pool_policy *pool, int delta)
{
	pool->target = resized(pool, pool->target, delta);
	pool->reload.target = resized(pool, pool->reload.target, delta);
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
	return pool->was_ready;
}

bool pool_policy_start_failed(const struct pool_policy *pool)
{
	return !pool->was_ready && pool_ready(pool) == 0 && pool->backoff.level >= POOL_START_ATTEMPTS;
}

/* ---- upgrade ---- */

uint64_t pool_policy_leaves_by(const struct pool_policy *pool, uint32_t number)
{
	const struct slot *slot = &pool->slots[number];

	return slot->state == SLOT_RETIRING ? slot_deadline(pool, slot) : DEADLINE_NONE;
}

void pool_policy_resume(struct pool_policy *pool, const struct pool_memory *memory)
{
	pool->generation = memory->generation;
	pool->target = memory->target < pool->rules.capacity ? memory->target : pool->rules.capacity;
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

/* ---- deaths ---- */

/*
 * Whether a program has left because it wanted to, as some do after so many requests, and not because it cannot run:
 * what it has served nobody knows, so its age has to tell. In a pool that never was ready nothing is proven by it.
 */
static bool death_is_recycling(
	const struct pool_policy *pool, const struct slot *slot, const struct death *death, uint64_t now_ms)
{
	return death->accepts && !death->by_signal && death->code == 0 && (slot->was_ready || pool->was_ready) &&
	       now_ms - slot->asked_ms >= POOL_RECYCLE_MS;
}

static enum death_kind death_classify(const struct slot *slot, const struct death *death, bool recycling)
{
	bool asked =
		(slot->state == SLOT_RETIRING || slot->state == SLOT_QUITTING) && slot->reason != SLOT_REASON_ITSELF;

	bool overdue = slot->reason == SLOT_REASON_STOP_TIMEOUT || slot->reason == SLOT_REASON_WATCHDOG;

	if (slot->state == SLOT_KILLED || slot->state == SLOT_LOST)
		return DEATH_KILLED;
	if (slot->state == SLOT_QUITTING && overdue)
		return DEATH_KILLED;
	if (slot->state == SLOT_RUNNING && !death->not_executed)
		return DEATH_FINISHED;
	if (asked && death->of_our_signal)
		return DEATH_RETIRED;
	if (death->by_signal)
		return DEATH_SIGNALED;
	if (death->code != 0)
		return DEATH_EXITED;
	if (asked)
		return DEATH_RETIRED;
	return slot->was_ready || recycling ? DEATH_RECYCLED : DEATH_EXITED;
}

/*
 * Whether a death counts against the pool. A worker that has served, or was serving, died of a connection: once the
 * pool has proven healthy that is one client's doing, and no reason to keep the others waiting.
 */
static bool death_is_failure(const struct pool_policy *pool, const struct slot *slot, const struct death *death,
	enum death_kind kind, uint64_t now_ms)
{
	if (kind == DEATH_RETIRED || kind == DEATH_FINISHED || (kind == DEATH_RECYCLED && death->was_told))
		return false;
	if (death->not_executed)
		return true;
	if (slot->reason == SLOT_REASON_STOP || slot->reason == SLOT_REASON_STOP_TIMEOUT ||
		slot->reason == SLOT_REASON_SCALE_DOWN || slot->reason == SLOT_REASON_RELOAD ||
		slot->reason == SLOT_REASON_RELOAD_UNDONE)
		return false;
	if (!slot->was_ready)
		return true;
	if (death->served > 0 || death->serving)
		return !pool->proven;
	return !slot_is_healthy(slot, now_ms);
}

static void death_weigh(
	struct pool_policy *pool, const struct slot *slot, const struct death *death, bool failure, uint64_t now_ms)
{
	bool stood = slot_is_healthy(slot, now_ms) || death->served > 0;

	if (stood && slot_is_of_volley(pool, slot) && pool_role(pool, slot) != POOL_CANARY)
		pool->backoff.level = 0;
	if (failure)
		pool_failed_once(pool, slot, now_ms);
}

static void death_sequel(
	const struct pool_policy *pool, const struct slot *slot, uint64_t now_ms, struct death_verdict *verdict)
{
	uint32_t wanted = pool_missing(pool);

	verdict->retry_ms = 0;
	if (pool->phase != POOL_SERVING || wanted == 0 || pool_role(pool, slot) == POOL_CANARY)
		verdict->sequel = DEATH_NOT_REPLACED;
	else if (wanted <= pool_allowed_starts(pool, now_ms))
		verdict->sequel = DEATH_REPLACED;
	else {
		verdict->sequel = DEATH_BACKING_OFF;
		verdict->retry_ms = backoff_holds(&pool->backoff, now_ms) ? pool->backoff.until_ms - now_ms : 0;
	}
}

bool pool_policy_died(struct pool_policy *pool, uint32_t number, const struct death *death, uint64_t now_ms,
	struct death_verdict *ret_verdict)
{
	struct slot *slot = &pool->slots[number];
	struct death_verdict verdict = { 0 };
	bool recycling = death_is_recycling(pool, slot, death, now_ms);

	if (slot_next(slot->state, SLOT_EXITED) == SLOT_STATES)
		return false;
	if (death->pool_has_served || death->served > 0 || pool_look(pool, now_ms).some_healthy)
		pool->proven = true;
	verdict.kind = death_classify(slot, death, recycling);
	verdict.reason = slot->reason;
	verdict.before_ready = !slot->was_ready;
	verdict.age_ms = now_ms - slot->asked_ms;
	verdict.failure = !(verdict.kind == DEATH_RECYCLED && recycling) &&
			  death_is_failure(pool, slot, death, verdict.kind, now_ms);
	death_weigh(pool, slot, death, verdict.failure, now_ms);
	canary_note_death(pool, slot, verdict.failure);
	slot_enter(pool, number, SLOT_FREE, now_ms);
	death_sequel(pool, slot, now_ms, &verdict);
	*ret_verdict = verdict;
	return true;
}
