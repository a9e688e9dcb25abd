/* SPDX-License-Identifier: MIT */
#ifndef MASTER_RECYCLE_H
#define MASTER_RECYCLE_H
/*
 * Workers that are worn: who has reached a limit is found here, as far as the policy (policy/pool.h) cannot know it,
 * and what it had reached is kept for the log. What follows is the policy's.
 *
 *	max_requests  a worker writes to the master's eventfd once it has served so many; then the board tells
 *	max_age       is the policy's own
 *	max_memory    is read in /proc, of some workers at a time, each every few seconds
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "policy/slot.h"

struct master;
struct pool;
struct pool_action;
struct pool_config;

enum recycle_cause {
	RECYCLE_REQUESTS,
	RECYCLE_AGE,
	RECYCLE_MEMORY,
	RECYCLE_CAUSES, /* also "none" */
};

/* The looks at the memory of a pool's workers. */
struct recycle_memory {
	const struct pool_config *config; /* whose limit it was when they were last looked at */
	uint64_t next_ms;                 /* when some are looked at */
	uint32_t slot;                    /* the first of them */
	bool failing;                     /* to read it; said so once */
	bool too_low;                     /* the limit; said so once */
};

/* What REASON says; RECYCLE_CAUSES where it says nothing of wear. */
enum recycle_cause recycle_cause_of(enum slot_reason reason);

/* The member of a status line that counts those of CAUSE: "recycled_requests". */
const char *recycle_counter_name(enum recycle_cause cause);

/* What a worker in SLOT has of max_requests; 0: no limit. */
uint64_t recycle_max_requests(const struct pool *pool, uint32_t slot);

/* Workers have said something: finds those that have served enough. */
void recycle_note_requests(struct master *master, uint64_t now_ms);

/* Carries out a plan's SLOT_WEAR: the worker in its slot has reached its age. */
void recycle_by_age(struct pool *pool, const struct pool_action *action, uint64_t now_ms);

/* Looks at the memory of some workers, where it is time. Returns when to call again at the latest. */
uint64_t recycle_check_memory(struct master *master, uint64_t now_ms);

/* What the worker in SLOT had reached when it was found worn, as a field of a log line. */
struct log_field recycle_field(const struct pool *pool, uint32_t slot);

#endif
