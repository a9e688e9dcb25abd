/* SPDX-License-Identifier: MIT */
#ifndef CTL_TABLE_H
#define CTL_TABLE_H
/*
 * Rows of cells, printed in columns that are as wide as they need to be. What is not printable in a cell becomes '?':
 * programs and paths say what they like, and a terminal obeys.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define TABLE_COLUMNS_MAX 24

struct column {
	const char *title;
	bool is_number; /* to the right */
};

struct table {
	const struct column *columns; /* the caller's; ended by one without a title */
	size_t column_count;
	char **cells; /* row by row */
	size_t count;
	size_t size;
	bool failed; /* there was no memory for a cell */
};

void table_init(struct table *table, const struct column *columns);
void table_done(struct table *table);

/* The next cell of the row under way. */
void table_add(struct table *table, const char *text);

/* Titles and rows. Returns false where a cell could not be kept. */
bool table_print(const struct table *table, FILE *out);

/* TEXT, copied, without what is not printable. NULL where there is no memory. */
char *table_clean(const char *text);

#endif
