/* SPDX-License-Identifier: MIT */
#ifndef CONFIG_PARSE_H
#define CONFIG_PARSE_H
/*
 * libconfuse: text in, a tree of values out. It is given text that config/outline.h has gone through before, so that
 * what it lets pass, or stops at, is not there any more; and it is given every option as a text, so that numbers are
 * read here and not by it.
 *
 * libconfuse's scanner is global: one parse at a time, in one thread.
 */
#include <confuse.h>
#include <stddef.h>

#include "base/attrs.h"
#include "brood/module.h"
#include "config/arena.h"
#include "config/diagnostics.h"

/* A value as it was written. libconfuse keeps no lines, so its callback puts them here. */
struct setting {
	unsigned int line; /* of the one text (config/diagnostics.h) */
	char text[];
};

/* How an entry of module_options is called in the text, by its place in the section's level (config/names.h). */
#define PARSE_OPTION_NAME "option%zu"

/* Parses TEXT, in which sections module_options have up to OPTION_ROOM entries. Returns the tree, for cfg_free(), or
 * NULL: memory is short, or libconfuse found an error, which is then among the diagnostics. */
ATTR_NODISCARD cfg_t *parse_text(const char *text, const struct brood_module *const *handlers, size_t option_room,
	struct diagnostics *diagnostics);

/* The value of NAME in SECTION by its place in the list, or NULL where there are not that many. */
const struct setting *parse_setting(cfg_t *section, const char *name, unsigned int index);

/* What the quoted or unquoted word of SIZE bytes stands for: quotes, escapes and variables are libconfuse's. NULL when
 * memory is short. */
char *parse_word(struct arena *arena, const char *word, size_t size);

/* The texts of a list as it would be written in a file, "{ \"a\", b }" or "a"; ended by NULL. NULL when memory is short
 * or TEXT is no list. */
char **parse_list(struct arena *arena, const char *text, size_t *ret_count);

#endif
