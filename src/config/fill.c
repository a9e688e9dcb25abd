/* SPDX-License-Identifier: MIT */
/* The values of the parsed text into struct config, by the rows of the schema and of the handlers' tables. */
#include <string.h>

#include "config/limits.h"
#include "config/load.h"
#include "config/options.h"
#include "config/values.h"

/* ---- errors ---- */

static bool is_plain(const char *value)
{
	return value[0] != '\0' &&
	       strspn(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") == strlen(value);
}

void load_refuse_value(struct load *load, unsigned int line, const char *where, const char *name, const char *value,
	const char *reason)
{
	const char *quote = is_plain(value) ? "" : "\"";
	const char *rest = strlen(value) > 100 ? "..." : "";

	diagnostics_add(
		&load->diagnostics, line, where, "%s = %s%.100s%s%s %s", name, quote, value, rest, quote, reason);
}

unsigned int load_pool_line(const struct pool_draft *draft, const char *name)
{
	unsigned int line = draft->lines[schema_index(schema_find(KEY_POOL, name))];

	return line ? line : draft->outline->line;
}

const unsigned int *load_list_lines(const struct pool_draft *draft, const char *name)
{
	return draft->list_lines[schema_index(schema_find(KEY_POOL, name))];
}

const char *load_key_handlers(struct load *load, const struct key *key)
{
	const char *names = "";

	for (size_t i = 0; load->handlers[i] && names; i++) {
		if (schema_goes_with(key, schema_handler_kind(load->handlers[i]->name)))
			names = arena_format(
				&load->scratch, "%s%s%s", names, names[0] ? ", " : "", load->handlers[i]->name);
	}
	return names && names[0] ? names : "no handler that is built in";
}

/* ---- keys ---- */

bool load_read_value(struct load *load, const char *where, const char *name, const struct value_rule *rule,
	const struct setting *setting, const char *fallback, int64_t *ret_number)
{
	char reason[VALUE_REASON_MAX];

	if (value_parse(rule, setting ? setting->text : fallback, ret_number, reason) == 0)
		return true;
	load_refuse_value(load, setting ? setting->line : 0, where, name, setting ? setting->text : fallback, reason);
	return false;
}

char **load_read_list(struct load *load, const char *where, const char *name, const struct value_rule *rule,
	cfg_t *section, const char *written, unsigned int **lines, size_t *ret_count)
{
	size_t count = cfg_size(section, written), used = 0;
	char **list = arena_alloc(load->arena, (count + 1) * sizeof(char *));

	if (lines)
		*lines = arena_alloc(&load->scratch, (count + 1) * sizeof(unsigned int));
	if (!list || (lines && !*lines))
		return NULL;
	for (unsigned int i = 0; i < count; i++) {
		const struct setting *setting = parse_setting(section, written, i);
		int64_t length;

		if (!load_read_value(load, where, name, rule, setting, "", &length))
			continue;
		if (lines)
			(*lines)[used] = setting->line;
		list[used++] = arena_text(load->arena, setting->text);
	}
	*ret_count = used;
	return list;
}

/* A key that is a number or a text. */
static void fill_scalar(
	struct load *load, const char *where, const struct key *key, const struct setting *setting, void *object)
{
	int64_t number;

	if (!load_read_value(load, where, key->name, &key->rule, setting, key->fallback, &number))
		return;
	if (key->rule.kind == VALUE_TEXT)
		*schema_text_field(key, object) = arena_text(load->arena, setting ? setting->text : key->fallback);
	else
		schema_set_number(key, object, number);
}

static void fill_globals(struct load *load, cfg_t *tree)
{
	for (size_t i = 0; i < SCHEMA_KEYS; i++) {
		const struct key *key = &schema_keys[i];
		const struct setting *setting;

		if (key->section != KEY_GLOBAL)
			continue;
		setting = parse_setting(tree, key->name, 0);
		load->lines[i] = setting ? setting->line : 0;
		fill_scalar(load, "", key, setting, load->config);
	}
}

/* The value of the global key of that name. */
static void inherit(struct load *load, const struct key *key, struct pool_config *pool)
{
	const struct key *global = schema_find(KEY_GLOBAL, key->inherits);

	if (key->rule.kind == VALUE_TEXT)
		*schema_text_field(key, pool) = *schema_text_field(global, load->config);
	else
		schema_set_number(key, pool, schema_get_number(global, load->config));
}

static void fill_list(
	struct load *load, const struct key *key, cfg_t *section, struct pool_config *pool, struct pool_draft *draft)
{
	*schema_list_field(key, pool) = load_read_list(load, draft->outline->where, key->name, &key->rule, section,
		key->name, &draft->list_lines[schema_index(key)], schema_list_count(key, pool));
}

static void fill_default_list(struct load *load, const struct key *key, struct pool_config *pool)
{
	*schema_list_field(key, pool) = parse_list(load->arena, key->fallback, schema_list_count(key, pool));
}

static void refuse_missing(
	struct load *load, const struct key *key, const struct pool_config *pool, const struct pool_draft *draft)
{
	/* It may be in what the outline has left out. */
	if (draft->outline->damaged)
		return;
	if (key->kinds == 0)
		diagnostics_add(&load->diagnostics, draft->outline->line, draft->outline->where,
			"%s is missing; a pool needs it", key->name);
	else if (pool->kind != HANDLER_KINDS)
		diagnostics_add(&load->diagnostics, draft->outline->line, draft->outline->where,
			"%s is missing; handler = %s needs it", key->name, pool->handler_name);
}

/* A key that the pool's handler has no use for: 0, "" or an empty list. What is given is an error. */
static void fill_foreign(
	struct load *load, const struct key *key, cfg_t *section, struct pool_config *pool, struct pool_draft *draft)
{
	unsigned int line = outline_key_line(draft->outline, key->name);
	const char *why = pool->kind == HANDLER_KINDS ? NULL : key->why[pool->kind];

	if (line)
		diagnostics_add(&load->diagnostics, line, draft->outline->where,
			"%s does not go with handler = %s%s%s; it goes with %s", key->name, pool->handler_name,
			why ? ": " : "", why ? why : "", load_key_handlers(load, key));
	if (key->rule.kind == VALUE_LIST)
		fill_list(load, key, section, pool, draft);
	else if (key->rule.kind == VALUE_TEXT)
		*schema_text_field(key, pool) = arena_text(load->arena, "");
}

static void fill_pool_key(
	struct load *load, const struct key *key, cfg_t *section, struct pool_config *pool, struct pool_draft *draft)
{
	const struct setting *setting = parse_setting(section, key->name, 0);

	draft->lines[schema_index(key)] = setting ? setting->line : 0;
	if (!schema_goes_with(key, pool->kind))
		fill_foreign(load, key, section, pool, draft);
	else if (!setting && !schema_is_meant(key, pool))
		return;
	else if (!setting && !key->fallback)
		refuse_missing(load, key, pool, draft);
	else if (!setting && key->inherits)
		inherit(load, key, pool);
	else if (key->rule.kind == VALUE_LIST && !setting && !outline_key_line(draft->outline, key->name))
		fill_default_list(load, key, pool);
	else if (key->rule.kind == VALUE_LIST)
		fill_list(load, key, section, pool, draft);
	else
		fill_scalar(load, draft->outline->where, key, setting, pool);
}

static void fill_pool_keys(struct load *load, cfg_t *section, struct pool_config *pool, struct pool_draft *draft)
{
	const struct key *handler = schema_find(KEY_POOL, "handler"); /* fill_kind() has read it */

	for (const struct key *key = schema_keys; key < schema_keys + SCHEMA_KEYS; key++) {
		if (key->section == KEY_POOL && key != handler)
			fill_pool_key(load, key, section, pool, draft);
	}
	size_fill(pool, draft);
	/* The global group goes with the global user. */
	if (parse_setting(section, "user", 0) && !parse_setting(section, "group", 0))
		pool->group = arena_text(load->arena, "");
}

/* ---- handlers ---- */

/* "echo, http" */
static const char *handler_names(struct load *load)
{
	const char *names = "";

	for (size_t i = 0; load->handlers[i] && names; i++)
		names = arena_format(&load->scratch, "%s%s%s", names, i ? ", " : "", load->handlers[i]->name);
	return names ? names : "";
}

static const struct brood_module *find_handler(const struct load *load, const char *name)
{
	for (size_t i = 0; name && load->handlers[i]; i++) {
		if (strcmp(load->handlers[i]->name, name) == 0)
			return load->handlers[i];
	}
	return NULL;
}

/* Finds the handler, by which goes what else the pool may have. */
static void fill_kind(struct load *load, cfg_t *section, struct pool_config *pool, struct pool_draft *draft)
{
	const struct key *key = schema_find(KEY_POOL, "handler");

	pool->kind = HANDLER_KINDS;
	fill_pool_key(load, key, section, pool, draft);
	pool->handler = find_handler(load, pool->handler_name);
	if (pool->handler)
		pool->kind = schema_handler_kind(pool->handler->name);
	else if (pool->handler_name)
		diagnostics_add(&load->diagnostics, draft->lines[schema_index(key)], draft->outline->where,
			"handler = \"%.100s\" is none of %s", pool->handler_name, handler_names(load));
}

/* The options of HANDLER from its section, if it has one. */
static union brood_value *fill_handler_options(
	struct load *load, const struct brood_module *handler, cfg_t *section, struct pool_draft *draft, bool wanted)
{
	const struct option_source source = {
		.module = handler,
		.section = section,
		.where = arena_format(&load->scratch, "%s: %s", draft->outline->where, handler->name),
		.missing_line = draft->outline->line,
		.complete = wanted && !draft->outline->damaged && !draft->outline->section_damaged,
	};

	return source.where ? options_fill(load, &source) : NULL;
}

/* Reads the sections of handlers: also those that do not belong, for their errors. */
static void fill_sections(struct load *load, cfg_t *section, struct pool_config *pool, struct pool_draft *draft)
{
	const char *where = draft->outline->where;

	for (size_t i = 0; load->handlers[i]; i++) {
		const struct brood_module *handler = load->handlers[i];
		bool own = schema_has_section(handler);
		bool wanted = handler == pool->handler, given = own && cfg_size(section, handler->name) > 0;
		union brood_value *values;
		size_t errors;

		if (!own || (!wanted && !given))
			continue;
		errors = load->diagnostics.error_count;
		values = fill_handler_options(
			load, handler, given ? cfg_getsec(section, handler->name) : NULL, draft, wanted);
		if (wanted) {
			pool->values = values;
			draft->options_sound =
				errors == load->diagnostics.error_count && !draft->outline->section_damaged;
		} else if (pool->handler)
			diagnostics_add(&load->diagnostics, draft->outline->section_lines[i], where,
				"section %s does not go with handler = %s", handler->name, pool->handler_name);
	}
	if (draft->outline->options_line && pool->handler && pool->kind != HANDLER_LOADS)
		diagnostics_add(&load->diagnostics, draft->outline->options_line, where,
			"section module_options does not go with handler = %s; it goes with module",
			pool->handler_name);
}

/* The absolute path of the module. */
static void fill_module(struct load *load, struct pool_config *pool, const struct pool_draft *draft)
{
	unsigned int line = draft->lines[schema_index(schema_find(KEY_POOL, "module"))];

	if (pool->kind != HANDLER_LOADS || !pool->module)
		return;
	if (pool->module[0] == '\0') {
		load_refuse_value(load, line, draft->outline->where, "module", "", "is not the path of a file");
		pool->module = NULL;
		return;
	}
	pool->module = load_absolute_path(load, pool->module, line);
}

/* ---- pools ---- */

/* How long the kernel waits for a client's first bytes where the handler's clients speak first. */
#define CLIENT_FIRST_DEFER_S 5

void load_fill_defer_accept(
	struct pool_config *pool, const struct brood_module *handler, const struct pool_draft *draft)
{
	const struct key *key = schema_find(KEY_POOL, "defer_accept");

	if (handler && handler->client_first && draft->lines[schema_index(key)] == 0)
		pool->listener.defer_accept_s = CLIENT_FIRST_DEFER_S;
}

static void fill_pool(struct load *load, cfg_t *section, struct pool_config *pool, struct pool_draft *draft)
{
	struct line_run place = diagnostics_locate(&load->diagnostics, draft->outline->line);

	pool->name = arena_text(load->arena, draft->outline->name);
	pool->file = arena_text(load->arena, place.file);
	pool->line = (int)place.file_line;
	fill_kind(load, section, pool, draft);
	size_choose(section, pool);
	fill_pool_keys(load, section, pool, draft);
	limits_fill(load, section, pool, draft);
	fill_sections(load, section, pool, draft);
	fill_module(load, pool, draft);
	load_fill_defer_accept(pool, pool->handler, draft);
}

void load_fill(struct load *load, cfg_t *tree)
{
	struct config *config = load->config;
	const struct outline_pool *outline = load->outline.pools;
	size_t count = cfg_size(tree, "pool");

	fill_globals(load, tree);
	config->pools = arena_alloc(load->arena, (count + 1) * sizeof(*config->pools));
	load->drafts = arena_alloc(&load->scratch, (count + 1) * sizeof(*load->drafts));
	if (!config->pools || !load->drafts)
		return;
	for (unsigned int i = 0; i < count && outline; i++, outline = outline->next) {
		load->drafts[i].outline = outline;
		load->drafts[i].section = cfg_getnsec(tree, "pool", i);
		fill_pool(load, load->drafts[i].section, &config->pools[i], &load->drafts[i]);
		config->pool_count++;
	}
}
