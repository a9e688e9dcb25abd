/* SPDX-License-Identifier: MIT */
/*
 * A module that takes its time as its client says: "sleep 1500" sleeps so many milliseconds, whatever signals come;
 * "extend 3000" asks for so many more, "limit 200" bounds its own calls, and "quiet 1" is answered by nothing. A line
 * may say several of these, one after the other, and is answered once they are done.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <brood/module.h>

static void take_a_nap(long for_ms)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += for_ms / 1000;
	until.tv_nsec += for_ms % 1000 * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
		;
}

/* Returns whether the line is to be answered. */
static bool obey(struct brood_stream *stream, char *line)
{
	char *rest = line;
	bool answered = true;

	for (char *word = strtok_r(line, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
		const char *number = strtok_r(NULL, " ", &rest);
		long ms = number != NULL ? strtol(number, NULL, 10) : 0;

		if (strcmp(word, "sleep") == 0)
			take_a_nap(ms);
		else if (strcmp(word, "extend") == 0)
			brood_extend(stream, (uint32_t)ms);
		else if (strcmp(word, "limit") == 0)
			brood_set_deadline(stream, (uint32_t)ms);
		else if (strcmp(word, "quiet") == 0)
			answered = ms == 0;
	}
	return answered;
}

static int serve(void *state, struct brood_stream *stream)
{
	char copy[256];
	const char *line;
	int ret;

	(void)state;
	while ((ret = brood_await(stream)) > 0) {
		ssize_t size;

		brood_request_begin(stream);
		size = brood_read_until(stream, "\n", 1, sizeof(copy), &line);
		if (size <= 0)
			return (int)size;
		memcpy(copy, line, (size_t)size);
		copy[size - 1] = '\0';
		ret = obey(stream, copy) ? brood_write_all(stream, "done\n", 5) : 0;
		if (ret < 0)
			return ret;
		brood_request_end(stream);
	}
	return ret;
}

const struct brood_module brood_module = {
	.abi = BROOD_MODULE_ABI,
	.size = sizeof(struct brood_module),
	.name = "patience",
	.serve = serve,
};
