/* SPDX-License-Identifier: MIT */
/*
 * A pool that another image of the master's has kept: what it has learned, and its workers, each with its deadline.
 * test_policy_simulator.c has the same at every moment of a pool's life.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "policy/deadline.h"
#include "pool_fixture.h"

#define CAPACITY   9
#define TARGET     3
#define GENERATION 5

static void resume(struct pool_memory memory)
{
	pool_begin(CAPACITY, 1);
	pool_policy_resume(&pool.policy, &memory);
}

static void resume_healthy(void)
{
	resume((struct pool_memory){ .generation = GENERATION, .target = TARGET, .proven = true, .was_ready = true });
}

static struct slot worker(enum slot_state state)
{
	return (struct slot){
		.state = state,
		.generation = GENERATION,
		.asked_ms = BEGIN_MS - 2000,
		.was_ready = state != SLOT_STARTING,
		.ready_ms = BEGIN_MS - 1000,
		.ready_at_ms = DEADLINE_NONE,
		.deadline_ms = DEADLINE_NONE,
	};
}

static void adopt(uint32_t number, struct slot slot)
{
	cr_assert(pool_policy_adopt(&pool.policy, number, &slot), "slot %u", number);
	cr_expect_eq(pool.slots[number].state, slot.state);
	cr_expect_eq(pool.slots[number].deadline_ms, slot.deadline_ms);
}

static void adopt_ready(uint32_t from, uint32_t to)
{
	for (uint32_t i = from; i <= to; i++)
		adopt(i, worker(SLOT_READY));
}

Test(policy_adopt, goes_on_with_the_workers_there_are)
{
	resume_healthy();
	adopt_ready(0, 2);
	cr_expect(pool_policy_is_ready(&pool.policy));
	cr_expect_not(pool_policy_is_rolling(&pool.policy));
	cr_expect_eq(pool_policy_living(&pool.policy), 3);
	IDLE();
	failed(1);
	pool.now_ms += WAIT_MIN;
	PLAN("ask 1");
	tell(1, SLOT_ASK, SLOT_REASON_NONE);
	cr_expect_eq(pool.slots[1].generation, GENERATION);
}

Test(policy_adopt, starts_what_is_missing)
{
	resume_healthy();
	adopt(4, worker(SLOT_READY));
	PLAN("ask 0, ask 1");
}

Test(policy_adopt, every_state_with_a_process_is_taken_over_and_counted)
{
	resume_healthy();
	for (enum slot_state state = SLOT_STARTING; state < SLOT_STATES; state++)
		adopt((uint32_t)state - 1, worker(state));
	for (enum slot_state state = SLOT_STARTING; state < SLOT_STATES; state++) {
		cr_expect_eq(pool.policy.count[state], 1, "%s", slot_state_name(state));
		cr_expect_eq(pool.policy.count_of[POOL_CURRENT][state], 1, "%s", slot_state_name(state));
	}
	cr_expect_eq(pool.policy.count[SLOT_FREE], CAPACITY - (SLOT_STATES - SLOT_STARTING));
	for (enum slot_state state = SLOT_STARTING; state < SLOT_STATES; state++)
		died((uint32_t)state - 1, (struct death){ .code = 0 });
	cr_expect_eq(pool.policy.count[SLOT_FREE], CAPACITY);
}

Test(policy_adopt, what_has_no_place_is_refused)
{
	const enum slot_state without[] = { SLOT_FREE, SLOT_ASKED, SLOT_STATES };
	struct slot slot = worker(SLOT_READY);
	struct pool_policy before;

	resume_healthy();
	adopt_ready(0, 0);
	before = pool.policy;
	cr_expect_not(pool_policy_adopt(&pool.policy, 0, &slot), "it is taken");
	cr_expect_not(pool_policy_adopt(&pool.policy, CAPACITY, &slot), "there is no such slot");
	cr_expect_not(pool_policy_adopt(&pool.policy, UINT32_MAX, &slot), "there is no such slot");
	for (size_t i = 0; i < sizeof(without) / sizeof(without[0]); i++) {
		slot.state = without[i];
		cr_expect_not(pool_policy_adopt(&pool.policy, 1, &slot), "a state without a process");
	}
	cr_expect_arr_eq(&pool.policy, &before, sizeof(before));
	cr_expect_eq(pool.slots[1].state, SLOT_FREE);
}

Test(policy_adopt, deadlines_travel)
{
	const struct {
		enum slot_state state;
		const char *plan;
	} rows[] = {
		{SLOT_STARTING,  "kill 2 start_timeout"   },
		{ SLOT_READY,    "quit 2 watchdog_timeout"},
		{ SLOT_RETIRING, "quit 2 stop_timeout"    },
		{ SLOT_QUITTING, "kill 2 scale down"      },
		{ SLOT_KILLED,   "give up 2 scale down"   },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct slot slot = worker(rows[i].state);

		resume((struct pool_memory){ .generation = GENERATION, .target = 1, .was_ready = true });
		adopt(0, worker(SLOT_READY));
		if (slot.state == SLOT_STARTING || slot.state == SLOT_READY)
			pool.policy.target = 2;
		else
			slot.reason = SLOT_REASON_SCALE_DOWN;
		slot.deadline_ms = BEGIN_MS + 432;
		adopt(2, slot);
		IDLE_FOR(432);
		PLAN(rows[i].plan);
	}
}

Test(policy_adopt, one_that_counts_as_ready_after_a_while_does_so_at_its_time)
{
	struct slot slot = worker(SLOT_STARTING);

	resume_healthy();
	adopt_ready(0, 1);
	slot.ready_at_ms = BEGIN_MS + 77;
	adopt(2, slot);
	IDLE_FOR(77);
	PLAN("ready 2");
}

Test(policy_adopt, the_backoff_goes_on)
{
	resume((struct pool_memory){
		.generation = GENERATION,
		.target = TARGET,
		.backoff = {.level = 3, .volley = 9, .until_ms = BEGIN_MS + 250},
		.was_ready = true,
	});
	IDLE_FOR(250);
	PLAN("ask 0");
	tell(0, SLOT_ASK, SLOT_REASON_NONE);
	tell(0, SLOT_FAILED, SLOT_REASON_NONE);
	IDLE_FOR(WAIT_MIN * 8);
}

/* A worker from before the last failure tells nothing about the time since. */
Test(policy_adopt, the_volley_of_a_worker_travels)
{
	struct slot slot = worker(SLOT_READY);

	resume((struct pool_memory){
		.generation = GENERATION,
		.target = TARGET,
		.backoff = {.level = 1, .volley = 9, .until_ms = BEGIN_MS - 1},
		.was_ready = true,
	});
	slot.volley = 8;
	adopt(0, slot);
	PLAN("ask 1");
	slot.volley = 9;
	adopt(1, slot);
	PLAN("ask 2");
	pool.policy.target = TARGET + 1;
	PLAN("ask 2, ask 3");
}

Test(policy_adopt, what_a_pool_has_proven_stays_proven)
{
	struct death death = { .code = 1, .serving = true };

	resume_healthy();
	adopt_ready(0, 2);
	cr_expect_not(died(0, death).failure);
	resume((struct pool_memory){ .generation = GENERATION, .target = TARGET });
	adopt_ready(0, 1);
	cr_expect_not(pool_policy_is_ready(&pool.policy));
	cr_expect(died(0, death).failure);
}

Test(policy_adopt, a_pool_is_ready_with_the_last_worker_it_takes_over)
{
	resume((struct pool_memory){ .generation = GENERATION, .target = TARGET });
	adopt_ready(0, 1);
	cr_expect_not(pool_policy_is_ready(&pool.policy));
	adopt_ready(2, 2);
	cr_expect(pool_policy_is_ready(&pool.policy));
}

Test(policy_adopt, the_target_is_kept_within_the_capacity)
{
	resume((struct pool_memory){ .generation = GENERATION, .target = 100 });
	cr_expect_eq(pool.policy.target, CAPACITY);
}

Test(policy_adopt, an_earlier_generation_is_rolled)
{
	struct slot slot = worker(SLOT_READY);

	resume_healthy();
	slot.generation = GENERATION - 1;
	for (uint32_t i = 0; i < TARGET; i++)
		adopt(i, slot);
	cr_expect(pool_policy_is_rolling(&pool.policy));
	PLAN("ask 3, ask 4, ask 5");
}

/* It was held, and has accepted nothing. Its time to leave is that of the rules there are. */
Test(policy_adopt, the_canary_of_a_reload_that_is_forgotten_is_retired)
{
	struct slot slot = worker(SLOT_READY);
	struct pool_rules rules;

	resume_healthy();
	pool.policy.rules.retire_timeout_ms = 900;
	rules = pool.policy.rules;
	pool_policy_init(&pool.policy, &rules, TARGET, pool.slots);
	pool_policy_resume(
		&pool.policy, &(struct pool_memory){ .generation = GENERATION, .target = TARGET, .was_ready = true });
	adopt_ready(0, 2);
	slot.generation = GENERATION + 1;
	adopt(3, slot);
	cr_expect_eq(pool_policy_canaries(&pool.policy), 1);
	cr_expect_not(pool_policy_reload(&pool.policy, GENERATION + 2, &rules, TARGET, pool.now_ms));
	PLAN("retire 3 reload undone");
	tell(3, SLOT_RETIRE, SLOT_REASON_RELOAD_UNDONE);
	IDLE_FOR(900);
	cr_expect(pool_policy_reload(&pool.policy, GENERATION + 2, &rules, TARGET, pool.now_ms));
}

Test(policy_adopt, beyond_the_limit_of_the_new_image_as_many_leave)
{
	resume_healthy();
	pool.policy.rules.limit = 2;
	adopt_ready(0, 2);
	PLAN("retire 2 scale down");
	tell(2, SLOT_RETIRE, SLOT_REASON_SCALE_DOWN);
	IDLE();
}

Test(policy_adopt, says_by_when_one_leaves_that_was_asked_to)
{
	resume_healthy();
	adopt_ready(0, 2);
	cr_expect_eq(pool_policy_leaves_by(&pool.policy, 0), DEADLINE_NONE);
	cr_expect_eq(pool_policy_leaves_by(&pool.policy, 5), DEADLINE_NONE);
	pool_policy_retire(&pool.policy, BEGIN_MS + 800);
	tell(0, SLOT_RETIRE, SLOT_REASON_STOP);
	cr_expect_eq(pool_policy_leaves_by(&pool.policy, 0), BEGIN_MS + 800);
	cr_expect(pool_policy_extend(&pool.policy, 0, BEGIN_MS + 300));
	cr_expect_eq(pool_policy_leaves_by(&pool.policy, 0), BEGIN_MS + 300);
}
