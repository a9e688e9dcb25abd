/* SPDX-License-Identifier: MIT */
#ifndef CTL_SNAPSHOT_H
#define CTL_SNAPSHOT_H
/*
 * What a daemon is doing, as one JSON object: the answer to "status", with the workers of the scoreboard. broodctl(1)
 * describes its members; it is what --json prints, and what the tables are made of.
 *
 *	{ "daemon": {...}, "pools": [ { ..., "listeners": [...], "workers": [...] } ] }
 */
#include <jansson.h>

#include "base/attrs.h"
#include "ctl/client.h"

/* Asks CLIENT, which is connected. Returns an enum ctl_status, after it has said what is wrong. *RET_SNAPSHOT is the
 * caller's. */
ATTR_NODISCARD int snapshot_take(struct client *client, json_t **ret_snapshot);

#endif
