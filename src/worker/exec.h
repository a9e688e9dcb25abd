/* SPDX-License-Identifier: MIT */
#ifndef WORKER_EXEC_H
#define WORKER_EXEC_H
/*
 * How a worker becomes another program: the environment it is given, its standard descriptors, execve(2). For the
 * handlers inetd and program; nothing here returns to the loop but by failing. Functions return 0 or a negative errno
 * and log nothing.
 */
#include <stdbool.h>
#include <stddef.h>

#include "base/attrs.h"
#include "config/config.h"

/* ---- the environment: PATH, and what is added; nothing is inherited ---- */

struct exec_env {
	char **list; /* NAME=value, ended by NULL */
	size_t count;
	size_t capacity;
	bool failed; /* memory was short */
};

/* With the PATH of this process, or a usual one where it has none. */
void exec_env_init(struct exec_env *env);
void exec_env_done(struct exec_env *env);

/* Sets NAME, in the place of an earlier value. */
void exec_env_set(struct exec_env *env, const char *name, const char *format, ...) ATTR_PRINTF(3, 4);

/* The same for each NAME=value of a list ended by NULL: what the configuration says goes over all else. */
void exec_env_set_all(struct exec_env *env, char *const *assignments);

/* ---- the descriptors ---- */

/* Makes IN, OUT and ERR descriptors 0, 1 and 2, which stay open at execve(2); the others were opened close-on-exec. */
ATTR_NODISCARD int exec_standard(int in, int out, int err);

/* ---- the end ---- */

/*
 * Goes to PROGRAM's directory, gives all signals their default action and unblocks them, and becomes the program.
 * Returns a negative errno, or not at all.
 */
ATTR_NODISCARD int exec_program(const struct program_config *program, const struct exec_env *env);

#endif
