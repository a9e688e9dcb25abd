/* SPDX-License-Identifier: MIT */
#include "master/totals.h"

#include <assert.h>

static_assert(DEATH_KINDS <= BOARD_DEATHS, "each kind of death has a place");

void totals_add(struct board_pool *totals, const struct board_slot *slot, enum death_kind kind)
{
	board_pool_add(totals, slot);
	board_worker_add(&totals->deaths[kind], 1);
}

uint64_t totals_deaths(const struct board_pool *totals, enum death_kind kind)
{
	return atomic_load_explicit(&totals->deaths[kind], memory_order_relaxed);
}
