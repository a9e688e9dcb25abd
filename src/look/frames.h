/* SPDX-License-Identifier: MIT */
#ifndef LOOK_FRAMES_H
#define LOOK_FRAMES_H
/*
 * The frames of another process that is blocked, as text, while it is neither stopped nor slowed: its memory is read by
 * process_vm_readv(2).
 */
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attrs.h"
#include "look/proc.h"

/*
 * "function+0x1f (object+0x2b) < caller < ..." to BUFFER, for PID, of which DIRECTORY is in /proc, where CALL says that
 * it is; a frame that may be another one begins with "?". The list ends before the caller of OUTERMOST, a function of
 * this process's that the other has at the same address; NULL: none. What does not fit is cut.
 *
 * Returns 0; -EPERM, -EACCES: no right to look; -ESRCH: it is gone; -EAGAIN: it has moved on meanwhile; -ENOTSUP: not
 * on this machine; or another negative errno.
 */
ATTR_NODISCARD int frames_read(
	pid_t pid, int directory, const struct proc_call *call, const void *outermost, char *buffer, size_t size);

#endif
