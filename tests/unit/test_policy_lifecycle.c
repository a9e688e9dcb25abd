/* SPDX-License-Identifier: MIT */
/*
 * Every pair of a phase of the daemon and an event, against the table written here from the signals' meanings.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "base/attrs.h"
#include "policy/lifecycle.h"

static const char *const event_names[] = {
	[LIFE_READY] = "ready",
	[LIFE_START_FAILED] = "start failed",
	[LIFE_STOP] = "stop",
	[LIFE_INTERRUPT] = "interrupt",
	[LIFE_QUIT] = "quit",
	[LIFE_DRAINED] = "drained",
	[LIFE_TIMEOUT] = "timeout",
	[LIFE_ALL_GONE] = "all gone",
};

struct transition {
	enum life_phase from;
	enum life_event event;
	enum life_phase to;
};

/* All changes of phase; every other pair stays. */
static const struct transition changes[] = {
	{LIFE_STARTING,  LIFE_READY,        LIFE_SERVING },
	{ LIFE_STARTING, LIFE_START_FAILED, LIFE_QUITTING},

 /* TERM and INT drain, at any time before; QUIT ends at once. */
	{ LIFE_STARTING, LIFE_STOP,         LIFE_DRAINING},
	{ LIFE_SERVING,  LIFE_STOP,         LIFE_DRAINING},
	{ LIFE_STARTING, LIFE_INTERRUPT,    LIFE_DRAINING},
	{ LIFE_SERVING,  LIFE_INTERRUPT,    LIFE_DRAINING},
	{ LIFE_STARTING, LIFE_QUIT,         LIFE_QUITTING},
	{ LIFE_SERVING,  LIFE_QUIT,         LIFE_QUITTING},
	{ LIFE_DRAINING, LIFE_QUIT,         LIFE_QUITTING},
	{ LIFE_RETIRING, LIFE_QUIT,         LIFE_QUITTING},

 /* INT while a stop is under way ends at once; a second TERM does not. */
	{ LIFE_DRAINING, LIFE_INTERRUPT,    LIFE_QUITTING},
	{ LIFE_RETIRING, LIFE_INTERRUPT,    LIFE_QUITTING},

	{ LIFE_DRAINING, LIFE_DRAINED,      LIFE_RETIRING},
	{ LIFE_DRAINING, LIFE_TIMEOUT,      LIFE_QUITTING},
	{ LIFE_RETIRING, LIFE_TIMEOUT,      LIFE_QUITTING},

 /* Not while draining: clients are queued, and workers that died are replaced for them. */
	{ LIFE_RETIRING, LIFE_ALL_GONE,     LIFE_GONE    },
	{ LIFE_QUITTING, LIFE_ALL_GONE,     LIFE_GONE    },
};

static enum life_phase expected(enum life_phase from, enum life_event event)
{
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++)
		if (changes[i].from == from && changes[i].event == event)
			return changes[i].to;
	return from;
}

Test(policy_lifecycle, follows_the_table_for_every_phase_and_event)
{
	cr_assert_eq(ARRAY_SIZE(event_names), LIFE_EVENTS);
	for (enum life_phase from = 0; from < LIFE_PHASES; from++)
		for (enum life_event event = 0; event < LIFE_EVENTS; event++)
			cr_expect_eq(lifecycle_next(from, event), expected(from, event), "%s + %s",
				lifecycle_phase_name(from), event_names[event]);
}

Test(policy_lifecycle, never_goes_back)
{
	for (enum life_phase from = 0; from < LIFE_PHASES; from++)
		for (enum life_event event = 0; event < LIFE_EVENTS; event++)
			cr_expect_geq(lifecycle_next(from, event), from, "%s + %s", lifecycle_phase_name(from),
				event_names[event]);
}

/* What is bound to come in each phase of a stop, the deadline and the last worker's end, ends it. */
Test(policy_lifecycle, ends_every_stop_by_its_deadline)
{
	static const enum life_event ways_to_stop[] = { LIFE_STOP, LIFE_INTERRUPT, LIFE_QUIT };

	for (enum life_phase from = LIFE_STARTING; from <= LIFE_SERVING; from++)
		for (size_t i = 0; i < ARRAY_SIZE(ways_to_stop); i++) {
			enum life_phase phase = lifecycle_next(from, ways_to_stop[i]);

			phase = lifecycle_next(phase, LIFE_TIMEOUT);
			cr_expect_eq(lifecycle_next(phase, LIFE_ALL_GONE), LIFE_GONE, "%s + %s",
				lifecycle_phase_name(from), event_names[ways_to_stop[i]]);
		}
}

Test(policy_lifecycle, names_each_phase)
{
	for (enum life_phase i = 0; i < LIFE_PHASES; i++) {
		cr_assert_not_null(lifecycle_phase_name(i), "number %d", (int)i);
		for (enum life_phase j = 0; j < i; j++)
			cr_expect_str_neq(lifecycle_phase_name(i), lifecycle_phase_name(j));
	}
}
