/* SPDX-License-Identifier: MIT */
#include "base/image.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char directory[] = "/tmp/test_image.XXXXXX";
static char own[PATH_MAX];
static char before[PATH_MAX];

static void set_up(void)
{
	ssize_t size = readlink("/proc/self/exe", own, sizeof(own) - 1);

	cr_assert_gt(size, 0);
	cr_assert_not_null(getcwd(before, sizeof(before)));
	cr_assert_not_null(mkdtemp(directory));
	cr_assert_eq(chdir(directory), 0);
	cr_assert_eq(symlink(own, "link"), 0);
}

static void tear_down(void)
{
	char command[64];

	cr_assert_eq(chdir(before), 0);
	snprintf(command, sizeof(command), "rm -r %s", directory);
	cr_assert_eq(system(command), 0);
}

TestSuite(image, .init = set_up, .fini = tear_down, .timeout = 60);

static const char *path_for(const char *name)
{
	static char text[PATH_MAX];
	char *arguments[] = { NULL, NULL };
	struct image image;

	snprintf(text, sizeof(text), "%s", name);
	arguments[0] = text;
	cr_assert_eq(image_record(&image, arguments), 0);
	memcpy(text, image.path, sizeof(text));
	image_done(&image);
	return text;
}

static const char *in_directory(const char *name)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return path;
}

Test(image, a_link_stays_a_link)
{
	cr_assert_str_eq(path_for(in_directory("link")), in_directory("link"));
}

Test(image, a_relative_path_becomes_absolute)
{
	cr_assert_str_eq(path_for("./link"), in_directory("./link"));
}

Test(image, a_name_is_looked_for_in_path)
{
	char path[PATH_MAX + 64];

	snprintf(path, sizeof(path), "/bin:%s:/usr/bin", directory);
	cr_assert_eq(setenv("PATH", path, 1), 0);
	cr_assert_str_eq(path_for("link"), in_directory("link"));
	cr_assert_eq(setenv("PATH", "/bin:", 1), 0);
	cr_assert_str_eq(path_for("link"), in_directory("link"));
}

Test(image, a_name_of_something_else_is_not_believed)
{
	cr_assert_str_eq(path_for("/bin/sh"), own);
	cr_assert_str_eq(path_for("sh"), own);
	cr_assert_str_eq(path_for("nowhere"), own);
	cr_assert_str_eq(path_for(""), own);
}

Test(image, what_is_there_is_looked_at)
{
	struct image image;
	struct image_file first, second;
	char *arguments[] = { own, NULL };
	int fd;

	cr_assert_eq(image_record(&image, arguments), 0);
	snprintf(image.path, sizeof(image.path), "%s", in_directory("file"));
	cr_assert_eq(image_look(&image, &first), -ENOENT);
	fd = open("file", O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
	cr_assert_geq(fd, 0);
	cr_assert_eq(image_look(&image, &first), -EACCES);
	cr_assert_eq(fchmod(fd, 0755), 0);
	cr_assert_eq(image_look(&image, &first), 0);
	cr_assert_eq(image_look(&image, &second), 0);
	cr_assert(image_is_same(&first, &second));
	cr_assert_eq(write(fd, "x", 1), 1);
	cr_assert_eq(image_look(&image, &second), 0);
	cr_assert_not(image_is_same(&first, &second));
	close(fd);
	snprintf(image.path, sizeof(image.path), "%s", directory);
	cr_assert_eq(image_look(&image, &first), -EISDIR);
	image_done(&image);
}

/* Of a shell in the image's place: where it is, what it is given, what is in its environment. */
static void run(char *output, size_t size)
{
	static const char script[] = "echo \"$0 $PWD_OF_TEST:$ONE:$TWO:$THREE:`pwd`\"";
	static const char *const without[] = { "ONE", "TW", NULL };
	char name[] = "name", behind[] = "behind";
	char *given[] = { name, behind, NULL };
	struct image image;
	int ends[2], status;
	ssize_t got;
	pid_t pid;

	cr_assert_eq(setenv("ONE", "1", 1), 0);
	cr_assert_eq(setenv("TWO", "2", 1), 0);
	cr_assert_eq(image_record(&image, given), 0);
	/* What changes later is of no consequence. */
	unsetenv("TWO");
	snprintf(image.path, sizeof(image.path), "/bin/sh");
	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		char **arguments = image_arguments(&image, "-c", script);
		char **environment = image_environment(&image, without, "THREE=3");

		if (chdir("/") < 0 || dup2(ends[1], STDOUT_FILENO) < 0)
			_exit(1);
		_exit(image_execute(&image, arguments, environment) < 0 ? 2 : 3);
	}
	close(ends[1]);
	got = read(ends[0], output, size - 1);
	output[got > 0 ? got : 0] = '\0';
	close(ends[0]);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert_eq(status, 0);
	image_done(&image);
}

Test(image, it_is_executed_as_it_was_started)
{
	char output[PATH_MAX], expected[PATH_MAX];

	run(output, sizeof(output));
	snprintf(expected, sizeof(expected), "behind ::2:3:%s\n", directory);
	cr_assert_str_eq(output, expected);
}

Test(image, a_failure_changes_nothing)
{
	char *given[] = { own, NULL };
	char **arguments, **environment, where[PATH_MAX];
	static const char *const without[] = { NULL };
	struct image image;

	cr_assert_eq(image_record(&image, given), 0);
	cr_assert_eq(chdir("/"), 0);
	arguments = image_arguments(&image, NULL, NULL);
	environment = image_environment(&image, without, NULL);
	cr_assert_null(arguments[1]);
	snprintf(image.path, sizeof(image.path), "%s", in_directory("none"));
	cr_assert_eq(image_execute(&image, arguments, environment), -ENOENT);
	cr_assert_str_eq(getcwd(where, sizeof(where)), "/");
	snprintf(image.directory, sizeof(image.directory), "%s", in_directory("none"));
	cr_assert_eq(image_execute(&image, arguments, environment), -ENOENT);
	free(arguments);
	free(environment);
	image_done(&image);
}
