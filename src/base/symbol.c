/* SPDX-License-Identifier: MIT */
#include "base/symbol.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "base/append.h"
#include "base/elf_file.h"
#include "base/fd.h"

void symbol_name_object(char *buffer, size_t size, const char *path)
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
	symbol_name_object(buffer, size, length > 0 ? path : "program");
}

static void name_function(const char *path, struct symbol *symbol)
{
	FD_AUTO int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct elf_file file;
	uint64_t begin;

	if (fd < 0 || !elf_file_map(fd, &file))
		return;
	if (elf_file_function(&file, symbol->object_offset, symbol->name, sizeof(symbol->name), &begin))
		symbol->name_offset = symbol->object_offset - begin;
	elf_file_unmap(&file);
}

void symbol_find(uintptr_t address, struct symbol *ret_symbol)
{
	bool program;
	struct link_map *object = NULL;
	void *where = NULL;
	Dl_info info;

	*ret_symbol = (struct symbol){ .name_offset = 0 };
	if (dladdr1((const void *)address, &info, &where, RTLD_DL_LINKMAP) == 0 || where == NULL)
		return;
	object = where;
	program = object->l_name[0] == '\0';
	if (program)
		name_program(ret_symbol->object, sizeof(ret_symbol->object));
	else
		symbol_name_object(ret_symbol->object, sizeof(ret_symbol->object), object->l_name);
	ret_symbol->object_offset = address - object->l_addr;
	name_function(program ? "/proc/self/exe" : object->l_name, ret_symbol);
}

void symbol_append_place(char *buffer, size_t size, uintptr_t address, const struct symbol *symbol)
{
	if (symbol->object[0] == '\0') {
		append_number(buffer, size, address, 16);
		return;
	}
	if (symbol->name[0] != '\0') {
		append_text(buffer, size, symbol->name);
		append_text(buffer, size, "+");
		append_number(buffer, size, symbol->name_offset, 16);
		append_text(buffer, size, " (");
	}
	append_text(buffer, size, symbol->object);
	append_text(buffer, size, "+");
	append_number(buffer, size, symbol->object_offset, 16);
	if (symbol->name[0] != '\0')
		append_text(buffer, size, ")");
}
