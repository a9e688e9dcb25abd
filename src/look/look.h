/* SPDX-License-Identifier: MIT */
#ifndef LOOK_LOOK_H
#define LOOK_LOOK_H
/*
 * A look at another process from outside: what it does, for how long it has used the processor, and, where it is
 * blocked, in which system call, in which function of the kernel, and in which of its own. It is neither stopped nor
 * slowed.
 *
 * A look may take long, or for ever, as it reads files and the other's memory, which may have to be read in first; and
 * it may cost the life of whoever looks (look/objects.h): for a process of its own. It says what it has found step by
 * step in memory that it may share with another.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum {
	LOOK_KERNEL_MAX = 64,
	LOOK_FRAMES_MAX = 2048,
};

enum look_stage {
	LOOK_NOT_BEGUN,
	LOOK_BEGUN,
	LOOK_KNOWS_STATE, /* `state`, `cpu_ms`, `kernel`, `call_error` */
	LOOK_KNOWS_CALL,  /* `is_running`, `system_call` */
	LOOK_DONE,        /* `has_moved_on`, `frames_error`, `frames` */
};

struct look_order {
	pid_t pid;
	pid_t parent;          /* its own; with another one, it is another process of the same number */
	bool with_frames;      /* its memory is of interest */
	const void *outermost; /* look/frames.h */
	/* What it does is of interest as long as this word, which it writes itself, has that value; NULL: in any case.
	 */
	const _Atomic uint64_t *mark;
	uint64_t mark_value;
};

/* Written by whoever looks. Another one believes a field once `stage` says that it is there. */
struct look_result {
	_Atomic uint32_t stage; /* enum look_stage */
	char state;             /* as proc(5) has it; 0: the process is gone */
	uint64_t cpu_ms;
	char kernel[LOOK_KERNEL_MAX]; /* the function of the kernel that it waits in; "": none, or not to be had */
	int call_error;               /* why it is not known where it is; 0: it is */
	bool is_running;
	long system_call;  /* -1: none */
	bool has_moved_on; /* the mark is another one: what was found may be of later */
	int frames_error;  /* why there are none; 0: there are */
	char frames[LOOK_FRAMES_MAX];
};

void look_at(const struct look_order *order, struct look_result *result);

/* "running", "sleeping", ...: the state in a word. */
const char *look_state_name(char state);

#endif
