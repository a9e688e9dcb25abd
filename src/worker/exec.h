/* SPDX-License-Identifier: MIT */
#ifndef WORKER_EXEC_H
#define WORKER_EXEC_H
/*
 * How a worker becomes another program: the environment it is given, its standard descriptors, execve(2). For the
 * handlers inetd and program; nothing here returns to the loop but by failing. Functions return 0 or a negative errno
 * and log nothing.
 *
 * Its directory, its limits, its user: the worker has them since its set-up (worker/setup.h).
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

/* PATH=... as exec_env_init() begins with, for who makes the list by himself. It is no copy. */
char *exec_path(void);

/* ---- the descriptors ---- */

/* Makes IN, OUT and ERR descriptors 0, 1 and 2, which stay open at execve(2); the others were opened close-on-exec. A
 * negative one leaves its number as it is. */
ATTR_NODISCARD int exec_standard(int in, int out, int err);

/* ---- the end ---- */

/* Gives all signals their default action, and then unblocks them: one that came in the meantime, such as the stop
 * signal of a program that is being made, ends the process; a handler of the master's would swallow it. */
void exec_reset_signals(void);

/*
 * Becomes the program. What is left of the signals is execve(2)'s: handlers turn into default actions by it, while
 * what is ignored or blocked stays so; a program that must not inherit that needs exec_reset_signals() before.
 * Returns a negative errno, or not at all: -E2BIG and the like are of the program, -ENOMEM too where ENV has failed.
 */
ATTR_NODISCARD int exec_program(const struct program_config *program, const struct exec_env *env);

#endif
