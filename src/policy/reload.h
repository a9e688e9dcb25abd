/* SPDX-License-Identifier: MIT */
#ifndef POLICY_RELOAD_H
#define POLICY_RELOAD_H
/*
 * A reload as one transaction over all pools. Pure: it decides from the pools' policies (policy/pool.h has a pool's
 * part).
 *
 *	idle -> canary -> rolling -> idle              every canary became ready: committed in all pools
 *	        canary -> undoing -> idle (or rolling)  a canary failed: undone in all pools
 *
 * The master begins it, goes on as it always does (plans, events, deaths), and calls reload_step() after them and
 * before it asks for the next plans. A stop of the pools ends it, in each phase.
 *
 * While canaries are tried, and until they are out again, a second reload is refused: do it afterwards. While the pools
 * roll there may be one: it may be the cure of what makes the roll fail. They roll on while its canaries are tried; if
 * it is undone, the earlier roll is what is left.
 *
 * Where a pool has no start_timeout, a canary that hangs in its start holds the transaction up until it dies; so does a
 * program that asks for more time to start again and again.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/pool.h"

enum reload_phase {
	RELOAD_IDLE,
	RELOAD_CANARY,  /* each pool tries one worker of the new generation; the old one serves as if nothing were */
	RELOAD_ROLLING, /* committed; workers of earlier generations are being replaced */
	RELOAD_UNDOING, /* canaries have yet to be told to leave */
	RELOAD_PHASES,
};

enum reload_event {
	RELOAD_BEGIN,
	RELOAD_COMMIT,  /* every canary became ready */
	RELOAD_UNDO,    /* one failed */
	RELOAD_ROLLED,  /* no worker of an earlier generation serves any more */
	RELOAD_UNDONE,  /* no canary is there to serve any more */
	RELOAD_RESUMED, /* the same; the roll of an earlier reload goes on */
	RELOAD_STOPPED, /* a pool is ending */
	RELOAD_EVENTS,
};

/* The phase after EVENT, or RELOAD_PHASES where it cannot happen in PHASE. */
enum reload_phase reload_next(enum reload_phase phase, enum reload_event event);

const char *reload_phase_name(enum reload_phase phase);
const char *reload_event_name(enum reload_event event);

/* One pool's part; the caller's. Pools that come or go with the new configuration are none. */
struct reload_member {
	struct pool_policy *pool;
	struct pool_rules rules; /* from the commit on */
	uint32_t target;
};

struct reload {
	enum reload_phase phase;
	uint32_t generation;          /* of this reload, or of the last one */
	struct reload_member *member; /* the caller's, until idle or the next begin */
	size_t member_count;
	/* Of the last reload that was undone: */
	size_t refused_by; /* a member whose canary failed */
	enum canary_state refusal;
};

/*
 * Begins the reload to GENERATION, which is higher than any before it, refused ones included. Zeroed memory is idle.
 * Returns false, and changes nothing, where it cannot begin now: see above.
 */
bool reload_begin(
	struct reload *reload, struct reload_member *member, size_t member_count, uint32_t generation, uint64_t now_ms);

/* Every canary is ready, and a step would commit. Whoever has something to do before that, which may fail, does it now.
 */
bool reload_stands(const struct reload *reload, uint64_t now_ms);

/* A canary has failed, and a step would undo. Whoever has something to do before canaries are told to leave, does it
 * now.
 */
bool reload_falls(const struct reload *reload, uint64_t now_ms);

/* The caller refuses it, for a reason of its own: undone in all pools. Only in RELOAD_CANARY. */
void reload_undo(struct reload *reload);

/*
 * Commits in all pools, whatever has become of canaries since they were ready: what the caller did after
 * reload_stands() cannot be undone. A pool whose canary is gone rolls all the same. Only in RELOAD_CANARY.
 */
void reload_commit(struct reload *reload);

/* Makes the next transition that is due, if there is one, and says which; then it is to be called again. */
bool reload_step(struct reload *reload, uint64_t now_ms, enum reload_event *ret_event);

#endif
