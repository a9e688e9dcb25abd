/* SPDX-License-Identifier: MIT */
#include "master/accept_gate.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/log.h"
#include "master/master_private.h"
#include "policy/deadline.h"

/* Where a connection cannot be accepted, for want of descriptors or memory, so long none is. */
#define PAUSE_MS 100

int accept_gate_open(
	struct master *master, struct accept_gate *gate, int fd, const struct watch *watch, const char *what)
{
	*gate = (struct accept_gate){ .fd = fd, .watch = *watch, .what = what, .resume_ms = DEADLINE_NONE };
	return master_watch(master, fd, watch);
}

/* The connection is in the queue still; if there is one: accept4(2) looks for a free descriptor first. */
static void pause_accepting(struct master *master, struct accept_gate *gate, int error, uint64_t now_ms)
{
	struct pollfd polled = { .fd = gate->fd, .events = POLLIN };
	char event[80];

	if (error == EAGAIN || poll(&polled, 1, 0) <= 0)
		return;
	if (!gate->failing) {
		snprintf(event, sizeof(event), "cannot accept %s for now", gate->what);
		log_event(LOG_LEVEL_WARNING, event, LOG_ERRNO("reason", error));
	}
	gate->failing = true;
	if (gate->resume_ms != DEADLINE_NONE)
		return;
	master_unwatch(master, gate->fd);
	gate->resume_ms = deadline_after(now_ms, PAUSE_MS);
}

int accept_gate_next(struct master *master, struct accept_gate *gate, uint64_t now_ms)
{
	int fd = accept4(gate->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	char event[80];

	if (fd < 0) {
		pause_accepting(master, gate, errno, now_ms);
		return fd;
	}
	if (gate->failing) {
		snprintf(event, sizeof(event), "accepting %s again", gate->what);
		log_event(LOG_LEVEL_NOTICE, event);
	}
	gate->failing = false;
	return fd;
}

/* Where there is no memory for it, another time. */
uint64_t accept_gate_check(struct master *master, struct accept_gate *gate, uint64_t now_ms)
{
	if (deadline_passed(gate->resume_ms, now_ms))
		gate->resume_ms = master_watch(master, gate->fd, &gate->watch) == 0 ? DEADLINE_NONE
										    : deadline_after(now_ms, PAUSE_MS);
	return gate->resume_ms;
}
