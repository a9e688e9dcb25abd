/* SPDX-License-Identifier: MIT */
#include "simulator.h"

#include <stdio.h>
#include <string.h>

#include "policy/pool.h"

/* ---- chance ---- */

/* xorshift64*: small, and good enough to draw events with. */
uint64_t sim_random(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return x * UINT64_C(0x2545f4914f6cdd1d);
}

uint64_t sim_upto(struct sim *sim, uint64_t most)
{
	return (sim_random(&sim->random) >> 11) % (most + 1);
}

bool sim_chance(struct sim *sim, unsigned int of_1000)
{
	return sim_upto(sim, 999) < of_1000;
}

/* ---- trace ---- */

void sim_note(struct sim *sim, const char *what, uint32_t slot, const char *detail)
{
	sim->trace[sim->traced++ % SIM_TRACE] =
		(struct sim_trace){ .now_ms = sim->now_ms, .what = what, .slot = slot, .detail = detail };
}

void sim_print_trace(const struct sim *sim)
{
	fprintf(stderr, "capacity %u, start_timeout %llu, backoff %llu to %llu; target %u, phase %d, now %llu\n",
		sim->rules.capacity, (unsigned long long)sim->rules.start_timeout_ms,
		(unsigned long long)sim->rules.backoff.min_ms, (unsigned long long)sim->rules.backoff.max_ms,
		sim->target, (int)sim->phase, (unsigned long long)sim->now_ms);
	fprintf(stderr, "limit %u, step %u; replace_timeout %llu, retire_timeout %llu\n", sim->rules.limit,
		sim->rules.roll_step, (unsigned long long)sim->rules.replace_timeout_ms,
		(unsigned long long)sim->rules.retire_timeout_ms);
	fprintf(stderr, "generation %u, reload %s to %u\n", sim->generation, reload_phase_name(sim->reload),
		sim->next.generation);
	for (uint64_t i = sim->traced < SIM_TRACE ? 0 : sim->traced - SIM_TRACE; i < sim->traced; i++) {
		const struct sim_trace *trace = &sim->trace[i % SIM_TRACE];

		fprintf(stderr, "%12llu  %-14s slot %2u  %s\n", (unsigned long long)trace->now_ms, trace->what,
			trace->slot, trace->detail);
	}
}

/* ---- what happens ---- */

static void tell(struct sim *sim, uint32_t slot, enum slot_event event, enum slot_reason reason, bool expected)
{
	bool taken = pool_policy_event(&sim->policy, slot, event, reason, sim->now_ms);

	sim_note(sim, slot_event_name(event), slot, reason == SLOT_REASON_NONE ? "" : slot_reason_name(reason));
	if (taken != expected)
		sim_fail(sim, "'%s' for slot %u is %s", slot_event_name(event), slot, taken ? "taken" : "refused");
}

static void die(struct sim *sim, struct sim_process *process)
{
	const struct death death = {
		.by_signal = process->fate == FATE_CRASH,
		.code = process->code,
		.served = process->served,
		.serving = process->serving,
		.pool_has_served = sim->has_served,
		.not_executed = process->not_executed,
		.accepts = sim->world->accepts,
		.of_our_signal = process->fate == FATE_CRASH && process->order == ORDER_WARN && process->code == 6,
	};
	struct death_verdict verdict;

	sim_note(sim, death.by_signal ? "crashes" : "exits", process->slot, process->ready ? "ready" : "before ready");
	if (!pool_policy_died(&sim->policy, process->slot, &death, sim->now_ms, &verdict)) {
		sim_fail(sim, "the death in slot %u is refused", process->slot);
		return;
	}
	sim_check_verdict(sim, process, &death, &verdict);
}

static void be_born(struct sim *sim, struct sim_process *process)
{
	const struct pool_rules *rules = sim_rules_of(sim, process);

	tell(sim, process->slot, SLOT_BORN, SLOT_REASON_NONE, true);
	process->born = true;
	process->born_ms = sim->now_ms;
	if (rules->start_timeout_ms > 0)
		process->start_due_ms = sim->now_ms + rules->start_timeout_ms;
	if (rules->ready_after_ms > 0)
		process->ready_at_ms = sim->now_ms + rules->ready_after_ms;
	sim->last_born_ms = sim->now_ms;
	sim_process_draw(sim, process);
}

static void fail_to_be_born(struct sim *sim, struct sim_process *process)
{
	tell(sim, process->slot, SLOT_FAILED, SLOT_REASON_NONE, true);
	sim_count_failure(sim, process);
	sim_note_canary_failed(sim, process, true);
	sim_process_free(sim, process);
	sim->tally.fork_failures++;
}

/* Asks for time, or says that it lives, until DUE. */
static void extend(struct sim *sim, struct sim_process *process, uint64_t until_ms)
{
	bool starting = process->order <= ORDER_RETIRE && !process->ready;
	bool watched = process->order == ORDER_NONE && process->watchdog_due_ms != SIM_NEVER;
	bool leaving = process->order == ORDER_RETIRE && process->ready;
	bool granted = pool_policy_extend(&sim->policy, process->slot, until_ms);

	sim_note(sim, "asks for time", process->slot, granted ? "" : "(refused)");
	if (granted != (starting || watched || leaving))
		sim_fail(sim, "slot %u is %s more time", process->slot, granted ? "given" : "refused");
	if (starting)
		process->start_due_ms = until_ms;
	if (watched)
		process->watchdog_due_ms = until_ms;
	if (leaving)
		process->retire_due_ms = until_ms;
	sim->tally.extensions[granted]++;
}

/* For as long as a calm lasts it says so often enough. */
/* Whatever its worker's generation, the master sees that it has reached a limit; but only of one that serves, and is
 * not to be replaced anyway, it matters. */
static void wear(struct sim *sim, struct sim_process *process)
{
	static const enum slot_reason reasons[] = { SLOT_REASON_RECYCLE_REQUESTS, SLOT_REASON_RECYCLE_MEMORY };
	bool matters = process->order == ORDER_NONE && process->ready && !process->running && !process->worn &&
		       process->generation == sim->generation;

	tell(sim, process->slot, SLOT_WEAR, reasons[sim_chance(sim, 500)], matters);
	if (matters)
		process->worn_ms = sim->now_ms;
	process->worn |= matters;
	sim->tally.worn += matters;
}

static void say_alive(struct sim *sim, struct sim_process *process)
{
	uint64_t watchdog_ms = sim_rules_of(sim, process)->watchdog_ms;

	if (process->order != ORDER_NONE || !process->ready || process->watchdog_due_ms == SIM_NEVER)
		return;
	if (sim->calm)
		extend(sim, process, sim->calm_until_ms + 1 + watchdog_ms);
	else if (!sim_chance(sim, sim->world->misses_watchdog))
		extend(sim, process, sim->now_ms + 1 + watchdog_ms);
}

static void become_ready(struct sim *sim, struct sim_process *process)
{
	tell(sim, process->slot, SLOT_BECAME_READY, SLOT_REASON_NONE, process->order != ORDER_GIVEN_UP);
	if (process->order < ORDER_KILL) {
		sim_process_ready(sim, process);
		sim_sizing_note_ready(sim, process);
		sim->tally.readies++;
		sim_note_canary_ready(sim, process);
		say_alive(sim, process);
	}
	process->fate = FATE_NOTHING;
	sim_process_draw(sim, process);
}

/* It may have been told to leave meanwhile: then it leaves with its one connection. */
void sim_process_become_program(struct sim *sim, struct sim_process *process)
{
	tell(sim, process->slot, SLOT_TAKEN, SLOT_REASON_NONE, process->order != ORDER_GIVEN_UP);
	process->serving = true;
	process->running = true;
	process->not_executed = sim_chance(sim, sim->world->not_executed);
	process->watchdog_due_ms = SIM_NEVER;
	sim->tally.taken++;
	sim_process_draw(sim, process);
}

static void give_order(struct sim *sim, uint32_t slot, enum slot_event what, enum slot_reason reason);

/* A connection has come to its end; where its request was overrun, the master sees that at its next look. */
static void be_served(struct sim *sim, struct sim_process *process)
{
	process->serving = false;
	process->served++;
	sim->has_served = true;
	if (process->order == ORDER_WARN) {
		give_order(sim, process->slot, SLOT_RETIRE, SLOT_REASON_REQUEST_TIMEOUT);
		sim->tally.overruns_back++;
		return;
	}
	process->idle_ms = sim->now_ms;
	say_alive(sim, process);
	if (sim_chance(sim, sim->world->wears))
		wear(sim, process);
	sim_process_draw(sim, process);
}

static void happen(struct sim *sim, struct sim_process *process)
{
	switch (process->fate) {
	case FATE_BORN:
		be_born(sim, process);
		break;
	case FATE_FAILED:
		fail_to_be_born(sim, process);
		break;
	case FATE_READY:
		become_ready(sim, process);
		break;
	case FATE_MORE_TIME:
		extend(sim, process, sim->now_ms + sim_upto(sim, 60000));
		sim_process_draw(sim, process);
		break;
	case FATE_TAKE:
		sim_process_become_program(sim, process);
		break;
	case FATE_STOP:
		if (process->order == ORDER_NONE)
			give_order(sim, process->slot, SLOT_RETIRE, SLOT_REASON_ITSELF);
		else
			sim_process_draw(sim, process);
		break;
	case FATE_SERVED:
	case FATE_BACK:
		be_served(sim, process);
		break;
	case FATE_SERVE:
		process->serving = true;
		say_alive(sim, process);
		sim_process_draw(sim, process);
		break;
	case FATE_EXIT:
	case FATE_CRASH:
		die(sim, process);
		break;
	default:
		sim_fail(sim, "nothing cannot happen");
	}
	sim_check_state(sim);
}

/* ---- the master ---- */

static enum sim_order order_of(enum slot_event what)
{
	switch (what) {
	case SLOT_RETIRE:
		return ORDER_RETIRE;
	case SLOT_WARN:
		return ORDER_WARN;
	case SLOT_QUIT:
		return ORDER_QUIT;
	case SLOT_KILL:
		return ORDER_KILL;
	default:
		return ORDER_GIVEN_UP;
	}
}

static void give_order(struct sim *sim, uint32_t slot, enum slot_event what, enum slot_reason reason)
{
	struct sim_process *process = sim_process_of(sim, slot);

	tell(sim, slot, what, reason, true);
	if (what == SLOT_KILL && reason == SLOT_REASON_START_TIMEOUT) {
		sim_count_failure(sim, process);
		sim_note_canary_failed(sim, process, false);
		sim->tally.start_timeouts++;
	}
	if (reason == SLOT_REASON_ITSELF && sim->now_ms - process->asked_ms < POOL_RECYCLE_MS)
		sim_count_failure(sim, process);
	sim->tally.lost += what == SLOT_GIVE_UP;
	sim_process_order(sim, process, order_of(what), reason);
	if (reason == SLOT_REASON_ITSELF)
		sim_sizing_note_exit(sim);
}

/* False: it failed at once, and the rest of the plan is stale. */
static bool ask(struct sim *sim, uint32_t slot, enum slot_reason reason)
{
	bool canary = reason == SLOT_REASON_RELOAD;
	struct sim_process *process = sim_process_new(sim, slot, canary ? sim->next.generation : sim->generation);
	bool fails;

	tell(sim, slot, SLOT_ASK, reason, true);
	sim_check_jitter(sim, process);
	if (canary)
		sim->canary = SIM_CANARY_ASKED;
	sim->tally.starts++;
	if (sim->on_start != NULL)
		sim->on_start(sim->context, sim->now_ms);
	sim_process_draw(sim, process);
	if (sim->world->born_in_ms > 0)
		return true;
	sim_check_state(sim);
	fails = process->fate == FATE_FAILED;
	happen(sim, process);
	return !fails;
}

static void grow_old(struct sim *sim, struct sim_process *process)
{
	tell(sim, process->slot, SLOT_WEAR, SLOT_REASON_RECYCLE_AGE, true);
	process->worn = true;
	process->worn_ms = sim->now_ms;
	sim->tally.worn++;
}

static void carry_out(struct sim *sim)
{
	bool stale = false;

	sim_check_plan(sim);
	for (size_t i = 0; i < sim->plan.count && !stale && !sim->broken; i++) {
		const struct pool_action *action = &sim->plan.actions[i];

		sim_check_action(sim, action);
		if (sim->broken)
			return;
		sim->tally.actions[action->what]++;
		if (action->what == SLOT_BECAME_READY)
			become_ready(sim, sim_process_of(sim, action->slot));
		else if (action->what == SLOT_ASK)
			stale = !ask(sim, action->slot, action->reason);
		else if (action->what == SLOT_WEAR)
			grow_old(sim, sim_process_of(sim, action->slot));
		else
			give_order(sim, action->slot, action->what, action->reason);
		sim_check_state(sim);
		if (sim->phase == POOL_SERVING && !sim->calm && sim_chance(sim, sim->world->upgrades / 10)) {
			sim_upgrade(sim);
			stale = true;
		}
	}
}

/* Asks for plans until there is nothing more to do at this time. */
static void settle(struct sim *sim)
{
	/* A slot can be asked for, told to retire, to quit and killed, at one time. */
	uint32_t most = 8 * sim->rules.capacity + 8;

	for (uint32_t plans = 0; !sim->broken; plans++) {
		sim_step_reload(sim);
		sim_sizing_step(sim);
		if (sim->broken)
			return;
		pool_policy_plan(&sim->policy, sim->now_ms, &sim->plan);
		sim_check_unnoticed(sim);
		sim->tally.plans++;
		if (sim->plan.count == 0) {
			sim_check_idle(sim);
			if (sim->on_moment != NULL)
				sim->on_moment(sim->context, sim);
			return;
		}
		if (plans > most)
			sim_fail(sim, "plans without end");
		carry_out(sim);
	}
}

/* ---- the operator ---- */

static uint32_t resized(const struct sim *sim, uint32_t target, int delta)
{
	int64_t result = (int64_t)target + delta;

	if (result > sim->rules.capacity)
		result = sim->rules.capacity;
	return result < 1 ? 1 : (uint32_t)result;
}

/* While a reload is tried it concerns what the reload will bring, too. */
static void resize(struct sim *sim, int delta)
{
	sim->target = resized(sim, sim->target, delta);
	sim->next.target = resized(sim, sim->next.target, delta);
	sim_note(sim, "resize", sim->target, "(target)");
	if (pool_policy_resize(&sim->policy, delta) != sim->target)
		sim_fail(sim, "resized to %u and not %u", sim->policy.target, sim->target);
}

static void overrun(struct sim *sim, const struct sim_process *process)
{
	bool known = process->order == ORDER_WARN || process->order == ORDER_QUIT ||
		     (process->running && process->order == ORDER_NONE);
	bool warned = !known && sim_rules_of(sim, process)->overrun_warnings > 0;
	enum slot_event what = SLOT_KILL;

	if (pool_policy_overruns(&sim->policy, process->slot, &what) == known || (what == SLOT_WARN) != warned)
		sim_fail(sim, "an overrun of slot %u is answered by '%s'", process->slot, slot_event_name(what));
	sim->tally.overruns[warned]++;
	give_order(sim, process->slot, what, SLOT_REASON_REQUEST_TIMEOUT);
}

/* A request that takes too long: the master warns its worker, or kills it. */
static void time_request_out(struct sim *sim)
{
	uint32_t first = (uint32_t)sim_upto(sim, sim->rules.capacity - 1);

	for (uint32_t i = 0; i < sim->rules.capacity; i++) {
		struct sim_process *process = &sim->processes[(first + i) % sim->rules.capacity];

		if (process->used && process->serving && process->order < ORDER_KILL) {
			overrun(sim, process);
			return;
		}
	}
}

void sim_retire(struct sim *sim, uint64_t deadline_ms)
{
	pool_policy_retire(&sim->policy, deadline_ms);
	sim_note(sim, "stop", 0, "");
	if (sim->phase != POOL_SERVING)
		return;
	sim->phase = POOL_RETIRING;
	sim->canary = SIM_CANARY_NONE;
	sim->stop_deadline_ms = deadline_ms;
	sim->end_ms = deadline_ms > sim->now_ms ? deadline_ms : sim->now_ms;
}

static void begin_quitting(struct sim *sim, enum slot_reason reason)
{
	pool_policy_quit(&sim->policy, reason);
	sim_note(sim, "quit", 0, slot_reason_name(reason));
	if (sim->phase != POOL_QUITTING)
		sim->end_ms = sim->now_ms;
	sim->phase = POOL_QUITTING;
	sim->canary = SIM_CANARY_NONE;
	sim->quit_reason = reason;
}

static uint64_t stop_deadline(struct sim *sim)
{
	uint64_t after_ms = sim_upto(sim, 20000);

	if (sim_chance(sim, 100))
		return sim->now_ms > after_ms ? sim->now_ms - after_ms : 0;
	return sim->now_ms + after_ms;
}

static void end_pool(struct sim *sim)
{
	if (sim_chance(sim, 700))
		sim_retire(sim, stop_deadline(sim));
	else
		begin_quitting(sim, sim_chance(sim, 500) ? SLOT_REASON_STOP : SLOT_REASON_STOP_TIMEOUT);
	if (sim_chance(sim, 50))
		begin_quitting(sim, SLOT_REASON_STOP);
}

/*
 * By when the target must be reached once nothing fails: what is under way comes to its end or is killed, which may be
 * one last failure; its wait is over; one goes ahead; the others follow. Those that leave make room meanwhile.
 */
static void begin_calm(struct sim *sim)
{
	const struct sim_world *world = sim->world;
	uint64_t start_ms = world->born_in_ms + world->start_in_ms + 1;
	uint64_t leave_ms = 4 * world->leave_in_ms + 2 * world->dies_in_ms;
	uint64_t backoff_ms = sim->rules.backoff.max_ms;
	/* A wait by the rules of an image before. */
	uint64_t rest_ms = sim->backoff.allowed_ms > sim->now_ms ? sim->backoff.allowed_ms - sim->now_ms : 0;

	sim_note(sim, "calm begins", 0, "");
	sim->calm = true;
	sim->calm_until_ms = sim->now_ms + 3 * start_ms + backoff_ms + rest_ms + leave_ms + 1;
	/* A reload: its canaries come to their end, too; if they stand, the pool may have to roll one by one. */
	if (sim->reload != RELOAD_IDLE || sim_is_rolling(sim)) {
		sim->tally.roll_calms++;
		sim->calm_until_ms += POOL_CANARY_RETRY_MS + POOL_CANARY_ROOM_MS + SIM_DRAIN_MS +
				      sim->next.rules.backoff.max_ms +
				      (sim->rules.capacity + 1) * (start_ms + leave_ms);
	}
	if (sim_is_sized(sim) || sim->next.rules.sizing.kind != SIZING_FIXED) {
		sim->crowd.waiting = 0;
		sim->calm_until_ms += sim_calm_to_rest_ms(sim);
		sim_sizing_look_anew(sim);
	}
	sim->operator_ms = sim->calm_until_ms;
	for (uint32_t i = 0; i < sim->rules.capacity; i++)
		if (sim->processes[i].used) {
			say_alive(sim, &sim->processes[i]);
			sim_process_draw(sim, &sim->processes[i]);
		}
}

static void end_calm(struct sim *sim)
{
	sim_note(sim, "calm ends", 0, "");
	sim_check_calm(sim);
	sim_check_rest(sim);
	sim->calm = false;
	if (sim_has_clients(sim))
		crowd_begin(&sim->crowd, sim->now_ms);
	sim->tally.calms++;
	for (uint32_t i = 0; i < sim->rules.capacity; i++)
		if (sim->processes[i].used)
			sim_process_draw(sim, &sim->processes[i]);
}

static void operate(struct sim *sim)
{
	uint64_t act = sim_upto(sim, 99);

	if (sim->calm)
		end_calm(sim);
	if (sim->world->operator_in_ms == SIM_NEVER)
		sim->operator_ms = SIM_NEVER;
	else
		sim->operator_ms = sim->now_ms + 1 + sim_upto(sim, sim->world->operator_in_ms) +
				   (sim->phase == POOL_SERVING ? 0 : 500);
	if (sim_chance(sim, sim->world->reloads))
		sim_reload(sim, sim->phase == POOL_SERVING && sim_chance(sim, sim->world->removals));
	else if (sim->phase == POOL_SERVING && sim_chance(sim, sim->world->upgrades)) {
		sim_upgrade(sim);
		/* It makes all workers new. */
		if (sim_chance(sim, 500))
			sim_reload(sim, false);
	} else if (act < 35 && sim_has_clients(sim))
		sim_allow(sim, act < 10 ? UINT32_MAX : 1 + (uint32_t)sim_upto(sim, sim->rules.capacity));
	else if (act < 30)
		resize(sim, sim_chance(sim, 500) ? 1 : -1);
	else if (act < 35)
		resize(sim, (int)sim_upto(sim, 20) - 10);
	else if (act < 60)
		time_request_out(sim);
	else if (act < 70 && sim->phase == POOL_SERVING && sim->is_member)
		begin_calm(sim);
	else if (act < 75 && sim->phase != POOL_SERVING)
		begin_quitting(sim, sim_chance(sim, 500) ? SLOT_REASON_STOP : SLOT_REASON_STOP_TIMEOUT);
	else if (act < 80 && sim->phase != POOL_SERVING)
		sim_retire(sim, stop_deadline(sim));
	else if (act == 99 && sim->phase == POOL_SERVING && sim_chance(sim, 200))
		end_pool(sim);
	/* Else the master has only been woken for something else. */
	sim_check_state(sim);
}

/* ---- the clock ---- */

/* A process to which something happens now; any of them. */
static struct sim_process *find_due(struct sim *sim)
{
	uint32_t capacity = sim->rules.capacity;
	uint32_t first = (uint32_t)sim_upto(sim, capacity - 1);

	for (uint32_t i = 0; i < capacity; i++) {
		struct sim_process *process = &sim->processes[(first + i) % capacity];

		if (process->used && process->fate_ms <= sim->now_ms)
			return process;
	}
	return NULL;
}

static uint64_t next_ms(const struct sim *sim)
{
	uint64_t next = sim->plan.wake_ms < sim->operator_ms ? sim->plan.wake_ms : sim->operator_ms;

	if (sim->partner_ms < next)
		next = sim->partner_ms;
	if (sim->drain_ms < next)
		next = sim->drain_ms;

	if (sim_sizing_next_ms(sim) < next)
		next = sim_sizing_next_ms(sim);
	for (uint32_t i = 0; i < sim->rules.capacity; i++)
		if (sim->processes[i].used && sim->processes[i].fate_ms < next)
			next = sim->processes[i].fate_ms;
	return next;
}

/* To the next happening; or later, if the master does not run meanwhile. */
static void advance(struct sim *sim, uint64_t to_ms)
{
	uint64_t stall_ms = 0;

	if (sim->world->stall_ms > 0 && !sim->calm && sim_chance(sim, 20))
		stall_ms = sim_upto(sim, sim->world->stall_ms);
	if (sim->phase != POOL_SERVING)
		sim->stalled_ms += stall_ms;
	if (to_ms > sim->now_ms)
		sim->now_ms = to_ms;
	sim->now_ms += stall_ms;
}

/* One or several things happen before the master asks for a plan again. */
static void step(struct sim *sim)
{
	do {
		struct sim_process *process = find_due(sim);

		sim->tally.steps++;
		if (process != NULL)
			happen(sim, process);
		else if (sim->operator_ms <= sim->now_ms)
			operate(sim);
		else
			return;
	} while (!sim->broken && sim_chance(sim, 400));
}

static void check_end(struct sim *sim)
{
	uint64_t from_ms = sim->end_ms > sim->last_born_ms ? sim->end_ms : sim->last_born_ms;
	uint64_t by_ms = from_ms + sim->world->born_in_ms + POOL_QUIT_GRACE_MS + POOL_KILL_GRACE_MS + sim->stalled_ms;

	if (sim->now_ms > by_ms && pool_policy_living(&sim->policy) > 0)
		sim_fail(sim, "%u still live %llu ms after the end", pool_policy_living(&sim->policy),
			(unsigned long long)(sim->now_ms - sim->end_ms));
}

/* ---- a pool's life ---- */

/* What the caller has set, and what was counted, stays. */
static void clear(struct sim *sim, const struct sim_world *world, uint64_t seed)
{
	void (*on_start)(void *, uint64_t) = sim->on_start;
	void (*on_moment)(void *, const struct sim *) = sim->on_moment;
	void *context = sim->context;
	struct sim_tally tally = sim->tally;

	memset(sim, 0, sizeof(*sim));
	sim->on_start = on_start;
	sim->on_moment = on_moment;
	sim->context = context;
	sim->tally = tally;
	sim->world = world;
	sim->random = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
	sim_random(&sim->random);
}

static void begin(struct sim *sim, const struct sim_world *world, uint64_t seed)
{
	/* No clock that a load is measured by is ever at 0. */
	if (sim->now_ms == 0 && sim_has_clients(sim))
		sim->now_ms = 1;
	sim->rules = world->rules;
	sim->target = world->target < world->rules.capacity ? world->target : world->rules.capacity;
	sim->operator_ms = SIM_NEVER;
	if (world->operator_in_ms != SIM_NEVER)
		sim->operator_ms = sim->now_ms + sim_upto(sim, world->operator_in_ms);
	sim_allow_what_is(sim);
	sim_reload_init(sim);
	if (sim_chance(sim, world->added)) {
		sim->target = 0;
		sim->generation = 1 + (uint32_t)sim_upto(sim, 1000);
		sim->next.generation = sim->generation;
	}
	pool_policy_init(&sim->policy, &world->rules, sim->target, sim->slots);
	pool_policy_seed(&sim->policy, seed);
	sim_sizing_init(sim, seed);
	sim->policy.generation = sim->generation;
	sim_check_state(sim);
	if (sim->generation > 1)
		sim_reload(sim, false);
}

bool sim_run_until(struct sim *sim, const struct sim_world *world, uint64_t seed, uint64_t until_ms)
{
	clear(sim, world, seed);
	begin(sim, world, seed);
	for (;;) {
		settle(sim);
		if (sim->broken || next_ms(sim) > until_ms)
			return !sim->broken;
		advance(sim, next_ms(sim));
		step(sim);
	}
}

bool sim_run(struct sim *sim, const struct sim_world *world, uint64_t seed, uint64_t length)
{
	uint64_t end_at_step = sim->tally.steps + length;

	clear(sim, world, seed);
	sim->now_ms = sim_chance(sim, 100) ? 0 : sim_upto(sim, UINT64_C(1) << 40);
	begin(sim, world, seed);
	for (;;) {
		uint64_t to_ms;

		settle(sim);
		if (sim->phase != POOL_SERVING)
			check_end(sim);
		if (sim->broken)
			return false;
		if (sim->phase != POOL_SERVING && pool_policy_living(&sim->policy) == 0)
			break;
		to_ms = next_ms(sim);
		if (sim->phase == POOL_SERVING && !sim->calm &&
			(sim->tally.steps >= end_at_step || to_ms == SIM_NEVER)) {
			end_pool(sim);
			continue;
		}
		if (to_ms == SIM_NEVER) {
			sim_fail(sim, "%u live, and nothing will ever happen", pool_policy_living(&sim->policy));
			return false;
		}
		advance(sim, to_ms);
		step(sim);
	}
	sim->tally.ends++;
	return true;
}
