/* SPDX-License-Identifier: MIT */
#include "base/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

static const char own_file[] = "/proc/self/exe";
/* What the kernel adds to the path of a file that is gone: proc(5). */
static const char deleted[] = " (deleted)";

/* ---- which file ---- */

/* Whether PATH leads to the file that this process executes. */
static bool is_own(const char *path)
{
	struct stat own, other;

	return stat(own_file, &own) == 0 && stat(path, &other) == 0 && own.st_dev == other.st_dev &&
	       own.st_ino == other.st_ino;
}

static bool join(char path[PATH_MAX], const char *directory, size_t directory_size, const char *name)
{
	int size = snprintf(path, PATH_MAX, "%.*s/%s", (int)directory_size, directory, name);

	return size > 0 && size < PATH_MAX && path[0] == '/';
}

/* As execvp(3) has found it. An empty entry of PATH is the working directory. */
static bool find_in_path(const char *name, const char *working, char path[PATH_MAX])
{
	const char *entry = getenv("PATH");

	while (entry != NULL) {
		size_t size = strcspn(entry, ":");
		bool joined = size == 0 ? join(path, working, strlen(working), name) : join(path, entry, size, name);

		if (joined && is_own(path))
			return true;
		entry = entry[size] == ':' ? entry + size + 1 : NULL;
	}
	return false;
}

static bool find_by_name(const char *name, const char *working, char path[PATH_MAX])
{
	if (name == NULL || name[0] == '\0')
		return false;
	if (strchr(name, '/') == NULL)
		return find_in_path(name, working, path);
	if (name[0] == '/')
		return snprintf(path, PATH_MAX, "%s", name) < PATH_MAX && is_own(path);
	return join(path, working, strlen(working), name) && is_own(path);
}

static int find_by_kernel(char path[PATH_MAX])
{
	ssize_t size = readlink(own_file, path, PATH_MAX);
	size_t suffix = strlen(deleted);

	if (size < 0)
		return -errno;
	if (size >= PATH_MAX)
		return -ENAMETOOLONG;
	path[size] = '\0';
	if ((size_t)size > suffix && strcmp(path + size - suffix, deleted) == 0)
		path[(size_t)size - suffix] = '\0';
	return 0;
}

int image_look(const struct image *image, struct image_file *ret_file)
{
	struct stat status;

	if (stat(image->path, &status) < 0)
		return -errno;
	if (!S_ISREG(status.st_mode))
		return S_ISDIR(status.st_mode) ? -EISDIR : -EACCES;
	if (faccessat(AT_FDCWD, image->path, X_OK, AT_EACCESS) < 0)
		return -errno;
	*ret_file = (struct image_file){
		.device = status.st_dev,
		.inode = status.st_ino,
		.size = status.st_size,
		.modified = status.st_mtim,
	};
	return 0;
}

bool image_is_same(const struct image_file *a, const struct image_file *b)
{
	return a->device == b->device && a->inode == b->inode && a->size == b->size &&
	       a->modified.tv_sec == b->modified.tv_sec && a->modified.tv_nsec == b->modified.tv_nsec;
}

/* ---- recording ---- */

static size_t count_strings(char *const *strings)
{
	size_t count = 0;

	while (strings[count] != NULL)
		count++;
	return count;
}

int image_record(struct image *image, char **arguments)
{
	size_t count = count_strings(environ);
	struct image recorded = { .arguments = arguments };
	int result = 0;

	if (getcwd(recorded.directory, sizeof(recorded.directory)) == NULL)
		strcpy(recorded.directory, "/"); /* it is gone, or out of reach */
	if (!find_by_name(arguments[0], recorded.directory, recorded.path))
		result = find_by_kernel(recorded.path);
	if (result < 0)
		return result;
	recorded.environment = calloc(count + 1, sizeof(*recorded.environment));
	if (recorded.environment == NULL)
		return -ENOMEM;
	memcpy(recorded.environment, environ, count * sizeof(*recorded.environment));
	*image = recorded;
	return 0;
}

void image_done(struct image *image)
{
	free(image->environment);
	image->environment = NULL;
}

/* ---- executing it ---- */

char **image_arguments(const struct image *image, const char *first, const char *second)
{
	size_t count = count_strings(image->arguments);
	char **arguments = calloc(count + 3, sizeof(*arguments));
	size_t used = 0;

	if (arguments == NULL || count == 0) {
		free(arguments);
		return NULL;
	}
	arguments[used++] = image->arguments[0];
	/* execve(2) wants no const, and changes nothing. */
	if (first != NULL)
		arguments[used++] = (char *)(uintptr_t)first;
	if (second != NULL)
		arguments[used++] = (char *)(uintptr_t)second;
	memcpy(arguments + used, image->arguments + 1, (count - 1) * sizeof(*arguments));
	return arguments;
}

static bool is_variable(const char *assignment, const char *name)
{
	size_t size = strlen(name);

	return strncmp(assignment, name, size) == 0 && assignment[size] == '=';
}

static bool is_of_list(const char *assignment, const char *const *names)
{
	for (; *names != NULL; names++)
		if (is_variable(assignment, *names))
			return true;
	return false;
}

char **image_environment(const struct image *image, const char *const *without, const char *assignment)
{
	char **environment = calloc(count_strings(image->environment) + 2, sizeof(*environment));
	size_t used = 0;

	if (environment == NULL)
		return NULL;
	for (char **variable = image->environment; *variable != NULL; variable++)
		if (!is_of_list(*variable, without))
			environment[used++] = *variable;
	if (assignment != NULL)
		environment[used++] = (char *)(uintptr_t)assignment;
	return environment;
}

int image_execute(const struct image *image, char *const *arguments, char *const *environment)
{
	FD_AUTO int before = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int result;

	if (before < 0 || chdir(image->directory) < 0)
		return -errno;
	execve(image->path, arguments, environment);
	result = -errno;
	if (fchdir(before) < 0)
		return result; /* of the two failures the first one is the reason */
	return result;
}
