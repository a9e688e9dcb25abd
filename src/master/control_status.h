/* SPDX-License-Identifier: MIT */
#ifndef MASTER_CONTROL_STATUS_H
#define MASTER_CONTROL_STATUS_H
/*
 * The answer to "status", line by line, so that nobody has to hold all of it: the daemon, then each pool, followed by
 * its listeners. What each worker does is on the scoreboard, whose descriptor comes with the first line.
 *
 * broodctl(1) describes the members of the lines; scripts rely on them.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/json_line.h"

struct master;

/* Where an answer is; zeroed memory is its beginning. The pools may change in the middle of it. */
struct status_cursor {
	bool told_daemon;
	bool told_pool; /* whose listeners come next */
	size_t pool;
	size_t listener;
};

/* Adds the members of the next line to JSON, which has been begun. Returns false where there is none. */
bool control_status_next(
	const struct master *master, struct status_cursor *cursor, uint64_t now_ms, struct json_line *json);

#endif
