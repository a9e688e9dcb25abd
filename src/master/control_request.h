/* SPDX-License-Identifier: MIT */
#ifndef MASTER_CONTROL_REQUEST_H
#define MASTER_CONTROL_REQUEST_H
/*
 * What may be asked of the master at its control socket: one line, a word, and for some words an argument behind one
 * space, which is all the rest of the line. Pure; takes any bytes.
 *
 *	status          the daemon, its pools and their listeners
 *	check [FILE]    whether the file, or the one that the daemon runs on, could be loaded now
 *	reload          load the file anew
 *	upgrade         replace the daemon's binary by the one on disk
 *	stop [now]      end gracefully; with "now", at once
 *	restart POOL    replace the pool's workers, one after the other
 *	scale POOL N    have N workers in the pool, or, with +N or -N, so many more or fewer
 */
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attrs.h"

enum request_kind {
	REQUEST_STATUS,
	REQUEST_CHECK,
	REQUEST_RELOAD,
	REQUEST_UPGRADE,
	REQUEST_STOP,
	REQUEST_RESTART,
	REQUEST_SCALE,
	REQUEST_KINDS,
};

/* With its line end: the longest is a check of the longest path. */
#define CONTROL_REQUEST_MAX (PATH_MAX + 32)

struct control_request {
	enum request_kind kind;
	char argument[CONTROL_REQUEST_MAX]; /* "": none; of scale, the pool */
	char sign;                          /* of scale: '+', '-', or 0 */
	uint32_t number;
};

/* "reload". */
const char *request_kind_name(enum request_kind kind);

/* Whether it changes nothing: whoever may connect may ask for it. */
bool request_only_looks(enum request_kind kind);

/*
 * LINE of SIZE bytes has no line end; a carriage return before it is passed over. -EBADMSG, and *RET_REASON says what
 * is accepted.
 */
ATTR_NODISCARD int control_request_parse(
	const char *line, size_t size, struct control_request *ret_request, const char **ret_reason);

#endif
