/* SPDX-License-Identifier: MIT */
#ifndef MASTER_REQUESTS_H
#define MASTER_REQUESTS_H
/*
 * Requests of the control socket's clients, and the answers to them. Each request that changes something has a ticket,
 * a number that rises. Whoever carries requests out needs to know nothing of clients: at its beginning it takes
 * control_ticket(), which stands for all requests so far, and reports with it; what is asked for after that waits for
 * the next time. So requests of one kind are merged by whoever merges them, and a signal is a request without a client.
 *
 * Only the master calls these. TEXT is one line, without a line end; what is not printable in it is escaped.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "master/control_request.h"

struct master;

/* Begins what is asked for. Its verdict may come at once, and does come at some time. */
void request_begin(struct master *master, const struct control_request *request, uint64_t now_ms);

/* The first request of KIND that a client waits for, for what is carried out one by one. Returns false: none. */
bool control_next(
	const struct master *master, enum request_kind kind, struct control_request *ret_request, uint64_t *ret_ticket);

/* The last ticket that was given. */
uint64_t control_ticket(const struct master *master);

/* How it goes: a line for each client that waits for a request of KIND with TICKET, or one before it. */
void control_progress(struct master *master, enum request_kind kind, uint64_t ticket, const char *text);

/* The same for each line of TEXT that is not empty; to the log they go as EVENT, unless that is NULL. TEXT may be
 * NULL: there are none. */
void request_tell(struct master *master, enum request_kind kind, uint64_t ticket, enum log_level level,
	const char *event, const char *text);

/* How it ended: the last line for each of them. That of a reload is kept, for the status. */
void control_verdict(struct master *master, enum request_kind kind, uint64_t ticket, bool good, const char *text);

/* The request with that very TICKET is not even begun: others of its kind go on to wait. */
void control_refuse(struct master *master, enum request_kind kind, uint64_t ticket, const char *text);

#endif
