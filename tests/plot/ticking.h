/* SPDX-License-Identifier: MIT */
#ifndef PLOT_TICKING_H
#define PLOT_TICKING_H
/*
 * The other way to size a pool, for comparison: once a second somebody counts, and starts 1, 2, 4 ... at most 32
 * workers while fewer than min_spare are idle, or ends one while more than max_spare are.
 */
#include <stdint.h>

#include "crowd.h"
#include "figure.h"

struct ticking_rules {
	uint32_t min, max, min_spare, max_spare;
	uint64_t start_ms; /* from a worker's start until it is ready */
};

/* CROWD's clients until UNTIL. Returns how many workers were started. */
uint64_t ticking_run(
	const struct ticking_rules *rules, struct crowd *crowd, uint64_t until_ms, struct figure_samples *ret_samples);

#endif
