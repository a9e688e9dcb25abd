/* SPDX-License-Identifier: MIT */
#ifndef BASE_ELF_FILE_H
#define BASE_ELF_FILE_H
/*
 * An object file in memory (elf(5)), of this machine's word size. Nothing in it is believed: it may be any file, made
 * by whoever would mislead the reader; every offset is checked. Nothing here allocates or uses stdio. A file that is
 * cut while it is read costs a SIGBUS, which the caller is prepared for.
 *
 * An "address" is one of the file's own, as its segments say, and as addr2line(1) takes it.
 */
#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct elf_file {
	const char *data;
	size_t size;
};

/* Maps the regular file in FD, which stays the caller's. False: it is none. */
bool elf_file_map(int fd, struct elf_file *ret_file);
void elf_file_unmap(struct elf_file *file);

/* SIZE bytes at OFFSET; NULL where the file does not have them. */
const void *elf_file_bytes(const struct elf_file *file, uint64_t offset, uint64_t size);

/* The file's segments. NULL: it is no object file. */
const ElfW(Phdr) * elf_file_segments(const struct elf_file *file, size_t *ret_count);
/* Where the segments put what stands at OFFSET, and where they have it from. False: no segment has it. */
bool elf_file_address(const struct elf_file *file, uint64_t offset, uint64_t *ret_address);
bool elf_file_offset(const struct elf_file *file, uint64_t address, uint64_t *ret_offset);

/* The function at ADDRESS, static ones included where the file has not been stripped; a name that is longer than SIZE
 * is cut. False: it has no name. */
bool elf_file_function(const struct elf_file *file, uint64_t address, char *name, size_t size, uint64_t *ret_begin);

#endif
