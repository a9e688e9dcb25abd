/* SPDX-License-Identifier: MIT */
#ifndef WORKER_VARIABLES_H
#define WORKER_VARIABLES_H
/*
 * What a per-connection program is told about its connection: the environment variables of xinetd, of UCSPI's servers
 * and of systemd's Accept=yes, which do not conflict, all together.
 *
 * All that can be done before there is a connection is done by variables_init(): PATH, and what the configuration adds.
 * A worker that lives for one connection copies no page that it need not write: nothing is allocated but for a long
 * `environment`, and no string is copied that has its form already.
 */
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "base/attrs.h"
#include "worker/exec.h"

enum variable {
	/* TCP: UCSPI's, xinetd's, systemd's */
	VARIABLE_PROTO,
	VARIABLE_TCPLOCALIP,
	VARIABLE_TCPLOCALPORT,
	VARIABLE_TCPREMOTEIP,
	VARIABLE_TCPREMOTEPORT,
	VARIABLE_TCPCONNNUM,
	VARIABLE_REMOTE_HOST,
	VARIABLE_REMOTE_ADDR,
	VARIABLE_REMOTE_PORT,
	/* of a unix socket, with PROTO and, where the client has an address, REMOTE_ADDR */
	VARIABLE_IPCREMOTEEUID,
	VARIABLE_IPCREMOTEEGID,
	VARIABLE_IPCREMOTEPATH,
	VARIABLES,
};

/* Enough for IPCREMOTEPATH. */
#define VARIABLE_MAX 160

/* So many, the contract's included, need no memory of the heap. */
#define VARIABLES_LOCAL 64

struct variables {
	struct exec_env env; /* what execve(2) is given; its first `base` were there before the connection */
	size_t base;
	char *local[VARIABLES_LOCAL];
	char text[VARIABLES][VARIABLE_MAX]; /* NAME=value */
	bool configured[VARIABLES];         /* the configuration has set it: that goes over the contract */
};

/* ENVIRONMENT is the configuration's, COUNT of them, without a name twice; it lives longer. Returns 0 or -ENOMEM. */
ATTR_NODISCARD int variables_init(struct variables *variables, char *const *environment, size_t count);
void variables_done(struct variables *variables);

/* A connection over TCP; PEER_COUNT connections of this peer are open, this one included. */
void variables_set_tcp(struct variables *variables, const struct sockaddr *local, socklen_t local_size,
	const struct sockaddr *peer, socklen_t peer_size, uint32_t peer_count);

/* A connection over a unix socket. */
void variables_set_unix(
	struct variables *variables, const struct sockaddr *peer, socklen_t peer_size, const struct ucred *credentials);

#endif
