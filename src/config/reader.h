/* SPDX-License-Identifier: MIT */
#ifndef CONFIG_READER_H
#define CONFIG_READER_H
/*
 * What the parts of the outline share: the file under way, its tokens, the text that is put together for libconfuse,
 * errors, and how to get on behind them. The grammar itself is in outline.c (sections), keys.c and include.c.
 *
 * Functions that return bool return whether the statement is sound; what stops reading altogether is outline->stopped.
 */
#include <stdbool.h>

#include "base/attrs.h"
#include "config/lexer.h"
#include "config/names.h"
#include "config/outline.h"
#include "config/source.h"

/* A file under way, and the files that include it. */
struct file {
	struct file *outer;
	const char *name;
	dev_t device;
	ino_t inode;
	unsigned int depth;
	struct lexer lexer;
	unsigned int line; /* the one that the outline's text has reached */
};

/* What is wanted where a statement may begin. */
extern const char reader_statement_wanted[];

/* ---- the text for libconfuse ---- */

/* Brings the text up to LINE of the current file. Returns the line of the text. */
unsigned int reader_reach(struct outline *outline, unsigned int line);

/* From the next line of the text on, lines are those of FILE from its `line` on. */
void reader_enter(struct outline *outline, const struct file *file);

/* Copies the tokens from FROM up to the current place. */
void reader_copy(struct outline *outline, struct lexer from);

/* Puts TEXT where LINE of the current file is. */
void reader_put(struct outline *outline, unsigned int line, const char *text);

/* ---- tokens ---- */

struct token reader_next(struct outline *outline);
struct token reader_peek(const struct outline *outline);

bool token_is_value(const struct token *token);

/* `"the text"`, or what else stands there: for errors. Valid until the next call. */
const char *token_quote(const struct token *token);

/* ---- errors ---- */

/* Nothing is read from here on. */
void reader_stop(struct outline *outline, struct level *level);

/* Something from which reading cannot go on. Always returns false. */
bool reader_stop_at(struct outline *outline, struct level *level, const struct token *token, const char *expected);

/* An error in a statement at LINE of the current file; it is left out, and reading goes on. Always returns false. */
bool reader_refuse(struct outline *outline, struct level *level, unsigned int line, const char *format, ...)
	ATTR_PRINTF(4, 5);

/* ---- leaving out ---- */

/* Skips to behind the brace that closes the one just read. */
bool reader_skip_braces(struct outline *outline, struct level *level);

/*
 * Skips the rest of a statement that went wrong behind the token BEFORE, with DEPTH braces open: up to the next line,
 * or to the brace that closes what is around. Reading goes on there; a line that cannot be read stops it.
 */
bool reader_skip_rest(struct outline *outline, const struct token *before, unsigned int depth);

/* Skips what follows the unknown NAME, whatever it is: = value, = { list }, { section }, "title" { section }, (call).
 */
bool reader_skip_statement(struct outline *outline, struct level *level, const struct token *name);

/* ---- the grammar ---- */

/* name = value, behind the name. */
bool outline_key(struct outline *outline, struct level *level, struct name *entry, const struct token *name);

/* include("path"). */
bool outline_include(struct outline *outline, struct level *level, const struct token *name);

/* The statements of a file that stands in LEVEL. Returns 0 or -ENOMEM. */
int outline_file(struct outline *outline, struct level *level, const char *name, const struct source *source);

#endif
