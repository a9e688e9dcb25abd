/* SPDX-License-Identifier: MIT */
#include "policy/sizing.h"

#include "policy/count.h"
#include "policy/deadline.h"

static uint32_t clamp(uint64_t number, uint32_t low, uint32_t high)
{
	if (number > high)
		return high;
	return number < low ? low : (uint32_t)number;
}

static bool is_over(uint64_t since_ms, uint64_t wait_ms, uint64_t now_ms)
{
	return deadline_passed(deadline_after(since_ms, wait_ms), now_ms);
}

/* ---- the window ---- */

static uint32_t window_of(const struct sizing *sizing)
{
	return sizing->window < SIZING_WINDOW_MIN ? SIZING_WINDOW_MIN : sizing->window;
}

/* Workers are missing. Each shortage begins carefully: what caused the last one may be long over. */
static void note_shortage(struct sizing *sizing, uint64_t now_ms)
{
	if (is_over(sizing->short_ms, SIZING_CALM_MS, now_ms))
		sizing->window = SIZING_WINDOW_MIN;
	sizing->short_ms = now_ms;
}

void sizing_note_ready(struct sizing *sizing, uint64_t now_ms)
{
	note_shortage(sizing, now_ms);
	if (window_of(sizing) < UINT32_MAX / 2)
		sizing->window = window_of(sizing) + 1;
}

/* What a pool is to have whoever comes. */
static uint32_t standing(const struct sizing_rules *rules)
{
	return clamp(rules->kind == SIZING_SPARE ? rules->min_spare : 0, rules->min, rules->max);
}

uint32_t sizing_allowed(
	const struct sizing_rules *rules, const struct sizing *sizing, uint32_t serving, uint32_t coming)
{
	uint32_t growth, no_growth;

	if (rules->kind == SIZING_FIXED)
		return UINT32_MAX;
	growth = count_beyond(window_of(sizing), coming);
	no_growth = count_beyond(standing(rules), serving);
	return growth > no_growth ? growth : no_growth;
}

/* ---- the target ---- */

uint32_t sizing_first(const struct sizing_rules *rules)
{
	return rules->min == 0 ? 0 : standing(rules);
}

uint32_t sizing_within(const struct sizing_rules *rules, uint32_t target)
{
	return rules->kind == SIZING_FIXED ? target : clamp(target, rules->min, rules->max);
}

uint32_t sizing_wake(const struct sizing_rules *rules, struct sizing *sizing, uint64_t now_ms)
{
	uint32_t target = standing(rules);

	note_shortage(sizing, now_ms);
	sizing->waited_ms = now_ms;
	return target > 0 ? target : 1;
}

/* On demand, and all that are there have been idle for long enough; or there is none, and none is wanted. */
static bool is_deserted(
	const struct sizing_rules *rules, const struct sizing_size *size, const struct sizing_load *load)
{
	if (rules->min > 0 || load->busy > 0 || load->queued > 0)
		return false;
	return size->target == 0 || (size->coming == 0 && size->ready > 0 && size->expired >= size->ready);
}

static uint32_t needed_by_spare(
	const struct sizing_rules *rules, const struct sizing_size *size, const struct sizing_load *load)
{
	if (is_deserted(rules, size, load))
		return 0;
	return clamp((uint64_t)load->busy + load->queued + rules->min_spare, rules->min, rules->max);
}

static uint32_t needed_by_queue(
	const struct sizing_rules *rules, const struct sizing_size *size, const struct sizing_load *load)
{
	/* Who is on his way will take one of them; whoever is there is taken to be busy. */
	if (load->queued > 0)
		return clamp((uint64_t)size->ready + load->queued, rules->min, rules->max);
	/* It was woken, and waits for its first worker. */
	if (rules->min == 0 && size->target > 0 && size->ready + size->coming == 0)
		return 1;
	return rules->min;
}

/* So many are not too many. */
static uint32_t most_by_spare(const struct sizing_rules *rules, const struct sizing_load *load)
{
	return clamp((uint64_t)load->busy + load->queued + rules->max_spare, rules->min, rules->max);
}

/* One is given up, if the last one was long enough ago. */
static uint32_t shrink(struct sizing *sizing, uint32_t target, uint64_t now_ms)
{
	if (!is_over(sizing->shrunk_ms, SIZING_SHRINK_MS, now_ms))
		return target;
	sizing->shrunk_ms = now_ms;
	return count_beyond(target, 1);
}

static uint32_t shrink_spare(const struct sizing_rules *rules, struct sizing *sizing, const struct sizing_size *size,
	const struct sizing_load *load, uint32_t target, uint64_t now_ms)
{
	uint32_t left = count_beyond(size->ready + size->coming, size->expired);

	if (size->expired > 0 && left < target)
		return left > sizing->needed ? left : sizing->needed;
	return target > most_by_spare(rules, load) ? shrink(sizing, target, now_ms) : target;
}

static uint32_t shrink_queue(const struct sizing_rules *rules, struct sizing *sizing, const struct sizing_size *size,
	uint32_t target, uint64_t now_ms)
{
	if (size->coming > 0 || target <= rules->min || rules->idle_exit_ms == 0 ||
		!is_over(sizing->waited_ms, rules->idle_exit_ms, now_ms))
		return target;
	return shrink(sizing, target, now_ms);
}

/*
 * More are there than are needed: they go as slowly as the rules say. What was wanted, and is not there yet, is wanted
 * no more; and what is there beyond the target, as while the pool rolls, was not asked for by the load.
 */
static uint32_t target_above(const struct sizing_rules *rules, struct sizing *sizing, const struct sizing_size *size,
	const struct sizing_load *load, uint64_t now_ms)
{
	uint32_t serving = size->ready + size->coming;
	uint32_t target = size->target < serving ? size->target : serving;

	if (target <= sizing->needed)
		return sizing->needed;
	if (rules->kind == SIZING_SPARE)
		return shrink_spare(rules, sizing, size, load, target, now_ms);
	return shrink_queue(rules, sizing, size, target, now_ms);
}

/* ---- when to look again ---- */

static uint64_t look_at_spare(const struct sizing_rules *rules, const struct sizing *sizing,
	const struct sizing_size *size, const struct sizing_load *load, uint32_t target, uint64_t now_ms)
{
	uint32_t least = rules->min == 0 ? 0 : standing(rules);
	uint64_t look_ms = DEADLINE_NONE;

	/* None of them tells when it becomes idle; and one that is on its way may not come. */
	if (size->ready < sizing->needed || (load->busy > 0 && target > least))
		look_ms = deadline_after(now_ms, SIZING_LOOK_MS);
	if (target > most_by_spare(rules, load))
		look_ms = deadline_after(now_ms, SIZING_SHRINK_MS);
	if (target > least)
		look_ms = deadline_earlier(look_ms, size->expires_ms);
	return look_ms;
}

static uint64_t look_at_queue(const struct sizing_rules *rules, uint32_t target, uint64_t now_ms)
{
	uint64_t sample_ms = rules->sample_ms == 0 ? SIZING_SAMPLE_MS : rules->sample_ms;

	/* It sleeps, and a client wakes it. */
	if (target == 0)
		return DEADLINE_NONE;
	return deadline_after(now_ms, target < rules->max ? sample_ms : SIZING_LOOK_MS);
}

/* ---- a look ---- */

uint32_t sizing_look(const struct sizing_rules *rules, struct sizing *sizing, const struct sizing_size *size,
	const struct sizing_load *load, uint64_t now_ms, uint64_t *ret_look_ms)
{
	bool by_queue = rules->kind == SIZING_QUEUE;
	uint32_t target;

	if (load->queued > 0 || sizing->waited_ms == 0)
		sizing->waited_ms = now_ms;
	sizing->needed = by_queue ? needed_by_queue(rules, size, load) : needed_by_spare(rules, size, load);
	target = target_above(rules, sizing, size, load, now_ms);
	if (target > rules->max)
		target = rules->max;
	if (target > size->ready + size->coming)
		note_shortage(sizing, now_ms);
	*ret_look_ms = by_queue ? look_at_queue(rules, target, now_ms)
				: look_at_spare(rules, sizing, size, load, target, now_ms);
	return target;
}
