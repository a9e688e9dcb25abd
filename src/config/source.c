/* SPDX-License-Identifier: MIT */
#include "config/source.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

static const char reason_large[] = "is larger than 1 MiB";

/* Why a file with that STATUS is not read, or NULL. */
static const char *unfit_reason(const struct stat *status)
{
	if (S_ISDIR(status->st_mode))
		return "is a directory, not a file";
	if (!S_ISREG(status->st_mode))
		return "is not a regular file";
	return status->st_size > SOURCE_FILE_MAX ? reason_large : NULL;
}

/* Reads FD to its end, SIZE bytes at most. Returns the count or a negative errno. */
static ssize_t read_to_end(int fd, char *buffer, size_t size)
{
	size_t used = 0;
	ssize_t count;

	while (used < size) {
		count = read(fd, buffer + used, size - used);
		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			return -errno;
		if (count == 0)
			break;
		used += (size_t)count;
	}
	return (ssize_t)used;
}

static int read_descriptor(int fd, struct source *ret_source, const char **ret_reason)
{
	struct stat status;
	ssize_t size;
	char *text;

	if (fstat(fd, &status) < 0) {
		*ret_reason = strerrordesc_np(errno);
		return -errno;
	}
	*ret_reason = unfit_reason(&status);
	if (*ret_reason)
		return -EINVAL;
	/* One byte more than is accepted: a file that grows meanwhile is noticed, and that byte is for the NUL. */
	text = malloc(SOURCE_FILE_MAX + 1);
	if (!text) {
		*ret_reason = strerrordesc_np(ENOMEM);
		return -ENOMEM;
	}
	size = read_to_end(fd, text, SOURCE_FILE_MAX + 1);
	if (size < 0 || size > SOURCE_FILE_MAX) {
		*ret_reason = size < 0 ? strerrordesc_np((int)-size) : reason_large;
		free(text);
		return size < 0 ? (int)size : -EFBIG;
	}
	text[size] = '\0';
	*ret_source = (struct source){
		.text = text,
		.size = (size_t)size,
		.device = status.st_dev,
		.inode = status.st_ino,
	};
	return 0;
}

int source_read(const char *path, struct source *ret_source, const char **ret_reason)
{
	/* O_NONBLOCK: a FIFO without a writer does not hold us. */
	FD_AUTO int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0) {
		*ret_reason = strerrordesc_np(errno);
		return -errno;
	}
	return read_descriptor(fd, ret_source, ret_reason);
}

void source_done(struct source *source)
{
	free(source->text);
	*source = (struct source){ .text = NULL };
}

/* ---- include ---- */

/* The directory part of FILE, with its slash, and PATTERN behind it. With ESCAPE the directory is protected from
 * glob(3). */
static char *path_beside(const char *file, const char *pattern, bool escape)
{
	const char *slash = strrchr(file, '/');
	size_t directory_size = pattern[0] == '/' || !slash ? 0 : (size_t)(slash - file) + 1;
	char *path = malloc(2 * directory_size + strlen(pattern) + 1);
	size_t used = 0;

	if (!path)
		return NULL;
	for (size_t i = 0; i < directory_size; i++) {
		if (escape && strchr("*?[\\", file[i]))
			path[used++] = '\\';
		path[used++] = file[i];
	}
	memcpy(path + used, pattern, strlen(pattern) + 1);
	return path;
}

static int compare_paths(const void *left, const void *right)
{
	return strcmp(*(char *const *)left, *(char *const *)right);
}

/* A directory that is not there has no matches; one that cannot be read may have some. */
static int glob_error(const char *path, int error)
{
	(void)path;
	return error != ENOENT && error != ENOTDIR;
}

static int copy_matches(const glob_t *matches, struct source_list *ret_list)
{
	struct source_list list = { .paths = calloc(matches->gl_pathc + 1, sizeof(char *)) };

	if (!list.paths)
		return -ENOMEM;
	for (; list.count < matches->gl_pathc; list.count++) {
		list.paths[list.count] = strdup(matches->gl_pathv[list.count]);
		if (!list.paths[list.count]) {
			source_list_done(&list);
			return -ENOMEM;
		}
	}
	qsort(list.paths, list.count, sizeof(char *), compare_paths);
	*ret_list = list;
	return 0;
}

static int expand_wildcards(const char *includer, const char *pattern, struct source_list *ret_list)
{
	char *path = path_beside(includer, pattern, true);
	glob_t matches;
	int result;

	if (!path)
		return -ENOMEM;
	errno = 0;
	switch (glob(path, GLOB_NOSORT, glob_error, &matches)) {
	case 0:
		result = copy_matches(&matches, ret_list);
		globfree(&matches);
		break;
	case GLOB_NOMATCH:
		*ret_list = (struct source_list){ .paths = NULL };
		result = 0;
		break;
	case GLOB_NOSPACE:
		result = -ENOMEM;
		break;
	default:
		result = errno ? -errno : -EIO;
		break;
	}
	free(path);
	return result;
}

int source_expand(const char *includer, const char *pattern, struct source_list *ret_list)
{
	struct source_list list = { .count = 1 };

	if (strpbrk(pattern, "*?["))
		return expand_wildcards(includer, pattern, ret_list);
	list.paths = calloc(1, sizeof(char *));
	if (!list.paths)
		return -ENOMEM;
	list.paths[0] = path_beside(includer, pattern, false);
	if (!list.paths[0]) {
		free(list.paths);
		return -ENOMEM;
	}
	*ret_list = list;
	return 0;
}

void source_list_done(struct source_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->paths[i]);
	free(list->paths);
	*list = (struct source_list){ .paths = NULL };
}
