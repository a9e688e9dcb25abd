/* SPDX-License-Identifier: MIT */
#ifndef BASE_LOGGER_JOURNAL_H
#define BASE_LOGGER_JOURNAL_H
/*
 * The journal as a target of the logger process, with each field of a line as a field of the entry: MESSAGE, PRIORITY,
 * SYSLOG_IDENTIFIER=brood, SYSLOG_PID (the writer's), BROOD_EVENT, and BROOD_POOL for the field "pool". It blocks for
 * as long as the journal does not read.
 *
 * libsystemd is loaded here, when it is wanted: linked, its pages would burden each fork of the master.
 */
#include "base/attrs.h"
#include "base/log_wire.h"

/* Returns 0, or a negative errno: there is no journal, or no library. *ret_reason says more. */
ATTR_NODISCARD int logger_journal_open(const char **ret_reason);

/* Sends the entry; MESSAGE is TEXT. Returns 0 or a negative errno; -EINTR: a signal came, nothing was sent. */
ATTR_NODISCARD int logger_journal_write(const struct log_record *record, const char *text, size_t size);

#endif
