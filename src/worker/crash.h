/* SPDX-License-Identifier: MIT */
#ifndef WORKER_CRASH_H
#define WORKER_CRASH_H
/*
 * What is said of a crash by the worker itself, as long as it can: one line, with the function and how it was reached.
 * For workers with foreign code in them. It takes the compiler's runtime library (libgcc_s), which a master without
 * such workers does not load.
 *
 * SIGSEGV, SIGBUS, SIGFPE, SIGABRT and SIGILL are reported, on a stack apart, so that one that has run over is too; the
 * process then dies by the signal as it would have. A report that fails half-way is cut; one that hangs is given up.
 */
#include <stddef.h>

#include "base/attrs.h"

/*
 * Loads that library, which no signal handler could, and no chroot may have. In the master, before it forks such a
 * worker, where it takes a quarter of a millisecond once, and not of each worker.
 */
void crash_prepare(void);

/*
 * Once, in the worker, before the foreign code and before a chroot. POOL and MODULE, which stands in the report, stay
 * the caller's, and live as long as the process. The list of callers ends before the return address CALLER: what comes
 * then is the same for all. Returns 0 or a negative errno.
 */
ATTR_NODISCARD int crash_install(const char *pool, const char *module, const void *caller);

#endif
