/* SPDX-License-Identifier: MIT */
#ifndef BASE_MEMORY_H
#define BASE_MEMORY_H
/*
 * Memory of this process alone: a forked child does not have it (MADV_DONTFORK, madvise(2)).
 *
 * For tables that a parent of many goes on writing. In ordinary memory each child would keep, for all its life, a copy
 * of every page that the parent has written since the fork: with several such pages and hundreds of children that is
 * most of their memory, and time at each fork.
 */
#include <stddef.h>

/* COUNT elements of SIZE bytes, zeroed, on pages of their own. NULL if there is no memory. */
void *memory_unforked(size_t count, size_t size);

/* Frees what memory_unforked(COUNT, SIZE) returned; NULL is nothing to free. */
void memory_unforked_free(void *memory, size_t count, size_t size);

#endif
