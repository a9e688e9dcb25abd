/* SPDX-License-Identifier: MIT */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H
/*
 * The life of a worker process, from the return of fork() to _exit(): set-up (worker/setup.h), the accept loop, the
 * life of each connection. It gets everything from the master by `struct worker_start` and knows nothing of it besides.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attrs.h"
#include "board/board.h"
#include "config/config.h"
#include "worker/host.h"

struct worker_start {
	const struct pool_config *pool;
	const int *listeners; /* descriptors; non-blocking if there are several */
	size_t listener_count;
	struct board_slot *slot;
	struct board_pool *on_board; /* what the pool's workers share there */
	int wake_fd; /* an eventfd: wakes the master once the worker is ready, or too few others are left to wait */
	int hold_fd; /* becomes readable once the worker may accept: the canary of a reload waits for it; -1: at once */
	int dead_fd; /* /dev/null, on which accept4() and epoll_wait() fail: see worker/signals.h */
	const char *title;
	pid_t master_pid;
	uint32_t number;                  /* of the worker in its pool */
	const struct board *board;        /* of all pools */
	uint64_t spawn_count;             /* how often the pool has started a worker, this time counted */
	uint64_t max_requests;            /* with so many served it wakes the master, and serves on; 0: it does not */
	int nursery_fd;                   /* of a nursery: its socket (worker/nursery.h); else -1 */
	struct host_output output;        /* where the program's output goes: worker/host.h */
	const char *const *listener_keys; /* of a program: worker/host.h */
	const char *const *listener_names;
	const char *notify_path;
	const char *ack_path;
	bool has_terminal;         /* the master has a controlling terminal, which no foreign code may have */
	uint64_t soft_descriptors; /* RLIMIT_NOFILE's soft limit for the worker; 0: as it is */
	bool reset_oom_score;      /* the master's own is below 0 */
};

/* How a worker ends by itself. Exit statuses of its own choice; the master tells the operator what they mean. */
enum worker_exit {
	WORKER_EXIT_RETIRED = 0,     /* told to, or its master is gone */
	WORKER_EXIT_LISTENER = 69,   /* its listener is none any more; logged */
	WORKER_EXIT_START = 70,      /* the handler's start() failed; it has logged why */
	WORKER_EXIT_SETUP = 71,      /* a system call of the set-up failed; logged */
	WORKER_EXIT_EXEC = 72,       /* the program could not be executed; logged */
	WORKER_EXIT_LIMITS = 73,     /* a resource limit could not be set; logged */
	WORKER_EXIT_PLACE = 74,      /* its root or its directory could not be entered; logged */
	WORKER_EXIT_PRIVILEGES = 77, /* user or groups could not be changed; logged */
};

/* "its handler did not start", ..., or NULL for a status that is not in the table. */
const char *worker_exit_text(int status);

/* All that worker/setup.h has, in its order. Returns 0, or the WORKER_EXIT_ status to leave with, after it has logged
 * what failed; where the master is gone, it does not return. */
ATTR_NODISCARD int worker_setup(const struct worker_start *start);

/* Called in the child, with all signals blocked. Pools whose workers become programs have nurseries instead. */
ATTR_NORETURN void worker_main(const struct worker_start *start);

#endif
