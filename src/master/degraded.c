/* SPDX-License-Identifier: MIT */
#include "master/degraded.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "master/master_private.h"
#include "policy/deadline.h"

/* ---- what happened ---- */

static void note(struct pool *pool, const char *how, const char *when, uint64_t now_ms)
{
	struct pool_failures *failures = &pool->failures;

	snprintf(failures->last, sizeof(failures->last), "%.120s, %s", how, when);
	failures->last_ms = now_ms;
}

static bool is_unasked(const struct death_verdict *verdict)
{
	return verdict->kind == DEATH_EXITED || verdict->kind == DEATH_SIGNALED || verdict->kind == DEATH_KILLED;
}

void degraded_note_death(struct pool *pool, uint32_t slot, const struct death *death,
	const struct death_verdict *verdict, const char *how)
{
	const char *when = verdict->before_ready ? "before ready" : death->serving ? "serving" : "idle";

	if (is_unasked(verdict)) {
		pool->failures.died_unready += verdict->before_ready;
		pool->failures.died_serving += death->serving;
	}
	/* A canary's failure is its reload's. */
	if (!verdict->failure || worker_is_canary(pool, slot))
		return;
	if (verdict->kind == DEATH_KILLED)
		how = slot_reason_name(verdict->reason);
	note(pool, how, when, clock_monotonic_ms());
}

void degraded_note_overdue(struct pool *pool, uint32_t slot, uint64_t now_ms)
{
	if (!worker_is_canary(pool, slot))
		note(pool, slot_reason_name(SLOT_REASON_START_TIMEOUT), "before ready", now_ms);
}

void degraded_note_stopping(struct pool *pool, uint32_t slot, uint64_t now_ms)
{
	if (!worker_is_canary(pool, slot))
		note(pool, "says that it stops", "as soon as it has started", now_ms);
}

void degraded_note_unborn(struct pool *pool, uint32_t slot, const char *reason, uint64_t now_ms)
{
	if (!worker_is_canary(pool, slot))
		note(pool, reason, "no worker can be made", now_ms);
}

/* ---- episodes ---- */

char *degraded_text(const struct pool *pool, char *buffer, size_t size)
{
	uint32_t level = pool->policy.backoff.level;

	snprintf(buffer, size, "%u failure%s in a row, the last: %s", level, level == 1 ? "" : "s",
		pool->failures.last[0] != '\0' ? pool->failures.last : "not known");
	return buffer;
}

/* "retry in 400 ms"; the worker that goes first is on its way, or stands already. */
static const char *what_is_next(const struct pool *pool, uint64_t now_ms, char *buffer, size_t size)
{
	const struct backoff *backoff = &pool->policy.backoff;

	if (backoff_holds(backoff, now_ms))
		snprintf(buffer, size, "retry in %llu ms", (unsigned long long)(backoff->until_ms - now_ms));
	else
		snprintf(buffer, size, "trying");
	return buffer;
}

static void begin(struct pool *pool, uint64_t now_ms)
{
	const struct pool_policy *policy = &pool->policy;
	char next[64];

	pool->failures.since_ms = now_ms;
	pool->failures.in_a_row = 0;
	log_event(LOG_LEVEL_WARNING, "pool is degraded", LOG_TEXT("pool", pool->config->name),
		LOG_INT("failures", policy->backoff.level), LOG_INT("ready", policy->count[SLOT_READY]),
		LOG_INT("wanted", policy->target), LOG_TEXT("last", pool->failures.last),
		LOG_TEXT("next", what_is_next(pool, now_ms, next, sizeof(next))));
}

/* One that is ending has not recovered, and says something else. */
static void end(const struct pool *pool, uint64_t now_ms)
{
	const struct pool_policy *policy = &pool->policy;

	if (policy->phase == POOL_SERVING)
		log_event(LOG_LEVEL_NOTICE, "pool has recovered", LOG_TEXT("pool", pool->config->name),
			LOG_INT("after_ms", (int64_t)(now_ms - pool->failures.since_ms)),
			LOG_INT("failures", pool->failures.in_a_row), LOG_INT("ready", policy->count[SLOT_READY]),
			LOG_INT("wanted", policy->target));
}

uint64_t degraded_check(struct master *master, uint64_t now_ms)
{
	uint64_t wake_ms = DEADLINE_NONE;

	FOR_EACH_POOL (master, pool) {
		struct pool_failures *failures = &pool->failures;
		uint64_t look_ms;
		bool degraded = pool_policy_is_degraded(&pool->policy, now_ms, &look_ms);

		wake_ms = deadline_earlier(wake_ms, look_ms);
		if (degraded && !failures->degraded)
			begin(pool, now_ms);
		if (!degraded && failures->degraded)
			end(pool, now_ms);
		if (degraded != failures->degraded)
			master->notify.status_ms = 0; /* told at once */
		failures->degraded = degraded;
		if (degraded && pool->policy.backoff.level > failures->in_a_row)
			failures->in_a_row = pool->policy.backoff.level;
	}
	return wake_ms;
}
