/* SPDX-License-Identifier: MIT */
#include "worker/worker.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/title.h"
#include "worker/connection.h"
#include "worker/crash.h"
#include "worker/gate.h"
#include "worker/setup.h"
#include "worker/signals.h"

/* How many connections a retiring worker takes off non-blocking listeners: see gate_accept_last(). */
#define LAST_CONNECTIONS_MAX 16

const char *worker_exit_text(int status)
{
	switch (status) {
	case WORKER_EXIT_LISTENER:
		return "its listener is none any more";
	case WORKER_EXIT_START:
		return "its handler did not start";
	case WORKER_EXIT_SETUP:
		return "it could not be set up";
	case WORKER_EXIT_EXEC:
		return "its program could not be executed";
	case WORKER_EXIT_LIMITS:
		return "its limits could not be set";
	case WORKER_EXIT_PLACE:
		return "it could not enter its root or its directory";
	case WORKER_EXIT_PRIVILEGES:
		return "it could not change its user or groups";
	default:
		return NULL;
	}
}

static int setup_failed(const struct worker_start *start, enum worker_exit status, const char *event, int error)
{
	log_event(LOG_LEVEL_ERROR, event, LOG_TEXT("pool", start->pool->name), LOG_INT("slot", start->number),
		LOG_ERRNO("reason", error));
	return status;
}

ATTR_NORETURN static void worker_fail(
	const struct worker_start *start, enum worker_exit status, const char *event, int error)
{
	_exit(setup_failed(start, status, event, error));
}

static int worker_limit(const struct worker_start *start)
{
	const char *failed;
	int result = worker_setup_limits(start->pool, &failed);

	if (result == 0)
		return 0;
	log_event(LOG_LEVEL_ERROR, "cannot set a limit", LOG_TEXT("pool", start->pool->name),
		LOG_INT("slot", start->number), LOG_TEXT("limit", failed), LOG_ERRNO("reason", result));
	return WORKER_EXIT_LIMITS;
}

int worker_setup(const struct worker_start *start)
{
	int result;

	worker_setup_group(start);
	result = worker_setup_descriptors(start);
	if (result < 0)
		return setup_failed(start, WORKER_EXIT_SETUP, "cannot close descriptors", result);
	worker_setup_inherited(start);
	result = worker_limit(start);
	if (result != 0)
		return result;
	result = worker_setup_root(start->pool);
	if (result < 0)
		return setup_failed(start, WORKER_EXIT_PLACE, "cannot enter the chroot", result);
	result = worker_setup_identity(&start->pool->identity);
	if (result < 0)
		return setup_failed(start, WORKER_EXIT_PRIVILEGES, "cannot change user or groups", result);
	result = worker_setup_directory(start->pool);
	if (result < 0)
		return setup_failed(start, WORKER_EXIT_PLACE, "cannot enter the directory", result);
	umask(start->pool->umask);
	result = worker_setup_death_signal(start);
	if (result == -ESRCH)
		_exit(WORKER_EXIT_RETIRED);
	if (result < 0)
		return setup_failed(start, WORKER_EXIT_SETUP, "cannot set the death signal", result);
	title_set(start->title);
	return 0;
}

/* What the handler is given; it may keep it, and so it lives as long as the worker. */
static struct brood_start handler_arguments;
static struct brood_host handler_host;

/* The handler's text is a line of its own wording; a priority beyond those of the contract is the nearest of them. */
static void worker_log(int priority, const char *text)
{
	enum log_level level = LOG_LEVEL_DEBUG;

	if (priority < LOG_LEVEL_ERROR)
		level = LOG_LEVEL_ERROR;
	else if (priority < LOG_LEVEL_DEBUG)
		level = (enum log_level)priority;
	log_event(level, text, LOG_TEXT("pool", handler_arguments.pool));
}

static void worker_access_log(unsigned int handle, const char *line, size_t size)
{
	if (handle != 0)
		log_access(handle, line, (uint32_t)size);
}

static void wake_master(const struct brood_host *host)
{
	eventfd_write(host->wake_fd, 1);
}

static void *handler_start(const struct worker_start *start)
{
	const struct brood_module *handler = start->pool->handler;
	void *state = NULL;
	int result = 0;

	handler_host = (struct brood_host){
		.pool = start->pool,
		.board = start->board,
		.slot = start->slot,
		.number = start->number,
		.master_pid = start->master_pid,
		.output = start->output,
		.null_fd = start->dead_fd,
		.listeners = start->listeners,
		.listener_keys = start->listener_keys,
		.listener_names = start->listener_names,
		.listener_count = start->listener_count,
		.spawn_count = start->spawn_count,
		.notify_path = start->notify_path,
		.ack_path = start->ack_path,
		.wake_master = wake_master,
		.wake_fd = start->wake_fd,
	};
	handler_arguments = (struct brood_start){
		.host = &handler_host,
		.pool = start->pool->name,
		.values = start->pool->values,
		.log = worker_log,
		.access_log = worker_access_log,
	};
	if (handler->start != NULL)
		result = handler->start(&handler_arguments, &state);
	if (result < 0)
		worker_fail(start, WORKER_EXIT_START, "handler did not start", result);
	return state;
}

/* Tells the master. */
static void worker_ready(const struct worker_start *start)
{
	board_worker_state(start->slot, BOARD_IDLE, clock_monotonic_us());
	eventfd_write(start->wake_fd, 1);
}

static void worker_loop(const struct worker_start *start, struct gate *gate, void *state)
{
	struct sockaddr_storage *peer = connection_peer();
	socklen_t *peer_size = connection_peer_size();
	uint32_t listener;

	board_spare_enter(start->on_board, start->slot);
	while (!worker_retiring()) {
		int fd = gate_accept(gate, peer, peer_size, &listener);

		if (LIKELY(fd >= 0))
			connection_serve(fd, listener, state);
	}
	for (int i = 0; i < LAST_CONNECTIONS_MAX; i++) {
		int fd = gate_accept_last(gate, peer, peer_size, &listener);

		if (fd < 0)
			break;
		connection_serve(fd, listener, state);
	}
	/* Whoever has told it to leave knows that one is missing. */
	board_spare_forget(start->on_board, start->slot);
}

/*
 * A program knows neither our scoreboard nor our signals: they stay blocked until its own dispositions are set, so that
 * one that comes in between reaches the program, and not a handler of ours that it replaces.
 */
ATTR_NORETURN static void become_program(const struct worker_start *start)
{
	handler_start(start);
	_exit(WORKER_EXIT_START);
}

/* Before the set-up, which may take away the files that it needs. */
static void prepare_for_crash(const struct worker_start *start, const void *caller)
{
	int result = crash_install(start->pool->name, start->pool->module, caller);

	if (result < 0)
		worker_fail(start, WORKER_EXIT_SETUP, "cannot prepare for a crash", result);
}

void worker_main(const struct worker_start *start)
{
	const struct brood_module *handler = start->pool->handler;
	struct gate gate;
	void *state;
	int result;

	if (start->pool->kind == HANDLER_LOADS)
		prepare_for_crash(start, __builtin_return_address(0));
	result = worker_setup(start);
	if (result != 0)
		_exit(result);
	if (start->pool->kind == HANDLER_ACCEPTS)
		become_program(start);
	result = gate_open(&gate, start->pool->name, start->listeners, start->listener_count);
	if (result == 0)
		result = worker_signals_install(start);
	if (result < 0)
		worker_fail(start, WORKER_EXIT_SETUP, "cannot set up accepting", result);
	worker_signals_open(gate.fd);
	connection_init(start);
	state = handler_start(start);
	worker_ready(start);
	/* One that is retired before it was let go has waited for no connection, and looks for none: its listeners may
	 * be prepared for others. */
	if (start->hold_fd < 0 || worker_wait_for(start->hold_fd))
		worker_loop(start, &gate, state);
	board_worker_state(start->slot, BOARD_LEAVING, clock_monotonic_us());
	if (handler->stop != NULL)
		handler->stop(state);
	_exit(WORKER_EXIT_RETIRED);
}
