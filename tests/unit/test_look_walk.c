/* SPDX-License-Identifier: MIT */
/* Stacks that were made by hand, of a machine that has four functions, at 0x1000, 0x2000, ...; of both machines. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/attrs.h"
#include "look/walk.h"

#define STACK     UINT64_C(0x70000000)
#define WORDS     256
#define CODE      UINT64_C(0x1000)
#define CODE_END  UINT64_C(0x8000)
#define FUNCTION  UINT64_C(0x1000) /* the size of each */
#define TABLE     UINT64_C(0x9000) /* of procedures: not code */
#define TABLE_END UINT64_C(0x9100)

enum { LIBRARY = 0x1000, INNER = 0x2000, MIDDLE = 0x3000, OUTER = 0x4000, OTHER = 0x5000, STUB = 0x6000 };

static struct {
	uint64_t stack[WORDS];
	unsigned char code[CODE_END - CODE];
	unsigned char table[TABLE_END - TABLE];
	struct cfi_frame frames[8]; /* of the functions; `function` 0: nothing is known */
} machine;

static void setup(void)
{
	memset(&machine, 0, sizeof(machine));
}

static bool copy(void *to, const void *from, uint64_t begin, uint64_t end, uint64_t address, size_t size)
{
	if (address < begin || address >= end || size > end - address)
		return false;
	memcpy(to, (const char *)from + (address - begin), size);
	return true;
}

static bool read_memory(void *context, uint64_t address, void *buffer, size_t size)
{
	(void)context;
	return copy(buffer, machine.stack, STACK, STACK + sizeof(machine.stack), address, size) ||
	       copy(buffer, machine.code, CODE, CODE_END, address, size) ||
	       copy(buffer, machine.table, TABLE, TABLE_END, address, size);
}

static bool is_code(void *context, uint64_t address)
{
	(void)context;
	return address >= CODE && address < CODE_END;
}

static bool find_frame(void *context, uint64_t address, struct cfi_frame *ret_frame)
{
	const struct cfi_frame *frame = &machine.frames[address / FUNCTION % 8];

	(void)context;
	if (address >= CODE_END || frame->function == 0)
		return false;
	*ret_frame = *frame;
	return true;
}

static struct walk walk_of(const struct machine *of)
{
	return (struct walk){
		.machine = of,
		.read = read_memory,
		.is_code = is_code,
		.frame = find_frame,
		.stack_end = STACK + sizeof(machine.stack),
	};
}

/* A function whose base is SIZE beyond the stack pointer, with nothing but the return address in its frame. */
static void add_plain(uint64_t function, int64_t size)
{
	machine.frames[function / FUNCTION] = (struct cfi_frame){
		.function = function,
		.size = FUNCTION,
		.base_known = true,
		.base_register = machine_x86_64.stack_pointer,
		.base_offset = size,
		.return_address = {CFI_SAVED, -8},
	};
}

/* One with a frame pointer. */
static void add_framed(uint64_t function)
{
	machine.frames[function / FUNCTION] = (struct cfi_frame){
		.function = function,
		.size = FUNCTION,
		.base_known = true,
		.base_register = machine_x86_64.frame_pointer,
		.base_offset = 16,
		.frame_pointer = {CFI_SAVED,  -16},
		.return_address = { CFI_SAVED, -8 },
	};
}

/* A call of TARGET at AT; the address behind it. */
static uint64_t add_call(uint64_t at, uint64_t target)
{
	int32_t distance = (int32_t)(target - (at + 5));

	machine.code[at - CODE] = 0xe8;
	memcpy(&machine.code[at - CODE + 1], &distance, sizeof(distance));
	return at + 5;
}

/* call *%rax */
static uint64_t add_pointer_call(uint64_t at)
{
	machine.code[at - CODE] = 0xff;
	machine.code[at - CODE + 1] = 0xd0;
	return at + 2;
}

static uint64_t at_word(size_t word)
{
	return STACK + word * 8;
}

static void add_record(size_t word, size_t next, uint64_t address)
{
	machine.stack[word] = next == 0 ? 0 : at_word(next);
	machine.stack[word + 1] = address;
}

static void expect_frames(const struct walk_frame *frames, size_t count, const uint64_t *addresses, size_t expected)
{
	cr_assert_eq(count, expected, "%zu frames", count);
	for (size_t i = 0; i < count; i++)
		cr_expect_eq(
			frames[i].address, addresses[i], "frame %zu: 0x%llx", i, (unsigned long long)frames[i].address);
}

TestSuite(look_walk, .init = setup);

Test(look_walk, without_frame_pointers)
{
	const struct walk walk = walk_of(&machine_x86_64);
	struct walk_frame frames[WALK_FRAMES_MAX];
	const uint64_t expected[] = { LIBRARY + 0x40, add_call(INNER + 0x10, LIBRARY), add_call(OUTER + 0x10, INNER) };
	size_t count;

	add_plain(LIBRARY, 8);
	add_plain(INNER, 48);
	add_plain(OUTER, 16);
	machine.frames[OUTER / FUNCTION].return_address.place = CFI_NONE;
	machine.stack[0] = expected[1];
	machine.stack[6] = expected[2];
	count = walk_frames(&walk, LIBRARY + 0x40, STACK, frames);
	expect_frames(frames, count, expected, 3);
	cr_expect_not(frames[0].is_return);
	cr_expect(frames[2].is_return);
	cr_expect_not(frames[2].is_guess);
}

/* The library's function has saved no frame pointer: the record of who has called it is searched. */
static void add_framed_chain(uint64_t inner_call, uint64_t middle_call, uint64_t outer_call)
{
	add_plain(LIBRARY, 8);
	add_framed(INNER);
	add_framed(MIDDLE);
	add_framed(OUTER);
	machine.stack[0] = inner_call;
	add_record(100, 120, middle_call);
	add_record(120, 140, outer_call);
	add_record(140, 0, 0);
}

Test(look_walk, the_record_that_its_callers_call_has_left)
{
	const struct walk walk = walk_of(&machine_x86_64);
	struct walk_frame frames[WALK_FRAMES_MAX];
	const uint64_t expected[] = { LIBRARY + 0x40, add_call(INNER + 0x10, LIBRARY), add_call(MIDDLE + 0x10, INNER),
		add_call(OUTER + 0x10, MIDDLE) };
	uint64_t earlier = add_call(INNER + 0x80, OTHER), deeper = add_call(OTHER + 0x80, STUB);

	add_framed_chain(expected[1], expected[2], expected[3]);
	/* INNER has called OTHER before, which has called something: both have left records that lead to INNER's. */
	add_framed(OTHER);
	add_record(10, 20, deeper);
	add_record(20, 100, earlier);
	size_t count = walk_frames(&walk, LIBRARY + 0x40, STACK, frames);
	expect_frames(frames, count, expected, 4);
	for (size_t i = 0; i < count; i++)
		cr_expect_not(frames[i].is_guess, "frame %zu", i);
}

Test(look_walk, a_call_by_a_stub)
{
	const struct walk walk = walk_of(&machine_x86_64);
	struct walk_frame frames[WALK_FRAMES_MAX];
	const uint64_t expected[] = { LIBRARY + 0x40, add_call(INNER + 0x10, LIBRARY),
		add_call(MIDDLE + 0x10, STUB + 0x20), add_call(OUTER + 0x10, MIDDLE) };
	static const unsigned char jump[] = { 0xf3, 0x0f, 0x1e, 0xfa, 0xf2, 0xff, 0x25 };
	int32_t distance = (int32_t)(TABLE + 0x18 - (STUB + 0x20 + sizeof(jump) + 4));
	uint64_t target = INNER;

	add_framed_chain(expected[1], expected[2], expected[3]);
	memcpy(&machine.code[STUB + 0x20 - CODE], jump, sizeof(jump));
	memcpy(&machine.code[STUB + 0x20 + sizeof(jump) - CODE], &distance, sizeof(distance));
	memcpy(&machine.table[0x18], &target, sizeof(target));
	size_t count = walk_frames(&walk, LIBRARY + 0x40, STACK, frames);
	expect_frames(frames, count, expected, 4);
	cr_expect_not(frames[3].is_guess);
}

/* MIDDLE has called OTHER, whose last call is a jump to INNER; by a stub, or to what is apart of it. */
static void expect_jumped(uint64_t at, const void *jump, size_t size, bool expected)
{
	const struct walk walk = walk_of(&machine_x86_64);
	struct walk_frame frames[WALK_FRAMES_MAX];
	const uint64_t addresses[] = { LIBRARY + 0x40, add_call(INNER + 0x10, LIBRARY), add_call(MIDDLE + 0x10, OTHER),
		add_call(OUTER + 0x10, MIDDLE) };
	size_t count;

	add_framed_chain(addresses[1], addresses[2], addresses[3]);
	add_framed(OTHER);
	memcpy(&machine.code[at - CODE], jump, size);
	count = walk_frames(&walk, LIBRARY + 0x40, STACK, frames);
	if (expected)
		expect_frames(frames, count, addresses, 4);
	else
		cr_expect_eq(count, 2, "%zu frames", count);
	for (size_t i = 0; i < count; i++)
		cr_expect_not(frames[i].is_guess);
}

static void expect_near_jump(unsigned char opcode, uint64_t target, bool expected)
{
	unsigned char jump[6] = { 0x0f, opcode };
	size_t size = opcode == 0xe9 ? 5 : 6, operand = size - 4;
	int32_t distance = (int32_t)(target - (OTHER + 0x333 + size));

	jump[operand - 1] = opcode;
	memcpy(jump + operand, &distance, sizeof(distance));
	expect_jumped(OTHER + 0x333, jump, size, expected);
}

Test(look_walk, a_call_that_is_a_jump)
{
	expect_near_jump(0xe9, INNER, true);
}

Test(look_walk, a_conditional_jump_into_what_is_apart)
{
	expect_near_jump(0x85, INNER + 0x123, true);
}

Test(look_walk, a_jump_elsewhere)
{
	expect_near_jump(0xe9, LIBRARY, false);
}

Test(look_walk, jumps)
{
	static const struct {
		const struct machine *of;
		unsigned char code[8];
		uint64_t target; /* 0: none */
	} jumps[] = {
		{&machine_x86_64,   { 0xeb, 0x80 },                         0xf82 },
		{ &machine_x86_64,  { 0xe9, 0x10, 0, 0, 0 },                0x1015},
		{ &machine_x86_64,  { 0x0f, 0x8e, 0xfa, 0xff, 0xff, 0xff }, 0x1000},
		{ &machine_x86_64,  { 0x0f, 0xaf, 0, 0, 0, 0 },             0     },
		{ &machine_x86_64,  { 0xe8, 0x10, 0, 0, 0 },                0     },
		{ &machine_aarch64, { 0xff, 0xff, 0xff, 0x17 },             0xffc },
		{ &machine_aarch64, { 0x01, 0, 0, 0x94 },                   0     },
	};

	for (size_t i = 0; i < ARRAY_SIZE(jumps); i++) {
		uint64_t target = 0;

		cr_expect_eq(jumps[i].of->jump_at(jumps[i].code, 0x1000, &target), jumps[i].target != 0, "jump %zu", i);
		cr_expect_eq(target, jumps[i].target, "jump %zu", i);
	}
}

Test(look_walk, a_call_by_a_pointer_is_a_guess)
{
	const struct walk walk = walk_of(&machine_x86_64);
	struct walk_frame frames[WALK_FRAMES_MAX];
	const uint64_t expected[] = { LIBRARY + 0x40, add_call(INNER + 0x10, LIBRARY), add_pointer_call(MIDDLE + 0x10),
		add_call(OUTER + 0x10, MIDDLE) };

	add_framed_chain(expected[1], expected[2], expected[3]);
	/* What INNER has called by a pointer before it: from there its own callers are the same. */
	add_record(30, 100, add_pointer_call(INNER + 0x80));
	size_t count = walk_frames(&walk, LIBRARY + 0x40, STACK, frames);
	expect_frames(frames, count, expected, 4);
	cr_expect_not(frames[1].is_guess, "it is exact up to there");
	cr_expect(frames[2].is_guess);
	cr_expect(frames[3].is_guess);
}

Test(look_walk, one_that_calls_itself)
{
	const struct walk walk = walk_of(&machine_x86_64);
	struct walk_frame frames[WALK_FRAMES_MAX];
	const uint64_t expected[] = { LIBRARY + 0x40, add_call(INNER + 0x10, LIBRARY), add_call(INNER + 0x30, INNER),
		add_call(INNER + 0x30, INNER), add_call(MIDDLE + 0x10, INNER) };

	add_plain(LIBRARY, 8);
	add_framed(INNER);
	add_framed(MIDDLE);
	machine.stack[0] = expected[1];
	add_record(50, 60, expected[2]);
	add_record(60, 70, expected[3]);
	add_record(70, 80, expected[4]);
	add_record(80, 0, 0);
	size_t count = walk_frames(&walk, LIBRARY + 0x40, STACK, frames);
	expect_frames(frames, count, expected, 5);
}

/* A saved frame pointer makes the search needless, whatever lies on the stack. */
Test(look_walk, a_frame_pointer_that_a_callee_has_saved)
{
	const struct walk walk = walk_of(&machine_x86_64);
	struct walk_frame frames[WALK_FRAMES_MAX];
	const uint64_t expected[] = { LIBRARY + 0x40, add_call(INNER + 0x10, LIBRARY), add_pointer_call(MIDDLE + 0x10),
		add_call(OUTER + 0x10, MIDDLE) };

	add_framed_chain(expected[1], expected[2], expected[3]);
	add_plain(LIBRARY, 24);
	machine.frames[LIBRARY / FUNCTION].frame_pointer = (struct cfi_rule){ CFI_SAVED, -16 };
	machine.stack[1] = at_word(100);
	machine.stack[2] = expected[1];
	add_record(30, 120, add_call(OTHER + 0x80, INNER));
	size_t count = walk_frames(&walk, LIBRARY + 0x40, STACK, frames);
	expect_frames(frames, count, expected, 4);
	cr_expect_not(frames[3].is_guess);
}

Test(look_walk, it_ends_at_the_outermost)
{
	struct walk walk = walk_of(&machine_x86_64);
	struct walk_frame frames[WALK_FRAMES_MAX];
	const uint64_t expected[] = { LIBRARY + 0x40, add_call(INNER + 0x10, LIBRARY), add_call(MIDDLE + 0x10, INNER) };

	add_framed_chain(expected[1], expected[2], add_call(OUTER + 0x10, MIDDLE));
	walk.outermost = MIDDLE;
	expect_frames(frames, walk_frames(&walk, LIBRARY + 0x40, STACK, frames), expected, 3);
}

Test(look_walk, what_is_no_return_address_ends_it)
{
	const struct walk walk = walk_of(&machine_x86_64);
	struct walk_frame frames[WALK_FRAMES_MAX];

	add_plain(LIBRARY, 8);
	machine.stack[0] = INNER + 0x10; /* behind no call */
	cr_expect_eq(walk_frames(&walk, LIBRARY + 0x40, STACK, frames), 1);
	machine.stack[0] = TABLE + 8;
	cr_expect_eq(walk_frames(&walk, LIBRARY + 0x40, STACK, frames), 1);
	cr_expect_eq(walk_frames(&walk, 0, STACK, frames), 1, "no code");
	cr_expect_eq(walk_frames(&walk, LIBRARY + 0x40, 0, frames), 1, "no stack");
	cr_expect_eq(walk_frames(&walk, LIBRARY + 0x40, UINT64_MAX - 7, frames), 1);
}

/* Records in a circle, and one beside the other without an end. */
Test(look_walk, it_is_bounded)
{
	const struct walk walk = walk_of(&machine_x86_64);
	struct walk_frame frames[WALK_FRAMES_MAX];
	uint64_t back = add_call(INNER + 0x30, INNER);

	add_plain(LIBRARY, 8);
	add_framed(INNER);
	machine.stack[0] = add_call(INNER + 0x10, LIBRARY);
	add_record(10, 20, back);
	add_record(20, 10, back);
	cr_expect_leq(walk_frames(&walk, LIBRARY + 0x40, STACK, frames), 4);
	for (size_t word = 10; word + 2 < WORDS; word += 2)
		add_record(word, word + 2, back);
	cr_expect_eq(walk_frames(&walk, LIBRARY + 0x40, STACK, frames), WALK_FRAMES_MAX);
}

/* Whatever is on a stack, and whatever a file says. */
Test(look_walk, any_stack)
{
	struct walk_frame frames[WALK_FRAMES_MAX];

	srandom(1);
	for (int turn = 0; turn < 20000; turn++) {
		const struct walk walk = walk_of(turn % 2 == 0 ? &machine_x86_64 : &machine_aarch64);

		setup();
		for (size_t i = 0; i < sizeof(machine.code); i += 16)
			add_call(CODE + i, CODE + (uint64_t)random() % (CODE_END - CODE) / 16 * 16);
		for (uint64_t function = LIBRARY; function <= STUB; function += FUNCTION) {
			if (random() % 2)
				add_framed(function);
			else
				add_plain(function, random() % 64);
			if (random() % 8 == 0)
				machine.frames[function / FUNCTION].base_offset = (int64_t)((uint64_t)random() << 62);
			if (random() % 8 == 0)
				machine.frames[function / FUNCTION].return_address.place =
					(enum cfi_place)(random() % 4);
		}
		for (size_t word = 0; word < WORDS; word++)
			machine.stack[word] = random() % 3 == 0
						      ? CODE + (uint64_t)random() % (CODE_END - CODE) / 16 * 16 + 5
					      : random() % 2 == 0 ? at_word((size_t)random() % WORDS)
								  : (uint64_t)random();
		cr_assert_leq(walk_frames(&walk, CODE + (uint64_t)random() % (CODE_END - CODE),
				      at_word((size_t)random() % WORDS), frames),
			WALK_FRAMES_MAX);
	}
}

/* ---- aarch64 ---- */

static uint64_t add_branch(uint64_t at, uint64_t target)
{
	uint32_t word = 0x94000000 | (((uint32_t)(target - at) >> 2) & 0x03ffffff);

	memcpy(&machine.code[at - CODE], &word, sizeof(word));
	return at + 4;
}

/* A system call's function has its return address in a register; who has called it is known by who has called him. */
Test(look_walk, the_caller_of_a_leaf)
{
	const struct walk walk = walk_of(&machine_aarch64);
	struct walk_frame frames[WALK_FRAMES_MAX];
	const uint64_t expected[] = { LIBRARY + 0x40, INNER, add_branch(MIDDLE + 0x10, INNER),
		add_branch(OUTER + 0x10, MIDDLE) };
	size_t count;

	machine.frames[LIBRARY / FUNCTION] = (struct cfi_frame){
		.function = LIBRARY, .base_known = true, .base_register = machine_aarch64.stack_pointer
	};
	for (uint64_t function = MIDDLE; function <= OUTER; function += FUNCTION)
		machine.frames[function / FUNCTION] = (struct cfi_frame){
			.function = function,
			.size = FUNCTION,
			.base_known = true,
			.base_register = machine_aarch64.frame_pointer,
			.base_offset = 32,
			.frame_pointer = {CFI_SAVED,  -32},
			.return_address = { CFI_SAVED, -24},
		};
	/* Records are at the frames' lower ends; an address may be signed. */
	add_record(2, 20, expected[2] | UINT64_C(0x00a5) << 48);
	add_record(20, 40, expected[3]);
	add_record(40, 0, 0);
	count = walk_frames(&walk, LIBRARY + 0x40, STACK, frames);
	expect_frames(frames, count, expected, 4);
	cr_expect(frames[1].is_guess);
	cr_expect_not(frames[1].is_return);
}

Test(look_walk, calls_of_aarch64)
{
	static const struct {
		uint32_t word;
		enum call_kind kind;
		uint64_t target;
	} calls[] = {
		{0x94000001,  CALL_DIRECT,   0x1000},
                { 0x97ffffff, CALL_DIRECT,   0xff8 },
		{ 0xd63f0260, CALL_INDIRECT, 0     }, /* blr x19 */
		{ 0xd73f0a11, CALL_INDIRECT, 0     }, /* blraa x16, x17 */
		{ 0x14000001, CALL_NONE,     0     }, /* b */
		{ 0xd65f03c0, CALL_NONE,     0     }, /* ret */
	};

	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		unsigned char code[8] = { 0 };
		uint64_t target = 0;

		memcpy(code + 4, &calls[i].word, sizeof(calls[i].word));
		cr_expect_eq(machine_aarch64.call_before(code, 0x1000, &target), calls[i].kind, "call %zu", i);
		cr_expect_eq(target, calls[i].target, "call %zu: 0x%llx", i, (unsigned long long)target);
	}
}

Test(look_walk, calls_of_x86_64)
{
	static const struct {
		unsigned char code[8];
		enum call_kind kind;
	} calls[] = {
		{{ 0, 0, 0, 0xe8, 0xfb, 0xff, 0xff, 0xff },           CALL_DIRECT  },
		{ { 0, 0, 0, 0, 0, 0, 0xff, 0xd0 },                   CALL_INDIRECT}, /* *%rax */
		{ { 0, 0, 0, 0, 0, 0x41, 0xff, 0xd4 },                CALL_INDIRECT}, /* *%r12 */
		{ { 0, 0, 0, 0, 0, 0xff, 0x50, 0x18 },                CALL_INDIRECT}, /* *0x18(%rax) */
		{ { 0, 0, 0, 0, 0xff, 0x54, 0x24, 0x08 },             CALL_INDIRECT}, /* *8(%rsp) */
		{ { 0, 0, 0, 0, 0, 0xff, 0x14, 0xc3 },                CALL_INDIRECT}, /* *(%rbx,%rax,8) */
		{ { 0, 0xff, 0x14, 0xc5, 0x10, 0x20, 0x30, 0x40 },    CALL_INDIRECT}, /* *table(,%rax,8) */
		{ { 0, 0, 0xff, 0x15, 0x10, 0x20, 0x30, 0x40 },       CALL_INDIRECT}, /* *word(%rip) */
		{ { 0, 0, 0xff, 0x92, 0x10, 0x20, 0x30, 0x40 },       CALL_INDIRECT}, /* *0x40302010(%rdx) */
		{ { 0, 0, 0, 0, 0, 0, 0xff, 0xe0 },                   CALL_NONE    }, /* jmp *%rax */
		{ { 0, 0, 0, 0, 0, 0, 0xff, 0x14 },                   CALL_NONE    }, /* it would be longer */
		{ { 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90 }, CALL_NONE    },
	};

	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		uint64_t target = 0x1000;

		cr_expect_eq(machine_x86_64.call_before(calls[i].code, 0x1000, &target), calls[i].kind, "call %zu", i);
		cr_expect_eq(target, i == 0 ? 0xffb : 0x1000);
	}
}
