/* SPDX-License-Identifier: MIT */
#include "simulator.h"

#include "policy/pool.h"

bool sim_has_clients(const struct sim *sim)
{
	return sim->world->load.count > 0;
}

bool sim_is_sized(const struct sim *sim)
{
	return sim->rules.sizing.kind != SIZING_FIXED;
}

static bool is_spare(const struct sim *sim)
{
	return sim->rules.sizing.kind == SIZING_SPARE;
}

/* ---- what there is ---- */

static bool is_ready_to_serve(const struct sim *sim, const struct sim_process *process)
{
	return process->used && process->born && process->ready && process->order == ORDER_NONE && !process->running;
}

/* A canary is not counted, although it serves, too. */
static bool is_counted(const struct sim *sim, const struct sim_process *process)
{
	return is_ready_to_serve(sim, process) && !sim_is_canary(sim, process);
}

uint32_t sim_count_busy(const struct sim *sim)
{
	uint32_t busy = 0;

	for (uint32_t i = 0; i < sim->rules.capacity; i++)
		busy += is_ready_to_serve(sim, &sim->processes[i]) && sim->processes[i].serving;
	return busy;
}

static uint32_t count_idle(const struct sim *sim)
{
	uint32_t idle = 0;

	for (uint32_t i = 0; i < sim->rules.capacity; i++)
		idle += is_ready_to_serve(sim, &sim->processes[i]) && !sim->processes[i].serving;
	return idle;
}

static uint32_t count_ready(const struct sim *sim)
{
	uint32_t ready = 0;

	for (uint32_t i = 0; i < sim->rules.capacity; i++)
		ready += is_counted(sim, &sim->processes[i]);
	return ready;
}

static uint32_t count_coming(const struct sim *sim)
{
	return sim_count_serving(sim) - count_ready(sim);
}

static bool is_expired(const struct sim *sim, const struct sim_process *process)
{
	uint64_t after_ms = sim->rules.sizing.idle_exit_ms;

	return is_counted(sim, process) && !process->serving && after_ms > 0 &&
	       sim->now_ms - process->idle_ms >= after_ms;
}

static uint32_t count_expired(const struct sim *sim)
{
	uint32_t expired = 0;

	for (uint32_t i = 0; i < sim->rules.capacity; i++)
		expired += is_expired(sim, &sim->processes[i]);
	return expired;
}

/* ---- the rules once more ---- */

static uint32_t within(uint64_t number, const struct sizing_rules *rules)
{
	if (number < rules->min)
		number = rules->min;
	return number > rules->max ? rules->max : (uint32_t)number;
}

/* What the pool has when nobody comes, but for a pool that may sleep. */
static uint32_t standing_of(const struct sizing_rules *rules)
{
	return within(rules->kind == SIZING_SPARE ? rules->min_spare : 0, rules);
}

uint32_t sim_first_target(const struct pool_rules *rules)
{
	return rules->sizing.min == 0 ? 0 : standing_of(&rules->sizing);
}

uint32_t sim_target_by(const struct sim *sim, const struct pool_rules *rules, uint32_t target, uint32_t wanted)
{
	if (rules->sizing.kind == SIZING_FIXED)
		return wanted;
	target = within(target > wanted ? target : wanted, &rules->sizing);
	return target < rules->capacity ? target : rules->capacity;
}

/* ---- the window ---- */

static void note_shortage(struct sim *sim)
{
	struct sim_sizing *sizing = &sim->sizing;

	if (sizing->short_ms == SIM_NEVER || sim->now_ms - sizing->short_ms >= SIZING_CALM_MS)
		sizing->window = SIZING_WINDOW_MIN;
	sizing->short_ms = sim->now_ms;
}

void sim_sizing_note_ready(struct sim *sim, const struct sim_process *process)
{
	/* The next step of a growth follows at once. */
	sim->sizing.look_ms = sim->now_ms;
	if (process->order != ORDER_NONE || sim_is_canary(sim, process) || sim_count_serving(sim) >= sim->target)
		return;
	note_shortage(sim);
	sim->sizing.window++;
	if (sim->sizing.window > sim->tally.widest_window)
		sim->tally.widest_window = sim->sizing.window;
}

uint32_t sim_count_window(const struct sim *sim)
{
	uint32_t coming = count_coming(sim), serving = sim_count_serving(sim), standing, growth, missing;

	if (!sim_is_sized(sim))
		return UINT32_MAX;
	standing = standing_of(&sim->rules.sizing);
	growth = sim->sizing.window > coming ? sim->sizing.window - coming : 0;
	missing = standing > serving ? standing - serving : 0;
	return growth > missing ? growth : missing;
}

/* ---- clients ---- */

/* The one that waits longest accepts; NULL: none does. */
static struct sim_process *find_idle(struct sim *sim)
{
	struct sim_process *found = NULL;

	for (uint32_t i = 0; i < sim->rules.capacity; i++) {
		struct sim_process *process = &sim->processes[i];

		if (is_ready_to_serve(sim, process) && !process->serving &&
			(found == NULL || process->idle_ms < found->idle_ms))
			found = process;
	}
	return found;
}

static void take_client(struct sim *sim, struct sim_process *process)
{
	process->done_ms = sim->now_ms + crowd_take(&sim->crowd, sim->now_ms);
	if (sim_chance(sim, sim->world->becomes_program)) {
		sim_process_become_program(sim, process);
		return;
	}
	process->serving = true;
	sim_process_draw(sim, process);
}

/* The worker that leaves too few idle ones behind pokes the master. */
static void serve_clients(struct sim *sim)
{
	struct sim_process *process;

	while (sim->crowd.waiting > 0 && (process = find_idle(sim)) != NULL && !sim->broken) {
		take_client(sim, process);
		sim->tally.clients++;
		if (is_spare(sim) && count_idle(sim) < sim->rules.sizing.min_spare)
			sim->sizing.look_ms = sim->now_ms;
	}
}

/* ---- what a look must bring ---- */

struct view {
	uint32_t busy, queued;
	uint32_t ready, coming, serving, expired;
	uint32_t target; /* before */
};

static bool is_deserted(const struct sim *sim, const struct view *view)
{
	if (sim->rules.sizing.min > 0 || view->busy + view->queued > 0)
		return false;
	return view->target == 0 || (view->coming == 0 && view->ready > 0 && view->expired == view->ready);
}

/* Growth follows a shortage, and goes no further than it. */
static void check_growth(struct sim *sim, const struct view *view, uint32_t needed)
{
	if (sim->target != needed)
		sim_fail(sim, "%u are wanted and not %u: %u busy, %u in the queue", sim->target, needed, view->busy,
			view->queued);
	sim->tally.growths += sim->target > view->serving;
}

/* More than NEEDED are there: one goes in so long a time, and those that have been idle for too long. DUE: one may,
 * and must. */
static void check_shrinking(struct sim *sim, const struct view *view, uint32_t needed, bool due)
{
	uint32_t before = view->target < view->serving ? view->target : view->serving;
	uint32_t left = view->serving - view->expired > needed ? view->serving - view->expired : needed;
	uint32_t expired = view->expired > 0 && left < before ? before - left : 0;
	bool soon = sim->now_ms - sim->sizing.shrunk_ms < SIZING_SHRINK_MS;
	uint32_t given = before - sim->target;

	if (sim->target < needed || sim->target > before)
		sim_fail(sim, "%u are wanted, %u are needed, and %u are there", sim->target, needed, before);
	else if (expired > 0 && given != expired)
		sim_fail(sim, "%u of %u are given up, and %u are to go after idle_exit", given, before, expired);
	else if (expired == 0 && given > (due && !soon))
		sim_fail(sim, "%u of %u are given up%s", given, before, due ? " too soon" : "");
	else if (expired == 0 && given < (due && !soon))
		sim_fail(sim, "%u are kept", before);
	if (expired == 0 && given > 0)
		sim->sizing.shrunk_ms = sim->now_ms;
	sim->tally.expiries += expired > 0;
	sim->tally.shrinks += expired == 0 && given > 0;
}

static void check_target(struct sim *sim, const struct view *view, uint32_t needed, bool due)
{
	if (view->target <= needed || view->serving <= needed)
		check_growth(sim, view, needed);
	else
		check_shrinking(sim, view, needed, due);
	if (sim->target > view->serving)
		note_shortage(sim);
	sim->tally.sleeps += sim->target == 0 && view->target > 0;
}

static void check_look_at_spare(struct sim *sim, const struct view *view)
{
	const struct sizing_rules *rules = &sim->rules.sizing;
	uint32_t needed = within((uint64_t)view->busy + view->queued + rules->min_spare, rules);
	uint32_t most = within((uint64_t)view->busy + view->queued + rules->max_spare, rules);

	if (is_deserted(sim, view))
		needed = 0;
	check_target(sim, view, needed, view->serving > most && view->target > most);
}

/* Nobody has waited for so long that one may go; nor is one on its way. */
static bool is_quiet(const struct sim *sim, const struct view *view)
{
	uint64_t after_ms = sim->rules.sizing.idle_exit_ms;

	return view->coming == 0 && after_ms > 0 && sim->now_ms - sim->sizing.waited_ms >= after_ms;
}

static void check_look_at_queue(struct sim *sim, const struct view *view)
{
	const struct sizing_rules *rules = &sim->rules.sizing;
	uint32_t needed = rules->min;

	if (view->queued > 0)
		needed = within((uint64_t)view->ready + view->queued, rules);
	else if (rules->min == 0 && view->target > 0 && view->serving == 0)
		needed = 1;
	check_target(sim, view, needed, is_quiet(sim, view));
}

/* By whatever way it comes about. */
static void check_bounds(struct sim *sim)
{
	const struct sizing_rules *rules = &sim->rules.sizing;

	if (sim->target > rules->max || sim->target > sim->rules.capacity || sim->target < rules->min)
		sim_fail(sim, "a target of %u, and there may be %u to %u", sim->target, rules->min, rules->max);
}

/* ---- the master ---- */

/* It tells of each worker what the scoreboard says; of those that accept for themselves that is nothing. */
static void note_idle(struct sim *sim)
{
	for (uint32_t i = 0; i < sim->rules.capacity && is_spare(sim); i++) {
		struct sim_process *process = &sim->processes[i];

		if (!is_ready_to_serve(sim, process))
			continue;
		process->told_idle_ms = process->serving ? 0 : process->idle_ms + 1;
		pool_policy_note_idle(&sim->policy, process->slot, process->serving ? 0 : process->idle_ms);
	}
}

static void look(struct sim *sim)
{
	struct view view = {
		.busy = is_spare(sim) ? sim_count_busy(sim) : 0,
		.queued = sim->crowd.waiting,
		.ready = count_ready(sim),
		.coming = count_coming(sim),
		.serving = sim_count_serving(sim),
		.expired = is_spare(sim) ? count_expired(sim) : 0,
		.target = sim->target,
	};
	const struct sizing_load load = { .busy = view.busy, .queued = view.queued };

	note_idle(sim);
	sim->sizing.look_ms = pool_policy_load(&sim->policy, &load, sim->now_ms);
	sim->target = sim->policy.target;
	sim_note(sim, "looks", view.busy, "(busy)");
	sim_note(sim, "", view.queued, "(queued)");
	sim_note(sim, "", sim->target, "(target)");
	sim->tally.looks++;
	if (view.queued > 0 || sim->sizing.waited_ms == 0)
		sim->sizing.waited_ms = sim->now_ms;
	check_bounds(sim);
	if (is_spare(sim))
		check_look_at_spare(sim, &view);
	else
		check_look_at_queue(sim, &view);
	if (sim->sizing.look_ms <= sim->now_ms)
		sim_fail(sim, "looks, and is to look again at once");
}

bool sim_is_asleep(const struct sim *sim)
{
	return sim->phase == POOL_SERVING && sim_is_sized(sim) && sim->rules.sizing.min == 0 && sim->target == 0 &&
	       sim_count_serving(sim) == 0;
}

/* Nobody is there who could serve, and nothing but a client is missing. */
static bool must_await(const struct sim *sim)
{
	return sim_is_asleep(sim) && sim_count_room(sim) > 0 &&
	       (sim->backoff.in_a_row == 0 || sim->now_ms >= sim->backoff.allowed_ms);
}

/* The listeners are watched by the master, for want of workers. */
static void await_client(struct sim *sim)
{
	bool awaits = pool_policy_awaits_demand(&sim->policy, sim->now_ms);

	if (awaits != must_await(sim))
		sim_fail(sim, "a client is %s", awaits ? "awaited" : "not awaited");
	if (!awaits || sim->crowd.waiting == 0)
		return;
	pool_policy_demand(&sim->policy, sim->now_ms);
	note_shortage(sim);
	sim->sizing.waited_ms = sim->now_ms;
	sim->target = standing_of(&sim->rules.sizing) > 0 ? standing_of(&sim->rules.sizing) : 1;
	sim->sizing.look_ms = sim->now_ms;
	sim_note(sim, "wakes", sim->target, "(target)");
	sim->tally.wakes++;
	sim_check_state(sim);
}

void sim_sizing_step(struct sim *sim)
{
	if (sim_has_clients(sim) && !sim->calm) {
		crowd_come(&sim->crowd, sim->now_ms);
		serve_clients(sim);
	}
	if (!sim_is_sized(sim) || sim->phase != POOL_SERVING || sim->broken)
		return;
	await_client(sim);
	if (sim->sizing.look_ms <= sim->now_ms && !sim->broken) {
		look(sim);
		sim_check_state(sim);
	}
}

uint64_t sim_sizing_next_ms(const struct sim *sim)
{
	uint64_t next = SIM_NEVER;

	if (sim_has_clients(sim) && !sim->calm)
		next = sim->crowd.next_ms;
	if (sim_is_sized(sim) && sim->phase == POOL_SERVING && sim->sizing.look_ms < next)
		next = sim->sizing.look_ms;
	return next;
}

void sim_sizing_init(struct sim *sim, uint64_t seed)
{
	sim->allowed = UINT32_MAX;
	sim->sizing = (struct sim_sizing){
		.window = SIZING_WINDOW_MIN,
		.look_ms = sim->now_ms,
		.short_ms = SIM_NEVER,
	};
	if (sim_has_clients(sim))
		crowd_init(&sim->crowd, &sim->world->load, sim->now_ms, seed);
}

static uint32_t draw(uint64_t *random, uint64_t most)
{
	return (uint32_t)((sim_random(random) >> 11) % (most + 1));
}

void sim_draw_sizing(uint64_t *random, struct pool_rules *rules)
{
	struct sizing_rules *sizing = &rules->sizing;
	uint32_t max = 1 + draw(random, rules->capacity - 1);

	if (sizing->kind == SIZING_FIXED || draw(random, 9) == 0)
		sizing->kind = draw(random, 5) == 0 ? SIZING_FIXED : 1 + draw(random, 1);
	sizing->max = max;
	sizing->min = draw(random, 2) == 0 ? 0 : draw(random, max);
	sizing->min_spare = 1 + draw(random, draw(random, 1) == 0 ? 3 : max - 1);
	sizing->max_spare = sizing->min_spare + draw(random, 8);
	sizing->idle_exit_ms = draw(random, 2) == 0 ? 0 : 1 + draw(random, 20000);
	sizing->sample_ms = draw(random, 1) == 0 ? 0 : 1 + draw(random, 1000);
}

void sim_sizing_look_anew(struct sim *sim)
{
	sim->sizing.look_ms = sim->now_ms;
}

/* A program that accepts for itself has left: nobody came for it, or so it says. */
void sim_sizing_note_exit(struct sim *sim)
{
	uint32_t serving = sim_count_serving(sim);

	if (sim->rules.sizing.kind == SIZING_QUEUE && sim->rules.sizing.min == 0 && sim->target > serving)
		sim->target = serving;
}

void sim_allow(struct sim *sim, uint32_t most)
{
	sim->allowed = most;
	sim_note(sim, "share", most, "(workers)");
	pool_policy_allow(&sim->policy, most);
	sim_allow_what_is(sim);
	sim->tally.shares++;
}

/* ---- a calm: nobody comes ---- */

uint64_t sim_calm_to_rest_ms(const struct sim *sim)
{
	const struct sizing_rules *rules = &sim->rules.sizing;
	uint64_t service_ms = 2 * (uint64_t)sim->world->load.service_ms;

	if (sim->next.rules.sizing.idle_exit_ms > rules->idle_exit_ms)
		rules = &sim->next.rules.sizing;
	return service_ms + rules->idle_exit_ms + sim->rules.capacity * (uint64_t)SIZING_SHRINK_MS + 3 * SIZING_LOOK_MS;
}

void sim_check_rest(struct sim *sim)
{
	const struct sizing_rules *rules = &sim->rules.sizing;
	uint32_t least = standing_of(rules), most = rules->max;

	if (!sim_is_sized(sim))
		return;
	/* One that sleeps sleeps on by whatever rules. */
	if (rules->min == 0)
		least = 0;
	/* Whoever is replaced for his age is idle anew. */
	if (sim->rules.max_age_ms > 0)
		return;
	if (rules->kind == SIZING_SPARE)
		most = rules->idle_exit_ms > 0 ? standing_of(rules) : within(rules->max_spare, rules);
	if (rules->kind == SIZING_QUEUE && rules->idle_exit_ms > 0)
		most = rules->min;
	if (sim->target < least || sim->target > most)
		sim_fail(sim, "at rest there are %u, and not %u to %u", sim->target, least, most);
	sim->tally.rests++;
}
