/* SPDX-License-Identifier: MIT */
#include "pool_fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "policy/deadline.h"

struct pool_fixture pool;

void pool_begin(uint32_t capacity, uint32_t target)
{
	const struct pool_rules rules = {
		.capacity = capacity,
		.start_timeout_ms = START_TIMEOUT,
		.healthy_ms = HEALTHY,
		.give_up_after = GIVE_UP,
		.backoff = {.min_ms = WAIT_MIN, .max_ms = WAIT_MAX},
	};

	pool.now_ms = BEGIN_MS;
	pool_policy_init(&pool.policy, &rules, target, pool.slots);
}

static void check_counts(void)
{
	uint32_t count[SLOT_STATES] = { 0 };
	uint32_t living = 0;
	uint32_t of_roles;

	for (uint32_t i = 0; i < pool.policy.rules.capacity; i++) {
		count[pool.slots[i].state]++;
		living += pool.slots[i].state != SLOT_FREE && pool.slots[i].state != SLOT_LOST;
	}
	for (enum slot_state i = 0; i < SLOT_STATES; i++)
		cr_assert_eq(pool.policy.count[i], count[i], "count of %s", slot_state_name(i));
	for (enum slot_state i = SLOT_FREE + 1; i < SLOT_STATES; i++) {
		of_roles = 0;
		for (enum pool_role role = 0; role < POOL_ROLES; role++)
			of_roles += pool.policy.count_of[role][i];
		cr_assert_eq(of_roles, count[i], "count of %s by role", slot_state_name(i));
	}
	cr_assert_eq(pool_policy_living(&pool.policy), living);
}

/* ---- what the master does ---- */

void tell(uint32_t slot, enum slot_event event, enum slot_reason reason)
{
	cr_assert(pool_policy_event(&pool.policy, slot, event, reason, pool.now_ms), "%s for slot %u",
		slot_event_name(event), slot);
	check_counts();
}

void refuse(uint32_t slot, enum slot_event event)
{
	cr_assert_not(pool_policy_event(&pool.policy, slot, event, SLOT_REASON_NONE, pool.now_ms), "%s for slot %u",
		slot_event_name(event), slot);
	check_counts();
}

void born(uint32_t slot)
{
	tell(slot, SLOT_ASK, SLOT_REASON_NONE);
	tell(slot, SLOT_BORN, SLOT_REASON_NONE);
}

void ready(uint32_t slot)
{
	tell(slot, SLOT_BECAME_READY, SLOT_REASON_NONE);
}

void born_ready(uint32_t from, uint32_t to)
{
	for (uint32_t i = from; i <= to; i++) {
		born(i);
		ready(i);
	}
}

struct death_verdict died(uint32_t slot, struct death death)
{
	struct death_verdict verdict;

	cr_assert(pool_policy_died(&pool.policy, slot, &death, pool.now_ms, &verdict), "slot %u", slot);
	check_counts();
	return verdict;
}

struct death_verdict failed(uint32_t slot)
{
	struct death_verdict verdict = died(slot, (struct death){ .code = 1 });

	cr_assert(verdict.failure);
	return verdict;
}

void make_plan(void)
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

void check_plan(const char *expected, int line)
{
	make_plan();
	cr_assert_str_eq(pool.text, expected, "line %d: planned '%s' where '%s' is due", line, pool.text, expected);
}

/* Nothing is to be done before AT. */
void check_idle_until(uint64_t at_ms, int line)
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
