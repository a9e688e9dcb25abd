/* SPDX-License-Identifier: MIT */
#include "base/logger_syslog.h"

#include <errno.h>
#include <stdio.h>
#include <syslog.h>

#include "base/logger_signals.h"

/* openlog() keeps the pointer and each call reads the text: the tag names the writer of the line, which LOG_PID would
 * not, it would name the logger. */
static char tag[sizeof("brood[-2147483648]")] = "brood";

void logger_syslog_open(void)
{
	openlog(tag, LOG_NDELAY, LOG_DAEMON);
}

int logger_syslog_write(const struct log_record *record, const char *text)
{
	unsigned int signals = logger_signals_count();

	snprintf(tag, sizeof(tag), "brood[%d]", (int)record->header.pid);
	logger_signals_allow();
	syslog(record->header.level, "%s", text);
	logger_signals_hold();
	return logger_signals_count() != signals ? -EINTR : 0;
}
