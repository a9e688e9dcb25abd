/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/memory.h"

Test(memory, is_zeroed_and_writable)
{
	unsigned char *memory = memory_unforked(3, 5000);

	cr_assert_not_null(memory);
	for (size_t i = 0; i < 15000; i++) {
		cr_assert_eq(memory[i], 0);
		memory[i] = 1;
	}
	memory_unforked_free(memory, 3, 5000);
	memory_unforked_free(NULL, 3, 5000);
}

Test(memory, a_size_that_does_not_fit_is_refused)
{
	cr_assert_null(memory_unforked(SIZE_MAX, 2));
}

Test(memory, a_child_does_not_have_it)
{
	char *memory = memory_unforked(1, 1);
	unsigned char resident;
	int status;
	pid_t pid = fork();

	/* mincore(2) answers ENOMEM for what is not mapped. */
	if (pid == 0)
		_exit(mincore(memory, 1, &resident) < 0 && errno == ENOMEM ? 0 : 1);
	cr_assert_eq(mincore(memory, 1, &resident), 0);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	memory_unforked_free(memory, 1, 1);
}
