/* SPDX-License-Identifier: MIT */
/* How many workers a pool has: `workers`, or by its load. */
#include "config/load.h"

/* ---- which of them ---- */

/* The keys of a size that goes by the load. */
static bool is_by_load(const struct key *key)
{
	return key->section == KEY_POOL && (key->sizes & KEY_SIZE(SIZE_BY_LOAD)) != 0;
}

void size_choose(cfg_t *section, struct pool_config *pool)
{
	bool by_load = false;

	if (pool->kind == HANDLER_BECOMES) {
		pool->size = parse_setting(section, "min_workers", 0) ? SIZE_ON_DEMAND : SIZE_WAITING;
		return;
	}
	for (size_t i = 0; i < SCHEMA_KEYS; i++)
		by_load |= is_by_load(&schema_keys[i]) && schema_goes_with(&schema_keys[i], pool->kind) &&
			   parse_setting(section, schema_keys[i].name, 0);
	pool->size = by_load && !parse_setting(section, "workers", 0) ? SIZE_BY_LOAD : SIZE_FIXED;
}

/* Where a key of a pool is given; 0: it is not. */
static unsigned int line_of(const struct pool_draft *draft, const char *name)
{
	return draft->lines[schema_index(schema_find(KEY_POOL, name))];
}

void size_fill(struct pool_config *pool, const struct pool_draft *draft)
{
	if (pool->size == SIZE_FIXED)
		pool->max_workers = pool->workers;
	if (pool->size != SIZE_BY_LOAD || pool->kind == HANDLER_ACCEPTS)
		return;
	if (line_of(draft, "max_spare") == 0)
		pool->max_spare = 2 * pool->min_spare < pool->max_workers ? 2 * pool->min_spare : pool->max_workers;
}

const char *size_least_key(const struct pool_config *pool)
{
	return pool->size == SIZE_FIXED || pool->size == SIZE_WAITING ? "workers" : "min_workers";
}

/* ---- one pool ---- */

/* How many there are is said already. */
static void check_fixed(struct load *load, const struct pool_config *pool, const struct pool_draft *draft)
{
	char text[VALUE_TEXT_MAX];

	for (size_t i = 0; i < SCHEMA_KEYS; i++)
		if (is_by_load(&schema_keys[i]) && draft->lines[i] != 0 &&
			schema_goes_with(&schema_keys[i], pool->kind))
			diagnostics_add(&load->diagnostics, draft->lines[i], draft->outline->where,
				"%s = %s does not go with workers = %u, which fixes the size; leave one of the two out",
				schema_keys[i].name,
				value_format(&schema_keys[i].rule, schema_get_number(&schema_keys[i], pool), text),
				pool->workers);
}

/* Whether the first of two numbers, neither of which was refused, is more than the second. Told at the one that is
 * given, or given last. */
static bool check_order(struct load *load, const struct pool_draft *draft, const char *low, uint32_t least,
	const char *high, uint32_t most)
{
	unsigned int low_line = line_of(draft, low), high_line = line_of(draft, high);

	if (most == 0 || least <= most)
		return true;
	diagnostics_add(&load->diagnostics, high_line > low_line ? high_line : load_pool_line(draft, low),
		draft->outline->where, "%s = %u is more than %s = %u%s", low, least, high, most,
		high_line == 0 ? ", the global one" : "");
	return false;
}

static void check_by_load(struct load *load, const struct pool_config *pool, const struct pool_draft *draft)
{
	uint32_t most = pool->max_workers;

	check_order(load, draft, "min_workers", pool->min_workers, "max_workers", most);
	if (pool->kind == HANDLER_ACCEPTS)
		return;
	if (line_of(draft, "max_spare") == 0)
		check_order(load, draft, "min_spare", pool->min_spare, "max_workers", most);
	else if (check_order(load, draft, "min_spare", pool->min_spare, "max_spare", pool->max_spare))
		check_order(load, draft, "max_spare", pool->max_spare, "max_workers", most);
}

/* Of an inetd pool: all wait, or none. */
static void check_waiting(struct load *load, const struct pool_config *pool, const struct pool_draft *draft)
{
	const char *where = draft->outline->where;
	const struct key *idle_exit = schema_find(KEY_POOL, "idle_exit");
	char text[VALUE_TEXT_MAX];

	if (pool->min_workers > 0)
		diagnostics_add(&load->diagnostics, line_of(draft, "min_workers"), where,
			"min_workers = %u: with handler = inetd only 0 is accepted, for workers on demand; workers "
			"says how many wait",
			pool->min_workers);
	if (pool->size == SIZE_WAITING && line_of(draft, "idle_exit") != 0)
		diagnostics_add(&load->diagnostics, line_of(draft, "idle_exit"), where,
			"idle_exit = %s has no use: workers = %u wait for ever; with min_workers = 0 they may leave",
			value_format(&idle_exit->rule, (int64_t)pool->idle_exit_ms, text), pool->workers);
	/* Those who do not wait yet are not in the sum of all pools. */
	if (pool->size == SIZE_ON_DEMAND && line_of(draft, "max_workers") == 0)
		check_order(load, draft, "workers", pool->workers, "max_workers", pool->max_workers);
	if (line_of(draft, "max_workers") != 0 && pool->max_workers != 0 && pool->max_workers < pool->workers)
		diagnostics_add(&load->diagnostics, line_of(draft, "max_workers"), where,
			"max_workers = %u is less than workers = %u", pool->max_workers, pool->workers);
}

/* Whether the pool's most workers are within what all pools may have. */
static bool check_most(struct load *load, const struct pool_config *pool, const struct pool_draft *draft)
{
	uint32_t all = load->config->max_workers;

	if (all == 0 || line_of(draft, "max_workers") == 0 || pool->size == SIZE_FIXED || pool->max_workers <= all)
		return true;
	diagnostics_add(&load->diagnostics, line_of(draft, "max_workers"), draft->outline->where,
		"max_workers = %u is out of range (1 to %u, by the global max_workers)", pool->max_workers, all);
	return false;
}

static void check_pool(struct load *load, const struct pool_config *pool, const struct pool_draft *draft)
{
	/* What goes with it may be in what the outline has left out. */
	if (!check_most(load, pool, draft) || draft->outline->damaged)
		return;
	if (pool->size == SIZE_FIXED)
		check_fixed(load, pool, draft);
	else if (pool->size == SIZE_BY_LOAD)
		check_by_load(load, pool, draft);
	else
		check_waiting(load, pool, draft);
}

/* ---- all pools ---- */

static void check_sum(struct load *load)
{
	const struct config *config = load->config;
	uint64_t sum = 0;

	for (size_t i = 0; i < config->pool_count; i++) {
		const struct pool_config *pool = &config->pools[i];
		const struct pool_draft *draft = &load->drafts[i];
		const char *key = size_least_key(pool);
		uint32_t least = pool_config_least(pool);

		/* min_workers is held to the pool's own max_workers. */
		if (least > config->max_workers && pool->size != SIZE_BY_LOAD)
			diagnostics_add(&load->diagnostics, load_pool_line(draft, key), draft->outline->where,
				"%s = %u is out of range (1 to %u, by max_workers)", key, least, config->max_workers);
		else if (sum <= config->max_workers && sum + least > config->max_workers &&
			 least <= config->max_workers)
			diagnostics_add(&load->diagnostics, load_pool_line(draft, key), draft->outline->where,
				"%s = %u brings all pools to %ju workers; max_workers = %u", key, least,
				(uintmax_t)(sum + least), config->max_workers);
		sum += least;
	}
}

void size_check(struct load *load)
{
	unsigned int line = load->lines[schema_index(schema_find(KEY_GLOBAL, "max_workers"))];

	for (size_t i = 0; i < load->config->pool_count; i++)
		check_pool(load, &load->config->pools[i], &load->drafts[i]);
	/* It was refused, or may be in what the outline has left out. */
	if (load->config->max_workers != 0 && (!load->outline.damaged || line != 0))
		check_sum(load);
}
