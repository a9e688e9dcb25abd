/* SPDX-License-Identifier: MIT */
#include "ctl/table.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static const struct column columns[] = {
	{"NAME",  false},
        { "N",    true },
        { "LAST", false},
        { NULL,   false}
};

static char *print(const char *const *cells, size_t count)
{
	struct table table;
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	table_init(&table, columns);
	for (size_t i = 0; i < count; i++)
		table_add(&table, cells[i]);
	cr_assert(table_print(&table, out));
	table_done(&table);
	fclose(out);
	return text;
}

Test(ctl_table, columns_are_as_wide_as_needed)
{
	static const char *const cells[] = { "a", "1", "x", "longer name", "1000", "", "\xc3\xa4", "", "" };
	char *text = print(cells, 9);

	cr_expect_str_eq(text, "NAME            N  LAST\n"
			       "a               1  x\n"
			       "longer name  1000\n"
			       "\xc3\xa4\n");
	free(text);
}

Test(ctl_table, without_rows)
{
	char *text = print(NULL, 0);

	cr_expect_str_eq(text, "NAME  N  LAST\n");
	free(text);
}

Test(ctl_table, what_is_not_printable)
{
	static const char *const texts[][2] = {
		{"\033[2J",           "?[2J"            },
                { "a\nb\tc",          "a?b?c"           },
                { "\x7f",             "?"               },
                { "\xc2\x9b",         "??"              },
		{ "\xc2\xa0\xc3\xa4", "\xc2\xa0\xc3\xa4"},
                { "\xc2",             "\xc2"            },
                { "",                 ""                }
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		char *clean = table_clean(texts[i][0]);

		cr_expect_str_eq(clean, texts[i][1]);
		free(clean);
	}
}
