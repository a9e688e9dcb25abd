/* SPDX-License-Identifier: MIT */
/* What is done with a request: each kind is another file's. */
#include "master/requests.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "master/master_private.h"
#include "master/scale.h"

/* What is longer is cut. */
#define TOLD_LINE_MAX 4096

static void refuse(struct master *master, const struct control_request *request, const char *text)
{
	log_event(LOG_LEVEL_WARNING, text, LOG_TEXT("request", request_kind_name(request->kind)));
	control_refuse(master, request->kind, control_ticket(master), text);
}

/* The verdict comes when the daemon has ended: control_close(). */
static void begin_stop(struct master *master, const struct control_request *request, uint64_t now_ms)
{
	lifecycle_event(master, request->argument[0] != '\0' ? LIFE_QUIT : LIFE_STOP, now_ms);
}

void request_begin(struct master *master, const struct control_request *request, uint64_t now_ms)
{
	switch (request->kind) {
	case REQUEST_STOP:
		begin_stop(master, request, now_ms);
		break;
	case REQUEST_CHECK:
		check_next(master, now_ms);
		break;
	case REQUEST_RELOAD:
		reload_request(master);
		break;
	case REQUEST_RESTART:
		if (!reload_request_restart(master, request->argument))
			refuse(master, request, "there is no such pool");
		break;
	case REQUEST_SCALE:
		scale_pool(master, request);
		break;
	case REQUEST_UPGRADE:
		upgrade_request(master, now_ms);
		break;
	default:
		refuse(master, request, "this is not built yet");
		break;
	}
}

void request_tell(struct master *master, enum request_kind kind, uint64_t ticket, enum log_level level,
	const char *event, const char *text)
{
	const char *end;

	for (; text != NULL && *text != '\0'; text = *end == '\0' ? end : end + 1) {
		char line[TOLD_LINE_MAX];

		end = strchrnul(text, '\n');
		if (end == text)
			continue;
		snprintf(line, sizeof(line), "%.*s", (int)(end - text), text);
		if (event != NULL)
			log_event(level, event, LOG_TEXT("text", line));
		control_progress(master, kind, ticket, line);
	}
}
