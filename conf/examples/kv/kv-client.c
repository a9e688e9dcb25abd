/* SPDX-License-Identifier: MIT */
/*
 * kv-client: asks the key-value store of kv.c, with the same library that serves it.
 *
 *	kv-client ADDRESS get KEY | set KEY VALUE | del KEY
 *
 * ADDRESS is host:port, [v6]:port or unix:/path. Exit status: 0; 1 the store says no; 2 the store cannot be asked; 64
 * usage.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <brood/message.h>
#include <brood/stream.h>

/* Connecting, and then the question with its answer, may each take so long. */
#define PATIENCE_MS 5000

static const struct brood_framing messages = {
	.kind = BROOD_FRAMING_LENGTH, .size = 4, .limit = 16 * 1024 * 1024 + 300
};

/* The request that the arguments ask for, of *ret_size bytes, or NULL. */
static char *request_make(int count, char **words, size_t *ret_size)
{
	const char *verb = strcmp(words[0], "get") == 0   ? "GET"
			   : strcmp(words[0], "set") == 0 ? "SET"
			   : strcmp(words[0], "del") == 0 ? "DEL"
							  : NULL;
	const char *value = count == 3 ? words[2] : "";
	size_t size;
	char *request;

	if (!verb || count != (strcmp(verb, "SET") == 0 ? 3 : 2))
		return NULL;
	size = strlen("SET  ") + strlen(words[1]) + strlen(value) + 1;
	request = malloc(size);
	if (request)
		*ret_size = (size_t)snprintf(request, size, "%s %s%s%s", verb, words[1], count == 3 ? " " : "", value);
	return request;
}

/* Asks, and prints the answer. Returns the exit status, or a negative errno. */
static int ask(struct brood_stream *stream, const char *request, size_t size)
{
	const char *answer;
	int ret;

	brood_set_deadline(stream, PATIENCE_MS);
	ret = brood_message_write(stream, &messages, request, size);
	if (ret < 0)
		return ret;
	ret = brood_message_read(stream, &messages, &answer, &size);
	if (ret < 0)
		return ret;
	if (ret == 0 || size == 0) {
		fprintf(stderr, "kv-client: the store has closed the connection\n");
		return 2;
	}
	if (answer[0] == '-') {
		fprintf(stderr, "kv-client: %.*s\n", (int)(size - 1), answer + 1);
		return 1;
	}
	fwrite(answer + 1, 1, size - 1, stdout);
	if (size > 1)
		putchar('\n');
	return 0;
}

int main(int argc, char **argv)
{
	static const struct brood_timeouts none;
	struct brood_stream *stream;
	size_t size = 0;
	char *request = argc > 2 ? request_make(argc - 2, argv + 2, &size) : NULL;
	int ret;

	if (!request) {
		fprintf(stderr, "usage: kv-client ADDRESS get KEY | set KEY VALUE | del KEY\n");
		return 64;
	}
	ret = brood_connect(argv[1], PATIENCE_MS, &none, &stream);
	if (ret == 0) {
		ret = ask(stream, request, size);
		brood_free(stream);
	}
	free(request);
	if (ret < 0) {
		fprintf(stderr, "kv-client: %s: %s\n", argv[1], strerror(-ret));
		return 2;
	}
	return ret;
}
