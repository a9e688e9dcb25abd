/* SPDX-License-Identifier: MIT */
/*
 * A module for brood to begin one's own with: it answers each line that a client sends with a word before it.
 *
 *	$ make && nc 127.0.0.1 7000
 *	> world
 *	< hello, world
 *
 * A worker is a process that serves one connection at a time, so this is plain code that blocks: a slow client holds up
 * its own worker and nobody else, and a crash costs the one connection. See brood_module(3) and libbrood(3).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <brood/message.h>
#include <brood/module.h>

/* The options, which stand in module_options { } of the pool; the values come in the same order. */
enum {
	OPTION_WORD,
	OPTION_LIMIT,
};

static const struct brood_option options[] = {
	[OPTION_WORD] = {
		.name = "word",
		.type = BROOD_OPTION_TEXT,
		.fallback = "hello, ",
		.max = 100,
		.help = "What stands before a line in its answer.",
	},
	[OPTION_LIMIT] = {
		.name = "limit",
		.type = BROOD_OPTION_SIZE,
		.fallback = "4K",
		.min = 1,
		.max = 1024 * 1024,
		.help = "The longest line; a longer one ends the connection.",
	},
	{ .name = NULL },
};

struct state {
	const char *word;
	size_t word_size;
	struct brood_framing line;   /* how the client says where a message ends */
	struct brood_framing answer; /* the same, with room for the word */
	char *buffer;
};

/* Once in each worker, before its first connection. */
static int start(const struct brood_start *start, void **ret_state)
{
	const union brood_value *values = start->values;
	struct state *state = calloc(1, sizeof(*state));

	if (!state)
		return -ENOMEM;
	state->word = values[OPTION_WORD].text;
	state->word_size = strlen(state->word);
	state->line.kind = BROOD_FRAMING_DELIMITER;
	state->line.delimiter = "\n";
	state->line.delimiter_size = 1;
	state->line.limit = (size_t)values[OPTION_LIMIT].number;
	state->answer = state->line;
	state->answer.limit += state->word_size;
	state->buffer = malloc(state->answer.limit);
	if (!state->buffer) {
		free(state);
		return -ENOMEM;
	}
	*ret_state = state;
	return 0;
}

/* For each connection. The worker closes it afterwards. */
static int serve(void *data, struct brood_stream *stream)
{
	struct state *state = data;
	const char *line;
	size_t size;
	int ret;

	while ((ret = brood_await(stream)) > 0) { /* until the client ends, or says nothing for idle_timeout */
		brood_request_begin(stream);
		ret = brood_message_read(stream, &state->line, &line, &size);
		if (ret < 0)
			return ret;
		memcpy(state->buffer, state->word, state->word_size);
		memcpy(state->buffer + state->word_size, line, size);
		ret = brood_message_write(stream, &state->answer, state->buffer, state->word_size + size);
		if (ret < 0)
			return ret;
		brood_request_end(stream);
	}
	return ret;
}

/* Once, when the worker retires. */
static void stop(void *data)
{
	struct state *state = data;

	free(state->buffer);
	free(state);
}

const struct brood_module brood_module = {
	.abi = BROOD_MODULE_ABI,
	.size = sizeof(struct brood_module),
	.name = "template",
	.version = "1.0",
	.client_first = true,
	.options = options,
	.start = start,
	.serve = serve,
	.stop = stop,
};
