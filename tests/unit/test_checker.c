/* SPDX-License-Identifier: MIT */
/* A configuration that is checked by a child: what it finds, and what may become of it. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "config_modules.h"
#include "worker/checker.h"
#include "worker/probe.h"

/* Generous: a test that waits this long has found something. */
#define TIMEOUT_MS 60000

static char directory[] = "/tmp/brood-test-XXXXXX";
static char path[sizeof(directory) + 16];
static struct config_origin origin;
static struct checker checker = { .errors_fd = -1, .findings_fd = -1 };

static void set_up(void)
{
	cr_assert(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/x.conf", directory);
	origin = (struct config_origin){ .file = path, .host = &test_host };
}

static void tear_down(void)
{
	checker_done(&checker);
	unlink(path);
	cr_expect_eq(rmdir(directory), 0, "something is left");
	cr_expect_eq(waitpid(-1, NULL, WNOHANG), -1, "a child is left");
}

static void write_file(const char *text)
{
	FILE *file = fopen(path, "we");

	cr_assert(file);
	fputs(text, file);
	cr_assert_eq(fclose(file), 0);
}

static void start(uint32_t timeout_ms)
{
	cr_assert_eq(checker_start(&checker, &origin, timeout_ms, clock_monotonic_ms()), 0);
}

/* What the owner's loop does, until the child is dead. */
static enum checker_verdict finish(void)
{
	enum checker_verdict verdict;
	bool more = true;
	int status;

	while (waitpid(checker.pid, &status, WNOHANG) == 0) {
		struct pollfd polled = { .fd = more ? checker.errors_fd : -1, .events = POLLIN };

		if (poll(&polled, 1, 10) > 0)
			more = checker_read(&checker);
		checker_expire(&checker, clock_monotonic_ms());
	}
	verdict = checker_reaped(&checker, &origin, status);
	cr_expect_eq(checker.pid, 0);
	cr_expect_eq(checker.errors_fd, -1);
	if (verdict != CHECKER_ACCEPTS) {
		cr_assert(checker.text);
		cr_expect_eq(strlen(checker.text), checker.size);
		cr_expect_eq(checker.text[checker.size - 1], '\n');
	}
	return verdict;
}

static void expect(enum checker_verdict verdict, enum checker_verdict expected)
{
	cr_expect_eq(verdict, expected, "%s: %s", checker_verdict_name(verdict), checker.text ? checker.text : "");
}

/* One line, which begins with the file's path. */
static void expect_text(const char *rest)
{
	cr_assert(checker.text);
	cr_assert_eq(strncmp(checker.text, path, strlen(path)), 0, "%s", checker.text);
	cr_expect_str_eq(checker.text + strlen(path), rest);
}

#define GOOD "pool a {\n listen = \":1\"\n handler = inetd command = \"/bin/cat\" }\n"

TestSuite(checker, .init = set_up, .fini = tear_down);

Test(checker, good_file)
{
	write_file(GOOD);
	start(TIMEOUT_MS);
	expect(finish(), CHECKER_ACCEPTS);
	cr_expect_null(checker.text);
}

Test(checker, all_errors)
{
	write_file("max_workers = 0\npool a {\n handler = plain\n workers = many }\n");
	start(TIMEOUT_MS);
	expect(finish(), CHECKER_REFUSES);
	cr_expect(strstr(checker.text, "x.conf:1: max_workers = 0 is out of range (1 to 65536)\n"));
	cr_expect(strstr(checker.text, "x.conf:2: pool \"a\": listen is missing"));
	cr_expect(strstr(checker.text, "x.conf:4: pool \"a\": workers = many is not a decimal number"));
}

Test(checker, missing_file)
{
	start(TIMEOUT_MS);
	expect(finish(), CHECKER_REFUSES);
	expect_text(": No such file or directory\n");
}

/* It goes by what the command line says over the file. */
Test(checker, overrides)
{
	const struct config_overrides overrides = { .pidfile = "relative", .log_level = -1 };

	origin.overrides = &overrides;
	write_file(GOOD);
	start(TIMEOUT_MS);
	expect(finish(), CHECKER_REFUSES);
	cr_expect(
		strstr(checker.text, "command line: pidfile = relative is not an absolute path\n"), "%s", checker.text);
}

/* ---- probes ---- */

/* NOLINTBEGIN(readability-non-const-parameter): the types are those of struct config_probe. */
static int hang(const struct pool_config *pool, char *reason, size_t size)
{
	(void)pool, (void)reason, (void)size;
	for (;;)
		pause();
	return 0;
}

static int refuse(const struct pool_config *pool, char *reason, size_t size)
{
	(void)pool;
	snprintf(reason, size, "is not to my taste");
	return -EINVAL;
}

static int crash(const struct pool_config *pool, char *reason, size_t size)
{
	const struct sigaction standard = { .sa_handler = SIG_DFL };

	(void)pool, (void)reason, (void)size;
	sigaction(SIGSEGV, &standard, NULL); /* the sanitizer has one of its own */
	raise(SIGSEGV);
	return 0;
}

static void use_probe(int (*program)(const struct pool_config *pool, char *reason, size_t size))
{
	static struct config_probe probe;
	static struct config_host host;

	probe = test_probe;
	probe.program = program;
	host = (struct config_host){ .handlers = test_modules, .probe = &probe };
	origin.host = &host;
	write_file(GOOD);
}

Test(checker, probe_refuses)
{
	use_probe(refuse);
	start(TIMEOUT_MS);
	expect(finish(), CHECKER_REFUSES);
	expect_text(":3: pool \"a\": command = \"/bin/cat\" is not to my taste\n");
}

Test(checker, probe_hangs)
{
	uint64_t begun_ms = clock_monotonic_ms();

	use_probe(hang);
	start(200);
	expect(finish(), CHECKER_OVERDUE);
	cr_expect_geq(clock_monotonic_ms() - begun_ms, 200);
	cr_expect_eq(checker.deadline_ms, UINT64_MAX);
	expect_text(": its check did not end within 200 ms\n");
}

Test(checker, crashes)
{
	use_probe(crash);
	start(TIMEOUT_MS);
	expect(finish(), CHECKER_DIED);
	expect_text(": its check died by signal 11 (SIGSEGV)\n");
}

Test(checker, is_killed)
{
	use_probe(hang);
	start(TIMEOUT_MS);
	kill(checker.pid, SIGKILL);
	expect(finish(), CHECKER_DIED);
	expect_text(": its check died by signal 9 (SIGKILL)\n");
}

Test(checker, is_stopped)
{
	use_probe(hang);
	start(TIMEOUT_MS);
	checker_stop(&checker);
	expect(finish(), CHECKER_DIED);
	cr_expect_eq(checker.deadline_ms, UINT64_MAX);
}

/* A real probe, which is a child of the checker's. */
static void look_for_ever(const struct pool_config *pool, struct probe_answer *answer)
{
	(void)pool, (void)answer;
	for (;;)
		pause();
}

static int hang_in_a_child(const struct pool_config *pool, char *reason, size_t size)
{
	char *answer;
	size_t answer_size;

	return probe_run(pool, look_for_ever, "it", TIMEOUT_MS, &answer, &answer_size, reason, size);
}

/* Children of PID, in a way that sees them wherever their session is. */
static pid_t child_of(pid_t pid)
{
	DIR *processes = opendir("/proc");
	struct dirent *entry;
	pid_t found = 0;

	cr_assert(processes);
	while (found == 0 && (entry = readdir(processes))) {
		char name[300], text[512] = "";
		int parent = 0;
		FILE *file;

		snprintf(name, sizeof(name), "/proc/%s/stat", entry->d_name);
		file = fopen(name, "re");
		if (!file)
			continue;
		if (fgets(text, sizeof(text), file) && strrchr(text, ')') &&
			sscanf(strrchr(text, ')') + 1, " %*c %d", &parent) == 1 && parent == pid)
			found = (pid_t)atoi(entry->d_name);
		fclose(file);
	}
	closedir(processes);
	return found;
}

/* A pidfd is readable once the process is dead. */
static bool dies(int pid_fd)
{
	struct pollfd polled = { .fd = pid_fd, .events = POLLIN };

	return poll(&polled, 1, TIMEOUT_MS) > 0;
}

Test(checker, takes_its_probe_along)
{
	pid_t pid = 0;
	int pid_fd;

	use_probe(hang_in_a_child);
	start(TIMEOUT_MS);
	while (pid == 0)
		pid = child_of(checker.pid);
	pid_fd = pidfd_open(pid, 0);
	cr_assert_geq(pid_fd, 0);
	checker_stop(&checker);
	expect(finish(), CHECKER_DIED);
	cr_expect(dies(pid_fd));
	close(pid_fd);
}

/* ---- the second load, in the parent ---- */

#define MODULE                                                                                                         \
	"pool a {\n listen = \":1\"\n handler = module module = \"/strict.so\"\n"                                      \
	"module_options { root = \"/\" names = { x } } }\n"

static unsigned int asked, decoded;
static bool encodes;

static int describe(const struct pool_config *pool, struct brood_module **ret_description, char *reason, size_t size)
{
	asked++;
	return test_describe(pool, ret_description, reason, size);
}

static int ask_about_program(const struct pool_config *pool, char *reason, size_t size)
{
	(void)pool, (void)reason, (void)size;
	asked++;
	return 0;
}

static int ask_module(const struct pool_config *pool, char *reason, size_t size)
{
	(void)pool, (void)reason, (void)size;
	asked++;
	return 0;
}

/* By its name, which is enough for those of the test's own. */
static int encode(const struct brood_module *description, char **ret_data, size_t *ret_size)
{
	if (!encodes)
		return -ENOMEM;
	*ret_data = strdup(description->name);
	*ret_size = strlen(*ret_data);
	return 0;
}

static int decode(char *data, size_t data_size, struct brood_module **ret_description, char *reason, size_t size)
{
	(void)reason, (void)size;
	decoded++;
	cr_assert_eq(data_size, strlen("strict"));
	cr_assert_str_eq(data, "strict");
	free(data);
	*ret_description = malloc(sizeof(**ret_description));
	**ret_description = module_strict;
	return 0;
}
/* NOLINTEND(readability-non-const-parameter) */

static const struct config_probe asking_probe = {
	.module_describe = describe,
	.module_check = ask_module,
	.program = ask_about_program,
	.description_free = test_description_free,
	.description_encode = encode,
	.description_decode = decode,
};
static const struct config_host asking = { .handlers = test_modules, .probe = &asking_probe };

/* Returns checker_load()'s result, and its errors, to be freed. */
static int load_again(struct config **ret_config, char **ret_errors)
{
	size_t size;
	FILE *errors = open_memstream(ret_errors, &size);
	int result;

	cr_assert(errors);
	result = checker_load(&checker, &origin, errors, ret_config);
	fclose(errors);
	return result;
}

static void check_and_load_again(unsigned int expected_asked, unsigned int expected_decoded)
{
	struct config *config = NULL;
	char *errors;

	origin.host = &asking;
	write_file(MODULE "pool b { listen = \":2\" handler = inetd command = \"/bin/cat\" }");
	start(TIMEOUT_MS);
	expect(finish(), CHECKER_ACCEPTS);
	cr_assert_eq(asked, 0, "the child has asked");
	cr_assert_eq(load_again(&config, &errors), 0, "%s", errors);
	cr_expect_str_eq(errors, "");
	cr_expect_eq(asked, expected_asked);
	cr_expect_eq(decoded, expected_decoded);
	cr_expect_str_eq(config->pools[0].description->name, "strict");
	cr_expect_str_eq(config->pools[0].values[0].text, "/");
	free(errors);
	config_free(config);
}

/* What the child has found out is not asked again. */
Test(checker, load_asks_nobody)
{
	encodes = true;
	check_and_load_again(0, 1);
}

Test(checker, load_asks_for_what_was_not_left)
{
	encodes = false;
	check_and_load_again(1, 0);
}

/* What is loaded is what was checked, or nothing. */
Test(checker, file_that_changes_meanwhile)
{
	struct config *config = NULL;
	char *errors, expected[128];

	write_file(GOOD);
	start(TIMEOUT_MS);
	expect(finish(), CHECKER_ACCEPTS);
	write_file(GOOD "stop_timeout = 7s\n");
	cr_expect_eq(load_again(&config, &errors), -EINVAL);
	snprintf(expected, sizeof(expected), "%s: has changed while it was checked\n", path);
	cr_expect_str_eq(errors, expected);
	cr_expect_null(config);
	free(errors);
	write_file("nonsense");
	cr_expect_eq(load_again(&config, &errors), -EINVAL);
	cr_expect(strstr(errors, "x.conf:1: "), "%s", errors);
	free(errors);
	write_file(GOOD "# and not at all\n");
	cr_expect_eq(load_again(&config, &errors), 0);
	free(errors);
	config_free(config);
}

/* ---- floods ---- */

static int refuse_at_length(const struct pool_config *pool, char *reason, size_t size)
{
	(void)pool;
	memset(reason, 'x', size - 1);
	reason[size - 1] = '\0';
	return -EINVAL;
}

/* All of it is read, so that the child comes to its end; so much is kept, in whole lines, and the last one says so. */
Test(checker, flood_of_errors)
{
	static char text[CHECKER_TEXT_MAX];
	const char *last;
	size_t size = 0;

	for (int i = 1; i <= 99; i++)
		size += (size_t)snprintf(text + size, sizeof(text) - size,
			"pool p%d { listen = \":%d\" handler = inetd command = \"/bin/cat\" }\n", i, i);
	use_probe(refuse_at_length);
	write_file(text);
	start(TIMEOUT_MS);
	expect(finish(), CHECKER_REFUSES);
	cr_expect(checker.cut);
	cr_expect_gt(checker.size, CHECKER_TEXT_MAX / 2);
	cr_expect_lt(checker.size, CHECKER_TEXT_MAX + sizeof(path) + 64);
	last = checker.text + checker.size - 1;
	while (last > checker.text && last[-1] != '\n')
		last--;
	cr_expect_eq(strncmp(last, path, strlen(path)), 0);
	cr_expect_str_eq(last + strlen(path), ": more errors are left out\n");
}

/* ---- what the child has ---- */

/* The signals that its parent blocks, or ignores, do not reach the probes. */
static int look_at_signals(const struct pool_config *pool, char *reason, size_t size)
{
	sigset_t blocked;
	struct sigaction action;

	(void)pool;
	sigprocmask(SIG_SETMASK, NULL, &blocked);
	sigaction(SIGCHLD, NULL, &action);
	if (!sigismember(&blocked, SIGTERM) && action.sa_handler == SIG_DFL && getsid(0) == getpid() &&
		fcntl(100, F_GETFD) < 0)
		return 0;
	snprintf(reason, size, "finds what it should not");
	return -EINVAL;
}

Test(checker, has_nothing_of_its_parents)
{
	sigset_t blocked;

	sigemptyset(&blocked);
	sigaddset(&blocked, SIGTERM);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	cr_assert_eq(dup2(STDIN_FILENO, 100), 100);
	use_probe(look_at_signals);
	start(TIMEOUT_MS);
	close(100);
	expect(finish(), CHECKER_ACCEPTS);
}

Test(checker, verdicts_have_names)
{
	for (enum checker_verdict i = 0; i < CHECKER_VERDICTS; i++)
		cr_expect_gt(strlen(checker_verdict_name(i)), 0);
}

/* It is not taken for a file that has changed. */
Test(checker, findings_that_cannot_be_read)
{
	struct config *config = NULL;
	int ends[2];
	char *errors;

	write_file(GOOD);
	start(TIMEOUT_MS);
	expect(finish(), CHECKER_ACCEPTS);
	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	cr_assert_eq(dup2(ends[0], checker.findings_fd), checker.findings_fd);
	close(ends[0]);
	close(ends[1]);
	cr_expect_eq(load_again(&config, &errors), -ESPIPE);
	cr_expect_null(config);
	cr_expect(strstr(errors, "cannot be read: Illegal seek"), "%s", errors);
	free(errors);
}
