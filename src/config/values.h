/* SPDX-License-Identifier: MIT */
#ifndef CONFIG_VALUES_H
#define CONFIG_VALUES_H
/*
 * Values as text, as they are written in the configuration file, and back. Every number is decimal: "010" is ten. The
 * one exception is VALUE_MODE, a file mode, which is octal as in chmod(1). Nothing is skipped, rounded or cut: what
 * is not understood to its last byte is refused.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attrs.h"

enum value_kind {
	VALUE_BOOL,     /* true false on off yes no; 0 or 1 */
	VALUE_NUMBER,   /* 42; -42 where `min` is negative */
	VALUE_SIZE,     /* 42 64K 16M 1G, in bytes; K is 1024 */
	VALUE_DURATION, /* 500ms 30s 5m 2h 1d, in milliseconds; 0 needs no unit */
	VALUE_MODE,     /* 660 or 0660, octal */
	VALUE_SIGNAL,   /* TERM or SIGTERM; its number */
	VALUE_CHOICE,   /* one of `choices`; min + its index */
	VALUE_TEXT,     /* any text; its length */
	VALUE_LIST,     /* of texts: each element by itself is parsed like VALUE_TEXT */
	VALUE_KINDS,
};

struct value_rule {
	enum value_kind kind;
	int64_t min; /* of the number; of the length of a text */
	int64_t max;
	int64_t step;               /* above 1: only multiples of it */
	bool zero_is_off;           /* "off" may be written for 0, and is */
	bool may_be_unlimited;      /* "unlimited" may be written, beyond `max`; it is VALUE_UNLIMITED */
	const char *const *choices; /* ended by NULL */
};

#define VALUE_UNLIMITED INT64_MAX

/* Enough for any value_format() and any reason. */
#define VALUE_TEXT_MAX   32
#define VALUE_REASON_MAX 256

/* "number", "duration", ...: for lists of keys. */
const char *value_kind_name(enum value_kind kind);

/*
 * Reads TEXT by RULE. Returns 0, or -EINVAL with REASON, of VALUE_REASON_MAX bytes: what is wrong and what is accepted,
 * in words that continue `key = value`.
 */
ATTR_NODISCARD int value_parse(const struct value_rule *rule, const char *text, int64_t *ret_number, char *reason);

/* The text that reads back as NUMBER, for all kinds but texts and lists. Returns BUFFER of VALUE_TEXT_MAX bytes. */
char *value_format(const struct value_rule *rule, int64_t number, char *buffer);

#endif
