/* SPDX-License-Identifier: MIT */
/* What a reload cannot change is in force as it was. */
#include <errno.h>
#include <string.h>

#include "config/diff.h"
#include "config/load.h"

/* ---- keys that need a restart ---- */

static char **copy_list(struct arena *arena, char *const *list, size_t count)
{
	char **copy = arena_alloc(arena, (count + 1) * sizeof(*copy));

	for (size_t i = 0; copy && i < count; i++)
		copy[i] = arena_text(arena, list[i]);
	return copy;
}

static void keep_key(struct arena *arena, const struct key *key, const void *in_force, void *object)
{
	/* The accessors take what is not const. */
	void *from = (void *)(uintptr_t)in_force;

	if (key->rule.kind == VALUE_TEXT) {
		*schema_text_field(key, object) = arena_text(arena, *schema_text_field(key, from));
	} else if (key->rule.kind == VALUE_LIST) {
		*schema_list_count(key, object) = *schema_list_count(key, from);
		*schema_list_field(key, object) =
			copy_list(arena, *schema_list_field(key, from), *schema_list_count(key, from));
	} else {
		schema_set_number(key, object, schema_get_number(key, from));
	}
}

static void keep_keys(struct arena *arena, enum key_section section, const void *in_force, void *object)
{
	for (size_t i = 0; i < SCHEMA_KEYS; i++)
		if (schema_keys[i].section == section && schema_keys[i].reload == RELOAD_RESTART)
			keep_key(arena, &schema_keys[i], in_force, object);
}

static const struct pool_config *find_pool(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->pool_count; i++)
		if (strcmp(config->pools[i].name, name) == 0)
			return &config->pools[i];
	return NULL;
}

/* ---- what goes by max_workers ---- */

/* The pool's own, which may be the global one's new value, is within the one that is in force. */
static void limit_pool(const struct config *config, struct pool_config *pool)
{
	if (pool->max_workers > config->max_workers)
		pool->max_workers = config->max_workers;
}

/* Whether the board has room for all that are wanted. */
static bool check_room(const struct config *config, FILE *errors)
{
	uint64_t sum = 0;
	bool fits = true;

	for (size_t i = 0; i < config->pool_count; i++) {
		const struct pool_config *pool = &config->pools[i];

		sum += pool_config_least(pool);
		if (sum <= config->max_workers || !fits)
			continue;
		fits = false;
		fprintf(errors,
			"%s:%d: pool \"%s\": %s = %u brings all pools to %ju workers; max_workers = %u holds "
			"until a "
			"restart\n",
			pool->file, pool->line, pool->name, size_least_key(pool), pool_config_least(pool),
			(uintmax_t)sum, config->max_workers);
	}
	return fits;
}

/* ---- access logs ---- */

/* The number that PATH has in FILES, where it is put if it is not there. */
static int64_t number_of(char **files, size_t *count, char *path)
{
	for (size_t i = 0; i < *count; i++)
		if (strcmp(files[i], path) == 0)
			return (int64_t)i + 1;
	files[*count] = path;
	return (int64_t)++ * count;
}

/* The handles of one pool: from their numbers in the file as it was read to those in FILES. */
static void renumber_pool(const struct config *config, const struct pool_config *pool, char **files, size_t *count)
{
	const char *section;
	const struct brood_module *module = schema_options_of(pool, &section);

	for (size_t i = 0; module && module->options[i].name; i++) {
		union brood_value *value = &pool->values[i];

		if (module->options[i].type == BROOD_OPTION_LOG && value->number > 0)
			value->number = number_of(files, count, config->access_files[value->number - 1]);
	}
}

/* Workers that live write to files by the numbers that they were started with: no file gets the number of another. */
static void keep_access_logs(struct arena *arena, const struct config *in_force, struct config *config)
{
	size_t count = in_force->access_count;
	char **files = arena_alloc(arena, (count + config->access_count + 1) * sizeof(*files));

	if (!files)
		return;
	for (size_t i = 0; i < count; i++)
		files[i] = arena_text(arena, in_force->access_files[i]);
	if (arena->failed)
		return;
	for (size_t i = 0; i < config->pool_count; i++)
		renumber_pool(config, &config->pools[i], files, &count);
	config->access_files = files;
	config->access_count = count;
}

int config_keep_unchangeable(const struct config *in_force, struct config *config, FILE *errors)
{
	struct arena *arena = config_arena(config);

	keep_keys(arena, KEY_GLOBAL, in_force, config);
	for (size_t i = 0; i < config->pool_count; i++) {
		struct pool_config *pool = &config->pools[i];
		const struct pool_config *before = find_pool(in_force, pool->name);

		if (before && before->kind == pool->kind)
			keep_keys(arena, KEY_POOL, before, pool);
		limit_pool(config, pool);
	}
	keep_access_logs(arena, in_force, config);
	if (arena->failed)
		return -ENOMEM;
	return check_room(config, errors) ? 0 : -EINVAL;
}
