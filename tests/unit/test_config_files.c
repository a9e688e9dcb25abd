/* SPDX-License-Identifier: MIT */
/* Every tests/conf/bad/x.conf gives exactly the errors in x.expect; every tests/conf/good/x.conf loads, and its dump
 * dumps to itself. The handlers are those of config_modules.h. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/config.h"
#include "config_dumped.h"
#include "config_modules.h"

/* The files of the current directory that end in .conf, but those that only others include, which begin with "_". */
static int is_sample(const struct dirent *entry)
{
	const char *dot = strrchr(entry->d_name, '.');

	return dot && strcmp(dot, ".conf") == 0 && entry->d_name[0] != '_';
}

static char *read_file(const char *path)
{
	char *text = NULL;
	size_t size = 0;
	FILE *file = fopen(path, "re");

	if (!file)
		return NULL;
	if (getdelim(&text, &size, '\0', file) < 0) {
		free(text);
		text = strdup("");
	}
	fclose(file);
	return text;
}

/* Loads FILE. Returns the errors as a text, and config_load()'s result. */
static char *load(const char *file, struct config **ret_config, int *ret_result)
{
	char *errors = NULL;
	size_t size;
	FILE *out = open_memstream(&errors, &size);

	cr_assert(out);
	*ret_result = config_load(file, &test_host, NULL, out, ret_config);
	fclose(out);
	return errors;
}

static void check_bad(const char *name)
{
	struct config *config = NULL;
	char expect[256], *wanted, *found;
	int result;

	snprintf(expect, sizeof(expect), "%.*s.expect", (int)(strlen(name) - 5), name);
	wanted = read_file(expect);
	found = load(name, &config, &result);
	cr_expect_eq(result, -EINVAL, "%s: %d", name, result);
	cr_expect_null(config);
	cr_expect(wanted, "%s is not there", expect);
	cr_expect_str_eq(found, wanted ? wanted : "", "%s\n--- found\n%s--- expected\n%s", name, found, wanted);
	free(found);
	free(wanted);
}

static void check_good(const char *name)
{
	struct config *config = NULL;
	char *errors, *first, *second;
	int result;

	errors = load(name, &config, &result);
	cr_assert_eq(result, 0, "%s: %d\n%s", name, result, errors);
	cr_expect_str_empty(errors);
	free(errors);
	first = config_dumped(config);
	config_free(config);
	config = NULL;
	errors = NULL;
	cr_assert_eq(config_load_text(first, strlen(first), "dump", &test_host, NULL, stderr, &config), 0, "%s:\n%s",
		name, first);
	second = config_dumped(config);
	cr_expect_str_eq(second, first, "%s", name);
	config_free(config);
	free(first);
	free(second);
}

static void each_sample(const char *directory, size_t least, void (*check)(const char *name))
{
	char path[4096];
	struct dirent **entries;
	int count;

	snprintf(path, sizeof(path), "%s/%s", getenv("BROOD_TEST_CONF"), directory);
	cr_assert_eq(chdir(path), 0, "%s: %s", path, strerror(errno));
	unsetenv("BROOD_UNSET");
	setenv("BROOD_SET", "plain", 1);
	count = scandir(".", &entries, is_sample, alphasort);
	cr_assert_geq(count, (int)least);
	for (int i = 0; i < count; i++) {
		check(entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
}

Test(config_files, bad)
{
	each_sample("bad", 100, check_bad);
}

Test(config_files, good)
{
	each_sample("good", 6, check_good);
}
