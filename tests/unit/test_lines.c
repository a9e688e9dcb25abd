/* SPDX-License-Identifier: MIT */
#include "master/lines.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static struct lines_part part;
static struct lines_flow flow;

static struct {
	uint64_t count;
	size_t last_size;
	char text[4096]; /* all lines, each in brackets; as much as there is room for */
} said;

static void hear(void *context, const char *line, size_t size)
{
	size_t used = strlen(said.text);

	cr_assert_eq(context, &said);
	cr_assert_eq(line[size], '\0');
	said.count++;
	said.last_size = size;
	if (used + size + 3 < sizeof(said.text))
		snprintf(said.text + used, sizeof(said.text) - used, "[%.*s]", (int)size, line);
}

static const struct lines lines = { .part = &part, .flow = &flow, .sink = hear, .context = &said };

static void take(const char *text, uint64_t now_ms)
{
	lines_take(&lines, text, strlen(text), now_ms);
}

Test(lines, a_line_may_come_in_parts)
{
	take("one\ntwo\nth", 1);
	cr_assert_str_eq(said.text, "[one][two]");
	take("r", 2);
	take("", 3);
	take("ee\n\nfo", 4);
	cr_assert_str_eq(said.text, "[one][two][three][]");
	take("ur", 5);
	lines_end(&lines, 6);
	cr_assert_str_eq(said.text, "[one][two][three][][four]");
	lines_end(&lines, 7);
	cr_assert_eq(said.count, 5);
}

Test(lines, bytes_of_any_kind_are_kept)
{
	lines_take(&lines, "a\0b\xff\n", 5, 1);
	cr_assert_eq(said.count, 1);
	cr_assert_eq(said.last_size, 4);
	cr_assert_eq(memcmp(part.text, "a\0b\xff", 4), 0);
}

Test(lines, a_long_line_is_cut_into_pieces_and_nothing_of_it_is_lost)
{
	static char data[3 * LINES_TEXT_MAX + 10];

	memset(data, 'x', sizeof(data));
	lines_take(&lines, data, LINES_TEXT_MAX, 1);
	cr_assert_eq(said.count, 0);
	/* One of just that length is one line, without an empty one after it. */
	take("\n", 2);
	cr_assert_eq(said.count, 1);
	cr_assert_eq(said.last_size, LINES_TEXT_MAX);
	lines_take(&lines, data, sizeof(data), 3);
	cr_assert_eq(said.count, 4);
	cr_assert_eq(said.last_size, LINES_TEXT_MAX);
	take("\n", 4);
	cr_assert_eq(said.count, 5);
	cr_assert_eq(said.last_size, 10);
}

/* Byte by byte, or at once: the same lines. */
Test(lines, how_the_bytes_are_cut_makes_no_difference)
{
	static const char text[] = "a\nbb\n\nccc\nd";
	char expected[sizeof(said.text)];

	take(text, 1);
	lines_end(&lines, 1);
	strcpy(expected, said.text);
	for (size_t step = 1; step < sizeof(text); step++) {
		memset(&said, 0, sizeof(said));
		for (size_t at = 0; at < sizeof(text) - 1; at += step) {
			size_t left = sizeof(text) - 1 - at;

			lines_take(&lines, text + at, left < step ? left : step, 1);
		}
		lines_end(&lines, 1);
		cr_assert_str_eq(said.text, expected);
	}
}

static void flood(unsigned int count, uint64_t now_ms)
{
	static char data[3 * 10000];

	for (unsigned int i = 0; i < count; i++)
		memcpy(data + 3 * (size_t)i, "xy\n", 3);
	lines_take(&lines, data, 3 * (size_t)count, now_ms);
}

Test(lines, a_flood_is_bounded_and_counted)
{
	flood(LINES_BURST, 1000);
	cr_assert_eq(said.count, LINES_BURST);
	cr_assert_eq(flow.dropped, 0);
	cr_assert(lines_flood(&flow, 1000));
	flood(10000, 1000);
	cr_assert_eq(said.count, LINES_BURST);
	cr_assert_eq(flow.dropped, 10000);
	/* A second later a second's lines are allowed, and no more. */
	cr_assert(!lines_flood(&flow, 2000));
	flood(10000, 2000);
	cr_assert_eq(said.count, LINES_BURST + LINES_A_SECOND);
	cr_assert_eq(said.count + flow.dropped, LINES_BURST + 20000);
	/* After a long silence, a burst. */
	flood(LINES_BURST + 1, 3600 * 1000);
	cr_assert_eq(said.count, 2 * LINES_BURST + LINES_A_SECOND);
}

Test(lines, a_stream_within_its_rate_loses_nothing)
{
	for (uint64_t now_ms = 5; now_ms < 60000; now_ms += 1000 / LINES_A_SECOND)
		take("steady\n", now_ms);
	cr_assert_eq(flow.dropped, 0);
}

Test(lines, a_flood_without_newlines_is_bounded_too)
{
	static char data[65536];

	memset(data, 'x', sizeof(data));
	for (int i = 0; i < 100; i++)
		lines_take(&lines, data, sizeof(data), 1);
	cr_assert_eq(said.count, LINES_BURST);
	cr_assert_eq((said.count + flow.dropped) * LINES_TEXT_MAX + part.used, 100 * sizeof(data));
}

/* A line of which the beginning was taken before the flood, and its end in it, is one line thrown away. */
Test(lines, what_is_thrown_away_is_counted_by_lines)
{
	flood(LINES_BURST, 1);
	take("begin", 1);
	take("ning\nsecond\nthird, not ended", 1);
	cr_assert_eq(flow.dropped, 2);
	cr_assert_eq(part.used, strlen("third, not ended"));
	take("\n", 60000);
	cr_assert_eq(said.last_size, strlen("third, not ended"));
}
