/* SPDX-License-Identifier: MIT */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "worker/gate.h"
#include "worker/signals.h"

/* A non-blocking listener that the kernel names, and its address. */
static int listening(sa_family_t family, struct sockaddr_storage *ret_address, socklen_t *ret_size)
{
	struct sockaddr_storage any = { .ss_family = family };
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	cr_assert_eq(bind(fd, (struct sockaddr *)&any, family == AF_UNIX ? sizeof(sa_family_t) : sizeof(any)), 0);
	cr_assert_eq(listen(fd, 8), 0);
	*ret_size = sizeof(*ret_address);
	cr_assert_eq(getsockname(fd, (struct sockaddr *)ret_address, ret_size), 0);
	return fd;
}

static int client(const struct sockaddr_storage *address, socklen_t size)
{
	int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert_eq(connect(fd, (const struct sockaddr *)address, size), 0);
	return fd;
}

static int accept_at(struct gate *gate, uint32_t *ret_listener)
{
	struct sockaddr_storage peer;
	socklen_t size;

	return gate_accept(gate, &peer, &size, ret_listener);
}

static int64_t cpu_us(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 + usage.ru_utime.tv_usec +
	       usage.ru_stime.tv_usec;
}

static int ready(const struct gate *gate)
{
	struct epoll_event event;

	return epoll_wait(gate->fd, &event, 1, 0);
}

struct pair {
	int listeners[2];
	struct sockaddr_storage addresses[2];
	socklen_t sizes[2];
	struct gate gate;
};

static void open_pair(struct pair *pair)
{
	pair->listeners[0] = listening(AF_INET, &pair->addresses[0], &pair->sizes[0]);
	pair->listeners[1] = listening(AF_UNIX, &pair->addresses[1], &pair->sizes[1]);
	cr_assert_eq(gate_open(&pair->gate, "test", pair->listeners, 2), 0);
}

Test(gate, tells_which_listener_had_the_client)
{
	struct pair pair;

	open_pair(&pair);
	for (uint32_t i = 0; i < 2; i++) {
		int fd = client(&pair.addresses[i], pair.sizes[i]);
		uint32_t listener = 4711;
		int served = accept_at(&pair.gate, &listener);

		cr_assert_geq(served, 0);
		cr_assert_eq(listener, i);
		cr_assert_eq(fcntl(served, F_GETFD), FD_CLOEXEC);
		close(served);
		close(fd);
	}
}

/* The next log line as it is on its way to the logger; "" if there is none. */
static const char *log_line(int socket)
{
	static char line[LOG_LINE_MAX + 1];
	ssize_t size = recv(socket, line, LOG_LINE_MAX, MSG_DONTWAIT);

	/* Behind a header, and not a string. */
	for (ssize_t i = 0; i < size; i++)
		line[i] = line[i] >= ' ' ? line[i] : ' ';
	line[size > 0 ? size : 0] = '\0';
	return line;
}

Test(gate, a_shortage_is_said_once_with_the_limit_to_raise)
{
	struct rlimit none, before;
	struct pair pair;
	uint32_t listener;
	int served, ends[2];

	open_pair(&pair);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
	log_connect(ends[1], NULL);
	client(&pair.addresses[0], pair.sizes[0]);
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = (struct rlimit){ .rlim_cur = 0, .rlim_max = before.rlim_max };
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(accept_at(&pair.gate, &listener), -EAGAIN);
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	served = accept_at(&pair.gate, &listener);
	log_connect(-1, NULL);

	cr_assert_geq(served, 0);
	cr_assert_not_null(strstr(log_line(ends[0]), "RLIMIT_NOFILE"));
	cr_assert_not_null(strstr(log_line(ends[0]), "accepting connections again"));
	cr_assert_str_eq(log_line(ends[0]), "");
}

Test(gate, unix_listener_that_was_shut_down_is_emptied_and_left)
{
	struct pair pair;
	uint32_t listener = 4711;
	int queued;
	int later;
	int served;

	open_pair(&pair);
	queued = client(&pair.addresses[1], pair.sizes[1]);
	cr_assert_eq(shutdown(pair.listeners[1], SHUT_RD), 0);
	served = accept_at(&pair.gate, &listener);
	cr_assert_geq(served, 0);
	cr_assert_eq(listener, 1);

	cr_assert_eq(ready(&pair.gate), 1, "the kernel goes on reporting it");
	cr_assert_eq(accept_at(&pair.gate, &listener), -EAGAIN);
	cr_assert_eq(ready(&pair.gate), 0, "the next wait waits");

	later = client(&pair.addresses[0], pair.sizes[0]);
	cr_assert_geq(accept_at(&pair.gate, &listener), 0);
	cr_assert_eq(listener, 0);
	close(queued);
	close(served);
	close(later);
}

/* Whether PID waits in ppoll(2), by /proc/PID/syscall; false too where it has ended. */
static bool waits_in_ppoll(pid_t pid)
{
	char path[64], text[32] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/syscall", pid);
	file = fopen(path, "r");
	if (file == NULL)
		return false;
	if (fgets(text, sizeof(text), file) == NULL)
		text[0] = '\0';
	fclose(file);
	return strtol(text, NULL, 10) == SYS_ppoll && text[0] != 'r';
}

/* The life of a worker on LISTENER: 0 if it left because it was told to, and not before. */
ATTR_NORETURN static void live_on(int listener)
{
	const struct pool_config pool = { .kind = HANDLER_SERVES };
	const struct worker_start start = {
		.pool = &pool,
		.listeners = &listener,
		.listener_count = 1,
		.dead_fd = open("/dev/null", O_RDWR),
		.master_pid = getppid(),
	};
	struct gate gate;
	uint32_t index;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (gate_open(&gate, "test", &listener, 1) < 0 || worker_signals_install(&start) < 0)
		_exit(2);
	worker_signals_open(gate.fd);
	while (accept_at(&gate, &index) != -ECANCELED)
		;
	_exit(worker_retiring() ? 0 : 1);
}

/* Between the refusal and the word to retire a worker has nothing to do, and must neither spin nor leave. */
Test(gate, a_worker_whose_only_listener_was_shut_down_waits_for_the_word)
{
	struct sockaddr_storage address;
	socklen_t size;
	int listener = listening(AF_UNIX, &address, &size);
	int status;
	pid_t pid;

	cr_assert_eq(fcntl(listener, F_SETFL, 0), 0);
	pid = fork();
	if (pid == 0)
		live_on(listener);
	cr_assert_eq(shutdown(listener, SHUT_RD), 0);
	while (!waits_in_ppoll(pid))
		cr_assert_eq(waitpid(pid, &status, WNOHANG), 0, "it has left by itself");
	cr_assert_eq(kill(pid, SIGURG), 0);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %d", status);
}

/* Workers of another generation may share it that wait for several: it stays as they need it, and nothing spins. */
Test(gate, a_single_listener_that_does_not_block_is_waited_for)
{
	struct sockaddr_storage address;
	socklen_t size;
	int listener = listening(AF_INET, &address, &size);
	struct gate gate;
	int64_t before_us;
	uint32_t index;
	pid_t child;
	int fd;

	cr_assert_eq(gate_open(&gate, "test", &listener, 1), 0);
	child = fork();
	if (child == 0) {
		usleep(300000);
		_exit(connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&address, size) < 0);
	}
	before_us = cpu_us();
	do {
		fd = accept_at(&gate, &index);
	} while (fd == -EAGAIN);
	cr_assert_geq(fd, 0);
	cr_expect_eq(fcntl(listener, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	cr_expect_lt(cpu_us() - before_us, 100000);
	cr_expect_eq(waitpid(child, NULL, 0), child);
}
