/* SPDX-License-Identifier: MIT */
#ifndef POLICY_LIFECYCLE_H
#define POLICY_LIFECYCLE_H
/*
 * The life of the daemon as a whole: which phase follows which event. Pure.
 *
 *	starting -> serving -> draining -> retiring -> (quitting ->) gone
 *
 * Draining: new clients are refused, workers serve what is queued (DESIGN "refuse, drain, close"). Retiring: workers
 * finish their connections. Quitting: they are ended.
 */

enum life_phase {
	LIFE_STARTING,
	LIFE_SERVING,
	LIFE_DRAINING,
	LIFE_RETIRING,
	LIFE_QUITTING,
	LIFE_GONE,
	LIFE_PHASES,
};

enum life_event {
	LIFE_READY,        /* every pool is ready */
	LIFE_START_FAILED, /* a pool cannot be started */
	LIFE_STOP,         /* asked to stop (TERM) */
	LIFE_INTERRUPT,    /* INT: a stop; while one is under way, a quit */
	LIFE_QUIT,         /* QUIT */
	LIFE_DRAINED,      /* the listeners are empty */
	LIFE_TIMEOUT,      /* the stop's deadline has passed */
	LIFE_ALL_GONE,     /* no worker is left */
	LIFE_EVENTS,
};

/* The phase after EVENT; the same one where the event means nothing in it. */
enum life_phase lifecycle_next(enum life_phase phase, enum life_event event);

const char *lifecycle_phase_name(enum life_phase phase);

#endif
