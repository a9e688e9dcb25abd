/* SPDX-License-Identifier: MIT */
#ifndef MASTER_CHILDREN_H
#define MASTER_CHILDREN_H
/*
 * The master's own table of its children: which process is which. What the scoreboard says about pids is hearsay; this
 * is the truth. A hash table of fixed size, so that nothing is allocated once the master runs.
 */
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attrs.h"

enum child_kind {
	CHILD_WORKER,
	CHILD_LOGGER,
	CHILD_CHECK,         /* that a client of the control socket has asked for */
	CHILD_CHECKER,       /* of a reload */
	CHILD_UPGRADE_CHECK, /* the new binary, which is asked whether it can take over */
	CHILD_NURSERY,
	CHILD_LOOK, /* at slow requests */
};

struct child {
	pid_t pid; /* 0: no entry */
	enum child_kind kind;
	uint32_t pool; /* of a worker, or a nursery: index of its pool, and its number in it */
	uint32_t slot;
};

struct children {
	struct child *table;
	size_t size; /* a power of two, more than twice the most children */
	size_t count;
};

ATTR_NODISCARD int children_init(struct children *children, size_t most);
void children_done(struct children *children);

/* There is room for as many as children_init() was told. */
void children_add(struct children *children, const struct child *child);

/* Looks PID up. Returns 1 and the entry, or 0 if it is none of ours. */
int children_find(const struct children *children, pid_t pid, struct child *ret_child);

/* Takes PID out of the table. Returns 1 and the entry, or 0 if it is none of ours. */
int children_remove(struct children *children, pid_t pid, struct child *ret_child);

#endif
