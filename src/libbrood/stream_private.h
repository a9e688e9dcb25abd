/* SPDX-License-Identifier: MIT */
#ifndef LIBBROOD_STREAM_PRIVATE_H
#define LIBBROOD_STREAM_PRIVATE_H
/*
 * The inside of a stream, for libbrood and for the worker that feeds it. Not installed.
 *
 * A worker has one stream for all its life: brood_stream_init() once, brood_stream_attach() for each accepted socket,
 * brood_close() when it is served. The buffer is allocated at the first buffered read and kept.
 *
 * System calls on the way of one short request: one recv(2) and one send(2), no others. To that end the socket's own
 * time-outs (SO_RCVTIMEO = idle, SO_SNDTIMEO = write; inherited from a TCP listener, set by the caller of attach on a
 * unix socket) bound the first wait, and only waits of another length use poll(2), after a try with MSG_DONTWAIT.
 * Writes never block in send(2): SO_SNDTIMEO serves sendfile(2) alone, which has no MSG_DONTWAIT.
 */
#include <brood/stream.h>

/* The size of a buffer; a longer message makes it grow, up to the limit given, and the end of the connection frees it.
 */
#define STREAM_BUFFER_SIZE ((size_t)16384)

/* What the worker adds to a stream. All may be NULL. */
struct brood_stream_host {
	void (*request_begin)(struct brood_stream *stream);
	void (*request_end)(struct brood_stream *stream);
	void (*request_extend)(struct brood_stream *stream, uint64_t until_us);
	bool (*retiring)(void);
};

struct brood_stream {
	int fd; /* -1: closed */

	/* Buffered bytes: buffer[start .. end) of `capacity`. */
	char *buffer;
	size_t start;
	size_t end;
	size_t capacity;

	bool at_end;        /* recv() has returned 0 */
	bool may_have_more; /* nothing was read yet, or the last recv() filled all it was given: unread data may be left
			     */
	bool write_shut;
	bool given_up;   /* a transfer failed or timed out: at the close, the peer is not waited for */
	bool in_request; /* between brood_request_begin() and brood_request_end() */

	struct brood_timeouts timeouts;
	uint32_t socket_idle_ms;  /* the SO_RCVTIMEO the socket has; 0 is none */
	uint32_t socket_write_ms; /* the SO_SNDTIMEO the socket has */
	uint64_t deadline_us;     /* CLOCK_MONOTONIC; 0 is none */

	/* Counters of this connection, read by the worker. */
	uint64_t bytes_in;
	uint64_t bytes_out;
	uint32_t requests; /* those that have ended; counted before the host's request_end() is called */

	socklen_t peer_size;
	struct sockaddr_storage peer;
	char peer_text[64]; /* made when asked for */

	const struct brood_stream_host *host; /* NULL: a client's stream */
};

void brood_stream_init(struct brood_stream *stream, const struct brood_stream_host *host);

/*
 * Starts a new connection on FD, which the stream owns from here on, with `peer` and `peer_size` filled in by the
 * caller before. SOCKET are the stream's time-outs; its idle_ms and write_ms are also the SO_RCVTIMEO and SO_SNDTIMEO
 * that the (blocking) socket already has. Costs no system call and touches neither the buffer nor `peer`.
 */
void brood_stream_attach(struct brood_stream *stream, int fd, const struct brood_timeouts *socket);

/* Closes what is open at once, without order, and frees the buffer. */
void brood_stream_done(struct brood_stream *stream);

#endif
