/* SPDX-License-Identifier: MIT */
#include "look/machine.h"

#include <stddef.h>
#include <string.h>

/* ---- x86-64: Intel's manual, volume 2, "CALL" and 2.1.5 "Addressing-Mode Encoding of ModR/M and SIB Bytes" ---- */

/* Of an instruction with the opcode FF, which begins at CODE: opcode, ModR/M, SIB and displacement. SIZE bytes, two or
 * more, are there. */
static unsigned int x86_length(const unsigned char *code, unsigned int size)
{
	static const unsigned int displacement[] = { 0, 1, 4, 0 };
	unsigned int mode = code[1] >> 6, base = code[1] & 7, length = 2 + displacement[mode];

	if (mode != 3 && base == 4)
		length += 1 + (mode == 0 && size > 2 && (code[2] & 7) == 5 ? 4 : 0);
	if (mode == 0 && base == 5)
		length += 4;
	return length;
}

static enum call_kind x86_call_before(const unsigned char code[8], uint64_t end, uint64_t *ret_target)
{
	int32_t distance;

	if (code[3] == 0xe8) {
		memcpy(&distance, code + 4, sizeof(distance));
		*ret_target = end + (uint64_t)(int64_t)distance;
		return CALL_DIRECT;
	}
	for (unsigned int length = 2; length <= 7; length++) {
		const unsigned char *call = code + 8 - length;

		if (call[0] == 0xff && (call[1] >> 3 & 7) == 2 && x86_length(call, length) == length)
			return CALL_INDIRECT;
	}
	return CALL_NONE;
}

static bool x86_jump_at(const unsigned char code[8], uint64_t address, uint64_t *ret_target)
{
	bool is_conditional = code[0] == 0x0f && (code[1] & 0xf0) == 0x80;
	unsigned int opcode = is_conditional ? 2 : 1;
	int32_t distance;

	if (code[0] == 0xeb) {
		*ret_target = address + 2 + (uint64_t)(int64_t)(signed char)code[1];
		return true;
	}
	if (code[0] != 0xe9 && !is_conditional)
		return false;
	memcpy(&distance, code + opcode, sizeof(distance));
	*ret_target = address + opcode + 4 + (uint64_t)(int64_t)distance;
	return true;
}

/* jmp *word(%rip), with what may stand before it: endbr64, and a prefix. */
static bool x86_is_stub(const unsigned char code[16], uint64_t address, uint64_t *ret_word)
{
	static const unsigned char endbr64[] = { 0xf3, 0x0f, 0x1e, 0xfa };
	size_t at = memcmp(code, endbr64, sizeof(endbr64)) == 0 ? sizeof(endbr64) : 0;
	int32_t distance;

	if (code[at] == 0xf2)
		at++;
	if (code[at] != 0xff || code[at + 1] != 0x25)
		return false;
	memcpy(&distance, code + at + 2, sizeof(distance));
	*ret_word = address + at + 6 + (uint64_t)(int64_t)distance;
	return true;
}

const struct machine machine_x86_64 = {
	.stack_pointer = 7,
	.frame_pointer = 6,
	.return_address = 16,
	.record_alignment = 16,
	.address_mask = UINT64_MAX,
	.call_before = x86_call_before,
	.jump_at = x86_jump_at,
	.code_alignment = 1,
	.is_stub = x86_is_stub,
};

/* ---- aarch64: Arm's architecture reference manual, C6.2, "B", "BL", "BLR", "BLRAA", "ADRP", "LDR (immediate)" ---- */

static enum call_kind arm_call_before(const unsigned char code[8], uint64_t end, uint64_t *ret_target)
{
	uint32_t word;

	memcpy(&word, code + 4, sizeof(word));
	if ((word & 0xfc000000) == 0x94000000) {
		int64_t distance = (int64_t)((uint64_t)(word & 0x03ffffff) << 38) >> 36;

		*ret_target = end - 4 + (uint64_t)distance;
		return CALL_DIRECT;
	}
	/* With bit 24, and a second register or none, it checks the pointer's signature before. */
	return (word & 0xfefff000) == 0xd63f0000 ? CALL_INDIRECT : CALL_NONE;
}

static bool arm_jump_at(const unsigned char code[8], uint64_t address, uint64_t *ret_target)
{
	uint32_t word;

	memcpy(&word, code, sizeof(word));
	if ((word & 0xfc000000) != 0x14000000)
		return false;
	*ret_target = address + (uint64_t)((int64_t)((uint64_t)(word & 0x03ffffff) << 38) >> 36);
	return true;
}

/* adrp x16, page; ldr x17, [x16, #low]; perhaps behind a landing pad (bti). */
static bool arm_is_stub(const unsigned char code[16], uint64_t address, uint64_t *ret_word)
{
	uint32_t words[4];
	unsigned int at;
	int64_t page;

	memcpy(words, code, sizeof(words));
	at = words[0] == 0xd503245f ? 1 : 0;
	if ((words[at] & 0x9f00001f) != 0x90000010 || (words[at + 1] & 0xffc003ff) != 0xf9400211)
		return false;
	page = (int64_t)((uint64_t)((words[at] >> 5 & 0x7ffff) << 2 | (words[at] >> 29 & 3)) << 43) >> 31;
	*ret_word = ((address + at * 4) & ~UINT64_C(0xfff)) + (uint64_t)page + (words[at + 1] >> 10 & 0xfff) * 8;
	return true;
}

const struct machine machine_aarch64 = {
	.stack_pointer = 31,
	.frame_pointer = 29,
	.return_address = 30,
	.record_alignment = 16,
	.address_mask = (UINT64_C(1) << 48) - 1,
	.call_before = arm_call_before,
	.jump_at = arm_jump_at,
	.code_alignment = 4,
	.is_stub = arm_is_stub,
};

const struct machine *machine_own(void)
{
#if defined(__x86_64__) && !defined(__ILP32__)
	return &machine_x86_64;
#elif defined(__aarch64__)
	return &machine_aarch64;
#else
	return NULL;
#endif
}
