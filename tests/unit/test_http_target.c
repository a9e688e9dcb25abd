/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <string.h>

#include "base/attrs.h"
#include "handlers/http/target.h"

struct row {
	const char *text;
	int status;
	const char *path;
	bool directory;
	const char *query; /* NULL: none */
};

static const struct row rows[] = {
	{"/",		     0,   "",           true,  NULL        },
        { "/a",                   0,   "a",          false, NULL        },
        { "/a/",                  0,   "a",          true,  NULL        },
	{ "/a/b.html",            0,   "a/b.html",   false, NULL        },
        { "//a",                  0,   "a",          false, NULL        },
        { "///",                  0,   "",           true,  NULL        },
	{ "/a//b///",             0,   "a/b",        true,  NULL        },
        { "/a?",                  0,   "a",          false, ""          },
	{ "/a?b=c?d/../e",        0,   "a",          false, "b=c?d/../e"},
        { "/?q",                  0,   "",           true,  "q"         },
	{ "/a%20b",               0,   "a b",        false, NULL        },
        { "/%41%5a",              0,   "AZ",         false, NULL        },
	{ "/%C3%a4",              0,   "\303\244",   false, NULL        },
        { "/a%3fb",               0,   "a?b",        false, NULL        },
	{ "/a%2525",              0,   "a%25",       false, NULL        },
        { "/a\\b",                0,   "a\\b",       false, NULL        },
        { "/...",                 0,   "...",        false, NULL        },
	{ "/..a/.b/c..",          0,   "..a/.b/c..", false, NULL        },
        { "/a%0ab",               0,   "a\nb",       false, NULL        },

	{ "/.",		   400, NULL,         false, NULL        },
        { "/..",                  400, NULL,         false, NULL        },
        { "/../a",                400, NULL,         false, NULL        },
	{ "/a/..",                400, NULL,         false, NULL        },
        { "/a/../b",              400, NULL,         false, NULL        },
	{ "/a/./b",               400, NULL,         false, NULL        },
        { "/%2e",                 400, NULL,         false, NULL        },
	{ "/%2E%2e/a",            400, NULL,         false, NULL        },
        { "/.%2e/a",              400, NULL,         false, NULL        },
	{ "/a/%2e./",             400, NULL,         false, NULL        },
        { "/a%2fb/..",            400, NULL,         false, NULL        },
	{ "/%00",                 400, NULL,         false, NULL        },
        { "/a%00.html",           400, NULL,         false, NULL        },
        { "/%",                   400, NULL,         false, NULL        },
	{ "/%4",		  400, NULL,         false, NULL        },
        { "/%4/",                 400, NULL,         false, NULL        },
        { "/%gg",                 400, NULL,         false, NULL        },
	{ "/%-1",                 400, NULL,         false, NULL        },
        { "/a%2fb",               404, NULL,         false, NULL        },
	{ "/..%2F..%2Fetc",       404, NULL,         false, NULL        },

	{ "http://a",             0,   "",           true,  NULL        },
        { "http://a/",            0,   "",           true,  NULL        },
        { "http://a/b",           0,   "b",          false, NULL        },
	{ "HTTP://a:80/b?c",      0,   "b",          false, "c"         },
        { "https://[::1]:443/b/", 0,   "b",          true,  NULL        },
	{ "http://a?b/c",         0,   "",           true,  "b/c"       },
        { "http://",              400, NULL,         false, NULL        },
	{ "http:///b",            400, NULL,         false, NULL        },
        { "http:/b",              400, NULL,         false, NULL        },
	{ "http://u@a/b",         400, NULL,         false, NULL        },
        { "http://a:b/",          400, NULL,         false, NULL        },
	{ "http://a/../b",        400, NULL,         false, NULL        },
        { "ftp://a/b",            400, NULL,         false, NULL        },
	{ "a",		    400, NULL,         false, NULL        },
        { "a:80",                 400, NULL,         false, NULL        },
        { "?a",                   400, NULL,         false, NULL        },
	{ "*",		    400, NULL,         false, NULL        },
        { "**",                   400, NULL,         false, NULL        },
	{ "",		     0,   "",           true,  NULL        }, /* which no request line lets pass */
};

static struct target target;

static int parse(const char *text, bool asterisk_allowed)
{
	return target_parse((struct span){ text, strlen(text) }, asterisk_allowed, &target);
}

Test(http_target, table)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct row *row = &rows[i];
		int status = parse(row->text, false);

		cr_expect_eq(status, row->status, "%s: %d, not %d", row->text, status, row->status);
		if (status != 0 || row->path == NULL)
			continue;
		cr_expect_str_eq(target.path, row->path, "%s: %s", row->text, target.path);
		cr_expect_eq(target.path_size, strlen(row->path), "%s", row->text);
		cr_expect_eq(target.directory, row->directory, "%s", row->text);
		cr_expect_eq(target.query.text != NULL, row->query != NULL, "%s", row->text);
		if (row->query != NULL && target.query.text != NULL)
			cr_expect(target.query.size == strlen(row->query) &&
					  memcmp(target.query.text, row->query, target.query.size) == 0,
				"%s", row->text);
	}
}

Test(http_target, asterisk_is_for_options)
{
	cr_expect_eq(parse("*", true), 0);
	cr_expect_str_eq(target.path, "");
	cr_expect_eq(parse("*", false), 400);
	cr_expect_eq(parse("http://a", true), 0);
	cr_expect_eq(parse("/", true), 0);
	cr_expect_eq(parse("**", true), 400);
}

Test(http_target, the_longest_path_fits_and_no_longer_one)
{
	static char text[TARGET_PATH_MAX + 10];

	memset(text, 'a', sizeof(text) - 1);
	text[0] = '/';
	text[TARGET_PATH_MAX] = '\0';
	cr_expect_eq(parse(text, false), 0);
	cr_expect_eq(target.path_size, TARGET_PATH_MAX - 1);
	text[TARGET_PATH_MAX] = 'a';
	text[TARGET_PATH_MAX + 1] = '\0';
	cr_expect_eq(parse(text, false), 404);
	text[100] = '/';
	cr_expect_eq(parse(text, false), 404);
}

Test(http_target, extensions)
{
	static const char *const table[][2] = {
		{"a.txt",   "txt"},
                { "a",      ""   },
                { "",       ""   },
                { ".a",     ""   },
                { "b/.a",   ""   },
                { "b.c/a",  ""   },
		{ "a.b.c",  "c"  },
                { "a.",     ""   },
                { "d/.a.b", "b"  },
                { "a/",     ""   }
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct span extension = target_extension(table[i][0], strlen(table[i][0]));

		cr_expect_eq(extension.size, strlen(table[i][1]), "%s", table[i][0]);
		cr_expect_eq(memcmp(extension.text, table[i][1], extension.size), 0, "%s", table[i][0]);
	}
}
