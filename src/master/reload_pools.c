/* SPDX-License-Identifier: MIT */
/*
 * What the stages of a reload do to pools, listeners and configurations. Nothing here is decided, and nothing waits.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/log.h"
#include "config/diff.h"
#include "master/master_private.h"
#include "master/reload_private.h"
#include "policy/deadline.h"

/* ---- members ---- */

void reload_members_done(struct reload_members *members)
{
	free(members->list);
	free(members->pools);
	*members = (struct reload_members){ 0 };
}

static int members_init(struct reload_members *members, size_t most)
{
	*members = (struct reload_members){
		.list = calloc(most + 1, sizeof(*members->list)),
		.pools = calloc(most + 1, sizeof(struct pool *)),
	};
	return members->list == NULL || members->pools == NULL ? -ENOMEM : 0;
}

static uint32_t next_target(const struct master_reload *reload, const struct pool *pool)
{
	bool keeps = reload->is_restart || (reload->is_of_upgrade && pool->scaled);

	return keeps ? pool->policy.target : sizing_begin(pool->next.config);
}

/* Each pool that has something next. */
static int note_members(struct master *master)
{
	struct reload_members *members = &master->reload.tried;
	int result = members_init(members, master->pool_count);

	if (result < 0)
		return result;
	FOR_EACH_POOL (master, pool) {
		if (pool->next.config == NULL)
			continue;
		members->pools[members->count] = pool;
		members->list[members->count++] = (struct reload_member){
			.pool = &pool->policy,
			.rules = pool_rules(master, pool->next.config),
			.target = next_target(&master->reload, pool),
		};
	}
	return 0;
}

/* ---- what the new configuration makes of each pool ---- */

static struct pool *find_pool(const struct master *master, const char *name)
{
	FOR_EACH_POOL (master, pool)
		if (!pool->leaving && strcmp(pool->config->name, name) == 0)
			return pool;
	return NULL;
}

/* A pool that is new has no workers until the commit. */
static int plan_pools(struct master *master)
{
	const struct config *config = master->reload.config;

	for (size_t i = 0; i < config->pool_count; i++) {
		const struct pool_config *next = &config->pools[i];
		struct pool *pool = find_pool(master, next->name);

		if (pool == NULL)
			pool = pools_add(master, next, 0);
		if (pool == NULL)
			return -ENOMEM;
		pool->next.config = next;
	}
	return 0;
}

static void plan_restarts(struct master *master)
{
	FOR_EACH_POOL (master, pool)
		if (pool->restart_wanted && !pool->leaving)
			pool->next.config = pool->config;
}

/* It has been added by the reload that is tried. */
static bool is_added(const struct master *master, const struct pool *pool)
{
	return master->reload.config != NULL && pool->config == pool->next.config;
}

static int bind_next(struct master *master, char *reason, size_t size)
{
	FOR_EACH_POOL (master, pool) {
		struct bind_failure failure;

		if (pool->next.config == NULL ||
			bind_pool(master, pool->next.config, &pool->next.listeners, &failure) == 0)
			continue;
		snprintf(reason, size, "pool \"%s\": %s: cannot %s: %s", pool->next.config->name, failure.address,
			failure.step, failure.reason);
		return -1;
	}
	return 0;
}

/* A program takes clients from its start on, and may look whether its listeners listen. */
static int listen_for_programs(struct master *master, char *reason, size_t size)
{
	FOR_EACH_POOL (master, pool) {
		struct bind_failure failure;

		if (pool->next.config == NULL || pool->next.config->kind != HANDLER_ACCEPTS ||
			bind_listen(master, pool->next.config, &pool->next.listeners, &failure) == 0)
			continue;
		snprintf(reason, size, "pool \"%s\": %s: cannot %s: %s", pool->next.config->name, failure.address,
			failure.step, failure.reason);
		return -1;
	}
	return 0;
}

static bool test_logger(const struct master *master, char *reason, size_t size)
{
	const char *path = NULL;
	int result = master->reload.config == NULL ? 0 : logger_process_try(master, master->reload.config, &path);

	if (result < 0)
		snprintf(reason, size, "cannot write the log %s: %s", path, log_strerror(result));
	return result == 0;
}

void reload_prepare_pools(struct master *master, char *reason, size_t size)
{
	int result = 0;

	if (master->reload.is_restart)
		plan_restarts(master);
	else
		result = plan_pools(master);
	FOR_EACH_POOL (master, pool)
		pool->restart_wanted = false;
	if (result == 0)
		result = note_members(master);
	if (result == 0)
		result = programs_prepare(master);
	if (result == 0 && !test_logger(master, reason, size))
		return;
	if (result < 0)
		snprintf(reason, size, "%s", log_strerror(result));
	else if (bind_next(master, reason, size) == 0)
		listen_for_programs(master, reason, size);
}

/* ---- listeners ---- */

bool reload_listen(struct master *master, struct bind_failure *ret_failure)
{
	FOR_EACH_POOL (master, pool)
		if (pool->next.config != NULL &&
			bind_listen(master, pool->next.config, &pool->next.listeners, ret_failure) < 0)
			return false;
	return true;
}

/* Whether a pool has it, once the reload is committed. */
static bool is_kept(const struct master *master, const struct listener *listener)
{
	FOR_EACH_POOL (master, pool) {
		bool stays = master->reload.is_restart && pool->next.config == NULL && !pool->leaving;

		if (listener_set_has(&pool->next.listeners, listener) ||
			(stays && listener_set_has(&pool->listeners, listener)))
			return true;
	}
	return false;
}

void reload_release(struct master *master)
{
	FOR_EACH_POOL (master, pool)
		if (pool->next.config != NULL)
			pool_prepare_listeners(master, pool);
	if (eventfd_write(master->reload.hold_fd, 1) < 0)
		log_event(LOG_LEVEL_ERROR, "cannot let new workers accept", LOG_ERRNO("reason", errno));
	for (size_t i = 0; i < master->listeners.count; i++)
		if (!is_kept(master, master->listeners.list[i]))
			bind_refuse(master, master->listeners.list[i]);
}

bool reload_drained(struct master *master)
{
	for (size_t i = 0; i < master->listeners.count; i++)
		if (!is_kept(master, master->listeners.list[i]) && !bind_drained(master->listeners.list[i]))
			return false;
	return true;
}

/* ---- programs' listeners that are undone ---- */

/* Open to clients, and of the configuration that is tried alone. */
static bool is_new(const struct master *master, const struct listener *listener)
{
	FOR_EACH_POOL (master, pool)
		if (listener_set_has(&pool->listeners, listener))
			return false;
	return listener->listening;
}

bool reload_close_new(struct master *master)
{
	struct master_reload *reload = &master->reload;
	char text[ADDRESS_TEXT_MAX];
	size_t used = 0;

	for (size_t i = 0; i < master->listeners.count; i++) {
		struct listener *listener = master->listeners.list[i];

		if (!is_new(master, listener))
			continue;
		if (used < sizeof(reload->opened))
			used += (size_t)snprintf(reload->opened + used, sizeof(reload->opened) - used, "%s%s",
				used == 0 ? "" : ", ", listener_text(listener, text, sizeof(text)));
		bind_refuse(master, listener);
	}
	return reload->opened[0] != '\0';
}

static bool is_served(const struct master *master, const struct listener *listener)
{
	FOR_EACH_POOL (master, pool)
		if (listener_set_has(&pool->next.listeners, listener) && pool_policy_canaries(&pool->policy) > 0)
			return true;
	return false;
}

bool reload_new_are_done(struct master *master)
{
	bool served = false;

	master->reload.opened_drained = true;
	for (size_t i = 0; i < master->listeners.count; i++) {
		const struct listener *listener = master->listeners.list[i];

		if (!is_new(master, listener) || bind_drained(listener))
			continue;
		master->reload.opened_drained = false;
		served |= is_served(master, listener);
	}
	return !served;
}

/* Those that no pool has any more. */
static void close_unused(struct master *master)
{
	for (size_t i = master->listeners.count; i-- > 0;) {
		struct listener *listener = master->listeners.list[i];
		char text[ADDRESS_TEXT_MAX];
		bool used = false;

		FOR_EACH_POOL (master, pool)
			used |= listener_set_has(&pool->listeners, listener);
		if (used)
			continue;
		log_event(LOG_LEVEL_INFO, "listener closed",
			LOG_TEXT("address", listener_text(listener, text, sizeof(text))));
		bind_close(master, listener);
	}
}

static void change_options(const struct pool *pool)
{
	for (size_t i = 0; i < pool->listeners.count; i++) {
		struct listener *listener = pool->listeners.list[i];
		char text[ADDRESS_TEXT_MAX];
		const char *step = "";
		int result = listener_change(listener, &pool->config->listener, &step);

		if (result < 0)
			log_event(LOG_LEVEL_WARNING, "cannot change an option of a listener",
				LOG_TEXT("pool", pool->config->name),
				LOG_TEXT("address", listener_text(listener, text, sizeof(text))),
				LOG_TEXT("step", step), LOG_ERRNO("reason", result));
	}
}

/* ---- commit ---- */

static void commit_pool(struct master *master, struct pool *pool)
{
	sizing_forget_listeners(master, pool);
	listener_set_done(&pool->listeners);
	pool->config = pool->next.config;
	pool->sizing.wanted = true;
	pool->listeners = pool->next.listeners;
	pool->next = (struct pool_next){ 0 };
	/* The time-out may be a shorter one. */
	pool->next_scan_ms = 0;
	pool_prepare_listeners(master, pool);
	change_options(pool);
}

/* As those of a pool that stays: programs that serve one connection have left brood's hands, and go on. */
static uint64_t dismissal_deadline(const struct master *master, const struct pool *pool, uint64_t now_ms)
{
	uint64_t own_ms = deadline_after(now_ms, pool->config->stop_timeout_ms);

	if (pool->config->kind == HANDLER_BECOMES)
		return DEADLINE_NONE;
	return deadline_earlier(own_ms, deadline_after(now_ms, master->config->stop_timeout_ms));
}

static void dismiss_pool(struct master *master, struct pool *pool, uint64_t now_ms)
{
	log_event(LOG_LEVEL_NOTICE, "pool leaves", LOG_TEXT("pool", pool->config->name),
		LOG_INT("workers", pool_policy_living(&pool->policy)));
	pool->leaving = true;
	sizing_forget_listeners(master, pool);
	listener_set_done(&pool->listeners);
	pool_policy_retire(&pool->policy, dismissal_deadline(master, pool, now_ms));
}

static void commit_config(struct master *master, uint64_t now_ms)
{
	struct master_reload *reload = &master->reload;

	if (reload->config == NULL)
		return;
	master->config = reload->config;
	reload->config = NULL;
	/* The first one is our caller's. */
	if (reload->in_force != NULL)
		reload_keep_old(reload, reload->in_force);
	reload->in_force = (struct config *)(uintptr_t)master->config;
	log_set_level(master->config->log_level);
	logger_process_change(master, master->config, now_ms);
}

void reload_commit_pools(struct master *master, uint64_t now_ms)
{
	bool restart = master->reload.is_restart;

	FOR_EACH_POOL (master, pool) {
		pool->scaled &= restart || master->reload.is_of_upgrade;
		if (pool->next.config != NULL)
			commit_pool(master, pool);
		else if (!restart && !pool->leaving)
			dismiss_pool(master, pool, now_ms);
	}
	commit_config(master, now_ms);
	close_unused(master);
	/* Canaries have served while listeners were drained; what they said of it was not theirs to say then. */
	recycle_note_requests(master, now_ms);
	master->reload.unsettled = true;
	master->reload.sweep_due = true;
	atomic_store_explicit(&master->board.header->generation, master->generation, memory_order_relaxed);
}

void reload_tell_changes(struct master *master)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = master->reload.diff == NULL ? NULL : open_memstream(&text, &size);

	if (out == NULL)
		return;
	config_diff_print(master->reload.diff, out);
	if (fclose(out) == 0)
		reload_tell_lines(master, LOG_LEVEL_NOTICE, "changed", text);
	free(text);
}

/* ---- undo ---- */

void reload_undo_pools(struct master *master)
{
	FOR_EACH_POOL (master, pool) {
		if (pool->next.config == NULL)
			continue;
		pool->leaving |= is_added(master, pool);
		listener_set_done(&pool->next.listeners);
		pool->next = (struct pool_next){ 0 };
		/* A canary that was a program may have had them in another way. */
		pool_prepare_listeners(master, pool);
	}
	bind_drop_unlistened(master);
	/* What listens already, for a program. */
	for (size_t i = 0; i < master->listeners.count; i++) {
		bool used = false;

		FOR_EACH_POOL (master, pool)
			used |= listener_set_has(&pool->listeners, master->listeners.list[i]);
		if (!used)
			bind_refuse(master, master->listeners.list[i]);
	}
}

bool reload_is_undone(struct master *master)
{
	FOR_EACH_POOL (master, pool)
		for (uint32_t slot = 0; slot < pool->policy.rules.capacity; slot++)
			if (pool->slots[slot].state != SLOT_FREE && pool->slots[slot].state != SLOT_LOST &&
				pool->slots[slot].generation > pool->policy.generation)
				return false;
	close_unused(master);
	return true;
}

/* ---- what is old ---- */

void reload_keep_old(struct master_reload *reload, struct config *config)
{
	struct reload_old *old = config == NULL ? NULL : malloc(sizeof(*old));

	/* Without the memory for its place in the list it is never freed, which costs less than to end here. */
	if (old == NULL)
		return;
	reload->sweep_due = true;
	*old = (struct reload_old){ .config = config, .next = reload->old };
	reload->old = old;
}

static bool is_of(const struct config *config, const struct pool_config *pool)
{
	return pool >= config->pools && pool < config->pools + config->pool_count;
}

static bool is_read(const struct master *master, const struct config *config)
{
	FOR_EACH_POOL (master, pool) {
		if (is_of(config, pool->config) || (pool->next.config != NULL && is_of(config, pool->next.config)))
			return true;
		for (uint32_t slot = 0; slot < pool->policy.rules.capacity; slot++)
			if (pool->slots[slot].state != SLOT_FREE && is_of(config, pool->workers[slot].config))
				return true;
	}
	return false;
}

void reload_sweep(struct master *master)
{
	struct reload_old **link = &master->reload.old;

	if (master->reload.unsettled)
		master->reload.unsettled = !pools_settle_listeners(master);
	if (!master->reload.sweep_due)
		return;
	master->reload.sweep_due = false;
	FOR_EACH_POOL (master, pool)
		if (pool->leaving && pool_policy_living(&pool->policy) == 0)
			pools_remove(master, pool);
	while (*link != NULL) {
		struct reload_old *old = *link;

		if (is_read(master, old->config)) {
			link = &old->next;
			continue;
		}
		*link = old->next;
		config_free(old->config);
		free(old);
	}
}

void reload_free_old(struct master *master)
{
	struct master_reload *reload = &master->reload;

	while (reload->old != NULL) {
		struct reload_old *old = reload->old;

		reload->old = old->next;
		config_free(old->config);
		free(old);
	}
	config_free(reload->in_force);
	reload->in_force = NULL;
}
