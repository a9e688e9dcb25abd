/* SPDX-License-Identifier: MIT */
#ifndef BOARD_LAYOUT_H
#define BOARD_LAYOUT_H
/*
 * The scoreboard's memory: a header, what each pool's workers have done that are gone, then slots of one fixed size. It
 * lives in a memfd, is mapped by the master and all workers, and is read by anyone who is given the descriptor.
 *
 * Rules: no pointers, no locks. Each 64-byte line has one writer: the master (lines named "master") or the one worker
 * that lives in the slot (for a program that accepts for itself, which knows nothing of the board, the master writes);
 * while none does, the master may clear them. One line of a pool has all its workers for writers: its `spare`, which
 * they change by read-modify-write, and which the master recounts. All words are read and written with relaxed C11
 * atomics; a reader may see a state that is some nanoseconds old, and two words that do not belong together. What a
 * worker writes is hearsay: the master decides by its own table.
 *
 * Times are CLOCK_MONOTONIC microseconds; 0 is "never".
 *
 * A change of this layout raises BOARD_LAYOUT_VERSION; a reader refuses a version or a size it does not know. A master
 * that finds the board of one before it (board/relic.h) reads other versions too: from 3 on, the header, and the first
 * two lines of a pool and of a slot stay as they are.
 */
#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "board/histogram.h"

#define BOARD_MAGIC          UINT64_C(0x6472616f62646f62) /* "bodboard" */
#define BOARD_LAYOUT_VERSION 4
#define BOARD_LINE           64
#define BOARD_POOL_NAME_MAX  40
#define BOARD_PEER_MAX       48
#define BOARD_STATUS_MAX     104
#define BOARD_POOLS          1024 /* the names of pools that there is room for; what is beyond shares the last */
#define BOARD_DEATHS         6

/* Written by the master. */
struct board_header {
	_Alignas(BOARD_LINE) uint64_t magic;
	uint32_t layout_version;
	uint32_t header_size;
	uint32_t slot_size;
	uint32_t slot_count;
	uint64_t size; /* of the whole board, in bytes */
	_Atomic uint64_t started_us;
	_Atomic uint32_t master_pid;
	_Atomic uint32_t generation;
	_Atomic uint32_t slots_used; /* those that have a worker, or had one, are all below this */
	uint32_t pool_size;
	uint32_t pool_count;
	uint32_t reserved;
};
static_assert(sizeof(struct board_header) == BOARD_LINE, "the header is one line");

/*
 * Written by the master: the sums of what the workers of a pool have done that are gone. With the slots that have a
 * worker they only ever rise, also over reloads, upgrades and the death of the master.
 */
struct board_pool {
	_Alignas(BOARD_LINE) char name[BOARD_POOL_NAME_MAX]; /* terminated; "": no pool */
	_Atomic uint64_t connections;
	_Atomic uint64_t requests;
	_Atomic uint64_t failed;
	_Alignas(BOARD_LINE) _Atomic uint64_t bytes_in;
	_Atomic uint64_t bytes_out;
	_Atomic uint64_t deaths[BOARD_DEATHS]; /* by their kind, as the master counts them */

	/* Line 2: the workers that live. */
	_Alignas(BOARD_LINE) _Atomic int32_t spare; /* those that wait in accept(), by their own count: all write it */
	_Atomic int32_t poke_below; /* the master's: whoever leaves fewer by accepting wakes the master */
	_Atomic uint32_t poked;     /* and has left so many, and one; 0: nobody has since the master looked */
	uint32_t reserved_workers;
	_Atomic uint64_t full_episodes; /* the master's: how often clients waited, and the pool could not grow */

	_Alignas(BOARD_LINE) struct histogram latency;
};
static_assert(offsetof(struct board_pool, spare) == 2 * BOARD_LINE, "the line that all workers write");
static_assert(offsetof(struct board_pool, latency) == 3 * BOARD_LINE, "the histogram's lines");
static_assert(sizeof(struct board_pool) % BOARD_LINE == 0, "pools do not share lines");

/* What a worker says it is doing; of a program that accepts for itself, what the master knows of it. */
enum board_state {
	BOARD_EMPTY,    /* no worker */
	BOARD_STARTING, /* the process exists, the handler's start() has not returned; a program: not ready yet */
	BOARD_IDLE,     /* waits in accept(); a program: ready */
	BOARD_BUSY,     /* has a connection, and is inside a request */
	BOARD_WAITING,  /* has a connection, and waits for the next request on it */
	BOARD_RUNNING,  /* has become, or becomes, the program that serves its one connection */
	BOARD_FAILED,   /* has a connection, and could not become its program */
	BOARD_LEAVING,  /* has been asked to retire, and closes down */
	BOARD_STATES,
};

struct board_slot {
	/* Line 0, the master's: who lives here. */
	_Alignas(BOARD_LINE) _Atomic uint32_t pid; /* 0: free */
	_Atomic uint32_t generation;
	_Atomic uint64_t born_us;
	_Atomic uint32_t pool_slot; /* the worker's number in its pool */
	uint32_t reserved_master;
	char pool[BOARD_POOL_NAME_MAX]; /* terminated */

	/* Line 1, the worker's: what it is doing. */
	_Alignas(BOARD_LINE) _Atomic uint32_t state; /* enum board_state */
	_Atomic uint32_t listener;                   /* index in the pool's list of the connection's listener */
	_Atomic uint64_t changed_us;                 /* last change of `state` */
	_Atomic uint64_t deadline_us;                /* when the request under way must have ended; 0: none */
	_Atomic uint64_t connections;                /* accepted by this process, the one under way included */
	_Atomic uint64_t requests;                   /* ended; <= what the clients have sent */
	_Atomic uint64_t bytes_in;                   /* of ended requests and connections */
	_Atomic uint64_t bytes_out;
	_Atomic uint64_t failed; /* connections that ended with an error */

	/* Line 2, the worker's: whom it serves, or served last. */
	_Alignas(BOARD_LINE) _Atomic uint32_t peer_size;
	_Atomic uint32_t error;   /* of BOARD_FAILED: the errno */
	_Atomic uint32_t counted; /* 1: it is one of the pool's spare */
	uint32_t reserved_peer;
	unsigned char peer[BOARD_PEER_MAX]; /* the beginning of the peer's sockaddr */

	/* Lines 3 and 4, the master's: what a program has said of itself by sd_notify(3). */
	_Alignas(BOARD_LINE) _Atomic uint64_t notified_us; /* its last message */
	_Atomic uint64_t watchdog_us;                      /* its last WATCHDOG=1 */
	_Atomic uint64_t extended_us;                      /* until when it has asked for time */
	char status[BOARD_STATUS_MAX];                     /* STATUS=, terminated; what is longer is cut */

	/* The following lines, the worker's: durations of its requests. */
	_Alignas(BOARD_LINE) struct histogram latency;
};
static_assert(offsetof(struct board_slot, state) == BOARD_LINE, "the worker's first line");
static_assert(offsetof(struct board_slot, peer_size) == 2 * BOARD_LINE, "the peer's line");
static_assert(offsetof(struct board_slot, notified_us) == 3 * BOARD_LINE, "the program's lines");
static_assert(offsetof(struct board_slot, latency) == 5 * BOARD_LINE, "the histogram's lines");
static_assert(sizeof(struct board_slot) % BOARD_LINE == 0, "slots do not share lines");

#endif
