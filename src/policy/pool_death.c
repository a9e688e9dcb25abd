/* SPDX-License-Identifier: MIT */
/*
 * What a death means for a pool: its kind, whether it counts against the pool, and how long the pool then holds back.
 */
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

/* ---- backing off ---- */

/* What the workers that are there tell about a failure, and about the time since the last one. */
struct pool_view {
	bool some_healthy; /* one has been ready for rules.healthy_ms */
	/* Of the workers that were asked for after the last failure: */
	bool probe_starting; /* one is on its way */
	bool probe_stands;   /* one serves: the others may follow */
	bool recovered;      /* one is healthy: the cause is gone */
	uint64_t healthy_ms; /* when one will be */
};

/* Whether a worker was asked for after the last failure. */
static bool slot_is_of_volley(const struct pool_policy *pool, const struct slot *slot)
{
	return slot->volley == pool->backoff.volley;
}

static bool slot_is_healthy(const struct pool_policy *pool, const struct slot *slot, uint64_t now_ms)
{
	return slot->was_ready && now_ms - slot->ready_ms >= slot_rules(pool, slot)->healthy_ms;
}

static struct pool_view pool_look(const struct pool_policy *pool, uint64_t now_ms)
{
	struct pool_view view = { .healthy_ms = DEADLINE_NONE };
	uint32_t unseen = pool_used(pool);

	for (const struct slot *slot = pool->slots; unseen > 0; slot++) {
		bool healthy;

		if (slot->state == SLOT_FREE)
			continue;
		unseen--;
		if (pool_role(pool, slot) == POOL_CANARY)
			continue;
		healthy = slot_is_healthy(pool, slot, now_ms);
		view.some_healthy |= healthy;
		if (!slot_is_of_volley(pool, slot))
			continue;
		view.probe_starting |= slot->state == SLOT_ASKED || slot->state == SLOT_STARTING;
		view.probe_stands |= slot->state == SLOT_READY;
		view.recovered |= healthy;
		if (slot->was_ready && !healthy)
			view.healthy_ms =
				deadline_earlier(view.healthy_ms, slot->ready_ms + slot_rules(pool, slot)->healthy_ms);
	}
	return view;
}

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

bool pool_policy_is_degraded(const struct pool_policy *pool, uint64_t now_ms, uint64_t *ret_look_ms)
{
	const uint32_t *current = pool->count_of[POOL_CURRENT];
	struct pool_view view;

	*ret_look_ms = DEADLINE_NONE;
	if (pool->backoff.level == 0 || pool->phase != POOL_SERVING || pool->target == 0)
		return false;
	view = pool_look(pool, now_ms);
	if (view.recovered && current[SLOT_ASKED] + current[SLOT_STARTING] == 0)
		return false;
	*ret_look_ms = view.healthy_ms;
	return true;
}

void pool_failed_once(struct pool_policy *pool, const struct slot *slot, uint64_t now_ms)
{
	if (!slot_is_of_volley(pool, slot) || pool_role(pool, slot) == POOL_CANARY)
		return;
	if (pool_look(pool, now_ms).recovered)
		pool->backoff.level = 0;
	pool->backoff = backoff_next(&pool->rules.backoff, pool->backoff, now_ms);
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
		(slot_is_finishing(slot->state) || slot->state == SLOT_QUITTING) && slot->reason != SLOT_REASON_ITSELF;
	bool overdue = slot->reason == SLOT_REASON_STOP_TIMEOUT || slot->reason == SLOT_REASON_WATCHDOG;
	/* A warning may be the end: by its signal itself, or where it has the worker leave with its client unserved. */
	bool warned_off = death->of_our_signal || (!death->by_signal && death->code == 0 && death->serving);

	if (slot->state == SLOT_KILLED || slot->state == SLOT_LOST)
		return DEATH_KILLED;
	if (slot->state == SLOT_QUITTING && overdue)
		return DEATH_KILLED;
	if (slot->state == SLOT_OVERRUN && warned_off)
		return DEATH_KILLED;
	if (slot->state == SLOT_RUNNING && !death->not_executed)
		return DEATH_FINISHED;
	if (asked && death->of_our_signal)
		return slot_reason_is_recycling(slot->reason) ? DEATH_RECYCLED : DEATH_RETIRED;
	if (death->by_signal)
		return DEATH_SIGNALED;
	if (death->code != 0)
		return DEATH_EXITED;
	if (asked)
		return slot_reason_is_recycling(slot->reason) ? DEATH_RECYCLED : DEATH_RETIRED;
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
		slot->reason == SLOT_REASON_RELOAD_UNDONE || slot_reason_is_recycling(slot->reason))
		return false;
	if (!slot->was_ready)
		return true;
	if (death->served > 0 || death->serving)
		return !pool->proven;
	return !slot_is_healthy(pool, slot, now_ms);
}

static void death_weigh(
	struct pool_policy *pool, const struct slot *slot, const struct death *death, bool failure, uint64_t now_ms)
{
	bool stood = slot_is_healthy(pool, slot, now_ms) || death->served > 0;

	if (stood && slot_is_of_volley(pool, slot) && pool_role(pool, slot) != POOL_CANARY)
		pool->backoff.level = 0;
	if (failure)
		pool_failed_once(pool, slot, now_ms);
}

static void death_sequel(
	const struct pool_policy *pool, const struct slot *slot, uint64_t now_ms, struct death_verdict *verdict)
{
	uint32_t wanted = pool_missing(pool);

	verdict->retry_ms = pool->phase == POOL_SERVING ? canary_retry_in(pool, slot, now_ms) : 0;
	if (verdict->retry_ms > 0)
		verdict->sequel = DEATH_BACKING_OFF;
	else if (pool->phase != POOL_SERVING || wanted == 0 || pool_role(pool, slot) == POOL_CANARY)
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
	canary_note_death(pool, slot, verdict.failure, now_ms);
	pool_slot_enter(pool, number, SLOT_FREE, now_ms);
	if (verdict.kind == DEATH_RECYCLED && recycling)
		pool_note_idle_exit(pool);
	death_sequel(pool, slot, now_ms, &verdict);
	*ret_verdict = verdict;
	return true;
}
