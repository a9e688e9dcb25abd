/* SPDX-License-Identifier: MIT */
#ifndef CONFIG_OPTIONS_H
#define CONFIG_OPTIONS_H
/*
 * The values of the options that a handler or a module declares (brood/module.h), from the section where they are
 * given. A section that is open, whose names nobody knew when it was parsed, comes with its names from the outline.
 */
#include <confuse.h>
#include <stdbool.h>
#include <stddef.h>

#include "brood/module.h"
#include "config/names.h"

struct load;

struct option_source {
	const struct brood_module *module;
	const char *where;        /* for errors */
	cfg_t *section;           /* NULL: there is none */
	const struct name *names; /* of an open section, or of one that is not there but would be open; else NULL */
	size_t name_count;
	unsigned int missing_line; /* for errors of what is not there */
	unsigned int default_line; /* for errors of defaults: 0, or where the module is given */
	bool complete;             /* false: something was left out by the outline, maybe what is not there */
};

/* The values, one for each option. What is wrong is among the diagnostics. NULL when memory is short. */
union brood_value *options_fill(struct load *load, const struct option_source *source);

/*
 * Whether the table of MODULE, which is a stranger's, is one that options_fill() can go by. Returns false and why in
 * REASON, of SIZE bytes, in words that continue the module's path.
 */
bool options_check_table(const struct brood_module *module, char *reason, size_t size);

#endif
