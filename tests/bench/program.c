/* SPDX-License-Identifier: MIT */
/*
 * program: a worker of a pool of programs, of the least size. It accepts on descriptor 3 and sends back what it reads;
 * with an argument it closes a connection after so many messages. SIGTERM: it ends when it has no connection; the
 * handler takes the listener away, so that no accept() begins after it.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define LISTENER     3
#define MESSAGE_SIZE 128

static int dead_fd;

static void on_term(int number)
{
	int saved = errno;

	(void)number;
	dup3(dead_fd, LISTENER, O_CLOEXEC);
	errno = saved;
}

static void serve(int fd, unsigned long messages)
{
	char buffer[MESSAGE_SIZE];
	ssize_t size;

	for (unsigned long i = 0; messages == 0 || i < messages; i++) {
		do
			size = recv(fd, buffer, sizeof(buffer), MSG_WAITALL);
		while (size < 0 && errno == EINTR);
		if (size <= 0 || send(fd, buffer, (size_t)size, MSG_NOSIGNAL) != size)
			return;
	}
}

int main(int argc, char **argv)
{
	/* Without SA_RESTART: accept() returns, and finds no listener the next time. */
	const struct sigaction action = { .sa_handler = on_term };
	unsigned long messages = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;

	dead_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (dead_fd < 0 || sigaction(SIGTERM, &action, NULL))
		return 1;
	for (;;) {
		int fd = accept4(LISTENER, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0 && errno == ENOTSOCK)
			return 0;
		if (fd < 0 && errno != EINTR && errno != ECONNABORTED)
			return 1;
		if (fd >= 0) {
			serve(fd, messages);
			close(fd);
		}
	}
}
