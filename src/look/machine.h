/* SPDX-License-Identifier: MIT */
#ifndef LOOK_MACHINE_H
#define LOOK_MACHINE_H
/*
 * What a walk over a stack has to know of a kind of machine. Pure: it may be another one than this runs on.
 *
 * With frame pointers, a frame's record is two words, of which the frame pointer is the address: the caller's frame
 * pointer, and the return address. That is so on both: the System V ABI's AMD64 supplement, 3.2.2, and the procedure
 * call standard for the Arm 64-bit architecture, 6.2.3.
 */
#include <stdbool.h>
#include <stdint.h>

enum call_kind {
	CALL_NONE,
	CALL_DIRECT, /* to the address that it names */
	CALL_INDIRECT,
};

/* Numbers of registers are DWARF's. */
struct machine {
	unsigned int stack_pointer;
	unsigned int frame_pointer;
	unsigned int return_address;
	uint64_t record_alignment;
	uint64_t address_mask; /* what is an address in a return address that may be signed */
	/* What kind of call ends where the eight bytes CODE do, which is at END; *ret_target is set for a direct one.
	 */
	enum call_kind (*call_before)(const unsigned char code[8], uint64_t end, uint64_t *ret_target);
	/* Whether an instruction at CODE, of which ADDRESS is, may be a jump beyond its function, and where to. */
	bool (*jump_at)(const unsigned char code[8], uint64_t address, uint64_t *ret_target);
	unsigned int code_alignment;
	/* Whether CODE, at ADDRESS, is a stub that jumps to where a word points: of a procedure linkage table. */
	bool (*is_stub)(const unsigned char code[16], uint64_t address, uint64_t *ret_word);
};

extern const struct machine machine_x86_64;
extern const struct machine machine_aarch64;

/* The one that this runs on. NULL: its stacks cannot be walked here. */
const struct machine *machine_own(void);

#endif
