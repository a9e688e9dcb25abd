/* SPDX-License-Identifier: MIT */
#ifndef MASTER_TOTALS_H
#define MASTER_TOTALS_H
/*
 * What the workers of a pool have done that are gone: the scoreboard's counters are those of the processes that live.
 * Both together only ever rise. Pure.
 */
#include <stdint.h>

#include "board/layout.h"
#include "policy/pool.h"

struct pool_totals {
	uint64_t connections;
	uint64_t requests;
	uint64_t bytes_in;
	uint64_t bytes_out;
	uint64_t failed;
	uint64_t deaths[DEATH_KINDS];
};

/* The worker of SLOT has died a death of KIND. Called once for each, before its slot is claimed again. */
void totals_add(struct pool_totals *totals, const struct board_slot *slot, enum death_kind kind);

#endif
