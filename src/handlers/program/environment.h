/* SPDX-License-Identifier: MIT */
#ifndef HANDLERS_PROGRAM_ENVIRONMENT_H
#define HANDLERS_PROGRAM_ENVIRONMENT_H
/*
 * What a program that accepts for itself finds in its environment: the words of all contracts at once (systemd,
 * Einhorn, Server::Starter), and what the configuration adds. Each contract has descriptors of its own for the
 * listeners, in the order of `listen`, so that a program (or a launcher before it) may close, or mark close-on-exec,
 * those of the contract that it follows, and nobody else loses any.
 */
#include <stddef.h>
#include <sys/types.h>

#include "worker/exec.h"
#include "worker/host.h"

/* The first of the contract's descriptors, for COUNT listeners. */
#define PROGRAM_SYSTEMD_FD        3
#define PROGRAM_STARTER_FD(count) (PROGRAM_SYSTEMD_FD + (int)(count))
#define PROGRAM_EINHORN_FD(count) (PROGRAM_SYSTEMD_FD + 2 * (int)(count))
#define PROGRAM_FREE_FD(count)    (PROGRAM_SYSTEMD_FD + 3 * (int)(count))

/* PID: the process that becomes the program. Whether memory sufficed, ENV says. */
void program_environment(const struct brood_host *host, pid_t pid, struct exec_env *env);

#endif
