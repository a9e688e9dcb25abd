/* SPDX-License-Identifier: MIT */
#ifndef HTTP_FILE_H
#define HTTP_FILE_H
/*
 * Opening what a path names, never outside the root directory: the kernel resolves the whole path beneath the
 * root's descriptor, symbolic links and ".." included (openat2(2), RESOLVE_BENEATH, Linux 5.6). A link that leads out,
 * or that is absolute, even to a place inside, is refused. A rename on the way changes nothing of that.
 */
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

#include "base/attrs.h"

enum file_kind {
	FILE_REGULAR,
	FILE_DIRECTORY,
	FILE_OTHER, /* FIFOs, devices: not for clients */
};

/* What tells one state of one file from every other. */
struct file_state {
	dev_t device;
	ino_t inode;
	uint64_t size;
	struct timespec modified;
	struct timespec changed;
};

struct file {
	int fd; /* the caller closes it; -1: `content` is all of it */
	enum file_kind kind;
	struct file_state state;
	const char *content;
};

struct file_state file_state_of(const struct stat *status);

/* Opens a directory to resolve paths beneath, and tries it: who may not pass through it, or lacks the system call,
 * hears so now. Returns a descriptor or a negative errno. */
ATTR_NODISCARD int file_open_root(const char *directory);

/* Opens PATH ("": the root itself) for reading, without ever waiting for it. A directory that may be passed through but
 * not read counts as open too. Returns 0 or a negative errno. */
ATTR_NODISCARD int file_open(int root_fd, const char *path, struct file *ret_file);

/* The HTTP status for a negative errno of file_open(). */
int file_status(int error);

#endif
