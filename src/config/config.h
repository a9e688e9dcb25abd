/* SPDX-License-Identifier: MIT */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H
/*
 * The effective configuration: what the file says, with every default filled in, checked, and every name resolved to
 * what the kernel wants. It knows nothing of processes. The master loads it before it forks; workers inherit it
 * read-only.
 *
 * config_load() reports all errors of a file, each as one line `FILE:LINE: where: what, and what is accepted`.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "base/attrs.h"
#include "base/log.h"
#include "base/logger.h"
#include "base/process_memory.h"
#include "brood/module.h"
#include "net/listener.h"

/* What the workers of a pool are, by its handler. Which keys a pool may have goes by it. */
enum handler_kind {
	HANDLER_SERVES,  /* built in: serves one connection after the other in brood's own loop */
	HANDLER_LOADS,   /* module: the same, with code of a shared object */
	HANDLER_BECOMES, /* inetd: accepts one connection, and becomes a program that serves it */
	HANDLER_ACCEPTS, /* program: becomes a program that accepts for itself */
	HANDLER_KINDS,
};

static inline bool handler_kind_runs_programs(enum handler_kind kind)
{
	return kind == HANDLER_BECOMES || kind == HANDLER_ACCEPTS;
}

/* Where the standard error of an inetd program goes. Of a `program`, `connection` is none. */
enum stderr_target {
	STDERR_LOG,
	STDERR_CONNECTION,
	STDERR_NULL,
};

enum stdin_source {
	STDIN_NULL,
	STDIN_LISTENER, /* the first one: FastCGI's convention */
};

/* When a `program` counts as ready. */
enum ready_signal {
	READY_ALIVE,  /* once it has lived for ready_after */
	READY_NOTIFY, /* once it says READY=1 to its NOTIFY_SOCKET: sd_notify(3) */
	READY_ACK,    /* once it sends Einhorn's worker:ack */
};

/* Whose messages to a worker's NOTIFY_SOCKET count. */
enum notify_access {
	NOTIFY_MAIN,  /* those of the worker's own process */
	NOTIFY_GROUP, /* and of the others of its process group */
};

/* Where programs are looked for if brood was started without a PATH. */
#define PROGRAM_PATH_USUAL "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* What a worker becomes, of pools for which handler_kind_runs_programs(). */
struct program_config {
	char **command; /* ended by NULL */
	size_t command_count;
	/* command[0], searched in PATH where it has no slash; absolute unless it is relative to `directory` */
	char *path;
	char *directory;
	char **environment; /* NAME=value, ended by NULL */
	size_t environment_count;
	enum stderr_target stderr_target;
	enum stdin_source stdin_source;
	uint32_t stop_signal; /* its number */
	enum ready_signal ready;
	enum notify_access notify_access;
	uint64_t ready_after_ms;
	uint64_t watchdog_timeout_ms; /* 0: none */
};

/* A resource limit of a worker's: setrlimit(2). Soft and hard are the same. */
struct limit_config {
	int resource;   /* RLIMIT_... */
	uint64_t value; /* RLIM_INFINITY: none */
};

/* Whom a worker becomes. Resolved in the master, so that a worker asks no name service. */
struct identity {
	bool change; /* false: stay as started */
	uid_t uid;
	gid_t gid;
	gid_t *groups; /* supplementary, of the user's */
	size_t group_count;
	char *user; /* as written, for messages */
	char *group;
};

/* The signals that come before SIGKILL, at most. */
#define OVERRUN_SIGNALS_MAX 8

/* What says how many workers a pool has. */
enum pool_size {
	SIZE_FIXED,     /* `workers` */
	SIZE_BY_LOAD,   /* min_workers to max_workers */
	SIZE_WAITING,   /* of inetd: as many as `workers` says wait, beside those that have become programs */
	SIZE_ON_DEMAND, /* the same, but none waits where nobody comes */
};

struct pool_config {
	char *name;
	const char *file; /* where the pool's section stands, for messages */
	int line;

	char **listen; /* ended by NULL; each accepted by address_parse() */
	size_t listen_count;
	struct listener_options listener;
	char *socket_user; /* as written; resolved in `listener` */
	char *socket_group;

	char *handler_name;
	const struct brood_module *handler;
	enum handler_kind kind;
	union brood_value *values; /* one for each row of the handler's options */
	/* 0: a number that has no meaning with this size. */
	enum pool_size size;
	uint32_t workers;
	uint32_t min_workers;
	uint32_t roll_batch;  /* so many more there may be while a reload replaces them; 0: a tenth, at least one */
	uint32_t max_workers; /* of inetd, those that wait and those that have become programs, together; >= workers */
	uint32_t min_spare;   /* idle workers, beside those that have a connection */
	uint32_t max_spare;
	uint64_t idle_exit_ms;       /* 0: never */
	uint64_t sample_interval_ms; /* of a program's accept queues */
	uint64_t max_requests;       /* of a worker; 0: it is not recycled for them; so with the next ones */
	uint64_t max_age_ms;
	uint64_t max_memory; /* bytes */
	enum memory_measure memory_measure;
	uint32_t jitter; /* in percent */
	struct program_config program;

	char *module; /* with HANDLER_LOADS: the absolute path; "" else */
	/* What the module says of itself: name, version and options, copied out of the process that loaded it; its
	 * functions are NULL. With HANDLER_LOADS `values` go with these options. */
	struct brood_module *description;

	char *chroot; /* "": none */
	uint32_t umask;
	struct limit_config *limits;
	size_t limit_count;

	uint64_t start_timeout_ms;
	uint64_t stop_timeout_ms;
	uint64_t request_timeout_ms; /* 0: none */
	char **overrun_signals;      /* as written, ended by NULL; KILL may stand at the end */
	size_t overrun_signals_count;
	uint8_t overrun_numbers[OVERRUN_SIGNALS_MAX]; /* the same without KILL */
	uint32_t overrun_number_count;
	uint64_t overrun_grace_ms;
	/* 0 too where programs serve: they know nothing of time-outs on their sockets, and take their end for an error.
	 */
	uint64_t read_timeout_ms;
	uint64_t write_timeout_ms;
	uint64_t idle_timeout_ms;
	uint64_t slow_after_ms; /* 0: nothing is called slow */
	uint64_t backoff_min_ms;
	uint64_t backoff_max_ms;
	uint64_t healthy_after_ms;
	uint32_t give_up_after; /* 0: never */

	char *user; /* as written, here or for all pools; "": stay as started */
	char *group;
	struct identity identity;
};

/* So many a pool has, or may have, whatever the others want. */
static inline uint32_t pool_config_least(const struct pool_config *pool)
{
	return pool->size == SIZE_FIXED || pool->size == SIZE_WAITING ? pool->workers : pool->min_workers;
}

struct config {
	char *file;

	char *user; /* "": stay as started */
	char *group;
	char *pidfile; /* "": none */
	char *control; /* the control socket's absolute path, or CONTROL_AUTO or CONTROL_OFF (net/control_path.h) */
	mode_t control_mode;
	char *log_target; /* accepted by log_target_parse() */
	enum log_level log_level;
	enum log_format log_format;
	uint32_t max_workers;     /* of all pools: the slots of the scoreboard */
	uint64_t stop_timeout_ms; /* of the whole daemon */

	struct pool_config *pools;
	size_t pool_count;

	/* The access logs that handlers' options name; stream 1 is the first (base/logger.h). */
	char **access_files;
	size_t access_count;
};

/* What the command line says over the file; NULL or -1 leave it. */
struct config_overrides {
	const char *pidfile;
	const char *log_target;
	int log_level;
};

/*
 * What only a process that has become the pool's user, in the pool's chroot, can tell of foreign code and programs. The
 * callbacks return 0, or a negative errno with the reason in REASON of SIZE bytes, in words that continue the path of
 * the module or program: "cannot be loaded". They are asked when the pool's name, file, identity, chroot, umask and
 * limits stand, and besides them what is said here. NULL: that is not asked.
 */
struct config_probe {
	/* Loads pool->module and copies what it says of itself: name, version, options. The copy's functions are NULL.
	 * It is given to description_free() once. */
	int (*module_describe)(
		const struct pool_config *pool, struct brood_module **ret_description, char *reason, size_t size);
	/* Calls the module's check() with pool->values, which go with pool->description. The reason is check()'s. */
	int (*module_check)(const struct pool_config *pool, char *reason, size_t size);
	/* Whether pool->program can be executed. */
	int (*program)(const struct pool_config *pool, char *reason, size_t size);
	void (*description_free)(struct brood_module *description);
	/* A description as bytes, for another process of ours, and back: DATA is from malloc(), and freed by who gets
	 * it; a description is made by another process and trusted as little as the module. */
	int (*description_encode)(const struct brood_module *description, char **ret_data, size_t *ret_size);
	int (*description_decode)(
		char *data, size_t data_size, struct brood_module **ret_description, char *reason, size_t size);
};

/* What a load is given from above. */
struct config_host {
	const struct brood_module *const *handlers; /* those a pool may name, ended by NULL */
	const struct config_probe *probe;           /* NULL: nothing is asked */
};

/* What a load goes by, for whoever loads again. All of it outlives him. */
struct config_origin {
	const char *file; /* absolute: who loads again may have left the directory he was started in */
	const struct config_host *host;
	const struct config_overrides *overrides;
};

/*
 * Loads FILE. HOST need not outlive the call; the handlers must outlive the configuration. Every error is written to
 * ERRORS as a line. Returns 0; -EINVAL after errors of the file's; -ENOMEM.
 */
ATTR_NODISCARD int config_load(const char *file, const struct config_host *host,
	const struct config_overrides *overrides, FILE *errors, struct config **ret_config);

/* The same for TEXT, as if it stood in a file NAME; it may include no file. */
ATTR_NODISCARD int config_load_text(const char *text, size_t size, const char *name, const struct config_host *host,
	const struct config_overrides *overrides, FILE *errors, struct config **ret_config);

/* Writes the whole effective configuration as a file that config_load() accepts and that dumps to itself. */
void config_dump(const struct config *config, FILE *out);

void config_free(struct config *config);

/* "nofile", as in the section `limits`, for a resource of one of its rows. */
const char *config_limit_name(int resource);

#endif
