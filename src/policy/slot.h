/* SPDX-License-Identifier: MIT */
#ifndef POLICY_SLOT_H
#define POLICY_SLOT_H
/*
 * The life of one slot of a pool: which state follows which event. Pure; the pool (policy/pool.h) keeps the slots.
 *
 * Asking for a worker is apart from its birth: the plan says "start in slot k" (ASK), and later comes BORN with a pid,
 * or FAILED. So a slow or failing way of making processes changes nothing here.
 */
#include <stdbool.h>
#include <stdint.h>

enum slot_state {
	SLOT_FREE,     /* no process, and none asked for */
	SLOT_ASKED,    /* a process has been asked for, and has no pid yet */
	SLOT_STARTING, /* a process that is not ready */
	SLOT_READY,    /* serves */
	SLOT_RUNNING,  /* took its one connection and became a program: serves it, and takes no other */
	SLOT_RETIRING, /* asked to finish its connection and leave */
	SLOT_OVERRUN,  /* its request takes too long: it was warned of the end that follows */
	SLOT_QUITTING, /* asked to leave at once */
	SLOT_KILLED,   /* SIGKILL was sent */
	SLOT_LOST,     /* SIGKILL did not end it in time (it hangs in the kernel): nobody waits for it any more */
	SLOT_STATES,   /* how many there are; also "no such transition" */
};

enum slot_event {
	SLOT_ASK,
	SLOT_BORN,
	SLOT_FAILED,
	SLOT_BECAME_READY,
	SLOT_TAKEN, /* a worker of an inetd pool has taken its connection */
	SLOT_WEAR,  /* it has reached a limit: it serves until another has taken its place */
	SLOT_RETIRE,
	SLOT_WARN, /* a signal on the way from an overrun request to SIGKILL; there may be several, or none */
	SLOT_QUIT,
	SLOT_KILL,
	SLOT_GIVE_UP,
	SLOT_EXITED,
	SLOT_EVENTS,
};

/* Why the master ended a worker, or asked it to leave. */
enum slot_reason {
	SLOT_REASON_NONE,
	SLOT_REASON_SCALE_DOWN,
	SLOT_REASON_RELOAD,        /* a worker of a later generation has taken its place */
	SLOT_REASON_RELOAD_UNDONE, /* it was the canary of a reload that was undone */
	SLOT_REASON_STOP,
	SLOT_REASON_STOP_TIMEOUT,
	SLOT_REASON_START_TIMEOUT,
	SLOT_REASON_REQUEST_TIMEOUT,
	SLOT_REASON_WATCHDOG,         /* a program has not said for too long that it lives */
	SLOT_REASON_ITSELF,           /* a program has said that it stops */
	SLOT_REASON_RECYCLE_REQUESTS, /* it was worn, and another has taken its place */
	SLOT_REASON_RECYCLE_AGE,
	SLOT_REASON_RECYCLE_MEMORY,
	SLOT_REASONS,
};

struct slot {
	enum slot_state state;
	enum slot_reason reason;
	bool was_ready;
	enum slot_reason worn; /* the limit that it has reached; SLOT_REASON_NONE: none */
	uint64_t worn_ms;      /* since when; meaningful if worn */
	uint32_t jitter_ppm;   /* its own limits are lower by so many millionths */
	uint32_t generation;   /* of the configuration that this worker was asked for */
	uint32_t volley;       /* the pool's, when this worker was asked for (policy/backoff.h) */
	uint64_t asked_ms;     /* of this life */
	uint64_t ready_ms;     /* meaningful if was_ready */
	uint64_t idle_ms;      /* while ready: since when it has no connection; 0: it has one, or nobody knows */
	uint64_t ready_at_ms;  /* while starting: when to take it for ready; DEADLINE_NONE: once it says so */
	uint64_t deadline_ms;  /* when this state has lasted too long; DEADLINE_NONE: it may last */
	uint64_t awaited_ms;   /* recycled, and leaving: no other one is before that; 0: others need not wait */
	uint32_t warnings;     /* of the request that is overrun: so many were given */
	uint64_t leave_by_ms;  /* while overrun: the deadline that it had before, if it was retiring */
};

/* The state after EVENT, or SLOT_STATES where the event cannot happen in STATE. */
enum slot_state slot_next(enum slot_state state, enum slot_event event);

/* Whether it may finish the connection that it has, and then leaves. */
static inline bool slot_is_finishing(enum slot_state state)
{
	return state == SLOT_RETIRING || state == SLOT_OVERRUN;
}

/* Whether it was told to leave, in whatever way, and is waited for. */
static inline bool slot_is_leaving(enum slot_state state)
{
	return slot_is_finishing(state) || state == SLOT_QUITTING || state == SLOT_KILLED;
}

/* How many of those there are, by how many are in each state. */
static inline uint32_t slot_leaving_in(const uint32_t count[SLOT_STATES])
{
	return count[SLOT_RETIRING] + count[SLOT_OVERRUN] + count[SLOT_QUITTING] + count[SLOT_KILLED];
}

const char *slot_state_name(enum slot_state state);
const char *slot_event_name(enum slot_event event);
const char *slot_reason_name(enum slot_reason reason);

/* Whether it says that a worker was worn. */
bool slot_reason_is_recycling(enum slot_reason reason);

#endif
