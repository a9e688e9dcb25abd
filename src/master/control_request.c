/* SPDX-License-Identifier: MIT */
#include "master/control_request.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* Of a number; the most workers there may be have five. */
#define NUMBER_DIGITS_MAX 9

enum argument_rule {
	ARGUMENT_NONE,
	ARGUMENT_OPTIONAL,
	ARGUMENT_NEEDED,
	ARGUMENT_NOW,    /* "now", or none */
	ARGUMENT_NUMBER, /* a text, and behind the last space a number, which may have a sign */
};

struct verb {
	const char *name;
	enum argument_rule argument;
	bool only_looks;
};

static const struct verb verbs[] = {
	[REQUEST_STATUS] = {"status",   ARGUMENT_NONE,     true },
	[REQUEST_CHECK] = { "check",   ARGUMENT_OPTIONAL, false},
	[REQUEST_RELOAD] = { "reload",  ARGUMENT_NONE,     false},
	[REQUEST_UPGRADE] = { "upgrade", ARGUMENT_NONE,     false},
	[REQUEST_STOP] = { "stop",    ARGUMENT_NOW,      false},
	[REQUEST_RESTART] = { "restart", ARGUMENT_NEEDED,   false},
	[REQUEST_SCALE] = { "scale",   ARGUMENT_NUMBER,   false},
};
static_assert(ARRAY_SIZE(verbs) == REQUEST_KINDS, "a row for each request");

const char *request_kind_name(enum request_kind kind)
{
	return verbs[kind].name;
}

bool request_only_looks(enum request_kind kind)
{
	return verbs[kind].only_looks;
}

/* The request of the word of SIZE bytes; REQUEST_KINDS: none. */
static enum request_kind find_verb(const char *word, size_t size)
{
	for (enum request_kind kind = 0; kind < REQUEST_KINDS; kind++)
		if (strlen(verbs[kind].name) == size && memcmp(verbs[kind].name, word, size) == 0)
			return kind;
	return REQUEST_KINDS;
}

/* Why ARGUMENT does not go with the word; NULL: it does. */
static const char *argument_wrong(enum argument_rule rule, const char *argument)
{
	switch (rule) {
	case ARGUMENT_NONE:
		return argument[0] == '\0' ? NULL : "nothing may stand behind this word";
	case ARGUMENT_NEEDED:
		return argument[0] != '\0' ? NULL : "the name of a pool is missing";
	case ARGUMENT_NOW:
		return argument[0] == '\0' || strcmp(argument, "now") == 0 ? NULL
									   : "only the word now may stand behind this";
	default:
		return NULL;
	}
}

/* Digits, as many as any number of workers has. */
static bool take_number(struct control_request *request, const char *text)
{
	size_t length;

	request->sign = 0;
	request->number = 0;
	if (*text == '+' || *text == '-')
		request->sign = *text++;
	length = strspn(text, "0123456789");
	if (length == 0 || length > NUMBER_DIGITS_MAX || text[length] != '\0')
		return false;
	for (; *text != '\0'; text++)
		request->number = request->number * 10 + (uint32_t)(*text - '0');
	return true;
}

/* Leaves the name in the argument. Returns why it is none; NULL: it is. */
static const char *split_number(struct control_request *request)
{
	char *space = strrchr(request->argument, ' ');

	if (space == NULL || space == request->argument || !take_number(request, space + 1))
		return "the name of a pool and a number are needed, such as web 4, web +1 or web -1";
	*space = '\0';
	return NULL;
}

/* What stands behind the word and one space. */
static void take_argument(struct control_request *request, const char *line, size_t size, size_t word)
{
	size_t start = word < size ? word + 1 : size;

	memcpy(request->argument, line + start, size - start);
	request->argument[size - start] = '\0';
}

int control_request_parse(const char *line, size_t size, struct control_request *ret_request, const char **ret_reason)
{
	const char *space;
	size_t word;

	if (size > 0 && line[size - 1] == '\r')
		size--;
	space = memchr(line, ' ', size);
	word = space != NULL ? (size_t)(space - line) : size;
	*ret_reason = "the line is too long, or has a NUL in it";
	if (size >= CONTROL_REQUEST_MAX || memchr(line, '\0', size) != NULL)
		return -EBADMSG;
	ret_request->kind = find_verb(line, word);
	*ret_reason = "known are status, check, reload, upgrade, stop, restart and scale";
	if (ret_request->kind == REQUEST_KINDS)
		return -EBADMSG;
	take_argument(ret_request, line, size, word);
	ret_request->sign = 0;
	ret_request->number = 0;
	if (verbs[ret_request->kind].argument == ARGUMENT_NUMBER)
		*ret_reason = split_number(ret_request);
	else
		*ret_reason = argument_wrong(verbs[ret_request->kind].argument, ret_request->argument);
	return *ret_reason == NULL ? 0 : -EBADMSG;
}
