/* SPDX-License-Identifier: MIT */
/* The effective configuration as a file. */
#include "config/dump.h"

#include "config/limits.h"
#include "config/schema.h"
#include "config/values.h"

/* TEXT in quotes, so that libconfuse reads it back: a bare $ might begin a variable. */
static void dump_text(const char *text, FILE *out)
{
	fputc('"', out);
	for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
		if (*c == '"' || *c == '\\' || *c == '$')
			fprintf(out, "\\%c", *c);
		else if (*c < ' ' || *c == 0x7f)
			fprintf(out, "\\x%02x", *c);
		else
			fputc(*c, out);
	}
	fputc('"', out);
}

static void dump_list(const char *const *list, FILE *out)
{
	fputc('{', out);
	for (size_t i = 0; list[i]; i++) {
		fputs(i ? ", " : " ", out);
		dump_text(list[i], out);
	}
	fputs(" }", out);
}

static void dump_number(const struct value_rule *rule, int64_t number, FILE *out)
{
	char text[VALUE_TEXT_MAX];

	fputs(value_format(rule, number, text), out);
}

void dump_key_value(const struct key *key, const void *object_of_key, FILE *out)
{
	/* The accessors serve writing too, so that they take objects that are not const. */
	void *object = (void *)(uintptr_t)object_of_key;

	if (key->rule.kind == VALUE_TEXT)
		dump_text(*schema_text_field(key, object), out);
	else if (key->rule.kind == VALUE_LIST)
		dump_list((const char *const *)*schema_list_field(key, object), out);
	else
		dump_number(&key->rule, schema_get_number(key, object), out);
}

/* Of a pool, only those that have a meaning for it. */
static void dump_keys(enum key_section section, const void *object, FILE *out)
{
	for (size_t i = 0; i < SCHEMA_KEYS; i++) {
		const struct key *key = &schema_keys[i];

		if (key->section != section || (section == KEY_POOL && !schema_is_meant(key, object)))
			continue;
		fprintf(out, "%s%s = ", section == KEY_POOL ? "\t" : "", key->name);
		dump_key_value(key, object, out);
		fputc('\n', out);
	}
}

void dump_option_value(
	const struct config *config, const struct brood_option *option, const union brood_value *value, FILE *out)
{
	struct value_rule rule = schema_option_rule(option);

	switch (option->type) {
	case BROOD_OPTION_LOG:
		dump_text(value->number ? config->access_files[value->number - 1] : "off", out);
		break;
	case BROOD_OPTION_TEXT:
	case BROOD_OPTION_DIRECTORY:
	case BROOD_OPTION_FILE:
		dump_text(value->text, out);
		break;
	case BROOD_OPTION_LIST:
		dump_list(value->list, out);
		break;
	default:
		dump_number(&rule, option->type == BROOD_OPTION_BOOL ? value->on : value->number, out);
		break;
	}
}

/* TEXT in a comment, which nothing in it may end. */
static void dump_comment(const char *text, FILE *out)
{
	for (const unsigned char *c = (const unsigned char *)text; *c; c++)
		fputc(*c < ' ' || *c == 0x7f ? '?' : *c, out);
}

/* What a module says of an option: who runs it has no other manual of it. */
static void dump_help(const struct brood_option *option, FILE *out)
{
	struct value_rule rule = schema_option_rule(option);
	bool ranged = rule.kind == VALUE_NUMBER || rule.kind == VALUE_SIZE || rule.kind == VALUE_DURATION;
	char min[VALUE_TEXT_MAX], max[VALUE_TEXT_MAX];

	fputs("\t\t# ", out);
	dump_comment(option->help ? option->help : "", out);
	fputs(option->fallback ? " Default " : " It must be given", out);
	dump_comment(option->fallback ? option->fallback : "", out);
	if (ranged && (option->min != 0 || option->max != 0))
		fprintf(out, ", %s to %s", value_format(&rule, rule.min, min), value_format(&rule, rule.max, max));
	for (size_t i = 0; rule.choices && rule.choices[i]; i++)
		fprintf(out, "%s %s", i ? "," : "; one of", rule.choices[i]);
	fputs(".\n", out);
}

/* The options of the handler, or of the module. */
static void dump_options(const struct config *config, const struct pool_config *pool, FILE *out)
{
	const char *section;
	const struct brood_module *module = schema_options_of(pool, &section);

	if (!module)
		return;
	fprintf(out, "\t%s {\n", section);
	for (size_t i = 0; module->options[i].name; i++) {
		if (pool->kind == HANDLER_LOADS)
			dump_help(&module->options[i], out);
		fprintf(out, "\t\t%s = ", module->options[i].name);
		dump_option_value(config, &module->options[i], &pool->values[i], out);
		fputc('\n', out);
	}
	fputs("\t}\n", out);
}

void config_dump(const struct config *config, FILE *out)
{
	dump_keys(KEY_GLOBAL, config, out);
	for (size_t i = 0; i < config->pool_count; i++) {
		fprintf(out, "\npool \"%s\" {\n", config->pools[i].name);
		dump_keys(KEY_POOL, &config->pools[i], out);
		limits_dump(&config->pools[i], out);
		dump_options(config, &config->pools[i], out);
		fputs("}\n", out);
	}
}
