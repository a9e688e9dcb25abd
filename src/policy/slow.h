/* SPDX-License-Identifier: MIT */
#ifndef POLICY_SLOW_H
#define POLICY_SLOW_H
/*
 * Which requests are slow, when to look for them, and how many of them are told. Begins of requests are on the
 * scoreboard's clock, in microseconds; all else on the caller's, in milliseconds. Pure.
 */
#include <stdbool.h>
#include <stdint.h>

/* Whether a request that began at BEGIN_US has taken SLOW_AFTER_MS. */
bool slow_is(uint64_t begin_us, uint64_t now_us, uint64_t slow_after_ms);

/*
 * When to look again. A request that begins from now on cannot be slow before NOW_MS + SLOW_AFTER_MS; of those under
 * way the oldest that is not slow yet began at OLDEST_US (0: there is none). Nobody says when a request begins, so that
 * there is a look each SLOW_AFTER_MS, however little there is to see; but for the shortest of these times, which would
 * keep the caller busy with nothing.
 */
uint64_t slow_next_look(uint64_t oldest_us, uint64_t now_us, uint64_t slow_after_ms, uint64_t now_ms);

/* ---- how many are told: a few a second of each pool; of the others only the number ---- */

enum { SLOW_TOLD_A_SECOND = 4 };

struct slow_gate {
	uint64_t since_ms; /* of the second that is counted; 0: none was yet */
	uint32_t told;     /* <= SLOW_TOLD_A_SECOND */
	uint32_t untold;
};

/* One more is slow. Whether it is to be told. */
bool slow_gate_pass(struct slow_gate *gate, uint64_t now_ms);
/* One that was let pass could not be told, and comes again. */
void slow_gate_return(struct slow_gate *gate);
/* The number of those that were not told, once their second is over; else 0. It is taken. */
uint32_t slow_gate_take_untold(struct slow_gate *gate, uint64_t now_ms);
/* When to ask for it. */
uint64_t slow_gate_due(const struct slow_gate *gate);

#endif
