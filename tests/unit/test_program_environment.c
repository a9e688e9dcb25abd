/* SPDX-License-Identifier: MIT */
#include "handlers/program/environment.h"

#include <criterion/criterion.h>
#include <string.h>
#include <sys/socket.h>

static const char *const keys[] = { "8000", "[::1]:0", "/run/x.sock" };
static const char *const names[] = { "web", "web", "tls" };
static int listeners[3];
static struct pool_config pool;
static struct brood_host host = { .pool = &pool,
	.number = 4,
	.master_pid = 77,
	.listeners = listeners,
	.listener_keys = keys,
	.listener_names = names,
	.listener_count = 3,
	.spawn_count = 12 };
static struct exec_env env;

static void open_listeners(void)
{
	listeners[0] = socket(AF_INET, SOCK_STREAM, 0);
	listeners[1] = socket(AF_INET6, SOCK_STREAM, 0);
	listeners[2] = socket(AF_UNIX, SOCK_STREAM, 0);
}

TestSuite(program_environment, .init = open_listeners);

static const char *value(const char *name)
{
	size_t size = strlen(name);

	for (size_t i = 0; i < env.count; i++)
		if (strncmp(env.list[i], name, size) == 0 && env.list[i][size] == '=')
			return env.list[i] + size + 1;
	return "(none)";
}

Test(program_environment, all_contracts_at_once_and_nothing_else)
{
	program_environment(&host, 123, &env);
	cr_assert(!env.failed);
	cr_assert_str_eq(value("LISTEN_PID"), "123");
	cr_assert_str_eq(value("LISTEN_FDS"), "3");
	cr_assert_str_eq(value("LISTEN_FDNAMES"), "web:web:tls");
	cr_assert_str_eq(value("SERVER_STARTER_PORT"), "8000=6;[::1]:0=7;/run/x.sock=8");
	cr_assert_str_eq(value("SERVER_STARTER_GENERATION"), "12");
	cr_assert_str_eq(value("EINHORN_MASTER_PID"), "77");
	cr_assert_str_eq(value("EINHORN_CHILD_INDEX"), "4");
	cr_assert_str_eq(value("EINHORN_FD_COUNT"), "3");
	cr_assert_str_eq(value("EINHORN_FDS"), "9 10 11");
	cr_assert_str_eq(value("EINHORN_FD_0"), "9");
	cr_assert_str_eq(value("EINHORN_FD_2"), "11");
	cr_assert_str_eq(value("EINHORN_FD_FAMILY_0"), "AF_INET");
	cr_assert_str_eq(value("EINHORN_FD_FAMILY_1"), "AF_INET6");
	cr_assert_str_eq(value("EINHORN_FD_FAMILY_2"), "AF_UNIX");
	cr_assert_eq(env.count, 15);
}

Test(program_environment, sockets_for_readiness_where_the_pool_has_them)
{
	pool.program.watchdog_timeout_ms = 1500;
	host.notify_path = "@brood/1";
	host.ack_path = "/run/brood/ack.sock";
	program_environment(&host, 123, &env);
	cr_assert_str_eq(value("NOTIFY_SOCKET"), "@brood/1");
	cr_assert_str_eq(value("WATCHDOG_USEC"), "1500000");
	cr_assert_str_eq(value("WATCHDOG_PID"), "123");
	cr_assert_str_eq(value("EINHORN_SOCK_PATH"), "/run/brood/ack.sock");
	cr_assert_eq(env.count, 19);
}

Test(program_environment, the_configuration_goes_over_all)
{
	char names_of_mine[] = "LISTEN_FDNAMES=mine", lang[] = "LANG=C";
	char *own[] = { names_of_mine, lang, NULL };

	pool.program.environment = own;
	program_environment(&host, 123, &env);
	cr_assert_str_eq(value("LISTEN_FDNAMES"), "mine");
	cr_assert_str_eq(value("LANG"), "C");
}
