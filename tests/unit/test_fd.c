/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/fd.h"

/* Below a second too: {0, 0} would be no time-out at all. */
Test(fd, a_timeout_is_set_to_the_millisecond)
{
	static const uint32_t timeouts_ms[] = { 1000, 200, 61500, 0 };
	int ends[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	for (size_t i = 0; i < ARRAY_SIZE(timeouts_ms); i++) {
		struct timeval set = { .tv_sec = -1 };
		socklen_t size = sizeof(set);

		cr_assert_eq(fd_set_timeout(ends[0], SO_RCVTIMEO, timeouts_ms[i]), 0);
		cr_assert_eq(getsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &set, &size), 0);
		cr_assert_eq(set.tv_sec, timeouts_ms[i] / 1000);
		/* The kernel counts in ticks, and rounds up. */
		cr_assert(set.tv_usec >= timeouts_ms[i] % 1000 * 1000 &&
			  set.tv_usec < timeouts_ms[i] % 1000 * 1000 + 10000);
	}
	close(ends[0]);
	close(ends[1]);
	cr_assert_eq(fd_set_timeout(ends[0], SO_RCVTIMEO, 1), -EBADF);
}

Test(fd, a_pipe_is_read_without_waiting)
{
	int reading = -1, writing = -1;
	char byte;

	cr_assert_eq(fd_pipe(&reading, &writing), 0);
	cr_assert((fcntl(reading, F_GETFD) & FD_CLOEXEC) != 0 && (fcntl(writing, F_GETFD) & FD_CLOEXEC) != 0);
	cr_assert_eq(read(reading, &byte, 1), -1);
	cr_assert_eq(errno, EAGAIN);
	cr_assert((fcntl(writing, F_GETFL) & O_NONBLOCK) == 0);
	cr_assert_eq(write(writing, "x", 1), 1);
	cr_assert_eq(read(reading, &byte, 1), 1);
	close(reading);
	close(writing);
}
