/* SPDX-License-Identifier: MIT */
#include "worker/areas.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* What a stack needs at most: a log line being made, and a signal that comes meanwhile. */
#define STACK_SIZE (24 * 1024)

/* Beyond the page that faults. A power of two with it. */
static size_t area_size;
/* All areas of this process. */
static uintptr_t first_area, end_of_areas;

static size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

int areas_init(struct areas *areas, size_t count)
{
	char *memory;

	area_size = 1;
	while (area_size < STACK_SIZE + page_size())
		area_size *= 2;
	/* Not there, so that it counts for no limit; one more, for the alignment. */
	memory = mmap(NULL, (count + 1) * area_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED)
		return -errno;
	memory += -(uintptr_t)memory & (area_size - 1);
	*areas = (struct areas){ .memory = memory, .count = count, .taken = calloc(count, sizeof(*areas->taken)) };
	first_area = (uintptr_t)memory;
	end_of_areas = first_area + count * area_size;
	return areas->taken == NULL ? -ENOMEM : 0;
}

static char *area_at(const struct areas *areas, size_t index)
{
	return areas->memory + index * area_size;
}

int areas_open(struct areas *areas)
{
	size_t page = page_size();

	if (areas->opened == areas->count)
		return -EAGAIN;
	if (mprotect(area_at(areas, areas->opened) + page, area_size - page, PROT_READ | PROT_WRITE) < 0)
		return -errno;
	atomic_store_explicit(&areas->taken[areas->opened], 1, memory_order_relaxed);
	return (int)areas->opened++;
}

/* The lowest, whose pages are there. */
int areas_take(struct areas *areas)
{
	for (size_t i = 0; i < areas->opened; i++) {
		if (atomic_load_explicit(&areas->taken[i], memory_order_acquire) != 0)
			continue;
		atomic_store_explicit(&areas->taken[i], 1, memory_order_relaxed);
		return (int)i;
	}
	return -EAGAIN;
}

void areas_give_back(struct areas *areas, int index)
{
	atomic_store_explicit(&areas->taken[index], 0, memory_order_relaxed);
}

static void *below(uintptr_t end, size_t size)
{
	return (void *)((end - size) & ~(uintptr_t)63);
}

void *areas_top(const struct areas *areas, int index, size_t size)
{
	return below((uintptr_t)area_at(areas, (size_t)index) + area_size, size);
}

void *areas_here(size_t size)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0);

	if (here < first_area || here >= end_of_areas)
		return NULL;
	return below((here | (area_size - 1)) + 1, size);
}
