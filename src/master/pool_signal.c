/* SPDX-License-Identifier: MIT */
/*
 * How a worker is told to leave: by which signal, and who gets it.
 */
#include <errno.h>
#include <signal.h>

#include "base/clock.h"
#include "base/log.h"
#include "master/master_private.h"
#include "policy/deadline.h"

/* A signal that was refused is sent again after this long: a worker that is not told goes on for its stop_timeout. */
#define SIGNAL_RETRY_MS 1000

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

	return worker_is_program(pool, action->slot) ? program_action_signal(pool, action)
						     : signals[worker_kind(pool, action->slot)][action->what];
}

/* The number of the warning that is due. The list may have become shorter since the policy counted them. */
static int warning_signal(const struct pool *pool, const struct pool_action *action)
{
	const struct slot *slot = &pool->slots[action->slot];
	const struct pool_config *config =
		worker_is_canary(pool, action->slot) ? pool->workers[action->slot].config : pool->config;
	uint32_t given = slot->state == SLOT_OVERRUN ? slot->warnings : 0;

	return given < config->overrun_number_count ? config->overrun_numbers[given] : SIGTERM;
}

static int action_signal(const struct pool *pool, const struct pool_action *action)
{
	return action->what == SLOT_WARN ? warning_signal(pool, action) : stop_signal(pool, action);
}

/*
 * Whether a signal goes to what a program has made too. A program that accepts for itself is asked to finish alone: it
 * knows better in which order its processes end (a server with workers of its own would lose their connections).
 */
static bool signal_is_for_group(const struct pool *pool, const struct pool_action *action)
{
	if (worker_kind(pool, action->slot) == HANDLER_BECOMES)
		return action->what != SLOT_RETIRE;
	return worker_is_program(pool, action->slot) &&
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

/* Where it is gone, there is nothing to send. */
static void note_unsent(struct pool *pool, const struct pool_action *action, int number, int result, uint64_t now_ms)
{
	struct worker *worker = &pool->workers[action->slot];

	worker->is_unsent = result < 0 && result != -ESRCH;
	worker->unsent = *action;
	worker->unsent_number = number;
	if (worker->is_unsent)
		pool->unsent_ms = deadline_after(now_ms, SIGNAL_RETRY_MS);
}

uint64_t pool_signal_again(struct pool *pool, uint64_t now_ms)
{
	if (pool->unsent_ms == 0)
		return DEADLINE_NONE;
	if (!deadline_passed(pool->unsent_ms, now_ms))
		return pool->unsent_ms;
	pool->unsent_ms = 0;
	for (uint32_t slot = 0; slot < pool->policy.rules.capacity; slot++) {
		struct worker *worker = &pool->workers[slot];
		const struct pool_action action = worker->unsent;
		int number, result;

		if (worker->pid == 0 || !worker->is_unsent)
			continue;
		number = worker->unsent_number;
		result = worker_kill(pool, &action, number);
		if (result == 0)
			worker->signal = number;
		log_event(result == 0 ? LOG_LEVEL_NOTICE : LOG_LEVEL_DEBUG, "a worker is signalled again",
			LOG_TEXT("pool", pool->config->name), LOG_INT("slot", slot), LOG_INT("pid", worker->pid),
			LOG_TEXT("what", slot_event_name(action.what)));
		note_unsent(pool, &action, number, result, now_ms);
	}
	return pool->unsent_ms == 0 ? DEADLINE_NONE : pool->unsent_ms;
}

void pool_signal(struct master *master, struct pool *pool, const struct pool_action *action, uint64_t now_ms)
{
	pid_t pid = pool->workers[action->slot].pid;
	int number = action_signal(pool, action);
	int result = 0;

	log_event(LOG_LEVEL_DEBUG, "worker told to end", LOG_TEXT("pool", pool->config->name),
		LOG_INT("slot", action->slot), LOG_INT("pid", pid), LOG_TEXT("what", slot_event_name(action->what)),
		LOG_TEXT("reason", slot_reason_name(action->reason)));
	if (number != 0)
		result = worker_kill(pool, action, number);
	if (number != 0 && result == 0)
		pool->workers[action->slot].signal = number;
	note_unsent(pool, action, number, result, now_ms);
	if (result < 0)
		log_event(LOG_LEVEL_WARNING, "cannot signal a worker", LOG_TEXT("pool", pool->config->name),
			LOG_INT("slot", action->slot), LOG_INT("pid", pid), LOG_ERRNO("reason", result));
	if (action->what == SLOT_GIVE_UP)
		log_event(LOG_LEVEL_ERROR, "a killed worker does not end, and is given up",
			LOG_TEXT("pool", pool->config->name), LOG_INT("slot", action->slot), LOG_INT("pid", pid));
	if (action->reason == SLOT_REASON_REQUEST_TIMEOUT)
		report_overrun(master, pool, action, number);
	pool_policy_event(&pool->policy, action->slot, action->what, action->reason, now_ms);
	if (worker_is_program(pool, action->slot))
		board_worker_state(pool_board_slot(master, pool, action->slot), BOARD_LEAVING, clock_monotonic_us());
}
