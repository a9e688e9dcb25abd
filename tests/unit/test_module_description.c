/* SPDX-License-Identifier: MIT */
/* What comes out of a process in which foreign code has run. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handlers/module/description.h"

static struct probe_answer written;
static char reason[512];

static const char *const colours[] = { "red", "green", NULL };

static const struct brood_option options[] = {
	{.name = "first",   .type = BROOD_OPTION_NUMBER, .min = INT64_MIN, .max = INT64_MAX, .help = "One." },
	{ .name = "second", .type = BROOD_OPTION_CHOICE, .fallback = "red", .choices = colours },
	{ .name = NULL  },
};

static const struct brood_module module = { .name = "m-1.x", .version = "", .options = options };

static void write_module(const struct brood_module *from)
{
	memset(&written, 0, sizeof(written));
	description_write(from, &written);
	cr_assert_not(written.too_long);
}

/* A copy of its own, so that a sanitizer sees each byte too many. */
static int read_bytes(const void *data, size_t size, struct brood_module **ret_description)
{
	char *copy = malloc(size + 1);

	memcpy(copy, data, size);
	copy[size] = '\0';
	reason[0] = '\0';
	return description_read(copy, size, ret_description, reason, sizeof(reason));
}

static int refuse(const struct brood_module *from)
{
	struct brood_module *description = NULL;
	int result;

	write_module(from);
	result = read_bytes(written.data, written.size, &description);
	cr_expect_null(description);
	return result;
}

Test(module_description, what_is_written_is_read)
{
	struct brood_module *description;

	write_module(&module);
	cr_assert_eq(read_bytes(written.data, written.size, &description), 0, "%s", reason);
	cr_assert_str_eq(description->name, "m-1.x");
	cr_assert_str_eq(description->version, "");
	cr_assert_eq(description->abi, BROOD_MODULE_ABI);
	cr_assert_eq(description->size, sizeof(*description));
	cr_assert_str_eq(description->options[0].name, "first");
	cr_assert_null(description->options[0].fallback, "it must be given");
	cr_assert_eq(description->options[0].min, INT64_MIN);
	cr_assert_eq(description->options[0].max, INT64_MAX);
	cr_assert_str_eq(description->options[1].fallback, "red");
	cr_assert_str_eq(description->options[1].help, "");
	cr_assert_str_eq(description->options[1].choices[1], "green");
	cr_assert_null(description->options[2].name);
	description_free(description);
}

Test(module_description, no_part_of_it_is_one)
{
	write_module(&module);
	for (size_t size = 0; size < written.size; size++) {
		struct brood_module *description = NULL;

		cr_expect_eq(read_bytes(written.data, size, &description), -EBADMSG, "%zu bytes", size);
		cr_expect_null(description);
	}
}

Test(module_description, nothing_may_follow_it)
{
	struct brood_module *description = NULL;

	write_module(&module);
	probe_add(&written, "", 1);
	cr_expect_eq(read_bytes(written.data, written.size, &description), -EBADMSG);
}

/* Whatever a byte becomes, the answer is a description whose parts all hold, or a refusal with a reason. */
Test(module_description, any_byte_may_be_another)
{
	write_module(&module);
	for (size_t at = 0; at < written.size; at++) {
		for (int byte = 0; byte < 256; byte++) {
			unsigned char before = written.data[at];
			struct brood_module *description = NULL;

			written.data[at] = (unsigned char)byte;
			if (read_bytes(written.data, written.size, &description) < 0)
				cr_assert(description == NULL && reason[0] != '\0');
			else
				cr_assert(strlen(description->name) > 0 && description->options[2].name == NULL);
			description_free(description);
			written.data[at] = before;
		}
	}
}

/* Numbers of elements are believed only as far as they go. */
Test(module_description, huge_numbers)
{
	const uint32_t huge[] = { 1000, 0x7fffffff, 0x80000000, 0xffffffff };

	write_module(&module);
	for (size_t at = 0; at + sizeof(uint32_t) <= written.size; at++) {
		for (size_t i = 0; i < sizeof(huge) / sizeof(huge[0]); i++) {
			unsigned char before[sizeof(uint32_t)];
			struct brood_module *description = NULL;

			memcpy(before, written.data + at, sizeof(before));
			memcpy(written.data + at, &huge[i], sizeof(before));
			(void)read_bytes(written.data, written.size, &description);
			description_free(description);
			memcpy(written.data + at, before, sizeof(before));
		}
	}
}

/* ---- what is well written, and makes no sense ---- */

static void must_refuse_option(struct brood_option option, const char *text)
{
	const struct brood_option table[] = { option, { .name = NULL } };
	const struct brood_module bad = { .name = "m", .options = table };

	cr_expect_eq(refuse(&bad), -EINVAL, "%s", text);
	cr_expect_str_eq(reason, text);
}

Test(module_description, options_that_make_no_sense)
{
	static const char *const none[] = { NULL };
	static const char *const twice[] = { "a", "b", "a", NULL };
	static const char *const empty[] = { "a", "", NULL };
	static const char *many[DESCRIPTION_CHOICES_MAX + 2];
	static char names[DESCRIPTION_CHOICES_MAX + 2][8];

	for (size_t i = 0; i <= DESCRIPTION_CHOICES_MAX; i++) {
		snprintf(names[i], sizeof(names[i]), "c%zu", i);
		many[i] = names[i];
	}
	must_refuse_option((struct brood_option){ .name = "" }, "has an option \"\" whose name is no key");
	must_refuse_option((struct brood_option){ .name = "9a" }, "has an option \"9a\" whose name is no key");
	must_refuse_option((struct brood_option){ .name = "a b" }, "has an option \"a b\" whose name is no key");
	must_refuse_option((struct brood_option){ .name = "a}" }, "has an option \"a}\" whose name is no key");
	must_refuse_option((struct brood_option){ .name = "a", .min = 2, .max = 1 },
		"has an option \"a\" with a minimum above its maximum");
	must_refuse_option((struct brood_option){ .name = "a", .type = (enum brood_option_type)10 },
		"has an option \"a\" of type 10, which is none");
	must_refuse_option((struct brood_option){ .name = "a", .type = BROOD_OPTION_CHOICE },
		"has an option \"a\" without choices");
	must_refuse_option((struct brood_option){ .name = "a", .type = BROOD_OPTION_CHOICE, .choices = none },
		"has an option \"a\" without choices");
	must_refuse_option((struct brood_option){ .name = "a", .type = BROOD_OPTION_CHOICE, .choices = twice },
		"has an option \"a\" with the choice \"a\" twice");
	must_refuse_option((struct brood_option){ .name = "a", .type = BROOD_OPTION_CHOICE, .choices = empty },
		"has an option \"a\" with an empty choice");
	must_refuse_option((struct brood_option){ .name = "a", .type = BROOD_OPTION_CHOICE, .choices = many },
		"has an option \"a\" with more than 64 choices");
	must_refuse_option(
		(struct brood_option){ .name = "a", .fallback = "x\ny" }, "has a default with a control byte");
	must_refuse_option((struct brood_option){ .name = "a", .help = "\033" }, "has a help text with a control byte");
}

Test(module_description, names_that_make_no_sense)
{
	char name[DESCRIPTION_NAME_MAX + 2] = "";
	struct brood_module *description;

	cr_expect_eq(refuse(&(struct brood_module){ .name = "" }), -EINVAL);
	cr_expect_eq(refuse(&(struct brood_module){ .name = "a/b" }), -EINVAL);
	cr_expect_eq(refuse(&(struct brood_module){ .name = "a", .version = "1\n" }), -EINVAL);
	memset(name, 'x', DESCRIPTION_NAME_MAX + 1);
	cr_expect_eq(refuse(&(struct brood_module){ .name = name }), -EINVAL);
	cr_expect_str_eq(reason, "has a name of more than 64 bytes");
	name[DESCRIPTION_NAME_MAX] = '\0';
	write_module(&(struct brood_module){ .name = name });
	cr_assert_eq(read_bytes(written.data, written.size, &description), 0, "%s", reason);
	description_free(description);
}

Test(module_description, too_many_options)
{
	static struct brood_option table[DESCRIPTION_OPTIONS_MAX + 2];
	static char names[DESCRIPTION_OPTIONS_MAX + 1][8];
	struct brood_module *description;

	for (size_t i = 0; i <= DESCRIPTION_OPTIONS_MAX; i++) {
		snprintf(names[i], sizeof(names[i]), "o%zu", i);
		table[i].name = names[i];
	}
	cr_expect_eq(refuse(&(struct brood_module){ .name = "m", .options = table }), -EINVAL);
	cr_expect_str_eq(reason, "has more than 256 options");
	table[DESCRIPTION_OPTIONS_MAX].name = NULL;
	write_module(&(struct brood_module){ .name = "m", .options = table });
	cr_assert_eq(read_bytes(written.data, written.size, &description), 0, "%s", reason);
	description_free(description);
}
