/* SPDX-License-Identifier: MIT */
#include "config/config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config/load.h"
#include "config/source.h"

/* A configuration and the memory it lives in. */
struct config_memory {
	struct config config;
	struct arena arena;
	void (*description_free)(struct brood_module *description); /* of the modules' */
};

static struct config *config_new(const char *file)
{
	struct config_memory *memory = calloc(1, sizeof(*memory));

	if (!memory)
		return NULL;
	memory->config.file = arena_text(&memory->arena, file);
	if (!memory->config.file) {
		config_free(&memory->config);
		return NULL;
	}
	return &memory->config;
}

static struct config_memory *config_memory(struct config *config)
{
	return (struct config_memory *)(void *)config;
}

struct arena *config_arena(struct config *config)
{
	return &config_memory(config)->arena;
}

void config_free(struct config *config)
{
	struct arena arena;

	if (!config)
		return;
	for (size_t i = 0; i < config->pool_count; i++) {
		if (config->pools[i].description)
			config_memory(config)->description_free(config->pools[i].description);
	}
	arena = config_memory(config)->arena;
	arena_done(&arena);
	free(config);
}

/* What the command line says goes over what the file says. */
static void apply_overrides(struct load *load)
{
	const struct config_overrides *overrides = load->overrides;

	if (!overrides)
		return;
	if (overrides->pidfile)
		load->config->pidfile = arena_text(load->arena, overrides->pidfile);
	if (overrides->log_target)
		load->config->log_target = arena_text(load->arena, overrides->log_target);
	if (overrides->log_level >= 0)
		load->config->log_level = (enum log_level)overrides->log_level;
}

/* All passes over SOURCE. Returns 0, -EINVAL after errors of the text's, or -ENOMEM. */
static int load_source(struct load *load, const struct source *source)
{
	struct diagnostics *diagnostics = &load->diagnostics;
	cfg_t *tree;
	int result;

	load->outline.handlers = load->handlers;
	load->outline.diagnostics = diagnostics;
	load->outline.arena = &load->scratch;
	result = outline_text(&load->outline, load->config->file, source);
	if (result < 0)
		return result;
	tree = parse_text(load->outline.text, load->handlers, load->outline.option_room, diagnostics);
	if (tree) {
		load_fill(load, tree);
		apply_overrides(load);
		load_check(load);
		cfg_free(tree);
	}
	if (diagnostics->failed || load->arena->failed || load->scratch.failed)
		return -ENOMEM;
	if (diagnostics->error_count > 0)
		return -EINVAL;
	return tree ? 0 : -ENOMEM;
}

static int load_named(const char *name, const struct source *source, bool refuse_includes,
	const struct config_host *host, const struct config_overrides *overrides, FILE *errors,
	struct config **ret_config)
{
	struct load load = {
		.handlers = host->handlers,
		.probe = host->probe ? *host->probe : (struct config_probe){ 0 },
		.overrides = overrides,
		.config = config_new(name),
		.outline = { .refuse_includes = refuse_includes },
	};
	int result;

	if (!load.config)
		return -ENOMEM;
	load.arena = config_arena(load.config);
	config_memory(load.config)->description_free = load.probe.description_free;
	result = load_source(&load, source);
	diagnostics_print(&load.diagnostics, errors);
	outline_done(&load.outline);
	diagnostics_done(&load.diagnostics);
	arena_done(&load.scratch);
	if (result < 0) {
		config_free(load.config);
		return result;
	}
	*ret_config = load.config;
	return 0;
}

int config_load(const char *file, const struct config_host *host, const struct config_overrides *overrides,
	FILE *errors, struct config **ret_config)
{
	struct source source;
	const char *reason;
	int result;

	result = source_read(file, &source, &reason);
	if (result < 0) {
		fprintf(errors, "%s: %s\n", file, reason);
		return result == -ENOMEM ? -ENOMEM : -EINVAL;
	}
	result = load_named(file, &source, false, host, overrides, errors, ret_config);
	source_done(&source);
	return result;
}

int config_load_text(const char *text, size_t size, const char *name, const struct config_host *host,
	const struct config_overrides *overrides, FILE *errors, struct config **ret_config)
{
	struct source source = { .size = size, .text = malloc(size + 1) };
	int result;

	if (!source.text)
		return -ENOMEM;
	memcpy(source.text, text, size);
	source.text[size] = '\0';
	result = load_named(name, &source, true, host, overrides, errors, ret_config);
	source_done(&source);
	return result;
}
