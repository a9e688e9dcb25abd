/* SPDX-License-Identifier: MIT */
#ifndef CTL_UNITS_H
#define CTL_UNITS_H
/* Amounts as people read them: short, and to two or three digits. Each returns BUFFER. */
#include <stdint.h>

#define UNITS_MAX 32

/* "0", "999", "1.0K", "12K", "3.4M": thousands. */
char *units_count(uint64_t count, char buffer[UNITS_MAX]);
/* "0", "999", "1.0K": powers of 1024. */
char *units_bytes(uint64_t bytes, char buffer[UNITS_MAX]);
/* "350ms", "12s", "4m12s", "3h05m", "12d04h". */
char *units_duration(uint64_t duration_ms, char buffer[UNITS_MAX]);

#endif
