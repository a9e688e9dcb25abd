/* SPDX-License-Identifier: MIT */
#include "base/elf_file.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

bool elf_file_map(int fd, struct elf_file *ret_file)
{
	struct stat status;
	void *data;

	if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) || status.st_size < (off_t)sizeof(ElfW(Ehdr)))
		return false;
	data = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (data == MAP_FAILED)
		return false;
	*ret_file = (struct elf_file){ .data = data, .size = (size_t)status.st_size };
	return true;
}

void elf_file_unmap(struct elf_file *file)
{
	if (file->data != NULL)
		munmap((void *)(uintptr_t)file->data, file->size);
	*file = (struct elf_file){ .data = NULL };
}

const void *elf_file_bytes(const struct elf_file *file, uint64_t offset, uint64_t size)
{
	if (offset > file->size || size > file->size - offset)
		return NULL;
	return file->data + offset;
}

/* COUNT elements of SIZE bytes at OFFSET, aligned as tables of such files are. */
static const void *table_at(const struct elf_file *file, uint64_t offset, uint64_t count, size_t size)
{
	if (offset > file->size || count > (file->size - offset) / size || offset % _Alignof(ElfW(Shdr)) != 0)
		return NULL;
	return file->data + offset;
}

static bool read_header(const struct elf_file *file, ElfW(Ehdr) * ret_header)
{
	static const unsigned char own_class = sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32;

	if (file->size < sizeof(*ret_header))
		return false;
	memcpy(ret_header, file->data, sizeof(*ret_header));
	return memcmp(ret_header->e_ident, ELFMAG, SELFMAG) == 0 && ret_header->e_ident[EI_CLASS] == own_class;
}

/* ---- segments ---- */

const ElfW(Phdr) * elf_file_segments(const struct elf_file *file, size_t *ret_count)
{
	ElfW(Ehdr) header;

	if (!read_header(file, &header) || header.e_phentsize != sizeof(ElfW(Phdr)))
		return NULL;
	*ret_count = header.e_phnum;
	return table_at(file, header.e_phoff, header.e_phnum, sizeof(ElfW(Phdr)));
}

bool elf_file_address(const struct elf_file *file, uint64_t offset, uint64_t *ret_address)
{
	size_t count = 0;
	const ElfW(Phdr) *segments = elf_file_segments(file, &count);

	for (size_t i = 0; segments != NULL && i < count; i++) {
		if (segments[i].p_type != PT_LOAD || offset < segments[i].p_offset ||
			offset - segments[i].p_offset >= segments[i].p_filesz)
			continue;
		*ret_address = offset - segments[i].p_offset + segments[i].p_vaddr;
		return true;
	}
	return false;
}

bool elf_file_offset(const struct elf_file *file, uint64_t address, uint64_t *ret_offset)
{
	size_t count = 0;
	const ElfW(Phdr) *segments = elf_file_segments(file, &count);

	for (size_t i = 0; segments != NULL && i < count; i++) {
		if (segments[i].p_type != PT_LOAD || address < segments[i].p_vaddr ||
			address - segments[i].p_vaddr >= segments[i].p_filesz)
			continue;
		*ret_offset = address - segments[i].p_vaddr + segments[i].p_offset;
		return true;
	}
	return false;
}

/* ---- symbols ---- */

static const ElfW(Shdr) * find_sections(const struct elf_file *file, size_t *ret_count)
{
	ElfW(Ehdr) header;

	if (!read_header(file, &header) || header.e_shentsize != sizeof(ElfW(Shdr)))
		return NULL;
	*ret_count = header.e_shnum;
	return table_at(file, header.e_shoff, header.e_shnum, sizeof(ElfW(Shdr)));
}

/* NAME at OFFSET of the section of strings; what has no end within the file is cut. */
static void copy_name(
	const struct elf_file *file, const ElfW(Shdr) * strings, uint64_t offset, char *name, size_t name_size)
{
	uint64_t begin = strings->sh_offset + offset;
	size_t size;

	if (begin < offset || begin >= file->size)
		return;
	size = strnlen(file->data + begin, file->size - begin < name_size ? file->size - begin : name_size);
	if (size == name_size)
		size--;
	memcpy(name, file->data + begin, size);
	name[size] = '\0';
}

/* Looks for the function in one table of symbols. */
static bool search_table(const struct elf_file *file, const ElfW(Shdr) * table, const ElfW(Shdr) * strings,
	uint64_t address, char *name, size_t size, uint64_t *ret_begin)
{
	size_t count = table->sh_size / sizeof(ElfW(Sym));
	const char *rows = table_at(file, table->sh_offset, count, sizeof(ElfW(Sym)));

	for (size_t i = 0; rows != NULL && i < count; i++) {
		ElfW(Sym) row;

		memcpy(&row, rows + i * sizeof(row), sizeof(row));
		if (ELF64_ST_TYPE(row.st_info) != STT_FUNC || row.st_shndx == SHN_UNDEF || address < row.st_value ||
			address - row.st_value >= row.st_size)
			continue;
		*ret_begin = row.st_value;
		copy_name(file, strings, row.st_name, name, size);
		return true;
	}
	return false;
}

bool elf_file_function(const struct elf_file *file, uint64_t address, char *name, size_t size, uint64_t *ret_begin)
{
	static const uint32_t types[] = { SHT_SYMTAB, SHT_DYNSYM };
	size_t count = 0;
	const ElfW(Shdr) *sections = find_sections(file, &count);

	for (size_t k = 0; sections != NULL && k < 2; k++)
		for (size_t i = 0; i < count; i++)
			if (sections[i].sh_type == types[k] && sections[i].sh_link < count &&
				search_table(file, &sections[i], &sections[sections[i].sh_link], address, name, size,
					ret_begin))
				return true;
	return false;
}
