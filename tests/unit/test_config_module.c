/* SPDX-License-Identifier: MIT */
/* Pools of modules: what a module says of itself goes through config_load(), whatever it is. The module is described by
 * a probe of the test's own. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "config_dumped.h"
#include "config_modules.h"

/* What the probe says, and what it has been asked. */
static struct brood_module described;
static int describe_result;
static unsigned int describe_count, check_count, free_count, program_count;
static struct pool_config asked;

static char *errors;
static struct config *config;

static int describe(const struct pool_config *pool, struct brood_module **ret_description, char *reason, size_t size)
{
	describe_count++;
	asked = *pool;
	if (describe_result < 0) {
		snprintf(reason, size, "cannot be loaded: undefined symbol: \x1b[31mred");
		return describe_result;
	}
	*ret_description = malloc(sizeof(**ret_description));
	cr_assert(*ret_description);
	**ret_description = described;
	return 0;
}

static int check(const struct pool_config *pool, char *reason, size_t size)
{
	check_count++;
	cr_assert(pool->values);
	cr_assert_eq(pool->description->options, described.options);
	return test_check(pool, reason, size);
}

static int program(const struct pool_config *pool, char *reason, size_t size)
{
	program_count++;
	asked = *pool;
	return test_program(pool, reason, size);
}

static void description_free(struct brood_module *description)
{
	free_count++;
	free(description);
}

static const struct config_probe probe = {
	.module_describe = describe,
	.module_check = check,
	.program = program,
	.description_free = description_free,
};

static int load_with(const struct config_probe *with, const char *text)
{
	const struct config_host host = { .handlers = test_modules, .probe = with };
	size_t size;
	FILE *out;
	int result;

	free(errors);
	out = open_memstream(&errors, &size);
	cr_assert(out);
	config = NULL;
	describe_count = check_count = free_count = program_count = 0;
	result = config_load_text(text, strlen(text), "t.conf", &host, NULL, out, &config);
	fclose(out);
	return result;
}

static int load(const char *text)
{
	return load_with(&probe, text);
}

static void use_kinds(void)
{
	described = module_kinds;
	describe_result = 0;
}

#define POOL(rest) "pool a {\nlisten = \":0\" handler = module module = \"/m.so\"\n" rest "}\n"

/* ---- values ---- */

Test(config_module, values_of_every_type, .init = use_kinds)
{
	const union brood_value *values;
	struct pool_config *pool;

	cr_assert_eq(load(POOL("module_options { bool = yes number = 5 size = 2K\n"
			       "duration = 1m text = hello choice = blue list = { x, y } log = \"/tmp/x.log\"\n"
			       "directory = \"/tmp\" file = \"/no/such\" }")),
		0, "%s", errors);
	pool = &config->pools[0];
	cr_expect_eq(pool->kind, HANDLER_LOADS);
	cr_expect_eq(pool->handler, &module_module);
	cr_expect_str_eq(pool->module, "/m.so");
	cr_assert(pool->description);
	cr_expect_eq(pool->description->options, kinds_options);
	values = pool->values;
	cr_expect(values[0].on);
	cr_expect_eq(values[1].number, 5);
	cr_expect_eq(values[2].number, 0);
	cr_expect_eq(values[3].number, 2048);
	cr_expect_eq(values[4].number, 60000);
	cr_expect_str_eq(values[5].text, "hello");
	cr_expect_eq(values[6].number, 2);
	cr_expect_str_eq(values[7].list[1], "y");
	cr_expect_null(values[7].list[2]);
	cr_expect_null(values[8].list[0]);
	cr_expect_eq(values[9].number, 1);
	cr_expect_str_eq(values[11].text, "/tmp");
	cr_expect_str_eq(values[12].text, "/no/such");
	cr_expect_str_eq(config->access_files[0], "/tmp/x.log");
	cr_expect_eq(describe_count, 1);
	cr_expect_eq(check_count, 1);
	cr_expect_eq(free_count, 0);
	config_free(config);
	cr_expect_eq(free_count, 1);
}

Test(config_module, defaults, .init = use_kinds)
{
	cr_assert_eq(load(POOL("")), 0, "%s", errors);
	cr_expect_not(config->pools[0].values[0].on);
	cr_expect_eq(config->pools[0].values[1].number, 10);
	cr_expect_str_eq(config->pools[0].values[5].text, "a \"quoted\" $text");
	cr_expect_str_eq(config->pools[0].values[7].list[1], "two");
	cr_expect_null(config->pools[0].values[8].list[0]);
	cr_expect_str_eq(config->pools[0].values[12].text, "/etc/fstab");
	config_free(config);
}

Test(config_module, clients_that_speak_first_are_waited_for, .init = use_kinds)
{
	described.client_first = true;
	cr_assert_eq(load(POOL("")), 0, "%s", errors);
	cr_expect_eq(config->pools[0].listener.defer_accept_s, 5);
	config_free(config);
	cr_assert_eq(load(POOL("defer_accept = off")), 0, "%s", errors);
	cr_expect_eq(config->pools[0].listener.defer_accept_s, 0);
	config_free(config);
}

/* ---- when the probe is asked ---- */

Test(config_module, asked_once_the_user_and_the_chroot_stand, .init = use_kinds)
{
	struct passwd *user = getpwnam("daemon");

	cr_assert(user);
	cr_assert_eq(load("user = daemon " POOL("chroot = \"/dev\" umask = 027 limits { core = 0 }")), 0, "%s", errors);
	cr_expect(asked.identity.change);
	cr_expect_eq(asked.identity.uid, user->pw_uid);
	cr_expect_str_eq(asked.chroot, "/dev");
	cr_expect_eq(asked.umask, 027);
	cr_expect_eq(asked.limit_count, 1);
	cr_expect_str_eq(asked.module, "/m.so");
	config_free(config);
}

/* Foreign code is not run as somebody else than the file says, and not where the file may say something else. */
Test(config_module, not_asked_while_they_do_not, .init = use_kinds)
{
	static const char *const texts[] = {
		POOL("user = \"no-such-user\""),
		POOL("chroot = \"/nowhere\""),
		POOL("user = { daemon }"),
		"user = daemon user = root " POOL(""),
		POOL("zebra = 1"),
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		cr_expect_eq(load(texts[i]), -EINVAL, "%s", texts[i]);
		cr_expect_eq(describe_count, 0, "%s", texts[i]);
		cr_expect_eq(free_count, 0);
	}
	cr_expect_eq(load("pool a { listen = \":0\" handler = inetd command = \"/bin/cat\" user = \"no-such-user\" }"),
		-EINVAL);
	cr_expect_eq(program_count, 0);
}

Test(config_module, the_check_is_for_sound_options_only, .init = use_kinds)
{
	cr_expect_eq(load(POOL("module_options { number = 1000 }")), -EINVAL);
	cr_expect_str_eq(errors, "t.conf:3: pool \"a\": module_options: number = 1000 is out of range (0 to 100)\n");
	cr_expect_eq(check_count, 0);
	cr_expect_eq(free_count, 1);
	cr_expect_eq(load(POOL("\nmodule_options {\nchoice = red }")), -EINVAL);
	cr_expect_str_eq(errors, "t.conf:4: pool \"a\": module_options: choice = red is not for today\n");
	cr_expect_eq(check_count, 1);
	cr_expect_eq(free_count, 1);
}

Test(config_module, what_cannot_be_loaded, .init = use_kinds)
{
	describe_result = -EINVAL;
	cr_expect_eq(load(POOL("module_options { lion = 1 }")), -EINVAL);
	cr_expect_str_eq(
		errors, "t.conf:2: pool \"a\": module = \"/m.so\" cannot be loaded: undefined symbol: \\x1b[31mred\n");
	cr_expect_eq(free_count, 0);
}

Test(config_module, nobody_to_ask, .init = use_kinds)
{
	static const struct config_probe nothing;

	cr_assert_eq(load_with(NULL, POOL("module_options { lion = 1 }")), 0, "%s", errors);
	cr_expect_null(config->pools[0].description);
	cr_expect_null(config->pools[0].values);
	config_free(config);
	cr_assert_eq(load_with(&nothing, POOL("module_options { lion = 1 }")), 0, "%s", errors);
	config_free(config);
}

/* ---- the program's probe ---- */

Test(config_module, a_program_is_shown_to_the_probe)
{
	cr_assert_eq(load("pool a { listen = \":0\" handler = program command = { \"/opt/x\", y } user = daemon\n"
			  "chroot = \"/dev\" directory = \"/\" }"),
		0, "%s", errors);
	cr_expect_eq(program_count, 1);
	cr_expect_str_eq(asked.program.path, "/opt/x");
	cr_expect_str_eq(asked.program.command[1], "y");
	cr_expect_null(asked.program.command[2]);
	cr_expect_str_eq(asked.chroot, "/dev");
	cr_expect(asked.identity.change);
	config_free(config);
}

/* ---- tables that are no good ---- */

static const char *const no_choices[] = { NULL };
static const char *const bad_choice[] = { "a", "b c", NULL };
static const char *const long_choice[] = { "a-choice-that-is-longer-than-any-value", NULL };
static const char *const same_choice[] = { "a", "b", "a", NULL };
static const char *const good_choices[] = { "a", "b", NULL };

/* 65 letters */
#define LONG_NAME "a2345678901234567890123456789012345678901234567890123456789012345"

/* clang-format off */
static const struct hostile {
	struct brood_option options[3];
	const char *reason;
} hostile[] = {
	{ { { .name = "" } },
		"has an option \"\" whose name cannot be given: it has up to 64 letters, digits, _ and -" },
	{ { { .name = "a b" } },
		"has an option \"a b\" whose name cannot be given: it has up to 64 letters, digits, _ and -" },
	{ { { .name = "9a" } },
		"has an option \"9a\" whose name cannot be given: it has up to 64 letters, digits, _ and -" },
	{ { { .name = "}" } },
		"has an option \"}\" whose name cannot be given: it has up to 64 letters, digits, _ and -" },
	{ { { .name = "\x1b" } },
		"has an option \"\\x1b\" whose name cannot be given: it has up to 64 letters, digits, _ and -" },
	{ { { .name = LONG_NAME } },
		"has an option \"" LONG_NAME "\" whose name cannot be given: it has up to 64 letters, digits, _ and -" },
	{ { { .name = "include" } },
		"has an option \"include\" whose name stands for something else" },
	{ { { .name = "a" }, { .name = "a" } },
		"has an option \"a\" twice" },
	{ { { .name = "a", .type = (enum brood_option_type)10 } },
		"has an option \"a\" of type 10, which is none" },
	{ { { .name = "a", .type = (enum brood_option_type)-1 } },
		"has an option \"a\" of type 4294967295, which is none" },
	{ { { .name = "a", .type = BROOD_OPTION_NUMBER, .min = 2, .max = 1 } },
		"has an option \"a\" whose least value is over its largest" },
	{ { { .name = "a", .type = BROOD_OPTION_TEXT, .min = 1 } },
		"has an option \"a\" whose least value is over its largest" },
	{ { { .name = "a", .type = BROOD_OPTION_NUMBER, .fallback = "3", .min = INT64_MIN, .max = INT64_MIN } },
		"has an option \"a\" with the default \"3\", which is out of range "
		"(-9223372036854775808 to -9223372036854775808)" },
	{ { { .name = "a", .type = BROOD_OPTION_NUMBER, .fallback = "x", .max = 9 } },
		"has an option \"a\" with the default \"x\", which is not a decimal number (0 to 9)" },
	{ { { .name = "a", .type = BROOD_OPTION_BOOL, .fallback = "1" } },
		"has an option \"a\" with the default \"1\", which is none of true, false, on, off, yes, no" },
	{ { { .name = "a", .type = BROOD_OPTION_CHOICE } },
		"has an option \"a\" without choices" },
	{ { { .name = "a", .type = BROOD_OPTION_CHOICE, .choices = no_choices } },
		"has an option \"a\" without choices" },
	{ { { .name = "a", .type = BROOD_OPTION_CHOICE, .choices = bad_choice } },
		"has an option \"a\" with a choice that is no word of letters, digits and _ . -" },
	{ { { .name = "a", .type = BROOD_OPTION_CHOICE, .choices = long_choice } },
		"has an option \"a\" with a choice that is no word of letters, digits and _ . -" },
	{ { { .name = "a", .type = BROOD_OPTION_CHOICE, .choices = same_choice } },
		"has an option \"a\" with the choice a twice" },
	{ { { .name = "a", .type = BROOD_OPTION_CHOICE, .choices = good_choices, .fallback = "c" } },
		"has an option \"a\" with the default \"c\", which is none of a, b" },
	{ { { .name = "a", .type = BROOD_OPTION_LIST, .fallback = "{ a" } },
		"has an option \"a\" with a default that is no list" },
	{ { { .name = "a", .type = BROOD_OPTION_LIST, .fallback = "a } list = { b" } },
		"has an option \"a\" with a default that is no list" },
	{ { { .name = "a", .type = BROOD_OPTION_LIST, .fallback = "{ a b }" } },
		"has an option \"a\" with a default that is no list" },
	{ { { .name = "a", .type = BROOD_OPTION_LIST, .fallback = "{ a } { b }" } },
		"has an option \"a\" with a default that is no list" },
	{ { { .name = "a", .type = BROOD_OPTION_LIST, .fallback = "\"a" } },
		"has an option \"a\" with a default that is no list" },
	{ { { .name = "a", .type = BROOD_OPTION_LIST, .fallback = "/*" } },
		"has an option \"a\" with a default that is no list" },
	{ { { .name = "a", .type = BROOD_OPTION_LIST, .fallback = "include(x)" } },
		"has an option \"a\" with a default that is no list" },
	{ { { .name = "a", .type = BROOD_OPTION_LIST, .fallback = "${BROOD_TEST_UNSET}" } },
		"has an option \"a\" with a default that is no list" },
};
/* clang-format on */

Test(config_module, hostile_tables)
{
	describe_result = 0;
	for (size_t i = 0; i < sizeof(hostile) / sizeof(hostile[0]); i++) {
		char expected[512];

		described = (struct brood_module){ .name = "hostile", .options = hostile[i].options };
		snprintf(
			expected, sizeof(expected), "t.conf:2: pool \"a\": module = \"/m.so\" %s\n", hostile[i].reason);
		cr_expect_eq(load(POOL("")), -EINVAL, "%zu", i);
		cr_expect_str_eq(errors, expected, "%zu", i);
		cr_expect_eq(free_count, 1);
	}
}

Test(config_module, names_of_modules_that_are_none)
{
	static const char *const names[] = { NULL, "", "a b", "\x1b[31m", LONG_NAME };

	describe_result = 0;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		described = (struct brood_module){ .name = names[i] };
		cr_expect_eq(load(POOL("")), -EINVAL, "%zu", i);
		cr_expect_str_eq(errors,
			"t.conf:2: pool \"a\": module = \"/m.so\" has a name that is none: up to 64 letters, "
			"digits and _ . - are accepted\n");
	}
}

Test(config_module, the_most_options)
{
	enum { MOST = 256 };
	static struct brood_option options[MOST + 2];
	static char names[MOST + 1][8], text[MOST * 16 + 256];
	size_t used;

	describe_result = 0;
	for (size_t i = 0; i <= MOST; i++) {
		snprintf(names[i], sizeof(names[i]), "a%zu", i);
		options[i] = (struct brood_option){ .name = names[i], .type = BROOD_OPTION_NUMBER, .fallback = "0" };
	}
	described = (struct brood_module){ .name = "many", .options = options };
	cr_expect_eq(load(POOL("")), -EINVAL);
	cr_expect_str_eq(errors, "t.conf:2: pool \"a\": module = \"/m.so\" has more than 256 options\n");
	options[MOST].name = NULL;
	used = (size_t)snprintf(
		text, sizeof(text), "pool a { listen = \":0\" handler = module module = \"/m.so\"\nmodule_options {");
	for (size_t i = 0; i < MOST; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, " a%zu = %zu", MOST - 1 - i, MOST - 1 - i);
	snprintf(text + used, sizeof(text) - used, "} }");
	cr_assert_eq(load(text), 0, "%s", errors);
	for (size_t i = 0; i < MOST; i++)
		cr_expect_eq(config->pools[0].values[i].number, (int64_t)i);
	config_free(config);
	snprintf(text + used, sizeof(text) - used, " b = 1} }");
	cr_expect_eq(load(text), -EINVAL);
	cr_expect_str_eq(errors, "t.conf:2: pool \"a\": module_options: there are more than 256 options\n");
}

/* Whatever a module says of itself, its dump is a file that is read as it is meant. */
Test(config_module, help_stays_in_its_comment)
{
	static const struct brood_option options[] = {
		{.name = "a",
                 .type = BROOD_OPTION_NUMBER,
                 .help = "One.\n\t\ta = 1\r\x1b[31m",
                 .fallback = "1",
                 .max = 9 },
		{ .name = "b", .type = BROOD_OPTION_TEXT, .help = "*/ } \"", .fallback = "x\ny = 3 # ${HOME}\\" },
		{ .name = "c",                            .type = BROOD_OPTION_SIZE },
		{ .name = NULL                       },
	};
	char *first, *second;

	describe_result = 0;
	described = (struct brood_module){ .name = "talks", .options = options };
	cr_assert_eq(load(POOL("module_options { a = 2 c = 1K }")), 0, "%s", errors);
	first = config_dumped(config);
	config_free(config);
	cr_expect(strstr(first, "\t\t# One.?\?\?a = 1??[31m Default 1, 0 to 9.\n\t\ta = 2\n"), "%s", first);
	cr_expect(strstr(first, "\t\t#  It must be given.\n\t\tc = 1K\n"), "%s", first);
	cr_assert_eq(load(first), 0, "%s%s", errors, first);
	cr_expect_str_eq(config->pools[0].values[1].text, "x\ny = 3 # ${HOME}\\");
	second = config_dumped(config);
	config_free(config);
	cr_expect_str_eq(first, second);
	free(first);
	free(second);
}

/* Ways to write the default of a list that are one. */
Test(config_module, defaults_of_lists)
{
	static const struct {
		const char *fallback;
		size_t count;
	} lists[] = {
		{"",            0},
                { "{}",         0},
                { "{ }",        0},
                { "a",          1},
                { "\"a b\"",    1},
                { "{ a, 'b' }", 2},
		{ "{ a, b, }",  2}
	};

	describe_result = 0;
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		struct brood_option options[] = {
			{.name = "a",                    .type = BROOD_OPTION_LIST, .fallback = lists[i].fallback },
                        { .name = NULL}
		};
		size_t count = 0;

		described = (struct brood_module){ .name = "lists", .options = options };
		cr_assert_eq(load(POOL("")), 0, "%s: %s", lists[i].fallback, errors);
		while (config->pools[0].values[0].list[count])
			count++;
		cr_expect_eq(count, lists[i].count, "%s", lists[i].fallback);
		config_free(config);
	}
}
