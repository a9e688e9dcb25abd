/* SPDX-License-Identifier: MIT */
/*
 * Every parser of bytes that an HTTP client sends: the head in one piece and in pieces, the strict pass, the
 * distribution's parser, the target, the fields that choose the answer, and the chunked coding behind the head. What no
 * input may bring about is checked by abort().
 */
#include <stdlib.h>
#include <string.h>

#include "handlers/http/chunk.h"
#include "handlers/http/conditional.h"
#include "handlers/http/date.h"
#include "handlers/http/head.h"
#include "handlers/http/range.h"
#include "handlers/http/request.h"
#include "handlers/http/target.h"
#include "must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct head_limits limits = { .head = 4096, .target = 1024, .fields = 20 };

#define NOW 1700000000

/* Scans in pieces; a copy of its own for each makes a byte too many visible. */
static int scan_in_pieces(const char *text, size_t size, size_t piece, struct head_scan *scan)
{
	int refused = 0;

	*scan = (struct head_scan){ 0 };
	for (size_t have = 0; have < size && refused == 0 && scan->length == 0;) {
		char *copy;

		have = size - have > piece ? have + piece : size;
		copy = malloc(have);
		memcpy(copy, text, have);
		refused = head_scan(scan, copy, have, &limits);
		free(copy);
	}
	return refused;
}

static void check_target(struct span text)
{
	static struct target target;
	const char *segment;

	if (target_parse(text, false, &target) != 0)
		return;
	MUST(target.path_size < sizeof(target.path) && strlen(target.path) == target.path_size);
	MUST(target.path[0] != '/' && (target.path_size == 0 || target.path[target.path_size - 1] != '/'));
	for (segment = target.path; segment != NULL; segment = strchr(segment, '/')) {
		segment += *segment == '/';
		MUST(target.path_size == 0 || (*segment != '/' && *segment != '\0'));
		MUST(strncmp(segment, "../", 3) != 0 && strcmp(segment, "..") != 0);
		MUST(strncmp(segment, "./", 2) != 0 && strcmp(segment, ".") != 0);
	}
	target_extension(target.path, target.path_size);
}

static void check_request(const struct request *request)
{
	struct validators validators;
	uint64_t first, last;
	time_t date;

	for (size_t i = 0; i < request->target.size; i++)
		MUST(request->target.text[i] > 0x20 && request->target.text[i] < 0x7f);
	check_target(request->target);
	validators_init(&validators, &(struct timespec){ NOW, 5 }, 1000);
	(void)conditional_evaluate(request, &validators, NOW);
	(void)conditional_allows_range(request, &validators, NOW);
	if (range_parse(request->fields[REQUEST_RANGE], 1000, &first, &last) == RANGE_PART)
		MUST(first <= last && last < 1000);
	if (request->fields[REQUEST_IF_MODIFIED_SINCE].text != NULL &&
		date_parse(request->fields[REQUEST_IF_MODIFIED_SINCE], NOW, &date)) {
		char text[DATE_SIZE];
		time_t again;

		date_format(date, text);
		MUST(date_parse((struct span){ text, DATE_SIZE }, NOW, &again) && again == date);
	}
}

/* A chunked body comes to the same end in whatever pieces. */
static void check_chunks(const char *text, size_t size)
{
	static const struct chunk_limits chunk_limits = { .body = 1000, .overhead = 100 };
	struct chunk_parser whole = { 0 }, bytes = { 0 };
	size_t used, at = 0, one;
	int result = chunk_feed(&whole, text, size, &chunk_limits, &used);
	int other = CHUNK_MORE;

	MUST(used <= size && whole.body <= chunk_limits.body);
	while (at < size && other == CHUNK_MORE) {
		other = chunk_feed(&bytes, text + at, 1, &chunk_limits, &one);
		at += one;
	}
	MUST(other == result && at == used);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	struct head_scan whole, pieces;
	struct head head;
	struct request request;
	int refused = scan_in_pieces(text, size, size, &whole);
	char *exact;

	MUST(scan_in_pieces(text, size, size % 7 + 1, &pieces) == refused);
	MUST(pieces.length == whole.length && whole.length <= size && whole.length <= limits.head);
	if (refused != 0 || whole.length == 0)
		return 0;
	exact = malloc(whole.length);
	memcpy(exact, text, whole.length);
	refused = head_check(exact, whole.length, &limits, &head);
	if (refused == 0) {
		MUST(head.minor <= 1 && !(head.chunked && head.has_length));
		MUST(head.hosts == 1 || (head.hosts == 0 && head.minor == 0));
		MUST(head.target.size <= limits.target);
		refused = request_parse(exact, whole.length, &head, &request);
	}
	if (refused == 0)
		check_request(&request);
	MUST(refused == 0 || (refused >= 400 && refused <= 505));
	if (refused == 0 && head.chunked)
		check_chunks(text + whole.length, size - whole.length);
	free(exact);
	return 0;
}
