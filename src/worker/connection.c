/* SPDX-License-Identifier: MIT */
#include "worker/connection.h"

#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "stream_private.h"
#include "worker/signals.h"

static struct {
	const struct worker_start *start;
	struct brood_stream stream;
	struct brood_timeouts timeouts;
	uint64_t request_timeout_us;
	uint64_t handler_deadline_us; /* of the stream, from before the request */
	uint64_t request_deadline_us; /* of the request under way; 0: none */
	uint64_t noted_in;            /* of the stream's byte counters, what the scoreboard has been told */
	uint64_t noted_out;
} connection;

static void on_request_begin(struct brood_stream *stream)
{
	uint64_t now_us = clock_monotonic_us();
	uint64_t deadline_us = connection.request_timeout_us == 0 ? 0 : now_us + connection.request_timeout_us;

	/* Of the request's and the handler's own, the earlier holds. */
	connection.handler_deadline_us = stream->deadline_us;
	connection.request_deadline_us = deadline_us;
	if (deadline_us != 0 && (stream->deadline_us == 0 || deadline_us < stream->deadline_us))
		stream->deadline_us = deadline_us;
	board_worker_request_begin(connection.start->slot, now_us, deadline_us);
}

/* The master finds it worn, has another take its place, and then tells it to retire. */
static void wear(void)
{
	eventfd_write(connection.start->wake_fd, 1);
}

static void on_request_end(struct brood_stream *stream)
{
	struct board_slot *slot = connection.start->slot;

	board_worker_request_end(slot, clock_monotonic_us(), stream->bytes_in - connection.noted_in,
		stream->bytes_out - connection.noted_out);
	if (UNLIKELY(atomic_load_explicit(&slot->requests, memory_order_relaxed) == connection.start->max_requests))
		wear();
	connection.noted_in = stream->bytes_in;
	connection.noted_out = stream->bytes_out;
	if (connection.request_timeout_us != 0)
		stream->deadline_us = connection.handler_deadline_us;
}

/* A nearer deadline of the handler's own, which it has set before the request or within it, holds on. */
static void on_request_extend(struct brood_stream *stream, uint64_t until_us)
{
	uint64_t own_us = connection.handler_deadline_us;

	if (connection.request_deadline_us == 0 || until_us <= connection.request_deadline_us)
		return;
	if (stream->deadline_us == connection.request_deadline_us)
		stream->deadline_us = own_us != 0 && own_us < until_us ? own_us : until_us;
	connection.request_deadline_us = until_us;
	board_worker_request_extend(connection.start->slot, until_us);
}

static const struct brood_stream_host host = {
	.request_begin = on_request_begin,
	.request_end = on_request_end,
	.request_extend = on_request_extend,
	.retiring = worker_retiring,
};

void connection_init(const struct worker_start *start)
{
	const struct pool_config *pool = start->pool;

	connection.start = start;
	connection.timeouts = (struct brood_timeouts){
		.idle_ms = (uint32_t)pool->idle_timeout_ms,
		.read_ms = (uint32_t)pool->read_timeout_ms,
		.write_ms = (uint32_t)pool->write_timeout_ms,
	};
	connection.request_timeout_us = pool->request_timeout_ms * 1000;
	brood_stream_init(&connection.stream, &host);
}

struct sockaddr_storage *connection_peer(void)
{
	return &connection.stream.peer;
}

socklen_t *connection_peer_size(void)
{
	return &connection.stream.peer_size;
}

static void set_socket_timeout(int fd, int option, uint32_t timeout_ms)
{
	int result = timeout_ms == 0 ? 0 : fd_set_timeout(fd, option, timeout_ms);

	if (result < 0)
		log_event(LOG_LEVEL_DEBUG, "cannot set a time-out of a connection",
			LOG_TEXT("pool", connection.start->pool->name), LOG_ERRNO("reason", result));
}

/* A TCP socket has inherited the listener's time-outs; a unix socket inherits nothing (unix(7) is silent; tried). */
static void prepare_socket(int fd)
{
	if (connection.stream.peer.ss_family != AF_UNIX)
		return;
	set_socket_timeout(fd, SO_RCVTIMEO, connection.timeouts.idle_ms);
	set_socket_timeout(fd, SO_SNDTIMEO, connection.timeouts.write_ms);
}

void connection_serve(int fd, uint32_t listener, void *state)
{
	struct brood_stream *stream = &connection.stream;
	struct board_slot *slot = connection.start->slot;
	int result;

	board_worker_accepted(
		slot, listener, (const struct sockaddr *)&stream->peer, stream->peer_size, clock_monotonic_us());
	if (UNLIKELY(board_spare_leave(connection.start->on_board, slot)))
		eventfd_write(connection.start->wake_fd, 1);
	prepare_socket(fd);
	brood_stream_attach(stream, fd, &connection.timeouts);
	connection.noted_in = 0;
	connection.noted_out = 0;
	result = connection.start->pool->handler->serve(state, stream);
	board_worker_served(slot);
	brood_close(stream);
	board_worker_closed(slot, clock_monotonic_us(), stream->bytes_in - connection.noted_in,
		stream->bytes_out - connection.noted_out, result < 0);
	board_spare_enter(connection.start->on_board, slot);
	if (result < 0 && log_get_level() >= LOG_LEVEL_DEBUG)
		log_event(LOG_LEVEL_DEBUG, "connection failed", LOG_TEXT("pool", connection.start->pool->name),
			LOG_TEXT("peer", brood_peer_text(stream)), LOG_ERRNO("reason", result));
}
