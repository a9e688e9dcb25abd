/* SPDX-License-Identifier: MIT */
#ifndef CONFIG_ARENA_H
#define CONFIG_ARENA_H
/*
 * Memory that is given back all at once: a configuration is many small texts of one life. Functions return NULL when
 * memory is short; the arena stays usable, and remembers that it failed.
 */
#include <stdbool.h>
#include <stddef.h>

#include "base/attrs.h"

struct arena_block;

struct arena {
	struct arena_block *blocks;
	bool failed; /* an allocation did not succeed */
};

/* SIZE bytes of zeros, aligned for any type. */
void *arena_alloc(struct arena *arena, size_t size);

char *arena_copy(struct arena *arena, const char *text, size_t size);
char *arena_text(struct arena *arena, const char *text);
char *arena_format(struct arena *arena, const char *format, ...) ATTR_PRINTF(2, 3);

void arena_done(struct arena *arena);

#endif
