/* SPDX-License-Identifier: MIT */
#include "master/notify_socket.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

static int receiver = -1, sender = -1;
static char path[NOTIFY_PATH_MAX];
static struct notify_message message;
static struct ucred from;

static void open_both(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	cr_assert_eq(notify_socket_open(&receiver, path), 0);
	memcpy(address.sun_path + 1, path + 1, strlen(path) - 1);
	sender = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	cr_assert_eq(connect(sender, (const struct sockaddr *)&address,
			     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path))),
		0);
}

TestSuite(notify_socket, .init = open_both);

Test(notify_socket, the_kernel_says_who_it_was)
{
	cr_assert_eq(path[0], '@');
	cr_assert(fcntl(receiver, F_GETFD) & FD_CLOEXEC);
	cr_assert_eq(send(sender, "READY=1", 7, 0), 7);
	cr_assert_eq(notify_socket_receive(receiver, &message, &from), 0);
	cr_assert(message.ready);
	cr_assert_eq(from.pid, getpid());
	cr_assert_eq(from.uid, getuid());
	cr_assert_eq(notify_socket_receive(receiver, &message, &from), -EAGAIN);
}

Test(notify_socket, no_two_have_one_name)
{
	char other[NOTIFY_PATH_MAX];
	int fd;

	cr_assert_eq(notify_socket_open(&fd, other), 0);
	cr_assert_str_neq(path, other);
}

Test(notify_socket, what_is_too_long_is_no_message)
{
	char text[NOTIFY_MESSAGE_MAX + 1];

	memset(text, 'x', sizeof(text));
	memcpy(text, "READY=1\n", 8);
	cr_assert_eq(send(sender, text, sizeof(text), 0), (ssize_t)sizeof(text));
	cr_assert_eq(send(sender, text, sizeof(text) - 1, 0), (ssize_t)sizeof(text) - 1);
	cr_assert_eq(notify_socket_receive(receiver, &message, &from), -EBADMSG);
	cr_assert_eq(notify_socket_receive(receiver, &message, &from), 0);
	cr_assert(message.ready);
}

/* BARRIER=1 comes with the writing end of a pipe, whose other end sees that it was closed. */
Test(notify_socket, descriptors_that_come_with_it_are_closed)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {
		.header = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))}
	};
	char barrier[] = "BARRIER=1";
	struct iovec text = { .iov_base = barrier, .iov_len = 9 };
	struct msghdr header = {
		.msg_iov = &text, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	int ends[2];
	char byte;

	cr_assert_eq(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
	memcpy(CMSG_DATA(&control.header), &ends[1], sizeof(int));
	cr_assert_eq(sendmsg(sender, &header, 0), 9);
	close(ends[1]);
	cr_assert_eq(read(ends[0], &byte, 1), -1);
	cr_assert_eq(notify_socket_receive(receiver, &message, &from), 0);
	cr_assert_eq(read(ends[0], &byte, 1), 0);
}
