/* SPDX-License-Identifier: MIT */
#include "base/append.h"

#include <string.h>

#include "base/digits.h"

void append_text(char *buffer, size_t size, const char *text)
{
	size_t used = strnlen(buffer, size - 1);
	size_t length = strnlen(text, size - 1 - used);

	memcpy(buffer + used, text, length);
	buffer[used + length] = '\0';
}

void append_number(char *buffer, size_t size, uint64_t number, unsigned int base)
{
	char digits[DIGITS_MAX + 1];

	*digits_put(digits, number, base) = '\0';
	append_text(buffer, size, base == 16 ? "0x" : "");
	append_text(buffer, size, digits);
}
