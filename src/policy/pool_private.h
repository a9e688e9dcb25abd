/* SPDX-License-Identifier: MIT */
#ifndef POLICY_POOL_PRIVATE_H
#define POLICY_POOL_PRIVATE_H
/*
 * What the files of a pool's policy share:
 *
 *	pool.c            the counts, the events, the pool's beginning, end and upgrade
 *	pool_plan.c       what there is to do
 *	pool_death.c      what a death means, and how long to hold back after it
 *	pool_rolling.c    the pool's part in a reload
 *	pool_recycling.c  workers that are worn
 *	pool_sizing.c     its size, by its load
 */
#include "policy/pool.h"

/* ---- pool.c ---- */

/* Slots that have, or had until they are given up, a process; those that one is asked for, too. */
uint32_t pool_used(const struct pool_policy *pool);

/* How many of the workers that are to serve are missing. */
uint32_t pool_missing(const struct pool_policy *pool);

/* In use and not told to leave, but for canaries; and how many there may be in use. */
uint32_t pool_staying(const struct pool_policy *pool);
uint32_t pool_limit(const struct pool_policy *pool);

/* Where the pool is ready now, it was. After each change of a count or of the target. */
void pool_note_ready(struct pool_policy *pool);

/* The one place that writes a slot's state. */
void pool_slot_enter(struct pool_policy *pool, uint32_t number, enum slot_state state, uint64_t now_ms);

/* When SLOT becomes overdue. A stop bounds retirements that had no bound before it. */
uint64_t slot_deadline(const struct pool_policy *pool, const struct slot *slot);

/* ---- pool_plan.c ---- */

void plan_wake(struct pool_plan *plan, uint64_t at_ms);

/* Adds an action, and has the master ask again at once: what it does changes what is to be done. */
void plan_add(struct pool_plan *plan, enum slot_event what, uint32_t slot, enum slot_reason reason);

/* Whether there is something to do with SLOT in it already. */
bool plan_names(const struct pool_plan *plan, uint32_t slot);

/* ---- pool_death.c ---- */

/* How many starts are allowed now. After a failure one worker goes first; the others follow when it serves. */
uint32_t pool_allowed_starts(const struct pool_policy *pool, uint64_t now_ms);

/* Takes a failure of the worker in SLOT into account. Those of one volley that fail together are one failure. */
void pool_failed_once(struct pool_policy *pool, const struct slot *slot, uint64_t now_ms);

/* ---- pool_rolling.c ---- */

enum pool_role pool_role(const struct pool_policy *pool, const struct slot *slot);

uint32_t pool_serving_of(const struct pool_policy *pool, enum pool_role role);

/* Workers that serve; a canary is not one of them. */
uint32_t pool_ready(const struct pool_policy *pool);

/* SLOT is about to enter STATE. */
void pool_count_role(struct pool_policy *pool, const struct slot *slot, enum slot_state state);

/* How many starts there is work for now, if nothing holds them back: the missing ones, and the roll's, or the one for a
 * worn worker. */
uint32_t pool_wanted(const struct pool_policy *pool, uint64_t now_ms);

/* Those that the worker in SLOT goes by. An old one goes by the pool's, as far as they are not in its slot already. */
const struct pool_rules *slot_rules(const struct pool_policy *pool, const struct slot *slot);

/* SLOT's event is about to be carried out; its process is gone. What they mean for a reload. */
void canary_note_event(struct pool_policy *pool, const struct slot *slot, enum slot_event event,
	enum slot_reason reason, uint64_t now_ms);
void canary_note_death(struct pool_policy *pool, const struct slot *slot, bool failure, uint64_t now_ms);
/* How long until the canary that follows the one in SLOT is tried; 0: none is. */
uint64_t canary_retry_in(const struct pool_policy *pool, const struct slot *slot, uint64_t now_ms);

/* Whether the canary is to be asked for now: 1, or 0. */
uint32_t plan_canary(const struct pool_policy *pool, uint64_t now_ms, struct pool_plan *plan);

/* Retires the canaries of reloads that were undone. */
void plan_refused(const struct pool_policy *pool, struct pool_plan *plan);

/* Retires the old workers that can be spared. */
void plan_roll(const struct pool_policy *pool, uint64_t now_ms, struct pool_plan *plan);

/* ---- pool_recycling.c ---- */

/* SLOT is asked for: draws how much lower its limits are. */
void pool_draw_jitter(struct pool_policy *pool, struct slot *slot);

/* SLOT, which can, becomes worn. */
void slot_wear(struct pool_policy *pool, struct slot *slot, enum slot_reason reason, uint64_t now_ms);

/* Whether one more is wanted for a worn one: 1, or 0. */
uint32_t recycling_wanted(const struct pool_policy *pool, uint64_t now_ms);

/* Finds whether the worker in slot NUMBER has reached its age, or when it will have. */
void plan_wear(const struct pool_policy *pool, uint32_t number, uint64_t now_ms, struct pool_plan *plan);

/* Retires the worn workers that can be spared, who has been so for longest first; while the pool rolls, the old ones
 * leave before them. */
void plan_recycling(const struct pool_policy *pool, uint64_t now_ms, struct pool_plan *plan);

/* ---- pool_sizing.c ---- */

/* How many workers may be asked for at once, of those that are wanted. */
uint32_t pool_window(const struct pool_policy *pool);

/* No worker is there, none is wanted, and a client may change that. */
bool pool_is_asleep(const struct pool_policy *pool);

/* The event in SLOT is carried out: what it means for the size. */
void sizing_note_event(
	struct pool_policy *pool, struct slot *slot, enum slot_event event, enum slot_reason reason, uint64_t now_ms);

/* A worker of a pool that may sleep has left by itself, in order. */
void pool_note_idle_exit(struct pool_policy *pool);

/* The target once RULES hold, where WANTED is what their configuration says. */
uint32_t pool_target_by(const struct pool_policy *pool, const struct pool_rules *rules, uint32_t wanted);

/* Retires those that are too many. The longest idle leave first; a busy one leaves only for a limit. */
void plan_surplus(const struct pool_policy *pool, struct pool_plan *plan);

#endif
