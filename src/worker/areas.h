/* SPDX-License-Identifier: MIT */
#ifndef WORKER_AREAS_H
#define WORKER_AREAS_H
/*
 * Memory for processes that share all of it but for a stack of their own: areas of one size, each aligned to it, with a
 * page at the lower end that faults. So a process finds its area by any address of its stack (areas_here()).
 *
 * An area is taken before the process is made, and the kernel gives it back: at the end of the process, or when it
 * executes a program, it clears the area's word (CLONE_CHILD_CLEARTID, clone(2)), however that end comes about. Nothing
 * has to be told to anybody, and nothing can be forgotten.
 *
 * Used by one process, which makes the others.
 */
#include <stdatomic.h>
#include <stddef.h>

#include "base/attrs.h"

struct areas {
	char *memory;
	size_t count;
	size_t opened;      /* so many, from the first on, can be used */
	_Atomic int *taken; /* a word each; 0: free */
};

/* Reserves COUNT areas, whose memory is not there yet. Once a process. Returns 0 or a negative errno. */
ATTR_NODISCARD int areas_init(struct areas *areas, size_t count);

/* Has one more be there, which is taken. Returns its index, or a negative errno: -EAGAIN where there are no more. */
ATTR_NODISCARD int areas_open(struct areas *areas);

/* The index of an area that is open and free, which is taken from now on; -EAGAIN: there is none. */
ATTR_NODISCARD int areas_take(struct areas *areas);
void areas_give_back(struct areas *areas, int index);

/* The upper end of an area, below which SIZE bytes, aligned for anything, are its user's; and below them his stack. */
void *areas_top(const struct areas *areas, int index, size_t size);
/* The same SIZE bytes of the area that the caller's stack is in; NULL in a process that was not made so. */
void *areas_here(size_t size);

#endif
