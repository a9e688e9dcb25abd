/* SPDX-License-Identifier: MIT */
#include "master/notify_socket.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/rights.h"

int notify_socket_open(int *ret_fd, char ret_path[NOTIFY_PATH_MAX])
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char path[NOTIFY_PATH_MAX];
	FD_AUTO int fd = -1;
	uint64_t random;
	const int on = 1;
	int size;

	/* GRND_INSECURE: at boot the name need not wait for good randomness; it must only be free. */
	if (getrandom(&random, sizeof(random), GRND_INSECURE) != (ssize_t)sizeof(random))
		return -errno;
	size = snprintf(path, sizeof(path), "@brood/notify/%d-%016llx", getpid(), (unsigned long long)random);
	memcpy(address.sun_path, path, (size_t)size);
	address.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0 ||
		bind(fd, (const struct sockaddr *)&address,
			(socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)size)) < 0)
		return -errno;
	memcpy(ret_path, path, sizeof(path));
	*ret_fd = fd_steal(&fd);
	return 0;
}

/* Returns whether there were credentials. */
static bool read_credentials(struct msghdr *header, struct ucred *sender)
{
	bool found = false;

	for (struct cmsghdr *control = CMSG_FIRSTHDR(header); control != NULL; control = CMSG_NXTHDR(header, control)) {
		if (control->cmsg_level == SOL_SOCKET && control->cmsg_type == SCM_CREDENTIALS &&
			control->cmsg_len == CMSG_LEN(sizeof(*sender))) {
			memcpy(sender, CMSG_DATA(control), sizeof(*sender));
			found = true;
		}
	}
	return found;
}

int notify_socket_receive(int fd, struct notify_message *ret_message, struct ucred *ret_sender)
{
	char data[NOTIFY_MESSAGE_MAX];
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(struct ucred)) + RIGHTS_SPACE];
	struct iovec buffer = { .iov_base = data, .iov_len = sizeof(data) };
	struct msghdr header = {
		.msg_iov = &buffer, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
	};
	struct ucred sender;
	ssize_t size = recvmsg(fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	int result;

	if (size < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	rights_drop(&header);
	if (!read_credentials(&header, &sender) || (header.msg_flags & MSG_TRUNC) != 0)
		return -EBADMSG;
	result = notify_message_parse(data, (size_t)size, ret_message);
	if (result == 0)
		*ret_sender = sender;
	return result;
}
