/* SPDX-License-Identifier: MIT */
/*
 * A program that prints everything it was given by whoever started it, a line each, on standard output:
 *
 *	signal NUMBER ignore|handler        those that have not their default action
 *	blocked NUMBER, pending NUMBER
 *	umask OCTAL, directory PATH, root PATH
 *	limit NAME SOFT HARD
 *	fd NUMBER TARGET                    of each open one, as /proc shows it
 *	connection RECEIVE SEND blocks|does-not-block	the time-outs of descriptor 0, in milliseconds
 *	env NAME=VALUE, argument TEXT
 *	session SID, group PGID, pid PID, parent PPID, terminal yes|no
 *	ids RUID EUID SUID RGID EGID SGID, groups GID...
 *	deathsignal NUMBER, oom NUMBER, nice NUMBER, dumpable NUMBER
 *
 * It looks at itself before it opens anything.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

static void show_descriptors(void)
{
	for (int fd = 0; fd < 4096; fd++) {
		char path[64], target[PATH_MAX];
		ssize_t size;

		if (fcntl(fd, F_GETFD) < 0)
			continue;
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		size = readlink(path, target, sizeof(target) - 1);
		target[size > 0 ? size : 0] = '\0';
		printf("fd %d %s\n", fd, target);
	}
}

static long timeout_ms(int option)
{
	struct timeval timeout = { .tv_sec = -1 };
	socklen_t size = sizeof(timeout);

	if (getsockopt(STDIN_FILENO, SOL_SOCKET, option, &timeout, &size) < 0)
		return -1;
	return (long)timeout.tv_sec * 1000 + (long)timeout.tv_usec / 1000;
}

static void show_connection(void)
{
	printf("connection %ld %ld %s\n", timeout_ms(SO_RCVTIMEO), timeout_ms(SO_SNDTIMEO),
		(fcntl(STDIN_FILENO, F_GETFL) & O_NONBLOCK) != 0 ? "does-not-block" : "blocks");
}

static void show_signals(void)
{
	sigset_t blocked, pending;

	sigprocmask(SIG_BLOCK, NULL, &blocked);
	sigpending(&pending);
	for (int number = 1; number < NSIG; number++) {
		struct sigaction action;

		if (sigaction(number, NULL, &action) == 0 && action.sa_handler != SIG_DFL)
			printf("signal %d %s\n", number, action.sa_handler == SIG_IGN ? "ignore" : "handler");
		if (sigismember(&blocked, number) == 1)
			printf("blocked %d\n", number);
		if (sigismember(&pending, number) == 1)
			printf("pending %d\n", number);
	}
}

static void show_limits(void)
{
	static const struct {
		const char *name;
		__rlimit_resource_t resource;
	} limits[] = {
		{"core",    RLIMIT_CORE  },
		{ "cpu",    RLIMIT_CPU   },
		{ "data",   RLIMIT_DATA  },
		{ "fsize",  RLIMIT_FSIZE },
		{ "nofile", RLIMIT_NOFILE},
		{ "nproc",  RLIMIT_NPROC },
		{ "stack",  RLIMIT_STACK },
		{ "as",     RLIMIT_AS    },
	};

	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		struct rlimit limit;

		if (getrlimit(limits[i].resource, &limit) == 0)
			printf("limit %s %lld %lld\n", limits[i].name, (long long)limit.rlim_cur,
				(long long)limit.rlim_max);
	}
}

static void show_ids(void)
{
	uid_t uids[3];
	gid_t gids[3], groups[256];
	int count = getgroups(256, groups);

	if (getresuid(&uids[0], &uids[1], &uids[2]) == 0 && getresgid(&gids[0], &gids[1], &gids[2]) == 0)
		printf("ids %u %u %u %u %u %u\n", uids[0], uids[1], uids[2], gids[0], gids[1], gids[2]);
	printf("groups");
	for (int i = 0; i < count; i++)
		printf(" %u", groups[i]);
	printf("\n");
}

static void show_place(void)
{
	char path[PATH_MAX];
	mode_t mask = umask(0);

	umask(mask);
	printf("umask %04o\n", (unsigned int)mask);
	if (getcwd(path, sizeof(path)) != NULL)
		printf("directory %s\n", path);
	printf("root %s\n", realpath("/proc/self/root", path) != NULL ? path : "?");
}

static void show_process(void)
{
	int terminal = open("/dev/tty", O_RDWR | O_CLOEXEC);
	FILE *oom = fopen("/proc/self/oom_score_adj", "re");
	int death_signal = -1, score = 0;

	prctl(PR_GET_PDEATHSIG, &death_signal);
	printf("pid %d\nparent %d\nsession %d\ngroup %d\nterminal %s\n", getpid(), getppid(), getsid(0), getpgrp(),
		terminal >= 0 ? "yes" : "no");
	printf("deathsignal %d\ndumpable %d\nnice %d\n", death_signal, prctl(PR_GET_DUMPABLE),
		getpriority(PRIO_PROCESS, 0));
	if (oom != NULL && fscanf(oom, "%d", &score) == 1)
		printf("oom %d\n", score);
	if (oom != NULL)
		fclose(oom);
}

int main(int argc, char **argv)
{
	show_descriptors();
	show_connection();
	show_signals();
	show_limits();
	show_ids();
	show_place();
	show_process();
	for (char **variable = environ; *variable != NULL; variable++)
		printf("env %s\n", *variable);
	for (int i = 0; i < argc; i++)
		printf("argument %s\n", argv[i]);
	return 0;
}
