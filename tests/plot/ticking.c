/* SPDX-License-Identifier: MIT */
#include "ticking.h"

#include <string.h>

#define TICK_MS     1000
#define RATE_MAX    32
#define WORKERS_MAX 128

enum work {
	WORK_NONE, /* no worker */
	WORK_STARTING,
	WORK_IDLE,
	WORK_BUSY,
};

struct worker {
	enum work work;
	uint64_t until_ms; /* of STARTING and BUSY */
};

struct ticking {
	const struct ticking_rules *rules;
	struct worker workers[WORKERS_MAX];
	uint32_t rate;
	uint64_t starts;
};

static uint32_t count(const struct ticking *ticking, enum work work)
{
	uint32_t found = 0;

	for (uint32_t i = 0; i < ticking->rules->max; i++)
		found += ticking->workers[i].work == work;
	return found;
}

static void start(struct ticking *ticking, uint32_t wanted, uint64_t now_ms)
{
	for (uint32_t i = 0; i < ticking->rules->max && wanted > 0; i++)
		if (ticking->workers[i].work == WORK_NONE) {
			ticking->workers[i] = (struct worker){ WORK_STARTING, now_ms + ticking->rules->start_ms };
			wanted--;
			ticking->starts++;
		}
}

static void end_one(struct ticking *ticking)
{
	for (uint32_t i = 0; i < ticking->rules->max; i++)
		if (ticking->workers[i].work == WORK_IDLE) {
			ticking->workers[i].work = WORK_NONE;
			return;
		}
}

static void tick(struct ticking *ticking, uint64_t now_ms)
{
	const struct ticking_rules *rules = ticking->rules;
	uint32_t idle = count(ticking, WORK_IDLE);

	if (idle < rules->min_spare) {
		start(ticking, ticking->rate, now_ms);
		if (ticking->rate < RATE_MAX)
			ticking->rate *= 2;
		return;
	}
	ticking->rate = 1;
	if (idle > rules->max_spare && rules->max - count(ticking, WORK_NONE) > rules->min)
		end_one(ticking);
}

static void work(struct ticking *ticking, struct crowd *crowd, uint64_t now_ms)
{
	for (uint32_t i = 0; i < ticking->rules->max; i++) {
		struct worker *worker = &ticking->workers[i];

		if ((worker->work == WORK_STARTING || worker->work == WORK_BUSY) && now_ms >= worker->until_ms)
			worker->work = WORK_IDLE;
		if (worker->work == WORK_IDLE && crowd->waiting > 0)
			*worker = (struct worker){ WORK_BUSY, now_ms + crowd_take(crowd, now_ms) };
	}
}

uint64_t ticking_run(
	const struct ticking_rules *rules, struct crowd *crowd, uint64_t until_ms, struct figure_samples *ret_samples)
{
	struct ticking ticking = { .rules = rules, .rate = 1 };

	start(&ticking, rules->min, 0);
	for (uint64_t now_ms = 1; now_ms <= until_ms; now_ms++) {
		struct figure_sample sample = { .at_ms = now_ms };

		crowd_come(crowd, now_ms);
		work(&ticking, crowd, now_ms);
		if (now_ms % TICK_MS == 0)
			tick(&ticking, now_ms);
		sample.value[CURVE_LOAD] = (uint32_t)crowd_load_now(crowd, now_ms);
		sample.value[CURVE_BUSY] = count(&ticking, WORK_BUSY);
		sample.value[CURVE_READY] = sample.value[CURVE_BUSY] + count(&ticking, WORK_IDLE);
		sample.value[CURVE_THERE] = rules->max - count(&ticking, WORK_NONE);
		sample.value[CURVE_QUEUE] = crowd->waiting;
		sample.value[CURVE_CLIENTS] = sample.value[CURVE_BUSY] + crowd->waiting;
		figure_sample(ret_samples, &sample);
	}
	return ticking.starts;
}
