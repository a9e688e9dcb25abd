/* SPDX-License-Identifier: MIT */
/*
 * The policy of a pool under millions of random events (simulator.h): exits of every kind at every moment, failing
 * forks, hangs, resizing, reloads that are committed and undone, stops.
 *
 *	BROOD_SIM_SEED   the first seed; a failure names the one that shows it at once
 *	BROOD_SIM_STEPS  how many events in each test
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/attrs.h"
#include "simulator.h"

#define DEFAULT_SEED  1
#define DEFAULT_STEPS 1500000

static struct sim sim;

static uint64_t number_from(const char *variable, uint64_t otherwise)
{
	const char *text = getenv(variable);

	return text == NULL || *text == 0 ? otherwise : strtoull(text, NULL, 0);
}

static void simulate(const struct sim_world *world, uint64_t seed, uint64_t length)
{
	if (sim_run(&sim, world, seed, length))
		return;
	sim_print_trace(&sim);
	cr_assert_fail("BROOD_SIM_SEED=%llu: %s", (unsigned long long)seed, sim.error);
}

/* Runs lives of worlds made by MAKE, each of its own seed and mostly shorter than LENGTH, until there were steps
 * enough. */
static void simulate_many(void (*make)(uint64_t *random, struct sim_world *ret_world), uint64_t length)
{
	const uint64_t first = number_from("BROOD_SIM_SEED", DEFAULT_SEED);
	const uint64_t steps = number_from("BROOD_SIM_STEPS", DEFAULT_STEPS);
	uint64_t seed = first;

	for (; sim.tally.steps < steps; seed++) {
		uint64_t random = seed * UINT64_C(0xd1342543de82ef95) | 1;
		struct sim_world world;

		sim_random(&random);
		make(&random, &world);
		simulate(&world, seed, sim_random(&random) % (seed % 32 == 0 ? 20000 : length));
	}
	fprintf(stderr, "seeds %llu to %llu: %llu steps, %llu plans, %llu starts, %llu failures, %llu ends\n",
		(unsigned long long)first, (unsigned long long)seed - 1, (unsigned long long)sim.tally.steps,
		(unsigned long long)sim.tally.plans, (unsigned long long)sim.tally.starts,
		(unsigned long long)sim.tally.failures, (unsigned long long)sim.tally.ends);
}

/* ---- worlds ---- */

/* 0 to MOST, small values as likely as large ones. */
static uint64_t draw_log(uint64_t *random, uint64_t most)
{
	uint64_t bits = sim_random(random) % 64;
	uint64_t limit = bits == 0 ? 0 : most >> (bits % 20);

	return sim_random(random) % (limit + 1);
}

/* Mostly nothing, at times something, rarely always. */
static unsigned int draw_chance(uint64_t *random)
{
	switch (sim_random(random) % 8) {
	case 0:
	case 1:
	case 2:
		return 0;
	case 3:
	case 4:
		return (unsigned int)(sim_random(random) % 50);
	case 5:
		return (unsigned int)(sim_random(random) % 300);
	case 6:
		return (unsigned int)(sim_random(random) % 1000);
	default:
		return 1000;
	}
}

/* Mostly none; or below the target, at it, or above it. */
static uint32_t draw_limit(uint64_t *random, const struct sim_world *world)
{
	switch (sim_random(random) % 8) {
	case 0:
		return 1 + (uint32_t)(sim_random(random) % world->target);
	case 1:
		return world->target;
	case 2:
		return world->target + (uint32_t)(sim_random(random) % world->rules.capacity);
	default:
		return 0;
	}
}

static void make_rules(uint64_t *random, struct sim_world *ret_world)
{
	struct pool_rules *rules = &ret_world->rules;

	*ret_world = (struct sim_world){ 0 };
	rules->capacity = 1 + (uint32_t)(sim_random(random) % SIM_CAPACITY_DRAWN);
	ret_world->target = 1 + (uint32_t)(sim_random(random) % (rules->capacity + 2));
	rules->limit = draw_limit(random, ret_world);
	rules->roll_step = (uint32_t)(sim_random(random) % 8);
	rules->replace_timeout_ms = sim_random(random) % 2 == 0 ? 0 : 1 + draw_log(random, 30000);
	rules->start_timeout_ms = sim_random(random) % 4 == 0 ? 0 : 1 + draw_log(random, 120000);
	rules->healthy_ms = 1 + draw_log(random, 60000);
	rules->give_up_after = sim_random(random) % 4 != 0 ? 1 : (uint32_t)(sim_random(random) % 8);
	rules->overrun_warnings = (uint32_t)(sim_random(random) % 4);
	rules->overrun_grace_ms = 1 + draw_log(random, 10000);
	rules->backoff.min_ms = 1 + draw_log(random, 10000);
	rules->backoff.max_ms = rules->backoff.min_ms + draw_log(random, 600000);
}

/* Everything may fail, at every moment. */
static void make_anything(uint64_t *random, struct sim_world *ret_world)
{
	make_rules(random, ret_world);
	ret_world->born_in_ms = sim_random(random) % 2 == 0 ? 0 : draw_log(random, 3000);
	ret_world->start_in_ms = draw_log(random, 10000);
	ret_world->life_ms = 1 + draw_log(random, 30000);
	ret_world->leave_in_ms = draw_log(random, 30000);
	ret_world->dies_in_ms = draw_log(random, 500);
	ret_world->operator_in_ms = sim_random(random) % 4 == 0 ? SIM_NEVER : 1 + draw_log(random, 60000);
	ret_world->stall_ms = sim_random(random) % 4 == 0 ? draw_log(random, 100000) : 0;
	ret_world->fork_fails = draw_chance(random);
	ret_world->start_dies = draw_chance(random);
	ret_world->start_hangs = draw_chance(random);
	ret_world->crashes_idle = draw_chance(random);
	ret_world->crashes_serving = draw_chance(random);
	ret_world->leaves = draw_chance(random);
	ret_world->hangs = draw_chance(random);
	ret_world->ignores_orders = draw_chance(random);
	ret_world->outlives_kill = draw_chance(random) / 4;
	ret_world->reloads = sim_random(random) % 4 == 0 ? 0 : draw_chance(random) / 2;
	ret_world->bad_reloads = draw_chance(random);
	ret_world->removals = 20;
	ret_world->refusals = draw_chance(random) / 4;
	ret_world->added = 100;
	ret_world->upgrades = draw_chance(random) / 8;
}

/* A service as they are: it starts, it serves, now and then a worker falls. */
static void make_service(uint64_t *random, struct sim_world *ret_world)
{
	make_rules(random, ret_world);
	ret_world->rules.start_timeout_ms = 30000;
	ret_world->born_in_ms = 0;
	ret_world->start_in_ms = 20;
	ret_world->life_ms = 200;
	ret_world->leave_in_ms = 200;
	ret_world->dies_in_ms = 2;
	ret_world->operator_in_ms = 3000;
	ret_world->stall_ms = 0;
	ret_world->fork_fails = 20;
	ret_world->start_dies = 10;
	ret_world->start_hangs = 1;
	ret_world->crashes_idle = 1;
	ret_world->crashes_serving = 20;
	ret_world->leaves = 20;
	ret_world->hangs = 2;
	ret_world->ignores_orders = 20;
	ret_world->outlives_kill = 1;
	ret_world->reloads = 20;
	ret_world->bad_reloads = 200;
	ret_world->removals = 10;
	ret_world->refusals = 50;
	ret_world->added = 100;
	ret_world->upgrades = 10;
}

/* The same with one client whose every connection ends his worker. */
static void make_noisy_client(uint64_t *random, struct sim_world *ret_world)
{
	make_service(random, ret_world);
	ret_world->crashes_serving = 600;
	ret_world->life_ms = 20;
}

/* Workers that start well, and fall as soon as they stand. */
static void make_frail(uint64_t *random, struct sim_world *ret_world)
{
	make_service(random, ret_world);
	ret_world->crashes_idle = 900;
	ret_world->life_ms = 1 + draw_log(random, 20000);
}

/* An operator who does little else, and whose configurations are not good; some pools have no room for it. */
static void make_restless(uint64_t *random, struct sim_world *ret_world)
{
	make_service(random, ret_world);
	if (sim_random(random) % 4 != 0 && ret_world->target >= ret_world->rules.capacity)
		ret_world->target = ret_world->rules.capacity - 1;
	ret_world->operator_in_ms = 1 + draw_log(random, 6000);
	ret_world->start_in_ms = 1 + draw_log(random, 2000);
	ret_world->start_dies = draw_chance(random);
	ret_world->reloads = 500;
	ret_world->bad_reloads = 300;
	ret_world->removals = 40;
	ret_world->refusals = 100;
	ret_world->upgrades = 50;
}

/* Workers that become programs, and programs that speak for themselves, reloaded now and then. */
static void make_programs(uint64_t *random, struct sim_world *ret_world)
{
	make_service(random, ret_world);
	if (sim_random(random) % 2 == 0 && ret_world->rules.capacity > 6)
		ret_world->rules.capacity = 2 + ret_world->rules.capacity % 4;
	if (sim_random(random) % 2 == 0) {
		ret_world->target = 1 + (uint32_t)(sim_random(random) % 2);
		ret_world->rules.limit = ret_world->target + (uint32_t)(sim_random(random) % 3);
		ret_world->leave_in_ms = 1 + draw_log(random, 60000);
	}
	ret_world->stall_ms = sim_random(random) % 4 == 0 ? 1 + draw_log(random, 10000) : 0;
	ret_world->rules.ready_after_ms = draw_log(random, 5000);
	ret_world->rules.retire_timeout_ms = draw_log(random, 30000);
	ret_world->rules.watchdog_ms = sim_random(random) % 2 == 0 ? 0 : 1 + draw_log(random, 20000);
	ret_world->start_in_ms = 1 + draw_log(random, 10000);
	ret_world->start_hangs = draw_chance(random);
	ret_world->accepts = sim_random(random) % 2 == 0;
	ret_world->leaves = draw_chance(random);
	ret_world->becomes_program = draw_chance(random);
	ret_world->not_executed = draw_chance(random);
	ret_world->asks_for_time = draw_chance(random) / 2;
	ret_world->misses_watchdog = draw_chance(random);
	ret_world->stops_itself = draw_chance(random) / 4;
	ret_world->ignores_orders = draw_chance(random);
	ret_world->reloads = 100;
}

/* Binaries are replaced all the time, whatever else is under way. */
static void make_upgraded(uint64_t *random, struct sim_world *ret_world)
{
	if (sim_random(random) % 2 == 0)
		make_programs(random, ret_world);
	else
		make_restless(random, ret_world);
	ret_world->born_in_ms = sim_random(random) % 2 == 0 ? 0 : draw_log(random, 3000);
	ret_world->outlives_kill = draw_chance(random) / 4;
	ret_world->reloads = 300;
	ret_world->upgrades = 300;
}

/* Workers that reach their limits all the time. */
static void make_worn(uint64_t *random, struct sim_world *ret_world)
{
	switch (sim_random(random) % 4) {
	case 0:
		make_programs(random, ret_world);
		break;
	case 1:
		make_restless(random, ret_world);
		break;
	default:
		make_service(random, ret_world);
	}
	if (sim_random(random) % 4 != 0 && ret_world->target >= ret_world->rules.capacity)
		ret_world->target = ret_world->rules.capacity - 1;
	ret_world->rules.max_age_ms = sim_random(random) % 3 == 0 ? 0 : 1 + draw_log(random, 100000);
	ret_world->rules.jitter = (uint32_t)(sim_random(random) % 101);
	ret_world->wears = draw_chance(random);
	ret_world->leave_in_ms = 1 + draw_log(random, 90000);
}

Test(policy_simulator, holds_in_any_world)
{
	simulate_many(make_anything, 1000);
	if (sim.tally.steps < DEFAULT_STEPS)
		return;
	/* Each kind of thing has happened. */
	for (enum death_kind i = 0; i < DEATH_KINDS && i != DEATH_FINISHED; i++)
		cr_expect_gt(sim.tally.deaths[i], 100, "%s", death_kind_name(i));
	for (enum death_sequel i = 0; i < DEATH_SEQUELS; i++)
		cr_expect_gt(sim.tally.sequels[i], 100, "%s", death_sequel_name(i));
	cr_expect_gt(sim.tally.actions[SLOT_RETIRE], 100);
	cr_expect_gt(sim.tally.actions[SLOT_QUIT], 100);
	cr_expect_gt(sim.tally.actions[SLOT_KILL], 100);
	cr_expect_gt(sim.tally.fork_failures, 100);
	cr_expect_gt(sim.tally.start_timeouts, 100);
	cr_expect_gt(sim.tally.overruns[false], 100);
	cr_expect_gt(sim.tally.overruns[true], 100);
	cr_expect_gt(sim.tally.overruns_back, 100);
	cr_expect_gt(sim.tally.actions[SLOT_WARN], 100);
	cr_expect_gt(sim.tally.start_failures, 100);
	cr_expect_gt(sim.tally.starts_without, 100);
	cr_expect_gt(sim.tally.degraded[false], 1000);
	cr_expect_gt(sim.tally.degraded[true], 1000);
	cr_expect_gt(sim.tally.recovered, 100);
	cr_expect_gt(sim.tally.lost, 20);
	cr_expect_gt(sim.tally.calms, 100);
	cr_expect_gt(sim.tally.ends, 100);
	cr_expect_gt(sim.tally.longest_row, 20);
	cr_expect_gt(sim.tally.reloads[true], 1000);
}

Test(policy_simulator, holds_for_a_service)
{
	simulate_many(make_service, 1000);
}

Test(policy_simulator, holds_against_a_noisy_client)
{
	simulate_many(make_noisy_client, 1000);
}

Test(policy_simulator, holds_for_frail_workers)
{
	simulate_many(make_frail, 1000);
}

Test(policy_simulator, holds_through_reloads)
{
	simulate_many(make_restless, 2000);
	if (sim.tally.steps < DEFAULT_STEPS)
		return;
	cr_expect_gt(sim.tally.reloads[false], 1000);
	cr_expect_gt(sim.tally.reloads[true], 1000);
	cr_expect_gt(sim.tally.reloads_while_rolling, 100);
	for (enum reload_event i = RELOAD_COMMIT; i < RELOAD_EVENTS; i++)
		cr_expect_gt(sim.tally.reload_events[i], 100, "%s", reload_event_name(i));
	cr_expect_gt(sim.tally.canary_failures, 1000);
	cr_expect_gt(sim.tally.canary_retries, 1000);
	cr_expect_gt(sim.tally.canaries_left, 100);
	cr_expect_gt(sim.tally.no_room, 100);
	cr_expect_gt(sim.tally.roll_retires, 1000);
	cr_expect_gt(sim.tally.room_retires, 100);
	cr_expect_gt(sim.tally.roll_calms, 100);
	cr_expect_gt(sim.tally.at_limit, 1000);
	cr_expect_gt(sim.tally.ghosts, 1000);
	cr_expect_gt(sim.tally.refusals, 100);
	cr_expect_gt(sim.tally.removals, 50);
	cr_expect_gt(sim.tally.drains, 1000);
	cr_expect_gt(sim.tally.commits_anyway, 10);
}

Test(policy_simulator, holds_through_upgrades)
{
	simulate_many(make_upgraded, 1000);
	if (sim.tally.steps < DEFAULT_STEPS)
		return;
	cr_expect_gt(sim.tally.upgrades, 10000);
	cr_expect_gt(sim.tally.upgrades_trying, 1000);
	cr_expect_gt(sim.tally.upgrades_rolling, 1000);
	for (enum slot_state i = SLOT_FREE; i < SLOT_STATES; i++)
		cr_expect_gt(sim.tally.adopted[i], 100, "%s", slot_state_name(i));
}

Test(policy_simulator, holds_while_workers_wear)
{
	simulate_many(make_worn, 1000);
	if (sim.tally.steps < DEFAULT_STEPS)
		return;
	cr_expect_gt(sim.tally.worn, 10000);
	cr_expect_gt(sim.tally.recycled, 10000);
	cr_expect_gt(sim.tally.impatient, 100);
	cr_expect_gt(sim.tally.deaths[DEATH_RECYCLED], 1000);
}

Test(policy_simulator, holds_for_programs)
{
	simulate_many(make_programs, 1000);
	if (sim.tally.steps < DEFAULT_STEPS)
		return;
	cr_expect_gt(sim.tally.taken, 1000);
	cr_expect_gt(sim.tally.deaths[DEATH_FINISHED], 1000);
	cr_expect_gt(sim.tally.extensions[true], 1000);
	cr_expect_gt(sim.tally.actions[SLOT_BECAME_READY], 1000);
	cr_expect_gt(sim.tally.reload_events[RELOAD_ROLLED], 100);
}

Test(policy_simulator, holds_for_pools_that_end_early)
{
	simulate_many(make_anything, 60);
	cr_expect_geq(sim.tally.ends, sim.tally.steps / 5000);
}

/* ---- nothing but failures ---- */

/* The starts of one life, held against times that are worked out here once more, from the rules alone. */
#define LOG_MAX 2000

struct start_log {
	uint64_t at_ms[LOG_MAX];
	size_t count;
};

static void log_start(void *context, uint64_t now_ms)
{
	struct start_log *log = (struct start_log *)context;

	if (log->count < LOG_MAX)
		log->at_ms[log->count++] = now_ms;
}

static void simulate_doom(const struct sim_world *world, struct start_log *ret_log)
{
	memset(&sim, 0, sizeof(sim));
	ret_log->count = 0;
	sim.on_start = log_start;
	sim.context = ret_log;
	simulate(world, number_from("BROOD_SIM_SEED", DEFAULT_SEED), 1000);
	cr_assert_gt(ret_log->count, 50, "%zu starts", ret_log->count);
}

/* No worker is ever ready: after the first volley they come one by one, each after the wait for its number. */
static void check_doom(const char *what, const struct sim_world *world)
{
	static struct start_log log;
	uint64_t wait_ms = world->rules.backoff.min_ms;
	size_t next = 0;

	simulate_doom(world, &log);
	while (log.at_ms[next] == log.at_ms[0])
		next++;
	cr_expect_leq(next, world->target, "%s: the first volley", what);
	for (; next < log.count; next++) {
		cr_assert_geq(log.at_ms[next] - log.at_ms[next - 1], wait_ms, "%s: start %zu", what, next);
		wait_ms = wait_ms * 2 < world->rules.backoff.max_ms ? wait_ms * 2 : world->rules.backoff.max_ms;
	}
	cr_expect(sim.tally.start_failures > 0, "%s", what);
}

static const struct sim_world doom = {
	.rules = {.capacity = 16,
		  .start_timeout_ms = 700,
		  .healthy_ms = 10000,
		  .give_up_after = 5,
		  .backoff = { .min_ms = 50, .max_ms = 9000 }},
	.target = 8,
	.start_in_ms = 400,
	.life_ms = 300,
	.leave_in_ms = 100,
	.dies_in_ms = 20,
	.operator_in_ms = SIM_NEVER,
};

Test(policy_simulator, backs_off_when_no_worker_starts)
{
	struct sim_world world = doom;

	world.fork_fails = 1000;
	check_doom("fork", &world);
	world.born_in_ms = 30;
	check_doom("fork, later", &world);
	world = doom;
	world.start_dies = 1000;
	check_doom("death in the start", &world);
	world = doom;
	world.start_hangs = 1000;
	check_doom("start_timeout", &world);
	world.dies_in_ms = 600;
	check_doom("start_timeout and a slow end", &world);
	world.start_dies = 1000;
	world.start_hangs = 500;
	world.fork_fails = 300;
	check_doom("anything", &world);
}

/* Each falls soon after it is ready: once the wait has reached its maximum, so long brings one volley at the most. */
Test(policy_simulator, backs_off_when_no_worker_stands)
{
	static struct start_log log;
	struct sim_world world = doom;
	uint64_t window_ms = world.rules.backoff.max_ms;
	size_t first = 0;

	world.crashes_idle = 1000;
	simulate_doom(&world, &log);
	/* 50, 100, ... 6400: eight volleys. */
	while (first < log.count && log.at_ms[first] - log.at_ms[0] < 50 * 256)
		first++;
	for (; first + world.target < log.count; first++)
		cr_assert_geq(log.at_ms[first + world.target] - log.at_ms[first], window_ms, "start %zu", first);
	cr_expect_gt(sim.tally.longest_row, 10);
}
