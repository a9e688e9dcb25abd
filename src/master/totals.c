/* SPDX-License-Identifier: MIT */
#include "master/totals.h"

static uint64_t word(const _Atomic uint64_t *of)
{
	return atomic_load_explicit(of, memory_order_relaxed);
}

void totals_add(struct pool_totals *totals, const struct board_slot *slot, enum death_kind kind)
{
	totals->connections += word(&slot->connections);
	totals->requests += word(&slot->requests);
	totals->bytes_in += word(&slot->bytes_in);
	totals->bytes_out += word(&slot->bytes_out);
	totals->failed += word(&slot->failed);
	totals->deaths[kind]++;
}
