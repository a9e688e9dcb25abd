/* SPDX-License-Identifier: MIT */
/*
 * How a worker of a pool comes to be: a place on the board, the listeners as its handler wants them, its birth.
 */
#include <errno.h>
#include <fcntl.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "master/master_private.h"
#include "master/spawn.h"
#include "worker/crash.h"
#include "worker/worker.h"

/* ---- places on the board ---- */

/* The lowest free place, so that used ones stay on few pages. The caller knows that there is one. */
static uint32_t board_take(struct master *master)
{
	uint32_t place = 0;

	while (master->board_used[place])
		place++;
	master->board_used[place] = true;
	master->board_free--;
	return place;
}

void pool_reserve_place(struct master *master, uint32_t place)
{
	master->board_used[place] = true;
	master->board_free--;
}

void pool_free_place(struct master *master, uint32_t place)
{
	board_slot_release(&master->board, place);
	master->board_used[place] = false;
	master->board_free++;
}

struct board_slot *pool_board_slot(const struct master *master, const struct pool *pool, uint32_t slot)
{
	return &master->board.slots[pool->workers[slot].board_slot];
}

void pool_forget_worker(struct master *master, struct pool *pool, uint32_t slot)
{
	program_forget(master, &pool->workers[slot]);
	master->reload.sweep_due |= pool->leaving || pool->workers[slot].config != pool->config;
	board_spare_forget(pool->totals, pool_board_slot(master, pool, slot));
	pool_free_place(master, pool->workers[slot].board_slot);
	pool->workers[slot].pid = 0;
}

/* ---- starting a worker ---- */

static void worker_entry(void *argument)
{
	worker_main(argument);
}

bool pool_is_settled(const struct pool *pool)
{
	const struct pool_policy *policy = &pool->policy;

	return pool->config->kind == HANDLER_BECOMES && pool_policy_is_ready(policy) && policy->backoff.level == 0 &&
	       !pool_policy_is_rolling(policy) && policy->reload.canary == CANARY_NONE;
}

struct worker_start pool_worker_start(
	const struct master *master, const struct pool *pool, uint32_t slot, const struct board *board)
{
	bool canary = worker_is_canary(pool, slot);
	const struct listener_set *listeners = canary ? &pool->next.listeners : &pool->listeners;

	return (struct worker_start){
		.pool = pool->workers[slot].config,
		.title = pool->title,
		.listeners = listeners->descriptors,
		.listener_count = listeners->count,
		.slot = pool_board_slot(master, pool, slot),
		.on_board = pool->totals,
		.wake_fd = master->wake_fd,
		.hold_fd = canary ? master->reload.hold_fd : -1,
		.dead_fd = master->dead_fd,
		.master_pid = master->pid,
		.number = slot,
		.board = board,
		.spawn_count = pool->spawn_count,
		.max_requests = recycle_max_requests(pool, slot),
		.nursery_fd = -1,
		.output = {.stdout_fd = -1, .stderr_fd = -1},
		.listener_keys = (const char *const *)listeners->keys,
		.listener_names = (const char *const *)listeners->names,
		.soft_descriptors = master->soft_descriptors,
		.has_terminal = master->has_terminal,
		.reset_oom_score = master->reset_oom_score,
	};
}

void pool_born(struct master *master, struct pool *pool, uint32_t slot, pid_t pid)
{
	const struct child child = { .pid = pid, .kind = CHILD_WORKER, .pool = pool->index, .slot = slot };

	children_add(&master->children, &child);
	pool->workers[slot].pid = pid;
	board_slot_born(&master->board, pool->workers[slot].board_slot, (uint32_t)pid, clock_monotonic_us());
	log_event(LOG_LEVEL_DEBUG, "worker started", LOG_TEXT("pool", pool->config->name), LOG_INT("slot", slot),
		LOG_INT("pid", pid));
	pool_policy_event(&pool->policy, slot, SLOT_BORN, SLOT_REASON_NONE, clock_monotonic_ms());
	if (pool->fork_failing)
		log_event(LOG_LEVEL_NOTICE, "starting workers again", LOG_TEXT("pool", pool->config->name));
	pool->fork_failing = false;
}

/* What an operator has to raise: fork(2), "EAGAIN". */
static const char *limit_behind(int error)
{
	switch (-error) {
	case EAGAIN:
		return "RLIMIT_NPROC (LimitNPROC=, ulimit -u), pids.max (TasksMax=), kernel.pid_max";
	case ENOMEM:
		return "memory";
	case EMFILE:
		return "RLIMIT_NOFILE (LimitNOFILE=, ulimit -n)";
	case ENFILE:
		return "fs.file-max, pipe-user-pages-soft";
	default:
		return "none known";
	}
}

void pool_not_born(struct master *master, struct pool *pool, uint32_t slot, int error)
{
	output_abandon(master, pool, slot);
	pool_free_place(master, pool->workers[slot].board_slot);
	degraded_note_unborn(pool, slot, log_strerror(error), clock_monotonic_ms());
	pool_policy_event(&pool->policy, slot, SLOT_FAILED, SLOT_REASON_NONE, clock_monotonic_ms());
	reload_note_death(master, pool, slot, log_strerror(error));
	if (!pool->fork_failing)
		log_event(LOG_LEVEL_ERROR, "cannot start a worker, and will try again",
			LOG_TEXT("pool", pool->config->name), LOG_ERRNO("reason", error),
			LOG_TEXT("limit", limit_behind(error)));
	pool->fork_failing = true;
}

static uint32_t places_reserved(const struct master *master)
{
	return master->places - master->config->max_workers;
}

/* Those that were recycled, and take their time for a connection, keep no place from others: none is to be missing for
 * them. */
static uint32_t pools_recycled(const struct master *master)
{
	uint32_t recycled = 0;

	FOR_EACH_POOL (master, pool)
		recycled += pool_policy_recycled(&pool->policy);
	return recycled;
}

bool pools_have_place(const struct master *master)
{
	return master->board_free > 0 && master->board_free + pools_recycled(master) > places_reserved(master);
}

/* The reserve is for canaries, and for the workers that a pool has beyond its size while it rolls; and for one that
 * takes a worn one's place, as long as half of it is left for them. */
static bool may_use_reserve(const struct master *master, const struct pool *pool, const struct pool_action *action)
{
	bool recycles = pool_policy_worn(&pool->policy) > 0 && master->board_free > places_reserved(master) / 2;

	return action->reason == SLOT_REASON_RELOAD || pool_policy_is_rolling(&pool->policy) || recycles;
}

/* Makes it here and now. */
static int pool_fork(struct master *master, struct pool *pool, uint32_t slot, struct host_output *output)
{
	/* The master's own is memory that a worker does not have. */
	const struct board board = master->board;
	struct worker_start start = pool_worker_start(master, pool, slot, &board);
	struct program_channel channel;
	pid_t pid = program_prepare(master, start.pool, &channel);

	if (pid < 0)
		return pid;
	start.output = *output;
	start.notify_path = channel.notify_fd >= 0 ? channel.notify_path : NULL;
	start.ack_path = channel.ack_path[0] != '\0' ? channel.ack_path : NULL;
	if (start.pool->kind == HANDLER_LOADS)
		crash_prepare();
	pid = spawn(worker_entry, &start);
	if (pid < 0) {
		fd_close(&channel.notify_fd);
		return pid;
	}
	pool_born(master, pool, slot, pid);
	if (worker_is_program(pool, slot))
		program_born(master, pool, slot, &channel);
	return 0;
}

static const struct pool_config *config_to_start(const struct pool *pool, const struct pool_action *action)
{
	return action->reason == SLOT_REASON_RELOAD ? pool->next.config : pool->config;
}

bool pool_may_ask(struct master *master, struct pool *pool, const struct pool_action *action)
{
	if (master->board_free == 0 || (!may_use_reserve(master, pool, action) && !pools_have_place(master)))
		return false;
	if (config_to_start(pool, action)->kind != HANDLER_BECOMES)
		return true;
	return !upgrade_is_imminent(master) && nursery_is_free(master, pool, action, clock_monotonic_ms());
}

bool pool_ask(struct master *master, struct pool *pool, const struct pool_action *action)
{
	uint64_t now_ms = clock_monotonic_ms();
	struct host_output output;
	uint32_t slot = action->slot;
	struct worker *worker = &pool->workers[slot];
	int result;

	if (!pool_may_ask(master, pool, action))
		return false;
	*worker = (struct worker){ .config = config_to_start(pool, action), .notify_fd = -1 };
	worker->board_slot = board_take(master);
	worker->serial = ++pool->spawn_count & WATCH_SERIAL_MASK;
	pool_policy_event(&pool->policy, slot, SLOT_ASK, action->reason, now_ms);
	board_slot_claim(&master->board, worker->board_slot, pool->config->name, slot, pool->slots[slot].generation);
	result = output_open(master, pool, slot, worker->serial, &output);
	if (result == 0) {
		if (worker_kind(pool, slot) == HANDLER_BECOMES)
			result = nursery_ask(master, pool, slot, output.stderr_fd, pool_is_settled(pool), now_ms);
		else
			result = pool_fork(master, pool, slot, &output);
		output_handed_over(&output);
	}
	if (result < 0)
		pool_not_born(master, pool, slot, result);
	return result == 0;
}

/* Said once: it is tried before each start, and is likely to fail each time. */
static void report_unprepared(struct pool *pool, const struct listener *listener, int error)
{
	char text[ADDRESS_TEXT_MAX];

	if (!pool->options_failing)
		log_event(LOG_LEVEL_WARNING, "cannot set the options of a listener",
			LOG_TEXT("pool", pool->config->name),
			LOG_TEXT("address", listener_text(listener, text, sizeof(text))), LOG_ERRNO("reason", error));
	pool->options_failing = true;
}

static void report_revival(const struct pool *pool, const struct listener *listener, int result)
{
	char text[ADDRESS_TEXT_MAX];

	listener_text(listener, text, sizeof(text));
	if (result > 0)
		log_event(LOG_LEVEL_WARNING, "a worker has shut down a listener, which listens again",
			LOG_TEXT("pool", pool->config->name), LOG_TEXT("address", text));
	else
		log_event(LOG_LEVEL_ERROR, "a worker has shut down a listener, which cannot listen again",
			LOG_TEXT("pool", pool->config->name), LOG_TEXT("address", text), LOG_ERRNO("reason", result));
}

/* Whether workers are there, and are yet to leave, that were started for another configuration than their pool's: they
 * may wait for several listeners where others wait for one. Programs of inetd pools that run wait for none. */
static bool some_are_older(const struct master *master)
{
	/* All are about to be. */
	if (master->reload.stage == RELOAD_STAGE_DRAINING)
		return true;
	FOR_EACH_POOL (master, pool) {
		const struct pool_policy *policy = &pool->policy;
		const uint32_t *old = pool->leaving ? policy->count : policy->count_of[POOL_OLD];

		if (old[SLOT_ASKED] + old[SLOT_STARTING] + old[SLOT_READY] + old[SLOT_RETIRING] + old[SLOT_OVERRUN] +
				old[SLOT_QUITTING] >
			0)
			return true;
	}
	return false;
}

/*
 * Whether O_NONBLOCK is to be set on a listener. It belongs to the socket, which all workers share. brood's own loop
 * needs it where it waits for several; one that waits for one does better without, and does with it (worker/gate.c):
 * so it stays as long as workers before a reload may need it. A program finds a socket that blocks, as it would have
 * been made for it; but once programs of the pool run, it is theirs: a server with an event loop (Node) sets it, and
 * would hang in accept(2) if it were cleared behind its back.
 */
static bool wants_nonblock(const struct master *master, const struct pool *pool, const struct pool_config *config,
	size_t count, const struct listener *listener)
{
	bool program = config->kind == HANDLER_ACCEPTS;
	bool stays = program ? pool_policy_living(&pool->policy) > 0 : some_are_older(master);

	if (!program && count > 1)
		return true;
	return stays && (fcntl(listener->fd, F_GETFL) & O_NONBLOCK) != 0;
}

static void prepare_listeners(const struct master *master, struct pool *pool, const struct pool_config *config,
	const struct listener_set *set)
{
	const struct listener_timeouts timeouts = {
		.idle_ms = (uint32_t)config->idle_timeout_ms,
		.write_ms = (uint32_t)config->write_timeout_ms,
	};

	for (size_t i = 0; i < set->count; i++) {
		struct listener *listener = set->list[i];
		int result = listener->listening ? listener_revive(listener) : 0;

		if (result != 0)
			report_revival(pool, listener, result);
		result = listener_prepare_workers(
			listener, &timeouts, wants_nonblock(master, pool, config, set->count, listener));
		if (result < 0)
			report_unprepared(pool, listener, result);
	}
}

void pool_prepare_listeners(struct master *master, struct pool *pool)
{
	if (pool->next.config != NULL && master->reload.stage == RELOAD_STAGE_DRAINING)
		prepare_listeners(master, pool, pool->next.config, &pool->next.listeners);
	else
		prepare_listeners(master, pool, pool->config, &pool->listeners);
}

void pool_prepare_for(struct master *master, struct pool *pool, const struct pool_action *action)
{
	if (action->reason != SLOT_REASON_RELOAD)
		pool_prepare_listeners(master, pool);
	else if (pool->next.config->kind == HANDLER_ACCEPTS)
		prepare_listeners(master, pool, pool->next.config, &pool->next.listeners);
}

bool pools_settle_listeners(struct master *master)
{
	if (some_are_older(master))
		return false;
	FOR_EACH_POOL (master, pool)
		if (!pool->leaving)
			pool_prepare_listeners(master, pool);
	return true;
}
