/* SPDX-License-Identifier: MIT */
/*
 * What workers say of themselves on the scoreboard: that they are ready, have taken their connection, how long their
 * request may last.
 */
#include "base/clock.h"
#include "master/master_private.h"
#include "policy/deadline.h"

/* How often to look whether a worker is ready that wakes nobody for it. */
#define QUIET_LOOK_MS 100

void pool_became_ready(struct master *master, struct pool *pool, uint32_t slot, uint64_t now_ms)
{
	struct board_slot *board_slot = pool_board_slot(master, pool, slot);

	pool_policy_event(&pool->policy, slot, SLOT_BECAME_READY, SLOT_REASON_NONE, now_ms);
	if (board_slot_state(board_slot) == BOARD_STARTING)
		board_worker_state(board_slot, BOARD_IDLE, clock_monotonic_us());
}

static bool says_ready(const struct board_slot *slot)
{
	enum board_state state = board_slot_state(slot);

	return state != BOARD_EMPTY && state != BOARD_STARTING;
}

/* One that was told to retire as it became ready may serve; until it is known to be ready, its start is timed. */
static bool awaits_ready(const struct slot *slot)
{
	return !slot->was_ready && (slot->state == SLOT_STARTING || slot->state == SLOT_RETIRING);
}

/* It has taken its one connection, and is a program by now, or tries to be. */
static bool says_taken(const struct board_slot *slot)
{
	enum board_state state = board_slot_state(slot);

	return state == BOARD_RUNNING || state == BOARD_FAILED;
}

static void pool_note_taken(struct master *master, struct pool *pool, uint32_t slot, uint64_t now_ms)
{
	if (!pool->workers[slot].taken) {
		pool->workers[slot].taken = true;
		pool->taken_ms = now_ms;
		report_taken(master, pool, slot);
		output_taken(master, pool, slot, now_ms);
	}
	if (pool->slots[slot].state == SLOT_READY)
		pool_policy_event(&pool->policy, slot, SLOT_TAKEN, SLOT_REASON_NONE, now_ms);
}

void pool_note_worker(struct master *master, struct pool *pool, uint32_t slot, uint64_t now_ms)
{
	/* A program does not write there. */
	if (pool->workers[slot].pid == 0 || worker_is_program(pool, slot))
		return;
	if (awaits_ready(&pool->slots[slot]) && says_ready(pool_board_slot(master, pool, slot)))
		pool_policy_event(&pool->policy, slot, SLOT_BECAME_READY, SLOT_REASON_NONE, now_ms);
	if (worker_kind(pool, slot) == HANDLER_BECOMES && says_taken(pool_board_slot(master, pool, slot)))
		pool_note_taken(master, pool, slot, now_ms);
}

static void pool_note_ready(struct master *master, struct pool *pool, uint64_t now_ms)
{
	bool becomes = pool->config->kind == HANDLER_BECOMES;
	uint32_t left = pool->policy.count[SLOT_STARTING] + pool->policy.count[SLOT_RETIRING] +
			(becomes ? pool->policy.count[SLOT_READY] : 0);

	for (uint32_t slot = 0; left > 0 && slot < pool->policy.rules.capacity; slot++) {
		enum slot_state state = pool->slots[slot].state;

		if (state != SLOT_STARTING && state != SLOT_RETIRING && !(becomes && state == SLOT_READY))
			continue;
		left--;
		pool_note_worker(master, pool, slot, now_ms);
	}
}

void pools_note_ready(struct master *master, uint64_t now_ms)
{
	FOR_EACH_POOL (master, pool)
		pool_note_ready(master, pool, now_ms);
}

/* Workers that may become ready and wake nobody. */
static uint32_t pool_quiet(const struct pool *pool)
{
	if (pool->config->kind != HANDLER_BECOMES)
		return 0;
	return pool->policy.count[SLOT_ASKED] + pool->policy.count[SLOT_STARTING];
}

uint64_t pools_note_quiet(struct master *master, uint64_t now_ms)
{
	uint64_t wake_ms = DEADLINE_NONE;

	FOR_EACH_POOL (master, pool) {
		if (pool_quiet(pool) == 0)
			continue;
		pool_note_ready(master, pool, now_ms);
		if (pool_quiet(pool) > 0)
			wake_ms = deadline_after(now_ms, QUIET_LOOK_MS);
	}
	return wake_ms;
}

/* ---- requests ---- */

/* What a worker says of the request that it is in. */
struct request {
	uint64_t since_us;
	uint64_t deadline_us; /* by the board's clock; 0: none */
};

static struct request request_of(const struct master *master, const struct pool *pool, uint32_t slot)
{
	const struct board_slot *board_slot = pool_board_slot(master, pool, slot);

	return (struct request){
		.since_us = atomic_load_explicit(&board_slot->changed_us, memory_order_relaxed),
		.deadline_us = atomic_load_explicit(&board_slot->deadline_us, memory_order_relaxed),
	};
}

/*
 * The deadline by the master's clock, in microseconds, which stands still where the worker's goes on. A request that
 * was under way in a gap has as much more time, one that began later has not; and one that was given another deadline
 * since knew of the gap, or might have.
 */
static uint64_t request_due_us(const struct master *master, const struct worker *worker, const struct request *request)
{
	bool moved = worker->moved.by_us != 0 && worker->moved.since_us == request->since_us &&
		     worker->moved.deadline_us == request->deadline_us;
	uint64_t due_us = request->deadline_us + (moved ? worker->moved.by_us : 0);
	uint64_t skipped_us = master->skipped_ms * 1000;

	if (request->deadline_us == 0)
		return 0;
	/* What a worker has written may be anything. */
	if (due_us < request->deadline_us)
		return UINT64_MAX;
	return due_us > skipped_us ? due_us - skipped_us : 1;
}

static void overrun_begins(
	struct master *master, struct pool *pool, uint32_t slot, const struct request *request, uint64_t now_ms)
{
	struct pool_action action = { .slot = slot, .reason = SLOT_REASON_REQUEST_TIMEOUT };

	/* It may serve, and retire, before the master knows that it is ready. */
	pool_note_worker(master, pool, slot, now_ms);
	if (!pool_policy_overruns(&pool->policy, slot, &action.what))
		return;
	pool->workers[slot].overrun_us = request->since_us;
	pool_signal(master, pool, &action, now_ms);
}

/* The second look, before each further step: only the request that was overrun then is, and not one after it. */
static void overrun_goes_on(
	struct master *master, struct pool *pool, uint32_t slot, const struct request *request, uint64_t now_ms)
{
	const struct pool_action leave = { .what = SLOT_RETIRE, .slot = slot, .reason = SLOT_REASON_REQUEST_TIMEOUT };

	if (request->since_us == pool->workers[slot].overrun_us &&
		deadline_request_overrun(request_due_us(master, &pool->workers[slot], request), now_ms))
		return;
	pool_signal(master, pool, &leave, now_ms);
}

/* Looks at the deadlines that the pool's workers have written. */
static void pool_check_requests(struct master *master, struct pool *pool, uint64_t now_ms)
{
	uint64_t nearest_us = 0;

	for (uint32_t slot = 0; slot < pool->policy.rules.capacity; slot++) {
		enum slot_state state = pool->slots[slot].state;
		struct request request;
		uint64_t due_us;

		if (state != SLOT_READY && state != SLOT_RETIRING && state != SLOT_OVERRUN)
			continue;
		request = request_of(master, pool, slot);
		due_us = request_due_us(master, &pool->workers[slot], &request);
		if (state == SLOT_OVERRUN)
			overrun_goes_on(master, pool, slot, &request, now_ms);
		else if (deadline_request_overrun(due_us, now_ms))
			overrun_begins(master, pool, slot, &request, now_ms);
		else if (due_us != 0 && (nearest_us == 0 || due_us < nearest_us))
			nearest_us = due_us;
	}
	pool->next_scan_ms = deadline_next_scan(nearest_us, pool->config->request_timeout_ms, now_ms);
}

/* Also where the time-out was switched off: workers of before may be in a request that is bounded by it. */
uint64_t pools_check_requests(struct master *master, uint64_t now_ms)
{
	uint64_t wake_ms = DEADLINE_NONE;

	FOR_EACH_POOL (master, pool) {
		bool warned = pool->policy.count[SLOT_OVERRUN] > 0;

		if (pool->config->request_timeout_ms == 0 && !warned && pool->next_scan_ms == DEADLINE_NONE)
			continue;
		if (warned || deadline_passed(pool->next_scan_ms, now_ms))
			pool_check_requests(master, pool, now_ms);
		wake_ms = deadline_earlier(wake_ms, pool->next_scan_ms);
	}
	return wake_ms;
}

static void move_request(const struct master *master, struct pool *pool, uint32_t slot, uint64_t gap_ms)
{
	const struct request request = request_of(master, pool, slot);
	struct worker *worker = &pool->workers[slot];

	if (request.deadline_us == 0)
		return;
	if (worker->moved.since_us != request.since_us || worker->moved.deadline_us != request.deadline_us)
		worker->moved.by_us = 0;
	worker->moved.since_us = request.since_us;
	worker->moved.deadline_us = request.deadline_us;
	worker->moved.by_us += gap_ms * 1000;
}

void pools_move_requests(struct master *master, uint64_t gap_ms)
{
	FOR_EACH_POOL (master, pool) {
		for (uint32_t slot = 0; slot < pool->policy.rules.capacity; slot++)
			if (pool->workers[slot].pid != 0)
				move_request(master, pool, slot, gap_ms);
	}
}

/* ---- deadlines ---- */

/* A request that begins wakes nobody, so where there may be one, there is. */
static bool pool_is_timed(const struct pool *pool)
{
	const uint32_t *count = pool->policy.count;

	return (pool->config->request_timeout_ms != 0 && count[SLOT_READY] > 0) ||
	       count[SLOT_STARTING] + slot_leaving_in(count) > 0 ||
	       (pool->policy.rules.watchdog_ms != 0 && count[SLOT_READY] > 0);
}

bool pools_are_timed(const struct master *master)
{
	FOR_EACH_POOL (master, pool)
		if (pool_is_timed(pool))
			return true;
	return false;
}

/* ---- how many have a connection ---- */

static uint32_t pool_serving(const struct master *master, const struct pool *pool)
{
	uint32_t serving = 0;

	for (uint32_t slot = 0; slot < pool->policy.rules.capacity; slot++)
		if (pool->workers[slot].pid != 0 &&
			board_state_is_serving(board_slot_state(pool_board_slot(master, pool, slot))))
			serving++;
	return serving;
}

uint32_t pools_serving(const struct master *master)
{
	uint32_t serving = 0;

	FOR_EACH_POOL (master, pool)
		serving += pool_serving(master, pool);
	return serving;
}
