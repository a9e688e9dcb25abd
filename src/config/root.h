/* SPDX-License-Identifier: MIT */
#ifndef CONFIG_ROOT_H
#define CONFIG_ROOT_H
/* Files as a process in a chroot will see them, asked from outside of it: links stay inside, as they will there. */
#include <sys/stat.h>

#include "base/attrs.h"

/* stat(2) of the absolute PATH in the directory ROOT; "": in our own. Returns 0 or a negative errno. */
ATTR_NODISCARD int root_stat(const char *root, const char *path, struct stat *ret_status);

#endif
