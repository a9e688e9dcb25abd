/* SPDX-License-Identifier: MIT */
/*
 * The logger as a process: started, stalled, killed, told to reopen. Its standard error is a pipe or socket of the
 * test's.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/logger.h"

#define DEADLINE_MS 30000

static struct logger_channel channel;
static struct logger_config config = { .target = LOG_TARGET_STDERR };
static char directory[] = "/tmp/test_logger.XXXXXX";
static pid_t logger_pid;
static int reader = -1; /* the other end of the logger's standard error */
static int logger_stderr = -1;

static void set_up(void)
{
	unsetenv("JOURNAL_STREAM");
	unsetenv("INVOCATION_ID");
	cr_assert_not_null(mkdtemp(directory));
	cr_assert_eq(logger_channel_init(&channel), 0);
	log_connect(channel.write_fd, channel.dropped);
}

static void tear_down(void)
{
	char command[64];

	if (logger_pid > 0) {
		kill(logger_pid, SIGKILL);
		waitpid(logger_pid, NULL, 0);
	}
	snprintf(command, sizeof(command), "rm -r %s", directory);
	cr_assert_eq(system(command), 0);
}

TestSuite(logger, .init = set_up, .fini = tear_down, .timeout = 120);

static const char *path_of(const char *name)
{
	static char paths[4][128];
	static unsigned int next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", directory, name);
	return path;
}

/* Both ends stay open here, so that each logger inherits the same. */
static void make_stderr_pipe(void)
{
	int fds[2];

	cr_assert_eq(pipe(fds), 0);
	reader = fds[0];
	logger_stderr = fds[1];
}

static void start_logger(void)
{
	sigset_t blocked, before;

	sigfillset(&blocked);
	sigprocmask(SIG_BLOCK, &blocked, &before);
	logger_pid = fork();
	if (logger_pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (logger_stderr >= 0)
			dup2(logger_stderr, STDERR_FILENO);
		logger_main(&config, &channel);
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	cr_assert_gt(logger_pid, 0);
}

/* The logger ends by itself, with status 0. */
static void expect_exit(void)
{
	int status = -1;

	cr_assert_eq(waitpid(logger_pid, &status, 0), logger_pid);
	logger_pid = 0;
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %#x", (unsigned int)status);
}

static void stop_logger(void)
{
	kill(logger_pid, SIGTERM);
	expect_exit();
}

static void kill_logger(void)
{
	kill(logger_pid, SIGKILL);
	waitpid(logger_pid, NULL, 0);
	logger_pid = 0;
}

/* What comes through READER until TEXT has come, or, with NULL, until nothing comes for a while. */
struct intake {
	char *data;
	size_t size;
};

static void read_more(struct intake *intake, int timeout_ms)
{
	struct pollfd readable = { .fd = reader, .events = POLLIN };
	ssize_t size;

	if (poll(&readable, 1, timeout_ms) <= 0)
		return;
	intake->data = realloc(intake->data, intake->size + 65536 + 1);
	size = read(reader, intake->data + intake->size, 65536);
	if (size > 0)
		intake->size += (size_t)size;
	intake->data[intake->size] = '\0';
}

static void read_until(struct intake *intake, const char *text)
{
	uint64_t deadline = clock_monotonic_ms() + DEADLINE_MS;

	while (intake->data == NULL || strstr(intake->data, text) == NULL) {
		cr_assert_lt(clock_monotonic_ms(), deadline, "no \"%s\" in \"%s\"", text, intake->data);
		read_more(intake, 100);
	}
}

/* The file's content; waits until TEXT stands in it. */
static const char *read_file(const char *path, const char *text)
{
	static char *content;
	uint64_t deadline = clock_monotonic_ms() + DEADLINE_MS;

	for (;;) {
		int fd = open(path, O_RDONLY);
		ssize_t size = 0;

		if (fd >= 0) {
			struct stat status;

			fstat(fd, &status);
			content = realloc(content, (size_t)status.st_size + 1);
			size = read(fd, content, (size_t)status.st_size);
			cr_assert_geq(size, 0);
			content[size] = '\0';
			close(fd);
			if (strstr(content, text) != NULL)
				return content;
		}
		cr_assert_lt(clock_monotonic_ms(), deadline, "no \"%s\" in %s: \"%s\"", text, path, content);
		poll(NULL, 0, 10);
	}
}

static size_t count_of(const char *text, const char *part)
{
	size_t count = 0;

	for (const char *at = strstr(text, part); at != NULL; at = strstr(at + 1, part))
		count++;
	return count;
}

/* The sum of all reports "WHAT ... count=N". */
static uint64_t reported_in(const char *text, const char *what)
{
	uint64_t sum = 0;

	for (const char *at = strstr(text, what); at != NULL; at = strstr(at + 1, what))
		sum += strtoull(strstr(at, "count=") + 6, NULL, 10);
	return sum;
}

/* Reads until received and reported lines make up COUNT. */
static void read_until_complete(struct intake *intake, uint64_t count)
{
	uint64_t deadline = clock_monotonic_ms() + DEADLINE_MS;

	for (;;) {
		uint64_t received = intake->data != NULL ? count_of(intake->data, " info: line number=") : 0;
		uint64_t reported = intake->data != NULL ? reported_in(intake->data, "log lines dropped") : 0;

		cr_assert_leq(received + reported, count);
		if (received + reported == count)
			return;
		cr_assert_lt(clock_monotonic_ms(), deadline, "%lu received, %lu reported", received, reported);
		read_more(intake, 100);
	}
}

static void expect_time(const char *line)
{
	unsigned int year, month, day, hour, minute, second, micro;
	int length = 0;

	cr_assert_eq(sscanf(line, "%4u-%2u-%2uT%2u:%2u:%2u.%6uZ %n", &year, &month, &day, &hour, &minute, &second,
			     &micro, &length),
		7, "%s", line);
	cr_assert_eq(length, 28);
}

Test(logger, a_line_of_text_on_standard_error)
{
	struct intake intake = { 0 };
	char expected[128];

	make_stderr_pipe();
	start_logger();
	log_event(LOG_LEVEL_WARNING, "worker died", LOG_TEXT("pool", "web"), LOG_INT("slot", 3));
	read_until(&intake, "\n");
	expect_time(intake.data);
	snprintf(expected, sizeof(expected), "brood[%d] warning: worker died pool=web slot=3\n", (int)getpid());
	cr_assert_str_eq(intake.data + 28, expected);
	stop_logger();
}

Test(logger, a_line_of_json)
{
	struct intake intake = { 0 };
	char expected[256];

	config.format = LOG_FORMAT_JSON;
	make_stderr_pipe();
	start_logger();
	log_event(LOG_LEVEL_ERROR, "a \"b\"", LOG_TEXT("path", "c\\\n\"=é"), LOG_INT("n", -5), LOG_TEXT("text", "5"),
		LOG_INT("pid", 12), LOG_TEXT("level", "own"));
	read_until(&intake, "\n");
	cr_assert_eq(strncmp(intake.data, "{\"time\":\"", 9), 0);
	snprintf(expected, sizeof(expected),
		"Z\",\"level\":\"error\",\"writer\":%d,\"event\":\"a "
		"\\\"b\\\"\",\"path\":\"c\\\\x5c\\\\x0a\\\"=\\\\xc3\\\\xa9\","
		"\"n\":-5,\"text\":\"5\",\"pid\":12,\"field_level\":\"own\"}\n",
		(int)getpid());
	cr_assert_str_eq(strchr(intake.data, 'Z'), expected);
	stop_logger();
}

Test(logger, standard_error_to_the_journal_has_levels)
{
	struct intake intake = { 0 };
	struct stat status;
	char value[64], expected[64];

	make_stderr_pipe();
	fstat(logger_stderr, &status);
	snprintf(value, sizeof(value), "%lu:%lu", (unsigned long)status.st_dev, (unsigned long)status.st_ino);
	setenv("JOURNAL_STREAM", value, 1);
	start_logger();
	log_event(LOG_LEVEL_WARNING, "worker died", LOG_INT("slot", 3));
	read_until(&intake, "\n");
	snprintf(expected, sizeof(expected), "<4>[%d] worker died slot=3\n", (int)getpid());
	cr_assert_str_eq(intake.data, expected);
	stop_logger();
}

Test(logger, a_file_gets_lines_and_mode_0640)
{
	struct stat status;

	umask(0);
	config.target = LOG_TARGET_FILE;
	config.file = path_of("log");
	start_logger();
	log_event(LOG_LEVEL_INFO, "first");
	log_event(LOG_LEVEL_INFO, "second");
	read_file(config.file, "second\n");
	cr_assert_eq(stat(config.file, &status), 0);
	cr_assert_eq(status.st_mode & 07777, 0640);
	stop_logger();
}

Test(logger, told_to_leave_it_writes_what_is_queued)
{
	const char *content;

	config.target = LOG_TARGET_FILE;
	config.file = path_of("log");
	for (int i = 0; i < 200; i++)
		log_event(LOG_LEVEL_INFO, "line", LOG_INT("number", i));
	start_logger();
	stop_logger();
	content = read_file(config.file, "");
	cr_assert_eq(count_of(content, "line number="), 200);
}

Test(logger, without_writers_it_writes_what_is_queued_and_leaves)
{
	config.target = LOG_TARGET_FILE;
	config.file = path_of("log");
	start_logger();
	log_event(LOG_LEVEL_INFO, "last");
	close(channel.write_fd);
	expect_exit();
	cr_assert_eq(count_of(read_file(config.file, ""), " info: last\n"), 1);
}

Test(logger, a_pipe_that_nobody_reads_costs_counted_lines_only)
{
	const uint64_t count = 100000;
	struct intake intake = { 0 };

	make_stderr_pipe();
	start_logger();
	for (uint64_t i = 0; i < count; i++)
		log_event(LOG_LEVEL_INFO, "line", LOG_INT("number", (int64_t)i));
	read_until_complete(&intake, count);
	cr_assert_gt(reported_in(intake.data, "log lines dropped"), 0);
	cr_assert_not_null(strstr(intake.data, " warning: log lines dropped count="));
	cr_assert_eq(fcntl(logger_stderr, F_GETFL) & O_NONBLOCK, 0, "the flags of what we inherit are not ours");
	stop_logger();
}

Test(logger, what_was_queued_at_its_death_reaches_the_next)
{
	const char *content;

	config.target = LOG_TARGET_FILE;
	config.file = path_of("log");
	start_logger();
	log_event(LOG_LEVEL_INFO, "before");
	read_file(config.file, "before");
	kill_logger();
	for (int i = 0; i < 100; i++)
		log_event(LOG_LEVEL_INFO, "line", LOG_INT("number", i));
	start_logger();
	content = read_file(config.file, "line number=99\n");
	cr_assert_eq(count_of(content, "line number="), 100);
	cr_assert_null(strstr(content, "dropped"));
	stop_logger();
}
