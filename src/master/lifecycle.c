/* SPDX-License-Identifier: MIT */
/*
 * The hands of policy/lifecycle.h: what the daemon does when it enters a phase, and how it finds that a phase is over.
 */
#include "base/clock.h"
#include "base/exit_status.h"
#include "base/log.h"
#include "master/master_private.h"
#include "policy/deadline.h"

/* While draining, the queues are looked at after this long, at first and at last: nothing tells when a handshake ends,
 * and to ask for them takes the kernel some milliseconds. */
#define DRAIN_CHECK_MIN_MS 5
#define DRAIN_CHECK_MAX_MS 100

/* All that a stop waits for. */
static int64_t living(const struct master *master)
{
	return pools_living(master) + (int64_t)master->survivors.left + (int64_t)leavers_left(&master->leavers);
}

static void begin_stop(struct master *master, uint64_t now_ms)
{
	master->stop_deadline_ms = deadline_after(now_ms, master->config->stop_timeout_ms);
	log_event(LOG_LEVEL_NOTICE, "stopping", LOG_INT("workers", living(master)),
		LOG_INT("stop_timeout_ms", (int64_t)master->config->stop_timeout_ms));
	notify_stopping(&master->notify);
	upgrade_abandon(master);
	bind_refuse_all(master);
	master->drain_check_ms = now_ms;
	master->drain_step_ms = DRAIN_CHECK_MIN_MS;
}

/* Each pool has its own time from now on, within the daemon's. */
static void begin_retiring(struct master *master, uint64_t now_ms)
{
	FOR_EACH_POOL (master, pool) {
		uint64_t own_ms = deadline_after(now_ms, pool->config->stop_timeout_ms);

		pool_policy_retire(&pool->policy, deadline_earlier(own_ms, master->stop_deadline_ms));
	}
	survivors_hurry(master, now_ms, master->stop_deadline_ms);
}

static void begin_quitting(struct master *master, enum life_phase from, enum life_event event, uint64_t now_ms)
{
	enum slot_reason reason = event == LIFE_TIMEOUT ? SLOT_REASON_STOP_TIMEOUT : SLOT_REASON_STOP;

	if (event == LIFE_START_FAILED) {
		report_start_failed(master);
		master->exit_status = EXIT_STATUS_START;
		/* The next start will want what this one was given. */
		bind_leave_stored(master);
		survivors_leave(master);
	}
	if (from == LIFE_STARTING || from == LIFE_SERVING)
		begin_stop(master, now_ms);
	log_event(LOG_LEVEL_WARNING,
		event == LIFE_TIMEOUT ? "stop_timeout has passed: ending all workers" : "ending all workers",
		LOG_INT("workers", living(master)), LOG_INT("serving", pools_serving(master)),
		LOG_INT("queued", bind_queued(master)));
	leavers_quit(&master->leavers, now_ms);
	FOR_EACH_POOL (master, pool)
		pool_policy_quit(&pool->policy, reason);
	survivors_hurry(master, now_ms, now_ms);
}

void lifecycle_event(struct master *master, enum life_event event, uint64_t now_ms)
{
	enum life_phase from = master->phase;

	master->phase = lifecycle_next(from, event);
	if (master->phase == from)
		return;
	log_event(LOG_LEVEL_DEBUG, "phase", LOG_TEXT("from", lifecycle_phase_name(from)),
		LOG_TEXT("to", lifecycle_phase_name(master->phase)));
	if (master->phase != LIFE_GONE)
		control_note_phase(master);
	switch (master->phase) {
	case LIFE_SERVING:
		report_ready(master);
		break;
	case LIFE_DRAINING:
		begin_stop(master, now_ms);
		break;
	case LIFE_RETIRING:
		begin_retiring(master, now_ms);
		break;
	case LIFE_QUITTING:
		begin_quitting(master, from, event, now_ms);
		break;
	default:
		break;
	}
}

static uint64_t check_draining(struct master *master, uint64_t now_ms)
{
	if (!deadline_passed(master->drain_check_ms, now_ms))
		return deadline_earlier(master->drain_check_ms, master->stop_deadline_ms);
	if (bind_all_drained(master)) {
		lifecycle_event(master, LIFE_DRAINED, now_ms);
		return DEADLINE_NONE;
	}
	master->drain_check_ms = deadline_after(clock_monotonic_ms(), master->drain_step_ms);
	if (master->drain_step_ms < DRAIN_CHECK_MAX_MS)
		master->drain_step_ms *= 2;
	return deadline_earlier(master->drain_check_ms, master->stop_deadline_ms);
}

static uint64_t check_phase(struct master *master, uint64_t now_ms)
{
	uint64_t wake_ms;

	switch (master->phase) {
	case LIFE_STARTING:
		if (pools_start_failed(master))
			lifecycle_event(master, LIFE_START_FAILED, now_ms);
		else if (pools_all_ready(master))
			lifecycle_event(master, LIFE_READY, now_ms);
		break;
	case LIFE_DRAINING:
		if (deadline_passed(master->stop_deadline_ms, now_ms)) {
			lifecycle_event(master, LIFE_TIMEOUT, now_ms);
			break;
		}
		return check_draining(master, now_ms);
	case LIFE_RETIRING:
	case LIFE_QUITTING:
		if (living(master) == 0 && orphans_are_left(master, now_ms, &wake_ms))
			return wake_ms;
		if (living(master) == 0 && nurseries_are_left(master, now_ms, &wake_ms))
			return wake_ms;
		if (living(master) == 0)
			lifecycle_event(master, LIFE_ALL_GONE, now_ms);
		else if (master->phase == LIFE_RETIRING && deadline_passed(master->stop_deadline_ms, now_ms))
			lifecycle_event(master, LIFE_TIMEOUT, now_ms);
		else if (master->phase == LIFE_RETIRING)
			return master->stop_deadline_ms;
		break;
	default:
		break;
	}
	return DEADLINE_NONE;
}

uint64_t lifecycle_check(struct master *master, uint64_t now_ms)
{
	enum life_phase before = master->phase;
	uint64_t wake_ms = check_phase(master, now_ms);

	/* The new one may be over already, as when no worker is left to be ended, and then nothing else wakes us. */
	return master->phase != before ? now_ms : wake_ms;
}
