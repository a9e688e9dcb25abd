/* SPDX-License-Identifier: MIT */
#include "policy/deadline.h"

#include <limits.h>

uint64_t deadline_after(uint64_t now_ms, uint64_t after_ms)
{
	return after_ms > DEADLINE_NONE - now_ms ? DEADLINE_NONE : now_ms + after_ms;
}

uint64_t deadline_earlier(uint64_t a_ms, uint64_t b_ms)
{
	return a_ms < b_ms ? a_ms : b_ms;
}

bool deadline_passed(uint64_t deadline_ms, uint64_t now_ms)
{
	return deadline_ms != DEADLINE_NONE && deadline_ms <= now_ms;
}

int deadline_timeout(uint64_t deadline_ms, uint64_t now_ms)
{
	if (deadline_ms == DEADLINE_NONE)
		return -1;
	if (deadline_ms <= now_ms)
		return 0;
	return deadline_ms - now_ms > INT_MAX ? INT_MAX : (int)(deadline_ms - now_ms);
}

/* Rounded up, so that a master that wakes at the millisecond finds the microsecond passed. */
static uint64_t request_kill_ms(uint64_t request_deadline_us)
{
	return request_deadline_us / 1000 + 1 + DEADLINE_REQUEST_GRACE_MS;
}

bool deadline_request_overrun(uint64_t request_deadline_us, uint64_t now_ms)
{
	return request_deadline_us != 0 && now_ms >= request_kill_ms(request_deadline_us);
}

uint64_t deadline_next_scan(uint64_t nearest_us, uint64_t request_timeout_ms, uint64_t now_ms)
{
	uint64_t scan_ms = DEADLINE_NONE;

	if (request_timeout_ms != 0)
		scan_ms = deadline_after(now_ms, deadline_after(request_timeout_ms, DEADLINE_REQUEST_GRACE_MS));
	if (nearest_us != 0)
		scan_ms = deadline_earlier(scan_ms, request_kill_ms(nearest_us));
	return scan_ms;
}
