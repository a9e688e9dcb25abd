/* SPDX-License-Identifier: MIT */
/*
 * The handler `program`: the worker becomes a program that accepts for itself on the listeners it inherits. start()
 * does it, with all signals blocked, and returns only where it fails.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/log.h"
#include "build_config.h"
#include "handlers/handlers.h"
#include "handlers/program/environment.h"

/* ---- descriptors ---- */

static int set_standard(const struct brood_host *host)
{
	bool takes_listener = host->pool->program.stdin_source == STDIN_LISTENER;
	int out = host->output.stdout_fd, err = host->output.stderr_fd;

	return exec_standard(takes_listener ? host->listeners[0] : host->null_fd, out >= 0 ? out : host->null_fd,
		err >= 0 ? err : host->null_fd);
}

/* Copies of the listeners above all numbers that they are to have. */
static int lift(const struct brood_host *host, int *lifted)
{
	for (size_t i = 0; i < host->listener_count; i++) {
		lifted[i] = fcntl(host->listeners[i], F_DUPFD_CLOEXEC, PROGRAM_FREE_FD(host->listener_count));
		if (lifted[i] < 0)
			return -errno;
	}
	return 0;
}

/* What stands at those numbers is overwritten: it was to be closed by execve(2) anyway. */
static int place(const int *lifted, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (dup2(lifted[i], PROGRAM_SYSTEMD_FD + (int)i) < 0 ||
			dup2(lifted[i], PROGRAM_STARTER_FD(count) + (int)i) < 0 ||
			dup2(lifted[i], PROGRAM_EINHORN_FD(count) + (int)i) < 0)
			return -errno;
	return 0;
}

static int place_listeners(const struct brood_host *host)
{
	int *lifted = calloc(host->listener_count, sizeof(*lifted));
	int result;

	if (lifted == NULL)
		return -ENOMEM;
	/* Failures are still to be told. */
	log_socket_move(PROGRAM_FREE_FD(host->listener_count));
	result = lift(host, lifted);
	if (result == 0)
		result = place(lifted, host->listener_count);
	free(lifted);
	return result;
}

/* ---- becoming it ---- */

/* Where the master dies, the program is to finish and leave, which it does at no other signal. */
static int set_death_signal(const struct brood_host *host)
{
	if (prctl(PR_SET_PDEATHSIG, host->pool->program.stop_signal) < 0)
		return -errno;
	return getppid() == host->master_pid ? 0 : -ESRCH;
}

static int fail(const struct brood_start *start, const char *what, int error)
{
	char text[512];

	snprintf(text, sizeof(text), "program %s: %s: %s", start->host->pool->program.path, what, log_strerror(error));
	start->log(LOG_LEVEL_ERROR, text);
	return error;
}

static int program_start(const struct brood_start *start, void **ret_state)
{
	const struct brood_host *host = start->host;
	struct exec_env env;
	int result = set_death_signal(host);

	(void)ret_state;
	if (result == -ESRCH)
		_exit(0);
	if (result < 0)
		return fail(start, "cannot set the death signal", result);
	/* Before the listeners move: it asks them for their family. */
	exec_env_init(&env);
	program_environment(host, getpid(), &env);
	result = set_standard(host);
	if (result == 0)
		result = place_listeners(host);
	if (result < 0)
		return fail(start, "cannot set up its descriptors", result);
	exec_reset_signals();
	return fail(start, "cannot be executed", exec_program(&host->pool->program, &env));
}

const struct brood_module handler_program = {
	.abi = BROOD_MODULE_ABI,
	.size = sizeof(struct brood_module),
	.name = "program",
	.version = BROOD_VERSION,
	.start = program_start,
};
