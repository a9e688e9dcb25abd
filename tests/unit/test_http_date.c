/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/attrs.h"
#include "handlers/http/date.h"

#define NOW 1700000000 /* in 2023 */

static const char *format(time_t time)
{
	static char text[DATE_SIZE + 1];

	date_format(time, text);
	return text;
}

static bool parse(const char *text, time_t *ret_time)
{
	return date_parse((struct span){ text, strlen(text) }, NOW, ret_time);
}

Test(http_date, format)
{
	cr_expect_str_eq(format(0), "Thu, 01 Jan 1970 00:00:00 GMT");
	cr_expect_str_eq(format(784111777), "Sun, 06 Nov 1994 08:49:37 GMT");
	cr_expect_str_eq(format(951782400), "Tue, 29 Feb 2000 00:00:00 GMT");
	cr_expect_str_eq(format(4102444799), "Thu, 31 Dec 2099 23:59:59 GMT");
	cr_expect_str_eq(format(-1), "Wed, 31 Dec 1969 23:59:59 GMT");
	cr_expect_str_eq(format(INT64_MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
	cr_expect_str_eq(format(INT64_MIN), "Sat, 01 Jan 0000 00:00:00 GMT");
}

/* The C library knows the calendar too. */
Test(http_date, agrees_with_the_c_library_and_with_itself)
{
	for (time_t time = -2000000000; time < 8000000000; time += 86400 * 13 + 12347) {
		char expected[40];
		struct tm fields;
		time_t back;

		gmtime_r(&time, &fields);
		strftime(expected, sizeof(expected), "%a, %d %b %Y %H:%M:%S GMT", &fields);
		cr_assert_str_eq(format(time), expected);
		cr_assert(parse(expected, &back), "%s", expected);
		cr_assert_eq(back, time, "%s", expected);
		strftime(expected, sizeof(expected), "%a %b %e %H:%M:%S %Y", &fields);
		cr_assert(parse(expected, &back), "%s", expected);
		cr_assert_eq(back, time, "%s", expected);
	}
}

Test(http_date, all_three_forms_are_read)
{
	static const char *const forms[] = { "Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT",
		"Sun Nov  6 08:49:37 1994" };
	time_t time;

	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		time = 0;
		cr_expect(parse(forms[i], &time), "%s", forms[i]);
		cr_expect_eq(time, 784111777, "%s: %lld", forms[i], (long long)time);
	}
}

Test(http_date, two_digit_years_are_not_far_ahead)
{
	time_t time;

	cr_expect(parse("Saturday, 01-Jan-73 00:00:00 GMT", &time));
	cr_expect_str_eq(format(time), "Sun, 01 Jan 2073 00:00:00 GMT");
	cr_expect(parse("Saturday, 01-Jan-74 00:00:00 GMT", &time));
	cr_expect_str_eq(format(time), "Tue, 01 Jan 1974 00:00:00 GMT");
}

Test(http_date, anything_else_is_no_date)
{
	static const char *const others[] = { "", "yesterday", "Sun, 06 Nov 1994 08:49:37",
		"Sun, 06 Nov 1994 08:49:37 UTC", "Sun, 06 Nov 1994 08:49:37 GMT ", "Sun, 6 Nov 1994 08:49:37 GMT",
		"Sun, 00 Nov 1994 08:49:37 GMT", "Sun, 31 Nov 1994 08:49:37 GMT", "Sun, 06 Nvv 1994 08:49:37 GMT",
		"Xun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 24:49:37 GMT", "Sun, 06 Nov 1994 08:60:37 GMT",
		"Sun, 06 Nov 1994 08:49:61 GMT", "Sun, 06 Nov -994 08:49:37 GMT", "Sun, 06 Nov 1994 +8:49:37 GMT",
		"Sund, 06-Nov-94 08:49:37 GMT", "Sunday, 06-Nov-1994 08:49:37 GMT", "Sun Nov 06 08:49:37 94",
		"784111777", "sun, 06 nov 1994 08:49:37 gmt" };
	time_t time;

	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		cr_expect_not(parse(others[i], &time), "%s", others[i]);
}

Test(http_date, now_is_formatted_once_a_second)
{
	struct date_now now = { 0 };
	time_t first;

	date_now_update(&now);
	cr_expect_geq(now.time, time(NULL) - 2);
	cr_expect_leq(now.time, time(NULL));
	cr_expect_eq(memcmp(now.text, format(now.time), DATE_SIZE), 0);
	first = now.time;
	now.text[0] = 'x';
	date_now_update(&now);
	cr_expect(now.text[0] == 'x' || now.time != first);
}
