/* SPDX-License-Identifier: MIT */
#ifndef NET_CONTROL_PATH_H
#define NET_CONTROL_PATH_H
/*
 * Where the control socket is, where nobody says it: one rule for the daemon, which makes it, and for broodctl, which
 * looks for it.
 */
#include <stdbool.h>
#include <stddef.h>

#include "base/attrs.h"

/* As of sockaddr_un, with the NUL. */
#define CONTROL_PATH_MAX 108

/* The words that stand for no path. */
#define CONTROL_AUTO "auto"
#define CONTROL_OFF  "off"

/*
 * The first of these that the environment knows, INDEX counting them: $RUNTIME_DIRECTORY/brood.sock, which systemd
 * gives a service; $XDG_RUNTIME_DIR/brood/brood.sock, unless the caller is root; /run/brood/brood.sock. Returns false
 * where there is no further one.
 */
ATTR_NODISCARD bool control_path_usual(size_t index, char ret_path[CONTROL_PATH_MAX]);

#endif
