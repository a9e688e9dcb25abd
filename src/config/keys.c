/* SPDX-License-Identifier: MIT */
/* Keys and their values in the outline. */
#include <string.h>

#include "config/reader.h"

/* Where a comma or the closing brace of a list should be, after BEFORE, is TOKEN. Always returns false. */
static bool list_broken(struct outline *outline, struct level *level, const struct token *name,
	const struct token *before, const struct token *token)
{
	struct lexer behind = outline->file->lexer;
	struct token next;

	if (token->kind == TOKEN_END || token->kind == TOKEN_ERROR)
		return reader_stop_at(outline, level, token, "the list is not closed: a } is missing");
	lexer_next(&behind);
	next = lexer_next(&behind);
	/* `name =` on a line of its own is the next key: the brace is missing. */
	if (token->kind == TOKEN_WORD && next.kind == TOKEN_SET)
		return reader_refuse(outline, level, token->line,
			"%.*s: the list is not closed: a } is missing before %s", (int)name->size, name->text,
			token_quote(token));
	reader_refuse(outline, level, token->line, "%.*s: unexpected %s; a list is { value, value }", (int)name->size,
		name->text, token_quote(token));
	reader_skip_rest(outline, before, 1);
	return false;
}

/* The values of a list, behind its opening brace. Returns whether they are sound. */
static bool list_values(
	struct outline *outline, struct level *level, const struct name *entry, const struct token *name)
{
	struct token token = *name, next;
	bool sound = true;
	size_t count = 0;

	for (next = reader_peek(outline); next.kind != TOKEN_CLOSE; count++) {
		if (!token_is_value(&next))
			return list_broken(outline, level, name, &token, &next);
		token = reader_next(outline);
		if (token.problem[0])
			sound = reader_refuse(
				outline, level, token.line, "%.*s: %s", (int)name->size, name->text, token.problem);
		next = reader_peek(outline);
		if (next.kind == TOKEN_COMMA) {
			reader_next(outline);
			next = reader_peek(outline);
		} else if (next.kind != TOKEN_CLOSE) {
			return list_broken(outline, level, name, &token, &next);
		}
	}
	reader_next(outline);
	if (count == 0 && !entry->may_be_empty)
		return reader_refuse(outline, level, next.line, "%.*s is an empty list; at least one value is needed",
			(int)name->size, name->text);
	return sound;
}

/* Where a value should be, after BEFORE, is TOKEN, which was not taken. Always returns false. */
static bool value_missing(struct outline *outline, struct level *level, const struct token *name,
	const struct token *before, const struct token *token)
{
	if (token->kind == TOKEN_ERROR || token->kind == TOKEN_END)
		return reader_stop_at(outline, level, token, reader_statement_wanted);
	reader_refuse(outline, level, before->line, "%.*s has no value; accepted is %.*s = value", (int)name->size,
		name->text, (int)name->size, name->text);
	reader_skip_rest(outline, before, 0);
	return false;
}

/* What follows the = of a key. Returns whether it is sound. */
static bool key_value(struct outline *outline, struct level *level, struct name *entry, const struct token *name,
	const struct token *sign)
{
	struct token token = reader_peek(outline);

	if (token.kind == TOKEN_OPEN) {
		reader_next(outline);
		entry->is_list = true;
		if (entry->kind == NAME_LIST || entry->kind == NAME_ANY)
			return list_values(outline, level, entry, name);
		reader_refuse(outline, level, token.line, "%s takes one value, not a list", entry->text);
		return reader_skip_braces(outline, level) && false;
	}
	/* `a =` and on the next line `b = 1`: libconfuse would take b for the value. */
	if (!token_is_value(&token) || token.line > sign->line)
		return value_missing(outline, level, name, sign, &token);
	reader_next(outline);
	if (token.problem[0])
		return reader_refuse(outline, level, token.line, "%s: %s", entry->text, token.problem);
	return true;
}

/* Returns whether a key may be given here with SIGN, which is = or +=. */
static bool key_allowed(struct outline *outline, struct level *level, const struct name *entry,
	const struct token *name, const struct token *sign)
{
	struct line_run first = diagnostics_locate(outline->diagnostics, entry->seen);

	if (sign->kind == TOKEN_ADD) {
		if (entry->kind != NAME_LIST && entry->kind != NAME_ANY)
			return reader_refuse(
				outline, level, sign->line, "%s takes one value; += is for lists", entry->text);
		if (!entry->seen)
			return reader_refuse(outline, level, sign->line,
				"%s += adds to a list given before, and there is none; write %s =", entry->text,
				entry->text);
		return true;
	}
	if (!entry->seen)
		return true;
	if (strcmp(first.file, outline->file->name) == 0)
		return reader_refuse(outline, level, name->line, "%s is given twice, first on line %u", entry->text,
			first.file_line);
	return reader_refuse(outline, level, name->line, "%s is given twice, first in %s:%u", entry->text, first.file,
		first.file_line);
}

bool outline_key(struct outline *outline, struct level *level, struct name *entry, const struct token *name)
{
	struct lexer from = outline->file->lexer;
	struct token sign = reader_peek(outline);
	bool allowed;

	if (sign.kind == TOKEN_OPEN) {
		reader_refuse(outline, level, name->line, "%s is a key, not a section; accepted is %s = value",
			entry->text, entry->text);
		reader_next(outline);
		return reader_skip_braces(outline, level);
	}
	if (sign.kind != TOKEN_SET && sign.kind != TOKEN_ADD)
		return value_missing(outline, level, name, name, &sign);
	reader_next(outline);
	allowed = key_allowed(outline, level, entry, name, &sign);
	if (!entry->seen)
		entry->seen = reader_reach(outline, name->line);
	if (sign.kind == TOKEN_ADD)
		entry->is_list = true;
	if (key_value(outline, level, entry, name, &sign) && allowed) {
		reader_put(outline, name->line, entry->written ? entry->written : entry->text);
		reader_copy(outline, from);
	}
	return true;
}
