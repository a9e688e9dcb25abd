/* SPDX-License-Identifier: MIT */
#include "base/log_format.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

void log_text_add(struct log_text *text, const char *data, size_t size)
{
	if (size > text->size - text->used)
		return;
	memcpy(text->data + text->used, data, size);
	text->used += size;
}

void log_text_add_string(struct log_text *text, const char *string)
{
	log_text_add(text, string, strlen(string));
}

void log_text_add_number(struct log_text *text, int64_t number)
{
	char digits[24];

	snprintf(digits, sizeof(digits), "%lld", (long long)number);
	log_text_add_string(text, digits);
}

static void text_add_byte(struct log_text *text, char byte)
{
	log_text_add(text, &byte, 1);
}

/* What came through the socket should be escaped, but a line break must not depend on it. */
static char safe_byte(char byte)
{
	return byte >= 0x20 && byte < 0x7f ? byte : '?';
}

/* DATA with the bytes of STOP behind a backslash. */
static void text_add_escaped(struct log_text *text, const char *data, size_t size, const char *stop)
{
	for (size_t i = 0; i < size; i++) {
		char byte = safe_byte(data[i]);

		if (strchr(stop, byte) != NULL)
			text_add_byte(text, '\\');
		text_add_byte(text, byte);
	}
}

static void text_add_json(struct log_text *text, const char *data, size_t size)
{
	text_add_byte(text, '"');
	text_add_escaped(text, data, size, "\"\\");
	text_add_byte(text, '"');
}

static void text_add_time(struct log_text *text, uint64_t time_us)
{
	time_t seconds = (time_t)(time_us / 1000000);
	struct tm utc;
	char buffer[40];

	if (gmtime_r(&seconds, &utc) == NULL)
		memset(&utc, 0, sizeof(utc));
	log_text_add(text, buffer, strftime(buffer, sizeof(buffer), "%Y-%m-%dT%H:%M:%S", &utc));
	snprintf(buffer, sizeof(buffer), ".%06uZ", (unsigned int)(time_us % 1000000));
	log_text_add_string(text, buffer);
}

static const char *level_name(const struct log_record *record)
{
	return log_level_name((enum log_level)record->header.level);
}

static bool needs_quotes(const struct log_wire_field *field)
{
	if (field->value_size == 0)
		return true;
	for (size_t i = 0; i < field->value_size; i++)
		if (strchr(" \"=", safe_byte(field->value[i])) != NULL)
			return true;
	return false;
}

static void text_add_field(struct log_text *text, const struct log_wire_field *field)
{
	text_add_byte(text, ' ');
	text_add_escaped(text, field->name, field->name_size, "");
	text_add_byte(text, '=');
	if (!needs_quotes(field)) {
		text_add_escaped(text, field->value, field->value_size, "");
		return;
	}
	text_add_byte(text, '"');
	text_add_escaped(text, field->value, field->value_size, "\"");
	text_add_byte(text, '"');
}

void log_format_message(struct log_text *text, const struct log_record *record)
{
	struct log_wire_field field;
	size_t position = 0;

	text_add_escaped(text, record->event, record->event_size, "");
	while (log_wire_next(record, &position, &field))
		text_add_field(text, &field);
	if (record->header.cut)
		log_text_add_string(text, " ...");
}

void log_format_text(struct log_text *text, const struct log_record *record)
{
	text_add_time(text, record->header.time_us);
	log_text_add_string(text, " brood[");
	log_text_add_number(text, record->header.pid);
	log_text_add_string(text, "] ");
	log_text_add_string(text, level_name(record));
	log_text_add_string(text, ": ");
	log_format_message(text, record);
}

void log_format_systemd(struct log_text *text, const struct log_record *record)
{
	text_add_byte(text, '[');
	log_text_add_number(text, record->header.pid);
	log_text_add_string(text, "] ");
	log_format_message(text, record);
}

void log_format_start(struct log_text *text, const struct log_record *record)
{
	log_text_add_string(text, "brood: ");
	log_text_add_string(text, level_name(record));
	log_text_add_string(text, ": ");
	log_format_message(text, record);
}

static bool is_own_member(const struct log_wire_field *field)
{
	static const char *const members[] = { "time", "level", "writer", "event", "cut" };

	for (size_t i = 0; i < ARRAY_SIZE(members); i++)
		if (strlen(members[i]) == field->name_size && memcmp(members[i], field->name, field->name_size) == 0)
			return true;
	return false;
}

/* Only what JSON takes for a number: the socket's bytes are not to be trusted. */
static bool is_json_number(const struct log_wire_field *field)
{
	size_t at = field->value_size > 0 && field->value[0] == '-';

	if (!field->is_number || at == field->value_size || (field->value[at] == '0' && field->value_size > at + 1))
		return false;
	for (; at < field->value_size; at++)
		if (field->value[at] < '0' || field->value[at] > '9')
			return false;
	return true;
}

static void text_add_json_field(struct log_text *text, const struct log_wire_field *field)
{
	log_text_add_string(text, is_own_member(field) ? ",\"field_" : ",\"");
	text_add_escaped(text, field->name, field->name_size, "\"\\");
	log_text_add_string(text, "\":");
	if (is_json_number(field))
		log_text_add(text, field->value, field->value_size);
	else
		text_add_json(text, field->value, field->value_size);
}

void log_format_json(struct log_text *text, const struct log_record *record)
{
	struct log_wire_field field;
	size_t position = 0;

	log_text_add_string(text, "{\"time\":\"");
	text_add_time(text, record->header.time_us);
	log_text_add_string(text, "\",\"level\":\"");
	log_text_add_string(text, level_name(record));
	log_text_add_string(text, "\",\"writer\":");
	log_text_add_number(text, record->header.pid);
	log_text_add_string(text, ",\"event\":");
	text_add_json(text, record->event, record->event_size);
	while (log_wire_next(record, &position, &field))
		text_add_json_field(text, &field);
	log_text_add_string(text, record->header.cut ? ",\"cut\":true}" : "}");
}

void log_format_access(struct log_text *text, const struct log_record *record)
{
	for (size_t i = 0; i < record->event_size; i++) {
		unsigned char byte = (unsigned char)record->event[i];
		char escaped[5];

		if (LIKELY(byte >= 0x20 && byte != 0x7f)) {
			text_add_byte(text, (char)byte);
			continue;
		}
		snprintf(escaped, sizeof(escaped), "\\x%02x", byte);
		log_text_add_string(text, escaped);
	}
	if (record->header.cut)
		log_text_add_string(text, "...");
}
