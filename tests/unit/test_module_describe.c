/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "handlers/module/describe.h"
#include "handlers/module/description.h"
#include "handlers/module/load.h"
#include "worker/probe.h"

static char name[] = "test";
static char module_path[4096];
static struct pool_config pool = { .name = name, .module = module_path };
static char reason[512];

static void choose(const char *module)
{
	const char *directory = getenv("BROOD_TEST_MODULES");

	cr_assert_not_null(directory, "the test is run by meson");
	snprintf(module_path, sizeof(module_path), "%s/%s.so", directory, module);
}

static void must_fail(const char *module, const char *text)
{
	struct brood_module *description = NULL;

	choose(module);
	reason[0] = '\0';
	cr_expect_lt(module_describe(&pool, &description, reason, sizeof(reason)), 0, "%s", module);
	cr_expect(fnmatch(text, reason, FNM_NOESCAPE) == 0, "%s: %s, and not %s", module, reason, text);
	cr_expect_null(description);
	cr_expect_eq(waitpid(-1, NULL, WNOHANG), -1, "a child is left");
}

static struct brood_module *describe(const char *module)
{
	struct brood_module *description = NULL;

	choose(module);
	cr_assert_eq(module_describe(&pool, &description, reason, sizeof(reason)), 0, "%s", reason);
	return description;
}

static bool texts_are_equal(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

/* What one process of ours was told, another one has as it was. */
Test(module_describe, a_description_is_handed_on)
{
	struct brood_module *description = describe("options"), *copy = NULL;
	const struct brood_option *a = description->options, *b;
	char *data;
	size_t size;

	cr_assert_eq(module_description_encode(description, &data, &size), 0);
	cr_assert_eq(description_read(data, size, &copy, reason, sizeof(reason)), 0, "%s", reason);
	cr_expect_str_eq(copy->name, description->name);
	cr_expect_str_eq(copy->version, description->version);
	cr_expect_eq(copy->client_first, description->client_first);
	for (b = copy->options; a->name && b->name; a++, b++) {
		cr_expect_str_eq(a->name, b->name);
		cr_expect(a->type == b->type && a->min == b->min && a->max == b->max, "%s", a->name);
		cr_expect(texts_are_equal(a->fallback, b->fallback), "%s", a->name);
		cr_expect(texts_are_equal(a->help, b->help), "%s", a->name);
		for (size_t i = 0; a->choices && (a->choices[i] || b->choices[i]); i++)
			cr_expect(texts_are_equal(a->choices[i], b->choices[i]), "%s", a->name);
	}
	cr_expect(!a->name && !b->name);
	description_free(copy);
	description_free(description);
}

Test(module_describe, a_module_says_what_it_is)
{
	static const char *const types = "bool number number size duration text choice list log directory file bool";
	struct brood_module *description = describe("options");
	size_t count = 0;

	cr_assert_str_eq(description->name, "options");
	cr_assert_str_eq(description->version, "1.2");
	cr_assert(description->client_first);
	cr_assert_null(description->check);
	cr_assert_null(description->start);
	cr_assert_null(description->serve);
	cr_assert_null(description->stop);
	while (description->options[count].name != NULL)
		count++;
	cr_assert_eq(count, 12, "%s", types);
	cr_assert_str_eq(description->options[1].name, "number");
	cr_assert_eq(description->options[1].type, BROOD_OPTION_NUMBER);
	cr_assert_str_eq(description->options[1].fallback, "5");
	cr_assert_eq(description->options[1].min, -10);
	cr_assert_eq(description->options[1].max, 100);
	cr_assert_str_eq(description->options[1].help, "A number.");
	cr_assert_null(description->options[1].choices);
	cr_assert_eq(description->options[6].type, BROOD_OPTION_CHOICE);
	cr_assert_str_eq(description->options[6].choices[0], "red");
	cr_assert_str_eq(description->options[6].choices[2], "blue");
	cr_assert_null(description->options[6].choices[3]);
	module_description_free(description);
}

Test(module_describe, a_module_without_options_or_version)
{
	struct brood_module *description = describe("trouble");

	cr_assert_str_eq(description->version, "");
	cr_assert_null(description->options[0].name);
	cr_assert_not(description->client_first);
	module_description_free(description);
}

Test(module_describe, it_does_not_stay_in_this_process)
{
	FILE *maps;
	char line[8192];

	module_description_free(describe("options"));
	maps = fopen("/proc/self/maps", "r");
	cr_assert_not_null(maps);
	while (fgets(line, sizeof(line), maps) != NULL)
		cr_assert_null(strstr(line, "options.so"));
	fclose(maps);
}

Test(module_describe, what_a_constructor_prints_goes_nowhere)
{
	module_description_free(describe("constructor_prints"));
}

Test(module_describe, what_is_no_module_is_refused)
{
	must_fail("missing", "cannot be loaded: cannot open shared object file: No such file or directory");
	must_fail("no_symbol", "is no module: it does not define brood_module");
	must_fail("wrong_abi", "was compiled for module ABI 4711, and this brood has 1");
	must_fail("wrong_size", "has a struct brood_module of 8 bytes, and this brood's has *");
	must_fail("no_name", "has a brood_module without name");
	must_fail("no_serve", "has a brood_module without serve()");
	must_fail("unresolved", "cannot be loaded: undefined symbol: nobody_defines_this");
	must_fail("../unit/test_module_describe.c", "cannot be loaded: *");
}

Test(module_describe, what_its_constructor_does_is_survived)
{
	must_fail("constructor_crashes", "cannot be loaded: its process died by signal 11 (SIGSEGV)");
	must_fail("constructor_aborts", "cannot be loaded: its process died by signal 6 (SIGABRT)");
	must_fail("constructor_exits", "cannot be loaded: its process ended with exit status 0");
	must_fail("hostile_answer", "gives a description of itself that makes no sense");
}

Test(module_describe, a_constructor_that_hangs_is_ended)
{
	must_fail("constructor_hangs", "cannot be loaded: its process did not answer within 5000 ms");
}

Test(module_describe, tables_that_make_no_sense_are_refused)
{
	must_fail("twice", "has the option \"size\" twice");
	must_fail("bad_key", "has an option's name with a control byte");
	must_fail("bad_type", "has an option \"size\" of type 77, which is none");
	must_fail("bad_choices", "has an option \"size\" without choices");
}

/* ---- check() ---- */

Test(module_describe, check_sees_the_values)
{
	static const char *const none[] = { NULL };
	union brood_value values[12] = { 0 };

	pool.description = describe("options");
	pool.values = values;
	values[7].list = none;
	values[1].number = 4;
	values[2].number = 5;
	cr_expect_eq(module_check(&pool, reason, sizeof(reason)), 0, "%s", reason);
	values[1].number = 5;
	cr_expect_eq(module_check(&pool, reason, sizeof(reason)), -EINVAL);
	cr_expect_str_eq(reason, "number is not below limit");
	module_description_free(pool.description);
}

Test(module_describe, a_module_without_check_agrees)
{
	pool.description = describe("trouble");
	cr_expect_eq(module_check(&pool, reason, sizeof(reason)), 0, "%s", reason);
	module_description_free(pool.description);
}

/* Between the description and the check, or the start, the file has been replaced. */
Test(module_describe, another_module_of_the_same_path_is_noticed)
{
	static union brood_value values[12];

	pool.description = describe("options");
	pool.values = values;
	choose("trouble");
	cr_expect_eq(module_check(&pool, reason, sizeof(reason)), -EINVAL);
	cr_expect_eq(fnmatch("is another one than when*", reason, 0), 0, "%s", reason);
	module_description_free(pool.description);
}

static const char *const colours[] = { "red", "blue", NULL };
static const char *const other_colours[] = { "red", "green", NULL };
static const char *const more_colours[] = { "red", "blue", "green", NULL };

static int compare(const struct brood_option *one, const struct brood_option *other)
{
	const struct brood_module module = { .name = "m", .version = "1", .options = one };
	const struct brood_module description = { .name = "m", .version = "2", .options = other };

	return module_compare(&module, &description, reason, sizeof(reason));
}

Test(module_describe, what_makes_it_another_module)
{
	const struct brood_option base[] = {
		{.name = "c",         .type = BROOD_OPTION_CHOICE, .choices = colours },
		{ .name = "n", .type = BROOD_OPTION_NUMBER, .min = 1, .max = 2, .help = "x" },
                { .name = NULL       }
	};
	struct brood_option other[3];

	memcpy(other, base, sizeof(base));
	other[1].help = "y";
	other[1].fallback = "1";
	cr_expect_eq(compare(base, other), 0, "its texts and its version may differ");
	other[1].max = 3;
	cr_expect_eq(compare(base, other), -ESTALE);
	memcpy(other, base, sizeof(base));
	other[1].type = BROOD_OPTION_SIZE;
	cr_expect_eq(compare(base, other), -ESTALE);
	memcpy(other, base, sizeof(base));
	other[1].name = NULL;
	cr_expect_eq(compare(base, other), -ESTALE);
	cr_expect_eq(compare(other, base), -ESTALE);
	cr_expect_eq(compare(base, NULL), -ESTALE);
	memcpy(other, base, sizeof(base));
	other[0].choices = other_colours;
	cr_expect_eq(compare(base, other), -ESTALE);
	other[0].choices = more_colours;
	cr_expect_eq(compare(base, other), -ESTALE);
	cr_expect_eq(compare(other, base), -ESTALE);
	cr_expect_eq(compare(NULL, &(struct brood_option){ .name = NULL }), 0);
}
