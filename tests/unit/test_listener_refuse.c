/* SPDX-License-Identifier: MIT */
/* Refuse, drain, close: that a client who has got a connection is served, whatever the moment of the stop. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/listener.h"

#define DEADLINE_MS 20000

static const struct listener_options defaults = {
	.backlog = 64,
	.socket_mode = 0600,
	.socket_uid = (uid_t)-1,
	.socket_gid = (gid_t)-1,
};

static struct listener listening(const char *text, const struct listener_options *options)
{
	struct listener listener = LISTENER_NONE;
	struct address_spec spec;
	struct socket_address address;
	const char *reason = "";
	size_t count = 0;

	cr_assert_eq(address_parse(text, &spec, &reason), 0, "%s: %s", text, reason);
	cr_assert_eq(address_resolve(&spec, &address, 1, &count, &reason), 0, "%s: %s", text, reason);
	cr_assert_eq(listener_bind(&listener, text, &address, options, &reason), 0, "%s: %s", text, reason);
	cr_assert_eq(listener_listen(&listener), 0);
	return listener;
}

static int client(const struct socket_address *address)
{
	int fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (connect(fd, (const struct sockaddr *)&address->storage, address->size) == 0)
		return fd;
	close(fd);
	return -errno;
}

static void check_pending(const struct listener *listener, uint32_t queued, uint32_t handshakes)
{
	uint32_t found_queued = 4711;
	uint32_t found_handshakes = 4711;

	cr_assert_eq(listener_pending(listener, &found_queued, &found_handshakes), 0);
	cr_assert_eq(found_queued, queued, "%u queued", found_queued);
	cr_assert_eq(found_handshakes, handshakes, "%u handshakes", found_handshakes);
}

static void await_pending(const struct listener *listener, uint32_t queued, uint32_t handshakes)
{
	uint64_t deadline_ms = clock_monotonic_ms() + DEADLINE_MS;
	uint32_t found_queued = 4711;
	uint32_t found_handshakes = 4711;

	while (clock_monotonic_ms() < deadline_ms && (found_queued != queued || found_handshakes != handshakes)) {
		cr_assert_eq(listener_pending(listener, &found_queued, &found_handshakes), 0);
		poll(NULL, 0, 1);
	}
	check_pending(listener, queued, handshakes);
}

/* ---- the steps by themselves ---- */

static void check_queue_survives(const char *text, int refused)
{
	struct listener listener = listening(text, &defaults);
	int clients[3];
	int result;

	for (size_t i = 0; i < ARRAY_SIZE(clients); i++) {
		clients[i] = client(&listener.address);
		cr_assert_geq(clients[i], 0);
	}
	check_pending(&listener, 3, 0);
	cr_assert_eq(listener_refuse(&listener), 0);
	cr_assert(listener.refused);
	cr_assert_eq(listener_refuse(&listener), 0, "a second time does nothing");
	result = client(&listener.address);
	cr_assert(result == -refused, "%d", result);
	check_pending(&listener, 3, 0);

	for (size_t i = 0; i < ARRAY_SIZE(clients); i++) {
		int served = accept(listener.fd, NULL, NULL);
		char byte = 0;

		cr_assert_geq(served, 0);
		cr_assert_eq(write(served, "x", 1), 1);
		close(served);
		cr_assert_eq(read(clients[i], &byte, 1), 1);
		close(clients[i]);
	}
	check_pending(&listener, 0, 0);
	listener_close(&listener);
}

Test(refuse, queue_survives_at_v4)
{
	check_queue_survives("127.0.0.1:0", ECONNREFUSED);
	check_queue_survives("0.0.0.0:0", ECONNREFUSED);
}

Test(refuse, queue_survives_at_v6)
{
	int fd = socket(AF_INET6, SOCK_STREAM, 0);

	if (fd < 0)
		cr_skip("no IPv6 here");
	close(fd);
	check_queue_survives("[::1]:0", ECONNREFUSED);
	check_queue_survives("[::]:0", ECONNREFUSED);
}

Test(refuse, queue_survives_at_a_path)
{
	char text[64];

	snprintf(text, sizeof(text), "unix:/tmp/test_refuse.%d", (int)getpid());
	check_queue_survives(text, ENOENT);
	cr_assert_lt(access(text + 5, F_OK), 0);
}

Test(refuse, queue_survives_at_an_abstract_name)
{
	char text[64];

	snprintf(text, sizeof(text), "unix:@test_refuse.%d", (int)getpid());
	check_queue_survives(text, ECONNREFUSED);
}

Test(refuse, needs_no_privilege)
{
	struct listener listener = listening("127.0.0.1:0", &defaults);
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		if (geteuid() == 0 && setuid(65534) < 0)
			_exit(1);
		if (listener_refuse(&listener) != 0)
			_exit(2);
		_exit(client(&listener.address) == -ECONNREFUSED ? 0 : 3);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status));
	cr_assert_eq(WEXITSTATUS(status), 0, "failed at step %d", WEXITSTATUS(status));
	listener_close(&listener);
}

Test(refuse, leaves_sockets_of_systemds_alone)
{
	struct listener listener = listening("127.0.0.1:0", &defaults);
	int fd;

	cr_assert_eq(listener_adopt(&listener, listener.fd, LISTENER_SYSTEMD, "systemd:web", &defaults), 0);
	cr_assert_eq(listener_refuse(&listener), 0);
	cr_assert_not(listener.refused);
	fd = client(&listener.address);
	cr_assert_geq(fd, 0);
	close(fd);
	listener_close(&listener);
}

Test(refuse, unix_accept_ends_when_the_queue_is_empty)
{
	struct listener listener = listening("unix:@test_refuse.empty", &defaults);

	cr_assert_eq(listener_refuse(&listener), 0);
	cr_assert_lt(accept(listener.fd, NULL, NULL), 0);
	cr_assert_eq(errno, EINVAL);
	cr_assert_geq(fcntl(listener.fd, F_SETFL, O_NONBLOCK), 0);
	cr_assert_lt(accept(listener.fd, NULL, NULL), 0);
	cr_assert_eq(errno, EAGAIN);
	listener_close(&listener);
}

static void *block_in_accept(void *argument)
{
	const struct listener *listener = argument;

	return accept(listener->fd, NULL, NULL) < 0 && errno == EINVAL ? argument : NULL;
}

Test(refuse, unix_accept_that_blocks_ends)
{
	struct listener listener = listening("unix:@test_refuse.blocked", &defaults);
	pthread_t thread;
	void *result = NULL;

	cr_assert_eq(pthread_create(&thread, NULL, block_in_accept, &listener), 0);
	cr_assert_eq(listener_refuse(&listener), 0);
	cr_assert_eq(pthread_join(thread, &result), 0);
	cr_assert_eq(result, &listener);
	listener_close(&listener);
}

/* ---- handshakes ---- */

static struct listener deferring(const char *text)
{
	struct listener_options options = defaults;

	options.defer_accept_s = 60;
	return listening(text, &options);
}

/* A client that sends nothing leaves its handshake open where TCP_DEFER_ACCEPT is on: a handshake that can be held. */
static void check_handshakes_counted(const char *text)
{
	struct listener listener = deferring(text);
	struct listener other = deferring(text);
	int clients[2];
	int stranger = client(&other.address);
	int served;

	for (size_t i = 0; i < ARRAY_SIZE(clients); i++)
		clients[i] = client(&listener.address);
	check_pending(&listener, 0, 2);
	check_pending(&other, 0, 1);
	cr_assert_eq(write(clients[0], "x", 1), 1);
	await_pending(&listener, 1, 0);
	served = accept(listener.fd, NULL, NULL);
	cr_assert_geq(served, 0);
	check_pending(&listener, 0, 1);
	close(served);

	for (size_t i = 0; i < ARRAY_SIZE(clients); i++)
		close(clients[i]);
	close(stranger);
	listener_close(&listener);
	listener_close(&other);
}

Test(refuse, handshakes_are_counted_at_v4)
{
	check_handshakes_counted("127.0.0.1:0");
	check_handshakes_counted("0.0.0.0:0");
}

Test(refuse, handshakes_are_counted_at_v6)
{
	int fd = socket(AF_INET6, SOCK_STREAM, 0);

	if (fd < 0)
		cr_skip("no IPv6 here");
	close(fd);
	check_handshakes_counted("[::1]:0");
	check_handshakes_counted("[::]:0");
}

Test(refuse, handshakes_of_another_address_are_not_counted)
{
	struct listener listener = deferring("127.0.0.2:0");
	struct listener_options options = defaults;
	struct listener other = LISTENER_NONE;
	struct socket_address address = listener.address;
	const char *step;
	int fd;

	((struct sockaddr_in *)&address.storage)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	options.defer_accept_s = 60;
	cr_assert_eq(listener_bind(&other, "other", &address, &options, &step), 0);
	cr_assert_eq(listener_listen(&other), 0);
	fd = client(&other.address);
	check_pending(&other, 0, 1);
	check_pending(&listener, 0, 0);
	close(fd);
	listener_close(&listener);
	listener_close(&other);
}

Test(refuse, many_handshakes_come_in_several_replies)
{
	struct listener_options options = defaults;
	struct listener listener;
	int clients[300];

	if (listener_somaxconn() < (int)ARRAY_SIZE(clients))
		cr_skip("somaxconn is too small");
	options.defer_accept_s = 60;
	options.backlog = ARRAY_SIZE(clients);
	listener = listening("127.0.0.1:0", &options);
	for (size_t i = 0; i < ARRAY_SIZE(clients); i++) {
		clients[i] = client(&listener.address);
		cr_assert_geq(clients[i], 0);
	}
	check_pending(&listener, 0, ARRAY_SIZE(clients));
	for (size_t i = 0; i < ARRAY_SIZE(clients); i++)
		close(clients[i]);
	listener_close(&listener);
}

Test(refuse, deferred_handshake_is_served)
{
	struct listener listener = deferring("127.0.0.1:0");
	int talks = client(&listener.address);
	int silent = client(&listener.address);
	char byte = 0;
	int served;

	check_pending(&listener, 0, 2);
	cr_assert_eq(listener_refuse(&listener), 0);
	cr_assert_eq(client(&listener.address), -ECONNREFUSED);
	cr_assert_eq(write(talks, "x", 1), 1);
	/* The silent one reaches the queue too, once the kernel asks its client again. */
	await_pending(&listener, 2, 0);
	served = accept(listener.fd, NULL, NULL);
	cr_assert_eq(read(served, &byte, 1), 1);
	close(served);
	served = accept(listener.fd, NULL, NULL);
	cr_assert_geq(served, 0);
	cr_assert_eq(write(served, "y", 1), 1);
	cr_assert_eq(read(silent, &byte, 1), 1);
	close(served);
	close(talks);
	close(silent);
	listener_close(&listener);
}

/* ---- where the kernel cannot be asked ---- */

static bool forbid_netlink(void)
{
	struct sock_filter program[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_NETLINK, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAFNOSUPPORT),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = { .len = ARRAY_SIZE(program), .filter = program };

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

static int look_without_netlink(const struct listener *tcp, const struct listener *local)
{
	uint32_t queued = 4711;
	uint32_t handshakes = 4711;

	if (!forbid_netlink())
		return 1;
	if (listener_pending(tcp, &queued, &handshakes) != 0)
		return 2;
	if (queued != 1 || handshakes != 0)
		return 3;
	return listener_pending(local, &queued, &handshakes) != -EOPNOTSUPP ? 4 : 0;
}

Test(refuse, tells_the_queue_even_without_netlink)
{
	struct listener tcp = listening("127.0.0.1:0", &defaults);
	struct listener local = listening("unix:@test_refuse.nonetlink", &defaults);
	int fd = client(&tcp.address);
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(look_without_netlink(&tcp, &local));
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status));
	cr_assert_eq(WEXITSTATUS(status), 0, "failed at step %d", WEXITSTATUS(status));
	close(fd);
	listener_close(&tcp);
	listener_close(&local);
}

/* ---- the storm ---- */

#define ACCEPTORS 3
#define CLIENTS   6
#define ROUNDS    30

/* Shared by all processes of a storm. */
struct storm {
	_Atomic uint32_t served;
	_Atomic uint32_t refused;
	_Atomic uint32_t lost; /* connected, and not answered */
	_Atomic uint32_t odd;  /* neither connected nor refused */
	_Atomic bool over;
};

static int acceptor_listener;
static int acceptor_dead_end;

/* As a worker's: the flag alone would miss a signal that comes just before accept(2). */
static void stop_accepting(int signal_number)
{
	(void)signal_number;
	dup3(acceptor_dead_end, acceptor_listener, O_CLOEXEC);
}

static void run_acceptor(int listener, const sigset_t *unblocked)
{
	struct sigaction action = { .sa_handler = stop_accepting, .sa_flags = SA_RESTART };
	char byte;
	int fd;

	acceptor_listener = listener;
	acceptor_dead_end = open("/dev/null", O_RDONLY | O_CLOEXEC);
	sigaction(SIGURG, &action, NULL);
	sigprocmask(SIG_SETMASK, unblocked, NULL);
	while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		if (read(fd, &byte, 1) == 1 && write(fd, "x", 1) < 0)
			_exit(1);
		close(fd);
	}
	_exit(errno == ENOTSOCK || errno == EINVAL ? 0 : 2);
}

static void visit_once(struct storm *storm, const struct socket_address *address)
{
	int fd = client(address);
	char byte;

	if (fd == -ECONNREFUSED || fd == -ENOENT) {
		storm->refused++;
		return;
	}
	if (fd < 0) {
		storm->odd++;
		return;
	}
	if (send(fd, "q", 1, MSG_NOSIGNAL) == 1 && read(fd, &byte, 1) == 1)
		storm->served++;
	else
		storm->lost++;
	close(fd);
}

static void run_client(struct storm *storm, const struct socket_address *address)
{
	while (!storm->over)
		visit_once(storm, address);
	_exit(0);
}

static void await_served(const struct storm *storm, uint32_t target)
{
	uint64_t deadline_ms = clock_monotonic_ms() + DEADLINE_MS;

	while (storm->served < target && clock_monotonic_ms() < deadline_ms)
		poll(NULL, 0, 1);
	cr_assert_geq(storm->served, target);
}

static void await_refused(const struct storm *storm)
{
	uint64_t deadline_ms = clock_monotonic_ms() + DEADLINE_MS;

	while (storm->refused == 0 && clock_monotonic_ms() < deadline_ms)
		poll(NULL, 0, 1);
	cr_assert_gt(storm->refused, 0);
}

static void join(const pid_t *pids, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		int status;

		cr_assert_eq(waitpid(pids[i], &status, 0), pids[i]);
		cr_assert_eq(status, 0);
	}
}

static void start_acceptors(pid_t *pids, const struct listener *listener)
{
	sigset_t urgent;
	sigset_t unblocked;

	sigemptyset(&urgent);
	sigaddset(&urgent, SIGURG);
	sigprocmask(SIG_BLOCK, &urgent, &unblocked);
	for (size_t i = 0; i < ACCEPTORS; i++) {
		pids[i] = fork();
		cr_assert_geq(pids[i], 0);
		if (pids[i] == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			run_acceptor(listener->fd, &unblocked);
		}
	}
	sigprocmask(SIG_SETMASK, &unblocked, NULL);
}

static void start_clients(pid_t *pids, struct storm *storm, const struct listener *listener)
{
	for (size_t i = 0; i < CLIENTS; i++) {
		pids[i] = fork();
		cr_assert_geq(pids[i], 0);
		if (pids[i] == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			close(listener->fd);
			run_client(storm, &listener->address);
		}
	}
}

static void run_round(struct storm *storm, const char *text, const struct listener_options *options)
{
	struct listener listener = listening(text, options);
	pid_t acceptors[ACCEPTORS];
	pid_t clients[CLIENTS];

	memset(storm, 0, sizeof(*storm));
	start_acceptors(acceptors, &listener);
	start_clients(clients, storm, &listener);
	await_served(storm, 100);

	cr_assert_eq(listener_refuse(&listener), 0);
	await_pending(&listener, 0, 0);
	for (size_t i = 0; i < ACCEPTORS; i++)
		cr_assert_eq(kill(acceptors[i], SIGURG), 0);
	join(acceptors, ACCEPTORS);
	listener_close(&listener);

	await_refused(storm);
	storm->over = true;
	join(clients, CLIENTS);
	cr_assert_eq(storm->lost, 0, "%u connections were lost", storm->lost);
	cr_assert_eq(storm->odd, 0);
}

static void run_rounds(const char *text, const struct listener_options *options, int rounds)
{
	struct storm *storm = mmap(NULL, sizeof(*storm), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	for (int round = 0; round < rounds; round++)
		run_round(storm, text, options);
	munmap(storm, sizeof(*storm));
}

Test(storm, no_connection_is_lost_at_tcp, .timeout = 120)
{
	run_rounds("127.0.0.1:0", &defaults, ROUNDS);
}

Test(storm, no_connection_is_lost_at_tcp_deferring, .timeout = 120)
{
	struct listener_options options = defaults;

	options.defer_accept_s = 5;
	run_rounds("127.0.0.1:0", &options, ROUNDS);
}

Test(storm, no_connection_is_lost_at_a_short_queue, .timeout = 120)
{
	struct listener_options options = defaults;

	/* Most handshakes find the queue full, and wait for a repetition that comes after a second. */
	options.backlog = 2;
	run_rounds("127.0.0.1:0", &options, 5);
}

Test(storm, no_connection_is_lost_at_a_path, .timeout = 120)
{
	char text[64];

	snprintf(text, sizeof(text), "unix:/tmp/test_storm.%d", (int)getpid());
	run_rounds(text, &defaults, ROUNDS);
}

Test(storm, no_connection_is_lost_at_an_abstract_name, .timeout = 120)
{
	char text[64];

	snprintf(text, sizeof(text), "unix:@test_storm.%d", (int)getpid());
	run_rounds(text, &defaults, ROUNDS);
}
