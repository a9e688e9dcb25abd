/* SPDX-License-Identifier: MIT */
#include "master/ack_line.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

static struct ack_line line;

static int parse(const char *text)
{
	return ack_line_parse(text, strlen(text), &line);
}

static void assert_line(const char *text, enum ack_command command, pid_t pid)
{
	cr_assert_eq(parse(text), 0, "%s", text);
	cr_assert_eq(line.command, command, "%s", text);
	cr_assert_eq(line.pid, pid, "%s", text);
}

Test(ack_line, json)
{
	assert_line("{\"command\":\"worker:ack\",\"pid\":123}", ACK_READY, 123);
	assert_line(" { \"pid\" : 123 , \"command\" : \"worker:ack\" } \r", ACK_READY, 123);
	assert_line("{\"command\":\"worker:ping\",\"pid\":7,\"request_id\":\"a\\\"b\\u00e4\"}", ACK_PING, 7);
	assert_line("{\"command\":\"worker:ping\",\"request_id\":-1.5E+3,\"x\":null,\"y\":true}", ACK_PING, 0);
	assert_line("{\"command\":\"state\"}", ACK_OTHER, 0);
	assert_line("{\"command\":\"worker:ack with a name that is much too long\"}", ACK_OTHER, 0);
	assert_line("{\"command\":\"worker\\/ack\"}", ACK_OTHER, 0);
}

Test(ack_line, yaml_of_ruby)
{
	assert_line("---%0Acommand: worker:ack%0Apid: 123%0A", ACK_READY, 123);
	assert_line("--- %0Acommand: worker:ack%0Apid: 123%0A", ACK_READY, 123);
	assert_line("---%0A\"command\": 'worker:ping'%0Apid: 5%0Arequest_id: '1'", ACK_PING, 5);
}

Test(ack_line, what_is_neither_is_refused)
{
	static const char *const texts[] = { "", "{", "}", "{}", "[]", "null", "worker:ack",
		"{\"command\":\"worker:ack\"", "{\"command\":\"worker:ack\"} x", "{\"command\":\"worker:ack\",}",
		"{\"command\" \"worker:ack\"}", "{command:\"worker:ack\"}", "{\"command\":{\"a\":1}}",
		"{\"command\":[\"worker:ack\"]}", "{\"pid\":1}", "{\"command\":\"worker:ack\",\"pid\":\"123\"}",
		"{\"command\":\"worker:ack\",\"pid\":-1}", "{\"command\":\"worker:ack\",\"pid\":0}",
		"{\"command\":\"worker:ack\",\"pid\":1.0}", "{\"command\":\"worker:ack\",\"pid\":99999999999999999999}",
		"{\"command\":\"worker:ack\\", "---", "---%0A", "---%0Apid: 1%0A", "---%0Acommand%0A",
		"---%0Acommand: worker:ack%0Apid: '1'%0A", "---command: worker:ack", "{\"command\":\"worker:\x01\"}" };

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		cr_assert_eq(parse(texts[i]), -EBADMSG, "%s", texts[i]);
}
