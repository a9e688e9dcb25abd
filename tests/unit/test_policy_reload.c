/* SPDX-License-Identifier: MIT */
/*
 * A reload over several pools: every pair of a phase and an event, and what the transaction does to the pools.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "base/attrs.h"
#include "policy/reload.h"

struct transition {
	enum reload_phase from;
	enum reload_event event;
	enum reload_phase to;
};

/* All that can happen; a pair that is not here cannot. */
static const struct transition possible[] = {
	{RELOAD_IDLE,     RELOAD_BEGIN,   RELOAD_CANARY },
	{ RELOAD_CANARY,  RELOAD_COMMIT,  RELOAD_ROLLING},
	{ RELOAD_CANARY,  RELOAD_UNDO,    RELOAD_UNDOING},
	{ RELOAD_ROLLING, RELOAD_ROLLED,  RELOAD_IDLE   },
	{ RELOAD_UNDOING, RELOAD_UNDONE,  RELOAD_IDLE   },

 /* What makes a roll fail may need another configuration. */
	{ RELOAD_ROLLING, RELOAD_BEGIN,   RELOAD_CANARY },
	{ RELOAD_UNDOING, RELOAD_RESUMED, RELOAD_ROLLING},

 /* A stop ends it at any moment. */
	{ RELOAD_CANARY,  RELOAD_STOPPED, RELOAD_IDLE   },
	{ RELOAD_ROLLING, RELOAD_STOPPED, RELOAD_IDLE   },
	{ RELOAD_UNDOING, RELOAD_STOPPED, RELOAD_IDLE   },
};

static enum reload_phase expected(enum reload_phase from, enum reload_event event)
{
	for (size_t i = 0; i < ARRAY_SIZE(possible); i++)
		if (possible[i].from == from && possible[i].event == event)
			return possible[i].to;
	return RELOAD_PHASES;
}

Test(policy_reload, follows_the_table_for_every_phase_and_event)
{
	for (enum reload_phase from = 0; from < RELOAD_PHASES; from++)
		for (enum reload_event event = 0; event < RELOAD_EVENTS; event++)
			cr_expect_eq(reload_next(from, event), expected(from, event), "%s + %s",
				reload_phase_name(from), reload_event_name(event));
}

Test(policy_reload, names_each_phase_and_event)
{
	for (enum reload_phase i = 0; i < RELOAD_PHASES; i++)
		for (enum reload_phase j = 0; j < i; j++)
			cr_expect_str_neq(reload_phase_name(i), reload_phase_name(j));
	for (enum reload_event i = 0; i < RELOAD_EVENTS; i++)
		for (enum reload_event j = 0; j < i; j++)
			cr_expect_str_neq(reload_event_name(i), reload_event_name(j));
}

/* ---- over three pools ---- */

#define POOLS    3
#define CAPACITY 8
#define NOW_MS   1000

static const struct pool_rules rules = {
	.capacity = CAPACITY,
	.start_timeout_ms = 5000,
	.healthy_ms = 10000,
	.give_up_after = 1,
	.backoff = {.min_ms = 100, .max_ms = 1000},
};

struct daemon {
	struct pool_policy pool[POOLS];
	struct slot slots[POOLS][CAPACITY];
	struct reload_member member[POOLS];
	struct reload reload;
};

static struct daemon d;

static void tell(size_t pool, uint32_t slot, enum slot_event event, enum slot_reason reason)
{
	cr_assert(pool_policy_event(&d.pool[pool], slot, event, reason, NOW_MS), "%s for slot %u of pool %zu",
		slot_event_name(event), slot, pool);
}

static void start(size_t pool, uint32_t slot, enum slot_reason reason)
{
	tell(pool, slot, SLOT_ASK, reason);
	tell(pool, slot, SLOT_BORN, SLOT_REASON_NONE);
	tell(pool, slot, SLOT_BECAME_READY, SLOT_REASON_NONE);
}

/* Each pool has one worker, in slot 0. */
static void begin(void)
{
	memset(&d, 0, sizeof(d));
	for (size_t i = 0; i < POOLS; i++) {
		pool_policy_init(&d.pool[i], &rules, 1, d.slots[i]);
		start(i, 0, SLOT_REASON_NONE);
		d.member[i] = (struct reload_member){ .pool = &d.pool[i], .rules = rules, .target = 2 };
		d.member[i].rules.start_timeout_ms = 7000;
	}
}

static void expect_step(enum reload_event event, enum reload_phase phase)
{
	enum reload_event stepped = RELOAD_EVENTS;

	cr_assert(reload_step(&d.reload, NOW_MS, &stepped));
	cr_assert_eq(stepped, event, "%s", reload_event_name(stepped));
	cr_assert_eq(d.reload.phase, phase, "%s", reload_phase_name(d.reload.phase));
}

static void expect_rest(enum reload_phase phase)
{
	enum reload_event stepped = RELOAD_EVENTS;

	cr_assert_not(reload_step(&d.reload, NOW_MS, &stepped));
	cr_assert_eq(stepped, RELOAD_EVENTS, "untouched");
	cr_assert_eq(d.reload.phase, phase, "%s", reload_phase_name(d.reload.phase));
}

static void expect_pools(uint32_t generation, uint32_t target, uint64_t start_timeout_ms)
{
	for (size_t i = 0; i < POOLS; i++) {
		cr_assert_eq(d.pool[i].generation, generation, "pool %zu", i);
		cr_assert_eq(d.pool[i].target, target, "pool %zu", i);
		cr_assert_eq(d.pool[i].rules.start_timeout_ms, start_timeout_ms, "pool %zu", i);
		cr_assert_eq(d.pool[i].reload.canary, CANARY_NONE, "pool %zu", i);
	}
}

static bool begin_reload(uint32_t generation)
{
	return reload_begin(&d.reload, d.member, POOLS, generation, NOW_MS);
}

/* Puts the reload to GENERATION into PHASE. */
static void bring_to(enum reload_phase phase)
{
	begin();
	if (phase == RELOAD_IDLE)
		return;
	cr_assert(begin_reload(2));
	for (size_t i = 0; i < POOLS; i++)
		start(i, 1, SLOT_REASON_RELOAD);
	if (phase == RELOAD_ROLLING)
		expect_step(RELOAD_COMMIT, RELOAD_ROLLING);
	if (phase != RELOAD_UNDOING)
		return;
	d.pool[1].reload.canary = CANARY_DIED;
	expect_step(RELOAD_UNDO, RELOAD_UNDOING);
}

Test(policy_reload, rests_while_there_is_none)
{
	begin();
	expect_rest(RELOAD_IDLE);
}

Test(policy_reload, commits_all_pools_once_every_canary_is_ready)
{
	begin();
	cr_assert(begin_reload(2));
	for (size_t i = 0; i < POOLS; i++) {
		expect_rest(RELOAD_CANARY);
		start(i, 1, SLOT_REASON_RELOAD);
		for (size_t j = 0; j < POOLS; j++)
			cr_assert_eq(d.pool[j].generation, 1, "none before all");
	}
	expect_step(RELOAD_COMMIT, RELOAD_ROLLING);
	expect_pools(2, 2, 7000);
	expect_rest(RELOAD_ROLLING);
}

Test(policy_reload, has_rolled_when_the_last_pool_has)
{
	struct death_verdict verdict;
	const struct death death = { .served = 1, .pool_has_served = true };

	bring_to(RELOAD_ROLLING);
	for (size_t i = 0; i < POOLS; i++) {
		expect_rest(RELOAD_ROLLING);
		if (i == 1)
			cr_assert(pool_policy_died(&d.pool[i], 0, &death, NOW_MS, &verdict), "gone by itself");
		else
			tell(i, 0, SLOT_RETIRE, SLOT_REASON_RELOAD);
	}
	expect_step(RELOAD_ROLLED, RELOAD_IDLE);
	expect_pools(2, 2, 7000);
	expect_rest(RELOAD_IDLE);
}

Test(policy_reload, undoes_all_pools_when_one_canary_fails)
{
	begin();
	cr_assert(begin_reload(2));
	start(0, 1, SLOT_REASON_RELOAD);
	tell(2, 1, SLOT_ASK, SLOT_REASON_RELOAD);
	tell(2, 1, SLOT_FAILED, SLOT_REASON_NONE);
	expect_step(RELOAD_UNDO, RELOAD_UNDOING);
	cr_expect_eq(d.reload.refused_by, 2);
	cr_expect_eq(d.reload.refusal, CANARY_NOT_BORN);
	expect_pools(1, 1, 5000);
	expect_rest(RELOAD_UNDOING);
	tell(0, 1, SLOT_RETIRE, SLOT_REASON_RELOAD_UNDONE);
	expect_step(RELOAD_UNDONE, RELOAD_IDLE);
	expect_rest(RELOAD_IDLE);
}

Test(policy_reload, undoes_when_there_is_no_room_for_a_canary)
{
	enum reload_event event;

	begin();
	cr_assert(begin_reload(2));
	cr_assert_not(reload_step(&d.reload, NOW_MS + POOL_CANARY_ROOM_MS - 1, &event));
	cr_assert(reload_step(&d.reload, NOW_MS + POOL_CANARY_ROOM_MS, &event));
	cr_expect_eq(event, RELOAD_UNDO);
	cr_expect_eq(d.reload.refusal, CANARY_NO_ROOM);
	expect_pools(1, 1, 5000);
}

Test(policy_reload, refuses_a_second_one_until_the_canaries_are_judged)
{
	static const bool taken[] = { [RELOAD_IDLE] = true, [RELOAD_ROLLING] = true, [RELOAD_PHASES - 1] = false };

	for (enum reload_phase phase = 0; phase < RELOAD_PHASES; phase++) {
		struct daemon before;

		bring_to(phase);
		before = d;
		cr_expect_eq(begin_reload(3), taken[phase], "%s", reload_phase_name(phase));
		if (!taken[phase])
			cr_expect_eq(memcmp(&before, &d, sizeof(d)), 0, "%s", reload_phase_name(phase));
	}
}

Test(policy_reload, a_generation_is_never_used_twice)
{
	bring_to(RELOAD_UNDOING);
	for (size_t i = 0; i < POOLS; i++)
		tell(i, 1, SLOT_RETIRE, SLOT_REASON_RELOAD_UNDONE);
	expect_step(RELOAD_UNDONE, RELOAD_IDLE);
	cr_expect_not(begin_reload(1));
	cr_expect_not(begin_reload(2));
	cr_expect(begin_reload(3));
}

Test(policy_reload, begins_in_all_pools_or_in_none)
{
	begin();
	pool_policy_retire(&d.pool[2], NOW_MS + 1000);
	cr_expect_not(begin_reload(2));
	cr_expect_eq(d.reload.phase, RELOAD_IDLE);
	expect_pools(1, 1, 5000);
}

Test(policy_reload, goes_back_to_an_earlier_roll_when_it_is_undone)
{
	bring_to(RELOAD_ROLLING);
	cr_assert(begin_reload(3));
	tell(0, 2, SLOT_ASK, SLOT_REASON_RELOAD);
	tell(0, 2, SLOT_FAILED, SLOT_REASON_NONE);
	expect_step(RELOAD_UNDO, RELOAD_UNDOING);
	expect_step(RELOAD_RESUMED, RELOAD_ROLLING);
	expect_pools(2, 2, 7000);
	for (size_t i = 0; i < POOLS; i++)
		tell(i, 0, SLOT_RETIRE, SLOT_REASON_RELOAD);
	expect_step(RELOAD_ROLLED, RELOAD_IDLE);
}

Test(policy_reload, a_stop_ends_it_in_each_phase)
{
	for (enum reload_phase phase = RELOAD_IDLE + 1; phase < RELOAD_PHASES; phase++)
		for (size_t i = 0; i < POOLS; i++) {
			bring_to(phase);
			pool_policy_quit(&d.pool[i], SLOT_REASON_STOP);
			expect_step(RELOAD_STOPPED, RELOAD_IDLE);
			expect_rest(RELOAD_IDLE);
			for (size_t j = 0; j < POOLS; j++)
				cr_expect_eq(d.pool[j].reload.canary, CANARY_NONE);
		}
}

Test(policy_reload, without_pools_it_is_done_at_once)
{
	begin();
	cr_assert(reload_begin(&d.reload, NULL, 0, 2, NOW_MS));
	expect_step(RELOAD_COMMIT, RELOAD_ROLLING);
	expect_step(RELOAD_ROLLED, RELOAD_IDLE);
}

/* ---- what the caller decides ---- */

Test(policy_reload, stands_when_every_canary_does)
{
	begin();
	cr_expect_not(reload_stands(&d.reload, NOW_MS));
	cr_assert(begin_reload(2));
	for (size_t i = 0; i < POOLS; i++) {
		cr_expect_not(reload_stands(&d.reload, NOW_MS));
		start(i, 1, SLOT_REASON_RELOAD);
	}
	cr_expect(reload_stands(&d.reload, NOW_MS));
	cr_expect_not(reload_falls(&d.reload, NOW_MS));
	d.pool[1].reload.canary = CANARY_DIED;
	cr_expect_not(reload_stands(&d.reload, NOW_MS));
	cr_expect(reload_falls(&d.reload, NOW_MS));
	cr_expect_eq(d.reload.phase, RELOAD_CANARY);
	d.pool[1].reload.canary = CANARY_READY;
	pool_policy_retire(&d.pool[2], NOW_MS);
	cr_expect_not(reload_stands(&d.reload, NOW_MS));
}

Test(policy_reload, the_caller_may_refuse_one_that_stands)
{
	bring_to(RELOAD_CANARY);
	cr_assert(reload_stands(&d.reload, NOW_MS));
	reload_undo(&d.reload);
	cr_expect_eq(d.reload.phase, RELOAD_UNDOING);
	expect_pools(1, 1, 5000);
}

Test(policy_reload, the_caller_may_commit_whatever_became_of_a_canary)
{
	bring_to(RELOAD_CANARY);
	d.pool[1].reload.canary = CANARY_DIED;
	reload_commit(&d.reload);
	cr_expect_eq(d.reload.phase, RELOAD_ROLLING);
	expect_pools(2, 2, 7000);
}
