/* SPDX-License-Identifier: MIT */
#include "base/title.h"

#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/attrs.h"

static char *title_start;
static size_t title_size;
ATTR_USED static char **title_arguments; /* the moved ones, for a leak checker to find */
static size_t title_used;      /* bytes that are not known to be zero */

static void strings_free(char **strings)
{
	for (char **string = strings; string != NULL && *string != NULL; string++)
		free(*string);
	free(strings);
}

/* A copy of a list that NULL ends; NULL if there is no memory. */
static char **strings_copy(char **strings)
{
	size_t count = 0;
	char **copy;

	while (strings[count] != NULL)
		count++;
	copy = calloc(count + 1, sizeof(*copy));
	for (size_t i = 0; copy != NULL && i < count; i++) {
		copy[i] = strdup(strings[i]);
		if (copy[i] == NULL) {
			strings_free(copy);
			return NULL;
		}
	}
	return copy;
}

/* The end of the strings that lie one behind the other from END on. */
static char *contiguous_end(char **strings, char *end)
{
	for (; *strings != NULL; strings++) {
		if (*strings != end)
			return end;
		end = *strings + strlen(*strings) + 1;
	}
	return end;
}

char **title_init(int argc, char **argv)
{
	char **arguments, **environment;
	char *end;

	if (argc < 1)
		return argv;
	end = contiguous_end(argv, argv[0]);
	end = contiguous_end(environ, end);
	arguments = strings_copy(argv);
	environment = strings_copy(environ);
	if (arguments == NULL || environment == NULL) {
		strings_free(arguments);
		strings_free(environment);
		return argv;
	}
	title_start = argv[0];
	title_size = (size_t)(end - argv[0]);
	title_used = title_size;
	environ = environment;
	title_arguments = arguments;
	return arguments;
}

void title_set(const char *title)
{
	size_t length = strlen(title);

	prctl(PR_SET_NAME, title);
	if (title_start == NULL || title_size == 0)
		return;
	if (length > title_size - 1)
		length = title_size - 1;
	memcpy(title_start, title, length);
	if (title_used > length)
		memset(title_start + length, 0, title_used - length);
	title_used = length;
}
