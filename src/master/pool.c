/* SPDX-License-Identifier: MIT */
/*
 * The hands of policy/pool.h: what a pool's plan says is done here, and what was done is told to the policy. Nothing is
 * decided here.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/attrs.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/memory.h"
#include "master/master_private.h"
#include "master/spawn.h"
#include "policy/deadline.h"
#include "worker/worker.h"

/* While the board is full of workers that are leaving, a death makes room at once; this is only how often to look. */
#define BOARD_FULL_MS 1000

/* How often to look whether a worker is ready that wakes nobody for it. */
#define QUIET_LOOK_MS 100

/* An episode in which max_workers is reached is over once it has not been for so long. */
#define FULL_EPISODE_MS 5000

/* ---- the pools ---- */

/* Only a program that says nothing is taken for ready by its age. */
static uint64_t pool_ready_after(const struct pool_config *config)
{
	bool silent = config->kind == HANDLER_ACCEPTS && config->program.ready == READY_ALIVE;

	return silent ? config->program.ready_after_ms : 0;
}

/* Programs that run and workers that wait count together; of other kinds all are waiting workers, or leave. */
static uint32_t pool_capacity(const struct master *master, const struct pool_config *config)
{
	uint32_t most = master->config->max_workers;

	if (config->kind != HANDLER_BECOMES || config->max_workers == 0 || config->max_workers > most)
		return most;
	return config->max_workers;
}

static int pool_init(struct master *master, struct pool *pool, uint32_t index)
{
	const struct pool_config *config = &master->config->pools[index];
	uint32_t capacity = master->config->max_workers;
	const struct pool_rules rules = {
		.capacity = pool_capacity(master, config),
		.start_timeout_ms = config->start_timeout_ms,
		.ready_after_ms = pool_ready_after(config),
		.retire_timeout_ms = config->kind == HANDLER_ACCEPTS ? config->stop_timeout_ms : 0,
		.watchdog_ms = config->kind == HANDLER_ACCEPTS ? config->program.watchdog_timeout_ms : 0,
		.backoff = {.min_ms = config->backoff_min_ms, .max_ms = config->backoff_max_ms},
	};

	*pool = (struct pool){ .config = config, .index = index };
	pool->slots = memory_unforked(capacity, sizeof(*pool->slots));
	pool->workers = memory_unforked(capacity, sizeof(*pool->workers));
	if (pool->slots == NULL || pool->workers == NULL || asprintf(&pool->title, "brood: %s", config->name) < 0)
		return -ENOMEM;
	pool_policy_init(&pool->policy, &rules, config->workers, pool->slots);
	return output_pool_init(pool, capacity);
}

int pools_init(struct master *master)
{
	size_t count = master->config->pool_count;
	int result = 0;

	master->board_free = master->config->max_workers;
	master->board_used = memory_unforked(master->board_free, sizeof(*master->board_used));
	master->pools = memory_unforked(count, sizeof(*master->pools));
	if (master->board_used == NULL || master->pools == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < count && result == 0; i++) {
		master->pool_count = i + 1;
		result = pool_init(master, &master->pools[i], (uint32_t)i);
	}
	return result;
}

void pools_done(struct master *master)
{
	uint32_t capacity = master->config->max_workers;

	for (size_t i = 0; i < master->pool_count; i++) {
		output_pool_done(master, &master->pools[i]);
		free(master->pools[i].title);
		memory_unforked_free(master->pools[i].slots, capacity, sizeof(*master->pools[i].slots));
		memory_unforked_free(master->pools[i].workers, capacity, sizeof(*master->pools[i].workers));
	}
	memory_unforked_free(master->pools, master->config->pool_count, sizeof(*master->pools));
	memory_unforked_free(master->board_used, capacity, sizeof(*master->board_used));
	master->pools = NULL;
	master->pool_count = 0;
}

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

static void board_give_back(struct master *master, uint32_t place)
{
	board_slot_release(&master->board, place);
	master->board_used[place] = false;
	master->board_free++;
}

struct board_slot *pool_board_slot(const struct master *master, const struct pool *pool, uint32_t slot)
{
	return &master->board.slots[pool->workers[slot].board_slot];
}

/* ---- starting a worker ---- */

static void worker_entry(void *argument)
{
	worker_main(argument);
}

/* Of the worker that is started now, or was last. */
static uint32_t pool_serial(const struct pool *pool)
{
	return pool->spawn_count & WATCH_SERIAL_MASK;
}

/* Whether nothing waits for a worker to become ready: one that replaces a worker of an inetd pool, in the middle of
 * serving. It need not wake the master for that: see pools_note_quiet(). */
static bool pool_is_settled(const struct pool *pool)
{
	const struct pool_policy *policy = &pool->policy;

	return pool->config->kind == HANDLER_BECOMES && pool_policy_is_ready(policy) && policy->backoff.level == 0 &&
	       !pool_policy_is_rolling(policy) && policy->reload.canary == CANARY_NONE;
}

static pid_t pool_spawn(
	struct master *master, struct pool *pool, uint32_t slot, uint32_t place, const struct program_channel *channel)
{
	/* The master's own is memory that a worker does not have. */
	const struct board board = master->board;
	struct worker_start start = {
		.pool = pool->config,
		.title = pool->title,
		.listeners = pool->descriptors,
		.listener_count = pool->listener_count,
		.slot = &master->board.slots[place],
		.wake_fd = master->wake_fd,
		.dead_fd = master->dead_fd,
		.master_pid = master->pid,
		.number = slot,
		.board = &board,
		.spawn_count = ++pool->spawn_count,
		.listener_keys = (const char *const *)pool->listener_keys,
		.listener_names = (const char *const *)pool->listener_names,
		.notify_path = channel->notify_fd >= 0 ? channel->notify_path : NULL,
		.ack_path = channel->ack_path[0] != '\0' ? channel->ack_path : NULL,
		.soft_descriptors = master->soft_descriptors,
		.has_terminal = master->has_terminal,
		.quiet = pool_is_settled(pool),
		.reset_oom_score = master->reset_oom_score,
	};
	int result = output_open(master, pool, slot, pool_serial(pool), &start.output);
	pid_t pid;

	if (result < 0)
		return result;
	pid = spawn(worker_entry, &start);
	output_handed_over(&start.output);
	if (pid < 0)
		output_abandon(master, pool, slot);
	return pid;
}

static void pool_born(struct master *master, struct pool *pool, uint32_t slot, uint32_t place, pid_t pid,
	const struct program_channel *channel)
{
	const struct child child = { .pid = pid, .kind = CHILD_WORKER, .pool = pool->index, .slot = slot };

	children_add(&master->children, &child);
	pool->workers[slot] =
		(struct worker){ .pid = pid, .board_slot = place, .serial = pool_serial(pool), .notify_fd = -1 };
	board_slot_born(&master->board, place, (uint32_t)pid, clock_monotonic_us());
	log_event(LOG_LEVEL_DEBUG, "worker started", LOG_TEXT("pool", pool->config->name), LOG_INT("slot", slot),
		LOG_INT("pid", pid));
	pool_policy_event(&pool->policy, slot, SLOT_BORN, SLOT_REASON_NONE, clock_monotonic_ms());
	if (pool_is_program(pool))
		program_born(master, pool, slot, channel);
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

static void pool_not_born(struct master *master, struct pool *pool, uint32_t slot, uint32_t place, int error)
{
	board_give_back(master, place);
	pool_policy_event(&pool->policy, slot, SLOT_FAILED, SLOT_REASON_NONE, clock_monotonic_ms());
	if (!pool->fork_failing)
		log_event(LOG_LEVEL_ERROR, "cannot start a worker, and will try again",
			LOG_TEXT("pool", pool->config->name), LOG_ERRNO("reason", error),
			LOG_TEXT("limit", limit_behind(error)));
	pool->fork_failing = true;
}

/*
 * Asks for the worker of ACTION. The answer comes at once today, and may come later some day. Returns false where it
 * failed, and where the board is full with workers that are leaving: then the first to be gone makes the master ask
 * again.
 */
static bool pool_ask(struct master *master, struct pool *pool, const struct pool_action *action)
{
	struct program_channel channel;
	uint32_t slot = action->slot;
	uint32_t place;
	pid_t pid;

	if (master->board_free == 0)
		return false;
	place = board_take(master);
	pool_policy_event(&pool->policy, slot, SLOT_ASK, action->reason, clock_monotonic_ms());
	board_slot_claim(&master->board, place, pool->config->name, slot, pool->slots[slot].generation);
	pid = program_prepare(master, pool, &channel);
	if (pid == 0) {
		pid = pool_spawn(master, pool, slot, place, &channel);
		if (pid < 0)
			fd_close(&channel.notify_fd);
	}
	if (pid > 0)
		pool_born(master, pool, slot, place, pid, &channel);
	else
		pool_not_born(master, pool, slot, place, pid);
	return pid > 0;
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

/*
 * Whether O_NONBLOCK is to be set on a listener. It belongs to the socket, which all workers share. brood's own loop
 * wants it where it waits for several. A program finds a socket that blocks, as it would have been made for it; but
 * once programs of the pool run, it is theirs: a server with an event loop (Node) sets it, and would hang in accept(2)
 * if it were cleared behind its back.
 */
static bool wants_nonblock(const struct pool *pool, const struct listener *listener)
{
	if (!pool_is_program(pool))
		return pool->listener_count > 1;
	return pool_policy_living(&pool->policy) > 0 && (fcntl(listener->fd, F_GETFL) & O_NONBLOCK) != 0;
}

/* What the handler needs of the shared sockets, which a program that had them may have changed. */
static void pool_prepare_listeners(struct pool *pool)
{
	const struct listener_timeouts timeouts = {
		.idle_ms = (uint32_t)pool->config->idle_timeout_ms,
		.write_ms = (uint32_t)pool->config->write_timeout_ms,
	};

	for (size_t i = 0; i < pool->listener_count; i++) {
		struct listener *listener = &pool->listeners[i];
		int result = listener_revive(listener);

		if (result != 0)
			report_revival(pool, listener, result);
		result = listener_prepare_workers(listener, &timeouts, wants_nonblock(pool, listener));
		if (result < 0)
			report_unprepared(pool, listener, result);
	}
}

/* ---- carrying out a plan ---- */

/*
 * The signals by which a worker is asked to leave, by its kind; 0: none. SIGURG does nothing to a program, which a
 * worker of an inetd pool may become at any moment; SIGTERM ends it, and is SIGURG to a worker that still waits.
 */
static int stop_signal(const struct pool *pool, const struct pool_action *action)
{
	static const int signals[HANDLER_KINDS][SLOT_EVENTS] = {
		[HANDLER_SERVES] = {[SLOT_RETIRE] = SIGURG,  [SLOT_QUIT] = SIGQUIT, [SLOT_KILL] = SIGKILL},
		[HANDLER_LOADS] = { [SLOT_RETIRE] = SIGURG, [SLOT_QUIT] = SIGQUIT, [SLOT_KILL] = SIGKILL},
		[HANDLER_BECOMES] = { [SLOT_RETIRE] = SIGURG, [SLOT_QUIT] = SIGTERM, [SLOT_KILL] = SIGKILL},
	};

	return pool_is_program(pool) ? program_action_signal(pool, action) : signals[pool->config->kind][action->what];
}

/*
 * Whether a signal goes to what a program has made too. A program that accepts for itself is asked to finish alone: it
 * knows better in which order its processes end (a server with workers of its own would lose their connections).
 */
static bool signal_is_for_group(const struct pool *pool, const struct pool_action *action)
{
	if (pool->config->kind == HANDLER_BECOMES)
		return action->what != SLOT_RETIRE;
	return pool_is_program(pool) &&
	       (action->what == SLOT_KILL || (action->what == SLOT_QUIT && action->reason != SLOT_REASON_WATCHDOG));
}

/* Its process group it may not have yet, while it is being made. */
static int worker_kill(const struct pool *pool, const struct pool_action *action, int number)
{
	pid_t pid = pool->workers[action->slot].pid;

	if (signal_is_for_group(pool, action) && kill(-pid, number) == 0)
		return 0;
	return kill(pid, number) < 0 ? -errno : 0;
}

void pool_signal(struct master *master, struct pool *pool, const struct pool_action *action, uint64_t now_ms)
{
	pid_t pid = pool->workers[action->slot].pid;
	int number = stop_signal(pool, action);
	int result = 0;

	log_event(LOG_LEVEL_DEBUG, "worker told to end", LOG_TEXT("pool", pool->config->name),
		LOG_INT("slot", action->slot), LOG_INT("pid", pid), LOG_TEXT("what", slot_event_name(action->what)),
		LOG_TEXT("reason", slot_reason_name(action->reason)));
	if (number != 0)
		result = worker_kill(pool, action, number);
	if (number != 0 && result == 0)
		pool->workers[action->slot].signal = number;
	if (result < 0)
		log_event(LOG_LEVEL_WARNING, "cannot signal a worker", LOG_TEXT("pool", pool->config->name),
			LOG_INT("slot", action->slot), LOG_INT("pid", pid), LOG_ERRNO("reason", result));
	if (action->what == SLOT_GIVE_UP)
		log_event(LOG_LEVEL_ERROR, "a killed worker does not end, and is given up",
			LOG_TEXT("pool", pool->config->name), LOG_INT("slot", action->slot), LOG_INT("pid", pid));
	pool_policy_event(&pool->policy, action->slot, action->what, action->reason, now_ms);
	if (pool_is_program(pool))
		board_worker_state(pool_board_slot(master, pool, action->slot), BOARD_LEAVING, clock_monotonic_us());
}

void pool_became_ready(struct master *master, struct pool *pool, uint32_t slot, uint64_t now_ms)
{
	struct board_slot *board_slot = pool_board_slot(master, pool, slot);

	pool_policy_event(&pool->policy, slot, SLOT_BECAME_READY, SLOT_REASON_NONE, now_ms);
	if (board_slot_state(board_slot) == BOARD_STARTING)
		board_worker_state(board_slot, BOARD_IDLE, clock_monotonic_us());
}

static void pool_act_on_worker(
	struct master *master, struct pool *pool, const struct pool_action *action, uint64_t now_ms)
{
	if (action->what == SLOT_BECAME_READY)
		pool_became_ready(master, pool, action->slot, now_ms);
	else if (!pool_is_program(pool) || !program_speaks_up(master, pool, action, now_ms))
		pool_signal(master, pool, action, now_ms);
}

/* After a start that failed the other starts of the plan are stale. */
static void pool_carry_out(struct master *master, struct pool *pool, const struct pool_plan *plan, uint64_t now_ms)
{
	bool prepared = false;
	bool starting = true;

	for (size_t i = 0; i < plan->count; i++) {
		const struct pool_action *action = &plan->actions[i];

		if (action->what != SLOT_ASK) {
			pool_act_on_worker(master, pool, action, now_ms);
			continue;
		}
		if (!prepared)
			pool_prepare_listeners(pool);
		prepared = true;
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
	if (plan.count > 0 && plan.actions[0].what == SLOT_ASK && master->board_free == 0)
		return deadline_after(now_ms, BOARD_FULL_MS);
	return plan.wake_ms;
}

/* Nobody waits for connections, and nobody may: said once an episode. */
static void pool_check_full(struct master *master, struct pool *pool, uint64_t now_ms)
{
	const struct pool_policy *policy = &pool->policy;
	uint32_t waiting = policy->count[SLOT_ASKED] + policy->count[SLOT_STARTING] + policy->count[SLOT_READY];
	bool of_pool = policy->count[SLOT_FREE] == 0;

	bool full = waiting == 0 && policy->phase == POOL_SERVING && (of_pool || master->board_free == 0);
	bool begins = full && !pool->full && (pool->full_ms == 0 || now_ms - pool->full_ms >= FULL_EPISODE_MS);

	if (full || pool->full)
		pool->full_ms = now_ms;
	pool->full = full;
	if (!begins)
		return;
	log_event(LOG_LEVEL_WARNING, "all workers are busy: further clients wait", LOG_TEXT("pool", pool->config->name),
		LOG_INT("workers", pool_policy_living(policy)),
		LOG_TEXT("limit", of_pool && policy->rules.capacity < master->config->max_workers
					  ? "max_workers of the pool"
					  : "max_workers of all pools"));
}

uint64_t pools_act(struct master *master, uint64_t now_ms)
{
	uint64_t wake_ms = DEADLINE_NONE;

	for (size_t i = 0; i < master->pool_count; i++) {
		wake_ms = deadline_earlier(wake_ms, pool_act(master, &master->pools[i], now_ms));
		if (master->pools[i].config->kind == HANDLER_BECOMES)
			pool_check_full(master, &master->pools[i], now_ms);
	}
	return wake_ms;
}

/* ---- what workers say ---- */

static bool says_ready(const struct board_slot *slot)
{
	enum board_state state = board_slot_state(slot);

	return state != BOARD_EMPTY && state != BOARD_STARTING;
}

/* One that was told to retire as it became ready may serve; until it is known to be ready, its start is timed. */
static bool awaits_ready(const struct slot *slot)
{
	return !slot->was_ready && (slot->state == SLOT_STARTING || slot->state == SLOT_RETIRING);
}

/* It has taken its one connection, and is a program by now, or tries to be. */
static bool says_taken(const struct board_slot *slot)
{
	enum board_state state = board_slot_state(slot);

	return state == BOARD_RUNNING || state == BOARD_FAILED;
}

void pool_note_worker(struct master *master, struct pool *pool, uint32_t slot, uint64_t now_ms)
{
	/* A program does not write there. */
	if (pool_is_program(pool))
		return;
	if (awaits_ready(&pool->slots[slot]) && says_ready(pool_board_slot(master, pool, slot)))
		pool_policy_event(&pool->policy, slot, SLOT_BECAME_READY, SLOT_REASON_NONE, now_ms);
	if (pool->config->kind != HANDLER_BECOMES || !says_taken(pool_board_slot(master, pool, slot)))
		return;
	output_taken(master, pool, slot, now_ms);
	if (pool->slots[slot].state == SLOT_READY)
		pool_policy_event(&pool->policy, slot, SLOT_TAKEN, SLOT_REASON_NONE, now_ms);
}

static void pool_note_ready(struct master *master, struct pool *pool, uint64_t now_ms)
{
	bool becomes = pool->config->kind == HANDLER_BECOMES;
	uint32_t left = pool->policy.count[SLOT_STARTING] + pool->policy.count[SLOT_RETIRING] +
			(becomes ? pool->policy.count[SLOT_READY] : 0);

	for (uint32_t slot = 0; left > 0 && slot < pool->policy.rules.capacity; slot++) {
		enum slot_state state = pool->slots[slot].state;

		if (state != SLOT_STARTING && state != SLOT_RETIRING && !(becomes && state == SLOT_READY))
			continue;
		left--;
		pool_note_worker(master, pool, slot, now_ms);
	}
}

void pools_note_ready(struct master *master, uint64_t now_ms)
{
	for (size_t i = 0; i < master->pool_count; i++)
		pool_note_ready(master, &master->pools[i], now_ms);
}

uint64_t pools_note_quiet(struct master *master, uint64_t now_ms)
{
	uint64_t wake_ms = DEADLINE_NONE;

	for (size_t i = 0; i < master->pool_count; i++) {
		struct pool *pool = &master->pools[i];

		if (pool->config->kind != HANDLER_BECOMES || pool->policy.count[SLOT_STARTING] == 0)
			continue;
		pool_note_ready(master, pool, now_ms);
		if (pool->policy.count[SLOT_STARTING] > 0)
			wake_ms = deadline_after(now_ms, QUIET_LOOK_MS);
	}
	return wake_ms;
}

/* Looks at the deadlines that the pool's workers have written. */
static void pool_check_requests(struct master *master, struct pool *pool, uint64_t now_ms)
{
	uint64_t nearest_us = 0;

	for (uint32_t slot = 0; slot < pool->policy.rules.capacity; slot++) {
		const struct pool_action kill_it = {
			.what = SLOT_KILL, .slot = slot, .reason = SLOT_REASON_REQUEST_TIMEOUT
		};
		enum slot_state state = pool->slots[slot].state;
		uint64_t deadline_us;

		if (state != SLOT_READY && state != SLOT_RETIRING)
			continue;
		deadline_us =
			atomic_load_explicit(&pool_board_slot(master, pool, slot)->deadline_us, memory_order_relaxed);
		if (deadline_request_overrun(deadline_us, now_ms))
			pool_signal(master, pool, &kill_it, now_ms);
		else if (deadline_us != 0 && (nearest_us == 0 || deadline_us < nearest_us))
			nearest_us = deadline_us;
	}
	pool->next_scan_ms = deadline_next_scan(nearest_us, pool->config->request_timeout_ms, now_ms);
}

uint64_t pools_check_requests(struct master *master, uint64_t now_ms)
{
	uint64_t wake_ms = DEADLINE_NONE;

	for (size_t i = 0; i < master->pool_count; i++) {
		struct pool *pool = &master->pools[i];

		if (pool->config->request_timeout_ms == 0)
			continue;
		if (deadline_passed(pool->next_scan_ms, now_ms))
			pool_check_requests(master, pool, now_ms);
		wake_ms = deadline_earlier(wake_ms, pool->next_scan_ms);
	}
	return wake_ms;
}

void pool_forget_worker(struct master *master, struct pool *pool, uint32_t slot)
{
	program_forget(master, &pool->workers[slot]);
	board_give_back(master, pool->workers[slot].board_slot);
	pool->workers[slot].pid = 0;
}

/* ---- all pools ---- */

static uint32_t pools_target(const struct master *master)
{
	uint32_t target = 0;

	for (size_t i = 0; i < master->pool_count; i++)
		target += master->pools[i].policy.target;
	return target;
}

void pools_resize(struct master *master, int delta)
{
	for (size_t i = 0; i < master->pool_count; i++) {
		struct pool *pool = &master->pools[i];

		if (delta > 0 && pools_target(master) >= master->config->max_workers) {
			log_event(LOG_LEVEL_WARNING, "max_workers is reached: no worker more",
				LOG_TEXT("pool", pool->config->name),
				LOG_INT("max_workers", master->config->max_workers));
			continue;
		}
		log_event(LOG_LEVEL_NOTICE, "pool resized", LOG_TEXT("pool", pool->config->name),
			LOG_INT("workers", pool_policy_resize(&pool->policy, delta)));
	}
}

uint32_t pools_living(const struct master *master)
{
	uint32_t living = 0;

	for (size_t i = 0; i < master->pool_count; i++)
		living += pool_policy_living(&master->pools[i].policy);
	return living;
}

bool pools_all_ready(const struct master *master)
{
	for (size_t i = 0; i < master->pool_count; i++)
		if (!pool_policy_is_ready(&master->pools[i].policy))
			return false;
	return true;
}

bool pools_start_failed(const struct master *master)
{
	for (size_t i = 0; i < master->pool_count; i++)
		if (pool_policy_start_failed(&master->pools[i].policy))
			return true;
	return false;
}
