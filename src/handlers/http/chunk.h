/* SPDX-License-Identifier: MIT */
#ifndef HTTP_CHUNK_H
#define HTTP_CHUNK_H
/*
 * The chunked coding (RFC 9112 7.1), read away byte for byte and strictly: hexadecimal digits, perhaps extensions,
 * CRLF; exactly that many bytes and CRLF; the last chunk, trailer fields in the form of header fields, and an empty
 * line. What deviates is where two programs could come to see different bodies. A pure function of bytes.
 */
#include <stddef.h>
#include <stdint.h>

struct chunk_limits {
	uint64_t body;   /* bytes of data */
	size_t overhead; /* bytes of extensions and trailers */
};

struct chunk_parser {
	int state; /* private; 0 is the beginning */
	unsigned int digits;
	uint64_t left; /* of the chunk under way */
	uint64_t body; /* of all so far */
	size_t overhead;
};

enum {
	CHUNK_MORE = 0,
	CHUNK_DONE = 1, /* the body and its trailer have ended */
};

/* Feeds SIZE bytes; *ret_used of them belonged to the body. Returns CHUNK_MORE, CHUNK_DONE, or an HTTP status: 400, 413
 * for a body above its limit, 431 for an overhead above its. */
int chunk_feed(struct chunk_parser *parser, const char *text, size_t size, const struct chunk_limits *limits,
	size_t *ret_used);

#endif
