/* SPDX-License-Identifier: MIT */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H
/*
 * The clocks. Both are read through the vDSO and cost no system call (vdso(7)). Any process may call this; nothing
 * fails.
 */
#include <stdint.h>

/* CLOCK_MONOTONIC in microseconds. It is one clock for all processes of the machine, so that times may be compared
 * across the scoreboard. It does not run while the machine sleeps. */
uint64_t clock_monotonic_us(void);

/* CLOCK_MONOTONIC in milliseconds: the master's and the policy's time. */
uint64_t clock_monotonic_ms(void);

/* CLOCK_REALTIME in microseconds since 1970, for logs only. */
uint64_t clock_realtime_us(void);

#endif
