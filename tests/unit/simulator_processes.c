/* SPDX-License-Identifier: MIT */
#include "simulator.h"

#include "policy/pool.h"

struct sim_process *sim_process_of(struct sim *sim, uint32_t slot)
{
	return sim->owner[slot] == 0 ? NULL : &sim->processes[sim->owner[slot] - 1];
}

struct sim_process *sim_process_new(struct sim *sim, uint32_t slot, uint32_t generation)
{
	uint32_t number = 0;

	while (sim->processes[number].used)
		number++;
	sim->owner[slot] = number + 1;
	sim->processes[number] = (struct sim_process){
		.used = true,
		.slot = slot,
		.generation = generation,
		.asked_ms = sim->now_ms,
		.failures_before = sim->backoff.failures,
		.fate_ms = SIM_NEVER,
		.start_due_ms = SIM_NEVER,
		.ready_at_ms = SIM_NEVER,
		.watchdog_due_ms = SIM_NEVER,
		.retire_due_ms = SIM_NEVER,
		.recycled_ms = SIM_NEVER,
		.warn_due_ms = SIM_NEVER,
	};
	return &sim->processes[number];
}

void sim_process_free(struct sim *sim, struct sim_process *process)
{
	sim->owner[process->slot] = 0;
	process->used = false;
}

bool sim_process_is_healthy(const struct sim *sim, const struct sim_process *process)
{
	return process->ready && sim->now_ms - process->ready_ms >= sim_rules_of(sim, process)->healthy_ms;
}

/* ---- fates ---- */

static void fate_set(struct sim *sim, struct sim_process *process, enum sim_fate fate, uint64_t within_ms)
{
	process->fate = fate;
	process->fate_ms = sim->now_ms + sim_upto(sim, within_ms);
}

static void fate_set_at(struct sim_process *process, enum sim_fate fate, uint64_t at_ms)
{
	process->fate = fate;
	process->fate_ms = at_ms;
}

static uint64_t later(uint64_t a_ms, uint64_t b_ms)
{
	return a_ms > b_ms ? a_ms : b_ms;
}

static void fate_nothing(struct sim_process *process)
{
	process->fate = FATE_NOTHING;
	process->fate_ms = SIM_NEVER;
}

static void fate_exit(struct sim *sim, struct sim_process *process, int code, uint64_t within_ms)
{
	fate_set(sim, process, FATE_EXIT, within_ms);
	process->code = code;
}

static void fate_crash(struct sim *sim, struct sim_process *process, uint64_t within_ms)
{
	fate_set(sim, process, FATE_CRASH, within_ms);
	process->code = sim_chance(sim, 500) ? 11 : 6;
}

/* Any end that nobody has asked for. */
static void fate_die(struct sim *sim, struct sim_process *process, uint64_t within_ms)
{
	if (sim_chance(sim, 500))
		fate_crash(sim, process, within_ms);
	else
		fate_exit(sim, process, sim_chance(sim, 300) ? 0 : 70, within_ms);
}

/* The new configuration is at fault, if nothing else is. */
static bool is_of_bad_generation(const struct sim *sim, const struct sim_process *process)
{
	return !sim->calm && sim->next.fails && process->generation == sim->next.generation;
}

static void draw_birth(struct sim *sim, struct sim_process *process)
{
	bool bad = is_of_bad_generation(sim, process) && sim_chance(sim, 300);
	bool fails = bad || (!sim->calm && sim_chance(sim, sim->world->fork_fails));

	fate_set(sim, process, fails ? FATE_FAILED : FATE_BORN, sim->world->born_in_ms);
}

static void draw_start(struct sim *sim, struct sim_process *process)
{
	const struct sim_world *world = sim->world;
	uint64_t in_time_ms = world->start_in_ms;
	bool bad = is_of_bad_generation(sim, process);

	if (!sim->calm && sim_chance(sim, bad ? 400 : world->start_hangs))
		fate_nothing(process);
	else if (!sim->calm && sim_chance(sim, bad ? 900 : world->start_dies))
		fate_die(sim, process, world->start_in_ms);
	else if (!sim->calm && sim_chance(sim, world->asks_for_time))
		fate_set(sim, process, FATE_MORE_TIME, world->start_in_ms);
	else if (!sim->calm && sim_chance(sim, world->stops_itself))
		fate_set(sim, process, FATE_STOP, world->start_in_ms);
	else {
		if (sim->calm && process->start_due_ms <= sim->now_ms + in_time_ms)
			in_time_ms = process->start_due_ms > sim->now_ms ? process->start_due_ms - sim->now_ms - 1 : 0;
		fate_set(sim, process, FATE_READY, in_time_ms);
	}
}

/* One that waits for a client takes one when he comes, whatever else it had before it. */
static void draw_life_with_clients(struct sim *sim, struct sim_process *process)
{
	const struct sim_world *world = sim->world;
	unsigned int crashes = process->serving ? world->crashes_serving : world->crashes_idle;

	if (!sim->calm && process->serving && sim_chance(sim, world->hangs))
		fate_nothing(process);
	else if (!sim->calm && sim_chance(sim, crashes))
		fate_die(sim, process, world->life_ms);
	else if (!sim->calm && sim_chance(sim, world->leaves))
		fate_exit(sim, process, 0, world->life_ms);
	else if (!sim->calm && sim_chance(sim, world->stops_itself))
		fate_set(sim, process, FATE_STOP, world->life_ms);
	else if (!process->serving)
		fate_nothing(process);
	else
		fate_set_at(process, FATE_SERVED, later(process->done_ms, sim->now_ms));
}

static void draw_life(struct sim *sim, struct sim_process *process)
{
	const struct sim_world *world = sim->world;
	unsigned int crashes = process->serving ? world->crashes_serving : world->crashes_idle;
	/* A calm lasts long, and nothing is to be learnt from connections that come and go. */
	uint64_t next_ms = world->life_ms + (sim->calm ? sim->calm_until_ms - sim->now_ms : 0);

	if (sim_has_clients(sim)) {
		draw_life_with_clients(sim, process);
		return;
	}
	if (!sim->calm && sim_chance(sim, world->hangs))
		fate_nothing(process);
	else if (!sim->calm && sim_chance(sim, crashes))
		fate_die(sim, process, world->life_ms);
	else if (!sim->calm && sim_chance(sim, world->leaves))
		fate_exit(sim, process, 0, world->life_ms);
	else if (!sim->calm && sim_chance(sim, world->stops_itself))
		fate_set(sim, process, FATE_STOP, world->life_ms);
	else if (!sim->calm && !process->serving && sim_chance(sim, world->becomes_program))
		fate_set(sim, process, FATE_TAKE, world->life_ms);
	else
		fate_set(sim, process, process->serving ? FATE_SERVED : FATE_SERVE, next_ms);
}

/* However it ends. */
static void draw_program(struct sim *sim, struct sim_process *process)
{
	const struct sim_world *world = sim->world;

	if (!sim->calm && !process->not_executed && sim_chance(sim, world->hangs))
		fate_nothing(process);
	else if (!sim->calm && sim_chance(sim, world->crashes_serving))
		fate_die(sim, process, world->life_ms);
	else
		fate_exit(sim, process, process->not_executed ? 71 : 0, world->leave_in_ms);
}

static void draw_leave(struct sim *sim, struct sim_process *process)
{
	const struct sim_world *world = sim->world;

	if (!sim->calm && sim_chance(sim, world->ignores_orders))
		fate_nothing(process);
	else if (!sim->calm && sim_chance(sim, world->crashes_serving))
		fate_die(sim, process, world->leave_in_ms);
	else if (!process->ready && process->order == ORDER_RETIRE && sim_chance(sim, 300))
		fate_set(sim, process, FATE_READY, world->leave_in_ms);
	else if (process->serving && process->order == ORDER_RETIRE)
		fate_set(sim, process, FATE_SERVED, world->leave_in_ms);
	else
		fate_exit(sim, process, 0, world->leave_in_ms);
}

/* It was warned that its request takes too long. */
static void draw_overrun(struct sim *sim, struct sim_process *process)
{
	const struct sim_world *world = sim->world;

	if (!sim->calm && sim_chance(sim, world->ignores_orders))
		fate_nothing(process);
	else if (!sim->calm && sim_chance(sim, 300))
		fate_die(sim, process, world->leave_in_ms);
	else
		fate_set(sim, process, FATE_BACK, world->leave_in_ms);
}

/* Now and then a report of readiness, or an orderly end, was on its way when the signal was sent. */
static void draw_end(struct sim *sim, struct sim_process *process)
{
	const struct sim_world *world = sim->world;

	if (!sim->calm && sim_chance(sim, world->outlives_kill)) {
		fate_nothing(process);
		if (sim_chance(sim, 500))
			fate_crash(sim, process, 20 * POOL_KILL_GRACE_MS);
	} else if (!process->ready && process->fate == FATE_READY && sim_chance(sim, 300))
		fate_set(sim, process, FATE_READY, world->dies_in_ms);
	else if (sim_chance(sim, 50))
		fate_exit(sim, process, 0, world->dies_in_ms);
	else {
		fate_set(sim, process, FATE_CRASH, world->dies_in_ms);
		process->code = 9;
	}
}

void sim_process_draw(struct sim *sim, struct sim_process *process)
{
	if (!process->born)
		draw_birth(sim, process);
	else if (process->order >= ORDER_KILL)
		draw_end(sim, process);
	else if (process->order == ORDER_WARN)
		draw_overrun(sim, process);
	else if (process->order > ORDER_NONE)
		draw_leave(sim, process);
	else if (!process->ready)
		draw_start(sim, process);
	else if (process->running)
		draw_program(sim, process);
	else
		draw_life(sim, process);
}

static uint64_t after(const struct sim *sim, uint64_t timeout_ms)
{
	return timeout_ms == 0 ? SIM_NEVER : sim->now_ms + timeout_ms;
}

/* One that makes room for its successor may have another time than the others. */
static uint64_t retire_timeout(const struct pool_rules *rules, enum slot_reason reason)
{
	if ((reason == SLOT_REASON_RELOAD || reason == SLOT_REASON_REQUEST_TIMEOUT) && rules->replace_timeout_ms > 0)
		return rules->replace_timeout_ms;
	return rules->retire_timeout_ms;
}

void sim_process_ready(struct sim *sim, struct sim_process *process)
{
	const struct pool_rules *rules = sim_rules_of(sim, process);

	process->ready = true;
	process->ready_ms = sim->now_ms;
	process->idle_ms = sim->now_ms;
	process->told_idle_ms = sim->now_ms + 1;
	process->start_due_ms = SIM_NEVER;
	process->ready_at_ms = SIM_NEVER;
	if (process->order == ORDER_NONE)
		process->watchdog_due_ms = after(sim, rules->watchdog_ms);
	if (process->order == ORDER_RETIRE)
		process->retire_due_ms = after(sim, retire_timeout(rules, process->reason));
}

/* What it had to leave by holds on through all warnings. */
static void note_warning(struct sim *sim, struct sim_process *process)
{
	if (process->order == ORDER_NONE)
		process->retire_due_ms = SIM_NEVER;
	process->warnings = process->order == ORDER_WARN ? process->warnings + 1 : 1;
	process->warn_due_ms = sim->now_ms + sim_rules_of(sim, process)->overrun_grace_ms;
}

static void note_retirement(struct sim *sim, struct sim_process *process, enum slot_reason reason)
{
	uint64_t due_ms = after(sim, retire_timeout(sim_rules_of(sim, process), reason));

	if (process->order != ORDER_WARN || due_ms < process->retire_due_ms)
		process->retire_due_ms = due_ms;
}

void sim_process_order(struct sim *sim, struct sim_process *process, enum sim_order order, enum slot_reason reason)
{
	if (order == ORDER_WARN)
		note_warning(sim, process);
	if (order == ORDER_RETIRE && process->ready)
		note_retirement(sim, process, reason);
	process->order = order;
	process->order_ms = sim->now_ms;
	process->ready_at_ms = SIM_NEVER;
	process->watchdog_due_ms = SIM_NEVER;
	if (order == ORDER_RETIRE && slot_reason_is_recycling(reason))
		process->recycled_ms = sim->now_ms;
	if (order == ORDER_GIVEN_UP)
		return;
	process->reason = reason;
	/* Some were on their way to an end of their own when they were told; whoever waits for a client is not. */
	if (order == ORDER_KILL || sim->calm || (sim_has_clients(sim) && process->fate == FATE_NOTHING) ||
		!sim_chance(sim, 100))
		sim_process_draw(sim, process);
}
