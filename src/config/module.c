/* SPDX-License-Identifier: MIT */
/* Pools of modules: what the module says of itself, and its options by that. */
#include <string.h>

#include "config/load.h"
#include "config/options.h"

static const char *options_where(struct load *load, const struct pool_draft *draft)
{
	const char *where = arena_format(&load->scratch, "%s: module_options", draft->outline->where);

	return where ? where : "";
}

/* Has the module described. Returns false after an error, or where nobody is asked. */
static bool describe(struct load *load, struct pool_config *pool, const struct pool_draft *draft)
{
	unsigned int line = load_pool_line(draft, "module");
	char reason[LOAD_REASON_MAX] = "";

	if (!load->probe.module_describe || !pool->module || !draft->identity_known || load->outline.damaged ||
		draft->outline->damaged)
		return false;
	if (load->probe.module_describe(pool, &pool->description, reason, sizeof(reason)) < 0) {
		pool->description = NULL;
		load_refuse_value(load, line, draft->outline->where, "module", pool->module, reason);
		return false;
	}
	if (options_check_table(pool->description, reason, sizeof(reason)))
		return true;
	load_refuse_value(load, line, draft->outline->where, "module", pool->module, reason);
	return false;
}

static void refuse_option(struct load *load, const struct level *level, const struct name *name)
{
	char text[NAME_EXPLANATION_MAX];

	/* It knows include, as every section does. */
	if (level->name_count == 1)
		diagnostics_add(&load->diagnostics, name->seen, level->where, "unknown option %s; the module has none",
			name->text);
	else
		diagnostics_add(&load->diagnostics, name->seen, level->where, "%s",
			level_explain(level, "option", name->text, strlen(name->text), text));
}

/* What is given and the module does not have. */
static void refuse_unknown(struct load *load, const struct pool_config *pool, const struct pool_draft *draft)
{
	struct level level = { .kind = LEVEL_HANDLER, .where = options_where(load, draft), .handlers = load->handlers };

	if (level_init(&level, pool->description, &load->scratch) < 0)
		return;
	for (size_t i = 0; i < draft->outline->option_count; i++) {
		const struct name *name = &draft->outline->options[i];

		if (name->kind == NAME_ANY && !level_find(&level, name->text, strlen(name->text)))
			refuse_option(load, &level, name);
	}
}

static void fill_values(struct load *load, struct pool_config *pool, const struct pool_draft *draft)
{
	static const struct name no_names[1];
	const struct outline_pool *outline = draft->outline;
	unsigned int line = load_pool_line(draft, "module");
	const struct option_source source = {
		.module = pool->description,
		.where = options_where(load, draft),
		.section = cfg_size(draft->section, "module_options") ? cfg_getsec(draft->section, "module_options")
								      : NULL,
		.names = outline->options ? outline->options : no_names,
		.name_count = outline->option_count,
		.missing_line = outline->options_line ? outline->options_line : line,
		.default_line = line,
		.complete = !outline->section_damaged,
	};

	pool->values = options_fill(load, &source);
}

/* The module's own rules, where every option by itself is sound. */
static void check_values(struct load *load, const struct pool_config *pool, const struct pool_draft *draft)
{
	unsigned int options_line = draft->outline->options_line;
	char reason[LOAD_REASON_MAX] = "";

	if (load->probe.module_check && load->probe.module_check(pool, reason, sizeof(reason)) < 0)
		diagnostics_add(&load->diagnostics, options_line ? options_line : load_pool_line(draft, "module"),
			options_where(load, draft), "%s", reason);
}

void load_check_module(struct load *load, struct pool_config *pool, struct pool_draft *draft)
{
	size_t errors;

	if (pool->kind != HANDLER_LOADS || !describe(load, pool, draft))
		return;
	load_fill_defer_accept(pool, pool->description, draft);
	errors = load->diagnostics.error_count;
	fill_values(load, pool, draft);
	refuse_unknown(load, pool, draft);
	draft->options_sound = errors == load->diagnostics.error_count && !draft->outline->section_damaged;
	if (draft->options_sound && pool->values)
		check_values(load, pool, draft);
}
