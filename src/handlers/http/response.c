/* SPDX-License-Identifier: MIT */
#include "handlers/http/response.h"

#include <string.h>

/* A string literal, without measuring it. */
#define buffer_literal(out, literal) buffer_bytes((out), (literal), sizeof(literal) - 1)

void response_begin(struct buffer *out, const struct status *status, const struct date_now *now)
{
	buffer_literal(out, "HTTP/1.1 ");
	buffer_number(out, (unsigned int)status->code);
	buffer_literal(out, " ");
	buffer_text(out, status->reason);
	buffer_literal(out, "\r\nServer: brood\r\nDate: ");
	buffer_bytes(out, now->text, DATE_SIZE);
	buffer_literal(out, "\r\n");
}

void response_field(struct buffer *out, const char *name, const char *value)
{
	buffer_text(out, name);
	buffer_literal(out, ": ");
	buffer_text(out, value);
	buffer_literal(out, "\r\n");
}

static bool is_text(struct span type)
{
	return type.size > 5 && memcmp(type.text, "text/", 5) == 0;
}

void response_content(struct buffer *out, struct span type, const char *charset, uint64_t length)
{
	buffer_literal(out, "Content-Type: ");
	buffer_span(out, type);
	if (charset[0] != '\0' && is_text(type)) {
		buffer_literal(out, "; charset=");
		buffer_text(out, charset);
	}
	buffer_literal(out, "\r\nContent-Length: ");
	buffer_number(out, length);
	buffer_literal(out, "\r\n");
}

void response_validators(struct buffer *out, const struct validators *validators, const struct date_now *now)
{
	buffer_literal(out, "Last-Modified: ");
	if (validators->modified < now->time) {
		char date[DATE_SIZE];

		date_format(validators->modified, date);
		buffer_bytes(out, date, DATE_SIZE);
	} else {
		/* RFC 9110 8.8.2.1: never later than the answer's own date. */
		buffer_bytes(out, now->text, DATE_SIZE);
	}
	buffer_literal(out, "\r\nETag: ");
	buffer_bytes(out, validators->etag, validators->etag_size);
	buffer_literal(out, "\r\n");
}

void response_range(struct buffer *out, uint64_t first, uint64_t last, uint64_t size)
{
	buffer_literal(out, "Content-Range: bytes ");
	buffer_number(out, first);
	buffer_literal(out, "-");
	buffer_number(out, last);
	buffer_literal(out, "/");
	buffer_number(out, size);
	buffer_literal(out, "\r\n");
}

void response_range_unsatisfied(struct buffer *out, uint64_t size)
{
	buffer_literal(out, "Content-Range: bytes */");
	buffer_number(out, size);
	buffer_literal(out, "\r\n");
}

void response_location(struct buffer *out, const struct target *target)
{
	/* The path has one slash at its beginning, whatever the client sent: "//name" would lead to another host. */
	buffer_literal(out, "Location: /");
	buffer_path(out, target->path, target->path_size);
	buffer_literal(out, "/");
	if (target->query.text != NULL) {
		buffer_literal(out, "?");
		buffer_span(out, target->query);
	}
	buffer_literal(out, "\r\n");
}

void response_end(struct buffer *out, enum response_connection connection)
{
	if (connection == RESPONSE_CLOSES)
		buffer_literal(out, "Connection: close\r\n");
	else if (connection == RESPONSE_STAYS_OPEN_SAID)
		buffer_literal(out, "Connection: keep-alive\r\n");
	buffer_literal(out, "\r\n");
}

static void page_title(struct buffer *out, const struct status *status)
{
	buffer_number(out, (unsigned int)status->code);
	buffer_literal(out, " ");
	buffer_text(out, status->reason);
}

void response_page(struct buffer *out, const struct status *status)
{
	buffer_literal(out, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>");
	page_title(out, status);
	buffer_literal(out, "</title></head>\n<body><h1>");
	page_title(out, status);
	buffer_literal(out, "</h1><p>");
	buffer_text(out, status->sentence);
	buffer_literal(out, "</p></body></html>\n");
}
