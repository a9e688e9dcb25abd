/* SPDX-License-Identifier: MIT */
#include "config/names.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "config/limits.h"
#include "config/parse.h"
#include "config/schema.h"

static size_t count_names(const struct level *level, const struct brood_module *handler)
{
	size_t options = handler ? schema_count_options(handler) : 0;

	if (level->kind == LEVEL_OPTIONS)
		return MODULE_OPTIONS_MAX + 1; /* include */
	/* pool, or limits and module_options; include */
	return SCHEMA_KEYS + LIMIT_KEYS + schema_count_handlers(level->handlers) + options + 3;
}

static void add_name(struct level *level, const char *text, enum name_kind kind, const struct brood_module *handler)
{
	level->names[level->name_count++] = (struct name){ .text = text, .kind = kind, .handler = handler };
}

/* name = value, or a list. */
static void add_value(struct level *level, const char *text, bool list, const char *fallback)
{
	add_name(level, text, list ? NAME_LIST : NAME_VALUE, NULL);
	level->names[level->name_count - 1].may_be_empty =
		list && fallback && strspn(fallback, "{ }") == strlen(fallback);
}

static void add_keys(struct level *level, enum key_section section)
{
	for (size_t i = 0; i < SCHEMA_KEYS; i++) {
		const struct key *key = &schema_keys[i];

		if (key->section == section)
			add_value(level, key->name, key->rule.kind == VALUE_LIST, key->fallback);
	}
}

/* The handlers whose options stand in a section of their own. */
static void add_handlers(struct level *level)
{
	for (size_t i = 0; level->handlers[i]; i++) {
		if (schema_has_section(level->handlers[i]))
			add_name(level, level->handlers[i]->name, NAME_HANDLER, level->handlers[i]);
	}
}

static void add_options(struct level *level, const struct brood_module *handler)
{
	for (const struct brood_option *option = handler->options; option && option->name; option++)
		add_value(level, option->name, option->type == BROOD_OPTION_LIST, option->fallback);
}

static void add_limits(struct level *level)
{
	for (size_t i = 0; i < LIMIT_KEYS; i++)
		add_value(level, limit_keys[i].name, false, NULL);
}

int level_init(struct level *level, const struct brood_module *handler, struct arena *arena)
{
	level->names = arena_alloc(arena, count_names(level, handler) * sizeof(struct name));
	level->name_count = 0;
	if (!level->names)
		return -ENOMEM;
	switch (level->kind) {
	case LEVEL_FILE:
		add_keys(level, KEY_GLOBAL);
		add_name(level, "pool", NAME_POOL, NULL);
		break;
	case LEVEL_POOL:
		add_keys(level, KEY_POOL);
		add_name(level, "limits", NAME_LIMITS, NULL);
		add_name(level, "module_options", NAME_OPTIONS, NULL);
		add_handlers(level);
		break;
	case LEVEL_HANDLER:
		add_options(level, handler);
		break;
	case LEVEL_LIMITS:
		add_limits(level);
		break;
	case LEVEL_OPTIONS:
		break;
	}
	add_name(level, "include", NAME_INCLUDE, NULL);
	return 0;
}

bool option_name_valid(const char *text, size_t size)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789-";
	const size_t first_letters = 53;

	if (size == 0 || size > OPTION_NAME_MAX || !memchr(letters, text[0], first_letters))
		return false;
	for (size_t i = 0; i < size; i++) {
		if (!memchr(letters, text[i], sizeof(letters) - 1))
			return false;
	}
	return true;
}

struct name *level_add(struct level *level, const char *text, size_t size, struct arena *arena)
{
	struct name *name = &level->names[level->name_count];
	/* Names of ours for libconfuse: it need not be told which ones there are. */
	char *copy, *written;

	if (level->name_count > MODULE_OPTIONS_MAX)
		return NULL;
	copy = arena_copy(arena, text, size);
	written = arena_format(arena, PARSE_OPTION_NAME, level->name_count);
	if (!copy || !written)
		return NULL;
	*name = (struct name){ .text = copy, .kind = NAME_ANY, .may_be_empty = true, .written = written };
	level->name_count++;
	return name;
}

static bool is_name(const char *name, const char *text, size_t size)
{
	return strlen(name) == size && memcmp(name, text, size) == 0;
}

struct name *level_find(const struct level *level, const char *text, size_t size)
{
	for (size_t i = 0; i < level->name_count; i++) {
		if (is_name(level->names[i].text, text, size))
			return &level->names[i];
	}
	return NULL;
}

/* ---- names that are not there ---- */

/* How many letters must be changed, added or left out to make one of the other (Levenshtein). */
static size_t name_distance(const char *name, const char *text, size_t size)
{
	enum { LONGEST = 32 };
	size_t row[LONGEST + 1], name_size = strlen(name);

	if (size > LONGEST || name_size > LONGEST)
		return LONGEST;
	for (size_t j = 0; j <= size; j++)
		row[j] = j;
	for (size_t i = 1; i <= name_size; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= size; j++) {
			size_t change = diagonal + (name[i - 1] != text[j - 1]);
			size_t longer = 1 + (row[j] < row[j - 1] ? row[j] : row[j - 1]);

			diagonal = row[j];
			row[j] = change < longer ? change : longer;
		}
	}
	return row[size];
}

/* The name that was probably meant, or NULL. */
static const char *level_nearest(const struct level *level, const char *text, size_t size)
{
	size_t nearest = size < 4 ? 2 : 3;
	const char *found = NULL;

	for (size_t i = 0; i < level->name_count; i++) {
		size_t distance = name_distance(level->names[i].text, text, size);

		if (distance < nearest) {
			nearest = distance;
			found = level->names[i].text;
		}
	}
	return found;
}

/* Where else the name is known, as the end of "it belongs ...", or NULL. */
static const char *level_elsewhere(const struct level *level, const char *text, size_t size)
{
	for (size_t i = 0; i < SCHEMA_KEYS; i++) {
		const struct key *key = &schema_keys[i];

		if (!is_name(key->name, text, size))
			continue;
		if (key->section == KEY_POOL)
			return level->kind == LEVEL_FILE ? "inside a pool" : "in the pool, outside this section";
		return "outside the pools";
	}
	if (is_name("limits", text, size) || is_name("module_options", text, size))
		return level->kind == LEVEL_FILE ? "inside a pool" : "in the pool, outside this section";
	for (size_t i = 0; level->handlers[i]; i++) {
		if (is_name(level->handlers[i]->name, text, size) && schema_has_section(level->handlers[i]))
			return "inside a pool";
	}
	return NULL;
}

/* What other servers of programs have and brood does not, or NULL. */
static const char *level_refusal(const struct level *level, const char *text, size_t size)
{
	static const char *const names[] = { "wait", "socket_type", "protocol" };

	for (size_t i = 0; i < ARRAY_SIZE(names) && level->kind == LEVEL_POOL; i++) {
		if (is_name(names[i], text, size))
			return "each connection has a worker of its own, as with wait = no; UDP and wait services are "
			       "not brood's";
	}
	for (size_t i = 0; level->kind == LEVEL_POOL && level->handlers[i]; i++) {
		if (is_name(level->handlers[i]->name, text, size) && !schema_has_section(level->handlers[i]))
			return "this handler has no section; its keys are keys of the pool";
	}
	return NULL;
}

char *level_explain(const struct level *level, const char *what, const char *text, size_t size, char *buffer)
{
	const char *elsewhere = level_elsewhere(level, text, size);
	const char *nearest = level_nearest(level, text, size);
	const char *refusal = level_refusal(level, text, size);
	int shown = size > 60 ? 60 : (int)size;
	size_t used;

	if (refusal) {
		snprintf(buffer, NAME_EXPLANATION_MAX, "unknown %s %.*s; %s", what, shown, text, refusal);
		return buffer;
	}
	if (elsewhere) {
		snprintf(buffer, NAME_EXPLANATION_MAX, "%.*s is unknown here; it belongs %s", shown, text, elsewhere);
		return buffer;
	}
	if (nearest) {
		snprintf(buffer, NAME_EXPLANATION_MAX, "unknown %s %.*s; did you mean %s?", what, shown, text, nearest);
		return buffer;
	}
	used = (size_t)snprintf(buffer, NAME_EXPLANATION_MAX, "unknown %s %.*s; accepted are", what, shown, text);
	for (size_t i = 0; i < level->name_count && used < NAME_EXPLANATION_MAX; i++)
		used += (size_t)snprintf(
			buffer + used, NAME_EXPLANATION_MAX - used, "%s %s", i ? "," : "", level->names[i].text);
	return buffer;
}
