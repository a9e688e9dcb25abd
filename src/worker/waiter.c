/* SPDX-License-Identifier: MIT */
#include "worker/waiter.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/signals.h"
#include "worker/areas.h"
#include "worker/exec.h"
#include "worker/nursery.h"
#include "worker/setup.h"
#include "worker/source.h"

/* How long a client whose program could not be executed is listened to, so that he reads the end, and no reset. */
#define LAST_READ_MS 2000

struct waiter *waiter_here(void)
{
	return areas_here(sizeof(struct waiter));
}

/* ---- before the connection ---- */

ATTR_NORETURN static void waiter_fail(
	const struct waiter *waiter, enum worker_exit status, const char *event, int error)
{
	log_event(LOG_LEVEL_ERROR, event, LOG_TEXT("pool", waiter->start->pool->name), LOG_INT("slot", waiter->number),
		LOG_ERRNO("reason", error));
	_exit(status);
}

/* First of all: from here on the master knows of it, and its death tells what has failed. */
static void waiter_announce(const struct waiter *waiter)
{
	const struct nursery_answer born = { .number = waiter->number, .serial = waiter->serial };

	if (prctl(PR_SET_PDEATHSIG, SIGURG) < 0 || getppid() != waiter->start->master_pid)
		_exit(WORKER_EXIT_RETIRED);
	if (send(waiter->start->nursery_fd, &born, sizeof(born), MSG_NOSIGNAL) < 0)
		_exit(WORKER_EXIT_RETIRED);
}

static int set_standard_error(int fd)
{
	int result = fd < 0 ? 0 : exec_standard(-1, -1, fd);

	/* Every number counts, where the pool has a low limit of them. */
	if (fd > STDERR_FILENO)
		close(fd);
	return result;
}

/* The nursery is there already; but what has been put in its place since then is meant. */
static int enter_directory(const struct pool_config *pool)
{
	return strcmp(pool->program.directory, "/") == 0 ? 0 : worker_setup_directory(pool);
}

/* What is not the nursery's already. */
static void waiter_setup(struct waiter *waiter)
{
	const struct worker_start *start = waiter->start;
	int result;

	worker_setup_group(start);
	result = worker_setup_time(start->pool);
	if (result < 0)
		waiter_fail(waiter, WORKER_EXIT_LIMITS, "cannot set a limit", result);
	result = enter_directory(start->pool);
	if (result < 0)
		waiter_fail(waiter, WORKER_EXIT_PLACE, "cannot enter the directory", result);
	result = set_standard_error(waiter->stderr_fd);
	if (result < 0)
		waiter_fail(waiter, WORKER_EXIT_START, "cannot prepare the program", result);
	result = gate_open(&waiter->gate, start->pool->name, start->listeners, start->listener_count);
	if (result < 0)
		waiter_fail(waiter, WORKER_EXIT_SETUP, "cannot set up accepting", result);
	worker_signals_open(waiter->gate.fd);
}

/* A connection, or -ECANCELED: it is to retire, and there is none left for it. */
static int waiter_accept(
	struct waiter *waiter, struct sockaddr_storage *ret_peer, socklen_t *ret_peer_size, uint32_t *ret_listener)
{
	while (!worker_retiring()) {
		int fd = gate_accept(&waiter->gate, ret_peer, ret_peer_size, ret_listener);

		if (fd >= 0)
			return fd;
	}
	return gate_accept_last(&waiter->gate, ret_peer, ret_peer_size, ret_listener);
}

/* ---- the connection ---- */

static int set_variables(struct waiter *waiter, int fd, const struct sockaddr *peer, socklen_t peer_size)
{
	struct sockaddr_storage local;
	socklen_t size = sizeof(local);
	struct ucred credentials;

	if (peer->sa_family == AF_UNIX) {
		size = sizeof(credentials);
		if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0)
			return -errno;
		variables_set_unix(&waiter->variables, peer, peer_size, &credentials);
		return 0;
	}
	if (getsockname(fd, (struct sockaddr *)&local, &size) < 0)
		return -errno;
	variables_set_tcp(&waiter->variables, (const struct sockaddr *)&local, size, peer, peer_size,
		source_count(waiter->start->board, waiter->slot, peer, peer_size));
	return 0;
}

/* Returns only if it fails, with the reason. */
static int become_program(struct waiter *waiter, int fd)
{
	const struct program_config *program = &waiter->start->pool->program;
	int result = exec_standard(fd, fd, program->stderr_target == STDERR_CONNECTION ? fd : -1);

	if (result < 0)
		return result;
	/* The master's death is nothing to the program, which may use that signal otherwise. */
	prctl(PR_SET_PDEATHSIG, 0);
	return exec_program(program, &waiter->variables.env);
}

/* Says that nothing comes, and reads what the client has sent: to close before that would be a reset. */
static void close_in_order(int fd)
{
	uint64_t end_ms = clock_monotonic_ms() + LAST_READ_MS;
	char scratch[4096];

	signals_block();
	if (shutdown(fd, SHUT_WR) < 0 || fd_set_timeout(fd, SO_RCVTIMEO, LAST_READ_MS) < 0)
		return;
	while (clock_monotonic_ms() < end_ms && read(fd, scratch, sizeof(scratch)) > 0)
		;
}

ATTR_NORETURN static void waiter_serve(struct waiter *waiter, int fd, const struct sockaddr *peer, socklen_t peer_size)
{
	int result;

	/* First, so that the master makes the replacement, and logs the connection, meanwhile. */
	board_worker_state(waiter->slot, BOARD_RUNNING, clock_monotonic_us());
	eventfd_write(waiter->start->wake_fd, 1);
	result = set_variables(waiter, fd, peer, peer_size);
	if (result == 0)
		result = become_program(waiter, fd);
	board_worker_failed(waiter->slot, result, clock_monotonic_us());
	close_in_order(fd);
	_exit(WORKER_EXIT_EXEC);
}

/* ---- its life ---- */

void waiter_main(struct waiter *waiter)
{
	struct sockaddr_storage peer;
	socklen_t peer_size;
	uint32_t listener;
	int fd = -1;

	/* Before all that it could wait for: whatever sleeps under the nursery's name is the nursery. */
	prctl(PR_SET_NAME, waiter->start->title);
	waiter_announce(waiter);
	waiter_setup(waiter);
	board_worker_state(waiter->slot, BOARD_IDLE, clock_monotonic_us());
	if (!waiter->quiet)
		eventfd_write(waiter->start->wake_fd, 1);
	/* As in worker.c: one that is retired before it was let go looks for no connection. */
	if (!waiter->held || worker_wait_for(waiter->start->hold_fd))
		fd = waiter_accept(waiter, &peer, &peer_size, &listener);
	if (fd >= 0) {
		board_worker_accepted(
			waiter->slot, listener, (const struct sockaddr *)&peer, peer_size, clock_monotonic_us());
		waiter_serve(waiter, fd, (const struct sockaddr *)&peer, peer_size);
	}
	board_worker_state(waiter->slot, BOARD_LEAVING, clock_monotonic_us());
	_exit(WORKER_EXIT_RETIRED);
}
