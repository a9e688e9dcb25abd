/* SPDX-License-Identifier: MIT */
#include "policy/lifecycle.h"

#include <assert.h>

#include "base/attrs.h"

static const char *const phase_names[] = {
	[LIFE_STARTING] = "starting",
	[LIFE_SERVING] = "serving",
	[LIFE_DRAINING] = "draining",
	[LIFE_RETIRING] = "retiring",
	[LIFE_QUITTING] = "quitting",
	[LIFE_GONE] = "gone",
};
static_assert(ARRAY_SIZE(phase_names) == LIFE_PHASES, "a name for each phase");

/* LIFE_STARTING is 0 and no event leads to it: 0 stands for "stay". */
static const unsigned char transitions[LIFE_PHASES][LIFE_EVENTS] = {
	[LIFE_STARTING] = {
		[LIFE_READY] = LIFE_SERVING,
		[LIFE_START_FAILED] = LIFE_QUITTING,
		[LIFE_STOP] = LIFE_DRAINING,
		[LIFE_INTERRUPT] = LIFE_DRAINING,
		[LIFE_QUIT] = LIFE_QUITTING,
	},
	[LIFE_SERVING] = {
		[LIFE_STOP] = LIFE_DRAINING,
		[LIFE_INTERRUPT] = LIFE_DRAINING,
		[LIFE_QUIT] = LIFE_QUITTING,
	},
	[LIFE_DRAINING] = {
		[LIFE_INTERRUPT] = LIFE_QUITTING,
		[LIFE_QUIT] = LIFE_QUITTING,
		[LIFE_DRAINED] = LIFE_RETIRING,
		[LIFE_TIMEOUT] = LIFE_QUITTING,
	},
	[LIFE_RETIRING] = {
		[LIFE_INTERRUPT] = LIFE_QUITTING,
		[LIFE_QUIT] = LIFE_QUITTING,
		[LIFE_TIMEOUT] = LIFE_QUITTING,
		[LIFE_ALL_GONE] = LIFE_GONE,
	},
	[LIFE_QUITTING] = {
		[LIFE_ALL_GONE] = LIFE_GONE,
	},
};

enum life_phase lifecycle_next(enum life_phase phase, enum life_event event)
{
	unsigned char to = transitions[phase][event];

	return to == 0 ? phase : (enum life_phase)to;
}

const char *lifecycle_phase_name(enum life_phase phase)
{
	return phase_names[phase];
}
