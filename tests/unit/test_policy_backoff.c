/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>

#include "policy/backoff.h"
#include "policy/deadline.h"

Test(policy_backoff, doubles_up_to_the_maximum)
{
	static const struct backoff_rules rules = { .min_ms = 100, .max_ms = 30000 };
	static const uint64_t expected_ms[] = { 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000 };

	for (uint32_t i = 0; i < sizeof(expected_ms) / sizeof(expected_ms[0]); i++)
		cr_expect_eq(backoff_delay(&rules, i + 1), expected_ms[i], "level %u", i + 1);
	cr_expect_eq(backoff_delay(&rules, UINT32_MAX), 30000);
}

Test(policy_backoff, stays_where_minimum_and_maximum_are_one)
{
	static const struct backoff_rules rules = { .min_ms = 500, .max_ms = 500 };

	for (uint32_t level = 1; level < 100; level++)
		cr_expect_eq(backoff_delay(&rules, level), 500);
}

Test(policy_backoff, does_not_wrap_at_any_level)
{
	static const struct backoff_rules widest = { .min_ms = 1, .max_ms = UINT64_MAX };
	static const struct backoff_rules uneven = { .min_ms = 3, .max_ms = UINT64_MAX - 1 };
	static const struct backoff_rules huge = { .min_ms = UINT64_MAX / 2 + 1, .max_ms = UINT64_MAX };

	for (uint32_t level = 1; level <= 64; level++)
		cr_expect_eq(backoff_delay(&widest, level), UINT64_C(1) << (level - 1), "level %u", level);
	for (uint32_t level = 65; level < 300; level++)
		cr_expect_eq(backoff_delay(&widest, level), UINT64_MAX, "level %u", level);
	for (uint32_t level = 2; level < 300; level++)
		cr_expect_geq(backoff_delay(&uneven, level), backoff_delay(&uneven, level - 1), "level %u", level);
	cr_expect_eq(backoff_delay(&uneven, 300), UINT64_MAX - 1);
	cr_expect_eq(backoff_delay(&huge, 2), UINT64_MAX);
	cr_expect_eq(backoff_delay(&widest, UINT32_MAX), UINT64_MAX);
}

/* With a wait of 0 a pool whose start fails would keep the master busy for ever. */
Test(policy_backoff, never_waits_for_nothing)
{
	static const struct backoff_rules none = { .min_ms = 0, .max_ms = 0 };
	static const struct backoff_rules zero = { .min_ms = 0, .max_ms = 10 };

	cr_expect_eq(backoff_delay(&none, 1), 1);
	cr_expect_eq(backoff_delay(&none, UINT32_MAX), 1);
	cr_expect_eq(backoff_delay(&zero, 1), 1);
	cr_expect_eq(backoff_delay(&zero, 2), 2);
	cr_expect_eq(backoff_delay(&zero, UINT32_MAX), 10);
}

Test(policy_backoff, counts_each_failure_and_waits_from_it)
{
	static const struct backoff_rules rules = { .min_ms = 10, .max_ms = 35 };
	static const uint64_t waits_ms[] = { 10, 20, 35, 35 };
	struct backoff backoff = { .volley = 6 };
	uint64_t now_ms = 1000;

	for (uint32_t i = 0; i < 4; i++) {
		backoff = backoff_next(&rules, backoff, now_ms);
		cr_expect_eq(backoff.level, i + 1);
		cr_expect_eq(backoff.volley, 7 + i);
		cr_expect_eq(backoff.until_ms, now_ms + waits_ms[i]);
		now_ms += 1000;
	}
}

Test(policy_backoff, saturates_at_the_ends_of_its_counters)
{
	static const struct backoff_rules rules = { .min_ms = 10, .max_ms = 35 };
	struct backoff backoff = { .level = UINT32_MAX, .volley = UINT32_MAX };

	backoff = backoff_next(&rules, backoff, DEADLINE_NONE - 5);
	cr_expect_eq(backoff.level, UINT32_MAX);
	cr_expect_eq(backoff.volley, 0, "another one than before is all that counts");
	cr_expect_eq(backoff.until_ms, DEADLINE_NONE, "no wrap to the past");
}

Test(policy_backoff, holds_until_the_wait_is_over)
{
	struct backoff backoff = { .level = 1, .until_ms = 50 };

	cr_expect(backoff_holds(&backoff, 0));
	cr_expect(backoff_holds(&backoff, 49));
	cr_expect_not(backoff_holds(&backoff, 50));
	cr_expect_not(backoff_holds(&backoff, UINT64_MAX));
	backoff.level = 0;
	cr_expect_not(backoff_holds(&backoff, 0), "until_ms means nothing at level 0");
}
