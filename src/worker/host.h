/* SPDX-License-Identifier: MIT */
#ifndef WORKER_HOST_H
#define WORKER_HOST_H
/*
 * What the daemon gives to those of its own handlers that leave brood's loop: inetd and program, whose worker becomes
 * another program, and module, which loads foreign code. It reaches them by `host` of struct brood_start, lives as long
 * as the worker, and is read by handlers only. Whoever becomes a program does so with the calls of worker/exec.h.
 */
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "board/board.h"
#include "config/config.h"

/* The output of a program: writing ends of pipes whose lines the master logs; -1: none. Close-on-exec. */
struct host_output {
	int stdout_fd;
	int stderr_fd;
};

struct brood_host {
	const struct pool_config *pool;
	const struct board *board; /* of all pools: for the count of connections of one source */
	struct board_slot *slot;   /* the worker's own */
	uint32_t number;           /* of the worker in its pool */
	pid_t master_pid;

	struct host_output output;
	int null_fd; /* /dev/null, for reading and writing: within a chroot there may be none */

	/* For a program: the listeners it inherits, as they were written in `listen`, and how often the pool has
	 * started a worker, failures included, this time counted. */
	const int *listeners;
	const char *const *listener_keys;  /* "8000", "127.0.0.1:8000", "/path": SERVER_STARTER_PORT's */
	const char *const *listener_names; /* LISTEN_FDNAMES */
	size_t listener_count;
	uint64_t spawn_count;
	const char *notify_path; /* "@..." or an absolute path: NOTIFY_SOCKET; NULL: none */
	const char *ack_path;    /* EINHORN_SOCK_PATH; NULL: none */

	/* Tells the master that the scoreboard's slot has changed. */
	void (*wake_master)(const struct brood_host *host);
	int wake_fd;
};

#endif
