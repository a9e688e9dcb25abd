/* SPDX-License-Identifier: MIT */
#include "libbrood/wait.h"

#include <errno.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>

/*
 * Every send(2) is made with MSG_DONTWAIT, and only one that finds no room is followed by a poll(2). A short answer
 * costs the same one call; and a blocking send(2) would not say how much of its time-out was spent without progress.
 */
#define SEND_FLAGS (MSG_DONTWAIT | MSG_NOSIGNAL)

/* Up to this a file goes by one blocking sendfile(2): the kernel moves that much at a time (16 pages, splice(2)). */
#define FILE_DIRECT_MAX 65536

/* The deadline is looked at after each of these. */
#define FILE_CHUNK_SIZE ((uint64_t)1024 * 1024)

static int send_failed(struct brood_stream *stream, int error)
{
	stream->given_up = true;
	return -error;
}

/*
 * Called after a transfer found no room. *END_US is 0 after progress, and kept from wait to wait without any, so that a
 * socket that claims to have room and has none cannot extend the time-out.
 */
static int wait_for_room(struct brood_stream *stream, uint64_t *end_us)
{
	int ret;

	if (*end_us == 0)
		*end_us = wait_end_us(stream, stream->timeouts.write_ms);
	ret = wait_for_events(stream->fd, POLLOUT, *end_us);
	return ret < 0 ? send_failed(stream, -ret) : 0;
}

/* Takes COUNT bytes from the front of MESSAGE's parts. Returns whether some are left. */
static bool parts_advance(struct msghdr *message, size_t count)
{
	while (message->msg_iovlen > 0 && count >= message->msg_iov->iov_len) {
		count -= message->msg_iov->iov_len;
		message->msg_iov++;
		message->msg_iovlen--;
	}
	if (message->msg_iovlen == 0)
		return false;
	message->msg_iov->iov_base = (char *)message->msg_iov->iov_base + count;
	message->msg_iov->iov_len -= count;
	return true;
}

static int send_parts(struct brood_stream *stream, struct iovec *parts, size_t count, int flags)
{
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = count };
	uint64_t end_us = 0;

	for (;;) {
		ssize_t sent;
		int ret;

		if (wait_deadline_passed(stream))
			return send_failed(stream, ETIMEDOUT);
		sent = sendmsg(stream->fd, &message, SEND_FLAGS | flags);
		if (sent >= 0) {
			stream->bytes_out += (uint64_t)sent;
			if (!parts_advance(&message, (size_t)sent))
				return 0;
			end_us = 0;
		} else if (errno == EINTR) {
			continue;
		} else if (errno != EAGAIN) {
			return send_failed(stream, errno);
		}
		ret = wait_for_room(stream, &end_us);
		if (ret < 0)
			return ret;
	}
}

static int send_buffer(struct brood_stream *stream, const void *buffer, size_t size, int flags)
{
	struct iovec part = { .iov_base = (void *)(uintptr_t)buffer, .iov_len = size };
	ssize_t sent;

	if (UNLIKELY(stream->deadline_us != 0))
		return send_parts(stream, &part, 1, flags);
	sent = send(stream->fd, buffer, size, SEND_FLAGS | flags);
	if (LIKELY(sent >= 0)) {
		stream->bytes_out += (uint64_t)sent;
		if (LIKELY((size_t)sent == size))
			return 0;
		part.iov_base = (char *)part.iov_base + sent;
		part.iov_len -= (size_t)sent;
	} else if (errno != EAGAIN && errno != EINTR) {
		return send_failed(stream, errno);
	}
	return send_parts(stream, &part, 1, flags);
}

int brood_write_all(struct brood_stream *stream, const void *buffer, size_t size)
{
	return send_buffer(stream, buffer, size, 0);
}

int brood_write_more(struct brood_stream *stream, const void *buffer, size_t size)
{
	return send_buffer(stream, buffer, size, MSG_MORE);
}

int brood_writev_all(struct brood_stream *stream, struct iovec *parts, int count)
{
	if (count <= 0)
		return -EINVAL;
	return send_parts(stream, parts, (size_t)count, 0);
}

/* ---- files ---- */

/* Sends in chunks; the socket is non-blocking. */
static int send_file_chunks(struct brood_stream *stream, int file_fd, off_t offset, uint64_t count)
{
	uint64_t end_us = 0;

	while (count > 0) {
		size_t chunk = (size_t)(count < FILE_CHUNK_SIZE ? count : FILE_CHUNK_SIZE);
		ssize_t sent;
		int ret;

		if (wait_deadline_passed(stream))
			return send_failed(stream, ETIMEDOUT);
		sent = sendfile(stream->fd, file_fd, &offset, chunk);
		if (sent > 0) {
			stream->bytes_out += (uint64_t)sent;
			count -= (uint64_t)sent;
			end_us = 0;
			continue;
		}
		if (sent == 0)
			return -ENODATA;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return send_failed(stream, errno);
		ret = wait_for_room(stream, &end_us);
		if (ret < 0)
			return ret;
	}
	return 0;
}

/*
 * sendfile(2) has no MSG_DONTWAIT, and a blocking one starts its time-out anew for every 16 pages: what may take long
 * is sent through a socket that is non-blocking meanwhile. It is ours alone, so nobody else notices.
 */
static int send_file_by_poll(struct brood_stream *stream, int file_fd, off_t offset, uint64_t count)
{
	int on = 1, off = 0;
	int ret;

	if (ioctl(stream->fd, FIONBIO, &on) < 0)
		return send_failed(stream, errno);
	ret = send_file_chunks(stream, file_fd, offset, count);
	ioctl(stream->fd, FIONBIO, &off);
	return ret;
}

int brood_send_file(struct brood_stream *stream, int file_fd, off_t offset, uint64_t count)
{
	ssize_t sent;

	if (UNLIKELY(count == 0))
		return 0;
	if (count > FILE_DIRECT_MAX || stream->deadline_us != 0 || stream->timeouts.write_ms != stream->socket_write_ms)
		return send_file_by_poll(stream, file_fd, offset, count);
	sent = sendfile(stream->fd, file_fd, &offset, (size_t)count);
	if (LIKELY(sent > 0)) {
		stream->bytes_out += (uint64_t)sent;
		if (LIKELY((uint64_t)sent == count))
			return 0;
		count -= (uint64_t)sent;
	} else if (sent == 0) {
		return -ENODATA;
	} else if (errno == EAGAIN && stream->socket_write_ms != 0) {
		return send_failed(stream, ETIMEDOUT);
	} else if (errno != EAGAIN && errno != EINTR) {
		return send_failed(stream, errno);
	}
	return send_file_by_poll(stream, file_fd, offset, count);
}
