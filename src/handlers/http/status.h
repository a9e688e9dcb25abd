/* SPDX-License-Identifier: MIT */
#ifndef HTTP_STATUS_H
#define HTTP_STATUS_H
/*
 * The statuses this handler answers with (RFC 9110 15, RFC 6585 5), one row each.
 *
 * Throughout the handler a function that can refuse a request returns 0, or the status to refuse it with (400 and up),
 * or, where it uses the connection, a negative errno once that is of no more use.
 */
#include <stdbool.h>

struct status {
	int code;
	const char *reason;
	const char *sentence; /* for the page that people see; NULL: an answer without a page */
	bool closes;          /* nothing that follows on the connection can be trusted to be a request */
};

/* The row of CODE; that of 500 for a code without one. */
const struct status *status_find(int code);

#endif
