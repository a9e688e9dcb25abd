/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "policy/pool.h"
#include "simulator.h"

/* What one image hands to the next: all that it knows of the pool, but for a reload. */
struct handed {
	struct pool_memory memory;
	struct slot slots[SIM_CAPACITY_MAX];
};

static void hand_over(struct sim *sim, struct handed *ret_handed)
{
	const struct pool_policy *policy = &sim->policy;

	ret_handed->memory = (struct pool_memory){
		.generation = policy->generation,
		.target = policy->target,
		.backoff = policy->backoff,
		.proven = policy->proven,
		.was_ready = policy->was_ready,
		.sizing = policy->sizing,
	};
	memcpy(ret_handed->slots, sim->slots, sizeof(sim->slots));
	memset(&sim->policy, 0xa5, sizeof(sim->policy));
	memset(sim->slots, 0xa5, sizeof(sim->slots));
}

/* CAPACITY: of the image before. */
static void adopt(struct sim *sim, const struct handed *handed, uint32_t capacity)
{
	for (uint32_t i = 0; i < capacity; i++) {
		const struct slot *slot = &handed->slots[i];
		bool lives = slot->state != SLOT_FREE && slot->state != SLOT_ASKED && i < sim->rules.capacity;

		if (pool_policy_adopt(&sim->policy, i, slot) != lives)
			sim_fail(sim, "slot %u, which is %s, is %s", i, slot_state_name(slot->state),
				lives ? "not adopted" : "adopted");
		sim->tally.adopted[slot->state]++;
	}
}

/* Whoever was only asked for is not there; whoever has no slot in this image is somebody else's. */
static void forget_those_without_place(struct sim *sim, uint32_t capacity)
{
	for (uint32_t i = 0; i < capacity; i++)
		if (sim->processes[i].used &&
			(!sim->processes[i].born || sim->processes[i].slot >= sim->rules.capacity))
			sim_process_free(sim, &sim->processes[i]);
}

/* There are as many places for processes as slots. */
static void close_up(struct sim *sim, uint32_t capacity)
{
	uint32_t to = 0;

	for (uint32_t i = 0; i < capacity; i++) {
		if (!sim->processes[i].used)
			continue;
		if (i != to) {
			sim->processes[to] = sim->processes[i];
			sim->processes[i].used = false;
			sim->owner[sim->processes[to].slot] = to + 1;
		}
		to++;
	}
}

/* The wait that is under way goes on; the next one is by the new rules. */
static void count_on(struct sim *sim)
{
	const struct backoff_rules *rules = &sim->rules.backoff;

	sim->backoff.wait_ms = rules->min_ms;
	for (uint32_t i = 1; i < sim->backoff.in_a_row && sim->backoff.wait_ms < rules->max_ms; i++)
		sim->backoff.wait_ms *= 2;
	if (sim->backoff.wait_ms > rules->max_ms)
		sim->backoff.wait_ms = rules->max_ms;
}

void sim_upgrade(struct sim *sim)
{
	static struct handed handed;
	uint32_t capacity = sim->rules.capacity;
	struct pool_rules rules;

	sim_note(sim, "upgrade", sim->generation, "(generation)");
	sim->tally.upgrades++;
	sim->tally.upgrades_trying += sim->canary != SIM_CANARY_NONE;
	sim->tally.upgrades_rolling += sim_is_rolling(sim);
	sim_draw_rules(sim, &rules);
	if (sim_chance(sim, 100))
		rules.capacity = 1 + (uint32_t)sim_upto(sim, SIM_CAPACITY_DRAWN - 1);
	if (rules.sizing.max > rules.capacity)
		sim_draw_sizing(&sim->random, &rules);
	hand_over(sim, &handed);
	sim->rules = rules;
	sim->next.rules = rules;
	pool_policy_init(&sim->policy, &rules, (uint32_t)sim_upto(sim, rules.capacity), sim->slots);
	pool_policy_resume(&sim->policy, &handed.memory);
	if (sim->target > rules.capacity)
		sim->target = rules.capacity;
	sim->target = sim_target_by(sim, &rules, sim->target, sim->target);
	sim->allowed = UINT32_MAX;
	sim_sizing_look_anew(sim);
	adopt(sim, &handed, capacity);
	sim_reload_forget(sim);
	forget_those_without_place(sim, capacity);
	close_up(sim, capacity);
	count_on(sim);
	sim_allow_what_is(sim);
	sim_check_state(sim);
}
