/* SPDX-License-Identifier: MIT */
#ifndef MASTER_LINES_H
#define MASTER_LINES_H
/*
 * Lines out of a stream of bytes, so many of them a second. Pure: no system call, no clock of its own.
 *
 * What has no newline yet waits for the rest of its line; a line longer than LINES_TEXT_MAX is cut into pieces of that
 * size, each a line by itself. A stream may say LINES_BURST lines at once, then LINES_A_SECOND; what is beyond is
 * thrown away and counted.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINES_TEXT_MAX 2048
#define LINES_BURST    100
#define LINES_A_SECOND 50

/* What has come of a line that has not ended. */
struct lines_part {
	uint32_t used;
	char text[LINES_TEXT_MAX + 1];
};

/* How much a stream may say. All zero is one that has said nothing yet. */
struct lines_flow {
	uint32_t said;        /* lines of the burst that are used up */
	uint64_t refilled_ms; /* when some of them last came back */
	uint64_t dropped;     /* lines thrown away; whoever tells of them sets it back */
};

/* LINE has SIZE bytes, of any kind, and a NUL behind them. */
typedef void lines_sink(void *context, const char *line, size_t size);

struct lines {
	struct lines_part *part;
	struct lines_flow *flow;
	lines_sink *sink;
	void *context;
};

/* Takes SIZE bytes more. */
void lines_take(const struct lines *lines, const char *data, size_t size, uint64_t now_ms);

/* The stream has ended: what is left of its last line is a line. */
void lines_end(const struct lines *lines, uint64_t now_ms);

/* Whether lines are thrown away now. */
bool lines_flood(const struct lines_flow *flow, uint64_t now_ms);

#endif
