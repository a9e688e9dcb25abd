/* SPDX-License-Identifier: MIT */
#ifndef WORKER_GATE_H
#define WORKER_GATE_H
/*
 * Where a worker waits for connections. With one listener the gate is the listener itself, and the wait is accept4():
 * the kernel wakes one process, first come first served. With several it is an epoll descriptor of the worker's own on
 * which each is registered with EPOLLEXCLUSIVE (epoll_ctl(2)), and the listeners are non-blocking.
 */
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/attrs.h"

struct gate {
	int fd; /* what the worker blocks on: see worker/signals.h */
	const int *listeners;
	size_t count;
	const char *pool;  /* its name, for messages */
	uint32_t pause_ms; /* the next pause when a resource is short; 0: none is */
};

/* LISTENERS and POOL stay the caller's. Returns 0 or a negative errno. */
ATTR_NODISCARD int gate_open(struct gate *gate, const char *pool, const int *listeners, size_t count);

/*
 * Waits for a connection. Returns its descriptor (close-on-exec), the peer's address in *ret_peer, and the listener's
 * index in *ret_listener; or -ECANCELED when the worker is to retire; or -EAGAIN when nothing came and the caller
 * should look around and call again. Errors of single connections, and shortages, are survived inside: a shortage
 * (EMFILE, ENFILE, ENOBUFS, ENOMEM) is logged once per episode, with the limit to raise, and waited out with growing
 * pauses, without spinning.
 */
int gate_accept(struct gate *gate, struct sockaddr_storage *ret_peer, socklen_t *ret_peer_size, uint32_t *ret_listener);

/*
 * One last look, after the worker was told to retire: with EPOLLEXCLUSIVE it may have been the one that was woken for a
 * connection, and nobody else would be until the next one comes. Returns as gate_accept(), -ECANCELED if there is none.
 */
int gate_accept_last(
	struct gate *gate, struct sockaddr_storage *ret_peer, socklen_t *ret_peer_size, uint32_t *ret_listener);

#endif
