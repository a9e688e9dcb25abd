/* SPDX-License-Identifier: MIT */
#ifndef BASE_LOG_FORMAT_H
#define BASE_LOG_FORMAT_H
/*
 * The forms of a line. A message is the event and its fields, as in
 *
 *	worker died pool=web slot=3 how="signal 9"
 *
 * where a value is quoted if it is empty or has a space, a quote or an equals sign in it; a quote within is \". A line
 * that was cut ends in " ...". Around the message:
 *
 *	text      2026-11-23T05:46:35.123456Z brood[812] warning: MESSAGE
 *	systemd   <4>[812] MESSAGE           (the journal adds the time; the number is the level, see sd-daemon(3))
 *	start     brood: warning: MESSAGE    (before there is a logger)
 *	json      {"time":"2026-11-23T05:46:35.123456Z","level":"warning","writer":812,"event":"worker died",
 *	          "pool":"web","slot":3,"how":"signal 9"}
 *
 * The number behind "brood" and in "writer" is the pid of the process that wrote the line. Numbers are numbers in JSON,
 * a line that was cut has "cut":true, and a field that bears the name of one of the object's own members gets the
 * prefix "field_".
 *
 * Private to log.c and the logger. Nothing here fails: what does not fit its buffer is left out.
 */
#include <stddef.h>

#include "base/log_wire.h"

/* Enough for the longest form of the longest message. */
#define LOG_FORMAT_MAX (8 * LOG_LINE_MAX)

struct log_text {
	char *data;
	size_t used;
	size_t size;
};

void log_text_add(struct log_text *text, const char *data, size_t size);
void log_text_add_string(struct log_text *text, const char *string);
void log_text_add_number(struct log_text *text, int64_t number);

/* Each appends to TEXT, without a newline. */
void log_format_message(struct log_text *text, const struct log_record *record);
void log_format_text(struct log_text *text, const struct log_record *record);
void log_format_systemd(struct log_text *text, const struct log_record *record);
void log_format_start(struct log_text *text, const struct log_record *record);
void log_format_json(struct log_text *text, const struct log_record *record);

/* The access line; a control byte in it, which its writer should have escaped, becomes \xHH. */
void log_format_access(struct log_text *text, const struct log_record *record);

#endif
