/* SPDX-License-Identifier: MIT */
#include "look/cfi.h"

#include <errno.h>
#include <string.h>

/* How a pointer is encoded: LSB 5.0, "DWARF Exception Header Encoding". */
enum {
	FORM_MASK = 0x0f,
	FORM_NATIVE = 0x00,
	FORM_UNSIGNED_4 = 0x03,
	FORM_UNSIGNED_8 = 0x04,
	FORM_SIGNED_4 = 0x0b,
	FORM_SIGNED_8 = 0x0c,
	RELATIVE_MASK = 0x70,
	RELATIVE_TO_ITSELF = 0x10,
	INDIRECT = 0x80,
	/* What linkers write into the header of the table, and all that is understood there. */
	TABLE_FORM = 0x3b, /* relative to the table's own header, signed, four bytes */
	COUNT_FORM = FORM_UNSIGNED_4,
};

/* DW_CFA_...: DWARF 5, 7.24. The first three have an operand in their lower six bits. */
enum {
	OP_ADVANCE = 0x40,
	OP_OFFSET = 0x80,
	OP_RESTORE = 0xc0,
	OP_NOP = 0x00,
	OP_SET_LOCATION = 0x01,
	OP_ADVANCE_1 = 0x02,
	OP_ADVANCE_2 = 0x03,
	OP_ADVANCE_4 = 0x04,
	OP_OFFSET_EXTENDED = 0x05,
	OP_RESTORE_EXTENDED = 0x06,
	OP_UNDEFINED = 0x07,
	OP_SAME_VALUE = 0x08,
	OP_REGISTER = 0x09,
	OP_REMEMBER = 0x0a,
	OP_RECALL = 0x0b,
	OP_BASE = 0x0c,
	OP_BASE_REGISTER = 0x0d,
	OP_BASE_OFFSET = 0x0e,
	OP_BASE_EXPRESSION = 0x0f,
	OP_EXPRESSION = 0x10,
	OP_OFFSET_SIGNED = 0x11,
	OP_BASE_SIGNED = 0x12,
	OP_BASE_OFFSET_SIGNED = 0x13,
	OP_VALUE_OFFSET = 0x14,
	OP_VALUE_OFFSET_SIGNED = 0x15,
	OP_VALUE_EXPRESSION = 0x16,
	OP_SIGN_STATE = 0x2d, /* of aarch64: the return address is signed from here on, or no longer */
	OP_ARGUMENTS_SIZE = 0x2e,
};

/* Compilers nest them once. */
#define REMEMBERED_MAX 8

/* ---- bytes ---- */

struct reader {
	const struct elf_file *file;
	uint64_t at; /* offsets in the file */
	uint64_t end;
	bool failed;
};

static uint64_t read_number(struct reader *reader, size_t size)
{
	const void *bytes = elf_file_bytes(reader->file, reader->at, size);
	uint64_t number = 0;

	if (reader->failed || bytes == NULL || reader->at > reader->end || size > reader->end - reader->at) {
		reader->failed = true;
		return 0;
	}
	memcpy(&number, bytes, size); /* both machines have the lowest byte first */
	reader->at += size;
	return number;
}

static uint64_t read_leb(struct reader *reader, bool is_signed)
{
	uint64_t number = 0, byte;
	unsigned int shift = 0;

	do {
		byte = read_number(reader, 1);
		if (shift < 64)
			number |= (byte & 0x7f) << shift;
		shift += 7;
	} while ((byte & 0x80) != 0 && !reader->failed);
	if (is_signed && shift < 64 && (byte & 0x40) != 0)
		number |= UINT64_MAX << shift;
	return number;
}

static uint64_t read_unsigned(struct reader *reader)
{
	return read_leb(reader, false);
}

static int64_t read_signed(struct reader *reader)
{
	return (int64_t)read_leb(reader, true);
}

static void skip(struct reader *reader, uint64_t size)
{
	if (reader->failed || reader->at > reader->end || size > reader->end - reader->at)
		reader->failed = true;
	else
		reader->at += size;
}

/* An encoded pointer, and of a relative one what it points to; the sizes among them are never relative. */
static uint64_t read_pointer(struct reader *reader, unsigned int encoding)
{
	uint64_t here = 0, value;

	if ((encoding & INDIRECT) != 0 ||
		((encoding & RELATIVE_MASK) != 0 && (encoding & RELATIVE_MASK) != RELATIVE_TO_ITSELF)) {
		reader->failed = true;
		return 0;
	}
	if ((encoding & RELATIVE_MASK) == RELATIVE_TO_ITSELF && !elf_file_address(reader->file, reader->at, &here))
		reader->failed = true;
	switch (encoding & FORM_MASK) {
	case FORM_NATIVE:
	case FORM_UNSIGNED_8:
	case FORM_SIGNED_8:
		value = read_number(reader, 8);
		break;
	case FORM_UNSIGNED_4:
		value = read_number(reader, 4);
		break;
	case FORM_SIGNED_4:
		value = (uint64_t)(int64_t)(int32_t)read_number(reader, 4);
		break;
	default:
		reader->failed = true;
		return 0;
	}
	return here + value;
}

/* ---- finding the entry ---- */

static const ElfW(Phdr) * find_header(const struct elf_file *file)
{
	size_t count = 0;
	const ElfW(Phdr) *segments = elf_file_segments(file, &count);

	for (size_t i = 0; segments != NULL && i < count; i++)
		if (segments[i].p_type == PT_GNU_EH_FRAME)
			return &segments[i];
	return NULL;
}

/* The row of the table's that begins last before ADDRESS. Both words are relative to the header. */
static bool search_rows(const struct elf_file *file, uint64_t rows_at, uint64_t count, uint64_t header,
	uint64_t address, uint64_t *ret_entry)
{
	struct row {
		int32_t function;
		int32_t entry;
	} row = { 0 };
	uint64_t low = 0, high = count;

	while (low < high) {
		uint64_t middle = low + (high - low) / 2;
		const void *bytes = elf_file_bytes(file, rows_at + middle * sizeof(row), sizeof(row));

		if (bytes == NULL)
			return false;
		memcpy(&row, bytes, sizeof(row));
		if (header + (uint64_t)(int64_t)row.function <= address) {
			low = middle + 1;
			*ret_entry = header + (uint64_t)(int64_t)row.entry;
		} else {
			high = middle;
		}
	}
	return low > 0;
}

/* Where in the file the entry is that may be of ADDRESS: .eh_frame_hdr has a sorted table of them. */
static int find_entry(const struct elf_file *file, uint64_t address, uint64_t *ret_offset)
{
	const ElfW(Phdr) *header = find_header(file);
	struct reader reader;
	unsigned char forms[4];
	uint64_t count, entry = 0;

	if (header == NULL)
		return -ENOENT;
	reader = (struct reader){ .file = file, .at = header->p_offset, .end = file->size };
	for (size_t i = 0; i < sizeof(forms); i++)
		forms[i] = (unsigned char)read_number(&reader, 1);
	if (reader.failed || forms[0] != 1 || forms[2] != COUNT_FORM || forms[3] != TABLE_FORM)
		return -EBADMSG;
	read_pointer(&reader, forms[1]);
	count = read_number(&reader, 4);
	if (reader.failed)
		return -EBADMSG;
	if (!search_rows(file, reader.at, count, header->p_vaddr, address, &entry))
		return -ENOENT;
	return elf_file_offset(file, entry, ret_offset) ? 0 : -EBADMSG;
}

/* An entry, or what entries have in common, from its length on. */
static bool open_entry(const struct elf_file *file, uint64_t offset, struct reader *ret_reader)
{
	uint64_t length;

	*ret_reader = (struct reader){ .file = file, .at = offset, .end = file->size };
	length = read_number(ret_reader, 4);
	/* 0xffffffff: a longer form, which nobody writes. */
	if (ret_reader->failed || length == 0 || length == UINT32_MAX || length > file->size - ret_reader->at)
		return false;
	ret_reader->end = ret_reader->at + length;
	return true;
}

/* ---- what entries have in common ---- */

struct common {
	uint64_t code_factor;
	int64_t data_factor;
	unsigned int pointer_form;
	bool has_more;       /* entries have a part to be skipped */
	struct reader rules; /* that every function begins with */
};

static void read_augmentation(struct reader *reader, const char *letters, struct common *common)
{
	uint64_t size, end;

	common->has_more = letters[0] == 'z';
	if (!common->has_more) {
		reader->failed |= letters[0] != '\0';
		return;
	}
	size = read_unsigned(reader);
	end = reader->at + size;
	for (letters++; *letters != '\0' && !reader->failed; letters++) {
		if (*letters == 'R')
			common->pointer_form = (unsigned int)read_number(reader, 1);
		else if (*letters == 'L')
			read_number(reader, 1);
		else if (*letters == 'P')
			/* Of a pointer that is not looked at only the size counts. */
			read_pointer(reader, (unsigned int)read_number(reader, 1) & FORM_MASK);
		else if (*letters != 'S' && *letters != 'B')
			break; /* what follows is skipped */
	}
	if (end < reader->at || end > reader->end)
		reader->failed = true;
	reader->at = end;
}

static bool read_common(const struct elf_file *file, uint64_t offset, struct common *ret_common)
{
	struct reader reader;
	char letters[8] = "";
	uint64_t version;

	*ret_common = (struct common){ .pointer_form = FORM_NATIVE };
	if (!open_entry(file, offset, &reader) || read_number(&reader, 4) != 0)
		return false;
	version = read_number(&reader, 1);
	if (version != 1 && version != 3)
		return false;
	for (size_t i = 0; i < sizeof(letters); i++) {
		letters[i] = (char)read_number(&reader, 1);
		if (letters[i] == '\0')
			break;
	}
	if (letters[sizeof(letters) - 1] != '\0')
		return false;
	ret_common->code_factor = read_unsigned(&reader);
	ret_common->data_factor = read_signed(&reader);
	if (version == 1)
		read_number(&reader, 1); /* the register of the return address */
	else
		read_unsigned(&reader);
	read_augmentation(&reader, letters, ret_common);
	ret_common->rules = reader;
	return !reader.failed;
}

/* ---- the rules ---- */

struct run {
	const struct machine *machine;
	const struct common *common;
	uint64_t location;
	uint64_t until; /* the address that is asked for */
	struct cfi_frame now;
	struct cfi_frame first; /* after the rules that all have in common */
	struct cfi_frame remembered[REMEMBERED_MAX];
	size_t remembered_count;
};

/* NULL: nobody asks for that register. */
static struct cfi_rule *rule_of(struct cfi_frame *frame, const struct machine *machine, uint64_t number)
{
	if (number == machine->frame_pointer)
		return &frame->frame_pointer;
	return number == machine->return_address ? &frame->return_address : NULL;
}

static void set_rule(struct run *run, uint64_t number, enum cfi_place place, int64_t offset)
{
	struct cfi_rule *rule = rule_of(&run->now, run->machine, number);

	if (rule != NULL)
		*rule = (struct cfi_rule){ .place = place, .offset = offset };
}

static void restore_rule(struct run *run, uint64_t number)
{
	struct cfi_rule *rule = rule_of(&run->now, run->machine, number);

	if (rule != NULL)
		*rule = *rule_of(&run->first, run->machine, number);
}

/* As all arithmetic here: what overflows is of a file that is none, and no harm. */
static int64_t factored(const struct run *run, uint64_t number)
{
	return (int64_t)(number * (uint64_t)run->common->data_factor);
}

static void remember(struct run *run, struct reader *reader)
{
	if (run->remembered_count == REMEMBERED_MAX)
		reader->failed = true;
	else
		run->remembered[run->remembered_count++] = run->now;
}

static void recall(struct run *run, struct reader *reader)
{
	if (run->remembered_count == 0)
		reader->failed = true;
	else
		run->now = run->remembered[--run->remembered_count];
}

static void run_base(struct run *run, struct reader *reader, unsigned int op)
{
	struct cfi_frame *now = &run->now;

	now->base_known = op != OP_BASE_EXPRESSION;
	if (op == OP_BASE_EXPRESSION) {
		skip(reader, read_unsigned(reader));
		return;
	}
	if (op != OP_BASE_OFFSET && op != OP_BASE_OFFSET_SIGNED)
		now->base_register = (unsigned int)read_unsigned(reader);
	if (op == OP_BASE || op == OP_BASE_OFFSET)
		now->base_offset = (int64_t)read_unsigned(reader);
	else if (op != OP_BASE_REGISTER)
		now->base_offset = factored(run, (uint64_t)read_signed(reader));
}

static void run_register(struct run *run, struct reader *reader, unsigned int op)
{
	uint64_t number = read_unsigned(reader);

	switch (op) {
	case OP_OFFSET_EXTENDED:
		set_rule(run, number, CFI_SAVED, factored(run, read_unsigned(reader)));
		break;
	case OP_OFFSET_SIGNED:
		set_rule(run, number, CFI_SAVED, factored(run, (uint64_t)read_signed(reader)));
		break;
	case OP_RESTORE_EXTENDED:
		restore_rule(run, number);
		break;
	case OP_UNDEFINED:
		set_rule(run, number, CFI_NONE, 0);
		break;
	case OP_SAME_VALUE:
		set_rule(run, number, CFI_SAME, 0);
		break;
	case OP_EXPRESSION:
	case OP_VALUE_EXPRESSION:
		skip(reader, read_unsigned(reader));
		set_rule(run, number, CFI_UNKNOWN, 0);
		break;
	default: /* in another register, or a value that is computed */
		read_unsigned(reader);
		set_rule(run, number, CFI_UNKNOWN, 0);
		break;
	}
}

static void run_other(struct run *run, struct reader *reader, unsigned int op)
{
	switch (op) {
	case OP_NOP:
	case OP_SIGN_STATE:
		break;
	case OP_SET_LOCATION:
		run->location = read_pointer(reader, run->common->pointer_form);
		break;
	case OP_ADVANCE_1:
		run->location += read_number(reader, 1) * run->common->code_factor;
		break;
	case OP_ADVANCE_2:
		run->location += read_number(reader, 2) * run->common->code_factor;
		break;
	case OP_ADVANCE_4:
		run->location += read_number(reader, 4) * run->common->code_factor;
		break;
	case OP_REMEMBER:
		remember(run, reader);
		break;
	case OP_RECALL:
		recall(run, reader);
		break;
	case OP_ARGUMENTS_SIZE:
		read_unsigned(reader);
		break;
	case OP_BASE:
	case OP_BASE_REGISTER:
	case OP_BASE_OFFSET:
	case OP_BASE_EXPRESSION:
	case OP_BASE_SIGNED:
	case OP_BASE_OFFSET_SIGNED:
		run_base(run, reader, op);
		break;
	default:
		if (op > OP_VALUE_EXPRESSION)
			reader->failed = true;
		else
			run_register(run, reader, op);
		break;
	}
}

/* Up to the rules that hold at `until`. */
static bool run_rules(struct run *run, struct reader reader)
{
	while (reader.at < reader.end && !reader.failed) {
		unsigned int op = (unsigned int)read_number(&reader, 1);

		if ((op & 0xc0) == OP_ADVANCE)
			run->location += (op & 0x3f) * run->common->code_factor;
		else if ((op & 0xc0) == OP_OFFSET)
			set_rule(run, op & 0x3f, CFI_SAVED, factored(run, read_unsigned(&reader)));
		else if ((op & 0xc0) == OP_RESTORE)
			restore_rule(run, op & 0x3f);
		else
			run_other(run, &reader, op);
		if (run->location > run->until)
			break;
	}
	return !reader.failed;
}

int cfi_find(const struct elf_file *file, const struct machine *machine, uint64_t address, struct cfi_frame *ret_frame)
{
	struct run run = { .machine = machine, .until = address };
	struct common common;
	struct reader entry;
	uint64_t offset = 0, back, common_at, size;
	int result = find_entry(file, address, &offset);

	if (result < 0)
		return result;
	if (!open_entry(file, offset, &entry))
		return -EBADMSG;
	common_at = entry.at;
	back = read_number(&entry, 4);
	if (back == 0 || back > common_at || !read_common(file, common_at - back, &common))
		return -EBADMSG;
	run.common = &common;
	run.location = read_pointer(&entry, common.pointer_form);
	size = read_pointer(&entry, common.pointer_form & FORM_MASK);
	if (common.has_more)
		skip(&entry, read_unsigned(&entry));
	if (entry.failed)
		return -EBADMSG;
	if (address < run.location || address - run.location >= size)
		return -ENOENT;
	run.now.function = run.location;
	run.now.size = size;
	if (!run_rules(&run, common.rules))
		return -EBADMSG;
	run.first = run.now;
	if (!run_rules(&run, entry))
		return -EBADMSG;
	*ret_frame = run.now;
	return 0;
}
