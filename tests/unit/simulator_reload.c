/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "policy/reload.h"
#include "simulator.h"

/* ---- roles ---- */

bool sim_is_canary(const struct sim *sim, const struct sim_process *process)
{
	return process->generation > sim->generation;
}

bool sim_is_old(const struct sim *sim, const struct sim_process *process)
{
	return process->generation < sim->generation;
}

const struct pool_rules *sim_rules_of(const struct sim *sim, const struct sim_process *process)
{
	return sim_is_canary(sim, process) ? &sim->next.rules : &sim->rules;
}

static bool some_serve(const struct sim *sim, bool (*of)(const struct sim *, const struct sim_process *))
{
	for (uint32_t i = 0; i < sim->rules.capacity; i++) {
		const struct sim_process *process = &sim->processes[i];

		if (process->used && process->order == ORDER_NONE && !process->running && of(sim, process))
			return true;
	}
	return false;
}

bool sim_is_rolling(const struct sim *sim)
{
	return some_serve(sim, sim_is_old);
}

/* ---- the canary ---- */

static bool is_tried(const struct sim *sim, const struct sim_process *process)
{
	return process->generation == sim->next.generation &&
	       (sim->canary == SIM_CANARY_ASKED || sim->canary == SIM_CANARY_READY);
}

void sim_note_canary_failed(struct sim *sim, const struct sim_process *process)
{
	if (!is_tried(sim, process))
		return;
	sim->canary = SIM_CANARY_FAILED;
	sim->tally.canary_failures++;
}

void sim_note_canary_left(struct sim *sim, const struct sim_process *process)
{
	if (sim->canary == SIM_CANARY_ASKED)
		sim_note_canary_failed(sim, process);
	else if (is_tried(sim, process))
		sim->tally.canaries_left++;
}

void sim_note_canary_ready(struct sim *sim, const struct sim_process *process)
{
	if (is_tried(sim, process) && process->order == ORDER_NONE)
		sim->canary = SIM_CANARY_READY;
}

enum sim_canary sim_canary_now(const struct sim *sim)
{
	return sim->canary == SIM_CANARY_WANTED && sim->now_ms >= sim->room_by_ms ? SIM_CANARY_FAILED : sim->canary;
}

/* ---- the other pool, of which only the canary is of interest ---- */

static void partner_tell(struct sim *sim, enum slot_event event, enum slot_reason reason)
{
	if (!pool_policy_event(&sim->partner, 0, event, reason, sim->now_ms))
		sim_fail(sim, "the other pool refuses '%s'", slot_event_name(event));
}

/* It has come to a verdict at its time. */
static void partner_judge(struct sim *sim)
{
	if (sim->partner_canary != SIM_CANARY_WANTED || sim->now_ms < sim->partner_ms)
		return;
	partner_tell(sim, SLOT_ASK, SLOT_REASON_RELOAD);
	sim->partner_canary = sim->partner_fails ? SIM_CANARY_FAILED : SIM_CANARY_READY;
	sim->partner_ms = SIM_NEVER;
	if (sim->partner_fails) {
		partner_tell(sim, SLOT_FAILED, SLOT_REASON_NONE);
		return;
	}
	partner_tell(sim, SLOT_BORN, SLOT_REASON_NONE);
	partner_tell(sim, SLOT_BECAME_READY, SLOT_REASON_NONE);
}

/* Its worker leaves at once, whether the reload is committed or undone: it wants none. */
static void partner_clear(struct sim *sim)
{
	const struct death death = { .code = 0 };
	struct death_verdict verdict;

	sim->partner_canary = SIM_CANARY_NONE;
	sim->partner_ms = SIM_NEVER;
	if (sim->partner.slots[0].state != SLOT_READY)
		return;
	partner_tell(sim, SLOT_RETIRE, SLOT_REASON_SCALE_DOWN);
	if (!pool_policy_died(&sim->partner, 0, &death, sim->now_ms, &verdict))
		sim_fail(sim, "the other pool refuses a death");
}

/* ---- the transaction ---- */

/* None, below the target, at it, or above it. */
static uint32_t draw_limit(struct sim *sim)
{
	uint32_t most = sim->next.target > 0 ? sim->next.target : 1;

	switch (sim_upto(sim, 4)) {
	case 0:
		return 1 + (uint32_t)sim_upto(sim, most - 1);
	case 1:
		return most;
	case 2:
		return most + (uint32_t)sim_upto(sim, sim->rules.capacity);
	default:
		return 0;
	}
}

static void draw_next(struct sim *sim)
{
	struct pool_rules *rules = &sim->next.rules;

	sim->next.generation++;
	sim->next.target = (uint32_t)sim_upto(sim, sim->rules.capacity + 1);
	*rules = sim->rules;
	if (sim_chance(sim, 500)) {
		rules->limit = draw_limit(sim);
		rules->roll_step = (uint32_t)sim_upto(sim, 1 + sim_upto(sim, 6));
		rules->replace_timeout_ms = sim_chance(sim, 700) ? 0 : 1 + sim_upto(sim, 30000);
		rules->start_timeout_ms = sim_chance(sim, 100) ? 0 : 1 + sim_upto(sim, 30000);
		rules->ready_after_ms = sim_chance(sim, 700) ? 0 : 1 + sim_upto(sim, 3000);
		rules->retire_timeout_ms = sim_chance(sim, 700) ? 0 : 1 + sim_upto(sim, 30000);
		rules->watchdog_ms = sim_chance(sim, 700) ? 0 : 1 + sim_upto(sim, 30000);
		rules->backoff.min_ms = 1 + sim_upto(sim, 1000);
		rules->backoff.max_ms = rules->backoff.min_ms + sim_upto(sim, 60000);
	}
	sim->next.fails = sim_chance(sim, sim->world->bad_reloads);
}

void sim_reload(struct sim *sim)
{
	bool expected = sim->phase == POOL_SERVING && (sim->reload == RELOAD_IDLE || sim->reload == RELOAD_ROLLING);
	struct sim_next before = sim->next;
	struct pool_policy policy = sim->policy;
	bool begun;

	draw_next(sim);
	sim->member[0] =
		(struct reload_member){ .pool = &sim->policy, .rules = sim->next.rules, .target = sim->next.target };
	sim->member[1] = (struct reload_member){ .pool = &sim->partner, .rules = sim->partner.rules };
	begun = reload_begin(&sim->transaction, sim->member, 2, sim->next.generation, sim->now_ms);
	sim_note(sim, "reload", sim->next.generation, begun ? "(begun)" : "(refused)");
	if (begun != expected)
		sim_fail(sim, "a reload is %s while %s", begun ? "begun" : "refused", reload_phase_name(sim->reload));
	sim->tally.reloads[begun]++;
	if (!begun) {
		if (memcmp(&policy, &sim->policy, sizeof(policy)) != 0)
			sim_fail(sim, "a refused reload changes something");
		sim->next = before;
		return;
	}
	if (sim->next.target > sim->rules.capacity)
		sim->next.target = sim->rules.capacity;
	sim->tally.reloads_while_rolling += sim->reload == RELOAD_ROLLING;
	sim->reload = RELOAD_CANARY;
	sim->canary = SIM_CANARY_WANTED;
	sim->room_by_ms = sim->now_ms + POOL_CANARY_ROOM_MS;
	sim->partner_canary = SIM_CANARY_WANTED;
	sim->partner_fails = sim_chance(sim, 100);
	sim->partner_ms = sim->now_ms + (sim_chance(sim, 500) ? 0 : sim_upto(sim, POOL_CANARY_ROOM_MS - 1));
}

static void commit(struct sim *sim)
{
	sim->generation = sim->next.generation;
	sim->rules = sim->next.rules;
	sim->target = sim->next.target;
	sim_allow_what_is(sim);
	sim->backoff.in_a_row = 0;
	sim->backoff.failures++;
	for (uint32_t i = 0; i < sim->rules.capacity; i++)
		if (sim->processes[i].used && sim->processes[i].generation == sim->generation)
			sim->processes[i].failures_before = sim->backoff.failures;
}

/* What must come now; RELOAD_EVENTS: nothing. */
static enum reload_event expected_event(const struct sim *sim)
{
	enum sim_canary canary = sim_canary_now(sim);

	if (sim->reload != RELOAD_IDLE && sim->phase != POOL_SERVING)
		return RELOAD_STOPPED;
	switch (sim->reload) {
	case RELOAD_CANARY:
		if (canary == SIM_CANARY_FAILED || sim->partner_canary == SIM_CANARY_FAILED)
			return RELOAD_UNDO;
		return canary == SIM_CANARY_READY && sim->partner_canary == SIM_CANARY_READY ? RELOAD_COMMIT
											     : RELOAD_EVENTS;
	case RELOAD_ROLLING:
		return sim_is_rolling(sim) ? RELOAD_EVENTS : RELOAD_ROLLED;
	case RELOAD_UNDOING:
		if (some_serve(sim, sim_is_canary))
			return RELOAD_EVENTS;
		return sim_is_rolling(sim) ? RELOAD_RESUMED : RELOAD_UNDONE;
	default:
		return RELOAD_EVENTS;
	}
}

static void follow(struct sim *sim, enum reload_event event)
{
	static const enum reload_phase leads_to[] = {
		[RELOAD_COMMIT] = RELOAD_ROLLING,
		[RELOAD_UNDO] = RELOAD_UNDOING,
		[RELOAD_ROLLED] = RELOAD_IDLE,
		[RELOAD_UNDONE] = RELOAD_IDLE,
		[RELOAD_RESUMED] = RELOAD_ROLLING,
		[RELOAD_STOPPED] = RELOAD_IDLE,
	};

	sim->tally.no_room +=
		event == RELOAD_UNDO && sim->canary == SIM_CANARY_WANTED && sim_canary_now(sim) == SIM_CANARY_FAILED;
	if (event == RELOAD_COMMIT)
		commit(sim);
	if (event == RELOAD_COMMIT || event == RELOAD_UNDO || event == RELOAD_STOPPED) {
		sim->canary = SIM_CANARY_NONE;
		partner_clear(sim);
	}
	sim->reload = leads_to[event];
	sim->tally.reload_events[event]++;
}

void sim_step_reload(struct sim *sim)
{
	for (;;) {
		enum reload_event expected, event = RELOAD_EVENTS;

		partner_judge(sim);
		expected = expected_event(sim);
		if (reload_step(&sim->transaction, sim->now_ms, &event) != (expected != RELOAD_EVENTS) ||
			event != expected)
			sim_fail(sim, "the reload's step is %s and not %s",
				event == RELOAD_EVENTS ? "none" : reload_event_name(event),
				expected == RELOAD_EVENTS ? "none" : reload_event_name(expected));
		if (event == RELOAD_EVENTS || sim->broken)
			return;
		sim_note(sim, reload_event_name(event), sim->next.generation, "(generation)");
		follow(sim, event);
		sim_check_state(sim);
	}
}

void sim_reload_init(struct sim *sim)
{
	const struct pool_rules rules = {
		.capacity = 1, .start_timeout_ms = 1, .backoff = {.min_ms = 1, .max_ms = 1}
	};

	sim->generation = 1;
	sim->next.generation = 1;
	sim->partner_ms = SIM_NEVER;
	pool_policy_init(&sim->partner, &rules, 0, &sim->partner_slot);
}
