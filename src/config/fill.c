/* SPDX-License-Identifier: MIT */
/* The values of the parsed text into struct config, by the rows of the schema and of the handlers' tables. */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/limits.h"
#include "config/load.h"
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

/* One value of a key, or its default where SETTING is NULL. Returns whether it is accepted. */
static bool read_value(struct load *load, const char *where, const char *name, const struct value_rule *rule,
	const struct setting *setting, const char *fallback, int64_t *ret_number)
{
	char reason[VALUE_REASON_MAX];

	if (value_parse(rule, setting ? setting->text : fallback, ret_number, reason) == 0)
		return true;
	load_refuse_value(load, setting ? setting->line : 0, where, name, setting ? setting->text : fallback, reason);
	return false;
}

bool load_read_value(struct load *load, const char *where, const char *name, const struct value_rule *rule,
	const struct setting *setting, int64_t *ret_number)
{
	return read_value(load, where, name, rule, setting, "", ret_number);
}

/* All texts of a list. LINES, where not NULL, gets their lines. Returns an array ended by NULL, or NULL. */
static char **read_list(struct load *load, const char *where, const char *name, const struct value_rule *rule,
	cfg_t *section, unsigned int **lines, size_t *ret_count)
{
	size_t count = cfg_size(section, name), used = 0;
	char **list = arena_alloc(load->arena, (count + 1) * sizeof(char *));

	if (lines)
		*lines = arena_alloc(&load->scratch, (count + 1) * sizeof(unsigned int));
	if (!list || (lines && !*lines))
		return NULL;
	for (unsigned int i = 0; i < count; i++) {
		const struct setting *setting = parse_setting(section, name, i);
		int64_t length;

		if (!read_value(load, where, name, rule, setting, "", &length))
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

	if (!read_value(load, where, key->name, &key->rule, setting, key->fallback, &number))
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
	*schema_list_field(key, pool) = read_list(load, draft->outline->where, key->name, &key->rule, section,
		&draft->list_lines[schema_index(key)], schema_list_count(key, pool));
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
	unsigned int line = draft->lines[schema_index(key)];

	if (line)
		diagnostics_add(&load->diagnostics, line, draft->outline->where,
			"%s does not go with handler = %s; it goes with %s", key->name, pool->handler_name,
			load_key_handlers(load, key));
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
	else if (!setting && !key->fallback)
		refuse_missing(load, key, pool, draft);
	else if (!setting && key->inherits)
		inherit(load, key, pool);
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
	if (pool->kind != HANDLER_BECOMES)
		pool->max_workers = pool->workers;
	/* The global group goes with the global user. */
	if (parse_setting(section, "user", 0) && !parse_setting(section, "group", 0))
		pool->group = arena_text(load->arena, "");
}

/* ---- the options of a handler ---- */

/* The handle of the access log at PATH: the same for the same path. */
static int64_t log_handle(struct load *load, const char *path)
{
	struct config *config = load->config;
	char **files;

	for (size_t i = 0; i < config->access_count; i++) {
		if (strcmp(config->access_files[i], path) == 0)
			return (int64_t)i + 1;
	}
	/* There are as many as pools at most, or a few times that: growing by one in an arena is no matter. */
	files = arena_alloc(load->arena, (config->access_count + 2) * sizeof(char *));
	if (!files)
		return 0;
	if (config->access_count)
		memcpy(files, config->access_files, config->access_count * sizeof(char *));
	files[config->access_count] = arena_text(load->arena, path);
	config->access_files = files;
	return (int64_t)++config->access_count;
}

/* PATH, absolute: what is relative is so to the directory of FILE. NULL when memory is short. */
static char *absolute_path(struct load *load, const char *path, const char *file)
{
	const char *slash = strrchr(file, '/');
	char directory[PATH_MAX];

	if (path[0] == '/')
		return arena_text(load->arena, path);
	if (slash)
		path = arena_format(&load->scratch, "%.*s/%s", (int)(slash - file), file, path);
	if (!path || (slash && file[0] == '/'))
		return path ? arena_text(load->arena, path) : NULL;
	if (!getcwd(directory, sizeof(directory)))
		return arena_text(load->arena, path);
	return arena_format(load->arena, "%s/%s", directory, path);
}

/* The same for TEXT as it stands at LINE; 0: it is a default. */
static char *given_path(struct load *load, const char *text, unsigned int line)
{
	return absolute_path(load, text, line ? diagnostics_locate(&load->diagnostics, line).file : load->config->file);
}

static const char *read_file(
	struct load *load, const char *where, const char *name, const char *text, unsigned int line)
{
	if (text[0] == '\0')
		load_refuse_value(load, line, where, name, text, "is not the path of a file");
	return given_path(load, text, line);
}

static const char *read_directory(
	struct load *load, const char *where, const char *name, const char *text, unsigned int line)
{
	const char *from = text[0] == '/' ? "" : " (from the directory of this file)";
	char *path = given_path(load, text, line);
	struct stat status;

	if (!path)
		return "";
	if (text[0] == '\0')
		load_refuse_value(load, line, where, name, text, "is not the path of a directory");
	else if (stat(path, &status) < 0)
		diagnostics_add(
			&load->diagnostics, line, where, "%s = \"%s\"%s: %s", name, text, from, strerrordesc_np(errno));
	else if (!S_ISDIR(status.st_mode))
		diagnostics_add(&load->diagnostics, line, where, "%s = \"%s\"%s is not a directory", name, text, from);
	return path;
}

static int64_t read_log(struct load *load, const char *where, const char *name, const char *text, unsigned int line)
{
	if (strcmp(text, "off") == 0)
		return 0;
	if (text[0] == '/') {
		load_check_path(load, line, where, name, text, text);
		return log_handle(load, text);
	}
	load_refuse_value(load, line, where, name, text, "is neither off nor an absolute path");
	return 0;
}

static void fill_list_option(struct load *load, const char *where, const struct brood_option *option, cfg_t *section,
	union brood_value *value)
{
	struct value_rule rule = schema_option_rule(option);
	size_t count;
	char **list;

	if (section && parse_setting(section, option->name, 0))
		list = read_list(load, where, option->name, &rule, section, NULL, &count);
	else
		list = parse_list(load->arena, option->fallback[0] ? option->fallback : "{}", &count);
	value->list = (const char *const *)list;
}

static void fill_option(struct load *load, const char *where, const struct brood_option *option,
	const struct setting *setting, union brood_value *value)
{
	struct value_rule rule = schema_option_rule(option);
	const char *text = setting ? setting->text : option->fallback;
	unsigned int line = setting ? setting->line : 0;
	int64_t number;

	if (!read_value(load, where, option->name, &rule, setting, option->fallback, &number))
		return;
	if (option->type == BROOD_OPTION_LOG)
		value->number = read_log(load, where, option->name, text, line);
	else if (option->type == BROOD_OPTION_DIRECTORY)
		value->text = read_directory(load, where, option->name, text, line);
	else if (option->type == BROOD_OPTION_FILE)
		value->text = read_file(load, where, option->name, text, line);
	else if (option->type == BROOD_OPTION_TEXT)
		value->text = arena_text(load->arena, text);
	else if (option->type == BROOD_OPTION_BOOL)
		value->on = number != 0;
	else
		value->number = number;
}

/* The values of HANDLER's options, from SECTION, or NULL. WANTED: it is the pool's handler. */
static union brood_value *fill_options(struct load *load, const struct brood_module *handler, cfg_t *section,
	const struct pool_draft *draft, bool wanted)
{
	const char *where = arena_format(&load->scratch, "%s: %s", draft->outline->where, handler->name);
	bool complete = wanted && !draft->outline->damaged && !draft->outline->section_damaged;
	size_t count = schema_count_options(handler);
	union brood_value *values = arena_alloc(load->arena, (count + 1) * sizeof(*values));

	if (!values || !where)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		const struct brood_option *option = &handler->options[i];
		const struct setting *setting = section ? parse_setting(section, option->name, 0) : NULL;

		if (!setting && !option->fallback && complete)
			diagnostics_add(&load->diagnostics, draft->outline->line, where,
				"%s is missing; the handler needs it", option->name);
		if (!setting && !option->fallback)
			continue;
		if (option->type == BROOD_OPTION_LIST)
			fill_list_option(load, where, option, section, &values[i]);
		else
			fill_option(load, where, option, setting, &values[i]);
	}
	return values;
}

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
		values = fill_options(load, handler, given ? cfg_getsec(section, handler->name) : NULL, draft, wanted);
		if (wanted) {
			pool->values = values;
			draft->options_sound =
				errors == load->diagnostics.error_count && !draft->outline->section_damaged;
		} else if (pool->handler)
			diagnostics_add(&load->diagnostics, draft->outline->section_lines[i], where,
				"section %s does not go with handler = %s", handler->name, pool->handler_name);
	}
}

/* ---- pools ---- */

/* How long the kernel waits for a client's first bytes where the handler's clients speak first. */
#define CLIENT_FIRST_DEFER_S 5

/* The one default that depends on another key. */
static void fill_defer_accept(struct pool_config *pool, const struct pool_draft *draft)
{
	const struct key *key = schema_find(KEY_POOL, "defer_accept");

	if (pool->handler && pool->handler->client_first && draft->lines[schema_index(key)] == 0)
		pool->listener.defer_accept_s = CLIENT_FIRST_DEFER_S;
}

static void fill_pool(struct load *load, cfg_t *section, struct pool_config *pool, struct pool_draft *draft)
{
	struct line_run place = diagnostics_locate(&load->diagnostics, draft->outline->line);

	pool->name = arena_text(load->arena, draft->outline->name);
	pool->file = arena_text(load->arena, place.file);
	pool->line = (int)place.file_line;
	fill_kind(load, section, pool, draft);
	fill_pool_keys(load, section, pool, draft);
	limits_fill(load, section, pool, draft);
	fill_sections(load, section, pool, draft);
	fill_defer_accept(pool, draft);
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
		fill_pool(load, cfg_getnsec(tree, "pool", i), &config->pools[i], &load->drafts[i]);
		config->pool_count++;
	}
}
