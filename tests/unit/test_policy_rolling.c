/* SPDX-License-Identifier: MIT */
/*
 * A pool's part in a reload, each decision by itself: the canary, what it must not touch, commit and undo, the roll.
 * test_policy_reload.c has the transaction over all pools, test_policy_simulator.c the interplay.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "policy/deadline.h"
#include "policy/pool.h"
#include "pool_fixture.h"

/* Another start_timeout and backoff, so that it shows whose are in force. */
#define NEW_START_TIMEOUT 3000
#define NEW_WAIT_MIN      70

static const struct pool_rules new_rules = {
	.start_timeout_ms = NEW_START_TIMEOUT,
	.healthy_ms = HEALTHY,
	.give_up_after = 1,
	.backoff = {.min_ms = NEW_WAIT_MIN, .max_ms = WAIT_MAX},
};

static void reload_to(uint32_t generation, uint32_t target)
{
	cr_assert(pool_policy_reload(&pool.policy, generation, &new_rules, target, pool.now_ms));
	cr_assert_eq(pool_policy_canary(&pool.policy, pool.now_ms), CANARY_WANTED);
}

static void expect_canary(enum canary_state expected)
{
	enum canary_state canary = pool_policy_canary(&pool.policy, pool.now_ms);

	cr_assert_eq(canary, expected, "the canary is %s and not %s", canary_state_name(canary),
		canary_state_name(expected));
}

static void canary_born(uint32_t slot)
{
	tell(slot, SLOT_ASK, SLOT_REASON_RELOAD);
	expect_canary(CANARY_ASKED);
	tell(slot, SLOT_BORN, SLOT_REASON_NONE);
}

/* A pool of TARGET ready workers in the first slots, the canary of generation 2 after them, and committed. */
static void roll(uint32_t capacity, uint32_t target, uint32_t new_target)
{
	pool_begin(capacity, target);
	born_ready(0, target - 1);
	reload_to(2, new_target);
	canary_born(target);
	ready(target);
	cr_assert(pool_policy_commit(&pool.policy));
}

static void retired(uint32_t slot)
{
	tell(slot, SLOT_RETIRE, SLOT_REASON_RELOAD);
	cr_expect_eq(died(slot, (struct death){ .code = 0 }).kind, DEATH_RETIRED);
}

/* ---- the canary ---- */

Test(policy_rolling, a_canary_is_asked_for_beside_the_others)
{
	pool_begin(8, 3);
	born_ready(0, 2);
	IDLE();
	reload_to(2, 3);
	PLAN("ask 3 reload");
	canary_born(3);
	cr_expect_eq(pool.slots[3].generation, 2);
	cr_expect_eq(pool.slots[2].generation, 1);
	IDLE_FOR(NEW_START_TIMEOUT);
	pool.now_ms--;
	ready(3);
	expect_canary(CANARY_READY);
	IDLE();
	cr_expect_eq(pool_policy_canaries(&pool.policy), 1);
}

Test(policy_rolling, a_canary_is_asked_for_only_where_one_is_wanted)
{
	pool_begin(4, 1);
	cr_expect_not(pool_policy_event(&pool.policy, 0, SLOT_ASK, SLOT_REASON_RELOAD, pool.now_ms));
	cr_expect_eq(pool.slots[0].state, SLOT_FREE);
	reload_to(2, 1);
	PLAN("ask 0, ask 1 reload");
	canary_born(1);
	cr_expect_not(pool_policy_event(&pool.policy, 0, SLOT_ASK, SLOT_REASON_RELOAD, pool.now_ms));
}

Test(policy_rolling, the_old_generation_is_kept_by_its_own_rules_while_the_canary_starts)
{
	pool_begin(8, 3);
	born_ready(0, 2);
	reload_to(2, 5);
	canary_born(3);
	died(1, (struct death){ .by_signal = true, .code = 9, .served = 1, .pool_has_served = true });
	PLAN("ask 1");
	born(1);
	cr_expect_eq(pool.slots[1].generation, 1);
	IDLE_FOR(NEW_START_TIMEOUT);
	pool.now_ms--;
	ready(3);
	PLAN("");
	cr_expect_eq(pool.plan.wake_ms, pool.now_ms + 1 - NEW_START_TIMEOUT + START_TIMEOUT, "an old one's bound");
	cr_expect_eq(failed(1).retry_ms, WAIT_MIN);
}

static void expect_untouched(uint32_t target)
{
	cr_expect_eq(pool.policy.generation, 1);
	cr_expect_eq(pool.policy.target, target);
	cr_expect_eq(pool.policy.rules.start_timeout_ms, START_TIMEOUT);
	cr_expect_eq(pool.policy.rules.backoff.min_ms, WAIT_MIN);
	cr_expect_eq(pool.policy.backoff.level, 0, "a canary's failure holds nothing back");
	cr_expect_eq(pool.policy.backoff.volley, 0);
}

Test(policy_rolling, a_canary_that_is_not_born_has_failed)
{
	pool_begin(8, 2);
	born_ready(0, 1);
	reload_to(2, 4);
	tell(2, SLOT_ASK, SLOT_REASON_RELOAD);
	tell(2, SLOT_FAILED, SLOT_REASON_NONE);
	expect_canary(CANARY_NOT_BORN);
	expect_untouched(2);
	IDLE();
	cr_expect_not(pool_policy_commit(&pool.policy));
}

Test(policy_rolling, a_canary_that_dies_has_failed)
{
	struct death_verdict verdict;

	pool_begin(8, 2);
	born_ready(0, 1);
	reload_to(2, 4);
	canary_born(2);
	verdict = failed(2);
	cr_expect_eq(verdict.sequel, DEATH_NOT_REPLACED);
	expect_canary(CANARY_DIED);
	expect_untouched(2);
	IDLE();
}

static void reload_patiently(uint32_t attempts, uint64_t wait_min_ms, uint64_t wait_max_ms)
{
	struct pool_rules rules = new_rules;

	rules.give_up_after = attempts;
	rules.backoff = (struct backoff_rules){ .min_ms = wait_min_ms, .max_ms = wait_max_ms };
	pool_begin(8, 2);
	born_ready(0, 1);
	cr_assert(pool_policy_reload(&pool.policy, 2, &rules, 4, pool.now_ms));
}

/* By the pauses of the new rules, each after the death or the failed birth of the one before. */
Test(policy_rolling, a_canary_is_tried_as_often_as_a_start)
{
	for (uint32_t attempts = 1; attempts <= 6; attempts++) {
		reload_patiently(attempts, 10, 100);
		for (uint32_t i = 1; i < attempts; i++) {
			uint64_t pause_ms = 10U << (i - 1) < 100 ? 10U << (i - 1) : 100;

			PLAN("ask 2 reload");
			canary_born(2);
			if (i % 2 == 0)
				ready(2);
			cr_expect_eq(failed(2).retry_ms, pause_ms, "%u of %u", i, attempts);
			expect_canary(CANARY_WANTED);
			IDLE_FOR(pause_ms);
		}
		tell(2, SLOT_ASK, SLOT_REASON_RELOAD);
		tell(2, SLOT_FAILED, SLOT_REASON_NONE);
		expect_canary(CANARY_NOT_BORN);
		expect_untouched(2);
		IDLE();
	}
}

Test(policy_rolling, a_canary_may_succeed_at_last)
{
	struct death_verdict verdict;

	reload_patiently(3, 10, 10);
	tell(2, SLOT_ASK, SLOT_REASON_RELOAD);
	tell(2, SLOT_FAILED, SLOT_REASON_NONE);
	IDLE_FOR(10);
	canary_born(2);
	verdict = failed(2);
	cr_expect_eq(verdict.sequel, DEATH_BACKING_OFF);
	cr_expect_eq(verdict.retry_ms, 10);
	expect_untouched(2);
	IDLE_FOR(10);
	canary_born(2);
	ready(2);
	expect_canary(CANARY_READY);
	cr_expect(pool_policy_commit(&pool.policy));
	cr_expect_eq(pool.policy.backoff.level, 0);
}

/* Whoever never gives a start up wants a verdict on a reload. */
Test(policy_rolling, a_canary_is_not_tried_for_ever)
{
	reload_patiently(0, 10, 10);
	for (int i = 1; i < POOL_START_ATTEMPTS; i++) {
		canary_born(2);
		failed(2);
		IDLE_FOR(10);
	}
	canary_born(2);
	failed(2);
	expect_canary(CANARY_DIED);
}

Test(policy_rolling, a_canary_is_not_tried_again_when_it_is_late)
{
	reload_patiently(100, POOL_CANARY_RETRY_MS / 3, POOL_CANARY_RETRY_MS);
	canary_born(2);
	failed(2);
	IDLE_FOR(POOL_CANARY_RETRY_MS / 3);
	canary_born(2);
	failed(2);
	IDLE_FOR(POOL_CANARY_RETRY_MS / 3 * 2);
	canary_born(2);
	failed(2);
	expect_canary(CANARY_DIED);
}

/* The room is waited for anew each time, from when it is wanted. */
Test(policy_rolling, a_canary_that_is_tried_again_waits_for_its_room)
{
	reload_patiently(5, 100, 100);
	pool.now_ms += POOL_CANARY_ROOM_MS - 1;
	canary_born(2);
	failed(2);
	pool.now_ms += 100 + POOL_CANARY_ROOM_MS - 1;
	expect_canary(CANARY_WANTED);
	pool.now_ms += 1;
	expect_canary(CANARY_NO_ROOM);
}

Test(policy_rolling, a_reload_that_is_undone_tries_no_more)
{
	reload_patiently(5, 100, 100);
	canary_born(2);
	failed(2);
	pool_policy_undo(&pool.policy);
	expect_canary(CANARY_NONE);
	IDLE();
}

/* A program may say, while it starts, that it stops: that is no failure, but it is not ready either. */
Test(policy_rolling, a_canary_that_leaves_before_it_is_ready_has_failed)
{
	for (int reports = 0; reports <= 1; reports++) {
		pool_begin(8, 1);
		born_ready(0, 0);
		reload_to(2, 1);
		canary_born(1);
		tell(1, SLOT_RETIRE, SLOT_REASON_ITSELF);
		if (reports)
			ready(1);
		pool.now_ms += POOL_RECYCLE_MS;
		cr_expect_not(died(1, (struct death){ .code = 0, .accepts = true }).failure);
		expect_canary(CANARY_DIED);
	}
}

/* It has a connection, and is no longer one of those that wait for one. */
Test(policy_rolling, a_canary_that_became_a_program_has_not_failed)
{
	pool_begin(8, 1);
	born_ready(0, 0);
	reload_to(2, 1);
	canary_born(1);
	ready(1);
	tell(1, SLOT_TAKEN, SLOT_REASON_NONE);
	expect_canary(CANARY_READY);
	cr_expect_eq(pool_policy_canaries(&pool.policy), 0);
	pool_policy_undo(&pool.policy);
	IDLE();
}

Test(policy_rolling, one_that_became_a_program_is_never_retired_by_a_roll)
{
	roll(8, 2, 2);
	tell(0, SLOT_TAKEN, SLOT_REASON_NONE);
	PLAN("ask 3");
	born_ready(3, 3);
	PLAN("retire 1 reload");
	tell(1, SLOT_RETIRE, SLOT_REASON_RELOAD);
	cr_expect_not(pool_policy_is_rolling(&pool.policy));
	IDLE();
}

/* What it says of itself counts by the rules it was started by, whatever the new ones are. */
Test(policy_rolling, an_old_one_keeps_its_watchdog)
{
	pool_begin(8, 1);
	pool.policy.rules.watchdog_ms = 500;
	born_ready(0, 0);
	reload_to(2, 1);
	canary_born(1);
	ready(1);
	cr_expect(pool_policy_commit(&pool.policy));
	cr_expect(pool_policy_extend(&pool.policy, 0, pool.now_ms + 900));
	cr_expect_not(pool_policy_extend(&pool.policy, 1, pool.now_ms + 900));
	cr_expect_eq(pool.slots[0].deadline_ms, pool.now_ms + 900);
}

Test(policy_rolling, a_canary_that_does_not_become_ready_in_time_has_failed)
{
	pool_begin(8, 2);
	born_ready(0, 1);
	reload_to(2, 4);
	canary_born(2);
	IDLE_FOR(NEW_START_TIMEOUT);
	PLAN("kill 2 start_timeout");
	tell(2, SLOT_KILL, SLOT_REASON_START_TIMEOUT);
	expect_canary(CANARY_TIMED_OUT);
	failed(2);
	expect_canary(CANARY_TIMED_OUT);
	expect_untouched(2);
}

Test(policy_rolling, a_canary_that_falls_as_soon_as_it_stands_has_failed)
{
	pool_begin(8, 1);
	born_ready(0, 0);
	reload_to(2, 1);
	canary_born(1);
	ready(1);
	failed(1);
	expect_canary(CANARY_DIED);
	expect_untouched(1);
	cr_expect_not(pool_policy_commit(&pool.policy));
}

/* The others' canaries may take long: one that serves meanwhile may end as workers do. */
Test(policy_rolling, a_canary_that_has_served_and_leaves_has_not_failed)
{
	pool_begin(8, 1);
	born_ready(0, 0);
	reload_to(2, 1);
	canary_born(1);
	ready(1);
	cr_expect_not(died(1, (struct death){ .served = 5, .pool_has_served = true }).failure);
	expect_canary(CANARY_READY);
	IDLE();
	cr_expect(pool_policy_commit(&pool.policy));
	PLAN("ask 1");
}

Test(policy_rolling, a_canary_waits_for_a_free_slot_only_so_long)
{
	pool_begin(3, 3);
	born_ready(0, 2);
	reload_to(2, 3);
	IDLE_FOR(POOL_CANARY_ROOM_MS);
	expect_canary(CANARY_NO_ROOM);
	IDLE();
	pool_policy_undo(&pool.policy);
	expect_canary(CANARY_NONE);
	reload_to(3, 3);
	pool.now_ms += 10;
	pool_policy_resize(&pool.policy, -1);
	tell(2, SLOT_RETIRE, SLOT_REASON_SCALE_DOWN);
	PLAN("");
	died(2, (struct death){ .code = 0 });
	PLAN("ask 2 reload");
}

Test(policy_rolling, a_canary_does_not_take_the_slot_of_a_worker_that_is_missing)
{
	pool_begin(2, 2);
	born_ready(0, 1);
	failed(1);
	reload_to(2, 2);
	IDLE_FOR(WAIT_MIN);
	PLAN("ask 1");
}

Test(policy_rolling, the_backoff_of_the_old_generation_does_not_hold_the_canary)
{
	pool_begin(4, 2);
	born_ready(0, 0);
	born(1);
	failed(1);
	reload_to(2, 2);
	PLAN("ask 1 reload");
	canary_born(1);
	ready(1);
	cr_expect_eq(pool.policy.backoff.level, 1);
	IDLE_FOR(WAIT_MIN);
	PLAN("ask 2");
	born(2);
	cr_expect_eq(failed(2).retry_ms, 2 * WAIT_MIN, "and the canary proves nothing for the old generation");
}

/* A pool is not ready, and a pool that cannot start does not become one that can, by a canary. */
Test(policy_rolling, a_canary_is_not_counted_as_one_of_the_pool)
{
	pool_begin(8, 1);
	for (uint32_t i = 0; i < GIVE_UP; i++) {
		born(0);
		failed(0);
		pool.now_ms += WAIT_MAX;
	}
	reload_to(2, 1);
	canary_born(1);
	ready(1);
	cr_expect_not(pool_policy_is_ready(&pool.policy));
	cr_expect(pool_policy_start_failed(&pool.policy));
	cr_expect(pool_policy_commit(&pool.policy));
	cr_expect(pool_policy_is_ready(&pool.policy));
	cr_expect_not(pool_policy_start_failed(&pool.policy));
}

Test(policy_rolling, a_reload_that_cannot_begin_changes_nothing)
{
	struct pool_policy before;

	pool_begin(4, 1);
	born_ready(0, 0);
	before = pool.policy;
	cr_expect_not(pool_policy_reload(&pool.policy, 1, &new_rules, 1, pool.now_ms), "not a later generation");
	cr_expect_eq(memcmp(&before, &pool.policy, sizeof(before)), 0);
	reload_to(2, 1);
	cr_expect_not(pool_policy_reload(&pool.policy, 3, &new_rules, 1, pool.now_ms), "one is under way");
	tell(1, SLOT_ASK, SLOT_REASON_RELOAD);
	pool_policy_undo(&pool.policy);
	cr_expect_not(pool_policy_reload(&pool.policy, 3, &new_rules, 1, pool.now_ms), "a refused canary is there");
	tell(1, SLOT_BORN, SLOT_REASON_NONE);
	tell(1, SLOT_RETIRE, SLOT_REASON_RELOAD_UNDONE);
	cr_expect(pool_policy_reload(&pool.policy, 3, &new_rules, 1, pool.now_ms));
	pool_policy_retire(&pool.policy, pool.now_ms + 1000);
	cr_expect_not(pool_policy_reload(&pool.policy, 4, &new_rules, 1, pool.now_ms), "the pool ends");
}

/* ---- undone ---- */

Test(policy_rolling, an_undone_reload_retires_its_canary_and_leaves_all_as_it_was)
{
	struct death_verdict verdict;

	pool_begin(8, 2);
	born_ready(0, 1);
	reload_to(2, 5);
	canary_born(2);
	ready(2);
	pool_policy_undo(&pool.policy);
	expect_canary(CANARY_NONE);
	PLAN("retire 2 reload undone");
	tell(2, SLOT_RETIRE, SLOT_REASON_RELOAD_UNDONE);
	cr_expect_eq(pool_policy_canaries(&pool.policy), 0);
	IDLE();
	verdict = died(2, (struct death){ .by_signal = true, .code = 11 });
	cr_expect_not(verdict.failure);
	cr_expect_eq(verdict.sequel, DEATH_NOT_REPLACED);
	expect_untouched(2);
	IDLE();
}

Test(policy_rolling, a_refused_canary_that_is_on_its_way_leaves_once_it_is_born)
{
	pool_begin(8, 1);
	born_ready(0, 0);
	reload_to(2, 1);
	tell(1, SLOT_ASK, SLOT_REASON_RELOAD);
	pool_policy_undo(&pool.policy);
	IDLE();
	cr_expect_eq(pool_policy_canaries(&pool.policy), 1);
	tell(1, SLOT_BORN, SLOT_REASON_NONE);
	PLAN("retire 1 reload undone");
	tell(1, SLOT_RETIRE, SLOT_REASON_RELOAD_UNDONE);
	IDLE_FOR(NEW_START_TIMEOUT);
	PLAN("kill 1 start_timeout");
	tell(1, SLOT_KILL, SLOT_REASON_START_TIMEOUT);
	expect_untouched(1);
}

Test(policy_rolling, the_end_of_a_refused_canary_is_not_the_next_ones)
{
	pool_begin(8, 1);
	born_ready(0, 0);
	reload_to(2, 1);
	canary_born(1);
	pool_policy_undo(&pool.policy);
	tell(1, SLOT_RETIRE, SLOT_REASON_RELOAD_UNDONE);
	reload_to(3, 1);
	canary_born(2);
	tell(1, SLOT_KILL, SLOT_REASON_START_TIMEOUT);
	expect_canary(CANARY_ASKED);
	failed(1);
	expect_canary(CANARY_ASKED);
}

Test(policy_rolling, a_resize_holds_whether_the_reload_does_or_not)
{
	pool_begin(8, 2);
	born_ready(0, 1);
	reload_to(2, 4);
	cr_expect_eq(pool_policy_resize(&pool.policy, 1), 3);
	PLAN("ask 2, ask 3 reload");
	born_ready(2, 2);
	canary_born(3);
	ready(3);
	cr_expect(pool_policy_commit(&pool.policy));
	cr_expect_eq(pool.policy.target, 5);
}

Test(policy_rolling, a_stop_ends_a_reload)
{
	for (int quit = 0; quit <= 1; quit++) {
		pool_begin(8, 1);
		born_ready(0, 0);
		reload_to(2, 4);
		canary_born(1);
		if (quit)
			pool_policy_quit(&pool.policy, SLOT_REASON_STOP);
		else
			pool_policy_retire(&pool.policy, pool.now_ms + 1000);
		PLAN(quit ? "quit 0 stop, quit 1 stop" : "retire 0 stop, retire 1 stop");
		expect_canary(CANARY_NONE);
		cr_expect_not(pool_policy_commit(&pool.policy));
	}
}

/* ---- the roll ---- */

Test(policy_rolling, rolls_a_few_at_a_time_and_retires_as_many_as_have_come)
{
	roll(32, 8, 8);
	cr_expect_eq(pool.policy.generation, 2);
	cr_expect_eq(pool.policy.rules.capacity, 32);
	cr_expect_eq(pool.policy.rules.start_timeout_ms, NEW_START_TIMEOUT);
	cr_expect(pool_policy_is_rolling(&pool.policy));
	PLAN("retire 7 reload, ask 9, ask 10, ask 11");
	retired(7);
	PLAN("ask 7, ask 9, ask 10, ask 11");
	for (uint32_t i = 9; i <= 12; i++)
		born(i);
	IDLE_FOR(NEW_START_TIMEOUT);
	pool.now_ms--;
	ready(9);
	ready(10);
	PLAN("retire 6 reload, retire 5 reload");
	tell(6, SLOT_RETIRE, SLOT_REASON_RELOAD);
	tell(5, SLOT_RETIRE, SLOT_REASON_RELOAD);
	PLAN("ask 7, ask 13");
	born_ready(7, 7);
	PLAN("retire 4 reload, ask 13");
	tell(4, SLOT_RETIRE, SLOT_REASON_RELOAD);
	born_ready(13, 13);
	ready(11);
	ready(12);
	PLAN("retire 3 reload, retire 2 reload, retire 1 reload, ask 14");
	for (uint32_t i = 1; i <= 3; i++)
		tell(i, SLOT_RETIRE, SLOT_REASON_RELOAD);
	born_ready(14, 14);
	PLAN("retire 0 reload");
	tell(0, SLOT_RETIRE, SLOT_REASON_RELOAD);
	cr_expect_not(pool_policy_is_rolling(&pool.policy));
	IDLE();
}

Test(policy_rolling, one_that_leaves_for_the_roll_is_not_missed_when_it_is_gone)
{
	roll(8, 2, 2);
	tell(1, SLOT_RETIRE, SLOT_REASON_RELOAD);
	cr_expect_eq(died(1, (struct death){ .code = 0 }).sequel, DEATH_NOT_REPLACED);
	cr_expect_eq(died(0, (struct death){ .served = 1, .pool_has_served = true }).sequel, DEATH_REPLACED);
	PLAN("ask 0");
	born(0);
	cr_expect_eq(pool.slots[0].generation, 2);
}

Test(policy_rolling, failures_of_the_new_generation_back_off_while_the_old_one_serves)
{
	roll(16, 4, 4);
	PLAN("retire 3 reload, ask 5, ask 6, ask 7");
	tell(3, SLOT_RETIRE, SLOT_REASON_RELOAD);
	born(5);
	born(6);
	born(7);
	PLAN("");
	for (uint32_t i = 5; i <= 7; i++)
		cr_expect_eq(failed(i).retry_ms, 0, "nobody is missing");
	IDLE_FOR(NEW_WAIT_MIN);
	PLAN("ask 5");
	born(5);
	PLAN("");
	failed(5);
	IDLE_FOR(2 * NEW_WAIT_MIN);
	PLAN("ask 5");
	cr_expect_eq(pool.policy.count[SLOT_READY], 4);
}

Test(policy_rolling, the_failures_of_the_old_generation_are_forgotten_at_the_commit)
{
	pool_begin(8, 3);
	born(0);
	born_ready(1, 1);
	for (int i = 0; i < 6; i++) {
		failed(0);
		pool.now_ms += WAIT_MAX;
		born(0);
	}
	failed(0);
	reload_to(2, 3);
	canary_born(2);
	ready(2);
	PLAN("");
	cr_expect(pool_policy_commit(&pool.policy));
	PLAN("ask 0, ask 3");
	born(0);
	died(1, (struct death){ .code = 1 });
	cr_expect_eq(pool.policy.backoff.level, 0, "what an old one does is the old generation's");
	failed(0);
	cr_expect_eq(pool.policy.backoff.level, 1);
}

Test(policy_rolling, old_ones_that_start_stay_until_the_target_is_met_without_them)
{
	pool_begin(8, 3);
	born_ready(0, 0);
	born(1);
	born(2);
	reload_to(2, 3);
	canary_born(3);
	ready(3);
	cr_expect(pool_policy_commit(&pool.policy));
	PLAN("retire 2 reload, ask 4, ask 5");
	tell(2, SLOT_RETIRE, SLOT_REASON_RELOAD);
	born_ready(4, 4);
	PLAN("retire 1 reload, ask 5");
}

Test(policy_rolling, a_smaller_target_retires_old_ones_at_once)
{
	roll(16, 6, 2);
	PLAN("retire 5 reload, retire 4 reload, retire 3 reload, retire 2 reload, retire 1 reload");
	for (uint32_t i = 1; i <= 5; i++)
		tell(i, SLOT_RETIRE, SLOT_REASON_RELOAD);
	PLAN("ask 7");
	born_ready(7, 7);
	PLAN("retire 0 reload");
}

Test(policy_rolling, a_larger_target_starts_the_more)
{
	roll(16, 2, 6);
	PLAN("ask 3, ask 4, ask 5, ask 6, ask 7");
	for (uint32_t i = 3; i <= 5; i++)
		born_ready(i, i);
	PLAN("ask 6, ask 7");
	born_ready(6, 6);
	PLAN("retire 1 reload, ask 7");
}

Test(policy_rolling, a_target_of_none_ends_with_none)
{
	roll(16, 2, 0);
	PLAN("retire 1 reload, retire 0 reload");
	tell(1, SLOT_RETIRE, SLOT_REASON_RELOAD);
	tell(0, SLOT_RETIRE, SLOT_REASON_RELOAD);
	PLAN("retire 2 scale down");
}

Test(policy_rolling, with_room_for_one_it_rolls_one_by_one)
{
	roll(4, 3, 3);
	PLAN("retire 2 reload");
	tell(2, SLOT_RETIRE, SLOT_REASON_RELOAD);
	IDLE();
	died(2, (struct death){ .code = 0 });
	PLAN("ask 2");
	born(2);
	IDLE_FOR(NEW_START_TIMEOUT);
	pool.now_ms--;
	ready(2);
	PLAN("retire 1 reload");
}

Test(policy_rolling, without_room_one_old_one_retires_first)
{
	roll(4, 3, 4);
	PLAN("retire 2 reload");
	tell(2, SLOT_RETIRE, SLOT_REASON_RELOAD);
	IDLE();
	died(2, (struct death){ .code = 0 });
	PLAN("ask 2");
	tell(2, SLOT_ASK, SLOT_REASON_NONE);
	IDLE();
	tell(2, SLOT_FAILED, SLOT_REASON_NONE);
	IDLE_FOR(NEW_WAIT_MIN);
	PLAN("ask 2");
	born_ready(2, 2);
	PLAN("retire 1 reload");
}

/* It leaves by itself, though it may take its time. */
Test(policy_rolling, without_room_a_program_is_waited_for)
{
	roll(5, 4, 4);
	tell(3, SLOT_TAKEN, SLOT_REASON_NONE);
	IDLE();
	cr_expect_eq(pool.policy.count[SLOT_READY], 4);
	died(3, (struct death){ .code = 0 });
	PLAN("ask 3");
}

/* While nothing may start there is no use in making room. */
Test(policy_rolling, without_room_nobody_retires_while_the_backoff_holds)
{
	roll(5, 3, 4);
	PLAN("ask 4");
	born(4);
	pool.now_ms += NEW_START_TIMEOUT;
	tell(4, SLOT_KILL, SLOT_REASON_START_TIMEOUT);
	tell(4, SLOT_GIVE_UP, SLOT_REASON_NONE);
	IDLE_FOR(NEW_WAIT_MIN);
	PLAN("retire 2 reload");
}

/* Its place is not needed before the canary's is free, whatever comes of the canary. */
Test(policy_rolling, without_room_nobody_retires_while_a_canary_is_there)
{
	roll(5, 3, 4);
	reload_to(3, 4);
	canary_born(4);
	IDLE_FOR(NEW_START_TIMEOUT);
	pool.now_ms--;
	ready(4);
	IDLE();
	pool_policy_undo(&pool.policy);
	PLAN("retire 4 reload undone");
	tell(4, SLOT_RETIRE, SLOT_REASON_RELOAD_UNDONE);
	IDLE();
}

Test(policy_rolling, a_roll_leaves_the_next_canary_its_slot)
{
	roll(6, 3, 3);
	PLAN("retire 2 reload, ask 4, ask 5");
	reload_to(3, 3);
	PLAN("retire 2 reload, ask 4, ask 5 reload");
}

Test(policy_rolling, rolls_on_while_the_next_canary_is_tried)
{
	roll(16, 3, 3);
	reload_to(3, 3);
	PLAN("retire 2 reload, ask 4, ask 5, ask 6 reload");
	retired(2);
	canary_born(6);
	born_ready(4, 5);
	ready(6);
	PLAN("retire 1 reload, retire 0 reload");
	retired(1);
	cr_expect(pool_policy_commit(&pool.policy));
	cr_expect_eq(pool.policy.count_of[POOL_OLD][SLOT_READY], 4);
	cr_expect_eq(pool.policy.count_of[POOL_CURRENT][SLOT_READY], 1);
	PLAN("retire 5 reload, retire 4 reload, ask 1, ask 2");
}

/* ---- the rules of a roll ---- */

static void roll_by(struct pool_rules rules, uint32_t target)
{
	pool_begin(8, target);
	born_ready(0, target - 1);
	cr_assert(pool_policy_reload(&pool.policy, 2, &rules, target, pool.now_ms));
	canary_born(target);
	ready(target);
	cr_assert(pool_policy_commit(&pool.policy));
}

Test(policy_rolling, goes_by_the_step_of_the_rules)
{
	struct pool_rules rules = new_rules;

	rules.roll_step = 1;
	roll_by(rules, 3);
	PLAN("retire 2 reload");
	retired(2);
	PLAN("ask 2");
	rules.roll_step = 2;
	roll_by(rules, 3);
	PLAN("retire 2 reload, ask 4");
}

Test(policy_rolling, an_old_worker_has_the_time_of_one_that_is_replaced)
{
	struct pool_rules rules = new_rules;

	rules.replace_timeout_ms = 700;
	roll_by(rules, 2);
	tell(1, SLOT_RETIRE, SLOT_REASON_RELOAD);
	cr_expect_eq(pool.slots[1].deadline_ms, pool.now_ms + 700);
	/* One that leaves since there are fewer has no bound. */
	tell(0, SLOT_RETIRE, SLOT_REASON_SCALE_DOWN);
	cr_expect_eq(pool.slots[0].deadline_ms, DEADLINE_NONE);
}

/* ---- a pool at its limit ---- */

Test(policy_rolling, a_canary_comes_on_top_of_the_limit_and_then_counts)
{
	struct pool_rules rules = new_rules;

	rules.limit = 2;
	pool_begin(8, 1);
	pool.policy.rules.limit = 2;
	born_ready(0, 0);
	tell(0, SLOT_TAKEN, SLOT_REASON_NONE);
	PLAN("ask 1");
	born(1);
	ready(1);
	tell(1, SLOT_TAKEN, SLOT_REASON_NONE);
	cr_expect_eq(pool_policy_room(&pool.policy), 0);
	IDLE();
	cr_assert(pool_policy_reload(&pool.policy, 2, &rules, 1, pool.now_ms));
	PLAN("ask 2 reload");
	canary_born(2);
	ready(2);
	cr_assert(pool_policy_commit(&pool.policy));
	/* Two run: it is one too many. */
	PLAN("retire 2 scale down");
	tell(2, SLOT_RETIRE, SLOT_REASON_SCALE_DOWN);
	cr_expect_eq(died(2, (struct death){ .code = 0 }).kind, DEATH_RETIRED);
	IDLE();
	died(0, (struct death){ .code = 0, .serving = true, .served = 1 });
	PLAN("ask 0");
}

/* As many as the limit: the canary takes the place of an old one, which may take its time to leave. */
Test(policy_rolling, at_the_limit_a_new_worker_stays_while_old_ones_leave)
{
	struct pool_rules rules = new_rules;

	rules.limit = 1;
	pool_begin(8, 1);
	pool.policy.rules.limit = 1;
	born_ready(0, 0);
	cr_assert(pool_policy_reload(&pool.policy, 2, &rules, 1, pool.now_ms));
	canary_born(1);
	ready(1);
	cr_assert(pool_policy_commit(&pool.policy));
	PLAN("retire 0 reload");
	tell(0, SLOT_RETIRE, SLOT_REASON_RELOAD);
	IDLE();
	tell(0, SLOT_QUIT, SLOT_REASON_STOP_TIMEOUT);
	IDLE_FOR(POOL_QUIT_GRACE_MS);
	PLAN("kill 0 stop_timeout");
	tell(0, SLOT_KILL, SLOT_REASON_STOP_TIMEOUT);
	IDLE_FOR(POOL_KILL_GRACE_MS);
	PLAN("give up 0 stop_timeout");
	tell(0, SLOT_GIVE_UP, SLOT_REASON_STOP_TIMEOUT);
	IDLE();
}

/* A lower limit retires as many as are beyond it, once. */
Test(policy_rolling, a_lower_limit_retires_no_more_than_it_must)
{
	pool_begin(8, 4);
	born_ready(0, 3);
	pool.policy.rules.limit = 3;
	PLAN("retire 3 scale down");
	tell(3, SLOT_RETIRE, SLOT_REASON_SCALE_DOWN);
	IDLE();
	cr_expect_eq(pool_policy_room(&pool.policy), 0);
	died(3, (struct death){ .code = 0 });
	IDLE();
}

Test(policy_rolling, a_canary_takes_no_room)
{
	pool_begin(4, 2);
	pool.policy.rules.limit = 3;
	born_ready(0, 1);
	cr_expect_eq(pool_policy_room(&pool.policy), 1);
	reload_to(2, 2);
	canary_born(2);
	cr_expect_eq(pool_policy_room(&pool.policy), 1);
	pool.policy.rules.limit = 2;
	cr_expect_eq(pool_policy_room(&pool.policy), 0);
	/* No more than there are slots. */
	pool.policy.rules.limit = 4;
	cr_expect_eq(pool_policy_room(&pool.policy), 1);
	pool.policy.rules.limit = 0;
	cr_expect_eq(pool_policy_room(&pool.policy), 1);
}

/* Free slots are of no use to it. */
Test(policy_rolling, at_the_limit_a_roll_retires_one_old_one_first)
{
	struct pool_rules rules = new_rules;

	rules.limit = 2;
	roll_by(rules, 2);
	PLAN("retire 1 reload");
	tell(1, SLOT_RETIRE, SLOT_REASON_RELOAD);
	IDLE();
	died(1, (struct death){ .code = 0 });
	PLAN("retire 0 reload");
	tell(0, SLOT_RETIRE, SLOT_REASON_RELOAD);
	IDLE();
	died(0, (struct death){ .code = 0 });
	PLAN("ask 0");
}

Test(policy_rolling, one_that_is_replaced_has_the_common_time_where_there_is_no_other)
{
	struct pool_rules rules = new_rules;

	rules.retire_timeout_ms = 300;
	roll_by(rules, 2);
	tell(1, SLOT_RETIRE, SLOT_REASON_RELOAD);
	cr_expect_eq(pool.slots[1].deadline_ms, pool.now_ms + 300);
}

Test(policy_rolling, without_a_reload_nothing_can_be_committed)
{
	struct pool_policy before;

	pool_begin(8, 2);
	born_ready(0, 1);
	before = pool.policy;
	cr_expect_not(pool_policy_commit_anyway(&pool.policy));
	cr_expect_arr_eq(&pool.policy, &before, sizeof(before));
	reload_to(2, 4);
	canary_born(2);
	ready(2);
	pool_policy_retire(&pool.policy, pool.now_ms + 1000);
	cr_expect_not(pool_policy_commit_anyway(&pool.policy), "the stop was first");
	cr_expect_eq(pool.policy.generation, 1);
	cr_expect_eq(pool.policy.target, 2);
}

Test(policy_rolling, a_step_is_over_when_its_old_workers_are_gone)
{
	roll(12, 4, 4);
	pool.policy.rules.roll_step = 1;
	pool.policy.rules.replace_timeout_ms = 5000;
	PLAN("retire 3 reload");
	tell(3, SLOT_RETIRE, SLOT_REASON_RELOAD);
	IDLE_FOR(5000);
	PLAN("quit 3 stop_timeout");
	cr_expect_eq(died(3, (struct death){ .code = 0 }).kind, DEATH_RETIRED);
	PLAN("ask 3");
}

Test(policy_rolling, old_workers_that_may_take_for_ever_are_not_waited_for)
{
	roll(12, 4, 4);
	pool.policy.rules.roll_step = 1;
	PLAN("retire 3 reload");
	tell(3, SLOT_RETIRE, SLOT_REASON_RELOAD);
	PLAN("ask 5");
}
