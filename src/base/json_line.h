/* SPDX-License-Identifier: MIT */
#ifndef BASE_JSON_LINE_H
#define BASE_JSON_LINE_H
/*
 * Flat JSON objects (RFC 8259), one a line, written into memory of the caller's: nothing is allocated, and nothing
 * fails. An object that does not fit is none: json_line_end() then says 0.
 *
 * Texts may be any bytes: what is no UTF-8 becomes U+FFFD, control characters are escaped, so that a line is one line
 * whatever is in it. Names are the program's own, and need no escape.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_line {
	char *data;
	size_t size;
	size_t used;
	bool any;  /* a member is there */
	bool full; /* something did not fit */
};

/* Begins an object in the SIZE bytes at DATA. */
void json_line_begin(struct json_line *json, char *data, size_t size);

/* A text up to its NUL; NULL is null. */
void json_line_text(struct json_line *json, const char *name, const char *text);
void json_line_number(struct json_line *json, const char *name, int64_t number);
void json_line_bool(struct json_line *json, const char *name, bool value);
void json_line_null(struct json_line *json, const char *name);

/* Ends the object and its line. Returns how many bytes it has, or 0 where it did not fit. */
size_t json_line_end(struct json_line *json);

#endif
