/* SPDX-License-Identifier: MIT */
#ifndef WORKER_SOURCE_H
#define WORKER_SOURCE_H
/* How many connections of one source a pool serves, by the scoreboard. */
#include <stdint.h>
#include <sys/socket.h>

#include "board/board.h"

/* The programs of OWN's pool that run for PEER's address, whatever its port, OWN's included. */
uint32_t source_count(
	const struct board *board, const struct board_slot *own, const struct sockaddr *peer, socklen_t peer_size);

#endif
