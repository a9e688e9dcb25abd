/* SPDX-License-Identifier: MIT */
#include "master/control_request.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

enum argument_rule {
	ARGUMENT_NONE,
	ARGUMENT_OPTIONAL,
	ARGUMENT_NEEDED,
	ARGUMENT_NOW, /* "now", or none */
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
	*ret_reason = "known are status, check, reload, upgrade, stop and restart";
	if (ret_request->kind == REQUEST_KINDS)
		return -EBADMSG;
	take_argument(ret_request, line, size, word);
	*ret_reason = argument_wrong(verbs[ret_request->kind].argument, ret_request->argument);
	return *ret_reason == NULL ? 0 : -EBADMSG;
}
