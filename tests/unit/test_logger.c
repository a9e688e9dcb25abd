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
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/logger.h"
#include "base/logger_signals.h"

#define DEADLINE_MS 30000

static struct logger_channel channel;
static struct logger_config config = { .target = LOG_TARGET_STDERR };
static char directory[] = "/tmp/test_logger.XXXXXX";
static pid_t logger_pid;
static int reader = -1; /* the other end of the logger's standard error */
static int logger_stderr = -1;

/* What has come through READER. */
static struct {
	char *data; /* terminated; NULL: nothing yet */
	size_t size;
} intake;

static char *content; /* of the last read_file() */

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
	free(intake.data);
	free(content);
	snprintf(command, sizeof(command), "rm -r %s", directory);
	cr_assert_eq(system(command), 0);
}

TestSuite(logger, .init = set_up, .fini = tear_down, .timeout = 120);

static const char *path_of(const char *name)
{
	static char paths[8][128];
	static unsigned int next;
	char *path = paths[next++];

	cr_assert_leq(next, 8, "each path stays valid");

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

static void make_stderr_socket(void)
{
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
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

static void read_more(int timeout_ms)
{
	struct pollfd readable = { .fd = reader, .events = POLLIN };
	ssize_t size;

	if (poll(&readable, 1, timeout_ms) <= 0)
		return;
	intake.data = realloc(intake.data, intake.size + 65536 + 1);
	size = read(reader, intake.data + intake.size, 65536);
	if (size > 0)
		intake.size += (size_t)size;
	intake.data[intake.size] = '\0';
}

static void read_until(const char *text)
{
	uint64_t deadline = clock_monotonic_ms() + DEADLINE_MS;

	while (intake.data == NULL || strstr(intake.data, text) == NULL) {
		cr_assert_lt(clock_monotonic_ms(), deadline, "no \"%s\" in \"%s\"", text, intake.data);
		read_more(100);
	}
}

/* Until the whole line is there that has TEXT: a pipe may bring it in pieces. */
static void read_line_of(const char *text)
{
	uint64_t deadline = clock_monotonic_ms() + DEADLINE_MS;

	read_until(text);
	while (strchr(strstr(intake.data, text), '\n') == NULL) {
		cr_assert_lt(clock_monotonic_ms(), deadline, "no end of the line of \"%s\"", text);
		read_more(100);
	}
}

/* The file's content; waits until TEXT stands in it. */
static const char *read_file(const char *path, const char *text)
{
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
static void read_until_complete(uint64_t count)
{
	uint64_t deadline = clock_monotonic_ms() + DEADLINE_MS;

	for (;;) {
		uint64_t received = intake.data != NULL ? count_of(intake.data, " info: line number=") : 0;
		uint64_t reported = intake.data != NULL ? reported_in(intake.data, "log lines dropped") : 0;

		cr_assert_leq(received + reported, count);
		if (received + reported == count)
			return;
		cr_assert_lt(clock_monotonic_ms(), deadline, "%lu received, %lu reported", received, reported);
		read_more(100);
	}
}

/* Reads until all that was dropped is reported. */
static void read_until_reported(void)
{
	uint64_t deadline = clock_monotonic_ms() + DEADLINE_MS;

	while (reported_in(intake.data, "log lines dropped") < *channel.dropped) {
		cr_assert_lt(clock_monotonic_ms(), deadline, "%lu were dropped", *channel.dropped);
		read_more(100);
	}
}

/* Until the logger has made room, the line would be dropped as well, and it is said again. */
static void log_to_the_end(const char *event)
{
	uint64_t deadline = clock_monotonic_ms() + DEADLINE_MS, before;

	do {
		cr_assert_lt(clock_monotonic_ms(), deadline, "no room for \"%s\"", event);
		before = *channel.dropped;
		log_event(LOG_LEVEL_INFO, event);
		if (*channel.dropped != before)
			read_more(10);
	} while (*channel.dropped != before);
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
	char expected[128];

	make_stderr_pipe();
	start_logger();
	log_event(LOG_LEVEL_WARNING, "worker died", LOG_TEXT("pool", "web"), LOG_INT("slot", 3));
	read_until("\n");
	expect_time(intake.data);
	snprintf(expected, sizeof(expected), "brood[%d] warning: worker died pool=web slot=3\n", (int)getpid());
	cr_assert_str_eq(intake.data + 28, expected);
	stop_logger();
}

Test(logger, a_line_of_json)
{
	char expected[256];

	config.format = LOG_FORMAT_JSON;
	make_stderr_pipe();
	start_logger();
	log_event(LOG_LEVEL_ERROR, "a \"b\"", LOG_TEXT("path", "c\\\n\"=é"), LOG_INT("n", -5), LOG_TEXT("text", "5"),
		LOG_INT("pid", 12), LOG_TEXT("level", "own"));
	read_until("\n");
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
	struct stat status;
	char value[64], expected[64];

	make_stderr_pipe();
	fstat(logger_stderr, &status);
	snprintf(value, sizeof(value), "%lu:%lu", (unsigned long)status.st_dev, (unsigned long)status.st_ino);
	setenv("JOURNAL_STREAM", value, 1);
	start_logger();
	log_event(LOG_LEVEL_WARNING, "worker died", LOG_INT("slot", 3));
	read_until("\n");
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
	config.target = LOG_TARGET_FILE;
	config.file = path_of("log");
	for (int i = 0; i < 200; i++)
		log_event(LOG_LEVEL_INFO, "line", LOG_INT("number", i));
	start_logger();
	stop_logger();
	read_file(config.file, "");
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

	make_stderr_pipe();
	start_logger();
	for (uint64_t i = 0; i < count; i++)
		log_event(LOG_LEVEL_INFO, "line", LOG_INT("number", (int64_t)i));
	read_until_complete(count);
	cr_assert_gt(reported_in(intake.data, "log lines dropped"), 0);
	cr_assert_not_null(strstr(intake.data, " warning: log lines dropped count="));
	cr_assert_eq(fcntl(logger_stderr, F_GETFL) & O_NONBLOCK, 0, "the flags of what we inherit are not ours");
	stop_logger();
}

Test(logger, what_was_queued_at_its_death_reaches_the_next)
{
	config.target = LOG_TARGET_FILE;
	config.file = path_of("log");
	start_logger();
	log_event(LOG_LEVEL_INFO, "before");
	read_file(config.file, "before");
	kill_logger();
	for (int i = 0; i < 100; i++)
		log_event(LOG_LEVEL_INFO, "line", LOG_INT("number", i));
	start_logger();
	read_file(config.file, "line number=99\n");
	cr_assert_eq(count_of(content, "line number="), 100);
	cr_assert_null(strstr(content, "dropped"));
	stop_logger();
}

Test(logger, killed_while_stalled_it_reports_no_drop_twice)
{
	const uint64_t count = 50000;

	make_stderr_pipe();
	for (uint64_t i = 0; i < count; i++)
		log_event(LOG_LEVEL_INFO, "line", LOG_INT("number", (int64_t)i));
	cr_assert_gt(*channel.dropped, 0);
	start_logger();
	read_line_of("log lines dropped");
	kill_logger();
	start_logger();
	log_to_the_end("the end");
	read_until("info: the end\n");
	read_until_reported();
	stop_logger();
	cr_assert_eq(reported_in(intake.data, "log lines dropped"), *channel.dropped);
}

static const char *access_paths[2];

static void use_file_and_access_logs(void)
{
	config.target = LOG_TARGET_FILE;
	config.file = path_of("log");
	access_paths[0] = path_of("access-1");
	access_paths[1] = path_of("access-2");
	config.access_files = access_paths;
	config.access_count = 2;
}

static void access_line(unsigned int stream, const char *line)
{
	log_access(stream, line, (uint32_t)strlen(line));
}

Test(logger, access_lines_go_raw_to_their_file)
{
	use_file_and_access_logs();
	start_logger();
	access_line(1, "GET / 200");
	access_line(2, "GET /two 404");
	access_line(1, "GET /three \xc3\xa9");
	cr_assert_str_eq(read_file(access_paths[0], "three"), "GET / 200\nGET /three \xc3\xa9\n");
	cr_assert_str_eq(read_file(access_paths[1], "two"), "GET /two 404\n");
	access_line(3, "no such stream");
	read_file(config.file, "log lines dropped count=1\n");
	stop_logger();
}

Test(logger, sigusr1_reopens_what_was_renamed)
{
	const char *old_log = path_of("log.1");
	const char *old_access = path_of("access.1");

	use_file_and_access_logs();
	start_logger();
	log_event(LOG_LEVEL_INFO, "old");
	access_line(1, "old access");
	read_file(config.file, "info: old\n");
	read_file(access_paths[0], "old access\n");
	cr_assert_eq(rename(config.file, old_log), 0);
	cr_assert_eq(rename(access_paths[0], old_access), 0);
	kill(logger_pid, SIGUSR1);
	read_file(config.file, "log files reopened\n");
	log_event(LOG_LEVEL_INFO, "new");
	access_line(1, "new access");
	cr_assert_null(strstr(read_file(config.file, "info: new\n"), "old"));
	cr_assert_str_eq(read_file(access_paths[0], "new access\n"), "new access\n");
	cr_assert_str_eq(read_file(old_access, ""), "old access\n");
	stop_logger();
}

Test(logger, a_file_that_cannot_be_reopened_is_kept)
{
	use_file_and_access_logs();
	start_logger();
	access_line(1, "one");
	read_file(access_paths[0], "one\n");
	cr_assert_eq(rename(access_paths[0], path_of("moved")), 0);
	cr_assert_eq(mkdir(access_paths[0], 0755), 0);
	kill(logger_pid, SIGUSR1);
	cr_assert_not_null(strstr(read_file(config.file, "reopened\n"), " error: log file not reopened file="));
	cr_assert_not_null(strstr(read_file(config.file, ""), "error=\"Is a directory\"\n"));
	access_line(1, "two");
	cr_assert_str_eq(read_file(path_of("moved"), "two\n"), "one\ntwo\n");
	stop_logger();
}

/* Whenever the signal comes, it is served: with nothing to do, between lines, while the receiver is stalled. */
Test(logger, no_sigusr1_is_lost)
{
	use_file_and_access_logs();
	start_logger();
	for (int round = 0; round < 200; round++) {
		log_event(LOG_LEVEL_INFO, "line");
		cr_assert(unlink(config.file) == 0 || round == 0);
		kill(logger_pid, SIGUSR1);
		for (int i = 0; i < round % 7; i++)
			log_event(LOG_LEVEL_INFO, "line");
		read_file(config.file, "log files reopened\n");
	}
	stop_logger();
}

/* With standard error made, and not read. */
static void expect_other_logs_to_flow(void)
{
	use_file_and_access_logs();
	config.target = LOG_TARGET_STDERR;
	start_logger();
	for (int i = 0; i < 50000; i++)
		log_event(LOG_LEVEL_INFO, "line", LOG_INT("number", i));
	/* Those lines may have taken the place of access lines: try until one comes through. */
	for (int i = 0; access(access_paths[0], F_OK) < 0 || read_file(access_paths[0], "")[0] == '\0'; i++) {
		cr_assert_lt(i, 1000);
		access_line(1, "access");
		poll(NULL, 0, 10);
	}
	cr_assert_eq(rename(access_paths[0], path_of("moved")), 0);
	kill(logger_pid, SIGUSR1);
	read_file(access_paths[0], "");
	stop_logger();
}

Test(logger, a_stalled_pipe_holds_neither_access_logs_nor_signals)
{
	make_stderr_pipe();
	expect_other_logs_to_flow();
}

Test(logger, a_stalled_socket_holds_neither_access_logs_nor_signals)
{
	make_stderr_socket();
	expect_other_logs_to_flow();
}

/* A wait that always finds something to read must let signals in as well. */
Test(logger, a_flood_of_lines_holds_no_signal)
{
	pid_t writers[2];

	use_file_and_access_logs();
	start_logger();
	for (size_t i = 0; i < ARRAY_SIZE(writers); i++) {
		writers[i] = fork();
		if (writers[i] != 0)
			continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			log_event(LOG_LEVEL_INFO, "line");
	}
	read_file(config.file, "line");
	cr_assert_eq(unlink(config.file), 0);
	kill(logger_pid, SIGUSR1);
	read_file(config.file, "line");
	stop_logger();
	for (size_t i = 0; i < ARRAY_SIZE(writers); i++) {
		kill(writers[i], SIGKILL);
		waitpid(writers[i], NULL, 0);
	}
}

Test(logger, told_to_leave_it_does_not_wait_for_ever)
{
	uint64_t before = clock_monotonic_ms();

	make_stderr_pipe();
	start_logger();
	for (int i = 0; i < 50000; i++)
		log_event(LOG_LEVEL_INFO, "line", LOG_INT("number", i));
	stop_logger();
	cr_assert_lt(clock_monotonic_ms() - before, DEADLINE_MS);
}

Test(logger, without_writers_it_does_not_wait_for_ever)
{
	make_stderr_pipe();
	start_logger();
	for (int i = 0; i < 50000; i++)
		log_event(LOG_LEVEL_INFO, "line", LOG_INT("number", i));
	close(channel.write_fd);
	expect_exit();
}

Test(logger, a_full_disk_loses_counted_lines)
{
	static char expected[256];

	use_file_and_access_logs();
	/* A link, so that a reopening can find room again. */
	cr_assert_eq(symlink("/dev/full", access_paths[0]), 0);
	start_logger();
	for (int i = 0; i < 10; i++)
		access_line(1, "lost");
	snprintf(expected, sizeof(expected),
		" error: access log cannot be written file=%s error=\"No space left on device\"\n", access_paths[0]);
	read_file(config.file, expected);
	cr_assert_eq(unlink(access_paths[0]), 0);
	kill(logger_pid, SIGUSR1);
	read_file(config.file, "log files reopened\n");
	access_line(1, "room again");
	cr_assert_str_eq(read_file(access_paths[0], "room"), "room again\n");
	snprintf(expected, sizeof(expected),
		" warning: access log lines dropped file=%s count=10 error=\"No space left on device\"\n",
		access_paths[0]);
	read_file(config.file, expected);
	cr_assert_eq(count_of(read_file(config.file, ""), "cannot be written"), 1, "once an episode");
	stop_logger();
}

Test(logger, a_full_disk_under_the_log_itself)
{
	char expected[256];

	use_file_and_access_logs();
	make_stderr_pipe();
	cr_assert_eq(symlink("/dev/full", config.file), 0);
	for (int i = 0; i < 7; i++)
		log_event(LOG_LEVEL_INFO, "lost");
	start_logger();
	read_until("\n");
	snprintf(expected, sizeof(expected), "brood: error: log cannot be written: %s: No space left on device\n",
		config.file);
	cr_assert_str_eq(intake.data, expected);
	cr_assert_eq(unlink(config.file), 0);
	log_set_level(LOG_LEVEL_WARNING);
	kill(logger_pid, SIGUSR1);
	/* Without a new line: the report itself is the next try. */
	read_file(config.file, " warning: log lines dropped count=7 error=\"No space left on device\"\n");
	stop_logger();
}

/* A line that went halfway into a full disk is not glued to the next. */
Test(logger, after_a_torn_line_comes_a_new_one)
{
	struct rlimit limit = { .rlim_cur = 1010, .rlim_max = RLIM_INFINITY };
	use_file_and_access_logs();
	config.target = LOG_TARGET_STDERR;
	make_stderr_pipe();
	start_logger();
	cr_assert_eq(prlimit(logger_pid, RLIMIT_FSIZE, &limit, NULL), 0);
	for (int i = 0; i < 30; i++)
		access_line(1, "a line of 39 bytes and its newline, 40.");
	read_until("access log cannot be written");
	limit.rlim_cur = RLIM_INFINITY;
	cr_assert_eq(prlimit(logger_pid, RLIMIT_FSIZE, &limit, NULL), 0);
	access_line(1, "whole");
	read_file(access_paths[0], "whole\n");
	cr_assert_eq(count_of(content, "40.\n"), 25);
	cr_assert_not_null(strstr(content, "\nwhole\n"));
	stop_logger();
}

Test(logger, a_fifo_without_reader_holds_nothing)
{
	char expected[256];

	use_file_and_access_logs();
	cr_assert_eq(mkfifo(access_paths[0], 0600), 0);
	start_logger();
	access_line(1, "lost");
	access_line(2, "kept");
	read_file(access_paths[1], "kept\n");
	snprintf(expected, sizeof(expected), "access log cannot be written file=%s", access_paths[0]);
	read_file(config.file, expected);
	reader = open(access_paths[0], O_RDONLY | O_NONBLOCK);
	cr_assert_geq(reader, 0);
	for (int i = 0; i < 1000 && intake.size == 0; i++) {
		access_line(1, "read");
		read_more(50);
	}
	cr_assert_eq(strncmp(intake.data, "read\n", 5), 0);
	read_file(config.file, "access log lines dropped file=");
	stop_logger();
}

Test(logger, a_fifo_that_stalls_holds_no_other_log)
{
	static char line[1000];

	use_file_and_access_logs();
	memset(line, 'l', sizeof(line));
	cr_assert_eq(mkfifo(access_paths[0], 0600), 0);
	reader = open(access_paths[0], O_RDONLY | O_NONBLOCK);
	start_logger();
	for (int i = 0; i < 2000; i++)
		log_access(1, line, sizeof(line));
	for (int i = 0; access(access_paths[1], F_OK) < 0 || read_file(access_paths[1], "")[0] == '\0'; i++) {
		cr_assert_lt(i, 1000);
		access_line(2, "flows");
		poll(NULL, 0, 10);
	}
	log_event(LOG_LEVEL_INFO, "flows too");
	read_file(config.file, "flows too\n");
	kill_logger();
}

Test(logger, a_socket_as_standard_error)
{
	const uint64_t count = 30000;

	make_stderr_socket();
	start_logger();
	for (uint64_t i = 0; i < count; i++)
		log_event(LOG_LEVEL_INFO, "line", LOG_INT("number", (int64_t)i));
	read_until_complete(count);
	cr_assert_gt(reported_in(intake.data, "log lines dropped"), 0);
	cr_assert_eq(fcntl(logger_stderr, F_GETFL) & O_NONBLOCK, 0);
	stop_logger();
}

/* Another user's pipe: it cannot be opened anew, so it is written as it is. */
Test(logger, a_pipe_that_cannot_be_opened_anew)
{
	const uint64_t count = 30000;

	make_stderr_pipe();
	cr_assert_eq(fchmod(logger_stderr, 0), 0);
	if (geteuid() == 0)
		cr_assert_eq(seteuid(65534), 0);
	log_set_level(LOG_LEVEL_WARNING); /* the logger's own line about the reopening is not to be counted */
	start_logger();
	log_set_level(LOG_LEVEL_INFO);
	for (uint64_t i = 0; i < count; i++)
		log_event(LOG_LEVEL_INFO, "line", LOG_INT("number", (int64_t)i));
	kill(logger_pid, SIGUSR1);
	read_until_complete(count);
	cr_assert_eq(fcntl(logger_stderr, F_GETFL) & O_NONBLOCK, 0);
	stop_logger();
	cr_assert_eq(seteuid(getuid()), 0);
}

Test(logger, processes_do_not_mix_their_lines)
{
	const unsigned int processes = 8, lines = 2000;
	const uint64_t count = (uint64_t)processes * lines;
	uint64_t whole = 0, reported;

	make_stderr_pipe();
	start_logger();
	for (unsigned int i = 0; i < processes; i++) {
		if (fork() != 0)
			continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (unsigned int j = 0; j < lines; j++)
			log_event(LOG_LEVEL_INFO, "line", LOG_INT("number", j), LOG_TEXT("end", "0123456789"));
		_exit(0);
	}
	read_until_complete(count);
	stop_logger();
	reported = reported_in(intake.data, "log lines dropped");
	for (char *line = strtok(intake.data, "\n"); line != NULL; line = strtok(NULL, "\n")) {
		unsigned int pid, number;
		int length = 0;

		expect_time(line);
		if (strstr(line, "dropped") != NULL)
			continue;
		cr_assert_eq(
			sscanf(line + 28, "brood[%u] info: line number=%u end=0123456789%n", &pid, &number, &length),
			2);
		cr_assert_eq((size_t)length, strlen(line + 28));
		whole++;
	}
	cr_assert_eq(whole + reported, count);
	while (wait(NULL) > 0)
		;
}

Test(logger, without_a_journal_it_says_so_once)
{
	if (access("/run/systemd/journal/socket", F_OK) == 0)
		cr_skip_test("there is a journal here");
	config.target = LOG_TARGET_JOURNAL;
	make_stderr_pipe();
	start_logger();
	log_event(LOG_LEVEL_NOTICE, "ready");
	read_until("ready\n");
	cr_assert_eq(strncmp(intake.data, "<4>[", 4), 0);
	cr_assert_eq(count_of(intake.data, "journal not available, logging to standard error reason="), 1);
	cr_assert_not_null(strstr(intake.data, "\n<5>["));
	stop_logger();
}

Test(logger, keeps_no_descriptor_but_its_own)
{
	char path[64], target[128];

	use_file_and_access_logs();
	start_logger();
	log_event(LOG_LEVEL_INFO, "line");
	read_file(config.file, "line\n");
	/* 0, 1, 2, the socket's reading end, three files: the writing end is not among them, or there would be no end.
	 */
	for (int fd = 3, found = 0; fd < 256; fd++) {
		ssize_t size;

		snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)logger_pid, fd);
		size = readlink(path, target, sizeof(target) - 1);
		found += size > 0;
		cr_assert_leq(found, 4, "%s", path);
	}
	stop_logger();
}

Test(logger, signals_of_the_terminal_do_not_end_it)
{
	static const int signals[] = { SIGINT, SIGQUIT, SIGHUP, SIGUSR2, SIGPIPE, SIGTTIN, SIGTTOU, SIGTSTP, SIGXFSZ };

	use_file_and_access_logs();
	start_logger();
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		kill(logger_pid, signals[i]);
	log_event(LOG_LEVEL_INFO, "alive");
	read_file(config.file, "alive\n");
	cr_assert_neq(getpgid(logger_pid), getpgid(0));
	stop_logger();
}

Test(logger, check_finds_what_cannot_be_written)
{
	const char *path = NULL;

	use_file_and_access_logs();
	cr_assert_eq(logger_check(&config, &path), 0);
	cr_assert_eq(access(config.file, F_OK), 0);
	cr_assert_eq(access(access_paths[1], F_OK), 0);
	cr_assert_eq(unlink(access_paths[1]), 0);
	cr_assert_eq(mkdir(access_paths[1], 0755), 0);
	cr_assert_eq(logger_check(&config, &path), -EISDIR);
	cr_assert_str_eq(path, access_paths[1]);
	access_paths[1] = path_of("missing/access");
	cr_assert_eq(logger_check(&config, &path), -ENOENT);
	cr_assert_str_eq(path, access_paths[1]);
	access_paths[1] = "relative";
	cr_assert_eq(logger_check(&config, &path), -EINVAL);
	config.access_count = 1;
	cr_assert_eq(unlink(access_paths[0]), 0);
	cr_assert_eq(mkfifo(access_paths[0], 0600), 0);
	cr_assert_eq(logger_check(&config, &path), 0, "a FIFO may get its reader later");
	config.file = directory;
	cr_assert_eq(logger_check(&config, &path), -EISDIR);
	cr_assert_str_eq(path, directory);
}

Test(logger, targets_have_names)
{
	enum log_target target = LOG_TARGET_AUTO;

	cr_assert(log_target_parse("stderr", &target) == 0 && target == LOG_TARGET_STDERR);
	cr_assert(log_target_parse("syslog", &target) == 0 && target == LOG_TARGET_SYSLOG);
	cr_assert(log_target_parse("journal", &target) == 0 && target == LOG_TARGET_JOURNAL);
	cr_assert(log_target_parse("/var/log/brood.log", &target) == 0 && target == LOG_TARGET_FILE);
	cr_assert(log_target_parse("auto", &target) == 0 && target == LOG_TARGET_AUTO);
	cr_assert_eq(log_target_parse("", &target), -EINVAL);
	cr_assert_eq(log_target_parse("file", &target), -EINVAL);
	cr_assert_eq(log_target_parse("brood.log", &target), -EINVAL);
}

Test(logger, auto_is_what_fits)
{
	struct stat status;
	char value[64];

	cr_assert_eq(log_target_resolve(LOG_TARGET_AUTO, false), LOG_TARGET_STDERR);
	cr_assert_eq(log_target_resolve(LOG_TARGET_AUTO, true), LOG_TARGET_SYSLOG);
	cr_assert_eq(log_target_resolve(LOG_TARGET_FILE, true), LOG_TARGET_FILE);
	make_stderr_pipe();
	dup2(logger_stderr, STDERR_FILENO);
	fstat(STDERR_FILENO, &status);
	snprintf(value, sizeof(value), "%lu:%lu", (unsigned long)status.st_dev, (unsigned long)status.st_ino);
	setenv("JOURNAL_STREAM", value, 1);
	cr_assert_eq(log_target_resolve(LOG_TARGET_AUTO, false), LOG_TARGET_JOURNAL);
	cr_assert_eq(log_target_resolve(LOG_TARGET_STDERR, false), LOG_TARGET_STDERR);
	strcat(value, "1");
	setenv("JOURNAL_STREAM", value, 1);
	cr_assert_eq(log_target_resolve(LOG_TARGET_AUTO, false), LOG_TARGET_STDERR, "inherited from another unit");
	setenv("JOURNAL_STREAM", "nonsense", 1);
	cr_assert_eq(log_target_resolve(LOG_TARGET_AUTO, false), LOG_TARGET_STDERR);
}

Test(logger, a_wait_that_need_not_wait_lets_signals_in)
{
	struct pollfd readable = { .events = POLLIN };
	int fds[2];

	cr_assert_eq(pipe(fds), 0);
	cr_assert_eq(write(fds[1], "x", 1), 1);
	readable.fd = fds[0];
	logger_signals_init();
	raise(SIGUSR1);
	cr_assert_not(logger_signals_take_reopen(), "blocked until the wait");
	cr_assert_eq(logger_signals_wait(&readable, 1, -1), 1);
	cr_assert(logger_signals_take_reopen());
	cr_assert_not(logger_signals_take_reopen(), "once");
}

Test(logger, another_image_takes_the_channel_over_and_its_count)
{
	struct logger_channel adopted;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	*channel.dropped = 41;
	cr_assert_eq(logger_channel_adopt(&adopted, channel.read_fd, channel.write_fd, null), -EPROTO);
	cr_assert_eq(logger_channel_adopt(&adopted, channel.read_fd, channel.write_fd, -1), -EBADF);
	fcntl(channel.write_fd, F_SETFD, 0);
	cr_assert_eq(logger_channel_adopt(&adopted, channel.read_fd, channel.write_fd, channel.counters_fd), 0);
	cr_assert_neq(fcntl(channel.write_fd, F_GETFD) & FD_CLOEXEC, 0);
	++*adopted.dropped;
	cr_assert_eq(*channel.dropped, 42);
	close(null);
}
