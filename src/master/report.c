/* SPDX-License-Identifier: MIT */
/* What the master says of itself: at the start, to the service manager, and of each death. */
#include <stdio.h>

#include "base/attrs.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/signals.h"
#include "build_config.h"
#include "master/master_private.h"
#include "worker/worker.h"

/* Longer lists of listeners go on in a second line: a log line has a limit (LOG_LINE_MAX). */
#define REPORT_LISTENERS_MAX 3000

static void report_listeners(const struct master *master, const char *event, const char *list)
{
	log_event(LOG_LEVEL_NOTICE, event, LOG_TEXT("config", master->config->file), LOG_INT("pid", master->pid),
		LOG_TEXT("listeners", list));
}

void report_start(const struct master *master)
{
	const char *event = "brood " BROOD_VERSION " starting";
	char list[REPORT_LISTENERS_MAX] = "";
	size_t used = 0;

	FOR_EACH_POOL (master, pool)
		for (size_t k = 0; k < pool->listeners.count; k++) {
			const struct listener *listener = pool->listeners.list[k];
			char address[ADDRESS_TEXT_MAX];
			char item[2 * ADDRESS_TEXT_MAX];
			int size = snprintf(item, sizeof(item), "%s%s %s (%s)", used > 0 ? ", " : "",
				pool->config->name, listener_text(listener, address, sizeof(address)),
				listener_origin_name(listener->origin));

			if (used + (size_t)size >= sizeof(list)) {
				report_listeners(master, event, list);
				event = "also listening";
				used = 0;
				list[0] = '\0';
			}
			used += (size_t)snprintf(list + used, sizeof(list) - used, "%s", item);
		}
	report_listeners(master, event, list);
}

void report_ready(struct master *master)
{
	log_event(LOG_LEVEL_NOTICE, "ready", LOG_INT("pools", (int64_t)master->pool_count),
		LOG_INT("workers", pools_living(master)));
	notify_ready(&master->notify);
	if (master->options->report_ready != NULL)
		master->options->report_ready();
}

void report_start_failed(const struct master *master)
{
	FOR_EACH_POOL (master, pool)
		if (pool_policy_start_failed(&pool->policy))
			log_event(LOG_LEVEL_ERROR, "cannot start the pool, and ends",
				LOG_TEXT("pool", pool->config->name), LOG_INT("failures", pool->policy.backoff.level),
				LOG_TEXT("last", pool->failures.last));
}

void report_reload(struct master *master, bool good, const char *text)
{
	struct master_reload *reload = &master->reload;

	snprintf(reload->last, sizeof(reload->last), "%s", good ? "" : text);
	/* Told at once: systemctl(1) shows the last status. */
	master->notify.status_ms = 0;
}

/* Of the first pool that fails: whoever wants more asks broodctl. */
static void add_failures(const struct master *master, char *text, size_t size)
{
	char failures[256];

	FOR_EACH_POOL (master, pool)
		if (pool->failures.degraded) {
			snprintf(text, size, "; %s: %s", pool->config->name,
				degraded_text(pool, failures, sizeof(failures)));
			return;
		}
}

void report_status(struct master *master, uint64_t now_ms)
{
	char text[sizeof(master->notify.status)];
	size_t used;

	if (!notify_wants_status(&master->notify, now_ms))
		return;
	used = (size_t)snprintf(text, sizeof(text), "%s:", lifecycle_phase_name(master->phase));
	FOR_EACH_POOL (master, pool) {
		const char *comma = text[used - 1] == ':' ? "" : ",";

		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s %s %u/%u%s", comma, pool->config->name,
			pool->policy.count[SLOT_READY], pool->policy.target,
			pool->failures.degraded ? " (degraded)" : "");
		if (used >= sizeof(text))
			break;
	}
	if (master->reload.last[0] != '\0' && used < sizeof(text))
		used += (size_t)snprintf(
			text + used, sizeof(text) - used, "; reload refused: %.200s", master->reload.last);
	if (used < sizeof(text))
		add_failures(master, text + used, sizeof(text) - used);
	notify_status(&master->notify, text);
}

/*
 * "exit status 71 (it could not be set up)", "signal 11 (SIGSEGV, core dumped)". What a handler exits with while it
 * serves is its own, and has no meaning here.
 */
const char *report_how(const struct death *death, bool before_ready, char *buffer, size_t size)
{
	const char *meaning = before_ready || death->not_executed ? worker_exit_text(death->code) : NULL;

	if (death->by_signal)
		snprintf(buffer, size, "signal %d (%s%s)", death->code, signals_name(death->code),
			death->dumped_core ? ", core dumped" : "");
	else if (meaning != NULL)
		snprintf(buffer, size, "exit status %d (%s)", death->code, meaning);
	else
		snprintf(buffer, size, "exit status %d", death->code);
	return buffer;
}

void report_logger_death(const struct logger_process *logger, const struct death *death, uint64_t now_ms)
{
	char how[80], next[64];

	snprintf(next, sizeof(next), "retry in %llu ms", (unsigned long long)(logger->backoff.until_ms - now_ms));
	log_event(LOG_LEVEL_ERROR, "logger died, and is started again", LOG_INT("pid", logger->pid),
		LOG_TEXT("how", report_how(death, false, how, sizeof(how))),
		LOG_INT("age_ms", (int64_t)(now_ms - logger->started_ms)), LOG_TEXT("next", next));
}

/* Whether the place of a worker was given to another as soon as it was told to end, and not at its death. */
static bool is_replaced_before(const struct pool *pool, const struct death_verdict *verdict)
{
	return pool->policy.phase == POOL_SERVING && verdict->sequel == DEATH_NOT_REPLACED &&
	       (verdict->reason == SLOT_REASON_REQUEST_TIMEOUT || verdict->reason == SLOT_REASON_WATCHDOG ||
		       verdict->reason == SLOT_REASON_ITSELF || slot_reason_is_recycling(verdict->reason));
}

/* What follows: "replaced", "replaced before", "not replaced", "retry in 400 ms". */
static const char *what_follows(const struct pool *pool, const struct death_verdict *verdict, char *buffer, size_t size)
{
	if (is_replaced_before(pool, verdict))
		snprintf(buffer, size, "replaced before");
	else if (verdict->sequel == DEATH_BACKING_OFF && verdict->retry_ms > 0)
		snprintf(buffer, size, "retry in %llu ms", (unsigned long long)verdict->retry_ms);
	else
		snprintf(buffer, size, "%s", death_sequel_name(verdict->sequel));
	return buffer;
}

const char *report_peer(const struct board_slot *slot, char *buffer, size_t size)
{
	struct sockaddr_storage peer;
	socklen_t peer_size = board_slot_peer(slot, &peer);

	if (peer_size == 0)
		snprintf(buffer, size, "none");
	else
		address_format((const struct sockaddr *)&peer, peer_size, true, buffer, size);
	return buffer;
}

/* Whom the worker was serving when it died; "none". */
static const char *whom_served(const struct board_slot *slot, const struct death *death, char *buffer, size_t size)
{
	return death->serving ? report_peer(slot, buffer, size) : "none";
}

static enum log_level death_level(const struct death_verdict *verdict)
{
	switch (verdict->kind) {
	case DEATH_RETIRED:
		return verdict->reason == SLOT_REASON_REQUEST_TIMEOUT ? LOG_LEVEL_NOTICE : LOG_LEVEL_DEBUG;
	case DEATH_RECYCLED:
		if (verdict->reason == SLOT_REASON_RECYCLE_REQUESTS || verdict->reason == SLOT_REASON_RECYCLE_AGE)
			return LOG_LEVEL_DEBUG;
		return verdict->failure ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO;
	default:
		return verdict->before_ready ? LOG_LEVEL_ERROR : LOG_LEVEL_WARNING;
	}
}

/* For how long the worker has done what it does: the request, or the connection. */
static int64_t doing_ms(const struct board_slot *slot)
{
	return (int64_t)(clock_monotonic_us() - atomic_load_explicit(&slot->changed_us, memory_order_relaxed)) / 1000;
}

void report_overrun(const struct master *master, const struct pool *pool, const struct pool_action *action, int number)
{
	const struct board_slot *board_slot = pool_board_slot(master, pool, action->slot);
	bool back = action->what == SLOT_RETIRE;
	char peer[ADDRESS_TEXT_MAX];
	struct log_field fields[] = {
		LOG_TEXT("pool", pool->config->name),
		LOG_INT("slot", action->slot),
		LOG_INT("pid", pool->workers[action->slot].pid),
		LOG_TEXT("signal", signals_name(number)),
		LOG_TEXT("serving", report_peer(board_slot, peer, sizeof(peer))),
		LOG_INT("elapsed_ms", doing_ms(board_slot)),
		{ .name = NULL },
	};

	/* What it does by now is something else. */
	if (back)
		fields[4].name = NULL;
	log_write(back ? LOG_LEVEL_NOTICE : LOG_LEVEL_WARNING,
		back ? "an overrun request has ended, and its worker leaves" : "a request is over request_timeout",
		fields);
}

/* ---- the lines that every connection of an inetd pool has ---- */

void report_taken(const struct master *master, const struct pool *pool, uint32_t slot)
{
	const struct board_slot *board_slot = pool_board_slot(master, pool, slot);
	char peer[ADDRESS_TEXT_MAX];

	log_event(LOG_LEVEL_INFO, "START", LOG_TEXT("pool", pool->config->name), LOG_INT("slot", slot),
		LOG_INT("pid", pool->workers[slot].pid), LOG_TEXT("peer", report_peer(board_slot, peer, sizeof(peer))));
}

/* It has come to nothing: the worker could not become the program. */
static void report_fail(const struct pool *pool, uint32_t slot, const struct board_slot *board_slot)
{
	int error = (int)atomic_load_explicit(&board_slot->error, memory_order_relaxed);
	char peer[ADDRESS_TEXT_MAX];

	log_event(LOG_LEVEL_ERROR, "FAIL", LOG_TEXT("pool", pool->config->name), LOG_INT("slot", slot),
		LOG_INT("pid", pool->workers[slot].pid), LOG_TEXT("peer", report_peer(board_slot, peer, sizeof(peer))),
		LOG_TEXT("program", pool->workers[slot].config->program.path), LOG_ERRNO("reason", error));
}

/* The program that served it has ended. */
static void report_exit(const struct pool *pool, uint32_t slot, const struct board_slot *board_slot,
	const struct death *death, const struct death_verdict *verdict)
{
	char peer[ADDRESS_TEXT_MAX];
	struct log_field fields[] = {
		LOG_TEXT("pool", pool->config->name),
		LOG_INT("slot", slot),
		LOG_INT("pid", pool->workers[slot].pid),
		LOG_TEXT("peer", whom_served(board_slot, death, peer, sizeof(peer))),
		death->by_signal ? LOG_TEXT("signal", signals_name(death->code)) : LOG_INT("status", death->code),
		LOG_INT("duration_ms", doing_ms(board_slot)),
		LOG_TEXT("reason", slot_reason_name(verdict->reason)),
		{ .name = NULL },
	};

	/* The master had no part in the end of most. */
	if (verdict->reason == SLOT_REASON_NONE)
		fields[6].name = NULL;
	log_write(death->by_signal ? LOG_LEVEL_NOTICE : LOG_LEVEL_INFO, "EXIT", fields);
}

/* What a program has said of itself last, where it says such things. */
static void report_last_words(const struct pool *pool, uint32_t slot, const struct board_slot *board_slot)
{
	const struct worker *worker = &pool->workers[slot];
	char status[BOARD_STATUS_MAX];

	board_slot_status(board_slot, status);
	if (status[0] != '\0' || worker->error != 0)
		log_event(LOG_LEVEL_INFO, "last words of a program", LOG_TEXT("pool", pool->config->name),
			LOG_INT("slot", slot), LOG_INT("pid", worker->pid), LOG_TEXT("status", status),
			LOG_INT("errno", worker->error));
}

/* What the worker has served, by the scoreboard: which a program that accepts for itself knows nothing of. */
static void report_served(const struct board_slot *board_slot, const struct death *death, char *peer, size_t peer_size,
	struct log_field *ret_fields)
{
	uint64_t connections = atomic_load_explicit(&board_slot->connections, memory_order_relaxed);
	uint64_t requests = atomic_load_explicit(&board_slot->requests, memory_order_relaxed);

	ret_fields[0] = LOG_INT("connections", (int64_t)connections);
	ret_fields[1] = LOG_INT("requests", (int64_t)requests);
	ret_fields[2] = LOG_TEXT("serving", whom_served(board_slot, death, peer, peer_size));
	if (death->serving)
		ret_fields[3] = LOG_INT("elapsed_ms", doing_ms(board_slot));
}

/* As everybody else's clock has it: the master's stands still in gaps. One that was never born has no other. */
static int64_t age_ms(const struct board_slot *board_slot, const struct death_verdict *verdict)
{
	uint64_t born_us = atomic_load_explicit(&board_slot->born_us, memory_order_relaxed);

	return born_us == 0 ? (int64_t)verdict->age_ms : (int64_t)(clock_monotonic_us() - born_us) / 1000;
}

static void report_worker_death(struct master *master, const struct pool *pool, uint32_t slot,
	const struct death *death, const struct death_verdict *verdict)
{
	const struct worker *worker = &pool->workers[slot];
	char how[80], next[64], peer[ADDRESS_TEXT_MAX];
	struct log_field fields[] = {
		LOG_TEXT("pool", pool->config->name),
		LOG_INT("slot", slot),
		LOG_INT("pid", worker->pid),
		LOG_TEXT("kind", death_kind_name(verdict->kind)),
		LOG_TEXT("how", report_how(death, verdict->before_ready, how, sizeof(how))),
		LOG_TEXT("reason", slot_reason_name(verdict->reason)),
		LOG_TEXT("when", verdict->before_ready ? "before ready" : "after ready"),
		LOG_INT("age_ms", age_ms(pool_board_slot(master, pool, slot), verdict)),
		LOG_TEXT("next", what_follows(pool, verdict, next, sizeof(next))),
		{ .name = NULL }, /* what it has served, of a module its name, and the limit that it had reached */
		{ .name = NULL },
		{ .name = NULL },
		{ .name = NULL },
		{ .name = NULL },
		{ .name = NULL },
		{ .name = NULL },
	};
	struct log_field *more = &fields[ARRAY_SIZE(fields) - 7];

	if (!worker_is_program(pool, slot)) {
		report_served(pool_board_slot(master, pool, slot), death, peer, sizeof(peer), more);
		more += death->serving ? 4 : 3;
		if (worker->config->kind == HANDLER_LOADS)
			*more++ = LOG_TEXT("module", worker->config->module);
	}
	*more = recycle_field(pool, slot);
	log_write(death_level(verdict), "worker died", fields);
}

void report_death(struct master *master, const struct pool *pool, uint32_t slot, const struct death *death,
	const struct death_verdict *verdict)
{
	const struct board_slot *board_slot = pool_board_slot(master, pool, slot);

	if (death->not_executed)
		report_fail(pool, slot, board_slot);
	if (board_slot_state(board_slot) == BOARD_RUNNING)
		report_exit(pool, slot, board_slot, death, verdict);
	else
		report_worker_death(master, pool, slot, death, verdict);
	if (worker_is_program(pool, slot) && verdict->kind != DEATH_RETIRED)
		report_last_words(pool, slot, board_slot);
}
