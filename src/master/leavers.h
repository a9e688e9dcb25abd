/* SPDX-License-Identifier: MIT */
#ifndef MASTER_LEAVERS_H
#define MASTER_LEAVERS_H
/*
 * Children that another image of this process has made (SIGUSR2), and that have no place in this one: workers of pools
 * that are not there, or of a state that could not be read. Each is asked once to finish; what is left of them at its
 * deadline is told to end, and then killed. They are not in the table of children (master/children.h).
 *
 * Only the master calls these.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attrs.h"

struct master;

struct leaver {
	pid_t pid; /* 0: it has ended */
	uint64_t deadline_ms;
	unsigned int refused; /* how often a signal to it was */
	int next;             /* the signal it gets then; 0: it had SIGKILL, and nobody waits for it */
};

struct leavers {
	struct leaver *list;
	size_t count;
	size_t room;
};

/* PID is one from now on, and gets SIGNAL, unless that is 0. It has until stop_timeout, and no longer than DEADLINE.
 * What cannot be remembered is let go its way. */
void leavers_add(struct master *master, pid_t pid, int signal, uint64_t deadline_ms, uint64_t now_ms);

bool leavers_has(const struct leavers *leavers, pid_t pid);

/* PID has been reaped. Returns whether it was one. */
bool leavers_died(struct leavers *leavers, pid_t pid);

/* Those that are still there, and are waited for. */
size_t leavers_left(const struct leavers *leavers);

/* All of them are told to end now. */
void leavers_quit(struct leavers *leavers, uint64_t now_ms);

/* Returns when to call again at the latest. */
uint64_t leavers_act(struct leavers *leavers, uint64_t now_ms);

void leavers_done(struct leavers *leavers);

#endif
