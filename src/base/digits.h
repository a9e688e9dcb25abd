/* SPDX-License-Identifier: MIT */
#ifndef BASE_DIGITS_H
#define BASE_DIGITS_H
/*
 * Numbers as text, without stdio: for a worker that lives for one connection, and would map some pages of the C library
 * for it each time; and for signal handlers.
 */
#include <stdint.h>

/* The most digits, in base 10 and above. */
#define DIGITS_MAX 20

/* Writes NUMBER in BASE, 10 to 16, at OUT, without a NUL. Returns the end. */
char *digits_put(char *out, uint64_t number, unsigned int base);

#endif
