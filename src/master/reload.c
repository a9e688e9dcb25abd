/* SPDX-License-Identifier: MIT */
#include "master/reload.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/attrs.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "config/diff.h"
#include "master/checking.h"
#include "master/master_private.h"
#include "master/reload_private.h"
#include "policy/deadline.h"

/* While listeners that are gone are emptied, their queues are looked at after this long, at first and at last. */
#define DRAIN_CHECK_MIN_MS 5
#define DRAIN_CHECK_MAX_MS 100

static const char stopping[] = "the daemon is stopping";

static const char *const stage_names[] = {
	[RELOAD_STAGE_IDLE] = "idle",
	[RELOAD_STAGE_CHECKING] = "checking",
	[RELOAD_STAGE_TRYING] = "trying",
	[RELOAD_STAGE_DRAINING] = "draining",
	[RELOAD_STAGE_ROLLING] = "rolling",
	[RELOAD_STAGE_UNDOING] = "undoing",
};

const char *reload_stage_name(enum reload_stage stage)
{
	return stage_names[stage];
}

static void enter(struct master *master, enum reload_stage stage)
{
	log_event(LOG_LEVEL_DEBUG, "reload", LOG_TEXT("from", stage_names[master->reload.stage]),
		LOG_TEXT("to", stage_names[stage]));
	master->reload.stage = stage;
}

void reload_init(struct master *master)
{
	master->reload = (struct master_reload){ .checker = CHECKER_NONE, .hold_fd = -1 };
}

/* ---- verdicts ---- */

/* The end of what was asked for, whether it has changed anything or not. */
static void verdict(struct master *master, bool good, const char *text)
{
	struct master_reload *reload = &master->reload;

	if (!reload->is_restart)
		control_verdict(master, REQUEST_RELOAD, reload->ticket, good, text);
	control_verdict(master, REQUEST_RESTART, reload->ticket, good, text);
	report_reload(master, good, text);
	/* The service manager knows no other answer than this: the status says what came of it. */
	if (!reload->is_restart && master->phase == LIFE_SERVING)
		notify_ready(&master->notify);
}

void reload_tell_lines(struct master *master, enum log_level level, const char *event, const char *text)
{
	request_tell(master, REQUEST_RELOAD, master->reload.ticket, level, event, text);
}

static void free_attempt(struct master_reload *reload)
{
	config_diff_free(reload->diff);
	reload->diff = NULL;
	reload_members_done(&reload->tried);
	reload->reason[0] = '\0';
	reload->opened[0] = '\0';
	fd_close(&reload->hold_fd);
}

/* Nothing has been made for it yet, or all of it is gone. */
static void end_refused(struct master *master)
{
	struct master_reload *reload = &master->reload;

	reload_keep_old(reload, reload->config);
	reload->config = NULL;
	free_attempt(reload);
	enter(master, reload->policy.phase == RELOAD_ROLLING ? RELOAD_STAGE_ROLLING : RELOAD_STAGE_IDLE);
}

static void refuse(struct master *master, const char *reason)
{
	/* That it ends is no fault of the file's. */
	enum log_level level = master->phase > LIFE_SERVING ? LOG_LEVEL_NOTICE : LOG_LEVEL_ERROR;

	log_event(level, "reload refused: the configuration stays as it is", LOG_TEXT("reason", reason));
	verdict(master, false, reason);
}

/* ---- the file ---- */

static void watch_checker(struct master *master)
{
	struct master_reload *reload = &master->reload;
	const struct child child = { .pid = reload->checker.pid, .kind = CHILD_CHECKER };
	int result = checking_watch(master, &reload->checker, WATCH_CHECKER);

	children_add(&master->children, &child);
	if (result < 0)
		log_event(LOG_LEVEL_WARNING, "cannot watch the checker", LOG_ERRNO("reason", result));
}

static void begin_check(struct master *master, uint64_t now_ms)
{
	struct master_reload *reload = &master->reload;
	int result = checker_start(&reload->checker, master->options->origin, CHECKER_TIMEOUT_MS, now_ms);

	enter(master, RELOAD_STAGE_CHECKING);
	if (result == 0) {
		watch_checker(master);
		return;
	}
	snprintf(reload->reason, sizeof(reload->reason), "cannot start a process that checks the file: %s",
		log_strerror(result));
	refuse(master, reload->reason);
	end_refused(master);
}

void reload_hear_checker(struct master *master)
{
	checking_hear(master, &master->reload.checker);
}

/* The first line, for the verdict. */
static const char *first_line(const char *text, char *buffer, size_t size)
{
	snprintf(buffer, size, "%.*s", (int)strcspn(text, "\n"), text);
	return buffer;
}

/* Loads what the checker has accepted, by what it has found out: no probe is waited for. */
static int load(struct master *master, char **ret_errors)
{
	const struct config_origin *origin = master->options->origin;
	struct master_reload *reload = &master->reload;
	size_t size = 0;
	FILE *errors = open_memstream(ret_errors, &size);
	int result;

	if (errors == NULL)
		return -ENOMEM;
	result = checker_load(&reload->checker, origin, errors, &reload->config);
	if (result == 0)
		result = config_diff(master->config, reload->config, &reload->diff);
	if (result == 0)
		result = config_keep_unchangeable(master->config, reload->config, errors);
	if (fclose(errors) != 0 && result == 0)
		result = -ENOMEM;
	return result;
}

static void try_file(struct master *master, uint64_t now_ms)
{
	char line[RELOAD_REASON_MAX];
	char *errors = NULL;
	int result = load(master, &errors);

	if (result < 0) {
		bool said = errors != NULL && errors[0] != '\0';

		if (said)
			reload_tell_lines(master, LOG_LEVEL_ERROR, "configuration", errors);
		refuse(master, said ? first_line(errors, line, sizeof(line)) : log_strerror(result));
		end_refused(master);
	} else {
		reload_try(master, now_ms);
	}
	free(errors);
}

void reload_checker_died(struct master *master, int status, uint64_t now_ms)
{
	struct master_reload *reload = &master->reload;
	char line[RELOAD_REASON_MAX];
	enum checker_verdict found;

	checking_unwatch(master, &reload->checker);
	found = checker_reaped(&reload->checker, master->options->origin, status);
	if (reload->stage != RELOAD_STAGE_CHECKING) {
		checker_done(&reload->checker);
		return;
	}
	if (found == CHECKER_ACCEPTS && master->phase == LIFE_SERVING) {
		try_file(master, now_ms);
		checker_done(&reload->checker);
		return;
	}
	/* With a stop that has begun since, the listeners are not to be had. */
	if (found == CHECKER_ACCEPTS)
		refuse(master, stopping);
	else {
		reload_tell_lines(master, LOG_LEVEL_ERROR, "configuration", reload->checker.text);
		refuse(master, first_line(reload->checker.text, line, sizeof(line)));
	}
	checker_done(&reload->checker);
	end_refused(master);
}

/* ---- the transaction ---- */

void reload_refuse_attempt(struct master *master, const char *reason)
{
	struct master_reload *reload = &master->reload;

	refuse(master, reason);
	reload_undo_pools(master);
	enter(master, RELOAD_STAGE_UNDOING);
	/* Nobody tells when it is over. */
	reload->drain_step_ms = DRAIN_CHECK_MIN_MS;
}

/* From here on the policy goes by these members; an earlier reload, which may still roll, went by others. */
static bool begin_policy(struct master *master, uint64_t now_ms)
{
	struct master_reload *reload = &master->reload;

	master->generation++;
	if (!reload_begin(&reload->policy, reload->tried.list, reload->tried.count, master->generation, now_ms))
		return false;
	reload_members_done(&reload->members);
	reload->members = reload->tried;
	reload->tried = (struct reload_members){ 0 };
	return true;
}

void reload_try(struct master *master, uint64_t now_ms)
{
	struct master_reload *reload = &master->reload;
	char reason[RELOAD_REASON_MAX] = "";

	enter(master, RELOAD_STAGE_TRYING);
	reload->hold_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (reload->hold_fd < 0)
		snprintf(reason, sizeof(reason), "cannot hold workers: %s", log_strerror(errno));
	else
		reload_prepare_pools(master, reason, sizeof(reason));
	if (reason[0] == '\0' && !begin_policy(master, now_ms))
		snprintf(reason, sizeof(reason), "a worker of the last attempt has not ended yet");
	if (reason[0] != '\0')
		reload_refuse_attempt(master, reason);
}

/* What is new is offered to clients. After that there is no way back. */
static bool listen_new(struct master *master)
{
	struct master_reload *reload = &master->reload;
	struct bind_failure failure;

	if (reload_listen(master, &failure))
		return true;
	snprintf(reload->reason, sizeof(reload->reason), "%s: cannot %s: %s", failure.address, failure.step,
		failure.reason);
	return false;
}

static void begin_drain(struct master *master, uint64_t now_ms)
{
	struct master_reload *reload = &master->reload;

	reload->drain_by_ms = deadline_after(now_ms, master->config->stop_timeout_ms);
	reload->drain_check_ms = now_ms;
	reload->drain_step_ms = DRAIN_CHECK_MIN_MS;
}

static void pass_the_point(struct master *master, uint64_t now_ms)
{
	struct master_reload *reload = &master->reload;

	if (!listen_new(master)) {
		reload_undo(&reload->policy);
		reload_refuse_attempt(master, reload->reason);
		return;
	}
	enter(master, RELOAD_STAGE_DRAINING);
	reload_release(master);
	begin_drain(master, now_ms);
}

/* Why the canary failed, in the words of who failed last. */
static void explain_refusal(struct master_reload *reload)
{
	const struct pool *pool = reload->members.pools[reload->policy.refused_by];
	uint32_t failures = pool->policy.reload.failures;
	char times[32] = "";
	size_t used;

	if (failures > 1)
		snprintf(times, sizeof(times), ", %u times", failures);
	snprintf(reload->reason, sizeof(reload->reason), "pool \"%s\": its first new worker failed (%s%s)%s%s",
		pool->config->name, canary_state_name(reload->policy.refusal), times,
		pool->next.failure[0] == '\0' ? "" : ": ", pool->next.failure);
	used = strlen(reload->reason);
	if (reload->opened[0] != '\0')
		snprintf(reload->reason + used, sizeof(reload->reason) - used,
			"; open to clients meanwhile, for programs, and closed %s: %s",
			reload->opened_drained ? "after the last of them" : "with clients in the queue",
			reload->opened);
}

/* The policy's own steps, in the stages that it knows. */
static void step_policy(struct master *master, uint64_t now_ms)
{
	struct master_reload *reload = &master->reload;
	enum reload_event event;

	while (reload_step(&reload->policy, now_ms, &event))
		switch (event) {
		case RELOAD_UNDO:
			explain_refusal(reload);
			reload_refuse_attempt(master, reload->reason);
			break;
		case RELOAD_ROLLED:
			log_event(LOG_LEVEL_NOTICE, "rolled: all workers are of this generation",
				LOG_INT("generation", reload->policy.generation));
			if (reload->stage == RELOAD_STAGE_ROLLING)
				enter(master, RELOAD_STAGE_IDLE);
			break;
		default: /* RELOAD_UNDONE, _RESUMED: see act_undoing(); _STOPPED: stop_short(); _COMMIT: commit() */
			break;
		}
}

static void commit(struct master *master, uint64_t now_ms)
{
	struct master_reload *reload = &master->reload;
	char text[RELOAD_REASON_MAX];

	reload_commit(&reload->policy);
	reload_commit_pools(master, now_ms);
	snprintf(text, sizeof(text), "%s: generation %u is in force", reload->is_restart ? "restarted" : "reloaded",
		reload->policy.generation);
	log_event(LOG_LEVEL_NOTICE, reload->is_restart ? "pools restart" : "reloaded",
		LOG_INT("generation", reload->policy.generation),
		LOG_INT("pools", (int64_t)reload->policy.member_count));
	reload_tell_changes(master);
	verdict(master, true, text);
	free_attempt(reload);
	enter(master, RELOAD_STAGE_ROLLING);
}

/* Whether DRAINED, which is asked now and then, says so, or the time is over. Else *RET_WAKE_MS is when to ask again.
 */
static bool drain_is_over(
	struct master *master, bool (*drained)(struct master *master), uint64_t now_ms, uint64_t *ret_wake_ms)
{
	struct master_reload *reload = &master->reload;

	*ret_wake_ms = reload->drain_check_ms;
	if (!deadline_passed(reload->drain_check_ms, now_ms))
		return false;
	if (drained(master) || deadline_passed(reload->drain_by_ms, now_ms))
		return true;
	reload->drain_check_ms = deadline_after(clock_monotonic_ms(), reload->drain_step_ms);
	if (reload->drain_step_ms < DRAIN_CHECK_MAX_MS)
		reload->drain_step_ms *= 2;
	*ret_wake_ms = deadline_earlier(reload->drain_check_ms, reload->drain_by_ms);
	return false;
}

/* A canary has failed. A program that stands serves who has come to its new listeners, before it is told to leave. */
static bool new_are_closed(struct master *master, uint64_t now_ms, uint64_t *ret_wake_ms)
{
	if (master->reload.opened[0] == '\0') {
		if (!reload_close_new(master))
			return true;
		begin_drain(master, now_ms);
	}
	return drain_is_over(master, reload_new_are_done, now_ms, ret_wake_ms);
}

static uint64_t act_trying(struct master *master, uint64_t now_ms)
{
	uint64_t wake_ms;

	if (reload_stands(&master->reload.policy, now_ms)) {
		pass_the_point(master, now_ms);
		return now_ms;
	}
	if (reload_falls(&master->reload.policy, now_ms) && !new_are_closed(master, now_ms, &wake_ms))
		return wake_ms;
	step_policy(master, now_ms);
	return DEADLINE_NONE;
}

static uint64_t act_draining(struct master *master, uint64_t now_ms)
{
	uint64_t wake_ms;

	if (!drain_is_over(master, reload_drained, now_ms, &wake_ms))
		return wake_ms;
	commit(master, now_ms);
	return now_ms;
}

/* It is over when no process of it is left that holds a listener. */
static uint64_t act_undoing(struct master *master, uint64_t now_ms)
{
	step_policy(master, now_ms);
	if (master->reload.stage != RELOAD_STAGE_UNDOING || !reload_is_undone(master))
		return DEADLINE_NONE;
	end_refused(master);
	return now_ms;
}

/* ---- when ---- */

static bool may_begin(const struct master *master)
{
	enum reload_stage stage = master->reload.stage;

	return master->phase == LIFE_SERVING && (stage == RELOAD_STAGE_IDLE || stage == RELOAD_STAGE_ROLLING);
}

static void begin(struct master *master, uint64_t now_ms)
{
	struct master_reload *reload = &master->reload;

	reload->ticket = control_ticket(master);
	reload->is_restart = !reload->wanted;
	reload->is_of_upgrade = reload->wanted_by_upgrade;
	reload->wanted = false;
	reload->wanted_by_upgrade = false;
	reload->restarts_wanted = 0;
	log_event(LOG_LEVEL_NOTICE, reload->is_restart ? "restarting pools" : "reloading",
		LOG_TEXT("config", master->config->file));
	if (reload->is_restart) {
		reload_try(master, now_ms);
		return;
	}
	notify_reloading(&master->notify, clock_monotonic_us(), now_ms);
	begin_check(master, now_ms);
}

static void refuse_while_stopping(struct master *master)
{
	struct master_reload *reload = &master->reload;

	if (!reload->wanted && reload->restarts_wanted == 0)
		return;
	reload->ticket = control_ticket(master);
	reload->is_restart = !reload->wanted;
	reload->wanted = false;
	reload->restarts_wanted = 0;
	refuse(master, stopping);
}

void reload_request(struct master *master)
{
	master->reload.wanted = true;
	master->reload.wanted_by_upgrade = false;
}

void reload_request_upgraded(struct master *master)
{
	reload_request(master);
	master->reload.wanted_by_upgrade = true;
}

bool reload_request_restart(struct master *master, const char *name)
{
	FOR_EACH_POOL (master, pool)
		if (!pool->leaving && strcmp(pool->config->name, name) == 0) {
			pool->restart_wanted = true;
			master->reload.restarts_wanted++;
			return true;
		}
	return false;
}

/* The daemon stops: what is tried ends. Past the point of no return all workers serve what there is, and retire. */
static void stop_short(struct master *master)
{
	struct master_reload *reload = &master->reload;

	refuse_while_stopping(master);
	switch (reload->stage) {
	case RELOAD_STAGE_CHECKING:
		checker_stop(&reload->checker);
		refuse(master, stopping);
		end_refused(master);
		break;
	case RELOAD_STAGE_TRYING:
		reload_undo(&reload->policy);
		reload_refuse_attempt(master, stopping);
		break;
	case RELOAD_STAGE_DRAINING:
		refuse(master, stopping);
		enter(master, RELOAD_STAGE_ROLLING);
		break;
	default:
		break;
	}
}

uint64_t reload_act(struct master *master, uint64_t now_ms)
{
	struct master_reload *reload = &master->reload;

	reload_sweep(master);
	if (master->phase > LIFE_SERVING)
		stop_short(master);
	if ((reload->wanted || reload->restarts_wanted > 0) && may_begin(master))
		begin(master, now_ms);
	switch (reload->stage) {
	case RELOAD_STAGE_CHECKING:
		checker_expire(&reload->checker, now_ms);
		return reload->checker.deadline_ms;
	case RELOAD_STAGE_TRYING:
		return act_trying(master, now_ms);
	case RELOAD_STAGE_DRAINING:
		return act_draining(master, now_ms);
	case RELOAD_STAGE_UNDOING:
		return act_undoing(master, now_ms);
	case RELOAD_STAGE_ROLLING:
		step_policy(master, now_ms);
		return DEADLINE_NONE;
	default:
		return DEADLINE_NONE;
	}
}

/* ---- what is heard of canaries ---- */

static bool is_tried(const struct master *master, const struct pool *pool, uint32_t slot)
{
	return master->reload.stage == RELOAD_STAGE_TRYING && pool->next.config != NULL &&
	       pool->slots[slot].generation == master->generation;
}

/* Another canary follows the one that has failed. */
static void tell_retry(struct master *master, const struct pool *pool)
{
	const struct pool_reload *tried = &pool->policy.reload;
	char text[RELOAD_REASON_MAX];

	snprintf(text, sizeof(text), "pool \"%s\": its first new worker failed (%u so far), and is tried again: %s",
		pool->config->name, tried->failures, pool->next.failure);
	if (!master->reload.is_restart)
		control_progress(master, REQUEST_RELOAD, master->reload.ticket, text);
	control_progress(master, REQUEST_RESTART, master->reload.ticket, text);
}

void reload_note_death(struct master *master, struct pool *pool, uint32_t slot, const char *how)
{
	struct pool_next *next = &pool->next;

	if (!is_tried(master, pool, slot))
		return;
	snprintf(
		next->failure, sizeof(next->failure), "%.120s%s%s", how, next->line[0] == '\0' ? "" : ": ", next->line);
	next->line[0] = '\0';
	if (pool->policy.reload.canary == CANARY_WANTED)
		tell_retry(master, pool);
}

void reload_note_line(struct master *master, struct pool *pool, uint32_t slot, const char *line, size_t size)
{
	if (is_tried(master, pool, slot) && size > 0)
		snprintf(pool->next.line, sizeof(pool->next.line), "%.*s", (int)size, line);
}

void reload_done(struct master *master)
{
	struct master_reload *reload = &master->reload;

	if (reload->checker.pid != 0)
		checker_stop(&reload->checker);
	reload_keep_old(reload, reload->config);
	reload->config = NULL;
	free_attempt(reload);
	reload_members_done(&reload->members);
	reload_free_old(master);
}
