/* SPDX-License-Identifier: MIT */
#include "handlers/http/accesslog.h"

#include <time.h>

/* A request line may become four times as long by its escapes, and a line to the logger has 4096 bytes. */
#define REQUEST_LINE_MAX 900
#define LINE_MAX_SIZE    4000

static void add_time(struct buffer *line, time_t now)
{
	char text[40];
	struct tm local;

	/* localtime_r() reads the zone once, and makes no system call from then on. */
	if (localtime_r(&now, &local) == NULL)
		return;
	buffer_bytes(line, text, strftime(text, sizeof(text), "%d/%b/%Y:%H:%M:%S %z", &local));
}

void accesslog_write(struct exchange *exchange)
{
	struct http *http = exchange->http;
	struct span request = exchange->line;
	char text[LINE_MAX_SIZE];
	struct buffer line = { .data = text, .capacity = sizeof(text) };

	if (http->access_log == 0)
		return;
	buffer_text(&line, brood_peer_text(exchange->stream));
	buffer_text(&line, " - - [");
	add_time(&line, http->now.time);
	buffer_text(&line, "] \"");
	buffer_escaped(&line, request.text, request.size < REQUEST_LINE_MAX ? request.size : REQUEST_LINE_MAX);
	buffer_text(&line, "\" ");
	buffer_number(&line, (unsigned int)exchange->status);
	buffer_text(&line, " ");
	if (exchange->body_size > 0)
		buffer_number(&line, exchange->body_size);
	else
		buffer_text(&line, "-");
	http->start->access_log(http->access_log, line.data, line.size);
}
