/* SPDX-License-Identifier: MIT */
#ifndef HTTP_RECENT_H
#define HTTP_RECENT_H
/*
 * The small files that were served last, so that one asked for again costs one look at it, fstatat(2), instead of
 * opening, reading and closing it, at less than half of the time.
 *
 * What is remembered is served only while the path is still the same regular file in the same state: device, inode,
 * size, and the times of its last modification and change, to the nanosecond; and only within the second in which it
 * was read, whatever the times say (a store to a mapped page does not always move them).
 *
 * Only files directly in the root are remembered: for a path of one segment the look without following a link is as
 * safe as resolving it beneath the root; for a longer one it would follow links in the middle.
 */
#include <stdbool.h>
#include <time.h>

#include "handlers/http/file.h"

#define RECENT_FILES    4
#define RECENT_SIZE_MAX 4096
#define RECENT_PATH_MAX 64

struct recent_file {
	time_t read; /* in this second; 0: free */
	struct file_state state;
	char path[RECENT_PATH_MAX];
	char content[RECENT_SIZE_MAX];
};

struct recent {
	unsigned int next; /* to be forgotten */
	struct recent_file files[RECENT_FILES];
};

/* What PATH names, if it is remembered and still so: a file without a descriptor, with content. */
bool recent_find(struct recent *recent, int root_fd, const char *path, time_t now, struct file *ret_file);

/* Remembers FILE, whose whole content is CONTENT, unless that cannot be done safely: a file that has changed just
 * before it was read, at NOW or later, may do so again without its times showing it. */
void recent_keep(struct recent *recent, const char *path, const struct file *file, const char *content,
	const struct timespec *now);

#endif
