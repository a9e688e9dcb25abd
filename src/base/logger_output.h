/* SPDX-License-Identifier: MIT */
#ifndef BASE_LOGGER_OUTPUT_H
#define BASE_LOGGER_OUTPUT_H
/*
 * A file, or standard error, that the logger writes lines to: a buffer before it, and an account of what was lost.
 *
 * An output never blocks where that can be had. A FIFO or a device is opened with O_NONBLOCK; standard error, whose
 * flags belong to whoever started us, is opened anew through /proc (a description of our own, with flags of our own) if
 * it is a pipe or a terminal, and written by send(2) with MSG_DONTWAIT if it is a socket. What is left over (another
 * user's pipe) is written in pieces that a pipe which polls writable takes at once, with the signals let in.
 *
 * Receivers that stall fill the buffer, then lines are lost; a write error loses what is in the buffer. Losses are
 * counted in `lost` until logger_output_announce() puts a line about them into the buffer.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attrs.h"

struct logger_output {
	const char *path; /* NULL: standard error */
	int fd;           /* -1: not open, tried again while lines come */
	bool is_socket;
	bool may_block;
	bool stalled;        /* the receiver takes nothing now: wait for POLLOUT */
	bool torn;           /* the last thing in the file is a piece of a line */
	int error;           /* of the last write or open; 0 after a success */
	int lost_error;      /* why lines were lost, 0: the receiver stalled */
	int reopen_error;    /* for the logger to keep */
	uint64_t lost;       /* lines, not announced yet */
	uint64_t announced;  /* lines that the buffer's announcement speaks of: lost again if that is lost */
	uint64_t open_at_ms; /* not before: the next try to open */
	char *buffer;
	size_t used;
	size_t sent; /* the part of it that is written; less than used, or both are 0 */
};

/* Allocates the buffer and opens PATH (NULL: standard error). Returns 0 or the negative errno of the opening, with
 * which the output can be used: it will be tried again. -ENOMEM: it cannot. */
int logger_output_init(struct logger_output *output, const char *path);

/* Opens PATH anew. On failure keeps the file it has and returns a negative errno. */
int logger_output_reopen(struct logger_output *output);

/* Opens PATH for appending, creates it. Returns the descriptor or a negative errno. A FIFO that nobody reads gives
 * -ENXIO. */
ATTR_NODISCARD int logger_output_open_file(const char *path);

/* Adds a line; its newline is part of SIZE. */
void logger_output_append(struct logger_output *output, const char *line, size_t size);

/* As append, for the line that speaks of all that was lost so far. */
void logger_output_announce(struct logger_output *output, const char *line, size_t size);

/* Writes what the receiver takes now. Unless it is `stalled`, nothing is left in the buffer but after a signal. */
void logger_output_flush(struct logger_output *output);

#endif
