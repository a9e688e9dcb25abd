/* SPDX-License-Identifier: MIT */
#ifndef HTTP_ACCESSLOG_H
#define HTTP_ACCESSLOG_H
/*
 * One line a request in the Common Log Format:
 *
 *	peer - - [10/Oct/2000:13:55:36 -0700] "GET /a HTTP/1.0" 200 2326
 *
 * with the time of the answer in the local zone, and the size of its body ("-" for none), which a client that went away
 * may not have got whole. In the request line, quotes, backslashes, control bytes and bytes beyond ASCII are written as
 * \xHH; one that is very long is cut.
 */
#include "handlers/http/exchange.h"

/* Writes the line of an answered request, where there is an access log. */
void accesslog_write(struct exchange *exchange);

#endif
