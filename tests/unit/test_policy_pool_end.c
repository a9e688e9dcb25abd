/* SPDX-License-Identifier: MIT */
/*
 * How a pool ends: retire, quit, kill, give up, each in its time; and what happens to those that come or go meanwhile.
 */
#include <criterion/criterion.h>

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
