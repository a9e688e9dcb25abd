/* SPDX-License-Identifier: MIT */
#include "master/control_status.h"

#include "base/attrs.h"
#include "base/clock.h"
#include "build_config.h"
#include "master/master_private.h"

/* Raised when what a script relies on changes. */
#define PROTOCOL 1

/* ---- the daemon ---- */

static void put_reload(const struct control_verdict *verdict, struct json_line *json)
{
	if (verdict->time_us == 0) {
		json_line_null(json, "reload_ok");
		return;
	}
	json_line_bool(json, "reload_ok", verdict->good);
	json_line_number(json, "reload_at", (int64_t)(verdict->time_us / 1000000));
	json_line_number(json, "reload_generation", verdict->generation);
	json_line_text(json, "reload_text", verdict->text);
}

static uint32_t pools_degraded(const struct master *master)
{
	uint32_t count = 0;

	FOR_EACH_POOL (master, pool)
		count += pool->failures.degraded;
	return count;
}

static void put_daemon(const struct master *master, uint64_t now_ms, struct json_line *json)
{
	const struct control *control = &master->control;

	json_line_text(json, "type", "daemon");
	json_line_number(json, "protocol", PROTOCOL);
	json_line_text(json, "version", BROOD_VERSION);
	json_line_number(json, "pid", master->pid);
	json_line_text(json, "binary", master->options->image->path);
	json_line_text(json, "config", master->options->origin->file);
	json_line_text(json, "phase", lifecycle_phase_name(master->phase));
	json_line_number(json, "generation", master->generation);
	json_line_number(json, "started_at", (int64_t)(control->started_us / 1000000));
	json_line_number(
		json, "uptime_ms", (int64_t)(control->age_ms + (clock_monotonic_us() - control->opened_us) / 1000));
	json_line_number(json, "pools", (int64_t)master->config->pool_count);
	json_line_number(json, "degraded", pools_degraded(master));
	json_line_number(json, "workers", pools_living(master));
	json_line_number(json, "max_workers", master->config->max_workers);
	json_line_text(json, "reload", reload_stage_name(master->reload.stage));
	put_reload(&control->last_reload, json);
}

/* ---- a pool ---- */

/* In one word, the worst first. */
static const char *pool_state(const struct pool *pool, uint64_t now_ms)
{
	const struct pool_policy *policy = &pool->policy;

	if (policy->phase != POOL_SERVING)
		return policy->phase == POOL_RETIRING ? "retiring" : "ending";
	if (pool->fork_failing)
		return "no-fork";
	if (pool->failures.degraded)
		return backoff_holds(&policy->backoff, now_ms) ? "backing-off" : "degraded";
	if (pool_policy_canary(policy, now_ms) != CANARY_NONE)
		return "trying";
	if (pool_policy_is_rolling(policy))
		return "rolling";
	if (pool->sizing.full)
		return "full";
	if (pool->sizing.awaiting)
		return "sleeping";
	return policy->count[SLOT_READY] < policy->target ? "starting" : "serving";
}

static int64_t word(const _Atomic uint64_t *of)
{
	return (int64_t)atomic_load_explicit(of, memory_order_relaxed);
}

/* "fixed", "load" or "demand". */
static const char *size_name(const struct sizing_rules *rules)
{
	if (rules->kind == SIZING_FIXED)
		return "fixed";
	return rules->min == 0 ? "demand" : "load";
}

/* What bounds its size; "wanted" is within. */
static void put_size(const struct pool *pool, struct json_line *json)
{
	const struct pool_policy *policy = &pool->policy;
	const struct sizing_rules *rules = &policy->rules.sizing;
	bool fixed = rules->kind == SIZING_FIXED;

	json_line_text(json, "size", size_name(rules));
	json_line_number(json, "min_workers", fixed ? policy->target : rules->min);
	json_line_number(json, "max_workers", fixed ? policy->target : rules->max);
	if (policy->allowed == UINT32_MAX)
		json_line_null(json, "share");
	else
		json_line_number(json, "share", policy->allowed);
	json_line_number(json, "full_episodes", word(&pool->totals->full_episodes));
}

static void put_workers(const struct pool_policy *policy, struct json_line *json)
{
	const uint32_t *count = policy->count;

	json_line_number(json, "wanted", policy->target);
	json_line_number(json, "capacity", policy->rules.capacity);
	json_line_number(json, "starting", count[SLOT_ASKED] + count[SLOT_STARTING]);
	json_line_number(json, "ready", count[SLOT_READY]);
	json_line_number(json, "running", count[SLOT_RUNNING]);
	json_line_number(json, "leaving", slot_leaving_in(count) + count[SLOT_LOST]);
}

static void put_failures(const struct pool *pool, uint64_t now_ms, struct json_line *json)
{
	const struct pool_failures *failures = &pool->failures;
	const struct backoff *backoff = &pool->policy.backoff;
	bool waits = failures->degraded && backoff_holds(backoff, now_ms);

	json_line_bool(json, "degraded", failures->degraded);
	json_line_number(json, "degraded_ms", failures->degraded ? (int64_t)(now_ms - failures->since_ms) : 0);
	json_line_number(json, "failures", failures->degraded ? backoff->level : 0);
	json_line_number(json, "retry_ms", waits ? (int64_t)(backoff->until_ms - now_ms) : 0);
	if (failures->last[0] == '\0') {
		json_line_null(json, "last_failure");
		json_line_null(json, "last_failure_ms");
		return;
	}
	json_line_text(json, "last_failure", failures->last);
	json_line_number(json, "last_failure_ms", (int64_t)(now_ms - failures->last_ms));
}

static void put_totals(const struct pool *pool, struct json_line *json)
{
	const struct board_pool *totals = pool->totals;
	static const enum death_kind kinds[] = { DEATH_RETIRED, DEATH_RECYCLED, DEATH_FINISHED, DEATH_EXITED,
		DEATH_SIGNALED, DEATH_KILLED };

	static_assert(ARRAY_SIZE(kinds) == DEATH_KINDS, "each kind of death is told");
	json_line_number(json, "started", (int64_t)pool->spawn_count);
	json_line_number(json, "slow", (int64_t)pool->slow_count);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		json_line_number(json, death_kind_name(kinds[i]), (int64_t)totals_deaths(totals, kinds[i]));
	for (unsigned int cause = 0; cause < RECYCLE_CAUSES; cause++)
		json_line_number(json, recycle_counter_name((enum recycle_cause)cause), (int64_t)pool->recycled[cause]);
	json_line_number(json, "died_unready", (int64_t)pool->failures.died_unready);
	json_line_number(json, "died_serving", (int64_t)pool->failures.died_serving);
	json_line_number(json, "past_connections", word(&totals->connections));
	json_line_number(json, "past_requests", word(&totals->requests));
	json_line_number(json, "past_bytes_in", word(&totals->bytes_in));
	json_line_number(json, "past_bytes_out", word(&totals->bytes_out));
	json_line_number(json, "past_failed", word(&totals->failed));
}

static void put_pool(const struct pool *pool, uint64_t now_ms, struct json_line *json)
{
	json_line_text(json, "type", "pool");
	json_line_text(json, "name", pool->config->name);
	json_line_text(json, "handler", pool->config->handler_name);
	json_line_text(json, "state", pool_state(pool, now_ms));
	json_line_number(json, "generation", pool->policy.generation);
	json_line_text(json, "canary", canary_state_name(pool_policy_canary(&pool->policy, now_ms)));
	put_size(pool, json);
	put_workers(&pool->policy, json);
	put_failures(pool, now_ms, json);
	put_totals(pool, json);
}

/* ---- a listener ---- */

static void put_listener(const struct pool *pool, const struct listener *listener, struct json_line *json)
{
	char address[ADDRESS_TEXT_MAX];
	uint32_t queued;

	json_line_text(json, "type", "listener");
	json_line_text(json, "pool", pool->config->name);
	json_line_text(json, "address", listener_text(listener, address, sizeof(address)));
	json_line_text(json, "origin", listener_origin_name(listener->origin));
	json_line_bool(json, "refusing", listener->refused);
	if (listener_queue(listener, &queued) == 0)
		json_line_number(json, "queue", queued);
	else
		json_line_null(json, "queue");
	json_line_number(json, "backlog", listener->options.backlog);
}

/* ---- one after the other ---- */

bool control_status_next(
	const struct master *master, struct status_cursor *cursor, uint64_t now_ms, struct json_line *json)
{
	const struct pool *pool;

	if (!cursor->told_daemon) {
		cursor->told_daemon = true;
		put_daemon(master, now_ms, json);
		return true;
	}
	for (; cursor->pool < master->pool_count; cursor->pool++, cursor->told_pool = false, cursor->listener = 0) {
		pool = &master->pools[cursor->pool];
		if (pool->config == NULL)
			continue;
		if (!cursor->told_pool) {
			cursor->told_pool = true;
			put_pool(pool, now_ms, json);
			return true;
		}
		if (cursor->listener < pool->listeners.count) {
			put_listener(pool, pool->listeners.list[cursor->listener++], json);
			return true;
		}
	}
	return false;
}
