/* SPDX-License-Identifier: MIT */
#include "config/reader.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

const char reader_statement_wanted[] = "a key is followed by = and a value, a section by { and }";

/* ---- the text for libconfuse ---- */

unsigned int reader_reach(struct outline *outline, unsigned int line)
{
	for (; outline->file->line < line; outline->file->line++) {
		fputc('\n', outline->out);
		outline->line++;
	}
	return outline->line - (outline->file->line - line);
}

void reader_enter(struct outline *outline, const struct file *file)
{
	fputc('\n', outline->out);
	outline->line++;
	diagnostics_map(outline->diagnostics, outline->line, file->name, file->line);
}

void reader_copy(struct outline *outline, struct lexer from)
{
	while (from.text < outline->file->lexer.text) {
		struct token token = lexer_next(&from);

		reader_reach(outline, token.line);
		fputc(' ', outline->out);
		fwrite(token.text, 1, token.size, outline->out);
	}
}

void reader_put(struct outline *outline, unsigned int line, const char *text)
{
	reader_reach(outline, line);
	fprintf(outline->out, " %s", text);
}

/* ---- tokens ---- */

struct token reader_next(struct outline *outline)
{
	return lexer_next(&outline->file->lexer);
}

struct token reader_peek(const struct outline *outline)
{
	struct lexer lexer = outline->file->lexer;

	return lexer_next(&lexer);
}

bool token_is_value(const struct token *token)
{
	return token->kind == TOKEN_WORD || token->kind == TOKEN_STRING;
}

const char *token_quote(const struct token *token)
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
	else if (level->kind == LEVEL_POOL || level->kind == LEVEL_LIMITS)
		level->pool->damaged = true;
	else
		outline->damaged = true;
}

void reader_stop(struct outline *outline, struct level *level)
{
	level_damage(outline, level);
	if (level->pool)
		level->pool->damaged = true;
	outline->damaged = true;
	outline->stopped = true;
}

bool reader_stop_at(struct outline *outline, struct level *level, const struct token *token, const char *expected)
{
	unsigned int line = reader_reach(outline, token->line);

	reader_stop(outline, level);
	if (token->kind == TOKEN_ERROR)
		diagnostics_add(outline->diagnostics, line, level->where, "%s", token->problem);
	else
		diagnostics_add(
			outline->diagnostics, line, level->where, "unexpected %s; %s", token_quote(token), expected);
	return false;
}

bool reader_refuse(struct outline *outline, struct level *level, unsigned int line, const char *format, ...)
{
	char *text = NULL;
	va_list args;

	level_damage(outline, level);
	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	if (text)
		diagnostics_add(outline->diagnostics, reader_reach(outline, line), level->where, "%s", text);
	else
		outline->diagnostics->failed = true;
	free(text);
	return false;
}

/* ---- leaving out ---- */

/* No recursion: the file says how deep the nesting is. */
bool reader_skip_braces(struct outline *outline, struct level *level)
{
	unsigned int depth = 1;

	while (depth > 0) {
		struct token token = reader_next(outline);

		if (token.kind == TOKEN_END || token.kind == TOKEN_ERROR)
			return reader_stop_at(outline, level, &token, "a closing } is missing");
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
		struct token token = reader_next(outline);

		if (token.kind == TOKEN_RETURN)
			return true;
		if (token.kind != TOKEN_COMMA && !token_is_value(&token))
			return reader_stop_at(outline, level, &token, "a closing ) is missing");
	}
}

bool reader_skip_rest(struct outline *outline, const struct token *before, unsigned int depth)
{
	unsigned int line = before->line;

	for (;;) {
		struct token token = reader_peek(outline);

		if (token.kind == TOKEN_END || token.kind == TOKEN_ERROR)
			return true;
		if (depth == 0 && (token.line > line || token.kind == TOKEN_CLOSE))
			return true;
		reader_next(outline);
		line = token.line;
		if (token.kind == TOKEN_OPEN)
			depth++;
		else if (token.kind == TOKEN_CLOSE && --depth == 0)
			return true;
	}
}

bool reader_skip_statement(struct outline *outline, struct level *level, const struct token *name)
{
	struct token before = *name, token = reader_peek(outline);

	if (token.kind == TOKEN_CALL) {
		reader_next(outline);
		return skip_call(outline, level);
	}
	if (token.kind == TOKEN_SET || token.kind == TOKEN_ADD || token_is_value(&token)) {
		before = reader_next(outline);
		token = reader_peek(outline);
	}
	if (token.kind == TOKEN_OPEN) {
		reader_next(outline);
		return reader_skip_braces(outline, level);
	}
	return reader_skip_rest(outline, &before, 0);
}
