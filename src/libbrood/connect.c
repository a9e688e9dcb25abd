/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "libbrood/resolve.h"
#include "libbrood/wait.h"

/* ---- addresses as they are written ---- */

struct host_and_port {
	char host[256];
	char port[8];
};

static int parse_port(const char *text, char *ret_port, size_t size)
{
	unsigned long port = 0;
	size_t digits = strlen(text);

	if (digits == 0 || digits >= size)
		return -EINVAL;
	for (size_t k = 0; k < digits; k++) {
		if (text[k] < '0' || text[k] > '9')
			return -EINVAL;
		port = port * 10 + (unsigned long)(text[k] - '0');
	}
	if (port == 0 || port > 65535)
		return -EINVAL;
	memcpy(ret_port, text, digits + 1);
	return 0;
}

static int parse_host_and_port(const char *address, struct host_and_port *ret_parsed)
{
	const char *colon = strrchr(address, ':');
	size_t size = colon ? (size_t)(colon - address) : 0;

	if (size == 0)
		return -EINVAL;
	if (address[0] == '[') {
		if (size < 3 || address[size - 1] != ']')
			return -EINVAL;
		address++;
		size -= 2;
	} else if (memchr(address, ':', size)) {
		return -EINVAL; /* IPv6 without brackets: nobody can tell where its port begins */
	}
	if (size >= sizeof(ret_parsed->host))
		return -ENAMETOOLONG;
	memcpy(ret_parsed->host, address, size);
	ret_parsed->host[size] = '\0';
	return parse_port(colon + 1, ret_parsed->port, sizeof(ret_parsed->port));
}

/* ---- TCP ---- */

/* Waits until a connection under way is there. */
static int connect_finish(int fd, uint64_t end_us)
{
	int error = 0;
	socklen_t size = sizeof(error);
	int ret = wait_for_events(fd, POLLOUT, end_us);

	if (ret < 0)
		return ret;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
		return -errno;
	return -error;
}

/* Tries one address until END_US. Returns a blocking descriptor, or a negative errno. */
static int connect_address(const struct addrinfo *address, uint64_t end_us)
{
	int fd = socket(address->ai_family, address->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, address->ai_protocol);
	int on = 1, off = 0;
	int ret = 0;

	if (fd < 0)
		return -errno;
	if (connect(fd, address->ai_addr, address->ai_addrlen) < 0)
		ret = errno == EINPROGRESS ? connect_finish(fd, end_us) : -errno;
	if (ret == 0 && ioctl(fd, FIONBIO, &off) < 0)
		ret = -errno;
	if (ret < 0) {
		close(fd);
		return ret;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

/* When the first of COUNT addresses must be given up, so that each of the others has as long. */
static uint64_t share_end_us(uint64_t end_us, unsigned int count)
{
	uint64_t now_us = wait_clock_us();

	if (end_us == WAIT_FOR_EVER || now_us >= end_us)
		return end_us;
	return now_us + (end_us - now_us) / count;
}

static int connect_inet(const char *address, uint64_t end_us)
{
	struct host_and_port parsed;
	struct addrinfo *list;
	unsigned int left = 0;
	int ret = parse_host_and_port(address, &parsed);

	if (ret < 0)
		return ret;
	ret = resolve_host(parsed.host, parsed.port, end_us, &list);
	if (ret < 0)
		return ret;
	for (const struct addrinfo *entry = list; entry; entry = entry->ai_next)
		left++;
	ret = -ENOENT;
	for (const struct addrinfo *entry = list; entry && ret < 0; entry = entry->ai_next)
		ret = connect_address(entry, share_end_us(end_us, left--));
	freeaddrinfo(list);
	return ret;
}

/* ---- unix ---- */

static int unix_address(const char *path, struct sockaddr_un *ret_address, socklen_t *ret_size)
{
	size_t size = strlen(path);
	bool abstract = path[0] == '@';

	if (path[0] != '/' && !(abstract && size > 1))
		return -EINVAL;
	if (size + !abstract > sizeof(ret_address->sun_path))
		return -ENAMETOOLONG;
	*ret_address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	memcpy(ret_address->sun_path, path, size);
	if (abstract)
		ret_address->sun_path[0] = '\0';
	*ret_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size + !abstract);
	return 0;
}

/* Bounds connect(2), or with WAIT_FOR_EVER no longer. */
static int bound_socket(int fd, uint64_t end_us)
{
	uint64_t now_us = wait_clock_us();
	struct timeval left = { 0 };

	if (now_us >= end_us)
		return -ETIMEDOUT;
	if (end_us != WAIT_FOR_EVER) {
		left.tv_sec = (time_t)((end_us - now_us) / 1000000);
		left.tv_usec = (suseconds_t)((end_us - now_us) % 1000000);
	}
	return setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &left, sizeof(left)) < 0 ? -errno : 0;
}

/* A unix socket whose queue is full cannot be waited for by poll(2): a blocking connect(2) can, within SO_SNDTIMEO. */
static int connect_bounded(int fd, const struct sockaddr_un *address, socklen_t size, uint64_t end_us)
{
	int ret;

	do {
		ret = bound_socket(fd, end_us);
		if (ret < 0)
			return ret;
		ret = connect(fd, (const struct sockaddr *)address, size) < 0 ? -errno : 0;
	} while (ret == -EINTR);
	if (ret == -EAGAIN)
		return -ETIMEDOUT;
	return ret < 0 ? ret : bound_socket(fd, WAIT_FOR_EVER);
}

static int connect_unix(const char *path, uint64_t end_us)
{
	struct sockaddr_un address;
	socklen_t size;
	int fd, ret;

	ret = unix_address(path, &address, &size);
	if (ret < 0)
		return ret;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	ret = connect_bounded(fd, &address, size, end_us);
	if (ret == 0)
		return fd;
	close(fd);
	return ret;
}

/* ---- the call ---- */

/* As a worker's socket has it: the first wait for an answer is then bounded by recv(2) itself. */
static void set_socket_idle(struct brood_stream *stream)
{
	uint32_t idle_ms = stream->timeouts.idle_ms;
	struct timeval idle = { .tv_sec = idle_ms / 1000, .tv_usec = (suseconds_t)(idle_ms % 1000) * 1000 };

	if (setsockopt(stream->fd, SOL_SOCKET, SO_RCVTIMEO, &idle, sizeof(idle)) == 0)
		stream->socket_idle_ms = idle_ms;
}

int brood_connect(const char *address, uint32_t within_ms, const struct brood_timeouts *timeouts,
	struct brood_stream **ret_stream)
{
	uint64_t end_us = within_ms == 0 ? WAIT_FOR_EVER : wait_clock_us() + (uint64_t)within_ms * 1000;
	int fd, ret;

	fd = strncmp(address, "unix:", 5) == 0 ? connect_unix(address + 5, end_us) : connect_inet(address, end_us);
	if (fd < 0)
		return fd;
	ret = brood_open(fd, timeouts, ret_stream);
	if (ret < 0) {
		close(fd);
		return ret;
	}
	set_socket_idle(*ret_stream);
	return 0;
}
