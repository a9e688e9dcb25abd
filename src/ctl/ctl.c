/* SPDX-License-Identifier: MIT */
#include "ctl/ctl.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "build_config.h"
#include "ctl/client.h"
#include "ctl/options.h"
#include "ctl/show.h"
#include "ctl/snapshot.h"
#include "ctl/table.h"

/* From the verdict on a stop to the end of the process. */
#define END_TIMEOUT_MS 30000

static int fail(enum ctl_status status, const char *what)
{
	fprintf(stderr, "broodctl: %s\n", what);
	return (int)status;
}

/* Whether what was printed has reached its file is part of the answer: a script may look at nothing else. */
static int flush(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	return status == CTL_OK ? fail(CTL_SYSTEM, "cannot write the answer") : status;
}

/* ---- status and ps ---- */

static int look(const struct ctl_options *options, struct client *client)
{
	json_t *snapshot;
	int status = snapshot_take(client, &snapshot);
	bool good;

	if (status != CTL_OK)
		return status;
	if (options->json)
		good = json_dumpf(snapshot, stdout, JSON_INDENT(2)) == 0 && putchar('\n') != EOF;
	else if (options->command == CTL_PS)
		good = show_workers(snapshot, stdout);
	else
		good = show_status(snapshot, stdout);
	json_decref(snapshot);
	return good ? CTL_OK : fail(CTL_SYSTEM, "cannot write the answer");
}

/* ---- commands ---- */

/* A file is named as this process finds it. */
static char *request_of(const struct ctl_options *options)
{
	static const char *const verbs[CTL_COMMANDS] = { [CTL_CHECK] = "check",
		[CTL_RELOAD] = "reload",
		[CTL_UPGRADE] = "upgrade",
		[CTL_STOP] = "stop",
		[CTL_RESTART] = "restart",
		[CTL_SCALE] = "scale" };
	const char *argument = options->now ? "now" : options->argument, *gap = argument != NULL ? " " : "";
	char directory[PATH_MAX] = "";
	char *request;

	if (options->command == CTL_CHECK && argument != NULL && argument[0] != '/' &&
		getcwd(directory, sizeof(directory) - 1) != NULL)
		strcat(directory, "/");
	if (asprintf(&request, "%s%s%s%s%s%s", verbs[options->command], gap, directory,
		    argument != NULL ? argument : "", options->number != NULL ? " " : "",
		    options->number != NULL ? options->number : "") < 0)
		return NULL;
	return request;
}

static void put_line(const char *text, FILE *out)
{
	char *clean = table_clean(text);

	if (clean != NULL && clean[0] != '\0')
		fprintf(out, "%s\n", clean);
	free(clean);
}

static int take_result(const struct ctl_options *options, const json_t *line)
{
	const char *code = line_text(line, "code");

	if (json_is_true(json_object_get(line, "ok"))) {
		if (!options->json)
			put_line(line_text(line, "text"), stdout);
		return CTL_OK;
	}
	if (!options->json) {
		fflush(stdout);
		fputs("broodctl: ", stderr);
		put_line(line_text(line, "text"), stderr);
	}
	if (strcmp(code, "permission") == 0)
		return CTL_PERMISSION;
	return strcmp(code, "busy") == 0 ? CTL_BUSY : CTL_FAILED;
}

/* Progress is seen as it comes. */
static void show_line(const struct ctl_options *options, const json_t *line)
{
	if (options->json) {
		json_dumpf(line, stdout, JSON_COMPACT);
		putchar('\n');
	} else if (line_is(line, "progress")) {
		put_line(line_text(line, "text"), stdout);
	}
	fflush(stdout);
}

/* The first line comes at once; the verdict takes the time that it takes. */
static int take_answer(const struct ctl_options *options, struct client *client)
{
	int timeout_ms = CLIENT_TIMEOUT_MS;
	json_t *line;
	int status;

	while ((status = client_next(client, timeout_ms, &line)) == CTL_OK && line != NULL) {
		bool is_last = line_is(line, "result");

		timeout_ms = -1;
		show_line(options, line);
		if (is_last)
			status = take_result(options, line);
		json_decref(line);
		if (is_last)
			return status;
	}
	return status == CTL_OK ? fail(CTL_FAILED, "the daemon has gone without a verdict") : status;
}

static int command(const struct ctl_options *options, struct client *client)
{
	char *request = request_of(options);
	int status;

	if (request == NULL)
		return fail(CTL_SYSTEM, strerror(ENOMEM));
	status = client_ask(client, request);
	free(request);
	return status == CTL_OK ? take_answer(options, client) : status;
}

/* ---- stop ---- */

/* It has said that it ends; now it is waited for, as whoever starts another one wants it. Where its process cannot be
 * seen, as from another pid namespace, its word has to do. */
static int wait_gone(int pidfd)
{
	struct pollfd polled = { .fd = pidfd, .events = POLLIN };
	int count;

	if (pidfd < 0)
		return CTL_OK;
	do
		count = poll(&polled, 1, END_TIMEOUT_MS);
	while (count < 0 && errno == EINTR);
	return count > 0 ? CTL_OK : fail(CTL_FAILED, "the daemon has stopped serving, and its process does not end");
}

static int stop(const struct ctl_options *options, struct client *client)
{
	FD_AUTO int pidfd = client->daemon > 0 ? (int)syscall(SYS_pidfd_open, client->daemon, 0) : -1;
	int status = command(options, client);

	return status == CTL_OK ? wait_gone(pidfd) : status;
}

/* ---- the whole ---- */

static int run(const struct ctl_options *options)
{
	struct client client = CLIENT_NONE;
	int status = client_connect(&client, options->socket);

	if (status == CTL_OK) {
		if (options->command == CTL_STATUS || options->command == CTL_PS)
			status = look(options, &client);
		else if (options->command == CTL_STOP)
			status = stop(options, &client);
		else
			status = command(options, &client);
	}
	client_done(&client);
	return status;
}

int ctl_main(int argc, char **argv)
{
	struct ctl_options options;

	if (fd_open_standard() < 0)
		return CTL_SYSTEM;
	if (ctl_options_parse(argc, argv, &options) < 0)
		return CTL_USAGE;
	switch (options.command) {
	case CTL_VERSION:
		puts("broodctl " BROOD_VERSION);
		return flush(CTL_OK);
	case CTL_HELP:
		ctl_options_usage(stdout);
		return flush(CTL_OK);
	default:
		return flush(run(&options));
	}
}
