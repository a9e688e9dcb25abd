/* SPDX-License-Identifier: MIT */
#include "base/logger_target.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log_format.h"
#include "base/logger_journal.h"
#include "base/logger_syslog.h"

/* The journal reads standard error; or systemd connected it to something else: a socket is no shell's doing. */
static bool stderr_wants_levels(void)
{
	struct stat status;

	if (log_target_resolve(LOG_TARGET_AUTO, false) == LOG_TARGET_JOURNAL)
		return true;
	return getenv("INVOCATION_ID") != NULL && fstat(STDERR_FILENO, &status) == 0 && S_ISSOCK(status.st_mode);
}

static bool target_has_output(const struct logger_target *target)
{
	return target->kind == LOG_TARGET_STDERR || target->kind == LOG_TARGET_FILE;
}

int logger_target_init(struct logger_target *target, const struct logger_config *config, const char **ret_fallback)
{
	bool fallback = false;
	const char *reason = NULL;

	*target = (struct logger_target){ .format = config->format, .line = malloc(LOG_FORMAT_MAX) };
	if (target->line == NULL)
		return -ENOMEM;
	target->kind = log_target_resolve(config->target, config->detached);
	if (target->kind == LOG_TARGET_JOURNAL && logger_journal_open(&reason) < 0) {
		target->kind = LOG_TARGET_STDERR;
		fallback = true;
	}
	if (target->kind == LOG_TARGET_SYSLOG)
		logger_syslog_open();
	target->prefix_levels = target->kind == LOG_TARGET_STDERR && (fallback || stderr_wants_levels());
	*ret_fallback = fallback ? reason : NULL;
	if (!target_has_output(target))
		return 0;
	return logger_output_init(&target->output, target->kind == LOG_TARGET_FILE ? config->file : NULL) == -ENOMEM
		       ? -ENOMEM
		       : 0;
}

/* The line as an output gets it, with its newline. */
static struct log_text format_line(const struct logger_target *target, const struct log_record *record)
{
	struct log_text text = { .data = target->line, .size = LOG_FORMAT_MAX - 1 };

	if (target->prefix_levels) {
		log_text_add_string(&text, "<");
		log_text_add_number(&text, record->header.level);
		log_text_add_string(&text, ">");
	}
	if (target->format == LOG_FORMAT_JSON)
		log_format_json(&text, record);
	else if (target->prefix_levels)
		log_format_systemd(&text, record);
	else
		log_format_text(&text, record);
	text.data[text.used++] = '\n';
	return text;
}

/* The line for the targets that add time and level themselves, terminated. */
static struct log_text format_message(const struct logger_target *target, const struct log_record *record)
{
	struct log_text text = { .data = target->line, .size = LOG_FORMAT_MAX - 1 };

	if (target->kind == LOG_TARGET_SYSLOG && target->format == LOG_FORMAT_JSON)
		log_format_json(&text, record);
	else
		log_format_message(&text, record);
	text.data[text.used] = '\0';
	return text;
}

static int send_message(struct logger_target *target, const struct log_record *record)
{
	struct log_text text = format_message(target, record);

	if (target->kind == LOG_TARGET_SYSLOG)
		return logger_syslog_write(record, text.data);
	return logger_journal_write(record, text.data, text.used);
}

int logger_target_write(struct logger_target *target, const struct log_record *record)
{
	int error;

	if (target_has_output(target)) {
		struct log_text text = format_line(target, record);

		logger_output_append(&target->output, text.data, text.used);
		return 0;
	}
	error = send_message(target, record);
	if (error == -EINTR && target->kind == LOG_TARGET_JOURNAL)
		return error;
	target->output.lost += error < 0;
	target->output.error = error == -EINTR ? 0 : error;
	if (target->output.error < 0)
		target->output.lost_error = error;
	return 0;
}

static void complain(const struct logger_target *target)
{
	struct pollfd polled = { .fd = STDERR_FILENO, .events = POLLOUT };
	char line[512];
	int size = snprintf(line, sizeof(line), "brood: error: log cannot be written: %s: %s\n",
		target->kind == LOG_TARGET_FILE ? target->output.path : "the journal",
		log_strerror(target->output.error));

	if (poll(&polled, 1, 0) <= 0 || polled.revents != POLLOUT || size >= (int)sizeof(line))
		return;
	if (write(STDERR_FILENO, line, (size_t)size) < 0)
		return; /* there is nowhere left to say it */
}

void logger_target_flush(struct logger_target *target)
{
	if (!target->output.stalled)
		logger_output_flush(&target->output);
	if (target->output.error == 0) {
		target->complained = false;
		return;
	}
	if (!target->complained && target->kind != LOG_TARGET_STDERR)
		complain(target);
	target->complained = true;
}

void logger_target_announce(struct logger_target *target, const struct log_record *record)
{
	if (target_has_output(target)) {
		struct log_text text = format_line(target, record);

		logger_output_announce(&target->output, text.data, text.used);
		logger_output_flush(&target->output);
		return;
	}
	target->output.error = send_message(target, record);
	if (target->output.error < 0)
		return;
	target->output.lost = 0;
	target->output.lost_error = 0;
}
