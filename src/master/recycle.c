/* SPDX-License-Identifier: MIT */
#include "master/recycle.h"

#include <assert.h>

#include "base/attrs.h"
#include "base/log.h"
#include "master/master_private.h"

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
		uint64_t requests;

		if (pool->slots[slot].state != SLOT_READY || pool->slots[slot].generation != pool->policy.generation ||
			pool->slots[slot].worn != SLOT_REASON_NONE)
			continue;
		left--;
		requests = atomic_load_explicit(&pool_board_slot(master, pool, slot)->requests, memory_order_relaxed);
		if (requests >= recycle_max_requests(pool, slot))
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
