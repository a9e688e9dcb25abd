/* SPDX-License-Identifier: MIT */
#ifndef MASTER_OUTPUT_H
#define MASTER_OUTPUT_H
/*
 * What programs write to standard output and error, on its way to the log: a pipe for each stream of each worker that
 * becomes a program, made at its start. Its lines become events "output" (standard output: info; standard error:
 * notice) with the fields pool, slot, pid, peer (of an inetd program), stream and text; a flood of them is bounded by
 * master/lines.h, and what was thrown away is told as "output dropped" with the number of lines.
 *
 * A program is not stopped by what it writes: all is read, at OUTPUT_READ_MAX bytes a turn of the loop. One in flood is
 * read at that rate each OUTPUT_PAUSE_MS, so that it costs the master little and waits at most that long.
 *
 * The pipe of an inetd program is not waited for before it has run for OUTPUT_WATCH_MS: most have ended by then, and
 * what they wrote is read at their death.
 *
 * At the death of a worker all that its pipes hold is read. A pipe that another process still holds open, left behind
 * by the program, is read on to its end: to close it would kill that process at its next line (SIGPIPE). There may be
 * OUTPUT_LEFT_MAX such pipes; beyond that the one that has been silent longest is closed, which is logged.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/attrs.h"
#include "master/lines.h"
#include "master/watch.h"
#include "worker/host.h"

#define OUTPUT_READ_MAX 65536
#define OUTPUT_PAUSE_MS 20
#define OUTPUT_LEFT_MAX 64
#define OUTPUT_WATCH_MS 10

struct master;
struct pool;

enum output_stream {
	OUTPUT_STDOUT,
	OUTPUT_STDERR,
	OUTPUT_STREAMS,
};

/* One stream of a worker. */
struct output {
	bool open;
	bool watched;
	bool paused; /* not asked for, until the pause is over */
	int fd;      /* the reading end, meaningful while open */
	struct lines_flow flow;
};

/* Of a pool: OUTPUT_STREAMS for each slot. NULL where its workers become no programs. */
struct output_pool {
	struct output *streams;
	struct lines_part *parts;
	uint32_t capacity;
};

/* A pipe that has outlived its worker. */
struct output_left;

struct output_master {
	char *buffer; /* OUTPUT_READ_MAX */
	struct output_left *left;
	uint64_t watch_ms;  /* when to watch the pipes of programs that run; DEADLINE_NONE: there are no new ones */
	uint64_t resume_ms; /* when pauses are over; DEADLINE_NONE: there are none */
	uint64_t tell_ms;   /* when to tell of dropped lines; DEADLINE_NONE: there are none */
};

/* Tables. Functions that may fail return 0 or a negative errno. */
ATTR_NODISCARD int output_init(struct master *master);
void output_done(struct master *master);
ATTR_NODISCARD int output_pool_init(struct pool *pool, uint32_t capacity);
void output_pool_done(struct master *master, struct pool *pool);

/* Makes the pipes of the worker that is about to be started in SLOT, as its pool wants them; -1 where it wants none.
 * SERIAL is the worker's (master/watch.h). On failure there are none. */
ATTR_NODISCARD int output_open(
	struct master *master, struct pool *pool, uint32_t slot, uint32_t serial, struct host_output *ret_output);

/* The worker has its ends of them, or could not be made: closes the master's copies. */
void output_handed_over(struct host_output *output);

/* The worker could not be made. */
void output_abandon(struct master *master, struct pool *pool, uint32_t slot);

/* The worker in SLOT of an inetd pool has become a program. */
void output_taken(struct master *master, struct pool *pool, uint32_t slot, uint64_t now_ms);

/* A pipe has something to say: WATCH_STDOUT, WATCH_STDERR (of a worker whose serial is right) or WATCH_LEFT. */
void output_event(struct master *master, const struct watch *watch, uint64_t now_ms);

/* The worker in SLOT has died; it still has its pid, and its place on the board. */
void output_worker_died(struct master *master, struct pool *pool, uint32_t slot, uint64_t now_ms);

/* ---- upgrade ---- */

struct state_output;
struct state_writer;

/* Writes a record for each pipe. */
void output_hand_over(const struct master *master, struct state_writer *writer);

/* Goes on with a pipe that another image has read: of the worker that POOL has in that slot, or of nobody's. */
void output_adopt(struct master *master, struct pool *pool, const struct state_output *state, uint64_t now_ms);

/* Ends pauses, watches new pipes, and tells of what was dropped. Returns when to call again at the latest. */
uint64_t output_act(struct master *master, uint64_t now_ms);

#endif
