/* SPDX-License-Identifier: MIT */
#include "net/sock_diag.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/clock.h"
#include "base/fd.h"

#define QUERY_TIMEOUT_MS 200
/* The kernel makes a dump's datagrams no larger than what the reader has offered before, or 8 KiB. */
#define REPLY_SIZE 16384

/* Looks at one message of the reply. */
typedef void (*reply_visitor)(const struct nlmsghdr *message, void *context);

struct reply {
	_Alignas(struct nlmsghdr) char bytes[REPLY_SIZE];
	size_t size;
};

/* A kernel without the family, the protocol or the module says so in one of these; a sandbox says EPERM. */
static int unsupported_or(int error)
{
	switch (error) {
	case EAFNOSUPPORT:
	case EPROTONOSUPPORT:
	case EPERM:
	case EACCES:
	case ENOENT:
	case EINVAL:
		return -EOPNOTSUPP;
	default:
		return -error;
	}
}

/* ---- one question, one reply of one or more datagrams ---- */

static int diag_open(void)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);

	if (fd < 0)
		return unsupported_or(errno);
	fd_set_timeout(fd, SO_RCVTIMEO, QUERY_TIMEOUT_MS);
	return fd;
}

static int diag_send(int fd, const struct nlmsghdr *request)
{
	const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	ssize_t sent;

	do
		sent = sendto(fd, request, request->nlmsg_len, 0, (const struct sockaddr *)&kernel, sizeof(kernel));
	while (sent < 0 && errno == EINTR);
	return sent < 0 ? unsupported_or(errno) : 0;
}

static int diag_receive(int fd, struct reply *reply)
{
	ssize_t received;

	do
		received = recv(fd, reply->bytes, sizeof(reply->bytes), MSG_TRUNC);
	while (received < 0 && errno == EINTR);
	if (received < 0)
		return errno == EAGAIN ? -ETIMEDOUT : -errno;
	if ((size_t)received > sizeof(reply->bytes))
		return -EMSGSIZE;
	reply->size = (size_t)received;
	return 0;
}

/* NLMSG_DATA() of a constant message. */
static const void *message_data(const struct nlmsghdr *message)
{
	return (const char *)message + NLMSG_HDRLEN;
}

static int message_error(const struct nlmsghdr *message)
{
	const struct nlmsgerr *error = message_data(message);

	if (message->nlmsg_len < NLMSG_LENGTH(sizeof(*error)))
		return -EPROTO;
	return error->error < 0 ? unsupported_or(-error->error) : 0;
}

/* Visits the messages of one datagram. *RET_LAST: no other will come. */
static int diag_walk(const struct reply *reply, reply_visitor visit, void *context, bool *ret_last)
{
	unsigned int left = (unsigned int)reply->size;

	for (const struct nlmsghdr *message = (const struct nlmsghdr *)reply->bytes; NLMSG_OK(message, left);
		message = (const struct nlmsghdr *)((const char *)message + NLMSG_ALIGN(message->nlmsg_len))) {
		unsigned int step = NLMSG_ALIGN(message->nlmsg_len);

		if (message->nlmsg_type == NLMSG_ERROR)
			*ret_last = true;
		if (message->nlmsg_type == NLMSG_ERROR)
			return message_error(message);
		if (message->nlmsg_type == NLMSG_DONE || (message->nlmsg_flags & NLM_F_MULTI) == 0)
			*ret_last = true;
		if (message->nlmsg_type != NLMSG_DONE)
			visit(message, context);
		left = step < left ? left - step : 0;
	}
	return 0;
}

static int diag_query(const struct nlmsghdr *request, reply_visitor visit, void *context)
{
	uint64_t deadline_ms = clock_monotonic_ms() + QUERY_TIMEOUT_MS;
	FD_AUTO int fd = diag_open();
	struct reply reply;
	bool last = false;
	int result;

	if (fd < 0)
		return fd;
	result = diag_send(fd, request);
	while (result == 0 && !last) {
		result = diag_receive(fd, &reply);
		if (result == 0)
			result = diag_walk(&reply, visit, context, &last);
		if (result == 0 && !last && clock_monotonic_ms() > deadline_ms)
			result = -ETIMEDOUT;
	}
	return result;
}

/* ---- TCP ---- */

struct handshakes {
	const struct socket_address *local;
	uint32_t count;
};

static bool is_local(const struct inet_diag_msg *found, const struct socket_address *local)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)&local->storage;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&local->storage;

	if (local->storage.ss_family == AF_INET)
		return v4->sin_addr.s_addr == htonl(INADDR_ANY) || found->id.idiag_src[0] == v4->sin_addr.s_addr;
	return IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr) ||
	       memcmp(found->id.idiag_src, &v6->sin6_addr, sizeof(v6->sin6_addr)) == 0;
}

static void count_handshake(const struct nlmsghdr *message, void *context)
{
	struct handshakes *handshakes = context;
	const struct inet_diag_msg *found = message_data(message);

	if (message->nlmsg_len >= NLMSG_LENGTH(sizeof(*found)) && is_local(found, handshakes->local))
		handshakes->count++;
}

int sock_diag_tcp_handshakes(const struct socket_address *local, uint32_t *ret_count)
{
	/* Ports lie at one place in both families' addresses. */
	const struct sockaddr_in *inet = (const struct sockaddr_in *)&local->storage;
	struct handshakes handshakes = { .local = local };
	struct {
		struct nlmsghdr header;
		struct inet_diag_req_v2 query;
	} request = {
		.header = {
			.nlmsg_len = sizeof(request),
			.nlmsg_type = SOCK_DIAG_BY_FAMILY,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
		},
		.query = {
			.sdiag_family = (uint8_t)local->storage.ss_family,
			.sdiag_protocol = IPPROTO_TCP,
			.idiag_states = 1u << TCP_SYN_RECV,
			.id = { .idiag_sport = inet->sin_port },
		},
	};
	int result = diag_query(&request.header, count_handshake, &handshakes);

	if (result == 0)
		*ret_count = handshakes.count;
	return result;
}

/* ---- unix ---- */

struct unix_request {
	struct nlmsghdr header;
	struct unix_diag_req query;
};

/* An attribute of a unix socket's message, at least SIZE long, or NULL. */
static const void *unix_attribute(const struct nlmsghdr *message, unsigned short type, size_t size, size_t *ret_size)
{
	const char *next = (const char *)message_data(message) + NLMSG_ALIGN(sizeof(struct unix_diag_msg));
	const char *end = (const char *)message + message->nlmsg_len;

	while (next < end && (size_t)(end - next) >= sizeof(struct rtattr)) {
		const struct rtattr *attribute = (const struct rtattr *)next;

		if (attribute->rta_len < sizeof(*attribute) || attribute->rta_len > end - next)
			break;
		if (attribute->rta_type == type && RTA_PAYLOAD(attribute) >= size) {
			*ret_size = RTA_PAYLOAD(attribute);
			return next + RTA_LENGTH(0);
		}
		next += RTA_ALIGN(attribute->rta_len);
	}
	return NULL;
}

/* Asks about one socket: what SHOW (UDIAG_SHOW_*) adds to the answer. */
static int query_one(int fd, uint32_t show, reply_visitor visit, void *context)
{
	struct stat status;
	struct unix_request request = {
		.header = {
			.nlmsg_len = sizeof(request),
			.nlmsg_type = SOCK_DIAG_BY_FAMILY,
			.nlmsg_flags = NLM_F_REQUEST,
		},
		.query = {
			.sdiag_family = AF_UNIX,
			.udiag_show = show,
			.udiag_cookie = { INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE },
		},
	};

	if (fstat(fd, &status) < 0)
		return -errno;
	request.query.udiag_ino = (uint32_t)status.st_ino;
	return diag_query(&request.header, visit, context);
}

struct unix_queue {
	bool found;
	uint32_t queued;
};

static void read_queue(const struct nlmsghdr *message, void *context)
{
	struct unix_queue *queue = context;
	struct unix_diag_rqlen length;
	size_t size;
	const void *attribute = unix_attribute(message, UNIX_DIAG_RQLEN, sizeof(length), &size);

	if (attribute == NULL)
		return;
	memcpy(&length, attribute, sizeof(length));
	queue->found = true;
	queue->queued = length.udiag_rqueue;
}

int sock_diag_unix_queue(int fd, uint32_t *ret_queued)
{
	struct unix_queue queue = { .found = false };
	int result = query_one(fd, UDIAG_SHOW_RQLEN, read_queue, &queue);

	if (result < 0)
		return result;
	if (!queue.found)
		return -EOPNOTSUPP;
	*ret_queued = queue.queued;
	return 0;
}

struct unix_file {
	bool found;
	struct unix_diag_vfs file;
};

static void read_file(const struct nlmsghdr *message, void *context)
{
	struct unix_file *file = context;
	size_t size;
	const void *attribute = unix_attribute(message, UNIX_DIAG_VFS, sizeof(file->file), &size);

	if (attribute == NULL)
		return;
	memcpy(&file->file, attribute, sizeof(file->file));
	file->found = true;
}

int sock_diag_unix_file(int fd, uint64_t *ret_device, uint64_t *ret_inode)
{
	struct unix_file file = { .found = false };
	int result = query_one(fd, UDIAG_SHOW_VFS, read_file, &file);

	if (result < 0)
		return result;
	if (!file.found)
		return -ENOENT;
	/* The kernel's own form of a device's number: 12 bits and 20. */
	*ret_device = makedev(file.file.udiag_vfs_dev >> 20, file.file.udiag_vfs_dev & 0xfffff);
	*ret_inode = file.file.udiag_vfs_ino;
	return 0;
}

struct reservation {
	const char *path;
	bool found;
};

static void compare_name(const struct nlmsghdr *message, void *context)
{
	struct reservation *reservation = context;
	size_t size = 0;
	const char *name = unix_attribute(message, UNIX_DIAG_NAME, 1, &size);

	if (name != NULL && strnlen(name, size) == strlen(reservation->path) &&
		memcmp(name, reservation->path, strlen(reservation->path)) == 0)
		reservation->found = true;
}

int sock_diag_unix_is_reserved(const char *path)
{
	struct reservation reservation = { .path = path };
	struct unix_request request = {
		.header = {
			.nlmsg_len = sizeof(request),
			.nlmsg_type = SOCK_DIAG_BY_FAMILY,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
		},
		.query = {
			.sdiag_family = AF_UNIX,
			.udiag_states = 1u << TCP_CLOSE,
			.udiag_show = UDIAG_SHOW_NAME,
		},
	};
	int result = diag_query(&request.header, compare_name, &reservation);

	return result < 0 ? result : reservation.found;
}
