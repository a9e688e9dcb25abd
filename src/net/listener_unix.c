/* SPDX-License-Identifier: MIT */
#include "net/listener_unix.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "net/sock_diag.h"

const char *listener_unix_path(const struct listener *listener)
{
	return ((const struct sockaddr_un *)&listener->address.storage)->sun_path;
}

/* ---- a path that is there already ---- */

/* Whether somebody listens. The one refusal that proves the contrary is ECONNREFUSED. */
static int probe(const struct listener *listener, const char **ret_step)
{
	FD_AUTO int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	*ret_step = "socket";
	if (fd < 0)
		return -errno;
	*ret_step = "connect";
	if (connect(fd, (const struct sockaddr *)&listener->address.storage, listener->address.size) == 0)
		return -EADDRINUSE;
	switch (errno) {
	case ECONNREFUSED:
	case ENOENT:
		return 0;
	case EAGAIN:     /* its queue is full */
	case EPROTOTYPE: /* it is of another type */
		return -EADDRINUSE;
	default:
		return -errno;
	}
}

static bool is_same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/*
 * Removes the socket that a dead process left behind. A socket that is bound and does not listen yet refuses
 * connections just the same, as that of a daemon that is starting: the kernel's list of sockets tells them apart.
 */
static int remove_stale(const struct listener *listener, const char **ret_step)
{
	const char *path = listener_unix_path(listener);
	/* Held open, the inode's number cannot be given to another file meanwhile. */
	FD_AUTO int file = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat found;
	struct stat now;
	int result;

	*ret_step = "bind";
	if (file < 0 || fstat(file, &found) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(found.st_mode))
		return -EEXIST;
	result = probe(listener, ret_step);
	if (result < 0)
		return result;
	*ret_step = "bind";
	if (sock_diag_unix_is_reserved(path) > 0)
		return -EADDRINUSE;
	if (lstat(path, &now) < 0 || !is_same_file(&found, &now))
		return 0;
	*ret_step = "unlink";
	return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

/* ---- taking the path ---- */

/* The file's mode is 0777 less the umask (bind creates it with the socket's own mode, unix(7)). */
static int bind_with_mode(const struct listener *listener)
{
	mode_t saved = umask(~listener->options.socket_mode & 0777);
	int result = bind(listener->fd, (const struct sockaddr *)&listener->address.storage, listener->address.size);

	result = result < 0 ? -errno : 0;
	umask(saved);
	return result;
}

static int take_path(const struct listener *listener, const char **ret_step)
{
	int result;

	*ret_step = "bind";
	result = bind_with_mode(listener);
	if (result != -EADDRINUSE)
		return result;
	result = remove_stale(listener, ret_step);
	if (result < 0)
		return result;
	*ret_step = "bind";
	return bind_with_mode(listener);
}

/* By descriptor, not by name: in a directory where others may write, the name may be another file's by now. */
static int own_path(struct listener *listener, const char **ret_step)
{
	const struct listener_options *options = &listener->options;
	FD_AUTO int file = open(listener_unix_path(listener), O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat status;

	*ret_step = "stat";
	if (file < 0 || fstat(file, &status) < 0)
		return -errno;
	if (!S_ISSOCK(status.st_mode))
		return -EEXIST;
	listener->path_owner = getpid();
	listener->path_device = status.st_dev;
	listener->path_inode = status.st_ino;
	*ret_step = "chown";
	if (options->socket_uid == (uid_t)-1 && options->socket_gid == (gid_t)-1)
		return 0;
	return fchownat(file, "", options->socket_uid, options->socket_gid, AT_EMPTY_PATH) < 0 ? -errno : 0;
}

int listener_unix_bind(struct listener *listener, const char **ret_step)
{
	int result;

	if (listener_unix_path(listener)[0] == '\0') {
		*ret_step = "bind";
		return bind(listener->fd, (const struct sockaddr *)&listener->address.storage, listener->address.size) <
				       0
			       ? -errno
			       : 0;
	}
	result = take_path(listener, ret_step);
	if (result < 0)
		return result;
	result = own_path(listener, ret_step);
	/* The file is known by its name alone, and was made a moment ago. */
	if (result < 0 && result != -EEXIST && listener->path_owner == 0)
		unlink(listener_unix_path(listener));
	return result;
}

/* A socket that was shut down for reading says so, and hears nobody. */
static bool is_shut(int fd)
{
	struct pollfd look = { .fd = fd, .events = POLLRDHUP };

	return poll(&look, 1, 0) > 0 && (look.revents & (POLLRDHUP | POLLHUP)) != 0;
}

/*
 * Whether PATH is known to be another socket's. The kernel says which inode a socket is bound to, and of which device;
 * a file system of layers may give stat(2) other numbers, of which nothing follows.
 */
static bool is_others(int fd, const struct stat *path)
{
	uint64_t device = 0, inode = 0;

	return sock_diag_unix_file(fd, &device, &inode) == 0 && device == path->st_dev && inode != path->st_ino;
}

int listener_unix_reclaim(struct listener *listener)
{
	const char *path = listener_unix_path(listener);
	struct stat status;

	if (is_shut(listener->fd))
		return -ESTALE;
	if (path[0] == '\0')
		return 0;
	if (lstat(path, &status) < 0 || !S_ISSOCK(status.st_mode) || is_others(listener->fd, &status))
		return -ESTALE;
	listener->path_owner = getpid();
	listener->path_device = status.st_dev;
	listener->path_inode = status.st_ino;
	return 0;
}

/* Whether this process has made the path, and FILE is it still. */
static bool is_own(const struct listener *listener, const struct stat *file)
{
	return listener->path_owner != 0 && listener->path_owner == getpid() && S_ISSOCK(file->st_mode) &&
	       file->st_dev == listener->path_device && file->st_ino == listener->path_inode;
}

bool listener_unix_is_lost(const struct listener *listener)
{
	const char *path = listener_unix_path(listener);
	struct stat status;

	if (path[0] == '\0' || listener->path_owner == 0 || listener->path_owner != getpid())
		return false;
	if (lstat(path, &status) < 0)
		return errno == ENOENT || errno == ENOTDIR;
	return !is_own(listener, &status);
}

/* A file that was opened by O_PATH takes no fchmod(2) (open(2)). */
static int set_mode(int file, mode_t mode)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	return chmod(path, mode) < 0 ? -errno : 0;
}

/* What is no more somebody else's is as this process would create it. */
static int set_owner(int file, const struct listener_options *before, const struct listener_options *after)
{
	uid_t uid = after->socket_uid;
	gid_t gid = after->socket_gid;

	if (uid == (uid_t)-1 && before->socket_uid != (uid_t)-1)
		uid = geteuid();
	if (gid == (gid_t)-1 && before->socket_gid != (gid_t)-1)
		gid = getegid();
	if (uid == (uid_t)-1 && gid == (gid_t)-1)
		return 0;
	return fchownat(file, "", uid, gid, AT_EMPTY_PATH) < 0 ? -errno : 0;
}

/* In an order in which the new owner never has the old mode's rights, nor the old one the new mode's. */
int listener_unix_change(const struct listener *listener, const struct listener_options *before, const char **ret_step)
{
	const struct listener_options *after = &listener->options;
	FD_AUTO int file = -1;
	struct stat status;
	int result;

	if (listener_unix_path(listener)[0] == '\0')
		return 0;
	*ret_step = "stat";
	file = open(listener_unix_path(listener), O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (file < 0 || fstat(file, &status) < 0)
		return -errno;
	if (!is_own(listener, &status))
		return -ESTALE;
	*ret_step = "chmod";
	result = set_mode(file, status.st_mode & after->socket_mode & 0777);
	if (result < 0)
		return result;
	*ret_step = "chown";
	result = set_owner(file, before, after);
	if (result < 0)
		return result;
	*ret_step = "chmod";
	return set_mode(file, after->socket_mode);
}

int listener_unix_remove(struct listener *listener)
{
	const char *path = listener_unix_path(listener);
	struct stat status;

	if (listener->path_owner != getpid())
		return 0;
	if (lstat(path, &status) < 0) {
		if (errno != ENOENT)
			return -errno;
	} else if (is_own(listener, &status) && unlink(path) < 0) {
		return -errno;
	}
	listener->path_owner = 0;
	return 0;
}
