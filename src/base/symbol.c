/* SPDX-License-Identifier: MIT */
#include "base/symbol.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

/* An object file in memory. Nothing in it is believed: another file may stand at its path now. */
struct image {
	const char *data;
	size_t size;
};

static bool image_map(const char *path, struct image *image)
{
	FD_AUTO int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat status;
	void *data;

	if (fd < 0 || fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) || status.st_size < (off_t)sizeof(ElfW(Ehdr)))
		return false;
	data = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (data == MAP_FAILED)
		return false;
	*image = (struct image){ .data = data, .size = (size_t)status.st_size };
	return true;
}

/* COUNT elements of SIZE bytes at OFFSET, or NULL where the file does not have them. */
static const void *image_at(const struct image *image, uint64_t offset, uint64_t count, size_t size)
{
	if (offset > image->size || count > (image->size - offset) / size || offset % _Alignof(ElfW(Shdr)) != 0)
		return NULL;
	return image->data + offset;
}

static const ElfW(Shdr) * image_sections(const struct image *image, size_t *ret_count)
{
	ElfW(Ehdr) header;

	memcpy(&header, image->data, sizeof(header));
	if (memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_shentsize != sizeof(ElfW(Shdr)))
		return NULL;
	*ret_count = header.e_shnum;
	return image_at(image, header.e_shoff, header.e_shnum, sizeof(ElfW(Shdr)));
}

/* NAME at OFFSET of the section of strings; what has no end within the file is cut. */
static void copy_name(const struct image *image, const ElfW(Shdr) * strings, size_t offset, char *name)
{
	uint64_t begin = strings->sh_offset + offset;
	size_t size;

	if (begin < offset || begin >= image->size)
		return;
	size = strnlen(
		image->data + begin, image->size - begin < SYMBOL_NAME_MAX ? image->size - begin : SYMBOL_NAME_MAX);
	if (size == SYMBOL_NAME_MAX)
		size--;
	memcpy(name, image->data + begin, size);
	name[size] = '\0';
}

/* Looks for the function in one table of symbols. */
static bool search_table(
	const struct image *image, const ElfW(Shdr) * table, const ElfW(Shdr) * strings, struct symbol *symbol)
{
	size_t count = table->sh_size / sizeof(ElfW(Sym));
	const char *rows = image_at(image, table->sh_offset, count, sizeof(ElfW(Sym)));

	for (size_t i = 0; rows != NULL && i < count; i++) {
		ElfW(Sym) row;

		memcpy(&row, rows + i * sizeof(row), sizeof(row));
		if (ELF64_ST_TYPE(row.st_info) != STT_FUNC || row.st_shndx == SHN_UNDEF ||
			symbol->object_offset < row.st_value || symbol->object_offset - row.st_value >= row.st_size)
			continue;
		symbol->name_offset = symbol->object_offset - row.st_value;
		copy_name(image, strings, row.st_name, symbol->name);
		return true;
	}
	return false;
}

static void search_image(const struct image *image, struct symbol *symbol)
{
	static const uint32_t types[] = { SHT_SYMTAB, SHT_DYNSYM };
	size_t count = 0;
	const ElfW(Shdr) *sections = image_sections(image, &count);

	for (size_t k = 0; sections != NULL && k < 2; k++)
		for (size_t i = 0; i < count; i++)
			if (sections[i].sh_type == types[k] && sections[i].sh_link < count &&
				search_table(image, &sections[i], &sections[sections[i].sh_link], symbol))
				return;
}

static void copy_tail(char *buffer, size_t size, const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *tail = slash != NULL ? slash + 1 : path;
	size_t length = strnlen(tail, size - 1);

	memcpy(buffer, tail, length);
	buffer[length] = '\0';
}

/* The program itself has no name in the loader's list, and its first argument may have been written over. */
static void name_program(char *buffer, size_t size)
{
	char path[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);

	if (length < 0)
		length = 0;
	path[length] = '\0';
	copy_tail(buffer, size, length > 0 ? path : "program");
}

void symbol_find(uintptr_t address, struct symbol *ret_symbol)
{
	bool program;
	struct link_map *object = NULL;
	void *where = NULL;
	struct image image;
	Dl_info info;

	*ret_symbol = (struct symbol){ .name_offset = 0 };
	if (dladdr1((const void *)address, &info, &where, RTLD_DL_LINKMAP) == 0 || where == NULL)
		return;
	object = where;
	program = object->l_name[0] == '\0';
	if (program)
		name_program(ret_symbol->object, sizeof(ret_symbol->object));
	else
		copy_tail(ret_symbol->object, sizeof(ret_symbol->object), object->l_name);
	ret_symbol->object_offset = address - object->l_addr;
	if (!image_map(program ? "/proc/self/exe" : object->l_name, &image))
		return;
	search_image(&image, ret_symbol);
	munmap((void *)(uintptr_t)image.data, image.size);
}
