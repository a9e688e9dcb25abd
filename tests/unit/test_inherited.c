/* SPDX-License-Identifier: MIT */
/*
 * The environment and the descriptors from 3 on are a process's own: each case runs in a child, which puts its sockets
 * there, and reports by its exit status the line of the check that failed.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net/inherited.h"

/* Exit statuses have eight bits: the line modulo 250, and never 0. */
#define CHECK(condition)                                                                                               \
	do {                                                                                                           \
		if (!(condition)) {                                                                                    \
			dprintf(2, "line %d: %s\n", __LINE__, #condition);                                             \
			_exit(1 + __LINE__ % 250);                                                                     \
		}                                                                                                      \
	} while (0)

static void run_case(void (*run)(void))
{
	pid_t pid = fork();
	int status;

	cr_assert_geq(pid, 0);
	if (pid == 0) {
		run();
		_exit(0);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status));
	cr_assert_eq(WEXITSTATUS(status), 0, "a check failed");
}

/* ---- what a service manager hands over ---- */

static int tcp_socket(int family, bool v6_only, bool do_listen)
{
	struct sockaddr_storage address = { .ss_family = (sa_family_t)family };
	int fd = socket(family, SOCK_STREAM, 0);
	int value = v6_only;

	if (family == AF_INET6)
		CHECK(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &value, sizeof(value)) == 0);
	CHECK(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	CHECK(!do_listen || listen(fd, 1) == 0);
	return fd;
}

static int unix_socket(int type, const char *abstract_name)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type, 0);

	strcpy(address.sun_path + 1, abstract_name);
	CHECK(bind(fd, (struct sockaddr *)&address,
		      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(abstract_name))) == 0);
	CHECK(type == SOCK_DGRAM || listen(fd, 1) == 0);
	return fd;
}

/* Puts FDS at 3 and up, without close-on-exec, as an exec'ed service finds them. */
static void place(const int *fds, int count)
{
	int copies[8];

	for (int i = 0; i < count; i++) {
		copies[i] = fcntl(fds[i], F_DUPFD, 100);
		CHECK(copies[i] >= 100);
		close(fds[i]);
	}
	for (int i = 0; i < count; i++) {
		CHECK(dup2(copies[i], 3 + i) == 3 + i);
		close(copies[i]);
	}
	/* Nothing of the test's runner may follow. */
	close(3 + count);
}

static void set_environment(const char *pid, const char *count, const char *names)
{
	char own_pid[16];

	snprintf(own_pid, sizeof(own_pid), "%d", (int)getpid());
	setenv("LISTEN_PIDFDID", "4711", 1);
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	if (pid != NULL)
		setenv("LISTEN_PID", strcmp(pid, "own") == 0 ? own_pid : pid, 1);
	if (count != NULL)
		setenv("LISTEN_FDS", count, 1);
	if (names != NULL)
		setenv("LISTEN_FDNAMES", names, 1);
}

static void check_environment_is_clean(void)
{
	CHECK(getenv("LISTEN_PID") == NULL);
	CHECK(getenv("LISTEN_FDS") == NULL);
	CHECK(getenv("LISTEN_FDNAMES") == NULL);
	CHECK(getenv("LISTEN_PIDFDID") == NULL);
}

static struct socket_address address_of(int fd)
{
	struct socket_address address = { .size = sizeof(address.storage) };

	CHECK(getsockname(fd, (struct sockaddr *)&address.storage, &address.size) == 0);
	return address;
}

/* ---- taking ---- */

static void take_named(void)
{
	int fds[] = { tcp_socket(AF_INET, false, true), unix_socket(SOCK_STREAM, "test_inherited.named") };
	struct inherited inherited;

	place(fds, 2);
	set_environment("own", "2", "web:mail");
	CHECK(inherited_take(&inherited) == 0);
	check_environment_is_clean();
	CHECK(inherited.count == 2);
	for (int i = 0; i < 2; i++) {
		CHECK(inherited.sockets[i].fd == 3 + i);
		CHECK(fcntl(3 + i, F_GETFD) == FD_CLOEXEC);
		CHECK(inherited.sockets[i].listening);
	}
	CHECK(strcmp(inherited.sockets[0].name, "web") == 0);
	CHECK(strcmp(inherited.sockets[1].name, "mail") == 0);
	CHECK(inherited.sockets[0].address.storage.ss_family == AF_INET);
	CHECK(inherited.sockets[1].address.storage.ss_family == AF_UNIX);
	inherited_done(&inherited);
	CHECK(inherited.count == 0);
	CHECK(fcntl(3, F_GETFD) < 0);
	CHECK(fcntl(4, F_GETFD) < 0);
}

Test(inherited, takes_named_sockets)
{
	run_case(take_named);
}

static void take_unnamed(void)
{
	int fds[] = { tcp_socket(AF_INET, false, true) };
	struct inherited inherited;

	place(fds, 1);
	set_environment("own", "1", NULL);
	CHECK(inherited_take(&inherited) == 0);
	CHECK(inherited.count == 1);
	CHECK(strcmp(inherited.sockets[0].name, "unknown") == 0);
	inherited_done(&inherited);
}

Test(inherited, sockets_without_names_are_unknown)
{
	run_case(take_unnamed);
}

static void take_nothing(const char *pid, const char *count)
{
	int fds[] = { tcp_socket(AF_INET, false, true) };
	struct inherited inherited = { .count = 4711 };

	place(fds, 1);
	set_environment(pid, count, "web");
	CHECK(inherited_take(&inherited) == 0);
	check_environment_is_clean();
	CHECK(inherited.count == 0);
	CHECK(fcntl(3, F_GETFD) == 0);
	inherited_done(&inherited);
	CHECK(fcntl(3, F_GETFD) == 0);
}

static void take_for_another_process(void)
{
	take_nothing("1", "1");
}

static void take_without_pid(void)
{
	take_nothing(NULL, "1");
}

static void take_without_count(void)
{
	take_nothing("own", NULL);
}

Test(inherited, takes_nothing_that_is_for_another_process)
{
	run_case(take_for_another_process);
	run_case(take_without_pid);
	run_case(take_without_count);
}

static void take_odd(void)
{
	static const struct {
		const char *pid;
		const char *count;
		const char *names;
	} odd[] = {
		{"own",  "0",                    NULL },
		{ "own", "-1",                   NULL },
		{ "own", "",                     NULL },
		{ "own", "1x",                   NULL },
		{ "own", " 1",                   NULL },
		{ "own", "+1",                   NULL },
		{ "own", "2",                    NULL }, /* there is one */
		{ "own", "2147483647",           NULL },
		{ "own", "18446744073709551617", NULL },
		{ "",    "1",                    NULL },
		{ "0",   "1",                    NULL },
		{ "-1",  "1",                    NULL },
		{ "x",   "1",                    NULL },
		{ "own", "1",                    ""   },
		{ "own", "1",                    "a:b"},
		{ "own", "1",                    "a:" },
		{ "own", "1",                    ":"  },
	};
	int fds[] = { tcp_socket(AF_INET, false, true) };
	struct inherited inherited = { .count = 4711 };

	place(fds, 1);
	for (size_t i = 0; i < ARRAY_SIZE(odd); i++) {
		set_environment(odd[i].pid, odd[i].count, odd[i].names);
		if (inherited_take(&inherited) != -EINVAL) {
			dprintf(2, "taken: %s, %s, %s\n", odd[i].pid, odd[i].count, odd[i].names);
			_exit(1);
		}
		check_environment_is_clean();
		CHECK(inherited.count == 4711);
	}
}

Test(inherited, refuses_what_does_not_hold)
{
	run_case(take_odd);
}

static void take_long_names(void)
{
	int fds[] = { tcp_socket(AF_INET, false, true) };
	struct inherited inherited;
	char name[257];

	place(fds, 1);
	memset(name, 'n', sizeof(name));
	name[256] = '\0';
	set_environment("own", "1", name);
	CHECK(inherited_take(&inherited) == -EINVAL);
	name[255] = '\0';
	set_environment("own", "1", name);
	CHECK(inherited_take(&inherited) == 0);
	CHECK(strcmp(inherited.sockets[0].name, name) == 0);
	inherited_done(&inherited);
}

Test(inherited, names_have_at_most_255_characters)
{
	run_case(take_long_names);
}

static void take_others(void)
{
	int ends[2];
	int fds[4];
	struct inherited inherited;

	CHECK(pipe(ends) == 0);
	close(ends[1]);
	fds[0] = ends[0];
	fds[1] = unix_socket(SOCK_DGRAM, "test_inherited.dgram");
	fds[2] = tcp_socket(AF_INET, false, false);
	fds[3] = unix_socket(SOCK_SEQPACKET, "test_inherited.packets");
	place(fds, 4);
	set_environment("own", "4", "web:web:web:web");
	CHECK(inherited_take(&inherited) == 0);
	CHECK(inherited.count == 4);
	for (int i = 0; i < 4; i++)
		CHECK(!inherited.sockets[i].listening);
	CHECK(inherited_by_name(&inherited, "web") == NULL);
	inherited_done(&inherited);
}

Test(inherited, only_listening_stream_sockets_can_be_claimed)
{
	run_case(take_others);
}

/* ---- finding ---- */

static void find_by_name(void)
{
	int fds[] = { tcp_socket(AF_INET, false, true), tcp_socket(AF_INET, false, true),
		tcp_socket(AF_INET, false, true) };
	struct inherited inherited;
	struct inherited_socket *found;

	place(fds, 3);
	set_environment("own", "3", "web:mail:web");
	CHECK(inherited_take(&inherited) == 0);
	CHECK(inherited_by_name(&inherited, "we") == NULL);
	CHECK(inherited_by_name(&inherited, "webs") == NULL);
	found = inherited_by_name(&inherited, "web");
	CHECK(found == &inherited.sockets[0]);
	found->fd = -1;
	found = inherited_by_name(&inherited, "web");
	CHECK(found == &inherited.sockets[2]);
	found->fd = -1;
	CHECK(inherited_by_name(&inherited, "web") == NULL);
	inherited_done(&inherited);
	CHECK(fcntl(3, F_GETFD) >= 0);
	CHECK(fcntl(4, F_GETFD) < 0);
	CHECK(fcntl(5, F_GETFD) >= 0);
}

Test(inherited, is_found_by_name_until_claimed)
{
	run_case(find_by_name);
}

static void find_by_address(void)
{
	int fds[] = { tcp_socket(AF_INET, false, true), unix_socket(SOCK_STREAM, "test_inherited.address") };
	struct inherited inherited;
	struct socket_address tcp;
	struct socket_address local;
	struct socket_address other;

	place(fds, 2);
	tcp = address_of(3);
	local = address_of(4);
	other = tcp;
	((struct sockaddr_in *)&other.storage)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	set_environment("own", "2", NULL);
	CHECK(inherited_take(&inherited) == 0);
	CHECK(inherited_by_address(&inherited, &tcp) == &inherited.sockets[0]);
	CHECK(inherited_by_address(&inherited, &local) == &inherited.sockets[1]);
	CHECK(inherited_by_address(&inherited, &other) == NULL);
	inherited.sockets[0].fd = -1;
	CHECK(inherited_by_address(&inherited, &tcp) == NULL);
	inherited_done(&inherited);
}

Test(inherited, is_found_by_address_until_claimed)
{
	run_case(find_by_address);
}

static void cover(bool v6_only)
{
	int fds[] = { tcp_socket(AF_INET6, v6_only, true) };
	struct inherited inherited;
	struct socket_address v4 = { .size = sizeof(struct sockaddr_in) };
	struct sockaddr_in *inet = (struct sockaddr_in *)&v4.storage;
	struct socket_address v6;

	place(fds, 1);
	v6 = address_of(3);
	inet->sin_family = AF_INET;
	inet->sin_port = ((struct sockaddr_in6 *)&v6.storage)->sin6_port;
	set_environment("own", "1", NULL);
	CHECK(inherited_take(&inherited) == 0);
	CHECK(inherited_by_address(&inherited, &v6) == &inherited.sockets[0]);
	CHECK(inherited_by_address(&inherited, &v4) == (v6_only ? NULL : &inherited.sockets[0]));
	inet->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	CHECK(inherited_by_address(&inherited, &v4) == NULL);
	inet->sin_addr.s_addr = htonl(INADDR_ANY);
	inet->sin_port = (in_port_t)(inet->sin_port + 1);
	CHECK(inherited_by_address(&inherited, &v4) == NULL);
	inherited_done(&inherited);
}

static void cover_dual_stack(void)
{
	cover(false);
}

static void cover_v6_only(void)
{
	cover(true);
}

Test(inherited, dual_stack_socket_covers_v4)
{
	int fd = socket(AF_INET6, SOCK_STREAM, 0);

	if (fd < 0)
		cr_skip("no IPv6 here");
	close(fd);
	run_case(cover_dual_stack);
	run_case(cover_v6_only);
}
