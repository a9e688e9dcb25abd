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
	ret_world->born_in_ms = draw(random, 3) == 0 ? draw(random, 200) : 0;
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
