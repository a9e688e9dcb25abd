/* SPDX-License-Identifier: MIT */
#ifndef WORKER_CONNECTION_H
#define WORKER_CONNECTION_H
/*
 * The life of one connection in a worker: its stream, its handler, its marks on the scoreboard. A process has one at a
 * time, so the state is the module's own.
 */
#include <stdint.h>

#include "worker/worker.h"

/* Once a worker, before the first connection. Keeps START. */
void connection_init(const struct worker_start *start);

/* The address at which the next accept4() leaves the peer's. */
struct sockaddr_storage *connection_peer(void);
socklen_t *connection_peer_size(void);

/* Serves FD, which came over listener LISTENER, to its end with STATE of the handler's, and closes it. */
void connection_serve(int fd, uint32_t listener, void *state);

#endif
