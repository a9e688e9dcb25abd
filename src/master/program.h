/* SPDX-License-Identifier: MIT */
#ifndef MASTER_PROGRAM_H
#define MASTER_PROGRAM_H
/*
 * Workers that are programs: they know nothing of the scoreboard, so the master writes their lines, by what they say to
 * their NOTIFY_SOCKET or acknowledge to Einhorn's socket, and by how it ends them.
 *
 * Only the master calls these: of workers that are programs, but for program_prepare(), which makes nothing for
 * others, and program_forget().
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attrs.h"
#include "master/ack.h"
#include "master/notify_socket.h"
#include "policy/pool.h"

struct master;
struct pool;
struct pool_config;
struct worker;

/* How a program speaks to the master: what it is given at its start, in memory that the child has too. */
struct program_channel {
	int notify_fd; /* -1: no NOTIFY_SOCKET; the master keeps it */
	char notify_path[NOTIFY_PATH_MAX];
	char ack_path[ACK_PATH_MAX]; /* "": none */
};

/* What only pools of programs need, where there is one, or will be. To be called again costs nothing. Returns 0 or a
 * negative errno. */
ATTR_NODISCARD int programs_prepare(struct master *master);
/* Before the fork. Returns 0 or a negative errno. The descriptor is the caller's until program_born(). */
ATTR_NODISCARD int program_prepare(
	const struct master *master, const struct pool_config *config, struct program_channel *ret_channel);
/* It was born: from here on it is heard. */
void program_born(struct master *master, struct pool *pool, uint32_t slot, const struct program_channel *channel);
/* The worker is gone: closes what was opened for it. */
void program_forget(const struct master *master, struct worker *worker);
/* Its NOTIFY_SOCKET has something to say. */
void program_notified(struct master *master, struct pool *pool, uint32_t slot, uint64_t now_ms);
/* An action is due since it has said nothing in time. Hears what has come meanwhile, which the master may have been too
 * late to read. Returns whether it is not due any more. */
bool program_speaks_up(struct master *master, struct pool *pool, const struct pool_action *action, uint64_t now_ms);
/* It is about to be reaped: what it has said is heard, and its process group ends with it. */
void program_ends(struct master *master, struct pool *pool, uint32_t slot, uint64_t now_ms);
/* It has notified, or acknowledged, that it is ready; to say so again changes nothing. */
void program_became_ready(struct master *master, struct pool *pool, uint32_t slot, uint64_t now_ms);
/* The signal that carries out an action on one. */
int program_action_signal(const struct pool *pool, const struct pool_action *action);
/* Whom workers started for CONFIG run as. */
uid_t program_uid(const struct pool_config *config);

#endif
