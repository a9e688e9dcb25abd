/* SPDX-License-Identifier: MIT */
#include "master/leavers.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "base/log.h"
#include "master/master_private.h"
#include "policy/deadline.h"

/* As of a worker that was told to leave at once: policy/pool.h. */
#define LEAVERS_GRACE_MS POOL_QUIT_GRACE_MS
/* A signal that is refused is sent again after this long, and so many times. */
#define LEAVERS_RETRY_MS 1000
#define LEAVERS_TRIES    4

static struct leaver *add(struct leavers *leavers)
{
	size_t room = leavers->room == 0 ? 64 : 2 * leavers->room;
	struct leaver *list;

	if (leavers->count < leavers->room)
		return &leavers->list[leavers->count++];
	list = realloc(leavers->list, room * sizeof(*list));
	if (list == NULL)
		return NULL;
	leavers->list = list;
	leavers->room = room;
	return &list[leavers->count++];
}

void leavers_add(struct master *master, pid_t pid, int signal, uint64_t deadline_ms, uint64_t now_ms)
{
	struct leaver *leaver = add(&master->leavers);

	log_event(LOG_LEVEL_DEBUG, "a child of the image before is to finish", LOG_INT("pid", pid),
		LOG_INT("signal", signal));
	if (signal != 0 && kill(pid, signal) < 0 && errno != ESRCH)
		log_event(LOG_LEVEL_WARNING, "cannot signal a child of the image before", LOG_INT("pid", pid),
			LOG_ERRNO("reason", errno));
	if (leaver != NULL)
		*leaver = (struct leaver){
			.pid = pid,
			.deadline_ms =
				deadline_earlier(deadline_ms, deadline_after(now_ms, master->config->stop_timeout_ms)),
			.next = SIGTERM,
		};
}

bool leavers_has(const struct leavers *leavers, pid_t pid)
{
	for (size_t i = 0; i < leavers->count; i++)
		if (leavers->list[i].pid == pid)
			return true;
	return false;
}

bool leavers_died(struct leavers *leavers, pid_t pid)
{
	for (size_t i = 0; i < leavers->count; i++) {
		if (leavers->list[i].pid != pid)
			continue;
		leavers->list[i] = leavers->list[--leavers->count];
		return true;
	}
	return false;
}

size_t leavers_left(const struct leavers *leavers)
{
	size_t left = 0;

	for (size_t i = 0; i < leavers->count; i++)
		left += leavers->list[i].next != 0;
	return left;
}

void leavers_quit(struct leavers *leavers, uint64_t now_ms)
{
	for (size_t i = 0; i < leavers->count; i++)
		if (leavers->list[i].next == SIGTERM)
			leavers->list[i].deadline_ms = now_ms;
}

/* What is due of one. */
static void leaver_act(struct leaver *leaver, uint64_t now_ms)
{
	if (leaver->next == 0 || !deadline_passed(leaver->deadline_ms, now_ms))
		return;
	/* Its group first, where it leads one: a program's processes end with it. */
	if (kill(-leaver->pid, leaver->next) < 0 && kill(leaver->pid, leaver->next) < 0 && errno != ESRCH &&
		leaver->refused++ < LEAVERS_TRIES) {
		log_event(LOG_LEVEL_WARNING, "cannot signal a child of the image before", LOG_INT("pid", leaver->pid),
			LOG_ERRNO("reason", errno));
		leaver->deadline_ms = deadline_after(now_ms, LEAVERS_RETRY_MS);
		return;
	}
	leaver->next = leaver->next == SIGTERM ? SIGKILL : 0;
	leaver->deadline_ms = leaver->next == 0 ? DEADLINE_NONE : deadline_after(now_ms, LEAVERS_GRACE_MS);
}

uint64_t leavers_act(struct leavers *leavers, uint64_t now_ms)
{
	uint64_t wake_ms = DEADLINE_NONE;

	for (size_t i = 0; i < leavers->count; i++) {
		leaver_act(&leavers->list[i], now_ms);
		wake_ms = deadline_earlier(wake_ms, leavers->list[i].deadline_ms);
	}
	return wake_ms;
}

void leavers_done(struct leavers *leavers)
{
	free(leavers->list);
	*leavers = (struct leavers){ 0 };
}
