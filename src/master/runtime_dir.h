/* SPDX-License-Identifier: MIT */
#ifndef MASTER_RUNTIME_DIR_H
#define MASTER_RUNTIME_DIR_H
/*
 * A private directory for sockets that workers of any user connect to, by path: everybody may pass through it, only its
 * maker may change or list it. Only the master calls these. Functions return 0 or a negative errno.
 */
#include "base/attrs.h"

#define RUNTIME_DIR_MAX 80

/*
 * Makes one in the first of these places that can be used: $RUNTIME_DIRECTORY, /run/brood, $XDG_RUNTIME_DIR (which
 * other users do not reach, so not for root), /tmp. RET_PATH: its path; short, since the path of a socket is.
 */
ATTR_NODISCARD int runtime_dir_make(char ret_path[RUNTIME_DIR_MAX]);

/* Removes it, and nothing in it. Takes "". */
void runtime_dir_remove(char path[RUNTIME_DIR_MAX]);

#endif
