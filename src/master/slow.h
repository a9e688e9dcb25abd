/* SPDX-License-Identifier: MIT */
#ifndef MASTER_SLOW_H
#define MASTER_SLOW_H
/*
 * Requests that take longer than their pool's slow_after: once for each a line of the log, with where its worker is. A
 * short-lived child looks (look/look.h), as that may take long: at several workers one after the other, and only one
 * child at a time. Where it does not end in time, it is killed, and the line says what it has found until then.
 *
 * Only the master calls these.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "look/look.h"
#include "net/address.h"
#include "policy/slow.h"

struct master;

/* So many workers are looked at by one child. */
#define SLOW_BATCH 8

/* A slow request, as it was when it was found: its worker, and even its pool, may be gone when it is told. */
struct slow_request {
	uint32_t pool; /* the index */
	uint32_t slot;
	uint32_t place; /* on the board */
	uint32_t serial;
	pid_t pid;
	uint64_t begin_us;
	uint64_t found_us;
	bool is_program;
	char name[256]; /* the pool's */
	char peer[ADDRESS_TEXT_MAX];
};

struct slow {
	pid_t pid; /* the child that looks; 0: none */
	bool killed;
	uint64_t deadline_ms;
	size_t count;                /* of those it looks at; 0: it is not waited for */
	struct look_result *results; /* as many, shared with it; NULL: nobody could look */
	struct slow_request requests[SLOW_BATCH];
};

/* Of a pool. */
struct slow_pool {
	uint64_t slow_after_ms; /* that `next_ms` goes by */
	uint64_t next_ms;
	struct slow_gate gate;
};

/* Looks where it is due. Returns when to call again at the latest. */
uint64_t slow_act(struct master *master, uint64_t now_ms);
/* The child has ended. */
void slow_look_died(struct master *master, int status);
/* Whether a look is waited for. */
bool slow_is_looking(const struct master *master);
/* The child is not waited for any more. */
void slow_done(struct master *master);

#endif
