/* SPDX-License-Identifier: MIT */
#include "master/children.h"

#include <errno.h>

#include "base/memory.h"

/* Open addressing with linear probing; pids are consecutive, so their low bits spread well. */
static size_t children_home(const struct children *children, pid_t pid)
{
	return (size_t)pid & (children->size - 1);
}

static size_t children_after(const struct children *children, size_t index)
{
	return (index + 1) & (children->size - 1);
}

int children_init(struct children *children, size_t most)
{
	size_t size = 16;

	while (size < 2 * most + 1)
		size *= 2;
	*children = (struct children){ .table = memory_unforked(size, sizeof(struct child)), .size = size };
	return children->table == NULL ? -ENOMEM : 0;
}

void children_done(struct children *children)
{
	memory_unforked_free(children->table, children->size, sizeof(struct child));
	*children = (struct children){ 0 };
}

void children_add(struct children *children, const struct child *child)
{
	size_t index = children_home(children, child->pid);

	while (children->table[index].pid != 0)
		index = children_after(children, index);
	children->table[index] = *child;
	children->count++;
}

/* Entries behind a hole move into it, unless they would come before their home (Knuth 6.4, algorithm R). */
static void children_close_gap(struct children *children, size_t hole)
{
	size_t mask = children->size - 1;

	for (size_t index = children_after(children, hole); children->table[index].pid != 0;
		index = children_after(children, index)) {
		size_t home = children_home(children, children->table[index].pid);

		if (((index - home) & mask) < ((index - hole) & mask))
			continue;
		children->table[hole] = children->table[index];
		children->table[index].pid = 0;
		hole = index;
	}
}

/* Where PID stands, or where there is no entry. */
static size_t children_index(const struct children *children, pid_t pid)
{
	size_t index = children_home(children, pid);

	while (children->table[index].pid != 0 && children->table[index].pid != pid)
		index = children_after(children, index);
	return index;
}

int children_find(const struct children *children, pid_t pid, struct child *ret_child)
{
	size_t index = children_index(children, pid);

	if (pid == 0 || children->table[index].pid == 0)
		return 0;
	*ret_child = children->table[index];
	return 1;
}

int children_remove(struct children *children, pid_t pid, struct child *ret_child)
{
	size_t index = children_index(children, pid);

	if (children->table[index].pid == 0)
		return 0;
	*ret_child = children->table[index];
	children->table[index].pid = 0;
	children->count--;
	children_close_gap(children, index);
	return 1;
}
