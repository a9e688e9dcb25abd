/* SPDX-License-Identifier: MIT */
#include "base/logger_output.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/logger_signals.h"

/* Bridges a short stall of the receiver; a pipe holds 64 KiB itself. Untouched pages cost nothing. */
#define BUFFER_SIZE      (256 * 1024)
#define OPEN_INTERVAL_MS 1000

int logger_output_open_file(const char *path)
{
	/* O_NONBLOCK is for FIFOs: neither the opening nor a write waits for a reader. */
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);

	return fd < 0 ? -errno : fd;
}

/* An open file description of our own for standard error, so that O_NONBLOCK is nobody else's. Only where there is no
 * file position to share. */
static int open_stderr_anew(mode_t type)
{
	int fd;

	if (type != S_IFIFO && type != S_IFCHR)
		return -EINVAL;
	fd = open("/proc/self/fd/2", O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

static void output_use_stderr(struct logger_output *output)
{
	struct stat status;
	mode_t type = fstat(STDERR_FILENO, &status) == 0 ? status.st_mode & S_IFMT : 0;
	int fd = open_stderr_anew(type);

	output->is_socket = type == S_IFSOCK;
	output->may_block = fd < 0 && (type == S_IFIFO || type == S_IFCHR);
	output->fd = fd >= 0 ? fd : STDERR_FILENO;
}

int logger_output_init(struct logger_output *output, const char *path)
{
	*output = (struct logger_output){ .path = path, .fd = -1, .buffer = malloc(BUFFER_SIZE) };
	if (output->buffer == NULL)
		return -ENOMEM;
	if (path != NULL)
		return logger_output_reopen(output);
	output_use_stderr(output);
	return 0;
}

static uint64_t count_lines(const char *text, size_t size)
{
	uint64_t lines = 0;

	for (size_t i = 0; i < size; i++)
		lines += text[i] == '\n';
	return lines;
}

/* A line whose beginning is in the old file does not go on in the new one. */
static void output_skip_partial_line(struct logger_output *output)
{
	const char *end;

	if (output->sent == 0 || output->buffer[output->sent - 1] == '\n')
		return;
	end = memchr(output->buffer + output->sent, '\n', output->used - output->sent);
	if (end == NULL)
		return;
	output->sent = (size_t)(end + 1 - output->buffer);
	output->lost++;
}

int logger_output_reopen(struct logger_output *output)
{
	int fd;

	if (output->path == NULL)
		return 0;
	fd = logger_output_open_file(output->path);
	if (fd < 0) {
		output->error = output->fd < 0 ? fd : output->error;
		return fd;
	}
	fd_close(&output->fd);
	output->fd = fd;
	output->torn = false;
	output->stalled = false; /* and what the old file did not take goes to the new one, from the next whole line */
	output_skip_partial_line(output);
	return 0;
}

/* The buffer cannot be written: its lines are lost, among them the one that is partly in the file. */
static void output_fail(struct logger_output *output, int error)
{
	output->lost += count_lines(output->buffer + output->sent, output->used - output->sent);
	if (output->announced > 0)
		output->lost += output->announced - 1; /* the announcement is no line of anyone's */
	output->announced = 0;
	if (output->sent > 0)
		output->torn = output->buffer[output->sent - 1] != '\n';
	output->sent = 0;
	output->used = 0;
	output->error = error;
	output->lost_error = error;
}

/* A pipe that polls writable takes PIPE_BUF bytes without waiting (pipe(7)), unless someone else was faster. */
static ssize_t write_shared(int fd, const char *data, size_t size)
{
	struct pollfd writable = { .fd = fd, .events = POLLOUT };
	ssize_t written;

	if (poll(&writable, 1, 0) == 0) {
		errno = EAGAIN;
		return -1;
	}
	logger_signals_allow();
	written = write(fd, data, size < PIPE_BUF ? size : PIPE_BUF);
	logger_signals_hold();
	return written;
}

static ssize_t output_write(struct logger_output *output, const char *data, size_t size)
{
	if (output->is_socket)
		return send(output->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (output->may_block)
		return write_shared(output->fd, data, size);
	return write(output->fd, data, size);
}

/* Opens a file that could not be opened before, now and then. */
static bool output_is_open(struct logger_output *output)
{
	uint64_t now_ms;

	if (output->fd >= 0)
		return true;
	now_ms = clock_monotonic_ms();
	if (now_ms < output->open_at_ms)
		return false;
	output->open_at_ms = now_ms + OPEN_INTERVAL_MS;
	return logger_output_reopen(output) == 0;
}

/* One write of what comes next. What follows a piece of a line starts on a line of its own. */
static int output_advance(struct logger_output *output)
{
	const char *data = output->torn ? "\n" : output->buffer + output->sent;
	size_t size = output->torn ? 1 : output->used - output->sent;
	ssize_t written = output_write(output, data, size);

	if (written < 0)
		return -errno;
	if (output->torn)
		output->torn = written == 0;
	else
		output->sent += (size_t)written;
	return 0;
}

void logger_output_flush(struct logger_output *output)
{
	int error = 0;

	if (output->used == 0)
		return;
	if (!output_is_open(output)) {
		output_fail(output, output->error);
		return;
	}
	output->stalled = false;
	while (output->sent < output->used && error == 0)
		error = output_advance(output);
	if (error == -EAGAIN || error == -EINTR) {
		output->stalled = true;
		return;
	}
	if (error < 0) {
		output_fail(output, error);
		return;
	}
	output->sent = 0;
	output->used = 0;
	output->announced = 0;
	output->error = 0;
}

static bool output_make_room(struct logger_output *output, size_t size)
{
	if (size > BUFFER_SIZE - output->used && !output->stalled)
		logger_output_flush(output);
	if (size > BUFFER_SIZE - output->used && output->sent > 0) {
		memmove(output->buffer, output->buffer + output->sent, output->used - output->sent);
		output->used -= output->sent;
		output->sent = 0;
	}
	return size <= BUFFER_SIZE - output->used;
}

void logger_output_append(struct logger_output *output, const char *line, size_t size)
{
	if (!output_make_room(output, size)) {
		output->lost++;
		return;
	}
	memcpy(output->buffer + output->used, line, size);
	output->used += size;
}

void logger_output_announce(struct logger_output *output, const char *line, size_t size)
{
	if (!output_make_room(output, size))
		return;
	memcpy(output->buffer + output->used, line, size);
	output->used += size;
	output->announced = output->lost;
	output->lost = 0;
	output->lost_error = 0;
}
