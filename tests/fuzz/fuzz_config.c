/* SPDX-License-Identifier: MIT */
/*
 * The configuration as a text: no crash, no leak, no time without bound, nothing that only libconfuse
 * notices; and what is accepted dumps to a text that is
 * accepted too and dumps to itself. Other files are not read.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "../unit/config_modules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An error that libconfuse has found means that the outline took for sound what is not. */
static void check_errors(const char *errors)
{
	unsigned int line;
	int end;

	for (; errors && *errors; errors = strchr(errors, '\n') ? strchr(errors, '\n') + 1 : NULL) {
		end = 0;
		if (sscanf(errors, "fuzz.conf:%u: libconfuse: %n", &line, &end) == 1 && end > 0) {
			fputs(errors, stderr);
			abort();
		}
	}
}

static int load(const char *text, size_t size, struct config **ret_config)
{
	char *errors = NULL;
	size_t errors_size;
	FILE *out = open_memstream(&errors, &errors_size);
	int result;

	if (!out)
		abort();
	result = config_load_text(text, size, "fuzz.conf", &test_host, NULL, out, ret_config);
	fclose(out);
	if ((result == 0) != (errors_size == 0))
		abort();
	check_errors(errors);
	free(errors);
	return result;
}

/* A dump of TEXT as a configuration, or NULL where it is none. */
static char *dump(const char *text, size_t size)
{
	struct config *config = NULL;
	char *dumped = NULL;
	size_t dumped_size;
	FILE *out;

	if (load(text, size, &config) < 0)
		return NULL;
	out = open_memstream(&dumped, &dumped_size);
	if (!out)
		abort();
	config_dump(config, out);
	fclose(out);
	config_free(config);
	return dumped;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *first, *second;

	setenv("BROOD_SET", "plain", 1);
	first = dump((const char *)data, size);
	if (!first)
		return 0;
	second = dump(first, strlen(first));
	if (!second || strcmp(first, second) != 0)
		abort();
	free(second);
	free(first);
	return 0;
}
