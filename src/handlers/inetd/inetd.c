/* SPDX-License-Identifier: MIT */
/*
 * inetd: a worker accepts, and becomes the program that serves the connection. What can be paid for before the client
 * comes has been: here, and in the worker's set-up.
 */
#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "build_config.h"
#include "handlers/handlers.h"
#include "handlers/inetd/source.h"
#include "handlers/inetd/variables.h"
#include "net/address.h"
#include "worker/exec.h"
#include "worker/host.h"

/* One a process. */
static struct {
	const struct brood_host *host;
	struct variables variables;
} inetd;

/* ---- before the connection ---- */

static int standard_error(const struct brood_host *host)
{
	switch (host->pool->program.stderr_target) {
	case STDERR_LOG:
		return host->output.stderr_fd;
	case STDERR_NULL:
		return host->null_fd;
	default: /* the connection, once there is one */
		return -1;
	}
}

static int inetd_start(const struct brood_start *start, void **ret_state)
{
	const struct brood_host *host = start->host;
	const struct program_config *program = &host->pool->program;
	int result = variables_init(&inetd.variables, program->environment, program->environment_count);

	inetd.host = host;
	if (result == 0)
		result = exec_standard(-1, -1, standard_error(host));
	if (result < 0)
		log_event(LOG_LEVEL_ERROR, "cannot prepare the program", LOG_TEXT("pool", start->pool),
			LOG_ERRNO("reason", result));
	*ret_state = &inetd;
	return result;
}

/* ---- the connection ---- */

static int set_variables(const struct brood_stream *stream, const struct sockaddr *peer, socklen_t peer_size)
{
	struct sockaddr_storage local;
	socklen_t size = sizeof(struct ucred);
	struct ucred credentials;
	int result;

	if (peer->sa_family == AF_UNIX) {
		if (getsockopt(brood_descriptor(stream), SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0)
			return -errno;
		variables_set_unix(&inetd.variables, peer, peer_size, &credentials);
		return 0;
	}
	result = brood_local(stream, &local, &size);
	if (result == 0)
		variables_set_tcp(&inetd.variables, (const struct sockaddr *)&local, size, peer, peer_size,
			source_count(inetd.host->board, inetd.host->slot, peer, peer_size));
	return result;
}

/* Returns only if it fails, with the reason. */
static int become_program(const struct brood_stream *stream)
{
	const struct program_config *program = &inetd.host->pool->program;
	int fd = brood_descriptor(stream);
	int result = exec_standard(fd, fd, program->stderr_target == STDERR_CONNECTION ? fd : -1);

	if (result < 0)
		return result;
	/* The master's death is nothing to the program, which may use that signal otherwise. */
	prctl(PR_SET_PDEATHSIG, 0);
	return exec_program(program, &inetd.variables.env);
}

static int inetd_serve(void *state, struct brood_stream *stream)
{
	const struct brood_host *host = inetd.host;
	socklen_t peer_size;
	const struct sockaddr *peer = brood_peer(stream, &peer_size);
	int result;

	(void)state;
	/* First, so that the master makes the replacement, and logs the connection, meanwhile. */
	board_worker_state(host->slot, BOARD_RUNNING, clock_monotonic_us());
	host->wake_master(host);
	result = set_variables(stream, peer, peer_size);
	if (result == 0)
		result = become_program(stream);
	board_worker_failed(host->slot, result, clock_monotonic_us());
	return result;
}

const struct brood_module handler_inetd = {
	.abi = BROOD_MODULE_ABI,
	.size = sizeof(struct brood_module),
	.name = "inetd",
	.version = BROOD_VERSION,
	.start = inetd_start,
	.serve = inetd_serve,
};
