/* SPDX-License-Identifier: MIT */
#include "handlers/http/text.h"

#include <stdlib.h>
#include <string.h>

char text_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

bool span_is_nocase(struct span span, const char *literal)
{
	size_t i = 0;

	for (; i < span.size && literal[i] != '\0'; i++)
		if (text_lower(span.text[i]) != literal[i])
			return false;
	return i == span.size && literal[i] == '\0';
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t';
}

struct span span_trim(struct span span)
{
	while (span.size > 0 && is_space(span.text[0])) {
		span.text++;
		span.size--;
	}
	while (span.size > 0 && is_space(span.text[span.size - 1]))
		span.size--;
	return span;
}

bool span_next_element(struct span *list, struct span *ret_element)
{
	const char *comma;
	size_t size;

	if (list->text == NULL)
		return false;
	comma = memchr(list->text, ',', list->size);
	size = comma != NULL ? (size_t)(comma - list->text) : list->size;
	*ret_element = span_trim((struct span){ list->text, size });
	if (comma != NULL)
		*list = (struct span){ comma + 1, list->size - size - 1 };
	else
		*list = (struct span){ NULL, 0 };
	return true;
}

bool span_to_number(struct span span, uint64_t *ret_number)
{
	uint64_t number = 0;

	if (span.size == 0)
		return false;
	for (size_t i = 0; i < span.size; i++) {
		char c = span.text[i];

		if (c < '0' || c > '9')
			return false;
		if (__builtin_mul_overflow(number, 10u, &number) ||
			__builtin_add_overflow(number, (uint64_t)(c - '0'), &number))
			number = UINT64_MAX;
	}
	*ret_number = number;
	return true;
}

int text_hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = text_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_alphanumeric(char c)
{
	return (c >= '0' && c <= '9') || (text_lower(c) >= 'a' && text_lower(c) <= 'z');
}

bool text_is_token_char(char c)
{
	return is_alphanumeric(c) || (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

void buffer_done(struct buffer *buffer)
{
	if (buffer->grows)
		free(buffer->data);
	*buffer = (struct buffer){ 0 };
}

void buffer_reset(struct buffer *buffer)
{
	buffer->size = 0;
	buffer->overflow = false;
}

static bool grow(struct buffer *buffer, size_t needed)
{
	size_t capacity = buffer->capacity > 0 ? buffer->capacity : 1024;
	char *data;

	if (!buffer->grows)
		return false;
	while (capacity < needed)
		capacity *= 2;
	data = realloc(buffer->data, capacity);
	if (data == NULL)
		return false;
	buffer->data = data;
	buffer->capacity = capacity;
	return true;
}

void buffer_bytes_slowly(struct buffer *buffer, const void *bytes, size_t size)
{
	if (!grow(buffer, buffer->size + size)) {
		buffer->overflow = true;
		return;
	}
	memcpy(buffer->data + buffer->size, bytes, size);
	buffer->size += size;
}

void buffer_text(struct buffer *buffer, const char *text)
{
	buffer_bytes(buffer, text, strlen(text));
}

void buffer_span(struct buffer *buffer, struct span span)
{
	buffer_bytes(buffer, span.text, span.size);
}

static void buffer_digits(struct buffer *buffer, uint64_t number, unsigned int base)
{
	char digits[20]; /* UINT64_MAX has twenty decimal ones */
	size_t at = sizeof(digits);

	do {
		digits[--at] = "0123456789abcdef"[number % base];
		number /= base;
	} while (number > 0);
	buffer_bytes(buffer, digits + at, sizeof(digits) - at);
}

void buffer_number(struct buffer *buffer, uint64_t number)
{
	buffer_digits(buffer, number, 10);
}

void buffer_hex(struct buffer *buffer, uint64_t number)
{
	buffer_digits(buffer, number, 16);
}

static void buffer_hex_byte(struct buffer *buffer, const char *prefix, char c)
{
	unsigned char byte = (unsigned char)c;
	char digits[2] = { "0123456789ABCDEF"[byte >> 4], "0123456789ABCDEF"[byte & 15] };

	buffer_text(buffer, prefix);
	buffer_bytes(buffer, digits, sizeof(digits));
}

void buffer_path(struct buffer *buffer, const char *path, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (is_alphanumeric(path[i]) || (path[i] != '\0' && strchr("-._~!$()*+,;=:@/", path[i]) != NULL))
			buffer_bytes(buffer, &path[i], 1);
		else
			buffer_hex_byte(buffer, "%", path[i]);
	}
}

static const char *html_entity(char c)
{
	switch (c) {
	case '&':
		return "&amp;";
	case '<':
		return "&lt;";
	case '>':
		return "&gt;";
	case '"':
		return "&quot;";
	case '\'':
		return "&#39;";
	default:
		return NULL;
	}
}

void buffer_html(struct buffer *buffer, const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		const char *entity = html_entity(text[i]);

		if (entity != NULL)
			buffer_text(buffer, entity);
		else
			buffer_bytes(buffer, &text[i], 1);
	}
}

void buffer_escaped(struct buffer *buffer, const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (text[i] < 0x20 || text[i] > 0x7e || text[i] == '"' || text[i] == '\\')
			buffer_hex_byte(buffer, "\\x", text[i]);
		else
			buffer_bytes(buffer, &text[i], 1);
	}
}
