/* SPDX-License-Identifier: MIT */
/* What the load makes of a pool's size: policy/sizing.h by itself, and in a pool's policy. */
#include "policy/sizing.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "policy/deadline.h"
#include "pool_fixture.h"

#define IDLE_EXIT 30000

/* ---- one look ---- */

static const struct sizing_rules spare_rules = {
	.kind = SIZING_SPARE, .min = 3, .max = 20, .min_spare = 2, .max_spare = 5, .idle_exit_ms = IDLE_EXIT
};
static const struct sizing_rules demand_rules = {
	.kind = SIZING_SPARE, .min = 0, .max = 20, .min_spare = 2, .max_spare = 5, .idle_exit_ms = IDLE_EXIT
};
static const struct sizing_rules queue_rules = {
	.kind = SIZING_QUEUE, .min = 2, .max = 20, .idle_exit_ms = IDLE_EXIT, .sample_ms = 50
};
static const struct sizing_rules queue_demand_rules = {
	.kind = SIZING_QUEUE, .min = 0, .max = 20, .idle_exit_ms = IDLE_EXIT
};

#define NOW   1000000
#define NEVER UINT64_MAX

struct look {
	const struct sizing_rules *rules;
	struct sizing_size size;
	struct sizing_load load;
	uint32_t target;  /* expected */
	uint64_t look_ms; /* from now; NEVER */
	const char *what;
};

static void check_look(const struct look *look)
{
	struct sizing sizing = { .waited_ms = NOW - 10 };
	struct sizing_size size = look->size;
	uint64_t look_ms = 0;
	uint32_t target;

	if (size.expires_ms == 0)
		size.expires_ms = DEADLINE_NONE;
	target = sizing_look(look->rules, &sizing, &size, &look->load, NOW, &look_ms);
	cr_expect_eq(target, look->target, "%s: %u workers, not %u", look->what, target, look->target);
	cr_expect_eq(look_ms, look->look_ms == NEVER ? NEVER : NOW + look->look_ms, "%s: looks again in %lld ms",
		look->what, (long long)(look_ms - NOW));
}

Test(policy_sizing, what_one_look_makes_of_the_target)
{
	/* size: target, ready, coming, expired, expires; load: busy, queued. */
	static const struct look looks[] = {
		{&spare_rules,         { 3, 3, 0, 0, 0 },       { 0, 0 },          3,  NEVER, "nobody is there"                            },
		{ &spare_rules,        { 3, 3, 0, 0, 0 },       { 1, 0 },          3,  NEVER, "enough are idle"                            },
		{ &spare_rules,        { 3, 3, 0, 0, 0 },       { 2, 0 },          4,  1000,  "one is missing beside the busy"             },
		{ &spare_rules,        { 3, 3, 0, 0, 0 },       { 3, 0 },          5,  1000,  "all are busy"                               },
		{ &spare_rules,        { 3, 3, 0, 0, 0 },       { 3, 6 },          11, 1000,  "one for each who waits"                     },
		{ &spare_rules,        { 3, 3, 0, 0, 0 },       { 3, 600 },        20, 1000,  "never more than max"                        },
		{ &spare_rules,        { 3, 3, 0, 0, 0 },       { 3, UINT32_MAX }, 20, 1000,  "numbers that overflow"                      },
		{ &spare_rules,        { 9, 3, 4, 0, 0 },       { 3, 2 },          7,  1000,  "what is not asked for yet is wanted no more"},
		{ &spare_rules,        { 9, 3, 4, 0, 0 },       { 0, 0 },          6,  1000,  "those on their way are too many"            },
		{ &spare_rules,        { 10, 10, 0, 0, 0 },     { 5, 0 },          10, 1000,  "as many as may be idle"                     },
		{ &spare_rules,        { 11, 11, 0, 0, 0 },     { 5, 0 },          10, 1000,  "one too many"                               },
		{ &spare_rules,        { 19, 19, 0, 0, 0 },     { 5, 0 },          18, 1000,  "one at a time"                              },
		{ &spare_rules,        { 5, 5, 0, 0, NOW + 7 }, { 0, 0 },          5,  7,     "the first may leave in 7 ms"                },
		{ &spare_rules,        { 5, 5, 0, 1, NOW + 7 }, { 0, 0 },          4,  7,     "the first leaves"                           },
		{ &spare_rules,        { 9, 9, 0, 8, 0 },       { 0, 0 },          3,  NEVER, "all leave at once, down to min"             },
		{ &spare_rules,        { 9, 9, 0, 4, 0 },       { 5, 0 },          7,  1000,  "and never the last spare ones"              },
		{ &spare_rules,        { 5, 6, 0, 0, 0 },       { 0, 0 },          5,  NEVER, "one more, while the pool rolls"             },
		{ &spare_rules,        { 5, 2, 0, 0, 0 },       { 0, 0 },          3,  1000,  "some have died"                             },
		{ &spare_rules,        { 30, 30, 0, 0, 0 },     { 30, 0 },         20, 1000,  "more than a reload's max"                   },
		{ &demand_rules,       { 0, 0, 0, 0, 0 },       { 0, 0 },          0,  NEVER, "it sleeps"                                  },
		{ &demand_rules,       { 0, 0, 0, 0, 0 },       { 0, 1 },          3,  1000,  "a client is there"                          },
		{ &demand_rules,       { 2, 0, 2, 0, 0 },       { 0, 0 },          2,  1000,  "it wakes"                                   },
		{ &demand_rules,       { 2, 2, 0, 0, NOW + 9 }, { 0, 0 },          2,  9,     "it will sleep"                              },
		{ &demand_rules,       { 2, 2, 0, 1, NOW + 9 }, { 0, 0 },          2,  9,     "they leave together"                        },
		{ &demand_rules,       { 2, 2, 0, 2, 0 },       { 0, 0 },          0,  NEVER, "all leave"                                  },
		{ &demand_rules,       { 3, 3, 0, 2, 0 },       { 1, 0 },          3,  1000,  "a busy one keeps the spare ones"            },
		{ &demand_rules,       { 4, 4, 0, 3, NOW + 3 }, { 0, 0 },          2,  3,     "those beyond the spare ones need not wait"  },
		{ &demand_rules,       { 2, 0, 0, 0, 0 },       { 0, 0 },          2,  1000,  "its workers have died: others follow"       },
		{ &queue_rules,        { 2, 2, 0, 0, 0 },       { 0, 0 },          2,  50,    "nobody waits"                               },
		{ &queue_rules,        { 2, 2, 0, 0, 0 },       { 0, 3 },          5,  50,    "one for each who waits"                     },
		{ &queue_rules,        { 5, 2, 3, 0, 0 },       { 0, 3 },          5,  50,    "for whom one is on his way"                 },
		{ &queue_rules,        { 5, 2, 1, 0, 0 },       { 0, 0 },          3,  50,    "nobody waits any more"                      },
		{ &queue_rules,        { 5, 5, 0, 0, 0 },       { 0, 999 },        20, 1000,  "never more than max"                        },
		{ &queue_rules,        { 5, 5, 0, 0, 0 },       { 0, 0 },          5,  50,    "those who are there stay for a while"       },
		{ &queue_demand_rules, { 0, 0, 0, 0, 0 },       { 0, 0 },          0,  NEVER, "a program sleeps"                           },
		{ &queue_demand_rules, { 1, 0, 0, 0, 0 },       { 0, 0 },          1,  100,   "a program wakes"                            },
		{ &queue_demand_rules, { 0, 0, 0, 0, 0 },       { 0, 4 },          4,  100,   "clients of a program that sleeps"           },
	};

	for (size_t i = 0; i < sizeof(looks) / sizeof(looks[0]); i++)
		check_look(&looks[i]);
}

Test(policy_sizing, begins_with_what_it_has_when_nobody_comes)
{
	struct sizing_rules rules = spare_rules;

	cr_assert_eq(sizing_first(&rules), 3);
	rules.min_spare = 7;
	cr_assert_eq(sizing_first(&rules), 7);
	rules.max = 5;
	cr_assert_eq(sizing_first(&rules), 5);
	cr_assert_eq(sizing_first(&demand_rules), 0);
	cr_assert_eq(sizing_first(&queue_rules), 2);
	cr_assert_eq(sizing_first(&queue_demand_rules), 0);
}

/* ---- a pool ---- */

static void begin(const struct sizing_rules *rules)
{
	pool_begin(64, sizing_first(rules));
	pool.policy.rules.sizing = *rules;
}

static uint64_t load(uint32_t busy, uint32_t queued)
{
	const struct sizing_load load = { .busy = busy, .queued = queued };

	return pool_policy_load(&pool.policy, &load, pool.now_ms);
}

static void busy(uint32_t from, uint32_t to)
{
	for (uint32_t i = from; i <= to; i++)
		pool_policy_note_idle(&pool.policy, i, 0);
}

/* How many are asked for by the plan, which is carried out up to their birth. */
static uint32_t start_all(void)
{
	uint32_t asked = 0;

	make_plan();
	for (size_t i = 0; i < pool.plan.count; i++) {
		cr_assert_eq(pool.plan.actions[i].what, SLOT_ASK);
		born(pool.plan.actions[i].slot);
		asked++;
	}
	return asked;
}

static uint32_t first_starting(void)
{
	uint32_t slot = 0;

	while (pool.slots[slot].state != SLOT_STARTING)
		slot++;
	return slot;
}

Test(policy_sizing, a_burst_is_answered_by_steps_that_double)
{
	static const uint32_t steps[] = { 4, 8, 16, 17 };
	struct sizing_rules rules = spare_rules;

	rules.max = 60;
	begin(&rules);
	cr_assert_eq(start_all(), 3);
	for (uint32_t i = 0; i < 3; i++)
		ready(i);
	busy(0, 2);
	load(3, 43);
	cr_assert_eq(pool.policy.target, 48);
	for (size_t step = 0; step < sizeof(steps) / sizeof(steps[0]); step++) {
		cr_assert_eq(start_all(), steps[step], "step %zu", step);
		PLAN("");
		for (uint32_t i = 0; i < steps[step]; i++)
			ready(first_starting());
		/* Each has taken one of those that wait. */
		busy(0, pool.policy.count[SLOT_READY] - 1);
		if (pool.policy.count[SLOT_READY] < 46)
			load(pool.policy.count[SLOT_READY], 46 - pool.policy.count[SLOT_READY]);
	}
	PLAN("");
}

Test(policy_sizing, one_that_is_ready_makes_room_for_two)
{
	begin(&spare_rules);
	start_all();
	for (uint32_t i = 0; i < 3; i++)
		ready(i);
	busy(0, 2);
	load(3, 12);
	cr_assert_eq(start_all(), 4);
	ready(first_starting());
	cr_assert_eq(start_all(), 2);
}

Test(policy_sizing, the_next_shortage_begins_carefully_again)
{
	begin(&spare_rules);
	start_all();
	for (uint32_t i = 0; i < 3; i++)
		ready(i);
	busy(0, 2);
	load(3, 7);
	start_all();
	while (pool.policy.count[SLOT_STARTING] > 0) {
		ready(first_starting());
		start_all();
	}
	cr_assert_gt(pool.policy.sizing.window, SIZING_WINDOW_MIN);
	pool.now_ms += SIZING_CALM_MS;
	busy(0, 11);
	load(12, 6);
	cr_assert_eq(start_all(), SIZING_WINDOW_MIN);
}

Test(policy_sizing, what_a_pool_has_when_nobody_comes_is_no_growth)
{
	struct sizing_rules rules = spare_rules;

	rules.min = 12;
	begin(&rules);
	cr_assert_eq(start_all(), 12);
}

Test(policy_sizing, what_other_pools_have_is_not_waited_for)
{
	begin(&spare_rules);
	start_all();
	ready(0);
	ready(1);
	cr_assert_not(pool_policy_is_ready(&pool.policy), "two of three");
	pool_policy_allow(&pool.policy, 2);
	cr_expect(pool_policy_is_ready(&pool.policy));
}

Test(policy_sizing, a_share_that_came_first_is_waited_for)
{
	begin(&spare_rules);
	pool_policy_allow(&pool.policy, 2);
	cr_assert_eq(start_all(), 2);
	ready(0);
	cr_assert_not(pool_policy_is_ready(&pool.policy), "one of two");
	ready(1);
	cr_expect(pool_policy_is_ready(&pool.policy));
}

Test(policy_sizing, the_idle_longest_leaves_and_never_a_busy_one)
{
	begin(&spare_rules);
	pool.policy.target = 8;
	born_ready(0, 7);
	pool.now_ms += 5000;
	busy(0, 1);
	for (uint32_t i = 2; i < 8; i++)
		pool_policy_note_idle(&pool.policy, i, BEGIN_MS + (i == 5 ? 10 : 100 + i));
	load(2, 0);
	PLAN("retire 5 scale down");
	tell(5, SLOT_RETIRE, SLOT_REASON_SCALE_DOWN);
	load(2, 0);
	PLAN("");
	/* By the next second they are all busy. */
	pool.now_ms += SIZING_SHRINK_MS;
	pool.policy.target = 6;
	busy(0, 7);
	PLAN("");
	/* But for one. */
	pool_policy_note_idle(&pool.policy, 3, pool.now_ms);
	PLAN("retire 3 scale down");
}

Test(policy_sizing, whoever_is_on_his_way_leaves_before_a_busy_one_and_after_an_idle_one)
{
	begin(&spare_rules);
	pool.policy.target = 5;
	born_ready(0, 3);
	born(4);
	busy(0, 2);
	pool.policy.target = 3;
	PLAN("retire 3 scale down, retire 4 scale down");
	pool.policy.target = 1;
	PLAN("retire 3 scale down, retire 4 scale down");
}

Test(policy_sizing, a_lower_limit_takes_busy_ones_too_but_idle_ones_first)
{
	begin(&spare_rules);
	pool.policy.target = 6;
	born_ready(0, 5);
	busy(0, 3);
	pool_policy_allow(&pool.policy, 3);
	PLAN("retire 5 scale down, retire 4 scale down, retire 3 scale down");
	pool_policy_allow(&pool.policy, 6);
	PLAN("");
	pool.policy.rules.sizing.max = 5;
	PLAN("retire 5 scale down");
}

Test(policy_sizing, a_share_holds_starts_back)
{
	begin(&spare_rules);
	start_all();
	for (uint32_t i = 0; i < 3; i++)
		ready(i);
	busy(0, 2);
	load(3, 1);
	cr_assert_eq(pool_policy_wish(&pool.policy), 6);
	pool_policy_allow(&pool.policy, 4);
	cr_assert_eq(pool_policy_wish(&pool.policy), 6);
	PLAN("ask 3");
	pool_policy_allow(&pool.policy, UINT32_MAX);
	PLAN("ask 3, ask 4, ask 5");
}

Test(policy_sizing, on_demand_it_sleeps_and_is_woken)
{
	begin(&demand_rules);
	cr_assert(pool_policy_is_ready(&pool.policy), "a pool that sleeps lacks nobody");
	cr_assert(pool_policy_awaits_demand(&pool.policy, pool.now_ms));
	cr_assert_eq(load(0, 0), DEADLINE_NONE);
	IDLE();
	pool_policy_demand(&pool.policy, pool.now_ms);
	cr_assert_not(pool_policy_awaits_demand(&pool.policy, pool.now_ms));
	load(0, 1);
	cr_assert_eq(start_all(), 3);
	for (uint32_t i = 0; i < 3; i++)
		ready(i);
	busy(0, 0);
	load(1, 0);
	IDLE();
	/* The connection ends; two leave when they have been idle for long enough, and the last one then, too. */
	pool.now_ms += 1000;
	pool_policy_note_idle(&pool.policy, 0, pool.now_ms);
	cr_assert_eq(load(0, 0), BEGIN_MS + IDLE_EXIT);
	pool.now_ms = BEGIN_MS + IDLE_EXIT;
	cr_assert_eq(load(0, 0), BEGIN_MS + IDLE_EXIT + 1000);
	PLAN("retire 2 scale down");
	tell(2, SLOT_RETIRE, SLOT_REASON_SCALE_DOWN);
	pool.now_ms += 1000;
	cr_assert_eq(load(0, 0), DEADLINE_NONE);
	PLAN("retire 1 scale down, retire 0 scale down");
	tell(0, SLOT_RETIRE, SLOT_REASON_SCALE_DOWN);
	tell(1, SLOT_RETIRE, SLOT_REASON_SCALE_DOWN);
	cr_assert(pool_policy_awaits_demand(&pool.policy, pool.now_ms));
	/* Who comes now does not wait for those that leave. */
	pool_policy_demand(&pool.policy, pool.now_ms);
	PLAN("ask 3, ask 4");
}

Test(policy_sizing, on_demand_a_backoff_is_waited_for)
{
	begin(&demand_rules);
	pool_policy_demand(&pool.policy, pool.now_ms);
	start_all();
	failed(0);
	failed(1);
	pool.policy.target = 0;
	cr_assert_not(pool_policy_awaits_demand(&pool.policy, pool.now_ms));
	pool.now_ms += WAIT_MIN;
	cr_assert(pool_policy_awaits_demand(&pool.policy, pool.now_ms));
	pool_policy_retire(&pool.policy, DEADLINE_NONE);
	cr_assert_not(pool_policy_awaits_demand(&pool.policy, pool.now_ms));
}

Test(policy_sizing, a_fixed_pool_awaits_nobody)
{
	pool_begin(8, 0);
	cr_assert_not(pool_policy_awaits_demand(&pool.policy, pool.now_ms));
	pool_policy_demand(&pool.policy, pool.now_ms);
	cr_assert_eq(pool.policy.target, 0);
	cr_assert_eq(load(5, 5), DEADLINE_NONE);
	cr_assert_eq(pool.policy.target, 0);
}

Test(policy_sizing, those_that_wait_for_inetd_are_replaced_at_once)
{
	const struct sizing_rules rules = {
		.kind = SIZING_SPARE, .min = 0, .max = 8, .min_spare = 8, .max_spare = 8, .idle_exit_ms = IDLE_EXIT
	};

	begin(&rules);
	pool_policy_demand(&pool.policy, pool.now_ms);
	cr_assert_eq(start_all(), 8);
	for (uint32_t i = 0; i < 8; i++)
		ready(i);
	tell(0, SLOT_TAKEN, SLOT_REASON_NONE);
	tell(1, SLOT_TAKEN, SLOT_REASON_NONE);
	PLAN("ask 8, ask 9");
	cr_assert_eq(start_all(), 2);
	ready(8);
	ready(9);
	pool.now_ms += IDLE_EXIT;
	load(0, 0);
	cr_assert_eq(pool.policy.target, 0);
	for (uint32_t i = 2; i < 10; i++)
		tell(i, SLOT_RETIRE, SLOT_REASON_SCALE_DOWN);
	/* Programs that run wait for nobody. */
	cr_assert(pool_policy_awaits_demand(&pool.policy, pool.now_ms));
}

/* ---- programs ---- */

Test(policy_sizing, a_program_pool_shrinks_when_none_has_waited_for_a_while)
{
	begin(&queue_rules);
	start_all();
	ready(0);
	ready(1);
	load(0, 2);
	start_all();
	ready(2);
	ready(3);
	pool.now_ms += IDLE_EXIT - 1;
	load(0, 0);
	PLAN("");
	load(0, 1);
	cr_assert_eq(start_all(), 1);
	ready(4);
	pool.now_ms += IDLE_EXIT;
	load(0, 0);
	PLAN("retire 4 scale down");
	tell(4, SLOT_RETIRE, SLOT_REASON_SCALE_DOWN);
	load(0, 0);
	PLAN("");
	pool.now_ms += SIZING_SHRINK_MS;
	load(0, 0);
	PLAN("retire 3 scale down");
	tell(3, SLOT_RETIRE, SLOT_REASON_SCALE_DOWN);
	pool.now_ms += SIZING_SHRINK_MS;
	load(0, 0);
	PLAN("retire 2 scale down");
	tell(2, SLOT_RETIRE, SLOT_REASON_SCALE_DOWN);
	pool.now_ms += IDLE_EXIT;
	load(0, 0);
	PLAN("");
}

static struct death_verdict left_by_itself(uint32_t slot)
{
	return died(slot, (struct death){ .code = 0, .accepts = true });
}

Test(policy_sizing, a_program_that_exits_in_order_is_idle_where_the_pool_may_sleep)
{
	struct death_verdict verdict;

	begin(&queue_demand_rules);
	pool_policy_demand(&pool.policy, pool.now_ms);
	load(0, 2);
	start_all();
	ready(0);
	ready(1);
	pool.now_ms += POOL_RECYCLE_MS;
	verdict = left_by_itself(0);
	cr_assert_not(verdict.failure);
	cr_assert_eq(verdict.kind, DEATH_RECYCLED);
	cr_assert_eq(verdict.sequel, DEATH_NOT_REPLACED);
	cr_assert_eq(pool.policy.target, 1);
	PLAN("");
	/* As one that says so. */
	tell(1, SLOT_RETIRE, SLOT_REASON_ITSELF);
	cr_assert_eq(pool.policy.target, 0);
	left_by_itself(1);
	PLAN("");
	cr_assert(pool_policy_awaits_demand(&pool.policy, pool.now_ms));
}

Test(policy_sizing, a_program_that_exits_in_order_is_replaced_where_the_pool_may_not_sleep)
{
	struct death_verdict verdict;

	begin(&queue_rules);
	start_all();
	ready(0);
	ready(1);
	pool.now_ms += POOL_RECYCLE_MS;
	verdict = left_by_itself(0);
	cr_assert_not(verdict.failure);
	cr_assert_eq(verdict.sequel, DEATH_REPLACED);
	PLAN("ask 0");
}

/* ---- reload and upgrade ---- */

static void commit(uint32_t generation, const struct sizing_rules *sizing, uint32_t target)
{
	struct pool_rules rules = pool.policy.rules;

	rules.sizing = *sizing;
	cr_assert(pool_policy_reload(&pool.policy, generation, &rules, target, pool.now_ms));
	cr_assert(pool_policy_commit_anyway(&pool.policy));
}

Test(policy_sizing, a_commit_keeps_the_size_within_the_new_bounds)
{
	static const struct sizing_rules fixed = { .kind = SIZING_FIXED };
	struct sizing_rules rules = spare_rules;

	begin(&spare_rules);
	pool.policy.target = 15;
	commit(2, &rules, 3);
	cr_assert_eq(pool.policy.target, 15);
	rules.max = 10;
	commit(3, &rules, 3);
	cr_assert_eq(pool.policy.target, 10);
	rules.max = rules.min = 12;
	commit(4, &rules, 12);
	cr_assert_eq(pool.policy.target, 12);
	commit(5, &fixed, 6);
	cr_assert_eq(pool.policy.target, 6);
	commit(6, &spare_rules, 3);
	cr_assert_eq(pool.policy.target, 6);
	pool.policy.target = 0;
	commit(7, &demand_rules, 0);
	cr_assert_eq(pool.policy.target, 0);
}

Test(policy_sizing, another_image_goes_on_with_the_size_and_the_window)
{
	struct pool_memory memory = {
		.generation = 4, .target = 17, .sizing = {.window = 9, .short_ms = BEGIN_MS}
	};

	begin(&spare_rules);
	pool_policy_resume(&pool.policy, &memory);
	cr_assert_eq(pool.policy.target, 17);
	cr_assert_eq(start_all(), 9);
	begin(&spare_rules);
	memory.target = 30;
	pool_policy_resume(&pool.policy, &memory);
	cr_assert_eq(pool.policy.target, 20);
	begin(&demand_rules);
	memory.target = 0;
	pool_policy_resume(&pool.policy, &memory);
	cr_assert_eq(pool.policy.target, 0);
}
