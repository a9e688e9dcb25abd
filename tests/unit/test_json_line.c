/* SPDX-License-Identifier: MIT */
#include "base/json_line.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static char line[4096];

/* The object with the one member "a", as text. */
static const char *text_of(const char *text)
{
	struct json_line json;

	memset(line, 0, sizeof(line));
	json_line_begin(&json, line, sizeof(line) - 1);
	json_line_text(&json, "a", text);
	cr_assert_eq(json_line_end(&json), strlen(line));
	return line;
}

Test(json_line, members)
{
	struct json_line json;

	json_line_begin(&json, line, sizeof(line));
	json_line_text(&json, "text", "a b");
	json_line_number(&json, "zero", 0);
	json_line_number(&json, "least", INT64_MIN);
	json_line_number(&json, "most", INT64_MAX);
	json_line_bool(&json, "yes", true);
	json_line_bool(&json, "no", false);
	json_line_null(&json, "null");
	line[json_line_end(&json)] = '\0';
	cr_assert_str_eq(line, "{\"text\":\"a b\",\"zero\":0,\"least\":-9223372036854775808,"
			       "\"most\":9223372036854775807,\"yes\":true,\"no\":false,\"null\":null}\n");
}

Test(json_line, an_empty_object)
{
	struct json_line json;

	json_line_begin(&json, line, sizeof(line));
	line[json_line_end(&json)] = '\0';
	cr_assert_str_eq(line, "{}\n");
}

Test(json_line, escapes)
{
	cr_expect_str_eq(text_of("\"\\/"), "{\"a\":\"\\\"\\\\/\"}\n");
	cr_expect_str_eq(text_of("a\nb\tc\rd\x01\x1f\x7f"), "{\"a\":\"a\\nb\\tc\\u000dd\\u0001\\u001f\\u007f\"}\n");
	cr_expect_str_eq(text_of(""), "{\"a\":\"\"}\n");
	cr_expect_str_eq(text_of(NULL), "{\"a\":null}\n");
}

Test(json_line, utf8_stays)
{
	static const char *const texts[] = { "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x90\xa3", "\xc2\x80", "\xdf\xbf",
		"\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbf", "\xf0\x90\x80\x80",
		"\xf4\x8f\xbf\xbf" };
	char expected[64];

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		snprintf(expected, sizeof(expected), "{\"a\":\"%s\"}\n", texts[i]);
		cr_expect_str_eq(text_of(texts[i]), expected);
	}
}

/* Each byte of it becomes a replacement. */
static void assert_replaced(const char *text, size_t replacements)
{
	char expected[128] = "{\"a\":\"";

	for (size_t i = 0; i < replacements; i++)
		strcat(expected, "\\ufffd");
	strcat(expected, "\"}\n");
	cr_expect_str_eq(text_of(text), expected);
}

Test(json_line, what_is_no_utf8_is_replaced)
{
	assert_replaced("\x80", 1);
	assert_replaced("\xff", 1);
	assert_replaced("\xc0\xaf", 2);         /* overlong */
	assert_replaced("\xe0\x9f\xbf", 3);     /* overlong */
	assert_replaced("\xf0\x8f\xbf\xbf", 4); /* overlong */
	assert_replaced("\xed\xa0\x80", 3);     /* a surrogate */
	assert_replaced("\xf4\x90\x80\x80", 4); /* above U+10FFFF */
	assert_replaced("\xf5\x80\x80\x80", 4);
	assert_replaced("\xe2\x82", 2); /* cut off by the end */
	assert_replaced("\xf0\x9f\x90", 3);
	cr_expect_str_eq(text_of("\xe2\x82x"), "{\"a\":\"\\ufffd\\ufffdx\"}\n");
}

/* In every size that is too small the object is none, and nothing is written beyond. */
Test(json_line, what_does_not_fit_is_no_object)
{
	size_t needed = strlen(text_of("a\"\xc3\xa4\xff"));

	for (size_t size = 1; size < needed; size++) {
		struct json_line json;

		memset(line, '#', sizeof(line));
		json_line_begin(&json, line, size);
		json_line_text(&json, "a", "a\"\xc3\xa4\xff");
		cr_expect_eq(json_line_end(&json), 0);
		cr_expect_eq(line[size], '#');
	}
}
