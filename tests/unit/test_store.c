/* SPDX-License-Identifier: MIT */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "master/notify.h"
#include "master/store.h"
#include "policy/deadline.h"

/* A service manager: a datagram socket in the abstract name space. */
static int manager;
static struct notify notify;
static struct store store;

static void setup(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	socklen_t size = sizeof(address);
	char path[sizeof(address.sun_path) + 1];

	manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	cr_assert_geq(manager, 0);
	cr_assert_eq(bind(manager, (struct sockaddr *)&address, sizeof(sa_family_t)), 0, "the kernel chooses a name");
	cr_assert_eq(getsockname(manager, (struct sockaddr *)&address, &size), 0);
	snprintf(path, sizeof(path), "@%.*s", (int)(size - offsetof(struct sockaddr_un, sun_path) - 1),
		address.sun_path + 1);
	setenv("NOTIFY_SOCKET", path, 1);
	unsetenv("WATCHDOG_USEC");
	notify_init(&notify, 0);
}

static void teardown(void)
{
	store_done(&store);
	notify_done(&notify);
	close(manager);
}

TestSuite(store, .init = setup, .fini = teardown);

/* The next message, or "" if there is none; *RET_FD: what came with it, or -1. */
static const char *heard(int *ret_fd)
{
	static char message[1024];
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
	struct iovec buffer = { .iov_base = message, .iov_len = sizeof(message) - 1 };
	struct msghdr header = {
		.msg_iov = &buffer, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
	};
	ssize_t size = recvmsg(manager, &header, MSG_CMSG_CLOEXEC);
	struct cmsghdr *rights = size < 0 ? NULL : CMSG_FIRSTHDR(&header);

	*ret_fd = -1;
	if (rights != NULL)
		memcpy(ret_fd, CMSG_DATA(rights), sizeof(*ret_fd));
	message[size > 0 ? size : 0] = '\0';
	return message;
}

static void expect(const char *message)
{
	int fd;

	cr_expect_str_eq(heard(&fd), message);
	cr_expect_eq(fd, -1, "%s", message);
}

static void expect_with(const char *message, int wanted)
{
	struct stat a, b;
	int fd;

	cr_expect_str_eq(heard(&fd), message);
	cr_assert_geq(fd, 0, "%s", message);
	cr_assert_eq(fstat(fd, &a), 0);
	cr_assert_eq(fstat(wanted, &b), 0);
	cr_expect_eq(a.st_ino, b.st_ino);
	close(fd);
}

static void flush(void)
{
	cr_assert_eq(store_flush(&store, &notify, 0), DEADLINE_NONE);
}

Test(store, puts_each_with_its_name_and_not_polled)
{
	int one = socket(AF_INET, SOCK_STREAM, 0), two = socket(AF_INET, SOCK_STREAM, 0);

	cr_assert_eq(store_put(&store, "brood-listener/one", one), 0);
	cr_assert_eq(store_put(&store, "brood-listener/two", two), 0);
	flush();
	expect_with("FDSTORE=1\nFDPOLL=0\nFDNAME=brood-listener/one\n", one);
	expect_with("FDSTORE=1\nFDPOLL=0\nFDNAME=brood-listener/two\n", two);
	expect("");
	flush();
	expect("");
	close(one);
	close(two);
}

Test(store, takes_out_what_it_has_put_there)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	cr_assert_eq(store_put(&store, "brood-listener/one", fd), 0);
	flush();
	expect_with("FDSTORE=1\nFDPOLL=0\nFDNAME=brood-listener/one\n", fd);
	store_drop(&store, fd);
	store_drop(&store, -1);
	flush();
	expect("FDSTOREREMOVE=1\nFDNAME=brood-listener/one\n");
	expect("");
	cr_expect_eq(store.count, 0);
	close(fd);
}

Test(store, what_was_never_told_of_needs_no_removal)
{
	cr_assert_eq(store_put(&store, "brood-listener/one", manager), 0);
	store_drop(&store, manager);
	flush();
	expect("");
}

Test(store, what_was_handed_over_is_there_already_and_stays_if_it_is_kept)
{
	store_note(&store, "brood-listener/one");
	store_note(&store, "brood-listener/two");
	cr_assert(store_keep(&store, "brood-listener/one", 7));
	cr_assert_not(store_keep(&store, "brood-listener/three", 8));
	flush();
	expect("FDSTOREREMOVE=1\nFDNAME=brood-listener/two\n");
	expect("");
	store_drop(&store, 7);
	flush();
	expect("FDSTOREREMOVE=1\nFDNAME=brood-listener/one\n");
}

Test(store, another_one_of_the_name_takes_the_place_of_the_first)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	store_note(&store, "brood-listener/one");
	cr_assert_eq(store_put(&store, "brood-listener/one", fd), 0);
	flush();
	expect("FDSTOREREMOVE=1\nFDNAME=brood-listener/one\n");
	expect_with("FDSTORE=1\nFDPOLL=0\nFDNAME=brood-listener/one\n", fd);
	close(fd);
}

Test(store, a_manager_that_does_not_read_is_told_later)
{
	char drain[4096];
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	uint64_t wake_ms;

	while (notify_send(&notify, "FILLING=1", -1))
		;
	cr_assert_eq(store_put(&store, "brood-listener/one", fd), 0);
	wake_ms = store_flush(&store, &notify, 1000);
	cr_assert(wake_ms > 1000 && wake_ms < 3000);
	while (recv(manager, drain, sizeof(drain), 0) > 0)
		;
	cr_assert_eq(store_flush(&store, &notify, 1001), wake_ms, "not before its time");
	cr_assert_eq(store_flush(&store, &notify, wake_ms), DEADLINE_NONE);
	expect_with("FDSTORE=1\nFDPOLL=0\nFDNAME=brood-listener/one\n", fd);
	close(fd);
}

/* ---- names ---- */

static struct listener tcp_listener(const char *spec, const char *address, in_port_t port)
{
	struct listener listener = LISTENER_NONE;
	struct sockaddr_in *in = (struct sockaddr_in *)&listener.address.storage;

	snprintf(listener.spec, sizeof(listener.spec), "%s", spec);
	in->sin_family = AF_INET;
	in->sin_port = htons(port);
	inet_pton(AF_INET, address, &in->sin_addr);
	listener.address.size = sizeof(*in);
	return listener;
}

static struct listener unix_listener(const char *path)
{
	struct listener listener = LISTENER_NONE;
	struct sockaddr_un *address = (struct sockaddr_un *)&listener.address.storage;

	address->sun_family = AF_UNIX;
	memcpy(address->sun_path, path, strlen(path));
	listener.address.size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path) + 1);
	return listener;
}

/* What systemd takes for a name (fdname_is_valid() there). */
static bool is_valid(const char *name)
{
	for (const char *byte = name; *byte != '\0'; byte++)
		if (*byte < ' ' || *byte >= 127 || *byte == ':')
			return false;
	return strlen(name) <= 255;
}

Test(store, names_say_what_they_are_and_are_valid)
{
	struct listener fixed = tcp_listener("localhost:80", "127.0.0.1", 80);
	struct listener chosen = tcp_listener("127.0.0.1:0", "127.0.0.1", 4711);
	struct listener path = unix_listener("/run/b\tood:100%.sock");
	char name[STORE_NAME_MAX];

	cr_expect_str_eq(store_listener_name(&fixed, "web", name), "brood-listener/127.0.0.1%3A80");
	cr_expect_str_eq(store_listener_name(&chosen, "a/b", name), "brood-chosen/a%2Fb/127.0.0.1%3A4711");
	store_listener_name(&path, "web", name);
	cr_expect(is_valid(name), "%s", name);
	cr_expect(store_is_ours(name) && !store_is_board(name));
	cr_expect(store_is_board(store_board_name(manager, name)) && store_is_ours(name) && is_valid(name));
	cr_expect_not(store_is_ours("brood.socket"));
	cr_expect_not(store_is_ours("unknown"));
}

Test(store, long_paths_have_valid_names_of_their_own)
{
	char path[108] = "/", one[STORE_NAME_MAX], other[STORE_NAME_MAX];
	struct listener listener;

	memset(path + 1, 0xc3, sizeof(path) - 2);
	listener = unix_listener(path);
	store_listener_name(&listener, "web", one);
	path[106] = 'x';
	listener = unix_listener(path);
	store_listener_name(&listener, "web", other);
	cr_expect(is_valid(one), "%s", one);
	cr_expect(is_valid(other), "%s", other);
	cr_expect_str_neq(one, other);
}

Test(store, a_chosen_port_is_found_by_pool_and_host)
{
	struct listener a = tcp_listener("", "127.0.0.1", 1001), b = tcp_listener("", "127.0.0.1", 1002);
	struct inherited_socket sockets[] = {
		{.fd = 5,  .name = "brood-chosen/one/127.0.0.1%3A1001", .address = a.address, .listening = true},
		{ .fd = 6, .name = "brood-chosen/two/127.0.0.1%3A1002", .address = b.address, .listening = true},
	};
	const struct inherited inherited = { .sockets = sockets, .count = 2 };
	struct listener wanted = tcp_listener("", "127.0.0.1", 0), elsewhere = tcp_listener("", "127.0.0.2", 0);

	cr_expect_eq(store_find_chosen(&inherited, "two", &wanted.address), &sockets[1]);
	cr_expect_eq(store_find_chosen(&inherited, "one", &wanted.address), &sockets[0]);
	cr_expect_null(store_find_chosen(&inherited, "on", &wanted.address));
	cr_expect_null(store_find_chosen(&inherited, "one", &elsewhere.address));
	sockets[0].fd = -1;
	cr_expect_null(store_find_chosen(&inherited, "one", &wanted.address));
}
