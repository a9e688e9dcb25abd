/* SPDX-License-Identifier: MIT */
#ifndef BROOD_MODULE_H
#define BROOD_MODULE_H
/*
 * brood/module.h: what a handler is. The built-in handlers are modules too, compiled in; others are shared objects that
 * a pool with handler = "module" loads, each of which defines `brood_module`, below.
 *
 * A worker process calls start() once, after its privileges are dropped; serve() for each connection, one after the
 * other; stop() once, when it retires. All three run in one thread, may block, and may keep what they like in the state
 * that start() returns. A crash or an _exit() in serve() costs the one connection.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <brood/stream.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Raised whenever this header changes in a way that a compiled module would notice. */
#define BROOD_MODULE_ABI 1

/* How the value of an option is written in the configuration file, and how it arrives. */
enum brood_option_type {
	BROOD_OPTION_BOOL,      /* true false on off yes no; .on */
	BROOD_OPTION_NUMBER,    /* decimal; .number */
	BROOD_OPTION_SIZE,      /* 64K 16M 1G; .number, in bytes */
	BROOD_OPTION_DURATION,  /* 500ms 30s 5m 2h 1d; .number, in milliseconds */
	BROOD_OPTION_TEXT,      /* .text, never NULL */
	BROOD_OPTION_CHOICE,    /* one of `choices`; .number is its index */
	BROOD_OPTION_LIST,      /* { "a", "b" }; .list, ended by NULL */
	BROOD_OPTION_LOG,       /* "off" or an absolute path; .number is 0 or the handle for access_log() */
	BROOD_OPTION_DIRECTORY, /* one that exists; .text is absolute, what is relative is so to the configuration */
	BROOD_OPTION_FILE,      /* the same of a file, which may be missing */
};

/* One option of a module's section. A table of them ends with a NULL name. */
struct brood_option {
	const char *name;
	enum brood_option_type type;
	const char *fallback;       /* the default, as it would be written in the file; NULL: it must be given */
	int64_t min;                /* of .number; of the length of .text */
	int64_t max;                /* min and max both 0: no limit */
	const char *const *choices; /* ended by NULL; with BROOD_OPTION_CHOICE */
	const char *help;           /* one sentence, for the manual and --dump */
};

union brood_value {
	bool on;
	int64_t number;
	const char *text;
	const char *const *list;
};

struct brood_host;

/* What start() is given. All of it lives as long as the worker. */
struct brood_start {
	const char *pool;                /* the pool's name */
	const union brood_value *values; /* one for each row of `options`, in its order */
	/* Writes a line to the daemon's log, at syslog(3) priority PRIORITY (3 to 7). */
	void (*log)(int priority, const char *text);
	/* Writes a line (no newline) to the access log that an option of type BROOD_OPTION_LOG named; HANDLE is the
	 * option's .number. Never blocks: a line that finds the logger busy is dropped, and counted. */
	void (*access_log)(unsigned int handle, const char *line, size_t size);
	/* The daemon's own, for handlers that are part of it; a module leaves it alone. */
	const struct brood_host *host;
};

struct brood_module {
	uint32_t abi;  /* BROOD_MODULE_ABI */
	uint32_t size; /* sizeof(struct brood_module) */
	const char *name;
	const char *version;
	/*
	 * In its protocol the client speaks first. A pool of this handler then has `defer_accept` on, unless its
	 * configuration says otherwise: a client that only connects, as browsers do ahead of a request, holds no
	 * worker.
	 */
	bool client_first;
	const struct brood_option *options; /* NULL: none */

	/*
	 * Checks the rules across options, once each of them is sound by itself: pure, called while the configuration
	 * is loaded, in any process. Returns 0, or a negative errno with the reason, such as "size is over limit", in
	 * REASON of SIZE bytes. May be NULL.
	 */
	int (*check)(const union brood_value *values, char *reason, size_t size);

	/*
	 * Checks what only a worker can check, opens what serving needs. *ret_state is handed to the others.
	 * Returns 0, or a negative errno after it has logged why: the worker then dies before it is ready.
	 */
	int (*start)(const struct brood_start *start, void **ret_state);

	/* Serves one connection. Returns 0 if it came to its end, or the negative errno that ended it. */
	int (*serve)(void *state, struct brood_stream *stream);

	/* Frees what start() made. May be NULL. */
	void (*stop)(void *state);
};

/*
 * The one symbol that a shared object must define to be a module:
 *
 *	const struct brood_module brood_module = {
 *		.abi = BROOD_MODULE_ABI,
 *		.size = sizeof(struct brood_module),
 *		.name = "mine",
 *		.version = "1.0",
 *		.serve = serve,
 *	};
 *
 * It is visible even where the rest is compiled with -fvisibility=hidden, and has C linkage in C++ too.
 *
 * The calls of libbrood that a module makes reach the daemon's own copy of the library, which has made the stream: the
 * daemon exports them, and the loader looks there first. So a module may be linked with libbrood.so (pkg-config --libs
 * brood) or not at all. It must not keep a copy of its own: no libbrood.a in it that -Bsymbolic or a version script
 * binds to itself.
 */
#define BROOD_MODULE_EXPORT __attribute__((visibility("default")))
#define BROOD_MODULE_SYMBOL "brood_module"

BROOD_MODULE_EXPORT extern const struct brood_module brood_module;

#ifdef __cplusplus
}
#endif
#endif
