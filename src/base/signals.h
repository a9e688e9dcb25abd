/* SPDX-License-Identifier: MIT */
#ifndef BASE_SIGNALS_H
#define BASE_SIGNALS_H
/*
 * Signals as events, for a process with one thread and one wait: they are blocked and read from a descriptor, so that
 * nothing runs in a handler. How they arrive is known here only.
 */
#include <sys/types.h>

#include "base/attrs.h"

struct signals {
	int fd; /* a signalfd(2), non-blocking, close-on-exec: readable while a signal is pending */
};

struct signal_event {
	int number;
	pid_t sender; /* 0: the kernel, or a process of another pid name space */
	uid_t sender_uid;
};

/*
 * Blocks every signal that can be blocked, and has LIST (ended by 0) arrive as events. A handler that does nothing is
 * installed for each besides: systemd looks whether the reload signal has one. Returns 0 or a negative errno.
 */
ATTR_NODISCARD int signals_open(struct signals *signals, const int *list);
void signals_close(struct signals *signals);

/* Takes the next pending signal. Returns 1, or 0 if there is none. */
int signals_next(struct signals *signals, struct signal_event *ret_event);

/* Blocks every signal but those of a fault of the process's own (SEGV, BUS, FPE, ILL, ABRT, TRAP, SYS). */
void signals_block(void);

void signals_unblock(void);

/* Gives every signal that is ignored its default action. */
void signals_heed(void);

/*
 * The first process of a pid name space (of a container) has no default actions: whatever it does not handle is lost
 * (pid_namespaces(7)). There a signal that asks for an end ends it from here on, until signals_open(). Its exit status
 * is then a shell's for that signal, 128 and the number.
 */
void signals_end_first(void);

/* "SIGTERM", never NULL. */
const char *signals_name(int number);

#endif
