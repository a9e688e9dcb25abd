/* SPDX-License-Identifier: MIT */
#include "master/ack_line.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>

/* The longest value that means something is "worker:ping". */
#define VALUE_MAX 32

/* What is still to be read. */
struct reader {
	const char *at;
	const char *end;
};

/* A text or a word; what is longer than VALUE_MAX is none of ours, and only its length is kept. */
struct value {
	char text[VALUE_MAX];
	size_t size;
	bool quoted;
};

static void value_add(struct value *value, char byte)
{
	if (value->size < sizeof(value->text))
		value->text[value->size] = byte;
	value->size++;
}

static bool value_is(const struct value *value, const char *text)
{
	return value->size == strlen(text) && value->size <= VALUE_MAX && memcmp(value->text, text, value->size) == 0;
}

static bool value_pid(const struct value *value, pid_t *ret_pid)
{
	long long number = 0;

	if (value->size == 0 || value->size > VALUE_MAX)
		return false;
	for (size_t i = 0; i < value->size; i++) {
		if (value->text[i] < '0' || value->text[i] > '9' || number > INT_MAX)
			return false;
		number = number * 10 + (value->text[i] - '0');
	}
	if (number == 0 || number > INT_MAX)
		return false;
	*ret_pid = (pid_t)number;
	return true;
}

/* What one name says, in either form. */
static int line_take(struct ack_line *line, const struct value *name, const struct value *value, bool *has_command)
{
	if (value_is(name, "command")) {
		*has_command = true;
		line->command = ACK_OTHER;
		if (value_is(value, "worker:ack"))
			line->command = ACK_READY;
		if (value_is(value, "worker:ping"))
			line->command = ACK_PING;
	} else if (value_is(name, "pid")) {
		if (value->quoted || !value_pid(value, &line->pid))
			return -EBADMSG;
	}
	return 0;
}

/* ---- JSON (RFC 8259), one flat object ---- */

static void skip_space(struct reader *reader)
{
	while (reader->at < reader->end &&
		(*reader->at == ' ' || *reader->at == '\t' || *reader->at == '\r' || *reader->at == '\n'))
		reader->at++;
}

static bool take(struct reader *reader, char byte)
{
	skip_space(reader);
	if (reader->at == reader->end || *reader->at != byte)
		return false;
	reader->at++;
	return true;
}

/* An escaped character stands for itself; \n and \u0041 are no part of any text that means something, and only have to
 * be passed over. */
static int read_text(struct reader *reader, struct value *value)
{
	while (reader->at < reader->end) {
		char byte = *reader->at++;

		if (byte == '"')
			return 0;
		if ((unsigned char)byte < 0x20)
			return -EBADMSG;
		if (byte == '\\') {
			if (reader->at == reader->end)
				return -EBADMSG;
			byte = *reader->at++;
			if (byte != '"' && byte != '\\' && byte != '/')
				byte = '\0';
		}
		value_add(value, byte);
	}
	return -EBADMSG;
}

static bool is_word_byte(char byte)
{
	return (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') || byte == '-' || byte == '+' ||
	       byte == '.' || byte == 'E';
}

static int read_value(struct reader *reader, struct value *value)
{
	*value = (struct value){ .quoted = take(reader, '"') };
	if (value->quoted)
		return read_text(reader, value);
	while (reader->at < reader->end && is_word_byte(*reader->at))
		value_add(value, *reader->at++);
	return value->size > 0 ? 0 : -EBADMSG;
}

static int parse_member(struct reader *reader, struct ack_line *line, bool *has_command)
{
	struct value name, value;

	if (read_value(reader, &name) < 0 || !name.quoted || !take(reader, ':') || read_value(reader, &value) < 0)
		return -EBADMSG;
	return line_take(line, &name, &value, has_command);
}

static int parse_json(struct reader *reader, struct ack_line *line, bool *has_command)
{
	if (take(reader, '}'))
		return 0;
	do {
		if (parse_member(reader, line, has_command) < 0)
			return -EBADMSG;
	} while (take(reader, ','));
	if (!take(reader, '}'))
		return -EBADMSG;
	skip_space(reader);
	return reader->at == reader->end ? 0 : -EBADMSG;
}

/* ---- YAML, as Ruby writes a flat table of texts and numbers ---- */

/* The next line, up to "%0A" or the end. */
static struct reader next_line(struct reader *reader)
{
	struct reader line = { .at = reader->at,
		.end = memmem(reader->at, (size_t)(reader->end - reader->at), "%0A", 3) };

	reader->at = line.end == NULL ? reader->end : line.end + 3;
	if (line.end == NULL)
		line.end = reader->end;
	return line;
}

static bool reader_is(const struct reader *reader, const char *text)
{
	size_t size = (size_t)(reader->end - reader->at);

	return size == strlen(text) && memcmp(reader->at, text, size) == 0;
}

static struct value unquote(const char *at, const char *end)
{
	struct value value = { 0 };

	if (end - at >= 2 && (*at == '"' || *at == '\'') && end[-1] == *at) {
		value.quoted = true;
		at++;
		end--;
	}
	while (at < end)
		value_add(&value, *at++);
	return value;
}

static int parse_yaml(struct reader *reader, struct ack_line *line, bool *has_command)
{
	while (reader->at < reader->end) {
		struct reader one = next_line(reader);
		const char *colon = memmem(one.at, (size_t)(one.end - one.at), ": ", 2);
		struct value name, value;

		if (one.at == one.end)
			continue;
		if (colon == NULL)
			return -EBADMSG;
		name = unquote(one.at, colon);
		value = unquote(colon + 2, one.end);
		if (line_take(line, &name, &value, has_command) < 0)
			return -EBADMSG;
	}
	return 0;
}

int ack_line_parse(const char *line, size_t size, struct ack_line *ret_line)
{
	struct reader reader = { .at = line, .end = line + size };
	struct ack_line found = { .command = ACK_OTHER };
	bool has_command = false;
	struct reader first;
	int result;

	if (take(&reader, '{')) {
		result = parse_json(&reader, &found, &has_command);
	} else {
		first = next_line(&reader);
		if (!reader_is(&first, "---") && !reader_is(&first, "--- "))
			return -EBADMSG;
		result = parse_yaml(&reader, &found, &has_command);
	}
	if (result < 0 || !has_command)
		return -EBADMSG;
	*ret_line = found;
	return 0;
}
