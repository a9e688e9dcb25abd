/* SPDX-License-Identifier: MIT */
#ifndef BASE_PROCESS_MEMORY_H
#define BASE_PROCESS_MEMORY_H
/*
 * How much memory a process has, by proc(5). A process that is gone has none: -ESRCH, of which -ENOENT is a form unless
 * the caller knows that it is there; then the process is hidden from him. Functions return 0 or a negative errno.
 */
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attrs.h"

enum memory_measure {
	MEMORY_RSS, /* all that is resident, what is shared with others included: cheap, and anybody may look */
	MEMORY_PSS, /* of what is shared the process's part; the kernel walks its pages, and the caller needs the right
		     * to trace it (ptrace(2), PTRACE_MODE_READ_FSCREDS) */
	MEMORY_MEASURES,
};

/* "rss", "pss". */
const char *memory_measure_name(enum memory_measure measure);

ATTR_NODISCARD int process_memory_read(pid_t pid, enum memory_measure measure, uint64_t *ret_bytes);

/* What TEXT, of /proc/PID/statm or /proc/PID/smaps_rollup, says. -EBADMSG: nothing of the kind. */
ATTR_NODISCARD int process_memory_parse(const char *text, enum memory_measure measure, uint64_t *ret_bytes);

#endif
