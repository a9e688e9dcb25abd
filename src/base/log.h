/* SPDX-License-Identifier: MIT */
#ifndef BASE_LOG_H
#define BASE_LOG_H
/*
 * Log lines, seen from the processes that write them. One call is one event: a stable wording, then named fields.
 *
 *	log_event(LOG_LEVEL_WARNING, "worker died", LOG_TEXT("pool", pool->name), LOG_INT("slot", slot));
 *
 * A line goes to the logger process (base/logger.h) through a socket, never blocks, never allocates and never fails: a
 * line that finds the socket full is dropped and counted, and the logger reports the count. Before there is a logger
 * (log_connect() not called yet) lines go to standard error directly, and wait but shortly for a slow reader. Control
 * bytes, the backslash, and all bytes beyond ASCII are escaped here, at the source, as \xHH.
 *
 * Any process may call it; a forked child inherits the connection. A signal handler may where the line goes to the
 * logger, as it takes no lock then: for the last words of a process.
 */
#include <stdint.h>

/* Priorities, numbered as syslog(3) numbers them. */
enum log_level {
	LOG_LEVEL_ERROR = 3,
	LOG_LEVEL_WARNING = 4,
	LOG_LEVEL_NOTICE = 5,
	LOG_LEVEL_INFO = 6,
	LOG_LEVEL_DEBUG = 7,
};

/* The longest line on the way to the logger, header included; what is longer is cut and ends in "...". */
#define LOG_LINE_MAX 4096

struct log_field {
	const char *name; /* NULL ends a list */
	const char *text; /* NULL: the number counts */
	int64_t number;   /* with a text: its size, where it is not up to its NUL */
};

#define LOG_TEXT(field_name, value) ((struct log_field){ .name = (field_name), .text = (value) })
#define LOG_INT(field_name, value)  ((struct log_field){ .name = (field_name), .number = (value) })
/* SIZE bytes, which may be any, and a NUL behind them. */
#define LOG_BYTES(field_name, data, size)                                                                              \
	((struct log_field){ .name = (field_name), .text = (data), .number = (int64_t)(size) })
/* A negative or positive errno as its message. */
#define LOG_ERRNO(field_name, error) LOG_TEXT(field_name, log_strerror(error))

/* The first field is not looked at: with it, an empty list needs no __VA_OPT__, which not every tool knows. */
#define LOG_FIELDS(...) (&(const struct log_field[]){ { .name = NULL }, ##__VA_ARGS__, { .name = NULL } }[1])

#define log_event(level, event, ...) log_write((level), (event), LOG_FIELDS(__VA_ARGS__))

void log_write(enum log_level level, const char *event, const struct log_field *fields);

/* As strerrordesc_np(3), of either sign, never NULL. */
const char *log_strerror(int error);

/* Lines less urgent than LEVEL are not written. The default is LOG_LEVEL_INFO. */
void log_set_level(enum log_level level);
enum log_level log_get_level(void);

/* "error", "warning", "notice", "info", "debug". Returns 0 or -EINVAL. */
int log_level_parse(const char *name, enum log_level *ret_level);
const char *log_level_name(enum log_level level);

/* A raw line, without a newline, to an access log that the logger opened as STREAM (1 and up; see logger.h). */
void log_access(unsigned int stream, const char *line, uint32_t size);

/* From now on lines go to SOCKET (non-blocking use; not owned), and what is dropped is counted in *DROPPED, which all
 * writers and the logger share. SOCKET -1 goes back to standard error. */
void log_connect(int socket, uint64_t *dropped);
int log_socket(void);
/* Moves the socket to a number of at least FIRST (close-on-exec), where that is possible. */
void log_socket_move(int first);

/* Writes the lines that wait at the reading end of the logger's socket to standard error: for the end of a master that
 * could not start a logger. Access lines are dropped. */
void log_write_queued(int read_socket);

/* Copies TEXT to BUFFER of SIZE, escaping every byte outside printable ASCII and the backslash; always terminated.
 * Returns BUFFER. What does not fit is cut. */
char *log_escape(const char *text, char *buffer, uint32_t size);

#endif
