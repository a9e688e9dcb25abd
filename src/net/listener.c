/* SPDX-License-Identifier: MIT */
#include "net/listener.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "net/listener_unix.h"
#include "net/sock_diag.h"

/* Linux 4.15 and 5.1; the C library's headers may be older than the kernel. */
#ifndef IPV6_FREEBIND
#define IPV6_FREEBIND 78
#endif
#ifndef SO_BINDTOIFINDEX
#define SO_BINDTOIFINDEX 62
#endif
#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

/* The index of no interface: the largest one, which the kernel, counting up, does not reach. */
#define NO_INTERFACE 0x7fffffff

static const char *const origin_names[] = {
	[LISTENER_OPENED] = "opened",
	[LISTENER_SYSTEMD] = "systemd",
	[LISTENER_STORE] = "store",
};
static_assert(ARRAY_SIZE(origin_names) == LISTENER_ORIGINS, "each origin has a name");

const char *listener_origin_name(enum listener_origin origin)
{
	return (unsigned int)origin < LISTENER_ORIGINS ? origin_names[origin] : "unknown";
}

static sa_family_t family(const struct listener *listener)
{
	return listener->address.storage.ss_family;
}

static bool is_unix(const struct listener *listener)
{
	return family(listener) == AF_UNIX;
}

struct option {
	bool wanted;
	int level;
	int name;
	int value;
	const char *step;
};

static int set_option(int fd, const struct option *option)
{
	if (!option->wanted)
		return 0;
	return setsockopt(fd, option->level, option->name, &option->value, sizeof(option->value)) < 0 ? -errno : 0;
}

static int set_options(int fd, const struct option *options, size_t count, const char **ret_step)
{
	for (size_t i = 0; i < count; i++) {
		int result = set_option(fd, &options[i]);

		if (result < 0) {
			*ret_step = options[i].step;
			return result;
		}
	}
	return 0;
}

static int read_address(struct listener *listener)
{
	struct socket_address address = { .size = sizeof(address.storage) };

	if (getsockname(listener->fd, (struct sockaddr *)&address.storage, &address.size) < 0)
		return -errno;
	if (address.size > sizeof(address.storage))
		return -EINVAL;
	listener->address = address;
	return 0;
}

/* ---- bind ---- */

static int bind_tcp(struct listener *listener, const char **ret_step)
{
	const struct listener_options *wanted = &listener->options;
	bool v6 = family(listener) == AF_INET6;
	const struct option options[] = {
		{true,                     SOL_SOCKET,   SO_REUSEADDR,  1, "SO_REUSEADDR" },
 /* So that 0.0.0.0:P and [::]:P coexist, whatever net.ipv6.bindv6only says. */
		{ v6,		      IPPROTO_IPV6, IPV6_V6ONLY,   1, "IPV6_V6ONLY"  },
		{ wanted->reuse_port,      SOL_SOCKET,   SO_REUSEPORT,  1, "SO_REUSEPORT" },
		{ wanted->freebind && !v6, IPPROTO_IP,   IP_FREEBIND,   1, "IP_FREEBIND"  },
		{ wanted->freebind && v6,  IPPROTO_IPV6, IPV6_FREEBIND, 1, "IPV6_FREEBIND"},
 /* Accepted sockets inherit it: handlers write whole answers, which must not wait for an
  acknowledgement. */
		{ true,                    IPPROTO_TCP,  TCP_NODELAY,   1, "TCP_NODELAY"  },
	};
	int result = set_options(listener->fd, options, ARRAY_SIZE(options), ret_step);

	if (result < 0)
		return result;
	*ret_step = "bind";
	return bind(listener->fd, (const struct sockaddr *)&listener->address.storage, listener->address.size) < 0
		       ? -errno
		       : 0;
}

static struct listener listener_init(
	int fd, enum listener_origin origin, const char *spec, const struct listener_options *options)
{
	struct listener listener = { .fd = fd, .origin = origin, .options = *options };

	snprintf(listener.spec, sizeof(listener.spec), "%s", spec);
	return listener;
}

int listener_bind(struct listener *listener, const char *spec, const struct socket_address *address,
	const struct listener_options *options, const char **ret_step)
{
	struct listener made = listener_init(-1, LISTENER_OPENED, spec, options);
	int result;

	made.address = *address;
	made.fd = socket(family(&made), SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (made.fd < 0) {
		*ret_step = "socket";
		return -errno;
	}
	result = is_unix(&made) ? listener_unix_bind(&made, ret_step) : bind_tcp(&made, ret_step);
	if (result == 0) {
		*ret_step = "getsockname";
		result = read_address(&made);
	}
	if (result < 0)
		listener_close(&made);
	else
		*listener = made;
	return result;
}

/* ---- adopt ---- */

static int get_int(int fd, int name, int *ret_value)
{
	socklen_t size = sizeof(*ret_value);

	return getsockopt(fd, SOL_SOCKET, name, ret_value, &size) < 0 ? -errno : 0;
}

static bool is_served_kind(int domain, int type, int protocol)
{
	if (type != SOCK_STREAM)
		return false;
	if (domain == AF_INET || domain == AF_INET6)
		return protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP;
	return domain == AF_UNIX;
}

static int check_listening_stream(int fd)
{
	int domain;
	int type;
	int protocol;
	int listening;
	int result;

	if ((result = get_int(fd, SO_DOMAIN, &domain)) < 0 || (result = get_int(fd, SO_TYPE, &type)) < 0 ||
		(result = get_int(fd, SO_PROTOCOL, &protocol)) < 0 ||
		(result = get_int(fd, SO_ACCEPTCONN, &listening)) < 0)
		return result;
	if (!is_served_kind(domain, type, protocol))
		return -EPROTOTYPE;
	return listening ? 0 : -EINVAL;
}

/* One that was refusing: only a process with CAP_NET_RAW may bind it to all interfaces again. */
static int hear_again(int fd)
{
	static const struct option everywhere = { true, SOL_SOCKET, SO_BINDTOIFINDEX, 0, "SO_BINDTOIFINDEX" };
	int interface = 0;

	/* An older kernel has no such option, and its listener cannot have been refused by it. */
	if (get_int(fd, SO_BINDTOIFINDEX, &interface) < 0 || interface != NO_INTERFACE)
		return 0;
	return set_option(fd, &everywhere) < 0 ? -ESTALE : 0;
}

int listener_adopt(struct listener *listener, int fd, enum listener_origin origin, const char *spec,
	const struct listener_options *options)
{
	static const struct option nodelay = { true, IPPROTO_TCP, TCP_NODELAY, 1, "TCP_NODELAY" };
	struct listener adopted = listener_init(fd, origin, spec, options);
	int result = check_listening_stream(fd);

	if (result == 0)
		result = read_address(&adopted);
	if (result == 0)
		result = fd_set_cloexec(fd, true);
	if (result == 0 && origin == LISTENER_STORE)
		result = is_unix(&adopted) ? listener_unix_reclaim(&adopted) : hear_again(fd);
	if (result < 0)
		return result;
	if (!is_unix(&adopted))
		set_option(fd, &nodelay);
	*listener = adopted;
	return 0;
}

bool listener_serves(const struct listener *listener, const struct socket_address *address)
{
	return address_equal((const struct sockaddr *)&listener->address.storage, listener->address.size,
		       (const struct sockaddr *)&address->storage, address->size) ||
	       address_covers(&listener->address, listener->fd, address);
}

bool listener_is_lost(const struct listener *listener)
{
	return is_unix(listener) && listener_unix_is_lost(listener);
}

/* ---- listen, and what workers need ---- */

static int listen_with_options(const struct listener *listener, const char **ret_step)
{
	const struct listener_options *wanted = &listener->options;
	const struct option options[] = {
		{true,  IPPROTO_TCP, TCP_DEFER_ACCEPT, (int)wanted->defer_accept_s, "TCP_DEFER_ACCEPT"},
		{ true, IPPROTO_TCP, TCP_FASTOPEN,     wanted->fastopen,            "TCP_FASTOPEN"    },
	};
	int result = 0;

	if (!is_unix(listener))
		result = set_options(listener->fd, options, ARRAY_SIZE(options), ret_step);
	if (result < 0)
		return result;
	*ret_step = "listen";
	return listen(listener->fd, wanted->backlog) < 0 ? -errno : 0;
}

int listener_listen(struct listener *listener)
{
	const char *step;
	int result = 0;

	/* A socket unit has settings of its own for all of this. */
	if (listener->origin != LISTENER_SYSTEMD)
		result = listen_with_options(listener, &step);
	listener->listening = result == 0;
	return result;
}

int listener_change(struct listener *listener, const struct listener_options *options, const char **ret_step)
{
	struct listener_options before = listener->options;
	int result;

	listener->options = *options;
	listener->options.reuse_port = before.reuse_port;
	listener->options.freebind = before.freebind;
	if (listener->origin == LISTENER_SYSTEMD || listener->refused)
		return 0;
	/* To listen again changes the length of the queue and nothing else: inet_listen(), unix_listen(). */
	result = listen_with_options(listener, ret_step);
	if (result < 0 || !is_unix(listener))
		return result;
	return listener_unix_change(listener, &before, ret_step);
}

int listener_revive(struct listener *listener)
{
	const struct sockaddr *address = (const struct sockaddr *)&listener->address.storage;
	int listening = 1;
	int result = is_unix(listener) ? 0 : get_int(listener->fd, SO_ACCEPTCONN, &listening);

	if (result < 0 || listening)
		return result;
	/* A port that the kernel chose has been given back; another is bound still, and bind(2) says EINVAL. */
	if (bind(listener->fd, address, listener->address.size) < 0 && errno != EINVAL)
		return -errno;
	/* With its options; a socket unit's are the unit's. */
	result = listener_listen(listener);
	if (result == 0 && listener->origin == LISTENER_SYSTEMD)
		result = listen(listener->fd, listener->options.backlog) < 0 ? -errno : 0;
	return result < 0 ? result : 1;
}

static int first_error(int result, int next)
{
	return result < 0 ? result : next;
}

int listener_prepare_workers(struct listener *listener, const struct listener_timeouts *timeouts, bool nonblock)
{
	/* Accepted unix sockets inherit nothing; a time-out would only make accept(2) return for nothing. */
	bool tcp = !is_unix(listener);
	/* A dead peer is noticed by the idle time-out; where there is none, by the kernel's probes, whose timer costs a
	 * little with each connection. */
	const struct option keepalive = { tcp, SOL_SOCKET, SO_KEEPALIVE, timeouts->idle_ms == 0, "SO_KEEPALIVE" };
	int result = fd_set_timeout(listener->fd, SO_RCVTIMEO, tcp ? timeouts->idle_ms : 0);

	result = first_error(result, fd_set_timeout(listener->fd, SO_SNDTIMEO, tcp ? timeouts->write_ms : 0));
	result = first_error(result, set_option(listener->fd, &keepalive));
	return first_error(result, fd_set_nonblock(listener->fd, nonblock));
}

/* ---- refuse, drain, close ---- */

/*
 * A listener bound to an interface that does not exist is found by no SYN, so that new clients get a RST, while the
 * handshakes it has answered are found by themselves and complete. Binding a socket that is bound to no interface needs
 * no privilege (Linux 5.7).
 */
static int refuse_tcp(int fd)
{
	static const struct option interface = { true, SOL_SOCKET, SO_BINDTOIFINDEX, NO_INTERFACE, "SO_BINDTOIFINDEX" };
	/* A deferred handshake would else wait for its client's first bytes; now it completes when the kernel next
	 * asks. */
	static const struct option defer = { true, IPPROTO_TCP, TCP_DEFER_ACCEPT, 0, "TCP_DEFER_ACCEPT" };
	int result = set_option(fd, &interface);

	return first_error(result, set_option(fd, &defer));
}

int listener_refuse(struct listener *listener)
{
	int result;

	if (listener->origin == LISTENER_SYSTEMD || listener->refused)
		return 0;
	if (is_unix(listener)) {
		listener_unix_remove(listener);
		result = shutdown(listener->fd, SHUT_RD) < 0 ? -errno : 0;
	} else {
		result = refuse_tcp(listener->fd);
	}
	listener->refused = result == 0;
	return result;
}

static int tcp_queue(int fd, uint32_t *ret_queued)
{
	struct tcp_info info;
	socklen_t size = sizeof(info);

	memset(&info, 0, sizeof(info));
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0)
		return -errno;
	/* On a listener this is the length of its accept queue (tcp_get_info() in Linux since 2.6.24). */
	*ret_queued = info.tcpi_unacked;
	return 0;
}

static int tcp_handshakes(const struct listener *listener, uint32_t *ret_handshakes)
{
	int result = sock_diag_tcp_handshakes(&listener->address, ret_handshakes);

	if (result == -EOPNOTSUPP)
		*ret_handshakes = result = 0;
	return result;
}

/*
 * The kernel looks for handshakes in its table of all connections, some milliseconds long: it is asked only when the
 * queue, which costs next to nothing, is empty. It is asked twice before both are said to be: another processor may
 * have been between two steps, with a SYN that had found the listener, or an ACK that had left the handshakes and not
 * reached the queue. Both take less time than the first question did.
 */
static int tcp_pending(const struct listener *listener, uint32_t *ret_queued, uint32_t *ret_handshakes)
{
	int result;

	*ret_handshakes = 0;
	result = tcp_queue(listener->fd, ret_queued);
	for (int round = 0; round < 2 && result == 0 && *ret_queued + *ret_handshakes == 0; round++) {
		result = tcp_handshakes(listener, ret_handshakes);
		if (result == 0)
			result = tcp_queue(listener->fd, ret_queued);
	}
	return result;
}

int listener_pending(const struct listener *listener, uint32_t *ret_queued, uint32_t *ret_handshakes)
{
	if (!is_unix(listener))
		return tcp_pending(listener, ret_queued, ret_handshakes);
	/* connect(2) puts the connection in the queue by itself: there is nothing in between. */
	*ret_handshakes = 0;
	return sock_diag_unix_queue(listener->fd, ret_queued);
}

int listener_queue(const struct listener *listener, uint32_t *ret_queued)
{
	return is_unix(listener) ? sock_diag_unix_queue(listener->fd, ret_queued) : tcp_queue(listener->fd, ret_queued);
}

int listener_close(struct listener *listener)
{
	int result = 0;

	if (listener->fd < 0)
		return 0;
	if (is_unix(listener))
		result = listener_unix_remove(listener);
	fd_close(&listener->fd);
	return result;
}

/* ---- text and limits ---- */

char *listener_text(const struct listener *listener, char *buffer, size_t size)
{
	return address_format(
		(const struct sockaddr *)&listener->address.storage, listener->address.size, false, buffer, size);
}

int listener_somaxconn(void)
{
	FD_AUTO int fd = open("/proc/sys/net/core/somaxconn", O_RDONLY | O_CLOEXEC);
	char text[32] = "";
	ssize_t size;

	if (fd < 0)
		return -errno;
	size = read(fd, text, sizeof(text) - 1);
	if (size < 0)
		return -errno;
	return size > 0 ? (int)strtol(text, NULL, 10) : -EIO;
}
