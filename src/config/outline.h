/* SPDX-License-Identifier: MIT */
#ifndef CONFIG_OUTLINE_H
#define CONFIG_OUTLINE_H
/*
 * The first pass over a configuration: its outline, without its values. It follows include(), finds what is not known,
 * not closed, given twice, empty or not of the right shape, and puts what is sound into one text for libconfuse, in
 * which every statement keeps its line (config/diagnostics.h) and what is not sound is left out. So libconfuse has
 * nothing to stop at, and all errors of a file are found in one go.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/attrs.h"
#include "brood/module.h"
#include "config/arena.h"
#include "config/diagnostics.h"
#include "config/source.h"

/* The longest name of a pool. */
enum { POOL_NAME_MAX = 32 };

struct name;

/* A pool's section. The titles are kept here, since libconfuse would make one section of two with the same title. */
struct outline_pool {
	struct outline_pool *next;
	const char *name;
	const char *where; /* `pool "web"` */
	unsigned int line;
	unsigned int *section_lines; /* one for each handler: where its section is; 0: nowhere */
	const struct name *keys;     /* which keys there are, and where each is given (config/names.h) */
	size_t key_count;
	unsigned int options_line;  /* where its module_options are; 0: nowhere */
	const struct name *options; /* what they name (config/names.h) */
	size_t option_count;
	bool damaged;         /* something in it was left out: what it lacks may have been there */
	bool section_damaged; /* the same of a section with options in it */
};

struct outline {
	const struct brood_module *const *handlers;
	struct diagnostics *diagnostics;
	struct arena *arena; /* what the outline says lives in it */
	bool refuse_includes;

	char *text; /* for libconfuse */
	size_t text_size;
	struct outline_pool *pools; /* in the order of the file, as many as there are pool sections in `text` */
	struct outline_pool **pools_end;
	size_t pool_count;
	size_t option_room; /* the most entries that module_options of a pool have */
	bool damaged;       /* something outside the pools was left out, or the end was not reached */

	/* The rest is of outline_text() and its own. */
	struct file *file;
	FILE *out;
	unsigned int line;
	size_t read_size;
	bool stopped;
};

/*
 * Goes through SOURCE, which is the file NAME. The caller has filled in the first four fields. Returns 0, or -ENOMEM;
 * errors of the text are among the diagnostics.
 */
ATTR_NODISCARD int outline_text(struct outline *outline, const char *name, const struct source *source);
void outline_done(struct outline *outline);

/* Where a key of the pool is given, also one whose value was left out, or is an empty list; 0: nowhere. */
unsigned int outline_key_line(const struct outline_pool *pool, const char *name);

#endif
