/* SPDX-License-Identifier: MIT */
#include "base/clock.h"

#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* Of the process that notices gaps: zeros in a child. */
struct clock_guard {
	uint64_t looked_ms; /* CLOCK_MONOTONIC; 0: no gaps are noticed */
	uint64_t wait_ms;
};

static struct clock_guard *guard;
static uint64_t skipped_ms;

static uint64_t clock_us(clockid_t id)
{
	struct timespec now;

	clock_gettime(id, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t clock_monotonic_us(void)
{
	return clock_us(CLOCK_MONOTONIC);
}

uint64_t clock_gap_ms(uint64_t passed_ms, uint64_t wait_ms)
{
	if (passed_ms < wait_ms || passed_ms - wait_ms <= CLOCK_GAP_MS)
		return 0;
	return wait_ms > CLOCK_PACE_MS ? passed_ms - (wait_ms - CLOCK_PACE_MS) : passed_ms;
}

static void look_for_gap(uint64_t now_ms)
{
	skipped_ms += clock_gap_ms(now_ms - guard->looked_ms, guard->wait_ms);
	guard->looked_ms = now_ms;
	guard->wait_ms = 0;
}

uint64_t clock_monotonic_ms(void)
{
	uint64_t now_ms = clock_us(CLOCK_MONOTONIC) / 1000;

	if (guard != NULL && guard->looked_ms != 0)
		look_for_gap(now_ms);
	return now_ms - skipped_ms;
}

uint64_t clock_realtime_us(void)
{
	return clock_us(CLOCK_REALTIME);
}

/* ---- the master's ---- */

int clock_guard(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	void *memory = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		return -errno;
	if (madvise(memory, page, MADV_WIPEONFORK) < 0) {
		int result = -errno;

		munmap(memory, page);
		return result;
	}
	guard = memory;
	guard->looked_ms = clock_us(CLOCK_MONOTONIC) / 1000;
	return 0;
}

void clock_unguard(void)
{
	if (guard != NULL)
		munmap(guard, (size_t)sysconf(_SC_PAGESIZE));
	guard = NULL;
}

void clock_announce_wait(uint64_t for_ms)
{
	if (guard != NULL)
		guard->wait_ms = for_ms;
}

uint64_t clock_skipped_ms(void)
{
	return skipped_ms;
}

void clock_skip(uint64_t other_ms)
{
	uint64_t now_ms = clock_us(CLOCK_MONOTONIC) / 1000;

	skipped_ms = other_ms < now_ms ? other_ms : 0;
}
