/* SPDX-License-Identifier: MIT */
#include "worker/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/signals.h"
#include "worker/exec.h"
#include "worker/setup.h"

/* "brp" and the layout's number: what else comes through the pipe is not ours. */
#define PROBE_MAGIC 0x62727001U

/* How long a child that was killed may take to be gone, until it is left to be reaped by whoever reaps. */
#define PROBE_REAP_MS 1000

enum probe_verdict {
	PROBE_ANSWERS,
	PROBE_REFUSES,
	PROBE_VERDICTS,
};

/* What goes before the answer. */
struct probe_header {
	uint32_t magic;
	uint32_t verdict;
	uint32_t size;
};

/* ---- the child ---- */

void probe_add(struct probe_answer *answer, const void *data, size_t size)
{
	if (answer->too_long || answer->refused)
		return;
	if (size > sizeof(answer->data) - answer->size) {
		answer->too_long = true;
		return;
	}
	memcpy(answer->data + answer->size, data, size);
	answer->size += size;
}

void probe_refuse(struct probe_answer *answer, const char *format, ...)
{
	char reason[PROBE_REASON_MAX];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(reason, sizeof(reason), format, arguments);
	va_end(arguments);
	answer->refused = true;
	answer->too_long = false;
	answer->size = strlen(reason) + 1;
	memcpy(answer->data, reason, answer->size);
}

/* The child could not go into the pool's chroot. */
static bool outside_chroot;

const char *probe_path(const struct pool_config *pool, const char *path, char *buffer)
{
	if (!outside_chroot || path[0] != '/')
		return path;
	snprintf(buffer, PATH_MAX, "%s%s", pool->chroot, path);
	return buffer;
}

/* What the service manager has said to the master alone. */
static void forget_environment(void)
{
	static const char *const names[] = { "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS",
		"LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID", "JOURNAL_STREAM" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		unsetenv(names[i]);
}

static int close_descriptors(int reply)
{
	FD_AUTO int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0)
		return -errno;
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (dup2(null, fd) < 0)
			return -errno;
	return fd_close_others(STDERR_FILENO + 1, &reply, 1);
}

/* What only the superuser may do, and is left out for others. */
static int unless_forbidden(int result)
{
	return result == -EPERM && geteuid() != 0 ? 0 : result;
}

static int enter_chroot(const struct pool_config *pool)
{
	int result = worker_setup_root(pool);

	outside_chroot = result == -EPERM && geteuid() != 0;
	return unless_forbidden(result);
}

/* After the change of user, which takes both away: prctl(2). Dumpable, as a worker is: else its /proc were root's. */
static int die_with_parent(pid_t parent)
{
	if (prctl(PR_SET_DUMPABLE, 1) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return -errno;
	return getppid() == parent ? 0 : -ESRCH;
}

/* A crash in here is reported, and nobody wants its core. */
static void limit_core(void)
{
	setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
}

/* Returns 0, or a negative errno and what could not be done. In the order of a worker's own set-up. */
static int child_setup(const struct pool_config *pool, pid_t parent, int reply, const char **ret_what)
{
	const char *limit = "limits";
	int result;

	setsid();
	exec_reset_signals(); /* the foreign code is to find them as a new process does */
	forget_environment();
	*ret_what = "its descriptors";
	result = close_descriptors(reply);
	if (result < 0)
		return result;
	result = unless_forbidden(worker_setup_limits(pool, &limit));
	*ret_what = limit;
	if (result < 0)
		return result;
	limit_core();
	*ret_what = "chroot";
	result = enter_chroot(pool);
	if (result < 0)
		return result;
	*ret_what = "user or groups";
	result = unless_forbidden(worker_setup_identity(&pool->identity));
	if (result < 0)
		return result;
	umask(pool->umask);
	*ret_what = "its parent";
	return die_with_parent(parent);
}

ATTR_NORETURN static void child_main(const struct pool_config *pool, probe_function look, pid_t parent, int reply)
{
	/* Not on the stack, which limits may make small; and not among the variables, which all workers inherit. */
	struct probe_answer *answer =
		mmap(NULL, sizeof(*answer), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct probe_header header = { .magic = PROBE_MAGIC };
	const char *what;
	int result;

	if (answer == MAP_FAILED)
		_exit(1);
	result = child_setup(pool, parent, reply, &what);
	if (result < 0)
		probe_refuse(answer, "cannot be looked at: %s: %s", what, log_strerror(result));
	else
		look(pool, answer);
	if (answer->too_long)
		probe_refuse(answer, "has more to say than %u bytes", PROBE_ANSWER_MAX);
	header.verdict = answer->refused ? PROBE_REFUSES : PROBE_ANSWERS;
	header.size = (uint32_t)answer->size;
	_exit(fd_write_all(reply, &header, sizeof(header)) < 0 || fd_write_all(reply, answer->data, answer->size) < 0);
}

/* ---- the parent ---- */

/* An answer on its way. */
struct probe {
	pid_t pid;
	int pid_fd; /* a pidfd: readable once the child is dead */
	int reply;  /* the reading end, non-blocking */
	uint64_t deadline_ms;
	struct probe_header header;
	size_t header_size; /* how much of it has come */
	char *data;
	size_t size;
};

/* Reads what is there into what is wanted. Returns 1 if that is complete, 0 if not yet, -EPIPE at the end. */
static int read_piece(int fd, void *buffer, size_t wanted, size_t *size)
{
	while (*size < wanted) {
		ssize_t got = read(fd, (char *)buffer + *size, wanted - *size);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return errno == EAGAIN ? 0 : -errno;
		if (got == 0)
			return -EPIPE;
		*size += (size_t)got;
	}
	return 1;
}

static int accept_header(struct probe *probe)
{
	const struct probe_header *header = &probe->header;

	if (header->magic != PROBE_MAGIC || header->verdict >= PROBE_VERDICTS || header->size > PROBE_ANSWER_MAX)
		return -EBADMSG;
	probe->data = calloc(1, header->size + 1);
	return probe->data == NULL ? -ENOMEM : 0;
}

/* As read_piece(), of the whole answer. */
static int probe_read(struct probe *probe)
{
	int result = read_piece(probe->reply, &probe->header, sizeof(probe->header), &probe->header_size);

	if (result != 1)
		return result;
	result = probe->data == NULL ? accept_header(probe) : 0;
	return result < 0 ? result : read_piece(probe->reply, probe->data, probe->header.size, &probe->size);
}

/*
 * Waits until the answer is complete (1), or there will be none: -EPIPE, as the child is dead; -ETIMEDOUT; -EBADMSG;
 * another negative errno.
 */
static int probe_wait(struct probe *probe)
{
	struct pollfd polled[] = {
		{.fd = probe->pid_fd, .events = POLLIN},
		{ .fd = probe->reply, .events = POLLIN},
	};

	for (;;) {
		uint64_t now_ms = clock_monotonic_ms();
		bool dead;
		int result;

		if (now_ms >= probe->deadline_ms)
			return -ETIMEDOUT;
		if (poll(polled, ARRAY_SIZE(polled), (int)(probe->deadline_ms - now_ms)) < 0 && errno != EINTR)
			return -errno;
		/* Looked at before the pipe: what was written before the death is there then. */
		dead = polled[0].revents != 0;
		result = polled[1].fd < 0 ? 0 : probe_read(probe);
		if (result == -EPIPE)
			polled[1].fd = -1; /* how it dies is the reason, if it does */
		else if (result != 0)
			return result;
		if (dead)
			return -EPIPE;
	}
}

/* Ends the child, and what it may have started, and reaps it. Returns its status, or -1 if it does not end. */
static int probe_end(const struct probe *probe)
{
	struct pollfd polled = { .fd = probe->pid_fd, .events = POLLIN };
	int status;

	kill(-probe->pid, SIGKILL);
	kill(probe->pid, SIGKILL);
	poll(&polled, 1, PROBE_REAP_MS);
	return waitpid(probe->pid, &status, WNOHANG) == probe->pid ? status : -1;
}

static void explain_death(const char *subject, int status, char *reason, size_t size)
{
	if (status >= 0 && WIFSIGNALED(status))
		snprintf(reason, size, "%s died by signal %d (%s)", subject, WTERMSIG(status),
			signals_name(WTERMSIG(status)));
	else
		snprintf(reason, size, "%s ended with exit status %d", subject, status >= 0 ? WEXITSTATUS(status) : -1);
}

static int explain_failure(const char *subject, int error, int status, uint32_t timeout_ms, char *reason, size_t size)
{
	if (error == -EPIPE) {
		explain_death(subject, status, reason, size);
		return -ECHILD;
	}
	if (error == -ETIMEDOUT)
		snprintf(reason, size, "%s did not answer within %u ms", subject, timeout_ms);
	else if (error == -EBADMSG)
		snprintf(reason, size, "%s gave an answer that makes no sense", subject);
	else
		snprintf(reason, size, "cannot be looked at: %s", log_strerror(error));
	return error;
}

/* The child's reason; it is text only if the child says the truth. */
static int explain_refusal(const struct probe *probe, char *reason, size_t size)
{
	log_escape(probe->data, reason, (uint32_t)size);
	if (reason[0] == '\0')
		snprintf(reason, size, "is refused without a reason");
	return -EINVAL;
}

static int probe_start(struct probe *probe, const struct pool_config *pool, probe_function look)
{
	pid_t parent = getpid();
	FD_AUTO int reading = -1;
	FD_AUTO int writing = -1;
	int result;

	result = fd_pipe(&reading, &writing);
	if (result < 0)
		return result;
	probe->pid = fork();
	if (probe->pid < 0)
		return -errno;
	if (probe->pid == 0)
		child_main(pool, look, parent, writing);
	probe->pid_fd = pidfd_open(probe->pid, 0);
	if (probe->pid_fd < 0) {
		int error = -errno;

		kill(probe->pid, SIGKILL);
		waitpid(probe->pid, NULL, 0);
		return error;
	}
	probe->reply = fd_steal(&reading);
	return 0;
}

int probe_run(const struct pool_config *pool, probe_function look, const char *subject, uint32_t timeout_ms,
	char **ret_answer, size_t *ret_size, char *reason, size_t size)
{
	struct probe probe = {
		.pid_fd = -1,
		.reply = -1,
		.deadline_ms = clock_monotonic_ms() + timeout_ms,
	};
	int status = -1;
	int result = probe_start(&probe, pool, look);

	if (result == 0) {
		result = probe_wait(&probe);
		status = probe_end(&probe);
	}
	fd_close(&probe.reply);
	fd_close(&probe.pid_fd);
	if (result < 0)
		result = explain_failure(subject, result, status, timeout_ms, reason, size);
	else if (probe.header.verdict == PROBE_REFUSES)
		result = explain_refusal(&probe, reason, size);
	else
		result = 0;
	if (result < 0) {
		free(probe.data);
		return result;
	}
	*ret_answer = probe.data;
	*ret_size = probe.size;
	return 0;
}
