/* SPDX-License-Identifier: MIT */
#ifndef MASTER_RELOAD_PRIVATE_H
#define MASTER_RELOAD_PRIVATE_H
/*
 * What the files of a reload share: reload.c has its stages, reload_pools.c what each does to pools and listeners.
 */
#include "base/log.h"
#include "master/bind.h"
#include "master/reload.h"

/* ---- reload.c ---- */

/* The file is accepted, or a restart needs none: makes what the canaries need, and begins. */
void reload_try(struct master *master, uint64_t now_ms);
/* REASON ends what was tried: it is undone. */
void reload_refuse_attempt(struct master *master, const char *reason);

/* Each line of TEXT to the log and to those who wait. */
void reload_tell_lines(struct master *master, enum log_level level, const char *event, const char *text);

/* ---- reload_pools.c ---- */

/* Finds or binds the listeners of each pool that is tried, and notes the members. On failure REASON says why. */
void reload_prepare_pools(struct master *master, char *reason, size_t size);
void reload_members_done(struct reload_members *members);

/* New listeners listen. Returns false, with *ret_failure, where one cannot. */
bool reload_listen(struct master *master, struct bind_failure *ret_failure);
/* Canaries accept; listeners that are gone refuse. */
void reload_release(struct master *master);
/* These are empty. */
bool reload_drained(struct master *master);

/* New listeners that are open to clients already, for programs, refuse; and `opened` says which. Returns false: none.
 */
bool reload_close_new(struct master *master);
/* They are empty, or nobody is there who would serve who waits. */
bool reload_new_are_done(struct master *master);

/* The new configuration is the one in force. */
void reload_commit_pools(struct master *master, uint64_t now_ms);
/* What changed, to the log and to those who wait. */
void reload_tell_changes(struct master *master);

/* What was made for the new one goes. The policy has been told. */
void reload_undo_pools(struct master *master);
/* No process of it is left. */
bool reload_is_undone(struct master *master);

/* Frees what no worker was started for any more, and pools that are gone. */
void reload_sweep(struct master *master);
/* CONFIG (NULL: none) stays until then. */
void reload_keep_old(struct master_reload *reload, struct config *config);
void reload_free_old(struct master *master);

#endif
