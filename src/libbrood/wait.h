/* SPDX-License-Identifier: MIT */
#ifndef LIBBROOD_WAIT_H
#define LIBBROOD_WAIT_H
/*
 * Waiting on a socket until a point in time, for the paths where the socket's own time-out does not serve. Inside
 * libbrood only. Times are CLOCK_MONOTONIC in microseconds.
 */
#include "libbrood/stream_private.h"

#define LIKELY(condition)   __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)

/* The end of a wait without one. */
#define WAIT_FOR_EVER UINT64_MAX

uint64_t wait_clock_us(void);

/* When a wait of TIMEOUT_MS (0: none) that starts now must end, at STREAM's deadline if that is nearer. */
uint64_t wait_end_us(const struct brood_stream *stream, uint32_t timeout_ms);

/* Whether STREAM has a deadline that has passed. Reads the clock only if it has one. */
bool wait_deadline_passed(const struct brood_stream *stream);

/* Waits for EVENTS of poll(2) on FD. Returns 0 once one is there (or the socket has failed: the next transfer says
 * how), -ETIMEDOUT at END_US, or a negative errno. EINTR is hidden and costs no time. */
int wait_for_events(int fd, short events, uint64_t end_us);

#endif
