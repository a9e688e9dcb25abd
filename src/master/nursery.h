/* SPDX-License-Identifier: MIT */
#ifndef MASTER_NURSERY_H
#define MASTER_NURSERY_H
/*
 * The master's side of the nurseries (worker/nursery.h has the whole): processes that make the workers of inetd pools.
 * One is started when the first worker of a generation is asked for, and ended when the pool wants no more of them.
 *
 * A worker that is asked for stays SLOT_ASKED until it says that it is born, its nursery says that it could not be
 * made, the nursery dies, or it has not answered for NURSERY_ANSWER_MS, for which it is killed. Answers wake nobody:
 * they are read at each turn of the loop while some are open, and before deaths are looked at, since a worker may have
 * been born, and served, and died.
 *
 * The nursery runs as the pool's user, whose programs may do to it what they like. What it says is checked: a worker is
 * one that was asked for, and the child of the master's that has sent the message, by the kernel's word.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attrs.h"
#include "policy/pool.h"

#define NURSERY_ANSWER_MS 5000

/* Of a pool: one for its generation, and one for that of a reload's canary. */
#define POOL_NURSERIES 2

struct master;
struct pool;
struct child;

struct nursery {
	pid_t pid;           /* 0: none */
	int fd;              /* -1: it was let go, and only its death is waited for */
	uint32_t generation; /* of its workers */
	uint32_t asked;      /* workers that it was asked for, and has not answered for */
	uint64_t heard_ms;   /* when it last answered, or was asked while it had nothing to do */
};

/* Of all pools. */
struct nurseries {
	uint32_t count;     /* that are not reaped */
	uint64_t end_by_ms; /* at the end of the daemon: nobody waits for them any longer; 0: it is not there */
};

/* Whether the worker of ACTION can be asked for now. If not, a later turn will do. */
bool nursery_is_free(struct master *master, struct pool *pool, const struct pool_action *action, uint64_t now_ms);

/* Asks for the worker in SLOT, whose standard error is STDERR_FD (-1: none; stays the caller's). QUIET: it need not say
 * that it is ready. Returns 0 or a negative errno. */
ATTR_NODISCARD int nursery_ask(
	struct master *master, struct pool *pool, uint32_t slot, int stderr_fd, bool quiet, uint64_t now_ms);

/* Reads the answers that are there. DEAD is a child that was reaped already, and may be one of theirs; 0: none. */
void nurseries_listen(struct master *master, pid_t dead, uint64_t now_ms);

void nursery_died(struct master *master, const struct child *child, int status, uint64_t now_ms);

/* Ends those that do not answer, and those that nobody wants any more. Returns when to call again at the latest. */
uint64_t nurseries_check(struct master *master, uint64_t now_ms);

/* Whether workers are asked for that are not born yet. */
bool nurseries_are_asked(const struct master *master);

/* At the end, when there are no workers: whether nurseries are still to be reaped, and until when that is waited for.
 */
bool nurseries_are_left(struct master *master, uint64_t now_ms, uint64_t *ret_until_ms);

/* The pool goes: ends its own. */
void nurseries_done(struct master *master, struct pool *pool);

#endif
