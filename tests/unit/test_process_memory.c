/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/attrs.h"
#include "base/process_memory.h"

#define MIB (UINT64_C(1) << 20)

static const struct {
	enum memory_measure measure;
	const char *text;
	int result;
	uint64_t kib;
} texts[] = {
	{MEMORY_RSS,  "5000 300 200 10 0 400 0\n",							      0,        1200},
	{ MEMORY_RSS, "0 0 0 0 0 0 0\n",									0,        0   },
	{ MEMORY_RSS, "",										       -EBADMSG, 0   },
	{ MEMORY_RSS, "5000",										   -EBADMSG, 0   },
	{ MEMORY_RSS, "5000 many",									      -EBADMSG, 0   },
	{ MEMORY_PSS,
         "55d0-7ffd ---p 00000000 00:00 0    [rollup]\nRss:    9000 kB\nPss:    4321 kB\nPss_Dirty:   77 kB\n", 0,        4321},
	{ MEMORY_PSS, "x\nRss: 9000 kB\nPss: 0 kB\n",							   0,        0   },
	{ MEMORY_PSS, "x\nRss: 9000 kB\nPss_Dirty: 77 kB\n",                                                    -EBADMSG, 0   },
	{ MEMORY_PSS, "x\nRss: 9000 kB\nPss: some kB\n",                                                        -EBADMSG, 0   },
	{ MEMORY_PSS, "",										       -EBADMSG, 0   },
};

Test(process_memory, is_read_from_what_the_kernel_says)
{
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		uint64_t bytes = 0;

		cr_expect_eq(
			process_memory_parse(texts[i].text, texts[i].measure, &bytes), texts[i].result, "row %zu", i);
		cr_expect_eq(bytes,
			texts[i].kib * (texts[i].measure == MEMORY_RSS ? (uint64_t)getpagesize() / 4 : 1024), "row %zu",
			i);
	}
}

static uint64_t memory_of(pid_t pid, enum memory_measure measure)
{
	uint64_t bytes = 0;
	int result = process_memory_read(pid, measure, &bytes);

	cr_assert_eq(result, 0, "%s: %s", memory_measure_name(measure), strerror(-result));
	return bytes;
}

/* What a child shares with its parent is all of its RSS, and half of it of its PSS. */
Test(process_memory, tells_what_is_shared)
{
	size_t size = 64 * MIB;
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int ends[2];
	pid_t child;
	char byte;

	cr_assert_neq(memory, MAP_FAILED);
	cr_assert_eq(pipe(ends), 0);
	memset(memory, 1, size);
	cr_expect_gt(memory_of(getpid(), MEMORY_RSS), size - MIB);
	cr_expect_gt(memory_of(getpid(), MEMORY_PSS), size - MIB);
	child = fork();
	if (child == 0) {
		close(ends[1]);
		_exit(read(ends[0], &byte, 1) == 0 ? 0 : 1);
	}
	cr_expect_gt(memory_of(child, MEMORY_RSS), size - MIB);
	cr_expect_lt(memory_of(child, MEMORY_PSS), size * 3 / 4);
	close(ends[1]);
	cr_assert_eq(waitpid(child, NULL, 0), child);
}

Test(process_memory, one_that_is_gone_has_none)
{
	siginfo_t info;
	uint64_t bytes = 1;
	pid_t child = fork();

	if (child == 0)
		_exit(0);
	cr_assert_eq(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
	cr_expect_eq(process_memory_read(child, MEMORY_PSS, &bytes), -ESRCH);
	cr_expect_eq(process_memory_read(child, MEMORY_RSS, &bytes), 0);
	cr_expect_eq(bytes, 0);
	cr_assert_eq(waitpid(child, NULL, 0), child);
	cr_expect_eq(process_memory_read(child, MEMORY_RSS, &bytes), -ENOENT);
}
