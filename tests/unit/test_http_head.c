/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/attrs.h"
#include "handlers/http/head.h"
#include "handlers/http/request.h"

static const struct head_limits limits = { .head = 1024, .target = 200, .fields = 10 };

/* What the whole way of a head makes of RAW when it comes at once: 0, a status, or -1 if more is waited for. */
static int judge(const char *raw, size_t size, struct head *ret_head, struct request *ret_request)
{
	struct head_scan scan = { 0 };
	int refused = head_scan(&scan, raw, size, &limits);

	if (refused != 0)
		return refused;
	if (scan.length == 0)
		return -1;
	refused = head_check(raw, scan.length, &limits, ret_head);
	if (refused != 0)
		return refused;
	return request_parse(raw, scan.length, ret_head, ret_request);
}

static int judge_text(const char *raw)
{
	struct head head;
	struct request request;

	return judge(raw, strlen(raw), &head, &request);
}

/* The scan must come to the same end whatever the pieces a head comes in. */
static int scan_by_pieces(const char *raw, size_t size, size_t piece, size_t *ret_length)
{
	struct head_scan scan = { 0 };
	int refused = 0;

	for (size_t come = piece; refused == 0 && scan.length == 0; come += piece) {
		size_t have = come < size ? come : size;
		char *copy = malloc(have + 1); /* so that a sanitizer sees a byte beyond */

		memcpy(copy, raw, have);
		refused = head_scan(&scan, copy, have, &limits);
		free(copy);
		if (have == size)
			break;
	}
	*ret_length = scan.length;
	return refused;
}

struct shape {
	const char *what;
	const char *raw;
	int status; /* 0: accepted; -1: not complete */
};

#define GET "GET / HTTP/1.1\r\nHost: a\r\n"

static const struct shape shapes[] = {
	{"plain",					GET "\r\n",							     0  },
	{ "HTTP/1.0 without Host",                       "GET / HTTP/1.0\r\n\r\n",                                               0  },
	{ "one empty line before",                       "\r\n" GET "\r\n",						      0  },
	{ "two empty lines before",                      "\r\n\r\n" GET "\r\n",                                                  400},
	{ "bare LF before",			      "\n" GET "\r\n",							400},
	{ "nothing",				     "",								     -1 },
	{ "half a line",				 "GET / HT",							     -1 },
	{ "no empty line yet",                           GET,								    -1 },
	{ "empty line not complete",                     GET "\r",							       -1 },

 /* lines */
	{ "bare LF after the request line",              "GET / HTTP/1.1\nHost: a\r\n\r\n",                                      400},
	{ "bare LF after a field",                       "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",                              400},
	{ "bare LF as empty line",                       GET "\n",							       400},
	{ "only bare LF",				"GET / HTTP/1.1\nHost: a\n\n",                                          400},
	{ "bare CR in a value",                          "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",                         400},
	{ "bare CR in the request line",                 "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n",                                  400},
	{ "CR CR LF",				    "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n",                                  400},
	{ "folded line",				 GET "X: a\r\n b\r\n\r\n",                                               400},
	{ "folded line with tab",                        GET "X: a\r\n\tb\r\n\r\n",                                              400},
	{ "white space before the first field",          "GET / HTTP/1.1\r\n Host: a\r\nHost: b\r\n\r\n",                        400},
	{ "bell in a value",			     GET "X: \a\r\n\r\n",						    400},
	{ "escape in the target",                        "GET /\033 HTTP/1.1\r\nHost: a\r\n\r\n",                                400},
	{ "DEL in a value",			      GET "X: \177\r\n\r\n",                                                  400},
	{ "tab in a value",			      GET "X: a\tb\r\n\r\n",                                                  0  },
	{ "bytes beyond ASCII in a value",               GET "X: \303\244\r\n\r\n",                                              0  },
	{ "bytes of TLS",				"\026\003\001\002",						     400},

 /* names */
	{ "space before the colon",                      GET "X : y\r\n\r\n",                                                    400},
	{ "tab before the colon",                        GET "X\t: y\r\n\r\n",                                                   400},
	{ "space before the colon of Content-Length",    GET "Content-Length : 5\r\n\r\n",                                       400},
	{ "space before the colon of Transfer-Encoding", GET "Transfer-Encoding : chunked\r\n\r\n",                              400},
	{ "space in a name",			     GET "X Y: z\r\n\r\n",						   400},
	{ "empty name",				  GET ": y\r\n\r\n",						      400},
	{ "no colon",				    GET "X\r\n\r\n",							400},
	{ "bracket in a name",                           GET "X[1]: y\r\n\r\n",                                                  400},
	{ "byte beyond ASCII in a name",                 GET "\303\244: y\r\n\r\n",                                              400},
	{ "empty value",				 GET "X:\r\n\r\n",						       0  },

 /* Host */
	{ "no Host",				     "GET / HTTP/1.1\r\nX: y\r\n\r\n",                                       400},
	{ "no fields",				   "GET / HTTP/1.1\r\n\r\n",                                               400},
	{ "two Hosts",				   GET "Host: b\r\n\r\n",						  400},
	{ "two equal Hosts",			     GET "Host: a\r\n\r\n",                                                  400},
	{ "two Hosts of different case",                 GET "hOST: a\r\n\r\n",                                                  400},
	{ "two Hosts in HTTP/1.0",                       "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n",                         400},
	{ "Host with a bad byte",                        "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",                                  400},
	{ "two hosts in one field",                      "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",                                 400},
	{ "empty Host",				  "GET / HTTP/1.1\r\nHost:\r\n\r\n",                                      0  },

 /* lengths */
	{ "a length",				    GET "Content-Length: 5\r\n\r\n",                                        0  },
	{ "a length with spaces around",                 GET "Content-Length: \t5 \r\n\r\n",                                     0  },
	{ "chunked",				     GET "Transfer-Encoding: chunked\r\n\r\n",                               0  },
	{ "chunked in capitals",                         GET "Transfer-Encoding: CHUNKED\r\n\r\n",                               0  },
	{ "both lengths",				GET "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",          400},
	{ "both lengths, the other way",                 GET "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",          400},
	{ "length 0 and chunked",                        GET "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",          400},
	{ "two lengths",				 GET "Content-Length: 5\r\nContent-Length: 6\r\n\r\n",                   400},
	{ "two equal lengths",                           GET "Content-Length: 5\r\nContent-Length: 5\r\n\r\n",                   400},
	{ "two lengths in one field",                    GET "Content-Length: 5, 5\r\n\r\n",                                     400},
	{ "signed length",			       GET "Content-Length: +5\r\n\r\n",                                       400},
	{ "negative length",			     GET "Content-Length: -5\r\n\r\n",                                       400},
	{ "hexadecimal length",                          GET "Content-Length: 0x5\r\n\r\n",                                      400},
	{ "length with a space in it",                   GET "Content-Length: 1 2\r\n\r\n",                                      400},
	{ "empty length",				GET "Content-Length:\r\n\r\n",                                          400},
	{ "fractional length",                           GET "Content-Length: 5.0\r\n\r\n",                                      400},
	{ "identity",				    GET "Transfer-Encoding: identity\r\n\r\n",                              400},
	{ "empty coding",				GET "Transfer-Encoding:\r\n\r\n",                                       400},
	{ "xchunked",				    GET "Transfer-Encoding: xchunked\r\n\r\n",                              400},
	{ "chunked with a parameter",                    GET "Transfer-Encoding: chunked;a=b\r\n\r\n",                           400},
	{ "quoted chunked",			      GET "Transfer-Encoding: \"chunked\"\r\n\r\n",                           400},
	{ "chunked with a byte before",
         GET "Transfer-Encoding: \v"
		    "chunked\r\n\r\n",											   400},
	{ "chunked twice",			       GET "Transfer-Encoding: chunked, chunked\r\n\r\n",                      400},
	{ "chunked in two fields",                       GET "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
	{ "chunked, then something else",                GET "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n",       400},
	{ "chunked not the last",                        GET "Transfer-Encoding: chunked, gzip\r\n\r\n",                         400},
	{ "gzip alone",				  GET "Transfer-Encoding: gzip\r\n\r\n",                                  400},
	{ "gzip, chunked",			       GET "Transfer-Encoding: gzip, chunked\r\n\r\n",                         501},
	{ "gzip, chunked and a length",                  GET "Transfer-Encoding: gzip, chunked\r\nContent-Length: 1\r\n\r\n",    400},
	{ "chunked in HTTP/1.0",                         "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",                 400},

 /* request lines */
	{ "no version",				  "GET /\r\nHost: a\r\n\r\n",                                             400},
	{ "no target",				   "GET HTTP/1.1\r\nHost: a\r\n\r\n",                                      400},
	{ "empty target",				"GET  HTTP/1.1\r\nHost: a\r\n\r\n",                                     400},
	{ "two spaces",				  "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",                                   400},
	{ "space at the beginning",                      " GET / HTTP/1.1\r\nHost: a\r\n\r\n",                                   400},
	{ "space at the end",                            "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",                                   400},
	{ "space in the target",                         "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",                                 400},
	{ "tab in place of a space",                     "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",                                   400},
	{ "fragment",				    "GET /#a HTTP/1.1\r\nHost: a\r\n\r\n",                                  400},
	{ "byte beyond ASCII in the target",             "GET /\344 HTTP/1.1\r\nHost: a\r\n\r\n",                                400},
	{ "HTTP/2.0",				    "GET / HTTP/2.0\r\nHost: a\r\n\r\n",                                    505},
	{ "the preface of HTTP/2",                       "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",                                     505},
	{ "HTTP/1.2",				    "GET / HTTP/1.2\r\nHost: a\r\n\r\n",                                    505},
	{ "HTTP/0.9",				    "GET / HTTP/0.9\r\nHost: a\r\n\r\n",                                    505},
	{ "HTTP/1.10",				   "GET / HTTP/1.10\r\nHost: a\r\n\r\n",                                   400},
	{ "HTTP/1",				      "GET / HTTP/1\r\nHost: a\r\n\r\n",                                      400},
	{ "HTTP/1.",				     "GET / HTTP/1.\r\nHost: a\r\n\r\n",                                     400},
	{ "HTTP/01.1",				   "GET / HTTP/01.1\r\nHost: a\r\n\r\n",                                   400},
	{ "http/1.1",				    "GET / http/1.1\r\nHost: a\r\n\r\n",                                    400},
	{ "HTTQ/1.1",				    "GET / HTTQ/1.1\r\nHost: a\r\n\r\n",                                    400},

 /* methods */
	{ "known method",				"DELETE / HTTP/1.1\r\nHost: a\r\n\r\n",                                 0  },
	{ "unknown method",			      "BREW / HTTP/1.1\r\nHost: a\r\n\r\n",                                   501},
	{ "lower case",				  "get / HTTP/1.1\r\nHost: a\r\n\r\n",                                    501},
	{ "longer than a known one",                     "GETS / HTTP/1.1\r\nHost: a\r\n\r\n",                                   501},
	{ "shorter than a known one",                    "GE / HTTP/1.1\r\nHost: a\r\n\r\n",                                     501},
	{ "no token",				    "G@T / HTTP/1.1\r\nHost: a\r\n\r\n",                                    400},
	{ "CONNECT",				     "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",                          0  },
};

Test(http_head, shapes)
{
	for (size_t i = 0; i < ARRAY_SIZE(shapes); i++) {
		int status = judge_text(shapes[i].raw);

		cr_expect_eq(status, shapes[i].status, "%s: %d, not %d", shapes[i].what, status, shapes[i].status);
	}
}

Test(http_head, scan_does_not_depend_on_pieces)
{
	for (size_t i = 0; i < ARRAY_SIZE(shapes); i++) {
		size_t size = strlen(shapes[i].raw);
		size_t whole, pieces;
		int status = scan_by_pieces(shapes[i].raw, size, size + 1, &whole);

		for (size_t piece = 1; piece < size; piece++) {
			int other = scan_by_pieces(shapes[i].raw, size, piece, &pieces);

			cr_expect_eq(other, status, "%s by %zu: %d, not %d", shapes[i].what, piece, other, status);
			cr_expect_eq(pieces, whole, "%s by %zu: length", shapes[i].what, piece);
		}
	}
}

Test(http_head, nul_is_refused_wherever_it_stands)
{
	static const char raw[] = "\r\nGET /a HTTP/1.1\r\nHost: a\r\nX: yz\r\n\r\n";
	char copy[sizeof(raw)];
	struct head head;
	struct request request;

	for (size_t at = 0; at < sizeof(raw) - 1; at++) {
		memcpy(copy, raw, sizeof(raw));
		copy[at] = '\0';
		cr_expect_eq(judge(copy, sizeof(raw) - 1, &head, &request), 400, "NUL at %zu", at);
	}
}

/* A refusal must come before the rest, which may never do. */
Test(http_head, refused_as_soon_as_it_is_certain)
{
	cr_expect_eq(judge_text("\026"), 400);
	cr_expect_eq(judge_text("GET / HTTP/1.1\n"), 400);
	cr_expect_eq(judge_text(GET "X: \001"), 400);
	cr_expect_eq(judge_text(GET "\rX"), 400);
}

static char *repeat(const char *before, char c, size_t count, const char *after)
{
	size_t size = strlen(before);
	char *text = malloc(size + count + strlen(after) + 1);

	memcpy(text, before, size);
	memset(text + size, c, count);
	memcpy(text + size + count, after, strlen(after) + 1);
	return text;
}

static void expect_repeated(const char *before, size_t count, const char *after, int status)
{
	char *text = repeat(before, 'a', count, after);
	int got = judge_text(text);

	cr_expect_eq(got, status, "%.20s... %zu: %d, not %d", before, count, got, status);
	free(text);
}

Test(http_head, limits)
{
	const char *end = " HTTP/1.1\r\nHost: a\r\n\r\n";
	const char *field = GET "X: ";
	size_t room = limits.head - strlen(field) - 4;

	expect_repeated("GET /", limits.target - 1, end, 0);
	expect_repeated("GET /", limits.target, end, 414);
	expect_repeated("GET /", limits.target + 100, "", 414);
	expect_repeated("GET /", 5000, end, 414);
	expect_repeated(field, room, "\r\n\r\n", 0);
	expect_repeated(field, room + 1, "\r\n\r\n", 431);
	expect_repeated(field, room + 4, "", 431);
	expect_repeated(field, 5000, "\r\n\r\n", 431);
}

/* A byte that is wrong beyond a limit must not change the answer when it comes together with the rest. */
Test(http_head, limits_do_not_depend_on_pieces)
{
	char *text = repeat("GET /", 'a', limits.target + 100, "\001 HTTP/1.1\r\n");
	size_t length;

	for (size_t piece = 1; piece <= strlen(text); piece++)
		cr_expect_eq(scan_by_pieces(text, strlen(text), piece, &length), 414, "by %zu", piece);
	free(text);
}

Test(http_head, number_of_fields)
{
	char text[1024] = GET;

	for (size_t i = 1; i < limits.fields; i++)
		strcat(text, "A: b\r\n");
	strcat(text, "\r\n");
	cr_expect_eq(judge_text(text), 0);
	strcpy(text + strlen(text) - 2, "A: b\r\n\r\n");
	cr_expect_eq(judge_text(text), 431);
}

Test(http_head, length_beyond_all_numbers_is_not_small)
{
	struct head head;
	struct request request;
	const char *raw = GET "Content-Length: 18446744073709551617\r\n\r\n";

	/* The parser may refuse it too; what must not be is that it passes as 1. */
	if (judge(raw, strlen(raw), &head, &request) == 0)
		cr_expect_eq(head.length, UINT64_MAX);
}

Test(http_head, a_second_request_is_not_looked_at)
{
	const char *raw = GET "\r\nGARBAGE\n";
	struct head_scan scan = { 0 };

	cr_assert_eq(head_scan(&scan, raw, strlen(raw), &limits), 0);
	cr_expect_eq(scan.length, strlen(GET) + 2);
}

Test(http_head, hosts)
{
	static const char *const good[] = { "", "a", "a.example", "a.example:80", "a:", "127.0.0.1:8080", "[::1]",
		"[::1]:80", "[::ffff:192.0.2.1]:", "a-b_c~d!$&'()*+,;=", "%61", "a:65535" };
	static const char *const bad[] = { "a b", "a/b", "a?b", "a#b", "a@b", "a:b", "a:65536", "a:123456", "a:-1",
		":80", "[", "[]", "[::1", "[::1]80", "[::1]x:80", "[g::1]", "::1", "a\\b", "%", "%6", "%zz", "\"a\"",
		"a:80:80", "[::1]:x", "<a>", "\344" };

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		cr_expect(head_host_valid((struct span){ good[i], strlen(good[i]) }), "good: %s", good[i]);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		cr_expect_not(head_host_valid((struct span){ bad[i], strlen(bad[i]) }), "bad: %s", bad[i]);
}

/* ---- the request ---- */

static struct request parse(const char *raw)
{
	struct head head;
	struct request request;

	cr_assert_eq(judge(raw, strlen(raw), &head, &request), 0, "%s", raw);
	return request;
}

static void expect_span(struct span span, const char *text)
{
	cr_assert_not_null(span.text);
	cr_expect_eq(span.size, strlen(text));
	cr_expect_eq(memcmp(span.text, text, strlen(text)), 0, "%.*s, not %s", (int)span.size, span.text, text);
}

Test(http_head, keep_alive_goes_by_the_version)
{
	cr_expect(parse(GET "\r\n").keep_alive);
	cr_expect_not(parse(GET "Connection: close\r\n\r\n").keep_alive);
	cr_expect_not(parse(GET "Connection: x, Close\r\n\r\n").keep_alive);
	cr_expect_not(parse("GET / HTTP/1.0\r\n\r\n").keep_alive);
	cr_expect(parse("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").keep_alive);
	cr_expect_not(parse("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n").keep_alive);
	cr_expect_not(parse("GET / HTTP/1.0\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n").keep_alive);
	cr_expect_not(parse("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n").keep_alive);
	cr_expect(parse(GET "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n").keep_alive);
}

Test(http_head, methods)
{
	cr_expect_eq(parse(GET "\r\n").method, REQUEST_GET);
	cr_expect_eq(parse("HEAD / HTTP/1.0\r\n\r\n").method, REQUEST_HEAD);
	cr_expect_eq(parse("OPTIONS * HTTP/1.0\r\n\r\n").method, REQUEST_OPTIONS);
	cr_expect_eq(parse("POST / HTTP/1.0\r\n\r\n").method, REQUEST_OTHER);
	cr_expect_eq(parse("PROPFIND / HTTP/1.0\r\n\r\n").method, REQUEST_OTHER);
}

Test(http_head, fields_are_found_whatever_their_case)
{
	struct request request = parse("\r\n" GET "IF-none-MATCH: \"a\" \r\nrange:bytes=0-1\r\nIf-Range: \t x\r\n\r\n");

	expect_span(request.target, "/");
	expect_span(request.fields[REQUEST_IF_NONE_MATCH], "\"a\"");
	expect_span(request.fields[REQUEST_RANGE], "bytes=0-1");
	expect_span(request.fields[REQUEST_IF_RANGE], "x");
	cr_expect_null(request.fields[REQUEST_IF_MATCH].text);
}

Test(http_head, a_field_that_is_given_twice_is_there_and_says_nothing)
{
	struct request request = parse(GET "Range: bytes=0-1\r\nRange: bytes=2-3\r\n\r\n");

	expect_span(request.fields[REQUEST_RANGE], "");
	cr_expect_null(request.fields[REQUEST_IF_RANGE].text);
}

Test(http_head, expectations)
{
	cr_expect_eq(parse(GET "\r\n").expectation, REQUEST_EXPECTS_NOTHING);
	cr_expect_eq(parse(GET "Expect: 100-Continue\r\n\r\n").expectation, REQUEST_EXPECTS_CONTINUE);
	cr_expect_eq(parse(GET "Expect: tea\r\n\r\n").expectation, REQUEST_EXPECTS_UNKNOWN);
	cr_expect_eq(parse(GET "Expect: 100-continue\r\nExpect: x\r\n\r\n").expectation, REQUEST_EXPECTS_UNKNOWN);
	cr_expect_eq(parse("GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n").expectation, REQUEST_EXPECTS_NOTHING);
}
