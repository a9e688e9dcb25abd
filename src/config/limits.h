/* SPDX-License-Identifier: MIT */
#ifndef CONFIG_LIMITS_H
#define CONFIG_LIMITS_H
/*
 * The section `limits` of a pool: a table of the resource limits that a worker may be given, with a row for each name.
 * What is not given stays as the daemon was started with it, so that no row has a default.
 */
#include <confuse.h>
#include <stdio.h>

#include "config/config.h"
#include "config/values.h"

struct load;
struct pool_draft;

struct limit_key {
	const char *name;
	int resource; /* RLIMIT_... */
	struct value_rule rule;
	int64_t divisor; /* the resource counts in units of this; 0: as the rule does */
	const char *help;
};

enum { LIMIT_KEYS = 13 };

extern const struct limit_key limit_keys[LIMIT_KEYS];

/* Reads the section from the pool's SECTION. */
void limits_fill(struct load *load, cfg_t *section, struct pool_config *pool, const struct pool_draft *draft);

void limits_dump_value(const struct limit_config *limit, FILE *out);

void limits_dump(const struct pool_config *pool, FILE *out);

#endif
