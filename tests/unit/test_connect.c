/* SPDX-License-Identifier: MIT */
#include "tests/unit/stream_pair.h"

#include <fcntl.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/un.h>

#include <brood/message.h>

/* A limit that a test waits for. */
#define SHORT_MS 100

/* ---- servers ---- */

static int listen_at(const struct sockaddr *address, socklen_t size, int backlog)
{
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, address, size) < 0 || listen(fd, backlog) < 0)
		return -1;
	return fd;
}

static struct sockaddr_in v4_address(const char *host, uint16_t port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };

	inet_pton(AF_INET, host, &address.sin_addr);
	return address;
}

/* Of an IPv4 or IPv6 socket: both have it in the same place. */
static uint16_t port_of(int fd)
{
	struct sockaddr_in6 address = { 0 };
	socklen_t size = sizeof(address);

	cr_assert_eq(getsockname(fd, (struct sockaddr *)&address, &size), 0);
	return ntohs(address.sin6_port);
}

/* Fills the queue of a listener of backlog 0, so that whoever connects next waits. Returns what fills it. */
static int fill_queue(int listener)
{
	struct sockaddr_storage address = { 0 };
	socklen_t size = sizeof(address);
	int fd;

	getsockname(listener, (struct sockaddr *)&address, &size);
	fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return connect(fd, (struct sockaddr *)&address, size) < 0 ? -1 : fd;
}

static void *accept_and_greet(void *argument)
{
	const int *listener = argument;
	int fd = accept4(*listener, NULL, NULL, SOCK_CLOEXEC);

	send(fd, "hello\n", 6, MSG_NOSIGNAL);
	close(fd);
	return NULL;
}

/* Connects to ADDRESS, where LISTENER greets. */
static void expect_greeting(const char *address, int listener)
{
	pthread_t thread = in_thread(accept_and_greet, &listener);
	struct brood_stream *stream;
	const char *line;
	int ret = brood_connect(address, FAR_MS, &far_timeouts, &stream);

	cr_assert_eq(ret, 0, "%s: %d", address, ret);
	cr_assert_eq(brood_read_until(stream, "\n", 1, 100, &line), 6);
	cr_assert_eq(brood_read_until(stream, "\n", 1, 100, &line), 0);
	cr_assert_eq(fcntl(brood_descriptor(stream), F_GETFL) & O_NONBLOCK, 0);
	cr_assert_neq(fcntl(brood_descriptor(stream), F_GETFD) & FD_CLOEXEC, 0);
	brood_free(stream);
	pthread_join(thread, NULL);
	close(listener);
}

static void expect_failure(const char *address, uint32_t within_ms, int result)
{
	struct brood_stream *const untouched = (struct brood_stream *)&result;
	struct brood_stream *stream = untouched;
	int ret = brood_connect(address, within_ms, &far_timeouts, &stream);

	cr_assert_eq(ret, result, "\"%s\": %d, not %d", address, ret, result);
	cr_assert_eq(stream, untouched);
}

/* ---- addresses ---- */

Test(connect, to_an_ipv4_address)
{
	struct sockaddr_in address;
	int listener = listen_tcp(&address);
	char text[64];

	snprintf(text, sizeof(text), "127.0.0.1:%u", ntohs(address.sin_port));
	expect_greeting(text, listener);
}

Test(connect, to_an_ipv6_address)
{
	struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	int listener = listen_at((struct sockaddr *)&address, sizeof(address), 4);
	char text[64];

	if (listener < 0)
		cr_skip_test("no IPv6 here");
	snprintf(text, sizeof(text), "[::1]:%u", port_of(listener));
	expect_greeting(text, listener);
}

Test(connect, to_a_name)
{
	struct sockaddr_in address;
	int listener = listen_tcp(&address);
	char text[64];

	snprintf(text, sizeof(text), "localhost:%u", ntohs(address.sin_port));
	expect_greeting(text, listener);
}

static int listen_unix(const char *name, int backlog)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name) + (name[0] == '/'));

	memcpy(address.sun_path, name, strlen(name));
	if (name[0] == '@')
		address.sun_path[0] = '\0';
	return listen_at((struct sockaddr *)&address, size, backlog);
}

Test(connect, to_a_unix_socket)
{
	char directory[] = "/tmp/brood-connect-XXXXXX", path[200], text[256];

	cr_assert_not_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/a:socket", directory);
	snprintf(text, sizeof(text), "unix:%s", path);
	expect_failure(text, FAR_MS, -ENOENT);
	expect_greeting(text, listen_unix(path, 4));
	expect_failure(text, FAR_MS, -ECONNREFUSED);
	unlink(path);
	rmdir(directory);
}

Test(connect, to_an_abstract_unix_socket)
{
	char name[64], text[80];

	snprintf(name, sizeof(name), "@brood-connect-%d", getpid());
	snprintf(text, sizeof(text), "unix:%s", name);
	expect_greeting(text, listen_unix(name, 4));
	expect_failure(text, FAR_MS, -ECONNREFUSED);
}

/* As many bytes as the kernel takes, and one more. */
Test(connect, unix_names_as_long_as_may_be)
{
	size_t room = sizeof(((struct sockaddr_un *)0)->sun_path);
	char name[200], text[256];

	snprintf(name, sizeof(name), "@%0*d", (int)room - 1, getpid());
	snprintf(text, sizeof(text), "unix:%s", name);
	expect_greeting(text, listen_unix(name, 4));
	strcat(text, "x");
	expect_failure(text, FAR_MS, -ENAMETOOLONG);
	snprintf(text, sizeof(text), "unix:/%0*d", (int)room - 2, 0);
	expect_failure(text, FAR_MS, -ENOENT);
	strcat(text, "x");
	expect_failure(text, FAR_MS, -ENAMETOOLONG);
}

Test(connect, addresses_that_are_none)
{
	static const char *const wrong[] = { "", ":", "localhost", "localhost:", ":80", "localhost:http", "127.0.0.1:0",
		"127.0.0.1:65536", "127.0.0.1:99999999999999999999", "127.0.0.1:-1", "127.0.0.1:+80", "127.0.0.1: 80",
		"127.0.0.1:80 ", "::1:80", "[::1]", "[::1]80", "[]:80", "[::1:80", "unix:", "unix:@", "unix:relative",
		"tcp:1.2.3.4:80" };
	char text[400];

	for (size_t k = 0; k < sizeof(wrong) / sizeof(wrong[0]); k++)
		expect_failure(wrong[k], FAR_MS, -EINVAL);
	snprintf(text, sizeof(text), "%0300d:80", 1);
	expect_failure(text, FAR_MS, -ENAMETOOLONG);
}

/* ---- the stream that is made ---- */

Test(connect, the_stream_has_its_timeouts_and_no_deadline)
{
	static const struct brood_timeouts short_idle = { SHORT_MS, FAR_MS, FAR_MS };
	struct sockaddr_in address;
	int listener = listen_tcp(&address), on = 0;
	socklen_t size = sizeof(on), peer_size;
	struct brood_stream *stream;
	uint64_t begin_ms;
	char text[64];

	snprintf(text, sizeof(text), "127.0.0.1:%u", ntohs(address.sin_port));
	cr_assert_eq(brood_connect(text, FAR_MS, &short_idle, &stream), 0);
	cr_assert_eq(stream->deadline_us, 0, "the limit was the call's");
	cr_assert_str_eq(brood_peer_text(stream), "127.0.0.1");
	cr_assert_eq(((const struct sockaddr_in *)brood_peer(stream, &peer_size))->sin_port, address.sin_port);
	cr_assert_eq(getsockopt(brood_descriptor(stream), IPPROTO_TCP, TCP_NODELAY, &on, &size), 0);
	cr_assert_neq(on, 0);
	begin_ms = now_ms();
	cr_assert_eq(brood_await(stream), -ETIMEDOUT);
	cr_assert_geq(now_ms() - begin_ms + 1, SHORT_MS);
	cr_assert_lt(now_ms() - begin_ms, FAR_MS / 2);
	brood_free(stream);
	close(listener);
}

struct asking {
	struct sockaddr_in address;
	int listener;
};

/* A stream that nothing has gone over is closed at once: a server that accepts and says nothing is not waited for. */
Test(connect, a_connection_that_was_not_used_is_closed_at_once)
{
	struct sockaddr_in address;
	int listener = listen_tcp(&address);
	struct brood_stream *stream;
	uint64_t begin_ms;
	char text[64];

	snprintf(text, sizeof(text), "127.0.0.1:%u", ntohs(address.sin_port));
	cr_assert_eq(brood_connect(text, FAR_MS, &far_timeouts, &stream), 0);
	begin_ms = now_ms();
	brood_free(stream);
	cr_assert_lt(now_ms() - begin_ms, 1500, "an orderly close waits for 2 s");
	close(listener);
}

/* Answers each of two questions after a while, so that the client waits. */
static void *answer_late(void *argument)
{
	const struct timespec pause = { .tv_nsec = 50000000 };
	const int *listener = argument;
	int fd = accept4(*listener, NULL, NULL, SOCK_CLOEXEC);
	char question[8];

	for (int round = 0; round < 2 && recv(fd, question, sizeof(question), 0) == 8; round++) {
		nanosleep(&pause, NULL);
		send(fd, "\0\0\0\2no", 6, MSG_NOSIGNAL);
	}
	close(fd);
	return NULL;
}

/* One question and its answer, after a first one. */
static void ask_and_hear(void *argument)
{
	static const struct brood_framing framing = { .kind = BROOD_FRAMING_LENGTH, .size = 4, .limit = 100 };
	struct asking *asking = argument;
	struct brood_stream *stream;
	char text[64];

	in_thread(answer_late, &asking->listener);
	snprintf(text, sizeof(text), "127.0.0.1:%u", ntohs(asking->address.sin_port));
	if (brood_connect(text, FAR_MS, &far_timeouts, &stream) < 0)
		_exit(1);
	for (int round = 0; round < 2; round++) {
		const char *message;
		size_t size;

		if (round == 1)
			calls_mark();
		if (brood_message_write(stream, &framing, "yes?", 4) < 0 ||
			brood_message_read(stream, &framing, &message, &size) != 1)
			_exit(3);
		if (round == 1)
			calls_mark();
	}
}

Test(connect, a_client_costs_two_system_calls_a_message)
{
	static const long expected[] = { SYS_sendto, SYS_recvfrom };
	struct asking asking;
	struct calls calls;

	asking.listener = listen_tcp(&asking.address);
	calls_of(ask_and_hear, &asking, &calls);
	calls_expect(&calls, expected, 2);
}

/* ---- what goes wrong ---- */

Test(connect, nobody_listens)
{
	struct sockaddr_in address;
	int listener = listen_tcp(&address);
	char text[64];

	close(listener);
	snprintf(text, sizeof(text), "127.0.0.1:%u", ntohs(address.sin_port));
	expect_failure(text, FAR_MS, -ECONNREFUSED);
	expect_failure(text, 0, -ECONNREFUSED);
}

static void expect_timeout(const char *address)
{
	uint64_t begin_ms = now_ms(), took_ms;

	expect_failure(address, SHORT_MS, -ETIMEDOUT);
	took_ms = now_ms() - begin_ms;
	cr_assert_geq(took_ms + 1, SHORT_MS, "%s: after %llu ms", address, (unsigned long long)took_ms);
	cr_assert_lt(took_ms, FAR_MS / 2);
}

static volatile sig_atomic_t signals_seen;

static void count_signal(int number)
{
	signals_seen++;
}

/* SIGALRM every millisecond, to this thread, without SA_RESTART. */
static void storm(bool on)
{
	struct sigaction action = { .sa_handler = count_signal };
	struct itimerval every = { .it_interval.tv_usec = on ? 1000 : 0, .it_value.tv_usec = on ? 1000 : 0 };

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &every, NULL);
	if (!on)
		cr_assert_gt(signals_seen, 5, "the storm was no storm");
}

Test(connect, nobody_answers)
{
	struct sockaddr_in address = v4_address("127.0.0.1", 0);
	int listener = listen_at((struct sockaddr *)&address, sizeof(address), 0);
	int filler = fill_queue(listener);
	char text[64];

	snprintf(text, sizeof(text), "127.0.0.1:%u", port_of(listener));
	expect_timeout(text);
	storm(true);
	expect_timeout(text);
	storm(false);
	close(filler);
	close(listener);
}

Test(connect, nobody_answers_at_a_unix_socket)
{
	char name[64], text[80];
	int listener, filler;

	snprintf(name, sizeof(name), "@brood-connect-%d", getpid());
	snprintf(text, sizeof(text), "unix:%s", name);
	listener = listen_unix(name, 0);
	filler = fill_queue(listener);
	expect_timeout(text);
	storm(true);
	expect_timeout(text);
	storm(false);
	/* Once there is room, also for whom waits without a limit. */
	close(accept(listener, NULL, NULL));
	close(filler);
	expect_greeting(text, listener);
}

/* ---- names of several addresses, and name services that fail ---- */

/*
 * These run in a child with a network and an /etc/resolv.conf of its own, which names a server in a thread of the
 * child's. Its result is a small number, and SKIPPED where no such place can be made.
 */
#define SKIPPED 77

enum service {
	SERVICE_NONE,    /* nobody listens */
	SERVICE_SILENT,  /* never answers */
	SERVICE_UNKNOWN, /* there is no such name */
	SERVICE_TWO,     /* every name has the addresses 127.0.0.2 and 127.0.0.3 */
	SERVICE_SWAPPED, /* the same in the other order */
	SERVICE_NO_HOST, /* the name exists and has no address */
};

static const enum service *service_asked;

/* Turns the query in PACKET into its answer. Returns the size. */
static size_t answer_query(enum service service, unsigned char *packet, size_t size)
{
	size_t end = 12;
	bool v4;

	while (packet[end] != 0)
		end += 1 + packet[end];
	v4 = packet[end + 2] == 1;
	end += 5;
	packet[2] |= 0x80;
	packet[3] = 0x80 | (service == SERVICE_UNKNOWN ? 3 : 0);
	memset(packet + 6, 0, 6);
	for (int k = 0; v4 && k < 2 && (service == SERVICE_TWO || service == SERVICE_SWAPPED); k++) {
		unsigned char record[] = { 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 2 };

		record[15] = (k == 0) == (service == SERVICE_TWO) ? 2 : 3;
		memcpy(packet + end, record, sizeof(record));
		end += sizeof(record);
		packet[7]++;
	}
	return end;
}

static void *serve_names(void *argument)
{
	const int *fd = argument;
	unsigned char packet[1024];
	struct sockaddr_in from;
	socklen_t from_size;
	ssize_t size;

	for (;;) {
		from_size = sizeof(from);
		size = recvfrom(*fd, packet, 500, 0, (struct sockaddr *)&from, &from_size);
		if (size < 12 || *service_asked == SERVICE_SILENT)
			continue;
		size = (ssize_t)answer_query(*service_asked, packet, (size_t)size);
		sendto(*fd, packet, (size_t)size, 0, (struct sockaddr *)&from, from_size);
	}
	return NULL;
}

static bool bind_text(const char *text, const char *path)
{
	char name[] = "/tmp/brood-connect-XXXXXX";
	int fd = mkstemp(name);
	bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) &&
		    mount(name, path, NULL, MS_BIND, NULL) == 0;

	close(fd);
	unlink(name);
	return done;
}

static bool enter_own_network(void)
{
	struct ifreq loopback = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd;

	if (unshare(CLONE_NEWNS | CLONE_NEWNET) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return false;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (ioctl(fd, SIOCSIFFLAGS, &loopback) < 0)
		return false;
	close(fd);
	return bind_text("nameserver 127.0.0.1\noptions timeout:5 attempts:3\n", "/etc/resolv.conf") &&
	       bind_text("hosts: files dns\n", "/etc/nsswitch.conf") &&
	       bind_text("127.0.0.1 localhost\n", "/etc/hosts");
}

static void start_service(enum service service)
{
	static struct sockaddr_in address;
	static enum service asked;
	static int fd;

	asked = service;
	service_asked = &asked;
	if (service == SERVICE_NONE)
		return;
	address = v4_address("127.0.0.1", 53);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		_exit(SKIPPED);
	in_thread(serve_names, &fd);
}

/* Runs BODY in a child in its own network, where names are answered by SERVICE. Returns its result. */
static int in_own_network(enum service service, int (*body)(void))
{
	pid_t pid = fork();
	int status;

	cr_assert_geq(pid, 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (!enter_own_network())
			_exit(SKIPPED);
		start_service(service);
		_exit(body());
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status), "status %#x", (unsigned int)status);
	if (WEXITSTATUS(status) == SKIPPED)
		cr_skip_test("no network of one's own here");
	return WEXITSTATUS(status);
}

/* The positive errno, or 0. */
static int connect_to(const char *address, uint32_t within_ms)
{
	struct brood_stream *stream;
	int ret = brood_connect(address, within_ms, &far_timeouts, &stream);

	if (ret == 0)
		brood_free(stream);
	return -ret;
}

static int connect_by_name(void)
{
	return connect_to("host.test:7", FAR_MS);
}

static int connect_by_name_without_limit(void)
{
	return connect_to("host.test:7", 0);
}

Test(connect, a_name_that_is_not)
{
	cr_assert_eq(in_own_network(SERVICE_UNKNOWN, connect_by_name), ENOENT);
	cr_assert_eq(in_own_network(SERVICE_UNKNOWN, connect_by_name_without_limit), ENOENT);
	cr_assert_eq(in_own_network(SERVICE_NO_HOST, connect_by_name), ENOENT);
}

Test(connect, no_name_service)
{
	cr_assert_eq(in_own_network(SERVICE_NONE, connect_by_name), EAGAIN);
	cr_assert_eq(in_own_network(SERVICE_NONE, connect_by_name_without_limit), EAGAIN);
}

/* It would give up after 15 s. */
static int connect_briefly(void)
{
	uint64_t begin_ms = now_ms();
	int ret = connect_to("host.test:7", SHORT_MS);
	uint64_t took_ms = now_ms() - begin_ms;

	return took_ms + 1 >= SHORT_MS && took_ms < 5000 ? ret : 1;
}

Test(connect, a_name_service_that_never_answers)
{
	cr_assert_eq(in_own_network(SERVICE_SILENT, connect_briefly), ETIMEDOUT);
}

/* Of the two addresses, only one is served. */
static int connect_to_one_of_two(void)
{
	int ret = 0;

	for (int k = 2; k <= 3 && ret == 0; k++) {
		struct sockaddr_in address = v4_address(k == 2 ? "127.0.0.2" : "127.0.0.3", 7);
		int listener = listen_at((struct sockaddr *)&address, sizeof(address), 4);

		ret = listener < 0 ? SKIPPED : connect_to("host.test:7", FAR_MS);
		close(listener);
	}
	return ret;
}

/* One is served, and the other does not answer. */
static int connect_past_silence(void)
{
	struct sockaddr_in silent = v4_address("127.0.0.2", 7), good = v4_address("127.0.0.3", 7);
	int silent_fd = listen_at((struct sockaddr *)&silent, sizeof(silent), 0);
	int good_fd = listen_at((struct sockaddr *)&good, sizeof(good), 4);

	if (silent_fd < 0 || good_fd < 0 || fill_queue(silent_fd) < 0)
		return SKIPPED;
	return connect_to("host.test:7", 2000);
}

/* Neither does. */
static int connect_to_silence(void)
{
	struct sockaddr_in addresses[] = { v4_address("127.0.0.2", 7), v4_address("127.0.0.3", 7) };

	for (int k = 0; k < 2; k++) {
		int fd = listen_at((struct sockaddr *)&addresses[k], sizeof(addresses[k]), 0);

		if (fd < 0 || fill_queue(fd) < 0)
			return SKIPPED;
	}
	return connect_briefly();
}

Test(connect, each_address_of_a_name_is_tried)
{
	for (enum service service = SERVICE_TWO; service <= SERVICE_SWAPPED; service++) {
		cr_assert_eq(in_own_network(service, connect_to_one_of_two), 0);
		cr_assert_eq(in_own_network(service, connect_by_name), ECONNREFUSED);
		cr_assert_eq(in_own_network(service, connect_past_silence), 0);
		cr_assert_eq(in_own_network(service, connect_to_silence), ETIMEDOUT);
	}
}
