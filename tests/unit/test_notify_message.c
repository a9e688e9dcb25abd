/* SPDX-License-Identifier: MIT */
#include "master/notify_message.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

static struct notify_message message;

static int parse(const char *text)
{
	return notify_message_parse(text, strlen(text), &message);
}

Test(notify_message, each_name_is_known)
{
	cr_assert_eq(parse("READY=1"), 0);
	cr_assert(message.ready && !message.stopping && !message.watchdog && !message.has_status);
	cr_assert_eq(parse("STOPPING=1\n"), 0);
	cr_assert(message.stopping && !message.ready);
	cr_assert_eq(parse("WATCHDOG=1"), 0);
	cr_assert(message.watchdog && !message.watchdog_trigger);
	cr_assert_eq(parse("WATCHDOG=trigger"), 0);
	cr_assert(message.watchdog_trigger && !message.watchdog);
	cr_assert_eq(parse("EXTEND_TIMEOUT_USEC=20000000"), 0);
	cr_assert_eq(message.extend_us, 20000000);
	cr_assert_eq(parse("ERRNO=2"), 0);
	cr_assert(message.has_error);
	cr_assert_eq(message.error, 2);
	cr_assert_eq(parse("MAINPID=4711"), 0);
	cr_assert_eq(message.main_pid, 4711);
}

Test(notify_message, several_lines_come_together)
{
	cr_assert_eq(parse("READY=1\nSTATUS=a = b\nX_OURS=1\n\nno assignment\nWATCHDOG=1"), 0);
	cr_assert(message.ready && message.watchdog && message.has_status);
	cr_assert_str_eq(message.status, "a = b");
}

Test(notify_message, the_last_of_a_name_counts)
{
	cr_assert_eq(parse("STATUS=one\nSTATUS=two\nERRNO=1\nERRNO=3"), 0);
	cr_assert_str_eq(message.status, "two");
	cr_assert_eq(message.error, 3);
}

Test(notify_message, what_does_not_hold_is_ignored)
{
	static const char *const texts[] = { "READY=0", "READY=1 ", "READY", "=1", "ready=1", "STOPPING=yes",
		"WATCHDOG=", "WATCHDOG=2", "ERRNO=-1", "ERRNO=", "ERRNO=0x1", "EXTEND_TIMEOUT_USEC=+1",
		"EXTEND_TIMEOUT_USEC= 1", "MAINPID=abc", "BARRIER=1", "FDSTORE=1", "" };
	static const struct notify_message nothing;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		cr_assert_eq(parse(texts[i]), 0, "%s", texts[i]);
		cr_assert_eq(memcmp(&message, &nothing, sizeof(nothing)), 0, "%s", texts[i]);
	}
}

Test(notify_message, numbers_do_not_overflow)
{
	cr_assert_eq(parse("EXTEND_TIMEOUT_USEC=99999999999999999999999999\nERRNO=99999999999999999999\n"
			   "MAINPID=4294967297"),
		0);
	cr_assert_eq(message.extend_us, NOTIFY_EXTEND_MAX_US);
	cr_assert_eq(message.error, INT_MAX);
	cr_assert_eq(message.main_pid, INT_MAX);
}

Test(notify_message, one_zero_byte_at_the_end_is_counted_in_by_some)
{
	cr_assert_eq(notify_message_parse("READY=1\0", 8, &message), 0);
	cr_assert(message.ready);
	cr_assert_eq(notify_message_parse("READY=1\0\0", 9, &message), -EBADMSG);
	cr_assert_eq(notify_message_parse("STATUS=a\0b", 10, &message), -EBADMSG);
	cr_assert_eq(notify_message_parse("", 0, &message), 0);
}

Test(notify_message, a_status_is_text)
{
	cr_assert_eq(parse("STATUS=tab\there \x1b[1m \xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80"), 0);
	cr_assert_str_eq(message.status, "tab?here ?[1m \xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80");
	/* Alone, cut off, overlong, half of a pair, beyond Unicode, a control of the second kind. */
	cr_assert_eq(parse("STATUS=\x80 \xc3( \xc0\xaf \xed\xa0\x80 \xf4\x90\x80\x80 \xc2\x9b \xe2\x82"), 0);
	cr_assert_str_eq(message.status, "? ?( ?? ??? ???? ?? ??");
}

Test(notify_message, a_long_status_is_cut_between_characters)
{
	char text[300] = "STATUS=";
	size_t length;

	memset(text + 7, 'x', 102);
	strcpy(text + 7 + 102, "\xc3\xa4 and more");
	cr_assert_eq(parse(text), 0);
	length = strlen(message.status);
	cr_assert_eq(length, 102);
	text[7 + 101] = '\0';
	strcpy(text + 7 + 101, "\xc3\xa4 and more");
	cr_assert_eq(parse(text), 0);
	cr_assert_str_eq(message.status + 100, "x\xc3\xa4");
}
