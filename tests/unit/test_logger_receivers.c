/* SPDX-License-Identifier: MIT */
/*
 * The logger's receivers on the other side of syslog(3) and the journal's library: the test is the receiver, on sockets
 * in a mount namespace of its own.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/logger.h"
#include "build_config.h"

#define DEADLINE_MS  30000
#define SYSLOG_PATH  "/dev/log"
#define JOURNAL_PATH "/run/systemd/journal/socket"

static struct logger_channel channel;
static struct logger_config config;
static pid_t logger_pid;
static int receiver = -1;
static char datagram[65536];

/* /dev and /run become ours alone; the mount namespace ends with the test's process. */
static bool has_private_directories(void)
{
	if (unshare(CLONE_NEWNS) < 0)
		return false;
	return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("none", "/dev", "tmpfs", 0, NULL) == 0 && mount("none", "/run", "tmpfs", 0, NULL) == 0 &&
	       mkdir("/run/systemd", 0755) == 0 && mkdir("/run/systemd/journal", 0755) == 0;
}

static void bind_receiver(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	strcpy(address.sun_path, path);
	unlink(path);
	receiver = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	cr_assert_eq(bind(receiver, (struct sockaddr *)&address, sizeof(address)), 0);
}

static void start_logger(void)
{
	sigset_t blocked, before;

	sigfillset(&blocked);
	sigprocmask(SIG_BLOCK, &blocked, &before);
	logger_pid = fork();
	if (logger_pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		logger_main(&config, &channel);
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	cr_assert_gt(logger_pid, 0);
}

static void set_up(void)
{
	unsetenv("JOURNAL_STREAM");
	unsetenv("INVOCATION_ID");
	if (!has_private_directories())
		cr_skip_test("only root can have a mount namespace");
	cr_assert_eq(logger_channel_init(&channel), 0);
	log_connect(channel.write_fd, channel.dropped);
}

static void set_up_syslog(void)
{
	set_up();
	config.target = LOG_TARGET_SYSLOG;
	bind_receiver(SYSLOG_PATH);
	start_logger();
}

static void set_up_journal(void)
{
	if (!HAVE_JOURNAL)
		cr_skip_test("built without libsystemd");
	set_up();
	config.target = LOG_TARGET_JOURNAL;
	bind_receiver(JOURNAL_PATH);
	start_logger();
}

static void tear_down(void)
{
	if (logger_pid <= 0)
		return;
	kill(logger_pid, SIGKILL);
	waitpid(logger_pid, NULL, 0);
}

TestSuite(syslog, .init = set_up_syslog, .fini = tear_down, .timeout = 120);
TestSuite(journal, .init = set_up_journal, .fini = tear_down, .timeout = 120);

/* The next datagram, in `datagram`; false when none comes in time. */
static bool receive(int timeout_ms)
{
	struct pollfd readable = { .fd = receiver, .events = POLLIN };
	ssize_t size;

	if (poll(&readable, 1, timeout_ms) <= 0)
		return false;
	size = recv(receiver, datagram, sizeof(datagram) - 1, 0);
	cr_assert_geq(size, 0);
	datagram[size] = '\0';
	return true;
}

static void send_lines(uint64_t count)
{
	for (uint64_t i = 0; i < count; i++)
		log_event(LOG_LEVEL_INFO, "line", LOG_INT("number", (int64_t)i));
}

/* Waits until the receiver's queue is full and the logger sleeps in front of it. */
static void wait_until_blocked(void)
{
	uint64_t deadline = clock_monotonic_ms() + DEADLINE_MS;
	char path[64], wchan[64];

	snprintf(path, sizeof(path), "/proc/%d/wchan", (int)logger_pid);
	for (;;) {
		int fd = open(path, O_RDONLY);
		ssize_t size = read(fd, wchan, sizeof(wchan) - 1);

		close(fd);
		wchan[size > 0 ? size : 0] = '\0';
		if (strstr(wchan, "sock") != NULL || strstr(wchan, "unix") != NULL)
			return;
		cr_assert_lt(clock_monotonic_ms(), deadline, "%s", wchan);
		poll(NULL, 0, 10);
	}
}

/* Receives until lines and reports make up COUNT; returns what was reported. */
static uint64_t receive_all(uint64_t count)
{
	uint64_t received = 0, reported = 0;

	while (received + reported < count) {
		cr_assert(receive(DEADLINE_MS), "%lu received, %lu reported", received, reported);
		if (strstr(datagram, "log lines dropped count=") != NULL)
			reported += strtoull(strstr(datagram, "count=") + 6, NULL, 10);
		else
			received += strstr(datagram, "line number=") != NULL;
	}
	cr_assert_eq(received + reported, count);
	return reported;
}

static void expect_end(void)
{
	int status = -1;

	kill(logger_pid, SIGTERM);
	cr_assert_eq(waitpid(logger_pid, &status, 0), logger_pid);
	logger_pid = 0;
	cr_assert_eq(status, 0);
}

Test(syslog, a_line_names_its_writer_and_level)
{
	char expected[128];

	log_event(LOG_LEVEL_WARNING, "worker died", LOG_TEXT("pool", "web"), LOG_TEXT("how", "100%s"));
	cr_assert(receive(DEADLINE_MS));
	/* 28 is facility daemon, level warning; then syslog(3)'s own date. */
	cr_assert_eq(strncmp(datagram, "<28>", 4), 0, "%s", datagram);
	snprintf(expected, sizeof(expected), " brood[%d]: worker died pool=web how=100%%s", (int)getpid());
	cr_assert_str_eq(strstr(datagram, " brood["), expected);
	expect_end();
}

Test(syslog, a_receiver_that_stalls_costs_counted_lines_only)
{
	send_lines(50000);
	wait_until_blocked();
	cr_assert_gt(receive_all(50000), 0);
	expect_end();
}

Test(syslog, a_stalled_receiver_does_not_hold_the_end)
{
	send_lines(1000);
	wait_until_blocked();
	expect_end();
}

static void reopen_while_stalled(void)
{
	static const char *paths[] = { "/run/access" };
	struct stat status;
	uint64_t deadline = clock_monotonic_ms() + DEADLINE_MS;

	kill(logger_pid, SIGKILL);
	waitpid(logger_pid, NULL, 0);
	config.access_files = paths;
	config.access_count = 1;
	start_logger();
	send_lines(1000);
	wait_until_blocked();
	cr_assert_eq(unlink(paths[0]), 0);
	kill(logger_pid, SIGUSR1);
	while (stat(paths[0], &status) < 0) {
		cr_assert_lt(clock_monotonic_ms(), deadline);
		poll(NULL, 0, 10);
	}
}

Test(syslog, files_are_reopened_while_the_receiver_stalls)
{
	reopen_while_stalled();
	receive_all(1000);
	expect_end();
}

Test(syslog, a_new_receiver_gets_the_next_lines)
{
	log_event(LOG_LEVEL_INFO, "one");
	cr_assert(receive(DEADLINE_MS));
	close(receiver);
	bind_receiver(SYSLOG_PATH);
	log_event(LOG_LEVEL_INFO, "two");
	cr_assert(receive(DEADLINE_MS));
	cr_assert_not_null(strstr(datagram, ": two"));
	expect_end();
}

static void expect_field(const char *field)
{
	const char *found = strstr(datagram, field);

	cr_assert_not_null(found, "no %s in %s", field, datagram);
	cr_assert(found == datagram || found[-1] == '\n');
	cr_assert_eq(found[strlen(field)], '\n');
}

Test(journal, each_field_is_a_field)
{
	char pid[32];

	log_event(LOG_LEVEL_WARNING, "worker died", LOG_TEXT("pool", "web"), LOG_INT("slot-no", 3),
		LOG_TEXT("how", "signal\n9"));
	cr_assert(receive(DEADLINE_MS));
	expect_field("MESSAGE=worker died pool=web slot-no=3 how=signal\\x0a9");
	expect_field("PRIORITY=4");
	expect_field("SYSLOG_IDENTIFIER=brood");
	snprintf(pid, sizeof(pid), "SYSLOG_PID=%d", (int)getpid());
	expect_field(pid);
	expect_field("BROOD_EVENT=worker died");
	expect_field("BROOD_POOL=web");
	expect_field("BROOD_SLOT_NO=3");
	expect_field("BROOD_HOW=signal\\x0a9");
	expect_end();
}

Test(journal, a_receiver_that_stalls_costs_counted_lines_only)
{
	send_lines(50000);
	wait_until_blocked();
	cr_assert_gt(receive_all(50000), 0);
	expect_end();
}

Test(journal, a_stalled_receiver_does_not_hold_the_end)
{
	send_lines(1000);
	wait_until_blocked();
	expect_end();
}

Test(journal, files_are_reopened_while_the_receiver_stalls)
{
	reopen_while_stalled();
	receive_all(1000);
	expect_end();
}

Test(journal, lines_to_a_dead_receiver_are_counted)
{
	char complaint[256];
	ssize_t size;
	int fds[2], standard_error = dup(STDERR_FILENO);

	kill(logger_pid, SIGKILL);
	waitpid(logger_pid, NULL, 0);
	cr_assert_eq(pipe(fds), 0);
	dup2(fds[1], STDERR_FILENO);
	start_logger();
	dup2(standard_error, STDERR_FILENO);
	log_event(LOG_LEVEL_INFO, "line");
	cr_assert(receive(DEADLINE_MS));
	close(receiver);
	log_event(LOG_LEVEL_INFO, "lost");
	size = read(fds[0], complaint, sizeof(complaint) - 1);
	cr_assert_gt(size, 0);
	complaint[size] = '\0';
	cr_assert_str_eq(complaint, "brood: error: log cannot be written: the journal: Connection refused\n");
	bind_receiver(JOURNAL_PATH);
	cr_assert_eq(receive_all(1), 1);
	cr_assert_not_null(strstr(datagram, "error=\"Connection refused\""));
	expect_end();
}
