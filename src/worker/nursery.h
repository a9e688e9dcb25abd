/* SPDX-License-Identifier: MIT */
#ifndef WORKER_NURSERY_H
#define WORKER_NURSERY_H
/*
 * The nursery: a process of an inetd pool that makes the pool's workers, on request of the master. It has been set up
 * as a worker is, once: root, user, limits, directory. A worker is a clone of it, which shares its memory
 * (worker/waiter.h), and a child of the master (CLONE_PARENT, clone(2)).
 *
 * It talks with the master by a pair of SOCK_SEQPACKET sockets, one message a birth:
 *
 *	struct nursery_request   the master asks, and gives the pipe for the program's standard error along, if any
 *	struct nursery_answer    the worker itself says that it is born, before it accepts: there is none that the
 *	                         master has not been told of. Or the nursery says that it could not be made.
 *
 * A worker that finds nobody to tell leaves at once. The nursery leaves when the master closes its end, by exit or by
 * death. Where its set-up has failed, the workers that it makes end with the status of that (enum worker_exit) right
 * away, and it leaves when it is not asked for more: the next one tries again.
 *
 * Its title is the pool's, as its workers', which share the memory that holds it; its name (comm) tells it from them.
 * Signals do nothing to it, but for SIGKILL and SIGSTOP, which the pool's user may send: the master makes another.
 */
#include <stddef.h>
#include <stdint.h>

#include "base/attrs.h"
#include "worker/worker.h"

#define NURSERY_NAME "brood-nursery"

struct nursery_request {
	uint32_t number; /* of the worker in its pool */
	uint32_t place;  /* its slot of the board */
	uint32_t serial; /* comes back with the answer */
	uint32_t quiet;  /* struct waiter */
	uint32_t held;   /* the same */
};

struct nursery_answer {
	uint32_t number;
	uint32_t serial;
	int32_t error; /* 0: it is born, and is who has sent this; else a negative errno */
};

struct nursery_start {
	struct worker_start
		worker; /* of any worker of the pool, with nursery_fd; its slot and output count for nothing */
	size_t most;    /* workers that there may be */
};

/* Called in the child, with all signals blocked. */
ATTR_NORETURN void nursery_main(const struct nursery_start *start);

#endif
