/* SPDX-License-Identifier: MIT */
#include "master/check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/log.h"
#include "master/checking.h"
#include "master/master_private.h"
#include "policy/deadline.h"

#define LINE_TEXT_MAX 4096

/* ---- beginning ---- */

/* The daemon's own file is the one that it was started with, whatever a client calls it. */
static int take_file(struct master *master, const char *file)
{
	const struct config_origin *origin = master->options->origin;
	const char *path = file[0] == '\0' ? origin->file : file;
	struct check_file *made;

	if (path[0] != '/')
		return -EINVAL;
	made = malloc(sizeof(*made) + strlen(path) + 1);
	if (made == NULL)
		return -ENOMEM;
	strcpy(made->path, path);
	made->origin = *origin;
	made->origin.file = made->path;
	master->check.file = made;
	return 0;
}

static void forget(struct check *check)
{
	checker_done(&check->checker);
	free(check->file);
	*check = CHECK_NONE;
}

static int start(struct master *master, const char *file, uint64_t now_ms)
{
	struct check *check = &master->check;
	int result = take_file(master, file);

	if (result == 0)
		result = checker_start(&check->checker, &check->file->origin, CHECKER_TIMEOUT_MS, now_ms);
	if (result < 0)
		return result;
	children_add(&master->children, &(struct child){ .pid = check->checker.pid, .kind = CHILD_CHECK });
	result = checking_watch(master, &check->checker, WATCH_CHECK);
	if (result < 0)
		log_event(LOG_LEVEL_WARNING, "cannot watch a check", LOG_ERRNO("reason", result));
	return 0;
}

/* One that cannot be started has its verdict, and the next one its turn. */
void check_next(struct master *master, uint64_t now_ms)
{
	struct check *check = &master->check;
	struct control_request request;
	uint64_t ticket;

	while (check->checker.pid == 0 && control_next(master, REQUEST_CHECK, &request, &ticket)) {
		int result = start(master, request.argument, now_ms);

		check->ticket = ticket;
		if (result == 0)
			return;
		control_refuse(master, REQUEST_CHECK, ticket,
			result == -EINVAL ? "the file has to be named by its absolute path" : log_strerror(result));
		forget(check);
	}
}

/* ---- the child ---- */

void check_hear(struct master *master)
{
	checking_hear(master, &master->check.checker);
}

/* As `brood --check` says it. */
void check_died(struct master *master, int status, uint64_t now_ms)
{
	struct check *check = &master->check;
	char text[LINE_TEXT_MAX];
	enum checker_verdict verdict;

	checking_unwatch(master, &check->checker);
	verdict = checker_reaped(&check->checker, &check->file->origin, status);
	request_tell(master, REQUEST_CHECK, check->ticket, LOG_LEVEL_ERROR, NULL, check->checker.text);
	snprintf(text, sizeof(text), "%s: %s", check->file->path,
		verdict == CHECKER_ACCEPTS ? "OK" : "would not be loaded");
	control_verdict(master, REQUEST_CHECK, check->ticket, verdict == CHECKER_ACCEPTS, text);
	forget(check);
	check_next(master, now_ms);
}

uint64_t check_act(struct master *master, uint64_t now_ms)
{
	struct checker *checker = &master->check.checker;

	if (checker->pid == 0)
		return DEADLINE_NONE;
	checker_expire(checker, now_ms);
	return checker->deadline_ms;
}

/* The child dies with the master. */
void check_done(struct master *master)
{
	struct check *check = &master->check;

	if (check->checker.pid != 0)
		checker_stop(&check->checker);
	fd_close(&check->checker.errors_fd);
	forget(check);
}
