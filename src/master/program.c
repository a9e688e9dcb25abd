/* SPDX-License-Identifier: MIT */
#include "master/program.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/attrs.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/rights.h"
#include "master/master_private.h"
#include "policy/deadline.h"

/* Of one worker, before the others are looked at again. */
#define MESSAGES_A_TURN 16
/* Of one that has died: as many as its socket may hold, unless net.unix.max_dgram_qlen was raised beyond all reason. */
#define MESSAGES_LAST 512
/* Of what a program says by ERRNO=, one in so long is told of. */
#define ERROR_PAUSE_MS 1000

uid_t program_uid(const struct pool_config *config)
{
	const struct identity *identity = &config->identity;

	return identity->change ? identity->uid : geteuid();
}

int programs_prepare(struct master *master)
{
	int result = ack_open(master);

	if (result == 0)
		orphans_init(master);
	return result;
}

/* ---- its socket ---- */

static bool has_notify_socket(const struct program_config *program)
{
	return program->ready == READY_NOTIFY || program->watchdog_timeout_ms != 0;
}

int program_prepare(const struct master *master, const struct pool_config *config, struct program_channel *ret_channel)
{
	struct program_channel channel = { .notify_fd = -1 };
	int result = 0;

	if (config->kind == HANDLER_ACCEPTS && has_notify_socket(&config->program))
		result = notify_socket_open(&channel.notify_fd, channel.notify_path);
	if (config->kind == HANDLER_ACCEPTS && config->program.ready == READY_ACK)
		memcpy(channel.ack_path, master->ack.path, sizeof(channel.ack_path));
	if (result == 0)
		*ret_channel = channel;
	return result;
}

void program_born(struct master *master, struct pool *pool, uint32_t slot, const struct program_channel *channel)
{
	struct worker *worker = &pool->workers[slot];
	const struct watch watch = {
		.kind = WATCH_NOTIFY, .pool = pool->index, .slot = slot, .serial = worker->serial
	};

	orphans_worker_born(master, worker->pid);
	worker->notify_fd = channel->notify_fd;
	if (worker->notify_fd >= 0 && master_watch(master, worker->notify_fd, &watch) < 0)
		log_event(LOG_LEVEL_WARNING, "cannot hear what a program says of itself",
			LOG_TEXT("pool", pool->config->name), LOG_INT("slot", slot), LOG_INT("pid", worker->pid));
}

void program_forget(const struct master *master, struct worker *worker)
{
	if (worker->notify_fd < 0)
		return;
	master_unwatch(master, worker->notify_fd);
	rights_drain(worker->notify_fd);
	fd_close(&worker->notify_fd);
}

/* ---- whose messages count ---- */

/* A process of the worker's group; or one that has gone, so that its group is not known any more, of the same user. */
static bool sender_is_of_group(const struct pool *pool, const struct worker *worker, const struct ucred *sender)
{
	pid_t group = getpgid(sender->pid);

	if (group < 0)
		return errno == ESRCH && sender->uid == program_uid(worker->config);
	return group == worker->pid;
}

static bool sender_counts(const struct pool *pool, const struct worker *worker, const struct ucred *sender)
{
	if (sender->pid == worker->pid)
		return true;
	return worker->config->program.notify_access == NOTIFY_GROUP && sender_is_of_group(pool, worker, sender);
}

static void report_refused(const struct pool *pool, uint32_t slot, const struct ucred *sender)
{
	struct worker *worker = &pool->workers[slot];

	if (worker->refusing)
		return;
	worker->refusing = true;
	log_event(LOG_LEVEL_WARNING, "a message to a worker's NOTIFY_SOCKET is refused: its sender does not count",
		LOG_TEXT("pool", pool->config->name), LOG_INT("slot", slot), LOG_INT("pid", worker->pid),
		LOG_INT("sender", sender->pid), LOG_INT("uid", sender->uid),
		LOG_TEXT("notify_access", worker->config->program.notify_access == NOTIFY_GROUP ? "group" : "main"));
}

/* ---- what a message brings about ---- */

void program_became_ready(struct master *master, struct pool *pool, uint32_t slot, uint64_t now_ms)
{
	if (!pool->slots[slot].was_ready)
		pool_became_ready(master, pool, slot, now_ms);
}

static void note_watchdog(struct master *master, struct pool *pool, uint32_t slot, uint64_t now_ms)
{
	uint64_t period_ms = pool->workers[slot].config->program.watchdog_timeout_ms;

	atomic_store_explicit(
		&pool_board_slot(master, pool, slot)->watchdog_us, clock_monotonic_us(), memory_order_relaxed);
	/* While it starts, or retires, other deadlines count, which it does not move by that. */
	if (period_ms != 0 && pool->slots[slot].state == SLOT_READY)
		pool_policy_extend(&pool->policy, slot, deadline_after(now_ms, period_ms));
}

/* It gives time, and never takes any: a deadline that is later stays. */
static void note_extension(struct master *master, struct pool *pool, uint32_t slot, uint64_t extend_us, uint64_t now_ms)
{
	uint64_t until_ms = deadline_after(now_ms, extend_us / 1000);

	atomic_store_explicit(&pool_board_slot(master, pool, slot)->extended_us, clock_monotonic_us() + extend_us,
		memory_order_relaxed);
	if (until_ms > pool->slots[slot].deadline_ms)
		pool_policy_extend(&pool->policy, slot, until_ms);
	/* The daemon's own stop_timeout is not put off. */
	if (pool->slots[slot].state == SLOT_RETIRING)
		pool_policy_postpone(&pool->policy, deadline_earlier(until_ms, master->stop_deadline_ms));
}

/* It leaves by itself: no signal is sent, but it is replaced, and its end is timed as if it had been told to. */
static void note_stopping(struct master *master, struct pool *pool, uint32_t slot, uint64_t now_ms)
{
	uint32_t volley = pool->policy.backoff.volley;

	if (!pool_policy_event(&pool->policy, slot, SLOT_RETIRE, SLOT_REASON_ITSELF, now_ms))
		return;
	board_worker_state(pool_board_slot(master, pool, slot), BOARD_LEAVING, clock_monotonic_us());
	if (pool->policy.backoff.volley != volley)
		degraded_note_stopping(pool, slot, now_ms);
}

static void note_trigger(struct master *master, struct pool *pool, uint32_t slot, uint64_t now_ms)
{
	const struct pool_action quit = { .what = SLOT_QUIT, .slot = slot, .reason = SLOT_REASON_WATCHDOG };
	enum slot_state state = pool->slots[slot].state;

	if (state == SLOT_STARTING || state == SLOT_READY || state == SLOT_RETIRING)
		pool_signal(master, pool, &quit, now_ms);
}

/* The last one is told of with its death: not each of a flood needs to be. */
static bool error_is_news(const struct worker *worker, const struct notify_message *message, uint64_t now_ms)
{
	return message->has_error && message->error != 0 && message->error != worker->error &&
	       (worker->told_error_ms == 0 || now_ms - worker->told_error_ms >= ERROR_PAUSE_MS);
}

static void report_message(
	const struct pool *pool, uint32_t slot, const struct notify_message *message, uint64_t now_ms)
{
	struct worker *worker = &pool->workers[slot];

	if (message->has_status)
		log_event(LOG_LEVEL_DEBUG, "a program says its status", LOG_TEXT("pool", pool->config->name),
			LOG_INT("slot", slot), LOG_INT("pid", worker->pid), LOG_TEXT("status", message->status));
	if (error_is_news(worker, message, now_ms)) {
		worker->told_error_ms = now_ms;
		log_event(LOG_LEVEL_WARNING, "a program says that it has failed", LOG_TEXT("pool", pool->config->name),
			LOG_INT("slot", slot), LOG_INT("pid", worker->pid), LOG_ERRNO("reason", message->error));
	}
	if (message->main_pid != 0 && message->main_pid != worker->pid && !worker->told_main_pid) {
		worker->told_main_pid = true;
		log_event(LOG_LEVEL_INFO, "MAINPID= is ignored: a worker is the process that was started",
			LOG_TEXT("pool", pool->config->name), LOG_INT("slot", slot), LOG_INT("pid", worker->pid),
			LOG_INT("main_pid", message->main_pid));
	}
}

static void take_message(
	struct master *master, struct pool *pool, uint32_t slot, const struct notify_message *message, uint64_t now_ms)
{
	struct board_slot *board_slot = pool_board_slot(master, pool, slot);

	report_message(pool, slot, message, now_ms);
	board_slot_notified(board_slot, message->has_status ? message->status : NULL, clock_monotonic_us());
	if (message->has_error)
		pool->workers[slot].error = message->error;
	if (message->ready && pool->workers[slot].config->program.ready == READY_NOTIFY)
		program_became_ready(master, pool, slot, now_ms);
	if (message->watchdog)
		note_watchdog(master, pool, slot, now_ms);
	if (message->stopping)
		note_stopping(master, pool, slot, now_ms);
	/* After the others: the time it asks for is for the state that they bring. */
	if (message->extend_us != 0)
		note_extension(master, pool, slot, message->extend_us, now_ms);
	if (message->watchdog_trigger)
		note_trigger(master, pool, slot, now_ms);
}

static void hear(struct master *master, struct pool *pool, uint32_t slot, int most, uint64_t now_ms)
{
	struct worker *worker = &pool->workers[slot];

	for (int i = 0; i < most; i++) {
		struct notify_message message;
		struct ucred sender;
		int result = notify_socket_receive(worker->notify_fd, &message, &sender);

		if (result == -EBADMSG)
			continue;
		if (result < 0)
			return;
		if (sender_counts(pool, worker, &sender))
			take_message(master, pool, slot, &message, now_ms);
		else
			report_refused(pool, slot, &sender);
	}
}

void program_notified(struct master *master, struct pool *pool, uint32_t slot, uint64_t now_ms)
{
	if (pool->workers[slot].notify_fd >= 0)
		hear(master, pool, slot, MESSAGES_A_TURN, now_ms);
}

bool program_speaks_up(struct master *master, struct pool *pool, const struct pool_action *action, uint64_t now_ms)
{
	const struct slot *slot = &pool->slots[action->slot];
	enum slot_state state = slot->state;

	if (action->reason != SLOT_REASON_WATCHDOG && action->reason != SLOT_REASON_START_TIMEOUT)
		return false;
	/* One that was told to end is past that. */
	if (state != SLOT_STARTING && state != SLOT_READY)
		return false;
	if (pool->workers[action->slot].notify_fd >= 0)
		hear(master, pool, action->slot, MESSAGES_LAST, now_ms);
	if (pool->workers[action->slot].config->program.ready == READY_ACK)
		ack_read_all(master, now_ms);
	return slot->state != state || !deadline_passed(slot->deadline_ms, now_ms);
}

/* ---- its end ---- */

/*
 * Graceful is what the configuration says. One that missed its watchdog is to leave a core dump, as under systemd; any
 * other that has to leave at once gets a second, which is what SIGTERM is for.
 */
int program_action_signal(const struct pool *pool, const struct pool_action *action)
{
	switch (action->what) {
	case SLOT_RETIRE:
		return (int)pool->workers[action->slot].config->program.stop_signal;
	case SLOT_QUIT:
		return action->reason == SLOT_REASON_WATCHDOG ? SIGABRT : SIGTERM;
	case SLOT_KILL:
		return SIGKILL;
	default:
		return 0;
	}
}

void program_ends(struct master *master, struct pool *pool, uint32_t slot, uint64_t now_ms)
{
	const struct worker *worker = &pool->workers[slot];

	if (worker->notify_fd >= 0)
		hear(master, pool, slot, MESSAGES_LAST, now_ms);
	if (worker->config->program.ready == READY_ACK)
		ack_read_all(master, now_ms);
	/* It is a zombie still, so the number is nobody else's. */
	kill(-worker->pid, SIGKILL);
}
