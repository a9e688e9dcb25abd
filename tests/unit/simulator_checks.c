/* SPDX-License-Identifier: MIT */
#include "simulator.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "policy/pool.h"

void sim_fail(struct sim *sim, const char *format, ...)
{
	va_list arguments;

	if (sim->broken)
		return;
	sim->broken = true;
	va_start(arguments, format);
	vsnprintf(sim->error, sizeof(sim->error), format, arguments);
	va_end(arguments);
}

/* ---- the simulator's own reckoning ---- */

/* A canary is none of these. */
static bool is_meant_to_serve(const struct sim *sim, const struct sim_process *process)
{
	return process->used && process->order == ORDER_NONE && !process->running && !sim_is_canary(sim, process);
}

static bool is_on_its_way(const struct sim *sim, const struct sim_process *process)
{
	return is_meant_to_serve(sim, process) && !process->ready;
}

static bool serves(const struct sim *sim, const struct sim_process *process)
{
	return is_meant_to_serve(sim, process) && process->ready;
}

uint32_t sim_count_serving(const struct sim *sim)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < sim->rules.capacity; i++)
		count += is_meant_to_serve(sim, &sim->processes[i]);
	return count;
}

/* Of those, the ones of the pool's own generation. */
static uint32_t count_current(const struct sim *sim)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < sim->rules.capacity; i++)
		count += is_meant_to_serve(sim, &sim->processes[i]) && !sim_is_old(sim, &sim->processes[i]);
	return count;
}

static uint32_t count_worn(const struct sim *sim)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < sim->rules.capacity; i++)
		count += is_meant_to_serve(sim, &sim->processes[i]) && sim_is_worn(sim, &sim->processes[i]);
	return count;
}

/* Worn ones that were told to leave. */
static uint32_t count_recycled(const struct sim *sim)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < sim->rules.capacity; i++)
		count += sim->processes[i].used && sim_is_worn(sim, &sim->processes[i]) &&
			 sim->processes[i].order != ORDER_NONE && sim->processes[i].order != ORDER_GIVEN_UP;
	return count;
}

static uint32_t count_ready(const struct sim *sim)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < sim->rules.capacity; i++)
		count += serves(sim, &sim->processes[i]);
	return count;
}

static uint32_t count_free(const struct sim *sim)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < sim->rules.capacity; i++)
		count += sim->owner[i] == 0;
	return count;
}

/* Of the limit: all that are there, but for canaries. */
static uint32_t count_counted(const struct sim *sim)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < sim->rules.capacity; i++)
		count += sim->processes[i].used && !sim_is_canary(sim, &sim->processes[i]);
	return count;
}

static uint32_t limit_of(const struct sim *sim)
{
	uint32_t limit = sim->rules.limit;

	if (limit == 0 || limit > sim->rules.capacity)
		limit = sim->rules.capacity;
	return sim->allowed < limit ? sim->allowed : limit;
}

uint32_t sim_count_room(const struct sim *sim)
{
	uint32_t counted = count_counted(sim), limit = limit_of(sim), available = count_free(sim);

	if (counted >= limit)
		return 0;
	return limit - counted < available ? limit - counted : available;
}

/* So many are beyond the limit, and none of them was told to leave. */
static uint32_t count_excess(const struct sim *sim)
{
	uint32_t staying = 0;

	for (uint32_t i = 0; i < sim->rules.capacity; i++) {
		const struct sim_process *process = &sim->processes[i];

		staying += process->used && !sim_is_canary(sim, process) && process->order == ORDER_NONE;
	}
	return staying > limit_of(sim) ? staying - limit_of(sim) : 0;
}

static uint32_t step_of(const struct sim *sim)
{
	if (sim->rules.roll_step > 0)
		return sim->rules.roll_step;
	if (!sim_is_sized(sim))
		return POOL_ROLL_STEP;
	return sim->target / POOL_ROLL_PART > 1 ? sim->target / POOL_ROLL_PART : 1;
}

static uint32_t count_missing(const struct sim *sim)
{
	uint32_t serving = sim_count_serving(sim);

	return sim->phase == POOL_SERVING && serving < sim->target ? sim->target - serving : 0;
}

static uint64_t due_ms(const struct sim *sim, const struct sim_process *process);

/* Told to leave, and bound to be gone at some time. */
static uint32_t count_leaving(const struct sim *sim)
{
	uint32_t leaving = 0;

	for (uint32_t i = 0; i < sim->rules.capacity; i++) {
		const struct sim_process *process = &sim->processes[i];

		leaving += process->used && !sim_is_canary(sim, process) && process->order != ORDER_NONE &&
			   due_ms(sim, process) != SIM_NEVER;
	}
	return leaving;
}

/* When the last one that was recycled may be left to itself. */
static uint64_t patience_ms(const struct sim *sim)
{
	uint64_t until = 0;

	for (uint32_t i = 0; i < sim->rules.capacity; i++) {
		const struct sim_process *process = &sim->processes[i];

		if (process->used && sim_is_worn(sim, process) && process->recycled_ms != SIM_NEVER &&
			process->order != ORDER_GIVEN_UP && process->recycled_ms + POOL_PATIENCE_MS > until)
			until = process->recycled_ms + POOL_PATIENCE_MS;
	}
	return until;
}

/* Only time may be between a worn one and its replacement. */
static bool may_recycle(const struct sim *sim)
{
	return sim->phase == POOL_SERVING && !sim_is_rolling(sim) && count_worn(sim) > 0 &&
	       sim_count_serving(sim) <= sim->target && count_recycled(sim) < sim->target;
}

/* How many there is work for: the missing ones, and the next step of a roll, or the one for a worn one. */
static uint32_t count_wanted(const struct sim *sim)
{
	uint32_t staying = sim_count_serving(sim) + count_leaving(sim);
	uint32_t current = count_current(sim);
	uint32_t wanted = 0;

	if (!sim_is_rolling(sim) || sim->phase != POOL_SERVING)
		return count_missing(sim) + (may_recycle(sim) && patience_ms(sim) <= sim->now_ms);
	while (current + wanted < sim->target && staying + wanted < sim->target + step_of(sim))
		wanted++;
	return wanted;
}

/* What a canary does is neither a failure of the pool nor a recovery. */
static bool is_after_failure(const struct sim *sim, const struct sim_process *process)
{
	return process->used && !sim_is_canary(sim, process) && process->failures_before == sim->backoff.failures;
}

/* A failure counts if its worker was asked for after the one before; then the next start waits. */
void sim_count_failure(struct sim *sim, const struct sim_process *process)
{
	const struct backoff_rules *rules = &sim->rules.backoff;
	struct sim_backoff *backoff = &sim->backoff;

	if (!is_after_failure(sim, process))
		return;
	for (uint32_t i = 0; i < sim->rules.capacity; i++)
		if (is_after_failure(sim, &sim->processes[i]) && sim_process_is_healthy(sim, &sim->processes[i]))
			backoff->in_a_row = 0;
	backoff->wait_ms = backoff->in_a_row == 0 ? rules->min_ms : 2 * backoff->wait_ms;
	if (backoff->wait_ms > rules->max_ms)
		backoff->wait_ms = rules->max_ms;
	backoff->in_a_row++;
	backoff->failures++;
	backoff->allowed_ms = sim->now_ms + backoff->wait_ms;
	sim->tally.failures++;
	if (backoff->in_a_row > sim->tally.longest_row)
		sim->tally.longest_row = backoff->in_a_row;
}

/* How many may be started now, by the backoff alone. */
static uint32_t count_allowed(const struct sim *sim)
{
	bool on_its_way = false;

	if (sim->backoff.in_a_row == 0)
		return UINT32_MAX;
	if (sim->now_ms < sim->backoff.allowed_ms)
		return 0;
	for (uint32_t i = 0; i < sim->rules.capacity; i++) {
		const struct sim_process *process = &sim->processes[i];

		if (!is_after_failure(sim, process))
			continue;
		if (serves(sim, process))
			return UINT32_MAX;
		on_its_way |= is_on_its_way(sim, process);
	}
	return on_its_way ? 0 : 1;
}

/* When what PROCESS does has lasted too long. */
static uint64_t due_ms(const struct sim *sim, const struct sim_process *process)
{
	uint64_t due = SIM_NEVER;

	if (!process->used || !process->born)
		return SIM_NEVER;
	switch (process->order) {
	case ORDER_NONE:
	case ORDER_RETIRE:
		if (!process->ready)
			due = process->start_due_ms;
		else
			due = process->order == ORDER_NONE ? process->watchdog_due_ms : process->retire_due_ms;
		if (process->order == ORDER_RETIRE && sim->phase == POOL_RETIRING && sim->stop_deadline_ms < due)
			due = sim->stop_deadline_ms;
		return due;
	case ORDER_WARN:
		if (sim->phase == POOL_RETIRING && sim->stop_deadline_ms < process->warn_due_ms)
			return sim->stop_deadline_ms;
		return process->warn_due_ms;
	case ORDER_QUIT:
		return process->order_ms + POOL_QUIT_GRACE_MS;
	case ORDER_KILL:
		return process->order_ms + POOL_KILL_GRACE_MS;
	default:
		return SIM_NEVER;
	}
}

static bool is_start_timed_out(const struct sim *sim, const struct sim_process *process)
{
	return process->born && !process->ready && process->order <= ORDER_RETIRE &&
	       sim->now_ms >= process->start_due_ms;
}

/* ---- states ---- */

static enum slot_state expected_state(const struct sim_process *process)
{
	static const enum slot_state of_order[] = {
		[ORDER_RETIRE] = SLOT_RETIRING,
		[ORDER_WARN] = SLOT_OVERRUN,
		[ORDER_QUIT] = SLOT_QUITTING,
		[ORDER_KILL] = SLOT_KILLED,
		[ORDER_GIVEN_UP] = SLOT_LOST,
	};

	if (process == NULL)
		return SLOT_FREE;
	if (!process->born)
		return SLOT_ASKED;
	if (process->order != ORDER_NONE)
		return of_order[process->order];
	if (process->running)
		return SLOT_RUNNING;
	return process->ready ? SLOT_READY : SLOT_STARTING;
}

/* Whether age can wear it out. */
static bool wears(const struct sim *sim, const struct sim_process *process)
{
	return sim->phase == POOL_SERVING && sim->rules.max_age_ms > 0 && serves(sim, process) && !process->worn &&
	       !sim_is_old(sim, process);
}

/* When it does: the part that was drawn for it is the one thing that is believed. */
static uint64_t worn_ms(const struct sim *sim, const struct sim_process *process)
{
	uint64_t age_ms = sim->rules.max_age_ms;
	uint64_t part_ms = age_ms * sim->slots[process->slot].jitter_ppm / 1000000;

	return process->asked_ms + (part_ms == age_ms ? 1 : age_ms - part_ms);
}

void sim_check_jitter(struct sim *sim, const struct sim_process *process)
{
	const struct pool_rules *rules = sim_rules_of(sim, process);

	if (sim->slots[process->slot].jitter_ppm > rules->jitter * 10000)
		sim_fail(sim, "slot %u has a jitter of %u where %u%% is the most", process->slot,
			sim->slots[process->slot].jitter_ppm, rules->jitter);
}

/* Each process is in the one slot it was asked for in, in the state that is true of it; and the counts say so. */
static void check_slots(struct sim *sim)
{
	uint32_t count[SLOT_STATES] = { 0 };
	uint32_t capacity = sim->rules.capacity;
	uint32_t living = 0;

	for (uint32_t i = 0; i < capacity; i++) {
		const struct sim_process *process = sim_process_of(sim, i);
		enum slot_state expected = expected_state(process);

		if (process != NULL && (!process->used || process->slot != i))
			sim_fail(sim, "slot %u: the model itself lost its process", i);
		if (sim->slots[i].state != expected)
			sim_fail(sim, "slot %u is %s, and its process is %s", i, slot_state_name(sim->slots[i].state),
				slot_state_name(expected));
		if (process != NULL && sim->slots[i].generation != process->generation)
			sim_fail(sim, "slot %u is of generation %u and not %u", i, sim->slots[i].generation,
				process->generation);
		count[expected]++;
		living += expected != SLOT_FREE && expected != SLOT_LOST;
	}
	for (enum slot_state i = 0; i < SLOT_STATES; i++)
		if (sim->policy.count[i] != count[i])
			sim_fail(sim, "count of %s is %u and not %u", slot_state_name(i), sim->policy.count[i],
				count[i]);
	if (pool_policy_living(&sim->policy) != living)
		sim_fail(sim, "living is %u and not %u", pool_policy_living(&sim->policy), living);
}

/* Whether failures hold the pool back, or have not long ago; and when that ends, if nothing happens. */
static void check_degraded(struct sim *sim)
{
	bool degraded = sim->backoff.in_a_row > 0 && sim->phase == POOL_SERVING && sim->target > 0;
	uint64_t look_ms = SIM_NEVER, policy_ms;
	bool recovered = false, starting = false;

	for (uint32_t i = 0; i < sim->rules.capacity; i++) {
		const struct sim_process *process = &sim->processes[i];
		uint64_t healthy_ms = process->ready_ms + sim_rules_of(sim, process)->healthy_ms;

		starting |= is_on_its_way(sim, process) && !sim_is_old(sim, process);
		if (!is_after_failure(sim, process) || !process->ready)
			continue;
		recovered |= sim->now_ms >= healthy_ms;
		if (sim->now_ms < healthy_ms && healthy_ms < look_ms)
			look_ms = healthy_ms;
	}
	degraded &= !recovered || starting;
	if (pool_policy_is_degraded(&sim->policy, sim->now_ms, &policy_ms) != degraded)
		sim_fail(sim, "is %sdegraded", degraded ? "not " : "");
	if (policy_ms != (degraded ? look_ms : SIM_NEVER))
		sim_fail(sim, "may recover at %lld and not %lld", (long long)policy_ms, (long long)look_ms);
	sim->tally.degraded[degraded]++;
	sim->tally.recovered += recovered && !degraded && sim->backoff.in_a_row > 0;
}

static void check_readiness(struct sim *sim)
{
	uint32_t ready = count_ready(sim);
	uint32_t most = sim->rules.give_up_after, limit = limit_of(sim);
	bool gave_up = sim->backoff.in_a_row >= (most == 0 ? POOL_START_ATTEMPTS : most);
	bool is_ready;

	/* All that it is to have, or all that others leave to it. */
	if (ready >= sim->target || ready >= limit || (ready > 0 && gave_up))
		sim->was_ready = true;
	is_ready = sim->was_ready || (most == 0 && gave_up);
	if (pool_policy_is_ready(&sim->policy) != is_ready)
		sim_fail(sim, "is_ready is %d and not %d", !is_ready, is_ready);
	if (pool_policy_start_failed(&sim->policy) != (gave_up && !is_ready))
		sim_fail(sim, "start_failed is not %d", gave_up && !is_ready);
	sim->tally.start_failures += gave_up && !is_ready;
	sim->tally.starts_without += is_ready && !sim->was_ready;
}

static void check_roles(struct sim *sim)
{
	uint32_t count[POOL_ROLES][SLOT_STATES] = { 0 };

	for (uint32_t i = 0; i < sim->rules.capacity; i++) {
		const struct sim_process *process = sim_process_of(sim, i);

		if (process != NULL)
			count[sim_is_old(sim, process)        ? POOL_OLD
				: sim_is_canary(sim, process) ? POOL_CANARY
				: sim_is_worn(sim, process)   ? POOL_WORN
							      : POOL_CURRENT][expected_state(process)]++;
	}
	for (enum pool_role role = 0; role < POOL_ROLES; role++)
		for (enum slot_state i = 0; i < SLOT_STATES; i++)
			if (sim->policy.count_of[role][i] != count[role][i])
				sim_fail(sim, "count of %s in role %d is %u and not %u", slot_state_name(i), (int)role,
					sim->policy.count_of[role][i], count[role][i]);
	if (pool_policy_is_rolling(&sim->policy) != sim_is_rolling(sim))
		sim_fail(sim, "is_rolling is not %d", sim_is_rolling(sim));
}

static void check_canary(struct sim *sim)
{
	enum canary_state state = pool_policy_canary(&sim->policy, sim->now_ms);
	enum sim_canary canary = canary_has_failed(state) ? SIM_CANARY_FAILED : (enum sim_canary)state;

	if (canary != sim_canary_now(sim))
		sim_fail(sim, "the canary is '%s' and not %d", canary_state_name(state), (int)sim_canary_now(sim));
	if (sim->transaction.phase != sim->reload)
		sim_fail(sim, "the reload is %s and not %s", reload_phase_name(sim->transaction.phase),
			reload_phase_name(sim->reload));
}

/* Nothing but a commit changes what is in force; an undone reload leaves no trace. */
static void check_configuration(struct sim *sim)
{
	const struct pool_rules *rules = &sim->policy.rules;

	if (sim->policy.generation != sim->generation)
		sim_fail(sim, "generation %u and not %u", sim->policy.generation, sim->generation);
	if (rules->capacity != sim->rules.capacity || rules->start_timeout_ms != sim->rules.start_timeout_ms ||
		rules->ready_after_ms != sim->rules.ready_after_ms ||
		rules->retire_timeout_ms != sim->rules.retire_timeout_ms ||
		rules->replace_timeout_ms != sim->rules.replace_timeout_ms || rules->limit != sim->rules.limit ||
		rules->roll_step != sim->rules.roll_step || rules->watchdog_ms != sim->rules.watchdog_ms ||
		rules->healthy_ms != sim->rules.healthy_ms || rules->give_up_after != sim->rules.give_up_after ||
		rules->max_age_ms != sim->rules.max_age_ms || rules->jitter != sim->rules.jitter ||
		rules->overrun_warnings != sim->rules.overrun_warnings ||
		rules->overrun_grace_ms != sim->rules.overrun_grace_ms ||
		rules->backoff.min_ms != sim->rules.backoff.min_ms ||
		rules->backoff.max_ms != sim->rules.backoff.max_ms)
		sim_fail(sim, "other rules than those of generation %u", sim->generation);
}

void sim_allow_what_is(struct sim *sim)
{
	sim->most_counted = UINT32_MAX;
	sim->most_serving = UINT32_MAX;
}

/* Whatever is beyond a bound has been there before the bound. */
static void check_bounds(struct sim *sim)
{
	uint32_t counted = count_counted(sim), serving = sim_count_serving(sim);
	uint32_t most = sim->target + (sim_is_rolling(sim) ? step_of(sim) : count_worn(sim) > 0);

	if (counted > limit_of(sim) && counted > sim->most_counted)
		sim_fail(sim, "%u are in use, and the limit is %u", counted, limit_of(sim));
	if (serving > most && serving > sim->most_serving)
		sim_fail(sim, "%u serve, and may be %u", serving, most);
	if (pool_policy_room(&sim->policy) != sim_count_room(sim))
		sim_fail(sim, "room for %u and not %u", pool_policy_room(&sim->policy), sim_count_room(sim));
	sim->most_counted = counted;
	sim->most_serving = serving;
}

void sim_check_state(struct sim *sim)
{
	check_slots(sim);
	check_roles(sim);
	check_canary(sim);
	check_configuration(sim);
	check_readiness(sim);
	check_degraded(sim);
	check_bounds(sim);
	if (sim->policy.target != sim->target || sim->policy.phase != sim->phase)
		sim_fail(sim, "target %u, phase %d", sim->policy.target, (int)sim->policy.phase);
}

/* ---- plans ---- */

/* Slots that are kept for workers that are missing, as far as the limit lets them be started. */
static uint32_t count_kept(const struct sim *sim)
{
	uint32_t missing = count_missing(sim), room = sim_count_room(sim);

	return missing < room ? missing : room;
}

/* It takes no slot of those that are missing. */
static void check_ask_canary(struct sim *sim, const struct pool_action *action)
{
	if (!sim_awaits_canary(sim))
		sim_fail(sim, "starts a canary in slot %u that nobody wants", action->slot);
	if (count_free(sim) <= count_kept(sim))
		sim_fail(sim, "starts a canary in slot %u where %u are missing", action->slot, count_kept(sim));
}

static void check_ask(struct sim *sim, const struct pool_action *action)
{
	if (sim->phase != POOL_SERVING)
		sim_fail(sim, "starts in slot %u after the end began", action->slot);
	if (sim->owner[action->slot] != 0)
		sim_fail(sim, "starts in slot %u, which is taken", action->slot);
	if (action->reason == SLOT_REASON_RELOAD) {
		check_ask_canary(sim, action);
		return;
	}
	if (sim_awaits_canary(sim) && count_missing(sim) == 0 && count_free(sim) == 1)
		sim_fail(sim, "starts in slot %u, which a canary waits for", action->slot);
	if (count_wanted(sim) == 0)
		sim_fail(sim, "starts in slot %u above the target %u", action->slot, sim->target);
	if (sim_count_room(sim) == 0)
		sim_fail(sim, "starts in slot %u above the limit %u", action->slot, limit_of(sim));
	if (sim_count_window(sim) == 0)
		sim_fail(sim, "starts in slot %u, and %u are on their way", action->slot, sim->sizing.window);
	if (count_allowed(sim) == 0)
		sim_fail(sim, "starts in slot %u while the backoff holds (%u in a row, %lld ms too early)",
			action->slot, sim->backoff.in_a_row, (long long)(sim->backoff.allowed_ms - sim->now_ms));
}

/* A new worker may start, and there is no slot for it, nor will there be one by itself. */
static bool is_roll_stuck(const struct sim *sim)
{
	if (sim_count_room(sim) > 0 || count_wanted(sim) == 0 || count_allowed(sim) == 0)
		return false;
	for (uint32_t i = 0; i < sim->rules.capacity; i++) {
		const struct sim_process *process = &sim->processes[i];
		bool on_its_way = is_on_its_way(sim, process) && !sim_is_old(sim, process);

		if (process->used && process->order != ORDER_GIVEN_UP &&
			(on_its_way || !is_meant_to_serve(sim, process)))
			return false;
	}
	return true;
}

/* Whether PROCESS, an old one, has to make room: one that is ready does not while there is one that is not. */
static bool is_in_the_way(const struct sim *sim, const struct sim_process *process)
{
	if (!is_roll_stuck(sim))
		return false;
	for (uint32_t i = 0; i < sim->rules.capacity && process->ready; i++)
		if (is_on_its_way(sim, &sim->processes[i]))
			return false;
	return true;
}

/* No fewer are ready for it than before the reload, unless it has to make room. */
static void check_roll(struct sim *sim, const struct pool_action *action, const struct sim_process *process)
{
	uint32_t ready = count_ready(sim);
	bool spare =
		process->ready ? ready > sim->target : ready >= sim->target || sim_count_serving(sim) > sim->target;

	if (!sim_is_old(sim, process))
		sim_fail(sim, "retires slot %u, which is not old, for a reload", action->slot);
	if (!spare && !is_in_the_way(sim, process))
		sim_fail(sim, "retires slot %u for a reload with %u of %u ready", action->slot, ready, sim->target);
	sim->tally.roll_retires += spare;
	sim->tally.room_retires += !spare;
}

/* The pool is not short for it: another one is ready in its place. */
static void check_recycling(struct sim *sim, const struct pool_action *action, const struct sim_process *process)
{
	if (!sim_is_worn(sim, process) || !process->ready || process->running)
		sim_fail(sim, "retires slot %u, which is not worn, for %s", action->slot,
			slot_reason_name(action->reason));
	if (count_ready(sim) <= sim->target)
		sim_fail(sim, "retires slot %u, which is worn, with %u of %u ready", action->slot, count_ready(sim),
			sim->target);
	for (uint32_t i = 0; i < sim->rules.capacity; i++) {
		const struct sim_process *other = &sim->processes[i];

		if (serves(sim, other) && sim_is_worn(sim, other) && other->worn_ms < process->worn_ms)
			sim_fail(sim, "retires slot %u, and slot %u is worn for longer", action->slot, other->slot);
	}
	sim->tally.impatient += count_recycled(sim) > 0;
	sim->tally.recycled++;
}

static void check_wear(struct sim *sim, const struct pool_action *action, const struct sim_process *process)
{
	if (action->reason != SLOT_REASON_RECYCLE_AGE || !wears(sim, process) || sim->now_ms < worn_ms(sim, process))
		sim_fail(sim, "slot %u is not too old", action->slot);
}

static void check_refused(struct sim *sim, const struct pool_action *action, const struct sim_process *process)
{
	if (!sim_is_canary(sim, process) || sim->canary != SIM_CANARY_NONE)
		sim_fail(sim, "retires slot %u for a reload that is not undone", action->slot);
}

static void check_highest(struct sim *sim, const struct pool_action *action)
{
	for (uint32_t i = action->slot + 1; i < sim->rules.capacity; i++) {
		const struct sim_process *higher = sim_process_of(sim, i);

		if (higher != NULL && higher->born && is_meant_to_serve(sim, higher))
			sim_fail(sim, "retires slot %u before slot %u", action->slot, i);
	}
}

/* Idle ones before those that start, and these before busy ones; of the idle, the one that has been so longest. */
static void check_idlest(struct sim *sim, const struct pool_action *action, const struct sim_process *process)
{
	bool busy = process->ready && process->told_idle_ms == 0;

	if (busy && count_excess(sim) == 0 && sim_count_serving(sim) <= sim->rules.sizing.max)
		sim_fail(sim, "retires slot %u, which is busy", action->slot);
	sim->tally.busy_retires += busy;
	for (uint32_t i = 0; i < sim->rules.capacity; i++) {
		const struct sim_process *other = &sim->processes[i];

		if (!other->born || !is_meant_to_serve(sim, other))
			continue;
		if (other->ready && other->told_idle_ms != 0 &&
			(!process->ready || busy || other->told_idle_ms < process->told_idle_ms))
			sim_fail(sim, "retires slot %u, and slot %u has been idle for longer", action->slot,
				other->slot);
		if (!other->ready && busy)
			sim_fail(sim, "retires slot %u, and slot %u only starts", action->slot, other->slot);
	}
}

static void check_surplus(struct sim *sim, const struct pool_action *action, const struct sim_process *process)
{
	if (sim_is_rolling(sim) || sim_is_canary(sim, process))
		sim_fail(sim, "retires slot %u, which has to do with a reload", action->slot);
	if (sim_count_serving(sim) <= sim->target + (count_worn(sim) > 0) && count_excess(sim) == 0)
		sim_fail(sim, "retires slot %u below the target %u", action->slot, sim->target);
	sim->tally.limit_retires += sim_count_serving(sim) <= sim->target;
	if (sim->rules.sizing.kind == SIZING_SPARE)
		check_idlest(sim, action, process);
	else
		check_highest(sim, action);
}

static void check_retire(struct sim *sim, const struct pool_action *action, const struct sim_process *process)
{
	if (process->order != ORDER_NONE || !process->born)
		sim_fail(sim, "retires slot %u again", action->slot);
	if (sim->phase == POOL_QUITTING || (sim->phase == POOL_RETIRING) != (action->reason == SLOT_REASON_STOP))
		sim_fail(sim, "retires slot %u for %s", action->slot, slot_reason_name(action->reason));
	switch (action->reason) {
	case SLOT_REASON_STOP:
		break;
	case SLOT_REASON_SCALE_DOWN:
		check_surplus(sim, action, process);
		break;
	case SLOT_REASON_RELOAD:
		check_roll(sim, action, process);
		break;
	case SLOT_REASON_RELOAD_UNDONE:
		check_refused(sim, action, process);
		break;
	case SLOT_REASON_RECYCLE_REQUESTS:
	case SLOT_REASON_RECYCLE_AGE:
	case SLOT_REASON_RECYCLE_MEMORY:
		check_recycling(sim, action, process);
		break;
	default:
		sim_fail(sim, "retires slot %u for %s", action->slot, slot_reason_name(action->reason));
	}
}

static void check_quit(struct sim *sim, const struct pool_action *action, const struct sim_process *process)
{
	bool stopped = sim->phase == POOL_RETIRING && sim->now_ms >= sim->stop_deadline_ms;
	bool late = (process->order == ORDER_RETIRE &&
			    (stopped || (process->ready && sim->now_ms >= process->retire_due_ms))) ||
		    (process->order == ORDER_WARN && stopped);
	bool silent = process->order == ORDER_NONE && process->ready && sim->now_ms >= process->watchdog_due_ms;
	enum slot_reason reason = sim->quit_reason;

	if (late)
		reason = SLOT_REASON_STOP_TIMEOUT;
	if (silent)
		reason = SLOT_REASON_WATCHDOG;
	if (process->order >= ORDER_QUIT || !process->born)
		sim_fail(sim, "quits slot %u again", action->slot);
	if (sim->phase != POOL_QUITTING && !late && !silent)
		sim_fail(sim, "quits slot %u before its deadline", action->slot);
	if (action->reason != reason)
		sim_fail(sim, "quits slot %u for %s", action->slot, slot_reason_name(action->reason));
}

static bool is_out_of_warnings(const struct sim *sim, const struct sim_process *process)
{
	return process->warnings >= sim_rules_of(sim, process)->overrun_warnings;
}

/* Once more: the first warning is the master's own doing. */
static void check_warn(struct sim *sim, const struct pool_action *action, const struct sim_process *process)
{
	if (process->order != ORDER_WARN || sim->now_ms < process->warn_due_ms || is_out_of_warnings(sim, process))
		sim_fail(sim, "warns slot %u without need", action->slot);
	if (action->reason != SLOT_REASON_REQUEST_TIMEOUT)
		sim_fail(sim, "warns slot %u for %s", action->slot, slot_reason_name(action->reason));
}

static void check_kill(struct sim *sim, const struct pool_action *action, const struct sim_process *process)
{
	bool warned =
		process->order == ORDER_WARN && sim->now_ms >= process->warn_due_ms && is_out_of_warnings(sim, process);

	if (action->reason == SLOT_REASON_START_TIMEOUT) {
		if (!is_start_timed_out(sim, process))
			sim_fail(sim, "kills slot %u for a start_timeout that is none", action->slot);
		return;
	}
	if (!warned && (process->order != ORDER_QUIT || sim->now_ms < due_ms(sim, process)))
		sim_fail(sim, "kills slot %u without need", action->slot);
	if (action->reason != process->reason)
		sim_fail(sim, "kills slot %u for %s", action->slot, slot_reason_name(action->reason));
}

/* It has lived for long enough to count as ready. */
static void check_ready(struct sim *sim, const struct pool_action *action, const struct sim_process *process)
{
	if (sim->phase != POOL_SERVING || !process->born || process->order != ORDER_NONE || process->ready ||
		sim->now_ms < process->ready_at_ms)
		sim_fail(sim, "slot %u does not count as ready yet", action->slot);
}

void sim_check_action(struct sim *sim, const struct pool_action *action)
{
	const struct sim_process *process;

	if (action->slot >= sim->rules.capacity) {
		sim_fail(sim, "there is no slot %u", action->slot);
		return;
	}
	process = sim_process_of(sim, action->slot);
	if (action->what == SLOT_ASK) {
		check_ask(sim, action);
		return;
	}
	if (process == NULL) {
		sim_fail(sim, "%s for slot %u, which is free", slot_event_name(action->what), action->slot);
		return;
	}
	switch (action->what) {
	case SLOT_BECAME_READY:
		check_ready(sim, action, process);
		break;
	case SLOT_WEAR:
		check_wear(sim, action, process);
		break;
	case SLOT_RETIRE:
		check_retire(sim, action, process);
		break;
	case SLOT_WARN:
		check_warn(sim, action, process);
		break;
	case SLOT_QUIT:
		check_quit(sim, action, process);
		break;
	case SLOT_KILL:
		check_kill(sim, action, process);
		break;
	case SLOT_GIVE_UP:
		if (process->order != ORDER_KILL || sim->now_ms < due_ms(sim, process))
			sim_fail(sim, "gives slot %u up without need", action->slot);
		break;
	default:
		sim_fail(sim, "%s is no action", slot_event_name(action->what));
	}
}

void sim_check_plan(struct sim *sim)
{
	bool seen[SIM_CAPACITY_MAX] = { false };

	if (sim->plan.count > POOL_PLAN_MAX)
		sim_fail(sim, "a plan of %zu actions", sim->plan.count);
	for (size_t i = 0; i < sim->plan.count && !sim->broken; i++) {
		uint32_t slot = sim->plan.actions[i].slot;

		if (slot >= sim->rules.capacity)
			sim_fail(sim, "there is no slot %u", slot);
		else if (seen[slot])
			sim_fail(sim, "slot %u stands twice in a plan", slot);
		else
			seen[slot] = true;
	}
}

/* The pool's policy as it would be if there had been no reload. */
static void make_ghost(const struct sim *sim, struct pool_policy *ret_ghost, struct slot *ret_slots)
{
	*ret_ghost = sim->policy;
	ret_ghost->slots = ret_slots;
	ret_ghost->reload.canary = CANARY_NONE;
	for (uint32_t i = 0; i < sim->rules.capacity; i++) {
		ret_slots[i] = sim->slots[i];
		if (ret_slots[i].state == SLOT_FREE || ret_slots[i].generation <= sim->generation)
			continue;
		ret_ghost->count[ret_slots[i].state]--;
		ret_ghost->count[SLOT_FREE]++;
		ret_ghost->count_of[POOL_CANARY][ret_slots[i].state]--;
		ret_slots[i] = (struct slot){ .state = SLOT_FREE, .deadline_ms = SIM_NEVER };
	}
}

/* How many starts PLAN asks for, and what else of the old generation, in its order. Returns false where it has to do
 * with a canary: that is done alone. */
static bool reduce_plan(
	const struct sim *sim, const struct pool_plan *plan, uint32_t *ret_asks, struct pool_plan *ret_others)
{
	*ret_asks = 0;
	ret_others->count = 0;
	for (size_t i = 0; i < plan->count; i++) {
		const struct pool_action *action = &plan->actions[i];

		if (action->what == SLOT_ASK)
			*ret_asks += action->reason != SLOT_REASON_RELOAD;
		else if (sim->slots[action->slot].generation > sim->generation)
			return false;
		else
			ret_others->actions[ret_others->count++] = *action;
	}
	return true;
}

void sim_check_unnoticed(struct sim *sim)
{
	static struct slot slots[SIM_CAPACITY_MAX];
	static struct pool_plan plan, others, expected;
	struct pool_policy ghost;
	uint32_t asks, expected_asks, most;

	/* Of a roll, the canary may be in the way. */
	if (sim->canary == SIM_CANARY_NONE || sim->phase != POOL_SERVING || sim_is_rolling(sim))
		return;
	make_ghost(sim, &ghost, slots);
	pool_policy_plan(&ghost, sim->now_ms, &plan);
	if (!reduce_plan(sim, &sim->plan, &asks, &others) || !reduce_plan(sim, &plan, &expected_asks, &expected))
		return;
	most = count_free(sim) - (sim_awaits_canary(sim) && count_free(sim) > count_kept(sim));
	if (expected_asks > most)
		expected_asks = most;
	if (asks != expected_asks)
		sim_fail(sim, "beside a canary %u are started and not %u", asks, expected_asks);
	if (others.count != expected.count ||
		memcmp(others.actions, expected.actions, others.count * sizeof(others.actions[0])) != 0)
		sim_fail(sim, "beside a canary the plan is another one");
	sim->tally.ghosts++;
}

/* What a reload asks of PROCESS, and was not done. */
static void check_reload_forgotten(struct sim *sim, const struct sim_process *process)
{
	uint32_t ready = count_ready(sim);

	if (sim->phase != POOL_SERVING || process->order != ORDER_NONE || process->running)
		return;
	if (sim->now_ms >= process->ready_at_ms)
		sim_fail(sim, "slot %u counts as ready, and nothing is done", process->slot);
	if (sim_is_canary(sim, process) && sim->canary == SIM_CANARY_NONE)
		sim_fail(sim, "slot %u is not told that its reload is undone", process->slot);
	if (wears(sim, process) && sim->now_ms >= worn_ms(sim, process))
		sim_fail(sim, "slot %u is too old, and nothing is done", process->slot);
	if (sim_is_worn(sim, process) && ready > sim->target)
		sim_fail(sim, "slot %u is worn, and serves although %u of %u are ready", process->slot, ready,
			sim->target);
	if (!sim_is_old(sim, process))
		return;
	if (process->ready ? ready > sim->target : ready >= sim->target)
		sim_fail(sim, "slot %u is old, and serves although %u of %u are ready", process->slot, ready,
			sim->target);
	if (is_in_the_way(sim, process))
		sim_fail(sim, "slot %u is old, and in the way", process->slot);
}

/* What was not asked of PROCESS although it is time. */
static void check_forgotten(struct sim *sim, const struct sim_process *process)
{
	if (!process->used || !process->born)
		return;
	if (due_ms(sim, process) <= sim->now_ms)
		sim_fail(sim, "slot %u is overdue, and nothing is done", process->slot);
	check_reload_forgotten(sim, process);
	if (sim->phase == POOL_RETIRING && process->order == ORDER_NONE)
		sim_fail(sim, "slot %u is not told of the stop", process->slot);
	if (sim->phase == POOL_QUITTING && process->order < ORDER_QUIT)
		sim_fail(sim, "slot %u is not told to quit", process->slot);
}

/* When the model says that there is something to do, if nothing happens before. */
static uint64_t next_due_ms(const struct sim *sim)
{
	uint64_t next = SIM_NEVER;

	for (uint32_t i = 0; i < sim->rules.capacity; i++) {
		uint64_t due = due_ms(sim, &sim->processes[i]);

		if (due < next)
			next = due;
		if (sim->phase == POOL_SERVING && sim->processes[i].used && sim->processes[i].ready_at_ms < next)
			next = sim->processes[i].ready_at_ms;
		if (wears(sim, &sim->processes[i]) && worn_ms(sim, &sim->processes[i]) < next)
			next = worn_ms(sim, &sim->processes[i]);
	}
	if (sim_is_asleep(sim) && sim->backoff.in_a_row > 0 && sim->backoff.allowed_ms > sim->now_ms &&
		sim->backoff.allowed_ms < next)
		next = sim->backoff.allowed_ms;
	if (may_recycle(sim) && patience_ms(sim) > sim->now_ms && patience_ms(sim) < next)
		next = patience_ms(sim);
	if (sim_canary_now(sim) == SIM_CANARY_WANTED) {
		uint64_t due = sim->now_ms < sim->try_ms ? sim->try_ms : sim->room_by_ms;

		next = due < next ? due : next;
	}
	if (count_wanted(sim) > 0 && (sim_count_room(sim) > 0 || sim_is_rolling(sim)) && sim->backoff.in_a_row > 0 &&
		sim->now_ms < sim->backoff.allowed_ms && sim->backoff.allowed_ms < next)
		next = sim->backoff.allowed_ms;
	return next;
}

void sim_check_idle(struct sim *sim)
{
	uint32_t serving = sim_count_serving(sim);
	uint32_t asked = 0, busy = 0;

	for (uint32_t i = 0; i < sim->rules.capacity; i++)
		check_forgotten(sim, &sim->processes[i]);
	for (uint32_t i = 0; i < sim->rules.capacity; i++) {
		asked += is_meant_to_serve(sim, &sim->processes[i]) && !sim->processes[i].born;
		busy += sim->rules.sizing.kind == SIZING_SPARE && serves(sim, &sim->processes[i]) &&
			sim->processes[i].told_idle_ms == 0;
	}
	sim->tally.at_limit += count_missing(sim) > 0 && count_free(sim) > 0 && sim_count_room(sim) == 0;
	if (count_wanted(sim) > 0 && sim_count_room(sim) > 0 && count_allowed(sim) > 0)
		sim->tally.held += sim_count_window(sim) == 0;
	if (count_wanted(sim) > 0 && sim_count_room(sim) > 0 && count_allowed(sim) > 0 && sim_count_window(sim) > 0)
		sim_fail(
			sim, "%u are wanted, %u may start, and none is started", count_wanted(sim), count_allowed(sim));
	if (sim_awaits_canary(sim) && count_free(sim) > count_kept(sim))
		sim_fail(sim, "a canary is wanted, and is not started");
	if (sim->phase == POOL_SERVING && !sim_is_rolling(sim) && serving > sim->target &&
		serving - sim->target > asked + busy + (count_worn(sim) > 0))
		sim_fail(sim, "%u serve where %u are wanted", serving, sim->target);
	if (sim->phase == POOL_SERVING && !sim_is_rolling(sim) && count_excess(sim) > asked && serving > asked)
		sim_fail(sim, "%u beyond the limit %u", count_excess(sim), limit_of(sim));
	if (sim->plan.wake_ms <= sim->now_ms)
		sim_fail(sim, "nothing to do, and asks to be woken at once");
	if (sim->plan.wake_ms > next_due_ms(sim))
		sim_fail(sim, "sleeps %lld ms too long", (long long)(sim->plan.wake_ms - next_due_ms(sim)));
}

/* ---- deaths ---- */

/* A program's end of its own will, as far as its age tells. */
static bool is_recycling(const struct sim *sim, const struct sim_process *process, const struct death *death)
{
	return death->accepts && !death->by_signal && death->code == 0 && (process->ready || sim->was_ready) &&
	       sim->now_ms - process->asked_ms >= POOL_RECYCLE_MS;
}

static enum death_kind expected_kind(
	const struct sim *sim, const struct sim_process *process, const struct death *death)
{
	if (process->order >= ORDER_KILL)
		return DEATH_KILLED;
	if (process->order == ORDER_WARN &&
		(death->of_our_signal || (death->serving && !death->by_signal && death->code == 0)))
		return DEATH_KILLED;
	if (process->order == ORDER_QUIT &&
		(process->reason == SLOT_REASON_STOP_TIMEOUT || process->reason == SLOT_REASON_WATCHDOG))
		return DEATH_KILLED;
	if (process->order == ORDER_NONE && process->running && !process->not_executed)
		return DEATH_FINISHED;
	if (death->by_signal)
		return DEATH_SIGNALED;
	if (death->code != 0)
		return DEATH_EXITED;
	if (process->order != ORDER_NONE && process->reason != SLOT_REASON_ITSELF)
		return slot_reason_is_recycling(process->reason) ? DEATH_RECYCLED : DEATH_RETIRED;
	return process->ready || is_recycling(sim, process, death) ? DEATH_RECYCLED : DEATH_EXITED;
}

static bool expected_failure(
	const struct sim *sim, const struct sim_process *process, const struct death *death, enum death_kind kind)
{
	bool unasked = process->order == ORDER_NONE || process->reason == SLOT_REASON_START_TIMEOUT ||
		       process->reason == SLOT_REASON_REQUEST_TIMEOUT || process->reason == SLOT_REASON_WATCHDOG ||
		       process->reason == SLOT_REASON_ITSELF;

	if (kind == DEATH_RETIRED || kind == DEATH_FINISHED ||
		(kind == DEATH_RECYCLED && is_recycling(sim, process, death)))
		return false;
	if (process->not_executed)
		return true;
	if (!unasked)
		return false;
	if (!process->ready)
		return true;
	if (process->serving || process->served > 0)
		return !sim->proven;
	return !sim_process_is_healthy(sim, process);
}

static void check_sequel(struct sim *sim, bool canary, bool again, const struct death_verdict *verdict)
{
	uint32_t missing = canary ? 0 : count_missing(sim);
	enum death_sequel sequel = DEATH_BACKING_OFF;
	uint64_t retry_ms = 0;

	if (again)
		retry_ms = sim->try_ms - sim->now_ms;
	else if (missing == 0)
		sequel = DEATH_NOT_REPLACED;
	else if (count_allowed(sim) >= missing)
		sequel = DEATH_REPLACED;
	else if (sim->now_ms < sim->backoff.allowed_ms)
		retry_ms = sim->backoff.allowed_ms - sim->now_ms;
	if (verdict->sequel != sequel || verdict->retry_ms != retry_ms)
		sim_fail(sim, "the sequel is %s (%llu ms) and not %s (%llu ms)", death_sequel_name(verdict->sequel),
			(unsigned long long)verdict->retry_ms, death_sequel_name(sequel), (unsigned long long)retry_ms);
	sim->tally.sequels[sequel]++;
}

void sim_check_verdict(
	struct sim *sim, struct sim_process *process, const struct death *death, const struct death_verdict *verdict)
{
	enum death_kind kind = expected_kind(sim, process, death);
	bool canary = sim_is_canary(sim, process);
	bool failure, recovered, by_itself, again;

	for (uint32_t i = 0; i < sim->rules.capacity; i++)
		if (sim->processes[i].used && !sim_is_canary(sim, &sim->processes[i]) &&
			sim_process_is_healthy(sim, &sim->processes[i]))
			sim->proven = true;
	sim->proven |= death->pool_has_served;
	failure = expected_failure(sim, process, death, kind);
	if (verdict->kind != kind)
		sim_fail(sim, "the death in slot %u is %s and not %s", process->slot, death_kind_name(verdict->kind),
			death_kind_name(kind));
	if (verdict->failure != failure)
		sim_fail(sim, "the death in slot %u is %s failure", process->slot, failure ? "a" : "no");
	if (verdict->before_ready == process->ready)
		sim_fail(sim, "slot %u was %sready", process->slot, process->ready ? "" : "not ");
	if (verdict->reason != process->reason || verdict->age_ms != sim->now_ms - process->asked_ms)
		sim_fail(sim, "reason and age of the death in slot %u", process->slot);
	recovered = process->served > 0 || sim_process_is_healthy(sim, process);
	if (recovered && is_after_failure(sim, process))
		sim->backoff.in_a_row = 0;
	if (failure)
		sim_count_failure(sim, process);
	if (failure)
		sim_note_canary_failed(sim, process, true);
	else
		sim_note_canary_left(sim, process);
	again = sim->canary == SIM_CANARY_WANTED && process->generation == sim->next.generation;
	sim->tally.deaths[kind]++;
	by_itself = kind == DEATH_RECYCLED && is_recycling(sim, process, death);
	sim_process_free(sim, process);
	if (by_itself)
		sim_sizing_note_exit(sim);
	check_sequel(sim, canary, again, verdict);
}

/* ---- liveness ---- */

void sim_check_calm(struct sim *sim)
{
	uint32_t ready = count_ready(sim), limit = limit_of(sim);
	uint32_t most = sim->target < limit ? sim->target : limit;

	/* The master has yet to see that a worn one can go. */
	if (ready != most && !(count_worn(sim) > 0 && ready == most + 1))
		sim_fail(sim, "%u of %u are ready although nothing fails any more", ready, most);
	if (sim->reload != RELOAD_IDLE)
		sim_fail(sim, "a reload is %s although nothing fails any more", reload_phase_name(sim->reload));
	for (uint32_t i = 0; i < sim->rules.capacity; i++)
		if (sim->processes[i].used && sim->processes[i].order == ORDER_NONE && !sim->processes[i].running &&
			sim->processes[i].generation != sim->generation)
			sim_fail(sim, "slot %u is of generation %u and not %u", sim->processes[i].slot,
				sim->processes[i].generation, sim->generation);
}
