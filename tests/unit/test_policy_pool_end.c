/* SPDX-License-Identifier: MIT */
/*
 * How a pool ends: retire, quit, kill, give up, each in its time; and what happens to those that come or go meanwhile.
 */
#include <criterion/criterion.h>

#include "base/attrs.h"
#include "policy/deadline.h"
#include "policy/pool.h"
#include "pool_fixture.h"

Test(policy_pool, stop_climbs_from_retire_to_giving_up)
{
	struct death_verdict verdict;

	pool_begin(2, 2);
	born_ready(0, 0);
	born(1);
	pool_policy_retire(&pool.policy, pool.now_ms + 3000);
	PLAN("retire 0 stop, retire 1 stop");
	tell(0, SLOT_RETIRE, SLOT_REASON_STOP);
	tell(1, SLOT_RETIRE, SLOT_REASON_STOP);
	IDLE_FOR(3000);
	PLAN("quit 0 stop_timeout, quit 1 stop_timeout");
	tell(0, SLOT_QUIT, SLOT_REASON_STOP_TIMEOUT);
	tell(1, SLOT_QUIT, SLOT_REASON_STOP_TIMEOUT);
	IDLE_FOR(POOL_QUIT_GRACE_MS);
	PLAN("kill 0 stop_timeout, kill 1 stop_timeout");
	tell(0, SLOT_KILL, SLOT_REASON_STOP_TIMEOUT);
	tell(1, SLOT_KILL, SLOT_REASON_STOP_TIMEOUT);
	IDLE_FOR(POOL_KILL_GRACE_MS);
	PLAN("give up 0 stop_timeout, give up 1 stop_timeout");
	tell(0, SLOT_GIVE_UP, SLOT_REASON_NONE);
	tell(1, SLOT_GIVE_UP, SLOT_REASON_NONE);
	IDLE();
	cr_expect_eq(pool_policy_living(&pool.policy), 0);
	verdict = died(0, (struct death){ .by_signal = true, .code = 9 });
	cr_expect_eq(verdict.kind, DEATH_KILLED);
	cr_expect_eq(verdict.reason, SLOT_REASON_STOP_TIMEOUT, "giving up has no reason of its own");
	cr_expect_eq(verdict.sequel, DEATH_NOT_REPLACED);
	IDLE();
}

/* Of two that finish one asks for time: the other's own deadline stays. */
Test(policy_pool, a_stop_may_be_put_off_for_one_that_asks)
{
	pool_begin(2, 2);
	pool.policy.rules.retire_timeout_ms = 500;
	born_ready(0, 1);
	pool_policy_postpone(&pool.policy, pool.now_ms + 9000); /* not before it stops */
	pool_policy_retire(&pool.policy, pool.now_ms + 500);
	tell(0, SLOT_RETIRE, SLOT_REASON_STOP);
	tell(1, SLOT_RETIRE, SLOT_REASON_STOP);
	cr_expect(pool_policy_extend(&pool.policy, 0, pool.now_ms + 2000));
	pool_policy_postpone(&pool.policy, pool.now_ms + 2000);
	pool_policy_postpone(&pool.policy, pool.now_ms + 100); /* it gives time, and takes none */
	IDLE_FOR(500);
	PLAN("quit 1 stop_timeout");
	tell(1, SLOT_QUIT, SLOT_REASON_STOP_TIMEOUT);
	died(1, (struct death){ .by_signal = true, .code = 15 });
	IDLE_FOR(1500);
	PLAN("quit 0 stop_timeout");
}

Test(policy_pool, stop_bounds_workers_that_retire_already)
{
	pool_begin(2, 2);
	born_ready(0, 1);
	pool_policy_resize(&pool.policy, -1);
	tell(1, SLOT_RETIRE, SLOT_REASON_SCALE_DOWN);
	tell(0, SLOT_RETIRE, SLOT_REASON_STOP);
	pool_policy_retire(&pool.policy, pool.now_ms + 700);
	IDLE_FOR(700);
	PLAN("quit 0 stop_timeout, quit 1 stop_timeout");
}

Test(policy_pool, stop_retires_what_is_born_after_it_and_starts_nothing)
{
	pool_begin(3, 3);
	tell(0, SLOT_ASK, SLOT_REASON_NONE);
	tell(1, SLOT_ASK, SLOT_REASON_NONE);
	pool_policy_retire(&pool.policy, pool.now_ms + 700);
	IDLE();
	tell(0, SLOT_BORN, SLOT_REASON_NONE);
	PLAN("retire 0 stop");
	tell(1, SLOT_FAILED, SLOT_REASON_NONE);
	PLAN("retire 0 stop");
	cr_expect_eq(died(0, (struct death){ .code = 1 }).sequel, DEATH_NOT_REPLACED);
	IDLE();
}

Test(policy_pool, a_worker_born_after_the_stop_deadline_is_ended_too)
{
	pool_begin(1, 1);
	tell(0, SLOT_ASK, SLOT_REASON_NONE);
	pool_policy_retire(&pool.policy, pool.now_ms + 700);
	pool.now_ms += 900;
	tell(0, SLOT_BORN, SLOT_REASON_NONE);
	PLAN("retire 0 stop");
	tell(0, SLOT_RETIRE, SLOT_REASON_STOP);
	PLAN("quit 0 stop_timeout");
}

Test(policy_pool, quit_ends_every_state_at_once)
{
	pool_begin(6, 6);
	born_ready(0, 0);
	born(1);
	born_ready(2, 2);
	tell(2, SLOT_RETIRE, SLOT_REASON_SCALE_DOWN);
	born_ready(3, 3);
	tell(3, SLOT_KILL, SLOT_REASON_REQUEST_TIMEOUT);
	tell(4, SLOT_ASK, SLOT_REASON_NONE);
	pool_policy_quit(&pool.policy, SLOT_REASON_STOP);
	PLAN("quit 0 stop, quit 1 stop, quit 2 stop");
	for (uint32_t i = 0; i < 3; i++)
		tell(i, SLOT_QUIT, SLOT_REASON_STOP);
	tell(4, SLOT_BORN, SLOT_REASON_NONE);
	PLAN("quit 4 stop");
	tell(4, SLOT_QUIT, SLOT_REASON_STOP);
	IDLE_FOR(POOL_QUIT_GRACE_MS);
	PLAN("kill 0 stop, kill 1 stop, kill 2 stop, kill 4 stop");
}

Test(policy_pool, quit_follows_a_stop_and_not_the_other_way)
{
	pool_begin(1, 1);
	born_ready(0, 0);
	pool_policy_retire(&pool.policy, pool.now_ms + 60000);
	tell(0, SLOT_RETIRE, SLOT_REASON_STOP);
	pool_policy_retire(&pool.policy, pool.now_ms + 90000);
	cr_expect_eq(pool.policy.stop_deadline_ms, pool.now_ms + 60000, "the first deadline counts");
	pool_policy_quit(&pool.policy, SLOT_REASON_STOP_TIMEOUT);
	PLAN("quit 0 stop_timeout");
	tell(0, SLOT_QUIT, SLOT_REASON_STOP_TIMEOUT);
	pool_policy_retire(&pool.policy, pool.now_ms + 60000);
	cr_expect_eq(pool.policy.phase, POOL_QUITTING);
	IDLE_FOR(POOL_QUIT_GRACE_MS);
}

Test(policy_pool, a_late_report_does_not_prolong_a_grace)
{
	pool_begin(1, 1);
	born(0);
	pool_policy_quit(&pool.policy, SLOT_REASON_STOP);
	tell(0, SLOT_QUIT, SLOT_REASON_STOP);
	pool.now_ms += 400;
	ready(0);
	IDLE_FOR(POOL_QUIT_GRACE_MS - 400);
	tell(0, SLOT_KILL, SLOT_REASON_STOP);
	pool.now_ms += 400;
	ready(0);
	IDLE_FOR(POOL_KILL_GRACE_MS - 400);
}

Test(policy_pool, a_lost_worker_keeps_its_slot_and_is_replaced_in_another)
{
	pool_begin(3, 2);
	born_ready(0, 1);
	tell(0, SLOT_KILL, SLOT_REASON_REQUEST_TIMEOUT);
	PLAN("ask 2");
	born_ready(2, 2);
	IDLE_FOR(POOL_KILL_GRACE_MS);
	PLAN("give up 0 request_timeout");
	tell(0, SLOT_GIVE_UP, SLOT_REASON_NONE);
	IDLE();
	cr_expect_eq(pool_policy_living(&pool.policy), 2);
	cr_expect_eq(died(0, (struct death){ .by_signal = true, .code = 9, .serving = true, .pool_has_served = true })
			     .sequel,
		DEATH_NOT_REPLACED);
	IDLE();
}

/* ---- requests that are overrun ---- */

#define WARN_GRACE 700

/* What the master does of itself at first. */
static void overrun(uint32_t slot)
{
	enum slot_event what = SLOT_EVENTS;

	cr_assert(pool_policy_overruns(&pool.policy, slot, &what));
	cr_assert_eq(what, pool.policy.rules.overrun_warnings > 0 ? SLOT_WARN : SLOT_KILL);
	tell(slot, what, SLOT_REASON_REQUEST_TIMEOUT);
	cr_assert_not(pool_policy_overruns(&pool.policy, slot, &what), "once");
}

static void begin_overrun(uint32_t warnings)
{
	pool_begin(4, 1);
	pool.policy.rules.overrun_warnings = warnings;
	pool.policy.rules.overrun_grace_ms = WARN_GRACE;
	pool.policy.rules.replace_timeout_ms = 5000;
	born_ready(0, 0);
}

Test(policy_pool, an_overrun_worker_is_warned_replaced_and_killed)
{
	begin_overrun(2);
	overrun(0);
	PLAN("ask 1");
	born_ready(1, 1);
	IDLE_FOR(WARN_GRACE);
	PLAN("warn 0 request_timeout");
	tell(0, SLOT_WARN, SLOT_REASON_REQUEST_TIMEOUT);
	IDLE_FOR(WARN_GRACE);
	PLAN("kill 0 request_timeout");
	tell(0, SLOT_KILL, SLOT_REASON_REQUEST_TIMEOUT);
	IDLE_FOR(POOL_KILL_GRACE_MS);
}

Test(policy_pool, without_warnings_an_overrun_worker_is_killed_at_once)
{
	begin_overrun(0);
	overrun(0);
	cr_expect_eq(pool.slots[0].state, SLOT_KILLED);
}

Test(policy_pool, an_overrun_worker_that_comes_back_leaves_within_its_time)
{
	begin_overrun(1);
	overrun(0);
	born_ready(1, 1);
	pool.now_ms += WARN_GRACE - 1;
	tell(0, SLOT_RETIRE, SLOT_REASON_REQUEST_TIMEOUT);
	IDLE_FOR(5000);
	PLAN("quit 0 stop_timeout");
	cr_expect_eq(died(0, (struct death){ .served = 1 }).kind, DEATH_RETIRED);
}

/* However often its requests are overrun, it does not get the time anew. */
Test(policy_pool, an_overrun_does_not_prolong_a_retirement)
{
	begin_overrun(1);
	pool.policy.rules.retire_timeout_ms = 5000;
	tell(0, SLOT_RETIRE, SLOT_REASON_SCALE_DOWN);
	born_ready(1, 1);
	pool.now_ms += 4000;
	overrun(0);
	pool.now_ms += 500;
	tell(0, SLOT_RETIRE, SLOT_REASON_REQUEST_TIMEOUT);
	IDLE_FOR(500);
	PLAN("quit 0 stop_timeout");
}

Test(policy_pool, a_stop_goes_over_warnings)
{
	begin_overrun(3);
	overrun(0);
	pool_policy_retire(&pool.policy, pool.now_ms + 300);
	IDLE_FOR(300);
	PLAN("quit 0 stop_timeout");
	tell(0, SLOT_QUIT, SLOT_REASON_STOP_TIMEOUT);
	begin_overrun(3);
	overrun(0);
	pool_policy_quit(&pool.policy, SLOT_REASON_STOP);
	PLAN("quit 0 stop");
}

Test(policy_pool, what_an_overrun_worker_dies_of_is_told_apart)
{
	static const struct {
		struct death death;
		enum death_kind kind;
	} rows[] = {
		{{ .by_signal = true, .code = 6, .of_our_signal = true, .serving = true }, DEATH_KILLED  },
		{ { .by_signal = true, .code = 11, .serving = true },                      DEATH_SIGNALED},
		{ { .code = 0, .serving = true },                                          DEATH_KILLED  },
		{ { .code = 0, .served = 1 },					      DEATH_RETIRED },
		{ { .code = 3, .serving = true },                                          DEATH_EXITED  },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct death_verdict verdict;

		begin_overrun(1);
		overrun(0);
		verdict = died(0, rows[i].death);
		cr_expect_eq(verdict.kind, rows[i].kind, "row %zu: %s", i, death_kind_name(verdict.kind));
		cr_expect_eq(verdict.reason, SLOT_REASON_REQUEST_TIMEOUT);
		cr_expect_eq(verdict.failure, rows[i].kind != DEATH_RETIRED, "row %zu", i);
	}
}

/* ---- events that do not fit ---- */

Test(policy_pool, refuses_what_the_state_does_not_know)
{
	struct death_verdict verdict = { .age_ms = 4711 };
	const struct death death = { .code = 1 };

	pool_begin(2, 2);
	refuse(0, SLOT_BORN);
	refuse(0, SLOT_BECAME_READY);
	refuse(0, SLOT_EXITED);
	cr_expect_not(pool_policy_died(&pool.policy, 0, &death, pool.now_ms, &verdict));
	tell(0, SLOT_ASK, SLOT_REASON_NONE);
	refuse(0, SLOT_ASK);
	refuse(0, SLOT_KILL);
	cr_expect_not(pool_policy_died(&pool.policy, 0, &death, pool.now_ms, &verdict), "no process yet");
	tell(0, SLOT_BORN, SLOT_REASON_NONE);
	ready(0);
	refuse(0, SLOT_BECAME_READY);
	refuse(0, SLOT_EXITED);
	cr_expect_eq(verdict.age_ms, 4711, "untouched");
}

/* It is told one thing at a time. */
Test(policy_pool, one_that_has_lived_long_enough_to_be_ready_is_only_told_of_the_stop)
{
	pool_begin(1, 1);
	pool.policy.rules.ready_after_ms = 100;
	born(0);
	pool.now_ms += 100;
	PLAN("ready 0");
	pool_policy_retire(&pool.policy, pool.now_ms + 1000);
	PLAN("retire 0 stop");
	pool_policy_quit(&pool.policy, SLOT_REASON_STOP);
	PLAN("quit 0 stop");
}
