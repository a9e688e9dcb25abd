/* SPDX-License-Identifier: MIT */
#ifndef POLICY_SIZING_H
#define POLICY_SIZING_H
/*
 * How many workers a pool is meant to have, by its load. Pure: no system call, no clock, no allocation. A pool's policy
 * (policy/pool.h) asks here for its target; starting, replacing and retiring follow from that as they do for a pool of
 * fixed size.
 *
 *	SIZING_FIXED   as many as the configuration says, or as an operator has scaled the pool to.
 *	SIZING_SPARE   who is busy is known: beside the busy workers, and one for each client that waits in a queue,
 *	               there are min_spare to max_spare idle ones. Workers of inetd pools that wait are all idle: what
 *	               they wait for makes programs of them.
 *	SIZING_QUEUE   it is not (a program accepts for itself): the depth of the queues tells.
 *
 * Growth is as fast as the shortage asks for, but at most `window` workers are on their way at a time; the window
 * begins at SIZING_WINDOW_MIN, grows by one with each worker that becomes ready while more are missing (and so doubles
 * with each step), and falls back once there has been no shortage for SIZING_CALM_MS. What a pool has when nobody comes
 * (min, and with SIZING_SPARE min_spare) is not growth. Shrinking goes one worker in SIZING_SHRINK_MS; workers that
 * have been idle for idle_exit leave at once, down to what is needed.
 *
 * With min = 0 and nobody to serve for idle_exit, the spare ones go too: the target is 0, and the pool sleeps. The
 * first client wakes it: pool_policy_awaits_demand().
 */
#include <stdbool.h>
#include <stdint.h>

#define SIZING_WINDOW_MIN 4
#define SIZING_CALM_MS    1000
#define SIZING_SHRINK_MS  1000
/* So often a pool that may have to change its size is looked at, whatever tells of it besides. */
#define SIZING_LOOK_MS 1000
/* The same with SIZING_QUEUE, while it may grow, where the rules do not say. */
#define SIZING_SAMPLE_MS 100

enum sizing_kind {
	SIZING_FIXED,
	SIZING_SPARE,
	SIZING_QUEUE,
};

/* With SIZING_FIXED only `kind` is looked at. */
struct sizing_rules {
	enum sizing_kind kind;
	uint32_t min;          /* of the workers that serve or wait; 0: on demand */
	uint32_t max;          /* >= min, > 0 */
	uint32_t min_spare;    /* >= 1 with SIZING_SPARE */
	uint32_t max_spare;    /* >= min_spare */
	uint64_t idle_exit_ms; /* 0: never. SIZING_QUEUE: they leave while nobody has waited for so long */
	uint64_t sample_ms;    /* of SIZING_QUEUE; 0: SIZING_SAMPLE_MS */
};

/* What the master sees of a pool, all at one time. */
struct sizing_load {
	uint32_t busy;   /* ready workers that have a connection; 0 with SIZING_QUEUE */
	uint32_t queued; /* clients in the queues of its listeners */
};

/* The pool's size at that time. */
struct sizing_size {
	uint32_t target;
	uint32_t ready;      /* the busy ones are among them */
	uint32_t coming;     /* asked for, or starting */
	uint32_t expired;    /* idle for idle_exit */
	uint64_t expires_ms; /* when the next of the idle will have been; DEADLINE_NONE */
};

/* What is remembered from one look to the next. Zeroed memory is a pool that nobody has looked at. */
struct sizing {
	uint32_t window;    /* 0: SIZING_WINDOW_MIN */
	uint32_t needed;    /* workers, at the last look */
	uint64_t short_ms;  /* when they were last missing; 0: never */
	uint64_t shrunk_ms; /* when one was last given up; 0: never */
	uint64_t waited_ms; /* of SIZING_QUEUE: when a client last waited; 0: not looked yet */
};

/* With how many workers a pool starts. Not for SIZING_FIXED. */
uint32_t sizing_first(const struct sizing_rules *rules);

/* TARGET, or what comes nearest to it by these rules. */
uint32_t sizing_within(const struct sizing_rules *rules, uint32_t target);

/* A look at the pool: its target from now on, and when to look again at the latest. Not for SIZING_FIXED. */
uint32_t sizing_look(const struct sizing_rules *rules, struct sizing *sizing, const struct sizing_size *size,
	const struct sizing_load *load, uint64_t now_ms, uint64_t *ret_look_ms);

/* The pool is woken by a client: its target. */
uint32_t sizing_wake(const struct sizing_rules *rules, struct sizing *sizing, uint64_t now_ms);

/* A worker has become ready while more of them are missing. */
void sizing_note_ready(struct sizing *sizing, uint64_t now_ms);

/* How many workers may be asked for now, of those that are missing: the window, beside those that are no growth. */
uint32_t sizing_allowed(
	const struct sizing_rules *rules, const struct sizing *sizing, uint32_t serving, uint32_t coming);

#endif
