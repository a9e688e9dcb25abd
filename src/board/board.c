/* SPDX-License-Identifier: MIT */
#include "board/board.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

static const char *const state_names[] = {
	[BOARD_EMPTY] = "empty",
	[BOARD_STARTING] = "starting",
	[BOARD_IDLE] = "idle",
	[BOARD_BUSY] = "busy",
	[BOARD_WAITING] = "waiting",
	[BOARD_RUNNING] = "running",
	[BOARD_FAILED] = "failed",
	[BOARD_LEAVING] = "leaving",
};
static_assert(ARRAY_SIZE(state_names) == BOARD_STATES, "each state has a name");

#define SLOTS_OFFSET (sizeof(struct board_header) + BOARD_POOLS * sizeof(struct board_pool))

static uint64_t board_size(uint32_t slot_count)
{
	return SLOTS_OFFSET + (uint64_t)slot_count * sizeof(struct board_slot);
}

static int map(struct board *board, int fd, uint64_t size, int protection)
{
	void *memory = mmap(NULL, size, protection, MAP_SHARED, fd, 0);

	if (memory == MAP_FAILED)
		return -errno;
	board->header = memory;
	board->pools = (struct board_pool *)((char *)memory + sizeof(struct board_header));
	board->slots = (struct board_slot *)((char *)memory + SLOTS_OFFSET);
	board->size = size;
	return 0;
}

/* ---- making and finding one ---- */

static void write_master(struct board_header *header)
{
	atomic_store_explicit(&header->started_us, clock_monotonic_us(), memory_order_relaxed);
	atomic_store_explicit(&header->master_pid, (uint32_t)getpid(), memory_order_relaxed);
}

static void write_header(struct board_header *header, uint32_t slot_count)
{
	header->magic = BOARD_MAGIC;
	header->layout_version = BOARD_LAYOUT_VERSION;
	header->header_size = sizeof(struct board_header);
	header->slot_size = sizeof(struct board_slot);
	header->slot_count = slot_count;
	header->pool_size = sizeof(struct board_pool);
	header->pool_count = BOARD_POOLS;
	header->size = board_size(slot_count);
	write_master(header);
}

uint32_t board_slots_used(const struct board *board)
{
	uint32_t used = atomic_load_explicit(&board->header->slots_used, memory_order_relaxed);
	uint32_t most = (uint32_t)((board->size - SLOTS_OFFSET) / sizeof(struct board_slot));

	return used < most ? used : most;
}

int board_create(struct board *board, uint32_t slot_count)
{
	FD_AUTO int fd = -1;
	struct board made;
	int result;

	if (slot_count == 0)
		return -EINVAL;
	fd = memfd_create(BOARD_MEMFD_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	/* Whoever is given a descriptor to read by (the control socket's clients) cannot open it again to write. */
	if (fd < 0 || fchmod(fd, 0600) < 0 || ftruncate(fd, (off_t)board_size(slot_count)) < 0 ||
		fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	result = map(&made, fd, board_size(slot_count), PROT_READ | PROT_WRITE);
	if (result < 0)
		return result;
	write_header(made.header, slot_count); // NOLINT(clang-analyzer-core.CallAndMessage): as in header_holds()
	made.fd = fd_steal(&fd);
	*board = made;
	return 0;
}

static bool header_holds(const struct board_header *header, uint64_t size)
{
	/* The analyzer takes errno for 0 after a failure of mmap(2). */
	// NOLINTNEXTLINE(clang-analyzer-core.NullDereference)
	return header->magic == BOARD_MAGIC && header->layout_version == BOARD_LAYOUT_VERSION &&
	       header->header_size == sizeof(struct board_header) && header->slot_size == sizeof(struct board_slot) &&
	       header->pool_size == sizeof(struct board_pool) && header->pool_count == BOARD_POOLS &&
	       header->size == size && board_size(header->slot_count) == size;
}

static int open_mapped(struct board *board, int fd, int protection)
{
	struct board found = { .fd = -1 };
	struct stat status;
	int seals = fcntl(fd, F_GET_SEALS);
	int result;

	if (fstat(fd, &status) < 0)
		return -errno;
	if (seals < 0 || (seals & F_SEAL_SHRINK) == 0 || (uint64_t)status.st_size < SLOTS_OFFSET)
		return -EPROTO;
	result = map(&found, fd, (uint64_t)status.st_size, protection);
	if (result < 0)
		return result;
	if (!header_holds(found.header, found.size)) {
		board_done(&found);
		return -EPROTO;
	}
	*board = found;
	return 0;
}

int board_open(struct board *board, int fd)
{
	return open_mapped(board, fd, PROT_READ);
}

int board_adopt(struct board *board, int fd, uint32_t slot_count)
{
	struct board found = { .fd = -1 };
	int result = open_mapped(&found, fd, PROT_READ | PROT_WRITE);

	if (result < 0)
		return result;
	if (found.size != board_size(slot_count)) {
		board_done(&found);
		return -EPROTO;
	}
	write_master(found.header);
	found.fd = fd;
	*board = found;
	return 0;
}

void board_done(struct board *board)
{
	if (board->header != NULL)
		munmap(board->header, board->size);
	board->header = NULL;
	board->pools = NULL;
	board->slots = NULL;
	board->size = 0;
	fd_close(&board->fd);
}

/* ---- the master ---- */

/* Only pages that hold something are written to: a page of zeros that nobody has touched stays unallocated. */
static void clear_histogram(struct histogram *histogram)
{
	for (unsigned int bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
		if (atomic_load_explicit(&histogram->count[bucket], memory_order_relaxed) != 0)
			atomic_store_explicit(&histogram->count[bucket], 0, memory_order_relaxed);
	}
}

static void clear_lines(struct board_slot *slot)
{
	_Atomic uint64_t *const words[] = { &slot->changed_us, &slot->deadline_us, &slot->connections, &slot->requests,
		&slot->bytes_in, &slot->bytes_out, &slot->failed, &slot->notified_us, &slot->watchdog_us,
		&slot->extended_us };

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		atomic_store_explicit(words[i], 0, memory_order_relaxed);
	atomic_store_explicit(&slot->listener, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->peer_size, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->error, 0, memory_order_relaxed);
	atomic_store_explicit(&slot->counted, 0, memory_order_relaxed);
	slot->status[0] = '\0';
	clear_histogram(&slot->latency);
}

void board_slot_claim(struct board *board, uint32_t slot, const char *pool, uint32_t pool_slot, uint32_t generation)
{
	struct board_slot *claimed = &board->slots[slot];

	clear_lines(claimed);
	if (slot >= atomic_load_explicit(&board->header->slots_used, memory_order_relaxed))
		atomic_store_explicit(&board->header->slots_used, slot + 1, memory_order_relaxed);
	memset(claimed->pool, 0, sizeof(claimed->pool));
	memcpy(claimed->pool, pool, strnlen(pool, sizeof(claimed->pool) - 1));
	atomic_store_explicit(&claimed->pool_slot, pool_slot, memory_order_relaxed);
	atomic_store_explicit(&claimed->generation, generation, memory_order_relaxed);
	atomic_store_explicit(&claimed->born_us, 0, memory_order_relaxed);
	atomic_store_explicit(&claimed->state, BOARD_STARTING, memory_order_relaxed);
}

void board_slot_born(struct board *board, uint32_t slot, uint32_t pid, uint64_t now_us)
{
	struct board_slot *born = &board->slots[slot];

	atomic_store_explicit(&born->born_us, now_us, memory_order_relaxed);
	atomic_store_explicit(&born->pid, pid, memory_order_relaxed);
}

void board_slot_release(struct board *board, uint32_t slot)
{
	struct board_slot *released = &board->slots[slot];

	atomic_store_explicit(&released->pid, 0, memory_order_relaxed);
	atomic_store_explicit(&released->state, BOARD_EMPTY, memory_order_relaxed);
}

static void add(_Atomic uint64_t *into, const _Atomic uint64_t *from)
{
	board_worker_add(into, atomic_load_explicit(from, memory_order_relaxed));
}

static struct board_pool *find_pool(const struct board *board, const char *name)
{
	for (size_t i = 0; name[0] != '\0' && i < BOARD_POOLS - 1; i++)
		if (board->pools[i].name[0] == '\0' ||
			strncmp(board->pools[i].name, name, sizeof(board->pools[i].name) - 1) == 0)
			return &board->pools[i];
	return &board->pools[BOARD_POOLS - 1];
}

struct board_pool *board_pool(struct board *board, const char *name)
{
	struct board_pool *pool = find_pool(board, name);

	if (pool->name[0] == '\0' && pool != &board->pools[BOARD_POOLS - 1])
		memcpy(pool->name, name, strnlen(name, sizeof(pool->name) - 1));
	return pool;
}

void board_pool_add(struct board_pool *pool, const struct board_slot *slot)
{
	add(&pool->connections, &slot->connections);
	add(&pool->requests, &slot->requests);
	add(&pool->failed, &slot->failed);
	add(&pool->bytes_in, &slot->bytes_in);
	add(&pool->bytes_out, &slot->bytes_out);
	if (atomic_load_explicit(&slot->requests, memory_order_relaxed) > 0)
		histogram_merge(&pool->latency, &slot->latency);
}

void board_spare_forget(struct board_pool *pool, struct board_slot *slot)
{
	if (atomic_exchange_explicit(&slot->counted, 0, memory_order_relaxed) == 1)
		atomic_fetch_sub_explicit(&pool->spare, 1, memory_order_relaxed);
}

void board_spare_repair(struct board_pool *pool, int32_t wrong, int32_t counted)
{
	atomic_compare_exchange_strong_explicit(
		&pool->spare, &wrong, counted, memory_order_relaxed, memory_order_relaxed);
}

void board_slot_notified(struct board_slot *slot, const char *status, uint64_t now_us)
{
	if (status != NULL) {
		size_t size = strnlen(status, sizeof(slot->status) - 1);

		memcpy(slot->status, status, size);
		memset(slot->status + size, 0, sizeof(slot->status) - size);
	}
	atomic_store_explicit(&slot->notified_us, now_us, memory_order_relaxed);
}

/* ---- readers ---- */

const char *board_state_name(enum board_state state)
{
	return (unsigned int)state < BOARD_STATES ? state_names[state] : "unknown";
}

bool board_state_is_serving(enum board_state state)
{
	return state == BOARD_BUSY || state == BOARD_WAITING || state == BOARD_RUNNING || state == BOARD_FAILED;
}

enum board_state board_slot_state(const struct board_slot *slot)
{
	uint32_t state = atomic_load_explicit(&slot->state, memory_order_relaxed);

	return state < BOARD_STATES ? (enum board_state)state : BOARD_STATES;
}

char *board_slot_pool(const struct board_slot *slot, char buffer[BOARD_POOL_NAME_MAX])
{
	memcpy(buffer, slot->pool, BOARD_POOL_NAME_MAX);
	buffer[BOARD_POOL_NAME_MAX - 1] = '\0';
	return buffer;
}

char *board_slot_status(const struct board_slot *slot, char buffer[BOARD_STATUS_MAX])
{
	memcpy(buffer, slot->status, BOARD_STATUS_MAX);
	buffer[BOARD_STATUS_MAX - 1] = '\0';
	return buffer;
}

socklen_t board_slot_peer(const struct board_slot *slot, struct sockaddr_storage *ret_peer)
{
	uint32_t size = atomic_load_explicit(&slot->peer_size, memory_order_relaxed);

	if (size > BOARD_PEER_MAX)
		size = BOARD_PEER_MAX;
	if (size > 0)
		memcpy(ret_peer, slot->peer, size);
	return size;
}
