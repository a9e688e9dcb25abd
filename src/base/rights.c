/* SPDX-License-Identifier: MIT */
#include "base/rights.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

/* More messages than any socket holds; after the shutdown none is added. */
#define MESSAGES_MAX 65536

static void close_all(const struct cmsghdr *control)
{
	const struct linger none = { 0 };
	size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);

	for (size_t i = 0; i < count; i++) {
		int fd;

		memcpy(&fd, CMSG_DATA(control) + i * sizeof(fd), sizeof(fd));
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
		close(fd);
	}
}

void rights_drop(struct msghdr *header)
{
	for (struct cmsghdr *control = CMSG_FIRSTHDR(header); control != NULL; control = CMSG_NXTHDR(header, control))
		if (control->cmsg_level == SOL_SOCKET && control->cmsg_type == SCM_RIGHTS)
			close_all(control);
}

static void read_sender(const struct cmsghdr *control, pid_t *ret_sender)
{
	struct ucred sender;

	if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_CREDENTIALS)
		return;
	memcpy(&sender, CMSG_DATA(control), sizeof(sender));
	*ret_sender = sender.pid;
}

ssize_t rights_receive_from(int fd, void *buffer, size_t size, pid_t *ret_sender)
{
	_Alignas(struct cmsghdr) char control[RIGHTS_SPACE + CMSG_SPACE(sizeof(struct ucred))];
	struct iovec data = { .iov_base = buffer, .iov_len = size };
	struct msghdr header = {
		.msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
	};
	ssize_t received = recvmsg(fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	*ret_sender = 0;
	if (received < 0)
		return received;
	for (struct cmsghdr *one = CMSG_FIRSTHDR(&header); one != NULL; one = CMSG_NXTHDR(&header, one))
		read_sender(one, ret_sender);
	rights_drop(&header);
	return received;
}

/* RET_CONTROL: whether there was more than data. */
static ssize_t receive(int fd, void *buffer, size_t size, bool *ret_control)
{
	_Alignas(struct cmsghdr) char control[RIGHTS_SPACE];
	struct iovec data = { .iov_base = buffer, .iov_len = size };
	struct msghdr header = {
		.msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
	};
	ssize_t received = recvmsg(fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	*ret_control = received >= 0 && header.msg_controllen > 0;
	if (received >= 0)
		rights_drop(&header);
	return received;
}

ssize_t rights_receive(int fd, void *buffer, size_t size)
{
	bool control;

	return receive(fd, buffer, size, &control);
}

void rights_drain(int fd)
{
	char data[4096];
	bool control;
	ssize_t size;

	shutdown(fd, SHUT_RD);
	for (int i = 0; i < MESSAGES_MAX; i++) {
		size = receive(fd, data, sizeof(data), &control);
		/* Nothing is a message, too, if it brings something; else it is the end. */
		if ((size < 0 && errno != EINTR) || (size == 0 && !control))
			break;
	}
}
