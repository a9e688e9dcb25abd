/* SPDX-License-Identifier: MIT */
#ifndef BASE_LOG_WIRE_H
#define BASE_LOG_WIRE_H
/*
 * What travels from a writer of lines to the logger process: one message a line, a header and a body. An access line's
 * body is the line. An event's body is its text, then the fields: a separator, the name, a second separator that says
 * text or number, the value. All of it is escaped before the separators are put in, so they cannot occur in a value.
 *
 * Private to log.c and the logger. Nothing here allocates, uses stdio or makes a system call. The reader trusts no
 * byte: what does not parse is refused.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attrs.h"
#include "base/log.h"

/* Lines queued by one binary may be read by the next (an upgrade): a new layout takes a new number. */
#define LOG_WIRE_VERSION 1

#define LOG_WIRE_FIELD  '\x1e'
#define LOG_WIRE_TEXT   '\x1f'
#define LOG_WIRE_NUMBER '\x1d'

struct log_wire_header {
	uint8_t version;
	uint8_t level;
	uint8_t cut; /* 1: the line was longer than LOG_LINE_MAX */
	uint8_t unused;
	uint32_t stream; /* 0: an event; from 1 on: an access log */
	int32_t pid;     /* of the writer */
	uint32_t unused_too;
	uint64_t time_us; /* CLOCK_REALTIME */
};

/* A message, taken apart. The pointers go into the message. */
struct log_record {
	struct log_wire_header header;
	const char *event; /* or the whole access line */
	size_t event_size;
	const char *fields;
	size_t fields_size;
};

struct log_wire_field {
	const char *name;
	size_t name_size;
	const char *value;
	size_t value_size;
	bool is_number;
};

/* Writes an event as a message to BUFFER (LOG_LINE_MAX bytes) and returns the message's size. */
size_t log_wire_encode(
	char *buffer, const struct log_wire_header *header, const char *event, const struct log_field *fields);

/* Returns 0 or -EBADMSG. */
ATTR_NODISCARD int log_wire_parse(const void *message, size_t size, struct log_record *ret_record);

/* Walks the fields: start with *POSITION 0; false at the end. */
bool log_wire_next(const struct log_record *record, size_t *position, struct log_wire_field *ret_field);

#endif
