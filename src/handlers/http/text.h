/* SPDX-License-Identifier: MIT */
#ifndef HTTP_TEXT_H
#define HTTP_TEXT_H
/*
 * Text as HTTP has it: spans of bytes inside somebody else's buffer, and a buffer that answers are written to.
 * Nothing here makes a system call.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/attrs.h"

/* A piece of text, not terminated. `text` NULL stands for "not there". */
struct span {
	const char *text;
	size_t size;
};

/* Equal to LITERAL, which is in lower case; the span's letters may be of either. */
bool span_is_nocase(struct span span, const char *literal);

/* Without the spaces and tabs at both ends (OWS, RFC 9110 5.6.3). */
struct span span_trim(struct span span);

/* Cuts the first element off a comma-separated list, trimmed. False: the list has come to its end. */
bool span_next_element(struct span *list, struct span *ret_element);

/* Decimal digits and nothing else. False: something else, or nothing. A number beyond UINT64_MAX becomes it. */
bool span_to_number(struct span span, uint64_t *ret_number);

/* A letter of ASCII in lower case; any other byte as it is. */
char text_lower(char c);

/* The value of a hexadecimal digit, or -1. */
int text_hex_digit(char c);

/* tchar of RFC 9110 5.6.2: what names of methods and fields are made of. */
bool text_is_token_char(char c);

/*
 * Where text is put together. `data` is the owner's, unless the buffer grows: then it is malloc()'s and freed by
 * buffer_done(). What does not fit is not written, and `overflow` says so from then on.
 */
struct buffer {
	char *data;
	size_t size;
	size_t capacity;
	bool grows;
	bool overflow;
};

void buffer_done(struct buffer *buffer);
void buffer_reset(struct buffer *buffer);

/* The way of a buffer that is full. */
void buffer_bytes_slowly(struct buffer *buffer, const void *bytes, size_t size);

/* Here, so that a literal becomes a few moves: an answer's head is some thirty pieces. */
static inline void buffer_bytes(struct buffer *buffer, const void *bytes, size_t size)
{
	if (UNLIKELY(size > buffer->capacity - buffer->size)) {
		buffer_bytes_slowly(buffer, bytes, size);
		return;
	}
	if (size > 0)
		memcpy(buffer->data + buffer->size, bytes, size);
	buffer->size += size;
}

void buffer_text(struct buffer *buffer, const char *text);
void buffer_span(struct buffer *buffer, struct span span);
void buffer_number(struct buffer *buffer, uint64_t number);
void buffer_hex(struct buffer *buffer, uint64_t number);

/* Percent-encodes what may not stand in a path (RFC 3986 3.3), and what may not stand in an attribute of HTML; slashes
 * stay. */
void buffer_path(struct buffer *buffer, const char *path, size_t size);

/* Escapes what HTML would take for markup. */
void buffer_html(struct buffer *buffer, const char *text, size_t size);

/* Escapes control bytes, bytes beyond ASCII, quote and backslash as \xHH, for a quoted part of a log line. */
void buffer_escaped(struct buffer *buffer, const char *text, size_t size);

#endif
