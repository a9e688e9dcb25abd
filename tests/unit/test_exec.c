/* SPDX-License-Identifier: MIT */
#include "worker/exec.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- the environment ---- */

Test(exec, only_path_is_inherited)
{
	struct exec_env env;

	setenv("PATH", "/some/where:/else", 1);
	setenv("HOME", "/root", 1);
	exec_env_init(&env);
	cr_assert_eq(env.count, 1);
	cr_assert_str_eq(env.list[0], "PATH=/some/where:/else");
	cr_assert_null(env.list[1]);
	exec_env_done(&env);
}

Test(exec, without_a_path_there_is_a_usual_one)
{
	struct exec_env env;

	unsetenv("PATH");
	exec_env_init(&env);
	cr_assert_eq(strncmp(env.list[0], "PATH=/usr/", 10), 0);
	exec_env_done(&env);
}

Test(exec, a_later_value_takes_the_place_of_an_earlier)
{
	char *configured[] = { (char[]){ "B=configured=2" }, (char[]){ "PATH=/mine" }, (char[]){ "BB=" }, NULL };
	struct exec_env env;

	exec_env_init(&env);
	exec_env_set(&env, "A", "%d", 1);
	exec_env_set(&env, "B", "%s", "contract");
	exec_env_set_all(&env, configured);
	exec_env_set(&env, "A", "%d", 3);
	cr_assert_eq(env.count, 4);
	cr_assert_str_eq(env.list[0], "PATH=/mine");
	cr_assert_str_eq(env.list[1], "A=3");
	cr_assert_str_eq(env.list[2], "B=configured=2");
	cr_assert_str_eq(env.list[3], "BB=");
	cr_assert_null(env.list[4]);
	cr_assert(!env.failed);
	exec_env_done(&env);
}

Test(exec, an_environment_has_no_limit_of_its_own)
{
	struct exec_env env;
	char name[16];

	exec_env_init(&env);
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "V%d", i);
		exec_env_set(&env, name, "%d", i);
	}
	cr_assert_eq(env.count, 1001);
	cr_assert_str_eq(env.list[1000], "V999=999");
	cr_assert_null(env.list[1001]);
	exec_env_done(&env);
}

/* ---- the descriptors, and the end: in a child, which reports by its status and its output ---- */

static char output[65536];

/* What a child that runs ENTRY writes to standard output; returns its wait status. */
static int run(void (*entry)(int out))
{
	size_t used = 0;
	ssize_t size;
	int ends[2], status;
	pid_t pid;

	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0) {
		entry(ends[1]);
		_exit(99);
	}
	close(ends[1]);
	while ((size = read(ends[0], output + used, sizeof(output) - 1 - used)) > 0)
		used += (size_t)size;
	output[used] = '\0';
	close(ends[0]);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	return status;
}

/* The program that COMMAND begins with. */
static void become(char **command, const struct exec_env *env)
{
	const struct program_config program = { .path = command[0], .command = command };

	_exit(-exec_program(&program, env));
}

static void become_cat(int out)
{
	char *command[] = { (char[]){ "/bin/cat" }, (char[]){ "/proc/self/status" }, (char[]){ "/proc/self/environ" },
		NULL };
	struct exec_env env;
	sigset_t set;

	signal(SIGUSR1, SIG_IGN);
	signal(SIGRTMIN + 3, SIG_IGN);
	signal(SIGTERM, (void (*)(int))abort);
	sigfillset(&set);
	sigprocmask(SIG_SETMASK, &set, NULL);
	exec_env_init(&env);
	exec_env_set(&env, "PROTO", "TCP");
	if (exec_standard(open("/dev/null", O_RDONLY | O_CLOEXEC), out, -1) < 0)
		_exit(98);
	exec_reset_signals();
	become(command, &env);
}

Test(exec, a_program_gets_default_signals_and_its_environment_alone)
{
	const char *environment;

	setenv("LISTEN_FDS", "3", 1);
	cr_assert_eq(run(become_cat), 0);
	cr_assert_not_null(strstr(output, "SigBlk:\t0000000000000000"));
	cr_assert_not_null(strstr(output, "SigIgn:\t0000000000000000"));
	cr_assert_not_null(strstr(output, "SigCgt:\t0000000000000000"));
	environment = strstr(output, "PATH=");
	cr_assert_not_null(environment);
	cr_assert_str_eq(environment + strlen(environment) + 1, "PROTO=TCP");
}

static void become_nothing(int out)
{
	char *command[] = { (char[]){ "/nonexistent/program" }, NULL };
	struct exec_env env;

	(void)out;
	exec_env_init(&env);
	become(command, &env);
}

static void become_directory(int out)
{
	char *command[] = { (char[]){ "/" }, NULL };
	struct exec_env env;

	(void)out;
	exec_env_init(&env);
	become(command, &env);
}

static void lack_memory(int out)
{
	char *command[] = { (char[]){ "/bin/true" }, NULL };
	struct exec_env env;

	(void)out;
	exec_env_init(&env);
	env.failed = true;
	become(command, &env);
}

Test(exec, a_program_that_cannot_be_executed_says_why)
{
	int status = run(become_nothing);

	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == ENOENT);
	status = run(become_directory);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == EACCES);
	status = run(lack_memory);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == ENOMEM);
}

/* Descriptors 0, 1 and 2 in any order: each number is read before it is overwritten. */
static void permute(int out)
{
	static const int orders[][3] = {
		{0,  1, 2},
		{ 0, 2, 1},
		{ 1, 0, 2},
		{ 1, 2, 0},
		{ 2, 0, 1},
		{ 2, 1, 0},
		{ 0, 0, 0},
		{ 2, 2, 2},
	};
	int files[3];

	for (int i = 0; i < 3; i++)
		files[i] = fcntl(memfd_create("file", MFD_CLOEXEC), F_DUPFD_CLOEXEC, 10 + i);
	for (int i = 0; i < 3; i++)
		dprintf(files[i], "%d", i);
	for (size_t n = 0; n < ARRAY_SIZE(orders); n++) {
		for (int i = 0; i < 3; i++)
			dup3(files[i], i, O_CLOEXEC);
		if (exec_standard(orders[n][0], orders[n][1], orders[n][2]) < 0)
			_exit(98);
		for (int i = 0; i < 3; i++) {
			char digit = '?';

			if (pread(i, &digit, 1, 0) != 1 || digit != '0' + orders[n][i] || fcntl(i, F_GETFD) != 0)
				dprintf(out, "order %zu: descriptor %d is %c\n", n, i, digit);
		}
	}
	_exit(0);
}

Test(exec, standard_descriptors_may_change_places)
{
	cr_assert_eq(run(permute), 0);
	cr_assert_str_eq(output, "");
}
