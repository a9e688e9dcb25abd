/* SPDX-License-Identifier: MIT */
#ifndef TESTS_UNIT_CONFIG_MODULES_H
#define TESTS_UNIT_CONFIG_MODULES_H
/* Handlers for the tests of the configuration: none serves anything; `kinds` has an option of each type. */
#include <brood/module.h>
#include <stddef.h>

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

static const struct config_host test_host = { .handlers = test_modules };

#endif
