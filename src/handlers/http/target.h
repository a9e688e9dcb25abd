/* SPDX-License-Identifier: MIT */
#ifndef HTTP_TARGET_H
#define HTTP_TARGET_H
/*
 * From the target of a request to a path below the root directory. Pure functions of bytes.
 *
 * Taken are the origin-form "/a/b?query", the absolute-form "http://host/a/b?query" and, for OPTIONS, "*". Of the path:
 *	%XX is decoded once; a broken one, and %00, is 400
 *	segments "." and "..", encoded or not, are 400: clients resolve them before they ask (RFC 3986 5.2.4), so who
 *	    sends them means to leave the root or to get past a check on the way
 *	an encoded slash is 404: no file's name has a slash in it
 *	empty segments are dropped, so a path never begins with a slash
 */
#include <stdbool.h>
#include <stddef.h>

#include "handlers/http/text.h"

/* PATH_MAX; what does not fit names no file. */
#define TARGET_PATH_MAX 4096

struct target {
	bool directory;    /* the path ended in a slash, or was empty */
	struct span query; /* without its question mark; `text` NULL: there is none */
	size_t path_size;
	char path[TARGET_PATH_MAX]; /* relative, terminated, without a slash at either end; "" is the root */
};

/* Parses TEXT, whose bytes head_check() has passed. An asterisk, where it is allowed, is the root. Returns 0 or an HTTP
 * status. */
int target_parse(struct span text, bool asterisk_allowed, struct target *ret_target);

/* The extension of a path's last segment, without its dot; size 0 if there is none. A name that begins with its only
 * dot has none. */
struct span target_extension(const char *path, size_t size);

#endif
