/* SPDX-License-Identifier: MIT */
#include "master/spawn.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

pid_t spawn(void (*entry)(void *argument), void *argument)
{
	/* Not fork(): its handlers and locks are for threads, which the master has none of, and cost each birth the
	 * copy of several pages. */
	pid_t pid = _Fork();

	if (pid < 0)
		return -errno;
	if (pid > 0)
		return pid;
	entry(argument);
	abort(); /* the entry leaves by _exit() or execve() */
}
