/* SPDX-License-Identifier: MIT */
#include "config/diff.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config/arena.h"
#include "config/dump.h"
#include "config/limits.h"

/* Of a value so many bytes are shown: the lines go to a log. */
#define SHOWN_MAX 200

/* A result, and the memory it lives in. */
struct diff_memory {
	struct config_diff diff;
	struct arena arena;
	const struct config *before;
	const struct config *after;
	bool **taken; /* of each old pool, of each entry of its list: it is kept */
};

/* ---- values ---- */

/* The beginning of TEXT, which is whole but for its end: no character is cut in two (UTF-8). */
static char *shorten(struct arena *arena, const char *text, size_t size)
{
	size_t shown = SHOWN_MAX;

	if (size <= SHOWN_MAX)
		return arena_copy(arena, text, size);
	while (shown > 0 && ((unsigned char)text[shown] & 0xc0) == 0x80)
		shown--;
	return arena_format(arena, "%.*s...", (int)shown, text);
}

/* A value on its way to a text of the arena's. */
struct shown {
	char *text;
	size_t size;
	FILE *out;
};

static FILE *show_begin(struct shown *shown, struct arena *arena)
{
	*shown = (struct shown){ 0 };
	shown->out = open_memstream(&shown->text, &shown->size);
	if (!shown->out)
		arena->failed = true;
	return shown->out;
}

static const char *show_end(struct shown *shown, struct arena *arena)
{
	char *text = NULL;

	if (fclose(shown->out) == 0 && shown->text)
		text = shorten(arena, shown->text, shown->size);
	else
		arena->failed = true;
	free(shown->text);
	return text;
}

static const char *show_key(struct arena *arena, const struct key *key, const void *object)
{
	struct shown shown;

	if (!show_begin(&shown, arena))
		return NULL;
	dump_key_value(key, object, shown.out);
	return show_end(&shown, arena);
}

static const char *show_limit(struct arena *arena, const struct limit_config *limit)
{
	struct shown shown;

	if (!limit || !show_begin(&shown, arena))
		return NULL;
	limits_dump_value(limit, shown.out);
	return show_end(&shown, arena);
}

static bool lists_are_equal(const char *const *a, const char *const *b)
{
	while (*a && *b && strcmp(*a, *b) == 0) {
		a++;
		b++;
	}
	return !*a && !*b;
}

static bool keys_are_equal(const struct key *key, const void *before, const void *after)
{
	/* The accessors take what is not const. */
	void *a = (void *)(uintptr_t)before, *b = (void *)(uintptr_t)after;

	if (key->rule.kind == VALUE_TEXT)
		return strcmp(*schema_text_field(key, a), *schema_text_field(key, b)) == 0;
	if (key->rule.kind == VALUE_LIST)
		return lists_are_equal((const char *const *)*schema_list_field(key, a),
			(const char *const *)*schema_list_field(key, b));
	return schema_get_number(key, a) == schema_get_number(key, b);
}

/* ---- the keys of a section ---- */

/* Changes, of which there is room for as many as there may be. */
struct changes {
	struct arena *arena;
	struct diff_change *list;
	size_t count;
};

static void changes_add(struct changes *changes, const struct diff_change *change)
{
	if (changes->list)
		changes->list[changes->count++] = *change;
}

/*
 * A pool's number that is above the global one which is in force until a restart is in force after it, too
 * (config_keep_unchangeable()). Where it is the global one's new value, that has been told already: RELOAD_UNDECIDED.
 */
static enum key_reload takes(
	const struct diff_memory *memory, const struct key *key, const void *before, const void *after)
{
	const struct key *global = key->inherits ? schema_find(KEY_GLOBAL, key->inherits) : NULL;
	int64_t in_force;

	if (!global || global->reload != RELOAD_RESTART)
		return key->reload;
	in_force = schema_get_number(global, memory->before);
	if (schema_get_number(key, after) <= in_force)
		return key->reload;
	return schema_get_number(key, before) == in_force &&
			       schema_get_number(key, after) == schema_get_number(global, memory->after)
		       ? RELOAD_UNDECIDED
		       : RELOAD_RESTART;
}

/* BEFORE or AFTER: NULL where the key has no meaning. */
static void compare_key(struct changes *changes, const struct diff_memory *memory, const struct key *key,
	const void *before, const void *after)
{
	enum key_reload reload = before != NULL && after != NULL ? takes(memory, key, before, after) : key->reload;

	if (reload != RELOAD_UNDECIDED)
		changes_add(changes, &(struct diff_change){
					     .section = "",
					     .name = key->name,
					     .before = before == NULL ? NULL : show_key(changes->arena, key, before),
					     .after = after == NULL ? NULL : show_key(changes->arena, key, after),
					     .reload = reload,
					     .is_secret = key->is_secret,
				     });
}

static void compare_global_keys(struct changes *changes, const struct diff_memory *memory)
{
	for (size_t i = 0; i < SCHEMA_KEYS; i++)
		if (schema_keys[i].section == KEY_GLOBAL &&
			!keys_are_equal(&schema_keys[i], memory->before, memory->after))
			compare_key(changes, memory, &schema_keys[i], memory->before, memory->after);
}

/* Those that go with both handlers: where these differ in kind, `handler` does. */
static void compare_pool_key(struct changes *changes, const struct diff_memory *memory, const struct key *key,
	const struct pool_config *before, const struct pool_config *after)
{
	bool was = schema_is_meant(key, before), is = schema_is_meant(key, after);

	if (!schema_goes_with(key, before->kind) || !schema_goes_with(key, after->kind) || (!was && !is) ||
		(was && is && keys_are_equal(key, before, after)))
		return;
	compare_key(changes, memory, key, was ? before : NULL, is ? after : NULL);
}

/* ---- limits ---- */

static const struct limit_config *find_limit(const struct pool_config *pool, int resource)
{
	for (size_t i = 0; i < pool->limit_count; i++)
		if (pool->limits[i].resource == resource)
			return &pool->limits[i];
	return NULL;
}

static bool limits_are_equal(const struct limit_config *a, const struct limit_config *b)
{
	return a && b ? a->value == b->value : a == b;
}

static void compare_limits(struct changes *changes, const struct pool_config *before, const struct pool_config *after)
{
	for (size_t i = 0; i < LIMIT_KEYS; i++) {
		const struct limit_config *a = find_limit(before, limit_keys[i].resource);
		const struct limit_config *b = find_limit(after, limit_keys[i].resource);

		if (!limits_are_equal(a, b))
			changes_add(changes, &(struct diff_change){
						     .section = "limits",
						     .name = limit_keys[i].name,
						     .before = show_limit(changes->arena, a),
						     .after = show_limit(changes->arena, b),
						     .reload = RELOAD_ROLL,
					     });
	}
}

/* ---- options ---- */

/* An option of a pool, with its value. */
struct option_place {
	const struct config *config;
	const struct brood_option *option; /* NULL: there is none of that name */
	const union brood_value *value;
};

static struct option_place find_option(const struct config *config, const struct pool_config *pool,
	const struct brood_module *module, const char *name)
{
	for (size_t i = 0; module && module->options[i].name; i++)
		if (strcmp(module->options[i].name, name) == 0)
			return (struct option_place){ config, &module->options[i], &pool->values[i] };
	return (struct option_place){ .config = config };
}

/* Options are compared as they are written: a module may have another type, or other choices, for the same name. */
static char *write_option(struct arena *arena, const struct option_place *place, size_t *ret_size)
{
	struct shown shown;

	if (!place->option || !show_begin(&shown, arena))
		return NULL;
	dump_option_value(place->config, place->option, place->value, shown.out);
	if (fclose(shown.out) != 0 || !shown.text)
		arena->failed = true;
	*ret_size = shown.size;
	return shown.text;
}

static void compare_option(struct changes *changes, const char *section, const char *name,
	const struct option_place *before, const struct option_place *after)
{
	size_t size_before = 0, size_after = 0;
	char *a = write_option(changes->arena, before, &size_before);
	char *b = write_option(changes->arena, after, &size_after);

	if (a && b ? strcmp(a, b) != 0 : a != b)
		changes_add(changes, &(struct diff_change){
					     .section = section,
					     .name = name,
					     .before = a ? shorten(changes->arena, a, size_before) : NULL,
					     .after = b ? shorten(changes->arena, b, size_after) : NULL,
					     .reload = RELOAD_ROLL,
				     });
	free(a);
	free(b);
}

/* The options of one handler, or of a module in two versions; those of another handler go with `handler`. */
static void compare_options(struct changes *changes, const struct diff_memory *memory, const struct pool_config *before,
	const struct pool_config *after)
{
	const char *section = "";
	const struct brood_module *a, *b;

	if (strcmp(before->handler_name, after->handler_name) != 0)
		return;
	a = schema_options_of(before, &section);
	b = schema_options_of(after, &section);
	for (size_t i = 0; b && b->options[i].name; i++) {
		const char *name = b->options[i].name;
		const struct option_place was = find_option(memory->before, before, a, name);
		const struct option_place is = { memory->after, &b->options[i], &after->values[i] };

		compare_option(changes, section, name, &was, &is);
	}
	for (size_t i = 0; a && a->options[i].name; i++) {
		const char *name = a->options[i].name;
		const struct option_place was = { memory->before, &a->options[i], &before->values[i] };
		const struct option_place is = find_option(memory->after, after, b, name);

		if (!is.option)
			compare_option(changes, section, name, &was, &is);
	}
}

/* ---- pools ---- */

static size_t count_options(const struct pool_config *pool)
{
	const char *section;
	const struct brood_module *module = schema_options_of(pool, &section);

	return module ? schema_count_options(module) : 0;
}

static struct changes compare_pools(
	struct diff_memory *memory, const struct pool_config *before, const struct pool_config *after)
{
	size_t most = SCHEMA_KEYS + LIMIT_KEYS + count_options(before) + count_options(after);
	struct changes changes = {
		.arena = &memory->arena,
		.list = arena_alloc(&memory->arena, most * sizeof(*changes.list)),
	};

	for (size_t i = 0; i < SCHEMA_KEYS; i++)
		if (schema_keys[i].section == KEY_POOL)
			compare_pool_key(&changes, memory, &schema_keys[i], before, after);
	compare_limits(&changes, before, after);
	compare_options(&changes, memory, before, after);
	return changes;
}

static size_t find_pool(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->pool_count; i++)
		if (strcmp(config->pools[i].name, name) == 0)
			return i;
	return DIFF_NONE;
}

static void note_pool(struct config_diff *diff, enum diff_state state, const char *name, size_t before, size_t after)
{
	diff->pools[diff->pool_count++] = (struct diff_pool){
		.state = state, .name = name, .before = before, .after = after, .renamed = DIFF_NONE
	};
}

static void match_pools(struct diff_memory *memory)
{
	const struct config *before = memory->before, *after = memory->after;

	for (size_t i = 0; i < after->pool_count; i++) {
		const char *name = after->pools[i].name;
		size_t place = find_pool(before, name);

		note_pool(&memory->diff, place == DIFF_NONE ? DIFF_ADDED : DIFF_KEPT, name, place, i);
	}
	for (size_t i = 0; i < before->pool_count; i++) {
		const char *name = before->pools[i].name;

		if (find_pool(after, name) == DIFF_NONE)
			note_pool(&memory->diff, DIFF_REMOVED, name, i, DIFF_NONE);
	}
}

/* Whether the pools differ in nothing but their names. The lists are what differs most often, and costs least. */
static bool pools_are_equal(struct diff_memory *memory, const struct pool_config *a, const struct pool_config *b)
{
	return lists_are_equal((const char *const *)a->listen, (const char *const *)b->listen) &&
	       strcmp(a->handler_name, b->handler_name) == 0 && compare_pools(memory, a, b).count == 0;
}

static void find_renamed(struct diff_memory *memory, struct diff_pool *added)
{
	struct config_diff *diff = &memory->diff;

	for (size_t i = 0; i < diff->pool_count; i++) {
		struct diff_pool *removed = &diff->pools[i];

		if (removed->state != DIFF_REMOVED || removed->renamed != DIFF_NONE ||
			!pools_are_equal(
				memory, &memory->before->pools[removed->before], &memory->after->pools[added->after]))
			continue;
		removed->renamed = added->after;
		added->renamed = removed->before;
		return;
	}
}

static void compare_all_pools(struct diff_memory *memory)
{
	struct config_diff *diff = &memory->diff;

	for (size_t i = 0; i < diff->pool_count; i++) {
		struct diff_pool *pool = &diff->pools[i];
		struct changes changes;

		if (pool->state == DIFF_ADDED)
			find_renamed(memory, pool);
		if (pool->state != DIFF_KEPT)
			continue;
		changes =
			compare_pools(memory, &memory->before->pools[pool->before], &memory->after->pools[pool->after]);
		pool->changes = changes.list;
		pool->change_count = changes.count;
	}
}

/* ---- listeners ---- */

/* Takes an entry of that text in the old pool that nobody has taken. Returns its place, or DIFF_NONE. */
static size_t take_entry(const struct diff_memory *memory, size_t pool, const char *text)
{
	char **listen = memory->before->pools[pool].listen;

	for (size_t i = 0; listen[i]; i++) {
		if (memory->taken[pool][i] || strcmp(listen[i], text) != 0)
			continue;
		memory->taken[pool][i] = true;
		return i;
	}
	return DIFF_NONE;
}

static void keep_entry(const struct diff_memory *memory, struct diff_listen *entry, size_t pool)
{
	size_t place = take_entry(memory, pool, entry->text);

	if (place == DIFF_NONE)
		return;
	entry->state = DIFF_KEPT;
	entry->pool_before = pool;
	entry->place_before = place;
}

/* The entries that the pool is to have; those of its own are kept. */
static void begin_listen(struct diff_memory *memory, struct diff_pool *pool)
{
	const struct config *before = memory->before;
	size_t own = pool->before != DIFF_NONE ? pool->before : pool->renamed;
	const struct pool_config *config = &memory->after->pools[pool->after];
	size_t most = config->listen_count + (pool->before == DIFF_NONE ? 0 : before->pools[pool->before].listen_count);

	pool->listen = arena_alloc(&memory->arena, (most + 1) * sizeof(*pool->listen));
	for (size_t i = 0; pool->listen && config->listen[i]; i++) {
		struct diff_listen *entry = &pool->listen[pool->listen_count++];

		*entry = (struct diff_listen){ .state = DIFF_ADDED,
			.text = config->listen[i],
			.pool_before = DIFF_NONE,
			.place_before = DIFF_NONE,
			.place_after = i };
		if (own != DIFF_NONE)
			keep_entry(memory, entry, own);
	}
}

/* What other pools have no use for any more. */
static void move_listen(const struct diff_memory *memory, const struct diff_pool *pool)
{
	for (size_t i = 0; i < pool->listen_count; i++)
		for (size_t from = 0; pool->listen[i].state == DIFF_ADDED && from < memory->before->pool_count; from++)
			keep_entry(memory, &pool->listen[i], from);
}

/* What is left of the old list is gone. */
static void end_listen(struct diff_memory *memory, struct diff_pool *pool)
{
	const struct pool_config *config = &memory->before->pools[pool->before];

	if (!pool->listen)
		pool->listen = arena_alloc(&memory->arena, (config->listen_count + 1) * sizeof(*pool->listen));
	for (size_t i = 0; pool->listen && config->listen[i]; i++) {
		if (memory->taken[pool->before][i])
			continue;
		pool->listen[pool->listen_count++] = (struct diff_listen){ .state = DIFF_REMOVED,
			.text = config->listen[i],
			.pool_before = pool->before,
			.place_before = i,
			.place_after = DIFF_NONE };
	}
}

static bool make_taken(struct diff_memory *memory)
{
	const struct config *before = memory->before;

	memory->taken = arena_alloc(&memory->arena, (before->pool_count + 1) * sizeof(*memory->taken));
	for (size_t i = 0; memory->taken && i < before->pool_count; i++) {
		memory->taken[i] = arena_alloc(&memory->arena, before->pools[i].listen_count + 1);
		if (!memory->taken[i])
			return false;
	}
	return memory->taken != NULL;
}

/* Where entries come or go, they are told one by one. */
static void drop_listen_change(const struct diff_memory *memory, struct diff_pool *pool)
{
	size_t count = pool->state == DIFF_KEPT ? memory->before->pools[pool->before].listen_count : 0;
	size_t kept = 0;

	for (size_t i = 0; i < pool->listen_count; i++)
		kept += pool->listen[i].state == DIFF_KEPT && pool->listen[i].pool_before == pool->before;
	if (kept == pool->listen_count && kept == count)
		return; /* at most their order differs */
	for (size_t i = 0; i < pool->change_count; i++) {
		if (strcmp(pool->changes[i].name, "listen") != 0 || pool->changes[i].section[0] != '\0')
			continue;
		pool->change_count--;
		memmove(&pool->changes[i], &pool->changes[i + 1], (pool->change_count - i) * sizeof(*pool->changes));
		return;
	}
}

static void compare_listeners(struct diff_memory *memory)
{
	struct config_diff *diff = &memory->diff;

	if (!make_taken(memory))
		return;
	for (size_t i = 0; i < diff->pool_count; i++)
		if (diff->pools[i].state != DIFF_REMOVED)
			begin_listen(memory, &diff->pools[i]);
	for (size_t i = 0; i < diff->pool_count; i++)
		move_listen(memory, &diff->pools[i]);
	for (size_t i = 0; i < diff->pool_count; i++) {
		if (diff->pools[i].state != DIFF_ADDED)
			end_listen(memory, &diff->pools[i]);
		drop_listen_change(memory, &diff->pools[i]);
	}
}

/* ---- the whole ---- */

static void compare_globals(struct diff_memory *memory)
{
	struct changes changes = {
		.arena = &memory->arena,
		.list = arena_alloc(&memory->arena, SCHEMA_KEYS * sizeof(*changes.list)),
	};

	compare_global_keys(&changes, memory);
	memory->diff.changes = changes.list;
	memory->diff.change_count = changes.count;
}

int config_diff(const struct config *before, const struct config *after, struct config_diff **ret_diff)
{
	struct diff_memory *memory = calloc(1, sizeof(*memory));
	size_t most = before->pool_count + after->pool_count;

	if (!memory)
		return -ENOMEM;
	memory->before = before;
	memory->after = after;
	memory->diff.pools = arena_alloc(&memory->arena, (most + 1) * sizeof(*memory->diff.pools));
	compare_globals(memory);
	if (memory->diff.pools) {
		match_pools(memory);
		compare_all_pools(memory);
		compare_listeners(memory);
	}
	if (memory->arena.failed) {
		config_diff_free(&memory->diff);
		return -ENOMEM;
	}
	*ret_diff = &memory->diff;
	return 0;
}

void config_diff_free(struct config_diff *diff)
{
	struct diff_memory *memory = (struct diff_memory *)(void *)diff;

	if (!memory)
		return;
	arena_done(&memory->arena);
	free(memory);
}

static bool listen_is_kept(const struct diff_pool *pool)
{
	for (size_t i = 0; i < pool->listen_count; i++)
		if (pool->listen[i].state != DIFF_KEPT || pool->listen[i].pool_before != pool->before)
			return false;
	return true;
}

bool config_diff_is_empty(const struct config_diff *diff)
{
	if (diff->change_count > 0)
		return false;
	for (size_t i = 0; i < diff->pool_count; i++) {
		const struct diff_pool *pool = &diff->pools[i];

		if (pool->state != DIFF_KEPT || pool->change_count > 0 || !listen_is_kept(pool))
			return false;
	}
	return true;
}

/* ---- in words ---- */

static const char *remark(const struct diff_change *change)
{
	switch (change->reload) {
	case RELOAD_BIND:
		return ": for listeners that are opened from now on";
	case RELOAD_RESTART:
		return ": needs a restart";
	default:
		return "";
	}
}

static void print_change(const char *pool, const struct diff_change *change, FILE *out)
{
	if (pool)
		fprintf(out, "pool \"%s\": ", pool);
	if (change->section[0] != '\0')
		fprintf(out, "%s: ", change->section);
	if (change->is_secret)
		fprintf(out, "%s: changed%s\n", change->name, remark(change));
	else
		fprintf(out, "%s: %s -> %s%s\n", change->name, change->before ? change->before : "not given",
			change->after ? change->after : "not given", remark(change));
}

static void print_listen(
	const struct config_diff *diff, const struct diff_pool *pool, const struct diff_listen *entry, FILE *out)
{
	const char *from = NULL;

	if (entry->state == DIFF_KEPT && entry->pool_before == pool->before)
		return;
	for (size_t i = 0; entry->state == DIFF_KEPT && i < diff->pool_count; i++)
		if (diff->pools[i].before == entry->pool_before)
			from = diff->pools[i].name;
	fprintf(out, "pool \"%s\": listen: \"%s\": ", pool->name, entry->text);
	if (from)
		fprintf(out, "taken over from pool \"%s\"\n", from);
	else
		fprintf(out, "%s\n", entry->state == DIFF_ADDED ? "added" : "removed");
}

/* One that comes or goes takes its listeners along; what it takes over is told. */
static void print_pool(const struct config_diff *diff, const struct diff_pool *pool, FILE *out)
{
	if (pool->state == DIFF_ADDED && pool->renamed == DIFF_NONE)
		fprintf(out, "pool \"%s\": added\n", pool->name);
	if (pool->state == DIFF_REMOVED && pool->renamed == DIFF_NONE)
		fprintf(out, "pool \"%s\": removed\n", pool->name);
	for (size_t i = 0; pool->state == DIFF_REMOVED && i < diff->pool_count; i++)
		if (pool->renamed != DIFF_NONE && diff->pools[i].after == pool->renamed)
			fprintf(out, "pool \"%s\": renamed to \"%s\"\n", pool->name, diff->pools[i].name);
	for (size_t i = 0; i < pool->change_count; i++)
		print_change(pool->name, &pool->changes[i], out);
	for (size_t i = 0; i < pool->listen_count; i++)
		if (pool->state == DIFF_KEPT || (pool->renamed == DIFF_NONE && pool->listen[i].state == DIFF_KEPT))
			print_listen(diff, pool, &pool->listen[i], out);
}

void config_diff_print(const struct config_diff *diff, FILE *out)
{
	for (size_t i = 0; i < diff->change_count; i++)
		print_change(NULL, &diff->changes[i], out);
	for (size_t i = 0; i < diff->pool_count; i++)
		print_pool(diff, &diff->pools[i], out);
}
