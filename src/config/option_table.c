/* SPDX-License-Identifier: MIT */
/* What a module says of itself, before anything goes by it: the module's author may have erred, or may be no friend. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "config/lexer.h"
#include "config/options.h"
#include "config/reader.h"
#include "config/schema.h"
#include "config/values.h"

/* An option under examination, and where to say what is wrong with it. */
struct examined {
	const struct brood_module *module;
	const struct brood_option *option;
	char *reason;
	size_t size;
};

/* Always returns false. */
static bool refuse(const struct examined *examined, const char *format, ...) ATTR_PRINTF(2, 3);

static bool refuse(const struct examined *examined, const char *format, ...)
{
	int used = snprintf(examined->reason, examined->size, "has an option \"%s\" ", examined->option->name);
	va_list args;

	va_start(args, format);
	if (used >= 0 && (size_t)used < examined->size)
		vsnprintf(examined->reason + used, examined->size - (size_t)used, format, args);
	va_end(args);
	return false;
}

/* ---- choices ---- */

/* Whether TEXT can be written and printed without quotes. */
static bool is_word(const char *text, size_t max)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
	size_t size = strlen(text);

	return size > 0 && size <= max && strspn(text, letters) == size;
}

static bool check_choices(const struct examined *examined)
{
	const char *const *choices = examined->option->choices;

	if (!choices || !choices[0])
		return refuse(examined, "without choices");
	for (size_t i = 0; choices[i]; i++) {
		if (!is_word(choices[i], VALUE_TEXT_MAX - 1))
			return refuse(examined, "with a choice that is no word of letters, digits and _ . -");
		for (size_t j = 0; j < i; j++) {
			if (strcmp(choices[i], choices[j]) == 0)
				return refuse(examined, "with the choice %s twice", choices[i]);
		}
	}
	return true;
}

/* ---- defaults ---- */

/* Whether TEXT is a list as it would be written in a file: libconfuse, which reads it, takes much more. */
static bool is_list(const char *text)
{
	struct lexer lexer = { .text = text, .end = text + strlen(text), .line = 1 };
	struct token token = lexer_next(&lexer);

	if (token.kind == TOKEN_END)
		return true;
	if (token.kind != TOKEN_OPEN)
		return token_is_value(&token) && !token.problem[0] && lexer_next(&lexer).kind == TOKEN_END;
	for (token = lexer_next(&lexer); token.kind != TOKEN_CLOSE; token = lexer_next(&lexer)) {
		if (!token_is_value(&token) || token.problem[0])
			return false;
		token = lexer_next(&lexer);
		if (token.kind == TOKEN_CLOSE)
			break;
		if (token.kind != TOKEN_COMMA)
			return false;
	}
	return lexer_next(&lexer).kind == TOKEN_END;
}

static bool check_default(const struct examined *examined)
{
	const struct brood_option *option = examined->option;
	struct value_rule rule = schema_option_rule(option);
	char reason[VALUE_REASON_MAX];
	int64_t number;

	if (!option->fallback)
		return true;
	if (option->type == BROOD_OPTION_LIST)
		return is_list(option->fallback) || refuse(examined, "with a default that is no list");
	if (value_parse(&rule, option->fallback, &number, reason) < 0)
		return refuse(examined, "with the default \"%.100s\", which %s", option->fallback, reason);
	return true;
}

/* ---- the table ---- */

static bool check_name(const struct examined *examined)
{
	const char *name = examined->option->name;

	if (!option_name_valid(name, strlen(name)))
		return refuse(examined, "whose name cannot be given: it has up to %d letters, digits, _ and -",
			OPTION_NAME_MAX);
	if (strcmp(name, "include") == 0)
		return refuse(examined, "whose name stands for something else");
	for (const struct brood_option *before = examined->module->options; before < examined->option; before++) {
		if (strcmp(before->name, name) == 0)
			return refuse(examined, "twice");
	}
	return true;
}

static bool check_option(const struct examined *examined)
{
	const struct brood_option *option = examined->option;

	if (!check_name(examined))
		return false;
	if ((unsigned int)option->type > BROOD_OPTION_FILE)
		return refuse(examined, "of type %u, which is none", (unsigned int)option->type);
	if (option->type == BROOD_OPTION_CHOICE && !check_choices(examined))
		return false;
	if (option->type != BROOD_OPTION_CHOICE && option->type != BROOD_OPTION_BOOL && option->min > option->max)
		return refuse(examined, "whose least value is over its largest");
	return check_default(examined);
}

bool options_check_table(const struct brood_module *module, char *reason, size_t size)
{
	if (!module->name || !is_word(module->name, OPTION_NAME_MAX)) {
		snprintf(reason, size, "has a name that is none: up to %d letters, digits and _ . - are accepted",
			OPTION_NAME_MAX);
		return false;
	}
	if (schema_count_options(module) > MODULE_OPTIONS_MAX) {
		snprintf(reason, size, "has more than %d options", MODULE_OPTIONS_MAX);
		return false;
	}
	for (const struct brood_option *option = module->options; option && option->name; option++) {
		const struct examined examined = { .module = module, .option = option, .reason = reason, .size = size };

		if (!check_option(&examined))
			return false;
	}
	return true;
}
