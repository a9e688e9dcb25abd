/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/exit_status.h"
#include "cli/daemonize.h"

static void is_ready(void)
{
	daemonize_report(EXIT_STATUS_OK);
	daemonize_report(EXIT_STATUS_START);
}

static void cannot_start(void)
{
	daemonize_report(EXIT_STATUS_START);
}

static void dies(void)
{
}

/* The exit status of whoever called a daemon that lives so, and in TEXT what the terminal saw. */
static int starter_status(void (*life)(void), char *text, size_t size)
{
	size_t used = 0;
	ssize_t got;
	int terminal[2];
	int status;
	pid_t pid;

	cr_assert_eq(pipe(terminal), 0);
	pid = fork();
	if (pid == 0) {
		dup2(terminal[1], STDERR_FILENO);
		close(terminal[0]);
		close(terminal[1]);
		if (daemonize() < 0)
			_exit(1);
		life();
		_exit(0);
	}
	close(terminal[1]);
	while ((got = read(terminal[0], text + used, size - 1 - used)) > 0)
		used += (size_t)got;
	text[used] = '\0';
	close(terminal[0]);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

Test(daemonize, the_first_word_is_the_starters_status)
{
	char text[256];

	cr_assert_eq(starter_status(is_ready, text, sizeof(text)), EXIT_STATUS_OK);
	cr_assert_str_eq(text, "");
}

Test(daemonize, a_start_that_failed_behind_the_log_is_said_at_the_terminal)
{
	char text[256];

	cr_assert_eq(starter_status(cannot_start, text, sizeof(text)), EXIT_STATUS_START);
	cr_assert_not_null(strstr(text, "the log says why"), "%s", text);
}

Test(daemonize, a_daemon_that_dies_without_a_word_is_said_at_the_terminal)
{
	char text[256];

	cr_assert_eq(starter_status(dies, text, sizeof(text)), EXIT_STATUS_INTERNAL);
	cr_assert_not_null(strstr(text, "died before it was ready"), "%s", text);
}
