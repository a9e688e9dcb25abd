/* SPDX-License-Identifier: MIT */
#ifndef HTTP_MIME_H
#define HTTP_MIME_H
/*
 * The media type of a file, from its name's extension, by the system's table (mime.types(5): a type and its extensions
 * on a line).
 *
 * The table is not kept in memory, which each of hundreds of workers would have a copy of: it is searched in the file,
 * and the last answers are remembered. The file is read, not mapped: a mapping would kill the process if the file were
 * cut short. Where there is no table, a handful of types that pages are made of are known.
 */
#include <stdint.h>

#include "handlers/http/text.h"

#define MIME_EXTENSION_MAX 16
#define MIME_TYPE_MAX      100
#define MIME_REMEMBERED    16

struct mime_answer {
	uint8_t extension_size;             /* 0: free */
	uint8_t type_size;                  /* 0: the table does not have it */
	char extension[MIME_EXTENSION_MAX]; /* in lower case */
	char type[MIME_TYPE_MAX];
};

struct mime {
	int fd;            /* -1: no table */
	unsigned int next; /* the answer to be forgotten next */
	struct mime_answer answers[MIME_REMEMBERED];
};

/* Opens the table FILE. Returns 0 or a negative errno, after which the object can be used all the same. */
int mime_init(struct mime *mime, const char *file);
void mime_done(struct mime *mime);

/* The type of a file with EXTENSION, "application/octet-stream" if it is unknown. Valid until the next call. */
struct span mime_type(struct mime *mime, struct span extension);

#endif
