/* SPDX-License-Identifier: MIT */
#include "master/shares.h"

#include <stdlib.h>

#include "base/log.h"
#include "master/master_private.h"
#include "policy/share.h"

static struct share_claim claim_of(const struct pool *pool)
{
	uint32_t wish = pool_policy_wish(&pool->policy), limit = pool->policy.rules.limit;

	return (struct share_claim){ .least = sizing_least(pool), .wish = limit != 0 && limit < wish ? limit : wish };
}

/* Those who have, or want, nothing now are not held to a share: what they may come to want makes it another one. */
static bool has_claim(const struct pool *pool)
{
	return !pool->leaving && pool->policy.phase == POOL_SERVING && claim_of(pool).wish > 0;
}

static void allow(struct pool *pool, uint32_t most)
{
	if (pool->policy.allowed == most)
		return;
	log_event(LOG_LEVEL_DEBUG, "the pool's share of max_workers is another one",
		LOG_TEXT("pool", pool->config->name), LOG_INT("share", most));
	pool_policy_allow(&pool->policy, most);
	/* From now on it is looked at, as long as it has one. */
	pool->sizing.wanted |= !sizing_is_fixed(pool);
}

static void allow_all(struct master *master)
{
	FOR_EACH_POOL (master, pool)
		allow(pool, UINT32_MAX);
}

static void allow_shares(struct master *master, size_t count)
{
	struct share_claim *claims = calloc(count, sizeof(*claims));
	size_t i = 0;

	/* They have what they had. */
	if (claims == NULL)
		return;
	FOR_EACH_POOL (master, pool)
		if (has_claim(pool))
			claims[i++] = claim_of(pool);
	share_divide(master->config->max_workers, claims, count);
	i = 0;
	FOR_EACH_POOL (master, pool)
		allow(pool, has_claim(pool) ? claims[i++].share : UINT32_MAX);
	free(claims);
}

void shares_divide(struct master *master)
{
	uint64_t wishes = 0;
	size_t count = 0;
	bool all_fixed = true;

	FOR_EACH_POOL (master, pool) {
		if (!has_claim(pool))
			continue;
		count++;
		wishes += claim_of(pool).wish;
		all_fixed &= sizing_is_fixed(pool) && pool->config->kind != HANDLER_BECOMES;
	}
	/* Pools of fixed size fit: their configuration was checked. */
	if (wishes <= master->config->max_workers || all_fixed)
		allow_all(master);
	else
		allow_shares(master, count);
}
