/* SPDX-License-Identifier: MIT */
/*
 * Requests at the control socket, and any bytes as texts in its answers. What no bytes may bring about is checked by
 * abort().
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_line.h"
#include "master/control_request.h"
#include "must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_request(const char *line, size_t size)
{
	static struct control_request request;
	const char *reason = NULL;

	if (control_request_parse(line, size, &request, &reason) < 0) {
		MUST(reason != NULL && reason[0] != '\0');
		return;
	}
	MUST(reason == NULL && request.kind < REQUEST_KINDS);
	MUST(size >= strlen(request_kind_name(request.kind)));
	MUST(strlen(request.argument) < size || size == 0);
	MUST(request.kind == REQUEST_RESTART || request.kind == REQUEST_CHECK || request.kind == REQUEST_STOP ||
		request.kind == REQUEST_SCALE || request.argument[0] == '\0');
	MUST(request.kind == REQUEST_SCALE ? request.argument[0] != '\0' && request.number < 1000000000
					   : request.sign == 0 && request.number == 0);
}

/* Whether the byte at AT continues, begins or is a character as RFC 3629 has it is json_line.c's to know; that there is
 * one line, that its quotes pair and that no control byte is in it is seen here without it. */
static void check_line(const char *line, size_t size)
{
	bool quoted = false;

	MUST(size >= 3 && line[0] == '{' && line[size - 2] == '}' && line[size - 1] == '\n');
	for (size_t i = 0; i < size - 1; i++) {
		MUST((unsigned char)line[i] >= 0x20 && line[i] != 0x7f);
		if (quoted && line[i] == '\\') {
			MUST(strchr("\"\\ntu", line[++i]) != NULL);
			continue;
		}
		if (line[i] == '"')
			quoted = !quoted;
	}
	MUST(!quoted);
}

static void check_text(const char *text, size_t room)
{
	char *line = malloc(room + 1);
	struct json_line json;
	size_t size;

	if (line == NULL)
		return;
	json_line_begin(&json, line, room);
	json_line_text(&json, "text", text);
	json_line_number(&json, "number", (int64_t)room);
	size = json_line_end(&json);
	MUST(size <= room);
	if (size > 0)
		check_line(line, size);
	/* Each byte becomes six at the most. */
	MUST(size > 0 || room < 64 + 6 * strlen(text));
	free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* A copy of its own makes a byte too many visible. */
	char *line = malloc(size > 0 ? size : 1);
	char *text = strndup((const char *)data, size);

	if (line != NULL && text != NULL) {
		memcpy(line, data, size);
		check_request(line, size);
		check_text(text, 64 + 6 * strlen(text));
		check_text(text, size);
	}
	free(line);
	free(text);
	return 0;
}
