/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <string.h>

#include "base/attrs.h"
#include "handlers/http/chunk.h"

static const struct chunk_limits limits = { .body = 1000, .overhead = 50 };

struct row {
	const char *text;
	int result;
	size_t used; /* with CHUNK_DONE */
};

#define LAST "0\r\n\r\n"

static const struct row rows[] = {
	{LAST,							    CHUNK_DONE, 5 },
	{ "000\r\n\r\n",						  CHUNK_DONE, 7 },
	{ LAST "GET",						     CHUNK_DONE, 5 },
	{ "1\r\na\r\n" LAST,					      CHUNK_DONE, 11},
	{ "0a\r\n0123456789\r\n" LAST,                                    CHUNK_DONE, 21},
	{ "A\r\n\r\n\r\n\r\n\r\n\r\n\r\n" LAST,                           CHUNK_DONE, 20},
	{ "1;a\r\nb\r\n" LAST,					    CHUNK_DONE, 13},
	{ "1;a=\"b c\"\tx\r\nb\r\n" LAST,                                 CHUNK_DONE, 21},
	{ "0\r\nA: b\r\nC:\r\n\r\n",				      CHUNK_DONE, 15},
	{ "3e8\r\n",						      CHUNK_MORE, 0 },
	{ "",							     CHUNK_MORE, 0 },
	{ "0\r\n",							CHUNK_MORE, 0 },
	{ "0\r\n\r",						      CHUNK_MORE, 0 },
	{ "0\r\nA: b\r\n",						CHUNK_MORE, 0 },

	{ "3e9\r\n",						      413,        0 },
	{ "3e8;\r\n",						     CHUNK_MORE, 0 },
	{ "ffffffffffffffff\r\n",					 413,        0 },
	{ "00000000000000001\r\n",					400,        0 },
	{ "10000000000000000\r\n",					400,        0 },
	{ "\r\n",							 400,        0 },
	{ ";a\r\n",						       400,        0 },
	{ " 1\r\na\r\n",						  400,        0 },
	{ "1 \r\na\r\n",						  400,        0 },
	{ "+1\r\na\r\n",						  400,        0 },
	{ "-1\r\na\r\n",						  400,        0 },
	{ "0x1\r\na\r\n",						 400,        0 },
	{ "g\r\n",							400,        0 },
	{ "1\na\r\n",						     400,        0 },
	{ "1\ra\r\n",						     400,        0 },
	{ "1\r\r\n",						      400,        0 },
	{ "1;\n",							 400,        0 },
	{ "1;a\nb\r\n",						   400,        0 },
	{ "1;\001\r\n",						   400,        0 },
	{ "1;\177\r\n",						   400,        0 },
	{ "1\r\nab\r\n",						  400,        0 },
	{ "1\r\na\n",						     400,        0 },
	{ "1\r\na\rb",						    400,        0 },
	{ "1\r\na1\r\n",						  400,        0 },
	{ "0\r\n a: b\r\n\r\n",					   400,        0 },
	{ "0\r\nA : b\r\n\r\n",					   400,        0 },
	{ "0\r\nA\r\n\r\n",					       400,        0 },
	{ "0\r\n: b\r\n\r\n",					     400,        0 },
	{ "0\r\nA: b\r\n c\r\n\r\n",				      400,        0 },
	{ "0\r\nA: b\n\r\n",					      400,        0 },
	{ "0\r\nA: \001\r\n\r\n",					 400,        0 },
	{ "0\r\n\rX",						     400,        0 },
	{ "0\r\n\n",						      400,        0 },
	{ "1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",   431,        0 },
	{ "0\r\nA: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 431,        0 },
};

/* Feeds TEXT in pieces. */
static int feed(const char *text, size_t piece, size_t *ret_used)
{
	struct chunk_parser parser = { 0 };
	size_t size = strlen(text), at = 0;
	int result = CHUNK_MORE;

	while (at < size && result == CHUNK_MORE) {
		size_t used, come = size - at < piece ? size - at : piece;

		result = chunk_feed(&parser, text + at, come, &limits, &used);
		at += used;
	}
	*ret_used = at;
	return result;
}

Test(http_chunk, table_in_pieces_of_all_sizes)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		for (size_t piece = 1; piece <= strlen(rows[i].text) + 1; piece++) {
			size_t used;
			int result = feed(rows[i].text, piece, &used);

			cr_expect_eq(result, rows[i].result, "%s by %zu: %d, not %d", rows[i].text, piece, result,
				rows[i].result);
			if (result == CHUNK_DONE)
				cr_expect_eq(used, rows[i].used, "%s by %zu: %zu", rows[i].text, piece, used);
		}
	}
}

Test(http_chunk, the_limit_is_of_all_chunks_together)
{
	static char text[2000] = "3e8\r\n";
	size_t used;

	memset(text + 5, 'a', 1000);
	strcpy(text + 1005, "\r\n" LAST);
	cr_expect_eq(feed(text, 7, &used), CHUNK_DONE);
	strcpy(text + 1005, "\r\n1\r\n");
	cr_expect_eq(feed(text, 7, &used), 413);
}

Test(http_chunk, extensions_are_limited_over_all_chunks)
{
	struct chunk_parser parser = { 0 };
	int result = CHUNK_MORE;
	size_t used;

	for (int i = 0; i < 100 && result == CHUNK_MORE; i++)
		result = chunk_feed(&parser, "1;a\r\nb\r\n", 8, &limits, &used);
	cr_expect_eq(result, 431);
}
