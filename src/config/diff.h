/* SPDX-License-Identifier: MIT */
#ifndef CONFIG_DIFF_H
#define CONFIG_DIFF_H
/*
 * What a reload changes: a pure function of the configuration in force and a new one. Nothing here is done; the
 * master's reload goes by it, and tells what it says.
 *
 * A pool is known by its name. One that is there under another name, and is the same in all else, is a pool removed and
 * a pool added that takes its listeners over; it is said to be renamed.
 *
 * An entry of `listen` is known by its text: its sockets are kept wherever the same text is in the new configuration,
 * in another pool too. Of entries with one text (port 0), as many are kept as both have, those of the same pool first.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/attrs.h"
#include "config/config.h"
#include "config/schema.h"

enum diff_state {
	DIFF_KEPT,
	DIFF_ADDED,
	DIFF_REMOVED,
};

/* No such pool or place. */
#define DIFF_NONE ((size_t)-1)

/* A key that differs. */
struct diff_change {
	const char *section; /* "limits", "module_options", or the handler's name; "": none */
	const char *name;
	const char *before; /* as --dump prints it, but for its length; NULL: it is not there */
	const char *after;
	enum key_reload reload;
	bool is_secret; /* the values are not to be shown */
};

struct diff_listen {
	enum diff_state state;
	const char *text;
	size_t pool_before; /* of KEPT and REMOVED: whose entry it was, and its place there */
	size_t place_before;
	size_t place_after; /* of KEPT and ADDED: its place in this pool's list */
};

struct diff_pool {
	enum diff_state state;
	const char *name;
	size_t before;  /* its place in the old configuration; DIFF_NONE with ADDED */
	size_t after;   /* and in the new one; DIFF_NONE with REMOVED */
	size_t renamed; /* with ADDED, the place in the old one of the pool that it was; with REMOVED, in the new one of
			 * what it is now; else DIFF_NONE */
	struct diff_change *changes; /* of KEPT; `listen` is none of them where an entry came or went */
	size_t change_count;
	struct diff_listen *listen; /* the new list's in its order, then what is gone of the old one */
	size_t listen_count;
};

struct config_diff {
	struct diff_change *changes; /* of the global keys */
	size_t change_count;
	struct diff_pool *pools; /* the new ones in their order, then the removed ones */
	size_t pool_count;
};

/* Compares two configurations, which must outlive the result. Returns 0 or -ENOMEM. */
ATTR_NODISCARD int config_diff(const struct config *before, const struct config *after, struct config_diff **ret_diff);
void config_diff_free(struct config_diff *diff);

/* No key, pool or listener differs. */
bool config_diff_is_empty(const struct config_diff *diff);

/* Writes a line for each thing that differs: "max_workers: 512 -> 1024: needs a restart", "pool "web": workers: 4 ->
 * 8", "pool "x": added". */
void config_diff_print(const struct config_diff *diff, FILE *out);

/*
 * After config_diff(), which says what was asked for: makes CONFIG what can be in force after a reload in the place of
 * IN_FORCE. What needs a restart has its old value again, and what goes by that is within it; access logs have the
 * numbers by which workers that live know them. Returns 0; -EINVAL, after a line in ERRORS for each reason, where the
 * rest cannot do without what needs a restart; -ENOMEM. CONFIG is fit for nothing after a failure.
 */
ATTR_NODISCARD int config_keep_unchangeable(const struct config *in_force, struct config *config, FILE *errors);

#endif
