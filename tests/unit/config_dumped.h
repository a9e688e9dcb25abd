/* SPDX-License-Identifier: MIT */
#ifndef TESTS_UNIT_CONFIG_DUMPED_H
#define TESTS_UNIT_CONFIG_DUMPED_H
/* A configuration as the text that config_dump() writes. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "config/config.h"

/* To be freed; CONFIG stays the caller's. */
static inline char *config_dumped(const struct config *config)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	cr_assert(out);
	config_dump(config, out);
	fclose(out);
	return text;
}

#endif
