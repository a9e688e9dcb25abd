/* SPDX-License-Identifier: MIT */
#include "master/recycle.h"

#include <assert.h>
#include <errno.h>

#include "base/attrs.h"
#include "base/log.h"
#include "base/process_memory.h"
#include "master/master_private.h"
#include "policy/deadline.h"

/* So many files are read in one turn of the master's, and so long after it the next ones; each worker is looked at once
 * in a round, and so long after it the next one begins. */
#define MEMORY_READS    8
#define MEMORY_STEP_MS  20
#define MEMORY_ROUND_MS 5000

/* What there is to say of a limit: which reason it is, how it is counted, how a log line names what was reached. */
static const struct {
	enum slot_reason reason;
	const char *counter;
	const char *field;
} causes[] = {
	[RECYCLE_REQUESTS] = {SLOT_REASON_RECYCLE_REQUESTS, "recycled_requests", "worn_requests"},
	[RECYCLE_AGE] = { SLOT_REASON_RECYCLE_AGE,     "recycled_age",      "worn_age_ms"  },
	[RECYCLE_MEMORY] = { SLOT_REASON_RECYCLE_MEMORY,  "recycled_memory",   "worn_memory"  },
};
static_assert(ARRAY_SIZE(causes) == RECYCLE_CAUSES, "each cause is described");

enum recycle_cause recycle_cause_of(enum slot_reason reason)
{
	unsigned int cause = 0;

	while (cause < RECYCLE_CAUSES && causes[cause].reason != reason)
		cause++;
	return (enum recycle_cause)cause;
}

const char *recycle_counter_name(enum recycle_cause cause)
{
	return causes[cause].counter;
}

struct log_field recycle_field(const struct pool *pool, uint32_t slot)
{
	enum recycle_cause cause = recycle_cause_of(pool->slots[slot].worn);

	if (cause == RECYCLE_CAUSES)
		return (struct log_field){ .name = NULL };
	return LOG_INT(causes[cause].field, (int64_t)pool->workers[slot].worn_at);
}

/* The worker in SLOT has reached a limit, with AT. */
static void wear(struct pool *pool, uint32_t slot, enum recycle_cause cause, uint64_t at, uint64_t now_ms)
{
	struct worker *worker = &pool->workers[slot];

	if (!pool_policy_event(&pool->policy, slot, SLOT_WEAR, causes[cause].reason, now_ms))
		return;
	worker->worn_at = at;
	log_event(LOG_LEVEL_DEBUG, "a worker has reached a limit, and is to be replaced",
		LOG_TEXT("pool", pool->config->name), LOG_INT("slot", slot), LOG_INT("pid", worker->pid),
		LOG_TEXT("reason", slot_reason_name(causes[cause].reason)), recycle_field(pool, slot));
}

/* ---- requests ---- */

uint64_t recycle_max_requests(const struct pool *pool, uint32_t slot)
{
	uint64_t limit = pool->workers[slot].config->max_requests;

	return limit == 0 ? 0 : pool_policy_own_limit(&pool->slots[slot], limit);
}

static void note_requests(struct master *master, struct pool *pool, uint64_t now_ms)
{
	uint32_t left = pool->policy.count_of[POOL_CURRENT][SLOT_READY];

	for (uint32_t slot = 0; left > 0 && slot < pool->policy.rules.capacity; slot++) {
		uint64_t requests, limit;

		if (!pool_policy_can_wear(&pool->policy, slot))
			continue;
		left--;
		requests = atomic_load_explicit(&pool_board_slot(master, pool, slot)->requests, memory_order_relaxed);
		limit = recycle_max_requests(pool, slot);
		if (limit != 0 && requests >= limit)
			wear(pool, slot, RECYCLE_REQUESTS, requests, now_ms);
	}
}

void recycle_note_requests(struct master *master, uint64_t now_ms)
{
	FOR_EACH_POOL (master, pool)
		if (pool->config->max_requests != 0)
			note_requests(master, pool, now_ms);
}

/* ---- age ---- */

void recycle_by_age(struct pool *pool, const struct pool_action *action, uint64_t now_ms)
{
	wear(pool, action->slot, RECYCLE_AGE, now_ms - pool->slots[action->slot].asked_ms, now_ms);
}

/* ---- memory ---- */

/* Said once, until it can be read again. One that has just died is no failure. */
static void report_unread(struct pool *pool, uint32_t slot, int error)
{
	if (error == -ESRCH)
		return;
	if (!pool->memory.failing)
		log_event(LOG_LEVEL_WARNING, "cannot read how much memory a worker has: max_memory does not hold",
			LOG_TEXT("pool", pool->config->name), LOG_INT("slot", slot),
			LOG_INT("pid", pool->workers[slot].pid),
			LOG_TEXT("measure", memory_measure_name(pool->config->memory_measure)),
			LOG_ERRNO("reason", error));
	pool->memory.failing = true;
}

/* A limit that a worker is beyond as soon as it is looked at makes workers come and go for nothing: said once, until
 * one reaches it later. */
static void check_limit(struct pool *pool, uint32_t slot, uint64_t bytes, uint64_t now_ms)
{
	bool at_once = now_ms - pool->slots[slot].ready_ms <= 2 * MEMORY_ROUND_MS;

	if (at_once && !pool->memory.too_low)
		log_event(LOG_LEVEL_WARNING, "a worker is beyond max_memory soon after its start: raise max_memory",
			LOG_TEXT("pool", pool->config->name), LOG_INT("slot", slot),
			LOG_INT("pid", pool->workers[slot].pid),
			LOG_TEXT("measure", memory_measure_name(pool->config->memory_measure)),
			LOG_INT("memory", (int64_t)bytes), LOG_INT("max_memory", (int64_t)pool->config->max_memory));
	pool->memory.too_low = at_once;
}

static void look_at_worker(struct pool *pool, uint32_t slot, uint64_t now_ms)
{
	uint64_t bytes;
	int result = process_memory_read(pool->workers[slot].pid, pool->config->memory_measure, &bytes);

	if (result < 0) {
		report_unread(pool, slot, result);
		return;
	}
	pool->memory.failing = false;
	if (bytes <= pool_policy_own_limit(&pool->slots[slot], pool->config->max_memory))
		return;
	check_limit(pool, slot, bytes, now_ms);
	wear(pool, slot, RECYCLE_MEMORY, bytes, now_ms);
}

/* As many as *BUDGET files are left for. */
static void look_at_some(struct pool *pool, uint32_t *budget, uint64_t now_ms)
{
	struct recycle_memory *memory = &pool->memory;
	uint32_t capacity = pool->policy.rules.capacity;

	if (memory->config != pool->config)
		*memory = (struct recycle_memory){ .config = pool->config };
	for (; memory->slot < capacity && *budget != 0; memory->slot++) {
		if (!pool_policy_can_wear(&pool->policy, memory->slot))
			continue;
		(*budget)--;
		look_at_worker(pool, memory->slot, now_ms);
	}
	if (memory->slot == capacity) {
		memory->slot = 0;
		memory->next_ms = deadline_after(now_ms, MEMORY_ROUND_MS);
	} else
		memory->next_ms = deadline_after(now_ms, MEMORY_STEP_MS);
}

uint64_t recycle_check_memory(struct master *master, uint64_t now_ms)
{
	uint64_t wake_ms = DEADLINE_NONE;
	uint32_t budget = MEMORY_READS;

	FOR_EACH_POOL (master, pool) {
		if (pool->config->max_memory == 0 || pool->policy.phase != POOL_SERVING)
			continue;
		if (deadline_passed(pool->memory.next_ms, now_ms))
			look_at_some(pool, &budget, now_ms);
		wake_ms = deadline_earlier(wake_ms, pool->memory.next_ms);
	}
	return wake_ms;
}
