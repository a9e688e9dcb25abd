/* SPDX-License-Identifier: MIT */
/* The manual and the sample file say what the tables say: every key, with its default and its range. */
#include <criterion/criterion.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "config/schema.h"
#include "config_dumped.h"
#include "handlers/handlers.h"

/* A line of schema_list(). */
struct row {
	char *section, *name, *kind, *min, *max, *fallback, *choices, *handlers, *reload;
};

/* The handlers of the manual, whether they are compiled in or not. */
static const struct brood_module inetd = { .name = "inetd" }, program = { .name = "program" },
				 module = { .name = "module" };

static const struct brood_module *const *all_handlers(void)
{
	static const struct brood_module *const others[] = { &inetd, &program, &module };
	static const struct brood_module *all[16];
	size_t count = 0;

	while (handlers_builtin[count] && schema_has_section(handlers_builtin[count])) {
		all[count] = handlers_builtin[count];
		count++;
	}
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		all[count++] = others[i];
	all[count] = NULL;
	return all;
}

static char *read_source(const char *path)
{
	char full[4096], *text = NULL;
	size_t size = 0;
	FILE *file;

	snprintf(full, sizeof(full), "%s/../../%s", getenv("BROOD_TEST_CONF"), path);
	file = fopen(full, "re");
	cr_assert(file, "%s", full);
	cr_assert_gt(getdelim(&text, &size, '\0', file), 0);
	fclose(file);
	return text;
}

static void each_row(void (*check)(const struct row *row, const char *text), const char *path, size_t least)
{
	char *text = read_source(path), *list = NULL, *line, *rest;
	size_t size, count = 0;
	FILE *out = open_memstream(&list, &size);

	cr_assert(out);
	schema_list(all_handlers(), out);
	fclose(out);
	for (line = strtok_r(list, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest), count++) {
		struct row row;
		char **fields[] = { &row.section, &row.name, &row.kind, &row.min, &row.max, &row.fallback, &row.choices,
			&row.handlers, &row.reload };

		for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
			*fields[i] = strsep(&line, "\t");
		cr_assert(row.reload, "nine fields");
		check(&row, text);
	}
	cr_expect_geq(count, least);
	free(list);
	free(text);
}

/* A copy of TEXT from START up to END, or to the end of the text; NULL if START is not in it. */
static char *cut(const char *text, const char *start, const char *const *ends)
{
	const char *from = strstr(text, start), *to;

	if (!from)
		return NULL;
	from += strlen(start);
	to = from + strlen(from);
	for (; *ends; ends++) {
		const char *end = strstr(from, *ends);

		if (end && end < to)
			to = end;
	}
	return strndup(from, (size_t)(to - from));
}

/* ---- the manual ---- */

/* The entry of a key: from its .It on, within the part of the manual that is its section's. */
static char *manual_entry(const struct row *row, const char *text)
{
	static const char *const section_ends[] = { "\n.Sh ", NULL }, *const handler_ends[] = { "\n.Ss ", "\n.Sh ",
		NULL };
	static const char *const entry_ends[] = { "\n.It Ic ", "\n.Ss ", "\n.Sh ", NULL };
	char start[64], *section, *entry;

	if (strcmp(row->section, "global") == 0) {
		section = cut(text, "\n.Sh GLOBAL KEYS\n", section_ends);
	} else if (strcmp(row->section, "pool") == 0) {
		section = cut(text, "\n.Sh POOL KEYS\n", section_ends);
	} else {
		snprintf(start, sizeof(start), "\n.Ss %s\n", row->section);
		section = cut(text, start, handler_ends);
	}
	cr_assert(section, "the manual has no section for %s", row->section);
	snprintf(start, sizeof(start), "\n.It Ic %s No = ", row->name);
	entry = cut(section, start, entry_ends);
	free(section);
	return entry;
}

/* What the manual has to say of the values: "Default 511, 1 to 65535." */
static void manual_sentence(const struct row *row, char *sentence, size_t size)
{
	if (strcmp(row->fallback, "(required)") == 0)
		snprintf(sentence, size, "\nThis key must be given.");
	else if (strcmp(row->fallback, "(global)") == 0)
		snprintf(sentence, size, "the global\n.Ic %s", row->name);
	else if (strcmp(row->fallback, "(inherited)") == 0)
		snprintf(sentence, size, ", %s to %s.", row->min, row->max);
	else if (row->fallback[0] == '\0')
		snprintf(sentence, size, "\nDefault\n.Qq .");
	else if (strcmp(row->min, "-") == 0)
		snprintf(sentence, size, "\nDefault %s.", row->fallback);
	else
		snprintf(sentence, size, "\nDefault %s, %s to %s.", row->fallback, row->min, row->max);
}

/* "Handlers: inetd, program." */
static void manual_handlers(const struct row *row, char *sentence, size_t size)
{
	size_t used = (size_t)snprintf(sentence, size, "\nHandlers: ");

	for (const char *c = row->handlers; *c && used + 3 < size; c++) {
		if (*c == ' ')
			sentence[used++] = ',';
		sentence[used++] = *c;
	}
	sentence[used++] = '.';
	sentence[used] = '\0';
}

/* What a reload does not simply take over; "" else. */
static const char *manual_reload(const struct row *row)
{
	if (strcmp(row->reload, "restart") == 0)
		return "\nA reload does not change it.";
	return strcmp(row->reload, "bind") == 0 ? "\nA reload changes it for listeners that are added." : "";
}

static void check_manual(const struct row *row, const char *text)
{
	char *entry = manual_entry(row, text), sentence[256], *choice, *rest;

	cr_expect(entry, "%s %s has no entry", row->section, row->name);
	if (!entry)
		return;
	manual_sentence(row, sentence, sizeof(sentence));
	cr_expect(strstr(entry, sentence), "%s %s: the manual does not say:%s", row->section, row->name, sentence);
	if (strcmp(row->fallback, "(global)") == 0 && strcmp(row->min, "-") != 0) {
		snprintf(sentence, sizeof(sentence), "%s to %s.", row->min, row->max);
		cr_expect(strstr(entry, sentence), "%s %s: the manual does not say: %s", row->section, row->name,
			sentence);
	}
	cr_expect(strstr(entry, manual_reload(row)), "%s %s: the manual does not say:%s", row->section, row->name,
		manual_reload(row));
	cr_expect(row->reload[0] != '\0' && (manual_reload(row)[0] != '\0' || !strstr(entry, "\nA reload ")), "%s %s",
		row->section, row->name);
	if (row->handlers[0]) {
		manual_handlers(row, sentence, sizeof(sentence));
		cr_expect(strstr(entry, sentence), "%s %s: the manual does not say:%s", row->section, row->name,
			sentence);
	}
	for (choice = strtok_r(row->choices, " ", &rest); choice; choice = strtok_r(NULL, " ", &rest))
		cr_expect(strstr(entry, choice), "%s %s: the manual does not name %s", row->section, row->name, choice);
	free(entry);
}

Test(config_manual, every_key_with_its_default_and_range)
{
	each_row(check_manual, "man/brood.conf.5", SCHEMA_KEYS + 16);
}

/* ---- the sample ---- */

/* A key of pools whose size goes by their load. */
static bool is_of_load(const struct row *row)
{
	const struct key *key = strcmp(row->section, "pool") == 0 ? schema_find(KEY_POOL, row->name) : NULL;

	return key && key->sizes && (key->sizes & KEY_SIZE(SIZE_FIXED)) == 0;
}

/* The sample's part for a section: outside the pools; in a pool, which is "echo" for keys that go with it, "web" if
 * they are for sizes that go by the load, else one with the name of the first handler that the key goes with; in a
 * section of a pool's. */
static char *sample_part(const struct row *row, const char *text)
{
	static const char *const global_ends[] = { "\npool ", NULL }, *const pool_ends[] = { "\techo {", NULL };
	static const char *const other_ends[] = { "\n#}\n", NULL };
	static const char *const handler_ends[] = { "\n\t}\n", "\n#\t}\n", NULL };
	char start[64];

	if (strcmp(row->section, "global") == 0)
		return cut(text, "", global_ends);
	if (is_of_load(row) && strcmp(row->handlers, "program") != 0)
		return cut(text, "\n#pool \"web\" {", other_ends);
	if (strcmp(row->section, "pool") == 0 && (!row->handlers[0] || strncmp(row->handlers, "echo", 4) == 0))
		return cut(text, "\npool \"echo\" {", pool_ends);
	if (strcmp(row->section, "pool") == 0) {
		snprintf(start, sizeof(start), "\n#pool \"%.*s\" {", (int)strcspn(row->handlers, " "), row->handlers);
		return cut(text, start, other_ends);
	}
	snprintf(start, sizeof(start), "\t%s {\n", row->section);
	return cut(text, start, handler_ends);
}

/* Whether a line of PART is `name = value`, perhaps commented out. VALUE NULL: any. */
static bool has_line(const char *part, const char *name, const char *value)
{
	size_t name_size = strlen(name);

	for (const char *line = part; line; line = strchr(line, '\n')) {
		line += strspn(line, "\n#\t");
		if (strncmp(line, name, name_size) != 0 || strncmp(line + name_size, " = ", 3) != 0)
			continue;
		line += name_size + 3;
		if (!value || (strlen(value) == strcspn(line, "\n") && strncmp(line, value, strlen(value)) == 0))
			return true;
	}
	return false;
}

static void check_sample(const struct row *row, const char *text)
{
	char *part = sample_part(row, text), quoted[256];
	bool open = row->fallback[0] == '(';

	cr_assert(part, "the sample has no part for %s", row->section);
	snprintf(quoted, sizeof(quoted), strcmp(row->kind, "text") == 0 ? "\"%s\"" : "%s", row->fallback);
	cr_expect(has_line(part, row->name, open ? NULL : row->fallback) || has_line(part, row->name, quoted),
		"the sample does not have: %s: %s = %s", row->section, row->name, row->fallback);
	free(part);
}

Test(config_manual, every_key_stands_in_the_sample_with_its_default)
{
	each_row(check_sample, "conf/brood.conf", SCHEMA_KEYS + 16);
}

static struct config *load_sample(const char *text)
{
	const struct config_host host = { .handlers = all_handlers() };
	struct config *config = NULL;

	cr_assert_eq(config_load_text(text, strlen(text), "sample", &host, NULL, stderr, &config), 0);
	return config;
}

static char *dump_sample(const char *text)
{
	struct config *config = load_sample(text);
	char *dumped = config_dumped(config);

	config_free(config);
	return dumped;
}

/* Takes the # away before what is a statement: a # at a line's beginning, with no blank behind it. */
static void uncomment(char *text)
{
	for (char *line = text; *line; line++) {
		char *mark = line + strspn(line, "\t");

		if (*mark == '#' && !isspace((unsigned char)mark[1]))
			*mark = ' ';
		else if (*mark == '#' && mark[1] == '\t')
			*mark = ' ';
		line += strcspn(line, "\n");
		if (!*line)
			break;
	}
}

Test(config_manual, the_sample_says_the_defaults)
{
	char *text = read_source("conf/brood.conf"), *as_it_is, *uncommented, *include, *root;

	/* Other files are read by the test of the binary. */
	include = strstr(text, "\ninclude(");
	cr_assert(include);
	include[1] = '#';
	include[2] = ' ';
	as_it_is = dump_sample(text);
	root = strstr(text, "\"/var/www\"");
	cr_assert(root);
	memcpy(root, "\"/\"       ", 10);
	uncomment(text);
	uncommented = dump_sample(text);
	cr_expect(strstr(uncommented, "pool \"web\" {"));
	cr_expect(strncmp(uncommented, as_it_is, strlen(as_it_is)) == 0, "\n%s\n%s", as_it_is, uncommented);
	free(uncommented);
	free(as_it_is);
	free(text);
}
