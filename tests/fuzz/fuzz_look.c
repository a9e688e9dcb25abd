/* SPDX-License-Identifier: MIT */
/*
 * An object file that a pool's user has made, and a stack of his: what a look at a slow request reads. The bytes are
 * the file, which stands in memory as the process would have it, code, data and stack in one. What no bytes may bring
 * about is checked by abort().
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/elf_file.h"
#include "look/cfi.h"
#include "look/proc.h"
#include "look/walk.h"
#include "must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Where it stands. */
#define BEGIN UINT64_C(0x10000)

struct input {
	const struct machine *machine;
	struct elf_file file;
};

/* ---- what a walk asks ---- */

static bool read_memory(void *context, uint64_t address, void *buffer, size_t size)
{
	const struct input *input = context;
	const void *bytes = address < BEGIN ? NULL : elf_file_bytes(&input->file, address - BEGIN, size);

	if (bytes != NULL)
		memcpy(buffer, bytes, size);
	return bytes != NULL;
}

static bool is_code(void *context, uint64_t address)
{
	const struct input *input = context;

	return address >= BEGIN && address - BEGIN < input->file.size;
}

static bool find_frame(void *context, uint64_t address, struct cfi_frame *ret_frame)
{
	const struct input *input = context;
	uint64_t in_file;

	if (!is_code(context, address) || !elf_file_address(&input->file, address - BEGIN, &in_file) ||
		cfi_find(&input->file, input->machine, in_file, ret_frame) < 0)
		return false;
	ret_frame->function += address - in_file;
	return true;
}

/* ---- one input ---- */

static void check_address(const struct input *input, uint64_t offset)
{
	struct cfi_frame frame;
	char name[32] = "";
	uint64_t address = offset, back, begin;
	int result;

	/* Where segments are one above the other, the one need not be the other's reverse. */
	elf_file_address(&input->file, offset, &address);
	elf_file_offset(&input->file, address, &back);
	result = cfi_find(&input->file, input->machine, address, &frame);
	MUST(result == 0 || result == -ENOENT || result == -EBADMSG);
	if (result == 0)
		MUST(address - frame.function < frame.size && (unsigned int)frame.return_address.place <= CFI_UNKNOWN);
	if (elf_file_function(&input->file, address, name, sizeof(name), &begin))
		MUST(begin <= address);
	MUST(memchr(name, '\0', sizeof(name)) != NULL);
}

static void walk_through(struct input *input, uint64_t instruction, uint64_t stack_pointer)
{
	const struct walk walk = {
		.machine = input->machine,
		.read = read_memory,
		.is_code = is_code,
		.frame = find_frame,
		.context = input,
		.stack_end = BEGIN + input->file.size,
	};
	struct walk_frame frames[WALK_FRAMES_MAX];
	size_t count = walk_frames(&walk, BEGIN + instruction, BEGIN + stack_pointer, frames);

	MUST(count >= 1 && count <= WALK_FRAMES_MAX);
}

/* The same bytes as one of the kernel's texts, some of which have what a process calls itself in them. */
static void parse_texts(const uint8_t *data, size_t size)
{
	struct proc_map maps[16];
	struct proc_call call = { .is_running = false };
	struct proc_stat stat;
	char *text = malloc(size + 1);
	size_t count;

	memcpy(text, data, size);
	text[size] = '\0';
	count = proc_parse_maps(text, maps, 16);
	for (size_t i = 0; i < count; i++)
		MUST(maps[i].begin < maps[i].end && maps[i].path >= text &&
			maps[i].path_size <= (size_t)(text + size - maps[i].path));
	if (count == 1)
		MUST(proc_find_map(maps, count, maps[0].begin) == &maps[0]);
	MUST(proc_parse_call(text, &call) == 0 || !call.is_running);
	MUST(proc_parse_stat(text, &stat) <= 0);
	free(text);
}

/* Three words say where the thread is, and of what machine. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input;
	uint16_t words[3];
	void *copy;

	parse_texts(data, size);
	if (size < sizeof(words))
		return 0;
	memcpy(words, data + size - sizeof(words), sizeof(words));
	size -= sizeof(words);
	/* Of its own size, so that whoever reads beyond is found; and aligned, as a mapping is. */
	copy = malloc(size);
	memcpy(copy, data, size);
	input = (struct input){
		.machine = words[2] % 2 == 0 ? &machine_x86_64 : &machine_aarch64,
		.file = {.data = copy, .size = size},
	};
	check_address(&input, words[0]);
	walk_through(&input, words[0], words[1]);
	free(copy);
	return 0;
}
