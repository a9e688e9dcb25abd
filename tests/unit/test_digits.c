/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/digits.h"

static void check(uint64_t number)
{
	char text[DIGITS_MAX + 1], wanted[DIGITS_MAX + 1];

	*digits_put(text, number, 10) = '\0';
	snprintf(wanted, sizeof(wanted), "%" PRIu64, number);
	cr_expect_str_eq(text, wanted);
	*digits_put(text, number, 16) = '\0';
	snprintf(wanted, sizeof(wanted), "%" PRIx64, number);
	cr_expect_str_eq(text, wanted);
}

Test(digits, as_printf_writes_them)
{
	const uint64_t numbers[] = { 0, 1, 9, 10, 15, 16, 255, 65535, 1234567890, UINT32_MAX, UINT64_MAX };

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		check(numbers[i]);
}
