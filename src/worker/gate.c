/* SPDX-License-Identifier: MIT */
#include "worker/gate.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/log.h"
#include "base/raw.h"
#include "worker/signals.h"
#include "worker/worker.h"

/* The pauses of a shortage: short at first, since it may be over when another worker closes a connection. */
#define PAUSE_MIN_MS 10
#define PAUSE_MAX_MS 1000

int gate_open(struct gate *gate, const char *pool, const int *listeners, size_t count)
{
	*gate = (struct gate){ .fd = listeners[0], .listeners = listeners, .count = count, .pool = pool };
	if (count == 1)
		return 0;
	gate->fd = epoll_create1(EPOLL_CLOEXEC);
	if (gate->fd < 0)
		return -errno;
	for (size_t i = 0; i < count; i++) {
		struct epoll_event event = { .events = EPOLLIN | EPOLLEXCLUSIVE, .data.u32 = (uint32_t)i };

		if (epoll_ctl(gate->fd, EPOLL_CTL_ADD, listeners[i], &event) < 0)
			return -errno;
	}
	return 0;
}

/* What an operator has to raise. */
static const char *limit_behind(int error)
{
	switch (error) {
	case EMFILE:
		return "RLIMIT_NOFILE (LimitNOFILE=, ulimit -n)";
	case ENFILE:
		return "fs.file-max";
	case ENOBUFS:
	case ENOMEM:
		return "memory";
	default:
		return "none known";
	}
}

/* Waits, at most until the retire signal comes. */
static void gate_pause(struct gate *gate, int error)
{
	if (gate->pause_ms == 0) {
		gate->pause_ms = PAUSE_MIN_MS;
		log_event(LOG_LEVEL_WARNING, "cannot accept connections for now", LOG_TEXT("pool", gate->pool),
			LOG_ERRNO("reason", error), LOG_TEXT("limit", limit_behind(error)));
	}
	worker_pause(gate->pause_ms);
	gate->pause_ms = gate->pause_ms * 2 < PAUSE_MAX_MS ? gate->pause_ms * 2 : PAUSE_MAX_MS;
}

/*
 * On one blocking listener, accept4() answers EAGAIN when the time-out that the accepted sockets inherit has run out on
 * the listener itself: wait again. Where it does not block, since workers with several listeners share it while a
 * reload is under way, or another program has made it so, waiting again would spin. The others need it as it is, so
 * this worker waits for it in another way. The signal to retire ends poll(2), or comes before, and then there is
 * something that is always readable in the listener's place.
 */
static void gate_again(const struct gate *gate)
{
	struct pollfd readable = { .fd = gate->fd, .events = POLLIN };
	int flags = gate->count == 1 ? fcntl(gate->fd, F_GETFL) : 0;

	if (flags >= 0 && (flags & O_NONBLOCK) != 0)
		poll(&readable, 1, -1);
}

ATTR_NORETURN static void gate_leave(const struct gate *gate, int error)
{
	log_event(LOG_LEVEL_ERROR, "cannot accept connections, and leaves", LOG_TEXT("pool", gate->pool),
		LOG_ERRNO("reason", error));
	_exit(WORKER_EXIT_LISTENER);
}

/* Whether a listener is none any more: a TCP one that somebody who shares it has shut down, as brood itself never does.
 * A unix one that was shut down still is one. */
static bool gate_has_lost_one(const struct gate *gate)
{
	for (size_t i = 0; i < gate->count; i++) {
		int listening = 0;
		socklen_t size = sizeof(listening);

		if (getsockopt(gate->listeners[i], SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0 && !listening)
			return true;
	}
	return false;
}

/* What a failed wait asks for. */
static void gate_failed(struct gate *gate, int error)
{
	switch (error) {
	case EINTR:
		break;
	case EAGAIN:
		gate_again(gate);
		break;
	/* Of one connection: it was reset in the queue, or the network reported something on it (accept(2), "Error
	 * handling"). The kernel has taken it off the queue. */
	case ECONNABORTED:
	case EPROTO:
	case ENOPROTOOPT:
	case ENETDOWN:
	case ENETUNREACH:
	case EHOSTDOWN:
	case EHOSTUNREACH:
	case ENONET:
	case ETIMEDOUT:
		break;
	/* A unix listener that refuses, and is empty: the pool is being drained, and the word to retire will come. */
	case EINVAL:
		if (gate_has_lost_one(gate))
			gate_leave(gate, EINVAL);
		worker_await_retirement();
		break;
	case EBADF:
	case ENOTSOCK:
	case EOPNOTSUPP:
		gate_leave(gate, error);
	/* A shortage (EMFILE, ENFILE, ENOBUFS, ENOMEM), a security module that forbids it (EPERM, EACCES), or something
	 * unheard of: in each case the connection waits in the queue, for this worker or another. */
	default:
		gate_pause(gate, error);
		break;
	}
}

static int gate_take(struct gate *gate, size_t index, struct sockaddr_storage *ret_peer, socklen_t *ret_peer_size,
	uint32_t *ret_listener)
{
	int fd;

	*ret_peer_size = sizeof(*ret_peer);
	fd = raw_accept4(gate->listeners[index], (struct sockaddr *)ret_peer, ret_peer_size, SOCK_CLOEXEC);
	if (UNLIKELY(fd < 0))
		return fd;
	*ret_listener = (uint32_t)index;
	if (UNLIKELY(gate->pause_ms != 0)) {
		gate->pause_ms = 0;
		log_event(LOG_LEVEL_NOTICE, "accepting connections again", LOG_TEXT("pool", gate->pool));
	}
	return fd;
}

/* The index of a listener that has something, or a negative errno. */
static int gate_wait(struct gate *gate)
{
	struct epoll_event event;
	int count = raw_epoll_wait(gate->fd, &event, 1, -1);

	if (count < 0)
		return count;
	/* NOLINTNEXTLINE(clang-analyzer-core.uninitialized.UndefReturn): the kernel writes it. */
	return count == 0 ? -EAGAIN : (int)event.data.u32;
}

/*
 * A unix listener that refuses (shutdown(2)) and is empty is ready for ever, as is the end of a stream: the wait would
 * spin until the other listeners are drained. EPOLLRDHUP cannot be asked for together with EPOLLEXCLUSIVE, so that the
 * listener itself is asked, after an accept4() in vain.
 */
static void gate_drop_ended(const struct gate *gate, int listener)
{
	struct pollfd ended = { .fd = listener, .events = POLLRDHUP };

	if (poll(&ended, 1, 0) > 0 && (ended.revents & POLLRDHUP) != 0)
		epoll_ctl(gate->fd, EPOLL_CTL_DEL, listener, NULL);
}

int gate_accept(struct gate *gate, struct sockaddr_storage *ret_peer, socklen_t *ret_peer_size, uint32_t *ret_listener)
{
	int index = gate->count == 1 ? 0 : gate_wait(gate);
	int fd = index;

	if (index >= 0)
		fd = gate_take(gate, (size_t)index, ret_peer, ret_peer_size, ret_listener);
	if (LIKELY(fd >= 0))
		return fd;
	if (fd == -EAGAIN && index >= 0 && gate->count > 1)
		gate_drop_ended(gate, gate->listeners[index]);
	if (!worker_retiring())
		gate_failed(gate, -fd);
	return worker_retiring() ? -ECANCELED : -EAGAIN;
}

int gate_accept_last(
	struct gate *gate, struct sockaddr_storage *ret_peer, socklen_t *ret_peer_size, uint32_t *ret_listener)
{
	if (gate->count == 1)
		return -ECANCELED;
	for (size_t i = 0; i < gate->count; i++) {
		int fd = gate_take(gate, i, ret_peer, ret_peer_size, ret_listener);

		if (fd >= 0)
			return fd;
	}
	return -ECANCELED;
}
