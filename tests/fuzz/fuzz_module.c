/* SPDX-License-Identifier: MIT */
/*
 * What comes out of the process that has loaded a module: the description of it. What no bytes may bring about is
 * checked by abort().
 */
#include <stdlib.h>
#include <string.h>

#include "handlers/module/description.h"
#include "handlers/module/load.h"
#include "must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_option(const struct brood_option *option)
{
	size_t choices = 0;

	MUST(option->name[0] != '\0' && strlen(option->name) <= DESCRIPTION_NAME_MAX);
	MUST(option->type <= BROOD_OPTION_FILE && option->min <= option->max);
	MUST(option->fallback == NULL || strlen(option->fallback) <= DESCRIPTION_TEXT_MAX);
	MUST(strlen(option->help) <= DESCRIPTION_TEXT_MAX);
	while (option->choices != NULL && option->choices[choices] != NULL)
		MUST(option->choices[choices++][0] != '\0');
	MUST((option->type == BROOD_OPTION_CHOICE) == (choices > 0) && choices <= DESCRIPTION_CHOICES_MAX);
}

/* What was accepted is written as the very bytes it was read from. */
static void check_description(const struct brood_module *description, const uint8_t *data, size_t size)
{
	static struct probe_answer again;
	char reason[16];
	size_t count = 0;

	MUST(description->name[0] != '\0' && strlen(description->name) <= DESCRIPTION_NAME_MAX);
	MUST(strlen(description->version) <= DESCRIPTION_NAME_MAX);
	MUST(description->start == NULL && description->serve == NULL && description->stop == NULL);
	while (description->options[count].name != NULL)
		check_option(&description->options[count++]);
	MUST(count <= DESCRIPTION_OPTIONS_MAX);
	MUST(module_compare(description, description, reason, sizeof(reason)) == 0);
	again.size = 0;
	again.too_long = false;
	again.refused = false;
	description_write(description, &again);
	MUST(size > PROBE_ANSWER_MAX || (again.size == size && memcmp(again.data, data, size) == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct brood_module *description;
	char reason[256] = "";
	char *copy = malloc(size + 1);

	memcpy(copy, data, size);
	copy[size] = '\0';
	if (description_read(copy, size, &description, reason, sizeof(reason)) < 0) {
		MUST(reason[0] != '\0');
		return 0;
	}
	check_description(description, data, size);
	description_free(description);
	return 0;
}
