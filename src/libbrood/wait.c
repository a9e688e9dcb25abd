/* SPDX-License-Identifier: MIT */
#include "libbrood/wait.h"

#include <errno.h>
#include <poll.h>
#include <time.h>

uint64_t wait_clock_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t wait_end_us(const struct brood_stream *stream, uint32_t timeout_ms)
{
	uint64_t end_us = timeout_ms == 0 ? WAIT_FOR_EVER : wait_clock_us() + (uint64_t)timeout_ms * 1000;

	if (stream->deadline_us != 0 && stream->deadline_us < end_us)
		return stream->deadline_us;
	return end_us;
}

bool wait_deadline_passed(const struct brood_stream *stream)
{
	return stream->deadline_us != 0 && wait_clock_us() >= stream->deadline_us;
}

/* One ppoll(2): as poll(2), but a wait in nanoseconds, so that a deadline is met to the point. */
static int poll_until(struct pollfd *entry, uint64_t end_us)
{
	struct timespec left;
	uint64_t now_us;

	if (end_us == WAIT_FOR_EVER)
		return ppoll(entry, 1, NULL, NULL);
	now_us = wait_clock_us();
	if (now_us >= end_us)
		return 0;
	left.tv_sec = (time_t)((end_us - now_us) / 1000000);
	left.tv_nsec = (long)((end_us - now_us) % 1000000) * 1000;
	return ppoll(entry, 1, &left, NULL);
}

int wait_for_events(int fd, short events, uint64_t end_us)
{
	struct pollfd entry = { .fd = fd, .events = events };
	int ready;

	do
		ready = poll_until(&entry, end_us);
	while (ready < 0 && errno == EINTR);
	if (ready < 0)
		return -errno;
	return ready == 0 ? -ETIMEDOUT : 0;
}
