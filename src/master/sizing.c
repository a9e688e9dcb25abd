/* SPDX-License-Identifier: MIT */
#include "master/sizing.h"

#include <sys/epoll.h>

#include "base/clock.h"
#include "base/log.h"
#include "master/master_private.h"
#include "master/shares.h"
#include "policy/deadline.h"

/* An episode, in which a pool is full or short, is over once it has not been so for so long. */
#define EPISODE_MS 5000
/* Clients that wait for less are not worth a line. */
#define FULL_MS 1000
/* How often to look whether clients wait for programs of a pool that cannot grow. */
#define FIXED_SAMPLE_MS 5000

/* Nobody has fewer spare workers than this. */
#define POKE_NEVER INT32_MIN

/* ---- rules ---- */

struct sizing_rules sizing_rules_of(const struct pool_config *config)
{
	struct sizing_rules rules = {
		.kind = SIZING_FIXED,
		.min = config->min_workers,
		.max = config->max_workers,
		.min_spare = config->min_spare,
		.max_spare = config->max_spare,
		.idle_exit_ms = config->idle_exit_ms,
		.sample_ms = config->sample_interval_ms,
	};

	if (config->size == SIZE_BY_LOAD)
		rules.kind = config->kind == HANDLER_ACCEPTS ? SIZING_QUEUE : SIZING_SPARE;
	if (config->size == SIZE_ON_DEMAND) {
		rules.kind = SIZING_SPARE;
		rules.max = rules.min_spare = rules.max_spare = config->workers;
	}
	return rules;
}

uint32_t sizing_begin(const struct pool_config *config)
{
	const struct sizing_rules rules = sizing_rules_of(config);

	return rules.kind == SIZING_FIXED ? config->workers : sizing_first(&rules);
}

static const struct sizing_rules *rules_of(const struct pool *pool)
{
	return &pool->policy.rules.sizing;
}

bool sizing_is_fixed(const struct pool *pool)
{
	return rules_of(pool)->kind == SIZING_FIXED;
}

uint32_t sizing_least(const struct pool *pool)
{
	return sizing_is_fixed(pool) ? pool->policy.target : rules_of(pool)->min;
}

/* So many workers wait in accept() at least, or the master wants to know. */
static uint32_t least_idle(const struct pool *pool)
{
	return rules_of(pool)->kind == SIZING_SPARE ? rules_of(pool)->min_spare : 1;
}

/* Whether its workers count themselves: struct board_pool. Where the board has no place of its own for the pool, the
 * count is that of others, too. */
static bool counts_spare(const struct master *master, const struct pool *pool)
{
	return (pool->config->kind == HANDLER_SERVES || pool->config->kind == HANDLER_LOADS) &&
	       pool->totals != &master->board.pools[BOARD_POOLS - 1];
}

/* ---- how many there are, and may be ---- */

/* It has all the workers that it may have. */
static bool is_at_limit(const struct master *master, const struct pool *pool)
{
	const struct pool_policy *policy = &pool->policy;

	if (sizing_is_fixed(pool) && pool->config->kind != HANDLER_BECOMES)
		return policy->count[SLOT_READY] >= policy->target;
	return pool_policy_serving(&pool->policy) >= rules_of(pool)->max || pool_policy_room(policy) == 0 ||
	       !pools_have_place(master);
}

static bool may_grow(const struct master *master, const struct pool *pool, uint64_t now_ms)
{
	return !sizing_is_fixed(pool) && !is_at_limit(master, pool) && !backoff_holds(&pool->policy.backoff, now_ms);
}

/* ---- a look ---- */

/* The board's clock goes on where the policy's stands still. */
static uint64_t idle_since(const struct board_slot *slot, uint64_t now_us, uint64_t now_ms)
{
	uint64_t changed_us = atomic_load_explicit(&slot->changed_us, memory_order_relaxed);
	uint64_t idle_ms = now_us > changed_us ? (now_us - changed_us) / 1000 : 0;

	return idle_ms < now_ms ? now_ms - idle_ms : 1;
}

/* Who waits for inetd's clients has been idle since one came: he may be the next. */
static uint64_t waits_since(const struct pool *pool, uint64_t since_ms)
{
	return since_ms > pool->taken_ms ? since_ms : pool->taken_ms;
}

/* Notes who is idle. Returns how many say that they are spare. */
static int32_t look_at_workers(struct master *master, struct pool *pool, uint64_t now_ms)
{
	struct pool_sizing *sizing = &pool->sizing;
	uint32_t unseen = pool_policy_living(&pool->policy);
	uint64_t now_us = clock_monotonic_us();
	int32_t counted = 0;

	for (uint32_t i = 0; unseen > 0 && i < pool->policy.rules.capacity; i++) {
		const struct slot *slot = &pool->slots[i];
		const struct board_slot *board_slot;
		uint64_t since_ms = 0;

		if (slot->state == SLOT_FREE || slot->state == SLOT_LOST)
			continue;
		unseen--;
		board_slot = pool_board_slot(master, pool, i);
		counted += atomic_load_explicit(&board_slot->counted, memory_order_relaxed) == 1;
		/* A canary is none of them yet. */
		if (slot->state != SLOT_READY || worker_is_canary(pool, i))
			continue;
		if (board_slot_state(board_slot) == BOARD_IDLE)
			since_ms = waits_since(pool, idle_since(board_slot, now_us, now_ms));
		pool_policy_note_idle(&pool->policy, i, since_ms);
		if (since_ms > 0)
			sizing->idle++;
		else if (pool->config->kind != HANDLER_BECOMES)
			sizing->load.busy++;
	}
	return counted;
}

/* A worker that was killed in the middle has left the count wrong; one that is in the middle now has not. */
static void repair_spare(struct pool *pool, int32_t spare, int32_t counted)
{
	int64_t drift = (int64_t)spare - counted;

	if (drift != 0 && drift == pool->sizing.drift)
		board_spare_repair(pool->totals, spare, counted);
	pool->sizing.drift = drift;
}

static uint32_t queued(const struct pool *pool)
{
	uint32_t sum = 0, queue;

	for (size_t i = 0; i < pool->listeners.count; i++)
		if (listener_queue(pool->listeners.list[i], &queue) == 0)
			sum += queue;
	return sum;
}

/*
 * Since the last look there were fewer spare workers than there are now: the pool is to have enough of them then, too.
 * Unless it has grown since; then it was before that.
 */
static void note_low(struct pool *pool)
{
	struct pool_sizing *sizing = &pool->sizing;
	const uint32_t *count = pool->policy.count;
	uint32_t serve = pool_policy_serving(&pool->policy), more;

	sizing->poked = atomic_load_explicit(&pool->totals->poked, memory_order_acquire);
	sizing->least_idle = sizing->idle;
	if (sizing->poked > 0 && sizing->poked <= sizing->idle)
		sizing->least_idle = sizing->poked - 1;
	more = sizing->idle - sizing->least_idle;
	/* Those who wait will have some of them. */
	if (sizing->settled == serve && more > sizing->load.queued)
		sizing->load.busy += more - sizing->load.queued;
	sizing->settled = count[SLOT_ASKED] + count[SLOT_STARTING] == 0 ? serve : 0;
}

static void look_at_pool(struct master *master, struct pool *pool, uint64_t now_ms)
{
	struct pool_sizing *sizing = &pool->sizing;
	bool by_queue = pool->config->kind == HANDLER_ACCEPTS;
	int32_t spare = atomic_load_explicit(&pool->totals->spare, memory_order_relaxed);
	int32_t counted;

	sizing->idle = 0;
	sizing->load = (struct sizing_load){ 0 };
	counted = by_queue ? 0 : look_at_workers(master, pool, now_ms);
	/* While somebody waits for them, nobody has to wait. */
	if (by_queue || sizing->idle < least_idle(pool))
		sizing->load.queued = queued(pool);
	if (counts_spare(master, pool)) {
		repair_spare(pool, spare, counted);
		note_low(pool);
	}
}

/* ---- who wakes the master ---- */

static void set_poke(const struct master *master, struct pool *pool, uint64_t now_ms)
{
	struct pool_sizing *sizing = &pool->sizing;
	/* One that has no worker at all waits for them to come. */
	bool is_short = sizing->least_idle < least_idle(pool) && sizing->idle + sizing->load.busy > 0;

	if (!counts_spare(master, pool))
		return;
	if (is_short && !may_grow(master, pool, now_ms)) {
		sizing->silent = true;
		sizing->short_ms = now_ms;
	} else if (now_ms - sizing->short_ms >= EPISODE_MS || may_grow(master, pool, now_ms)) {
		sizing->silent = false;
	}
	atomic_store_explicit(&pool->totals->poke_below, sizing->silent ? POKE_NEVER : (int32_t)least_idle(pool),
		memory_order_seq_cst);
	/* Only now: until then nobody had to wake the master again. */
	if (atomic_exchange_explicit(&pool->totals->poked, 0, memory_order_seq_cst) != sizing->poked)
		sizing->wanted |= !sizing->silent;
}

/* ---- full ---- */

/* What an operator has to raise. */
static const char *key_to_raise(const struct master *master, const struct pool *pool)
{
	bool waits = pool->config->kind == HANDLER_BECOMES;
	uint32_t most = waits ? pool->policy.rules.limit : rules_of(pool)->max;
	uint32_t used = waits ? pool_policy_living(&pool->policy) : pool_policy_serving(&pool->policy);

	if (sizing_is_fixed(pool) && !waits)
		return "workers of the pool";
	return most != 0 && most < master->config->max_workers && used >= most ? "max_workers of the pool"
									       : "max_workers of all pools";
}

static void report_full(const struct master *master, struct pool *pool)
{
	board_worker_add(&pool->totals->full_episodes, 1);
	log_event(LOG_LEVEL_WARNING, "all workers are busy: further clients wait", LOG_TEXT("pool", pool->config->name),
		LOG_INT("workers", pool_policy_living(&pool->policy)), LOG_INT("queued", pool->sizing.load.queued),
		LOG_TEXT("limit", key_to_raise(master, pool)));
}

/* It is FULL, or not; told once an episode, when that has lasted for AFTER_MS. */
static void note_full(struct master *master, struct pool *pool, bool full, uint64_t after_ms, uint64_t now_ms)
{
	struct pool_sizing *sizing = &pool->sizing;

	/* Nobody may have looked since the last one was over. */
	if (!sizing->full && now_ms - sizing->full_ms >= EPISODE_MS)
		sizing->told = false;
	if (full && !sizing->full)
		sizing->filled_ms = now_ms;
	if (full || sizing->full)
		sizing->full_ms = now_ms;
	sizing->full = full;
	if (!full || sizing->told || now_ms - sizing->filled_ms < after_ms)
		return;
	sizing->told = true;
	report_full(master, pool);
}

static void check_full(struct master *master, struct pool *pool, uint64_t now_ms)
{
	bool nobody_waits = pool->config->kind == HANDLER_ACCEPTS || pool->sizing.idle == 0;
	bool full = nobody_waits && pool->sizing.load.queued > 0 && is_at_limit(master, pool);

	/* While the daemon stops, the queues are to become empty. */
	note_full(master, pool, full && master->phase == LIFE_SERVING, FULL_MS, now_ms);
}

void sizing_check_waiters(struct master *master, struct pool *pool, uint64_t now_ms)
{
	const struct pool_policy *policy = &pool->policy;
	bool full = pool_policy_serving(&pool->policy) == 0 && policy->target > 0 && policy->phase == POOL_SERVING &&
		    (pool_policy_room(policy) == 0 || !pools_have_place(master));

	if (!full && !pool->sizing.full && !pool->sizing.told)
		return;
	if (full && !pool->sizing.full)
		pool->sizing.load.queued = queued(pool);
	note_full(master, pool, full, 0, now_ms);
}

/* ---- when to look ---- */

/* What the policy does not know of. */
static uint64_t next_look(const struct pool *pool, uint64_t now_ms)
{
	const struct pool_sizing *sizing = &pool->sizing;
	uint64_t look_ms = DEADLINE_NONE;

	if (pool->config->kind == HANDLER_BECOMES)
		return DEADLINE_NONE;
	if (sizing->silent || sizing->full || sizing->told || pool->policy.allowed != UINT32_MAX)
		look_ms = deadline_after(now_ms, SIZING_LOOK_MS);
	else if (pool->config->kind == HANDLER_ACCEPTS && sizing_is_fixed(pool))
		look_ms = deadline_after(now_ms, FIXED_SAMPLE_MS);
	return look_ms;
}

static void look(struct master *master, struct pool *pool, uint64_t now_ms)
{
	struct pool_sizing *sizing = &pool->sizing;
	uint32_t before = pool->policy.target;

	sizing->wanted = false;
	sizing->look_ms = DEADLINE_NONE;
	if (pool->policy.phase != POOL_SERVING)
		return;
	look_at_pool(master, pool, now_ms);
	sizing->look_ms = pool_policy_load(&pool->policy, &sizing->load, now_ms);
	if (pool->policy.target != before)
		log_event(LOG_LEVEL_DEBUG, "the load asks for another size", LOG_TEXT("pool", pool->config->name),
			LOG_INT("workers", pool->policy.target), LOG_INT("before", before),
			LOG_INT("busy", sizing->load.busy), LOG_INT("queued", sizing->load.queued));
	if (pool->config->kind != HANDLER_BECOMES) {
		check_full(master, pool, now_ms);
		set_poke(master, pool, now_ms);
	}
	sizing->look_ms = deadline_earlier(sizing->look_ms, next_look(pool, now_ms));
}

void sizing_woken(struct master *master)
{
	FOR_EACH_POOL (master, pool) {
		const uint32_t *count = pool->policy.count;

		if (!counts_spare(master, pool))
			continue;
		pool->sizing.wanted |= !sizing_is_fixed(pool) && count[SLOT_ASKED] + count[SLOT_STARTING] > 0;
		pool->sizing.wanted |= atomic_load_explicit(&pool->totals->poked, memory_order_relaxed) > 0;
	}
}

/* ---- on demand ---- */

void sizing_forget_listeners(const struct master *master, struct pool *pool)
{
	for (size_t i = 0; pool->sizing.awaiting && i < pool->listeners.count; i++)
		master_unwatch(master, pool->listeners.list[i]->fd);
	pool->sizing.awaiting = false;
}

/* A unix listener that refuses is ready for ever (net/listener.h); what is not in its queue by now never comes. */
static bool has_ended(const struct listener *listener)
{
	uint32_t queue;

	return listener->refused && listener->address.storage.ss_family == AF_UNIX &&
	       listener_queue(listener, &queue) == 0 && queue == 0;
}

static void await_demand(const struct master *master, struct pool *pool)
{
	const struct watch watch = { .kind = WATCH_DEMAND, .pool = pool->index };

	pool->sizing.awaiting = true;
	for (size_t i = 0; i < pool->listeners.count; i++) {
		const struct listener *listener = pool->listeners.list[i];

		if (!has_ended(listener) && master_watch_once(master, listener->fd, &watch) < 0)
			log_event(LOG_LEVEL_ERROR, "cannot wait for the clients of a pool on demand",
				LOG_TEXT("pool", pool->config->name));
	}
}

void sizing_demand(struct master *master, const struct watch *watch, uint64_t now_ms)
{
	struct pool *pool = watch->pool < master->pool_count ? &master->pools[watch->pool] : NULL;

	if (pool == NULL || pool->config == NULL || !pool->sizing.awaiting)
		return;
	sizing_forget_listeners(master, pool);
	if (!pool_policy_awaits_demand(&pool->policy, now_ms))
		return;
	log_event(LOG_LEVEL_DEBUG, "a client wakes the pool", LOG_TEXT("pool", pool->config->name));
	pool_policy_demand(&pool->policy, now_ms);
	pool->sizing.wanted = true;
}

/* Returns when to look at this again at the latest. */
static uint64_t check_demand(const struct master *master, struct pool *pool, uint64_t now_ms)
{
	const struct backoff *backoff = &pool->policy.backoff;
	bool awaits = pool_policy_awaits_demand(&pool->policy, now_ms);

	if (awaits && !pool->sizing.awaiting)
		await_demand(master, pool);
	else if (!awaits)
		sizing_forget_listeners(master, pool);
	return pool->policy.target == 0 && backoff_holds(backoff, now_ms) ? backoff->until_ms : DEADLINE_NONE;
}

/* ---- all pools ---- */

uint64_t sizing_act(struct master *master, uint64_t now_ms)
{
	uint64_t wake_ms = DEADLINE_NONE;

	FOR_EACH_POOL (master, pool) {
		/* Its first look says when the next one is due. */
		if (pool->sizing.wanted || deadline_passed(pool->sizing.look_ms, now_ms))
			look(master, pool, now_ms);
		wake_ms = deadline_earlier(wake_ms, check_demand(master, pool, now_ms));
	}
	shares_divide(master);
	FOR_EACH_POOL (master, pool)
		wake_ms = deadline_earlier(wake_ms, pool->sizing.wanted ? now_ms : pool->sizing.look_ms);
	return wake_ms;
}
