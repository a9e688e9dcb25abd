/* SPDX-License-Identifier: MIT */
/* The smallest program for a connection: what it reads at once it writes back, and ends. */
#include <unistd.h>

int main(void)
{
	char buffer[4096];
	ssize_t size = read(0, buffer, sizeof(buffer));

	return size > 0 && write(1, buffer, (size_t)size) == size ? 0 : 1;
}
