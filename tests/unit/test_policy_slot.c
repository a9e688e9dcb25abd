/* SPDX-License-Identifier: MIT */
/*
 * Every pair of a slot's state and an event, against the table written here from what the states mean.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "base/attrs.h"
#include "policy/slot.h"

struct transition {
	enum slot_state from;
	enum slot_event event;
	enum slot_state to;
};

/* All that can happen; a pair that is not here cannot. */
static const struct transition possible[] = {
	{SLOT_FREE,      SLOT_ASK,          SLOT_ASKED   },

	{ SLOT_ASKED,    SLOT_BORN,         SLOT_STARTING},
	{ SLOT_ASKED,    SLOT_FAILED,       SLOT_FREE    },

 /* A worker may become ready once, may be told to leave in any of three degrees, and may die at any moment. */
	{ SLOT_STARTING, SLOT_BECAME_READY, SLOT_READY   },
	{ SLOT_STARTING, SLOT_RETIRE,       SLOT_RETIRING},
	{ SLOT_STARTING, SLOT_QUIT,         SLOT_QUITTING},
	{ SLOT_STARTING, SLOT_KILL,         SLOT_KILLED  },
	{ SLOT_STARTING, SLOT_EXITED,       SLOT_FREE    },
	{ SLOT_READY,    SLOT_TAKEN,        SLOT_RUNNING },
	{ SLOT_READY,    SLOT_WEAR,         SLOT_READY   },
	{ SLOT_READY,    SLOT_RETIRE,       SLOT_RETIRING},
	{ SLOT_READY,    SLOT_WARN,         SLOT_OVERRUN },
	{ SLOT_READY,    SLOT_QUIT,         SLOT_QUITTING},
	{ SLOT_READY,    SLOT_KILL,         SLOT_KILLED  },
	{ SLOT_READY,    SLOT_EXITED,       SLOT_FREE    },
	{ SLOT_RUNNING,  SLOT_RETIRE,       SLOT_RETIRING},
	{ SLOT_RUNNING,  SLOT_QUIT,         SLOT_QUITTING},
	{ SLOT_RUNNING,  SLOT_KILL,         SLOT_KILLED  },
	{ SLOT_RUNNING,  SLOT_EXITED,       SLOT_FREE    },

 /* The degrees only rise. A report that crossed the order changes nothing. */
	{ SLOT_RETIRING, SLOT_BECAME_READY, SLOT_RETIRING},
	{ SLOT_RETIRING, SLOT_TAKEN,        SLOT_RETIRING},
	{ SLOT_RETIRING, SLOT_WARN,         SLOT_OVERRUN },
	{ SLOT_RETIRING, SLOT_QUIT,         SLOT_QUITTING},
	{ SLOT_RETIRING, SLOT_KILL,         SLOT_KILLED  },
	{ SLOT_RETIRING, SLOT_EXITED,       SLOT_FREE    },
	{ SLOT_QUITTING, SLOT_BECAME_READY, SLOT_QUITTING},
	{ SLOT_QUITTING, SLOT_TAKEN,        SLOT_QUITTING},
	{ SLOT_QUITTING, SLOT_KILL,         SLOT_KILLED  },
	{ SLOT_QUITTING, SLOT_EXITED,       SLOT_FREE    },
	{ SLOT_KILLED,   SLOT_BECAME_READY, SLOT_KILLED  },
	{ SLOT_KILLED,   SLOT_TAKEN,        SLOT_KILLED  },
	{ SLOT_KILLED,   SLOT_GIVE_UP,      SLOT_LOST    },
	{ SLOT_KILLED,   SLOT_EXITED,       SLOT_FREE    },

 /* A request that is overrun may be warned of several times, and may end after all. */
	{ SLOT_OVERRUN,  SLOT_WARN,         SLOT_OVERRUN },
	{ SLOT_OVERRUN,  SLOT_RETIRE,       SLOT_RETIRING},
	{ SLOT_OVERRUN,  SLOT_QUIT,         SLOT_QUITTING},
	{ SLOT_OVERRUN,  SLOT_KILL,         SLOT_KILLED  },
	{ SLOT_OVERRUN,  SLOT_EXITED,       SLOT_FREE    },

 /* Nobody waits for it any more, but its slot is taken until it is gone. */
	{ SLOT_LOST,     SLOT_EXITED,       SLOT_FREE    },
};

static enum slot_state expected(enum slot_state from, enum slot_event event)
{
	for (size_t i = 0; i < ARRAY_SIZE(possible); i++)
		if (possible[i].from == from && possible[i].event == event)
			return possible[i].to;
	return SLOT_STATES;
}

Test(policy_slot, follows_the_table_for_every_state_and_event)
{
	for (enum slot_state from = 0; from < SLOT_STATES; from++)
		for (enum slot_event event = 0; event < SLOT_EVENTS; event++)
			cr_expect_eq(slot_next(from, event), expected(from, event), "%s + %s", slot_state_name(from),
				slot_event_name(event));
}

/* Whatever has a process can lose it, and then the slot is free again: no slot can be lost for good. */
Test(policy_slot, leads_back_to_free_from_every_state)
{
	for (enum slot_state state = 0; state < SLOT_STATES; state++) {
		enum slot_event end = state == SLOT_ASKED ? SLOT_FAILED : SLOT_EXITED;

		if (state != SLOT_FREE)
			cr_expect_eq(slot_next(state, end), SLOT_FREE, "%s", slot_state_name(state));
	}
}

static void check_names(const char *(*name_of)(int), int count)
{
	for (int i = 0; i < count; i++) {
		cr_assert_not_null(name_of(i), "number %d", i);
		cr_expect_gt(strlen(name_of(i)), 0, "number %d", i);
		for (int j = 0; j < i; j++)
			cr_expect_str_neq(name_of(i), name_of(j));
	}
}

static const char *state_name(int number)
{
	return slot_state_name((enum slot_state)number);
}

static const char *event_name(int number)
{
	return slot_event_name((enum slot_event)number);
}

static const char *reason_name(int number)
{
	return slot_reason_name((enum slot_reason)number);
}

Test(policy_slot, names_each_state_event_and_reason)
{
	check_names(state_name, SLOT_STATES);
	check_names(event_name, SLOT_EVENTS);
	check_names(reason_name, SLOT_REASONS);
}
