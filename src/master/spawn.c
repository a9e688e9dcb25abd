/* SPDX-License-Identifier: MIT */
#include "master/spawn.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

pid_t spawn(void (*entry)(void *argument), void *argument)
{
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (pid > 0)
		return pid;
	entry(argument);
	abort(); /* the entry leaves by _exit() or execve() */
}
