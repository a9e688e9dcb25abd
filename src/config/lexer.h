/* SPDX-License-Identifier: MIT */
#ifndef CONFIG_LEXER_H
#define CONFIG_LEXER_H
/*
 * The words of a configuration file, as libconfuse's own scanner cuts them, but without what that one lets pass: it
 * drops bytes it does not know ("*:80" becomes ":80"), takes the end of the file for the end of a comment, takes NUL
 * bytes, and replaces unknown escapes and unset variables by nothing. Here each of these is an error.
 *
 * Stricter than libconfuse's in one more point: a string ends on the line it begins on, so that a missing quote is
 * found there.
 */
#include <stddef.h>

enum token_kind {
	TOKEN_END,
	TOKEN_WORD,   /* without quotes */
	TOKEN_STRING, /* 'text', "text", ${NAME} */
	TOKEN_OPEN,   /* { */
	TOKEN_CLOSE,  /* } */
	TOKEN_CALL,   /* ( */
	TOKEN_RETURN, /* ) */
	TOKEN_SET,    /* = */
	TOKEN_ADD,    /* += */
	TOKEN_COMMA,
	TOKEN_ERROR, /* nothing after it can be read */
};

struct token {
	enum token_kind kind;
	const char *text; /* in the file's text; quotes included */
	size_t size;
	unsigned int line;
	char problem[160]; /* with TOKEN_ERROR, and with a TOKEN_STRING that cannot be used; else "" */
};

struct lexer {
	const char *text;
	const char *end;
	unsigned int line;
};

/* The next token. At the end it is TOKEN_END for ever. */
struct token lexer_next(struct lexer *lexer);

#endif
