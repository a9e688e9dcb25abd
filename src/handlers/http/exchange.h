/* SPDX-License-Identifier: MIT */
#ifndef HTTP_EXCHANGE_H
#define HTTP_EXCHANGE_H
/*
 * One request and its answer, and what the handler keeps between them. Private to the handler; one process, one thread.
 *
 * Functions that answer return 0 once the answer is sent, or a negative errno: then nothing more can be said on the
 * connection, and it must be closed.
 */
#include <brood/module.h>
#include <brood/stream.h>

#include "base/attrs.h"
#include "handlers/http/chunk.h"
#include "handlers/http/date.h"
#include "handlers/http/head.h"
#include "handlers/http/mime.h"
#include "handlers/http/recent.h"
#include "handlers/http/request.h"
#include "handlers/http/target.h"
#include "handlers/http/text.h"

/* A body up to this size goes out with its head in one send(2); a longer one by sendfile(2). */
#define HTTP_SMALL_FILE ((size_t)16384)

/* Room for the longest head, which has a Location with a percent-encoded path and a query in it. */
#define HTTP_HEAD_ROOM ((size_t)32768)

/* The state of the handler. */
struct http {
	const struct brood_start *start;

	int root_fd;
	const char *const *index;
	bool listing;
	unsigned int access_log; /* handle, or 0 */
	const char *charset;
	struct head_limits head_limits;
	struct chunk_limits body_limits;
	uint64_t keepalive_requests; /* 0: any number */

	struct mime mime;
	struct recent recent;
	struct date_now now;
	struct target target; /* of the request under way */
	struct buffer out;    /* the answer under way; its pages are touched as far as answers reach */
	char *saved_head;     /* a head whose body had to be read; made at the first of them */
};

struct exchange {
	struct http *http;
	struct brood_stream *stream;
	struct span line; /* the request line, or what came of it, where there is an access log */
	struct request request;
	bool close; /* the connection ends with this answer */

	/* Of the answer, for its fields and for the log. */
	int status;
	uint64_t file_size; /* with 416 */
	uint64_t body_size;
};

/* Serves the request that has begun to arrive. LAST: no other will be served on this connection. Returns 1: the
 * connection may go on; 0: it has come to its end; or a negative errno. */
ATTR_NODISCARD int exchange_serve(struct http *http, struct brood_stream *stream, bool last);

/* ---- for those who answer ---- */

/* Begins the answer in http->out: the fields that every answer has. */
void exchange_begin(struct exchange *exchange, int code);

/* Sends http->out, the end of an answer. Before a close it leaves together with the end of the stream: so the caller
 * must be on its way to there. */
ATTR_NODISCARD int exchange_write(struct exchange *exchange);

/* Ends the head, and sends it. BODY ("" for none) of BODY_SIZE bytes goes with it, but not to HEAD. */
ATTR_NODISCARD int exchange_send(struct exchange *exchange, const char *body, size_t body_size);

/* Ends the head in http->out, without sending it. False: it does not fit. */
ATTR_NODISCARD bool exchange_end_head(struct exchange *exchange);

/* Answers with the status CODE and its page. */
ATTR_NODISCARD int exchange_send_page(struct exchange *exchange, int code);

/* Answers GET and HEAD for http->target (static.c). */
ATTR_NODISCARD int static_answer(struct exchange *exchange);

#endif
