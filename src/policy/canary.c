/* SPDX-License-Identifier: MIT */
#include "policy/canary.h"

#include <assert.h>

#include "base/attrs.h"

static const char *const state_names[] = {
	[CANARY_NONE] = "none",
	[CANARY_WANTED] = "wanted",
	[CANARY_ASKED] = "asked",
	[CANARY_READY] = "ready",
	[CANARY_NOT_BORN] = "not born",
	[CANARY_DIED] = "died",
	[CANARY_TIMED_OUT] = "start_timeout",
	[CANARY_NO_ROOM] = "no free slot",
};
static_assert(ARRAY_SIZE(state_names) == CANARY_STATES, "a name for each state");

/* CANARY_NONE is 0, so the table holds the state plus one, and 0 is "stay". */
#define TO(state) ((state) + 1)

static const unsigned char transitions[CANARY_STATES][CANARY_EVENTS] = {
	[CANARY_NONE] = { [CANARY_BEGIN] = TO(CANARY_WANTED) },
	[CANARY_WANTED] = {
		[CANARY_ASK] = TO(CANARY_ASKED),
		[CANARY_LACKS_ROOM] = TO(CANARY_NO_ROOM),
		[CANARY_END] = TO(CANARY_NONE),
	},
	[CANARY_ASKED] = {
		[CANARY_FAILS_BIRTH] = TO(CANARY_NOT_BORN),
		[CANARY_STANDS] = TO(CANARY_READY),
		[CANARY_OVERDUE] = TO(CANARY_TIMED_OUT),
		[CANARY_FALLS] = TO(CANARY_DIED),
		[CANARY_LEAVES] = TO(CANARY_DIED),
		[CANARY_END] = TO(CANARY_NONE),
	},
	[CANARY_READY] = {
		[CANARY_FALLS] = TO(CANARY_DIED),
		[CANARY_END] = TO(CANARY_NONE),
	},
	[CANARY_NOT_BORN] = { [CANARY_AGAIN] = TO(CANARY_WANTED), [CANARY_END] = TO(CANARY_NONE) },
	[CANARY_DIED] = { [CANARY_AGAIN] = TO(CANARY_WANTED), [CANARY_END] = TO(CANARY_NONE) },
	[CANARY_TIMED_OUT] = { [CANARY_END] = TO(CANARY_NONE) },
	[CANARY_NO_ROOM] = { [CANARY_END] = TO(CANARY_NONE) },
};

enum canary_state canary_next(enum canary_state state, enum canary_event event)
{
	unsigned char to = transitions[state][event];

	return to == 0 ? state : (enum canary_state)(to - 1);
}

bool canary_has_failed(enum canary_state state)
{
	return state >= CANARY_NOT_BORN;
}

const char *canary_state_name(enum canary_state state)
{
	return state_names[state];
}
