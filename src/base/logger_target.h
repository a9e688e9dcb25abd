/* SPDX-License-Identifier: MIT */
#ifndef BASE_LOGGER_TARGET_H
#define BASE_LOGGER_TARGET_H
/*
 * Where events go: standard error, a file, syslog(3) or the journal, in the format that was asked for. (The journal has
 * a format of its own.) Used by the logger process only; writing may block on syslog and the journal.
 */
#include <stdbool.h>

#include "base/attrs.h"
#include "base/log_wire.h"
#include "base/logger.h"
#include "base/logger_output.h"

struct logger_target {
	enum log_target kind; /* never LOG_TARGET_AUTO */
	enum log_format format;
	bool prefix_levels; /* standard error, read by systemd: "<4>", sd-daemon(3) */
	/* The file, or standard error. With syslog and the journal nothing but the account of losses. */
	struct logger_output output;
	bool complained; /* standard error knows that the target fails */
	char *line;
};

/*
 * Opens what CONFIG asks for. Where there is no journal, standard error with levels takes its place; the reason is then
 * in *ret_fallback, else NULL. Returns 0, or -ENOMEM. A file that cannot be opened is tried again with each line.
 */
ATTR_NODISCARD int logger_target_init(
	struct logger_target *target, const struct logger_config *config, const char **ret_fallback);

/* Hands over a line. Returns 0 (lost, perhaps, and counted) or -EINTR: not sent, take care of the signal, try again. */
ATTR_NODISCARD int logger_target_write(struct logger_target *target, const struct log_record *record);

/* Writes what is buffered, unless the output is stalled. A target that begins to fail (a full disk) is complained about
 * on standard error, once, if that takes it without waiting. */
void logger_target_flush(struct logger_target *target);

/* Writes RECORD, which says that output.lost lines were lost, and takes them off the account if that succeeds. */
void logger_target_announce(struct logger_target *target, const struct log_record *record);

#endif
