/* SPDX-License-Identifier: MIT */
#ifndef BASE_FD_H
#define BASE_FD_H
/*
 * File descriptors: closing, flags, whole writes. Any process may call this. Functions return 0 or a negative errno.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attrs.h"

/* Closes *FD unless it is negative, and sets it to -1. Keeps errno. */
void fd_close(int *fd);

/* An `int` that is closed when it leaves its scope. */
#define FD_AUTO ATTR_CLEANUP(fd_close)

/* Takes FD out of a variable that would close it. */
int fd_steal(int *fd);

/* Sets or clears FD_CLOEXEC. */
int fd_set_cloexec(int fd, bool on);

/* Sets or clears O_NONBLOCK. It belongs to the open file, which other processes may share: never call it on a
 * descriptor that brood inherited as standard input, output or error. */
int fd_set_nonblock(int fd, bool on);

/* A pipe whose ends are close-on-exec, and the reading one non-blocking: for a child that is heard beside others. */
ATTR_NODISCARD int fd_pipe(int *ret_reading, int *ret_writing);

/* Puts /dev/null where descriptor 0, 1 or 2 is closed, first thing in main(): else the next socket would get that
 * number, and be written to. Returns 0 or a negative errno. */
ATTR_NODISCARD int fd_open_standard(void);

/* Sets a socket's time-out OPTION, SO_RCVTIMEO or SO_SNDTIMEO, in milliseconds; 0 is none. */
int fd_set_timeout(int fd, int option, uint32_t timeout_ms);

/* Writes all of BUFFER, in spite of partial writes and EINTR. */
ATTR_NODISCARD int fd_write_all(int fd, const void *buffer, size_t size);

/* Closes every descriptor from FIRST on, but for KEEP (any order, COUNT of them; sorted in place). For a child between
 * fork() and its work; close_range(2), Linux 5.9. */
int fd_close_others(int first, int *keep, size_t count);

#endif
