/* SPDX-License-Identifier: MIT */
#ifndef MASTER_MASTER_H
#define MASTER_MASTER_H
/*
 * The master: binds, forks, supervises. It never touches a client's bytes, keeps its pid for life, has one thread and
 * one wait, and does not die of memory, fork or descriptor exhaustion once it is ready.
 */
#include <stdbool.h>

#include "base/attrs.h"
#include "base/image.h"
#include "config/config.h"
#include "master/adoption.h"
#include "net/inherited.h"

struct master_options {
	bool detached;               /* standard input, output and error go to /dev/null once the listeners are bound */
	struct inherited *inherited; /* sockets of the service manager's; what is not used is closed */
	/* Called once: EXIT_STATUS_OK when every pool is ready. A start that fails is the result of master_run(). */
	void (*report_ready)(void);
	const struct image *image;          /* that this process was started as, and that an upgrade executes */
	const struct adoption *adoption;    /* what another image of this process has left */
	const struct config_origin *origin; /* where the configuration comes from, and may come from again */
};

/* Runs until a signal ends it. Returns an exit status (base/exit_status.h); everything it made is removed. */
ATTR_NODISCARD int master_run(const struct config *config, const struct master_options *options);

#endif
