/* SPDX-License-Identifier: MIT */
#ifndef MASTER_ACK_H
#define MASTER_ACK_H
/*
 * Einhorn's acknowledgements, for pools with ready = ack: one unix stream socket for all of them, to which a worker
 * connects and says that it is ready. No answer is written, as workers read none.
 *
 * Who connects is asked of the kernel (SO_PEERCRED): a worker, or another process of its group. Nobody else is listened
 * to, and each worker's connections, the length of its lines and the time for each are bounded, so that nobody keeps
 * others from being heard.
 *
 * Only the master calls these. Functions that may fail return 0 or a negative errno.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attrs.h"
#include "master/accept_gate.h"
#include "master/ack_line.h"
#include "master/runtime_dir.h"
#include "master/watch.h"

struct master;

#define ACK_CONNECTIONS_MAX 64
#define ACK_PATH_MAX        108 /* as of sockaddr_un */

/* A connection to the socket for acknowledgements. */
struct ack_connection {
	int fd;          /* -1: none */
	uint32_t serial; /* of those that have had this place */
	pid_t worker;    /* whose process the peer is; 0: it has gone already */
	uid_t uid;
	uint64_t accepted;    /* a number that rises */
	uint64_t deadline_ms; /* for a whole line; DEADLINE_NONE: none is awaited */
	size_t size;          /* of what has come */
	char line[ACK_LINE_MAX];
};

/* Where no pool has ready = ack: no socket. */
struct ack_server {
	int fd; /* -1: none */
	struct accept_gate gate;
	char directory[RUNTIME_DIR_MAX];
	char path[ACK_PATH_MAX];
	struct ack_connection *connections; /* ACK_CONNECTIONS_MAX */
	uint64_t accepted;
	uint64_t reports_ms; /* when the second began whose refusals are counted */
	uint32_t reports;    /* of that second, told of or not */
};

/* Makes the socket, in a directory of its own, where a pool wants it. After a failure, too, ack_close() is called. */
ATTR_NODISCARD int ack_open(struct master *master);
void ack_close(struct master *master);
/* WATCH_ACK_LISTENER, and WATCH_ACK: a connection, which may be another one by now. */
void ack_accept(struct master *master, uint64_t now_ms);
void ack_read(struct master *master, const struct watch *watch, uint64_t now_ms);
/* Hears all that has been said so far. */
void ack_read_all(struct master *master, uint64_t now_ms);
/* Closes connections that say nothing. Returns when to call again at the latest. */
uint64_t ack_check(struct master *master, uint64_t now_ms);

#endif
