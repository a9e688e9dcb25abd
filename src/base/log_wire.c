/* SPDX-License-Identifier: MIT */
#include "base/log_wire.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

static_assert(sizeof(struct log_wire_header) == 24, "the header has no holes");

/* The longest int64_t: a sign and 19 digits. */
#define NUMBER_MAX 20

struct message {
	char *buffer;
	size_t used;
};

static size_t message_room(const struct message *message)
{
	return LOG_LINE_MAX - message->used;
}

static bool is_plain(unsigned char byte)
{
	return byte >= 0x20 && byte < 0x7f && byte != '\\';
}

/* The escaped form of BYTE at OUT (4 bytes); returns its size. */
static size_t escape_byte(unsigned char byte, char *out)
{
	static const char digits[] = "0123456789abcdef";

	if (is_plain(byte)) {
		out[0] = (char)byte;
		return 1;
	}
	out[0] = '\\';
	out[1] = 'x';
	out[2] = digits[byte >> 4];
	out[3] = digits[byte & 15];
	return 4;
}

char *log_escape(const char *text, char *buffer, uint32_t size)
{
	size_t used = 0;

	if (size == 0)
		return buffer;
	for (; *text != '\0'; text++) {
		char escaped[4];
		size_t length = escape_byte((unsigned char)*text, escaped);

		if (used + length >= size)
			break;
		memcpy(buffer + used, escaped, length);
		used += length;
	}
	buffer[used] = '\0';
	return buffer;
}

/* Returns false when TEXT had to be cut. */
static bool message_add_escaped(struct message *message, const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		char escaped[4];
		size_t length = escape_byte((unsigned char)text[i], escaped);

		if (length > message_room(message))
			return false;
		memcpy(message->buffer + message->used, escaped, length);
		message->used += length;
	}
	return true;
}

static bool message_add_text(struct message *message, const char *text)
{
	return message_add_escaped(message, text, strlen(text));
}

static bool message_add_byte(struct message *message, char byte)
{
	if (message_room(message) == 0)
		return false;
	message->buffer[message->used++] = byte;
	return true;
}

/* A number is never cut in the middle: it would be another number. */
static bool message_add_number(struct message *message, int64_t number)
{
	char digits[NUMBER_MAX];
	uint64_t rest = number < 0 ? -(uint64_t)number : (uint64_t)number;
	size_t at = sizeof(digits);

	do {
		digits[--at] = (char)('0' + rest % 10);
		rest /= 10;
	} while (rest > 0);
	if (number < 0)
		digits[--at] = '-';
	if (sizeof(digits) - at > message_room(message))
		return false;
	memcpy(message->buffer + message->used, digits + at, sizeof(digits) - at);
	message->used += sizeof(digits) - at;
	return true;
}

/* A text may be cut; a name or a number that does not fit takes its whole field away. */
static bool message_add_field(struct message *message, const struct log_field *field)
{
	size_t before = message->used;
	bool fits = message_add_byte(message, LOG_WIRE_FIELD) && message_add_text(message, field->name) &&
		    message_add_byte(message, field->text != NULL ? LOG_WIRE_TEXT : LOG_WIRE_NUMBER);

	if (fits && field->text != NULL && field->number > 0)
		return message_add_escaped(message, field->text, (size_t)field->number);
	if (fits && field->text != NULL)
		return message_add_text(message, field->text);
	if (fits && message_add_number(message, field->number))
		return true;
	message->used = before;
	return false;
}

size_t log_wire_encode(
	char *buffer, const struct log_wire_header *header, const char *event, const struct log_field *fields)
{
	struct log_wire_header sent = *header;
	struct message message = { .buffer = buffer, .used = sizeof(sent) };
	bool whole = message_add_text(&message, event);

	for (; whole && fields->name != NULL; fields++)
		whole = message_add_field(&message, fields);
	sent.version = LOG_WIRE_VERSION;
	sent.cut = !whole;
	memcpy(buffer, &sent, sizeof(sent));
	return message.used;
}

int log_wire_parse(const void *message, size_t size, struct log_record *ret_record)
{
	struct log_record record;
	const char *body = (const char *)message + sizeof(record.header);
	const char *fields;

	if (size < sizeof(record.header))
		return -EBADMSG;
	memcpy(&record.header, message, sizeof(record.header));
	if (record.header.version != LOG_WIRE_VERSION)
		return -EBADMSG;
	/* syslog(3) would take a larger one for a facility too. */
	if (record.header.level < LOG_LEVEL_ERROR || record.header.level > LOG_LEVEL_DEBUG)
		return -EBADMSG;
	size -= sizeof(record.header);
	fields = record.header.stream == 0 ? memchr(body, LOG_WIRE_FIELD, size) : NULL;
	record.event = body;
	record.event_size = fields != NULL ? (size_t)(fields - body) : size;
	record.fields = body + record.event_size;
	record.fields_size = size - record.event_size;
	*ret_record = record;
	return 0;
}

static size_t find_byte(const char *text, size_t from, size_t size, char byte)
{
	const char *found = memchr(text + from, byte, size - from);

	return found != NULL ? (size_t)(found - text) : size;
}

bool log_wire_next(const struct log_record *record, size_t *position, struct log_wire_field *ret_field)
{
	size_t start = *position + 1; /* behind LOG_WIRE_FIELD */
	size_t end, middle;

	if (*position >= record->fields_size)
		return false;
	end = find_byte(record->fields, start, record->fields_size, LOG_WIRE_FIELD);
	middle = find_byte(record->fields, start, end, LOG_WIRE_TEXT);
	if (middle == end)
		middle = find_byte(record->fields, start, end, LOG_WIRE_NUMBER);
	if (middle == end)
		return false;
	ret_field->name = record->fields + start;
	ret_field->name_size = middle - start;
	ret_field->value = record->fields + middle + 1;
	ret_field->value_size = end - middle - 1;
	ret_field->is_number = record->fields[middle] == LOG_WIRE_NUMBER;
	*position = end;
	return true;
}
