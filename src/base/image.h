/* SPDX-License-Identifier: MIT */
#ifndef BASE_IMAGE_H
#define BASE_IMAGE_H
/*
 * How this process was started, kept so that it can execute its program anew: the file, as it was called, the
 * arguments, the directory and the environment. Functions return 0 or a negative errno.
 *
 * The path is the one by which the program was found, with its symbolic links: one of them may be what an upgrade
 * changes. /proc/self/exe has none, and names a file that may be gone by then.
 */
#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

#include "base/attrs.h"

struct image {
	char path[PATH_MAX];      /* absolute */
	char directory[PATH_MAX]; /* that it was started in */
	char **arguments;         /* the caller's */
	char **environment;       /* the pointers are the image's, the strings are not: they must stay */
};

/* First thing after the arguments are where they stay, before the environment is changed. */
ATTR_NODISCARD int image_record(struct image *image, char **arguments);
void image_done(struct image *image);

/* Which file a path leads to now: whether it has changed between two looks. */
struct image_file {
	dev_t device;
	ino_t inode;
	off_t size;
	struct timespec modified;
};

/* -EACCES where it cannot be executed, -EISDIR, -ENOENT, ... */
ATTR_NODISCARD int image_look(const struct image *image, struct image_file *ret_file);
bool image_is_same(const struct image_file *a, const struct image_file *b);

/* The arguments with FIRST and SECOND (NULL: none) behind the program's name. NULL where there is no memory. To be
 * freed; the strings are not copied. */
char **image_arguments(const struct image *image, const char *first, const char *second);

/* The environment without the variables of WITHOUT (ended by NULL), and with ASSIGNMENT (NULL: none). As above. */
char **image_environment(const struct image *image, const char *const *without, const char *assignment);

/* Executes it, in the directory that it was started in. Returns only if that fails, and then is where it was. */
ATTR_NODISCARD int image_execute(const struct image *image, char *const *arguments, char *const *environment);

#endif
