/* SPDX-License-Identifier: MIT */
#include "base/logger.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/logger_counters.h"
#include "base/logger_output.h"

/* Lines that wait for the logger. The bound is the memory of the sending side (socket(7), SO_SNDBUF), where a short
 * line counts for about 1 KiB. Without CAP_NET_ADMIN net.core.wmem_max bounds the bound. */
#define CHANNEL_BYTES (4 * 1024 * 1024)

/* Messages with borders, an end when all writers are gone, and no limit on their number (a datagram socket has
 * net.unix.max_dgram_qlen, often 10). */
static int open_sockets(int *ret_read_fd, int *ret_write_fd)
{
	int bytes = CHANNEL_BYTES;
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return -errno;
	if (setsockopt(fds[1], SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) < 0)
		setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	*ret_read_fd = fds[0];
	*ret_write_fd = fds[1];
	return 0;
}

/* More than they need: a later version may count more, and the memory outlives an upgrade to it. */
#define COUNTERS_BYTES 4096

static int map_counters(int fd, uint64_t **ret_dropped)
{
	void *page = mmap(NULL, sizeof(struct logger_counters), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (page == MAP_FAILED)
		return -errno;
	*ret_dropped = page;
	return 0;
}

int logger_channel_init(struct logger_channel *channel)
{
	FD_AUTO int fd = memfd_create("brood-logger", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct logger_channel made = LOGGER_CHANNEL_NONE;
	int result;

	if (fd < 0 || ftruncate(fd, COUNTERS_BYTES) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
		return -errno;
	result = map_counters(fd, &made.dropped);
	if (result < 0)
		return result;
	result = open_sockets(&made.read_fd, &made.write_fd);
	if (result < 0) {
		munmap(made.dropped, sizeof(struct logger_counters));
		return result;
	}
	made.counters_fd = fd_steal(&fd);
	*channel = made;
	return 0;
}

/* Writing to memory that is not there, or can go, would end the process (SIGBUS). */
static int check_counters(int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat status;

	if (fstat(fd, &status) < 0)
		return -errno;
	if (seals < 0 || (seals & F_SEAL_SHRINK) == 0 || status.st_size < (off_t)sizeof(struct logger_counters))
		return -EPROTO;
	return 0;
}

int logger_channel_adopt(struct logger_channel *channel, int read_fd, int write_fd, int counters_fd)
{
	struct logger_channel adopted = { .read_fd = read_fd, .write_fd = write_fd, .counters_fd = counters_fd };
	const int fds[] = { read_fd, write_fd, counters_fd };
	int result = check_counters(counters_fd);

	for (size_t i = 0; i < ARRAY_SIZE(fds) && result == 0; i++)
		result = fd_set_cloexec(fds[i], true);
	if (result == 0)
		result = map_counters(counters_fd, &adopted.dropped);
	if (result == 0)
		*channel = adopted;
	return result;
}

bool logger_channel_is_shut(const struct logger_channel *channel)
{
	struct pollfd ended = { .fd = channel->read_fd, .events = POLLRDHUP };

	return poll(&ended, 1, 0) > 0 && (ended.revents & POLLRDHUP) != 0;
}

int logger_channel_renew(struct logger_channel *channel)
{
	FD_AUTO int read_fd = -1;
	FD_AUTO int write_fd = -1;
	int result = open_sockets(&read_fd, &write_fd);

	if (result < 0)
		return result;
	if (dup3(read_fd, channel->read_fd, O_CLOEXEC) < 0 || dup3(write_fd, channel->write_fd, O_CLOEXEC) < 0)
		return -errno;
	return 0;
}

void logger_channel_done(struct logger_channel *channel)
{
	fd_close(&channel->read_fd);
	fd_close(&channel->write_fd);
	fd_close(&channel->counters_fd);
	if (channel->dropped != NULL)
		munmap(channel->dropped, sizeof(struct logger_counters));
	channel->dropped = NULL;
}

int log_target_parse(const char *name, enum log_target *ret_target)
{
	static const struct {
		const char *name;
		enum log_target target;
	} targets[] = {
		{"auto",     LOG_TARGET_AUTO   },
		{ "stderr",  LOG_TARGET_STDERR },
		{ "syslog",  LOG_TARGET_SYSLOG },
		{ "journal", LOG_TARGET_JOURNAL},
	};

	if (name[0] == '/') {
		*ret_target = LOG_TARGET_FILE;
		return 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(targets); i++) {
		if (strcmp(name, targets[i].name) != 0)
			continue;
		*ret_target = targets[i].target;
		return 0;
	}
	return -EINVAL;
}

/* systemd.exec(5): $JOURNAL_STREAM is device and inode of the stream that the journal reads. */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat status;
	char rest;

	if (stream == NULL || sscanf(stream, "%llu:%llu%c", &device, &inode, &rest) != 2)
		return false;
	return fstat(STDERR_FILENO, &status) == 0 && status.st_dev == device && status.st_ino == inode;
}

enum log_target log_target_resolve(enum log_target target, bool detached)
{
	if (target != LOG_TARGET_AUTO)
		return target;
	if (stderr_is_journal())
		return LOG_TARGET_JOURNAL;
	return detached ? LOG_TARGET_SYSLOG : LOG_TARGET_STDERR;
}

/* A FIFO that nobody reads yet is fine. */
static int check_file(const char *path)
{
	struct stat status;
	int fd;

	if (path == NULL || path[0] != '/')
		return -EINVAL;
	fd = logger_output_open_file(path);
	if (fd == -ENXIO && stat(path, &status) == 0 && S_ISFIFO(status.st_mode))
		return 0;
	if (fd < 0)
		return fd;
	fd_close(&fd);
	return 0;
}

int logger_check(const struct logger_config *config, const char **ret_path)
{
	int error = config->target == LOG_TARGET_FILE ? check_file(config->file) : 0;

	if (error < 0) {
		*ret_path = config->file;
		return error;
	}
	for (size_t i = 0; i < config->access_count; i++) {
		error = check_file(config->access_files[i]);
		if (error < 0) {
			*ret_path = config->access_files[i];
			return error;
		}
	}
	return 0;
}
