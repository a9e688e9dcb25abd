/* SPDX-License-Identifier: MIT */
#ifndef WORKER_WAITER_H
#define WORKER_WAITER_H
/*
 * The life of a worker of an inetd pool: it waits for its one connection, and becomes the program that serves it. Its
 * nursery (worker/nursery.h) has made it, as a child of the master that shares the nursery's memory, but none of its
 * descriptors and signals: to copy a memory that execve(2) throws away at once is most of what a process costs.
 *
 * What that asks of all code that runs here, until the program does:
 *
 *	It writes to its area only (worker/areas.h): its stack, and its struct waiter. No variable of the program's is
 *	written, and nothing is allocated. A log line may be written (base/log.h).
 *	errno(3) is every waiter's. What it says may be another's error: a text may use it, a decision not. Where the
 *	error decides, the call is one of base/raw.h.
 *	A pointer that it is given lives as long as the nursery's memory, which is until the last waiter has left it.
 */
#include <stddef.h>
#include <stdint.h>

#include "base/attrs.h"
#include "worker/gate.h"
#include "worker/signals.h"
#include "worker/variables.h"
#include "worker/worker.h"

struct waiter {
	const struct worker_start *start; /* of the nursery: what is the same for all */
	struct board_slot *slot;
	int stderr_fd; /* for the program; -1: as the nursery's, or the connection */
	bool quiet;    /* nobody waits for it to be ready: the master need not be woken for that */
	bool held;     /* it accepts once hold_fd of struct worker_start is readable */
	uint32_t number;
	uint32_t serial;
	struct worker_stop stop; /* where memory is shared */
	struct gate gate;
	struct variables variables; /* prepared */
};

/* Of the process that calls; NULL where it is none, or shares its memory with nobody. */
struct waiter *waiter_here(void);

/* Called in the new process, with all signals blocked and the handlers of worker/signals.h installed. */
ATTR_NORETURN void waiter_main(struct waiter *waiter);

#endif
