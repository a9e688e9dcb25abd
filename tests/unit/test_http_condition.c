/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <string.h>

#include "base/attrs.h"
#include "handlers/http/conditional.h"
#include "handlers/http/range.h"

#define NOW    1700000000
#define DATE   "Sun, 06 Nov 1994 08:49:37 GMT"
#define BEFORE "Sun, 06 Nov 1994 08:49:36 GMT"
#define AFTER  "Sun, 06 Nov 1994 08:49:38 GMT"
#define TAG    "\"a-b\""

static const struct validators file = { .modified = 784111777, .etag_size = 5, .etag = TAG };

struct row {
	const char *if_match;
	const char *if_unmodified;
	const char *if_none_match;
	const char *if_modified;
	int status;
};

static const struct row rows[] = {
	{NULL,           NULL,   NULL,                           NULL,                             0  },

	{ "*",           NULL,   NULL,			   NULL,                             0  },
	{ TAG,           NULL,   NULL,			   NULL,                             0  },
	{ "\"x\", " TAG, NULL,   NULL,                           NULL,                             0  },
	{ "\"x\"",       NULL,   NULL,                           NULL,                             412},
	{ "W/" TAG,      NULL,   NULL,                           NULL,                             412}, /* compared strongly */
	{ "a-b",         NULL,   NULL,                           NULL,                             412},
	{ "",            NULL,   NULL,			   NULL,                             412},
	{ TAG,           BEFORE, NULL,                           NULL,                             0  }, /* the date does not count beside a tag */

	{ NULL,          DATE,   NULL,                           NULL,                             0  },
	{ NULL,          AFTER,  NULL,                           NULL,                             0  },
	{ NULL,          BEFORE, NULL,                           NULL,                             412},
	{ NULL,          "x",    NULL,			   NULL,                             0  },

	{ NULL,          NULL,   "*",			    NULL,                             304},
	{ NULL,          NULL,   TAG,			    NULL,                             304},
	{ NULL,          NULL,   "W/" TAG,                       NULL,                             304}, /* compared weakly */
	{ NULL,          NULL,   "\"x\",\"y,z\" , W/\"w\"," TAG, NULL,                             304},
	{ NULL,          NULL,   ", ," TAG,                      NULL,                             304},
	{ NULL,          NULL,   "\"x\"",                        NULL,                             0  },
	{ NULL,          NULL,   "\"x" TAG,                      NULL,                             0  },
	{ NULL,          NULL,   "a-b",                          NULL,                             0  },
	{ NULL,          NULL,   "w/" TAG,                       NULL,                             0  },
	{ NULL,          NULL,   "\"",                           NULL,                             0  },
	{ NULL,          NULL,   "W/",                           NULL,                             0  },
	{ NULL,          NULL,   "\"a-b",                        NULL,                             0  },
	{ NULL,          NULL,   "\"a-b\"x",                     NULL,                             304},
	{ NULL,          NULL,   "\"x\"",                        AFTER,                            0  }, /* the date does not count beside a tag */

	{ NULL,          NULL,   NULL,                           DATE,                             304},
	{ NULL,          NULL,   NULL,                           AFTER,                            304},
	{ NULL,          NULL,   NULL,                           BEFORE,                           0  },
	{ NULL,          NULL,   NULL,                           "Sunday, 06-Nov-94 08:49:37 GMT", 304},
	{ NULL,          NULL,   NULL,                           "x",                              0  },

	{ TAG,           NULL,   TAG,			    NULL,                             304},
	{ "\"x\"",       NULL,   TAG,                            NULL,                             412},
};

static struct span span_of(const char *text)
{
	return (struct span){ text, text != NULL ? strlen(text) : 0 };
}

Test(http_condition, table)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct request request = { 0 };
		int status;

		request.fields[REQUEST_IF_MATCH] = span_of(rows[i].if_match);
		request.fields[REQUEST_IF_UNMODIFIED_SINCE] = span_of(rows[i].if_unmodified);
		request.fields[REQUEST_IF_NONE_MATCH] = span_of(rows[i].if_none_match);
		request.fields[REQUEST_IF_MODIFIED_SINCE] = span_of(rows[i].if_modified);
		status = conditional_evaluate(&request, &file, NOW);
		cr_expect_eq(status, rows[i].status, "row %zu: %d, not %d", i, status, rows[i].status);
	}
}

Test(http_condition, if_range)
{
	static const struct {
		const char *value;
		bool allowed;
	} table[] = {
		{NULL,      true },
                { TAG,      true },
                { "W/" TAG, false},
                { "\"x\"",  false},
                { DATE,     true },
		{ AFTER,    false},
                { BEFORE,   false},
                { "",       false},
                { "*",      false}
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct request request = { 0 };

		request.fields[REQUEST_IF_RANGE] = span_of(table[i].value);
		cr_expect_eq(conditional_allows_range(&request, &file, NOW), table[i].allowed, "row %zu", i);
	}
}

Test(http_condition, tags_tell_states_apart)
{
	const struct timespec a = { 5, 1 }, b = { 5, 2 };
	struct validators one, other;

	validators_init(&one, &a, 10);
	cr_expect_eq(one.etag_size, strlen("\"12a05f201-a\""));
	cr_expect_eq(memcmp(one.etag, "\"12a05f201-a\"", one.etag_size), 0);
	cr_expect_eq(one.modified, 5);
	validators_init(&other, &b, 10);
	cr_expect(one.etag_size != other.etag_size || memcmp(one.etag, other.etag, one.etag_size) != 0);
	validators_init(&other, &a, 11);
	cr_expect(one.etag_size != other.etag_size || memcmp(one.etag, other.etag, one.etag_size) != 0);
	validators_init(&other, &(struct timespec){ INT64_MAX, 999999999 }, UINT64_MAX);
	cr_expect_leq(other.etag_size, ETAG_MAX);
	cr_expect_eq(other.etag[other.etag_size - 1], '"');
}

Test(http_condition, ranges)
{
	static const struct {
		const char *value;
		uint64_t size;
		enum range_result result;
		uint64_t first, last;
	} table[] = {
		{NULL,			    10, RANGE_WHOLE,         0, 0},
		{ "bytes=0-0",                    10, RANGE_PART,          0, 0},
		{ "bytes=0-9",                    10, RANGE_PART,          0, 9},
		{ "bytes=2-5",                    10, RANGE_PART,          2, 5},
		{ "bytes=2-",                     10, RANGE_PART,          2, 9},
		{ "bytes=9-100",                  10, RANGE_PART,          9, 9},
		{ "bytes=0-18446744073709551616", 10, RANGE_PART,          0, 9},
		{ "bytes=-3",                     10, RANGE_PART,          7, 9},
		{ "bytes=-10",                    10, RANGE_PART,          0, 9},
		{ "bytes=-99999999999999999999",  10, RANGE_PART,          0, 9},
		{ "Bytes=1-2",                    10, RANGE_PART,          1, 2},
		{ "bytes= 1-2 ",                  10, RANGE_PART,          1, 2},
		{ "bytes=007-8",                  10, RANGE_PART,          7, 8},

		{ "bytes=10-",                    10, RANGE_UNSATISFIABLE, 0, 0},
		{ "bytes=10-11",                  10, RANGE_UNSATISFIABLE, 0, 0},
		{ "bytes=99999999999999999999-",  10, RANGE_UNSATISFIABLE, 0, 0},
		{ "bytes=-0",                     10, RANGE_UNSATISFIABLE, 0, 0},
		{ "bytes=0-",                     0,  RANGE_UNSATISFIABLE, 0, 0},
		{ "bytes=-1",                     0,  RANGE_UNSATISFIABLE, 0, 0},

		{ "bytes=5-2",                    10, RANGE_WHOLE,         0, 0},
		{ "bytes=0-1,3-4",                10, RANGE_WHOLE,         0, 0},
		{ "bytes=0-1,",                   10, RANGE_WHOLE,         0, 0},
		{ "bytes=",                       10, RANGE_WHOLE,         0, 0},
		{ "bytes=-",                      10, RANGE_WHOLE,         0, 0},
		{ "bytes=5",                      10, RANGE_WHOLE,         0, 0},
		{ "bytes=a-b",                    10, RANGE_WHOLE,         0, 0},
		{ "bytes=0x1-2",                  10, RANGE_WHOLE,         0, 0},
		{ "bytes=1-2-3",                  10, RANGE_WHOLE,         0, 0},
		{ "bytes=--1",                    10, RANGE_WHOLE,         0, 0},
		{ "bytes=+1-2",                   10, RANGE_WHOLE,         0, 0},
		{ "bytes=1 - 2",                  10, RANGE_WHOLE,         0, 0},
		{ "bytes 1-2",                    10, RANGE_WHOLE,         0, 0},
		{ "bytes =1-2",                   10, RANGE_WHOLE,         0, 0},
		{ "items=1-2",                    10, RANGE_WHOLE,         0, 0},
		{ "1-2",			  10, RANGE_WHOLE,         0, 0},
		{ "",			     10, RANGE_WHOLE,         0, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		uint64_t first = 0, last = 0;
		enum range_result result = range_parse(span_of(table[i].value), table[i].size, &first, &last);

		cr_expect_eq(result, table[i].result, "%s", table[i].value);
		cr_expect_eq(first, table[i].first, "%s", table[i].value);
		cr_expect_eq(last, table[i].last, "%s", table[i].value);
	}
}
