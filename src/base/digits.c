/* SPDX-License-Identifier: MIT */
#include "base/digits.h"

#include <stddef.h>

char *digits_put(char *out, uint64_t number, unsigned int base)
{
	char digits[DIGITS_MAX];
	size_t count = 0;

	do
		digits[count++] = "0123456789abcdef"[number % base];
	while ((number /= base) > 0);
	while (count > 0)
		*out++ = digits[--count];
	return out;
}
