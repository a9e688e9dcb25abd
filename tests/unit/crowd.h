/* SPDX-License-Identifier: MIT */
#ifndef UNIT_CROWD_H
#define UNIT_CROWD_H
/*
 * Clients under a virtual clock: they come as a curve of load says, wait in the queue of a listener, and are served.
 * How long each of them keeps its worker is drawn as it comes, so that the same crowd meets whoever serves it, however
 * fast. Milliseconds; integers only, and everything follows from the seed: a crowd is the same on every machine.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CROWD_POINTS_MAX 24
#define CROWD_QUEUE_MAX  512 /* a backlog of 511 holds one more */
#define CROWD_NEVER      UINT64_MAX

struct crowd_point {
	uint64_t at_ms;
	uint32_t clients; /* so many come that so many are in service at a time, if nobody has to wait */
	uint32_t burst;   /* and so many more at once, at this time */
};

/* Points of times that never fall; the load is on the line between two of them. Two of one time: it jumps. */
struct crowd_load {
	struct crowd_point points[CROWD_POINTS_MAX];
	size_t count;        /* 0: nobody ever comes */
	bool repeats;        /* after the last point, which is not at 0, it begins anew; else the last one holds; a load
				that repeats is not always 0 */
	bool even;           /* nothing is left to chance: all are served for as long, and come in even steps */
	uint32_t service_ms; /* on average; each one's is between half of it and one and a half; > 0 */
};

struct crowd_client {
	uint64_t came_ms;
	uint32_t service_ms;
};

struct crowd {
	const struct crowd_load *load;
	uint64_t random;
	uint64_t begin_ms;   /* of the curve: moves on as it repeats */
	uint64_t counted_ms; /* so far the curve has been followed */
	size_t next_point;   /* the first one after it */
	int64_t left;        /* of the curve's area until one comes, in thousandths of a client's millisecond */
	uint32_t burst;      /* so many come at counted_ms */
	uint64_t next_ms;    /* when the next one comes; CROWD_NEVER */

	struct crowd_client queue[CROWD_QUEUE_MAX];
	uint32_t first, waiting;
	uint64_t came, taken, refused; /* came == taken + refused + waiting */
	uint64_t longest_wait_ms;      /* of those that were taken */
};

void crowd_init(struct crowd *crowd, const struct crowd_load *load, uint64_t now_ms, uint64_t seed);

/* The curve begins (again); who waits, waits on. */
void crowd_begin(struct crowd *crowd, uint64_t now_ms);

/* The load at NOW, in thousandths of a client. */
uint64_t crowd_load_now(const struct crowd *crowd, uint64_t now_ms);

/* All who come until NOW queue up. */
void crowd_come(struct crowd *crowd, uint64_t now_ms);

/* The one that waits longest, who is there, is taken. Returns for how long it keeps its worker, at least 1. */
uint64_t crowd_take(struct crowd *crowd, uint64_t now_ms);

#endif
