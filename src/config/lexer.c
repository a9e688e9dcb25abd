/* SPDX-License-Identifier: MIT */
#include "config/lexer.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/attrs.h"

/* The byte OFFSET further on, or NUL behind the end. A NUL in the text itself is found by lexer_next(). */
static char look(const struct lexer *lexer, size_t offset)
{
	return (size_t)(lexer->end - lexer->text) > offset ? lexer->text[offset] : '\0';
}

static bool at_end(const struct lexer *lexer)
{
	return lexer->text == lexer->end;
}

static void fail(struct token *token, const char *format, ...) ATTR_PRINTF(2, 3);

static void fail(struct token *token, const char *format, ...)
{
	va_list args;

	token->kind = TOKEN_ERROR;
	va_start(args, format);
	vsnprintf(token->problem, sizeof(token->problem), format, args);
	va_end(args);
}

/* The string is well-formed but cannot be used: TEXT in it and PROBLEM. The first of a string counts. */
static void object(struct token *token, const char *text, size_t size, const char *problem)
{
	if (token->problem[0] == '\0')
		snprintf(
			token->problem, sizeof(token->problem), "%.*s %s", (int)(size > 60 ? 60 : size), text, problem);
}

/* ---- what is no token ---- */

static void skip_line(struct lexer *lexer)
{
	while (!at_end(lexer) && *lexer->text != '\n')
		lexer->text++;
}

/* Returns false where the comment does not end. */
static bool skip_comment(struct lexer *lexer)
{
	for (lexer->text += 2; !at_end(lexer); lexer->text++) {
		if (look(lexer, 0) == '*' && look(lexer, 1) == '/') {
			lexer->text += 2;
			return true;
		}
		if (*lexer->text == '\n')
			lexer->line++;
	}
	return false;
}

/* Skips blanks, line ends and comments. Returns false after a comment without an end, which began at *ret_line. */
static bool skip_blanks(struct lexer *lexer, unsigned int *ret_line)
{
	for (;;) {
		char c = look(lexer, 0);

		if (c == '#' || (c == '/' && look(lexer, 1) == '/')) {
			skip_line(lexer);
		} else if (c == '/' && look(lexer, 1) == '*') {
			*ret_line = lexer->line;
			if (!skip_comment(lexer))
				return false;
		} else if (c == '\n') {
			lexer->line++;
			lexer->text++;
		} else if (c == ' ' || c == '\t' || (c == '\r' && look(lexer, 1) == '\n')) {
			lexer->text++;
		} else {
			return true;
		}
	}
}

/* ---- strings ---- */

static size_t digits(const struct lexer *lexer, size_t offset, const char *set)
{
	size_t count = 0;

	while (look(lexer, offset + count) != '\0' && strchr(set, look(lexer, offset + count)))
		count++;
	return count;
}

/* ${NAME} or ${NAME:-text}, at the lexer's place. libconfuse puts nothing in place of an unset one. */
static void scan_variable(struct lexer *lexer, struct token *token)
{
	static const char name_bytes[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";
	const char *start = lexer->text;
	size_t name_size = digits(lexer, 2, name_bytes);
	size_t size = 2 + name_size;
	char *name;

	while (look(lexer, size) != '\0' && look(lexer, size) != '}' && look(lexer, size) != '\n')
		size++;
	if (look(lexer, size) != '}') {
		fail(token, "a ${ without its }");
		return;
	}
	lexer->text += size + 1;
	if (name_size == 0 || (start[2 + name_size] != '}' && strncmp(start + 2 + name_size, ":-", 2) != 0)) {
		object(token, start, size + 1, "is not a variable: ${NAME} or ${NAME:-text}");
		return;
	}
	name = strndup(start + 2, name_size);
	if (start[2 + name_size] == '}' && (!name || !getenv(name)))
		object(token, start, size + 1, "is not set in the environment; ${NAME:-text} gives a default");
	free(name);
}

/* \NNN, in octal: libconfuse refuses more than three digits and values above 255; a NUL would end the text. */
static size_t scan_octal(const struct lexer *lexer, struct token *token)
{
	size_t count = digits(lexer, 1, "0123456789");
	unsigned int value = 0;

	for (size_t i = 1; i <= count && i <= 3; i++) {
		if (look(lexer, i) > '7')
			value = 0x100;
		value = value * 8 + (unsigned int)(look(lexer, i) - '0');
	}
	if (count > 3 || value == 0 || value > 0xff)
		object(token, lexer->text, count + 1, "is not an octal escape (\\001 to \\377)");
	return count + 1;
}

static size_t scan_hexadecimal(const struct lexer *lexer, struct token *token)
{
	size_t count = digits(lexer, 2, "0123456789abcdefABCDEF");

	if (count > 2)
		count = 2;
	if (count == 0 || digits(lexer, 2, "0") == count)
		object(token, lexer->text, count + 2, "is not a hexadecimal escape (\\x01 to \\xff)");
	return count + 2;
}

static void scan_escape(struct lexer *lexer, struct token *token)
{
	char c = look(lexer, 1);

	if (c >= '0' && c <= '9') {
		lexer->text += scan_octal(lexer, token);
	} else if (c == 'x') {
		lexer->text += scan_hexadecimal(lexer, token);
	} else if (c == '\0' || c == '\n') {
		lexer->text++;
	} else {
		if (!strchr("\\\"'$nrtbfave", c))
			object(token, lexer->text, 2, "is not an escape; a backslash itself is written \\\\");
		lexer->text += 2;
	}
}

static void scan_string(struct lexer *lexer, struct token *token)
{
	char quote = *lexer->text++;

	token->kind = TOKEN_STRING;
	while (look(lexer, 0) != quote && token->kind == TOKEN_STRING) {
		char c = look(lexer, 0);

		if (at_end(lexer) || c == '\n')
			fail(token, "a string without its closing %c on the same line", quote);
		else if (c == '\0')
			fail(token, "a NUL byte");
		else if (quote == '"' && c == '\\')
			scan_escape(lexer, token);
		else if (quote == '"' && c == '$' && look(lexer, 1) == '{')
			scan_variable(lexer, token);
		else if (c == '\\' && (look(lexer, 1) == '\'' || look(lexer, 1) == '\\'))
			lexer->text += 2;
		else
			lexer->text++;
	}
	if (token->kind == TOKEN_STRING)
		lexer->text++;
}

/* ---- words ---- */

static bool is_word(char c)
{
	return (unsigned char)c > ' ' && c != 0x7f && !strchr("#\"'={}()+,*\\", c);
}

static void scan_word(struct lexer *lexer, struct token *token)
{
	token->kind = TOKEN_WORD;
	while (is_word(look(lexer, 0))) {
		if (look(lexer, 0) == '$' && look(lexer, 1) == '{') {
			fail(token, "${ inside a word: put the whole word in \"quotes\"");
			return;
		}
		lexer->text++;
	}
	if (look(lexer, 0) != '\0' && strchr("*\\\"'", look(lexer, 0)))
		fail(token, "%c inside a word: put the whole word in 'quotes'", look(lexer, 0));
}

static void scan_other(struct lexer *lexer, struct token *token)
{
	unsigned char c = (unsigned char)*lexer->text;

	if (c == '\0')
		fail(token, "a NUL byte");
	else if (c < ' ' || c == 0x7f)
		fail(token, "a control byte (0x%02x)", c);
	else if (c == '+')
		fail(token, "a + that is not a +=; values with a + are put in 'quotes'");
	else
		fail(token, "%c outside quotes: put the value in 'quotes'", c);
}

struct token lexer_next(struct lexer *lexer)
{
	static const char marks[] = "{}()=,";
	static const enum token_kind mark_kinds[] = { TOKEN_OPEN, TOKEN_CLOSE, TOKEN_CALL, TOKEN_RETURN, TOKEN_SET,
		TOKEN_COMMA };
	struct token token = { .kind = TOKEN_END };
	unsigned int comment_line;
	const char *mark;
	char c;

	if (!skip_blanks(lexer, &comment_line)) {
		token.line = comment_line;
		fail(&token, "a comment without its closing */");
		return token;
	}
	token.text = lexer->text;
	token.line = lexer->line;
	if (look(lexer, 0) == '\xef' && look(lexer, 1) == '\xbb' && look(lexer, 2) == '\xbf') {
		fail(&token, "a byte order mark: save the file as UTF-8 without one");
		return token;
	}
	c = look(lexer, 0);
	mark = c ? strchr(marks, c) : NULL;
	if (at_end(lexer))
		return token;
	if (mark) {
		token.kind = mark_kinds[mark - marks];
		lexer->text++;
	} else if (c == '+' && look(lexer, 1) == '=') {
		token.kind = TOKEN_ADD;
		lexer->text += 2;
	} else if (c == '"' || c == '\'') {
		scan_string(lexer, &token);
	} else if (c == '$' && look(lexer, 1) == '{') {
		token.kind = TOKEN_STRING;
		scan_variable(lexer, &token);
	} else if (is_word(c)) {
		scan_word(lexer, &token);
	} else {
		scan_other(lexer, &token);
	}
	token.size = (size_t)(lexer->text - token.text);
	return token;
}
