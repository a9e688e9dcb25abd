/* SPDX-License-Identifier: MIT */
#include "base/process_memory.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"

/* smaps_rollup has some 700 bytes, and PSS is its second number. */
#define TEXT_SIZE 2048

static const struct {
	const char *name;
	const char *file;
} measures[] = {
	[MEMORY_RSS] = {"rss",  "statm"       },
	[MEMORY_PSS] = { "pss", "smaps_rollup"},
};
static_assert(ARRAY_SIZE(measures) == MEMORY_MEASURES, "a name for each measure");

const char *memory_measure_name(enum memory_measure measure)
{
	return measures[measure].name;
}

/* "SIZE RESIDENT ...", in pages. */
static int parse_statm(const char *text, uint64_t *ret_bytes)
{
	uint64_t pages;

	if (sscanf(text, "%*u %" SCNu64, &pages) != 1 || pages > INT64_MAX / (uint64_t)sysconf(_SC_PAGESIZE))
		return -EBADMSG;
	*ret_bytes = pages * (uint64_t)sysconf(_SC_PAGESIZE);
	return 0;
}

/* A line "Pss: 123 kB". */
static int parse_rollup(const char *text, uint64_t *ret_bytes)
{
	const char *line = strstr(text, "\nPss:");
	uint64_t kib;

	if (line == NULL || sscanf(line, "\nPss: %" SCNu64 " kB", &kib) != 1 || kib > INT64_MAX / 1024)
		return -EBADMSG;
	*ret_bytes = kib * 1024;
	return 0;
}

int process_memory_parse(const char *text, enum memory_measure measure, uint64_t *ret_bytes)
{
	return measure == MEMORY_RSS ? parse_statm(text, ret_bytes) : parse_rollup(text, ret_bytes);
}

int process_memory_read(pid_t pid, enum memory_measure measure, uint64_t *ret_bytes)
{
	char path[64], text[TEXT_SIZE];
	FD_AUTO int fd = -1;
	ssize_t size;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, measures[measure].file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	size = read(fd, text, sizeof(text) - 1);
	if (size < 0)
		return -errno;
	/* So it is of one that has ended, and was not waited for. */
	if (size == 0)
		return -ESRCH;
	text[size] = '\0';
	return process_memory_parse(text, measure, ret_bytes);
}
