/* SPDX-License-Identifier: MIT */
#include "handlers/http/exchange.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "handlers/http/accesslog.h"
#include "handlers/http/receive.h"
#include "handlers/http/response.h"

/* How long the last words to a client that was too slow may take. */
#define FAREWELL_MS 500 /* well before the master ends a worker that has overrun its request_timeout */

/* ---- answers ---- */

void exchange_begin(struct exchange *exchange, int code)
{
	const struct status *status = status_find(code);

	exchange->status = status->code;
	exchange->close = exchange->close || status->closes || brood_retiring(exchange->stream);
	date_now_update(&exchange->http->now);
	buffer_reset(&exchange->http->out);
	response_begin(&exchange->http->out, status, &exchange->http->now);
}

bool exchange_end_head(struct exchange *exchange)
{
	enum response_connection connection = RESPONSE_STAYS_OPEN;

	if (exchange->close)
		connection = RESPONSE_CLOSES;
	else if (exchange->request.minor == 0)
		connection = RESPONSE_STAYS_OPEN_SAID;
	response_end(&exchange->http->out, connection);
	return !exchange->http->out.overflow;
}

int exchange_write(struct exchange *exchange)
{
	const struct buffer *out = &exchange->http->out;

	if (exchange->close)
		return brood_write_more(exchange->stream, out->data, out->size);
	return brood_write_all(exchange->stream, out->data, out->size);
}

int exchange_send(struct exchange *exchange, const char *body, size_t body_size)
{
	struct buffer *out = &exchange->http->out;
	struct iovec parts[2];

	if (!exchange_end_head(exchange))
		return -EMSGSIZE;
	if (body_size == 0 || exchange->request.method == REQUEST_HEAD)
		return exchange_write(exchange);
	exchange->body_size = body_size;
	parts[0] = (struct iovec){ out->data, out->size };
	parts[1] = (struct iovec){ (void *)(uintptr_t)body, body_size };
	return brood_writev_all(exchange->stream, parts, 2);
}

/* The fields that belong to a status. */
static void add_status_fields(struct exchange *exchange, struct buffer *out)
{
	if (exchange->status == 301)
		response_location(out, &exchange->http->target);
	else if (exchange->status == 405)
		response_field(out, "Allow", RESPONSE_METHODS);
	else if (exchange->status == 416)
		response_range_unsatisfied(out, exchange->file_size);
}

int exchange_send_page(struct exchange *exchange, int code)
{
	static const struct span html = { "text/html", 9 };
	char text[512];
	struct buffer page = { .data = text, .capacity = sizeof(text) };
	struct buffer *out = &exchange->http->out;

	response_page(&page, status_find(code));
	exchange_begin(exchange, code);
	add_status_fields(exchange, out);
	response_content(out, html, "utf-8", page.size);
	if (out->overflow && code != 500)
		return exchange_send_page(exchange, 500);
	return exchange_send(exchange, page.data, page.size);
}

static int send_options(struct exchange *exchange)
{
	exchange_begin(exchange, 200);
	response_field(&exchange->http->out, "Allow", RESPONSE_METHODS);
	response_field(&exchange->http->out, "Content-Length", "0");
	return exchange_send(exchange, "", 0);
}

/* ---- the request ---- */

/* What came of the request line, for the log. */
static struct span first_line(const char *text, size_t size)
{
	size_t end = 0;

	while (size >= 2 && text[0] == '\r' && text[1] == '\n') {
		text += 2;
		size -= 2;
	}
	while (end < size && text[end] != '\r' && text[end] != '\n')
		end++;
	return (struct span){ text, end };
}

/* Moves the head out of the stream's buffer, in which its body will be. */
static const char *save_head(struct http *http, const char *text, size_t size)
{
	if (http->saved_head == NULL)
		http->saved_head = malloc(http->head_limits.head);
	return http->saved_head != NULL ? memcpy(http->saved_head, text, size) : NULL;
}

static bool has_body(const struct head *head)
{
	return head->chunked || head->length > 0;
}

/* Checks and parses a complete head, and takes it off the stream. Returns 0 or the status to refuse it with. */
static int understand(struct exchange *exchange, const char *text, size_t size, struct head *head)
{
	struct http *http = exchange->http;
	int refused = head_check(text, size, &http->head_limits, head);

	if (refused == 0 && has_body(head)) {
		text = save_head(http, text, size);
		if (text == NULL)
			return 503;
		refused = head_check(text, size, &http->head_limits, head);
		exchange->line = head->line;
	}
	if (refused == 0)
		refused = request_parse(text, size, head, &exchange->request);
	if (refused == 0)
		brood_consume(exchange->stream, size);
	return refused;
}

/* Reads the body away. Returns 0, a status to refuse the request with, or a negative errno. */
static int take_body(struct exchange *exchange, const struct head *head)
{
	static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
	bool too_long = head->length > exchange->http->body_limits.body;
	bool waits = exchange->request.expectation == REQUEST_EXPECTS_CONTINUE;

	if (exchange->request.method == REQUEST_OTHER && (too_long || waits)) {
		/* Nobody knows whether a client that waits for this very answer will send its body after it
		 * (RFC 9110 10.1.1). */
		exchange->close = true;
		return 405;
	}
	if (too_long)
		return 413;
	if (waits) {
		int ret = brood_write_all(exchange->stream, go_on, sizeof(go_on) - 1);
		if (ret < 0)
			return ret;
	}
	return receive_body(exchange->stream, head, &exchange->http->body_limits);
}

/* Reads the whole request. Returns 0, a status to refuse it with, or a negative errno. */
static int receive_request(struct exchange *exchange)
{
	const char *text;
	struct head head;
	size_t size;
	int ret = receive_head(exchange->stream, &exchange->http->head_limits, &text, &size);

	if (ret < 0)
		return ret;
	if (exchange->http->access_log != 0)
		exchange->line = first_line(text, size);
	if (ret == 0)
		ret = understand(exchange, text, size, &head);
	if (ret != 0)
		return ret;
	exchange->close = exchange->close || !exchange->request.keep_alive;
	if (exchange->request.expectation == REQUEST_EXPECTS_UNKNOWN)
		return 417;
	return has_body(&head) ? take_body(exchange, &head) : 0;
}

static int answer(struct exchange *exchange)
{
	enum request_method method = exchange->request.method;
	int refused;

	if (method == REQUEST_OTHER)
		return exchange_send_page(exchange, 405);
	refused = target_parse(exchange->request.target, method == REQUEST_OPTIONS, &exchange->http->target);
	if (refused != 0)
		return exchange_send_page(exchange, refused);
	return method == REQUEST_OPTIONS ? send_options(exchange) : static_answer(exchange);
}

int exchange_serve(struct http *http, struct brood_stream *stream, bool last)
{
	struct exchange exchange = { .http = http, .stream = stream, .close = last, .request.minor = 1 };
	int refused = receive_request(&exchange);
	int ret;

	if (refused < 0)
		return refused;
	if (refused == 408)
		brood_set_deadline(stream, FAREWELL_MS); /* in place of one that may have passed */
	ret = refused > 0 ? exchange_send_page(&exchange, refused) : answer(&exchange);
	accesslog_write(&exchange);
	if (ret < 0)
		return ret;
	brood_request_end(stream);
	/* The client may be sending still what nobody will read: it is to get the answer, not a reset. */
	if (refused > 0)
		brood_shutdown_write(stream);
	return exchange.close ? 0 : 1;
}
