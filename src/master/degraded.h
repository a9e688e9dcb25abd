/* SPDX-License-Identifier: MIT */
#ifndef MASTER_DEGRADED_H
#define MASTER_DEGRADED_H
/*
 * What is said of pools that fail. An episode begins with a failure, and ends when the pool has recovered: the policy
 * knows (pool_policy_is_degraded()). Each has one line in the log at its beginning and one at its end, over upgrades,
 * too; in between the status says so, at the control socket and to the service manager.
 *
 * Only the master calls these.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/pool.h"

struct master;
struct pool;

#define FAILURE_TEXT_MAX 160

/* In struct pool. */
struct pool_failures {
	bool degraded;
	uint64_t since_ms;           /* meaningful while degraded */
	uint32_t in_a_row;           /* the most in this episode */
	char last[FAILURE_TEXT_MAX]; /* how a worker failed last: "exit status 1, before ready"; "": none ever did */
	uint64_t last_ms;
	/* Of all workers there were, those that ended in another way than they were asked to, or were killed: */
	uint64_t died_unready; /* before they were ready */
	uint64_t died_serving; /* with a connection */
};

/* A worker of POOL has died; HOW says by what. */
void degraded_note_death(struct pool *pool, uint32_t slot, const struct death *death,
	const struct death_verdict *verdict, const char *how);
/* One has not become ready in time, and is killed for it, which may take its time. */
void degraded_note_overdue(struct pool *pool, uint32_t slot, uint64_t now_ms);
/* One has said that it stops, too early to be no failure. */
void degraded_note_stopping(struct pool *pool, uint32_t slot, uint64_t now_ms);
/* One could not be made. */
void degraded_note_unborn(struct pool *pool, uint32_t slot, const char *reason, uint64_t now_ms);

/* Looks whether episodes begin or end. Returns when to call again at the latest. */
uint64_t degraded_check(struct master *master, uint64_t now_ms);

/* "5 failures in a row, the last: exit status 1, before ready". Returns BUFFER. */
char *degraded_text(const struct pool *pool, char *buffer, size_t size);

#endif
