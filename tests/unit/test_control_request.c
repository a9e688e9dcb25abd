/* SPDX-License-Identifier: MIT */
#include "master/control_request.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

static struct control_request request;
static const char *reason;

static int parse(const char *line)
{
	return control_request_parse(line, strlen(line), &request, &reason);
}

static void assert_request(const char *line, enum request_kind kind, const char *argument)
{
	cr_assert_eq(parse(line), 0, "%s: %s", line, reason);
	cr_assert_eq(request.kind, kind, "%s", line);
	cr_assert_str_eq(request.argument, argument);
	cr_assert_null(reason);
}

Test(control_request, every_word)
{
	assert_request("status", REQUEST_STATUS, "");
	assert_request("status\r", REQUEST_STATUS, "");
	assert_request("check", REQUEST_CHECK, "");
	assert_request("check /a b/c.conf", REQUEST_CHECK, "/a b/c.conf");
	assert_request("reload", REQUEST_RELOAD, "");
	assert_request("upgrade", REQUEST_UPGRADE, "");
	assert_request("stop", REQUEST_STOP, "");
	assert_request("stop now", REQUEST_STOP, "now");
	assert_request("restart web", REQUEST_RESTART, "web");
	assert_request("restart  a pool", REQUEST_RESTART, " a pool");
}

static void assert_scale(const char *line, const char *pool, char sign, uint32_t number)
{
	assert_request(line, REQUEST_SCALE, pool);
	cr_assert_eq(request.sign, sign, "%s", line);
	cr_assert_eq(request.number, number, "%s", line);
}

Test(control_request, a_pool_and_a_number)
{
	assert_scale("scale web 4", "web", 0, 4);
	assert_scale("scale web +1", "web", '+', 1);
	assert_scale("scale web -65536\r", "web", '-', 65536);
	assert_scale("scale a pool 3 010", "a pool 3", 0, 10);
	assert_scale("scale 7 999999999", "7", 0, 999999999);
	assert_request("restart web 4", REQUEST_RESTART, "web 4");
	cr_assert_eq(request.number, 0);
}

Test(control_request, names_and_who_may)
{
	for (enum request_kind kind = 0; kind < REQUEST_KINDS; kind++)
		cr_expect_eq(request_only_looks(kind), kind == REQUEST_STATUS, "%s", request_kind_name(kind));
}

Test(control_request, what_is_none)
{
	static const char *const lines[] = { "", " ", "\r", " status", "Status", "statu", "statuss", "status x",
		"reload x", "upgrade x", "stop later", "stop now ", "restart", "restart ", "scale", "scale ",
		"scale web", "scale 4", "scale  4", "scale web ", "scale web 4 ", "scale web +", "scale web ++1",
		"scale web 1x", "scale web 1.5", "scale web 1000000000", "{\"command\":\"status\"}", "\x01\xff",
		"GET / HTTP/1.1" };

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		cr_expect_eq(parse(lines[i]), -EBADMSG, "%s", lines[i]);
		cr_expect_not_null(reason);
	}
	cr_expect_eq(control_request_parse("stop\0now", 8, &request, &reason), -EBADMSG);
}

Test(control_request, the_longest)
{
	static char line[CONTROL_REQUEST_MAX + 1];

	memset(line, 'x', sizeof(line));
	memcpy(line, "check ", 6);
	cr_expect_eq(control_request_parse(line, CONTROL_REQUEST_MAX - 1, &request, &reason), 0);
	cr_expect_eq(strlen(request.argument), CONTROL_REQUEST_MAX - 1 - 6);
	cr_expect_eq(control_request_parse(line, CONTROL_REQUEST_MAX, &request, &reason), -EBADMSG);
}
