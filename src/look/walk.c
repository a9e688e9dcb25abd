/* SPDX-License-Identifier: MIT */
#include "look/walk.h"

/* A record is not looked for beyond: a frame that is larger ends the walk. */
#define SEARCH_MAX (UINT64_C(32) * 1024)
/* So far a chain of records is followed to see whether it is one. */
#define CHAIN_MAX 64
/* So much of a function is searched for a jump, and so many functions are. */
#define JUMP_CODE_MAX      8192
#define JUMP_FUNCTIONS_MAX 64

#define WORD sizeof(uint64_t)

/* ---- what is on the stack ---- */

static bool read_word(const struct walk *walk, uint64_t address, uint64_t *ret_word)
{
	return walk->read(walk->context, address, ret_word, WORD);
}

struct record {
	uint64_t at;
	uint64_t next;    /* the caller's frame pointer */
	uint64_t address; /* behind the call */
};

static bool read_record(const struct walk *walk, uint64_t at, struct record *ret_record)
{
	uint64_t words[2];

	if (!walk->read(walk->context, at, words, sizeof(words)))
		return false;
	*ret_record = (struct record){ .at = at, .next = words[0], .address = words[1] & walk->machine->address_mask };
	return true;
}

static bool is_on_stack(const struct walk *walk, uint64_t at, uint64_t above)
{
	return at > above && at % walk->machine->record_alignment == 0 && at < walk->stack_end;
}

/* ---- calls ---- */

/* Where code at ADDRESS leads: a stub is only the way to another function. 0: nowhere. */
static uint64_t follow_stub(const struct walk *walk, uint64_t address)
{
	unsigned char code[16];
	uint64_t word, function = address;

	if (!walk->is_code(walk->context, address))
		return 0;
	if (walk->read(walk->context, address, code, sizeof(code)) && walk->machine->is_stub(code, address, &word) &&
		!read_word(walk, word, &function))
		return 0;
	return function;
}

/* What kind of call ADDRESS is behind, and of a direct one the function. */
static enum call_kind find_call(const struct walk *walk, uint64_t address, uint64_t *ret_function)
{
	unsigned char code[8];
	uint64_t function;
	enum call_kind kind;

	if (address < sizeof(code) || !walk->is_code(walk->context, address - 1) ||
		!walk->read(walk->context, address - sizeof(code), code, sizeof(code)))
		return CALL_NONE;
	kind = walk->machine->call_before(code, address, &function);
	if (kind != CALL_DIRECT)
		return kind;
	*ret_function = follow_stub(walk, function);
	return *ret_function == 0 ? CALL_NONE : CALL_DIRECT;
}

static bool is_return_address(const struct walk *walk, uint64_t address)
{
	uint64_t function;

	return find_call(walk, address, &function) != CALL_NONE;
}

/* ---- jumps ---- */

static bool is_within(const struct cfi_frame *frame, uint64_t address)
{
	return address - frame->function < frame->size;
}

/*
 * Whether the code of FROM jumps into the function INTO: its last call may be a jump, which leaves no return address;
 * and what compilers set apart of a function, as it is seldom needed, is a function of its own here.
 */
static bool jumps_into(const struct walk *walk, const struct cfi_frame *from, const struct cfi_frame *into)
{
	unsigned char code[JUMP_CODE_MAX + 8] = { 0 };
	uint64_t size = from->size < JUMP_CODE_MAX ? from->size : JUMP_CODE_MAX;

	if (!walk->read(walk->context, from->function, code, size))
		return false;
	for (uint64_t i = 0; i < size; i += walk->machine->code_alignment) {
		uint64_t target;

		if (walk->machine->jump_at(code + i, from->function + i, &target) &&
			(is_within(into, target) ||
				(!is_within(from, target) && follow_stub(walk, target) == into->function)))
			return true;
	}
	return false;
}

/* ---- looking for a record ---- */

/* Whether the records from FROM on lead to the one at TO. */
static bool chain_reaches(const struct walk *walk, const struct record *from, uint64_t to)
{
	struct record record = *from;

	for (int i = 0; i < CHAIN_MAX && record.at < to; i++)
		if (!is_on_stack(walk, record.next, record.at) || !read_record(walk, record.next, &record))
			return false;
	return record.at == to;
}

/* Whether a caller from FROM on is FUNCTION itself: then it has called itself, or what it has called by a pointer has
 * left the record behind. */
static bool chain_returns_into(const struct walk *walk, const struct record *from, uint64_t function)
{
	struct record record = *from;

	for (int i = 0; i < CHAIN_MAX; i++) {
		struct cfi_frame frame;

		if (walk->frame(walk->context, record.address - 1, &frame) && frame.function == function)
			return true;
		if (!is_on_stack(walk, record.next, record.at) || !read_record(walk, record.next, &record) ||
			!is_return_address(walk, record.address))
			return false;
	}
	return false;
}

/* What is found of a frame's record: the first of each kind, from the stack pointer on. */
struct search {
	const struct cfi_frame *frame; /* NULL: nothing is known of the function */
	struct record called;          /* behind a direct call of the function */
	struct record jumped;          /* behind one of a function that jumps there */
	struct record likely;          /* behind a call by a pointer, and none of its callers is the function itself */
	struct record possible;        /* behind one of which no more is known */
	int jumps_left;
};

static bool is_jumped_to(const struct walk *walk, struct search *search, uint64_t function)
{
	struct cfi_frame called;

	return search->jumped.at == 0 && search->jumps_left-- > 0 && walk->frame(walk->context, function, &called) &&
	       called.function == function && jumps_into(walk, &called, search->frame);
}

static void search_at(const struct walk *walk, struct search *search, const struct record *record)
{
	const struct cfi_frame *frame = search->frame;
	uint64_t called = 0;
	enum call_kind kind = find_call(walk, record->address, &called);

	if (kind == CALL_NONE)
		return;
	if (kind == CALL_DIRECT && frame != NULL) {
		if (called == frame->function)
			search->called = *record;
		else if (is_jumped_to(walk, search, called))
			search->jumped = *record;
		return;
	}
	if (!is_on_stack(walk, record->next, record->at))
		return;
	if (search->possible.at == 0)
		search->possible = *record;
	if (frame != NULL && search->likely.at == 0 && !chain_returns_into(walk, record, frame->function))
		search->likely = *record;
}

/* Whether RECORD, which was found below that of a direct call, is of the function, too, as it has called itself. */
static bool is_nested(const struct walk *walk, const struct record *record, const struct record *called)
{
	return record->at != 0 && chain_reaches(walk, record, called->at);
}

/* The best of what was found. */
static const struct record *choose(const struct walk *walk, const struct search *search, bool *ret_is_guess)
{
	const struct record *sure = search->called.at != 0 ? &search->called : &search->jumped;

	if (search->called.at != 0 && is_nested(walk, &search->jumped, sure))
		sure = &search->jumped;
	*ret_is_guess = true;
	if (sure->at == 0)
		return search->likely.at != 0 ? &search->likely : &search->possible;
	if (search->possible.at < sure->at && is_nested(walk, &search->possible, sure))
		return &search->possible;
	*ret_is_guess = false;
	return sure;
}

/* The record of FRAME's function, which is above the stack pointer. */
static bool search_record(const struct walk *walk, const struct cfi_frame *frame, uint64_t stack_pointer,
	uint64_t *ret_at, bool *ret_is_guess)
{
	uint64_t step = walk->machine->record_alignment;
	uint64_t at = (stack_pointer + step - 1) / step * step;
	struct search search = { .frame = frame, .jumps_left = JUMP_FUNCTIONS_MAX };
	struct record record;

	for (uint64_t end = at + SEARCH_MAX; at < end && at < walk->stack_end && search.called.at == 0; at += step) {
		if (!read_record(walk, at, &record))
			break;
		search_at(walk, &search, &record);
	}
	*ret_at = choose(walk, &search, ret_is_guess)->at;
	return *ret_at != 0;
}

/* ---- one frame after the other ---- */

struct position {
	uint64_t instruction;
	uint64_t stack_pointer;
	uint64_t frame_pointer;
	bool frame_pointer_known;
	bool is_return;
	bool is_guess;
};

/* Without a word from the object file: a frame that has a record. */
static bool step_by_record(const struct walk *walk, struct position *position)
{
	struct record record;

	if (!position->frame_pointer_known || !read_record(walk, position->frame_pointer, &record))
		return false;
	position->instruction = record.address;
	position->stack_pointer = record.at + 2 * WORD;
	position->frame_pointer = record.next;
	return true;
}

static bool find_base(
	const struct walk *walk, const struct cfi_frame *frame, const struct position *position, uint64_t *ret_base)
{
	if (!frame->base_known)
		return false;
	if (frame->base_register == walk->machine->stack_pointer)
		*ret_base = position->stack_pointer + (uint64_t)frame->base_offset;
	else if (frame->base_register == walk->machine->frame_pointer && position->frame_pointer_known)
		*ret_base = position->frame_pointer + (uint64_t)frame->base_offset;
	else
		return false;
	return *ret_base >= position->stack_pointer;
}

/* By what the object file says. */
static bool step_by_rules(const struct walk *walk, const struct cfi_frame *frame, struct position *position)
{
	uint64_t base, address;

	if (!find_base(walk, frame, position, &base) || frame->return_address.place != CFI_SAVED ||
		!read_word(walk, base + (uint64_t)frame->return_address.offset, &address))
		return false;
	if (frame->frame_pointer.place == CFI_SAVED)
		position->frame_pointer_known =
			read_word(walk, base + (uint64_t)frame->frame_pointer.offset, &position->frame_pointer);
	else if (frame->frame_pointer.place != CFI_SAME)
		position->frame_pointer_known = false;
	position->instruction = address & walk->machine->address_mask;
	position->stack_pointer = base;
	return true;
}

/* Whether the frame's base cannot be told before its record is found. */
static bool needs_record(const struct walk *walk, const struct cfi_frame *frame, const struct position *position)
{
	if (position->frame_pointer_known)
		return false;
	return frame == NULL || (frame->base_known && frame->base_register == walk->machine->frame_pointer);
}

/* To the caller. */
static bool step(const struct walk *walk, struct position *position)
{
	uint64_t before = position->stack_pointer;
	struct cfi_frame frame;
	/* The call may be the last instruction of its function. */
	bool known = walk->frame(walk->context, position->instruction - (position->is_return ? 1 : 0), &frame);
	bool is_guess = false;

	if (known && (frame.return_address.place == CFI_NONE || frame.function == walk->outermost))
		return false;
	if (needs_record(walk, known ? &frame : NULL, position)) {
		position->frame_pointer_known =
			search_record(walk, known ? &frame : NULL, before, &position->frame_pointer, &is_guess);
		position->is_guess |= is_guess;
	}
	if (known ? !step_by_rules(walk, &frame, position) : !step_by_record(walk, position))
		return false;
	position->is_return = true;
	/* Only where it is, the thread may have put nothing on the stack yet. */
	return position->stack_pointer > before || (known && position->stack_pointer == before);
}

/* In a register, which is not known, the return address is only of a function that calls no other, such as a system
 * call's of the C library; its caller has a record, and who has called that names it. */
static bool step_over_leaf(const struct walk *walk, struct position *position, struct walk_frame *ret_caller)
{
	struct record record;
	bool is_guess;

	if (!search_record(walk, NULL, position->stack_pointer, &record.at, &is_guess) ||
		!read_record(walk, record.at, &record) ||
		find_call(walk, record.address, &ret_caller->address) != CALL_DIRECT)
		return false;
	ret_caller->is_return = false;
	ret_caller->is_guess = true;
	*position = (struct position){
		.instruction = record.address,
		.stack_pointer = record.at + 2 * WORD,
		.frame_pointer = record.next,
		.frame_pointer_known = true,
		.is_return = true,
		.is_guess = true,
	};
	return true;
}

static bool is_leaf(const struct walk *walk, uint64_t instruction)
{
	struct cfi_frame frame;

	return walk->frame(walk->context, instruction, &frame) && frame.return_address.place == CFI_SAME;
}

size_t walk_frames(const struct walk *walk, uint64_t instruction, uint64_t stack_pointer,
	struct walk_frame frames[WALK_FRAMES_MAX])
{
	struct position position = { .instruction = instruction, .stack_pointer = stack_pointer };
	size_t count = 1;

	frames[0] = (struct walk_frame){ .address = instruction };
	if (is_leaf(walk, instruction)) {
		if (!step_over_leaf(walk, &position, &frames[1]))
			return 1;
		frames[2] = (struct walk_frame){ .address = position.instruction, .is_return = true, .is_guess = true };
		count = 3;
	}
	while (count < WALK_FRAMES_MAX && step(walk, &position) && is_return_address(walk, position.instruction))
		frames[count++] = (struct walk_frame){
			.address = position.instruction,
			.is_return = true,
			.is_guess = position.is_guess,
		};
	return count;
}
