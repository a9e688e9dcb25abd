/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

#define GAP  CLOCK_GAP_MS
#define PACE CLOCK_PACE_MS

Test(clock, what_was_announced_is_no_gap)
{
	cr_expect_eq(clock_gap_ms(0, 0), 0);
	cr_expect_eq(clock_gap_ms(GAP, 0), 0);
	cr_expect_eq(clock_gap_ms(PACE, PACE), 0);
	cr_expect_eq(clock_gap_ms(PACE + GAP, PACE), 0);
	cr_expect_eq(clock_gap_ms(30000 + GAP, 30000), 0);
	cr_expect_eq(clock_gap_ms(29000, 30000), 0, "something came before");
	cr_expect_eq(clock_gap_ms(UINT64_MAX, UINT64_MAX), 0, "for as long as it takes");
}

/* It goes on from the beginning of the wait, so that nothing that was ahead then is over at once. */
Test(clock, a_gap_takes_the_wait_with_it)
{
	cr_expect_eq(clock_gap_ms(GAP + 1, 0), GAP + 1);
	cr_expect_eq(clock_gap_ms(5000, 0), 5000);
	cr_expect_eq(clock_gap_ms(5000, 20), 5000);
	cr_expect_eq(clock_gap_ms(5000, PACE), 5000);
	cr_expect_eq(clock_gap_ms(90000, 30000), 90000 - 30000 + PACE, "but no more of a long one than that");
}

/* Whatever it hits, a gap of over a second is longer than the longest wait that a process with deadlines announces. */
Test(clock, every_gap_of_over_a_second_is_noticed)
{
	for (uint64_t wait_ms = 0; wait_ms <= PACE; wait_ms++)
		cr_expect_geq(clock_gap_ms(1001, wait_ms), 1001);
}

Test(clock, goes_on_with_what_another_image_has_skipped)
{
	uint64_t before_ms = clock_monotonic_ms();

	clock_skip(before_ms / 2);
	cr_expect_eq(clock_skipped_ms(), before_ms / 2);
	cr_expect_lt(clock_monotonic_ms(), before_ms);
	cr_expect_leq(clock_monotonic_us() / 1000 - clock_monotonic_ms(), before_ms / 2);
	clock_skip(UINT64_MAX);
	cr_expect_eq(clock_skipped_ms(), 0, "that cannot be");
	cr_expect_geq(clock_monotonic_ms(), before_ms);
}

static void busy_until(uint64_t until_us)
{
	while (clock_monotonic_us() < until_us)
		;
}

/* A child's waits are its own business, and it announces none. */
Test(clock, a_child_of_who_notices_gaps_does_not)
{
	uint64_t before_ms;
	int status;
	pid_t pid;

	cr_assert_eq(clock_guard(), 0);
	pid = fork();
	if (pid == 0) {
		busy_until(clock_monotonic_us() + (GAP + 100) * 1000);
		clock_monotonic_ms();
		_exit(clock_skipped_ms() == 0 ? 0 : 1);
	}
	clock_announce_wait(UINT64_MAX);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_expect_eq(status, 0);
	clock_monotonic_ms();
	cr_expect_eq(clock_skipped_ms(), 0, "it was announced");
	busy_until(clock_monotonic_us() + (GAP + 100) * 1000);
	clock_monotonic_ms();
	cr_expect_geq(clock_skipped_ms(), GAP + 100);
	clock_unguard();
	busy_until(clock_monotonic_us() + (GAP + 100) * 1000);
	before_ms = clock_skipped_ms();
	clock_monotonic_ms();
	cr_expect_eq(clock_skipped_ms(), before_ms);
}
