/* SPDX-License-Identifier: MIT */
#include "base/json_line.h"

#include <string.h>

#include "base/digits.h"

static void add(struct json_line *json, const char *data, size_t size)
{
	if (size > json->size - json->used) {
		json->full = true;
		return;
	}
	memcpy(json->data + json->used, data, size);
	json->used += size;
}

static void add_string(struct json_line *json, const char *string)
{
	add(json, string, strlen(string));
}

/* ---- texts ---- */

static bool is_tail(unsigned char byte)
{
	return (byte & 0xc0) == 0x80;
}

/* The first byte decides what the second may be: no surrogates, no overlong forms, nothing above U+10FFFF (RFC 3629,
 * section 4). */
static bool is_second(unsigned char first, unsigned char second)
{
	switch (first) {
	case 0xe0:
		return second >= 0xa0 && second <= 0xbf;
	case 0xed:
		return second >= 0x80 && second <= 0x9f;
	case 0xf0:
		return second >= 0x90 && second <= 0xbf;
	case 0xf4:
		return second >= 0x80 && second <= 0x8f;
	default:
		return is_tail(second);
	}
}

/* The bytes of the character of UTF-8 at TEXT, which a NUL ends; 0: it is none. */
static size_t character_size(const unsigned char *text)
{
	size_t size = 1;

	if (text[0] < 0x80)
		return 1;
	if (text[0] >= 0xc2 && text[0] <= 0xdf)
		size = 2;
	else if (text[0] >= 0xe0 && text[0] <= 0xef)
		size = 3;
	else if (text[0] >= 0xf0 && text[0] <= 0xf4)
		size = 4;
	if (size == 1 || !is_second(text[0], text[1]))
		return 0;
	for (size_t i = 2; i < size; i++)
		if (!is_tail(text[i]))
			return 0;
	return size;
}

static void add_control(struct json_line *json, unsigned char byte)
{
	static const char digits[] = "0123456789abcdef";
	const char escape[] = { '\\', 'u', '0', '0', digits[byte >> 4], digits[byte & 15] };

	if (byte == '\n')
		add_string(json, "\\n");
	else if (byte == '\t')
		add_string(json, "\\t");
	else
		add(json, escape, sizeof(escape));
}

/* Returns how many bytes of TEXT were taken. */
static size_t add_character(struct json_line *json, const unsigned char *text)
{
	size_t size = character_size(text);

	if (size == 0) {
		add_string(json, "\\ufffd");
		return 1;
	}
	if (text[0] < 0x20 || text[0] == 0x7f) {
		add_control(json, text[0]);
		return 1;
	}
	if (text[0] == '"' || text[0] == '\\')
		add_string(json, "\\");
	add(json, (const char *)text, size);
	return size;
}

static void add_quoted(struct json_line *json, const char *text)
{
	const unsigned char *at = (const unsigned char *)text;

	add_string(json, "\"");
	while (*at != '\0' && !json->full)
		at += add_character(json, at);
	add_string(json, "\"");
}

/* ---- members ---- */

static void add_name(struct json_line *json, const char *name)
{
	add_string(json, json->any ? ",\"" : "\"");
	add_string(json, name);
	add_string(json, "\":");
	json->any = true;
}

void json_line_begin(struct json_line *json, char *data, size_t size)
{
	*json = (struct json_line){ .size = size };
	json->data = data;
	add_string(json, "{");
}

void json_line_text(struct json_line *json, const char *name, const char *text)
{
	add_name(json, name);
	if (text == NULL)
		add_string(json, "null");
	else
		add_quoted(json, text);
}

void json_line_number(struct json_line *json, const char *name, int64_t number)
{
	char digits[DIGITS_MAX] = "";
	uint64_t amount = number < 0 ? -(uint64_t)number : (uint64_t)number;

	add_name(json, name);
	if (number < 0)
		add_string(json, "-");
	add(json, digits, (size_t)(digits_put(digits, amount, 10) - digits));
}

void json_line_bool(struct json_line *json, const char *name, bool value)
{
	add_name(json, name);
	add_string(json, value ? "true" : "false");
}

void json_line_null(struct json_line *json, const char *name)
{
	json_line_text(json, name, NULL);
}

size_t json_line_end(struct json_line *json)
{
	add_string(json, "}\n");
	return json->full ? 0 : json->used;
}
