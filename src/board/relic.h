/* SPDX-License-Identifier: MIT */
#ifndef BOARD_RELIC_H
#define BOARD_RELIC_H
/*
 * The board of a master that is gone, as the next one finds it: of any size, and of any layout from version 3 on, of
 * which some lines are known for ever (layout.h). Workers that have outlived their master still write to it.
 *
 * Whatever it says is hearsay, its sizes too: they are looked at once, and copied. Only the master calls these.
 */
#include <stdbool.h>
#include <stdint.h>

#include "board/board.h"

struct board_relic {
	void *memory;
	size_t size;
	uint32_t header_size;
	uint32_t pool_size;
	uint32_t pool_count;
	uint32_t slot_size;
	uint32_t slot_count;
	bool same_layout;    /* as this master's: histograms are known too */
	uint64_t started_us; /* of its last master */
};

/* Maps the board in FD, which stays the caller's; no child gets the mapping. -EPROTO: it is none that can be read. */
ATTR_NODISCARD int board_relic_open(struct board_relic *relic, int fd);
void board_relic_close(struct board_relic *relic);

/* Its slot PLACE, which is below slot_count. Of another layout only the first two lines are known. */
struct board_slot *board_relic_slot(const struct board_relic *relic, uint32_t place);

/* Whether a worker has the slot, or may have: one that was being made when the master died. */
bool board_slot_is_taken(const struct board_slot *slot);

/* The sums of all pools go over to BOARD, and are not on the relic any more. */
void board_relic_move_pools(const struct board_relic *relic, struct board *board);
/* The worker in PLACE is gone: its counters go over to the sums of its pool on BOARD, and the slot is free. */
void board_relic_move_slot(const struct board_relic *relic, uint32_t place, struct board *board);

#endif
