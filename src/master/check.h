/* SPDX-License-Identifier: MIT */
#ifndef MASTER_CHECK_H
#define MASTER_CHECK_H
/*
 * The checks that clients of the control socket ask for: one after the other, each in a child (worker/checker.h).
 * Only the master calls these.
 */
#include <stdint.h>

#include "config/config.h"
#include "worker/checker.h"

struct master;

struct check_file {
	struct config_origin origin;
	char path[]; /* that it names */
};

struct check {
	struct checker checker;  /* its pid 0: none runs */
	struct check_file *file; /* of its own: the child has it, and has none of the master's tables */
	uint64_t ticket;
};

#define CHECK_NONE ((struct check){ .checker = CHECKER_NONE })

/* Begins the next check that a client waits for, unless one runs. */
void check_next(struct master *master, uint64_t now_ms);

/* WATCH_CHECK: the child has something to say. */
void check_hear(struct master *master);
/* CHILD_CHECK has ended with STATUS: the verdict. */
void check_died(struct master *master, int status, uint64_t now_ms);
/* Kills a child that is overdue. Returns when to call again at the latest. */
uint64_t check_act(struct master *master, uint64_t now_ms);
void check_done(struct master *master);

#endif
