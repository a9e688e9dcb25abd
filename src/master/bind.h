/* SPDX-License-Identifier: MIT */
#ifndef MASTER_BIND_H
#define MASTER_BIND_H
/*
 * The listeners of the daemon, and which of them a pool has. A listener is opened once, and belongs to the daemon: the
 * generations of a pool share it, and a pool that takes an address over from another takes the very socket.
 *
 * Binding and listening are separate steps: nothing is offered to clients before every address of every pool is ours,
 * and until then whatever was bound can be given up without a loss.
 */
#include <stdbool.h>
#include <stddef.h>

#include "config/config.h"
#include "net/listener.h"

struct master;
struct pool;

/* All that are open. */
struct listener_table {
	struct listener **list;
	size_t count;
};

/* Those of one pool, for one generation of its workers, in the order of the configuration. */
struct listener_set {
	struct listener **list;
	size_t count;
	int *descriptors; /* of each: what workers are given */
	char **keys;      /* of each, what a program is told: worker/host.h */
	char **names;     /* and the names, for LISTEN_FDNAMES */
};

/* Why a set could not be had: for a message. */
struct bind_failure {
	char address[ADDRESS_TEXT_MAX + sizeof(((struct listener *)0)->spec)];
	const char *step;
	char reason[128];
};

/* ---- one pool ---- */

/*
 * Finds the listeners of the pool CONFIG: those that are open already, sockets of the service manager's, and new ones,
 * which are bound, and do not listen yet. Returns 0, or -1 with *ret_failure; then the set is empty, and what was bound
 * for it is in the table, to be dropped by bind_drop_unlistened().
 */
ATTR_NODISCARD int bind_pool(struct master *master, const struct pool_config *config, struct listener_set *ret_set,
	struct bind_failure *ret_failure);

/* Has the new ones listen, and puts our own into the descriptor store (store.h). Returns 0, or -1 with *ret_failure. */
ATTR_NODISCARD int bind_listen(struct master *master, const struct pool_config *config, const struct listener_set *set,
	struct bind_failure *ret_failure);

bool listener_set_has(const struct listener_set *set, const struct listener *listener);
/* Forgets them; they stay open. */
void listener_set_done(struct listener_set *set);

/* "cannot listen", with all that is known. */
void bind_report(const struct pool_config *config, const struct bind_failure *failure);

/* ---- all ---- */

/* LISTENER, which another image of this process has opened for POOL, is one of them from now on. Returns 0 or -ENOMEM.
 */
ATTR_NODISCARD int bind_adopt(struct master *master, const char *pool, const struct listener *listener);
/* POOL has the listener FD, behind those that it has already. Returns 0, -ENOENT where there is none, or -ENOMEM. */
ATTR_NODISCARD int bind_adopt_member(struct master *master, struct pool *pool, int fd);
/* Binds and listens for every pool, but for those that have listeners already. Returns an exit status, after it has
 * logged what failed. */
int bind_all(struct master *master);
/* Closes what was bound and does not listen. */
void bind_drop_unlistened(struct master *master);
void bind_refuse_all(struct master *master);
/* It leaves the descriptor store first. */
void bind_refuse(struct master *master, struct listener *listener);
/* True once nothing is queued and no handshake is under way on any listener of our own. */
bool bind_all_drained(const struct master *master);
bool bind_drained(const struct listener *listener);
/* How many clients wait in the queues of our own listeners, as far as that is known. */
uint32_t bind_queued(const struct master *master);
/* Closes one, and takes it out of the table. No set has it any more. */
void bind_close(struct master *master, struct listener *listener);
void bind_close_all(struct master *master);
/* The start has failed: what was kept over the death of a master stays in the store, with its queue and its path. */
void bind_leave_stored(struct master *master);

#endif
