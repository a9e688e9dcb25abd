/* SPDX-License-Identifier: MIT */
#ifndef CONFIG_SCHEMA_H
#define CONFIG_SCHEMA_H
/*
 * The one table of the configuration's keys. Parsing, defaults, range errors, --dump, and the tests of the manual and
 * of the sample file read it; a key exists when it has a row here. The options of a handler's section are rows of the
 * handler's own table (brood/module.h); schema_option_rule() makes the two one kind.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "brood/module.h"
#include "config/config.h"
#include "config/values.h"

enum key_section {
	KEY_GLOBAL, /* its field is in struct config */
	KEY_POOL,   /* its field is in struct pool_config */
};

/*
 * How a reload takes a changed key. Every reload replaces all workers, whatever has changed: a program or a module may
 * be another one under the same name.
 */
enum key_reload {
	RELOAD_UNDECIDED, /* no row may be */
	RELOAD_LIVE,      /* it holds from the commit on: the master goes by it, and sets it on the sockets it keeps */
	RELOAD_ROLL,      /* it holds for the new workers; those of earlier generations end by the old value */
	RELOAD_BIND,      /* it holds for the listeners that are opened from now on, and not for those that are kept */
	RELOAD_RESTART,   /* it holds from the next start on; until then the old value does */
	RELOADS,
};

struct key {
	const char *name;
	enum key_section section;
	struct value_rule rule;
	const char *fallback; /* the default, as it would be written; NULL: the key must be given */
	const char *inherits; /* a global key whose value is the default */
	size_t offset;        /* of the field: char * for a text, char ** for a list, else a number */
	size_t size;
	size_t count_offset; /* of a list: of the size_t that counts its texts */
	int64_t divisor;     /* the field counts in units of this; 0: as the rule does */
	unsigned int kinds;  /* of a pool's key: the kinds of handlers it goes with, as KEY_KIND() bits; 0: all */
	const char *why[HANDLER_KINDS]; /* it does not go with those; NULL: that is clear */
	unsigned int sizes; /* of a pool's key: what may say how many workers it has, as KEY_SIZE() bits; 0: all */
	enum key_reload reload;
	bool is_secret;   /* what a reload says of it does not show its value */
	const char *help; /* one sentence */
};

#define KEY_KIND(kind) (1U << (kind))
#define KEY_SIZE(size) (1U << (size))

enum { SCHEMA_KEYS = 61 };

extern const struct key schema_keys[SCHEMA_KEYS];

/* The row of that name, or NULL. */
const struct key *schema_find(enum key_section section, const char *name);

/* Whether a pool whose handler is of KIND may have the key. HANDLER_KINDS, a kind that is not known, goes with all. */
bool schema_goes_with(const struct key *key, enum handler_kind kind);

/* Whether the key has a meaning for POOL, by its handler and by what says how many workers it has. */
bool schema_is_meant(const struct key *key, const struct pool_config *pool);

/* What the workers of a pool are with the handler of that name. */
enum handler_kind schema_handler_kind(const char *name);

/* The row's place in schema_keys. */
size_t schema_index(const struct key *key);

/* Sets the field of OBJECT (a struct config or struct pool_config) to a number, and reads it. */
void schema_set_number(const struct key *key, void *object, int64_t number);
int64_t schema_get_number(const struct key *key, const void *object);

/* The field of a text or a list. */
char **schema_text_field(const struct key *key, void *object);
char ***schema_list_field(const struct key *key, void *object);
size_t *schema_list_count(const struct key *key, void *object);

/* Whose options pool->values are, and the name of the section they stand in; NULL: there are none. */
const struct brood_module *schema_options_of(const struct pool_config *pool, const char **ret_section);

/* Whether the options of HANDLER stand in a section of its name; the others have keys of the pool instead. */
bool schema_has_section(const struct brood_module *handler);

/* How many modules there are in a table that NULL ends, and how many options HANDLER has. */
size_t schema_count_handlers(const struct brood_module *const *handlers);
size_t schema_count_options(const struct brood_module *handler);

/* How the values of a handler's option are read. */
struct value_rule schema_option_rule(const struct brood_option *option);

/*
 * Writes each key and each option of HANDLERS as a line, fields parted by tabs: "global", "pool", "limits" or the
 * handler's name; the key; its kind; its least and its largest value; its default, or "(required)", "(global)" where
 * the global key of that name is it, or "(inherited)"; its choices, parted by spaces; the handlers it goes with, where
 * these are not all; "live", "roll", "bind" or "restart", as a reload takes it. For tests of the manual and of the
 * sample file.
 */
void schema_list(const struct brood_module *const *handlers, FILE *out);

#endif
