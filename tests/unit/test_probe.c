/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/signals.h"
#include "worker/probe.h"

#define NOBODY     65534
#define FAR_MS     60000
#define SOON_MS    300
#define REASON_MAX 512

static char name[] = "test";
static struct pool_config pool = { .name = name };
static char reason[REASON_MAX];
static char *answer;
static size_t answer_size;

static int run(probe_function look, uint32_t timeout_ms)
{
	memset(reason, 0, sizeof(reason));
	return probe_run(&pool, look, "the test", timeout_ms, &answer, &answer_size, reason, sizeof(reason));
}

static void must_fail(probe_function look, uint32_t timeout_ms, int error, const char *text)
{
	int result = run(look, timeout_ms);

	cr_expect_eq(result, error, "%d, and not %d: %s", result, error, reason);
	cr_expect_str_eq(reason, text);
	cr_expect_eq(waitpid(-1, NULL, WNOHANG), -1, "a child is left");
}

/* ---- answers ---- */

static void say_hello(const struct pool_config *config, struct probe_answer *out)
{
	probe_add(out, "hello ", 6);
	probe_add(out, config->name, strlen(config->name));
}

Test(probe, an_answer_arrives)
{
	cr_assert_eq(run(say_hello, FAR_MS), 0, "%s", reason);
	cr_assert_eq(answer_size, 10);
	cr_assert_str_eq(answer, "hello test");
	free(answer);
	cr_assert_eq(waitpid(-1, NULL, WNOHANG), -1);
}

static void say_all(const struct pool_config *config, struct probe_answer *out)
{
	static char much[PROBE_ANSWER_MAX];

	memset(much, 'x', sizeof(much));
	probe_add(out, much, sizeof(much));
}

Test(probe, the_longest_answer_arrives)
{
	cr_assert_eq(run(say_all, FAR_MS), 0, "%s", reason);
	cr_assert_eq(answer_size, PROBE_ANSWER_MAX);
	cr_assert_eq(strspn(answer, "x"), PROBE_ANSWER_MAX);
	free(answer);
}

static void say_too_much(const struct pool_config *config, struct probe_answer *out)
{
	say_all(config, out);
	probe_add(out, "", 1);
	probe_add(out, "x", 0);
}

Test(probe, an_answer_that_is_too_long_is_refused)
{
	must_fail(say_too_much, FAR_MS, -EINVAL, "has more to say than 262144 bytes");
}

static void refuse(const struct pool_config *config, struct probe_answer *out)
{
	probe_add(out, "rubbish", 7);
	probe_refuse(out, "is no good: \033[31m%s", "\n\x80");
}

Test(probe, a_reason_is_escaped)
{
	must_fail(refuse, FAR_MS, -EINVAL, "is no good: \\x1b[31m\\x0a\\x80");
}

/* ---- deaths ---- */

__attribute__((no_sanitize("undefined"))) static void crash(const struct pool_config *config, struct probe_answer *out)
{
	*(volatile int *)(uintptr_t)(getpid() & 8) = 1;
}

static void end_early(const struct pool_config *config, struct probe_answer *out)
{
	_exit(3);
}

static void hang(const struct pool_config *config, struct probe_answer *out)
{
	for (;;)
		pause();
}

static void ignore_all_and_spin(const struct pool_config *config, struct probe_answer *out)
{
	signals_block();
	for (;;)
		;
}

Test(probe, a_crash_names_the_signal)
{
	must_fail(crash, FAR_MS, -ECHILD, "the test died by signal 11 (SIGSEGV)");
}

Test(probe, an_exit_names_the_status)
{
	must_fail(end_early, FAR_MS, -ECHILD, "the test ended with exit status 3");
}

Test(probe, a_child_that_hangs_is_ended)
{
	must_fail(hang, SOON_MS, -ETIMEDOUT, "the test did not answer within 300 ms");
	must_fail(ignore_all_and_spin, SOON_MS, -ETIMEDOUT, "the test did not answer within 300 ms");
}

/* ---- hostile answers ---- */

/* The child's only descriptor behind the standard ones. */
static int reply_fd(void)
{
	for (int fd = STDERR_FILENO + 1; fd < 1024; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			return fd;
	_exit(99);
}

static void send_raw(const void *data, size_t size)
{
	if (write(reply_fd(), data, size) != (ssize_t)size)
		_exit(98);
	_exit(0);
}

static void write_rubbish(const struct pool_config *config, struct probe_answer *out)
{
	send_raw("GET / HTTP/1.1\r\n\r\n", 18);
}

static void write_half_a_header(const struct pool_config *config, struct probe_answer *out)
{
	send_raw("\x01\x70\x72\x62\0\0", 6);
}

static void write_header(uint32_t verdict, uint32_t size, const char *data)
{
	const uint32_t header[] = { 0x62727001, verdict, size };

	if (write(reply_fd(), header, sizeof(header)) != sizeof(header))
		_exit(98);
	send_raw(data, strlen(data));
}

static void write_huge_size(const struct pool_config *config, struct probe_answer *out)
{
	write_header(0, UINT32_MAX, "x");
}

static void write_unknown_verdict(const struct pool_config *config, struct probe_answer *out)
{
	write_header(2, 1, "x");
}

static void write_too_little(const struct pool_config *config, struct probe_answer *out)
{
	write_header(0, 10, "x");
}

static void write_empty_reason(const struct pool_config *config, struct probe_answer *out)
{
	write_header(1, 0, "");
}

static void write_reason_without_end(const struct pool_config *config, struct probe_answer *out)
{
	write_header(1, 3, "abcdef");
}

static void close_all_and_hang(const struct pool_config *config, struct probe_answer *out)
{
	close_range(0, ~0U, 0);
	hang(config, out);
}

static void close_all_and_crash(const struct pool_config *config, struct probe_answer *out)
{
	close_range(0, ~0U, 0);
	crash(config, out);
}

Test(probe, what_is_no_answer_is_refused)
{
	const char *senseless = "the test gave an answer that makes no sense";
	const char *ended = "the test ended with exit status 0";

	must_fail(write_rubbish, FAR_MS, -EBADMSG, senseless);
	must_fail(write_huge_size, FAR_MS, -EBADMSG, senseless);
	must_fail(write_unknown_verdict, FAR_MS, -EBADMSG, senseless);
	must_fail(write_half_a_header, FAR_MS, -ECHILD, ended);
	must_fail(write_too_little, FAR_MS, -ECHILD, ended);
	must_fail(write_empty_reason, FAR_MS, -EINVAL, "is refused without a reason");
	must_fail(write_reason_without_end, FAR_MS, -EINVAL, "abc");
}

Test(probe, a_closed_pipe_is_no_end)
{
	must_fail(close_all_and_hang, SOON_MS, -ETIMEDOUT, "the test did not answer within 300 ms");
	must_fail(close_all_and_crash, FAR_MS, -ECHILD, "the test died by signal 11 (SIGSEGV)");
}

/* ---- what it inherits ---- */

static void list_descriptors(const struct pool_config *config, struct probe_answer *out)
{
	DIR *directory = opendir("/proc/self/fd");
	const struct dirent *entry;

	while (directory != NULL && (entry = readdir(directory)) != NULL) {
		int fd = atoi(entry->d_name);
		char path[64], target[128] = "";

		if (entry->d_name[0] == '.' || fd == dirfd(directory))
			continue;
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		if (readlink(path, target, sizeof(target) - 1) < 0)
			_exit(97);
		probe_add(out, strncmp(target, "pipe:", 5) == 0 ? "pipe" : target, strcspn(target, ":"));
		probe_add(out, " ", 1);
	}
}

Test(probe, the_child_has_no_descriptor_but_its_own)
{
	cr_assert_geq(dup(STDOUT_FILENO), 0);
	cr_assert_geq(open("/etc/passwd", O_RDONLY), 0);
	cr_assert_eq(run(list_descriptors, FAR_MS), 0, "%s", reason);
	cr_assert_str_eq(answer, "/dev/null /dev/null /dev/null pipe ");
	free(answer);
}

static void list_signals(const struct pool_config *config, struct probe_answer *out)
{
	sigset_t blocked;
	struct sigaction action;

	sigprocmask(SIG_SETMASK, NULL, &blocked);
	for (int number = 1; number < NSIG; number++) {
		if (sigismember(&blocked, number) == 1)
			probe_add(out, "blocked ", 8);
		if (sigaction(number, NULL, &action) == 0 && action.sa_handler != SIG_DFL)
			probe_add(out, "taken ", 6);
	}
}

Test(probe, the_child_takes_signals_as_a_new_process_does)
{
	static const int list[] = { SIGTERM, SIGCHLD, SIGSEGV, 0 };
	struct signals signals;

	signal(SIGPIPE, SIG_IGN);
	cr_assert_eq(signals_open(&signals, list), 0);
	cr_assert_eq(run(list_signals, FAR_MS), 0, "%s", reason);
	cr_assert_str_eq(answer, "");
	free(answer);
	signals_close(&signals);
}

static void tell_set_up(const struct pool_config *config, struct probe_answer *out)
{
	struct rlimit limit;

	getrlimit(RLIMIT_CORE, &limit);
	if (limit.rlim_cur != 0 || getsid(0) != getpid())
		probe_refuse(out, "core %llu, session %d", (unsigned long long)limit.rlim_cur, getsid(0));
	getrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur != 77 || limit.rlim_max != 77 || umask(0) != 0123)
		probe_refuse(out, "nofile %llu, or its umask", (unsigned long long)limit.rlim_cur);
	if (getenv("NOTIFY_SOCKET") != NULL || getenv("LISTEN_FDS") != NULL || getenv("HOME") == NULL)
		probe_refuse(out, "its environment");
}

/* No core, no terminal, no tongue to the service manager; and what the pool's workers have. */
Test(probe, the_child_is_set_up)
{
	static struct limit_config limits[] = {
		{.resource = RLIMIT_NOFILE, .value = 77}
	};

	setenv("NOTIFY_SOCKET", "/run/notify", 1);
	setenv("LISTEN_FDS", "1", 1);
	setenv("HOME", "/", 1);
	pool.limits = limits;
	pool.limit_count = 1;
	pool.umask = 0123;
	cr_assert_eq(run(tell_set_up, FAR_MS), 0, "%s", reason);
	free(answer);
}

/* ---- what it leaves behind ---- */

static volatile pid_t *shared_pid;

static void share_a_pid(void)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	cr_assert_neq(page, MAP_FAILED);
	shared_pid = page;
	/* What loses its parent comes to this process. */
	cr_assert_eq(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
}

static void leave_a_child(const struct pool_config *config, struct probe_answer *out)
{
	pid_t pid = fork();

	if (pid == 0)
		hang(config, out);
	*shared_pid = pid;
	_exit(0);
}

/* The grandchild holds the pipe open, and is waited for all the same. */
Test(probe, what_the_child_has_started_is_ended)
{
	int status;

	share_a_pid();
	cr_assert_eq(run(leave_a_child, FAR_MS), -ECHILD);
	cr_assert_eq(waitpid(*shared_pid, &status, 0), *shared_pid);
	cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void hang_openly(const struct pool_config *config, struct probe_answer *out)
{
	*shared_pid = getpid();
	hang(config, out);
}

Test(probe, the_child_dies_with_its_parent)
{
	pid_t parent;
	int status;

	share_a_pid();
	parent = fork();
	if (parent == 0)
		_exit(run(hang_openly, FAR_MS) != 0);
	while (*shared_pid == 0)
		usleep(1000);
	cr_assert_eq(kill(parent, SIGKILL), 0);
	cr_assert_eq(waitpid(parent, &status, 0), parent);
	cr_assert_eq(waitpid(*shared_pid, &status, 0), *shared_pid);
	cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* ---- whom it becomes ---- */

static void tell_who_and_where(const struct pool_config *config, struct probe_answer *out)
{
	char buffer[PATH_MAX], line[PATH_MAX + 128];
	int size = snprintf(line, sizeof(line), "%d %d %d %s %s", geteuid(), getegid(), getgroups(0, NULL),
		probe_path(config, "/inside", buffer),
		access(probe_path(config, "/inside", buffer), F_OK) == 0 ? "yes" : "no");

	probe_add(out, line, (size_t)size);
}

static char directory[] = "/tmp/brood-probe-XXXXXX";

/* The pool has a user and a chroot; FILE is made in there. */
static void give_user_and_chroot(const char *file)
{
	static gid_t groups[] = { 4321 };
	static char user[] = "nobody";
	char path[64];

	cr_assert_neq(mkdtemp(directory), NULL);
	cr_assert_eq(chmod(directory, 0755), 0);
	snprintf(path, sizeof(path), "%s%s", directory, file);
	cr_assert_eq(close(open(path, O_WRONLY | O_CREAT, 0644)), 0);
	pool.chroot = directory;
	pool.identity = (struct identity){
		.change = true, .uid = NOBODY, .gid = NOBODY, .groups = groups, .group_count = 1, .user = user
	};
}

static void take_user_and_chroot(const char *file)
{
	char path[64];

	snprintf(path, sizeof(path), "%s%s", directory, file);
	unlink(path);
	rmdir(directory);
}

Test(probe, root_becomes_the_pools_user_in_its_chroot)
{
	if (geteuid() != 0)
		return;
	give_user_and_chroot("/inside");
	cr_expect_eq(run(tell_who_and_where, FAR_MS), 0, "%s", reason);
	cr_expect_str_eq(answer, "65534 65534 1 /inside yes");
	free(answer);
	take_user_and_chroot("/inside");
}

Test(probe, an_ordinary_user_looks_as_itself_from_outside)
{
	bool root = geteuid() == 0;
	char expected[256];

	give_user_and_chroot("/inside");
	if (root)
		cr_assert_eq(setresuid(NOBODY - 1, NOBODY - 1, 0), 0);
	snprintf(expected, sizeof(expected), "%d %d %d %s/inside yes", geteuid(), getegid(), getgroups(0, NULL),
		directory);
	cr_expect_eq(run(tell_who_and_where, FAR_MS), 0, "%s", reason);
	cr_expect_str_eq(answer, expected);
	free(answer);
	if (root)
		cr_assert_eq(seteuid(0), 0);
	take_user_and_chroot("/inside");
}
