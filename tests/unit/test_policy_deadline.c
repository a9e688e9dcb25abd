/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <limits.h>

#include "policy/deadline.h"

#define GRACE DEADLINE_REQUEST_GRACE_MS

Test(policy_deadline, after_adds_and_saturates)
{
	cr_expect_eq(deadline_after(0, 0), 0);
	cr_expect_eq(deadline_after(5, 7), 12);
	cr_expect_eq(deadline_after(0, DEADLINE_NONE), DEADLINE_NONE);
	cr_expect_eq(deadline_after(1, DEADLINE_NONE), DEADLINE_NONE);
	cr_expect_eq(deadline_after(DEADLINE_NONE, 0), DEADLINE_NONE);
	cr_expect_eq(deadline_after(DEADLINE_NONE, 1), DEADLINE_NONE);
	cr_expect_eq(deadline_after(DEADLINE_NONE, DEADLINE_NONE), DEADLINE_NONE);
	cr_expect_eq(deadline_after(DEADLINE_NONE - 2, 1), DEADLINE_NONE - 1);
	cr_expect_eq(deadline_after(DEADLINE_NONE - 2, 2), DEADLINE_NONE);
	cr_expect_eq(deadline_after(DEADLINE_NONE - 2, 3), DEADLINE_NONE, "no wrap to the past");
}

Test(policy_deadline, earlier_is_the_smaller)
{
	cr_expect_eq(deadline_earlier(0, DEADLINE_NONE), 0);
	cr_expect_eq(deadline_earlier(DEADLINE_NONE, 0), 0);
	cr_expect_eq(deadline_earlier(3, 4), 3);
	cr_expect_eq(deadline_earlier(4, 3), 3);
	cr_expect_eq(deadline_earlier(DEADLINE_NONE, DEADLINE_NONE), DEADLINE_NONE);
}

Test(policy_deadline, has_passed_at_its_own_millisecond_and_none_never)
{
	cr_expect(deadline_passed(0, 0));
	cr_expect(deadline_passed(0, DEADLINE_NONE));
	cr_expect_not(deadline_passed(8, 7));
	cr_expect(deadline_passed(8, 8));
	cr_expect(deadline_passed(8, 9));
	cr_expect_not(deadline_passed(DEADLINE_NONE - 1, DEADLINE_NONE - 2));
	cr_expect(deadline_passed(DEADLINE_NONE - 1, DEADLINE_NONE));
	cr_expect_not(deadline_passed(DEADLINE_NONE, 0));
	cr_expect_not(deadline_passed(DEADLINE_NONE, DEADLINE_NONE));
}

Test(policy_deadline, timeout_fits_epoll_wait)
{
	cr_expect_eq(deadline_timeout(DEADLINE_NONE, 0), -1);
	cr_expect_eq(deadline_timeout(DEADLINE_NONE, DEADLINE_NONE), -1);
	cr_expect_eq(deadline_timeout(0, 0), 0);
	cr_expect_eq(deadline_timeout(0, DEADLINE_NONE), 0);
	cr_expect_eq(deadline_timeout(9, 10), 0);
	cr_expect_eq(deadline_timeout(10, 10), 0);
	cr_expect_eq(deadline_timeout(11, 10), 1);
	cr_expect_eq(deadline_timeout((uint64_t)INT_MAX + 5, 5), INT_MAX);
	cr_expect_eq(deadline_timeout((uint64_t)INT_MAX + 6, 5), INT_MAX);
	cr_expect_eq(deadline_timeout(DEADLINE_NONE - 1, 0), INT_MAX);
}

/* epoll_wait() never wakes the master before the deadline it was derived from. */
Test(policy_deadline, timeout_and_passed_agree)
{
	static const uint64_t points_ms[] = { 0, 1, 2, 999, 1000, INT_MAX, DEADLINE_NONE - 1, DEADLINE_NONE };
	const size_t count = sizeof(points_ms) / sizeof(points_ms[0]);

	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; j < count; j++)
			cr_expect_eq(deadline_timeout(points_ms[i], points_ms[j]) == 0,
				deadline_passed(points_ms[i], points_ms[j]), "%zu, %zu", i, j);
}

Test(policy_deadline, request_is_overrun_only_after_the_grace)
{
	cr_expect_not(deadline_request_overrun(0, 0), "0 is none");
	cr_expect_not(deadline_request_overrun(0, DEADLINE_NONE), "0 is none");
	cr_expect_not(deadline_request_overrun(1, 0));
	cr_expect_not(deadline_request_overrun(1, GRACE), "no earlier than the microsecond");
	cr_expect(deadline_request_overrun(1, GRACE + 1));
	cr_expect_not(deadline_request_overrun(5000999, 5000 + GRACE));
	cr_expect(deadline_request_overrun(5000999, 5001 + GRACE));
	cr_expect_not(deadline_request_overrun(UINT64_MAX, 0));
	cr_expect(deadline_request_overrun(UINT64_MAX, DEADLINE_NONE), "the sum does not wrap");
}

Test(policy_deadline, next_scan_without_a_timeout_is_for_what_is_under_way)
{
	cr_expect_eq(deadline_next_scan(0, 0, 0), DEADLINE_NONE);
	cr_expect_eq(deadline_next_scan(5000000, 0, 77), 5001 + GRACE);
}

Test(policy_deadline, next_scan_finds_the_nearest_overrun)
{
	cr_expect_eq(deadline_next_scan(0, 30000, 1000), 1000 + 30000 + GRACE, "one that begins now");
	cr_expect_eq(deadline_next_scan(5000000, 30000, 1000), 5001 + GRACE, "one under way");
	cr_expect_eq(deadline_next_scan(90000000, 30000, 1000), 1000 + 30000 + GRACE, "the earlier of both");
	cr_expect_eq(deadline_next_scan(0, DEADLINE_NONE, 1000), DEADLINE_NONE);
	cr_expect_eq(deadline_next_scan(0, 30000, DEADLINE_NONE), DEADLINE_NONE);
}

/* At the time of the scan the request it is for is overrun, and a millisecond before it is not. */
Test(policy_deadline, next_scan_and_overrun_agree)
{
	for (uint64_t nearest_us = 1; nearest_us < 4000; nearest_us += 7) {
		uint64_t scan_ms = deadline_next_scan(nearest_us, 30000, 0);

		cr_expect(deadline_request_overrun(nearest_us, scan_ms), "%lu", (unsigned long)nearest_us);
		cr_expect_not(deadline_request_overrun(nearest_us, scan_ms - 1), "%lu", (unsigned long)nearest_us);
	}
}
