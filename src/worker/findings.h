/* SPDX-License-Identifier: MIT */
#ifndef WORKER_FINDINGS_H
#define WORKER_FINDINGS_H
/*
 * What the child that checks a configuration (worker/checker.h) leaves to its parent, in a memory file: what each
 * module says of itself, and the whole of what was accepted. So the parent can load the file by itself without a probe,
 * which would make it wait, and knows that it is what was checked.
 *
 * The bytes were written by a child of ours; a description in them is a module's own word, and decoded as such.
 */
#include <stdio.h>

#include "base/attrs.h"
#include "config/config.h"

/* An empty memory file, close-on-exec. Returns a descriptor or a negative errno. */
ATTR_NODISCARD int findings_open(void);

/* config_load() with all probes. What is found is written to FD. */
ATTR_NODISCARD int findings_load_first(
	const struct config_origin *origin, int fd, FILE *errors, struct config **ret_config);

/* config_load() by what FD has; a module that is not in there is described anew. -EINVAL too, after a line, where the
 * result is another one than that of the first load; and any other error, after a line, where FD cannot be read. */
ATTR_NODISCARD int findings_load_again(
	const struct config_origin *origin, int fd, FILE *errors, struct config **ret_config);

#endif
