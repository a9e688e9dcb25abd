/* SPDX-License-Identifier: MIT */
#include "config/parse.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/limits.h"
#include "config/schema.h"

/* Where errors of the parse under way go: libconfuse's error function gets no pointer of ours. */
static struct diagnostics *parse_diagnostics;

static void report_error(cfg_t *section, const char *format, va_list args) ATTR_PRINTF(2, 0);

/* What libconfuse finds and the outline did not. There should be nothing; the fuzzer looks for these words. */
static void report_error(cfg_t *section, const char *format, va_list args)
{
	char text[256];

	vsnprintf(text, sizeof(text), format, args);
	if (parse_diagnostics)
		diagnostics_add(parse_diagnostics, (unsigned int)section->line, "", "libconfuse: %s", text);
}

static int setting_new(cfg_t *section, cfg_opt_t *option, const char *value, void *result)
{
	size_t size = strlen(value) + 1;
	struct setting *setting = malloc(sizeof(*setting) + size);

	(void)option;
	if (!setting)
		return -1;
	setting->line = (unsigned int)section->line;
	memcpy(setting->text, value, size);
	*(struct setting **)result = setting;
	return 0;
}

/* ---- libconfuse's tables, made of ours ---- */

static cfg_opt_t option_of(const char *name, bool list)
{
	cfg_opt_t scalar = CFG_PTR_CB(name, NULL, CFGF_NONE, setting_new, free);
	cfg_opt_t many = CFG_PTR_LIST_CB(name, NULL, CFGF_NONE, setting_new, free);

	return list ? many : scalar;
}

static cfg_opt_t section_of(const char *name, cfg_opt_t *options)
{
	/* CFGF_MULTI, since libconfuse creates other sections whether they are written or not. */
	return (cfg_opt_t)CFG_SEC(name, options, CFGF_MULTI);
}

/* A handler's section. NULL when memory is short. */
static cfg_opt_t *handler_table(const struct brood_module *handler)
{
	size_t count = schema_count_options(handler);
	cfg_opt_t *table = calloc(count + 1, sizeof(cfg_opt_t));

	for (size_t i = 0; table && i < count; i++)
		table[i] = option_of(handler->options[i].name, handler->options[i].type == BROOD_OPTION_LIST);
	return table;
}

/* The keys of SECTION into TABLE. Returns their count. */
static size_t key_table(enum key_section section, cfg_opt_t *table)
{
	size_t count = 0;

	for (size_t i = 0; i < SCHEMA_KEYS; i++) {
		if (schema_keys[i].section == section)
			table[count++] = option_of(schema_keys[i].name, schema_keys[i].rule.kind == VALUE_LIST);
	}
	return count;
}

static cfg_opt_t *limits_table(void)
{
	cfg_opt_t *table = calloc(LIMIT_KEYS + 1, sizeof(cfg_opt_t));

	for (size_t i = 0; table && i < LIMIT_KEYS; i++)
		table[i] = option_of(limit_keys[i].name, false);
	return table;
}

static void options_table_free(cfg_opt_t *table)
{
	for (cfg_opt_t *option = table; option && option->name; option++)
		free((void *)(uintptr_t)option->name);
	free(table);
}

/* Of module_options. The names are ours, and freed with the table. */
static cfg_opt_t *options_table(size_t room)
{
	cfg_opt_t *table = calloc(room + 1, sizeof(cfg_opt_t));

	for (size_t i = 0; table && i < room; i++) {
		char *name;

		if (asprintf(&name, PARSE_OPTION_NAME, i) < 0) {
			options_table_free(table);
			return NULL;
		}
		table[i] = option_of(name, true);
	}
	return table;
}

static void pool_table_free(cfg_opt_t *table)
{
	for (cfg_opt_t *option = table; option && option->name; option++) {
		if (strcmp(option->name, "module_options") == 0)
			options_table_free(option->subopts);
		else
			free(option->subopts);
	}
	free(table);
}

/* Adds a section of OPTIONS, which are NULL when memory is short, to TABLE. */
static bool add_section(cfg_opt_t *table, size_t *count, const char *name, cfg_opt_t *options)
{
	if (options)
		table[(*count)++] = section_of(name, options);
	return options != NULL;
}

static cfg_opt_t *pool_table(const struct brood_module *const *handlers, size_t option_room)
{
	cfg_opt_t *table = calloc(SCHEMA_KEYS + 2 + schema_count_handlers(handlers) + 1, sizeof(cfg_opt_t));
	size_t count;
	bool complete;

	if (!table)
		return NULL;
	count = key_table(KEY_POOL, table);
	complete = add_section(table, &count, "limits", limits_table()) &&
		   add_section(table, &count, "module_options", options_table(option_room));
	for (; *handlers && complete; handlers++) {
		if (schema_has_section(*handlers))
			complete = add_section(table, &count, (*handlers)->name, handler_table(*handlers));
	}
	if (complete)
		return table;
	pool_table_free(table);
	return NULL;
}

static cfg_t *tree_new(const struct brood_module *const *handlers, size_t option_room)
{
	cfg_opt_t table[SCHEMA_KEYS + 2] = { 0 };
	cfg_opt_t *pool = pool_table(handlers, option_room);
	cfg_t *tree;

	if (!pool)
		return NULL;
	table[key_table(KEY_GLOBAL, table)] = section_of("pool", pool);
	tree = cfg_init(table, CFGF_NONE);
	pool_table_free(pool);
	if (tree)
		cfg_set_error_function(tree, report_error);
	return tree;
}

/* ---- the parse ---- */

cfg_t *parse_text(const char *text, const struct brood_module *const *handlers, size_t option_room,
	struct diagnostics *diagnostics)
{
	cfg_t *tree = tree_new(handlers, option_room);
	int result;

	if (!tree)
		return NULL;
	parse_diagnostics = diagnostics;
	result = cfg_parse_buf(tree, text);
	parse_diagnostics = NULL;
	if (result == CFG_SUCCESS)
		return tree;
	cfg_free(tree);
	return NULL;
}

const struct setting *parse_setting(cfg_t *section, const char *name, unsigned int index)
{
	cfg_opt_t *option = cfg_getopt(section, name);

	return option && index < cfg_opt_size(option) ? cfg_opt_getnptr(option, index) : NULL;
}

/* Copies the values of the tree's option "list". */
static char **copy_list(struct arena *arena, cfg_t *tree, size_t *ret_count)
{
	unsigned int count = cfg_size(tree, "list");
	char **list = arena_alloc(arena, (count + 1) * sizeof(char *));

	for (unsigned int i = 0; list && i < count; i++)
		list[i] = arena_text(arena, parse_setting(tree, "list", i)->text);
	*ret_count = count;
	return arena->failed ? NULL : list;
}

char **parse_list(struct arena *arena, const char *text, size_t *ret_count)
{
	cfg_opt_t table[] = { option_of("list", true), CFG_END() };
	char *assignment = arena_format(arena, "list = %s", text);
	cfg_t *tree = assignment ? cfg_init(table, CFGF_NONE) : NULL;
	char **list = NULL;

	if (!tree)
		return NULL;
	cfg_set_error_function(tree, report_error);
	if (cfg_parse_buf(tree, assignment) == CFG_SUCCESS)
		list = copy_list(arena, tree, ret_count);
	cfg_free(tree);
	return list;
}

char *parse_word(struct arena *arena, const char *word, size_t size)
{
	char *text = arena_copy(arena, word, size);
	size_t count = 0;
	char **list = text ? parse_list(arena, text, &count) : NULL;

	return list && count == 1 ? list[0] : NULL;
}
