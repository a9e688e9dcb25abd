/* SPDX-License-Identifier: MIT */
#include "ctl/units.h"

#include <stdio.h>

static char *scale(uint64_t amount, uint64_t step, char buffer[UNITS_MAX])
{
	static const char letters[] = " KMGTPE";
	uint64_t unit = 1;
	size_t letter = 0;

	if (amount < step) {
		snprintf(buffer, UNITS_MAX, "%llu", (unsigned long long)amount);
		return buffer;
	}
	while (amount / unit >= step) {
		unit *= step;
		letter++;
	}
	/* Rounded down: 999,999 is no million yet. */
	if (amount / unit < 10)
		snprintf(buffer, UNITS_MAX, "%llu.%llu%c", (unsigned long long)(amount / unit),
			(unsigned long long)(amount % unit / (unit / 10 + (unit % 10 != 0))), letters[letter]);
	else
		snprintf(buffer, UNITS_MAX, "%llu%c", (unsigned long long)(amount / unit), letters[letter]);
	return buffer;
}

char *units_count(uint64_t count, char buffer[UNITS_MAX])
{
	return scale(count, 1000, buffer);
}

char *units_bytes(uint64_t bytes, char buffer[UNITS_MAX])
{
	return scale(bytes, 1024, buffer);
}

char *units_duration(uint64_t duration_ms, char buffer[UNITS_MAX])
{
	unsigned long long seconds = duration_ms / 1000, minutes = seconds / 60, hours = minutes / 60;

	if (seconds == 0)
		snprintf(buffer, UNITS_MAX, "%llums", (unsigned long long)duration_ms);
	else if (minutes == 0)
		snprintf(buffer, UNITS_MAX, "%llus", seconds);
	else if (hours == 0)
		snprintf(buffer, UNITS_MAX, "%llum%02llus", minutes, seconds % 60);
	else if (hours < 24)
		snprintf(buffer, UNITS_MAX, "%lluh%02llum", hours, minutes % 60);
	else
		snprintf(buffer, UNITS_MAX, "%llud%02lluh", hours / 24, hours % 24);
	return buffer;
}
