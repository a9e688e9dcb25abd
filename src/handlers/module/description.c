/* SPDX-License-Identifier: MIT */
#include "handlers/module/description.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/attrs.h"

static_assert(sizeof(enum brood_option_type) == sizeof(uint32_t), "a type travels as a number");

/*
 * Numbers are the machine's own. A text is its size, its bytes, and a 0, so that it can be used where it lies; a text
 * that may be missing has a byte before it that says whether it is there.
 */

/* ---- the writer ---- */

static void write_u32(struct probe_answer *answer, uint32_t number)
{
	probe_add(answer, &number, sizeof(number));
}

/* A text that is missing is an empty one. */
static void write_text(struct probe_answer *answer, const char *text_or_null, size_t max)
{
	const char *text = text_or_null != NULL ? text_or_null : "";
	/* One byte more than is allowed is enough to be refused. */
	size_t size = strnlen(text, max + 1);

	write_u32(answer, (uint32_t)size);
	probe_add(answer, text, size);
	probe_add(answer, "", 1);
}

static void write_choices(struct probe_answer *answer, const char *const *choices)
{
	uint32_t count = 0;

	while (choices != NULL && choices[count] != NULL && count <= DESCRIPTION_CHOICES_MAX)
		count++;
	write_u32(answer, count);
	for (uint32_t i = 0; i < count; i++)
		write_text(answer, choices[i], DESCRIPTION_NAME_MAX);
}

static void write_option(struct probe_answer *answer, const struct brood_option *option)
{
	const uint8_t has_fallback = option->fallback != NULL;

	write_text(answer, option->name, DESCRIPTION_NAME_MAX);
	write_u32(answer, (uint32_t)option->type);
	probe_add(answer, &has_fallback, sizeof(has_fallback));
	write_text(answer, option->fallback, DESCRIPTION_TEXT_MAX);
	probe_add(answer, &option->min, sizeof(option->min));
	probe_add(answer, &option->max, sizeof(option->max));
	write_choices(answer, option->type == BROOD_OPTION_CHOICE ? option->choices : NULL);
	write_text(answer, option->help, DESCRIPTION_TEXT_MAX);
}

void description_write(const struct brood_module *module, struct probe_answer *answer)
{
	const uint8_t client_first = module->client_first;
	uint32_t count = 0;

	while (module->options != NULL && module->options[count].name != NULL && count <= DESCRIPTION_OPTIONS_MAX)
		count++;
	write_text(answer, module->name, DESCRIPTION_NAME_MAX);
	write_text(answer, module->version, DESCRIPTION_NAME_MAX);
	probe_add(answer, &client_first, sizeof(client_first));
	write_u32(answer, count);
	for (uint32_t i = 0; i < count; i++)
		write_option(answer, &module->options[i]);
}

/* ---- the reader ---- */

struct description {
	struct brood_module module; /* first: it stands for the whole */
	struct brood_option *options;
	size_t option_count;
	char *data; /* where all texts lie */
};

struct reader {
	const char *next;
	size_t left;
	int result; /* of all so far; 0 or a negative errno. After a failure reads give 0 and "" */
	char *reason;
	size_t reason_size;
};

static void fail(struct reader *reader, int error, const char *format, ...) ATTR_PRINTF(3, 4);

/* The first failure counts. */
static void fail(struct reader *reader, int error, const char *format, ...)
{
	va_list arguments;

	if (reader->result < 0)
		return;
	reader->result = error;
	va_start(arguments, format);
	vsnprintf(reader->reason, reader->reason_size, format, arguments);
	va_end(arguments);
}

static void fail_senseless(struct reader *reader)
{
	fail(reader, -EBADMSG, "gives a description of itself that makes no sense");
}

static void read_bytes(struct reader *reader, void *ret_bytes, size_t size)
{
	memset(ret_bytes, 0, size);
	if (reader->result == 0 && size > reader->left)
		fail_senseless(reader);
	if (reader->result < 0)
		return;
	memcpy(ret_bytes, reader->next, size);
	reader->next += size;
	reader->left -= size;
}

static uint32_t read_u32(struct reader *reader)
{
	uint32_t number;

	read_bytes(reader, &number, sizeof(number));
	return number;
}

static bool read_flag(struct reader *reader)
{
	uint8_t byte;

	read_bytes(reader, &byte, sizeof(byte));
	if (byte > 1)
		fail_senseless(reader);
	return byte == 1;
}

/* WHAT is for the reason: "a version". */
static const char *read_text(struct reader *reader, size_t max, const char *what)
{
	uint32_t size = read_u32(reader);
	const char *text = reader->next;

	if (reader->result == 0 && (size >= reader->left || text[size] != '\0' || strlen(text) != size))
		fail_senseless(reader);
	if (reader->result == 0 && size > max)
		fail(reader, -EINVAL, "has %s of more than %zu bytes", what, max);
	if (reader->result < 0)
		return "";
	reader->next += size + 1;
	reader->left -= size + 1;
	for (const char *byte = text; *byte != '\0'; byte++)
		if ((unsigned char)*byte < ' ' || *byte == 0x7f)
			fail(reader, -EINVAL, "has %s with a control byte", what);
	return text;
}

static bool is_word(const char *text)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";

	return text[0] != '\0' && text[strspn(text, letters)] == '\0';
}

static void check_choices(struct reader *reader, const char *const *choices, const char *option)
{
	for (size_t i = 0; choices[i] != NULL; i++) {
		if (choices[i][0] == '\0')
			fail(reader, -EINVAL, "has an option \"%s\" with an empty choice", option);
		for (size_t k = 0; k < i; k++)
			if (strcmp(choices[i], choices[k]) == 0)
				fail(reader, -EINVAL, "has an option \"%s\" with the choice \"%s\" twice", option,
					choices[i]);
	}
}

/* The list is the option's, and freed with it. */
static void read_choices(struct reader *reader, struct brood_option *option)
{
	uint32_t count = read_u32(reader);
	const char **choices;

	if (count > DESCRIPTION_CHOICES_MAX)
		fail(reader, -EINVAL, "has an option \"%s\" with more than %d choices", option->name,
			DESCRIPTION_CHOICES_MAX);
	if (count > 0 && option->type != BROOD_OPTION_CHOICE)
		fail_senseless(reader);
	if (count == 0 && option->type == BROOD_OPTION_CHOICE)
		fail(reader, -EINVAL, "has an option \"%s\" without choices", option->name);
	if (reader->result < 0 || count == 0)
		return;
	choices = calloc(count + 1, sizeof(*choices));
	if (choices == NULL) {
		fail(reader, -ENOMEM, "cannot be described: no memory");
		return;
	}
	option->choices = choices;
	for (uint32_t i = 0; i < count; i++)
		choices[i] = read_text(reader, DESCRIPTION_NAME_MAX, "a choice");
	if (reader->result == 0)
		check_choices(reader, choices, option->name);
}

static enum brood_option_type read_type(struct reader *reader, const char *option)
{
	uint32_t type = read_u32(reader);

	if (type > BROOD_OPTION_FILE) {
		fail(reader, -EINVAL, "has an option \"%s\" of type %u, which is none", option, type);
		return BROOD_OPTION_BOOL;
	}
	return (enum brood_option_type)type;
}

static void read_option(struct reader *reader, struct brood_option *option)
{
	bool has_fallback;

	option->name = read_text(reader, DESCRIPTION_NAME_MAX, "an option's name");
	if (!option_name_valid(option->name, strlen(option->name)))
		fail(reader, -EINVAL, "has an option \"%s\" whose name is no key", option->name);
	option->type = read_type(reader, option->name);
	has_fallback = read_flag(reader);
	option->fallback = read_text(reader, DESCRIPTION_TEXT_MAX, "a default");
	if (!has_fallback && option->fallback[0] != '\0')
		fail_senseless(reader);
	if (!has_fallback)
		option->fallback = NULL;
	read_bytes(reader, &option->min, sizeof(option->min));
	read_bytes(reader, &option->max, sizeof(option->max));
	if (option->min > option->max)
		fail(reader, -EINVAL, "has an option \"%s\" with a minimum above its maximum", option->name);
	read_choices(reader, option);
	option->help = read_text(reader, DESCRIPTION_TEXT_MAX, "a help text");
}

static void read_options(struct reader *reader, struct description *description)
{
	uint32_t count = read_u32(reader);

	if (count > DESCRIPTION_OPTIONS_MAX)
		fail(reader, -EINVAL, "has more than %d options", DESCRIPTION_OPTIONS_MAX);
	if (reader->result < 0)
		return;
	description->options = calloc(count + 1, sizeof(*description->options));
	if (description->options == NULL) {
		fail(reader, -ENOMEM, "cannot be described: no memory");
		return;
	}
	description->option_count = count;
	description->module.options = description->options;
	for (uint32_t i = 0; i < count && reader->result == 0; i++) {
		struct brood_option *option = &description->options[i];

		read_option(reader, option);
		for (uint32_t k = 0; k < i && reader->result == 0; k++)
			if (strcmp(option->name, description->options[k].name) == 0)
				fail(reader, -EINVAL, "has the option \"%s\" twice", option->name);
	}
}

static void read_module(struct reader *reader, struct description *description)
{
	struct brood_module *module = &description->module;

	module->abi = BROOD_MODULE_ABI;
	module->size = sizeof(*module);
	module->name = read_text(reader, DESCRIPTION_NAME_MAX, "a name");
	if (!is_word(module->name))
		fail(reader, -EINVAL, "has a name that is empty, or not of letters, digits, \"_\", \"-\" and \".\"");
	module->version = read_text(reader, DESCRIPTION_NAME_MAX, "a version");
	module->client_first = read_flag(reader);
	read_options(reader, description);
	if (reader->left > 0)
		fail_senseless(reader);
}

int description_read(char *data, size_t size, struct brood_module **ret_description, char *reason, size_t reason_size)
{
	struct reader reader = { .next = data, .left = size, .reason = reason, .reason_size = reason_size };
	struct description *description = calloc(1, sizeof(*description));

	if (description == NULL) {
		free(data);
		snprintf(reason, reason_size, "cannot be described: no memory");
		return -ENOMEM;
	}
	description->data = data;
	read_module(&reader, description);
	if (reader.result < 0) {
		description_free(&description->module);
		return reader.result;
	}
	*ret_description = &description->module;
	return 0;
}

/* The lists of choices are this file's own, and constant for all others. */
static void free_choices(const char *const *choices)
{
	union {
		const char *const *constant;
		void *own;
	} list = { .constant = choices };

	free(list.own);
}

void description_free(struct brood_module *description)
{
	struct description *whole = (struct description *)description;

	if (whole == NULL)
		return;
	for (size_t i = 0; i < whole->option_count; i++)
		free_choices(whole->options[i].choices);
	free(whole->options);
	free(whole->data);
	free(whole);
}
