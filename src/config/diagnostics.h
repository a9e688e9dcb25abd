/* SPDX-License-Identifier: MIT */
#ifndef CONFIG_DIAGNOSTICS_H
#define CONFIG_DIAGNOSTICS_H
/*
 * The errors of one load, and where they are.
 *
 * A configuration is many files, read as one text (config/outline.h), whose lines are numbered from 1 through all of
 * them. By that number errors of all passes come out in the order in which they are read, each under its own file and
 * line.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/attrs.h"

/* From line `text_line` of the one text on, up to the next run, lines are those of `file` from `file_line` on. */
struct line_run {
	unsigned int text_line;
	unsigned int file_line;
	const char *file;
};

struct diagnostic {
	unsigned int text_line;
	size_t number; /* in the order of finding */
	char *text;
};

/* So many are kept. Who has more will correct them in several goes. */
enum { DIAGNOSTICS_MAX = 1000 };

struct diagnostics {
	struct line_run *runs;
	size_t run_count;
	size_t run_room;
	struct diagnostic *errors;
	size_t error_count;
	size_t error_room;
	size_t lost; /* errors beyond DIAGNOSTICS_MAX */
	bool failed; /* memory was short: something is lost */
};

/* The text goes on, at TEXT_LINE, with FILE's line FILE_LINE. FILE must outlive the diagnostics. */
void diagnostics_map(struct diagnostics *diagnostics, unsigned int text_line, const char *file, unsigned int file_line);

/* The file and line of TEXT_LINE. */
struct line_run diagnostics_locate(const struct diagnostics *diagnostics, unsigned int text_line);

/* An error at TEXT_LINE. WHERE is "" or the section; the rest is put behind it. TEXT_LINE 0 stands for no line at all:
 * the text then begins with the file. */
void diagnostics_add(struct diagnostics *diagnostics, unsigned int text_line, const char *where, const char *format,
	...) ATTR_PRINTF(4, 5);

/* Writes all errors, one a line, in the order of their lines. Control bytes and all beyond ASCII are escaped as \xHH,
 * as in the log. */
void diagnostics_print(struct diagnostics *diagnostics, FILE *out);

void diagnostics_done(struct diagnostics *diagnostics);

#endif
