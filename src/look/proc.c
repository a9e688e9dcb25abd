/* SPDX-License-Identifier: MIT */
#include "look/proc.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"

/* ---- syscall ---- */

/* "running", "NUMBER ARGUMENT... SP PC" with six arguments, or "-1 SP PC". */
int proc_parse_call(const char *text, struct proc_call *ret_call)
{
	struct proc_call call = { .number = -1 };
	const char *at = text;
	char *end;
	int words;

	if (strncmp(text, "running", strlen("running")) == 0) {
		*ret_call = (struct proc_call){ .is_running = true, .number = -1 };
		return 0;
	}
	call.number = strtol(text, &end, 10);
	if (end == text)
		return -EBADMSG;
	words = call.number == -1 ? 2 : 8;
	for (int i = 0; i < words; i++) {
		uint64_t word;

		at = end;
		errno = 0;
		word = strtoull(at, &end, 16);
		if (end == at || errno != 0)
			return -EBADMSG;
		if (i == words - 2)
			call.stack_pointer = word;
		else
			call.instruction = word;
	}
	*ret_call = call;
	return 0;
}

/* ---- stat ---- */

/* The name, in parentheses, may have any byte in it: the last parenthesis is its end. */
int proc_parse_stat(const char *text, struct proc_stat *ret_stat)
{
	const char *end = strrchr(text, ')');
	uint64_t user, system;
	struct proc_stat stat;

	if (end == NULL || sscanf(end + 1, " %c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64,
				   &stat.state, &stat.parent, &user, &system) != 4)
		return -EBADMSG;
	stat.cpu_ticks = user + system;
	*ret_stat = stat;
	return 0;
}

/* ---- maps ---- */

/* The number in BASE at *TEXT, behind which LAST stands. */
static bool take_number(const char **text, int base, char last, uint64_t *ret_number)
{
	char *end;
	bool is_digit = isxdigit((unsigned char)**text) != 0;

	*ret_number = strtoull(*text, &end, base);
	if (!is_digit || end == *text || *end != last)
		return false;
	*text = end + 1;
	return true;
}

/* "BEGIN-END PERMISSIONS OFFSET MAJOR:MINOR INODE    PATH" */
const char *proc_parse_map(const char *text, struct proc_map *ret_map)
{
	const char *end = strchrnul(text, '\n'), *at = text;
	struct proc_map map = { .path = end };
	uint64_t major, minor;

	if (!take_number(&at, 16, '-', &map.begin) || !take_number(&at, 16, ' ', &map.end) || map.end <= map.begin)
		return NULL;
	if (strnlen(at, 5) < 5 || at[4] != ' ')
		return NULL;
	map.is_code = at[2] == 'x';
	at += 5;
	if (!take_number(&at, 16, ' ', &map.offset) || !take_number(&at, 16, ':', &major) ||
		!take_number(&at, 16, ' ', &minor))
		return NULL;
	/* Behind it, there is a space even where there is no path. */
	if (!take_number(&at, 10, ' ', &map.inode) && !take_number(&at, 10, '\n', &map.inode))
		return NULL;
	map.major = (unsigned int)major;
	map.minor = (unsigned int)minor;
	if (at < end) {
		map.path = at + strspn(at, " ");
		map.path_size = (size_t)(end - map.path);
	}
	*ret_map = map;
	return *end == '\n' ? end + 1 : end;
}

size_t proc_parse_maps(const char *text, struct proc_map *maps, size_t most)
{
	size_t count = 0;

	while (text != NULL && *text != '\0' && count < most) {
		text = proc_parse_map(text, &maps[count]);
		count += text != NULL;
	}
	return count;
}

const struct proc_map *proc_find_map(const struct proc_map *maps, size_t count, uint64_t address)
{
	size_t low = 0, high = count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (maps[middle].end <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low < count && maps[low].begin <= address ? &maps[low] : NULL;
}

/* ---- reading ---- */

int proc_open(pid_t pid)
{
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

ssize_t proc_read(int directory, const char *name, char *buffer, size_t size)
{
	FD_AUTO int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);
	size_t used = 0;
	ssize_t part = 1;

	if (fd < 0)
		return -errno;
	while (part > 0 && used < size - 1) {
		part = TEMP_FAILURE_RETRY(read(fd, buffer + used, size - 1 - used));
		if (part < 0)
			return -errno;
		used += (size_t)part;
	}
	buffer[used] = '\0';
	return (ssize_t)used;
}
