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

bool sim_is_worn(const struct sim *sim, const struct sim_process *process)
{
	return process->worn && process->generation == sim->generation;
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

/* The pause after so many failures in a row. */
static uint64_t pause_ms(const struct backoff_rules *rules, uint32_t failures)
{
	uint64_t pause = rules->min_ms;

	while (--failures > 0 && pause < rules->max_ms)
		pause *= 2;
	return pause < rules->max_ms ? pause : rules->max_ms;
}

void sim_note_canary_failed(struct sim *sim, const struct sim_process *process, bool may_try_again)
{
	uint32_t most = sim->next.rules.give_up_after;
	uint64_t try_ms;

	if (!is_tried(sim, process))
		return;
	sim->canary = SIM_CANARY_FAILED;
	sim->tally.canary_failures++;
	if (!may_try_again)
		return;
	try_ms = sim->now_ms + pause_ms(&sim->next.rules.backoff, ++sim->canary_failures);
	if (sim->canary_failures >= (most == 0 ? POOL_START_ATTEMPTS : most) || try_ms > sim->retry_by_ms)
		return;
	sim->canary = SIM_CANARY_WANTED;
	sim->try_ms = try_ms;
	sim->room_by_ms = try_ms + POOL_CANARY_ROOM_MS;
	sim->tally.canary_retries++;
}

bool sim_awaits_canary(const struct sim *sim)
{
	return sim_canary_now(sim) == SIM_CANARY_WANTED && sim->now_ms >= sim->try_ms;
}

void sim_note_canary_left(struct sim *sim, const struct sim_process *process)
{
	if (sim->canary == SIM_CANARY_ASKED)
		sim_note_canary_failed(sim, process, true);
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

/* Its canary falls after it stood. */
static void partner_die(struct sim *sim)
{
	const struct death death = { .by_signal = true, .code = 11 };
	struct death_verdict verdict = { 0 };

	if (!pool_policy_died(&sim->partner, 0, &death, sim->now_ms, &verdict))
		sim_fail(sim, "the other pool refuses a death");
	/* Of one that has stood for long it is none. */
	sim->partner_canary = verdict.failure ? SIM_CANARY_FAILED : SIM_CANARY_READY;
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

void sim_draw_rules(struct sim *sim, struct pool_rules *ret_rules)
{
	*ret_rules = sim->rules;
	if (sim_chance(sim, 500))
		return;
	ret_rules->limit = draw_limit(sim);
	ret_rules->roll_step = (uint32_t)sim_upto(sim, 1 + sim_upto(sim, 6));
	ret_rules->replace_timeout_ms = sim_chance(sim, 700) ? 0 : 1 + sim_upto(sim, 30000);
	ret_rules->start_timeout_ms = sim_chance(sim, 100) ? 0 : 1 + sim_upto(sim, 30000);
	ret_rules->ready_after_ms = sim_chance(sim, 700) ? 0 : 1 + sim_upto(sim, 3000);
	ret_rules->retire_timeout_ms = sim_chance(sim, 700) ? 0 : 1 + sim_upto(sim, 30000);
	ret_rules->watchdog_ms = sim_chance(sim, 700) ? 0 : 1 + sim_upto(sim, 30000);
	ret_rules->healthy_ms = 1 + sim_upto(sim, 20000);
	ret_rules->give_up_after = sim_chance(sim, 700) ? 1 : (uint32_t)sim_upto(sim, 8);
	ret_rules->max_age_ms = sim_chance(sim, 700) ? 0 : 1 + sim_upto(sim, 60000);
	ret_rules->jitter = (uint32_t)sim_upto(sim, 100);
	ret_rules->overrun_warnings = (uint32_t)sim_upto(sim, 3);
	ret_rules->overrun_grace_ms = 1 + sim_upto(sim, 3000);
	ret_rules->backoff.min_ms = 1 + sim_upto(sim, 1000);
	ret_rules->backoff.max_ms = ret_rules->backoff.min_ms + sim_upto(sim, 60000);
	if (sim_has_clients(sim))
		sim_draw_sizing(&sim->random, ret_rules);
}

static void draw_next(struct sim *sim)
{
	sim->next.target = (uint32_t)sim_upto(sim, sim->rules.capacity + 1);
	sim_draw_rules(sim, &sim->next.rules);
	if (sim->next.rules.sizing.kind != SIZING_FIXED)
		sim->next.target = sim_first_target(&sim->next.rules);
	sim->next.fails = sim_chance(sim, sim->world->bad_reloads);
}

/* The pool is to have a canary. */
static void await_canary(struct sim *sim)
{
	if (sim->next.target > sim->rules.capacity)
		sim->next.target = sim->rules.capacity;
	sim->tally.reloads_while_rolling += sim->reload == RELOAD_ROLLING;
	sim->canary = SIM_CANARY_WANTED;
	sim->try_ms = sim->now_ms;
	sim->room_by_ms = sim->now_ms + POOL_CANARY_ROOM_MS;
	sim->retry_by_ms = sim->now_ms + POOL_CANARY_RETRY_MS;
	sim->canary_failures = 0;
}

/* The canary of one before may be there to serve, until it is told. */
static bool may_begin(const struct sim *sim, bool removes)
{
	bool free = sim->phase == POOL_SERVING && !some_serve(sim, sim_is_canary);

	return (sim->reload == RELOAD_IDLE || sim->reload == RELOAD_ROLLING) && (removes || free);
}

void sim_reload(struct sim *sim, bool removes)
{
	bool expected = may_begin(sim, removes);
	struct sim_next before = sim->next;
	struct pool_policy policy = sim->policy;
	bool begun;

	if (!removes)
		draw_next(sim);
	sim->next.generation++;
	sim->member[0] = (struct reload_member){ .pool = &sim->partner, .rules = sim->partner.rules };
	sim->member[1] =
		(struct reload_member){ .pool = &sim->policy, .rules = sim->next.rules, .target = sim->next.target };
	begun = reload_begin(&sim->transaction, sim->member, removes ? 1 : 2, sim->next.generation, sim->now_ms);
	sim_note(sim, removes ? "removal" : "reload", sim->next.generation, begun ? "(begun)" : "(refused)");
	if (begun != expected)
		sim_fail(sim, "a reload is %s while %s", begun ? "begun" : "refused", reload_phase_name(sim->reload));
	sim->tally.reloads[begun]++;
	if (!begun || removes)
		if (memcmp(&policy, &sim->policy, sizeof(policy)) != 0)
			sim_fail(sim, "a reload that is refused, or another's, changes something");
	if (!begun) {
		sim->next = before;
		return;
	}
	sim->is_member = !removes;
	if (!removes)
		await_canary(sim);
	sim->reload = RELOAD_CANARY;
	sim->stage = STAGE_TRYING;
	sim->partner_canary = SIM_CANARY_WANTED;
	sim->partner_fails = sim_chance(sim, 100);
	sim->partner_ms = sim->now_ms + (sim_chance(sim, 500) ? 0 : sim_upto(sim, POOL_CANARY_ROOM_MS - 1));
}

static void commit(struct sim *sim)
{
	sim->generation = sim->next.generation;
	sim->target = sim_target_by(sim, &sim->next.rules, sim->target, sim->next.target);
	sim->rules = sim->next.rules;
	sim_sizing_look_anew(sim);
	sim_allow_what_is(sim);
	sim->backoff.in_a_row = 0;
	sim->backoff.failures++;
	for (uint32_t i = 0; i < sim->rules.capacity; i++)
		if (sim->processes[i].used && sim->processes[i].generation == sim->generation)
			sim->processes[i].failures_before = sim->backoff.failures;
}

/* What has become of the canaries together. */
static enum sim_canary canaries_now(const struct sim *sim)
{
	enum sim_canary own = sim->is_member ? sim_canary_now(sim) : SIM_CANARY_READY;

	if (own == SIM_CANARY_FAILED || sim->partner_canary == SIM_CANARY_FAILED)
		return SIM_CANARY_FAILED;
	return own == SIM_CANARY_READY && sim->partner_canary == SIM_CANARY_READY ? SIM_CANARY_READY
										  : SIM_CANARY_WANTED;
}

static bool is_ending(const struct sim *sim)
{
	return sim->is_member && sim->phase != POOL_SERVING;
}

static bool must_stand(const struct sim *sim)
{
	return sim->reload == RELOAD_CANARY && !is_ending(sim) && canaries_now(sim) == SIM_CANARY_READY;
}

/* What the policy's step must be, which is never let to commit; RELOAD_EVENTS: none. */
static enum reload_event expected_event(const struct sim *sim)
{
	bool rolling = sim->is_member && sim_is_rolling(sim);

	if (sim->reload != RELOAD_IDLE && is_ending(sim))
		return RELOAD_STOPPED;
	switch (sim->reload) {
	case RELOAD_CANARY:
		return canaries_now(sim) == SIM_CANARY_FAILED ? RELOAD_UNDO : RELOAD_EVENTS;
	case RELOAD_ROLLING:
		return rolling ? RELOAD_EVENTS : RELOAD_ROLLED;
	case RELOAD_UNDOING:
		if (sim->is_member && some_serve(sim, sim_is_canary))
			return RELOAD_EVENTS;
		return rolling ? RELOAD_RESUMED : RELOAD_UNDONE;
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

	sim_note(sim, reload_event_name(event), sim->next.generation, "(generation)");
	sim->tally.no_room +=
		event == RELOAD_UNDO && sim->canary == SIM_CANARY_WANTED && sim_canary_now(sim) == SIM_CANARY_FAILED;
	if (event == RELOAD_COMMIT && sim->is_member)
		commit(sim);
	if (event == RELOAD_COMMIT || event == RELOAD_UNDO || event == RELOAD_STOPPED) {
		sim->canary = SIM_CANARY_NONE;
		sim->stage = STAGE_NONE;
		sim->drain_ms = SIM_NEVER;
		partner_clear(sim);
	}
	sim->reload = leads_to[event];
	sim->tally.reload_events[event]++;
	sim_check_state(sim);
}

/* ---- the master's part ---- */

/* It stands: the master refuses it, or goes past the point of no return. */
static void pass_the_point(struct sim *sim)
{
	if (!sim->calm && sim_chance(sim, sim->world->refusals)) {
		reload_undo(&sim->transaction);
		sim->tally.refusals++;
		follow(sim, RELOAD_UNDO);
		return;
	}
	sim->stage = STAGE_DRAINING;
	sim->drain_ms = sim->now_ms + (sim_chance(sim, 300) ? 0 : sim_upto(sim, sim_upto(sim, SIM_DRAIN_MS)));
	sim->tally.drains++;
}

/* Whatever the canaries do meanwhile. */
static void end_draining(struct sim *sim)
{
	bool removes = !sim->is_member;

	if (sim_chance(sim, 100))
		partner_die(sim);
	sim->tally.commits_anyway += canaries_now(sim) != SIM_CANARY_READY;
	reload_commit(&sim->transaction);
	follow(sim, RELOAD_COMMIT);
	if (removes) {
		sim->tally.removals++;
		sim_retire(sim, sim->now_ms + sim_upto(sim, 20000));
	}
}

/* The daemon stops while canaries are tried. */
static void stop_short(struct sim *sim)
{
	if (sim->stage == STAGE_TRYING && sim_chance(sim, 500)) {
		reload_undo(&sim->transaction);
		follow(sim, RELOAD_UNDO);
	}
	sim->stage = STAGE_NONE;
	sim->drain_ms = SIM_NEVER;
}

/* One step of the policy's own. False: there was none. */
static bool step_policy(struct sim *sim)
{
	enum reload_event expected = expected_event(sim), event = RELOAD_EVENTS;
	bool stepped = reload_step(&sim->transaction, sim->now_ms, &event);

	if (stepped != (expected != RELOAD_EVENTS) || event != expected)
		sim_fail(sim, "the reload's step is %s and not %s",
			event == RELOAD_EVENTS ? "none" : reload_event_name(event),
			expected == RELOAD_EVENTS ? "none" : reload_event_name(expected));
	if (event == RELOAD_EVENTS || sim->broken)
		return false;
	follow(sim, event);
	return true;
}

/* False: there is nothing more to do now. */
static bool act(struct sim *sim)
{
	if (is_ending(sim))
		stop_short(sim);
	if (reload_stands(&sim->transaction, sim->now_ms) != must_stand(sim))
		sim_fail(sim, "the reload %s", must_stand(sim) ? "stands" : "does not stand");
	if (sim->stage == STAGE_DRAINING) {
		if (sim->now_ms < sim->drain_ms)
			return false;
		end_draining(sim);
	} else if (sim->stage == STAGE_TRYING && must_stand(sim)) {
		pass_the_point(sim);
	} else
		return step_policy(sim);
	return true;
}

void sim_step_reload(struct sim *sim)
{
	do
		partner_judge(sim);
	while (act(sim) && !sim->broken);
}

static void partner_init(struct sim *sim)
{
	const struct pool_rules rules = {
		.capacity = 1,
		.start_timeout_ms = 1,
		.healthy_ms = 10000,
		.give_up_after = 1,
		.backoff = {.min_ms = 1, .max_ms = 1}
	};

	sim->partner_canary = SIM_CANARY_NONE;
	sim->partner_ms = SIM_NEVER;
	pool_policy_init(&sim->partner, &rules, 0, &sim->partner_slot);
}

void sim_reload_init(struct sim *sim)
{
	sim->generation = 1;
	sim->next.generation = 1;
	sim->next.rules = sim->rules;
	sim->is_member = true;
	sim->drain_ms = SIM_NEVER;
	partner_init(sim);
}

void sim_reload_forget(struct sim *sim)
{
	sim->transaction = (struct reload){ .generation = sim->next.generation };
	sim->reload = RELOAD_IDLE;
	sim->stage = STAGE_NONE;
	sim->drain_ms = SIM_NEVER;
	sim->is_member = true;
	sim->canary = SIM_CANARY_NONE;
	partner_init(sim);
}
