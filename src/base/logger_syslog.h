/* SPDX-License-Identifier: MIT */
#ifndef BASE_LOGGER_SYSLOG_H
#define BASE_LOGGER_SYSLOG_H
/*
 * syslog(3) as a target of the logger process. It blocks for as long as the receiver does not read.
 */
#include "base/attrs.h"
#include "base/log_wire.h"

void logger_syslog_open(void);

/* Sends TEXT, terminated, with the record's level and, as the tag's pid, its writer's. Returns 0, or -EINTR if a signal
 * came meanwhile: syslog(3) does not say whether it sent the line. */
ATTR_NODISCARD int logger_syslog_write(const struct log_record *record, const char *text);

#endif
