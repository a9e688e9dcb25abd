/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "master/pidfile.h"

static char directory[] = "/tmp/brood-pidfile-XXXXXX";
static char path[PATH_MAX];

static void setup(void)
{
	cr_assert_not_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/pid", directory);
}

static void teardown(void)
{
	unlink(path);
	rmdir(directory); /* fails where a temporary file was left behind, which the tests look for */
}

TestSuite(pidfile, .init = setup, .fini = teardown);

/* Looking closes a descriptor of the file, which ends this process's lock on it (fcntl(2)): look last. */
static long content(void)
{
	char text[64] = "";
	FILE *file = fopen(path, "r");

	cr_assert_not_null(file);
	cr_assert_not_null(fgets(text, sizeof(text), file));
	fclose(file);
	return strtol(text, NULL, 10);
}

static bool is_empty(void)
{
	return rmdir(directory) == 0 && mkdir(directory, 0700) == 0;
}

/* What pidfile_take() answers to another process, and the holder it names: 1000 is "busy, held by our parent". */
static int taken_by_another(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct pidfile pidfile;
		pid_t holder = 0;
		int result = pidfile_take(&pidfile, path, &holder);

		if (result == -EBUSY)
			_exit(holder == getppid() ? 100 : 101);
		_exit(result == 0 ? 0 : 102);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

Test(pidfile, is_written_and_removed)
{
	struct pidfile pidfile;
	pid_t holder;

	cr_assert_eq(pidfile_take(&pidfile, path, &holder), 0);
	cr_assert_eq(content(), getpid());
	pidfile_release(&pidfile);
	cr_assert(is_empty(), "neither the file nor a temporary one is left");
}

Test(pidfile, a_second_start_is_refused_and_told_by_whom)
{
	struct pidfile pidfile;
	pid_t holder;

	cr_assert_eq(pidfile_take(&pidfile, path, &holder), 0);
	cr_assert_eq(taken_by_another(), 100);
	cr_assert_eq(content(), getpid(), "and nothing has changed");
	pidfile_release(&pidfile);
	cr_assert_eq(taken_by_another(), 0);
}

Test(pidfile, a_stale_file_is_replaced)
{
	struct pidfile pidfile;
	pid_t holder;

	cr_assert_eq(taken_by_another(), 0, "it dies without removing it");
	cr_assert_neq(content(), getpid());
	cr_assert_eq(pidfile_take(&pidfile, path, &holder), 0);
	cr_assert_eq(taken_by_another(), 100);
	cr_assert_eq(content(), getpid());
	pidfile_release(&pidfile);
	cr_assert(is_empty());
}

Test(pidfile, a_file_that_was_replaced_is_not_removed)
{
	struct pidfile pidfile;
	pid_t holder;
	int fd;

	cr_assert_eq(pidfile_take(&pidfile, path, &holder), 0);
	cr_assert_eq(unlink(path), 0);
	fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);
	cr_assert_geq(fd, 0);
	close(fd);
	pidfile_release(&pidfile);
	cr_assert_eq(access(path, F_OK), 0);
}

Test(pidfile, a_child_neither_holds_nor_removes_it)
{
	struct pidfile pidfile;
	pid_t holder, pid;
	int status;

	cr_assert_eq(pidfile_take(&pidfile, path, &holder), 0);
	pid = fork();
	if (pid == 0) {
		pidfile_release(&pidfile);
		_exit(access(path, F_OK) == 0 ? 0 : 1);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	cr_assert_eq(taken_by_another(), 100, "the parent's lock stands");
	pidfile_release(&pidfile);
}

Test(pidfile, what_is_no_regular_file_is_left_alone)
{
	struct pidfile pidfile;
	pid_t holder;

	cr_assert_eq(mkfifo(path, 0600), 0);
	cr_assert_eq(pidfile_take(&pidfile, path, &holder), -EEXIST);
	cr_assert_eq(unlink(path), 0);
	cr_assert_eq(symlink("/nonexistent", path), 0);
	cr_assert_eq(pidfile_take(&pidfile, path, &holder), -ELOOP);
}

/* One of many starts: waits for GO to end, tries, says how it went, and lives until STAY ends. */
static void one_start(int go, int results, int stay)
{
	struct pidfile pidfile;
	pid_t holder;
	char result, byte;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (read(go, &byte, 1) != 0)
		_exit(1);
	switch (pidfile_take(&pidfile, path, &holder)) {
	case 0:
		result = 'w';
		break;
	case -EBUSY:
		result = 'b';
		break;
	default:
		result = 'e';
		break;
	}
	if (write(results, &result, 1) != 1 || read(stay, &byte, 1) != 0)
		_exit(1);
	_exit(0);
}

/* Many starts at once: exactly one has it. */
Test(pidfile, of_many_at_once_one_wins)
{
	enum { STARTS = 40 };
	int go[2], results[2], stay[2], won = 0;

	cr_assert(pipe(go) == 0 && pipe(results) == 0 && pipe(stay) == 0);
	for (int i = 0; i < STARTS; i++) {
		if (fork() == 0) {
			close(go[1]);
			close(stay[1]);
			one_start(go[0], results[1], stay[0]);
		}
	}
	close(go[1]);
	for (int i = 0; i < STARTS; i++) {
		char result = 0;

		cr_assert_eq(read(results[0], &result, 1), 1);
		cr_assert_neq(result, 'e');
		won += result == 'w';
	}
	close(stay[1]);
	for (int i = 0; i < STARTS; i++) {
		int status;

		cr_assert_gt(wait(&status), 0);
		cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
	cr_assert_eq(won, 1);
}
