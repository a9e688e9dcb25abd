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
	NAME_POOL,    /* pool "title" { ... } */
	NAME_INCLUDE, /* include("path") */
};

struct name {
	const char *text;
	enum name_kind kind;
	bool may_be_empty;                  /* with NAME_LIST: so is its default */
	unsigned int seen;                  /* the line where it was given, or 0 */
	const struct brood_module *handler; /* with NAME_HANDLER */
};

enum level_kind {
	LEVEL_FILE,
	LEVEL_POOL,
	LEVEL_HANDLER,
	LEVEL_LIMITS,
};

enum { NAME_EXPLANATION_MAX = 1024 };

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

/* The entry of the name, or NULL. */
struct name *level_find(const struct level *level, const char *text, size_t size);

/* What to say of a name of WHAT ("key", "section") that level_find() does not know. Returns BUFFER, of
 * NAME_EXPLANATION_MAX bytes. */
char *level_explain(const struct level *level, const char *what, const char *text, size_t size, char *buffer);

#endif
