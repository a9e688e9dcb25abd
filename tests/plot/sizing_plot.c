/* SPDX-License-Identifier: MIT */
/*
 * The figures of doc/sizing.md: loads of several shapes, and the sizes of the pools that serve them, from the policy's
 * simulator (tests/unit/simulator.h), which checks what must hold while it draws.
 *
 *	sizing_plot DIR      writes each figure to DIR
 *	sizing_plot -c DIR   compares: 1 where one is not the same
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/attrs.h"
#include "figure.h"
#include "simulator.h"
#include "ticking.h"

#define START_MS 20
#define SEED     1

static const struct sizing_rules by_spare = {
	.kind = SIZING_SPARE, .min = 4, .max = 64, .min_spare = 4, .max_spare = 8, .idle_exit_ms = 30000
};
static const struct sizing_rules by_queue = { .kind = SIZING_QUEUE, .min = 4, .max = 64, .idle_exit_ms = 30000 };
static const struct sizing_rules on_demand = {
	.kind = SIZING_SPARE, .min = 0, .max = 64, .min_spare = 1, .max_spare = 2, .idle_exit_ms = 10000
};

struct plot {
	const char *name; /* of the file, and .svg */
	const struct sizing_rules *sizing;
	bool ticking; /* by the other way */
	struct figure figure;
	struct crowd_load load;
};

/* clang-format off */
static const struct plot plots[] = {
	{
		"step", &by_spare, false,
		{ .title = "Step: 2 clients, 40, and 2 again", .panels = { { "70 seconds", 0, 70000 }, { "the first moments", 4900, 5900 } } },
		{ .service_ms = 500, .count = 5,
			.points = { { 0, 2, 0 }, { 5000, 2, 0 }, { 5000, 40, 0 }, { 25000, 40, 0 }, { 25000, 2, 0 } } },
	},
	{
		"ramp", &by_spare, false,
		{ .title = "Ramp: 2 clients to 45 within 30 seconds, and back as slowly", .panels = { { "100 seconds", 0, 100000 } } },
		{ .service_ms = 500, .count = 5,
			.points = { { 0, 2, 0 }, { 5000, 2, 0 }, { 35000, 45, 0 }, { 45000, 45, 0 }, { 75000, 2, 0 } } },
	},
	{
		"spike", &by_spare, false,
		{ .title = "Spike: 50 clients at once",
			.panels = { { "70 seconds", 0, 70000 }, { "the first moments", 4950, 5150 } } },
		{ .service_ms = 1000, .count = 2, .points = { { 0, 2, 0 }, { 5000, 2, 50 } } },
	},
	{
		"flapping", &by_spare, false,
		{ .title = "Flapping: 4 clients and 36, four seconds of each", .panels = { { "60 seconds", 0, 60000 } } },
		{ .service_ms = 500, .count = 5, .repeats = true,
			.points = { { 0, 4, 0 }, { 4000, 4, 0 }, { 4000, 36, 0 }, { 8000, 36, 0 }, { 8001, 4, 0 } } },
	},
	{
		"program", &by_queue, false,
		{ .title = "Step, of a pool of programs that accept for themselves",
			.panels = { { "70 seconds", 0, 70000 }, { "the first moments", 4900, 5900 } } },
		{ .service_ms = 500, .count = 5,
			.points = { { 0, 2, 0 }, { 5000, 2, 0 }, { 5000, 40, 0 }, { 25000, 40, 0 }, { 25000, 2, 0 } } },
	},
	{
		"demand", &on_demand, false,
		{ .title = "On demand: a client now and then, and six for a while", .panels = { { "90 seconds", 0, 90000 } } },
		{ .service_ms = 1000, .count = 7, .points = { { 0, 0, 0 }, { 5000, 0, 1 }, { 28000, 0, 0 }, { 28000, 6, 0 },
			{ 38000, 6, 0 }, { 38000, 0, 0 }, { 70000, 0, 2 } } },
	},
	{
		"ticking", &by_spare, true,
		{ .title = "For comparison: the same spike, where somebody counts once a second",
			.panels = { { "70 seconds", 0, 70000 }, { "the first moments", 4950, 5150 } } },
		{ .service_ms = 1000, .count = 2, .points = { { 0, 2, 0 }, { 5000, 2, 50 } } },
	},
};
/* clang-format on */

/* What came of one. */
struct outcome {
	struct figure_samples samples;
	uint64_t longest_wait_ms;
	uint64_t starts;
	char what[200];
};

static uint64_t end_of(const struct plot *plot)
{
	return plot->figure.panels[0].to_ms;
}

/* ---- by the policy ---- */

static void take_sample(void *context, const struct sim *sim)
{
	struct outcome *outcome = (struct outcome *)context;
	struct figure_sample sample = { .at_ms = sim->now_ms };

	for (uint32_t i = 0; i < sim->rules.capacity; i++) {
		const struct sim_process *process = &sim->processes[i];

		sample.value[CURVE_THERE] += process->used;
		sample.value[CURVE_BUSY] += process->used && process->serving;
		sample.value[CURVE_READY] += process->used && process->ready && process->order == ORDER_NONE;
	}
	sample.value[CURVE_QUEUE] = sim->crowd.waiting;
	sample.value[CURVE_CLIENTS] = sample.value[CURVE_BUSY] + sim->crowd.waiting;
	sample.value[CURVE_LOAD] = (uint32_t)crowd_load_now(&sim->crowd, sim->now_ms);
	figure_sample(&outcome->samples, &sample);
}

static bool run_policy(const struct plot *plot, struct outcome *ret_outcome)
{
	static struct sim sim;
	struct sim_world world = {
		.rules = {.capacity = plot->sizing->max,
			  .limit = plot->sizing->max,
			  .start_timeout_ms = 10000,
			  .backoff = { .min_ms = 100, .max_ms = 10000 },
			  .sizing = *plot->sizing},
		.load = plot->load,
		.start_in_ms = START_MS,
		.leave_in_ms = 1,
		.operator_in_ms = SIM_NEVER,
		.accepts = plot->sizing->kind == SIZING_QUEUE,
	};

	memset(&sim, 0, sizeof(sim));
	world.target = sim_first_target(&world.rules);
	sim.on_moment = take_sample;
	sim.context = ret_outcome;
	if (!sim_run_until(&sim, &world, SEED, end_of(plot))) {
		fprintf(stderr, "%s: %s\n", plot->name, sim.error);
		return false;
	}
	ret_outcome->longest_wait_ms = sim.crowd.longest_wait_ms;
	ret_outcome->starts = sim.tally.starts;
	return true;
}

/* ---- by the clock ---- */

static bool run_ticking(const struct plot *plot, struct outcome *ret_outcome)
{
	static struct crowd crowd;
	const struct ticking_rules rules = {
		.min = plot->sizing->min,
		.max = plot->sizing->max,
		.min_spare = plot->sizing->min_spare,
		.max_spare = plot->sizing->max_spare,
		.start_ms = START_MS / 2,
	};

	crowd_init(&crowd, &plot->load, 1, SEED);
	ret_outcome->starts = ticking_run(&rules, &crowd, end_of(plot), &ret_outcome->samples);
	ret_outcome->longest_wait_ms = crowd.longest_wait_ms;
	return true;
}

/* ---- files ---- */

static void say_outcome(const struct plot *plot, struct outcome *outcome)
{
	const struct sizing_rules *sizing = plot->sizing;
	char keys[80] = "sample_interval = 100ms";

	if (sizing->kind == SIZING_SPARE)
		snprintf(keys, sizeof(keys), "min_spare = %u, max_spare = %u", sizing->min_spare, sizing->max_spare);
	snprintf(outcome->what, sizeof(outcome->what),
		"min_workers = %u, max_workers = %u, %s. Workers started: %u; longest wait of a client: %u ms.",
		sizing->min, sizing->max, keys, (unsigned int)outcome->starts, (unsigned int)outcome->longest_wait_ms);
}

/* NULL: it failed, and said why. */
static char *draw(const struct plot *plot)
{
	struct outcome outcome = { 0 };
	struct figure figure = plot->figure;
	char *text = NULL;
	size_t size;
	FILE *file;

	if (!(plot->ticking ? run_ticking : run_policy)(plot, &outcome))
		return NULL;
	say_outcome(plot, &outcome);
	figure.what = outcome.what;
	file = open_memstream(&text, &size);
	if (file != NULL) {
		figure_write(file, &figure, &outcome.samples);
		fclose(file);
	}
	figure_samples_done(&outcome.samples);
	return text;
}

static bool write_plot(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");
	bool good = file != NULL && fputs(text, file) >= 0;

	if (file != NULL && fclose(file) != 0)
		good = false;
	if (!good)
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
	return good;
}

static bool compare_plot(const char *path, const char *text)
{
	size_t length = strlen(text), got = 0;
	char *found = (char *)malloc(length + 2);
	FILE *file = fopen(path, "r");
	bool same;

	if (file != NULL && found != NULL)
		got = fread(found, 1, length + 1, file);
	same = file != NULL && found != NULL && got == length && memcmp(found, text, length) == 0;
	if (!same)
		fprintf(stderr, "%s is not what the simulator draws now: sizing_plot writes it anew\n", path);
	if (file != NULL)
		fclose(file);
	free(found);
	return same;
}

int main(int argc, char **argv)
{
	bool compare = argc == 3 && strcmp(argv[1], "-c") == 0;
	bool good = true;

	if (argc != 2 && !compare) {
		fprintf(stderr, "usage: sizing_plot [-c] DIR\n");
		return 2;
	}
	for (size_t i = 0; i < ARRAY_SIZE(plots); i++) {
		char *text = draw(&plots[i]);
		char path[4096];

		snprintf(path, sizeof(path), "%s/%s.svg", argv[argc - 1], plots[i].name);
		good &= text != NULL && (compare ? compare_plot : write_plot)(path, text);
		free(text);
	}
	return good ? 0 : 1;
}
