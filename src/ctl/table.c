/* SPDX-License-Identifier: MIT */
#include "ctl/table.h"

#include <stdlib.h>
#include <string.h>

#define GAP 2

void table_init(struct table *table, const struct column *columns)
{
	*table = (struct table){ .columns = columns };
	while (columns[table->column_count].title != NULL)
		table->column_count++;
}

void table_done(struct table *table)
{
	for (size_t i = 0; i < table->count; i++)
		free(table->cells[i]);
	free(table->cells);
	*table = (struct table){ 0 };
}

/* Control characters: of ASCII, and U+0080 to U+009F, which some terminals obey as well. */
static bool is_control(const unsigned char *at)
{
	return *at < 0x20 || *at == 0x7f || (*at == 0xc2 && at[1] >= 0x80 && at[1] <= 0x9f);
}

char *table_clean(const char *text)
{
	char *clean = strdup(text);

	if (clean == NULL)
		return NULL;
	for (char *at = clean; *at != '\0'; at++) {
		if (!is_control((const unsigned char *)at))
			continue;
		if ((unsigned char)*at == 0xc2)
			*at++ = '?';
		*at = '?';
	}
	return clean;
}

static bool grow(struct table *table)
{
	size_t size = table->size == 0 ? 64 : 2 * table->size;
	char **cells;

	if (table->count < table->size)
		return true;
	cells = reallocarray(table->cells, size, sizeof(*cells));
	if (cells == NULL)
		return false;
	table->cells = cells;
	table->size = size;
	return true;
}

void table_add(struct table *table, const char *text)
{
	char *clean = table_clean(text);

	if (clean == NULL || !grow(table)) {
		free(clean);
		table->failed = true;
		return;
	}
	table->cells[table->count++] = clean;
}

/* In characters: bytes that begin one (UTF-8). */
static size_t width_of(const char *text)
{
	size_t width = 0;

	for (; *text != '\0'; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}

static void find_widths(const struct table *table, size_t widths[TABLE_COLUMNS_MAX])
{
	for (size_t i = 0; i < table->column_count; i++)
		widths[i] = width_of(table->columns[i].title);
	for (size_t i = 0; i < table->count && table->column_count > 0; i++) {
		size_t width = width_of(table->cells[i]);
		size_t *most = &widths[i % table->column_count];

		if (width > *most)
			*most = width;
	}
}

static void put_spaces(size_t count, FILE *out)
{
	while (count-- > 0)
		putc(' ', out);
}

/* Nothing stands behind the last cell that says something. */
static void print_cell(
	const struct table *table, size_t column, const char *text, bool is_last, size_t width, FILE *out)
{
	size_t fill = width - width_of(text);

	if (column > 0)
		put_spaces(GAP, out);
	if (table->columns[column].is_number)
		put_spaces(fill, out);
	fputs(text, out);
	if (!table->columns[column].is_number && !is_last)
		put_spaces(fill, out);
}

static void print_row(const struct table *table, const char *const *cells, const size_t *widths, FILE *out)
{
	size_t count = table->column_count;

	while (count > 1 && cells[count - 1][0] == '\0')
		count--;
	for (size_t i = 0; i < count; i++)
		print_cell(table, i, cells[i], i + 1 == count, widths[i], out);
	putc('\n', out);
}

bool table_print(const struct table *table, FILE *out)
{
	const char *titles[TABLE_COLUMNS_MAX];
	size_t widths[TABLE_COLUMNS_MAX];

	if (table->failed)
		return false;
	for (size_t i = 0; i < table->column_count; i++)
		titles[i] = table->columns[i].title;
	find_widths(table, widths);
	print_row(table, titles, widths, out);
	for (size_t i = 0; i + table->column_count <= table->count; i += table->column_count)
		print_row(table, (const char *const *)&table->cells[i], widths, out);
	return true;
}
