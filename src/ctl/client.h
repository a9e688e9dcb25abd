/* SPDX-License-Identifier: MIT */
#ifndef CTL_CLIENT_H
#define CTL_CLIENT_H
/*
 * A connection to the control socket: one line out, lines of JSON in. The protocol stands in broodctl(1) and in
 * master/control.h.
 *
 * Functions that may fail return an enum ctl_status, after they have said on standard error what is wrong.
 */
#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/attrs.h"
#include "ctl/ctl.h"
#include "net/control_path.h"

/* So long the daemon may take for an answer that it has ready, and for the first line of any. */
#define CLIENT_TIMEOUT_MS 10000

struct client {
	int fd;
	char path[CONTROL_PATH_MAX]; /* of the socket, for messages */
	pid_t daemon;                /* who made the socket; 0: not known */
	char *data;                  /* what has come and was not taken */
	size_t size, used, taken;
	int board_fd; /* the scoreboard, once it has come; -1 */
};

#define CLIENT_NONE ((struct client){ .fd = -1, .board_fd = -1 })

/* At PATH; NULL: at the first of the usual places where somebody answers. */
ATTR_NODISCARD int client_connect(struct client *client, const char *path);
void client_done(struct client *client);

/* LINE has no line end. */
ATTR_NODISCARD int client_ask(struct client *client, const char *line);

/*
 * The next line, as an object, which is the caller's. TIMEOUT_MS: -1 waits for any time. At the end of the connection
 * *RET_LINE is NULL.
 */
ATTR_NODISCARD int client_next(struct client *client, int timeout_ms, json_t **ret_line);

/* A member of a line that is a text; "" where there is none. */
const char *line_text(const json_t *line, const char *name);
bool line_is(const json_t *line, const char *type);

/* The members of a list, one after the other: *INDEX begins at 0. NULL after the last. */
static inline json_t *list_next(const json_t *list, size_t *index)
{
	return json_array_get(list, (*index)++);
}

#endif
