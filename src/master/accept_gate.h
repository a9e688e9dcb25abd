/* SPDX-License-Identifier: MIT */
#ifndef MASTER_ACCEPT_GATE_H
#define MASTER_ACCEPT_GATE_H
/*
 * Accepting on a socket of the master's own (acknowledgements, control) without an end of events when it fails: a
 * connection that cannot be accepted, for want of descriptors or memory, stays in the queue, and would be an event for
 * ever. Then the socket is not looked at for a while.
 *
 * Only the master calls these.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/attrs.h"
#include "master/watch.h"

struct master;

struct accept_gate {
	int fd; /* the caller's; -1: closed */
	struct watch watch;
	const char *what;   /* "acknowledgements": what cannot be accepted, in the log */
	uint64_t resume_ms; /* when to accept again; DEADLINE_NONE: it goes on */
	bool failing;       /* said so once */
};

/* FD listens, and does not block. Has its events arrive as WATCH. Returns 0 or a negative errno. */
ATTR_NODISCARD int accept_gate_open(
	struct master *master, struct accept_gate *gate, int fd, const struct watch *watch, const char *what);

/* The next connection, which does not block and is close-on-exec; negative: none for now. */
int accept_gate_next(struct master *master, struct accept_gate *gate, uint64_t now_ms);

/* Ends a pause that is over. Returns when to call again at the latest. */
uint64_t accept_gate_check(struct master *master, struct accept_gate *gate, uint64_t now_ms);

#endif
