/* SPDX-License-Identifier: MIT */
#ifndef UNIT_POOL_FIXTURE_H
#define UNIT_POOL_FIXTURE_H
/*
 * One pool's policy under a clock that the test moves, for tests of its single decisions. A plan is compared as text:
 * "ask 0, retire 3 scale down". Each call that tells the policy something checks the counts after it.
 */
#include <stdint.h>

#include "policy/pool.h"

#define CAPACITY_MAX  1024
#define BEGIN_MS      50000
#define START_TIMEOUT 5000
#define WAIT_MIN      100
#define WAIT_MAX      1000
#define HEALTHY       10000
#define GIVE_UP       5

struct pool_fixture {
	struct pool_policy policy;
	struct slot slots[CAPACITY_MAX];
	uint64_t now_ms;
	struct pool_plan plan;
	char text[8192]; /* the plan's */
};

extern struct pool_fixture pool;

void pool_begin(uint32_t capacity, uint32_t target);

/* ---- what the master does ---- */

void tell(uint32_t slot, enum slot_event event, enum slot_reason reason);
void refuse(uint32_t slot, enum slot_event event); /* the policy does */
void born(uint32_t slot);                          /* asked for, too */
void ready(uint32_t slot);
void born_ready(uint32_t from, uint32_t to);
struct death_verdict died(uint32_t slot, struct death death);
struct death_verdict failed(uint32_t slot); /* with exit status 1, which counts against the pool */

/* ---- what the policy plans ---- */

void make_plan(void);
void check_plan(const char *expected, int line);
void check_idle_until(uint64_t at_ms, int line); /* and moves the clock there */

#define PLAN(expected)    check_plan(expected, __LINE__)
#define IDLE_FOR(wait_ms) check_idle_until(pool.now_ms + (wait_ms), __LINE__)
#define IDLE()            check_idle_until(DEADLINE_NONE, __LINE__)

#endif
