/* SPDX-License-Identifier: MIT */
#ifndef POLICY_CANARY_H
#define POLICY_CANARY_H
/*
 * The life of a reload's canary in one pool: which state follows which event. Pure; the pool (policy/pool.h) keeps it.
 */
#include <stdbool.h>

/* The last ones are its failures. After some of them it is tried again: the pool decides. */
enum canary_state {
	CANARY_NONE,   /* no reload, or it is committed or undone */
	CANARY_WANTED, /* not asked for yet, or not again */
	CANARY_ASKED,  /* asked for, and not ready */
	CANARY_READY,  /* it was ready. It may have left since, in a way that says nothing against it */
	CANARY_NOT_BORN,
	CANARY_DIED,
	CANARY_TIMED_OUT,
	CANARY_NO_ROOM, /* no slot was free for it for too long */
	CANARY_STATES,
};

enum canary_event {
	CANARY_BEGIN,
	CANARY_ASK,
	CANARY_LACKS_ROOM,
	CANARY_FAILS_BIRTH,
	CANARY_STANDS,  /* it became ready */
	CANARY_OVERDUE, /* it did not, in time */
	CANARY_FALLS,   /* it ended, and that is a failure */
	CANARY_LEAVES,  /* it ended, and that is none: unless it never was ready */
	CANARY_AGAIN,   /* another one is to be tried */
	CANARY_END,     /* commit or undo */
	CANARY_EVENTS,
};

/* The state after EVENT; the same one where the event means nothing in it. */
enum canary_state canary_next(enum canary_state state, enum canary_event event);

bool canary_has_failed(enum canary_state state);

const char *canary_state_name(enum canary_state state);

#endif
