/* SPDX-License-Identifier: MIT */
#ifndef WORKER_SETUP_H
#define WORKER_SETUP_H
/*
 * What a child does between fork() and its work, with signals blocked: its process group, its descriptors, its limits,
 * its root, its privileges, its directory, its death signal, its title, in this order: root and limits need the
 * privileges, and a directory is entered without them. Functions return 0 or a negative errno and log nothing.
 */
#include "base/attrs.h"
#include "config/config.h"
#include "worker/worker.h"

/* A process group of its own; and a session of its own, without a terminal, for what becomes a program or loads foreign
 * code where the master has a terminal, which is not to be written to as if by the user before it (TIOCSTI). */
void worker_setup_group(const struct worker_start *start);

/* Closes everything but standard input, output and error, and what a worker needs. */
ATTR_NODISCARD int worker_setup_descriptors(const struct worker_start *start);

/* Becomes IDENTITY: supplementary groups, group, user, in this order, for good. */
ATTR_NODISCARD int worker_setup_identity(const struct identity *identity);

/*
 * Has the kernel send SIGURG when the master dies. After worker_setup_identity(): a change of credentials takes both
 * the dumpable flag and the death signal away (prctl(2)); a nursery stays without the flag. Returns -ESRCH if the
 * master is gone already.
 */
ATTR_NODISCARD int worker_setup_death_signal(const struct worker_start *start);

/* The soft limit of descriptors, and the OOM score, as they were before the master changed its own. Needs /proc. */
void worker_setup_inherited(const struct worker_start *start);

/* The pool's `limits`; on failure *ret_failed is the one that could not be set. */
ATTR_NODISCARD int worker_setup_limits(const struct pool_config *pool, const char **ret_failed);

/* The one of them that is set by each waiter for itself: `cpu`. */
ATTR_NODISCARD int worker_setup_time(const struct pool_config *pool);

/* The pool's `chroot`. */
ATTR_NODISCARD int worker_setup_root(const struct pool_config *pool);

/* The pool's `directory`, where its workers become programs: after worker_setup_identity(). */
ATTR_NODISCARD int worker_setup_directory(const struct pool_config *pool);

#endif
