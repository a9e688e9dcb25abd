/* SPDX-License-Identifier: MIT */
#include "policy/reload.h"

#include <assert.h>

#include "base/attrs.h"

static const char *const phase_names[] = {
	[RELOAD_IDLE] = "idle",
	[RELOAD_CANARY] = "canary",
	[RELOAD_ROLLING] = "rolling",
	[RELOAD_UNDOING] = "undoing",
};
static_assert(ARRAY_SIZE(phase_names) == RELOAD_PHASES, "a name for each phase");

static const char *const event_names[] = {
	[RELOAD_BEGIN] = "begin",
	[RELOAD_COMMIT] = "commit",
	[RELOAD_UNDO] = "undo",
	[RELOAD_ROLLED] = "rolled",
	[RELOAD_UNDONE] = "undone",
	[RELOAD_RESUMED] = "resumed",
	[RELOAD_STOPPED] = "stopped",
};
static_assert(ARRAY_SIZE(event_names) == RELOAD_EVENTS, "a name for each event");

/* 0 would be RELOAD_IDLE, so the table holds the phase plus one, and 0 is "cannot happen". */
#define TO(phase) ((phase) + 1)

static const unsigned char transitions[RELOAD_PHASES][RELOAD_EVENTS] = {
	[RELOAD_IDLE] = { [RELOAD_BEGIN] = TO(RELOAD_CANARY) },
	[RELOAD_CANARY] = {
		[RELOAD_COMMIT] = TO(RELOAD_ROLLING),
		[RELOAD_UNDO] = TO(RELOAD_UNDOING),
		[RELOAD_STOPPED] = TO(RELOAD_IDLE),
	},
	[RELOAD_ROLLING] = {
		[RELOAD_BEGIN] = TO(RELOAD_CANARY),
		[RELOAD_ROLLED] = TO(RELOAD_IDLE),
		[RELOAD_STOPPED] = TO(RELOAD_IDLE),
	},
	[RELOAD_UNDOING] = {
		[RELOAD_UNDONE] = TO(RELOAD_IDLE),
		[RELOAD_RESUMED] = TO(RELOAD_ROLLING),
		[RELOAD_STOPPED] = TO(RELOAD_IDLE),
	},
};

enum reload_phase reload_next(enum reload_phase phase, enum reload_event event)
{
	unsigned char to = transitions[phase][event];

	return to == 0 ? RELOAD_PHASES : (enum reload_phase)(to - 1);
}

const char *reload_phase_name(enum reload_phase phase)
{
	return phase_names[phase];
}

const char *reload_event_name(enum reload_event event)
{
	return event_names[event];
}

/* ---- what the pools say ---- */

static bool some_pool_ends(const struct reload *reload)
{
	for (size_t i = 0; i < reload->member_count; i++)
		if (reload->member[i].pool->phase != POOL_SERVING)
			return true;
	return false;
}

static bool some_pool_rolls(const struct reload *reload)
{
	for (size_t i = 0; i < reload->member_count; i++)
		if (pool_policy_is_rolling(reload->member[i].pool))
			return true;
	return false;
}

static bool some_canary_stays(const struct reload *reload)
{
	for (size_t i = 0; i < reload->member_count; i++)
		if (pool_policy_canaries(reload->member[i].pool) > 0)
			return true;
	return false;
}

/* RELOAD_EVENTS: some are still on their way. Notes the first that failed. */
static enum reload_event canaries_say(struct reload *reload, uint64_t now_ms)
{
	enum reload_event event = RELOAD_COMMIT;

	for (size_t i = 0; i < reload->member_count; i++) {
		enum canary_state canary = pool_policy_canary(reload->member[i].pool, now_ms);

		if (canary_has_failed(canary)) {
			reload->refused_by = i;
			reload->refusal = canary;
			return RELOAD_UNDO;
		}
		if (canary != CANARY_READY)
			event = RELOAD_EVENTS;
	}
	return event;
}

/* ---- the transaction ---- */

static void undo_all(struct reload *reload)
{
	for (size_t i = 0; i < reload->member_count; i++)
		pool_policy_undo(reload->member[i].pool);
}

static void commit_all(struct reload *reload)
{
	for (size_t i = 0; i < reload->member_count; i++)
		pool_policy_commit(reload->member[i].pool);
}

bool reload_begin(
	struct reload *reload, struct reload_member *member, size_t member_count, uint32_t generation, uint64_t now_ms)
{
	struct reload begun = *reload;

	if (reload_next(reload->phase, RELOAD_BEGIN) == RELOAD_PHASES || generation <= reload->generation)
		return false;
	begun.phase = reload_next(reload->phase, RELOAD_BEGIN);
	begun.generation = generation;
	begun.member = member;
	begun.member_count = member_count;
	for (size_t i = 0; i < member_count; i++) {
		if (pool_policy_reload(member[i].pool, generation, &member[i].rules, member[i].target, now_ms))
			continue;
		begun.member_count = i;
		undo_all(&begun);
		return false;
	}
	*reload = begun;
	return true;
}

static bool canaries_mean(const struct reload *reload, enum reload_event event, uint64_t now_ms)
{
	struct reload look = *reload;

	return reload->phase == RELOAD_CANARY && !some_pool_ends(reload) && canaries_say(&look, now_ms) == event;
}

bool reload_stands(const struct reload *reload, uint64_t now_ms)
{
	return canaries_mean(reload, RELOAD_COMMIT, now_ms);
}

bool reload_falls(const struct reload *reload, uint64_t now_ms)
{
	return canaries_mean(reload, RELOAD_UNDO, now_ms);
}

void reload_undo(struct reload *reload)
{
	undo_all(reload);
	reload->phase = reload_next(reload->phase, RELOAD_UNDO);
}

void reload_commit(struct reload *reload)
{
	for (size_t i = 0; i < reload->member_count; i++)
		pool_policy_commit_anyway(reload->member[i].pool);
	reload->phase = reload_next(reload->phase, RELOAD_COMMIT);
}

/* What is due in the phase that the reload is in; RELOAD_EVENTS: nothing. */
static enum reload_event reload_due(struct reload *reload, uint64_t now_ms)
{
	if (reload->phase == RELOAD_IDLE)
		return RELOAD_EVENTS;
	if (some_pool_ends(reload))
		return RELOAD_STOPPED;
	switch (reload->phase) {
	case RELOAD_CANARY:
		return canaries_say(reload, now_ms);
	case RELOAD_ROLLING:
		return some_pool_rolls(reload) ? RELOAD_EVENTS : RELOAD_ROLLED;
	case RELOAD_UNDOING:
		if (some_canary_stays(reload))
			return RELOAD_EVENTS;
		return some_pool_rolls(reload) ? RELOAD_RESUMED : RELOAD_UNDONE;
	default:
		return RELOAD_EVENTS;
	}
}

bool reload_step(struct reload *reload, uint64_t now_ms, enum reload_event *ret_event)
{
	enum reload_event event = reload_due(reload, now_ms);

	if (event == RELOAD_EVENTS)
		return false;
	if (event == RELOAD_COMMIT)
		commit_all(reload);
	if (event == RELOAD_UNDO || event == RELOAD_STOPPED)
		undo_all(reload);
	reload->phase = reload_next(reload->phase, event);
	*ret_event = event;
	return true;
}
