/* SPDX-License-Identifier: MIT */
#include "ctl/units.h"

#include <criterion/criterion.h>
#include <string.h>

static char text[UNITS_MAX];

Test(ctl_units, counts)
{
	cr_expect_str_eq(units_count(0, text), "0");
	cr_expect_str_eq(units_count(999, text), "999");
	cr_expect_str_eq(units_count(1000, text), "1.0K");
	cr_expect_str_eq(units_count(1999, text), "1.9K");
	cr_expect_str_eq(units_count(9999, text), "9.9K");
	cr_expect_str_eq(units_count(10000, text), "10K");
	cr_expect_str_eq(units_count(999999, text), "999K");
	cr_expect_str_eq(units_count(1000000, text), "1.0M");
	cr_expect_str_eq(units_count(UINT64_MAX, text), "18E");
}

Test(ctl_units, bytes)
{
	cr_expect_str_eq(units_bytes(1023, text), "1023");
	cr_expect_str_eq(units_bytes(1024, text), "1.0K");
	cr_expect_str_eq(units_bytes(1536, text), "1.4K", "rounded down");
	cr_expect_str_eq(units_bytes(2047, text), "1.9K");
	cr_expect_str_eq(units_bytes(10 * 1024, text), "10K");
	cr_expect_str_eq(units_bytes(UINT64_MAX, text), "15E");
}

Test(ctl_units, durations)
{
	cr_expect_str_eq(units_duration(0, text), "0ms");
	cr_expect_str_eq(units_duration(999, text), "999ms");
	cr_expect_str_eq(units_duration(1000, text), "1s");
	cr_expect_str_eq(units_duration(59999, text), "59s");
	cr_expect_str_eq(units_duration(60000, text), "1m00s");
	cr_expect_str_eq(units_duration(3599999, text), "59m59s");
	cr_expect_str_eq(units_duration(3600000, text), "1h00m");
	cr_expect_str_eq(units_duration(86399999, text), "23h59m");
	cr_expect_str_eq(units_duration(86400000, text), "1d00h");
	cr_expect_str_eq(units_duration(UINT64_C(1000) * 86400000, text), "1000d00h");
}

/* The digit behind the point is one digit, whatever the amount. */
Test(ctl_units, one_digit_behind_the_point)
{
	for (uint64_t amount = 1000; amount < 20000; amount++) {
		cr_assert_leq(strlen(units_count(amount, text)), 4, "%s", text);
		cr_assert_leq(strlen(units_bytes(amount * 1024, text)), 5, "%s", text); /* 1000K to 1023K */
	}
}
