/* SPDX-License-Identifier: MIT */
#include "config/outline.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/lexer.h"
#include "config/names.h"
#include "config/parse.h"
#include "config/source.h"

#define POOLS_MAX     1024
#define STRINGIFY_(x) #x
#define STRINGIFY(x)  STRINGIFY_(x)

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
static const char statement_wanted[] = "a key is followed by = and a value, a section by { and }";

/* ---- the text for libconfuse ---- */

/* Brings the text up to LINE of the current file. Returns the line of the text. */
static unsigned int text_reach(struct outline *outline, unsigned int line)
{
	for (; outline->file->line < line; outline->file->line++) {
		fputc('\n', outline->out);
		outline->line++;
	}
	return outline->line - (outline->file->line - line);
}

/* From the next line of the text on, lines are those of FILE from its `line` on. */
static void text_enter(struct outline *outline, const struct file *file)
{
	fputc('\n', outline->out);
	outline->line++;
	diagnostics_map(outline->diagnostics, outline->line, file->name, file->line);
}

/* Copies the tokens from FROM up to the current place. */
static void text_copy(struct outline *outline, struct lexer from)
{
	while (from.text < outline->file->lexer.text) {
		struct token token = lexer_next(&from);

		text_reach(outline, token.line);
		fputc(' ', outline->out);
		fwrite(token.text, 1, token.size, outline->out);
	}
}

static void text_put(struct outline *outline, unsigned int line, const char *text)
{
	text_reach(outline, line);
	fprintf(outline->out, " %s", text);
}

/* ---- tokens ---- */

static struct token token_next(struct outline *outline)
{
	return lexer_next(&outline->file->lexer);
}

static struct token token_peek(const struct outline *outline)
{
	struct lexer lexer = outline->file->lexer;

	return lexer_next(&lexer);
}

static bool is_value(const struct token *token)
{
	return token->kind == TOKEN_WORD || token->kind == TOKEN_STRING;
}

/* `"the text"`, or what else stands there: for errors. Valid until the next call. */
static const char *token_quote(const struct token *token)
{
	static char quote[80];
	int size = token->size > 60 ? 60 : (int)token->size;

	if (token->kind == TOKEN_END)
		snprintf(quote, sizeof(quote), "end of the file");
	else if (token->kind == TOKEN_STRING)
		snprintf(quote, sizeof(quote), "%.*s", size, token->text);
	else
		snprintf(quote, sizeof(quote), "\"%.*s\"", size, token->text);
	return quote;
}

/* ---- errors ---- */

/* A statement of LEVEL is left out. */
static void level_damage(struct outline *outline, struct level *level)
{
	if (level->kind == LEVEL_HANDLER)
		level->pool->section_damaged = true;
	else if (level->kind == LEVEL_POOL)
		level->pool->damaged = true;
	else
		outline->damaged = true;
}

/* Nothing is read from here on. */
static void stop(struct outline *outline, struct level *level)
{
	level_damage(outline, level);
	if (level->pool)
		level->pool->damaged = true;
	outline->damaged = true;
	outline->stopped = true;
}

/* Something from which reading cannot go on. Always returns false. */
static bool stop_at(struct outline *outline, struct level *level, const struct token *token, const char *expected)
{
	unsigned int line = text_reach(outline, token->line);

	stop(outline, level);
	if (token->kind == TOKEN_ERROR)
		diagnostics_add(outline->diagnostics, line, level->where, "%s", token->problem);
	else
		diagnostics_add(
			outline->diagnostics, line, level->where, "unexpected %s; %s", token_quote(token), expected);
	return false;
}

/* An error in the statement of NAME, which is left out while reading goes on. Always returns false. */
static bool refuse(struct outline *outline, struct level *level, unsigned int line, const char *format, ...)
	ATTR_PRINTF(4, 5);

static bool refuse(struct outline *outline, struct level *level, unsigned int line, const char *format, ...)
{
	char *text = NULL;
	va_list args;

	level_damage(outline, level);
	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	if (text)
		diagnostics_add(outline->diagnostics, text_reach(outline, line), level->where, "%s", text);
	else
		outline->diagnostics->failed = true;
	free(text);
	return false;
}

/* ---- leaving out ---- */

/* Skips to behind the brace that closes the one just read. No recursion: the nesting is the client's. */
static bool skip_braces(struct outline *outline, struct level *level)
{
	unsigned int depth = 1;

	while (depth > 0) {
		struct token token = token_next(outline);

		if (token.kind == TOKEN_END || token.kind == TOKEN_ERROR)
			return stop_at(outline, level, &token, "a closing } is missing");
		if (token.kind == TOKEN_OPEN)
			depth++;
		else if (token.kind == TOKEN_CLOSE)
			depth--;
	}
	return true;
}

static bool skip_call(struct outline *outline, struct level *level)
{
	for (;;) {
		struct token token = token_next(outline);

		if (token.kind == TOKEN_RETURN)
			return true;
		if (token.kind != TOKEN_COMMA && !is_value(&token))
			return stop_at(outline, level, &token, "a closing ) is missing");
	}
}

/*
 * Skips the rest of a statement that went wrong behind the token BEFORE, with DEPTH braces open: up to the next line,
 * or to the brace that closes what is around. Reading goes on there; a line that cannot be read stops it.
 */
static bool skip_rest(struct outline *outline, const struct token *before, unsigned int depth)
{
	unsigned int line = before->line;

	for (;;) {
		struct token token = token_peek(outline);

		if (token.kind == TOKEN_END || token.kind == TOKEN_ERROR)
			return true;
		if (depth == 0 && (token.line > line || token.kind == TOKEN_CLOSE))
			return true;
		token_next(outline);
		line = token.line;
		if (token.kind == TOKEN_OPEN)
			depth++;
		else if (token.kind == TOKEN_CLOSE && --depth == 0)
			return true;
	}
}

/* Skips what follows the unknown NAME, whatever it is: = value, = { list }, { section }, "title" { section }, (call).
 */
static bool skip_statement(struct outline *outline, struct level *level, const struct token *name)
{
	struct token before = *name, token = token_peek(outline);

	if (token.kind == TOKEN_CALL) {
		token_next(outline);
		return skip_call(outline, level);
	}
	if (token.kind == TOKEN_SET || token.kind == TOKEN_ADD || is_value(&token)) {
		before = token_next(outline);
		token = token_peek(outline);
	}
	if (token.kind == TOKEN_OPEN) {
		token_next(outline);
		return skip_braces(outline, level);
	}
	return skip_rest(outline, &before, 0);
}

/* ---- keys ---- */

/* Where a comma or the closing brace of a list should be, after BEFORE, is TOKEN. Always returns false. */
static bool list_broken(struct outline *outline, struct level *level, const struct token *name,
	const struct token *before, const struct token *token)
{
	struct lexer behind = outline->file->lexer;
	struct token next;

	if (token->kind == TOKEN_END || token->kind == TOKEN_ERROR)
		return stop_at(outline, level, token, "the list is not closed: a } is missing");
	lexer_next(&behind);
	next = lexer_next(&behind);
	/* `name =` on a line of its own is the next key: the brace is missing. */
	if (token->kind == TOKEN_WORD && next.kind == TOKEN_SET)
		return refuse(outline, level, token->line, "%.*s: the list is not closed: a } is missing before %s",
			(int)name->size, name->text, token_quote(token));
	refuse(outline, level, token->line, "%.*s: unexpected %s; a list is { value, value }", (int)name->size,
		name->text, token_quote(token));
	skip_rest(outline, before, 1);
	return false;
}

/* The values of a list, behind its opening brace. Returns whether they are sound. */
static bool list_values(
	struct outline *outline, struct level *level, const struct name *entry, const struct token *name)
{
	struct token token = *name, next;
	bool sound = true;
	size_t count = 0;

	for (next = token_peek(outline); next.kind != TOKEN_CLOSE; count++) {
		if (!is_value(&next))
			return list_broken(outline, level, name, &token, &next);
		token = token_next(outline);
		if (token.problem[0])
			sound = refuse(
				outline, level, token.line, "%.*s: %s", (int)name->size, name->text, token.problem);
		next = token_peek(outline);
		if (next.kind == TOKEN_COMMA) {
			token_next(outline);
			next = token_peek(outline);
		} else if (next.kind != TOKEN_CLOSE) {
			return list_broken(outline, level, name, &token, &next);
		}
	}
	token_next(outline);
	if (count == 0 && !entry->may_be_empty)
		return refuse(outline, level, next.line, "%.*s is an empty list; at least one value is needed",
			(int)name->size, name->text);
	return sound;
}

/* Where a value should be, after BEFORE, is TOKEN, which was not taken. Always returns false. */
static bool value_missing(struct outline *outline, struct level *level, const struct token *name,
	const struct token *before, const struct token *token)
{
	if (token->kind == TOKEN_ERROR || token->kind == TOKEN_END)
		return stop_at(outline, level, token, statement_wanted);
	refuse(outline, level, before->line, "%.*s has no value; accepted is %.*s = value", (int)name->size, name->text,
		(int)name->size, name->text);
	skip_rest(outline, before, 0);
	return false;
}

/* What follows the = of a key. Returns whether it is sound. */
static bool key_value(struct outline *outline, struct level *level, const struct name *entry, const struct token *name,
	const struct token *operator)
{
	struct token token = token_peek(outline);

	if (token.kind == TOKEN_OPEN) {
		token_next(outline);
		if (entry->kind == NAME_LIST)
			return list_values(outline, level, entry, name);
		refuse(outline, level, token.line, "%s takes one value, not a list", entry->text);
		return skip_braces(outline, level) && false;
	}
	/* `a =` and on the next line `b = 1`: libconfuse would take b for the value. */
	if (!is_value(&token) || token.line > operator->line)
		return value_missing(outline, level, name, operator, & token);
	token_next(outline);
	if (token.problem[0])
		return refuse(outline, level, token.line, "%s: %s", entry->text, token.problem);
	return true;
}

/* Returns whether a key may be given here with OPERATOR, which is = or +=. */
static bool key_allowed(struct outline *outline, struct level *level, const struct name *entry,
	const struct token *name, const struct token *operator)
{
	struct line_run first = diagnostics_locate(outline->diagnostics, entry->seen);

	if (operator->kind == TOKEN_ADD) {
		if (entry->kind != NAME_LIST)
			return refuse(
				outline, level, operator->line, "%s takes one value; += is for lists", entry->text);
		if (!entry->seen)
			return refuse(outline, level, operator->line,
				"%s += adds to a list given before, and there is none; write %s =", entry->text,
				entry->text);
		return true;
	}
	if (!entry->seen)
		return true;
	if (strcmp(first.file, outline->file->name) == 0)
		return refuse(outline, level, name->line, "%s is given twice, first on line %u", entry->text,
			first.file_line);
	return refuse(outline, level, name->line, "%s is given twice, first in %s:%u", entry->text, first.file,
		first.file_line);
}

/* name = value. FROM is where the name stands. */
static bool key_statement(
	struct outline *outline, struct level *level, struct name *entry, const struct token *name, struct lexer from)
{
	struct token operator= token_peek(outline);
	bool allowed;

	if (operator.kind == TOKEN_OPEN) {
		refuse(outline, level, name->line, "%s is a key, not a section; accepted is %s = value", entry->text,
			entry->text);
		token_next(outline);
		return skip_braces(outline, level);
	}
	if (operator.kind != TOKEN_SET && operator.kind != TOKEN_ADD)
		return value_missing(outline, level, name, name, &operator);
	token_next(outline);
	allowed = key_allowed(outline, level, entry, name, &operator);
	if (!entry->seen)
		entry->seen = text_reach(outline, name->line);
	if (key_value(outline, level, entry, name, &operator) && allowed)
		text_copy(outline, from);
	return true;
}

/* ---- sections ---- */

static bool level_body(struct outline *outline, struct level *level, unsigned int opened);

static size_t handler_count(const struct outline *outline)
{
	size_t count = 0;

	while (outline->handlers[count])
		count++;
	return count;
}

static void note_section(
	struct outline *outline, struct outline_pool *pool, const struct brood_module *handler, unsigned int line)
{
	for (size_t i = 0; outline->handlers[i]; i++) {
		if (outline->handlers[i] == handler)
			pool->section_lines[i] = line;
	}
}

/* A handler's section: http { ... }. */
static bool handler_statement(
	struct outline *outline, struct level *outer, struct name *entry, const struct token *name)
{
	struct level level = { .kind = LEVEL_HANDLER, .handlers = outer->handlers, .pool = outer->pool };
	struct token open = token_peek(outline);

	if (open.kind == TOKEN_SET || open.kind == TOKEN_ADD) {
		refuse(outline, outer, name->line, "%s is a section, not a key; accepted is %s { ... }", entry->text,
			entry->text);
		return skip_statement(outline, outer, name);
	}
	if (open.kind != TOKEN_OPEN)
		return stop_at(outline, outer, &open, "a handler's section is NAME { ... }");
	token_next(outline);
	if (entry->seen) {
		struct line_run first = diagnostics_locate(outline->diagnostics, entry->seen);

		refuse(outline, outer, name->line, "section %s is given twice, first in %s:%u", entry->text, first.file,
			first.file_line);
		return skip_braces(outline, outer);
	}
	entry->seen = text_reach(outline, name->line);
	note_section(outline, outer->pool, entry->handler, entry->seen);
	level.where = arena_format(outline->arena, "%s: %s", outer->where, entry->text);
	if (!level.where || level_init(&level, entry->handler, outline->arena) < 0)
		return false;
	text_put(outline, name->line, entry->text);
	text_put(outline, open.line, "{");
	return level_body(outline, &level, text_reach(outline, open.line));
}

static struct outline_pool *pool_find(const struct outline *outline, const char *name)
{
	struct outline_pool *pool = outline->pools;

	while (pool && strcmp(pool->name, name) != 0)
		pool = pool->next;
	return pool;
}

/* Checks the name of a pool, as it stands at TITLE. Returns false after an error. */
static bool pool_name_check(struct outline *outline, struct level *level, const struct token *title, const char *name)
{
	static const char accepted[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
	const struct outline_pool *same = pool_find(outline, name);
	struct line_run first;
	size_t size = strlen(name);

	if (size == 0 || size > POOL_NAME_MAX || strspn(name, accepted) != size)
		return refuse(outline, level, title->line,
			"pool %s: a pool's name is 1 to %d letters, digits, and _ . -", token_quote(title),
			POOL_NAME_MAX);
	if (!same)
		return true;
	first = diagnostics_locate(outline->diagnostics, same->line);
	return refuse(outline, level, title->line, "pool \"%s\" is given twice, first in %s:%u", name, first.file,
		first.file_line);
}

static struct outline_pool *pool_add(struct outline *outline, const char *name, unsigned int line)
{
	struct outline_pool *pool = arena_alloc(outline->arena, sizeof(*pool));

	if (!pool)
		return NULL;
	pool->name = name;
	pool->where = arena_format(outline->arena, "pool \"%s\"", name);
	pool->line = line;
	pool->section_lines = arena_alloc(outline->arena, (handler_count(outline) + 1) * sizeof(unsigned int));
	*outline->pools_end = pool;
	outline->pools_end = &pool->next;
	outline->pool_count++;
	return pool->where && pool->section_lines ? pool : NULL;
}

/* pool "title" { ... }. One whose title is wrong is gone through too, for its other errors. */
static bool pool_statement(struct outline *outline, struct level *outer, const struct token *name)
{
	struct level level = { .kind = LEVEL_POOL, .handlers = outer->handlers };
	struct token title = token_peek(outline), open;
	const char *text;

	if (!is_value(&title))
		return stop_at(outline, outer, &title, "a pool has a name: pool \"NAME\" { ... }");
	if (outline->pool_count == POOLS_MAX)
		return stop_at(outline, outer, &title, "there are more than " STRINGIFY(POOLS_MAX) " pools");
	token_next(outline);
	open = token_peek(outline);
	if (open.kind != TOKEN_OPEN)
		return stop_at(outline, outer, &open, "a pool is pool \"NAME\" { ... }");
	token_next(outline);
	text = title.problem[0] ? "" : parse_word(outline->arena, title.text, title.size);
	if (!text)
		return stop_at(outline, outer, &title, "it cannot be read");
	if (title.problem[0])
		refuse(outline, outer, title.line, "pool: %s", title.problem);
	else
		pool_name_check(outline, outer, &title, text);
	level.pool = pool_add(outline, text, text_reach(outline, name->line));
	if (!level.pool || level_init(&level, NULL, outline->arena) < 0)
		return false;
	level.where = level.pool->where;
	text_put(outline, name->line, "pool");
	text_put(outline, open.line, "{");
	return level_body(outline, &level, text_reach(outline, open.line));
}

/* ---- include ---- */

/* Refuses a file that is being read already, and says by which way it came back. */
static bool include_cycle(
	struct outline *outline, struct level *level, const char *path, const struct source *source, unsigned int line)
{
	const char *chain = path;
	struct file *file;

	for (file = outline->file; file; file = file->outer) {
		chain = arena_format(outline->arena, "%s -> %s", file->name, chain ? chain : "");
		if (file->device == source->device && file->inode == source->inode)
			break;
	}
	if (!file)
		return false;
	refuse(outline, level, line, "include: %s includes itself: %s", path, chain ? chain : "");
	return true;
}

/* Whether the file may be read on top of those under way. */
static bool include_allowed(
	struct outline *outline, struct level *level, const char *path, const struct source *source, unsigned int line)
{
	if (include_cycle(outline, level, path, source, line))
		return false;
	if (outline->file->depth + 1 >= SOURCE_DEPTH_MAX)
		return refuse(outline, level, line, "include: %s: files include one another more than %d deep", path,
			SOURCE_DEPTH_MAX);
	outline->read_size += source->size;
	if (outline->read_size > SOURCE_TOTAL_MAX) {
		outline->stopped = true;
		return refuse(outline, level, line, "include: with %s the files have more than 4 MiB together", path);
	}
	return true;
}

static int file_read(struct outline *outline, struct level *level, const char *name, const struct source *source);

static bool include_file(struct outline *outline, struct level *level, const char *path, unsigned int line)
{
	struct source source;
	const char *reason;
	int result;

	result = source_read(path, &source, &reason);
	if (result < 0)
		return refuse(outline, level, line, "include: %s: %s", path, reason);
	if (include_allowed(outline, level, path, &source, line)) {
		path = arena_text(outline->arena, path);
		result = path ? file_read(outline, level, path, &source) : -ENOMEM;
	}
	source_done(&source);
	return result == 0;
}

/* Every file that PATTERN means, in place of the statement at LINE. */
static bool include_pattern(struct outline *outline, struct level *level, const char *pattern, unsigned int line)
{
	struct source_list list;
	int result;

	if (outline->refuse_includes)
		return refuse(outline, level, line, "include: no other files may be read here");
	result = source_expand(outline->file->name, pattern, &list);
	if (result < 0)
		return refuse(outline, level, line, "include: %s: %s", pattern, strerrordesc_np(-result));
	for (size_t i = 0; i < list.count && !outline->stopped; i++)
		include_file(outline, level, list.paths[i], line);
	source_list_done(&list);
	return true;
}

/* include("path"). */
static bool include_statement(struct outline *outline, struct level *level, const struct token *name)
{
	static const char wanted[] = "include is followed by (\"path\")";
	struct token open = token_next(outline), path, close;
	const char *pattern;

	if (open.kind != TOKEN_CALL)
		return stop_at(outline, level, &open, wanted);
	path = token_next(outline);
	if (!is_value(&path))
		return stop_at(outline, level, &path, wanted);
	close = token_next(outline);
	if (close.kind != TOKEN_RETURN)
		return stop_at(outline, level, &close, wanted);
	if (path.problem[0])
		return refuse(outline, level, path.line, "include: %s", path.problem);
	pattern = parse_word(outline->arena, path.text, path.size);
	if (!pattern)
		return stop_at(outline, level, &path, "it cannot be read");
	if (pattern[0] == '\0')
		return refuse(outline, level, path.line, "include: the path is empty");
	return include_pattern(outline, level, pattern, name->line);
}

/* ---- the whole ---- */

/* Whether { or "title" follows. */
static bool next_is_section(const struct outline *outline)
{
	struct token token = token_peek(outline);

	return token.kind == TOKEN_OPEN || token.kind == TOKEN_STRING;
}

static void statement(struct outline *outline, struct level *level)
{
	struct lexer from = outline->file->lexer;
	struct token name = token_next(outline);
	struct name *entry;

	if (name.kind != TOKEN_WORD) {
		stop_at(outline, level, &name, statement_wanted);
		return;
	}
	entry = level_find(level, name.text, name.size);
	if (!entry && level->kind != LEVEL_FILE && name.size == 4 && memcmp(name.text, "pool", 4) == 0) {
		stop_at(outline, level, &name, "pools do not stand in one another; is a } missing before?");
	} else if (!entry) {
		char text[NAME_EXPLANATION_MAX];

		refuse(outline, level, name.line, "%s",
			level_explain(level, next_is_section(outline) ? "section" : "key", name.text, name.size, text));
		skip_statement(outline, level, &name);
	} else if (entry->kind == NAME_POOL) {
		pool_statement(outline, level, &name);
	} else if (entry->kind == NAME_HANDLER) {
		handler_statement(outline, level, entry, &name);
	} else if (entry->kind == NAME_INCLUDE) {
		include_statement(outline, level, &name);
	} else {
		key_statement(outline, level, entry, &name, from);
	}
}

/* The statements of a section, up to its closing brace. OPENED is the text's line of the opening one. */
static bool level_body(struct outline *outline, struct level *level, unsigned int opened)
{
	struct token token;

	while (!outline->stopped && !outline->arena->failed) {
		token = token_peek(outline);
		if (token.kind == TOKEN_END) {
			stop(outline, level);
			diagnostics_add(outline->diagnostics, opened, level->where,
				"the { here is never closed: a } is missing");
		} else if (token.kind == TOKEN_CLOSE) {
			token_next(outline);
			text_put(outline, token.line, "}");
			return true;
		} else {
			statement(outline, level);
		}
	}
	/* What was sound so far is still read. */
	fputs(" }", outline->out);
	return false;
}

/* The statements of a whole file, which is included in LEVEL. */
static void file_body(struct outline *outline, struct level *level)
{
	struct token token;

	for (token = token_peek(outline); token.kind != TOKEN_END; token = token_peek(outline)) {
		if (token.kind == TOKEN_CLOSE)
			stop_at(outline, level, &token, "no { is open in this file");
		else
			statement(outline, level);
		if (outline->stopped || outline->arena->failed)
			return;
	}
}

static int file_read(struct outline *outline, struct level *level, const char *name, const struct source *source)
{
	struct file file = {
		.outer = outline->file,
		.name = name,
		.device = source->device,
		.inode = source->inode,
		.depth = outline->file ? outline->file->depth + 1 : 0,
		.lexer = {.text = source->text, .end = source->text + source->size, .line = 1},
		.line = 1,
	};

	text_enter(outline, &file);
	outline->file = &file;
	file_body(outline, level);
	outline->file = file.outer;
	if (file.outer)
		text_enter(outline, file.outer);
	return outline->arena->failed ? -ENOMEM : 0;
}

int outline_text(struct outline *outline, const char *name, const struct source *source)
{
	struct level level = { .kind = LEVEL_FILE, .where = "", .handlers = outline->handlers };
	int result;

	outline->pools_end = &outline->pools;
	outline->line = 1;
	outline->out = open_memstream(&outline->text, &outline->text_size);
	if (!outline->out)
		return -ENOMEM;
	result = level_init(&level, NULL, outline->arena);
	if (result == 0)
		result = file_read(outline, &level, name, source);
	if (fclose(outline->out) != 0)
		result = -ENOMEM;
	outline->out = NULL;
	return result;
}

void outline_done(struct outline *outline)
{
	free(outline->text);
	outline->text = NULL;
}
