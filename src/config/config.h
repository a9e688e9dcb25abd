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
#include "brood/module.h"
#include "net/listener.h"

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
	union brood_value *values; /* one for each row of the handler's options */
	uint32_t workers;

	uint64_t start_timeout_ms;
	uint64_t stop_timeout_ms;
	uint64_t request_timeout_ms; /* 0: none */
	uint64_t read_timeout_ms;
	uint64_t write_timeout_ms;
	uint64_t idle_timeout_ms;
	uint64_t backoff_min_ms;
	uint64_t backoff_max_ms;

	char *user; /* as written, here or for all pools; "": stay as started */
	char *group;
	struct identity identity;
};

struct config {
	char *file;

	char *user; /* "": stay as started */
	char *group;
	char *pidfile;    /* "": none */
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
 * Loads FILE. HANDLERS are the modules a pool may name, ended by NULL. Every error is written to ERRORS as a line.
 * Returns 0; -EINVAL after errors of the file's; -ENOMEM.
 */
ATTR_NODISCARD int config_load(const char *file, const struct brood_module *const *handlers,
	const struct config_overrides *overrides, FILE *errors, struct config **ret_config);

/* The same for TEXT, as if it stood in a file NAME; it may include no file. */
ATTR_NODISCARD int config_load_text(const char *text, size_t size, const char *name,
	const struct brood_module *const *handlers, const struct config_overrides *overrides, FILE *errors,
	struct config **ret_config);

/* Writes the whole effective configuration as a file that config_load() accepts and that dumps to itself. */
void config_dump(const struct config *config, FILE *out);

void config_free(struct config *config);

#endif
