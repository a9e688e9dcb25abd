/* SPDX-License-Identifier: MIT */
#ifndef MASTER_ORPHANS_H
#define MASTER_ORPHANS_H
/*
 * What a program leaves behind when it ends. Its process group is killed with it (program.c). Others, which have left
 * the group, become the master's children as soon as their parent is gone (PR_SET_CHILD_SUBREAPER, prctl(2)), and are
 * told from foreign ones by their session, or by the LISTEN_PID of their worker in the environment they began with.
 *
 * Killing one may set free the next, a child of its own: the end of each child that is none of ours makes the master
 * look again, until none is left. Orphans of programs that serve one connection (inetd), and of workers that still
 * live, are left alone.
 *
 * Only the master calls these.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct master;

/* Workers that have died not long ago, and may have left processes. */
#define ORPHAN_HUNTS_MAX 64

struct orphan_hunt {
	pid_t worker;      /* 0: none */
	uint64_t until_ms; /* then it is given up */
	bool found;        /* at the last look: they have been killed, and have not ended yet */
	pid_t killed;      /* the last of them */
};

struct orphans {
	bool programs;   /* there is a pool of programs, or was */
	bool adopting;   /* they become the master's children */
	bool failing;    /* to look for them; said so once */
	bool wanted;     /* a look, at the end of this turn */
	size_t unlooked; /* hunts begun since the last look, <= ORPHAN_HUNTS_MAX */
	struct orphan_hunt hunts[ORPHAN_HUNTS_MAX];
	size_t next; /* the place that is taken next */
};

/* Where a pool runs programs, processes that lose their parent become the master's children. */
void orphans_init(struct master *master);
/* A worker has been born, or has been reaped. */
void orphans_worker_born(struct master *master, pid_t worker);
void orphans_worker_died(struct master *master, pid_t worker, uint64_t now_ms);
/* A child has ended that is none of ours: what it leaves comes to light. */
void orphans_want_look(struct master *master);
/* Looks where that is wanted. */
void orphans_look(struct master *master, uint64_t now_ms);
/* No worker is left. Whether some of what they have left behind was killed, and has not ended yet. RET_WAKE_MS: when to
 * ask again at the latest. */
bool orphans_are_left(struct master *master, uint64_t now_ms, uint64_t *ret_wake_ms);

#endif
