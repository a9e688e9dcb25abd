/* SPDX-License-Identifier: MIT */
#include "worker/variables.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "worker/source.h"

static struct variables variables;

static const char *get(const char *name)
{
	size_t size = strlen(name);

	for (char **variable = variables.env.list; *variable != NULL; variable++)
		if (strncmp(*variable, name, size) == 0 && (*variable)[size] == '=')
			return *variable + size + 1;
	return NULL;
}

static struct sockaddr_in v4(const char *address, uint16_t port)
{
	struct sockaddr_in made = { .sin_family = AF_INET, .sin_port = htons(port) };

	cr_assert_eq(inet_pton(AF_INET, address, &made.sin_addr), 1);
	return made;
}

static struct sockaddr_in6 v6(const char *address, uint16_t port)
{
	struct sockaddr_in6 made = { .sin6_family = AF_INET6, .sin6_port = htons(port) };

	cr_assert_eq(inet_pton(AF_INET6, address, &made.sin6_addr), 1);
	return made;
}

static void set_tcp(const void *local, socklen_t local_size, const void *peer, socklen_t peer_size)
{
	variables_set_tcp(&variables, local, local_size, peer, peer_size, 3);
}

Test(inetd_variables, tcp)
{
	const struct sockaddr_in local = v4("192.0.2.1", 80), peer = v4("203.0.113.255", 65535);

	setenv("PATH", "/bin", 1);
	cr_assert_eq(variables_init(&variables, NULL, 0), 0);
	set_tcp(&local, sizeof(local), &peer, sizeof(peer));
	cr_assert_eq(variables.env.count, 10);
	cr_assert_str_eq(get("PATH"), "/bin");
	cr_assert_str_eq(get("PROTO"), "TCP");
	cr_assert_str_eq(get("TCPLOCALIP"), "192.0.2.1");
	cr_assert_str_eq(get("TCPLOCALPORT"), "80");
	cr_assert_str_eq(get("TCPREMOTEIP"), "203.0.113.255");
	cr_assert_str_eq(get("TCPREMOTEPORT"), "65535");
	cr_assert_str_eq(get("TCPCONNNUM"), "3");
	cr_assert_str_eq(get("REMOTE_HOST"), "203.0.113.255");
	cr_assert_str_eq(get("REMOTE_ADDR"), "203.0.113.255");
	cr_assert_str_eq(get("REMOTE_PORT"), "65535");
	/* What a look-up would give is absent. */
	cr_assert_null(get("TCPREMOTEHOST"));
	cr_assert_null(get("TCPLOCALHOST"));
	cr_assert_null(get("TCPREMOTEINFO"));
	variables_done(&variables);
}

Test(inetd_variables, tcp_over_ipv6)
{
	const struct sockaddr_in6 local = v6("::ffff:192.0.2.7", 0);
	const struct sockaddr_in6 peer = v6("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", 1);

	cr_assert_eq(variables_init(&variables, NULL, 0), 0);
	set_tcp(&local, sizeof(local), &peer, sizeof(peer));
	cr_assert_str_eq(get("PROTO"), "TCP");
	cr_assert_str_eq(get("TCPLOCALIP"), "192.0.2.7");
	cr_assert_str_eq(get("TCPLOCALPORT"), "0");
	cr_assert_str_eq(get("TCPREMOTEIP"), "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff");
	variables_done(&variables);
}

static void set_unix(const char *path, size_t size)
{
	const struct ucred credentials = { .pid = 1, .uid = 4294967294U, .gid = 0 };
	struct sockaddr_un peer = { .sun_family = AF_UNIX };

	memcpy(peer.sun_path, path, size);
	variables_set_unix(&variables, (const struct sockaddr *)&peer,
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + size), &credentials);
}

Test(inetd_variables, unix_socket)
{
	char longest[108];

	cr_assert_eq(variables_init(&variables, NULL, 0), 0);
	set_unix("", 0);
	cr_assert_eq(variables.env.count, 5);
	cr_assert_str_eq(get("PROTO"), "IPC");
	cr_assert_str_eq(get("IPCREMOTEEUID"), "4294967294");
	cr_assert_str_eq(get("IPCREMOTEEGID"), "0");
	cr_assert_str_eq(get("IPCREMOTEPATH"), "");
	set_unix("/run/client", 12);
	cr_assert_str_eq(get("IPCREMOTEPATH"), "/run/client");
	cr_assert_str_eq(get("REMOTE_ADDR"), "/run/client");
	set_unix("\0name", 5);
	cr_assert_str_eq(get("IPCREMOTEPATH"), "@name");
	/* As long as it can be, and without a NUL: unix(7). */
	memset(longest, 'x', sizeof(longest));
	longest[0] = '/';
	set_unix(longest, sizeof(longest));
	cr_assert_eq(strlen(get("IPCREMOTEPATH")), sizeof(longest));
	set_unix("", 0);
	cr_assert_null(get("REMOTE_ADDR"));
	variables_done(&variables);
}

Test(inetd_variables, the_configuration_goes_over_all)
{
	char *environment[] = { (char[]){ "PATH=/mine" }, (char[]){ "PROTO=" }, (char[]){ "REMOTE=x" }, NULL };
	const struct sockaddr_in local = v4("192.0.2.1", 80);

	cr_assert_eq(variables_init(&variables, environment, 3), 0);
	set_tcp(&local, sizeof(local), &local, sizeof(local));
	cr_assert_str_eq(get("PATH"), "/mine");
	cr_assert_str_eq(get("PROTO"), "");
	cr_assert_str_eq(get("REMOTE"), "x");
	cr_assert_eq(variables.env.count, 3 + 8);
	variables_done(&variables);
}

Test(inetd_variables, the_configuration_may_be_long)
{
	enum { COUNT = 5000 };
	static char texts[COUNT][16], *environment[COUNT + 1];
	const struct sockaddr_in local = v4("192.0.2.1", 80);

	for (int i = 0; i < COUNT; i++) {
		snprintf(texts[i], sizeof(texts[i]), "V%d=%d", i, i);
		environment[i] = texts[i];
	}
	cr_assert_eq(variables_init(&variables, environment, COUNT), 0);
	set_tcp(&local, sizeof(local), &local, sizeof(local));
	cr_assert_str_eq(get("V4999"), "4999");
	cr_assert_str_eq(get("TCPCONNNUM"), "3");
	variables_done(&variables);
}

/* ---- connections of one source ---- */

static struct board board;

static void serve(uint32_t slot, const char *pool, const void *peer, socklen_t size)
{
	board_slot_claim(&board, slot, pool, slot, 1);
	board_slot_born(&board, slot, 1000 + slot, 1);
	board_worker_accepted(&board.slots[slot], 0, peer, size, 1);
	board_worker_state(&board.slots[slot], BOARD_RUNNING, 1);
}

Test(inetd_variables, connections_of_one_source_are_counted)
{
	const struct sockaddr_in one = v4("192.0.2.1", 1), other = v4("192.0.2.2", 1);
	const struct sockaddr_in6 mapped = v6("::ffff:192.0.2.1", 9), far = v6("2001:db8::1", 1);
	const struct sockaddr_un local = { .sun_family = AF_UNIX };

	cr_assert_eq(board_create(&board, 16), 0);
	for (uint32_t i = 0; i < 3; i++)
		serve(i, "mine", &one, sizeof(one));
	serve(3, "mine", &mapped, sizeof(mapped));
	serve(4, "mine", &other, sizeof(other));
	serve(5, "yours", &one, sizeof(one));
	serve(6, "mine", &far, sizeof(far));
	/* Gone, and of a worker that only waits. */
	serve(7, "mine", &one, sizeof(one));
	board_slot_release(&board, 7);
	serve(8, "mine", &one, sizeof(one));
	board_worker_state(&board.slots[8], BOARD_IDLE, 1);
	cr_assert_eq(source_count(&board, &board.slots[0], (const struct sockaddr *)&one, sizeof(one)), 4);
	cr_assert_eq(source_count(&board, &board.slots[3], (const struct sockaddr *)&mapped, sizeof(mapped)), 4);
	cr_assert_eq(source_count(&board, &board.slots[4], (const struct sockaddr *)&other, sizeof(other)), 1);
	cr_assert_eq(source_count(&board, &board.slots[6], (const struct sockaddr *)&far, sizeof(far)), 1);
	cr_assert_eq(source_count(&board, &board.slots[0], (const struct sockaddr *)&local, sizeof(sa_family_t)), 1);
	/* Whatever some worker has written there. */
	atomic_store(&board.header->slots_used, UINT32_MAX);
	cr_assert_eq(source_count(&board, &board.slots[0], (const struct sockaddr *)&one, sizeof(one)), 4);
	board_done(&board);
}
