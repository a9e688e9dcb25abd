/* SPDX-License-Identifier: MIT */
#ifndef TESTS_UNIT_STREAM_PAIR_H
#define TESTS_UNIT_STREAM_PAIR_H
/*
 * For the tests of streams and of what serves them: a stream with its peer's socket, peers that act in a thread of
 * their own, and a trace of the system calls that a function makes.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/ptrace.h>
#include <linux/sockios.h>

#include "libbrood/stream_private.h"

/* Longer than anything here takes, so that a test that meets it has failed. */
#define FAR_MS 20000

struct stream_pair {
	struct brood_stream stream;
	int peer;
};

__attribute__((unused)) static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

__attribute__((unused)) static void set_timeout(int fd, int option, uint32_t timeout_ms)
{
	struct timeval value = { .tv_sec = timeout_ms / 1000, .tv_usec = (suseconds_t)(timeout_ms % 1000) * 1000 };

	cr_assert_eq(setsockopt(fd, SOL_SOCKET, option, &value, sizeof(value)), 0);
}

/* A listening TCP socket on the loopback, its address in *ADDRESS. */
__attribute__((unused)) static int listen_tcp(struct sockaddr_in *address)
{
	socklen_t size = sizeof(*address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*address = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	cr_assert_geq(fd, 0);
	cr_assert_eq(bind(fd, (struct sockaddr *)address, size), 0);
	cr_assert_eq(listen(fd, 16), 0);
	cr_assert_eq(getsockname(fd, (struct sockaddr *)address, &size), 0);
	return fd;
}

__attribute__((unused)) static int connect_tcp(const struct sockaddr_in *address)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert_eq(connect(fd, (const struct sockaddr *)address, sizeof(*address)), 0);
	return fd;
}

/* Attaches a socket whose time-outs are those of the stream, as an accepted TCP socket's are. */
__attribute__((unused)) static void pair_attach(
	struct stream_pair *pair, int fd, const struct brood_timeouts *timeouts, const struct brood_stream_host *host)
{
	set_timeout(fd, SO_RCVTIMEO, timeouts->idle_ms);
	set_timeout(fd, SO_SNDTIMEO, timeouts->write_ms);
	brood_stream_init(&pair->stream, host);
	brood_stream_attach(&pair->stream, fd, timeouts);
}

static const struct brood_timeouts far_timeouts = { FAR_MS, FAR_MS, FAR_MS };

__attribute__((unused)) static void pair_tcp(struct stream_pair *pair, const struct brood_timeouts *timeouts)
{
	struct sockaddr_in address;
	int listener = listen_tcp(&address);

	pair->peer = connect_tcp(&address);
	pair->stream.fd = -1;
	pair_attach(pair, accept4(listener, NULL, NULL, SOCK_CLOEXEC), timeouts, NULL);
	close(listener);
}

__attribute__((unused)) static void pair_unix(struct stream_pair *pair, const struct brood_timeouts *timeouts)
{
	int ends[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	pair->peer = ends[1];
	pair_attach(pair, ends[0], timeouts, NULL);
}

__attribute__((unused)) static void pair_done(struct stream_pair *pair)
{
	if (pair->peer >= 0)
		close(pair->peer);
	brood_stream_done(&pair->stream);
}

/* Sends at once what fits the socket's buffer. */
__attribute__((unused)) static void peer_send(struct stream_pair *pair, const void *bytes, size_t size)
{
	cr_assert_eq(send(pair->peer, bytes, size, MSG_NOSIGNAL), (ssize_t)size);
}

/* What the peer can read up to the end of the stream; -1 if it met an error first. Waits for the end. */
__attribute__((unused)) static ssize_t peer_receive_all(int fd, char *buffer, size_t size)
{
	size_t done = 0;
	ssize_t got;

	while (done < size && (got = recv(fd, buffer + done, size - done, 0)) != 0) {
		if (got < 0)
			return -1;
		done += (size_t)got;
	}
	return (ssize_t)done;
}

/* Runs BODY(ARGUMENT) in a thread that takes no signals. */
__attribute__((unused)) static pthread_t in_thread(void *(*body)(void *), void *argument)
{
	pthread_t thread;
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	cr_assert_eq(pthread_create(&thread, NULL, body, argument), 0);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return thread;
}

/* ---- system calls ---- */

#define CALLS_MAX  32
#define CALLS_SKIP 77

struct calls {
	long numbers[CALLS_MAX];
	size_t count;
};

/* What is traced lies between two of these, which are system calls themselves. */
__attribute__((unused)) static void calls_mark(void)
{
	syscall(SYS_getppid);
}

__attribute__((unused)) static int calls_collect(pid_t pid, struct calls *calls)
{
	bool between = false;
	int status;

	if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
		return status;
	ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
	while (ptrace(PTRACE_SYSCALL, pid, 0, 0) == 0 && waitpid(pid, &status, 0) == pid && WIFSTOPPED(status)) {
		struct ptrace_syscall_info info;

		if (WSTOPSIG(status) != (SIGTRAP | 0x80))
			continue;
		ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info);
		if (info.op != PTRACE_SYSCALL_INFO_ENTRY)
			continue;
		if (info.entry.nr == SYS_getppid)
			between = !between;
		else if (between && calls->count < CALLS_MAX)
			calls->numbers[calls->count++] = (long)info.entry.nr;
	}
	return status;
}

/* Runs BODY(ARGUMENT) in a child, which fails by _exit(1), and lists the system calls between its two marks. Skips the
 * test where tracing is not allowed. */
__attribute__((unused)) static void calls_of(void (*body)(void *), void *argument, struct calls *calls)
{
	pid_t pid = fork();
	int status;

	*calls = (struct calls){ 0 };
	cr_assert_geq(pid, 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (ptrace(PTRACE_TRACEME, 0, 0, 0) < 0)
			_exit(CALLS_SKIP);
		raise(SIGSTOP);
		body(argument);
		_exit(0);
	}
	status = calls_collect(pid, calls);
	cr_assert(WIFEXITED(status), "status %#x", (unsigned int)status);
	if (WEXITSTATUS(status) == CALLS_SKIP)
		cr_skip_test("tracing is not allowed here");
	cr_assert_eq(WEXITSTATUS(status), 0);
}

/* Compares with the numbers expected, COUNT of them. */
__attribute__((unused)) static void calls_expect(const struct calls *calls, const long *expected, size_t count)
{
	cr_assert_eq(calls->count, count, "%zu system calls, not %zu", calls->count, count);
	for (size_t k = 0; k < count; k++)
		cr_assert_eq(
			calls->numbers[k], expected[k], "call %zu is %ld, not %ld", k, calls->numbers[k], expected[k]);
}

#endif
