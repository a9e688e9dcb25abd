/* SPDX-License-Identifier: MIT */
#include "config/outline.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/parse.h"
#include "config/reader.h"
#include "config/schema.h"

#define POOLS_MAX     1024
#define STRINGIFY_(x) #x
#define STRINGIFY(x)  STRINGIFY_(x)

/* ---- sections ---- */

static bool level_body(struct outline *outline, struct level *level, unsigned int opened);

static void note_section(
	struct outline *outline, struct outline_pool *pool, const struct brood_module *handler, unsigned int line)
{
	for (size_t i = 0; outline->handlers[i]; i++) {
		if (outline->handlers[i] == handler)
			pool->section_lines[i] = line;
	}
}

static enum level_kind section_kind(const struct name *entry)
{
	switch (entry->kind) {
	case NAME_LIMITS:
		return LEVEL_LIMITS;
	case NAME_OPTIONS:
		return LEVEL_OPTIONS;
	default:
		return LEVEL_HANDLER;
	}
}

static void note_options(
	struct outline *outline, struct outline_pool *pool, const struct level *level, unsigned int line)
{
	pool->options_line = line;
	pool->options = level->names;
	pool->option_count = level->name_count;
	if (level->name_count > outline->option_room)
		outline->option_room = level->name_count;
}

/* A section in a pool: http { ... }, limits { ... }. */
static bool section_statement(
	struct outline *outline, struct level *outer, struct name *entry, const struct token *name)
{
	struct level level = { .handlers = outer->handlers, .pool = outer->pool };
	struct token open = reader_peek(outline);
	bool complete;

	if (open.kind == TOKEN_SET || open.kind == TOKEN_ADD) {
		reader_refuse(outline, outer, name->line, "%s is a section, not a key; accepted is %s { ... }",
			entry->text, entry->text);
		return reader_skip_statement(outline, outer, name);
	}
	if (open.kind != TOKEN_OPEN)
		return reader_stop_at(outline, outer, &open, "a section is NAME { ... }");
	reader_next(outline);
	if (entry->seen) {
		struct line_run first = diagnostics_locate(outline->diagnostics, entry->seen);

		reader_refuse(outline, outer, name->line, "section %s is given twice, first in %s:%u", entry->text,
			first.file, first.file_line);
		return reader_skip_braces(outline, outer);
	}
	entry->seen = reader_reach(outline, name->line);
	level.kind = section_kind(entry);
	note_section(outline, outer->pool, entry->handler, entry->seen);
	level.where = arena_format(outline->arena, "%s: %s", outer->where, entry->text);
	if (!level.where || level_init(&level, entry->handler, outline->arena) < 0)
		return false;
	reader_put(outline, name->line, entry->text);
	reader_put(outline, open.line, "{");
	complete = level_body(outline, &level, reader_reach(outline, open.line));
	if (level.kind == LEVEL_OPTIONS)
		note_options(outline, outer->pool, &level, entry->seen);
	return complete;
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
		return reader_refuse(outline, level, title->line,
			"pool %s: a pool's name is 1 to %d letters, digits, and _ . -", token_quote(title),
			POOL_NAME_MAX);
	if (!same)
		return true;
	first = diagnostics_locate(outline->diagnostics, same->line);
	return reader_refuse(outline, level, title->line, "pool \"%s\" is given twice, first in %s:%u", name,
		first.file, first.file_line);
}

static struct outline_pool *pool_add(struct outline *outline, const char *name, unsigned int line)
{
	struct outline_pool *pool = arena_alloc(outline->arena, sizeof(*pool));

	if (!pool)
		return NULL;
	pool->name = name;
	pool->where = arena_format(outline->arena, "pool \"%s\"", name);
	pool->line = line;
	pool->section_lines =
		arena_alloc(outline->arena, (schema_count_handlers(outline->handlers) + 1) * sizeof(unsigned int));
	*outline->pools_end = pool;
	outline->pools_end = &pool->next;
	outline->pool_count++;
	return pool->where && pool->section_lines ? pool : NULL;
}

/* pool "title" { ... }. One whose title is wrong is gone through too, for its other errors. */
static bool pool_statement(struct outline *outline, struct level *outer, const struct token *name)
{
	struct level level = { .kind = LEVEL_POOL, .handlers = outer->handlers };
	struct token title = reader_peek(outline), open;
	const char *text;

	if (!token_is_value(&title))
		return reader_stop_at(outline, outer, &title, "a pool has a name: pool \"NAME\" { ... }");
	if (outline->pool_count == POOLS_MAX)
		return reader_stop_at(outline, outer, &title, "there are more than " STRINGIFY(POOLS_MAX) " pools");
	reader_next(outline);
	open = reader_peek(outline);
	if (open.kind != TOKEN_OPEN)
		return reader_stop_at(outline, outer, &open, "a pool is pool \"NAME\" { ... }");
	reader_next(outline);
	text = title.problem[0] ? "" : parse_word(outline->arena, title.text, title.size);
	if (!text)
		return reader_stop_at(outline, outer, &title, "it cannot be read");
	if (title.problem[0])
		reader_refuse(outline, outer, title.line, "pool: %s", title.problem);
	else
		pool_name_check(outline, outer, &title, text);
	level.pool = pool_add(outline, text, reader_reach(outline, name->line));
	if (!level.pool || level_init(&level, NULL, outline->arena) < 0)
		return false;
	level.pool->keys = level.names;
	level.pool->key_count = level.name_count;
	level.where = level.pool->where;
	reader_put(outline, name->line, "pool");
	reader_put(outline, open.line, "{");
	return level_body(outline, &level, reader_reach(outline, open.line));
}

/* ---- the whole ---- */

/* Whether { or "title" follows. */
static bool next_is_section(const struct outline *outline)
{
	struct token token = reader_peek(outline);

	return token.kind == TOKEN_OPEN || token.kind == TOKEN_STRING;
}

/* The entry of NAME in an open section, which it may be the first to name; NULL after an error. */
static struct name *option_entry(struct outline *outline, struct level *level, const struct token *name)
{
	struct name *entry = level_find(level, name->text, name->size);

	if (entry)
		return entry;
	if (!option_name_valid(name->text, name->size)) {
		reader_refuse(outline, level, name->line,
			"%s is no name of an option; it has up to %d letters, digits, _ and -", token_quote(name),
			OPTION_NAME_MAX);
		return NULL;
	}
	entry = level_add(level, name->text, name->size, outline->arena);
	if (!entry)
		reader_refuse(outline, level, name->line, "there are more than %d options", MODULE_OPTIONS_MAX);
	return entry;
}

static void statement(struct outline *outline, struct level *level)
{
	struct token name = reader_next(outline);
	struct name *entry;

	if (name.kind != TOKEN_WORD) {
		reader_stop_at(outline, level, &name,
			name.kind == TOKEN_COMMA ? "a list is { value, value }" : reader_statement_wanted);
		return;
	}
	if (level->kind == LEVEL_OPTIONS) {
		entry = option_entry(outline, level, &name);
		if (!entry) {
			reader_skip_statement(outline, level, &name);
			return;
		}
	} else {
		entry = level_find(level, name.text, name.size);
	}
	if (!entry && level->kind != LEVEL_FILE && name.size == 4 && memcmp(name.text, "pool", 4) == 0) {
		reader_stop_at(outline, level, &name, "pools do not stand in one another; is a } missing before?");
	} else if (!entry) {
		char text[NAME_EXPLANATION_MAX];

		reader_refuse(outline, level, name.line, "%s",
			level_explain(level, next_is_section(outline) ? "section" : "key", name.text, name.size, text));
		reader_skip_statement(outline, level, &name);
	} else if (entry->kind == NAME_POOL) {
		pool_statement(outline, level, &name);
	} else if (entry->kind == NAME_HANDLER || entry->kind == NAME_LIMITS || entry->kind == NAME_OPTIONS) {
		section_statement(outline, level, entry, &name);
	} else if (entry->kind == NAME_INCLUDE) {
		outline_include(outline, level, &name);
	} else {
		outline_key(outline, level, entry, &name);
	}
}

/* The statements of a section, up to its closing brace. OPENED is the text's line of the opening one. */
static bool level_body(struct outline *outline, struct level *level, unsigned int opened)
{
	struct token token;

	while (!outline->stopped && !outline->arena->failed) {
		token = reader_peek(outline);
		if (token.kind == TOKEN_END) {
			reader_stop(outline, level);
			diagnostics_add(outline->diagnostics, opened, level->where,
				"the { here is never closed: a } is missing");
		} else if (token.kind == TOKEN_CLOSE) {
			reader_next(outline);
			reader_put(outline, token.line, "}");
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

	for (token = reader_peek(outline); token.kind != TOKEN_END; token = reader_peek(outline)) {
		if (token.kind == TOKEN_CLOSE)
			reader_stop_at(outline, level, &token, "no { is open in this file");
		else
			statement(outline, level);
		if (outline->stopped || outline->arena->failed)
			return;
	}
}

int outline_file(struct outline *outline, struct level *level, const char *name, const struct source *source)
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

	reader_enter(outline, &file);
	outline->file = &file;
	file_body(outline, level);
	outline->file = file.outer;
	if (file.outer)
		reader_enter(outline, file.outer);
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
		result = outline_file(outline, &level, name, source);
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

unsigned int outline_key_line(const struct outline_pool *pool, const char *name)
{
	for (size_t i = 0; i < pool->key_count; i++) {
		if (strcmp(pool->keys[i].text, name) == 0)
			return pool->keys[i].seen;
	}
	return 0;
}
