/* SPDX-License-Identifier: MIT */
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/attrs.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log_format.h"
#include "base/log_wire.h"

/* How long a line that goes to standard error itself waits for its reader. */
#define STDERR_WAIT_MS 500

static const char *const level_names[] = {
	[LOG_LEVEL_ERROR] = "error",
	[LOG_LEVEL_WARNING] = "warning",
	[LOG_LEVEL_NOTICE] = "notice",
	[LOG_LEVEL_INFO] = "info",
	[LOG_LEVEL_DEBUG] = "debug",
};
static_assert(ARRAY_SIZE(level_names) == LOG_LEVEL_DEBUG + 1, "every level has a name");

static enum log_level current_level = LOG_LEVEL_INFO;
static int current_socket = -1;
static uint64_t *current_dropped;

const char *log_level_name(enum log_level level)
{
	if (level < LOG_LEVEL_ERROR || level > LOG_LEVEL_DEBUG)
		return "unknown";
	return level_names[level];
}

int log_level_parse(const char *name, enum log_level *ret_level)
{
	for (int level = LOG_LEVEL_ERROR; level <= LOG_LEVEL_DEBUG; level++) {
		if (strcmp(name, level_names[level]) != 0)
			continue;
		*ret_level = (enum log_level)level;
		return 0;
	}
	return -EINVAL;
}

void log_set_level(enum log_level level)
{
	current_level = level;
}

enum log_level log_get_level(void)
{
	return current_level;
}

const char *log_strerror(int error)
{
	const char *text = strerrordesc_np(abs(error));

	return text != NULL ? text : "Unknown error";
}

void log_connect(int socket, uint64_t *dropped)
{
	current_socket = socket;
	current_dropped = dropped;
}

int log_socket(void)
{
	return current_socket;
}

void log_socket_move(int first)
{
	int moved = current_socket < 0 ? -1 : fcntl(current_socket, F_DUPFD_CLOEXEC, first);

	if (moved >= 0)
		current_socket = moved;
}

/* MSG_DONTWAIT belongs to the call and not, as O_NONBLOCK does, to the socket that all processes share. */
static void send_line(struct iovec *parts, size_t count)
{
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = count };
	int saved = errno;

	if (sendmsg(current_socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && current_dropped != NULL)
		__atomic_fetch_add(current_dropped, 1, __ATOMIC_RELAXED);
	errno = saved;
}

/* Waits a little for a reader that is slow, once; one that is stalled stops neither a start nor an end. */
static bool stderr_takes_more(void)
{
	static bool stalled;
	struct pollfd polled = { .fd = STDERR_FILENO, .events = POLLOUT };

	stalled = poll(&polled, 1, stalled ? 0 : STDERR_WAIT_MS) == 0;
	return !stalled;
}

/* A pipe that polls writable takes PIPE_BUF bytes without waiting (pipe(7)). */
static int write_to_reader(const char *line, size_t size)
{
	while (size > 0) {
		size_t piece = size < PIPE_BUF ? size : PIPE_BUF;
		int error;

		if (!stderr_takes_more())
			return -EAGAIN;
		error = fd_write_all(STDERR_FILENO, line, piece);
		if (error < 0)
			return error;
		line += piece;
		size -= piece;
	}
	return 0;
}

/* There is no logger yet: this is the start, and standard error is where whoever starts us looks. */
static void write_to_stderr(const char *message, size_t size)
{
	char line[3 * LOG_LINE_MAX];
	struct log_text text = { .data = line, .size = sizeof(line) - 1 };
	struct log_record record;
	int saved = errno;

	if (log_wire_parse(message, size, &record) < 0 || record.header.stream > 0)
		return;
	log_format_start(&text, &record);
	line[text.used++] = '\n';
	if (write_to_reader(line, text.used) < 0 && current_dropped != NULL)
		__atomic_fetch_add(current_dropped, 1, __ATOMIC_RELAXED);
	errno = saved;
}

void log_write_queued(int read_socket)
{
	char message[LOG_LINE_MAX];
	ssize_t size;

	while ((size = recv(read_socket, message, sizeof(message), MSG_DONTWAIT)) > 0)
		write_to_stderr(message, (size_t)size);
}

/* Apart from log_write(), so that an event that is not written touches no page of the stack for it: after a fork(2)
 * each such page is copied, in the master and in the child. */
ATTR_NOINLINE static void write_message(enum log_level level, const char *event, const struct log_field *fields)
{
	char message[LOG_LINE_MAX];
	struct log_wire_header header = { .level = (uint8_t)level };
	size_t size;

	header.pid = (int32_t)getpid();
	header.time_us = clock_realtime_us();
	size = log_wire_encode(message, &header, event, fields);
	if (current_socket < 0)
		write_to_stderr(message, size);
	else
		send_line(&(struct iovec){ .iov_base = message, .iov_len = size }, 1);
}

void log_write(enum log_level level, const char *event, const struct log_field *fields)
{
	if (level <= current_level)
		write_message(level, event, fields);
}

void log_access(unsigned int stream, const char *line, uint32_t size)
{
	struct log_wire_header header = { .version = LOG_WIRE_VERSION, .level = LOG_LEVEL_INFO, .stream = stream };
	union {
		const char *in;
		void *out;
	} body = { .in = line }; /* iovec knows no const; the line is only read */
	struct iovec parts[] = {
		{.iov_base = &header,   .iov_len = sizeof(header)},
		{ .iov_base = body.out, .iov_len = size          },
	};

	if (current_socket < 0 || stream == 0)
		return;
	if (size > LOG_LINE_MAX - sizeof(header)) {
		parts[1].iov_len = LOG_LINE_MAX - sizeof(header);
		header.cut = 1;
	}
	send_line(parts, ARRAY_SIZE(parts));
}
