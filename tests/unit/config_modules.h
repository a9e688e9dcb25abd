/* SPDX-License-Identifier: MIT */
#ifndef TESTS_UNIT_CONFIG_MODULES_H
#define TESTS_UNIT_CONFIG_MODULES_H
/* Handlers for the tests of the configuration: none serves anything; `kinds` has an option of each type. */
#include <brood/module.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"

static const char *const kinds_colours[] = { "red", "green", "blue", NULL };

static const struct brood_option kinds_options[] = {
	{.name = "bool",        .type = BROOD_OPTION_BOOL, .fallback = "off" },
	{ .name = "number",    .type = BROOD_OPTION_NUMBER, .fallback = "10", .min = 0, .max = 100 },
	{ .name = "any_number",     .type = BROOD_OPTION_NUMBER, .fallback = "0" },
	{ .name = "size",     .type = BROOD_OPTION_SIZE, .fallback = "64K", .min = 1, .max = 1 << 30 },
	{ .name = "duration",           .type = BROOD_OPTION_DURATION, .fallback = "1500ms", .min = 0, .max = 86400000 },
	{ .name = "text", .type = BROOD_OPTION_TEXT, .fallback = "a \"quoted\" $text", .min = 1, .max = 40 },
	{ .name = "choice",      .type = BROOD_OPTION_CHOICE, .fallback = "green", .choices = kinds_colours },
	{ .name = "list",       .type = BROOD_OPTION_LIST, .fallback = "{ \"one\", \"two\" }" },
	{ .name = "empty_list",    .type = BROOD_OPTION_LIST, .fallback = "" },
	{ .name = "log",       .type = BROOD_OPTION_LOG, .fallback = "off" },
	{ .name = "error_log",   .type = BROOD_OPTION_LOG, .fallback = "off" },
	{ .name = "directory", .type = BROOD_OPTION_DIRECTORY, .fallback = "/" },
	{ .name = "file",      .type = BROOD_OPTION_FILE, .fallback = "/etc/fstab" },
	{ .name = NULL      },
};

static const struct brood_option strict_options[] = {
	{.name = "root",             .type = BROOD_OPTION_DIRECTORY },
	{ .name = "names",                         .type = BROOD_OPTION_LIST },
	{ .name = NULL},
};

static const struct brood_module module_kinds = { .name = "kinds", .options = kinds_options };
static const struct brood_module module_strict = { .name = "strict", .options = strict_options };
static const struct brood_module module_plain = { .name = "plain" };

/* Those by whose names a pool is of another kind. */
static const struct brood_module module_inetd = { .name = "inetd" };
static const struct brood_module module_program = { .name = "program" };
static const struct brood_module module_module = { .name = "module" };

static const struct brood_module *const test_modules[] = {
	&module_kinds,
	&module_strict,
	&module_plain,
	&module_inetd,
	&module_program,
	&module_module,
	NULL,
};

/* ---- what is asked of the machine, answered by name ---- */

/* The modules "/kinds.so", "/strict.so" and "/plain.so" are what the handlers of those names are. */
static const struct brood_module *const test_loadable[] = { &module_kinds, &module_strict, &module_plain };

static inline int test_describe(
	const struct pool_config *pool, struct brood_module **ret_description, char *reason, size_t size)
{
	const char *name = strrchr(pool->module, '/') + 1;

	for (size_t i = 0; i < sizeof(test_loadable) / sizeof(test_loadable[0]); i++) {
		if (strncmp(name, test_loadable[i]->name, strlen(test_loadable[i]->name)) != 0)
			continue;
		*ret_description = malloc(sizeof(**ret_description));
		if (!*ret_description)
			return -ENOMEM;
		**ret_description = *test_loadable[i];
		return 0;
	}
	snprintf(reason, size, "cannot be loaded: cannot open shared object file");
	return -EINVAL;
}

/* Whoever names the colour red is refused. */
static inline int test_check(const struct pool_config *pool, char *reason, size_t size)
{
	if (pool->description->options != kinds_options || pool->values[6].number != 0)
		return 0;
	snprintf(reason, size, "choice = red is not for today");
	return -EINVAL;
}

static inline int test_program(const struct pool_config *pool, char *reason, size_t size)
{
	if (!strstr(pool->program.path, "missing"))
		return 0;
	snprintf(reason, size, "does not exist");
	return -EINVAL;
}

static inline void test_description_free(struct brood_module *description)
{
	free(description);
}

static const struct config_probe test_probe = {
	.module_describe = test_describe,
	.module_check = test_check,
	.program = test_program,
	.description_free = test_description_free,
};

static const struct config_host test_host = { .handlers = test_modules, .probe = &test_probe };

#endif
