/* SPDX-License-Identifier: MIT */
/*
 * answer: a program of the least size that a connection is given to: it reads the request, writes 128 bytes, exits.
 */
#include <unistd.h>

#define MESSAGE_SIZE 128

int main(void)
{
	char buffer[512];

	return read(STDIN_FILENO, buffer, sizeof(buffer)) == MESSAGE_SIZE &&
			       write(STDOUT_FILENO, buffer, MESSAGE_SIZE) == MESSAGE_SIZE
		       ? 0
		       : 1;
}
