/* SPDX-License-Identifier: MIT */
#ifndef MASTER_SPAWN_H
#define MASTER_SPAWN_H
/*
 * Makes processes; decides nothing, and knows nothing of what they run. The child starts with all signals blocked, in
 * the function it is given, and never returns into the master's frames.
 */
#include <sys/types.h>

#include "base/attrs.h"

/* Forks. The child calls ENTRY with ARGUMENT. Returns the pid, or a negative errno (EAGAIN: a limit, ENOMEM). */
ATTR_NODISCARD pid_t spawn(void (*entry)(void *argument), void *argument);

#endif
