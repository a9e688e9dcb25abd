/* SPDX-License-Identifier: MIT */
#ifndef POLICY_BACKOFF_H
#define POLICY_BACKOFF_H
/*
 * How long a pool waits before it starts a worker again after failures: min, 2 min, 4 min, ... max. Pure.
 */
#include <stdbool.h>
#include <stdint.h>

struct backoff_rules {
	uint64_t min_ms; /* 0 counts as 1, and max_ms too: a pool that fails does not spin */
	uint64_t max_ms; /* >= min_ms */
};

struct backoff {
	uint32_t level;    /* failures in a row; 0: not backing off */
	uint32_t volley;   /* how often the level has ever risen; workers asked for in between are one volley */
	uint64_t until_ms; /* no start before this; meaningful while level > 0 */
};

/* The wait at LEVEL (1 and up). */
uint64_t backoff_delay(const struct backoff_rules *rules, uint32_t level);

/* The state after one more failure at NOW. */
struct backoff backoff_next(const struct backoff_rules *rules, struct backoff backoff, uint64_t now_ms);

/* Whether a start is held back at NOW. */
bool backoff_holds(const struct backoff *backoff, uint64_t now_ms);

#endif
