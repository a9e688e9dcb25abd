/* SPDX-License-Identifier: MIT */
#include "policy/slow.h"

#include "policy/deadline.h"

#define SECOND_MS 1000
/* However little is slow: where nothing is under way, there is no look sooner than this. */
#define IDLE_LOOK_MS 20

bool slow_is(uint64_t begin_us, uint64_t now_us, uint64_t slow_after_ms)
{
	return now_us > begin_us && (now_us - begin_us) / 1000 >= slow_after_ms;
}

uint64_t slow_next_look(uint64_t oldest_us, uint64_t now_us, uint64_t slow_after_ms, uint64_t now_ms)
{
	uint64_t taken_ms = oldest_us == 0 || oldest_us > now_us ? 0 : (now_us - oldest_us) / 1000;

	if (oldest_us == 0 && slow_after_ms < IDLE_LOOK_MS)
		return deadline_after(now_ms, IDLE_LOOK_MS);
	/* By then it is so: what was left of its millisecond is over. */
	return deadline_after(now_ms, taken_ms < slow_after_ms ? slow_after_ms - taken_ms : 1);
}

/* ---- how many are told ---- */

static bool is_over(const struct slow_gate *gate, uint64_t now_ms)
{
	return gate->since_ms == 0 || now_ms >= gate->since_ms + SECOND_MS;
}

bool slow_gate_pass(struct slow_gate *gate, uint64_t now_ms)
{
	if (is_over(gate, now_ms)) {
		gate->since_ms = now_ms;
		gate->told = 0;
	}
	if (gate->told == SLOW_TOLD_A_SECOND) {
		gate->untold++;
		return false;
	}
	gate->told++;
	return true;
}

void slow_gate_return(struct slow_gate *gate)
{
	if (gate->told > 0)
		gate->told--;
}

uint32_t slow_gate_take_untold(struct slow_gate *gate, uint64_t now_ms)
{
	uint32_t untold = gate->untold;

	if (!is_over(gate, now_ms))
		return 0;
	gate->untold = 0;
	return untold;
}

uint64_t slow_gate_due(const struct slow_gate *gate)
{
	return gate->untold == 0 ? DEADLINE_NONE : deadline_after(gate->since_ms, SECOND_MS);
}
