/* SPDX-License-Identifier: MIT */
/*
 * Pools whose size goes by their load, in the simulator (simulator.h): clients come and go in every way, workers fail,
 * an operator reloads and upgrades, other pools take their share.
 *
 *	BROOD_SIM_SEED, BROOD_SIM_STEPS   as in test_policy_simulator.c
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "simulator.h"

#define DEFAULT_SEED  1
#define DEFAULT_STEPS 1000000

static struct sim sim;

static uint64_t number_from(const char *variable, uint64_t otherwise)
{
	const char *text = getenv(variable);

	return text == NULL || *text == 0 ? otherwise : strtoull(text, NULL, 0);
}

static uint64_t draw(uint64_t *random, uint64_t most)
{
	return (sim_random(random) >> 11) % (most + 1);
}

/* Runs lives of worlds made by MAKE, each of its own seed, until there were steps enough. */
static void simulate_many(void (*make)(uint64_t *random, struct sim_world *ret_world))
{
	const uint64_t first = number_from("BROOD_SIM_SEED", DEFAULT_SEED);
	const uint64_t steps = number_from("BROOD_SIM_STEPS", DEFAULT_STEPS);

	for (uint64_t seed = first; sim.tally.steps < steps; seed++) {
		uint64_t random = seed * UINT64_C(0xd1342543de82ef95) | 1;
		struct sim_world world;

		sim_random(&random);
		make(&random, &world);
		if (sim_run(&sim, &world, seed, draw(&random, seed % 32 == 0 ? 20000 : 2000)))
			continue;
		sim_print_trace(&sim);
		cr_assert_fail("BROOD_SIM_SEED=%llu: %s", (unsigned long long)seed, sim.error);
	}
	fprintf(stderr,
		"%llu clients, %llu looks, %llu growths (window up to %u), %llu shrinks, %llu expiries, "
		"%llu sleeps, %llu rests, %llu retired busy\n",
		(unsigned long long)sim.tally.clients, (unsigned long long)sim.tally.looks,
		(unsigned long long)sim.tally.growths, sim.tally.widest_window, (unsigned long long)sim.tally.shrinks,
		(unsigned long long)sim.tally.expiries, (unsigned long long)sim.tally.sleeps,
		(unsigned long long)sim.tally.rests, (unsigned long long)sim.tally.busy_retires);
}

/* ---- worlds ---- */

/* Steps, slopes, bursts, and times when nobody comes; then it begins anew. */
static void make_load(uint64_t *random, uint32_t most, struct crowd_load *ret_load)
{
	uint64_t at_ms = 0;

	*ret_load = (struct crowd_load){ .count = 2 + draw(random, CROWD_POINTS_MAX - 2), .repeats = true };
	ret_load->service_ms = 1 + (uint32_t)draw(random, draw(random, 1) == 0 ? 100 : 5000);
	for (size_t i = 0; i < ret_load->count; i++) {
		ret_load->points[i] = (struct crowd_point){
			.at_ms = at_ms,
			.clients = draw(random, 2) == 0 ? 0 : (uint32_t)draw(random, most),
			.burst = draw(random, 5) == 0 ? (uint32_t)draw(random, 2 * most) : 0,
		};
		at_ms += draw(random, 3) == 0 ? 0 : 1 + draw(random, draw(random, 1) == 0 ? 2000 : 60000);
	}
	ret_load->points[ret_load->count - 1].at_ms = at_ms + 1;
	ret_load->points[0].burst++;
}

static void make_rules(uint64_t *random, struct sim_world *ret_world)
{
	struct pool_rules *rules = &ret_world->rules;

	*ret_world = (struct sim_world){ 0 };
	rules->capacity = 2 + (uint32_t)draw(random, SIM_CAPACITY_DRAWN - 2);
	rules->sizing.kind = draw(random, 3) == 0 ? SIZING_QUEUE : SIZING_SPARE;
	do
		sim_draw_sizing(random, rules);
	while (rules->sizing.kind == SIZING_FIXED);
	rules->limit = draw(random, 2) == 0 ? rules->sizing.max : 0;
	rules->start_timeout_ms = 1000 + draw(random, 20000);
	rules->give_up_after = 5;
	rules->healthy_ms = 10000;
	rules->backoff.min_ms = 1 + draw(random, 2000);
	rules->backoff.max_ms = rules->backoff.min_ms + draw(random, 30000);
	ret_world->target = sim_first_target(rules);
	make_load(random, rules->sizing.max + 2, &ret_world->load);
	ret_world->born_in_ms = draw(random, 2) == 0 ? draw(random, 3000) : 0;
	ret_world->start_in_ms = draw(random, draw(random, 1) == 0 ? 30 : 3000);
	ret_world->life_ms = 1 + draw(random, 2000);
	ret_world->leave_in_ms = draw(random, 2000);
	ret_world->dies_in_ms = draw(random, 20);
	ret_world->accepts = rules->sizing.kind == SIZING_QUEUE;
	ret_world->operator_in_ms = SIM_NEVER;
}

/* Nothing fails, and no one interferes but for a calm now and then. */
static void make_quiet(uint64_t *random, struct sim_world *ret_world)
{
	make_rules(random, ret_world);
	ret_world->operator_in_ms = 20000 + draw(random, 100000);
}

/* As services are. */
static void make_service(uint64_t *random, struct sim_world *ret_world)
{
	make_rules(random, ret_world);
	ret_world->operator_in_ms = 1 + draw(random, 30000);
	ret_world->stall_ms = draw(random, 4) == 0 ? draw(random, 20000) : 0;
	ret_world->fork_fails = (unsigned int)draw(random, 30);
	ret_world->start_dies = (unsigned int)draw(random, 30);
	ret_world->crashes_idle = (unsigned int)draw(random, 30);
	ret_world->crashes_serving = (unsigned int)draw(random, 50);
	ret_world->leaves = draw(random, 2) == 0 ? (unsigned int)draw(random, 500) : 0;
	ret_world->stops_itself = draw(random, 4) == 0 ? (unsigned int)draw(random, 300) : 0;
	ret_world->hangs = (unsigned int)draw(random, 5);
	ret_world->ignores_orders = (unsigned int)draw(random, 20);
	ret_world->reloads = (unsigned int)draw(random, 300);
	ret_world->bad_reloads = 200;
	ret_world->removals = 5;
	ret_world->upgrades = (unsigned int)draw(random, 100);
	ret_world->wears = draw(random, 3) == 0 ? (unsigned int)draw(random, 100) : 0;
}

/* Workers of inetd pools wait, and become programs with what they waited for. */
static void make_inetd(uint64_t *random, struct sim_world *ret_world)
{
	make_service(random, ret_world);
	ret_world->rules.sizing.kind = SIZING_SPARE;
	ret_world->accepts = false;
	ret_world->becomes_program = 1000;
	ret_world->not_executed = (unsigned int)draw(random, 20);
}

/* Few workers start, and those that do fall. */
static void make_frail(uint64_t *random, struct sim_world *ret_world)
{
	make_service(random, ret_world);
	ret_world->fork_fails = (unsigned int)draw(random, 500);
	ret_world->start_dies = (unsigned int)draw(random, 900);
	ret_world->start_hangs = (unsigned int)draw(random, 300);
	ret_world->crashes_idle = (unsigned int)draw(random, 500);
}

Test(policy_simulator_sizing, holds_while_nothing_fails)
{
	simulate_many(make_quiet);
	if (sim.tally.steps < DEFAULT_STEPS)
		return;
	cr_expect_gt(sim.tally.growths, 1000);
	cr_expect_gt(sim.tally.shrinks, 1000);
	cr_expect_gt(sim.tally.expiries, 100);
	cr_expect_gt(sim.tally.sleeps, 100);
	cr_expect_gt(sim.tally.wakes, 100);
	cr_expect_gt(sim.tally.rests, 100);
	cr_expect_gt(sim.tally.held, 100);
	cr_expect_gt(sim.tally.shares, 100);
	cr_expect_gt(sim.tally.widest_window, 12);
}

Test(policy_simulator_sizing, holds_for_a_service)
{
	simulate_many(make_service);
	if (sim.tally.steps < DEFAULT_STEPS)
		return;
	cr_expect_gt(sim.tally.reload_events[RELOAD_ROLLED], 100);
	cr_expect_gt(sim.tally.upgrades, 100);
	cr_expect_gt(sim.tally.rests, 50);
	cr_expect_gt(sim.tally.busy_retires, 20);
}

Test(policy_simulator_sizing, holds_for_inetd)
{
	simulate_many(make_inetd);
}

Test(policy_simulator_sizing, holds_for_frail_workers)
{
	simulate_many(make_frail);
}

/* ---- loads of one shape ---- */

/* What a pool did in the second half of a life. */
struct half {
	uint64_t from_ms;
	uint64_t starts;
	uint64_t short_moments; /* clients waited */
	uint32_t fewest, most;  /* that served or waited for clients */
};

static void see_start(void *context, uint64_t now_ms)
{
	struct half *half = (struct half *)context;

	half->starts += now_ms >= half->from_ms;
}

static void see_size(struct half *half, const struct sim *seen)
{
	uint32_t serving = sim_count_serving(seen);

	half->fewest = serving < half->fewest ? serving : half->fewest;
	half->most = serving > half->most ? serving : half->most;
}

static void see_moment(void *context, const struct sim *seen)
{
	struct half *half = (struct half *)context;

	if (seen->now_ms < half->from_ms)
		return;
	half->short_moments += seen->crowd.waiting > 0;
	see_size(half, seen);
}

#define HALF_MS 120000

/* Twice HALF_MS, of which the second is looked at. */
static struct half live(const struct sim_world *world, uint64_t seed)
{
	struct half half = { .from_ms = HALF_MS, .fewest = UINT32_MAX };

	memset(&sim, 0, sizeof(sim));
	sim.on_start = see_start;
	sim.on_moment = see_moment;
	sim.context = &half;
	if (!sim_run_until(&sim, world, seed, 2 * (uint64_t)HALF_MS)) {
		sim_print_trace(&sim);
		cr_assert_fail("%s", sim.error);
	}
	/* Nothing may have happened at all. */
	see_size(&half, &sim);
	return half;
}

static const struct sim_world constant = {
	.rules = {.capacity = 32,
		  .start_timeout_ms = 10000,
		  .backoff = { .min_ms = 100, .max_ms = 10000 },
		  .sizing = { .kind = SIZING_SPARE, .min = 1, .max = 32, .min_spare = 3, .max_spare = 6 }},
	.load = { .count = 1,    .points = { { 0, 10, 0 } }, .even = true, .service_ms = 400            },
	.start_in_ms = 20,
	.leave_in_ms = 2,
	.operator_in_ms = SIM_NEVER,
};

/* The number of workers settles, and none is started any more. */
Test(policy_simulator_sizing, settles_under_a_constant_load)
{
	static const uint32_t clients[] = { 0, 2, 9, 24 };
	static const uint32_t service_ms[] = { 100, 1000, 7000 };

	for (size_t i = 0; i < sizeof(clients) / sizeof(clients[0]); i++)
		for (size_t k = 0; k < sizeof(service_ms) / sizeof(service_ms[0]); k++) {
			struct sim_world world = constant;
			struct half half;

			world.load.points[0].clients = clients[i];
			world.load.service_ms = service_ms[k];
			half = live(&world, 1);
			cr_expect_eq(half.starts, 0, "%u clients of %u ms: %zu starts", clients[i], service_ms[k],
				(size_t)half.starts);
			cr_expect_eq(half.fewest, half.most, "%u clients of %u ms: %u to %u", clients[i], service_ms[k],
				half.fewest, half.most);
			cr_expect_geq(half.fewest, clients[i] + world.rules.sizing.min_spare);
			/* One client comes as another one goes. */
			cr_expect_leq(half.most, clients[i] + 1 + world.rules.sizing.max_spare);
			cr_expect_eq(half.short_moments, 0, "%u clients of %u ms", clients[i], service_ms[k]);
		}
}

/* Chance moves the load, and max_spare keeps the workers out of it. */
Test(policy_simulator_sizing, does_not_follow_chance)
{
	for (uint64_t seed = 1; seed <= 4; seed++) {
		struct sim_world world = constant;
		struct half half;

		world.load.even = false;
		world.load.points[0].clients = 12;
		world.rules.sizing.max_spare = 18;
		half = live(&world, seed);
		cr_expect_leq(half.starts, HALF_MS / 15000, "seed %zu: %zu starts", (size_t)seed, (size_t)half.starts);
	}
}

/* With idle_exit a worker leaves now and then, and comes back when it is missed; not more often than that. */
Test(policy_simulator_sizing, idle_exit_does_not_flap)
{
	static const enum sizing_kind kinds[] = { SIZING_SPARE, SIZING_QUEUE };

	for (size_t i = 0; i < 2; i++)
		for (uint32_t clients = 0; clients <= 24; clients += 6) {
			struct sim_world world = constant;
			struct half half;

			world.rules.sizing.kind = kinds[i];
			world.rules.sizing.idle_exit_ms = 20000;
			world.load.points[0].clients = clients;
			half = live(&world, 1);
			cr_expect_leq(half.starts, 2 * HALF_MS / 20000, "%u clients: %zu starts", clients,
				(size_t)half.starts);
		}
}

/* Nobody comes for long, then one, then nobody: the pool sleeps, serves, and sleeps again, each time. */
Test(policy_simulator_sizing, sleeps_and_wakes)
{
	static const enum sizing_kind kinds[] = { SIZING_SPARE, SIZING_QUEUE };

	for (size_t i = 0; i < 2; i++) {
		struct sim_world world = constant;
		struct half half;

		world.rules.sizing.kind = kinds[i];
		world.rules.sizing.min = 0;
		world.rules.sizing.min_spare = 1;
		world.rules.sizing.idle_exit_ms = 5000;
		world.load = (struct crowd_load){
			.count = 2, .repeats = true, .service_ms = 300, .points = {{ 0, 0, 1 }, { 30000, 0, 0 }}
		};
		half = live(&world, 1);
		cr_expect_eq(sim.tally.wakes, 2 * HALF_MS / 30000, "%zu times woken", (size_t)sim.tally.wakes);
		cr_expect_eq(half.fewest, 0);
		/* With SIZING_SPARE another one stands by while the first one serves. */
		cr_expect_eq(half.most, kinds[i] == SIZING_SPARE ? 2 : 1);
		cr_expect_eq(half.starts, half.most * HALF_MS / 30000, "%zu starts", (size_t)half.starts);
		cr_expect_leq(sim.crowd.longest_wait_ms, world.start_in_ms);
	}
}
