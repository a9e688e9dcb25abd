/* SPDX-License-Identifier: MIT */
/*
 * Workers that reach a limit, each decision by itself: who wears, who takes the place, whose turn it is.
 * test_policy_simulator.c has the interplay.
 */
#include <criterion/criterion.h>

#include "base/attrs.h"
#include "policy/deadline.h"
#include "policy/pool.h"
#include "pool_fixture.h"

#define WORN SLOT_REASON_RECYCLE_REQUESTS

static void wear(uint32_t slot)
{
	tell(slot, SLOT_WEAR, WORN);
}

/* A pool of TARGET ready workers in the first slots. */
static void serve(uint32_t capacity, uint32_t target)
{
	pool_begin(capacity, target);
	born_ready(0, target - 1);
	IDLE();
}

static struct death_verdict recycled(uint32_t slot)
{
	tell(slot, SLOT_RETIRE, WORN);
	return died(slot, (struct death){ .code = 0, .was_told = true });
}

/* ---- the replacement ---- */

Test(policy_recycle, the_replacement_is_ready_before_the_worn_one_goes)
{
	struct death_verdict verdict;

	serve(8, 3);
	wear(1);
	cr_expect_eq(pool_policy_worn(&pool.policy), 1);
	cr_expect_not(pool_policy_is_rolling(&pool.policy));
	PLAN("ask 3");
	born(3);
	PLAN("");
	ready(3);
	PLAN("retire 1 max_requests");
	verdict = recycled(1);
	cr_expect_eq(verdict.kind, DEATH_RECYCLED);
	cr_expect_eq(verdict.reason, WORN);
	cr_expect_eq(verdict.sequel, DEATH_NOT_REPLACED);
	cr_expect_not(verdict.failure);
	IDLE();
	cr_expect_eq(pool.policy.count[SLOT_READY], 3);
}

Test(policy_recycle, one_replacement_is_on_its_way_at_a_time)
{
	serve(16, 8);
	for (uint32_t slot = 0; slot < 8; slot++)
		wear(slot);
	for (uint32_t turn = 0; turn < 8; turn++) {
		uint32_t slot;

		make_plan();
		cr_assert_eq(pool.plan.count, 1, "turn %u: %s", turn, pool.text);
		cr_assert_eq(pool.plan.actions[0].what, SLOT_ASK);
		slot = pool.plan.actions[0].slot;
		born(slot);
		PLAN("");
		ready(slot);
		make_plan();
		cr_assert_eq(pool.plan.count, 1, "turn %u: %s", turn, pool.text);
		cr_assert_eq(pool.plan.actions[0].what, SLOT_RETIRE);
		cr_assert_eq(pool.plan.actions[0].reason, WORN);
		slot = pool.plan.actions[0].slot;
		tell(slot, SLOT_RETIRE, WORN);
		/* The next one's turn comes when this one is gone. */
		PLAN("");
		died(slot, (struct death){ .code = 0 });
	}
	IDLE();
	cr_expect_eq(pool_policy_worn(&pool.policy), 0);
}

Test(policy_recycle, who_has_been_worn_for_longest_goes_first)
{
	serve(16, 4);
	wear(2);
	pool.now_ms++;
	wear(3);
	wear(0);
	born_ready(4, 4);
	PLAN("retire 2 max_requests");
	recycled(2);
	/* Where several can be spared at once, too. */
	pool_policy_resize(&pool.policy, -2);
	PLAN("retire 3 max_requests, retire 0 max_requests");
}

Test(policy_recycle, one_that_takes_long_to_finish_is_not_waited_for_for_ever)
{
	serve(16, 4);
	wear(0);
	wear(1);
	born_ready(4, 4);
	PLAN("retire 1 max_requests");
	tell(1, SLOT_RETIRE, WORN);
	IDLE_FOR(POOL_PATIENCE_MS);
	PLAN("ask 5");
	/* It is not told again, and never cut off. */
	born_ready(5, 5);
	PLAN("retire 0 max_requests");
	tell(0, SLOT_RETIRE, WORN);
	cr_expect_eq(pool_policy_recycled(&pool.policy), 2);
	IDLE();
	cr_expect_eq(pool_policy_leaves_by(&pool.policy, 1), DEADLINE_NONE);
}

/* Whoever keeps connections for ever gets no more processes by it than the pool has. */
Test(policy_recycle, no_more_finish_than_the_pool_has_workers)
{
	serve(16, 2);
	for (uint32_t turn = 0; turn < 2; turn++) {
		wear(turn);
		born_ready(2 + turn, 2 + turn);
		make_plan();
		tell(turn, SLOT_RETIRE, WORN);
		pool.now_ms += POOL_PATIENCE_MS;
	}
	wear(2);
	IDLE();
	died(0, (struct death){ .code = 0 });
	PLAN("ask 0");
}

Test(policy_recycle, a_replacement_that_fails_retires_nobody)
{
	serve(8, 2);
	wear(0);
	wear(1);
	for (uint32_t failure = 0; failure < 6; failure++) {
		PLAN("ask 2");
		born(2);
		failed(2);
		cr_assert_eq(pool.policy.count[SLOT_READY], 2);
		make_plan();
		cr_assert_str_eq(pool.text, "");
		pool.now_ms = pool.plan.wake_ms;
	}
	PLAN("ask 2");
	born_ready(2, 2);
	PLAN("retire 1 max_requests");
}

Test(policy_recycle, a_worn_one_that_dies_is_replaced_by_the_one_on_its_way)
{
	serve(8, 2);
	wear(0);
	born(2);
	cr_expect_eq(died(0, (struct death){ .by_signal = true, .code = 11, .served = 1 }).sequel, DEATH_NOT_REPLACED);
	ready(2);
	IDLE();
}

Test(policy_recycle, one_that_crashes_as_it_leaves_is_no_failure)
{
	struct death_verdict verdict;

	serve(8, 2);
	wear(0);
	born_ready(2, 2);
	tell(0, SLOT_RETIRE, WORN);
	verdict = died(0, (struct death){ .by_signal = true, .code = 11 });
	cr_expect_eq(verdict.kind, DEATH_SIGNALED);
	cr_expect_not(verdict.failure);
}

Test(policy_recycle, without_a_free_slot_the_worn_ones_go_on)
{
	serve(3, 3);
	wear(0);
	IDLE();
}

Test(policy_recycle, a_pool_that_shrinks_gives_up_the_worn_ones_first)
{
	serve(8, 4);
	wear(1);
	pool_policy_resize(&pool.policy, -1);
	PLAN("retire 1 max_requests");
	recycled(1);
	IDLE();
	pool_policy_resize(&pool.policy, -1);
	PLAN("retire 3 scale down");
}

/* ---- who wears ---- */

Test(policy_recycle, only_one_that_serves_and_is_not_to_be_replaced_wears)
{
	const struct pool_rules rules = {
		.backoff = {.min_ms = WAIT_MIN, .max_ms = WAIT_MAX}
	};

	pool_begin(8, 2);
	refuse(0, SLOT_WEAR);
	born(0);
	refuse(0, SLOT_WEAR);
	ready(0);
	wear(0);
	refuse(0, SLOT_WEAR);
	born_ready(1, 1);
	cr_assert(pool_policy_reload(&pool.policy, 2, &rules, 2, pool.now_ms));
	tell(2, SLOT_ASK, SLOT_REASON_RELOAD);
	tell(2, SLOT_BORN, SLOT_REASON_NONE);
	ready(2);
	/* The canary serves nobody yet; after the commit the others are old, worn or not. */
	refuse(2, SLOT_WEAR);
	cr_assert(pool_policy_commit(&pool.policy));
	refuse(1, SLOT_WEAR);
	cr_expect_eq(pool_policy_worn(&pool.policy), 0);
	wear(2);
	cr_expect_eq(pool_policy_worn(&pool.policy), 1);
}

Test(policy_recycle, a_reload_replaces_the_worn_ones_with_the_others)
{
	const struct pool_rules rules = {
		.roll_step = 4, .backoff = {.min_ms = WAIT_MIN, .max_ms = WAIT_MAX}
	};

	serve(8, 2);
	wear(0);
	cr_assert(pool_policy_reload(&pool.policy, 2, &rules, 2, pool.now_ms));
	PLAN("ask 2, ask 3 reload");
	tell(2, SLOT_ASK, SLOT_REASON_NONE);
	tell(2, SLOT_BORN, SLOT_REASON_NONE);
	tell(3, SLOT_ASK, SLOT_REASON_RELOAD);
	tell(3, SLOT_BORN, SLOT_REASON_NONE);
	ready(3);
	cr_assert(pool_policy_commit(&pool.policy));
	PLAN("retire 2 reload, retire 1 reload, ask 4");
}

Test(policy_recycle, a_slot_is_as_new_for_the_next_worker)
{
	serve(8, 1);
	wear(0);
	born_ready(1, 1);
	recycled(0);
	pool_policy_resize(&pool.policy, 1);
	born_ready(0, 0);
	cr_expect_eq(pool.slots[0].worn, SLOT_REASON_NONE);
	IDLE();
}

Test(policy_recycle, another_image_goes_on_with_the_worn_ones)
{
	struct slot slots[3];

	serve(8, 3);
	wear(1);
	for (uint32_t i = 0; i < 3; i++)
		slots[i] = pool.slots[i];
	pool_begin(8, 3);
	for (uint32_t i = 0; i < 3; i++)
		cr_assert(pool_policy_adopt(&pool.policy, i, &slots[i]));
	cr_expect_eq(pool_policy_worn(&pool.policy), 1);
	PLAN("ask 3");
	born_ready(3, 3);
	PLAN("retire 1 max_requests");
}

/* ---- age ---- */

#define AGE 60000

Test(policy_recycle, one_of_too_great_an_age_wears)
{
	pool_begin(8, 2);
	pool.policy.rules.max_age_ms = AGE;
	born_ready(0, 0);
	pool.now_ms += 1000;
	born(1);
	IDLE_FOR(START_TIMEOUT);
	ready(1);
	check_idle_until(BEGIN_MS + AGE, __LINE__);
	PLAN("wear 0 max_age");
	tell(0, SLOT_WEAR, SLOT_REASON_RECYCLE_AGE);
	PLAN("ask 2");
	born_ready(2, 2);
	PLAN("retire 0 max_age");
	tell(0, SLOT_RETIRE, SLOT_REASON_RECYCLE_AGE);
	cr_expect_eq(died(0, (struct death){ .code = 0 }).reason, SLOT_REASON_RECYCLE_AGE);
	IDLE_FOR(1000);
	PLAN("wear 1 max_age");
}

/* Workers that began together do not leave together, whatever the seed; and the same seed tells the same. */
Test(policy_recycle, the_jitter_spreads_the_ages)
{
	enum { WORKERS = 100, PERCENT = 20 };

	for (uint64_t seed = 0; seed < 50; seed++) {
		uint64_t before_ms = 0, apart = 0;
		uint64_t first_ms = UINT64_MAX, last_ms = 0;

		pool_begin(2 * WORKERS, WORKERS);
		pool_policy_seed(&pool.policy, seed);
		pool.policy.rules.jitter = PERCENT;
		for (uint32_t i = 0; i < WORKERS; i++) {
			uint64_t own_ms;

			born(i);
			own_ms = pool_policy_own_limit(&pool.slots[i], AGE);
			cr_assert_leq(own_ms, AGE);
			cr_assert_geq(own_ms, AGE - AGE / 100 * PERCENT);
			apart += own_ms != before_ms;
			before_ms = own_ms;
			first_ms = own_ms < first_ms ? own_ms : first_ms;
			last_ms = own_ms > last_ms ? own_ms : last_ms;
		}
		cr_expect_geq(apart, WORKERS - 3, "seed %llu", (unsigned long long)seed);
		cr_expect_geq(last_ms - first_ms, AGE / 100 * (PERCENT - 4), "seed %llu", (unsigned long long)seed);
	}
}

static const struct {
	uint32_t jitter_ppm;
	uint64_t limit;
	uint64_t own;
} own_limits[] = {
	{0,        1,          1					 },
	{ 0,       1000,       1000				      },
	{ 0,       UINT64_MAX, UINT64_MAX                                },
	{ 100000,  1000,       900				       },
	{ 100000,  1,          1					 },
	{ 500000,  3,          2					 },
	{ 999999,  1000000,    1					 },
	{ 1000000, 1000000,    1					 },
	{ 1000000, 1,          1					 },
	{ 250000,  UINT64_MAX, UINT64_MAX - UINT64_MAX / 1000000 * 250000},
};

Test(policy_recycle, a_limit_is_lower_by_the_part_that_was_drawn)
{
	for (size_t i = 0; i < ARRAY_SIZE(own_limits); i++) {
		const struct slot slot = { .jitter_ppm = own_limits[i].jitter_ppm };

		cr_expect_eq(pool_policy_own_limit(&slot, own_limits[i].limit), own_limits[i].own, "row %zu", i);
	}
}
