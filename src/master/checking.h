/* SPDX-License-Identifier: MIT */
#ifndef MASTER_CHECKING_H
#define MASTER_CHECKING_H
/*
 * What the master's children that check something have in common: for a client (check.h), for a reload (reload.h), for
 * an upgrade (upgrade.h). Each has a struct checker (worker/checker.h), whose pipe is one of the master's events.
 *
 * Only the master calls these.
 */
#include "master/watch.h"
#include "worker/checker.h"

struct master;

/* Has what CHECKER says arrive as an event of KIND. Without it all is read once the child has ended; only one that says
 * very much then waits for its deadline. Returns 0 or a negative errno. */
int checking_watch(const struct master *master, const struct checker *checker, enum watch_kind kind);

/* Reads what is there. */
void checking_hear(const struct master *master, struct checker *checker);

/* Before it is reaped. */
void checking_unwatch(const struct master *master, const struct checker *checker);

#endif
