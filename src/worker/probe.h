/* SPDX-License-Identifier: MIT */
#ifndef WORKER_PROBE_H
#define WORKER_PROBE_H
/*
 * A short-lived child that looks at the machine as a worker of a pool will see it: with the pool's user, chroot and
 * limits, in a session of its own, without a descriptor but for its answer's pipe, without a terminal and what the
 * service manager has told the master, and dead when its parent dies. What it may load there is foreign code: whatever
 * that does to it, the parent gets an answer or a reason in time, and takes each byte of the answer for a stranger's.
 *
 * Where the caller is no superuser and may become nobody else, the child stays who it is, and looks for the paths of a
 * chroot below the chroot's directory. That is what --check can know for an ordinary user; a start in which a worker
 * would have to change its user is refused by the master anyway.
 *
 * Called while a configuration is loaded. The caller's process has one thread.
 */
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attrs.h"
#include "config/config.h"

/* How long the child may take in all. A module's constructors are in it. */
#define PROBE_TIMEOUT_MS 5000
#define PROBE_ANSWER_MAX (256U * 1024)
#define PROBE_REASON_MAX 1024

/* ---- in the child ---- */

struct probe_answer {
	size_t size;
	bool too_long; /* something did not fit, and nothing was added since */
	bool refused;  /* data is a reason, ended by 0 */
	unsigned char data[PROBE_ANSWER_MAX];
};

/* Adds to the answer. */
void probe_add(struct probe_answer *answer, const void *data, size_t size);

/* Makes the answer a reason instead. The reader escapes what cannot be printed. */
void probe_refuse(struct probe_answer *answer, const char *format, ...) ATTR_PRINTF(2, 3);

/* Where a path of the pool's is: in BUFFER of PATH_MAX bytes where the child could not go into the chroot, or PATH. */
const char *probe_path(const struct pool_config *pool, const char *path, char *buffer);

/* What the child does. It fills ANSWER in; with probe_refuse() where what it looks at will not do. */
typedef void (*probe_function)(const struct pool_config *pool, struct probe_answer *answer);

/* ---- in the parent ---- */

/*
 * Runs LOOK in a child. Returns 0 and what it answered, for the caller to free (there is a 0 behind its last byte); or
 * a negative errno with the reason in REASON of SIZE bytes: -EINVAL where LOOK refused, -ETIMEDOUT after TIMEOUT_MS,
 * -ECHILD where the child died without an answer, -EBADMSG where its answer makes no sense. SUBJECT ("its process")
 * begins the reasons that are not LOOK's.
 */
ATTR_NODISCARD int probe_run(const struct pool_config *pool, probe_function look, const char *subject,
	uint32_t timeout_ms, char **ret_answer, size_t *ret_size, char *reason, size_t size);

#endif
