/* SPDX-License-Identifier: MIT */
#ifndef POLICY_DEADLINE_H
#define POLICY_DEADLINE_H
/*
 * Points in time at which something must be looked at. Milliseconds of one monotonic clock; the clock is the caller's.
 * Pure: no system call, no state.
 */
#include <stdbool.h>
#include <stdint.h>

/* "Never": later than every other deadline. */
#define DEADLINE_NONE UINT64_MAX

/* NOW plus AFTER; DEADLINE_NONE where that would not fit. */
uint64_t deadline_after(uint64_t now_ms, uint64_t after_ms);

uint64_t deadline_earlier(uint64_t a_ms, uint64_t b_ms);

bool deadline_passed(uint64_t deadline_ms, uint64_t now_ms);

/* What to hand to epoll_wait(2): -1 for DEADLINE_NONE, 0 if it has passed, at most INT_MAX. */
int deadline_timeout(uint64_t deadline_ms, uint64_t now_ms);

/*
 * A request is overrun once its own deadline (as its worker wrote it, in microseconds; 0 is none) has passed by
 * DEADLINE_REQUEST_GRACE_MS: the handler ends it by itself at the deadline, the master only where it does not.
 */
#define DEADLINE_REQUEST_GRACE_MS 1000

bool deadline_request_overrun(uint64_t request_deadline_us, uint64_t now_ms);

/*
 * When to look at a pool's request deadlines again. A request that begins after NOW cannot overrun before
 * NOW + request_timeout (0: there is none) + grace; one under way not before NEAREST_US (the earliest of the words
 * seen, 0 if none).
 */
uint64_t deadline_next_scan(uint64_t nearest_us, uint64_t request_timeout_ms, uint64_t now_ms);

#endif
