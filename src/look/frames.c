/* SPDX-License-Identifier: MIT */
#include "look/frames.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "base/append.h"
#include "base/attrs.h"
#include "look/objects.h"
#include "look/walk.h"

/* So much is read of the stack, and of the list of what is mapped. */
#define STACK_MAX     (64U * 1024)
#define MAPS_SIZE_MAX (1024U * 1024)
#define MAPS_MAX      8192
#define CALL_TEXT_MAX 256

struct frames {
	pid_t pid;
	int directory;
	char *text; /* that the maps are parsed from */
	struct proc_map *maps;
	size_t map_count;
	unsigned char *stack; /* a copy of what is at `stack_begin` */
	uint64_t stack_begin;
	uint64_t stack_size;
	struct objects objects;
	const struct machine *machine;
};

static ssize_t read_memory(pid_t pid, uint64_t address, void *buffer, size_t size)
{
	struct iovec here = { .iov_base = buffer, .iov_len = size };
	struct iovec there = { .iov_base = (void *)(uintptr_t)address, .iov_len = size };
	ssize_t done = process_vm_readv(pid, &here, 1, &there, 1, 0);

	return done < 0 ? -errno : done;
}

/* ---- what the walk asks ---- */

static bool frames_memory(void *context, uint64_t address, void *buffer, size_t size)
{
	const struct frames *frames = context;
	uint64_t offset = address - frames->stack_begin;

	if (address >= frames->stack_begin && offset < frames->stack_size && size <= frames->stack_size - offset) {
		memcpy(buffer, frames->stack + offset, size);
		return true;
	}
	return read_memory(frames->pid, address, buffer, size) == (ssize_t)size;
}

static bool frames_is_code(void *context, uint64_t address)
{
	const struct frames *frames = context;
	const struct proc_map *map = proc_find_map(frames->maps, frames->map_count, address);

	return map != NULL && map->is_code;
}

static bool frames_frame(void *context, uint64_t address, struct cfi_frame *ret_frame)
{
	struct frames *frames = context;

	return objects_frame(&frames->objects, frames->machine, address, ret_frame);
}

/* ---- reading ---- */

static int read_maps(struct frames *frames)
{
	ssize_t size;

	frames->text = malloc(MAPS_SIZE_MAX);
	frames->maps = malloc(MAPS_MAX * sizeof(*frames->maps));
	if (frames->text == NULL || frames->maps == NULL)
		return -ENOMEM;
	size = proc_read(frames->directory, "maps", frames->text, MAPS_SIZE_MAX);
	if (size < 0)
		return (int)size;
	frames->map_count = proc_parse_maps(frames->text, frames->maps, MAPS_MAX);
	objects_init(&frames->objects, frames->directory, frames->maps, frames->map_count);
	return 0;
}

/* From the stack pointer on, as far as the mapping goes: its end is the stack's. */
static int read_stack(struct frames *frames, const struct proc_call *call)
{
	const struct proc_map *map = proc_find_map(frames->maps, frames->map_count, call->stack_pointer);
	uint64_t size = map == NULL ? 0 : map->end - call->stack_pointer;
	ssize_t done;

	frames->stack = malloc(STACK_MAX);
	if (frames->stack == NULL)
		return -ENOMEM;
	if (map == NULL)
		return -EFAULT;
	done = read_memory(frames->pid, call->stack_pointer, frames->stack, size < STACK_MAX ? size : STACK_MAX);
	if (done < 0)
		return (int)done;
	frames->stack_begin = call->stack_pointer;
	frames->stack_size = (uint64_t)done;
	return 0;
}

/* Whether it is where it was when the stack was read. */
static int check_call(const struct frames *frames, const struct proc_call *call)
{
	char text[CALL_TEXT_MAX];
	struct proc_call now;
	ssize_t size = proc_read(frames->directory, "syscall", text, sizeof(text));
	int result = size < 0 ? (int)size : proc_parse_call(text, &now);

	if (result < 0)
		return result;
	return !now.is_running && now.number == call->number && now.stack_pointer == call->stack_pointer &&
			       now.instruction == call->instruction
		       ? 0
		       : -EAGAIN;
}

/* ---- telling ---- */

static void tell(struct frames *frames, const struct proc_call *call, const void *outermost, char *buffer, size_t size)
{
	const struct walk walk = {
		.machine = frames->machine,
		.read = frames_memory,
		.is_code = frames_is_code,
		.frame = frames_frame,
		.context = frames,
		.stack_end = frames->stack_begin + frames->stack_size,
		.outermost = (uint64_t)(uintptr_t)outermost,
	};
	struct walk_frame list[WALK_FRAMES_MAX];
	size_t count = walk_frames(&walk, call->instruction, call->stack_pointer, list);

	for (size_t i = 0; i < count; i++) {
		struct symbol symbol;

		objects_symbol(&frames->objects, list[i].address, list[i].is_return, &symbol);
		append_text(buffer, size, i == 0 ? "" : " < ");
		append_text(buffer, size, list[i].is_guess ? "?" : "");
		symbol_append_place(buffer, size, list[i].address, &symbol);
	}
}

int frames_read(
	pid_t pid, int directory, const struct proc_call *call, const void *outermost, char *buffer, size_t size)
{
	struct frames frames = { .pid = pid, .directory = directory, .machine = machine_own() };
	int result = frames.machine == NULL ? -ENOTSUP : read_maps(&frames);

	buffer[0] = '\0';
	if (result == 0)
		result = read_stack(&frames, call);
	if (result == 0)
		result = check_call(&frames, call);
	if (result == 0)
		tell(&frames, call, outermost, buffer, size);
	objects_done(&frames.objects);
	free(frames.stack);
	free(frames.maps);
	free(frames.text);
	return result;
}
