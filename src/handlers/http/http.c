/* SPDX-License-Identifier: MIT */
/*
 * The http handler: HTTP/1.1 and HTTP/1.0 over the files of one directory.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/fd.h"
#include "base/log.h"
#include "build_config.h"
#include "handlers/handlers.h"
#include "handlers/http/exchange.h"
#include "handlers/http/file.h"

enum http_option {
	OPTION_ROOT,
	OPTION_INDEX,
	OPTION_LISTING,
	OPTION_CHARSET,
	OPTION_MIME_TYPES,
	OPTION_ACCESS_LOG,
	OPTION_KEEPALIVE_REQUESTS,
	OPTION_HEAD_LIMIT,
	OPTION_TARGET_LIMIT,
	OPTION_FIELD_LIMIT,
	OPTION_BODY_LIMIT,
};

static const struct brood_option options[] = {
	[OPTION_ROOT] = {
		.name = "root",
		.type = BROOD_OPTION_DIRECTORY,
		.min = 1,
		.max = 4095,
		.help = "The directory whose files are served; nothing outside of it ever is, whatever symbolic links say.",
	},
	[OPTION_INDEX] = {
		.name = "index",
		.type = BROOD_OPTION_LIST,
		.fallback = "{\"index.html\"}",
		.min = 1,
		.max = 4095,
		.help = "The files that stand for a directory; the first that is there is the answer.",
	},
	[OPTION_LISTING] = {
		.name = "listing",
		.type = BROOD_OPTION_BOOL,
		.fallback = "off",
		.help = "Whether a directory without an index file is shown as a list of its files, or refused (403).",
	},
	[OPTION_CHARSET] = {
		.name = "charset",
		.type = BROOD_OPTION_TEXT,
		.fallback = "utf-8",
		.min = 0,
		.max = 40,
		.help = "The charset that is named with text types; an empty one is not named.",
	},
	[OPTION_MIME_TYPES] = {
		.name = "mime_types",
		.type = BROOD_OPTION_FILE,
		.fallback = "/etc/mime.types",
		.min = 1,
		.max = 4095,
		.help = "The table of media types by extension; without it a few are known.",
	},
	[OPTION_ACCESS_LOG] = {
		.name = "access_log",
		.type = BROOD_OPTION_LOG,
		.fallback = "off",
		.help = "The file that gets a line for each request, in the Common Log Format.",
	},
	[OPTION_KEEPALIVE_REQUESTS] = {
		.name = "keepalive_requests",
		.type = BROOD_OPTION_NUMBER,
		.fallback = "1000",
		.min = 0,
		.max = INT32_MAX,
		.help = "The number of requests after which a connection is closed; 0 is any number, 1 is no keep-alive.",
	},
	[OPTION_HEAD_LIMIT] = {
		.name = "head_limit",
		.type = BROOD_OPTION_SIZE,
		.fallback = "16K",
		.min = 256,
		.max = 65536,
		.help = "The longest head of a request; a longer one is refused (431).",
	},
	[OPTION_TARGET_LIMIT] = {
		.name = "target_limit",
		.type = BROOD_OPTION_SIZE,
		.fallback = "8K",
		.min = 64,
		.max = 16384,
		.help = "The longest target in a request line; a longer one is refused (414).",
	},
	[OPTION_FIELD_LIMIT] = {
		.name = "field_limit",
		.type = BROOD_OPTION_NUMBER,
		.fallback = "100",
		.min = 1,
		.max = 10000,
		.help = "The largest number of header fields in a request; more are refused (431).",
	},
	[OPTION_BODY_LIMIT] = {
		.name = "body_limit",
		.type = BROOD_OPTION_SIZE,
		.fallback = "64K",
		.min = 0,
		.max = INT64_C(1) << 40,
		.help = "The longest body of a request, which is read and forgotten; a longer one is refused (413).",
	},
	{ .name = NULL },
};

static void log_failure(const struct brood_start *start, int priority, const char *what, const char *path, int error)
{
	char text[512];

	snprintf(text, sizeof(text), "http: %s %s: %s", what, path, log_strerror(error));
	start->log(priority, text);
}

static void configure(struct http *http, const struct brood_start *start)
{
	const union brood_value *values = start->values;

	http->start = start;
	http->index = values[OPTION_INDEX].list;
	http->listing = values[OPTION_LISTING].on;
	http->charset = values[OPTION_CHARSET].text;
	http->access_log = (unsigned int)values[OPTION_ACCESS_LOG].number;
	http->keepalive_requests = (uint64_t)values[OPTION_KEEPALIVE_REQUESTS].number;
	http->head_limits.head = (size_t)values[OPTION_HEAD_LIMIT].number;
	http->head_limits.target = (size_t)values[OPTION_TARGET_LIMIT].number;
	http->head_limits.fields = (size_t)values[OPTION_FIELD_LIMIT].number;
	http->body_limits.body = (uint64_t)values[OPTION_BODY_LIMIT].number;
	http->body_limits.overhead = http->head_limits.head;
}

static void http_stop(void *state)
{
	struct http *http = state;

	if (http == NULL)
		return;
	fd_close(&http->root_fd);
	mime_done(&http->mime);
	free(http->saved_head);
	free(http->out.data);
	free(http);
}

/* The default table is not on every machine, and each worker would say so, at each start. */
static int table_priority(const char *path, int error)
{
	bool expected = error == -ENOENT && strcmp(path, options[OPTION_MIME_TYPES].fallback) == 0;

	return expected ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARNING;
}

static int open_files(struct http *http)
{
	const union brood_value *values = http->start->values;
	const char *table = values[OPTION_MIME_TYPES].text;
	int ret;

	http->root_fd = file_open_root(values[OPTION_ROOT].text);
	if (http->root_fd < 0) {
		log_failure(
			http->start, LOG_LEVEL_ERROR, "cannot open the root", values[OPTION_ROOT].text, http->root_fd);
		return http->root_fd;
	}
	ret = mime_init(&http->mime, table);
	if (ret < 0)
		log_failure(
			http->start, table_priority(table, ret), "cannot open the table of media types", table, ret);
	return 0;
}

static int http_start(const struct brood_start *start, void **ret_state)
{
	struct http *http = calloc(1, sizeof(*http));
	int ret = -ENOMEM;

	if (http == NULL)
		return ret;
	configure(http, start);
	http->root_fd = http->mime.fd = -1;
	http->out.capacity = HTTP_HEAD_ROOM + HTTP_SMALL_FILE;
	http->out.data = malloc(http->out.capacity);
	if (http->out.data != NULL)
		ret = open_files(http);
	if (ret < 0) {
		http_stop(http);
		return ret;
	}
	if (http->access_log != 0)
		tzset();
	*ret_state = http;
	return 0;
}

static int http_serve(void *state, struct brood_stream *stream)
{
	struct http *http = state;

	for (uint64_t number = 1;; number++) {
		int ret = brood_await(stream);

		/* A client that says nothing, from the start or after its last answer, is left without a word. */
		if (ret == 0 || ret == -ETIMEDOUT)
			return 0;
		if (ret < 0)
			return ret;
		brood_request_begin(stream);
		ret = exchange_serve(http, stream, number == http->keepalive_requests);
		if (ret <= 0)
			return ret;
	}
}

/* What stands in every head must not break it. */
static int http_check(const union brood_value *values, char *reason, size_t size)
{
	for (const char *c = values[OPTION_CHARSET].text; *c != '\0'; c++)
		if (!text_is_token_char(*c)) {
			snprintf(reason, size,
				"charset is no name of a charset; letters, digits and - _ . are accepted");
			return -EINVAL;
		}
	return 0;
}

const struct brood_module handler_http = {
	.abi = BROOD_MODULE_ABI,
	.size = sizeof(struct brood_module),
	.name = "http",
	.version = BROOD_VERSION,
	.client_first = true,
	.options = options,
	.check = http_check,
	.start = http_start,
	.serve = http_serve,
	.stop = http_stop,
};
