/* SPDX-License-Identifier: MIT */
/*
 * A module that is slow in the way that its client says, a word a line: "read", "poll", "futex", ... and behind a space
 * how many milliseconds. Each is three functions of its own deep, whose names the log is to have; the line comes back.
 */
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <brood/module.h>

/* Stays a function of its own, and on the stack: not inlined, no variant of it, and no tail call. */
#if defined(__clang__)
#define OWN __attribute__((noinline))
#else
#define OWN __attribute__((noinline, noclone))
#endif
#define SLOW static OWN void

static volatile int zero;
static volatile long sink;
static void (*volatile by_pointer)(long ms);

/* A read(2) that ends by a time-out of the socket's. */
SLOW slow_read(long ms)
{
	struct timeval timeout = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };
	int ends[2];
	char byte;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0)
		return;
	setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	sink = read(ends[0], &byte, 1);
	close(ends[0]);
	close(ends[1]);
}

SLOW slow_poll(long ms)
{
	sink = poll(NULL, 0, (int)ms);
	sink = 1;
}

SLOW slow_sleep(long ms)
{
	struct timespec time = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

	while (nanosleep(&time, &time) < 0)
		;
	sink = 1;
}

SLOW slow_mutex(long ms)
{
	pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	struct timespec end;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += ms / 1000;
	end.tv_nsec += ms % 1000 * 1000000;
	if (end.tv_nsec >= 1000000000) {
		end.tv_nsec -= 1000000000;
		end.tv_sec++;
	}
	pthread_mutex_lock(&mutex);
	sink = pthread_mutex_timedlock(&mutex, &end);
	pthread_mutex_unlock(&mutex);
}

static long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

SLOW slow_loop(long ms)
{
	for (long end = now_ms() + ms; now_ms() < end;)
		;
	sink = 1;
}

/* What stays behind on the stack, with frames that look as if they were there. */
static OWN long leave_traces(long depth)
{
	volatile unsigned char much[200];

	memset((unsigned char *)(unsigned long)much, (int)depth, sizeof(much));
	return depth > 0 ? leave_traces(depth - 1) + much[zero] : depth;
}

SLOW misleading_inner(long ms)
{
	sink = leave_traces(ms % 7 + 9);
}

SLOW slow_behind_traces(long ms)
{
	volatile unsigned char unused[6000];

	misleading_inner(ms);
	unused[zero] = 1;
	slow_sleep(ms);
	sink = unused[zero];
}

/* Called by a pointer: no call names it. */
SLOW slow_pointer(long ms)
{
	by_pointer = slow_sleep;
	by_pointer(ms);
	sink = 1;
}

/* By direct calls, each of which names its function. */
SLOW middle_function(const char *word, long ms)
{
	if (strcmp(word, "read") == 0)
		slow_read(ms);
	else if (strcmp(word, "poll") == 0)
		slow_poll(ms);
	else if (strcmp(word, "sleep") == 0)
		slow_sleep(ms);
	else if (strcmp(word, "mutex") == 0)
		slow_mutex(ms);
	else if (strcmp(word, "loop") == 0)
		slow_loop(ms);
	else if (strcmp(word, "traces") == 0)
		slow_behind_traces(ms);
	else if (strcmp(word, "pointer") == 0)
		slow_pointer(ms);
	sink = 1;
}

SLOW outer_function(const char *line, size_t size)
{
	char word[32] = "";
	char *space;
	long ms = 0;

	memcpy(word, line, size < sizeof(word) ? size : sizeof(word) - 1);
	space = strchr(word, ' ');
	if (space) {
		*space = '\0';
		ms = strtol(space + 1, NULL, 10);
	}
	middle_function(word, ms);
	sink = 1;
}

static int serve(void *state, struct brood_stream *stream)
{
	const char *line;
	int ret;

	(void)state;
	while ((ret = brood_await(stream)) > 0) {
		ssize_t size;

		brood_request_begin(stream);
		size = brood_read_until(stream, "\n", 1, 4096, &line);
		if (size <= 0)
			return (int)size;
		outer_function(line, (size_t)size);
		ret = brood_write_all(stream, line, (size_t)size);
		if (ret < 0)
			return ret;
		brood_request_end(stream);
	}
	return ret;
}

const struct brood_module brood_module = {
	.abi = BROOD_MODULE_ABI,
	.size = sizeof(struct brood_module),
	.name = "slow",
	.serve = serve,
};
