/* SPDX-License-Identifier: MIT */
#include "config/options.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/load.h"
#include "config/values.h"

/* ---- logs and paths ---- */

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

char *load_absolute_path(struct load *load, const char *path, unsigned int line)
{
	const char *file = line ? diagnostics_locate(&load->diagnostics, line).file : load->config->file;
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

static const char *read_file(
	struct load *load, const char *where, const char *name, const char *text, unsigned int line)
{
	if (text[0] == '\0')
		load_refuse_value(load, line, where, name, text, "is not the path of a file");
	return load_absolute_path(load, text, line);
}

static const char *read_directory(
	struct load *load, const char *where, const char *name, const char *text, unsigned int line)
{
	const char *from = text[0] == '/' ? "" : " (from the directory of this file)";
	char *path = load_absolute_path(load, text, line);
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

/* ---- options ---- */

/* What is given of an option. */
struct given {
	const struct option_source *source;
	const struct brood_option *option;
	struct value_rule rule;
	const struct name *name; /* in an open section */
	const char *written;     /* how the section calls it; NULL: it is not given */
	unsigned int line;
};

/* What an open section has under that name, or NULL. */
static const struct name *find_name(const struct option_source *source, const char *name)
{
	for (size_t i = 0; i < source->name_count; i++) {
		const struct name *entry = &source->names[i];

		if (entry->kind == NAME_ANY && strcmp(entry->text, name) == 0)
			return entry;
	}
	return NULL;
}

static struct given find_given(const struct option_source *source, const struct brood_option *option)
{
	struct given given = { .source = source, .option = option, .rule = schema_option_rule(option) };

	given.line = source->default_line;
	if (!source->section)
		return given;
	given.name = source->names ? find_name(source, option->name) : NULL;
	if (given.name)
		given.line = given.name->seen;
	if (source->names)
		given.written = given.name ? given.name->written : NULL;
	else if (parse_setting(source->section, option->name, 0))
		given.written = option->name;
	return given;
}

/* An open section takes a value for a list and a list for a value. Returns whether that is right. */
static bool check_shape(struct load *load, const struct given *given)
{
	const char *fallback = given->option->fallback;
	bool may_be_empty = fallback && strspn(fallback, "{ }") == strlen(fallback);

	if (!given->name || !given->name->is_list)
		return true;
	if (given->option->type != BROOD_OPTION_LIST)
		diagnostics_add(&load->diagnostics, given->line, given->source->where, "%s takes one value, not a list",
			given->option->name);
	else if (!may_be_empty && cfg_size(given->source->section, given->written) == 0)
		diagnostics_add(&load->diagnostics, given->line, given->source->where,
			"%s is an empty list; at least one value is needed", given->option->name);
	else
		return true;
	return false;
}

static void fill_list_option(struct load *load, const struct given *given, union brood_value *value)
{
	const char *fallback = given->option->fallback;
	size_t count;
	char **list;

	if (given->written)
		list = load_read_list(load, given->source->where, given->option->name, &given->rule,
			given->source->section, given->written, NULL, &count);
	else
		list = parse_list(load->arena, fallback[0] ? fallback : "{}", &count);
	value->list = (const char *const *)list;
}

static void fill_option(struct load *load, const struct given *given, union brood_value *value)
{
	const struct brood_option *option = given->option;
	const char *where = given->source->where;
	const struct setting *setting =
		given->written ? parse_setting(given->source->section, given->written, 0) : NULL;
	const char *text = setting ? setting->text : option->fallback;
	unsigned int line = setting ? setting->line : given->line;
	int64_t number;

	/* It was given, and refused by the outline. */
	if (!text || !load_read_value(load, where, option->name, &given->rule, setting, option->fallback, &number))
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

union brood_value *options_fill(struct load *load, const struct option_source *source)
{
	size_t count = schema_count_options(source->module);
	union brood_value *values = arena_alloc(load->arena, (count + 1) * sizeof(*values));

	for (size_t i = 0; values && i < count; i++) {
		const struct brood_option *option = &source->module->options[i];
		struct given given = find_given(source, option);

		if (!given.written && !option->fallback) {
			if (source->complete)
				diagnostics_add(&load->diagnostics, source->missing_line, source->where,
					"%s is missing; the %s needs it", option->name,
					source->names ? "module" : "handler");
		} else if (!check_shape(load, &given)) {
			continue;
		} else if (option->type == BROOD_OPTION_LIST) {
			fill_list_option(load, &given, &values[i]);
		} else {
			fill_option(load, &given, &values[i]);
		}
	}
	return values;
}
