/* SPDX-License-Identifier: MIT */
#ifndef BASE_LOGGER_COUNTERS_H
#define BASE_LOGGER_COUNTERS_H
/*
 * The memory behind logger_channel.dropped, shared by the writers and by one logger after the other.
 */
#include <stdint.h>

struct logger_counters {
	uint64_t dropped;  /* by writers; atomic, only ever incremented; first, as its address stands for the whole */
	uint64_t reported; /* of those; the logger's own; always <= dropped */
};

#endif
