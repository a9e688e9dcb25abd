/* SPDX-License-Identifier: MIT */
/* What object files say of frames: this program's own, and damaged copies of it. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/attrs.h"
#include "base/elf_file.h"
#include "base/fd.h"
#include "look/cfi.h"

static struct elf_file file;
static uint64_t bias;

static int note_bias(struct dl_phdr_info *info, size_t size, void *unused)
{
	(void)size;
	(void)unused;
	bias = info->dlpi_addr; /* the program is the first */
	return 1;
}

static void setup(void)
{
	FD_AUTO int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	if (machine_own() == NULL)
		cr_skip_test("not on this machine");
	cr_assert_geq(fd, 0);
	cr_assert(elf_file_map(fd, &file));
	dl_iterate_phdr(note_bias, NULL);
}

static void teardown(void)
{
	elf_file_unmap(&file);
}

TestSuite(look_cfi, .init = setup, .fini = teardown);

static uint64_t own_address(const void *of)
{
	return (uint64_t)(uintptr_t)of - bias;
}

/* By the object file, where the return address of a function is that is called now. */
Test(look_cfi, where_the_return_address_is)
{
	const struct machine *machine = machine_own();
	uint64_t *record = __builtin_frame_address(0);
	struct cfi_frame frame;
	uint64_t here;
	unsigned char *base;

#if defined(__x86_64__)
	__asm__ volatile("lea (%%rip), %0" : "=r"(here));
#elif defined(__aarch64__)
	__asm__ volatile("adr %0, ." : "=r"(here));
#else
	here = 0;
#endif
	cr_assert_eq(cfi_find(&file, machine, here - bias, &frame), 0);
	cr_expect_leq(frame.function, here - bias);
	cr_assert(frame.base_known);
	if (frame.base_register != machine->frame_pointer)
		cr_skip_test("built without frame pointers");
	base = (unsigned char *)record + frame.base_offset;
	cr_assert_eq(frame.return_address.place, CFI_SAVED);
	cr_expect_eq((void *)(base + frame.return_address.offset), (void *)(record + 1));
	cr_assert_eq(frame.frame_pointer.place, CFI_SAVED);
	cr_expect_eq((void *)(base + frame.frame_pointer.offset), (void *)record);
}

static void one_function(void)
{
}

Test(look_cfi, the_beginning_of_a_function)
{
	uint64_t address = own_address((const void *)(uintptr_t)one_function);
	struct cfi_frame frame;
	char name[64] = "";
	uint64_t begin = 0;

	cr_assert_eq(cfi_find(&file, machine_own(), address, &frame), 0);
	cr_expect_eq(frame.function, address);
	cr_expect(frame.base_known);
	cr_expect_eq(frame.base_register, machine_own()->stack_pointer, "nothing is on the stack yet");
	cr_assert(elf_file_function(&file, address, name, sizeof(name), &begin));
	cr_expect_str_eq(name, "one_function");
	cr_expect_eq(begin, address);
	cr_assert(elf_file_function(&file, address, name, 5, &begin));
	cr_expect_str_eq(name, "one_", "cut");
}

#if defined(__x86_64__)
/* A byte of code for each step, but for the one that sets %rbp. */
void cfi_sample(void);
__asm__(".pushsection .text\n"
	".type cfi_sample, @function\n"
	"cfi_sample:\n"
	".cfi_startproc\n"
	"push %rbp\n" /* 0 */
	".cfi_def_cfa_offset 16\n"
	".cfi_offset 6, -16\n"
	"mov %rsp, %rbp\n" /* 1 */
	".cfi_def_cfa_register 6\n"
	"nop\n" /* 4 */
	".cfi_remember_state\n"
	"pop %rbp\n" /* 5 */
	".cfi_restore 6\n"
	".cfi_def_cfa 7, 8\n"
	"ret\n" /* 6 */
	".cfi_restore_state\n"
	"nop\n" /* 7 */
	".cfi_register 6, 12\n"
	"nop\n" /* 8 */
	".cfi_escape 0x14, 6, 1\n"
	".cfi_def_cfa_offset 400\n"
	"nop\n" /* 9 */
	".cfi_same_value 6\n"
	".cfi_undefined 16\n"
	"nop\n"                              /* 10 */
	".cfi_escape 0x0f, 2, 0x77, 8\n"     /* the base is an expression */
	".cfi_escape 0x10, 6, 2, 0x77, 16\n" /* and so is where the register is */
	"nop\n"                              /* 11 */
	".cfi_escape 0x12, 7, 0x7f\n"        /* signed, and by the factor */
	".cfi_escape 0x11, 6, 2\n"
	"nop\n" /* 12 */
	".cfi_endproc\n"
	".size cfi_sample, .-cfi_sample\n"
	".popsection\n");

Test(look_cfi, each_step_of_a_function)
{
	static const struct {
		uint64_t at;
		unsigned int base; /* 0: not known */
		int64_t offset;
		struct cfi_rule frame_pointer;
		enum cfi_place return_address;
	} steps[] = {
		{0,   7, 8,   { CFI_SAME, 0 },    CFI_SAVED},
		{ 1,  7, 16,  { CFI_SAVED, -16 }, CFI_SAVED},
		{ 3,  7, 16,  { CFI_SAVED, -16 }, CFI_SAVED},
		{ 4,  6, 16,  { CFI_SAVED, -16 }, CFI_SAVED},
		{ 5,  6, 16,  { CFI_SAVED, -16 }, CFI_SAVED},
		{ 6,  7, 8,   { CFI_SAME, 0 },    CFI_SAVED},
		{ 7,  6, 16,  { CFI_SAVED, -16 }, CFI_SAVED},
		{ 8,  6, 16,  { CFI_UNKNOWN, 0 }, CFI_SAVED},
		{ 9,  6, 400, { CFI_UNKNOWN, 0 }, CFI_SAVED},
		{ 10, 6, 400, { CFI_SAME, 0 },    CFI_NONE },
		{ 11, 0, 0,   { CFI_UNKNOWN, 0 }, CFI_NONE },
		{ 12, 7, 8,   { CFI_SAVED, -16 }, CFI_NONE },
	};
	uint64_t begin = own_address((const void *)(uintptr_t)cfi_sample);

	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		struct cfi_frame frame;

		cr_assert_eq(cfi_find(&file, machine_own(), begin + steps[i].at, &frame), 0, "step %zu", i);
		cr_expect_eq(frame.function, begin);
		cr_expect_eq(frame.base_known, steps[i].base != 0, "step %zu", i);
		if (frame.base_known) {
			cr_expect_eq(frame.base_register, steps[i].base, "step %zu", i);
			cr_expect_eq(frame.base_offset, steps[i].offset, "step %zu", i);
		}
		cr_expect_eq(frame.frame_pointer.place, steps[i].frame_pointer.place, "step %zu", i);
		cr_expect_eq(frame.frame_pointer.offset, steps[i].frame_pointer.offset, "step %zu", i);
		cr_expect_eq(frame.return_address.place, steps[i].return_address, "step %zu", i);
	}
}
#endif

Test(look_cfi, what_is_no_code)
{
	struct cfi_frame frame;

	cr_expect_eq(cfi_find(&file, machine_own(), 0, &frame), -ENOENT);
	cr_expect_eq(cfi_find(&file, machine_own(), UINT64_MAX, &frame), -ENOENT);
	cr_expect_eq(cfi_find(&(struct elf_file){ .data = "nothing", .size = 7 }, machine_own(), 0, &frame), -ENOENT);
}

/* Every function that has a name and an entry has one frame at each instruction. */
Test(look_cfi, every_address)
{
	size_t count = 0, found = 0, segments = 0;
	const ElfW(Phdr) *segment = elf_file_segments(&file, &segments);

	for (; segments > 0; segments--, segment++) {
		if (segment->p_type != PT_LOAD || (segment->p_flags & PF_X) == 0)
			continue;
		for (uint64_t at = segment->p_vaddr; at < segment->p_vaddr + segment->p_filesz; at += 7) {
			struct cfi_frame frame;
			int result = cfi_find(&file, machine_own(), at, &frame);

			cr_assert(result == 0 || result == -ENOENT, "0x%llx: %d", (unsigned long long)at, result);
			count++;
			found += result == 0;
		}
	}
	cr_expect_gt(found, count * 9 / 10);
}

/* A copy of the file in memory of its very size, so that a sanitizer finds what is read beyond it. */
Test(look_cfi, a_damaged_file, .timeout = 120)
{
	uint64_t address = own_address((const void *)(uintptr_t)one_function);
	size_t count = 0;
	const ElfW(Phdr) *segments = elf_file_segments(&file, &count);
	uint64_t begin = 0, end = 0;
	char *copy = malloc(file.size);

	cr_assert_not_null(copy);
	memcpy(copy, file.data, file.size);
	for (size_t i = 0; i < count; i++)
		if (segments[i].p_type == PT_GNU_EH_FRAME) {
			begin = segments[i].p_offset;
			end = begin + segments[i].p_filesz + 64 * 1024; /* .eh_frame follows */
		}
	cr_assert_gt(begin, 0);
	if (end > file.size)
		end = file.size;
	srandom(1);
	for (int turn = 0; turn < 20000; turn++) {
		struct cfi_frame frame;
		char name[16] = "";
		uint64_t unused;
		size_t at[8];
		const struct elf_file damaged = { .data = copy,
			.size = turn % 4 == 0 ? (size_t)random() % file.size : file.size };

		for (size_t i = 0; i < 8; i++) {
			at[i] = i < 2 ? (size_t)random() % 1024 : begin + (size_t)random() % (end - begin);
			if (i >= 2 && turn % 2 == 0)
				at[i] = begin + (size_t)random() % 128;
			copy[at[i]] = (char)random();
		}
		(void)!cfi_find(&damaged, machine_own(), address + (uint64_t)random() % 256, &frame);
		if (turn % 64 == 0)
			elf_file_function(&damaged, address, name, sizeof(name), &unused);
		for (size_t i = 0; i < 8; i++)
			copy[at[i]] = file.data[at[i]];
	}
	free(copy);
}
