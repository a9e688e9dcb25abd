/* SPDX-License-Identifier: MIT */
#ifndef NET_INHERITED_H
#define NET_INHERITED_H
/*
 * The sockets that the service manager hands over: $LISTEN_FDS, $LISTEN_PID, $LISTEN_FDNAMES (sd_listen_fds(3)).
 * The master takes them once, at its start, before anything forks.
 */
#include <stdbool.h>
#include <stddef.h>

#include "base/attrs.h"
#include "net/address.h"

struct inherited_socket {
	int fd;         /* close-on-exec since it was taken; -1 once a listener owns it */
	char name[256]; /* from $LISTEN_FDNAMES, or "unknown" */
	struct socket_address address;
	bool listening; /* a stream socket with SO_ACCEPTCONN */
};

struct inherited {
	struct inherited_socket *sockets;
	size_t count;
};

/*
 * Takes what the environment names for this very process (another $LISTEN_PID: nothing), makes the descriptors
 * close-on-exec, and removes the variables, $LISTEN_PIDFDID included, so that no child sees them, also on failure. A
 * count or list of names that does not hold is -EINVAL. Returns 0 or a negative errno.
 */
ATTR_NODISCARD int inherited_take(struct inherited *ret_inherited);
void inherited_done(struct inherited *inherited); /* closes what nobody claimed */

/*
 * The next unclaimed listening socket of that name, or bound to that address; NULL if there is none. 0.0.0.0 is served
 * by a dual-stack socket at [::] too, beside which it could not be bound.
 */
struct inherited_socket *inherited_by_name(struct inherited *inherited, const char *name);
struct inherited_socket *inherited_by_address(struct inherited *inherited, const struct socket_address *address);

#endif
