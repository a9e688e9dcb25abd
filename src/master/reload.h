/* SPDX-License-Identifier: MIT */
#ifndef MASTER_RELOAD_H
#define MASTER_RELOAD_H
/*
 * The hands of policy/reload.h: a reload as one transaction over the file, the listeners and the workers.
 *
 *	idle -> checking    a child loads and checks the file, as --check does
 *	     -> trying      new listeners are bound, and one canary of each pool starts, held before its first accept
 *	     -> draining    no way back: new listeners listen, canaries accept, and what is gone refuses until empty
 *	     -> rolling     committed: the new configuration is in force, and workers are replaced a few at a time
 *	     -> undoing     refused: the old configuration was in force all the time; what was made for the new one ends
 *
 * Requests that come while one is under way are merged into one that follows; it may begin while the pools still roll.
 * A restart of one pool is a reload of that pool alone, with the configuration that it has.
 *
 * A canary that is a program cannot be held: its new listeners listen from its start on. Where the reload is undone
 * they refuse first, and canaries leave when they are empty (bounded by stop_timeout), or nobody is left who could
 * serve.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/reload.h"
#include "worker/checker.h"

struct config;
struct config_diff;
struct death_verdict;
struct master;
struct pool;
struct pool_config;

enum reload_stage {
	RELOAD_STAGE_IDLE,
	RELOAD_STAGE_CHECKING,
	RELOAD_STAGE_TRYING,
	RELOAD_STAGE_DRAINING,
	RELOAD_STAGE_ROLLING,
	RELOAD_STAGE_UNDOING,
};

/* A configuration that was in force, or tried, and whose memory workers may still be read by. */
struct reload_old {
	struct config *config;
	struct reload_old *next;
};

/* The pools of a transaction. */
struct reload_members {
	struct reload_member *list;
	struct pool **pools; /* of each */
	size_t count;
};

#define RELOAD_REASON_MAX 1024

struct master_reload {
	enum reload_stage stage;
	bool wanted;              /* asked for, and not begun */
	bool wanted_by_upgrade;   /* and by nobody else */
	uint64_t restarts_wanted; /* restarts of pools that are asked for, and not begun: see struct pool */
	bool is_restart;          /* of one pool; else of all */
	bool is_of_upgrade;       /* the pools keep the sizes that an operator has given them */
	uint64_t ticket;          /* of the requests that wait for it: master/requests.h */
	struct checker checker;
	struct config *config;   /* the one that is tried; NULL with a restart */
	struct config *in_force; /* NULL: still the first one, which is the caller's */
	struct config_diff *diff;
	struct reload policy;
	struct reload_members members; /* that the policy goes by */
	struct reload_members tried;   /* and will, if it begins */
	int hold_fd;                   /* what canaries wait for; -1: none */
	uint64_t drain_by_ms;
	uint64_t drain_check_ms;
	uint64_t drain_step_ms;
	char opened[256];               /* new listeners that were open to clients before they were undone; "": none */
	bool opened_drained;            /* all who came have been served */
	char reason[RELOAD_REASON_MAX]; /* why it is refused */
	char last[RELOAD_REASON_MAX];   /* the last verdict, if it was a refusal; "" else */
	struct reload_old *old;
	bool sweep_due; /* a worker of another configuration than its pool's has gone, or one came to be old */
	bool unsettled; /* listeners may be as workers before a reload needed them */
};

void reload_init(struct master *master);
void reload_done(struct master *master);

/* Somebody wants one: as soon as that can be. */
void reload_request(struct master *master);
/* The image before this one has been upgraded. */
void reload_request_upgraded(struct master *master);
/* Restarts POOL, by its name. Returns false where there is none. */
bool reload_request_restart(struct master *master, const char *pool);

/* After events and deaths, before the pools' plans. Returns when to call again at the latest. */
uint64_t reload_act(struct master *master, uint64_t now_ms);

/* The checker has something to say; it has ended with STATUS. */
void reload_hear_checker(struct master *master);
void reload_checker_died(struct master *master, int status, uint64_t now_ms);

/* A worker of POOL in SLOT is dead, as the policy knows; HOW is the text of its death. Before it is forgotten. */
void reload_note_death(struct master *master, struct pool *pool, uint32_t slot, const char *how);
/* A line that its program wrote to its standard error. */
void reload_note_line(struct master *master, struct pool *pool, uint32_t slot, const char *line, size_t size);

/* "idle", "checking", ... */
const char *reload_stage_name(enum reload_stage stage);

#endif
