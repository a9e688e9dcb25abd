/* SPDX-License-Identifier: MIT */
#ifndef BOARD_BOARD_H
#define BOARD_BOARD_H
/*
 * The scoreboard as an object: the master makes it, workers write to their slot, readers map it read-only.
 * layout.h says what the words mean and who writes them.
 */
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#include "base/attrs.h"
#include "board/layout.h"

struct board {
	struct board_header *header;
	struct board_pool *pools; /* BOARD_POOLS of them */
	struct board_slot *slots;
	int fd;      /* the memfd, owned; -1 in a worker, which keeps the mapping only, and in a reader */
	size_t size; /* of the mapping */
};

/* The memfd's name, as /proc/PID/fd shows it ("/memfd:brood-board (deleted)"). */
#define BOARD_MEMFD_NAME "brood-board"

/* Makes a board of SLOT_COUNT slots. The memfd is close-on-exec and sealed against growing and shrinking; pages are
 * allocated as slots come into use. Returns 0 or a negative errno. */
ATTR_NODISCARD int board_create(struct board *board, uint32_t slot_count);

/* Takes over the board in FD, of a master that is gone, to write to it as it did. -EPROTO: it is not one of SLOT_COUNT
 * slots and of this layout. FD becomes the board's. */
ATTR_NODISCARD int board_adopt(struct board *board, int fd, uint32_t slot_count);

/* Below this are all slots that have a worker, or had one. Any worker may have written there whatever it likes: it is
 * never more than there are. */
uint32_t board_slots_used(const struct board *board);

/* Maps the board in FD read-only (FD stays the caller's). -EPROTO: not a board, not of this layout, or not sealed
 * against shrinking, which would cost a reader its life (SIGBUS). */
ATTR_NODISCARD int board_open(struct board *board, int fd);

void board_done(struct board *board);

/* ---- the master ---- */

/* A worker is about to be started in SLOT: clears what the last one left and says BOARD_STARTING. */
void board_slot_claim(struct board *board, uint32_t slot, const char *pool, uint32_t pool_slot, uint32_t generation);

/* The worker is there. It may have written to its lines already: only the master's line is touched. */
void board_slot_born(struct board *board, uint32_t slot, uint32_t pid, uint64_t now_us);

/* Frees the slot, once its worker has been reaped or could not be made. Counters, times and peer stay until the slot is
 * claimed again. */
void board_slot_release(struct board *board, uint32_t slot);

/* The sums of the pool of that name, which get a place at first; where there is none any more, those of all others. */
struct board_pool *board_pool(struct board *board, const char *name);
/* The worker of SLOT is gone: called once for each, before the slot is claimed again. */
void board_pool_add(struct board_pool *pool, const struct board_slot *slot);

/* The worker of SLOT is gone, or goes: it is none of the pool's spare ones. Before board_slot_release(). */
void board_spare_forget(struct board_pool *pool, struct board_slot *slot);
/* COUNTED slots say that they are spare. Where the pool's count is WRONG, and still is, it becomes that. */
void board_spare_repair(struct board_pool *pool, int32_t wrong, int32_t counted);

/* A program in SLOT has said something of itself: sd_notify(3). STATUS: NULL leaves it. */
void board_slot_notified(struct board_slot *slot, const char *status, uint64_t now_us);

/*
 * ---- the worker, on its own slot ----
 *
 * All are plain stores, inline since they lie on the way of every connection. The order of a connection's life:
 *
 *	accepted()	BOARD_WAITING	for the first request
 *	request_begin()	BOARD_BUSY
 *	request_extend()		its deadline is a later one
 *	request_end()	BOARD_WAITING	for the next one; the duration goes to the histogram
 *	served()			a request that was cut off has no deadline any more
 *	closed()	BOARD_IDLE
 *
 * Bytes are what was moved since the last call that took bytes.
 */

static inline void board_worker_add(_Atomic uint64_t *word, uint64_t amount)
{
	atomic_store_explicit(word, atomic_load_explicit(word, memory_order_relaxed) + amount, memory_order_relaxed);
}

static inline void board_worker_state(struct board_slot *slot, enum board_state state, uint64_t now_us)
{
	atomic_store_explicit(&slot->state, (uint32_t)state, memory_order_relaxed);
	atomic_store_explicit(&slot->changed_us, now_us, memory_order_relaxed);
}

/* PEER is what accept4(2) gave; what is beyond BOARD_PEER_MAX is cut. */
static inline void board_worker_accepted(
	struct board_slot *slot, uint32_t listener, const struct sockaddr *peer, socklen_t peer_size, uint64_t now_us)
{
	uint32_t size = peer_size < BOARD_PEER_MAX ? peer_size : BOARD_PEER_MAX;

	memcpy(slot->peer, peer, size);
	atomic_store_explicit(&slot->peer_size, size, memory_order_relaxed);
	atomic_store_explicit(&slot->listener, listener, memory_order_relaxed);
	board_worker_add(&slot->connections, 1);
	board_worker_state(slot, BOARD_WAITING, now_us);
}

static inline void board_worker_request_begin(struct board_slot *slot, uint64_t now_us, uint64_t deadline_us)
{
	atomic_store_explicit(&slot->deadline_us, deadline_us, memory_order_relaxed);
	board_worker_state(slot, BOARD_BUSY, now_us);
}

/* The request may last until then. */
static inline void board_worker_request_extend(struct board_slot *slot, uint64_t deadline_us)
{
	atomic_store_explicit(&slot->deadline_us, deadline_us, memory_order_relaxed);
}

/* The request's duration counts from the last change of state, which was its begin. */
static inline void board_worker_request_end(
	struct board_slot *slot, uint64_t now_us, uint64_t bytes_in, uint64_t bytes_out)
{
	histogram_add(&slot->latency, now_us - atomic_load_explicit(&slot->changed_us, memory_order_relaxed));
	board_worker_add(&slot->requests, 1);
	board_worker_add(&slot->bytes_in, bytes_in);
	board_worker_add(&slot->bytes_out, bytes_out);
	atomic_store_explicit(&slot->deadline_us, 0, memory_order_relaxed);
	board_worker_state(slot, BOARD_WAITING, now_us);
}

/* The handler is done; closing in order may take seconds, which belong to no request and are nobody's to kill for. */
static inline void board_worker_served(struct board_slot *slot)
{
	atomic_store_explicit(&slot->deadline_us, 0, memory_order_relaxed);
}

static inline void board_worker_closed(
	struct board_slot *slot, uint64_t now_us, uint64_t bytes_in, uint64_t bytes_out, bool failed)
{
	board_worker_add(&slot->bytes_in, bytes_in);
	board_worker_add(&slot->bytes_out, bytes_out);
	if (UNLIKELY(failed))
		board_worker_add(&slot->failed, 1);
	board_worker_state(slot, BOARD_IDLE, now_us);
}

/*
 * ---- the pool's spare workers ----
 *
 * A worker counts itself while it waits in accept(): one locked instruction each time. Programs that accept for
 * themselves do not, nor do those that become programs. A worker that is killed in between may leave the count wrong by
 * one until the master looks.
 */

static inline void board_spare_enter(struct board_pool *pool, struct board_slot *slot)
{
	atomic_store_explicit(&slot->counted, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&pool->spare, 1, memory_order_relaxed);
}

/* Returns whether the master is to be woken, since too few are left. After the state says that it has a connection; by
 * the time that the master looks, it may be over. */
static inline bool board_spare_leave(struct board_pool *pool, struct board_slot *slot)
{
	int32_t left;

	atomic_store_explicit(&slot->counted, 0, memory_order_relaxed);
	/* With release: whoever is woken sees the state, too. */
	left = atomic_fetch_sub_explicit(&pool->spare, 1, memory_order_acq_rel) - 1;
	if (LIKELY(left >= atomic_load_explicit(&pool->poke_below, memory_order_relaxed)))
		return false;
	/* One wakes it for all, until it has looked. */
	return atomic_exchange_explicit(&pool->poked, left > 0 ? (uint32_t)left + 1 : 1, memory_order_acq_rel) == 0;
}

/* A connection of an inetd pool has come to nothing: ERROR is the negative errno. */
static inline void board_worker_failed(struct board_slot *slot, int error, uint64_t now_us)
{
	atomic_store_explicit(&slot->error, (uint32_t)-error, memory_order_relaxed);
	board_worker_state(slot, BOARD_FAILED, now_us);
}

/* ---- readers ---- */

/* "idle", ...; "unknown" for what is no state. */
const char *board_state_name(enum board_state state);
/* It has a connection. */
bool board_state_is_serving(enum board_state state);
/* BOARD_STATES where the slot holds no known state. */
enum board_state board_slot_state(const struct board_slot *slot);
/* The pool's name, terminated whatever the slot holds. Returns BUFFER. */
char *board_slot_pool(const struct board_slot *slot, char buffer[BOARD_POOL_NAME_MAX]);
/* What its program has said of itself last, terminated whatever the slot holds. Returns BUFFER. */
char *board_slot_status(const struct board_slot *slot, char buffer[BOARD_STATUS_MAX]);
/* The peer of the connection under way or the last one; its size, 0 if there was none. */
socklen_t board_slot_peer(const struct board_slot *slot, struct sockaddr_storage *ret_peer);

#endif
