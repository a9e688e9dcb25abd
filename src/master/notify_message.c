/* SPDX-License-Identifier: MIT */
#include "master/notify_message.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

/* A line, or the value of one. Not terminated. */
struct piece {
	const char *text;
	size_t size;
};

static bool piece_is(const struct piece *piece, const char *text)
{
	return piece->size == strlen(text) && memcmp(piece->text, text, piece->size) == 0;
}

/* Digits only: no sign, no space. What is above MOST is MOST. */
static bool piece_number(const struct piece *piece, uint64_t most, uint64_t *ret_number)
{
	uint64_t number = 0;

	if (piece->size == 0)
		return false;
	for (size_t i = 0; i < piece->size; i++) {
		unsigned int digit = (unsigned int)(unsigned char)piece->text[i] - '0';

		if (digit > 9)
			return false;
		number = number > (most - digit) / 10 ? most : number * 10 + digit;
	}
	*ret_number = number;
	return true;
}

static bool is_continuation(unsigned char byte)
{
	return (byte & 0xc0) == 0x80;
}

/* The length of the printable character that TEXT begins with (RFC 3629); 0 where it begins with none. */
static size_t character_size(const unsigned char *text, size_t size)
{
	size_t length = text[0] >= 0xf0 ? 4 : text[0] >= 0xe0 ? 3 : 2;

	if (text[0] < 0x80)
		return text[0] >= 0x20 && text[0] != 0x7f;
	if (text[0] < 0xc2 || text[0] > 0xf4 || length > size)
		return 0;
	for (size_t i = 1; i < length; i++)
		if (!is_continuation(text[i]))
			return 0;
	/* Overlong forms, halves of surrogate pairs, and what is beyond Unicode; and the C1 controls. */
	if ((text[0] == 0xe0 && text[1] < 0xa0) || (text[0] == 0xed && text[1] > 0x9f) ||
		(text[0] == 0xf0 && text[1] < 0x90) || (text[0] == 0xf4 && text[1] > 0x8f) ||
		(text[0] == 0xc2 && text[1] < 0xa0))
		return 0;
	return length;
}

static void copy_status(const struct piece *value, char status[NOTIFY_STATUS_MAX])
{
	const unsigned char *text = (const unsigned char *)value->text;
	size_t used = 0, at = 0;

	while (at < value->size) {
		size_t length = character_size(text + at, value->size - at);
		size_t wanted = length == 0 ? 1 : length;

		if (used + wanted >= NOTIFY_STATUS_MAX)
			break;
		if (length == 0)
			status[used] = '?';
		else
			memcpy(status + used, text + at, length);
		used += wanted;
		at += wanted;
	}
	status[used] = '\0';
}

static void read_watchdog(const struct piece *value, struct notify_message *message)
{
	if (piece_is(value, "1"))
		message->watchdog = true;
	else if (piece_is(value, "trigger"))
		message->watchdog_trigger = true;
}

static void read_assignment(const struct piece *name, const struct piece *value, struct notify_message *message)
{
	uint64_t number;

	if (piece_is(name, "READY"))
		message->ready = message->ready || piece_is(value, "1");
	else if (piece_is(name, "STOPPING"))
		message->stopping = message->stopping || piece_is(value, "1");
	else if (piece_is(name, "WATCHDOG"))
		read_watchdog(value, message);
	else if (piece_is(name, "STATUS")) {
		message->has_status = true;
		copy_status(value, message->status);
	} else if (piece_is(name, "ERRNO") && piece_number(value, INT_MAX, &number)) {
		message->has_error = true;
		message->error = (int)number;
	} else if (piece_is(name, "EXTEND_TIMEOUT_USEC") && piece_number(value, NOTIFY_EXTEND_MAX_US, &number))
		message->extend_us = number;
	else if (piece_is(name, "MAINPID") && piece_number(value, INT_MAX, &number))
		message->main_pid = (pid_t)number;
}

static void read_line(const struct piece *line, struct notify_message *message)
{
	const char *equals = memchr(line->text, '=', line->size);
	struct piece name, value;

	if (equals == NULL)
		return;
	name = (struct piece){ .text = line->text, .size = (size_t)(equals - line->text) };
	value = (struct piece){ .text = equals + 1, .size = line->size - name.size - 1 };
	read_assignment(&name, &value, message);
}

int notify_message_parse(const char *data, size_t size, struct notify_message *ret_message)
{
	struct notify_message message = { 0 };

	/* Some count the end of their string in. */
	if (size > 0 && data[size - 1] == '\0')
		size--;
	if (size > 0 && memchr(data, '\0', size) != NULL)
		return -EBADMSG;
	while (size > 0) {
		const char *end = memchr(data, '\n', size);
		struct piece line = { .text = data, .size = end == NULL ? size : (size_t)(end - data) };
		size_t used = line.size + (end != NULL);

		read_line(&line, &message);
		data += used;
		size -= used;
	}
	*ret_message = message;
	return 0;
}
