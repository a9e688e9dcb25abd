/* SPDX-License-Identifier: MIT */
#ifndef MASTER_TOTALS_H
#define MASTER_TOTALS_H
/*
 * What the workers of a pool have done that are gone: the scoreboard's counters of slots are those of the processes
 * that live. Both together only ever rise. The sums are on the scoreboard too, which outlives the master.
 */
#include "board/board.h"
#include "policy/pool.h"

/* The worker of SLOT has died a death of KIND. Called once for each, before its slot is claimed again. */
void totals_add(struct board_pool *totals, const struct board_slot *slot, enum death_kind kind);

/* How many have died so. */
uint64_t totals_deaths(const struct board_pool *totals, enum death_kind kind);

#endif
