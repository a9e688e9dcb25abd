/* SPDX-License-Identifier: MIT */
#include "handlers/http/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A rename elsewhere may make the kernel give up resolving a path with ".." in a link (openat2(2), EAGAIN). */
#define ATTEMPTS 16

static int open_beneath(int root_fd, const char *path, int flags)
{
	/* O_NONBLOCK: opening a FIFO does not wait for its writer. O_NOCTTY: a terminal does not become ours. */
	struct open_how how = {
		.flags = (uint64_t)(flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY),
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};
	int error = EAGAIN;

	if (flags & O_PATH)
		how.flags = (uint64_t)(flags | O_CLOEXEC); /* it takes no others */
	for (int i = 0; i < ATTEMPTS && (error == EAGAIN || error == EINTR); i++) {
		long fd = syscall(SYS_openat2, root_fd, path[0] != '\0' ? path : ".", &how, sizeof(how));

		if (fd >= 0)
			return (int)fd;
		error = errno;
	}
	return -error;
}

int file_open_root(const char *directory)
{
	int root_fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int fd;

	if (root_fd < 0)
		return -errno;
	/* An older kernel, or a filter that does not know openat2(2), would refuse every request, one by one. */
	fd = open_beneath(root_fd, "", O_PATH | O_DIRECTORY);
	if (fd < 0) {
		close(root_fd);
		return fd;
	}
	close(fd);
	return root_fd;
}

static enum file_kind kind_of(mode_t mode)
{
	if (S_ISREG(mode))
		return FILE_REGULAR;
	return S_ISDIR(mode) ? FILE_DIRECTORY : FILE_OTHER;
}

struct file_state file_state_of(const struct stat *status)
{
	return (struct file_state){ status->st_dev, status->st_ino, (uint64_t)status->st_size, status->st_mtim,
		status->st_ctim };
}

int file_open(int root_fd, const char *path, struct file *ret_file)
{
	struct stat status;
	int fd = open_beneath(root_fd, path, O_RDONLY);

	if (fd == -EACCES) {
		fd = open_beneath(root_fd, path, O_PATH | O_DIRECTORY);
		if (fd < 0)
			return -EACCES;
	}
	if (fd < 0)
		return fd;
	if (fstat(fd, &status) < 0) {
		int error = errno;

		close(fd);
		return -error;
	}
	*ret_file = (struct file){ .fd = fd, .kind = kind_of(status.st_mode), .state = file_state_of(&status) };
	return 0;
}

int file_status(int error)
{
	switch (-error) {
	case ENOENT:
	case ENOTDIR:
	case ENAMETOOLONG:
		return 404;
	case EACCES:
	case EPERM:
	case EXDEV: /* out of the root */
	case ELOOP:
	case ENXIO: /* a unix socket */
	case ENODEV:
		return 403;
	case EMFILE:
	case ENFILE:
	case ENOMEM:
	case EAGAIN:
	case EINTR:
		return 503;
	default:
		return 500;
	}
}
