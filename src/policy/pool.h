/* SPDX-License-Identifier: MIT */
#ifndef POLICY_POOL_H
#define POLICY_POOL_H
/*
 * The decisions about one pool: how many workers, when to start, retire and kill them. Pure: no system call, no
 * allocation, no clock. The master keeps one `struct pool_policy` a pool, tells it what happened, asks for a plan,
 * carries the plan out, and tells it so.
 *
 *	pool_policy_plan()   what to do now, and when to ask again; changes nothing
 *	pool_policy_event()  this was done, or has happened, to slot k
 *	pool_policy_died()   the process in slot k is gone: what kind of death, and what follows
 *
 * Invariants, after every call: the sum of count[] is the capacity; count[s] is the number of slots in state s; no plan
 * takes the used slots (all but SLOT_FREE) above the limit, or the workers meant to serve above the target; but
 * while the pool rolls they may be a step more, for a worn worker there is one more, and a reload's canary comes on
 * top, of the limit too.
 *
 * A pool's part in a reload (policy/reload.h has the whole) has two halves. First, one worker of the new generation,
 * the canary, is tried beside the others. Until the commit it does not exist for them: workers that die are replaced by
 * the generation, the rules and the target that the pool has, the canary's failures hold nothing back, its success
 * allows nothing. Then either nothing has changed (undo), or the new generation, rules and target hold (commit), and
 * the pool rolls: it starts workers of the new generation, and retires as many old ones as are ready beyond the target.
 *
 * A canary that cannot be born, or dies, is followed by another one, after pauses as the new rules have them for
 * failures in a row, until canaries have failed as often as starts may (rules.give_up_after), or it is too late for
 * one more. After one that hangs in its start there is no other: whoever waits has waited for start_timeout.
 *
 * The canary, and later each step of the roll, needs a slot that is free besides those of the target. So a pool that
 * is to be reloaded at its full size has a capacity of at least one more. Without room the canary waits for some time,
 * and then is one that failed: the old generation never makes room for it. A roll without room (the new target may be
 * the capacity, and processes that do not end may hold slots) retires one old worker first, and waits for its end.
 *
 * A step of the roll is over when the old workers that it has retired are gone: those that finish their connections
 * count among the workers there may be, so that a roll never needs the memory of two pools. Only those that nothing
 * bounds, such as programs of inetd pools, are not waited for.
 *
 * Recycling: a worker that has reached a limit is worn, and serves on. One more than the target is started, and once as
 * many are ready as the target and that one, a worn one is retired: so the pool is never short for it, whatever fails.
 * There is one such at a time, and the next one's turn comes when the last one is gone, or has taken POOL_PATIENCE_MS
 * for what it had to finish; nothing cuts it off. Where there is no free slot, the worn ones stay. While the pool
 * rolls, they wait for the end of it.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/backoff.h"
#include "policy/canary.h"
#include "policy/sizing.h"
#include "policy/slot.h"

/* After so many failures in a row at its start nobody waits for a pool that is never given up. */
#define POOL_START_ATTEMPTS 5
/* From "leave at once" to SIGKILL, and from SIGKILL until nobody waits any more. */
#define POOL_QUIT_GRACE_MS 1000
#define POOL_KILL_GRACE_MS 5000
/* A program that leaves with status 0 at this age, or later, recycles itself; one that leaves, or says that it does,
 * earlier has failed. */
#define POOL_RECYCLE_MS 100
/* So many workers more than the target there may be while a pool rolls, where the rules do not say: so many are
 * replaced at a time. */
#define POOL_ROLL_STEP 4
/* And one of so many, at least one, of a pool whose size goes by its load. */
#define POOL_ROLL_PART 10
/* So long a canary waits for a free slot. */
#define POOL_CANARY_ROOM_MS 10000
/* So long after a reload has begun a canary that failed may be tried again: whoever reloads waits for the verdict. */
#define POOL_CANARY_RETRY_MS 30000
/* So long the next worn worker waits for one that was recycled and finishes its connection. */
#define POOL_PATIENCE_MS 30000

struct pool_rules {
	uint32_t capacity;  /* slots; the target never exceeds it; no reload changes it */
	uint32_t limit;     /* of the slots in use, but for a canary's; 0: the capacity */
	uint32_t roll_step; /* so many workers beyond the target while the pool rolls; 0: POOL_ROLL_STEP, or a tenth of
			     * the target where that goes by the load */
	uint64_t start_timeout_ms;   /* from born to ready; 0: none */
	uint64_t ready_after_ms;     /* one that has lived for this long is ready; 0: not before it says so */
	uint64_t retire_timeout_ms;  /* from retiring to its end; 0: none but the stop's */
	uint64_t replace_timeout_ms; /* the same of one that is retired since the pool rolls; 0: as any other */
	uint64_t watchdog_ms;        /* one that is ready says so at least this often; 0: need not */
	uint64_t healthy_ms;         /* one that has been ready for this long has proven that its program works */
	uint32_t give_up_after;    /* so many failures in a row: the pool cannot be started; 0: it is tried for ever */
	uint64_t max_age_ms;       /* one that has lived for this long is worn; 0: none is */
	uint32_t jitter;           /* in percent: each worker's own limits are lower by a part of it, drawn for it */
	uint32_t overrun_warnings; /* so many before one whose request is overrun is killed */
	uint64_t overrun_grace_ms; /* after each of them */
	struct backoff_rules backoff;
	struct sizing_rules sizing; /* zeroed: a fixed size */
};

enum pool_phase {
	POOL_SERVING,  /* workers are kept at the target */
	POOL_RETIRING, /* all leave as they finish, until the stop's deadline; none is started */
	POOL_QUITTING, /* all leave at once */
};

/* What a slot's generation, and its wear, make of it. */
enum pool_role {
	POOL_CURRENT, /* of the pool's generation, and not worn */
	POOL_WORN,    /* of the pool's generation: to be replaced */
	POOL_OLD,     /* of an earlier one: to be replaced */
	POOL_CANARY,  /* of a later one: of a reload that is not committed, or was undone */
	POOL_ROLES,
};

/* What a commit will make the pool's. Meaningful unless the canary is CANARY_NONE. */
struct pool_reload {
	enum canary_state canary;
	uint32_t generation;
	struct pool_rules rules;
	uint32_t target;
	uint64_t try_ms;      /* of CANARY_WANTED: not before */
	uint64_t room_by_ms;  /* of CANARY_WANTED */
	uint64_t retry_by_ms; /* none is tried anew after this */
	uint32_t failures;    /* of canaries of this reload */
};

struct pool_policy {
	struct pool_rules rules;
	enum pool_phase phase;
	uint32_t generation; /* of workers that are started; 1 at first */
	uint32_t target;     /* workers meant to serve, 0 to capacity */
	uint32_t allowed;    /* of the slots in use: a share of what all pools may have; UINT32_MAX: any number */
	struct sizing sizing;
	struct pool_reload reload;
	struct backoff backoff;
	bool proven;    /* at the last death, some worker had served a connection to its end, or been ready for long */
	bool was_ready; /* as many workers as wanted have been ready at one time, or as many as would start */
	uint64_t stop_deadline_ms;    /* of phase RETIRING */
	enum slot_reason quit_reason; /* of phase QUITTING */
	uint32_t count[SLOT_STATES];
	uint32_t count_of[POOL_ROLES][SLOT_STATES]; /* the same by role, without SLOT_FREE */
	uint64_t random;                            /* for the jitter */
	struct slot *slots;                         /* the caller's; `capacity` of them */
};

struct pool_action {
	/* SLOT_ASK, SLOT_BECAME_READY, SLOT_WEAR, SLOT_RETIRE, SLOT_WARN, SLOT_QUIT, SLOT_KILL or SLOT_GIVE_UP */
	enum slot_event what;
	uint32_t slot;
	enum slot_reason reason; /* with SLOT_ASK: _RELOAD asks for the canary */
};

/* A plan is carried out before the master looks at its signals again, so it is kept short. */
#define POOL_PLAN_MAX 64

struct pool_plan {
	size_t count;
	struct pool_action actions[POOL_PLAN_MAX]; /* in this order; no slot twice */
	uint64_t wake_ms; /* when to ask again at the latest; at once after a plan with actions */
};

/* SLOTS: memory for rules->capacity slots, which stays the caller's. */
void pool_policy_init(struct pool_policy *pool, const struct pool_rules *rules, uint32_t target, struct slot *slots);

void pool_policy_plan(const struct pool_policy *pool, uint64_t now_ms, struct pool_plan *ret_plan);

/*
 * EVENT has happened to SLOT: any but SLOT_EXITED, which is pool_policy_died()'s. REASON counts for WEAR, RETIRE, WARN,
 * QUIT, KILL, and for ASK; it is the action's. After ASK the slot's generation says what the worker is to be started
 * for. Returns false, and changes nothing, where the slot's state does not know the event, or the worker that wears is
 * to be replaced already. After SLOT_FAILED the rest of the plan is stale: ask for a new one.
 */
bool pool_policy_event(
	struct pool_policy *pool, uint32_t slot, enum slot_event event, enum slot_reason reason, uint64_t now_ms);

/*
 * A program says that it lives, or asks for time: whatever SLOT's state waits for, it waits until DEADLINE, however
 * long that is. Returns false where no deadline of its own applies: to a worker that is ready without a watchdog, or
 * was told to leave at once.
 */
bool pool_policy_extend(struct pool_policy *pool, uint32_t slot, uint64_t deadline_ms);

/*
 * The request that the worker in SLOT serves has lasted too long: what the master does about it first, SLOT_WARN, or
 * SLOT_KILL where there are no warnings. What follows stands in the plan; before each step the master looks whether it
 * is the same request still, and where it has ended, the worker is retired (SLOT_RETIRE, SLOT_REASON_REQUEST_TIMEOUT).
 * Returns false where the state knows nothing of it, or it is known already.
 */
bool pool_policy_overruns(const struct pool_policy *pool, uint32_t slot, enum slot_event *ret_what);

/* Changes the target by DELTA, within 1 and the capacity; that of a reload under way, too. Returns the new one. */
uint32_t pool_policy_resize(struct pool_policy *pool, int delta);
/* Sets both, within the same bounds. */
uint32_t pool_policy_scale(struct pool_policy *pool, uint32_t target);

/* ---- size: policy/sizing.h has the rules ---- */

/* The worker in SLOT, which is ready, is idle since SINCE; 0: it has a connection. A worker that has just become ready
 * is idle. Before a look, of each; of pools whose busy workers nobody knows, of none. */
void pool_policy_note_idle(struct pool_policy *pool, uint32_t slot, uint64_t since_ms);

/* The master has looked: moves the target. Returns when to look again at the latest, as long as nothing tells of a
 * change before; DEADLINE_NONE where the pool's size is fixed. */
uint64_t pool_policy_load(struct pool_policy *pool, const struct sizing_load *load, uint64_t now_ms);

/* Whether a client is to be waited for, since nobody does: the pool sleeps, and nothing would hold its start back. */
bool pool_policy_awaits_demand(const struct pool_policy *pool, uint64_t now_ms);

/* A client is there. Does nothing unless the pool sleeps. */
void pool_policy_demand(struct pool_policy *pool, uint64_t now_ms);

/* How many slots the pool would have in use if it had what its load asks for. */
uint32_t pool_policy_wish(const struct pool_policy *pool);

/* Its share: no more than MOST slots in use. What is beyond leaves: idle workers at once, busy ones as they finish. */
void pool_policy_allow(struct pool_policy *pool, uint32_t most);

/* Ends the pool: gracefully until DEADLINE, or at once (for SLOT_REASON_STOP or _STOP_TIMEOUT). The second may follow
 * the first. Each ends a reload that is under way. */
void pool_policy_retire(struct pool_policy *pool, uint64_t deadline_ms);
void pool_policy_quit(struct pool_policy *pool, enum slot_reason reason);
/* A worker that finishes has asked for time: while the pool retires, it may, until DEADLINE. The others keep theirs. */
void pool_policy_postpone(struct pool_policy *pool, uint64_t deadline_ms);

/* What LIMIT, which is not 0, is for the worker in SLOT: less the part that was drawn for it, but at least 1. */
uint64_t pool_policy_own_limit(const struct slot *slot, uint64_t limit);

/* From now on other parts are drawn. Without it they are the same in each life. */
void pool_policy_seed(struct pool_policy *pool, uint64_t seed);

/* Whether the worker in SLOT can become worn: it serves, and nobody is about to take its place. */
bool pool_policy_can_wear(const struct pool_policy *pool, uint32_t slot);

/* Workers that are worn, and serve. */
uint32_t pool_policy_worn(const struct pool_policy *pool);

/* Workers that were worn, have left their place to others, and are not gone. */
uint32_t pool_policy_recycled(const struct pool_policy *pool);

/* Workers that serve or will serve; a canary is not one of them. */
uint32_t pool_policy_serving(const struct pool_policy *pool);

/* Workers that still have, or will have, a process to wait for. */
uint32_t pool_policy_living(const struct pool_policy *pool);

/* How many workers more the limit allows. */
uint32_t pool_policy_room(const struct pool_policy *pool);

/* Every worker that is wanted is ready (or has been, once), or all that will start are; or the pool is one that is
 * tried for ever, and that may take as long. */
bool pool_policy_is_ready(const struct pool_policy *pool);

/* The pool never was ready, no worker is, and rules.give_up_after starts in a row have failed. */
bool pool_policy_start_failed(const struct pool_policy *pool);

/*
 * Failures hold the pool back, or have until not long ago: no worker that was started after the last one is healthy
 * yet, or some are still on their way. At *RET_LOOK_MS that may change, if nothing happens before.
 */
bool pool_policy_is_degraded(const struct pool_policy *pool, uint64_t now_ms, uint64_t *ret_look_ms);

/* ---- upgrade ---- */

/* By when the worker in slot NUMBER must have left, where it was asked to; DEADLINE_NONE where it was not, or where it
 * may take its time. For whoever waits for it when this pool is no more. */
uint64_t pool_policy_leaves_by(const struct pool_policy *pool, uint32_t number);

/* What a pool goes on with that another image of the master's has kept: its generation, which later ones exceed, and
 * what it has learned so far. Before it has any worker. */
struct pool_memory {
	uint32_t generation;
	uint32_t target;
	struct backoff backoff;
	bool proven;
	bool was_ready;
	struct sizing sizing;
};

void pool_policy_resume(struct pool_policy *pool, const struct pool_memory *memory);

/* A worker of that pool's lives in slot NUMBER, as SLOT says. Returns false, and changes nothing, where it cannot: the
 * number is beyond the capacity or has a worker, or the state is one without a process. */
bool pool_policy_adopt(struct pool_policy *pool, uint32_t number, const struct slot *slot);

/* ---- reload ---- */

/*
 * Begins a reload: the canary is wanted. GENERATION is higher than any before it; the capacity in RULES is not looked
 * at. Returns false, and changes nothing, where the pool is ending, another reload is under way or the canary of one
 * has not left yet, or the generation is not higher than the pool's. A pool that still rolls may begin: it rolls on.
 */
bool pool_policy_reload(struct pool_policy *pool, uint32_t generation, const struct pool_rules *rules, uint32_t target,
	uint64_t now_ms);

enum canary_state pool_policy_canary(const struct pool_policy *pool, uint64_t now_ms);

/* The new generation, rules and target hold; where the size goes by the load, the pool keeps what it has, within the
 * new bounds. What the old generation has failed at holds nothing back any more. Returns false, and changes nothing,
 * unless the canary is CANARY_READY. */
bool pool_policy_commit(struct pool_policy *pool);
/* The same whatever has become of the canary; false where no reload is under way. */
bool pool_policy_commit_anyway(struct pool_policy *pool);

/* Nothing holds; the canary is retired. Does nothing where no reload is under way. */
void pool_policy_undo(struct pool_policy *pool);

/* Workers of an earlier generation serve, or will serve. */
bool pool_policy_is_rolling(const struct pool_policy *pool);

/* Canaries that are there to serve: of a reload that was undone, those that have not been told to leave yet. */
uint32_t pool_policy_canaries(const struct pool_policy *pool);

/* ---- deaths ---- */

/* What the master knows of a death; of what it served by the scoreboard, which is hearsay but good enough. */
struct death {
	bool by_signal;
	int code;             /* the signal, or the exit status */
	bool dumped_core;     /* with by_signal; decides nothing */
	uint64_t served;      /* connections served to their end by this worker */
	bool serving;         /* it had a connection */
	bool pool_has_served; /* any worker of the pool has served one */
	bool was_told;        /* it left because somebody's signal told it to */
	bool of_our_signal;   /* by the signal that the master sent it last: a program's way to leave */
	bool accepts;         /* a program that accepts for itself: what it has served is not known */
	bool not_executed;    /* it had a connection, and could not become its program */
};

enum death_kind {
	DEATH_RETIRED, /* was asked to leave, and left with status 0 */
	/* Left with status 0: since it was worn, see the reason; or by itself, after it was ready (or, of a program,
	 * lived for a while). */
	DEATH_RECYCLED,
	DEATH_FINISHED, /* the program that served one connection has ended, however it did */
	DEATH_EXITED,   /* any other exit */
	DEATH_SIGNALED, /* by a signal that was not ours */
	DEATH_KILLED,   /* by the master: see the reason */
	DEATH_KINDS,
};

const char *death_kind_name(enum death_kind kind);

enum death_sequel {
	DEATH_NOT_REPLACED, /* the pool shrinks or stops */
	DEATH_REPLACED,     /* at once */
	DEATH_BACKING_OFF,  /* after retry_ms */
	DEATH_SEQUELS,
};

const char *death_sequel_name(enum death_sequel sequel);

struct death_verdict {
	enum death_kind kind;
	enum slot_reason reason; /* with DEATH_RETIRED, DEATH_KILLED, and DEATH_RECYCLED where it was worn */
	bool before_ready;
	bool failure; /* counts against the pool, or against the reload whose canary it was */
	uint64_t age_ms;
	enum death_sequel sequel;
	uint64_t retry_ms; /* with DEATH_BACKING_OFF; 0: not before the worker that goes first serves */
};

/* The process in SLOT is gone. Returns false where it had none. */
bool pool_policy_died(struct pool_policy *pool, uint32_t slot, const struct death *death, uint64_t now_ms,
	struct death_verdict *ret_verdict);

#endif
