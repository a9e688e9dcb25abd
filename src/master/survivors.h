/* SPDX-License-Identifier: MIT */
#ifndef MASTER_SURVIVORS_H
#define MASTER_SURVIVORS_H
/*
 * What a master that was killed has left, besides its listeners (store.h): a scoreboard, and workers that finish their
 * connection.
 *
 * The board is used again where it is of our layout and size, and has room beside the workers that are still there:
 * their places stay theirs. Else there is a new one, and the old one is kept until the last of them is gone. Either way
 * the counters go on.
 *
 * The survivors are none of our children. They are found by the board, which is hearsay: a process is taken for the
 * worker of a slot only if it is as old, leads a group of its own, and is in our control group. From then on a pidfd
 * stands for it. Its death signal has told it to leave; at the pool's stop_timeout it is killed, but a program that
 * accepts for itself is asked by its stop signal before, and gets that time again.
 *
 * Only the master calls these.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attrs.h"
#include "board/relic.h"
#include "net/inherited.h"

struct master;

/* More boards than this are not looked at: each needs a master that was killed while workers of the one before it were
 * still there. */
#define SURVIVOR_BOARDS_MAX 8

/* The board of a master before this one. */
struct survivor_board {
	struct board_relic relic;
	int fd;
	bool current; /* it is this master's board too */
	size_t left;  /* survivors that write to it */
};

struct survivor {
	pid_t pid;            /* 0: a worker was being made, and nobody knows its pid */
	int pidfd;            /* < 0: there is none */
	unsigned int board;   /* index of its board */
	uint32_t place;       /* there */
	uint64_t timeout_ms;  /* its stop_timeout */
	uint64_t deadline_ms; /* for what is done next: to ask it, to kill it, to give it up */
	int stop_signal;      /* of a program, until it was sent; 0: none */
	bool left;            /* it may still write to its place */
	bool killed;
};

struct survivors {
	struct survivor *list; /* an entry stays where it is: its index names it in an event */
	size_t size;           /* of the list */
	size_t count;          /* entries in use, ended ones included */
	size_t left;           /* those that have not ended, <= count */
	struct survivor_board boards[SURVIVOR_BOARDS_MAX];
	size_t board_count;
	uint64_t wake_ms;  /* the nearest deadline */
	uint64_t until_ms; /* the stop's */
};

/* Makes the master's board, or takes over one that INHERITED has. Returns 0 or a negative errno. */
ATTR_NODISCARD int survivors_make_board(struct master *master, struct inherited *inherited);
/* Once there are tables for it: watches those that are still there. */
void survivors_begin(struct master *master, uint64_t now_ms);
void survivors_done(struct master *master);

/* A survivor's pidfd has something to say: it has ended. */
void survivors_event(struct master *master, uint32_t index);
/* A stop, now, gives them until UNTIL_MS at most. */
void survivors_hurry(struct master *master, uint64_t now_ms, uint64_t until_ms);
/* This master ends before its time: they are left to the next one. */
void survivors_leave(struct master *master);
/* Kills those whose time is up. Returns when to call again at the latest. */
uint64_t survivors_check(struct master *master, uint64_t now_ms);

#endif
