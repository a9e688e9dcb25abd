/* SPDX-License-Identifier: MIT */
#include "base/title.h"

#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/attrs.h"

static char *title_start;
static size_t title_size;
static size_t title_used; /* bytes that are not known to be zero */

/* The moved strings, which stay for ever; for a leak checker to find. */
ATTR_USED static char **title_arguments, **title_environment;

/* A copy of a list that NULL ends, in one block: who removes a variable drops a pointer, not memory. NULL if there is
 * no memory. */
static char **strings_copy(char **strings)
{
	size_t count = 0, bytes = 0;
	char **copy;
	char *text;

	for (; strings[count] != NULL; count++)
		bytes += strlen(strings[count]) + 1;
	copy = calloc(1, (count + 1) * sizeof(*copy) + bytes);
	if (copy == NULL)
		return NULL;
	text = (char *)(copy + count + 1);
	for (size_t i = 0; i < count; i++) {
		copy[i] = strcpy(text, strings[i]);
		text += strlen(text) + 1;
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
		free(arguments);
		free(environment);
		return argv;
	}
	title_start = argv[0];
	title_size = (size_t)(end - argv[0]);
	title_used = title_size;
	environ = environment;
	title_arguments = arguments;
	title_environment = environment;
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
