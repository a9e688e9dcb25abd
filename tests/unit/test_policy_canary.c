/* SPDX-License-Identifier: MIT */
/*
 * Every pair of a canary's state and an event, against the table written here from what they mean.
 */
#include <criterion/criterion.h>

#include "base/attrs.h"
#include "policy/canary.h"

struct transition {
	enum canary_state from;
	enum canary_event event;
	enum canary_state to;
};

/* All changes of state but those by CANARY_END; every other pair stays. */
static const struct transition changes[] = {
	{CANARY_NONE,      CANARY_BEGIN,       CANARY_WANTED   },
	{ CANARY_WANTED,   CANARY_ASK,         CANARY_ASKED    },
	{ CANARY_WANTED,   CANARY_LACKS_ROOM,  CANARY_NO_ROOM  },
	{ CANARY_ASKED,    CANARY_FAILS_BIRTH, CANARY_NOT_BORN },
	{ CANARY_ASKED,    CANARY_STANDS,      CANARY_READY    },
	{ CANARY_ASKED,    CANARY_OVERDUE,     CANARY_TIMED_OUT},

 /* However it ends: before it was ready it has not shown that it can be. */
	{ CANARY_ASKED,    CANARY_FALLS,       CANARY_DIED     },
	{ CANARY_ASKED,    CANARY_LEAVES,      CANARY_DIED     },
	{ CANARY_READY,    CANARY_FALLS,       CANARY_DIED     },

 /* Another one may fare better; not where one has hung, or there is no room. */
	{ CANARY_NOT_BORN, CANARY_AGAIN,       CANARY_WANTED   },
	{ CANARY_DIED,     CANARY_AGAIN,       CANARY_WANTED   },
};

static enum canary_state expected(enum canary_state from, enum canary_event event)
{
	if (event == CANARY_END)
		return CANARY_NONE;
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++)
		if (changes[i].from == from && changes[i].event == event)
			return changes[i].to;
	return from;
}

Test(policy_canary, follows_the_table_for_every_state_and_event)
{
	for (enum canary_state from = 0; from < CANARY_STATES; from++)
		for (enum canary_event event = 0; event < CANARY_EVENTS; event++)
			cr_expect_eq(canary_next(from, event), expected(from, event), "%s + %d",
				canary_state_name(from), (int)event);
}

Test(policy_canary, a_failure_stays_one_until_another_is_tried)
{
	for (enum canary_state from = 0; from < CANARY_STATES; from++)
		for (enum canary_event event = 0; event < CANARY_AGAIN; event++)
			if (canary_has_failed(from))
				cr_expect_eq(
					canary_next(from, event), from, "%s + %d", canary_state_name(from), (int)event);
}

Test(policy_canary, names_each_state)
{
	for (enum canary_state i = 0; i < CANARY_STATES; i++) {
		cr_assert_not_null(canary_state_name(i), "number %d", (int)i);
		for (enum canary_state j = 0; j < i; j++)
			cr_expect_str_neq(canary_state_name(i), canary_state_name(j));
		cr_expect_eq(canary_has_failed(i),
			i == CANARY_NOT_BORN || i == CANARY_DIED || i == CANARY_TIMED_OUT || i == CANARY_NO_ROOM);
	}
}
