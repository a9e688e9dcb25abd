/* SPDX-License-Identifier: MIT */
/*
 * The hands of policy/pool.h: what a pool's plan says is done here, and what was done is told to the policy. Nothing is
 * decided here.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "master/master_private.h"
#include "policy/deadline.h"

/* While no worker can be asked for, the death or the birth of another makes room at once; this is only how often to
 * look. */
#define NO_ROOM_MS 1000

/* Places on the board for the canaries of a reload, and for pools that roll. */
#define PLACES_RESERVE 16

/* ---- the pools ---- */

/* Only a program that says nothing is taken for ready by its age. */
static uint64_t pool_ready_after(const struct pool_config *config)
{
	bool silent = config->kind == HANDLER_ACCEPTS && config->program.ready == READY_ALIVE;

	return silent ? config->program.ready_after_ms : 0;
}

/* Programs that run and workers that wait count together; of other kinds all are waiting workers, or leave. */
static uint32_t pool_limit(const struct pool_config *config)
{
	return config->kind == HANDLER_BECOMES ? config->max_workers : 0;
}

/* A connection under way may take its time, but for a reload's sake no longer than a stop would leave it. A program
 * that serves one connection has left brood's hands. */
static uint64_t pool_replace_timeout(const struct pool_config *config)
{
	return config->kind == HANDLER_BECOMES ? 0 : config->stop_timeout_ms;
}

/* While a pool rolls, it has a part more workers than its size, and one at least, unless it says how many. */
static uint32_t pool_roll_batch(const struct pool_config *config)
{
	uint32_t part = config->workers / POOL_ROLL_PART;

	if (config->roll_batch > 0 || config->size == SIZE_BY_LOAD)
		return config->roll_batch;
	return part > 0 ? part : 1;
}

struct pool_rules pool_rules(const struct master *master, const struct pool_config *config)
{
	bool program = config->kind == HANDLER_ACCEPTS;

	return (struct pool_rules){
		.capacity = master->places,
		.limit = pool_limit(config),
		.roll_step = pool_roll_batch(config),
		.start_timeout_ms = config->start_timeout_ms,
		.ready_after_ms = pool_ready_after(config),
		.retire_timeout_ms = program ? config->stop_timeout_ms : 0,
		.replace_timeout_ms = pool_replace_timeout(config),
		.watchdog_ms = program ? config->program.watchdog_timeout_ms : 0,
		.max_age_ms = config->max_age_ms,
		.jitter = config->jitter,
		.healthy_ms = config->healthy_after_ms,
		.give_up_after = config->give_up_after,
		.overrun_warnings = config->overrun_number_count,
		.overrun_grace_ms = config->overrun_grace_ms,
		.sizing = sizing_rules_of(config),
		.backoff = {.min_ms = config->backoff_min_ms, .max_ms = config->backoff_max_ms},
	};
}

static int pool_init(struct master *master, struct pool *pool, const struct pool_config *config, uint32_t target)
{
	const struct pool_rules rules = pool_rules(master, config);

	*pool = (struct pool){ .config = config, .index = (uint32_t)(pool - master->pools) };
	pool->totals = board_pool(&master->board, config->name);
	pool->slots = memory_unforked(master->places, sizeof(*pool->slots));
	pool->workers = memory_unforked(master->places, sizeof(*pool->workers));
	if (pool->slots == NULL || pool->workers == NULL || asprintf(&pool->title, "brood: %s", config->name) < 0)
		return -ENOMEM;
	pool_policy_init(&pool->policy, &rules, target, pool->slots);
	pool_policy_seed(&pool->policy, clock_monotonic_us() ^ ((uint64_t)master->pid << 32) ^ pool->index);
	pool->policy.generation = master->generation;
	return output_pool_init(pool, master->places);
}

struct pool *pools_add(struct master *master, const struct pool_config *config, uint32_t target)
{
	size_t i = 0;

	while (i < master->pool_count && master->pools[i].config != NULL)
		i++;
	if (i == POOLS_MAX)
		return NULL;
	if (pool_init(master, &master->pools[i], config, target) < 0) {
		pools_remove(master, &master->pools[i]);
		return NULL;
	}
	if (i == master->pool_count)
		master->pool_count++;
	return &master->pools[i];
}

void pools_remove(struct master *master, struct pool *pool)
{
	if (pool->slots != NULL)
		nurseries_done(master, pool);
	output_pool_done(master, pool);
	sizing_forget_listeners(master, pool);
	listener_set_done(&pool->listeners);
	listener_set_done(&pool->next.listeners);
	free(pool->title);
	memory_unforked_free(pool->slots, master->places, sizeof(*pool->slots));
	memory_unforked_free(pool->workers, master->places, sizeof(*pool->workers));
	*pool = (struct pool){ 0 };
}

uint32_t pools_places(const struct config *config)
{
	return config->max_workers + config->max_workers / POOL_ROLL_PART + PLACES_RESERVE;
}

int pools_init(struct master *master)
{
	const struct config *config = master->config;

	master->board_free = master->places;
	master->board_used = memory_unforked(master->places, sizeof(*master->board_used));
	master->pools = memory_unforked(POOLS_MAX, sizeof(*master->pools));
	if (master->board_used == NULL || master->pools == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < config->pool_count; i++)
		if (pools_add(master, &config->pools[i], sizing_begin(&config->pools[i])) == NULL)
			return -ENOMEM;
	return 0;
}

struct pool *pools_next(const struct master *master, const struct pool *pool)
{
	size_t i = pool == NULL ? 0 : (size_t)(pool - master->pools) + 1;

	while (i < master->pool_count && master->pools[i].config == NULL)
		i++;
	return i < master->pool_count ? &master->pools[i] : NULL;
}

void pools_done(struct master *master)
{
	FOR_EACH_POOL (master, pool)
		pools_remove(master, pool);
	memory_unforked_free(master->pools, POOLS_MAX, sizeof(*master->pools));
	memory_unforked_free(master->board_used, master->places, sizeof(*master->board_used));
	master->pools = NULL;
	master->pool_count = 0;
}

/* ---- carrying out a plan ---- */

static void pool_act_on_worker(
	struct master *master, struct pool *pool, const struct pool_action *action, uint64_t now_ms)
{
	if (action->what == SLOT_BECAME_READY)
		pool_became_ready(master, pool, action->slot, now_ms);
	else if (action->what == SLOT_WEAR)
		recycle_by_age(pool, action, now_ms);
	else if (!worker_is_program(pool, action->slot) || !program_speaks_up(master, pool, action, now_ms))
		pool_signal(master, pool, action, now_ms);
	if (action->what == SLOT_KILL && action->reason == SLOT_REASON_START_TIMEOUT)
		degraded_note_overdue(pool, action->slot, now_ms);
}

/* After a start that failed the other starts of the plan are stale. */
static void pool_carry_out(struct master *master, struct pool *pool, const struct pool_plan *plan, uint64_t now_ms)
{
	/* For the pool's workers, and for a canary. Once it is settled, nobody has the listeners but its own waiting
	 * workers: see pool_prepare_listeners(). */
	bool prepared[2] = { pool_is_settled(pool), false };
	bool starting = true;

	for (size_t i = 0; i < plan->count; i++) {
		const struct pool_action *action = &plan->actions[i];

		if (action->what != SLOT_ASK) {
			pool_act_on_worker(master, pool, action, now_ms);
			continue;
		}
		if (!prepared[action->reason == SLOT_REASON_RELOAD])
			pool_prepare_for(master, pool, action);
		prepared[action->reason == SLOT_REASON_RELOAD] = true;
		if (starting)
			starting = pool_ask(master, pool, action);
	}
}

/* Whether the life of the daemon may have come further by it. */
static bool plan_makes_ready(const struct pool_plan *plan)
{
	for (size_t i = 0; i < plan->count; i++)
		if (plan->actions[i].what == SLOT_BECAME_READY)
			return true;
	return false;
}

/* One plan, carried out; the plan after it says when the next one is due, and is due at once where it has work left. */
static uint64_t pool_act(struct master *master, struct pool *pool, uint64_t now_ms)
{
	struct pool_plan plan;
	bool makes_ready;

	pool_policy_plan(&pool->policy, now_ms, &plan);
	if (plan.count == 0)
		return plan.wake_ms;
	makes_ready = plan_makes_ready(&plan);
	pool_carry_out(master, pool, &plan, now_ms);
	if (makes_ready)
		return now_ms;
	pool_policy_plan(&pool->policy, clock_monotonic_ms(), &plan);
	if (plan.count > 0 && plan.actions[0].what == SLOT_ASK && !pool_may_ask(master, pool, &plan.actions[0]))
		return deadline_after(now_ms, NO_ROOM_MS);
	return plan.wake_ms;
}

uint64_t pools_act(struct master *master, uint64_t now_ms)
{
	uint64_t wake_ms = DEADLINE_NONE;

	FOR_EACH_POOL (master, pool) {
		wake_ms = deadline_earlier(wake_ms, pool_act(master, pool, now_ms));
		wake_ms = deadline_earlier(wake_ms, pool_signal_again(pool, now_ms));
		if (pool->config->kind == HANDLER_BECOMES)
			sizing_check_waiters(master, pool, now_ms);
	}
	return wake_ms;
}

/* ---- all pools ---- */

uint32_t pools_living(const struct master *master)
{
	uint32_t living = 0;

	FOR_EACH_POOL (master, pool)
		living += pool_policy_living(&pool->policy);
	return living;
}

bool pools_all_ready(const struct master *master)
{
	FOR_EACH_POOL (master, pool)
		if (!pool_policy_is_ready(&pool->policy))
			return false;
	return true;
}

bool pools_start_failed(const struct master *master)
{
	FOR_EACH_POOL (master, pool)
		if (pool_policy_start_failed(&pool->policy))
			return true;
	return false;
}
