/* SPDX-License-Identifier: MIT */
#ifndef LOOK_OBJECTS_H
#define LOOK_OBJECTS_H
/*
 * The object files of another process: what is at an address of it. The kernel tells under which path each was mapped
 * once; whatever stands there now may be another file, a device, or a link to what is nobody's business. A file counts
 * only where the kernel calls it, mapped here, by the same device and inode; nothing but a regular file is opened.
 *
 * Reading them may wait for a file system, and a file that is cut meanwhile costs a SIGBUS: for a process of its own.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/elf_file.h"
#include "base/symbol.h"
#include "look/cfi.h"
#include "look/machine.h"
#include "look/proc.h"

/* More than these are not looked at. */
enum { OBJECTS_MAX = 24 };

struct object {
	const struct proc_map *map; /* one of the file's */
	struct elf_file file;       /* no data: it could not be had */
	uint64_t begin;             /* the lowest address where it is mapped */
};

struct objects {
	int directory; /* the process's */
	const struct proc_map *maps;
	size_t map_count;
	struct object objects[OBJECTS_MAX];
	size_t count;
};

/* MAPS, of the process with that DIRECTORY, stay the caller's. */
void objects_init(struct objects *objects, int directory, const struct proc_map *maps, size_t map_count);
void objects_done(struct objects *objects);

/* The frame at ADDRESS of the process, with its function's address there. */
bool objects_frame(
	struct objects *objects, const struct machine *machine, uint64_t address, struct cfi_frame *ret_frame);

/* What is at ADDRESS; of a return address the call before it counts. */
void objects_symbol(struct objects *objects, uint64_t address, bool is_return, struct symbol *ret_symbol);

#endif
