/* SPDX-License-Identifier: MIT */
#include "board/relic.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* What is known of a pool, and of a slot, in any layout. */
#define KNOWN_SIZE (2 * BOARD_LINE)

/* The oldest layout that says where its parts are. */
#define OLDEST_LAYOUT 3

static bool part_holds(uint32_t size, uint32_t least)
{
	return size >= least && size % BOARD_LINE == 0;
}

/* Whether the parts fit into the memory; it was copied, since those who write to it could change it meanwhile. */
static bool geometry_holds(const struct board_relic *relic)
{
	uint64_t pools = (uint64_t)relic->pool_count * relic->pool_size;
	uint64_t slots = (uint64_t)relic->slot_count * relic->slot_size;

	return part_holds(relic->header_size, sizeof(struct board_header)) &&
	       part_holds(relic->pool_size, KNOWN_SIZE) && part_holds(relic->slot_size, KNOWN_SIZE) &&
	       relic->header_size <= relic->size && pools <= relic->size - relic->header_size &&
	       slots <= relic->size - relic->header_size - pools;
}

static int read_geometry(struct board_relic *relic)
{
	const struct board_header *header = relic->memory;

	if (header->magic != BOARD_MAGIC || header->layout_version < OLDEST_LAYOUT)
		return -EPROTO;
	relic->header_size = header->header_size;
	relic->pool_size = header->pool_size;
	relic->pool_count = header->pool_count;
	relic->slot_size = header->slot_size;
	relic->slot_count = header->slot_count;
	relic->same_layout = header->layout_version == BOARD_LAYOUT_VERSION &&
			     relic->pool_size == sizeof(struct board_pool) &&
			     relic->slot_size == sizeof(struct board_slot);
	relic->started_us = atomic_load_explicit(&header->started_us, memory_order_relaxed);
	return geometry_holds(relic) ? 0 : -EPROTO;
}

int board_relic_open(struct board_relic *relic, int fd)
{
	struct board_relic found = { 0 };
	struct stat status;
	int seals = fcntl(fd, F_GET_SEALS);
	int result;

	if (fstat(fd, &status) < 0)
		return -errno;
	if (seals < 0 || (seals & F_SEAL_SHRINK) == 0 || (uint64_t)status.st_size < sizeof(struct board_header))
		return -EPROTO;
	found.size = (size_t)status.st_size;
	found.memory = mmap(NULL, found.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (found.memory == MAP_FAILED)
		return -errno;
	result = madvise(found.memory, found.size, MADV_DONTFORK) < 0 ? -errno : read_geometry(&found);
	if (result < 0)
		board_relic_close(&found);
	else
		*relic = found;
	return result;
}

void board_relic_close(struct board_relic *relic)
{
	if (relic->memory != NULL)
		munmap(relic->memory, relic->size);
	relic->memory = NULL;
}

static struct board_pool *pool_at(const struct board_relic *relic, uint32_t index)
{
	char *memory = relic->memory;

	return (void *)(memory + relic->header_size + (size_t)index * relic->pool_size);
}

struct board_slot *board_relic_slot(const struct board_relic *relic, uint32_t place)
{
	char *pools = (char *)pool_at(relic, relic->pool_count);

	return (void *)(pools + (size_t)place * relic->slot_size);
}

bool board_slot_is_taken(const struct board_slot *slot)
{
	return atomic_load_explicit(&slot->pid, memory_order_relaxed) != 0 || board_slot_state(slot) != BOARD_EMPTY;
}

/* ---- counters ---- */

static void move_word(_Atomic uint64_t *into, _Atomic uint64_t *from)
{
	board_worker_add(into, atomic_load_explicit(from, memory_order_relaxed));
	atomic_store_explicit(from, 0, memory_order_relaxed);
}

static void move_histogram(struct histogram *into, struct histogram *from)
{
	for (size_t bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++)
		if (atomic_load_explicit(&from->count[bucket], memory_order_relaxed) != 0)
			move_word(&into->count[bucket], &from->count[bucket]);
}

static void move_pool(struct board_pool *into, struct board_pool *from, bool same_layout)
{
	move_word(&into->connections, &from->connections);
	move_word(&into->requests, &from->requests);
	move_word(&into->failed, &from->failed);
	move_word(&into->bytes_in, &from->bytes_in);
	move_word(&into->bytes_out, &from->bytes_out);
	for (size_t i = 0; i < BOARD_DEATHS; i++)
		move_word(&into->deaths[i], &from->deaths[i]);
	if (!same_layout)
		return;
	move_word(&into->full_episodes, &from->full_episodes);
	move_histogram(&into->latency, &from->latency);
}

void board_relic_move_pools(const struct board_relic *relic, struct board *board)
{
	for (uint32_t i = 0; i < relic->pool_count; i++) {
		struct board_pool *pool = pool_at(relic, i);
		char name[BOARD_POOL_NAME_MAX];

		memcpy(name, pool->name, sizeof(name));
		name[sizeof(name) - 1] = '\0';
		/* Without a name there is no pool; but the last one is that of all that found no place. */
		if (name[0] != '\0')
			move_pool(board_pool(board, name), pool, relic->same_layout);
		else if (i == relic->pool_count - 1)
			move_pool(&board->pools[BOARD_POOLS - 1], pool, relic->same_layout);
	}
}

void board_relic_move_slot(const struct board_relic *relic, uint32_t place, struct board *board)
{
	struct board_slot *slot = board_relic_slot(relic, place);
	char name[BOARD_POOL_NAME_MAX];
	struct board_pool *pool = board_pool(board, board_slot_pool(slot, name));

	move_word(&pool->connections, &slot->connections);
	move_word(&pool->requests, &slot->requests);
	move_word(&pool->failed, &slot->failed);
	move_word(&pool->bytes_in, &slot->bytes_in);
	move_word(&pool->bytes_out, &slot->bytes_out);
	if (relic->same_layout)
		move_histogram(&pool->latency, &slot->latency);
	atomic_store_explicit(&slot->pid, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->state, BOARD_EMPTY, memory_order_relaxed);
}
