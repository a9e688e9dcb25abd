/* SPDX-License-Identifier: MIT */
#ifndef LOOK_WALK_H
#define LOOK_WALK_H
/*
 * The frames of a thread that is blocked, of which no more is known than its instruction and its stack pointer: the
 * kernel tells no other register of a process that is not stopped (proc(5), /proc/PID/syscall).
 *
 * Where a frame's base is beyond the stack pointer, as in code without frame pointers, the walk is exact. The first
 * frame whose base is beyond the frame pointer needs that, too: where no callee has saved it on the way, the stack is
 * searched for the frame's record, whose return address has to be behind a call of that very function, or of one that
 * jumps there, so that what earlier calls have left on the stack is not taken for it. Only where such calls go by a
 * pointer, the record may be another one: such frames, and all that come of them, are marked.
 *
 * Pure, and bounded; nothing that is read is believed. It may be of another machine.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "look/cfi.h"
#include "look/machine.h"

enum { WALK_FRAMES_MAX = 32 };

struct walk_frame {
	uint64_t address;
	bool is_return; /* it is behind the call */
	bool is_guess;
};

struct walk {
	const struct machine *machine;
	/* SIZE bytes of the thread's memory at ADDRESS. False: not there, or not to be had. */
	bool (*read)(void *context, uint64_t address, void *buffer, size_t size);
	/* Whether there is code at ADDRESS. */
	bool (*is_code)(void *context, uint64_t address);
	/* What is known of the frame at ADDRESS, with addresses as the thread has them. False: nothing. */
	bool (*frame)(void *context, uint64_t address, struct cfi_frame *ret_frame);
	void *context;
	uint64_t stack_end;
	uint64_t outermost; /* the function whose caller is of no interest; 0: none */
};

/* From where the thread is to its callers. Returns how many. */
size_t walk_frames(const struct walk *walk, uint64_t instruction, uint64_t stack_pointer,
	struct walk_frame frames[WALK_FRAMES_MAX]);

#endif
