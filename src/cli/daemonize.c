/* SPDX-License-Identifier: MIT */
#include "cli/daemonize.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/exit_status.h"
#include "base/fd.h"
#include "base/log.h"

static int report_fd = -1;

/*
 * Waits for the daemon's word. A daemon that died without one has failed. What failed before the log took over it has
 * said itself, here.
 */
ATTR_NORETURN static void wait_for_report(int fd)
{
	unsigned char status = EXIT_STATUS_INTERNAL;
	ssize_t size;

	do
		size = read(fd, &status, 1);
	while (size < 0 && errno == EINTR);
	if (size != 1)
		fputs("brood: the daemon died before it was ready\n", stderr);
	else if (status == EXIT_STATUS_START)
		fputs("brood: stopped, or a pool could not be started: the log says why\n", stderr);
	_exit(size == 1 ? status : EXIT_STATUS_INTERNAL);
}

/* The process between the caller and the daemon. */
ATTR_NORETURN static void leave(pid_t daemon)
{
	if (daemon < 0) {
		fprintf(stderr, "brood: cannot detach: %s\n", log_strerror(errno));
		daemonize_report(EXIT_STATUS_SYSTEM);
	}
	_exit(EXIT_STATUS_OK);
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
		leave(pid);
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
