/* SPDX-License-Identifier: MIT */
#ifndef MASTER_ADOPT_H
#define MASTER_ADOPT_H
/*
 * How a master goes on with what another image of its process has left it (master/adoption.h). Each step is taken in
 * the place of one of a start's, and falls back to that where there is nothing to take over. Without an adoption they
 * do nothing.
 *
 * Only the master calls these. All signals are blocked meanwhile.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/attrs.h"

struct master;

/* What the master was, before anything is made. */
void adopt_master(struct master *master);

/* Returns 0, -ENODATA where there is none to take over, or another negative errno. One that is not of this image's
 * layout or size is kept, like a killed master's, until its last worker has gone (master/survivors.h). */
ATTR_NODISCARD int adopt_board(struct master *master);

/* Each returns whether it was taken over. */
bool adopt_wake_fd(struct master *master);
bool adopt_pidfile(struct master *master);
bool adopt_ack(struct master *master);
bool adopt_control(struct master *master);

/* Puts the listeners into the table, before pools look for theirs; afterwards closes those that none wants: once the
 * start cannot fail any more, or will not be tried again. */
bool adopt_may_again(const struct master *master);
ATTR_NODISCARD int adopt_listeners(struct master *master);
void adopt_close_unused(struct master *master);

/* The logger's channel; and its process, which is to make room for one of this image. */
bool adopt_logger_channel(struct master *master);
bool adopt_logger(struct master *master, uint64_t now_ms);

/* Workers and their pools, pipes, what is hunted, and all other children, which are to finish. */
void adopt_workers(struct master *master, uint64_t now_ms);

/* Says what became of it. */
void adopt_report(struct master *master);

#endif
