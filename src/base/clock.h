/* SPDX-License-Identifier: MIT */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H
/*
 * The clocks. All are read through the vDSO and cost no system call (vdso(7)). Any process may call this; nothing fails
 * but clock_guard().
 *
 * The master's own clock, clock_monotonic_ms(), stands still while the master does: where it was stopped (SIGSTOP, a
 * frozen machine), what passed meanwhile is left out, and so all its deadlines move by that. Nobody else's clock does
 * so; a time of the one and a time of clock_monotonic_us() have clock_skipped_ms() between them.
 */
#include <stdint.h>

#include "base/attrs.h"

/* CLOCK_MONOTONIC in microseconds. It is one clock for all processes of the machine, so that times may be compared
 * across the scoreboard. It does not run while the machine sleeps. */
uint64_t clock_monotonic_us(void);

/* The same in milliseconds, less what was skipped: the master's and the policy's time. It never goes back. */
uint64_t clock_monotonic_ms(void);

/* CLOCK_REALTIME in microseconds since 1970, for logs only. */
uint64_t clock_realtime_us(void);

/* ---- the master's ---- */

/*
 * What lies further apart than this, beyond a wait that was announced, is a gap. So that each of over a second is
 * noticed, no wait is longer than CLOCK_PACE_MS while there is a deadline to be moved.
 */
#define CLOCK_GAP_MS  500
#define CLOCK_PACE_MS 500

/* From here on gaps are noticed, by this process alone: a child's clock runs through (MADV_WIPEONFORK, madvise(2)).
 * Returns 0 or a negative errno. Until clock_unguard(). */
ATTR_NODISCARD int clock_guard(void);
void clock_unguard(void);

/* This process is about to wait, for FOR_MS at the most; UINT64_MAX: for as long as it takes. Until it looks at the
 * clock again, that is no gap. */
void clock_announce_wait(uint64_t for_ms);

/* How much the clock lets out where PASSED lies between two looks, of which WAIT was announced; 0: that is no gap. It
 * goes on from the beginning of the wait, or from CLOCK_PACE_MS before the end of a longer one. */
uint64_t clock_gap_ms(uint64_t passed_ms, uint64_t wait_ms);

/* What was left out so far, in all. */
uint64_t clock_skipped_ms(void);

/* The same of another image of this process, whose times are gone on with. Before the first of them is looked at. */
void clock_skip(uint64_t other_ms);

#endif
