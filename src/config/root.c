/* SPDX-License-Identifier: MIT */
#include "config/root.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"

int root_stat(const char *root, const char *path, struct stat *ret_status)
{
	const struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT };
	FD_AUTO int directory = -1, file = -1;

	if (root[0] == '\0')
		return stat(path, ret_status) < 0 ? -errno : 0;
	directory = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0)
		return -errno;
	/* No function of the C library's has it: openat2(2). */
	file = (int)syscall(SYS_openat2, directory, path, &how, sizeof(how));
	if (file < 0)
		return -errno;
	return fstat(file, ret_status) < 0 ? -errno : 0;
}
