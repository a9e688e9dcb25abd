/* SPDX-License-Identifier: MIT */
#ifndef CONFIG_SOURCE_H
#define CONFIG_SOURCE_H
/*
 * The files of a configuration: reading one, and which ones an include() means. libconfuse would open whatever it is
 * given, wait for a FIFO's writer, and end the process on a directory; so it never opens a file here.
 */
#include <stddef.h>
#include <sys/types.h>

#include "base/attrs.h"

enum {
	SOURCE_FILE_MAX = 1 << 20,  /* bytes of one file */
	SOURCE_TOTAL_MAX = 4 << 20, /* of all files of a configuration, each counted as often as it is included */
	SOURCE_DEPTH_MAX = 8,       /* files that include one another */
};

struct source {
	char *text; /* SIZE bytes and a NUL */
	size_t size;
	dev_t device;
	ino_t inode;
};

/* Reads a regular file. Returns 0, or a negative errno and in *ret_reason, which is static, why. */
ATTR_NODISCARD int source_read(const char *path, struct source *ret_source, const char **ret_reason);
void source_done(struct source *source);

struct source_list {
	char **paths;
	size_t count;
};

/*
 * The files that an include(PATTERN) in the file INCLUDER means: relative to INCLUDER's directory; with wildcards
 * (glob(7)) all that match, sorted, maybe none; without, the one of that name, whether it is there or not. Returns 0,
 * -ENOMEM, or the negative errno that kept a directory from being read.
 */
ATTR_NODISCARD int source_expand(const char *includer, const char *pattern, struct source_list *ret_list);
void source_list_done(struct source_list *list);

#endif
