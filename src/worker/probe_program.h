/* SPDX-License-Identifier: MIT */
#ifndef WORKER_PROBE_PROGRAM_H
#define WORKER_PROBE_PROGRAM_H
/*
 * Whether a pool's workers will be able to become its program: what execve(2) would say, found out without a call of
 * it.
 */
#include <stddef.h>

#include "base/attrs.h"
#include "config/config.h"

/*
 * Looks at pool->program in a child (worker/probe.h). Returns 0, or a negative errno with the reason in REASON of SIZE
 * bytes, in words that continue the program's path: "does not exist", "is a script whose interpreter /bin/x is not
 * executable for user www", ...
 */
ATTR_NODISCARD int probe_program(const struct pool_config *pool, char *reason, size_t size);

#endif
