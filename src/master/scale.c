/* SPDX-License-Identifier: MIT */
#include "master/scale.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "master/master_private.h"

#define TEXT_MAX 256

/* Its workers are not wanted yet, or not any more. */
static bool is_there(const struct pool *pool)
{
	return !pool->leaving && pool->policy.target > 0;
}

/* So many of max_workers are spoken for: what a pool has beyond its minimum by its load, it gives up for others. */
static uint32_t claimed(const struct master *master)
{
	uint32_t sum = 0;

	FOR_EACH_POOL (master, pool)
		if (!pool->leaving)
			sum += sizing_least(pool);
	return sum;
}

/* The most workers that POOL may have, and by which key. */
static uint32_t most_of(const struct master *master, const struct pool *pool, const char **ret_key)
{
	uint32_t others = claimed(master) - pool->policy.target, all = master->config->max_workers;
	uint32_t most = others < all ? all - others : 0;

	*ret_key = "max_workers of all pools";
	if (pool->config->kind == HANDLER_BECOMES && pool->config->max_workers < most) {
		*ret_key = "max_workers of the pool";
		return pool->config->max_workers;
	}
	return most;
}

static void note_resized(struct pool *pool, uint32_t before)
{
	pool->scaled = true;
	log_event(LOG_LEVEL_NOTICE, "pool resized", LOG_TEXT("pool", pool->config->name),
		LOG_INT("workers", pool->policy.target), LOG_INT("before", before));
}

void scale_all(struct master *master, int delta)
{
	FOR_EACH_POOL (master, pool) {
		uint32_t before = pool->policy.target;
		const char *key;

		if (!is_there(pool) || !sizing_is_fixed(pool))
			continue;
		if (delta > 0 && before >= most_of(master, pool, &key)) {
			log_event(LOG_LEVEL_WARNING, "max_workers is reached: no worker more",
				LOG_TEXT("pool", pool->config->name), LOG_TEXT("limit", key),
				LOG_INT("max_workers", master->config->max_workers));
			continue;
		}
		pool_policy_resize(&pool->policy, delta);
		note_resized(pool, before);
	}
}

/* ---- one pool ---- */

static struct pool *find_pool(const struct master *master, const char *name)
{
	FOR_EACH_POOL (master, pool)
		if ((is_there(pool) || !sizing_is_fixed(pool)) && !pool->leaving &&
			strcmp(pool->config->name, name) == 0)
			return pool;
	return NULL;
}

/* How many there are to be; below 1, or above what fits, where it is too few or too many. */
static int64_t wanted_size(const struct pool *pool, const struct control_request *request)
{
	int64_t target = pool->policy.target;

	if (request->sign == '+')
		return target + request->number;
	return request->sign == '-' ? target - request->number : request->number;
}

/* Why POOL cannot have so many; false: it can. */
static bool is_refused(const struct master *master, const struct pool *pool, int64_t size, char *text)
{
	const char *key = "";
	uint32_t most = sizing_is_fixed(pool) ? most_of(master, pool, &key) : 0;

	if (!sizing_is_fixed(pool))
		snprintf(text, TEXT_MAX, "its size goes by its load, from min_workers to max_workers");
	else if (size < 1)
		snprintf(text, TEXT_MAX, "a pool has at least 1 worker, and this one has %u", pool->policy.target);
	else if (size > most)
		snprintf(text, TEXT_MAX, "%lld workers are too many: at most %u, by %s", (long long)size, most, key);
	else
		return false;
	return true;
}

static void refuse(struct master *master, const char *pool, const char *text)
{
	log_event(LOG_LEVEL_WARNING, "pool not resized", LOG_TEXT("pool", pool), LOG_TEXT("reason", text));
	control_refuse(master, REQUEST_SCALE, control_ticket(master), text);
}

void scale_pool(struct master *master, const struct control_request *request)
{
	struct pool *pool = find_pool(master, request->argument);
	char text[TEXT_MAX] = "there is no such pool";
	uint32_t before;
	int64_t size;

	if (master->phase > LIFE_SERVING)
		snprintf(text, sizeof(text), "the daemon is stopping");
	size = pool == NULL ? 0 : wanted_size(pool, request);
	if (master->phase > LIFE_SERVING || pool == NULL || is_refused(master, pool, size, text)) {
		refuse(master, request->argument, text);
		return;
	}
	before = pool->policy.target;
	pool_policy_scale(&pool->policy, (uint32_t)size);
	note_resized(pool, before);
	snprintf(text, sizeof(text), "%u workers, %u before", pool->policy.target, before);
	control_verdict(master, REQUEST_SCALE, control_ticket(master), true, text);
}
