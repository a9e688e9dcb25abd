/* SPDX-License-Identifier: MIT */
#include "worker/checker.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/exit_status.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/signals.h"
#include "base/title.h"
#include "worker/exec.h"
#include "worker/findings.h"

/* So much is read at a time: a child that floods the pipe does not hold its parent. */
#define READ_MAX (64U * 1024)
/* Room for the last line, which is the checker's own. */
#define LAST_LINE_MAX 512

static const char *const verdict_names[] = {
	[CHECKER_ACCEPTS] = "accepted",
	[CHECKER_REFUSES] = "refused",
	[CHECKER_FAILED] = "failed",
	[CHECKER_DIED] = "died",
	[CHECKER_OVERDUE] = "overdue",
};
static_assert(ARRAY_SIZE(verdict_names) == CHECKER_VERDICTS, "a name for each verdict");

const char *checker_verdict_name(enum checker_verdict verdict)
{
	return verdict_names[verdict];
}

/* ---- the child ---- */

/* Signals are as in a new process: the probes wait for children of theirs. Away from the parent's terminal, whose
 * signals it would else get with it. */
static int child_setup(pid_t parent, int errors_fd, int findings_fd)
{
	int keep[] = { errors_fd, findings_fd };

	setsid();
	exec_reset_signals();
	log_connect(-1, NULL);
	title_set("brood: checker");
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return -errno;
	if (getppid() != parent)
		return -ESRCH;
	return fd_close_others(STDERR_FILENO + 1, keep, ARRAY_SIZE(keep));
}

static enum exit_status child_check(const struct config_origin *origin, int findings_fd, FILE *errors)
{
	struct config *config = NULL;
	int result = findings_load_first(origin, findings_fd, errors, &config);

	if (result == 0)
		return EXIT_STATUS_OK;
	if (result == -EINVAL)
		return EXIT_STATUS_CONFIG;
	fprintf(errors, "%s: cannot be loaded: %s\n", origin->file, log_strerror(result));
	return EXIT_STATUS_SYSTEM;
}

/* Nobody waits for the memory to be given back. */
ATTR_NORETURN static void child_main(const struct config_origin *origin, pid_t parent, int errors_fd, int findings_fd)
{
	FILE *errors = fdopen(errors_fd, "w");
	enum exit_status status;
	int result;

	if (errors == NULL)
		_exit(EXIT_STATUS_SYSTEM);
	result = child_setup(parent, errors_fd, findings_fd);
	if (result < 0) {
		fprintf(errors, "%s: cannot be checked: %s\n", origin->file, log_strerror(result));
		status = EXIT_STATUS_SYSTEM;
	} else {
		status = child_check(origin, findings_fd, errors);
	}
	_exit(fflush(errors) == 0 && !ferror(errors) ? (int)status : EXIT_STATUS_SYSTEM);
}

/* ---- the parent ---- */

int checker_start(struct checker *checker, const struct config_origin *origin, uint32_t timeout_ms, uint64_t now_ms)
{
	pid_t parent = getpid(), pid;
	FD_AUTO int reading = -1;
	FD_AUTO int writing = -1;
	FD_AUTO int findings = findings_open();
	int result;

	if (findings < 0)
		return findings;
	result = fd_pipe(&reading, &writing);
	if (result < 0)
		return result;
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0)
		child_main(origin, parent, writing, findings); /* CHECKER may be memory that it does not have */
	*checker = (struct checker){
		.pid = pid,
		.errors_fd = fd_steal(&reading),
		.findings_fd = fd_steal(&findings),
		.deadline_ms = now_ms + timeout_ms,
		.timeout_ms = timeout_ms,
	};
	return 0;
}

/* Keeps what there is room for. */
static void keep(struct checker *checker, const char *data, size_t size)
{
	if (size > CHECKER_TEXT_MAX - checker->size) {
		size = CHECKER_TEXT_MAX - checker->size;
		checker->cut = true;
	}
	if (checker->text == NULL)
		checker->text = malloc(CHECKER_TEXT_MAX + LAST_LINE_MAX);
	if (checker->text == NULL)
		return;
	memcpy(checker->text + checker->size, data, size);
	checker->size += size;
	checker->text[checker->size] = '\0';
}

bool checker_read(struct checker *checker)
{
	char buffer[4096];
	ssize_t size = 0;

	for (size_t total = 0; checker->errors_fd >= 0 && total < READ_MAX; total += (size_t)size) {
		size = read(checker->errors_fd, buffer, sizeof(buffer));
		if (size <= 0)
			break;
		keep(checker, buffer, (size_t)size);
	}
	return checker->errors_fd >= 0 && (size > 0 || (size < 0 && (errno == EAGAIN || errno == EINTR)));
}

void checker_stop(struct checker *checker)
{
	if (checker->pid == 0)
		return;
	/* It leads a session, and so a group; its probes have sessions of their own, and die with it. */
	kill(checker->pid, SIGKILL);
	checker->deadline_ms = UINT64_MAX;
}

void checker_expire(struct checker *checker, uint64_t now_ms)
{
	if (checker->pid == 0 || now_ms < checker->deadline_ms)
		return;
	checker_stop(checker);
	checker->killed = true;
}

/* Adds a line of our own, after a whole line. */
static void add_line(struct checker *checker, const char *format, ...) ATTR_PRINTF(2, 3);

static void add_line(struct checker *checker, const char *format, ...)
{
	va_list arguments;
	int size;

	if (checker->text == NULL)
		keep(checker, "", 0);
	if (checker->text == NULL)
		return;
	while (checker->size > 0 && checker->text[checker->size - 1] != '\n')
		checker->size--;
	va_start(arguments, format);
	size = vsnprintf(checker->text + checker->size, LAST_LINE_MAX, format, arguments);
	va_end(arguments);
	if (size >= LAST_LINE_MAX)
		size = LAST_LINE_MAX - 1;
	if (size > 0)
		checker->size += (size_t)size;
}

static enum checker_verdict verdict_of(const struct checker *checker, int status)
{
	if (WIFSIGNALED(status))
		return checker->killed && WTERMSIG(status) == SIGKILL ? CHECKER_OVERDUE : CHECKER_DIED;
	switch (WEXITSTATUS(status)) {
	case EXIT_STATUS_OK:
		return CHECKER_ACCEPTS;
	case EXIT_STATUS_CONFIG:
		return CHECKER_REFUSES;
	default:
		return CHECKER_FAILED;
	}
}

/* What a verdict says that the child could not. */
static void explain(struct checker *checker, enum checker_verdict verdict, const char *file, int status)
{
	if (checker->cut)
		add_line(checker, "%s: more errors are left out\n", file);
	if (verdict == CHECKER_OVERDUE)
		add_line(checker, "%s: its check did not end within %u ms\n", file, checker->timeout_ms);
	else if (verdict == CHECKER_DIED)
		add_line(checker, "%s: its check died by signal %d (%s)\n", file, WTERMSIG(status),
			signals_name(WTERMSIG(status)));
	else if (verdict != CHECKER_ACCEPTS && checker->size == 0)
		add_line(checker, "%s: its check ended with exit status %d\n", file, WEXITSTATUS(status));
}

enum checker_verdict checker_reaped(struct checker *checker, const struct config_origin *origin, int status)
{
	enum checker_verdict verdict = verdict_of(checker, status);

	/* What was written before the death is there, and a pipe holds no more than is read at a time (pipe(7)). The
	 * child of a probe may hold it open a little longer. */
	checker_read(checker);
	fd_close(&checker->errors_fd);
	checker->pid = 0;
	explain(checker, verdict, origin->file, status);
	return verdict;
}

int checker_load(
	const struct checker *checker, const struct config_origin *origin, FILE *errors, struct config **ret_config)
{
	return findings_load_again(origin, checker->findings_fd, errors, ret_config);
}

void checker_done(struct checker *checker)
{
	fd_close(&checker->findings_fd);
	fd_close(&checker->errors_fd);
	free(checker->text);
	checker->text = NULL;
	checker->size = 0;
}
