/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <limits.h>

#include "policy/deadline.h"
#include "policy/slow.h"

Test(policy_slow, a_request_is_slow_from_its_time_on)
{
	cr_expect_not(slow_is(5000000, 5000000, 100));
	cr_expect_not(slow_is(5000000, 5099999, 100));
	cr_expect(slow_is(5000000, 5100000, 100));
	cr_expect(slow_is(5000000, UINT64_MAX, 100));
	cr_expect_not(slow_is(5000000, 4000000, 0), "one that has not begun yet");
}

Test(policy_slow, the_next_look_is_when_the_oldest_may_be_slow)
{
	cr_expect_eq(slow_next_look(0, 9000000, 100, 50), 150, "none under way");
	cr_expect_eq(slow_next_look(0, 9000000, 1, 50), 70, "nobody is kept busy with nothing");
	cr_expect_eq(slow_next_look(8999000, 9000000, 2, 50), 51, "but for one that is under way");
	cr_expect_eq(slow_next_look(9000000, 9000000, 100, 50), 150);
	cr_expect_eq(slow_next_look(8960000, 9000000, 100, 50), 110);
	cr_expect_eq(slow_next_look(9500000, 9000000, 100, 50), 150, "one that is ahead of the clock");
	cr_expect_eq(slow_next_look(1, 9000000, 100, 50), 51, "never at once: it would turn in circles");
	cr_expect_eq(slow_next_look(0, 9000000, UINT64_MAX, 50), DEADLINE_NONE);
}

/* Whatever is left of the millisecond: at the look it is slow, and a millisecond before it was not. */
Test(policy_slow, the_look_finds_it_slow)
{
	for (uint64_t begin_us = 1000000; begin_us < 1003000; begin_us += 7) {
		uint64_t now_us = 1050000, look_ms = slow_next_look(begin_us, now_us, 100, 0);

		cr_assert(slow_is(begin_us, now_us + look_ms * 1000, 100));
		cr_assert_not(slow_is(begin_us, now_us + (look_ms - 1) * 1000, 100));
	}
}

Test(policy_slow, a_few_are_told_each_second_and_the_others_counted)
{
	struct slow_gate gate = { 0 };

	for (int second = 1; second < 4; second++) {
		uint64_t now_ms = (uint64_t)second * 1000;

		for (int i = 0; i < SLOW_TOLD_A_SECOND; i++)
			cr_expect(slow_gate_pass(&gate, now_ms));
		cr_expect_eq(slow_gate_due(&gate), DEADLINE_NONE);
		cr_expect_not(slow_gate_pass(&gate, now_ms + 500));
		cr_expect_not(slow_gate_pass(&gate, now_ms + 999));
		cr_expect_eq(slow_gate_due(&gate), now_ms + 1000);
		cr_expect_eq(slow_gate_take_untold(&gate, now_ms + 999), 0, "not before the second is over");
		cr_expect_eq(slow_gate_take_untold(&gate, now_ms + 1000), 2);
		cr_expect_eq(slow_gate_take_untold(&gate, now_ms + 1000), 0, "once");
	}
}

Test(policy_slow, one_that_comes_again_does_not_count_twice)
{
	struct slow_gate gate = { 0 };

	slow_gate_return(&gate);
	for (int i = 0; i < 100; i++) {
		cr_expect(slow_gate_pass(&gate, 1000));
		slow_gate_return(&gate);
	}
}
