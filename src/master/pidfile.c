/* SPDX-License-Identifier: MIT */
#include "master/pidfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

/* Starts of two masters at once may take the file from each other's hands this often. */
#define PIDFILE_TRIES 10

/* Locks FD's file. -EBUSY and the holder where another process has it. */
static int pidfile_lock(int fd, pid_t *ret_holder)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	if (fcntl(fd, F_SETLK, &lock) == 0)
		return 0;
	if (errno != EAGAIN && errno != EACCES)
		return -errno;
	*ret_holder = fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK ? lock.l_pid : 0;
	return -EBUSY;
}

/* 1: PATH is FD's file; 0: it is another one, or there is none. */
static int same_file(const char *path, int fd)
{
	struct stat by_path, by_fd;

	if (lstat(path, &by_path) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (fstat(fd, &by_fd) < 0)
		return -errno;
	return by_path.st_dev == by_fd.st_dev && by_path.st_ino == by_fd.st_ino;
}

/* A new file beside PATH, locked, with the pid in it: what PATH will be. */
static int pidfile_prepare(const char *temporary, int *ret_fd)
{
	FD_AUTO int fd = -1;
	char text[32];
	pid_t holder;
	int result;

	unlink(temporary);
	fd = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0)
		return -errno;
	result = pidfile_lock(fd, &holder);
	snprintf(text, sizeof(text), "%d\n", getpid());
	if (result == 0)
		result = fd_write_all(fd, text, strlen(text));
	if (result < 0) {
		unlink(temporary);
		return result;
	}
	*ret_fd = fd_steal(&fd);
	return 0;
}

/*
 * Puts TEMPORARY in the place of PATH. Where there is a file already, its lock is taken first, and kept over the
 * rename, so that of two starts one waits for nobody and the other finds it busy. -EAGAIN: the file changed meanwhile.
 */
static int pidfile_replace(const char *temporary, const char *path, pid_t *ret_holder)
{
	FD_AUTO int old = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat status;
	int result;

	if (old < 0 && errno != ENOENT)
		return -errno;
	if (old < 0) {
		if (link(temporary, path) < 0)
			return errno == EEXIST ? -EAGAIN : -errno;
		if (unlink(temporary) == 0 || errno == ENOENT)
			return 0;
		result = -errno;
		unlink(path);
		return result;
	}
	if (fstat(old, &status) < 0)
		return -errno;
	if (!S_ISREG(status.st_mode))
		return -EEXIST;
	result = pidfile_lock(old, ret_holder);
	if (result < 0)
		return result;
	result = same_file(path, old);
	if (result <= 0)
		return result < 0 ? result : -EAGAIN;
	return rename(temporary, path) < 0 ? -errno : 0;
}

int pidfile_take(struct pidfile *pidfile, const char *path, pid_t *ret_holder)
{
	char temporary[PATH_MAX];
	int fd = -1;
	int result;

	*pidfile = (struct pidfile){ .fd = -1 };
	if (snprintf(temporary, sizeof(temporary), "%s.%d", path, getpid()) >= (int)sizeof(temporary))
		return -ENAMETOOLONG;
	result = pidfile_prepare(temporary, &fd);
	if (result < 0)
		return result;
	result = -EAGAIN;
	for (int i = 0; i < PIDFILE_TRIES && result == -EAGAIN; i++)
		result = pidfile_replace(temporary, path, ret_holder);
	if (result < 0) {
		unlink(temporary);
		fd_close(&fd);
		return result;
	}
	*pidfile = (struct pidfile){ .path = path, .fd = fd, .owner = getpid() };
	return 0;
}

int pidfile_adopt(struct pidfile *pidfile, const char *path, int fd)
{
	int same = same_file(path, fd);

	if (same <= 0)
		return same < 0 ? same : -ESTALE;
	*pidfile = (struct pidfile){ .path = path, .fd = fd, .owner = getpid() };
	return fd_set_cloexec(fd, true);
}

int pidfile_release(struct pidfile *pidfile)
{
	int same = 0;
	int result = 0;

	if (pidfile->path != NULL && pidfile->owner == getpid())
		same = same_file(pidfile->path, pidfile->fd);
	if (same < 0)
		result = same;
	else if (same > 0 && unlink(pidfile->path) < 0)
		result = -errno;
	fd_close(&pidfile->fd);
	pidfile->path = NULL;
	return result;
}
