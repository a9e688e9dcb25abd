/* SPDX-License-Identifier: MIT */
#ifndef BASE_SYMBOL_H
#define BASE_SYMBOL_H
/*
 * The name of the function at an address of this process, static functions included where the object file has not been
 * stripped. For the report of a crash: nothing here allocates or uses stdio, and only the loader's own lock is taken. A
 * file that changes while it is read may cost a SIGBUS, which the caller is prepared for.
 */
#include <stddef.h>
#include <stdint.h>

enum {
	SYMBOL_NAME_MAX = 96, /* longer names are cut */
	SYMBOL_OBJECT_MAX = 64,
	SYMBOL_PLACE_MAX = SYMBOL_NAME_MAX + SYMBOL_OBJECT_MAX + 64,
};

struct symbol {
	char name[SYMBOL_NAME_MAX];     /* "": unknown */
	char object[SYMBOL_OBJECT_MAX]; /* the file's name without its directory; "": the address is in none */
	uintptr_t name_offset;
	uintptr_t object_offset; /* as addr2line(1) takes it */
};

void symbol_find(uintptr_t address, struct symbol *ret_symbol);

/* The object's name: PATH without its directory. */
void symbol_name_object(char *buffer, size_t size, const char *path);

/* Appends "function+0x1f (module.so+0x12ab)", "module.so+0x12ab", or "0x7f0123". */
void symbol_append_place(char *buffer, size_t size, uintptr_t address, const struct symbol *symbol);

#endif
