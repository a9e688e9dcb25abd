/* SPDX-License-Identifier: MIT */
#ifndef CONFIG_NAMES_H
#define CONFIG_NAMES_H
/*
 * Which names may stand where: outside the pools, in a pool, in a handler's section. And what to say of another name.
 */
#include <stdbool.h>
#include <stddef.h>

#include "base/attrs.h"
#include "brood/module.h"
#include "config/arena.h"

enum name_kind {
	NAME_VALUE,   /* name = value */
	NAME_LIST,    /* name = { value, value } */
	NAME_HANDLER, /* name { ... }: the options of a handler */
	NAME_LIMITS,  /* limits { ... } */
	NAME_OPTIONS, /* module_options { ... } */
	NAME_ANY,     /* name = value, or name = { value, value }: in an open section */
	NAME_POOL,    /* pool "title" { ... } */
	NAME_INCLUDE, /* include("path") */
};

struct name {
	const char *text;
	enum name_kind kind;
	bool may_be_empty;                  /* with NAME_LIST: so is its default */
	unsigned int seen;                  /* the line where it was given, or 0 */
	const struct brood_module *handler; /* with NAME_HANDLER */
	const char *written;                /* how libconfuse is told it; NULL: as it is */
	bool is_list;                       /* with NAME_ANY: it was given in braces, or added to */
};

enum level_kind {
	LEVEL_FILE,
	LEVEL_POOL,
	LEVEL_HANDLER,
	LEVEL_LIMITS,
	LEVEL_OPTIONS, /* open: which names there are is asked later */
};

enum { NAME_EXPLANATION_MAX = 1024 };

/* The most options of a module, and the longest name of one. */
enum { MODULE_OPTIONS_MAX = 256, OPTION_NAME_MAX = 64 };

struct outline_pool;

/* One pair of braces, or the outside of all. */
struct level {
	enum level_kind kind;
	const char *where; /* for errors: "", `pool "web"`, `pool "web": http` */
	const struct brood_module *const *handlers;
	struct outline_pool *pool; /* NULL outside */
	struct name *names;
	size_t name_count;
};

/* Fills in the names, from ARENA. HANDLER is whose section it is, with LEVEL_HANDLER. Returns 0 or -ENOMEM. */
ATTR_NODISCARD int level_init(struct level *level, const struct brood_module *handler, struct arena *arena);

/* Whether an option may be called so: letters, digits, _ and -, with a letter or _ in front. */
bool option_name_valid(const char *text, size_t size);

/* Makes room for a name in an open section. Returns its entry; NULL when there is no more room, or no memory. */
struct name *level_add(struct level *level, const char *text, size_t size, struct arena *arena);

/* The entry of the name, or NULL. */
struct name *level_find(const struct level *level, const char *text, size_t size);

/* What to say of a name of WHAT ("key", "section") that level_find() does not know. Returns BUFFER, of
 * NAME_EXPLANATION_MAX bytes. */
char *level_explain(const struct level *level, const char *what, const char *text, size_t size, char *buffer);

#endif
