/* SPDX-License-Identifier: MIT */
#include "base/signals.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/fd.h"

static void on_signal(int number)
{
	(void)number;
}

void signals_heed(void)
{
	for (int number = 1; number < NSIG; number++) {
		struct sigaction action;

		/* The two that the C library keeps for itself are refused. */
		if (sigaction(number, NULL, &action) < 0 || action.sa_handler != SIG_IGN)
			continue;
		action = (struct sigaction){ .sa_handler = SIG_DFL };
		sigaction(number, &action, NULL);
	}
}

static void on_end(int number)
{
	_exit(128 + number);
}

void signals_end_first(void)
{
	static const int ends[] = { SIGTERM, SIGINT, SIGQUIT, SIGHUP };
	struct sigaction action = { .sa_handler = on_end };

	if (getpid() != 1)
		return;
	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
		sigaction(ends[i], &action, NULL);
}

int signals_open(struct signals *signals, const int *list)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	sigset_t set;

	sigemptyset(&set);
	sigemptyset(&action.sa_mask);
	signals_block();
	for (; *list != 0; list++) {
		sigaddset(&set, *list);
		if (sigaction(*list, &action, NULL) < 0)
			return -errno;
	}
	signals->fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	return signals->fd < 0 ? -errno : 0;
}

void signals_close(struct signals *signals)
{
	fd_close(&signals->fd);
}

int signals_next(struct signals *signals, struct signal_event *ret_event)
{
	struct signalfd_siginfo info;
	ssize_t size;

	do
		size = read(signals->fd, &info, sizeof(info));
	while (size < 0 && errno == EINTR);
	if (size != (ssize_t)sizeof(info))
		return 0;
	*ret_event = (struct signal_event){
		.number = (int)info.ssi_signo,
		.sender = (pid_t)info.ssi_pid,
		.sender_uid = (uid_t)info.ssi_uid,
	};
	return 1;
}

void signals_block(void)
{
	static const int faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS };
	sigset_t set;

	sigfillset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++)
		sigdelset(&set, faults[i]);
	sigprocmask(SIG_SETMASK, &set, NULL);
}

void signals_unblock(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigprocmask(SIG_SETMASK, &set, NULL);
}

const char *signals_name(int number)
{
	static char text[24];
	const char *name = sigabbrev_np(number);

	if (name == NULL)
		snprintf(text, sizeof(text), "signal %d", number);
	else
		snprintf(text, sizeof(text), "SIG%s", name);
	return text;
}
