/* SPDX-License-Identifier: MIT */
#include "worker/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <time.h>
#include <unistd.h>

#include "base/signals.h"
#include "worker/waiter.h"

/* Of a process that has its memory to itself. */
static struct worker_stop own_stop = { .gate = -1 };
static const struct worker_start *worker;

static struct worker_stop *stop_here(void)
{
	struct waiter *waiter = waiter_here();

	return waiter != NULL ? &waiter->stop : &own_stop;
}

/* Async-signal-safe, as all that the handlers call. No number may be given anew that a low RLIMIT_NOFILE does not allow
 * (dup3(2), "EBADF"); then it is closed, and the call on it fails as well. */
static void let_go(int fd)
{
	if (dup3(worker->dead_fd, fd, O_CLOEXEC) < 0)
		close(fd);
}

static void release_listeners(void)
{
	for (size_t i = 0; i < worker->listener_count; i++)
		let_go(worker->listeners[i]);
}

static void on_retire(int number)
{
	struct worker_stop *stop = stop_here();
	int saved = errno;

	(void)number;
	stop->retiring = 1;
	let_go(stop->gate);
	if (getppid() != worker->master_pid)
		release_listeners();
	errno = saved;
}

/* Ignores, as SIG_IGN does, and turns into the default action at execve(2), as SIG_IGN does not. */
static void on_ignored(int number)
{
	(void)number;
}

static void on_quit(int number)
{
	(void)number;
	_exit(0);
}

/* SA_RESTART: a handler's blocking calls go on where they can; libbrood continues those that cannot (signal(7)). */
static int handle(const int *list, size_t count, void (*handler)(int))
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART };

	sigfillset(&action.sa_mask);
	for (size_t i = 0; i < count; i++)
		if (sigaction(list[i], &action, NULL) < 0)
			return -errno;
	return 0;
}

int worker_signals_install(const struct worker_start *start)
{
	static const int ignored[] = { SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGTTIN, SIGTTOU, SIGPIPE };
	static const int retire[] = { SIGURG, SIGTERM };
	static const int quit[] = { SIGQUIT };
	static const int standard[] = { SIGCHLD };
	int result;

	worker = start;
	result = handle(ignored, ARRAY_SIZE(ignored), start->pool->kind == HANDLER_BECOMES ? on_ignored : SIG_IGN);
	if (result == 0)
		result = handle(standard, ARRAY_SIZE(standard), SIG_DFL);
	if (result == 0)
		result = handle(retire, ARRAY_SIZE(retire), on_retire);
	if (result == 0)
		result = handle(quit, ARRAY_SIZE(quit), on_quit);
	return result;
}

void worker_signals_open(int gate)
{
	stop_here()->gate = gate;
	signals_unblock();
}

bool worker_retiring(void)
{
	return stop_here()->retiring != 0;
}

/* Waits once, until FD (-1: none) is readable, the signal comes, or the time (NULL: none) is over. */
static void wait_once(int fd, const struct timespec *pause)
{
	struct pollfd readable = { .fd = fd, .events = POLLIN };
	sigset_t blocked, open;

	/* The signal is let in only while ppoll(2) waits: between the look at the flag and the wait it would be missed.
	 */
	sigemptyset(&open);
	sigfillset(&blocked);
	sigprocmask(SIG_SETMASK, &blocked, NULL);
	if (!worker_retiring())
		ppoll(&readable, 1, pause, &open);
	sigprocmask(SIG_SETMASK, &open, NULL);
}

void worker_pause(uint32_t pause_ms)
{
	const struct timespec pause = { .tv_sec = pause_ms / 1000, .tv_nsec = pause_ms % 1000 * 1000000L };

	wait_once(-1, &pause);
}

bool worker_wait_for(int fd)
{
	struct pollfd readable = { .fd = fd, .events = POLLIN };

	while (!worker_retiring() && poll(&readable, 1, 0) == 0)
		wait_once(fd, NULL);
	return !worker_retiring();
}

void worker_await_retirement(void)
{
	while (!worker_retiring())
		wait_once(-1, NULL);
}
