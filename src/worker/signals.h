/* SPDX-License-Identifier: MIT */
#ifndef WORKER_SIGNALS_H
#define WORKER_SIGNALS_H
/*
 * How a worker is stopped. URG (the master's, and the death signal) and TERM ask it to retire; QUIT ends it now; INT,
 * HUP, USR1, USR2, TTIN, TTOU and PIPE are ignored.
 *
 * A worker blocks in accept4() or epoll_wait() on one descriptor, the gate. The handler sets a flag *and* puts a dead
 * descriptor in the gate's place (dup3), so that the call fails whenever the signal lands: also between the look at the
 * flag and the call, where a flag alone would be seen too late. It costs no system call on the way of a connection.
 */
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/attrs.h"
#include "worker/worker.h"

/* What the handlers leave behind, in memory of the process's own. */
struct worker_stop {
	volatile sig_atomic_t retiring;
	int gate;
};

/*
 * Installs the handlers, while all signals are blocked. START stays the caller's, and lives as long as the worker.
 * Returns 0 or a negative errno. Waiters (worker/waiter.h) inherit the handlers from their nursery.
 *
 * Where the signal means that the master has died, the worker lets go of all its listeners, however long it still
 * serves: whoever is started next wants to bind their addresses.
 */
ATTR_NODISCARD int worker_signals_install(const struct worker_start *start);

/* Unblocks all signals. GATE is the descriptor that the worker will block on. From here on worker_retiring() may become
 * true at any time. */
void worker_signals_open(int gate);

bool worker_retiring(void);

/* Waits until FD is readable, or for the signal: then it returns false. */
bool worker_wait_for(int fd);

/* Waits for the signal, if it has not come yet. */
void worker_await_retirement(void);

/* The same, at most PAUSE_MS. */
void worker_pause(uint32_t pause_ms);

#endif
