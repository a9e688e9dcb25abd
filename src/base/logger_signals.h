/* SPDX-License-Identifier: MIT */
#ifndef BASE_LOGGER_SIGNALS_H
#define BASE_LOGGER_SIGNALS_H
/*
 * The signals of the logger process: SIGUSR1 (reopen), SIGTERM (leave); the rest is ignored or kills.
 *
 * They are blocked but in two places: while the logger waits (logger_signals_wait) and while it is in a call that may
 * block for as long as a receiver pleases (between logger_signals_allow and logger_signals_hold). The wait has no race,
 * ppoll(2) unblocks and sleeps in one step. In a blocking call a signal may arrive just before the call sleeps; so each
 * signal starts a timer whose SIGALRM interrupts the call again until the signal was noticed.
 *
 * A logger that was told to leave has LOGGER_LEAVE_MS to get rid of its lines. Then the timer ends it, wherever it is.
 */
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>

#define LOGGER_LEAVE_MS 800

/* Sets dispositions and mask. Signals that were sent since fork() and are blocked now are not lost. */
void logger_signals_init(void);

/* As poll(2), with the signals let in. */
int logger_signals_wait(struct pollfd *fds, size_t count, int timeout_ms);

void logger_signals_allow(void);
void logger_signals_hold(void);

/* True once for each time that SIGUSR1 came. */
bool logger_signals_take_reopen(void);

/* True from SIGTERM, or logger_signals_leave(), on. */
bool logger_signals_leaving(void);

/* As if SIGTERM had come. */
void logger_signals_leave(void);

/* Counts the signals that have come, to find out whether a call was interrupted. */
unsigned int logger_signals_count(void);

#endif
