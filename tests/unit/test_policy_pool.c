/* SPDX-License-Identifier: MIT */
/*
 * The decisions about a pool's size, each by itself: starting, failures, readiness, resizing.
 * test_policy_pool_end.c and test_policy_death.c have its end and its deaths, test_policy_simulator.c their interplay.
 */
#include <criterion/criterion.h>
#include <limits.h>
#include <string.h>

#include "base/attrs.h"
#include "policy/deadline.h"
#include "policy/pool.h"
#include "pool_fixture.h"

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
	struct pool_fixture before;

	pool_begin(4, 4);
	before = pool;
	make_plan();
	make_plan();
	cr_expect_eq(memcmp(before.slots, pool.slots, sizeof(pool.slots)), 0);
	cr_expect_eq(memcmp(&before.policy, &pool.policy, sizeof(pool.policy)), 0);
}

Test(policy_pool, cuts_a_long_plan_and_asks_again_at_once)
{
	uint32_t next = 0;

	pool_begin(CAPACITY_MAX, 150);
	for (size_t expected = 150; expected > 0; expected -= pool.plan.count) {
		make_plan();
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
	for (uint64_t stood_ms = HEALTHY - 1; stood_ms <= HEALTHY; stood_ms++) {
		pool_begin(2, 2);
		born(0);
		failed(0);
		pool.now_ms += WAIT_MIN;
		born_ready(0, 0);
		pool.now_ms += stood_ms;
		born(1);
		cr_expect_eq(failed(1).retry_ms, stood_ms < HEALTHY ? 2 * WAIT_MIN : WAIT_MIN);
	}
}

/* The time is the rules', whatever it is; also that of a reload, from its commit on. */
Test(policy_pool, takes_a_worker_for_healthy_after_the_time_that_the_rules_say)
{
	for (uint64_t healthy_ms = 100; healthy_ms <= 1000000; healthy_ms *= 10) {
		pool_begin(1, 1);
		pool.policy.rules.healthy_ms = healthy_ms;
		born_ready(0, 0);
		pool.now_ms += healthy_ms - 1;
		cr_assert_eq(failed(0).sequel, DEATH_BACKING_OFF, "%llu", (unsigned long long)healthy_ms);
		pool.now_ms += WAIT_MIN;
		born_ready(0, 0);
		pool.now_ms += healthy_ms;
		cr_assert_eq(died(0, (struct death){ .code = 1 }).sequel, DEATH_REPLACED, "%llu",
			(unsigned long long)healthy_ms);
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
	pool.now_ms += HEALTHY;
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

/* ---- degraded ---- */

static void expect_degraded(bool degraded, uint64_t look_ms)
{
	uint64_t seen_ms;

	cr_expect_eq(pool_policy_is_degraded(&pool.policy, pool.now_ms, &seen_ms), degraded, "after %lld ms",
		(long long)(pool.now_ms - BEGIN_MS));
	cr_expect_eq(seen_ms, look_ms, "%lld and not %lld", (long long)(seen_ms - pool.now_ms),
		(long long)(look_ms - pool.now_ms));
}

Test(policy_pool, is_degraded_from_the_failure_until_a_worker_is_healthy)
{
	pool_begin(3, 3);
	born_ready(0, 1);
	born(2);
	expect_degraded(false, DEADLINE_NONE);
	failed(2);
	expect_degraded(true, DEADLINE_NONE);
	pool.now_ms += WAIT_MIN;
	born(2);
	expect_degraded(true, DEADLINE_NONE);
	pool.now_ms += 7;
	ready(2);
	expect_degraded(true, pool.now_ms + HEALTHY);
	pool.now_ms += HEALTHY - 1;
	expect_degraded(true, pool.now_ms + 1);
	pool.now_ms += 1;
	expect_degraded(false, DEADLINE_NONE);
}

Test(policy_pool, is_degraded_while_the_others_are_on_their_way)
{
	pool_begin(2, 2);
	tell(0, SLOT_ASK, SLOT_REASON_NONE);
	tell(0, SLOT_FAILED, SLOT_REASON_NONE);
	pool.now_ms += WAIT_MIN;
	born_ready(0, 0);
	born(1);
	pool.now_ms += HEALTHY;
	expect_degraded(true, DEADLINE_NONE);
	ready(1);
	expect_degraded(false, DEADLINE_NONE);
}

Test(policy_pool, is_not_degraded_once_a_later_worker_has_served)
{
	pool_begin(1, 1);
	born(0);
	failed(0);
	pool.now_ms += WAIT_MIN;
	born_ready(0, 0);
	expect_degraded(true, pool.now_ms + HEALTHY);
	died(0, (struct death){ .served = 1, .pool_has_served = true });
	expect_degraded(false, DEADLINE_NONE);
}

Test(policy_pool, is_not_degraded_when_it_ends)
{
	pool_begin(1, 1);
	born(0);
	failed(0);
	expect_degraded(true, DEADLINE_NONE);
	pool_policy_retire(&pool.policy, DEADLINE_NONE);
	expect_degraded(false, DEADLINE_NONE);
}

/* ---- ready, or not to be started ---- */

Test(policy_pool, start_fails_after_so_many_failures_with_none_ready)
{
	pool_begin(2, 2);
	for (uint32_t i = 1; i <= GIVE_UP; i++) {
		cr_expect_not(pool_policy_start_failed(&pool.policy), "after %u", i - 1);
		born(0);
		failed(0);
		pool.now_ms += WAIT_MAX;
	}
	cr_expect(pool_policy_start_failed(&pool.policy));
	cr_expect_not(pool_policy_is_ready(&pool.policy));
}

Test(policy_pool, gives_up_after_as_many_failures_as_the_rules_say)
{
	for (uint32_t attempts = 1; attempts <= 3 * GIVE_UP; attempts++) {
		pool_begin(2, 2);
		pool.policy.rules.give_up_after = attempts;
		for (uint32_t i = 1; i <= attempts; i++) {
			cr_assert_not(pool_policy_start_failed(&pool.policy), "%u of %u", i - 1, attempts);
			born(0);
			failed(0);
			pool.now_ms += WAIT_MAX;
		}
		cr_assert(pool_policy_start_failed(&pool.policy), "%u", attempts);
	}
}

/* It is tried for ever, but whoever waits for the whole need not wait for it as long. */
Test(policy_pool, a_pool_that_is_never_given_up_keeps_nobody_waiting)
{
	pool_begin(2, 2);
	pool.policy.rules.give_up_after = 0;
	for (uint32_t i = 1; i <= 20 * POOL_START_ATTEMPTS; i++) {
		cr_assert_eq(pool_policy_is_ready(&pool.policy), i > POOL_START_ATTEMPTS, "after %u", i - 1);
		born(0);
		failed(0);
		cr_assert_not(pool_policy_start_failed(&pool.policy), "after %u", i);
		pool.now_ms += WAIT_MAX;
	}
	cr_expect_not(pool.policy.was_ready, "it was not, and a program that leaves proves nothing");
	born_ready(0, 0);
	cr_expect(pool.policy.was_ready, "with those that will start");
}

Test(policy_pool, is_ready_with_those_that_will_start)
{
	pool_begin(2, 2);
	born_ready(0, 0);
	for (uint32_t i = 1; i <= GIVE_UP; i++) {
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
	for (uint32_t i = 0; i < 2 * GIVE_UP; i++) {
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

Test(policy_pool, scales_within_one_and_the_capacity)
{
	static const struct pool_rules rules = { .start_timeout_ms = 1 };

	pool_begin(10, 5);
	cr_expect_eq(pool_policy_scale(&pool.policy, 7), 7);
	cr_expect_eq(pool_policy_scale(&pool.policy, 0), 1);
	cr_expect_eq(pool_policy_scale(&pool.policy, UINT32_MAX), 10);
	/* Whoever scales while a reload is tried, has seen what the file says. */
	cr_assert(pool_policy_reload(&pool.policy, 2, &rules, 3, pool.now_ms));
	cr_expect_eq(pool_policy_scale(&pool.policy, 4), 4);
	cr_expect_eq(pool.policy.reload.target, 4);
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
