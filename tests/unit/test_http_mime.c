/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "handlers/http/mime.h"

static struct mime mime;
static char path[64];

static void write_table(const char *text)
{
	FILE *file;
	int fd;

	strcpy(path, "/tmp/brood-test-mime-XXXXXX");
	fd = mkstemp(path);
	cr_assert_geq(fd, 0);
	file = fdopen(fd, "w");
	fputs(text, file);
	fclose(file);
	cr_assert_eq(mime_init(&mime, path), 0);
	unlink(path);
}

static const char *type_of(const char *extension)
{
	static char text[MIME_TYPE_MAX + 1];
	struct span type = mime_type(&mime, (struct span){ extension, strlen(extension) });

	memcpy(text, type.text, type.size);
	text[type.size] = '\0';
	return text;
}

#define UNKNOWN "application/octet-stream"

Test(http_mime, lines)
{
	write_table("# comment a1\n"
		    "\n"
		    "text/a\t\ta b  c\n"
		    "text/none\n"
		    "  text/indented d\r\n"
		    "text/e e # f\n"
		    "text/again a\n"
		    "text/last\tlast");
	cr_expect_str_eq(type_of("a"), "text/a");
	cr_expect_str_eq(type_of("B"), "text/a");
	cr_expect_str_eq(type_of("c"), "text/a");
	cr_expect_str_eq(type_of("d"), "text/indented");
	cr_expect_str_eq(type_of("e"), "text/e");
	cr_expect_str_eq(type_of("f"), UNKNOWN);
	cr_expect_str_eq(type_of("last"), "text/last");
	cr_expect_str_eq(type_of("a1"), UNKNOWN);
	cr_expect_str_eq(type_of("text/none"), UNKNOWN);
	cr_expect_str_eq(type_of(""), UNKNOWN);
	cr_expect_str_eq(type_of("longer-than-any-extension"), UNKNOWN);
	mime_done(&mime);
}

Test(http_mime, an_extension_matches_as_a_whole)
{
	write_table("text/html html htm\n");
	cr_expect_str_eq(type_of("ht"), UNKNOWN);
	cr_expect_str_eq(type_of("htmlx"), UNKNOWN);
	cr_expect_str_eq(type_of("htm"), "text/html");
	mime_done(&mime);
}

/* Lines lie across the pieces in which the table is read. */
Test(http_mime, a_large_table)
{
	static char table[200000];
	char extension[16], type[64];
	size_t size = 0;

	for (int i = 0; i < 5000; i++)
		size += (size_t)sprintf(table + size, "type/number-%d e%d\n", i, i);
	write_table(table);
	for (int i = 0; i < 5000; i += 7) {
		sprintf(extension, "e%d", i);
		sprintf(type, "type/number-%d", i);
		cr_assert_str_eq(type_of(extension), type);
	}
	cr_expect_str_eq(type_of("e5000"), UNKNOWN);
	mime_done(&mime);
}

Test(http_mime, a_line_without_end_is_survived)
{
	static char table[30000];

	memset(table, 'x', sizeof(table) - 1);
	memcpy(table, "text/a a\n", 9);
	memcpy(table + sizeof(table) - 10, "\ntext/b b", 10);
	write_table(table);
	cr_expect_str_eq(type_of("a"), "text/a");
	cr_expect_str_eq(type_of("b"), "text/b");
	mime_done(&mime);
}

Test(http_mime, answers_are_remembered_and_forgotten)
{
	char extension[8];

	write_table("text/a a\n");
	cr_expect_str_eq(type_of("a"), "text/a");
	mime_done(&mime); /* from now on only what is remembered is known */
	cr_expect_str_eq(type_of("A"), "text/a");
	for (int i = 0; i < MIME_REMEMBERED; i++) {
		sprintf(extension, "x%d", i);
		cr_expect_str_eq(type_of(extension), UNKNOWN);
	}
	cr_expect_str_eq(type_of("a"), UNKNOWN);
}

Test(http_mime, the_system_table)
{
	cr_assert_eq(mime_init(&mime, "/etc/mime.types"), 0);
	cr_expect_str_eq(type_of("html"), "text/html");
	cr_expect_str_eq(type_of("png"), "image/png");
	cr_expect_str_eq(type_of("css"), "text/css");
	cr_expect_str_eq(type_of("js"), "text/javascript");
	cr_expect_str_eq(type_of("pdf"), "application/pdf");
	mime_done(&mime);
}

Test(http_mime, no_table)
{
	cr_assert_lt(mime_init(&mime, "/nonexistent"), 0);
	cr_expect_str_eq(type_of("html"), "text/html");
	cr_expect_str_eq(type_of("pdf"), UNKNOWN);
}
