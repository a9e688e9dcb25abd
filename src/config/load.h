/* SPDX-License-Identifier: MIT */
#ifndef CONFIG_LOAD_H
#define CONFIG_LOAD_H
/*
 * What the passes of one load share. In their order: the outline (config/outline.h) finds what is badly formed and
 * makes one text of all files; libconfuse parses it (config/parse.h); fill reads the values by the schema, defaults
 * included; check goes through the rules across keys. A pass that found errors does not keep the next one from looking:
 * all errors are reported together.
 */
#include "config/arena.h"
#include "config/config.h"
#include "config/diagnostics.h"
#include "config/outline.h"
#include "config/parse.h"
#include "config/schema.h"

/* A pool on its way, in the order of config->pools. */
struct pool_draft {
	const struct outline_pool *outline;
	cfg_t *section;                        /* its part of the tree, as long as the load lasts */
	unsigned int lines[SCHEMA_KEYS];       /* where each key is given; 0: it is not */
	unsigned int *list_lines[SCHEMA_KEYS]; /* of a list that is given: where each of its texts is */
	bool identity_known;                   /* pool->identity is resolved, and the chroot is there */
	bool options_sound;                    /* the handler's options were read without an error */
};

struct load {
	const struct brood_module *const *handlers;
	struct config_probe probe;
	const struct config_overrides *overrides;
	struct config *config;
	struct arena *arena;  /* what lives as long as the configuration */
	struct arena scratch; /* what ends with the load */
	struct diagnostics diagnostics;
	struct outline outline;
	struct pool_draft *drafts;
	unsigned int lines[SCHEMA_KEYS]; /* of the global keys */
};

/* Why a probe says no: its words are longer than those of a value. */
#define LOAD_REASON_MAX 1024

/* The memory that a configuration lives in. */
struct arena *config_arena(struct config *config);

/* Reads the values of the tree that libconfuse made of the outline's text. It must live until the load is done. */
void load_fill(struct load *load, cfg_t *tree);

/* Goes through the rules across keys, and resolves names. */
void load_check(struct load *load);

/* One value of a key, or its default where SETTING is NULL. Returns whether it is accepted. */
bool load_read_value(struct load *load, const char *where, const char *name, const struct value_rule *rule,
	const struct setting *setting, const char *fallback, int64_t *ret_number);

/*
 * All texts of the list NAME, which is WRITTEN in SECTION. LINES, where not NULL, gets their lines. Returns an array
 * ended by NULL, or NULL when memory is short.
 */
char **load_read_list(struct load *load, const char *where, const char *name, const struct value_rule *rule,
	cfg_t *section, const char *written, unsigned int **lines, size_t *ret_count);

/* PATH, absolute: what is relative is so to the directory of the file with LINE; 0: it is a default, and the file is
 * the configuration's first. NULL when memory is short. */
char *load_absolute_path(struct load *load, const char *path, unsigned int line);

/* The one default that depends on another key: where clients of HANDLER speak first, they are waited for. */
void load_fill_defer_accept(
	struct pool_config *pool, const struct brood_module *handler, const struct pool_draft *draft);

/* Has the module of the pool described, reads module_options by what it says, and has it check them. Once the pool's
 * identity stands. */
void load_check_module(struct load *load, struct pool_config *pool, struct pool_draft *draft);

/* An error of a key at LINE: `key = value` and REASON, with the value in quotes where it is no plain word. */
void load_refuse_value(struct load *load, unsigned int line, const char *where, const char *name, const char *value,
	const char *reason);

/* PATH, in VALUE, must be an absolute path of a file that may still have to be made, in a directory that is there; a
 * directory it may not be. */
void load_check_path(
	struct load *load, unsigned int line, const char *where, const char *name, const char *value, const char *path);

/* PATH must be an absolute path of a directory that is there, in the directory ROOT; "": in our own. */
bool load_check_directory(
	struct load *load, unsigned int line, const char *where, const char *name, const char *root, const char *path);

/* What says how many workers the pool has, by the keys that are given in SECTION. Before they are read. */
void size_choose(cfg_t *section, struct pool_config *pool);
/* The defaults that depend on other keys. */
void size_fill(struct pool_config *pool, const struct pool_draft *draft);
/* Goes through the rules of each pool's size, and of all together. */
void size_check(struct load *load);
/* "workers" or "min_workers": the key of pool_config_least(). */
const char *size_least_key(const struct pool_config *pool);

/* Goes through the rules of the keys of a program, finds it, and has it probed. Once the pool's identity stands. */
void load_check_program(struct load *load, struct pool_config *pool, const struct pool_draft *draft);

/* The lines of the texts of a pool's list. */
const unsigned int *load_list_lines(const struct pool_draft *draft, const char *name);

/* "inetd, program": the handlers that a key goes with. */
const char *load_key_handlers(struct load *load, const struct key *key);

/* Where a key of a pool is given, or where the pool is. */
unsigned int load_pool_line(const struct pool_draft *draft, const char *name);

#endif
