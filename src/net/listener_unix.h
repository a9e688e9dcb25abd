/* SPDX-License-Identifier: MIT */
#ifndef NET_LISTENER_UNIX_H
#define NET_LISTENER_UNIX_H
/*
 * The path of a unix listener: taking it, its mode and owner, and giving it back. For listener.c only.
 *
 * The path belongs to the process that has made it: another one, as a forked child, does not remove it, and nobody
 * removes what has meanwhile been put in its place.
 */
#include <stdbool.h>

#include "base/attrs.h"
#include "net/listener.h"

/* "" for an abstract name. */
const char *listener_unix_path(const struct listener *listener);

/* Binds listener->fd to listener->address, and gives the path the mode and the owner of listener->options. Until it
 * listens nobody can connect, so that there is no moment with the wrong owner. After a failure listener_unix_remove()
 * takes back what was made. */
ATTR_NODISCARD int listener_unix_bind(struct listener *listener, const char **ret_step);

/* The listener was bound by another process, which has left it and its path to this one. -ESTALE: nobody finds it there
 * any more. */
ATTR_NODISCARD int listener_unix_reclaim(struct listener *listener);

/* Whether the path is none of the listener's any more: gone, or something else was put in its place. False for a path
 * that this process has not made, and where it cannot tell. */
bool listener_unix_is_lost(const struct listener *listener);

/* Gives the path the mode and the owner of listener->options, in the place of those of BEFORE. -ESTALE: it is none of
 * this process's any more. */
ATTR_NODISCARD int listener_unix_change(
	const struct listener *listener, const struct listener_options *before, const char **ret_step);

/* Removes the path, if this process has made it and it is still the same. Where that fails, the next call tries again.
 */
int listener_unix_remove(struct listener *listener);

#endif
