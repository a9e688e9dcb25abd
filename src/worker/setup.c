/* SPDX-License-Identifier: MIT */
#include "worker/setup.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"

/* What a worker keeps besides its listeners: the log's socket, the master's event descriptor, what it is held by, a
 * dead one, the pipes of its program's output; or the socket of a nursery. */
#define KEEP_EXTRA 7
/* So many listeners need no memory of the heap, every touched page of which would be the worker's own. */
#define KEEP_LOCAL 64

void worker_setup_group(const struct worker_start *start)
{
	/* What a program that accepts for itself leaves behind is found by its session too: master/orphans.c. */
	if (start->pool->kind == HANDLER_ACCEPTS || (start->has_terminal && start->pool->kind != HANDLER_SERVES))
		setsid();
	else
		setpgid(0, 0);
}

int worker_setup_descriptors(const struct worker_start *start)
{
	size_t count = start->listener_count;
	int local[KEEP_LOCAL];
	int *keep = count + KEEP_EXTRA <= KEEP_LOCAL ? local : calloc(count + KEEP_EXTRA, sizeof(*keep));
	int result;

	if (keep == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		keep[i] = start->listeners[i];
	keep[count++] = start->wake_fd;
	keep[count++] = start->dead_fd;
	keep[count++] = start->hold_fd;
	keep[count++] = log_socket();
	keep[count++] = start->nursery_fd;
	keep[count++] = start->output.stdout_fd;
	keep[count++] = start->output.stderr_fd;
	result = fd_close_others(STDERR_FILENO + 1, keep, count);
	if (keep != local)
		free(keep);
	return result;
}

int worker_setup_identity(const struct identity *identity)
{
	if (!identity->change)
		return 0;
	/* An ordinary user who names himself has nothing to change, and may not. */
	if (geteuid() != 0 && geteuid() == identity->uid && getegid() == identity->gid)
		return 0;
	if (setgroups(identity->group_count, identity->groups) < 0)
		return -errno;
	if (setresgid(identity->gid, identity->gid, identity->gid) < 0)
		return -errno;
	if (setresuid(identity->uid, identity->uid, identity->uid) < 0)
		return -errno;
	return 0;
}

int worker_setup_death_signal(const struct worker_start *start)
{
	/* The programs of a nursery's pool are of its user: they are not to take what it and its waiters have open, or
	 * their memory. The program itself is dumpable again by execve(2). */
	unsigned long dumpable = start->pool->kind != HANDLER_BECOMES;

	if (prctl(PR_SET_DUMPABLE, dumpable) < 0 || prctl(PR_SET_PDEATHSIG, SIGURG) < 0)
		return -errno;
	return getppid() == start->master_pid ? 0 : -ESRCH;
}

void worker_setup_inherited(const struct worker_start *start)
{
	struct rlimit limit;

	if (start->soft_descriptors != 0 && getrlimit(RLIMIT_NOFILE, &limit) == 0 &&
		limit.rlim_cur != start->soft_descriptors) {
		limit.rlim_cur = start->soft_descriptors;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	if (start->reset_oom_score) {
		FD_AUTO int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

		/* It only ever rises here, which needs no privilege; a machine without /proc has no such score. */
		if (fd >= 0 && fd_write_all(fd, "0", 1) < 0)
			log_event(LOG_LEVEL_DEBUG, "cannot reset the OOM score");
	}
}

/* A nursery lives on while its waiters come and go: what they may use of the processor it leaves to each of them, and
 * does for them only what takes privileges. */
static struct rlimit limit_to_set(const struct pool_config *pool, const struct limit_config *limit)
{
	struct rlimit wanted = { .rlim_cur = limit->value, .rlim_max = limit->value };
	struct rlimit present;

	if (pool->kind == HANDLER_BECOMES && limit->resource == RLIMIT_CPU && getrlimit(RLIMIT_CPU, &present) == 0 &&
		present.rlim_max > wanted.rlim_max)
		return present;
	return wanted;
}

int worker_setup_limits(const struct pool_config *pool, const char **ret_failed)
{
	for (size_t i = 0; i < pool->limit_count; i++) {
		const struct rlimit limit = limit_to_set(pool, &pool->limits[i]);

		if (setrlimit((__rlimit_resource_t)pool->limits[i].resource, &limit) < 0) {
			*ret_failed = config_limit_name(pool->limits[i].resource);
			return -errno;
		}
	}
	return 0;
}

int worker_setup_time(const struct pool_config *pool)
{
	for (size_t i = 0; i < pool->limit_count; i++) {
		const struct rlimit limit = { .rlim_cur = pool->limits[i].value, .rlim_max = pool->limits[i].value };

		if (pool->limits[i].resource == RLIMIT_CPU && setrlimit(RLIMIT_CPU, &limit) < 0)
			return -errno;
	}
	return 0;
}

int worker_setup_root(const struct pool_config *pool)
{
	if (pool->chroot == NULL || pool->chroot[0] == '\0')
		return 0;
	return chroot(pool->chroot) < 0 || chdir("/") < 0 ? -errno : 0;
}

int worker_setup_directory(const struct pool_config *pool)
{
	if (!handler_kind_runs_programs(pool->kind))
		return 0;
	return chdir(pool->program.directory) < 0 ? -errno : 0;
}
