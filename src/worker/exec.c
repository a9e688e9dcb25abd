/* SPDX-License-Identifier: MIT */
#include "worker/exec.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/raw.h"
#include "base/signals.h"

/* ---- the environment ---- */

/* The place of NAME's value, or the count. */
static size_t env_find(const struct exec_env *env, const char *name, size_t name_size)
{
	size_t i = 0;

	while (i < env->count && (strncmp(env->list[i], name, name_size) != 0 || env->list[i][name_size] != '='))
		i++;
	return i;
}

/* Room for one more, and for the NULL. */
static bool env_grow(struct exec_env *env)
{
	size_t capacity = env->capacity == 0 ? 32 : 2 * env->capacity;
	char **list;

	if (env->count + 1 < env->capacity)
		return true;
	list = realloc(env->list, capacity * sizeof(*list));
	if (list == NULL)
		return false;
	env->list = list;
	env->capacity = capacity;
	return true;
}

/* Takes ASSIGNMENT over, whose NAME has NAME_SIZE bytes. */
static void env_put(struct exec_env *env, char *assignment, size_t name_size)
{
	size_t place = assignment == NULL ? 0 : env_find(env, assignment, name_size);

	if (assignment == NULL || (place == env->count && !env_grow(env))) {
		env->failed = true;
		free(assignment);
		return;
	}
	if (place < env->count)
		free(env->list[place]);
	else
		env->list[++env->count] = NULL;
	env->list[place] = assignment;
}

char *exec_path(void)
{
	static char usual[] = "PATH=" PROGRAM_PATH_USUAL;

	for (char **variable = environ; variable != NULL && *variable != NULL; variable++)
		if (strncmp(*variable, "PATH=", 5) == 0 && (*variable)[5] != '\0')
			return *variable;
	return usual;
}

void exec_env_init(struct exec_env *env)
{
	*env = (struct exec_env){ 0 };
	exec_env_set_all(env, (char *const[]){ exec_path(), NULL });
}

void exec_env_done(struct exec_env *env)
{
	for (size_t i = 0; i < env->count; i++)
		free(env->list[i]);
	free(env->list);
	*env = (struct exec_env){ 0 };
}

void exec_env_set(struct exec_env *env, const char *name, const char *format, ...)
{
	char *value = NULL, *assignment = NULL;
	va_list arguments;

	va_start(arguments, format);
	if (vasprintf(&value, format, arguments) < 0)
		value = NULL;
	va_end(arguments);
	if (value != NULL && asprintf(&assignment, "%s=%s", name, value) < 0)
		assignment = NULL;
	free(value);
	env_put(env, assignment, strlen(name));
}

void exec_env_set_all(struct exec_env *env, char *const *assignments)
{
	for (; assignments != NULL && *assignments != NULL; assignments++)
		env_put(env, strdup(*assignments), strcspn(*assignments, "="));
}

/* ---- the descriptors ---- */

/* A number that the next dup2(2) would overwrite is moved out of the way. */
static int above_standard(int *fd, int target)
{
	if (*fd < 0 || *fd > STDERR_FILENO || *fd == target)
		return 0;
	*fd = fcntl(*fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	return *fd < 0 ? -errno : 0;
}

static int put(int fd, int target)
{
	int result = 0;

	if (fd == target)
		result = fcntl(fd, F_SETFD, 0);
	else if (fd >= 0)
		result = dup2(fd, target);
	return result < 0 ? -errno : 0;
}

int exec_standard(int in, int out, int err)
{
	int fds[] = { in, out, err };
	int result = 0;

	for (int i = 0; i < 3 && result == 0; i++)
		result = above_standard(&fds[i], i);
	for (int i = 0; i < 3 && result == 0; i++)
		result = put(fds[i], i);
	return result;
}

/* ---- the end ---- */

void exec_reset_signals(void)
{
	const struct sigaction standard = { .sa_handler = SIG_DFL };

	/* The two that the C library keeps for itself are refused. */
	for (int number = 1; number < NSIG; number++)
		sigaction(number, &standard, NULL);
	signals_unblock();
}

int exec_program(const struct program_config *program, const struct exec_env *env)
{
	if (env->failed)
		return -ENOMEM;
	return raw_execve(program->path, program->command, env->list);
}
