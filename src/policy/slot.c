/* SPDX-License-Identifier: MIT */
#include "policy/slot.h"

#include <assert.h>

#include "base/attrs.h"

static const char *const state_names[] = {
	[SLOT_FREE] = "free",
	[SLOT_ASKED] = "asked",
	[SLOT_STARTING] = "starting",
	[SLOT_READY] = "ready",
	[SLOT_RUNNING] = "running",
	[SLOT_RETIRING] = "retiring",
	[SLOT_OVERRUN] = "overrun",
	[SLOT_QUITTING] = "quitting",
	[SLOT_KILLED] = "killed",
	[SLOT_LOST] = "lost",
};
static_assert(ARRAY_SIZE(state_names) == SLOT_STATES, "a name for each state");

static const char *const event_names[] = {
	[SLOT_ASK] = "ask",
	[SLOT_BORN] = "born",
	[SLOT_FAILED] = "failed",
	[SLOT_BECAME_READY] = "ready",
	[SLOT_TAKEN] = "taken",
	[SLOT_WEAR] = "wear",
	[SLOT_RETIRE] = "retire",
	[SLOT_WARN] = "warn",
	[SLOT_QUIT] = "quit",
	[SLOT_KILL] = "kill",
	[SLOT_GIVE_UP] = "give up",
	[SLOT_EXITED] = "exited",
};
static_assert(ARRAY_SIZE(event_names) == SLOT_EVENTS, "a name for each event");

static const char *const reason_names[] = {
	[SLOT_REASON_NONE] = "none",
	[SLOT_REASON_SCALE_DOWN] = "scale down",
	[SLOT_REASON_RELOAD] = "reload",
	[SLOT_REASON_RELOAD_UNDONE] = "reload undone",
	[SLOT_REASON_STOP] = "stop",
	[SLOT_REASON_STOP_TIMEOUT] = "stop_timeout",
	[SLOT_REASON_START_TIMEOUT] = "start_timeout",
	[SLOT_REASON_REQUEST_TIMEOUT] = "request_timeout",
	[SLOT_REASON_WATCHDOG] = "watchdog_timeout",
	[SLOT_REASON_ITSELF] = "itself",
	[SLOT_REASON_RECYCLE_REQUESTS] = "max_requests",
	[SLOT_REASON_RECYCLE_AGE] = "max_age",
	[SLOT_REASON_RECYCLE_MEMORY] = "max_memory",
};
static_assert(ARRAY_SIZE(reason_names) == SLOT_REASONS, "a name for each reason");

/* 0 would be SLOT_FREE, so the table holds the state plus one, and 0 is "cannot happen". */
#define TO(state) ((state) + 1)

static const unsigned char transitions[SLOT_STATES][SLOT_EVENTS] = {
	[SLOT_FREE] = { [SLOT_ASK] = TO(SLOT_ASKED) },
	[SLOT_ASKED] = { [SLOT_BORN] = TO(SLOT_STARTING), [SLOT_FAILED] = TO(SLOT_FREE) },
	[SLOT_STARTING] = {
		[SLOT_BECAME_READY] = TO(SLOT_READY),
		[SLOT_RETIRE] = TO(SLOT_RETIRING),
		[SLOT_QUIT] = TO(SLOT_QUITTING),
		[SLOT_KILL] = TO(SLOT_KILLED),
		[SLOT_EXITED] = TO(SLOT_FREE),
	},
	[SLOT_READY] = {
		[SLOT_TAKEN] = TO(SLOT_RUNNING),
		[SLOT_WEAR] = TO(SLOT_READY),
		[SLOT_RETIRE] = TO(SLOT_RETIRING),
		[SLOT_WARN] = TO(SLOT_OVERRUN),
		[SLOT_QUIT] = TO(SLOT_QUITTING),
		[SLOT_KILL] = TO(SLOT_KILLED),
		[SLOT_EXITED] = TO(SLOT_FREE),
	},
	[SLOT_RUNNING] = {
		[SLOT_RETIRE] = TO(SLOT_RETIRING),
		[SLOT_QUIT] = TO(SLOT_QUITTING),
		[SLOT_KILL] = TO(SLOT_KILLED),
		[SLOT_EXITED] = TO(SLOT_FREE),
	},
	/* A worker that was told to leave may still report that it is ready, or that it has taken its connection. */
	[SLOT_RETIRING] = {
		[SLOT_BECAME_READY] = TO(SLOT_RETIRING),
		[SLOT_TAKEN] = TO(SLOT_RETIRING),
		[SLOT_WARN] = TO(SLOT_OVERRUN),
		[SLOT_QUIT] = TO(SLOT_QUITTING),
		[SLOT_KILL] = TO(SLOT_KILLED),
		[SLOT_EXITED] = TO(SLOT_FREE),
	},
	/* Its request may end after all: then it leaves as any other that was asked to. */
	[SLOT_OVERRUN] = {
		[SLOT_RETIRE] = TO(SLOT_RETIRING),
		[SLOT_WARN] = TO(SLOT_OVERRUN),
		[SLOT_QUIT] = TO(SLOT_QUITTING),
		[SLOT_KILL] = TO(SLOT_KILLED),
		[SLOT_EXITED] = TO(SLOT_FREE),
	},
	[SLOT_QUITTING] = {
		[SLOT_BECAME_READY] = TO(SLOT_QUITTING),
		[SLOT_TAKEN] = TO(SLOT_QUITTING),
		[SLOT_KILL] = TO(SLOT_KILLED),
		[SLOT_EXITED] = TO(SLOT_FREE),
	},
	[SLOT_KILLED] = {
		[SLOT_BECAME_READY] = TO(SLOT_KILLED),
		[SLOT_TAKEN] = TO(SLOT_KILLED),
		[SLOT_GIVE_UP] = TO(SLOT_LOST),
		[SLOT_EXITED] = TO(SLOT_FREE),
	},
	[SLOT_LOST] = { [SLOT_EXITED] = TO(SLOT_FREE) },
};

enum slot_state slot_next(enum slot_state state, enum slot_event event)
{
	unsigned char to = transitions[state][event];

	return to == 0 ? SLOT_STATES : (enum slot_state)(to - 1);
}

const char *slot_state_name(enum slot_state state)
{
	return state_names[state];
}

const char *slot_event_name(enum slot_event event)
{
	return event_names[event];
}

const char *slot_reason_name(enum slot_reason reason)
{
	return reason_names[reason];
}

bool slot_reason_is_recycling(enum slot_reason reason)
{
	return reason == SLOT_REASON_RECYCLE_REQUESTS || reason == SLOT_REASON_RECYCLE_AGE ||
	       reason == SLOT_REASON_RECYCLE_MEMORY;
}
