/* SPDX-License-Identifier: MIT */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net/listener.h"

static const struct listener_options defaults = {
	.backlog = 16,
	.socket_mode = 0660,
	.socket_uid = (uid_t)-1,
	.socket_gid = (gid_t)-1,
};

static char directory[64];

static void make_directory(void)
{
	strcpy(directory, "/tmp/test_listener.XXXXXX");
	cr_assert_not_null(mkdtemp(directory));
}

static void remove_directory(void)
{
	cr_assert_eq(rmdir(directory), 0, "something was left in %s", directory);
}

static struct socket_address resolve(const char *text)
{
	struct address_spec spec;
	struct socket_address addresses[8];
	const char *reason = "";
	size_t count = 0;

	cr_assert_eq(address_parse(text, &spec, &reason), 0, "%s: %s", text, reason);
	cr_assert_eq(
		address_resolve(&spec, addresses, ARRAY_SIZE(addresses), &count, &reason), 0, "%s: %s", text, reason);
	return addresses[0];
}

static int try_bind(struct listener *listener, const char *text, const struct listener_options *options)
{
	struct socket_address address = resolve(text);
	const char *step = "none";
	int result = listener_bind(listener, text, &address, options, &step);

	if (result < 0)
		cr_assert_str_neq(step, "none");
	return result;
}

static struct listener bound(const char *text, const struct listener_options *options)
{
	struct listener listener = LISTENER_NONE;
	int result = try_bind(&listener, text, options);

	cr_assert_eq(result, 0, "%s: %s", text, strerror(-result));
	return listener;
}

static struct listener listening(const char *text, const struct listener_options *options)
{
	struct listener listener = bound(text, options);
	int result = listener_listen(&listener);

	cr_assert_eq(result, 0, "%s: %s", text, strerror(-result));
	return listener;
}

/* A client's socket, or a negative errno. */
static int client(const struct socket_address *address)
{
	int fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (connect(fd, (const struct sockaddr *)&address->storage, address->size) == 0)
		return fd;
	close(fd);
	return -errno;
}

static int option(int fd, int level, int name)
{
	int value = -1;
	socklen_t size = sizeof(value);

	cr_assert_eq(getsockopt(fd, level, name, &value, &size), 0);
	return value;
}

static size_t count_descriptors(void)
{
	DIR *open_files = opendir("/proc/self/fd");
	size_t count = 0;

	while (readdir(open_files) != NULL)
		count++;
	closedir(open_files);
	return count;
}

static const char *path_in_directory(const char *name)
{
	static char text[128];

	snprintf(text, sizeof(text), "unix:%s/%s", directory, name);
	return text;
}

static mode_t mode_of(const char *text)
{
	struct stat status;

	cr_assert_eq(lstat(text + strlen("unix:"), &status), 0, "%s", text);
	return status.st_mode;
}

static bool exists(const char *text)
{
	return access(text + strlen("unix:"), F_OK) == 0;
}

static bool machine_has_v6(void)
{
	int fd = socket(AF_INET6, SOCK_STREAM, 0);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static uint16_t port_of(const struct listener *listener)
{
	return ntohs(((const struct sockaddr_in *)&listener->address.storage)->sin_port);
}

/* ---- TCP ---- */

Test(listener, binds_first_and_listens_later)
{
	struct listener listener = bound("127.0.0.1:0", &defaults);
	char text[ADDRESS_TEXT_MAX];
	char expected[ADDRESS_TEXT_MAX];
	int fd;

	cr_assert_neq(port_of(&listener), 0, "the kernel's choice is read back");
	snprintf(expected, sizeof(expected), "127.0.0.1:%u", (unsigned int)port_of(&listener));
	cr_assert_str_eq(listener_text(&listener, text, sizeof(text)), expected);
	cr_assert_str_eq(listener.spec, "127.0.0.1:0");
	cr_assert_eq(listener.origin, LISTENER_OPENED);
	cr_assert_eq(fcntl(listener.fd, F_GETFD), FD_CLOEXEC);
	cr_assert_eq(client(&listener.address), -ECONNREFUSED);

	cr_assert_eq(listener_listen(&listener), 0);
	fd = client(&listener.address);
	cr_assert_geq(fd, 0);
	close(fd);
	listener_close(&listener);
	cr_assert_eq(listener.fd, -1);
	listener_close(&listener);
}

Test(listener, same_port_of_both_families)
{
	struct listener v4 = listening("0.0.0.0:0", &defaults);
	struct listener v6 = LISTENER_NONE;
	char text[64];

	if (!machine_has_v6())
		cr_skip("no IPv6 here");
	snprintf(text, sizeof(text), "[::]:%u", (unsigned int)port_of(&v4));
	v6 = listening(text, &defaults);
	cr_assert_eq(option(v6.fd, IPPROTO_IPV6, IPV6_V6ONLY), 1);
	listener_close(&v4);
	listener_close(&v6);
}

Test(listener, address_in_use_is_an_error_and_leaves_nothing)
{
	struct listener first = listening("127.0.0.1:0", &defaults);
	struct listener second = LISTENER_NONE;
	size_t descriptors = count_descriptors();
	char text[64];

	snprintf(text, sizeof(text), "127.0.0.1:%u", (unsigned int)port_of(&first));
	cr_assert_eq(try_bind(&second, text, &defaults), -EADDRINUSE);
	cr_assert_eq(second.fd, -1, "the result is untouched");
	cr_assert_eq(count_descriptors(), descriptors);
	listener_close(&first);
}

Test(listener, address_bound_twice_is_an_error_of_listen)
{
	struct listener first = bound("127.0.0.1:0", &defaults);
	struct listener second;
	char text[64];

	snprintf(text, sizeof(text), "127.0.0.1:%u", (unsigned int)port_of(&first));
	second = bound(text, &defaults);
	cr_assert_eq(listener_listen(&first), 0);
	cr_assert_eq(listener_listen(&second), -EADDRINUSE);
	listener_close(&first);
	listener_close(&second);
}

Test(listener, can_be_bound_again_at_once_after_connections)
{
	struct listener listener = listening("127.0.0.1:0", &defaults);
	int fd = client(&listener.address);
	int served = accept(listener.fd, NULL, NULL);
	char text[64];

	/* The side that closes first keeps the port in TIME_WAIT. */
	close(served);
	close(fd);
	snprintf(text, sizeof(text), "127.0.0.1:%u", (unsigned int)port_of(&listener));
	listener_close(&listener);
	listener = listening(text, &defaults);
	listener_close(&listener);
}

Test(listener, options_reach_the_socket)
{
	struct listener_options wanted = defaults;
	struct listener listener;
	struct listener plain = listening("127.0.0.1:0", &defaults);

	wanted.defer_accept_s = 7;
	wanted.fastopen = 23;
	wanted.reuse_port = true;
	wanted.freebind = true;
	listener = listening("127.0.0.1:0", &wanted);
	cr_assert_eq(option(listener.fd, SOL_SOCKET, SO_REUSEADDR), 1);
	cr_assert_eq(option(listener.fd, SOL_SOCKET, SO_REUSEPORT), 1);
	cr_assert_eq(option(listener.fd, IPPROTO_IP, IP_FREEBIND), 1);
	cr_assert_eq(option(listener.fd, IPPROTO_TCP, TCP_FASTOPEN), 23);
	cr_assert_eq(option(listener.fd, IPPROTO_TCP, TCP_DEFER_ACCEPT), 7);
	cr_assert_eq(option(listener.fd, IPPROTO_TCP, TCP_NODELAY), 1);
	cr_assert_eq(option(plain.fd, SOL_SOCKET, SO_REUSEPORT), 0);
	cr_assert_eq(option(plain.fd, IPPROTO_IP, IP_FREEBIND), 0);
	cr_assert_eq(option(plain.fd, IPPROTO_TCP, TCP_FASTOPEN), 0);
	cr_assert_eq(option(plain.fd, IPPROTO_TCP, TCP_DEFER_ACCEPT), 0);
	listener_close(&listener);
	listener_close(&plain);
}

Test(listener, backlog_reaches_the_kernel)
{
	struct listener_options wanted = defaults;
	struct listener listener;
	struct tcp_info info;
	socklen_t size = sizeof(info);

	wanted.backlog = 5;
	listener = listening("127.0.0.1:0", &wanted);
	cr_assert_eq(getsockopt(listener.fd, IPPROTO_TCP, TCP_INFO, &info, &size), 0);
	cr_assert_eq(info.tcpi_sacked, 5);
	listener_close(&listener);
}

/* The longest that its queue may become. */
static uint32_t queue_limit(int fd)
{
	struct tcp_info info;
	socklen_t size = sizeof(info);

	cr_assert_eq(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size), 0);
	return info.tcpi_sacked;
}

static int change(struct listener *listener, const struct listener_options *options)
{
	const char *step = "none";
	int result = listener_change(listener, options, &step);

	cr_expect(result == 0 || strcmp(step, "none") != 0);
	return result;
}

/* While it listens; what is queued stays. */
Test(listener, takes_other_options)
{
	struct listener_options options = defaults;
	struct listener listener = listening("127.0.0.1:0", &options);
	int connected = client(&listener.address), accepted;

	cr_assert_geq(connected, 0);
	options.backlog = 5;
	options.defer_accept_s = 3;
	options.fastopen = 7;
	options.reuse_port = true;
	cr_assert_eq(change(&listener, &options), 0);
	cr_expect_eq(queue_limit(listener.fd), 5);
	cr_expect_geq(option(listener.fd, IPPROTO_TCP, TCP_DEFER_ACCEPT), 3);
	cr_expect_eq(option(listener.fd, IPPROTO_TCP, TCP_FASTOPEN), 7);
	cr_expect_eq(option(listener.fd, SOL_SOCKET, SO_REUSEPORT), 0);
	cr_expect_not(listener.options.reuse_port, "it is bound without");
	accepted = accept(listener.fd, NULL, NULL);
	cr_expect_geq(accepted, 0);
	options.defer_accept_s = 0;
	options.fastopen = 0;
	cr_assert_eq(change(&listener, &options), 0);
	cr_expect_eq(option(listener.fd, IPPROTO_TCP, TCP_DEFER_ACCEPT), 0);
	cr_expect_eq(option(listener.fd, IPPROTO_TCP, TCP_FASTOPEN), 0);
	close(accepted);
	close(connected);
	listener_close(&listener);
}

Test(listener, socket_of_systemds_takes_no_other_options)
{
	struct listener_options options = defaults;
	struct listener own = listening("127.0.0.1:0", &options), listener;

	cr_assert_eq(listener_adopt(&listener, own.fd, LISTENER_SYSTEMD, "systemd:a", &options), 0);
	options.backlog = 5;
	cr_assert_eq(change(&listener, &options), 0);
	cr_expect_eq(queue_limit(listener.fd), 16);
	listener_close(&listener);
}

Test(listener, freebind_takes_addresses_that_are_not_there)
{
	struct listener_options wanted = defaults;
	struct listener listener = LISTENER_NONE;

	wanted.freebind = true;
	cr_assert_eq(try_bind(&listener, "192.0.2.1:0", &defaults), -EADDRNOTAVAIL);
	listener = listening("192.0.2.1:0", &wanted);
	listener_close(&listener);
	if (machine_has_v6()) {
		cr_assert_eq(try_bind(&listener, "[2001:db8::1]:0", &defaults), -EADDRNOTAVAIL);
		listener = listening("[2001:db8::1]:0", &wanted);
		listener_close(&listener);
	}
}

Test(listener, reuse_port_lets_two_listen)
{
	struct listener_options wanted = defaults;
	struct listener first;
	struct listener second;
	char text[64];

	wanted.reuse_port = true;
	first = listening("127.0.0.1:0", &wanted);
	snprintf(text, sizeof(text), "127.0.0.1:%u", (unsigned int)port_of(&first));
	second = listening(text, &wanted);
	listener_close(&first);
	listener_close(&second);
}

/* ---- adopting ---- */

static int try_adopt(int fd)
{
	struct listener listener = LISTENER_NONE;
	int result = listener_adopt(&listener, fd, LISTENER_SYSTEMD, "systemd:web", &defaults);

	cr_assert_eq(listener.fd, result < 0 ? -1 : fd);
	cr_assert_geq(fcntl(fd, F_GETFD), 0, "it is still open");
	close(fd);
	return result;
}

Test(listener, adopts_listening_stream_sockets_only)
{
	struct sockaddr_un abstract = { .sun_family = AF_UNIX };
	int ends[2];
	int packets = socket(AF_UNIX, SOCK_SEQPACKET, 0);

	cr_assert_eq(pipe(ends), 0);
	close(ends[1]);
	cr_assert_eq(bind(packets, (struct sockaddr *)&abstract, sizeof(sa_family_t)), 0);
	cr_assert_eq(listen(packets, 1), 0);
	cr_assert_eq(try_adopt(ends[0]), -ENOTSOCK);
	cr_assert_eq(try_adopt(packets), -EPROTOTYPE);
	cr_assert_eq(try_adopt(socket(AF_INET, SOCK_DGRAM, 0)), -EPROTOTYPE);
	cr_assert_eq(try_adopt(socket(AF_INET, SOCK_STREAM, 0)), -EINVAL);
}

Test(listener, adopted_socket_is_described_and_closed_on_exec)
{
	struct listener opened = listening("127.0.0.1:0", &defaults);
	struct listener adopted;
	char text[ADDRESS_TEXT_MAX];
	char expected[ADDRESS_TEXT_MAX];

	cr_assert_eq(fcntl(opened.fd, F_SETFD, 0), 0);
	cr_assert_eq(listener_adopt(&adopted, opened.fd, LISTENER_SYSTEMD, "systemd:web", &defaults), 0);
	cr_assert_eq(fcntl(adopted.fd, F_GETFD), FD_CLOEXEC);
	cr_assert_eq(adopted.origin, LISTENER_SYSTEMD);
	cr_assert_str_eq(adopted.spec, "systemd:web");
	cr_assert_str_eq(
		listener_text(&adopted, text, sizeof(text)), listener_text(&opened, expected, sizeof(expected)));
	listener_close(&adopted);
}

Test(listener, socket_of_systemds_keeps_its_settings)
{
	struct listener_options other = defaults;
	struct listener listener = listening("127.0.0.1:0", &defaults);
	struct tcp_info info;
	socklen_t size = sizeof(info);

	other.backlog = 1;
	other.defer_accept_s = 5;
	cr_assert_eq(listener_adopt(&listener, listener.fd, LISTENER_SYSTEMD, "systemd:web", &other), 0);
	cr_assert_eq(listener_listen(&listener), 0);
	cr_assert_eq(getsockopt(listener.fd, IPPROTO_TCP, TCP_INFO, &info, &size), 0);
	cr_assert_eq(info.tcpi_sacked, 16);
	cr_assert_eq(option(listener.fd, IPPROTO_TCP, TCP_DEFER_ACCEPT), 0);
	listener_close(&listener);
}

static struct listener adopted_at_any_v6(int v6_only)
{
	struct sockaddr_in6 any = { .sin6_family = AF_INET6 };
	struct listener listener = LISTENER_NONE;
	int fd = socket(AF_INET6, SOCK_STREAM, 0);

	setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof(v6_only));
	cr_assert_eq(bind(fd, (struct sockaddr *)&any, sizeof(any)), 0);
	cr_assert_eq(listen(fd, 1), 0);
	cr_assert_eq(listener_adopt(&listener, fd, LISTENER_SYSTEMD, "systemd:web", &defaults), 0);
	return listener;
}

Test(listener, dual_stack_socket_serves_v4)
{
	struct socket_address any = resolve("0.0.0.0:0");
	struct socket_address loopback = resolve("127.0.0.1:0");

	if (!machine_has_v6())
		cr_skip("no IPv6 here");
	for (int v6_only = 0; v6_only <= 1; v6_only++) {
		struct listener listener = adopted_at_any_v6(v6_only);
		in_port_t port = htons(port_of(&listener));

		((struct sockaddr_in *)&any.storage)->sin_port = port;
		((struct sockaddr_in *)&loopback.storage)->sin_port = port;
		cr_assert(listener_serves(&listener, &listener.address));
		cr_assert_eq(listener_serves(&listener, &any), !v6_only);
		cr_assert_not(listener_serves(&listener, &loopback), "it serves more than that");
		((struct sockaddr_in *)&any.storage)->sin_port = (in_port_t)(port + 1);
		cr_assert_not(listener_serves(&listener, &any));
		listener_close(&listener);
	}
}

Test(listener, every_origin_has_a_name)
{
	cr_assert_str_eq(listener_origin_name(LISTENER_OPENED), "opened");
	cr_assert_str_eq(listener_origin_name(LISTENER_SYSTEMD), "systemd");
	cr_assert_str_eq(listener_origin_name(LISTENER_STORE), "store");
	cr_assert_str_eq(listener_origin_name(LISTENER_ORIGINS), "unknown");
}

/* ---- what workers need ---- */

static uint32_t timeout_ms(int fd, int name)
{
	struct timeval value;
	socklen_t size = sizeof(value);

	cr_assert_eq(getsockopt(fd, SOL_SOCKET, name, &value, &size), 0);
	return (uint32_t)(value.tv_sec * 1000 + value.tv_usec / 1000);
}

Test(listener, accepted_sockets_inherit_time_outs)
{
	static const struct listener_timeouts some = { .idle_ms = 30500, .write_ms = 2000 };
	static const struct listener_timeouts none = { 0 };
	struct listener listener = listening("127.0.0.1:0", &defaults);
	int fd;
	int served;

	cr_assert_eq(listener_prepare_workers(&listener, &some, true), 0);
	cr_assert(fcntl(listener.fd, F_GETFL) & O_NONBLOCK);
	fd = client(&listener.address);
	served = accept(listener.fd, NULL, NULL);
	cr_assert_geq(served, 0);
	cr_assert_eq(timeout_ms(served, SO_RCVTIMEO), 30500);
	cr_assert_eq(timeout_ms(served, SO_SNDTIMEO), 2000);
	cr_assert_eq(option(served, SOL_SOCKET, SO_KEEPALIVE), 0);
	cr_assert_eq(option(served, IPPROTO_TCP, TCP_NODELAY), 1);
	close(served);
	close(fd);

	cr_assert_eq(listener_prepare_workers(&listener, &none, false), 0);
	cr_assert_not(fcntl(listener.fd, F_GETFL) & O_NONBLOCK);
	fd = client(&listener.address);
	served = accept(listener.fd, NULL, NULL);
	cr_assert_eq(timeout_ms(served, SO_RCVTIMEO), 0);
	cr_assert_eq(timeout_ms(served, SO_SNDTIMEO), 0);
	cr_assert_eq(option(served, SOL_SOCKET, SO_KEEPALIVE), 1, "nothing else notices a dead peer");
	close(served);
	close(fd);
	listener_close(&listener);
}

Test(listener, unix_socket_gets_no_time_outs_and_loses_others)
{
	static const struct listener_timeouts some = { .idle_ms = 30000, .write_ms = 2000 };
	static const struct timeval left_behind = { .tv_sec = 3 };
	struct listener listener = listening("unix:@test_listener.timeouts", &defaults);

	setsockopt(listener.fd, SOL_SOCKET, SO_RCVTIMEO, &left_behind, sizeof(left_behind));
	cr_assert_eq(listener_prepare_workers(&listener, &some, false), 0);
	cr_assert_eq(timeout_ms(listener.fd, SO_RCVTIMEO), 0);
	cr_assert_eq(timeout_ms(listener.fd, SO_SNDTIMEO), 0);
	listener_close(&listener);
}

Test(listener, one_that_was_shut_down_is_revived_at_its_port)
{
	const struct listener_options options = { .backlog = 7, .defer_accept_s = 3 };
	struct listener listener = listening("127.0.0.1:0", &options);
	uint16_t port = port_of(&listener);
	int fd;

	cr_assert_eq(listener_revive(&listener), 0);
	cr_assert_eq(shutdown(listener.fd, SHUT_RDWR), 0);
	cr_assert_eq(option(listener.fd, SOL_SOCKET, SO_ACCEPTCONN), 0);
	cr_assert_eq(listener_revive(&listener), 1);
	cr_assert_eq(option(listener.fd, SOL_SOCKET, SO_ACCEPTCONN), 1);
	cr_assert_eq(port_of(&listener), port);
	cr_assert_gt(option(listener.fd, IPPROTO_TCP, TCP_DEFER_ACCEPT), 0);
	fd = client(&listener.address);
	cr_assert_geq(fd, 0);
	close(fd);
	listener_close(&listener);
}

/* ---- unix ---- */

Test(listener_unix, path_has_its_mode_whatever_the_umask, .init = make_directory, .fini = remove_directory)
{
	struct listener_options wanted = defaults;
	static const mode_t modes[] = { 0600, 0660, 0666, 0777, 0 };
	const char *text = path_in_directory("s");
	mode_t saved = umask(0077);

	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		struct listener listener;

		wanted.socket_mode = modes[i];
		listener = bound(text, &wanted);
		cr_assert_eq(mode_of(text), S_IFSOCK | modes[i], "%o", modes[i]);
		listener_close(&listener);
	}
	cr_assert_eq(umask(saved), 0077, "the umask is as before");
}

Test(listener_unix, path_has_its_owner, .init = make_directory, .fini = remove_directory)
{
	struct listener_options wanted = defaults;
	const char *text = path_in_directory("s");
	struct listener listener;
	struct stat status;

	if (geteuid() != 0)
		cr_skip("not root");
	wanted.socket_uid = 4711;
	wanted.socket_gid = 4712;
	listener = bound(text, &wanted);
	cr_assert_eq(lstat(text + 5, &status), 0);
	cr_assert_eq(status.st_uid, 4711);
	cr_assert_eq(status.st_gid, 4712);
	cr_assert_eq(status.st_mode, S_IFSOCK | 0660);
	listener_close(&listener);
}

static int bind_as_nobody(const char *text)
{
	struct listener_options wanted = defaults;
	struct listener listener = LISTENER_NONE;
	struct socket_address address = resolve(text);
	const char *step = "";

	if (geteuid() == 0 && setuid(65534) < 0)
		return 1;
	wanted.socket_uid = 0;
	if (listener_bind(&listener, text, &address, &wanted, &step) != -EPERM)
		return 2;
	return strcmp(step, "chown") != 0 ? 3 : 0;
}

Test(listener_unix, nothing_is_left_when_the_owner_cannot_be_set, .init = make_directory, .fini = remove_directory)
{
	const char *text = path_in_directory("s");
	pid_t pid;
	int status;

	cr_assert_eq(chmod(directory, 0777), 0);
	pid = fork();
	if (pid == 0)
		_exit(bind_as_nobody(text));
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status));
	cr_assert_eq(WEXITSTATUS(status), 0, "failed at step %d", WEXITSTATUS(status));
	cr_assert_not(exists(text));
}

Test(listener_unix, path_takes_another_mode, .init = make_directory, .fini = remove_directory)
{
	const char *path = path_in_directory("a.sock");
	struct listener_options options = defaults;
	struct listener listener = listening(path, &options);

	options.socket_mode = 0606;
	cr_assert_eq(change(&listener, &options), 0);
	cr_expect_eq(mode_of(path) & 0777, 0606);
	options.socket_mode = 0666;
	cr_assert_eq(change(&listener, &options), 0);
	cr_expect_eq(mode_of(path) & 0777, 0666);
	close(client(&listener.address));
	listener_close(&listener);
	cr_expect_not(exists(path));
}

Test(listener_unix, path_takes_another_owner, .init = make_directory, .fini = remove_directory)
{
	const char *path = path_in_directory("a.sock");
	struct listener_options options = defaults;
	struct listener listener;
	struct stat status;

	if (geteuid() != 0)
		return;
	listener = listening(path, &options);
	options.socket_uid = 65534;
	options.socket_gid = 65533;
	cr_assert_eq(change(&listener, &options), 0);
	cr_assert_eq(lstat(path + strlen("unix:"), &status), 0);
	cr_expect(status.st_uid == 65534 && status.st_gid == 65533 && (status.st_mode & 0777) == 0660);
	options.socket_uid = (uid_t)-1;
	options.socket_gid = (gid_t)-1;
	cr_assert_eq(change(&listener, &options), 0);
	cr_assert_eq(lstat(path + strlen("unix:"), &status), 0);
	cr_expect(status.st_uid == 0 && status.st_gid == getegid());
	listener_close(&listener);
}

/* Another daemon's socket, say, is nothing to us. */
Test(listener_unix, what_took_its_place_keeps_its_mode, .init = make_directory, .fini = remove_directory)
{
	const char *path = path_in_directory("a.sock");
	struct listener_options options = defaults;
	struct listener listener = listening(path, &options), other;

	cr_assert_eq(unlink(path + strlen("unix:")), 0);
	options.socket_mode = 0600;
	cr_expect_eq(change(&listener, &options), -ENOENT);
	other = listening(path, &defaults);
	cr_expect_eq(change(&listener, &options), -ESTALE);
	cr_expect_eq(mode_of(path) & 0777, 0660);
	listener_close(&listener);
	cr_expect(exists(path));
	listener_close(&other);
}

Test(listener_unix, serves_at_its_path_and_removes_it, .init = make_directory, .fini = remove_directory)
{
	const char *text = path_in_directory("s");
	struct listener listener = bound(text, &defaults);
	char buffer[ADDRESS_TEXT_MAX];
	int fd;

	cr_assert_eq(client(&listener.address), -ECONNREFUSED);
	cr_assert_eq(listener_listen(&listener), 0);
	cr_assert_str_eq(listener_text(&listener, buffer, sizeof(buffer)), text);
	fd = client(&listener.address);
	cr_assert_geq(fd, 0);
	close(fd);
	listener_close(&listener);
	cr_assert_not(exists(text));
}

/* What a process that died leaves behind. */
static void leave_stale_socket(const char *text)
{
	struct socket_address address = resolve(text);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	cr_assert_eq(bind(fd, (struct sockaddr *)&address.storage, address.size), 0);
	cr_assert_eq(listen(fd, 1), 0);
	close(fd);
}

Test(listener_unix, stale_socket_is_replaced, .init = make_directory, .fini = remove_directory)
{
	const char *text = path_in_directory("s");
	struct listener listener;
	int fd;

	leave_stale_socket(text);
	listener = listening(text, &defaults);
	fd = client(&listener.address);
	cr_assert_geq(fd, 0);
	close(fd);
	listener_close(&listener);
}

static void check_refused(const char *text, int expected)
{
	struct listener listener = LISTENER_NONE;
	size_t descriptors = count_descriptors();

	cr_assert_eq(try_bind(&listener, text, &defaults), expected);
	cr_assert_eq(count_descriptors(), descriptors);
	cr_assert(exists(text));
}

Test(listener_unix, live_socket_is_not, .init = make_directory, .fini = remove_directory)
{
	struct listener_options wanted = defaults;
	const char *text = path_in_directory("s");
	struct listener live;

	wanted.backlog = 0;
	live = bound(text, &wanted);
	check_refused(text, -EADDRINUSE);
	cr_assert_eq(listener_listen(&live), 0);
	check_refused(text, -EADDRINUSE);
	/* Its queue is full now of the first question. */
	check_refused(text, -EADDRINUSE);
	listener_close(&live);
}

Test(listener_unix, socket_of_another_type_is_not, .init = make_directory, .fini = remove_directory)
{
	const char *text = path_in_directory("s");
	struct socket_address address = resolve(text);
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	cr_assert_eq(bind(fd, (struct sockaddr *)&address.storage, address.size), 0);
	check_refused(text, -EADDRINUSE);
	close(fd);
	cr_assert_eq(unlink(text + 5), 0);
}

Test(listener_unix, other_files_are_not, .init = make_directory, .fini = remove_directory)
{
	const char *text = path_in_directory("s");
	char target[128];
	int fd = open(text + 5, O_CREAT | O_WRONLY, 0600);

	close(fd);
	check_refused(text, -EEXIST);
	cr_assert_eq(unlink(text + 5), 0);

	snprintf(target, sizeof(target), "unix:%s/target", directory);
	leave_stale_socket(target);
	cr_assert_eq(symlink("target", text + 5), 0);
	check_refused(text, -EEXIST);
	cr_assert_eq(unlink(text + 5), 0);
	cr_assert_eq(unlink(target + 5), 0);

	cr_assert_eq(mkdir(text + 5, 0700), 0);
	check_refused(text, -EEXIST);
	cr_assert_eq(rmdir(text + 5), 0);
}

Test(listener_unix, missing_directory_is_an_error)
{
	struct listener listener = LISTENER_NONE;

	cr_assert_eq(try_bind(&listener, "unix:/nonexistent/s", &defaults), -ENOENT);
}

Test(listener_unix, path_is_removed_by_its_maker_only, .init = make_directory, .fini = remove_directory)
{
	const char *text = path_in_directory("s");
	struct listener listener = listening(text, &defaults);
	pid_t pid = fork();

	if (pid == 0) {
		listener_close(&listener);
		_exit(0);
	}
	cr_assert_eq(waitpid(pid, NULL, 0), pid);
	cr_assert(exists(text));
	listener_close(&listener);
	cr_assert_not(exists(text));
}

Test(listener_unix, what_took_its_place_is_left_alone, .init = make_directory, .fini = remove_directory)
{
	const char *text = path_in_directory("s");
	struct listener listener = listening(text, &defaults);
	char kept[128];
	struct stat status;

	/* While the old socket's inode lives, the new one has another number. */
	snprintf(kept, sizeof(kept), "%s/kept", directory);
	cr_assert_eq(rename(text + 5, kept), 0);
	leave_stale_socket(text);
	listener_close(&listener);
	cr_assert_eq(lstat(text + 5, &status), 0);
	cr_assert_eq(unlink(text + 5), 0);
	cr_assert_eq(unlink(kept), 0);
}

Test(listener_unix, abstract_name_is_served_and_freed)
{
	char text[64];
	struct listener listener;
	struct listener second = LISTENER_NONE;
	int fd;

	snprintf(text, sizeof(text), "unix:@test_listener.%d", (int)getpid());
	listener = listening(text, &defaults);
	fd = client(&listener.address);
	cr_assert_geq(fd, 0);
	close(fd);
	cr_assert_eq(try_bind(&second, text, &defaults), -EADDRINUSE);
	listener_close(&listener);
	second = listening(text, &defaults);
	listener_close(&second);
}

Test(listener, somaxconn_is_read)
{
	cr_assert_gt(listener_somaxconn(), 0);
}
