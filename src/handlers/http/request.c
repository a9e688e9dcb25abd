/* SPDX-License-Identifier: MIT */
#include "handlers/http/request.h"

#include <assert.h>

#include "base/attrs.h"
#include "build_config.h"

#if HAVE_LLHTTP
#include <llhttp.h>
typedef llhttp_t parser;
typedef llhttp_settings_t parser_settings;
#else
#include <http_parser.h>
typedef http_parser parser;
typedef http_parser_settings parser_settings;
#endif

static const char *const field_names[] = {
	[REQUEST_IF_MATCH] = "if-match",
	[REQUEST_IF_NONE_MATCH] = "if-none-match",
	[REQUEST_IF_MODIFIED_SINCE] = "if-modified-since",
	[REQUEST_IF_UNMODIFIED_SINCE] = "if-unmodified-since",
	[REQUEST_IF_RANGE] = "if-range",
	[REQUEST_RANGE] = "range",
	[REQUEST_EXPECT] = "expect",
};
static_assert(ARRAY_SIZE(field_names) == REQUEST_FIELDS, "a name for each field");

/* What the callbacks gather. */
struct parsing {
	struct request *request;
	int field; /* the last name was that of this one, or REQUEST_FIELDS */
	unsigned int count[REQUEST_FIELDS];
	bool complete;
};

static int on_target(parser *p, const char *at, size_t size)
{
	struct parsing *parsing = p->data;

	parsing->request->target = (struct span){ at, size };
	return 0;
}

/* The head is in one piece, so each name and each value comes in one piece too. */
static int on_name(parser *p, const char *at, size_t size)
{
	struct parsing *parsing = p->data;
	struct span name = { at, size };
	int field = 0;

	while (field < REQUEST_FIELDS && !span_is_nocase(name, field_names[field]))
		field++;
	parsing->field = field;
	return 0;
}

static int on_value(parser *p, const char *at, size_t size)
{
	struct parsing *parsing = p->data;

	if (parsing->field == REQUEST_FIELDS)
		return 0;
	parsing->request->fields[parsing->field] = span_trim((struct span){ at, size });
	parsing->count[parsing->field]++;
	parsing->field = REQUEST_FIELDS;
	return 0;
}

static enum request_method method_of(unsigned int method)
{
	switch (method) {
	case HTTP_GET:
		return REQUEST_GET;
	case HTTP_HEAD:
		return REQUEST_HEAD;
	case HTTP_OPTIONS:
		return REQUEST_OPTIONS;
	default:
		return REQUEST_OTHER;
	}
}

static bool parser_keeps_alive(const parser *p)
{
#if HAVE_LLHTTP
	return llhttp_should_keep_alive(p) != 0;
#else
	return http_should_keep_alive(p) != 0;
#endif
}

static int on_head_complete(parser *p)
{
	struct parsing *parsing = p->data;

	parsing->request->method = method_of(p->method);
	/* In HTTP/1.0 the parsers let "keep-alive" win over "close" (RFC 9112 9.3). CONNECT would turn the connection
	 * into a tunnel: what follows its head is no request. */
	parsing->request->keep_alive =
		parser_keeps_alive(p) && (p->flags & F_CONNECTION_CLOSE) == 0 && p->method != HTTP_CONNECT;
	parsing->complete = true;
	return 2; /* both parsers: no body, and nothing after it; receive.h reads bodies */
}

static const parser_settings *settings(void)
{
	static const parser_settings callbacks = {
		.on_url = on_target,
		.on_header_field = on_name,
		.on_header_value = on_value,
		.on_headers_complete = on_head_complete,
	};

	return &callbacks;
}

/* Runs the parser. Returns 0 or an HTTP status. */
static int run(struct parsing *parsing, const char *text, size_t size)
{
	parser p;
	bool method_unknown;

#if HAVE_LLHTTP
	llhttp_init(&p, HTTP_REQUEST, settings());
	p.data = parsing;
	method_unknown = llhttp_execute(&p, text, size) == HPE_INVALID_METHOD;
#else
	http_parser_init(&p, HTTP_REQUEST);
	p.data = parsing;
	http_parser_execute(&p, settings(), text, size);
	method_unknown = HTTP_PARSER_ERRNO(&p) == HPE_INVALID_METHOD;
#endif
	if (parsing->complete)
		return 0;
	return method_unknown ? 501 : 400;
}

static enum request_expectation expectation_of(struct span value, unsigned int minor)
{
	/* RFC 9110 10.1.1: one from an HTTP/1.0 client is ignored. */
	if (value.text == NULL || minor == 0)
		return REQUEST_EXPECTS_NOTHING;
	return span_is_nocase(value, "100-continue") ? REQUEST_EXPECTS_CONTINUE : REQUEST_EXPECTS_UNKNOWN;
}

int request_parse(const char *text, size_t size, const struct head *head, struct request *ret_request)
{
	struct parsing parsing = { .request = ret_request, .field = REQUEST_FIELDS };
	int refused;

	*ret_request = (struct request){ .minor = head->minor };
	refused = run(&parsing, text, size);
	if (refused != 0)
		return refused;
	/* The parser and the strict pass must have read the same request. */
	if (ret_request->target.text != head->target.text || ret_request->target.size != head->target.size)
		return 400;
	for (int field = 0; field < REQUEST_FIELDS; field++)
		if (parsing.count[field] > 1)
			ret_request->fields[field].size = 0;
	if (parsing.count[REQUEST_EXPECT] > 1)
		ret_request->expectation = REQUEST_EXPECTS_UNKNOWN;
	else
		ret_request->expectation = expectation_of(ret_request->fields[REQUEST_EXPECT], head->minor);
	return 0;
}
