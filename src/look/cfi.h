/* SPDX-License-Identifier: MIT */
#ifndef LOOK_CFI_H
#define LOOK_CFI_H
/*
 * What an object file says of a function's stack frame at one of its instructions: the section .eh_frame, which
 * compilers add to all code on these machines (DWARF 5, 6.4; Linux Standard Base 5.0, "Exception Frames"). Code of
 * the C library has it too, which has no frame pointers.
 *
 * Pure, and bounded: the file may be any (base/elf_file.h).
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/attrs.h"
#include "base/elf_file.h"
#include "look/machine.h"

/* Where the caller's value of a register is. */
enum cfi_place {
	CFI_SAME,    /* in the register */
	CFI_SAVED,   /* at `offset` from the frame's base */
	CFI_NONE,    /* there is none: the outermost frame */
	CFI_UNKNOWN, /* it takes more to find it than is known here */
};

struct cfi_rule {
	enum cfi_place place;
	int64_t offset;
};

/* The frame's base is what the stack pointer was before the call: DWARF's "canonical frame address". */
struct cfi_frame {
	uint64_t function; /* its first instruction */
	uint64_t size;     /* of its code */
	bool base_known;   /* it is `base_offset` beyond the register */
	unsigned int base_register;
	int64_t base_offset;
	struct cfi_rule frame_pointer;
	struct cfi_rule return_address;
};

/* The frame at ADDRESS of FILE. -ENOENT: the file says nothing of it; -EBADMSG: nothing that is understood. */
ATTR_NODISCARD int cfi_find(
	const struct elf_file *file, const struct machine *machine, uint64_t address, struct cfi_frame *ret_frame);

#endif
