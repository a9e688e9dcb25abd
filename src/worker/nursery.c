/* SPDX-License-Identifier: MIT */
#include "worker/nursery.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "base/raw.h"
#include "worker/areas.h"
#include "worker/exec.h"
#include "worker/setup.h"
#include "worker/signals.h"
#include "worker/waiter.h"

/* Not where errno(3) cannot be done without, and not with AddressSanitizer, which knows one stack a process: there each
 * waiter has its memory to itself. */
#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define HAS_ADDRESS_SANITIZER
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define HAS_ADDRESS_SANITIZER
#endif
#if defined(HAS_ADDRESS_SANITIZER) || RAW_IS_PRIVATE
#define SHARES_MEMORY false
#else
#define SHARES_MEMORY true
#endif

/* So many areas beyond those of the workers that wait are made ready before limits may forbid it. */
#define SPARE_AREAS 16

/* One a process. */
static struct {
	const struct worker_start *start;
	int failed; /* the set-up: the status of workers; 0: it has not */
	struct areas areas;
} nursery;

/* ---- the set-up ---- */

static int area_prepare(void)
{
	const struct program_config *program = &nursery.start->pool->program;
	int index = areas_open(&nursery.areas);
	struct waiter *waiter;
	int result;

	if (index < 0)
		return index;
	waiter = areas_top(&nursery.areas, index, sizeof(*waiter));
	waiter->start = nursery.start;
	result = variables_init(&waiter->variables, program->environment, program->environment_count);
	/* Without its variables it stays taken, and is nobody's. */
	if (result == 0)
		areas_give_back(&nursery.areas, index);
	return result;
}

static int prepare_areas(size_t most)
{
	size_t ready = nursery.start->pool->workers + SPARE_AREAS;
	int result = areas_init(&nursery.areas, most);

	for (size_t i = 0; i < ready && i < most && result == 0; i++)
		result = area_prepare();
	return result;
}

/* Returns 0, or the status that workers are to leave with. */
static int nursery_setup(const struct nursery_start *start)
{
	const struct worker_start *worker = &start->worker;
	int result = prepare_areas(start->most);

	if (result == 0 && worker->pool->program.stderr_target == STDERR_NULL)
		result = exec_standard(-1, -1, worker->dead_fd);
	if (result == 0)
		result = worker_signals_install(worker);
	if (result == 0)
		return worker_setup(worker);
	log_event(LOG_LEVEL_ERROR, "cannot prepare the program", LOG_TEXT("pool", worker->pool->name),
		LOG_ERRNO("reason", result));
	return WORKER_EXIT_START;
}

/* ---- births ---- */

static int waiter_entry(void *argument)
{
	waiter_main(argument);
}

/* A child of the master's, with a copy of this memory. As of fork(2). */
static pid_t clone_copy(int flags)
{
	return (pid_t)syscall(SYS_clone, flags | CLONE_PARENT | SIGCHLD, NULL, NULL, NULL, NULL);
}

/* A child of the master's, with this memory, but for its stack, which is the rest of the waiter's area. */
static pid_t clone_sharer(struct waiter *waiter, _Atomic int *taken)
{
	return clone(waiter_entry, waiter, CLONE_VM | CLONE_PARENT | CLONE_CHILD_CLEARTID | SIGCHLD, waiter, NULL, NULL,
		taken);
}

/* Returns the pid, or a negative errno. */
static pid_t clone_waiter(struct waiter *waiter, int index)
{
	pid_t pid = SHARES_MEMORY ? clone_sharer(waiter, &nursery.areas.taken[index]) : clone_copy(0);
	int error = -errno;

	if (pid == 0)
		waiter_main(waiter);
	if (pid < 0 || !SHARES_MEMORY)
		areas_give_back(&nursery.areas, index);
	return pid < 0 ? error : pid;
}

static int area_for_waiter(void)
{
	int index = areas_take(&nursery.areas);
	int result;

	if (index >= 0)
		return index;
	result = area_prepare();
	return result < 0 ? result : areas_take(&nursery.areas);
}

static int bear_waiter(const struct nursery_request *request, int stderr_fd)
{
	int index = area_for_waiter();
	struct waiter *waiter;
	pid_t pid;

	if (index < 0)
		return index;
	waiter = areas_top(&nursery.areas, index, sizeof(*waiter));
	waiter->slot = &nursery.start->board->slots[request->place];
	waiter->stderr_fd = stderr_fd;
	waiter->quiet = request->quiet != 0;
	waiter->held = request->held != 0;
	waiter->number = request->number;
	waiter->serial = request->serial;
	waiter->stop = (struct worker_stop){ .gate = -1 };
	pid = clone_waiter(waiter, index);
	return pid < 0 ? pid : 0;
}

/* As the worker would have ended that had been set up by itself. With memory of its own: there may be no areas. It is
 * waited for (CLONE_VFORK), so that it has said its word before this process leaves. */
static int bear_stillborn(const struct nursery_request *request)
{
	const struct nursery_answer born = { .number = request->number, .serial = request->serial };
	pid_t pid = clone_copy(CLONE_VFORK);

	if (pid != 0)
		return pid < 0 ? -errno : 0;
	send(nursery.start->nursery_fd, &born, sizeof(born), MSG_NOSIGNAL);
	_exit(nursery.failed);
}

static void say_failed(const struct nursery_request *request, int error)
{
	const struct nursery_answer answer = { .number = request->number, .serial = request->serial, .error = error };

	send(nursery.start->nursery_fd, &answer, sizeof(answer), MSG_NOSIGNAL);
	eventfd_write(nursery.start->wake_fd, 1);
}

static void bear(const struct nursery_request *request, int stderr_fd)
{
	int result = nursery.failed != 0 ? bear_stillborn(request) : bear_waiter(request, stderr_fd);

	if (result < 0)
		say_failed(request, result);
}

/* ---- requests ---- */

struct message {
	struct nursery_request request;
	int stderr_fd; /* that has come along, or the negative errno for which it could not; -ENOENT: none was sent */
};

static int passed_fd(struct msghdr *header)
{
	const struct cmsghdr *control = CMSG_FIRSTHDR(header);
	int fd;

	/* The kernel says no more of it (unix(7)), but it is the limit of descriptors. */
	if ((header->msg_flags & MSG_CTRUNC) != 0)
		return -EMFILE;
	if (control == NULL || control->cmsg_type != SCM_RIGHTS)
		return -ENOENT;
	memcpy(&fd, CMSG_DATA(control), sizeof(fd));
	return fd;
}

/* Returns false where there is none: the master is gone or wants no more, or, with MSG_DONTWAIT, has not asked. */
static bool receive(struct message *ret_message, int flags)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
	struct iovec data = { .iov_base = &ret_message->request, .iov_len = sizeof(ret_message->request) };
	struct msghdr header = {
		.msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
	};

	if (recvmsg(nursery.start->nursery_fd, &header, flags | MSG_CMSG_CLOEXEC) != (ssize_t)data.iov_len)
		return false;
	ret_message->stderr_fd = passed_fd(&header);
	return true;
}

static void answer(struct message *message)
{
	if (message->stderr_fd < 0 && message->stderr_fd != -ENOENT)
		say_failed(&message->request, message->stderr_fd);
	else
		bear(&message->request, message->stderr_fd);
	if (message->stderr_fd >= 0)
		close(message->stderr_fd);
}

void nursery_main(const struct nursery_start *start)
{
	struct message message;

	nursery.start = &start->worker;
	nursery.failed = nursery_setup(start);
	prctl(PR_SET_NAME, NURSERY_NAME);
	/* After a failure only those are answered that have been asked by then. */
	for (int flags = 0; receive(&message, flags); flags = nursery.failed != 0 ? MSG_DONTWAIT : 0)
		answer(&message);
	_exit(WORKER_EXIT_RETIRED);
}
