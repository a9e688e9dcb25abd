/* SPDX-License-Identifier: MIT */
#include "base/logger_signals.h"

#include <signal.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "base/attrs.h"

/* How often a blocking call is interrupted until SIGUSR1 is noticed. */
#define NUDGE_MS 50

static volatile sig_atomic_t reopen_wanted;
static volatile sig_atomic_t leaving;
static volatile sig_atomic_t arrived;
static sigset_t working_mask; /* what the logger blocks while it works */
static sigset_t waiting_mask; /* and while it waits: nothing */

/* setitimer(2) is a system call and nothing else, and so safe in a handler. */
static void start_timer(long first_ms, long interval_ms)
{
	struct itimerval timer = {
		.it_value = {.tv_sec = first_ms / 1000,     .tv_usec = first_ms % 1000 * 1000   },
		.it_interval = { .tv_sec = interval_ms / 1000, .tv_usec = interval_ms % 1000 * 1000},
	};

	setitimer(ITIMER_REAL, &timer, NULL);
}

static void on_reopen(int signal)
{
	arrived = arrived + 1;
	reopen_wanted = 1;
	if (!leaving)
		start_timer(NUDGE_MS, NUDGE_MS);
}

static void on_leave(int signal)
{
	arrived = arrived + 1;
	if (leaving)
		return;
	leaving = 1;
	start_timer(LOGGER_LEAVE_MS, 0);
}

static void on_alarm(int signal)
{
	arrived = arrived + 1;
	if (leaving)
		_exit(0);
}

/* No SA_RESTART: a call that blocks has to return. */
static void set_handler(int signal, void (*handler)(int))
{
	struct sigaction action = { .sa_handler = handler };

	sigfillset(&action.sa_mask);
	sigaction(signal, &action, NULL);
}

void logger_signals_init(void)
{
	/* SIGXFSZ would kill at a file size limit; ignored, the write fails with EFBIG like any other. */
	static const int ignored[] = { SIGINT, SIGQUIT, SIGHUP, SIGUSR2, SIGPIPE, SIGTTIN, SIGTTOU, SIGTSTP, SIGXFSZ };
	static const int handled[] = { SIGUSR1, SIGTERM, SIGALRM };
	static void (*const handlers[])(int) = { on_reopen, on_leave, on_alarm };

	sigemptyset(&waiting_mask);
	sigemptyset(&working_mask);
	for (size_t i = 0; i < ARRAY_SIZE(handled); i++) {
		sigaddset(&working_mask, handled[i]);
		set_handler(handled[i], handlers[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
		set_handler(ignored[i], SIG_IGN);
	set_handler(SIGCHLD, SIG_DFL);
	sigprocmask(SIG_SETMASK, &working_mask, NULL);
}

int logger_signals_wait(struct pollfd *fds, size_t count, int timeout_ms)
{
	struct timespec timeout = { .tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000L };

	int ready = ppoll(fds, count, timeout_ms >= 0 ? &timeout : NULL, &waiting_mask);

	/* A ppoll(2) that finds something ready at once lets no signal in: under load that is every one. */
	if (ready > 0) {
		logger_signals_allow();
		logger_signals_hold();
	}
	return ready;
}

void logger_signals_allow(void)
{
	sigprocmask(SIG_SETMASK, &waiting_mask, NULL);
}

void logger_signals_hold(void)
{
	sigprocmask(SIG_SETMASK, &working_mask, NULL);
}

bool logger_signals_take_reopen(void)
{
	if (!reopen_wanted)
		return false;
	reopen_wanted = 0;
	if (!leaving)
		start_timer(0, 0);
	return true;
}

bool logger_signals_leaving(void)
{
	return leaving;
}

void logger_signals_leave(void)
{
	on_leave(0);
}

unsigned int logger_signals_count(void)
{
	return (unsigned int)arrived;
}
