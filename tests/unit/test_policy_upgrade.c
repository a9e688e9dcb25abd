/* SPDX-License-Identifier: MIT */
/*
 * A pool's policy that goes on where another image's has been (master/adopt.c): what it was is what it would have been.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "policy/deadline.h"
#include "policy/pool.h"
#include "pool_fixture.h"

/* Takes over what POOL is, as it is written and read. */
static void go_on(void)
{
	static struct slot before[CAPACITY_MAX];
	const struct pool_policy was = pool.policy;
	const struct pool_memory memory = {
		.generation = was.generation,
		.target = was.target,
		.backoff = was.backoff,
		.proven = was.proven,
		.was_ready = was.was_ready,
	};

	memcpy(before, pool.slots, sizeof(before));
	pool_policy_init(&pool.policy, &was.rules, 1, pool.slots);
	pool_policy_resume(&pool.policy, &memory);
	for (uint32_t i = 0; i < was.rules.capacity; i++)
		if (before[i].state != SLOT_FREE)
			cr_assert(pool_policy_adopt(&pool.policy, i, &before[i]));
	cr_assert_eq(memcmp(was.count, pool.policy.count, sizeof(was.count)), 0);
	cr_assert_eq(memcmp(was.count_of, pool.policy.count_of, sizeof(was.count_of)), 0);
	cr_assert_eq(was.was_ready, pool.policy.was_ready);
	for (uint32_t i = 0; i < was.rules.capacity; i++)
		cr_assert_eq(before[i].deadline_ms, pool.slots[i].deadline_ms);
}

Test(policy_upgrade, workers_that_serve_serve_on)
{
	pool_begin(8, 3);
	born_ready(0, 2);
	go_on();
	cr_assert(pool_policy_is_ready(&pool.policy));
	PLAN("");
	failed(1);
	pool.now_ms += WAIT_MIN;
	PLAN("ask 1");
}

Test(policy_upgrade, deadlines_are_those_that_they_were)
{
	pool_begin(8, 1);
	born(0);
	pool.now_ms += START_TIMEOUT - 10;
	go_on();
	PLAN("");
	pool.now_ms += 10;
	PLAN("kill 0 start_timeout");
}

Test(policy_upgrade, a_pool_that_backs_off_does_so_still)
{
	pool_begin(8, 2);
	born_ready(0, 1);
	failed(1);
	go_on();
	PLAN("");
	pool.now_ms += WAIT_MIN;
	PLAN("ask 1");
}

Test(policy_upgrade, workers_of_earlier_generations_are_replaced)
{
	const struct pool_memory memory = { .generation = 5, .target = 2, .was_ready = true };
	struct slot old = { .state = SLOT_READY, .generation = 4, .was_ready = true, .deadline_ms = DEADLINE_NONE };

	pool_begin(8, 2);
	pool_policy_resume(&pool.policy, &memory);
	cr_assert(pool_policy_adopt(&pool.policy, 0, &old));
	old.generation = 5;
	cr_assert(pool_policy_adopt(&pool.policy, 1, &old));
	cr_assert(pool_policy_is_rolling(&pool.policy));
	PLAN("ask 2");
	born_ready(2, 2);
	PLAN("retire 0 reload");
}

Test(policy_upgrade, what_has_no_place_is_refused)
{
	struct slot slot = { .state = SLOT_READY, .generation = 1, .deadline_ms = DEADLINE_NONE };

	pool_begin(4, 2);
	cr_assert_not(pool_policy_adopt(&pool.policy, 4, &slot));
	cr_assert_not(pool_policy_adopt(&pool.policy, UINT32_MAX, &slot));
	slot.state = SLOT_FREE;
	cr_assert_not(pool_policy_adopt(&pool.policy, 0, &slot));
	slot.state = SLOT_ASKED;
	cr_assert_not(pool_policy_adopt(&pool.policy, 0, &slot));
	slot.state = SLOT_STATES;
	cr_assert_not(pool_policy_adopt(&pool.policy, 0, &slot));
	slot.state = SLOT_RETIRING;
	cr_assert(pool_policy_adopt(&pool.policy, 0, &slot));
	cr_assert_not(pool_policy_adopt(&pool.policy, 0, &slot), "it has one");
	cr_assert_eq(pool.policy.count[SLOT_FREE], 3);
}

Test(policy_upgrade, a_target_is_within_the_capacity)
{
	const struct pool_memory memory = { .generation = 2, .target = 100 };

	pool_begin(4, 2);
	pool_policy_resume(&pool.policy, &memory);
	cr_assert_eq(pool.policy.target, 4);
}
