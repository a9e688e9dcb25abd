/* SPDX-License-Identifier: MIT */
#include "net/inherited.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"

/* SD_LISTEN_FDS_START of sd_listen_fds(3). */
#define FIRST_FD 3

static const char *const variables[] = { "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID" };

/* ---- the environment ---- */

/* A decimal number from 1 on, and nothing else. */
static int parse_positive(const char *text, long max, long *ret_number)
{
	char *end;
	long number;

	if (text[0] < '0' || text[0] > '9')
		return -EINVAL;
	errno = 0;
	number = strtol(text, &end, 10);
	if (errno != 0 || *end != '\0' || number < 1 || number > max)
		return -EINVAL;
	*ret_number = number;
	return 0;
}

/* How many descriptors are for this process: 0 or more, or -EINVAL. */
static long count_descriptors(void)
{
	const char *pid_text = getenv("LISTEN_PID");
	const char *count_text = getenv("LISTEN_FDS");
	long pid;
	long count;

	if (pid_text == NULL || count_text == NULL)
		return 0;
	if (parse_positive(pid_text, INT_MAX, &pid) < 0)
		return -EINVAL;
	if (pid != getpid())
		return 0;
	if (parse_positive(count_text, INT_MAX - FIRST_FD, &count) < 0)
		return -EINVAL;
	/* Before anything is allocated for a count that cannot be. */
	for (long i = 0; i < count; i++) {
		if (fcntl(FIRST_FD + (int)i, F_GETFD) < 0)
			return -EINVAL;
	}
	return count;
}

/* Exactly as many names as descriptors, joined by colons, or no list at all. */
static int assign_names(const struct inherited *inherited, const char *names)
{
	size_t i = 0;

	if (names == NULL || names[0] == '\0') {
		for (; i < inherited->count; i++)
			strcpy(inherited->sockets[i].name, "unknown");
		return names == NULL ? 0 : -EINVAL;
	}
	for (;; names++) {
		size_t size = strcspn(names, ":");

		if (i == inherited->count || size >= sizeof(inherited->sockets[i].name))
			return -EINVAL;
		memcpy(inherited->sockets[i].name, names, size);
		inherited->sockets[i++].name[size] = '\0';
		names += size;
		if (*names == '\0')
			return i == inherited->count ? 0 : -EINVAL;
	}
}

/* ---- the descriptors ---- */

static bool option_is(int fd, int level, int name, int wanted)
{
	int value = 0;
	socklen_t size = sizeof(value);

	return getsockopt(fd, level, name, &value, &size) == 0 && value == wanted;
}

static void describe(struct inherited_socket *inherited)
{
	struct socket_address *address = &inherited->address;
	int fd = inherited->fd;

	address->size = sizeof(address->storage);
	if (getsockname(fd, (struct sockaddr *)&address->storage, &address->size) < 0 ||
		address->size > sizeof(address->storage))
		address->size = 0;
	inherited->listening = address->size > 0 && option_is(fd, SOL_SOCKET, SO_TYPE, SOCK_STREAM) &&
			       option_is(fd, SOL_SOCKET, SO_ACCEPTCONN, 1);
}

static int take(struct inherited *inherited, size_t count)
{
	inherited->sockets = calloc(count, sizeof(*inherited->sockets));
	if (inherited->sockets == NULL)
		return -ENOMEM;
	for (; inherited->count < count; inherited->count++) {
		struct inherited_socket *next = &inherited->sockets[inherited->count];

		next->fd = FIRST_FD + (int)inherited->count;
		if (fd_set_cloexec(next->fd, true) < 0)
			return -EINVAL;
		describe(next);
	}
	return assign_names(inherited, getenv("LISTEN_FDNAMES"));
}

int inherited_take(struct inherited *ret_inherited)
{
	struct inherited inherited = { 0 };
	long count = count_descriptors();
	int result = count < 0 ? (int)count : 0;

	if (count > 0)
		result = take(&inherited, (size_t)count);
	for (size_t i = 0; i < ARRAY_SIZE(variables); i++)
		unsetenv(variables[i]);
	if (result < 0)
		free(inherited.sockets);
	else
		*ret_inherited = inherited;
	return result;
}

void inherited_done(struct inherited *inherited)
{
	for (size_t i = 0; i < inherited->count; i++)
		fd_close(&inherited->sockets[i].fd);
	free(inherited->sockets);
	inherited->sockets = NULL;
	inherited->count = 0;
}

/* ---- finding one ---- */

static bool is_claimable(const struct inherited_socket *inherited)
{
	return inherited->fd >= 0 && inherited->listening;
}

static bool is_at(const struct inherited_socket *inherited, const struct socket_address *address)
{
	return address_equal((const struct sockaddr *)&inherited->address.storage, inherited->address.size,
		(const struct sockaddr *)&address->storage, address->size);
}

struct inherited_socket *inherited_by_name(struct inherited *inherited, const char *name)
{
	for (size_t i = 0; i < inherited->count; i++) {
		if (is_claimable(&inherited->sockets[i]) && strcmp(inherited->sockets[i].name, name) == 0)
			return &inherited->sockets[i];
	}
	return NULL;
}

static struct inherited_socket *find_covering(struct inherited *inherited, const struct socket_address *address)
{
	for (size_t i = 0; i < inherited->count; i++) {
		struct inherited_socket *socket = &inherited->sockets[i];

		if (is_claimable(socket) && address_covers(&socket->address, socket->fd, address))
			return socket;
	}
	return NULL;
}

struct inherited_socket *inherited_by_address(struct inherited *inherited, const struct socket_address *address)
{
	for (size_t i = 0; i < inherited->count; i++) {
		if (is_claimable(&inherited->sockets[i]) && is_at(&inherited->sockets[i], address))
			return &inherited->sockets[i];
	}
	return find_covering(inherited, address);
}
