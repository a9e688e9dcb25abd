/* SPDX-License-Identifier: MIT */
#ifndef MASTER_SIZING_H
#define MASTER_SIZING_H
/*
 * The hands and eyes of policy/sizing.h: what the master sees of a pool's load, and when it looks.
 *
 * Workers of brood's own loop tell by the scoreboard who is busy. The one that leaves too few others to wait wakes the
 * master (struct board_pool), which looks at once; it is woken too by each worker that becomes ready, so that the steps
 * of a growth follow each other without a pause. A look every second, while a pool that has grown may have something to
 * give back, is for what nobody tells. While a pool cannot grow, its workers wake nobody: the master looks once a
 * second, until there have been enough for a while.
 *
 * Of programs that accept for themselves only the queues are known. They are sampled while there may be more workers.
 *
 * A pool that sleeps has nobody who accepts: then the master waits for a client, once, with EPOLLONESHOT.
 *
 * Pools that together want more than max_workers get shares (shares.h).
 */
#include <stdbool.h>
#include <stdint.h>

#include "policy/sizing.h"

struct master;
struct pool;
struct watch;
struct pool_config;

/* Of one pool. */
struct pool_sizing {
	bool wanted;             /* a look, at the next turn */
	uint64_t look_ms;        /* the next one at the latest; 0: none yet */
	bool awaiting;           /* its listeners are watched for a client */
	struct sizing_load load; /* as it was seen last */
	uint32_t idle;
	uint32_t least_idle; /* since the look before it */
	uint32_t settled;    /* so many workers there were, and none on its way; 0: some were */
	uint32_t poked;      /* struct board_pool, at the last look */
	int64_t drift;       /* of the spare workers' own count, at the last look */
	bool silent;         /* nobody is to wake the master: there are too few, and there cannot be more */
	uint64_t short_ms;   /* of `silent`: when there last were too few */
	bool full;           /* clients wait, and there are as many workers as may be */
	uint64_t full_ms;    /* when that was last seen; 0: never */
	uint64_t filled_ms;  /* since when it is so without a break */
	bool told;           /* of this episode */
};

/* What the policy goes by. */
struct sizing_rules sizing_rules_of(const struct pool_config *config);
/* With how many workers a pool begins. */
uint32_t sizing_begin(const struct pool_config *config);

/* Workers have woken the master: looks at the pools that this may be about. Before it is known who has become ready. */
void sizing_woken(struct master *master);

/* A client is there for a pool that sleeps. */
void sizing_demand(struct master *master, const struct watch *watch, uint64_t now_ms);

/* Looks where that is due. Returns when to call again at the latest. Before the plans of the pools are asked for. */
uint64_t sizing_act(struct master *master, uint64_t now_ms);

/* A pool of inetd has no worker that waits, or has again: after its plan was carried out. */
void sizing_check_waiters(struct master *master, struct pool *pool, uint64_t now_ms);

/* Whether its size does not go by its load. */
bool sizing_is_fixed(const struct pool *pool);

/* So many workers it has whatever the others want. */
uint32_t sizing_least(const struct pool *pool);

/* The pool's listeners are about to be others, or closed. */
void sizing_forget_listeners(const struct master *master, struct pool *pool);

#endif
