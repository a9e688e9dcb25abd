/* SPDX-License-Identifier: MIT */
/*
 * Every kind of death: what it is called, whether it counts against the pool, and what follows.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/attrs.h"
#include "policy/deadline.h"
#include "policy/pool.h"
#include "pool_fixture.h"

enum life {
	LIFE_IN_START,
	LIFE_START_TIMED_OUT,
	LIFE_READY_SINCE_NOW, /* ready for less than HEALTHY */
	LIFE_READY_FOR_LONG,
	LIFE_SHRUNK,
	LIFE_SHRUNK_IN_START,
	LIFE_STOPPED,
	LIFE_QUIT_BY_STOP,
	LIFE_QUIT_BY_TIMEOUT,
	LIFE_KILLED_BY_STOP,
	LIFE_REQUEST_TIMED_OUT,
	LIFE_REQUEST_TIMED_OUT_LATE, /* after a long time as ready */
	LIFE_LOST,
};

enum manner {
	MANNER_EXIT_0,
	MANNER_EXIT_1,
	MANNER_SIGNAL,
	MANNERS,
};

/*
 * Whether it counts against the pool ('F') by what the worker and the pool have to show:
 *	idle, in a pool that has proven nothing
 *	idle, in a proven pool
 *	serving its first connection, in a pool that has proven nothing
 *	serving its first connection, in a proven pool
 *	idle, has served (so the pool is proven)
 *	serving, has served
 */
#define SHOWINGS 6

static const enum death_kind by_itself[MANNERS] = { DEATH_RECYCLED, DEATH_EXITED, DEATH_SIGNALED };
static const enum death_kind in_start[MANNERS] = { DEATH_EXITED, DEATH_EXITED, DEATH_SIGNALED };
static const enum death_kind as_asked[MANNERS] = { DEATH_RETIRED, DEATH_EXITED, DEATH_SIGNALED };
static const enum death_kind by_us[MANNERS] = { DEATH_KILLED, DEATH_KILLED, DEATH_KILLED };

struct death_row {
	enum life life;
	enum slot_reason reason;
	bool before_ready;
	const enum death_kind *kinds; /* by manner */
	char failure[SHOWINGS + 1];
};

/* A worker that falls idle right after it was ready tells of its program; one that serves in a proven pool, of its
 * client. */
#define ALWAYS "FFFFFF"
#define MAYBE  "FFF---"
#define NEVER  "------"

static const struct death_row death_rows[] = {
	{LIFE_IN_START,                SLOT_REASON_NONE,            true,  in_start,  ALWAYS},
	{ LIFE_START_TIMED_OUT,        SLOT_REASON_START_TIMEOUT,   true,  by_us,     ALWAYS},
	{ LIFE_READY_SINCE_NOW,        SLOT_REASON_NONE,            false, by_itself, MAYBE },
	{ LIFE_READY_FOR_LONG,         SLOT_REASON_NONE,            false, by_itself, NEVER },
	{ LIFE_SHRUNK,                 SLOT_REASON_SCALE_DOWN,      false, as_asked,  NEVER },
	{ LIFE_SHRUNK_IN_START,        SLOT_REASON_SCALE_DOWN,      true,  as_asked,  NEVER },
	{ LIFE_STOPPED,                SLOT_REASON_STOP,            false, as_asked,  NEVER },
	{ LIFE_QUIT_BY_STOP,           SLOT_REASON_STOP,            false, as_asked,  NEVER },
	{ LIFE_QUIT_BY_TIMEOUT,        SLOT_REASON_STOP_TIMEOUT,    false, by_us,     NEVER },
	{ LIFE_KILLED_BY_STOP,         SLOT_REASON_STOP,            false, by_us,     NEVER },
	{ LIFE_REQUEST_TIMED_OUT,      SLOT_REASON_REQUEST_TIMEOUT, false, by_us,     MAYBE },
	{ LIFE_REQUEST_TIMED_OUT_LATE, SLOT_REASON_REQUEST_TIMEOUT, false, by_us,     NEVER },
	{ LIFE_LOST,                   SLOT_REASON_REQUEST_TIMEOUT, false, by_us,     MAYBE },
};

/* Brings slot 0 there. */
static void live(enum life life)
{
	born(0);
	if (life != LIFE_IN_START && life != LIFE_START_TIMED_OUT && life != LIFE_SHRUNK_IN_START)
		ready(0);
	switch (life) {
	case LIFE_START_TIMED_OUT:
		tell(0, SLOT_KILL, SLOT_REASON_START_TIMEOUT);
		break;
	case LIFE_READY_FOR_LONG:
		pool.now_ms += HEALTHY;
		break;
	case LIFE_SHRUNK:
	case LIFE_SHRUNK_IN_START:
		pool_policy_resize(&pool.policy, -1);
		tell(0, SLOT_RETIRE, SLOT_REASON_SCALE_DOWN);
		break;
	case LIFE_STOPPED:
		pool_policy_retire(&pool.policy, DEADLINE_NONE);
		tell(0, SLOT_RETIRE, SLOT_REASON_STOP);
		break;
	case LIFE_QUIT_BY_STOP:
	case LIFE_KILLED_BY_STOP:
		pool_policy_quit(&pool.policy, SLOT_REASON_STOP);
		tell(0, SLOT_QUIT, SLOT_REASON_STOP);
		if (life == LIFE_KILLED_BY_STOP)
			tell(0, SLOT_KILL, SLOT_REASON_STOP);
		break;
	case LIFE_QUIT_BY_TIMEOUT:
		pool_policy_quit(&pool.policy, SLOT_REASON_STOP_TIMEOUT);
		tell(0, SLOT_QUIT, SLOT_REASON_STOP_TIMEOUT);
		break;
	case LIFE_REQUEST_TIMED_OUT_LATE:
		pool.now_ms += HEALTHY;
		ATTR_FALLTHROUGH;
	case LIFE_REQUEST_TIMED_OUT:
	case LIFE_LOST:
		tell(0, SLOT_KILL, SLOT_REASON_REQUEST_TIMEOUT);
		if (life == LIFE_LOST)
			tell(0, SLOT_GIVE_UP, SLOT_REASON_NONE);
		break;
	default:
		break;
	}
}

static struct death death_of(enum manner manner, int showing)
{
	static const struct death showings[SHOWINGS] = {
		{.served = 0,  .serving = false, .pool_has_served = false},
		{ .served = 0, .serving = false, .pool_has_served = true },
		{ .served = 0, .serving = true,  .pool_has_served = false},
		{ .served = 0, .serving = true,  .pool_has_served = true },
		{ .served = 3, .serving = false, .pool_has_served = true },
		{ .served = 3, .serving = true,  .pool_has_served = true },
	};
	struct death death = showings[showing];

	death.by_signal = manner == MANNER_SIGNAL;
	death.code = manner == MANNER_EXIT_0 ? 0 : 1;
	return death;
}

static enum death_sequel expected_sequel(bool failure)
{
	if (pool.policy.phase != POOL_SERVING || pool.policy.target == 1)
		return DEATH_NOT_REPLACED;
	return failure ? DEATH_BACKING_OFF : DEATH_REPLACED;
}

static void check_death(const struct death_row *row, enum manner manner, int showing)
{
	bool failure = row->failure[showing] == 'F';
	struct death_verdict verdict;
	enum death_sequel sequel;
	char where[64];

	snprintf(where, sizeof(where), "life %d, manner %d, showing %d", (int)row->life, (int)manner, showing);
	pool_begin(3, 2);
	born_ready(1, 1);
	live(row->life);
	pool.now_ms += 3;
	sequel = expected_sequel(failure);
	verdict = died(0, death_of(manner, showing));
	cr_expect_eq(verdict.kind, row->kinds[manner], "%s: %s", where, death_kind_name(verdict.kind));
	cr_expect_eq(verdict.reason, row->reason, "%s: %s", where, slot_reason_name(verdict.reason));
	cr_expect_eq(verdict.before_ready, row->before_ready, "%s", where);
	cr_expect_eq(verdict.failure, failure, "%s", where);
	cr_expect_eq(verdict.age_ms, pool.now_ms - BEGIN_MS, "%s", where);
	cr_expect_eq(verdict.sequel, sequel, "%s: %s", where, death_sequel_name(verdict.sequel));
	if (sequel == DEATH_BACKING_OFF)
		cr_expect_eq(
			verdict.retry_ms, row->life == LIFE_START_TIMED_OUT ? WAIT_MIN - 3 : WAIT_MIN, "%s", where);
	else
		cr_expect_eq(verdict.retry_ms, 0, "%s", where);
	make_plan();
	cr_expect_eq(strcmp(pool.text, "ask 0") == 0, sequel == DEATH_REPLACED, "%s: %s", where, pool.text);
}

Test(policy_pool, weighs_every_death)
{
	for (size_t i = 0; i < ARRAY_SIZE(death_rows); i++)
		for (enum manner manner = 0; manner < MANNERS; manner++)
			for (int showing = 0; showing < SHOWINGS; showing++)
				check_death(&death_rows[i], manner, showing);
}

/* Some worker of the pool has been ready for long: this, too, proves it, whoever it is. */
Test(policy_pool, a_worker_that_stands_proves_the_pool_for_the_others)
{
	struct death_verdict verdict;

	pool_begin(2, 2);
	born_ready(0, 0);
	pool.now_ms += HEALTHY;
	born_ready(1, 1);
	verdict = died(1, (struct death){ .by_signal = true, .code = 11, .serving = true });
	cr_expect_not(verdict.failure, "one client, not the pool");
	cr_expect_eq(verdict.sequel, DEATH_REPLACED);
}

/* An operator's TERM to an idle worker is no failure, however often it comes; an exit of the worker's own is. */
Test(policy_pool, who_was_told_to_leave_has_not_failed)
{
	struct death_verdict verdict;

	pool_begin(1, 1);
	born_ready(0, 0);
	for (int i = 0; i < 10; i++) {
		verdict = died(0, (struct death){ .was_told = true });
		cr_expect_eq(verdict.kind, DEATH_RECYCLED);
		cr_expect_not(verdict.failure);
		cr_expect_eq(verdict.sequel, DEATH_REPLACED);
		born_ready(0, 0);
	}
	verdict = died(0, (struct death){ .was_told = false });
	cr_expect(verdict.failure);
	cr_expect_eq(verdict.sequel, DEATH_BACKING_OFF);
}

/* What a program that accepts for itself has served is not known, and its age has to tell whether it could. */
Test(policy_pool, a_program_that_recycles_itself_has_not_failed)
{
	struct death_verdict verdict;

	pool_begin(2, 1);
	born_ready(0, 0);
	for (int i = 0; i < 10; i++) {
		pool.now_ms += POOL_RECYCLE_MS;
		verdict = died(0, (struct death){ .accepts = true });
		cr_expect_eq(verdict.kind, DEATH_RECYCLED);
		cr_expect_not(verdict.failure);
		cr_expect_eq(verdict.sequel, DEATH_REPLACED);
		born(0); /* also before it is known to be ready */
		if (i % 2 == 0)
			ready(0);
	}
	pool.now_ms += POOL_RECYCLE_MS - 1;
	cr_expect(died(0, (struct death){ .accepts = true }).failure, "too soon");
}

Test(policy_pool, a_program_that_leaves_before_its_pool_was_ready_has_failed)
{
	struct death_verdict verdict;

	pool_begin(2, 1);
	born(0);
	pool.now_ms += POOL_RECYCLE_MS;
	verdict = died(0, (struct death){ .accepts = true });
	cr_expect_eq(verdict.kind, DEATH_EXITED);
	cr_expect(verdict.failure);
}

Test(policy_pool, a_program_that_says_that_it_stops_is_no_retired_one)
{
	struct death_verdict verdict;

	pool_begin(2, 1);
	born_ready(0, 0);
	pool.now_ms += POOL_RECYCLE_MS;
	tell(0, SLOT_RETIRE, SLOT_REASON_ITSELF);
	PLAN("ask 1");
	pool.now_ms += 1;
	verdict = died(0, (struct death){ .accepts = true });
	cr_expect_eq(verdict.kind, DEATH_RECYCLED);
	cr_expect_eq(verdict.reason, SLOT_REASON_ITSELF);
	cr_expect_not(verdict.failure);
}

Test(policy_pool, a_program_that_says_too_early_that_it_stops_has_failed)
{
	struct death_verdict verdict;

	pool_begin(2, 1);
	born_ready(0, 0);
	pool.now_ms += POOL_RECYCLE_MS - 1;
	tell(0, SLOT_RETIRE, SLOT_REASON_ITSELF);
	/* Else there were one more of them each time, as long as they take to end. */
	IDLE_FOR(pool.policy.rules.backoff.min_ms);
	PLAN("ask 1");
	/* Its end is that same failure. */
	verdict = died(0, (struct death){ .code = 1 });
	cr_expect(verdict.failure);
	cr_expect_eq(pool.policy.backoff.level, 1);
}

Test(policy_pool, a_pool_once_proven_stays_proven)
{
	pool_begin(1, 1);
	born_ready(0, 0);
	died(0, (struct death){ .served = 1, .pool_has_served = true });
	for (int i = 0; i < 100; i++) {
		PLAN("ask 0");
		born_ready(0, 0);
		cr_expect_eq(died(0, (struct death){ .by_signal = true, .code = 11, .serving = true }).sequel,
			DEATH_REPLACED);
	}
}

/* It says that it is ready after the master has given it up: that proves nothing. */
Test(policy_pool, readiness_after_the_kill_does_not_count)
{
	struct death_verdict verdict;

	pool_begin(2, 1);
	born(0);
	pool.now_ms += START_TIMEOUT;
	tell(0, SLOT_KILL, SLOT_REASON_START_TIMEOUT);
	ready(0);
	pool.now_ms += HEALTHY;
	verdict = died(0, (struct death){ .by_signal = true, .code = 9 });
	cr_expect(verdict.before_ready);
	cr_expect(verdict.failure);
	cr_expect_not(pool.policy.proven);
}

/* A worker of an inetd pool: with its connection it makes room for the next one; how its program ends is no failure. */
Test(policy_pool, a_program_for_one_connection_is_replaced_when_it_begins)
{
	struct death_verdict verdict;

	pool_begin(3, 1);
	born_ready(0, 0);
	IDLE();
	tell(0, SLOT_TAKEN, SLOT_REASON_NONE);
	PLAN("ask 1");
	born(1);
	ready(1);
	tell(1, SLOT_TAKEN, SLOT_REASON_NONE);
	PLAN("ask 2");
	born(2);
	ready(2);
	tell(2, SLOT_TAKEN, SLOT_REASON_NONE);
	/* All of the capacity runs: the next client waits. */
	IDLE();
	verdict = died(1, (struct death){ .by_signal = true, .code = 11, .serving = true, .served = 1 });
	cr_assert_eq(verdict.kind, DEATH_FINISHED);
	cr_assert(!verdict.failure);
	cr_assert_eq(verdict.sequel, DEATH_REPLACED);
	PLAN("ask 1");
	born(1);
	ready(1);
	verdict = died(0, (struct death){ .code = 1, .serving = true, .served = 1 });
	cr_assert_eq(verdict.kind, DEATH_FINISHED);
	cr_assert_eq(verdict.sequel, DEATH_NOT_REPLACED);
	IDLE();
}

Test(policy_pool, a_program_that_cannot_be_executed_holds_the_next_starts_back)
{
	struct death_verdict verdict;

	pool_begin(4, 1);
	born_ready(0, 0);
	tell(0, SLOT_TAKEN, SLOT_REASON_NONE);
	PLAN("ask 1");
	born(1);
	ready(1);
	verdict = died(0, (struct death){ .code = 72, .serving = true, .not_executed = true });
	cr_assert(verdict.failure);
	cr_assert_eq(verdict.kind, DEATH_EXITED);
	tell(1, SLOT_TAKEN, SLOT_REASON_NONE);
	IDLE_FOR(WAIT_MIN);
	PLAN("ask 0");
}

/* At a stop: by the signal that asked it to leave, or by itself, whatever it exits with. */
Test(policy_pool, a_program_that_the_master_ends_has_not_failed)
{
	static const struct death by_our_signal = {
		.by_signal = true, .code = 15, .of_our_signal = true, .serving = true
	};
	static const struct death by_itself_late = { .code = 1, .serving = true };
	struct death_verdict verdict;

	pool_begin(4, 2);
	born_ready(0, 1);
	tell(0, SLOT_TAKEN, SLOT_REASON_NONE);
	tell(1, SLOT_TAKEN, SLOT_REASON_NONE);
	pool_policy_quit(&pool.policy, SLOT_REASON_STOP);
	PLAN("quit 0 stop, quit 1 stop");
	tell(0, SLOT_QUIT, SLOT_REASON_STOP);
	tell(1, SLOT_QUIT, SLOT_REASON_STOP);
	verdict = died(0, by_our_signal);
	cr_assert_eq(verdict.kind, DEATH_RETIRED);
	cr_assert(!verdict.failure);
	verdict = died(1, by_itself_late);
	cr_assert(!verdict.failure);
	cr_assert_eq(verdict.sequel, DEATH_NOT_REPLACED);
}

Test(policy_pool, names_each_kind_of_death_and_each_sequel)
{
	for (enum death_kind i = 0; i < DEATH_KINDS; i++) {
		cr_assert_not_null(death_kind_name(i));
		for (enum death_kind j = 0; j < i; j++)
			cr_expect_str_neq(death_kind_name(i), death_kind_name(j));
	}
	for (enum death_sequel i = 0; i < DEATH_SEQUELS; i++) {
		cr_assert_not_null(death_sequel_name(i));
		for (enum death_sequel j = 0; j < i; j++)
			cr_expect_str_neq(death_sequel_name(i), death_sequel_name(j));
	}
}
