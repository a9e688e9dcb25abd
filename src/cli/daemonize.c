/* SPDX-License-Identifier: MIT */
#include "cli/daemonize.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/exit_status.h"
#include "base/fd.h"

static int report_fd = -1;

/* Waits for the daemon's word. A daemon that died without one has failed. */
ATTR_NORETURN static void wait_for_report(int fd)
{
	unsigned char status = EXIT_STATUS_INTERNAL;
	ssize_t size;

	do
		size = read(fd, &status, 1);
	while (size < 0 && errno == EINTR);
	_exit(size == 1 ? status : EXIT_STATUS_INTERNAL);
}

int daemonize(void)
{
	FD_AUTO int reading = -1;
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	reading = ends[0];
	report_fd = ends[1];
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid > 0) {
		fd_close(&report_fd);
		wait_for_report(reading);
	}
	/* The second fork leaves the session without a leader, so that opening a terminal does not make it ours. */
	setsid();
	pid = fork();
	if (pid != 0)
		_exit(pid < 0 ? EXIT_STATUS_SYSTEM : EXIT_STATUS_OK);
	return 0;
}

void daemonize_report(int status)
{
	unsigned char byte = (unsigned char)status;

	if (report_fd < 0)
		return;
	/* Nobody may be there to hear it any more, which changes nothing. */
	if (fd_write_all(report_fd, &byte, 1) == 0)
		fd_close(&report_fd);
	fd_close(&report_fd);
}
