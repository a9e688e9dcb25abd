/* SPDX-License-Identifier: MIT */
#ifndef CLI_DAEMONIZE_H
#define CLI_DAEMONIZE_H
/*
 * Detaching from the terminal (daemon(7), "SysV daemons"): the process that was called stays until the daemon says how
 * its start went, and leaves with that exit status.
 */
#include "base/attrs.h"

/*
 * Returns 0 in the daemon: a process of a session of its own that cannot get a terminal again. The caller's process
 * does not return, unless nothing could be forked: then a negative errno.
 */
ATTR_NODISCARD int daemonize(void);

/* Says that the start is over, with STATUS. The first call counts; does nothing where daemonize() was not called. */
void daemonize_report(int status);

#endif
