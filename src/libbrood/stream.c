/* SPDX-License-Identifier: MIT */
#include "libbrood/wait.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* How long, and for how much, an orderly close reads away what a peer still sends: a client in the middle of an upload
 * sees a reset rather than the answer if that is less than what it has left. */
#define LINGER_US    2000000
#define LINGER_BYTES ((size_t)16 * 1024 * 1024)

/* ---- life ---- */

static void buffer_free(struct brood_stream *stream)
{
	free(stream->buffer);
	stream->buffer = NULL;
	stream->capacity = 0;
	stream->start = stream->end = 0;
}

void brood_stream_init(struct brood_stream *stream, const struct brood_stream_host *host)
{
	stream->fd = -1;
	stream->buffer = NULL;
	stream->capacity = 0;
	stream->host = host;
	stream->peer_size = 0;
	brood_stream_attach(stream, -1, &(struct brood_timeouts){ 0 });
}

void brood_stream_attach(struct brood_stream *stream, int fd, const struct brood_timeouts *socket)
{
	stream->fd = fd;
	stream->start = stream->end = 0;
	stream->at_end = false;
	stream->may_have_more = true; /* nothing has been read */
	stream->write_shut = false;
	stream->given_up = false;
	stream->in_request = false;
	stream->timeouts = *socket;
	stream->socket_idle_ms = socket->idle_ms;
	stream->socket_write_ms = socket->write_ms;
	stream->deadline_us = 0;
	stream->bytes_in = 0;
	stream->bytes_out = 0;
	stream->requests = 0;
	stream->peer_text[0] = '\0';
}

void brood_stream_done(struct brood_stream *stream)
{
	if (stream->fd >= 0)
		close(stream->fd);
	stream->fd = -1;
	buffer_free(stream);
}

int brood_open(int fd, const struct brood_timeouts *timeouts, struct brood_stream **ret_stream)
{
	struct brood_stream *stream = malloc(sizeof(*stream));

	if (!stream)
		return -ENOMEM;
	brood_stream_init(stream, NULL);
	brood_stream_attach(stream, fd, &(struct brood_timeouts){ 0 });
	brood_set_timeouts(stream, timeouts);
	stream->peer_size = sizeof(stream->peer);
	if (getpeername(fd, (struct sockaddr *)&stream->peer, &stream->peer_size) < 0)
		stream->peer_size = 0;
	*ret_stream = stream;
	return 0;
}

void brood_free(struct brood_stream *stream)
{
	if (!stream)
		return;
	/* Nothing that we have said can be lost on its way, and nobody may ever say anything. */
	if (stream->bytes_in == 0 && stream->bytes_out == 0)
		stream->given_up = true;
	brood_close(stream);
	brood_stream_done(stream);
	free(stream);
}

/* ---- the end of a connection ---- */

/* Whether bytes may be in the socket, or on their way to it, that nobody will read. */
static bool peer_may_be_sending(const struct brood_stream *stream)
{
	if (stream->at_end || stream->given_up)
		return false;
	return stream->may_have_more || stream->write_shut || stream->start != stream->end;
}

static void read_away(struct brood_stream *stream)
{
	char scratch[16384];
	size_t left = LINGER_BYTES;
	uint64_t end_us = wait_clock_us() + LINGER_US;

	while (left > 0) {
		ssize_t got = recv(stream->fd, scratch, left < sizeof(scratch) ? left : sizeof(scratch), MSG_DONTWAIT);

		if (got == 0)
			return;
		if (got > 0)
			left -= (size_t)got;
		else if (errno != EINTR && (errno != EAGAIN || wait_for_events(stream->fd, POLLIN, end_us) < 0))
			return;
	}
}

void brood_close(struct brood_stream *stream)
{
	if (UNLIKELY(stream->fd < 0))
		return;
	if (UNLIKELY(peer_may_be_sending(stream)) && brood_shutdown_write(stream) == 0)
		read_away(stream);
	close(stream->fd);
	stream->fd = -1;
	stream->start = stream->end = 0;
	if (UNLIKELY(stream->capacity > STREAM_BUFFER_SIZE))
		buffer_free(stream);
}

int brood_shutdown_write(struct brood_stream *stream)
{
	if (stream->write_shut)
		return 0;
	if (shutdown(stream->fd, SHUT_WR) < 0)
		return -errno;
	stream->write_shut = true;
	return 0;
}

/* ---- addresses ---- */

const struct sockaddr *brood_peer(const struct brood_stream *stream, socklen_t *ret_size)
{
	*ret_size = stream->peer_size;
	return (const struct sockaddr *)&stream->peer;
}

int brood_local(const struct brood_stream *stream, struct sockaddr_storage *ret_address, socklen_t *ret_size)
{
	struct sockaddr_storage address;
	socklen_t size = sizeof(address);

	if (getsockname(stream->fd, (struct sockaddr *)&address, &size) < 0)
		return -errno;
	if (size > sizeof(address))
		size = sizeof(address);
	memcpy(ret_address, &address, size);
	*ret_size = size;
	return 0;
}

static void peer_format(const struct brood_stream *stream, char *text, socklen_t size)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)&stream->peer;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&stream->peer;
	sa_family_t family = stream->peer_size >= sizeof(family) ? stream->peer.ss_family : AF_UNSPEC;

	if (family == AF_INET)
		inet_ntop(AF_INET, &v4->sin_addr, text, size);
	else if (family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
		inet_ntop(AF_INET, &v6->sin6_addr.s6_addr[12], text, size);
	else if (family == AF_INET6)
		inet_ntop(AF_INET6, &v6->sin6_addr, text, size);
	else
		snprintf(text, size, "%s", family == AF_UNIX ? "unix" : "unknown");
}

const char *brood_peer_text(struct brood_stream *stream)
{
	if (stream->peer_text[0] == '\0')
		peer_format(stream, stream->peer_text, sizeof(stream->peer_text));
	return stream->peer_text;
}

int brood_descriptor(const struct brood_stream *stream)
{
	return stream->fd;
}

/* ---- times ---- */

void brood_set_timeouts(struct brood_stream *stream, const struct brood_timeouts *timeouts)
{
	stream->timeouts = *timeouts;
}

struct brood_timeouts brood_get_timeouts(const struct brood_stream *stream)
{
	return stream->timeouts;
}

void brood_set_deadline(struct brood_stream *stream, uint32_t after_ms)
{
	stream->deadline_us = after_ms == 0 ? 0 : wait_clock_us() + (uint64_t)after_ms * 1000;
}

/* ---- requests ---- */

void brood_request_begin(struct brood_stream *stream)
{
	if (stream->in_request)
		return;
	stream->in_request = true;
	if (stream->host && stream->host->request_begin)
		stream->host->request_begin(stream);
}

void brood_request_end(struct brood_stream *stream)
{
	if (!stream->in_request)
		return;
	stream->in_request = false;
	stream->requests++;
	if (stream->host && stream->host->request_end)
		stream->host->request_end(stream);
}

void brood_extend(struct brood_stream *stream, uint32_t after_ms)
{
	if (stream->in_request && stream->host && stream->host->request_extend)
		stream->host->request_extend(stream, wait_clock_us() + (uint64_t)after_ms * 1000);
}

bool brood_retiring(const struct brood_stream *stream)
{
	return stream->host && stream->host->retiring && stream->host->retiring();
}
