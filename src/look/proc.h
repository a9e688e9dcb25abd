/* SPDX-License-Identifier: MIT */
#ifndef LOOK_PROC_H
#define LOOK_PROC_H
/*
 * What the kernel says of a process in its files under /proc: proc(5). Functions that parse are pure; those that read
 * return a negative errno where they cannot.
 */
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attrs.h"

/* ---- syscall: where it is ---- */

struct proc_call {
	bool is_running;
	long number; /* of the system call that it is in; -1: in none, and yet it does not run */
	uint64_t stack_pointer;
	uint64_t instruction;
};

/* -EBADMSG: the text is none. */
ATTR_NODISCARD int proc_parse_call(const char *text, struct proc_call *ret_call);

/* ---- stat: what it is ---- */

struct proc_stat {
	char state; /* R, S, D, T, t, Z, X */
	pid_t parent;
	uint64_t cpu_ticks; /* in user and kernel mode together */
};

ATTR_NODISCARD int proc_parse_stat(const char *text, struct proc_stat *ret_stat);

/* ---- maps: what its memory is ---- */

struct proc_map {
	uint64_t begin;
	uint64_t end;
	uint64_t offset;    /* of `begin` in the file */
	unsigned int major; /* of the file's device; all three are 0 where it is no file */
	unsigned int minor;
	uint64_t inode;
	bool is_code;
	const char *path; /* up to the line's end, as the kernel escapes it; in the text that is parsed */
	size_t path_size;
};

/* The line at TEXT. Returns the next one, or NULL, where there is none or TEXT is no line of such a file. */
const char *proc_parse_map(const char *text, struct proc_map *ret_map);
/* The first lines of TEXT, at most MOST. Returns how many. */
size_t proc_parse_maps(const char *text, struct proc_map *maps, size_t most);
/* The one that has ADDRESS, of COUNT that are in order, as the kernel tells them; or NULL. */
const struct proc_map *proc_find_map(const struct proc_map *maps, size_t count, uint64_t address);

/* ---- reading ---- */

/* The directory of PID, which stays that process's when the number is another's. */
int proc_open(pid_t pid);

/* The file NAME of DIRECTORY as text, cut to SIZE - 1 bytes. Returns its size. */
ATTR_NODISCARD ssize_t proc_read(int directory, const char *name, char *buffer, size_t size);

#endif
