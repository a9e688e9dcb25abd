/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "look/proc.h"
#include "look/system_call.h"

#include <sys/syscall.h>

Test(look_proc, call)
{
	struct proc_call call;

	cr_assert_eq(
		proc_parse_call(
			"230 0x0 0x1 0x7fff615f03f0 0x7fff615f0430 0x0 0x0 0x7fff615f03d8 0x7f1934418503\n", &call),
		0);
	cr_expect_eq(call.number, 230);
	cr_expect_not(call.is_running);
	cr_expect_eq(call.stack_pointer, 0x7fff615f03d8);
	cr_expect_eq(call.instruction, 0x7f1934418503);
	cr_assert_eq(proc_parse_call("running\n", &call), 0);
	cr_expect(call.is_running);
	cr_expect_eq(call.number, -1);
	cr_assert_eq(proc_parse_call("-1 0x7ffe 0x55aa\n", &call), 0);
	cr_expect_not(call.is_running);
	cr_expect_eq(call.number, -1);
	cr_expect_eq(call.stack_pointer, 0x7ffe);
	cr_expect_eq(call.instruction, 0x55aa);
	cr_assert_eq(proc_parse_call("0 0 0 0 0 0 0 0xffffffffffffffff 0x1", &call), 0);
	cr_expect_eq(call.stack_pointer, UINT64_MAX);
}

Test(look_proc, no_call)
{
	static const char *const texts[] = { "", "\n", "run", "x 0 0 0 0 0 0 0 0", "230", "230 0x0 0x1", "-1",
		"-1 0x7ffe", "230 0 0 0 0 0 0 0", "230 0 0 0 0 0 0 zz 1", "230 0 0 0 0 0 0 0x1ffffffffffffffff 1" };
	struct proc_call call = { .number = 77 };

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		cr_expect_eq(proc_parse_call(texts[i], &call), -EBADMSG, "%s", texts[i]);
	cr_expect_eq(call.number, 77, "untouched");
}

Test(look_proc, stat)
{
	struct proc_stat stat;

	cr_assert_eq(proc_parse_stat(
			     "123 (a ) R (b) c)) S 45 123 123 0 -1 4194304 1 2 3 4 70 5 0 0 20 0 1 0 99 1 1\n", &stat),
		0);
	cr_expect_eq(stat.state, 'S');
	cr_expect_eq(stat.parent, 45);
	cr_expect_eq(stat.cpu_ticks, 75);
	cr_expect_eq(proc_parse_stat("", &stat), -EBADMSG);
	cr_expect_eq(proc_parse_stat("123 (x) S 1", &stat), -EBADMSG);
	cr_expect_eq(proc_parse_stat("123 (x", &stat), -EBADMSG);
}

static const char maps_text[] =
	"55d0c8a00000-55d0c8a02000 r--p 00000000 fd:01 1234567                    /usr/bin/a program (deleted)\n"
	"55d0c8a02000-55d0c8a05000 r-xp 00002000 fd:01 1234567                    /usr/bin/a program (deleted)\n"
	"55d0c9000000-55d0c9021000 rw-p 00000000 00:00 0                          [heap]\n"
	"7f0000000000-7f0000001000 ---p 00000000 00:00 0 \n"
	"7ffe00000000-7ffe00021000 rw-p 00000000 00:00 0                          [stack]\n"
	"ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n";

Test(look_proc, maps)
{
	struct proc_map maps[8];
	size_t count = proc_parse_maps(maps_text, maps, ARRAY_SIZE(maps));

	cr_assert_eq(count, 6);
	cr_expect_eq(maps[1].begin, 0x55d0c8a02000);
	cr_expect_eq(maps[1].end, 0x55d0c8a05000);
	cr_expect_eq(maps[1].offset, 0x2000);
	cr_expect_eq(maps[1].major, 0xfd);
	cr_expect_eq(maps[1].minor, 1);
	cr_expect_eq(maps[1].inode, 1234567);
	cr_expect(maps[1].is_code);
	cr_expect_not(maps[0].is_code);
	cr_expect_eq(maps[1].path_size, strlen("/usr/bin/a program (deleted)"));
	cr_expect_eq(strncmp(maps[1].path, "/usr/bin/a program (deleted)\n", maps[1].path_size + 1), 0);
	cr_expect_eq(maps[3].path_size, 0);
	cr_expect_eq(maps[5].begin, 0xffffffffff600000);
	cr_expect_eq(proc_parse_maps(maps_text, maps, 2), 2, "no more than there is room for");
}

Test(look_proc, finding_a_map)
{
	struct proc_map maps[8];
	size_t count = proc_parse_maps(maps_text, maps, ARRAY_SIZE(maps));

	cr_expect_eq(proc_find_map(maps, count, 0x55d0c8a01fff), &maps[0]);
	cr_expect_eq(proc_find_map(maps, count, 0x55d0c8a02000), &maps[1]);
	cr_expect_eq(proc_find_map(maps, count, 0x55d0c8a05000), NULL);
	cr_expect_eq(proc_find_map(maps, count, 0), NULL);
	cr_expect_eq(proc_find_map(maps, count, UINT64_MAX), NULL);
	cr_expect_eq(proc_find_map(maps, count, 0xffffffffff600000), &maps[5]);
	cr_expect_eq(proc_find_map(maps, 0, 0x55d0c8a01fff), NULL);
}

Test(look_proc, no_map)
{
	static const char *const texts[] = { "", "\n", "x", "1-2", "2-1 r-xp 0 0:0 0\n", "1-2 r-xp\n",
		"1-2 r-x 0 0:0 0\n", "1-2 r-xp 0 0:0 \n", "1-2 r-xp 0 00 0 \n", "1-2 r-xp  0 0:0 0 \n",
		"-1-2 r-xp 0 0:0 0 \n", "1-2 r-xp 0 0:0 0" };
	struct proc_map map;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		cr_expect_null(proc_parse_map(texts[i], &map), "%s", texts[i]);
}

/* What the kernel writes is understood to its end. */
Test(look_proc, own_files)
{
	static char text[256 * 1024];
	static struct proc_map maps[2048];
	FD_AUTO int directory = proc_open(getpid());
	struct proc_stat stat;
	size_t lines = 0;

	cr_assert_geq(directory, 0);
	cr_assert_gt(proc_read(directory, "maps", text, sizeof(text)), 0);
	for (const char *at = text; (at = strchr(at, '\n')) != NULL; at++)
		lines++;
	cr_expect_eq(proc_parse_maps(text, maps, ARRAY_SIZE(maps)), lines);
	cr_assert_gt(proc_read(directory, "stat", text, sizeof(text)), 0);
	cr_assert_eq(proc_parse_stat(text, &stat), 0);
	cr_expect_eq(stat.parent, getppid());
	cr_expect_eq(stat.state, 'R');
	cr_expect_eq(proc_read(directory, "nothing", text, sizeof(text)), -ENOENT);
	cr_expect_eq(proc_read(directory, "maps", text, 10), 9, "it is cut");
	cr_expect_eq(strlen(text), 9);
}

Test(look_proc, names_of_system_calls)
{
	cr_expect_str_eq(system_call_name(SYS_read), "read");
	cr_expect_str_eq(system_call_name(SYS_futex), "futex");
	cr_expect_str_eq(system_call_name(SYS_clock_nanosleep), "clock_nanosleep");
	cr_expect_null(system_call_name(-1));
	cr_expect_null(system_call_name(100000));
}
