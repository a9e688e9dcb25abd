/* SPDX-License-Identifier: MIT */
#include "master/lines.h"

#include <string.h>

#define MS_A_LINE (1000 / LINES_A_SECOND)

/* Gives back what the time since the last look is worth. */
static void flow_refill(struct lines_flow *flow, uint64_t now_ms)
{
	uint64_t lines = (now_ms - flow->refilled_ms) / MS_A_LINE;

	if (lines >= flow->said) {
		flow->said = 0;
		flow->refilled_ms = now_ms;
		return;
	}
	flow->said -= (uint32_t)lines;
	flow->refilled_ms += lines * MS_A_LINE;
}

/* Whether one line more may be said; counts it either way. */
static bool flow_allows(struct lines_flow *flow, uint64_t now_ms)
{
	flow_refill(flow, now_ms);
	if (flow->said >= LINES_BURST) {
		flow->dropped++;
		return false;
	}
	flow->said++;
	return true;
}

bool lines_flood(const struct lines_flow *flow, uint64_t now_ms)
{
	struct lines_flow now = *flow;

	flow_refill(&now, now_ms);
	return now.said >= LINES_BURST;
}

/* What is in PART is a line. */
static void say(const struct lines *lines, uint64_t now_ms)
{
	struct lines_part *part = lines->part;

	if (flow_allows(lines->flow, now_ms)) {
		part->text[part->used] = '\0';
		lines->sink(lines->context, part->text, part->used);
	}
	part->used = 0;
}

/* Adds bytes without a newline. */
static void add(const struct lines *lines, const char *data, size_t size, uint64_t now_ms)
{
	struct lines_part *part = lines->part;

	while (size > 0) {
		size_t room = LINES_TEXT_MAX - part->used;
		size_t piece = size < room ? size : room;

		/* A full one waits for the next byte, which may be its newline. */
		if (room == 0) {
			say(lines, now_ms);
			continue;
		}
		memcpy(part->text + part->used, data, piece);
		part->used += (uint32_t)piece;
		data += piece;
		size -= piece;
	}
}

static uint64_t count_newlines(const char *data, size_t size)
{
	uint64_t count = 0;

	for (size_t i = 0; i < size; i++)
		count += data[i] == '\n';
	return count;
}

void lines_take(const struct lines *lines, const char *data, size_t size, uint64_t now_ms)
{
	const char *newline;

	while ((newline = memchr(data, '\n', size)) != NULL) {
		size_t length = (size_t)(newline - data);

		if (lines_flood(lines->flow, now_ms)) {
			/* All that ends in these bytes goes, without looking at each line. */
			length = (size_t)((const char *)memrchr(data, '\n', size) - data);
			lines->flow->dropped += count_newlines(data, length + 1);
			lines->part->used = 0;
		} else {
			add(lines, data, length, now_ms);
			say(lines, now_ms);
		}
		data += length + 1;
		size -= length + 1;
	}
	add(lines, data, size, now_ms);
}

void lines_end(const struct lines *lines, uint64_t now_ms)
{
	if (lines->part->used > 0)
		say(lines, now_ms);
}
