/* SPDX-License-Identifier: MIT */
/*
 * The decisions about one pool, each by itself, under a clock that the test moves. A plan is compared as text:
 * "ask 0, retire 3 scale down". test_policy_simulator.c has their interplay.
 */
#include <criterion/criterion.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/attrs.h"
#include "policy/deadline.h"
#include "policy/pool.h"

#define CAPACITY_MAX  1024
#define START_TIMEOUT 5000
#define WAIT_MIN      100
#define WAIT_MAX      1000

struct fixture {
	struct pool_policy policy;
	struct slot slots[CAPACITY_MAX];
	uint64_t now_ms;
	struct pool_plan plan;
	char text[8192];
};

static struct fixture pool;

static void pool_begin(uint32_t capacity, uint32_t target)
{
	const struct pool_rules rules = {
		.capacity = capacity,
		.start_timeout_ms = START_TIMEOUT,
		.backoff = {.min_ms = WAIT_MIN, .max_ms = WAIT_MAX},
	};

	pool.now_ms = 50000;
	pool_policy_init(&pool.policy, &rules, target, pool.slots);
}

static void check_counts(void)
{
	uint32_t count[SLOT_STATES] = { 0 };
	uint32_t living = 0;

	for (uint32_t i = 0; i < pool.policy.rules.capacity; i++) {
		count[pool.slots[i].state]++;
		living += pool.slots[i].state != SLOT_FREE && pool.slots[i].state != SLOT_LOST;
	}
	for (enum slot_state i = 0; i < SLOT_STATES; i++)
		cr_assert_eq(pool.policy.count[i], count[i], "count of %s", slot_state_name(i));
	cr_assert_eq(pool_policy_living(&pool.policy), living);
}

/* ---- what the master does ---- */

static void tell(uint32_t slot, enum slot_event event, enum slot_reason reason)
{
	cr_assert(pool_policy_event(&pool.policy, slot, event, reason, pool.now_ms), "%s for slot %u",
		slot_event_name(event), slot);
	check_counts();
}

static void refuse(uint32_t slot, enum slot_event event)
{
	cr_assert_not(pool_policy_event(&pool.policy, slot, event, SLOT_REASON_NONE, pool.now_ms), "%s for slot %u",
		slot_event_name(event), slot);
	check_counts();
}

static void born(uint32_t slot)
{
	tell(slot, SLOT_ASK, SLOT_REASON_NONE);
	tell(slot, SLOT_BORN, SLOT_REASON_NONE);
}

static void ready(uint32_t slot)
{
	tell(slot, SLOT_BECAME_READY, SLOT_REASON_NONE);
}

static void born_ready(uint32_t from, uint32_t to)
{
	for (uint32_t i = from; i <= to; i++) {
		born(i);
		ready(i);
	}
}

static struct death_verdict died(uint32_t slot, struct death death)
{
	struct death_verdict verdict;

	cr_assert(pool_policy_died(&pool.policy, slot, &death, pool.now_ms, &verdict), "slot %u", slot);
	check_counts();
	return verdict;
}

static struct death_verdict failed(uint32_t slot)
{
	struct death_verdict verdict = died(slot, (struct death){ .code = 1 });

	cr_assert(verdict.failure);
	return verdict;
}

static void plan_to_text(void)
{
	size_t length = 0;

	pool_policy_plan(&pool.policy, pool.now_ms, &pool.plan);
	pool.text[0] = 0;
	for (size_t i = 0; i < pool.plan.count; i++) {
		const struct pool_action *action = &pool.plan.actions[i];

		length += (size_t)snprintf(pool.text + length, sizeof(pool.text) - length, "%s%s %u%s%s",
			i > 0 ? ", " : "", slot_event_name(action->what), action->slot,
			action->reason == SLOT_REASON_NONE ? "" : " ",
			action->reason == SLOT_REASON_NONE ? "" : slot_reason_name(action->reason));
	}
}

static void check_plan(const char *expected, int line)
{
	plan_to_text();
	cr_assert_str_eq(pool.text, expected, "line %d: planned '%s' where '%s' is due", line, pool.text, expected);
}

#define PLAN(expected) check_plan(expected, __LINE__)

/* Nothing is to be done before AT. */
static void check_idle_until(uint64_t at_ms, int line)
{
	check_plan("", line);
	cr_assert_eq(pool.plan.wake_ms, at_ms, "line %d: wakes in %lld ms and not in %lld", line,
		(long long)(pool.plan.wake_ms - pool.now_ms), (long long)(at_ms - pool.now_ms));
	if (at_ms == DEADLINE_NONE)
		return;
	pool.now_ms = at_ms - 1;
	check_plan("", line);
	pool.now_ms = at_ms;
}

#define IDLE_FOR(wait_ms) check_idle_until(pool.now_ms + (wait_ms), __LINE__)
#define IDLE()            check_idle_until(DEADLINE_NONE, __LINE__)

/* ---- starting ---- */

Test(policy_pool, starts_all_at_once)
{
	pool_begin(8, 5);
	PLAN("ask 0, ask 1, ask 2, ask 3, ask 4");
	cr_expect_leq(pool.plan.wake_ms, pool.now_ms, "what the actions do is to be looked at");
	for (uint32_t i = 0; i < 5; i++)
		tell(i, SLOT_ASK, SLOT_REASON_NONE);
	IDLE();
	cr_expect_eq(pool_policy_living(&pool.policy), 5, "what is asked for will be");
	for (uint32_t i = 0; i < 5; i++)
		tell(i, SLOT_BORN, SLOT_REASON_NONE);
	cr_expect_not(pool_policy_is_ready(&pool.policy));
	for (uint32_t i = 0; i < 5; i++)
		ready(i);
	IDLE();
	cr_expect(pool_policy_is_ready(&pool.policy));
}

Test(policy_pool, keeps_the_target_within_the_capacity)
{
	pool_begin(3, 9);
	PLAN("ask 0, ask 1, ask 2");
}

Test(policy_pool, a_plan_changes_nothing)
{
	struct fixture before;

	pool_begin(4, 4);
	before = pool;
	plan_to_text();
	plan_to_text();
	cr_expect_eq(memcmp(before.slots, pool.slots, sizeof(pool.slots)), 0);
	cr_expect_eq(memcmp(&before.policy, &pool.policy, sizeof(pool.policy)), 0);
}

Test(policy_pool, cuts_a_long_plan_and_asks_again_at_once)
{
	uint32_t next = 0;

	pool_begin(CAPACITY_MAX, 150);
	for (size_t expected = 150; expected > 0; expected -= pool.plan.count) {
		plan_to_text();
		cr_assert_eq(pool.plan.count, expected > POOL_PLAN_MAX ? POOL_PLAN_MAX : expected);
		cr_assert_leq(pool.plan.wake_ms, pool.now_ms);
		for (size_t i = 0; i < pool.plan.count; i++) {
			cr_assert_eq(pool.plan.actions[i].slot, next);
			born(next++);
		}
	}
	IDLE_FOR(START_TIMEOUT);
}

Test(policy_pool, a_pool_that_wants_no_worker_is_ready)
{
	pool_begin(4, 0);
	IDLE();
	cr_expect(pool_policy_is_ready(&pool.policy));
	cr_expect_not(pool_policy_start_failed(&pool.policy));
}

Test(policy_pool, kills_a_worker_that_does_not_become_ready)
{
	struct death_verdict verdict;

	pool_begin(2, 2);
	born(0);
	pool.now_ms += 10;
	born_ready(1, 1);
	IDLE_FOR(START_TIMEOUT - 10);
	PLAN("kill 0 start_timeout");
	tell(0, SLOT_KILL, SLOT_REASON_START_TIMEOUT);
	pool.now_ms += 3;
	verdict = died(0, (struct death){ .by_signal = true, .code = 9 });
	cr_expect_eq(verdict.kind, DEATH_KILLED);
	cr_expect_eq(verdict.reason, SLOT_REASON_START_TIMEOUT);
	cr_expect(verdict.before_ready);
	cr_expect(verdict.failure);
	cr_expect_eq(verdict.age_ms, START_TIMEOUT + 3);
	cr_expect_eq(verdict.sequel, DEATH_BACKING_OFF);
}

/* The failure stands when the master gives the worker up; its end may come much later, or not at all. */
Test(policy_pool, backs_off_from_the_kill_of_a_worker_that_does_not_become_ready)
{
	pool_begin(2, 1);
	born(0);
	pool.now_ms += START_TIMEOUT;
	tell(0, SLOT_KILL, SLOT_REASON_START_TIMEOUT);
	IDLE_FOR(WAIT_MIN);
	PLAN("ask 1");
	born(1);
	failed(0);
	IDLE_FOR(START_TIMEOUT);
	tell(1, SLOT_KILL, SLOT_REASON_START_TIMEOUT);
	cr_expect_eq(failed(1).retry_ms, 2 * WAIT_MIN, "the first death was the first failure's");
	IDLE_FOR(2 * WAIT_MIN);
}

Test(policy_pool, starts_nothing_beside_the_kill_of_a_worker_that_does_not_become_ready)
{
	pool_begin(2, 1);
	born(0);
	pool_policy_resize(&pool.policy, 1);
	pool.now_ms += START_TIMEOUT;
	PLAN("kill 0 start_timeout");
}

Test(policy_pool, waits_for_ever_without_a_start_timeout)
{
	pool_begin(1, 1);
	pool.policy.rules.start_timeout_ms = 0;
	born(0);
	IDLE();
	pool.now_ms += UINT64_C(1) << 40;
	IDLE();
}

Test(policy_pool, readiness_ends_the_start_timeout)
{
	pool_begin(1, 1);
	born(0);
	pool.now_ms += START_TIMEOUT - 1;
	ready(0);
	IDLE();
	pool.now_ms += 2;
	IDLE();
}

/* ---- failures ---- */

Test(policy_pool, a_failed_fork_makes_the_rest_of_the_plan_stale)
{
	pool_begin(4, 4);
	born(0);
	tell(1, SLOT_ASK, SLOT_REASON_NONE);
	tell(1, SLOT_FAILED, SLOT_REASON_NONE);
	IDLE_FOR(WAIT_MIN);
	PLAN("ask 1");
}

Test(policy_pool, sends_one_ahead_after_a_failure)
{
	pool_begin(4, 4);
	for (uint32_t i = 0; i < 4; i++)
		born(i);
	for (uint32_t i = 0; i < 4; i++) {
		struct death_verdict verdict = failed(i);

		cr_expect_eq(verdict.sequel, DEATH_BACKING_OFF);
		cr_expect_eq(
			verdict.retry_ms, WAIT_MIN, "workers started together and fallen together are one failure");
	}
	IDLE_FOR(WAIT_MIN);
	PLAN("ask 0");
	born(0);
	IDLE_FOR(START_TIMEOUT);
	pool.now_ms -= 10;
	ready(0);
	PLAN("ask 1, ask 2, ask 3");
}

Test(policy_pool, waits_longer_after_each_failure_up_to_the_maximum)
{
	static const uint64_t waits_ms[] = { 100, 200, 400, 800, 1000, 1000 };

	pool_begin(2, 2);
	for (size_t i = 0; i < ARRAY_SIZE(waits_ms); i++) {
		PLAN(i == 0 ? "ask 0, ask 1" : "ask 0");
		born(0);
		pool.now_ms += 7;
		cr_expect_eq(failed(0).retry_ms, waits_ms[i]);
		IDLE_FOR(waits_ms[i]);
	}
}

/* An old worker's end tells nothing of those that were started after the failure. */
Test(policy_pool, counts_a_failure_of_the_same_volley_once)
{
	pool_begin(3, 3);
	born_ready(0, 2);
	failed(0);
	IDLE_FOR(WAIT_MIN);
	born(0);
	failed(1);
	failed(2);
	cr_expect_eq(pool.policy.backoff.level, 1);
	PLAN("");
	cr_expect_eq(failed(0).retry_ms, 2 * WAIT_MIN);
}

Test(policy_pool, one_that_goes_ahead_is_replaced_by_one_when_it_leaves_by_itself)
{
	pool_begin(3, 3);
	tell(0, SLOT_ASK, SLOT_REASON_NONE);
	tell(0, SLOT_FAILED, SLOT_REASON_NONE);
	IDLE_FOR(WAIT_MIN);
	born(0);
	tell(0, SLOT_RETIRE, SLOT_REASON_SCALE_DOWN);
	PLAN("ask 1");
}

Test(policy_pool, forgets_failures_when_a_later_worker_has_served)
{
	struct death_verdict verdict;

	pool_begin(1, 1);
	for (int i = 0; i < 3; i++) {
		born(0);
		failed(0);
		pool.now_ms += WAIT_MAX;
	}
	born_ready(0, 0);
	verdict = died(0, (struct death){ .code = 0, .served = 1, .pool_has_served = true });
	cr_expect_eq(verdict.kind, DEATH_RECYCLED);
	cr_expect_eq(verdict.sequel, DEATH_REPLACED);
	PLAN("ask 0");
	born(0);
	cr_expect_eq(failed(0).retry_ms, WAIT_MIN);
}

Test(policy_pool, forgets_failures_when_a_later_worker_has_stood_long_enough)
{
	for (uint64_t stood_ms = POOL_HEALTHY_MS - 1; stood_ms <= POOL_HEALTHY_MS; stood_ms++) {
		pool_begin(2, 2);
		born(0);
		failed(0);
		pool.now_ms += WAIT_MIN;
		born_ready(0, 0);
		pool.now_ms += stood_ms;
		born(1);
		cr_expect_eq(failed(1).retry_ms, stood_ms < POOL_HEALTHY_MS ? 2 * WAIT_MIN : WAIT_MIN);
	}
}

Test(policy_pool, a_failed_fork_long_after_the_recovery_is_a_first_failure)
{
	pool_begin(2, 1);
	for (int i = 0; i < 4; i++) {
		born(0);
		failed(0);
		pool.now_ms += WAIT_MAX;
	}
	born_ready(0, 0);
	pool.now_ms += POOL_HEALTHY_MS;
	pool_policy_resize(&pool.policy, 1);
	PLAN("ask 1");
	tell(1, SLOT_ASK, SLOT_REASON_NONE);
	tell(1, SLOT_FAILED, SLOT_REASON_NONE);
	IDLE_FOR(WAIT_MIN);
}

Test(policy_pool, says_whose_replacement_waits_for_the_one_ahead)
{
	struct death_verdict verdict;

	pool_begin(3, 3);
	born_ready(0, 1);
	tell(2, SLOT_ASK, SLOT_REASON_NONE);
	tell(2, SLOT_FAILED, SLOT_REASON_NONE);
	pool.now_ms += WAIT_MIN;
	born(2);
	verdict = died(0, (struct death){ .served = 1, .pool_has_served = true });
	cr_expect_eq(verdict.sequel, DEATH_BACKING_OFF, "slot 2 goes ahead");
	cr_expect_eq(verdict.retry_ms, 0);
	failed(2);
	pool.now_ms += 2 * WAIT_MIN;
	verdict = died(1, (struct death){ .served = 1, .pool_has_served = true });
	PLAN("ask 0");
	cr_expect_eq(verdict.sequel, DEATH_BACKING_OFF, "three are missing, and one may start");
}

/* ---- ready, or not to be started ---- */

Test(policy_pool, start_fails_after_so_many_failures_with_none_ready)
{
	pool_begin(2, 2);
	for (uint32_t i = 1; i <= POOL_START_ATTEMPTS; i++) {
		cr_expect_not(pool_policy_start_failed(&pool.policy), "after %u", i - 1);
		born(0);
		failed(0);
		pool.now_ms += WAIT_MAX;
	}
	cr_expect(pool_policy_start_failed(&pool.policy));
	cr_expect_not(pool_policy_is_ready(&pool.policy));
}

Test(policy_pool, is_ready_with_those_that_will_start)
{
	pool_begin(2, 2);
	born_ready(0, 0);
	for (uint32_t i = 1; i <= POOL_START_ATTEMPTS; i++) {
		cr_expect_not(pool_policy_is_ready(&pool.policy), "after %u", i - 1);
		born(1);
		failed(1);
		pool.now_ms += WAIT_MAX;
	}
	cr_expect(pool_policy_is_ready(&pool.policy));
	cr_expect_not(pool_policy_start_failed(&pool.policy));
}

Test(policy_pool, once_ready_stays_ready_and_does_not_fail_to_start)
{
	pool_begin(1, 1);
	born_ready(0, 0);
	for (uint32_t i = 0; i < 2 * POOL_START_ATTEMPTS; i++) {
		failed(0);
		cr_expect(pool_policy_is_ready(&pool.policy));
		cr_expect_not(pool_policy_start_failed(&pool.policy));
		pool.now_ms += WAIT_MAX;
		born(0);
	}
}

Test(policy_pool, is_ready_when_the_rest_is_no_longer_wanted)
{
	pool_begin(2, 2);
	born_ready(0, 0);
	tell(1, SLOT_ASK, SLOT_REASON_NONE);
	tell(1, SLOT_FAILED, SLOT_REASON_NONE);
	cr_expect_not(pool_policy_is_ready(&pool.policy));
	pool_policy_resize(&pool.policy, -1);
	cr_expect(pool_policy_is_ready(&pool.policy));
}

/* ---- size ---- */

Test(policy_pool, resizes_within_one_and_the_capacity)
{
	pool_begin(10, 5);
	cr_expect_eq(pool_policy_resize(&pool.policy, 1), 6);
	cr_expect_eq(pool_policy_resize(&pool.policy, -1), 5);
	cr_expect_eq(pool_policy_resize(&pool.policy, 0), 5);
	cr_expect_eq(pool_policy_resize(&pool.policy, 3), 8);
	cr_expect_eq(pool_policy_resize(&pool.policy, -4), 4);
	cr_expect_eq(pool_policy_resize(&pool.policy, 7), 10);
	cr_expect_eq(pool_policy_resize(&pool.policy, 1), 10);
	cr_expect_eq(pool_policy_resize(&pool.policy, INT_MIN), 1);
	cr_expect_eq(pool_policy_resize(&pool.policy, -1), 1);
	cr_expect_eq(pool_policy_resize(&pool.policy, INT_MAX), 10);
}

Test(policy_pool, grows_at_once)
{
	pool_begin(4, 2);
	born_ready(0, 1);
	pool_policy_resize(&pool.policy, 1);
	PLAN("ask 2");
}

Test(policy_pool, shrinks_from_the_highest_numbers)
{
	pool_begin(8, 5);
	born_ready(0, 3);
	born(4);
	pool_policy_resize(&pool.policy, -2);
	PLAN("retire 4 scale down, retire 3 scale down");
	tell(4, SLOT_RETIRE, SLOT_REASON_SCALE_DOWN);
	PLAN("retire 3 scale down");
	tell(3, SLOT_RETIRE, SLOT_REASON_SCALE_DOWN);
	PLAN("");
}

Test(policy_pool, a_busy_worker_may_take_its_time_to_leave)
{
	pool_begin(2, 2);
	born_ready(0, 1);
	pool_policy_resize(&pool.policy, -1);
	tell(1, SLOT_RETIRE, SLOT_REASON_SCALE_DOWN);
	IDLE();
	pool.now_ms += 24 * 3600 * 1000;
	IDLE();
}

/* It has no connection to finish: without its bound, one that hangs would keep its slot for ever. */
Test(policy_pool, a_retiring_worker_keeps_its_start_timeout_until_it_is_ready)
{
	pool_begin(3, 3);
	born_ready(0, 0);
	born(1);
	born(2);
	pool_policy_resize(&pool.policy, -2);
	tell(2, SLOT_RETIRE, SLOT_REASON_SCALE_DOWN);
	tell(1, SLOT_RETIRE, SLOT_REASON_SCALE_DOWN);
	ready(1);
	IDLE_FOR(START_TIMEOUT);
	PLAN("kill 2 start_timeout");
	tell(2, SLOT_KILL, SLOT_REASON_START_TIMEOUT);
	pool.now_ms += 1;
	PLAN("");
}

Test(policy_pool, what_is_asked_for_counts_as_surplus_and_leaves_once_it_is_born)
{
	pool_begin(4, 4);
	born_ready(0, 2);
	tell(3, SLOT_ASK, SLOT_REASON_NONE);
	pool_policy_resize(&pool.policy, -1);
	IDLE();
	tell(3, SLOT_BORN, SLOT_REASON_NONE);
	PLAN("retire 3 scale down");
}

/* Its end may be all that the smaller target asks for. */
Test(policy_pool, retires_nobody_beside_one_that_is_overdue)
{
	pool_begin(3, 3);
	born_ready(0, 0);
	born(1);
	pool.now_ms += 10;
	born_ready(2, 2);
	pool_policy_resize(&pool.policy, -1);
	pool.now_ms += START_TIMEOUT - 10;
	PLAN("kill 1 start_timeout");
	tell(1, SLOT_KILL, SLOT_REASON_START_TIMEOUT);
	PLAN("");
}

Test(policy_pool, replaces_one_that_retires_after_the_target_has_risen_again)
{
	pool_begin(3, 2);
	born_ready(0, 1);
	pool_policy_resize(&pool.policy, -1);
	tell(1, SLOT_RETIRE, SLOT_REASON_SCALE_DOWN);
	pool_policy_resize(&pool.policy, 1);
	PLAN("ask 2");
	born(2);
	cr_expect_eq(died(1, (struct death){ .code = 0 }).sequel, DEATH_NOT_REPLACED);
}

Test(policy_pool, never_uses_more_slots_than_there_are)
{
	pool_begin(2, 2);
	born_ready(0, 1);
	tell(0, SLOT_RETIRE, SLOT_REASON_SCALE_DOWN);
	tell(1, SLOT_RETIRE, SLOT_REASON_SCALE_DOWN);
	IDLE();
	died(1, (struct death){ .code = 0 });
	PLAN("ask 1");
}

/* ---- the end ---- */

Test(policy_pool, stop_climbs_from_retire_to_giving_up)
{
	struct death_verdict verdict;

	pool_begin(2, 2);
	born_ready(0, 0);
	born(1);
	pool_policy_retire(&pool.policy, pool.now_ms + 3000);
	PLAN("retire 0 stop, retire 1 stop");
	tell(0, SLOT_RETIRE, SLOT_REASON_STOP);
	tell(1, SLOT_RETIRE, SLOT_REASON_STOP);
	IDLE_FOR(3000);
	PLAN("quit 0 stop_timeout, quit 1 stop_timeout");
	tell(0, SLOT_QUIT, SLOT_REASON_STOP_TIMEOUT);
	tell(1, SLOT_QUIT, SLOT_REASON_STOP_TIMEOUT);
	IDLE_FOR(POOL_QUIT_GRACE_MS);
	PLAN("kill 0 stop_timeout, kill 1 stop_timeout");
	tell(0, SLOT_KILL, SLOT_REASON_STOP_TIMEOUT);
	tell(1, SLOT_KILL, SLOT_REASON_STOP_TIMEOUT);
	IDLE_FOR(POOL_KILL_GRACE_MS);
	PLAN("give up 0 stop_timeout, give up 1 stop_timeout");
	tell(0, SLOT_GIVE_UP, SLOT_REASON_NONE);
	tell(1, SLOT_GIVE_UP, SLOT_REASON_NONE);
	IDLE();
	cr_expect_eq(pool_policy_living(&pool.policy), 0);
	verdict = died(0, (struct death){ .by_signal = true, .code = 9 });
	cr_expect_eq(verdict.kind, DEATH_KILLED);
	cr_expect_eq(verdict.reason, SLOT_REASON_STOP_TIMEOUT, "giving up has no reason of its own");
	cr_expect_eq(verdict.sequel, DEATH_NOT_REPLACED);
	IDLE();
}

Test(policy_pool, stop_bounds_workers_that_retire_already)
{
	pool_begin(2, 2);
	born_ready(0, 1);
	pool_policy_resize(&pool.policy, -1);
	tell(1, SLOT_RETIRE, SLOT_REASON_SCALE_DOWN);
	tell(0, SLOT_RETIRE, SLOT_REASON_STOP);
	pool_policy_retire(&pool.policy, pool.now_ms + 700);
	IDLE_FOR(700);
	PLAN("quit 0 stop_timeout, quit 1 stop_timeout");
}

Test(policy_pool, stop_retires_what_is_born_after_it_and_starts_nothing)
{
	pool_begin(3, 3);
	tell(0, SLOT_ASK, SLOT_REASON_NONE);
	tell(1, SLOT_ASK, SLOT_REASON_NONE);
	pool_policy_retire(&pool.policy, pool.now_ms + 700);
	IDLE();
	tell(0, SLOT_BORN, SLOT_REASON_NONE);
	PLAN("retire 0 stop");
	tell(1, SLOT_FAILED, SLOT_REASON_NONE);
	PLAN("retire 0 stop");
	cr_expect_eq(died(0, (struct death){ .code = 1 }).sequel, DEATH_NOT_REPLACED);
	IDLE();
}

Test(policy_pool, a_worker_born_after_the_stop_deadline_is_ended_too)
{
	pool_begin(1, 1);
	tell(0, SLOT_ASK, SLOT_REASON_NONE);
	pool_policy_retire(&pool.policy, pool.now_ms + 700);
	pool.now_ms += 900;
	tell(0, SLOT_BORN, SLOT_REASON_NONE);
	PLAN("retire 0 stop");
	tell(0, SLOT_RETIRE, SLOT_REASON_STOP);
	PLAN("quit 0 stop_timeout");
}

Test(policy_pool, quit_ends_every_state_at_once)
{
	pool_begin(6, 6);
	born_ready(0, 0);
	born(1);
	born_ready(2, 2);
	tell(2, SLOT_RETIRE, SLOT_REASON_SCALE_DOWN);
	born_ready(3, 3);
	tell(3, SLOT_KILL, SLOT_REASON_REQUEST_TIMEOUT);
	tell(4, SLOT_ASK, SLOT_REASON_NONE);
	pool_policy_quit(&pool.policy, SLOT_REASON_STOP);
	PLAN("quit 0 stop, quit 1 stop, quit 2 stop");
	for (uint32_t i = 0; i < 3; i++)
		tell(i, SLOT_QUIT, SLOT_REASON_STOP);
	tell(4, SLOT_BORN, SLOT_REASON_NONE);
	PLAN("quit 4 stop");
	tell(4, SLOT_QUIT, SLOT_REASON_STOP);
	IDLE_FOR(POOL_QUIT_GRACE_MS);
	PLAN("kill 0 stop, kill 1 stop, kill 2 stop, kill 4 stop");
}

Test(policy_pool, quit_follows_a_stop_and_not_the_other_way)
{
	pool_begin(1, 1);
	born_ready(0, 0);
	pool_policy_retire(&pool.policy, pool.now_ms + 60000);
	tell(0, SLOT_RETIRE, SLOT_REASON_STOP);
	pool_policy_retire(&pool.policy, pool.now_ms + 90000);
	cr_expect_eq(pool.policy.stop_deadline_ms, pool.now_ms + 60000, "the first deadline counts");
	pool_policy_quit(&pool.policy, SLOT_REASON_STOP_TIMEOUT);
	PLAN("quit 0 stop_timeout");
	tell(0, SLOT_QUIT, SLOT_REASON_STOP_TIMEOUT);
	pool_policy_retire(&pool.policy, pool.now_ms + 60000);
	cr_expect_eq(pool.policy.phase, POOL_QUITTING);
	IDLE_FOR(POOL_QUIT_GRACE_MS);
}

Test(policy_pool, a_late_report_does_not_prolong_a_grace)
{
	pool_begin(1, 1);
	born(0);
	pool_policy_quit(&pool.policy, SLOT_REASON_STOP);
	tell(0, SLOT_QUIT, SLOT_REASON_STOP);
	pool.now_ms += 400;
	ready(0);
	IDLE_FOR(POOL_QUIT_GRACE_MS - 400);
	tell(0, SLOT_KILL, SLOT_REASON_STOP);
	pool.now_ms += 400;
	ready(0);
	IDLE_FOR(POOL_KILL_GRACE_MS - 400);
}

Test(policy_pool, a_lost_worker_keeps_its_slot_and_is_replaced_in_another)
{
	pool_begin(3, 2);
	born_ready(0, 1);
	tell(0, SLOT_KILL, SLOT_REASON_REQUEST_TIMEOUT);
	PLAN("ask 2");
	born_ready(2, 2);
	IDLE_FOR(POOL_KILL_GRACE_MS);
	PLAN("give up 0 request_timeout");
	tell(0, SLOT_GIVE_UP, SLOT_REASON_NONE);
	IDLE();
	cr_expect_eq(pool_policy_living(&pool.policy), 2);
	cr_expect_eq(died(0, (struct death){ .by_signal = true, .code = 9, .serving = true, .pool_has_served = true })
			     .sequel,
		DEATH_NOT_REPLACED);
	IDLE();
}

/* ---- events that do not fit ---- */

Test(policy_pool, refuses_what_the_state_does_not_know)
{
	struct death_verdict verdict = { .age_ms = 4711 };
	const struct death death = { .code = 1 };

	pool_begin(2, 2);
	refuse(0, SLOT_BORN);
	refuse(0, SLOT_BECAME_READY);
	refuse(0, SLOT_EXITED);
	cr_expect_not(pool_policy_died(&pool.policy, 0, &death, pool.now_ms, &verdict));
	tell(0, SLOT_ASK, SLOT_REASON_NONE);
	refuse(0, SLOT_ASK);
	refuse(0, SLOT_KILL);
	cr_expect_not(pool_policy_died(&pool.policy, 0, &death, pool.now_ms, &verdict), "no process yet");
	tell(0, SLOT_BORN, SLOT_REASON_NONE);
	ready(0);
	refuse(0, SLOT_BECAME_READY);
	refuse(0, SLOT_EXITED);
	cr_expect_eq(verdict.age_ms, 4711, "untouched");
}

/* ---- deaths ---- */

enum life {
	LIFE_IN_START,
	LIFE_START_TIMED_OUT,
	LIFE_READY_SINCE_NOW, /* ready for less than POOL_HEALTHY_MS */
	LIFE_READY_FOR_LONG,
	LIFE_SHRUNK,
	LIFE_SHRUNK_IN_START,
	LIFE_STOPPED,
	LIFE_QUIT_BY_STOP,
	LIFE_QUIT_BY_TIMEOUT,
	LIFE_KILLED_BY_STOP,
	LIFE_REQUEST_TIMED_OUT,
	LIFE_REQUEST_TIMED_OUT_LATE, /* after a long time as ready */
	LIFE_LOST,
};

enum manner {
	MANNER_EXIT_0,
	MANNER_EXIT_1,
	MANNER_SIGNAL,
	MANNERS,
};

/*
 * Whether it counts against the pool ('F') by what the worker and the pool have to show:
 *	idle, in a pool that has proven nothing
 *	idle, in a proven pool
 *	serving its first connection, in a pool that has proven nothing
 *	serving its first connection, in a proven pool
 *	idle, has served (so the pool is proven)
 *	serving, has served
 */
#define SHOWINGS 6

struct death_row {
	enum life life;
	enum slot_reason reason;
	bool before_ready;
	enum death_kind kind[MANNERS]; /* exit 0, exit 1, signal */
	const char *failure[MANNERS];
};

#define BY_ITSELF                                                                                                      \
	{                                                                                                              \
		DEATH_RECYCLED, DEATH_EXITED, DEATH_SIGNALED                                                           \
	}
#define AT_START                                                                                                       \
	{                                                                                                              \
		DEATH_EXITED, DEATH_EXITED, DEATH_SIGNALED                                                             \
	}
#define AS_ASKED                                                                                                       \
	{                                                                                                              \
		DEATH_RETIRED, DEATH_EXITED, DEATH_SIGNALED                                                            \
	}
#define BY_US                                                                                                          \
	{                                                                                                              \
		DEATH_KILLED, DEATH_KILLED, DEATH_KILLED                                                               \
	}
#define ALWAYS                                                                                                         \
	{                                                                                                              \
		"FFFFFF", "FFFFFF", "FFFFFF"                                                                           \
	}
#define NEVER                                                                                                          \
	{                                                                                                              \
		"------", "------", "------"                                                                           \
	}
/* A worker that falls idle right after it was ready tells of its program; one that serves in a proven pool, of its
 * client. */
#define MAYBE                                                                                                          \
	{                                                                                                              \
		"FFF---", "FFF---", "FFF---"                                                                           \
	}

static const struct death_row death_rows[] = {
	{LIFE_IN_START,                SLOT_REASON_NONE,            true,  AT_START,  ALWAYS},
	{ LIFE_START_TIMED_OUT,        SLOT_REASON_START_TIMEOUT,   true,  BY_US,     ALWAYS},
	{ LIFE_READY_SINCE_NOW,        SLOT_REASON_NONE,            false, BY_ITSELF, MAYBE },
	{ LIFE_READY_FOR_LONG,         SLOT_REASON_NONE,            false, BY_ITSELF, NEVER },
	{ LIFE_SHRUNK,                 SLOT_REASON_SCALE_DOWN,      false, AS_ASKED,  NEVER },
	{ LIFE_SHRUNK_IN_START,        SLOT_REASON_SCALE_DOWN,      true,  AS_ASKED,  NEVER },
	{ LIFE_STOPPED,                SLOT_REASON_STOP,            false, AS_ASKED,  NEVER },
	{ LIFE_QUIT_BY_STOP,           SLOT_REASON_STOP,            false, AS_ASKED,  NEVER },
	{ LIFE_QUIT_BY_TIMEOUT,        SLOT_REASON_STOP_TIMEOUT,    false, BY_US,     NEVER },
	{ LIFE_KILLED_BY_STOP,         SLOT_REASON_STOP,            false, BY_US,     NEVER },
	{ LIFE_REQUEST_TIMED_OUT,      SLOT_REASON_REQUEST_TIMEOUT, false, BY_US,     MAYBE },
	{ LIFE_REQUEST_TIMED_OUT_LATE, SLOT_REASON_REQUEST_TIMEOUT, false, BY_US,     NEVER },
	{ LIFE_LOST,                   SLOT_REASON_REQUEST_TIMEOUT, false, BY_US,     MAYBE },
};

/* Brings slot 0 there. */
static void live(enum life life)
{
	born(0);
	if (life != LIFE_IN_START && life != LIFE_START_TIMED_OUT && life != LIFE_SHRUNK_IN_START)
		ready(0);
	switch (life) {
	case LIFE_START_TIMED_OUT:
		tell(0, SLOT_KILL, SLOT_REASON_START_TIMEOUT);
		break;
	case LIFE_READY_FOR_LONG:
		pool.now_ms += POOL_HEALTHY_MS;
		break;
	case LIFE_SHRUNK:
	case LIFE_SHRUNK_IN_START:
		pool_policy_resize(&pool.policy, -1);
		tell(0, SLOT_RETIRE, SLOT_REASON_SCALE_DOWN);
		break;
	case LIFE_STOPPED:
		pool_policy_retire(&pool.policy, DEADLINE_NONE);
		tell(0, SLOT_RETIRE, SLOT_REASON_STOP);
		break;
	case LIFE_QUIT_BY_STOP:
	case LIFE_KILLED_BY_STOP:
		pool_policy_quit(&pool.policy, SLOT_REASON_STOP);
		tell(0, SLOT_QUIT, SLOT_REASON_STOP);
		if (life == LIFE_KILLED_BY_STOP)
			tell(0, SLOT_KILL, SLOT_REASON_STOP);
		break;
	case LIFE_QUIT_BY_TIMEOUT:
		pool_policy_quit(&pool.policy, SLOT_REASON_STOP_TIMEOUT);
		tell(0, SLOT_QUIT, SLOT_REASON_STOP_TIMEOUT);
		break;
	case LIFE_REQUEST_TIMED_OUT_LATE:
		pool.now_ms += POOL_HEALTHY_MS;
		ATTR_FALLTHROUGH;
	case LIFE_REQUEST_TIMED_OUT:
	case LIFE_LOST:
		tell(0, SLOT_KILL, SLOT_REASON_REQUEST_TIMEOUT);
		if (life == LIFE_LOST)
			tell(0, SLOT_GIVE_UP, SLOT_REASON_NONE);
		break;
	default:
		break;
	}
}

static struct death death_of(enum manner manner, int showing)
{
	static const struct death showings[SHOWINGS] = {
		{.served = 0,  .serving = false, .pool_has_served = false},
		{ .served = 0, .serving = false, .pool_has_served = true },
		{ .served = 0, .serving = true,  .pool_has_served = false},
		{ .served = 0, .serving = true,  .pool_has_served = true },
		{ .served = 3, .serving = false, .pool_has_served = true },
		{ .served = 3, .serving = true,  .pool_has_served = true },
	};
	struct death death = showings[showing];

	death.by_signal = manner == MANNER_SIGNAL;
	death.code = manner == MANNER_EXIT_0 ? 0 : 1;
	return death;
}

static enum death_sequel expected_sequel(bool failure)
{
	if (pool.policy.phase != POOL_SERVING || pool.policy.target == 1)
		return DEATH_NOT_REPLACED;
	return failure ? DEATH_BACKING_OFF : DEATH_REPLACED;
}

static void check_death(const struct death_row *row, enum manner manner, int showing)
{
	bool failure = row->failure[manner][showing] == 'F';
	struct death_verdict verdict;
	enum death_sequel sequel;
	char where[64];

	snprintf(where, sizeof(where), "life %d, manner %d, showing %d", (int)row->life, (int)manner, showing);
	pool_begin(3, 2);
	born_ready(1, 1);
	live(row->life);
	pool.now_ms += 3;
	sequel = expected_sequel(failure);
	verdict = died(0, death_of(manner, showing));
	cr_expect_eq(verdict.kind, row->kind[manner], "%s: %s", where, death_kind_name(verdict.kind));
	cr_expect_eq(verdict.reason, row->reason, "%s: %s", where, slot_reason_name(verdict.reason));
	cr_expect_eq(verdict.before_ready, row->before_ready, "%s", where);
	cr_expect_eq(verdict.failure, failure, "%s", where);
	cr_expect_eq(verdict.age_ms, pool.now_ms - 50000, "%s", where);
	cr_expect_eq(verdict.sequel, sequel, "%s: %s", where, death_sequel_name(verdict.sequel));
	if (sequel == DEATH_BACKING_OFF)
		cr_expect_eq(
			verdict.retry_ms, row->life == LIFE_START_TIMED_OUT ? WAIT_MIN - 3 : WAIT_MIN, "%s", where);
	else
		cr_expect_eq(verdict.retry_ms, 0, "%s", where);
	plan_to_text();
	cr_expect_eq(strcmp(pool.text, "ask 0") == 0, sequel == DEATH_REPLACED, "%s: %s", where, pool.text);
}

Test(policy_pool, weighs_every_death)
{
	for (size_t i = 0; i < ARRAY_SIZE(death_rows); i++)
		for (enum manner manner = 0; manner < MANNERS; manner++)
			for (int showing = 0; showing < SHOWINGS; showing++)
				check_death(&death_rows[i], manner, showing);
}

/* Some worker of the pool has been ready for long: this, too, proves it, whoever it is. */
Test(policy_pool, a_worker_that_stands_proves_the_pool_for_the_others)
{
	struct death_verdict verdict;

	pool_begin(2, 2);
	born_ready(0, 0);
	pool.now_ms += POOL_HEALTHY_MS;
	born_ready(1, 1);
	verdict = died(1, (struct death){ .by_signal = true, .code = 11, .serving = true });
	cr_expect_not(verdict.failure, "one client, not the pool");
	cr_expect_eq(verdict.sequel, DEATH_REPLACED);
}

Test(policy_pool, a_pool_once_proven_stays_proven)
{
	pool_begin(1, 1);
	born_ready(0, 0);
	died(0, (struct death){ .served = 1, .pool_has_served = true });
	for (int i = 0; i < 100; i++) {
		PLAN("ask 0");
		born_ready(0, 0);
		cr_expect_eq(died(0, (struct death){ .by_signal = true, .code = 11, .serving = true }).sequel,
			DEATH_REPLACED);
	}
}

/* It says that it is ready after the master has given it up: that proves nothing. */
Test(policy_pool, readiness_after_the_kill_does_not_count)
{
	struct death_verdict verdict;

	pool_begin(2, 1);
	born(0);
	pool.now_ms += START_TIMEOUT;
	tell(0, SLOT_KILL, SLOT_REASON_START_TIMEOUT);
	ready(0);
	pool.now_ms += POOL_HEALTHY_MS;
	verdict = died(0, (struct death){ .by_signal = true, .code = 9 });
	cr_expect(verdict.before_ready);
	cr_expect(verdict.failure);
	cr_expect_not(pool.policy.proven);
}

Test(policy_pool, names_each_kind_of_death_and_each_sequel)
{
	for (enum death_kind i = 0; i < DEATH_KINDS; i++) {
		cr_assert_not_null(death_kind_name(i));
		for (enum death_kind j = 0; j < i; j++)
			cr_expect_str_neq(death_kind_name(i), death_kind_name(j));
	}
	for (enum death_sequel i = 0; i < DEATH_SEQUELS; i++) {
		cr_assert_not_null(death_sequel_name(i));
		for (enum death_sequel j = 0; j < i; j++)
			cr_expect_str_neq(death_sequel_name(i), death_sequel_name(j));
	}
}
