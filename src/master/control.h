/* SPDX-License-Identifier: MIT */
#ifndef MASTER_CONTROL_H
#define MASTER_CONTROL_H
/*
 * The control socket: a unix stream. A client sends one line (master/control_request.h) and gets lines back, each a
 * flat JSON object with a member "type"; after the last one the connection is closed.
 *
 *	{"type":"accepted","request":"reload"}       it has begun, or waits for its turn
 *	{"type":"progress","text":"..."}             any number of them
 *	{"type":"daemon",...}, "pool", "listener"    of "status": master/control_status.h
 *	{"type":"result","ok":true,"code":"ok","text":"..."}       the last one; or, with "ok":false, "code" is
 *	     "failed"      it was tried, or refused, and the text says why
 *	     "permission"  this user may only look
 *	     "usage"       no such request
 *	     "busy"        too many clients
 *
 * The socket's mode says who may connect. Root and the daemon's user (SO_PEERCRED) may do all, others only look. A
 * client may close its half of the connection after its request.
 *
 * No client slows the master: nothing here waits; each turn reads and writes a bounded amount; and the number of
 * clients, the size of a request, the time for a whole one, what is queued for a client, and the time for which it may
 * take none of it, are bounded. Those who may only look have half of the places. Where there is no place, the client
 * that has sat there for longest without a whole request goes.
 *
 * Only the master calls these.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attrs.h"
#include "master/accept_gate.h"
#include "master/control_request.h"
#include "master/control_status.h"
#include "master/requests.h"
#include "master/watch.h"
#include "net/control_path.h"
#include "net/listener.h"

#define CONTROL_CLIENTS_MAX 32
/* A line of an answer: two paths, each byte of them escaped. */
#define CONTROL_LINE_MAX  (64 * 1024)
#define CONTROL_QUEUE_MAX (3 * CONTROL_LINE_MAX)

enum control_phase {
	CONTROL_READING, /* a request */
	CONTROL_TELLING, /* the status, as fast as it is taken */
	CONTROL_WAITING, /* for the verdict on a request */
	CONTROL_ENDING,  /* its last line is queued */
};

struct control_client {
	int fd;          /* -1: none */
	uint32_t serial; /* of those that have had this place */
	enum control_phase phase;
	bool may_command;
	bool board_due; /* the scoreboard goes with the next bytes */
	pid_t pid;
	uid_t uid;
	uint64_t accepted;    /* a number that rises */
	uint64_t deadline_ms; /* for a whole request, or for taking what is queued; DEADLINE_NONE: neither is due */
	uint32_t events;      /* that epoll looks for */
	enum request_kind kind;
	uint64_t ticket; /* while waiting: master/requests.h */
	struct status_cursor cursor;
	size_t size; /* of what has come of the request */
	size_t sent; /* of the queue */
	size_t queued;
};

struct control_buffer {
	char request[CONTROL_REQUEST_MAX];
	char queue[CONTROL_QUEUE_MAX];
};

/* Of the last reload; time_us 0: there was none. */
struct control_verdict {
	uint64_t time_us; /* since 1970 */
	uint32_t generation;
	bool good;
	char text[512];
};

struct control {
	struct listener listener; /* LISTENER_NONE: no socket */
	struct accept_gate gate;
	int board_fd;                   /* the scoreboard, read-only, for clients */
	struct control_client *clients; /* CONTROL_CLIENTS_MAX */
	struct control_buffer *buffers; /* as many; pages come as they are used */
	size_t client_count;            /* of those that are there */
	uint64_t accepted;
	uint64_t ticket;
	uint64_t denied_ms; /* when a refusal was last logged */
	struct control_verdict last_reload;
	uint64_t started_us; /* this process, since 1970 */
	uint64_t opened_us;  /* CLOCK_MONOTONIC */
	uint64_t age_ms;     /* of this process, when this was opened */
};

#define CONTROL_NONE ((struct control){ .listener = LISTENER_NONE, .board_fd = -1 })

/*
 * Makes the socket, after the scoreboard. Returns an exit status: a path that is configured and cannot be had is an
 * error, the usual ones are tried in turn, and at last done without; both are logged. A listener that is there already,
 * from before an upgrade, is kept.
 */
ATTR_NODISCARD int control_open(struct master *master);

/* The end of the daemon: the verdict for all who wait, and the path is removed. */
void control_close(struct master *master);

/* WATCH_CONTROL_LISTENER, and WATCH_CONTROL: a client, which may be another one by now. */
void control_accept(struct master *master, uint64_t now_ms);
void control_event(struct master *master, const struct watch *watch, uint64_t now_ms);
/* Sends clients away that are late. Returns when to call again at the latest. */
uint64_t control_check(struct master *master, uint64_t now_ms);

/* The life has come to another phase: said to those who wait for a stop. */
void control_note_phase(struct master *master);

/* ---- for an upgrade ---- */

/* Whether somebody is about to ask, or has not got all of an answer yet: another image knows nothing of them. */
bool control_is_talking(const struct master *master);

/* The descriptors of those who wait for a request of KIND, at most MAX. Returns how many. */
size_t control_waiting(const struct master *master, enum request_kind kind, int *ret_fds, size_t max);
/* Takes one over, which goes on to wait. On failure FD stays the caller's. */
ATTR_NODISCARD int control_adopt(struct master *master, int fd, enum request_kind kind);

#endif
