/* SPDX-License-Identifier: MIT */
#ifndef NET_LISTENER_H
#define NET_LISTENER_H
/*
 * One listening socket, and the steps of its life, each of which the caller takes by itself:
 *
 *	listener_bind()    socket, options, bind: nothing can connect yet, and nothing is lost by listener_close()
 *	listener_listen()  clients may connect
 *	listener_change()  other options, while it listens
 *	listener_prepare_workers()  before a start of workers: what the handler needs of the shared socket
 *	listener_refuse()  new clients are refused at once; handshakes under way complete, the queue stays
 *	listener_pending() how much is left in the queue and in handshakes
 *	listener_close()   and, where this process made it, the unix socket's path is removed
 *
 * Only the master calls these. They block on nothing but the file system. Functions return 0 or a negative errno.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attrs.h"
#include "net/address.h"

enum listener_origin {
	LISTENER_OPENED,  /* by this process, or by the one before it in an upgrade */
	LISTENER_SYSTEMD, /* from a socket unit: never refused, never unlinked; its queue is systemd's */
	LISTENER_STORE,   /* from the descriptor store: ours */
	LISTENER_ORIGINS,
};

const char *listener_origin_name(enum listener_origin origin);

/* The socket options of a pool's listeners. */
struct listener_options {
	int backlog;             /* of listen(2) */
	uint32_t defer_accept_s; /* TCP_DEFER_ACCEPT in seconds; 0: off */
	int fastopen;            /* TCP_FASTOPEN: length of its queue; 0: off */
	bool reuse_port;         /* SO_REUSEPORT */
	bool freebind;           /* IP_FREEBIND: an address the machine does not have (yet) */
	mode_t socket_mode;      /* of a unix socket's path */
	uid_t socket_uid;        /* (uid_t)-1: as created */
	gid_t socket_gid;
};

/* The time-outs that accepted TCP sockets inherit, in milliseconds; 0 is none. */
struct listener_timeouts {
	uint32_t idle_ms;
	uint32_t write_ms;
};

struct listener {
	int fd; /* close-on-exec; -1: closed */
	enum listener_origin origin;
	char spec[280];                /* as configured, for messages */
	struct socket_address address; /* bound to, with the port the kernel chose */
	struct listener_options options;
	bool listening; /* offered to clients */
	bool refused;
	/* The path a unix socket was bound to by this process, or by the one before it: removed by it, if it is still
	 * the same file. */
	pid_t path_owner;
	dev_t path_device;
	ino_t path_inode;
};

#define LISTENER_NONE ((struct listener){ .fd = -1 })

/*
 * Makes a socket bound to ADDRESS. A unix path where nobody answers is replaced, one where somebody does is
 * -EADDRINUSE, something that is no socket is -EEXIST. Its path has socket_mode and its owner before anybody can
 * connect. On failure nothing is left behind and *ret_step names what failed ("socket", "bind", "chown", ...).
 */
ATTR_NODISCARD int listener_bind(struct listener *listener, const char *spec, const struct socket_address *address,
	const struct listener_options *options, const char **ret_step);

/*
 * Takes over FD, which must be a listening stream socket, of TCP or unix (-ENOTSOCK, -EPROTOTYPE, -EINVAL otherwise).
 * One from the descriptor store is our own, with a unix socket's path; -ESTALE: it hears no new clients any more, as
 * its last owner was about to stop, or its path is gone. On failure it stays the caller's.
 */
ATTR_NODISCARD int listener_adopt(struct listener *listener, int fd, enum listener_origin origin, const char *spec,
	const struct listener_options *options);

/* Whether it serves that address: it is bound to it, or is a dual-stack socket at [::] and the address is 0.0.0.0. */
bool listener_serves(const struct listener *listener, const struct socket_address *address);

/* Whether nobody finds it any more: it is of a unix path that this process has made, and that somebody has removed
 * since, or put something else in its place. What is queued already is served as ever. */
bool listener_is_lost(const struct listener *listener);

/* listen(2), and the options that need it. -EADDRINUSE is possible here too: TCP addresses may be bound twice as long
 * as nobody listens. Does nothing to sockets of systemd's, which have a unit's settings. */
ATTR_NODISCARD int listener_listen(struct listener *listener);

/*
 * Gives a listener that listens other options: backlog, defer_accept_s, fastopen, and of a path its mode and owner. The
 * others are of its binding, and stay. What could not be set is what *ret_step names; it is tried no more, and the
 * others may or may not be set. Does nothing to sockets of systemd's, nor to one that is refused.
 */
ATTR_NODISCARD int listener_change(
	struct listener *listener, const struct listener_options *options, const char **ret_step);

/*
 * Listens again where a process that shares a TCP listener has shut it down (shutdown(2): some servers do so to wake
 * their own threads), which ends it for all who share it, and resets what was queued. Returns 1 if it did, 0 if there
 * was no need, or a negative errno. A unix socket that was shut down cannot be brought back.
 */
ATTR_NODISCARD int listener_revive(struct listener *listener);

/* The time-outs and O_NONBLOCK that the handler wants of the shared socket. Called before each start of workers, since
 * a program that shared the socket may have left others behind. Unix sockets get no time-outs, since accepted ones
 * would not inherit them. Without an idle time-out TCP connections are kept alive (SO_KEEPALIVE). */
int listener_prepare_workers(struct listener *listener, const struct listener_timeouts *timeouts, bool nonblock);

/*
 * Refuses new clients. Does nothing to sockets of systemd's. What workers see from here on:
 *	TCP	nothing: accept(2) goes on blocking, or returns EAGAIN, when the queue is empty
 *	unix	accept(2) returns EINVAL at once when the queue is empty, or EAGAIN where the socket does not block, and
 *		epoll reports EPOLLIN | EPOLLRDHUP for ever: a worker must not come back at once
 * -EPERM: an unprivileged process cannot refuse at a link-local IPv6 address, which the kernel has bound to its link.
 */
int listener_refuse(struct listener *listener);

/*
 * What is still to be served: *ret_queued in the accept queue, *ret_handshakes under way, which are looked for only
 * when the queue is empty. After listener_refuse() two zeros are final. A deferred handshake (defer_accept) whose
 * client sends nothing ends when the kernel next repeats its SYN-ACK, some seconds later.
 *
 * Where the kernel cannot be asked (sock_diag(7): no module, or a sandbox without AF_NETLINK), handshakes of TCP are
 * not seen and count 0, so that a stop may lose one; of a unix listener nothing is known: -EOPNOTSUPP, but accept(2)
 * tells the workers.
 */
int listener_pending(const struct listener *listener, uint32_t *ret_queued, uint32_t *ret_handshakes);

/* Closes it, and removes the path that this very process has made. Takes LISTENER_NONE. A negative errno: it is closed,
 * and the path stays. */
int listener_close(struct listener *listener);

/* The length of its queue, by one system call, or for a unix socket a question to the kernel's sock_diag(7): see
 * listener_pending() for when nothing is known. */
ATTR_NODISCARD int listener_queue(const struct listener *listener, uint32_t *ret_queued);

/* "0.0.0.0:8080", "unix:/path", ... */
char *listener_text(const struct listener *listener, char *buffer, size_t size);

/* net.core.somaxconn, to which the kernel cuts every backlog, or a negative errno. */
int listener_somaxconn(void);

#endif
