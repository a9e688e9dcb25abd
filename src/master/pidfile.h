/* SPDX-License-Identifier: MIT */
#ifndef MASTER_PIDFILE_H
#define MASTER_PIDFILE_H
/*
 * The pid file: locked for as long as its master lives, and complete whenever it can be seen. A lock (fcntl(2) F_SETLK)
 * belongs to the process: no child inherits it, and the kernel takes it off when the master dies, however it dies.
 */
#include <sys/types.h>

#include "base/attrs.h"

struct pidfile {
	const char *path; /* NULL: none */
	int fd;
	pid_t owner; /* the process that made it, and removes it */
};

/*
 * Takes PATH for this process. -EBUSY: another living process holds it, whose pid is *ret_holder. Otherwise a negative
 * errno.
 */
ATTR_NODISCARD int pidfile_take(struct pidfile *pidfile, const char *path, pid_t *ret_holder);

/* Goes on with the file that another image of this process has taken: the lock is the process's, and stays as long as
 * no descriptor of the file is closed. Returns 0, or a negative errno where FD is not the file at PATH. */
ATTR_NODISCARD int pidfile_adopt(struct pidfile *pidfile, const char *path, int fd);

/* Removes the file, where this process made it and it is still the same one. A negative errno: it is this process's no
 * more, and stays. */
int pidfile_release(struct pidfile *pidfile);

#endif
