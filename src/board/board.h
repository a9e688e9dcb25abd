/* SPDX-License-Identifier: MIT */
#ifndef BOARD_BOARD_H
#define BOARD_BOARD_H
/*
 * The scoreboard as an object: the master makes it, workers write to their slot, readers map it read-only.
 * layout.h says what the words mean and who writes them.
 */
#include <stdbool.h>
#include <sys/socket.h>

#include "base/attrs.h"
#include "board/layout.h"

struct board {
	struct board_header *header;
	struct board_slot *slots;
	int fd;     /* the memfd; -1 in a worker, which keeps the mapping only */
	size_t size; /* of the mapping */
};

/* The memfd's name, as /proc/PID/fd shows it ("/memfd:brood-board (deleted)"). */
#define BOARD_MEMFD_NAME "brood-board"

/* Makes a board of SLOT_COUNT slots. The memfd is close-on-exec and sealed against growing and shrinking; pages are
 * allocated as slots come into use. Returns 0 or a negative errno. */
ATTR_NODISCARD int board_create(struct board *board, uint32_t slot_count);

/* Maps the board in FD read-only (FD stays the caller's). -EPROTO: not a board, or not of this layout. */
ATTR_NODISCARD int board_open(struct board *board, int fd);

void board_done(struct board *board);

/* ---- the master ---- */

void board_slot_claim(struct board *board, uint32_t slot, const char *pool, uint32_t pool_slot, uint32_t generation);
void board_slot_born(struct board *board, uint32_t slot, uint32_t pid, uint64_t now_us);
/* Frees the slot. Counters stay until it is claimed again. */
void board_slot_release(struct board *board, uint32_t slot);

/* ---- the worker, on its own slot; all are plain stores ---- */

void board_worker_state(struct board_slot *slot, enum board_state state, uint64_t now_us);
void board_worker_accepted(struct board_slot *slot, uint32_t listener, const struct sockaddr *peer, socklen_t peer_size,
	uint64_t now_us);
void board_worker_request_begin(struct board_slot *slot, uint64_t now_us, uint64_t deadline_us);
void board_worker_request_end(struct board_slot *slot, uint64_t now_us, uint64_t bytes_in, uint64_t bytes_out);
void board_worker_closed(struct board_slot *slot, uint64_t now_us, uint64_t bytes_in, uint64_t bytes_out, bool failed);

/* ---- readers ---- */

const char *board_state_name(enum board_state state);
enum board_state board_slot_state(const struct board_slot *slot);
/* The peer of the connection under way or the last one; its size, 0 if there was none. */
socklen_t board_slot_peer(const struct board_slot *slot, struct sockaddr_storage *ret_peer);

#endif
