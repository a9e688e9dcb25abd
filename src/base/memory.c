/* SPDX-License-Identifier: MIT */
#include "base/memory.h"

#include <stdint.h>
#include <sys/mman.h>

void *memory_unforked(size_t count, size_t size)
{
	void *memory;

	if (size != 0 && count > SIZE_MAX / size)
		return NULL;
	memory = mmap(NULL, count * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return NULL;
	if (madvise(memory, count * size, MADV_DONTFORK) < 0) {
		munmap(memory, count * size);
		return NULL;
	}
	return memory;
}

void memory_unforked_free(void *memory, size_t count, size_t size)
{
	if (memory != NULL)
		munmap(memory, count * size);
}
