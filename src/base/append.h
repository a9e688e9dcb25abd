/* SPDX-License-Identifier: MIT */
#ifndef BASE_APPEND_H
#define BASE_APPEND_H
/*
 * Text put together piece by piece in a buffer of SIZE bytes, which begins with a text, perhaps an empty one; what does
 * not fit is cut. Without stdio and memory: a signal handler may.
 */
#include <stddef.h>
#include <stdint.h>

void append_text(char *buffer, size_t size, const char *text);
/* In base 10, or 16 with "0x" before it. */
void append_number(char *buffer, size_t size, uint64_t number, unsigned int base);

#endif
