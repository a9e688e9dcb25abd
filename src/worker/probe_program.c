/* SPDX-License-Identifier: MIT */
#include "worker/probe_program.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "worker/probe.h"

/* What the kernel reads of a file to see what it is: BINPRM_BUF_SIZE of linux/binfmts.h. */
#define HEAD_SIZE 256
/* A script may have a script for its interpreter, and so on: so many of them, then ELOOP (execve(2); tried). */
#define SCRIPTS_MAX 5
/* More program headers than any program has; the kernel's own limit is a page of 64 KiB. */
#define SEGMENTS_MAX 1024

/* A file that execve() would have to read, and how to speak of it: "", "is a script whose interpreter /bin/x ". */
struct look {
	const struct pool_config *pool;
	struct probe_answer *answer;
	char prefix[PATH_MAX + 64];
	int scripts; /* the depth, in scripts */
};

static void look_at_file(struct look *look, const char *path);

static void refuse(struct look *look, const char *what)
{
	probe_refuse(look->answer, "%s%s", look->prefix, what);
}

static void refuse_errno(struct look *look, const char *what, int error)
{
	const char *user = look->pool->identity.user, *root = look->pool->chroot ? look->pool->chroot : "";
	bool named = error == EACCES && look->pool->identity.change && user != NULL && user[0] != '\0';

	if (error == ENOENT || error == ENOTDIR)
		probe_refuse(look->answer, "%sdoes not exist%s%s", look->prefix, root[0] != '\0' ? " in " : "", root);
	else
		probe_refuse(look->answer, "%s%s%s%s: %s", look->prefix, what, named ? " for user " : "",
			named ? user : "", log_strerror(error));
}

/* In the order in which execve(2) would find it out. */
static bool is_executable(struct look *look, const char *seen)
{
	struct stat status;

	if (stat(seen, &status) < 0)
		refuse_errno(look, "cannot be reached", errno);
	else if (!S_ISREG(status.st_mode))
		refuse(look, "is not a regular file");
	else if (faccessat(AT_FDCWD, seen, X_OK, AT_EACCESS) < 0)
		refuse_errno(look, "is not executable", errno);
	else
		return true;
	return false;
}

/* ---- scripts ---- */

static bool is_blank(char byte)
{
	return byte == ' ' || byte == '\t';
}

/*
 * The interpreter's path in the first line, behind "#!", as the kernel reads it: without blanks before it, up to the
 * next blank or the end of the line. SIZE is what was read, at most HEAD_SIZE. Returns what is wrong with it, or NULL.
 */
static const char *parse_interpreter(const char *head, size_t size, char *ret_path)
{
	size_t begin = 2, end;

	while (begin < size && is_blank(head[begin]))
		begin++;
	end = begin;
	while (end < size && !is_blank(head[end]) && head[end] != '\n' && head[end] != '\0')
		end++;
	if (end == size && size == HEAD_SIZE)
		return "is a script whose first line is too long";
	if (end == begin)
		return "is a script that names no interpreter";
	memcpy(ret_path, head + begin, end - begin);
	ret_path[end - begin] = '\0';
	return NULL;
}

static void look_at_script(struct look *look, const char *head, size_t size)
{
	char path[HEAD_SIZE + 1];
	const char *wrong = parse_interpreter(head, size, path);

	if (wrong != NULL)
		refuse(look, wrong);
	else if (++look->scripts > SCRIPTS_MAX)
		refuse(look, "is a script whose interpreter is a script, and so on, too often");
	else {
		snprintf(look->prefix, sizeof(look->prefix), "is a script whose interpreter %s ", path);
		look_at_file(look, path);
	}
}

/* ---- ELF ---- */

/* Where the path of its dynamic linker stands; 0 bytes: it has none. */
struct interpreter_place {
	uint64_t offset;
	uint64_t size;
};

static bool read_at(int fd, void *buffer, size_t size, uint64_t offset)
{
	return offset <= INT64_MAX && pread(fd, buffer, size, (off_t)offset) == (ssize_t)size;
}

static bool find_interpreter_64(int fd, const Elf64_Ehdr *file, struct interpreter_place *ret_place)
{
	for (unsigned int i = 0; i < file->e_phnum && i < SEGMENTS_MAX; i++) {
		Elf64_Phdr segment;

		if (!read_at(fd, &segment, sizeof(segment), file->e_phoff + i * sizeof(segment)))
			return false;
		if (segment.p_type == PT_INTERP)
			*ret_place = (struct interpreter_place){ segment.p_offset, segment.p_filesz };
	}
	return file->e_phentsize == sizeof(Elf64_Phdr) && file->e_phnum > 0;
}

static bool find_interpreter_32(int fd, const Elf32_Ehdr *file, struct interpreter_place *ret_place)
{
	for (unsigned int i = 0; i < file->e_phnum && i < SEGMENTS_MAX; i++) {
		Elf32_Phdr segment;

		if (!read_at(fd, &segment, sizeof(segment), (uint64_t)file->e_phoff + i * sizeof(segment)))
			return false;
		if (segment.p_type == PT_INTERP)
			*ret_place = (struct interpreter_place){ segment.p_offset, segment.p_filesz };
	}
	return file->e_phentsize == sizeof(Elf32_Phdr) && file->e_phnum > 0;
}

/* The two classes have one layout up to e_entry. A file of the other byte order runs nowhere here. */
static bool find_interpreter(int fd, const char *head, size_t size, struct interpreter_place *ret_place)
{
	union {
		char bytes[sizeof(Elf64_Ehdr)];
		Elf32_Ehdr file32;
		Elf64_Ehdr file64;
	} header = { .bytes = { 0 } };
	const int native = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? ELFDATA2LSB : ELFDATA2MSB;

	memcpy(&header, head, size < sizeof(header) ? size : sizeof(header));
	if (size < sizeof(Elf32_Ehdr) || head[EI_DATA] != native ||
		(header.file32.e_type != ET_EXEC && header.file32.e_type != ET_DYN))
		return false;
	if (head[EI_CLASS] == ELFCLASS64)
		return find_interpreter_64(fd, &header.file64, ret_place);
	return head[EI_CLASS] == ELFCLASS32 && find_interpreter_32(fd, &header.file32, ret_place);
}

static void look_at_elf(struct look *look, int fd, const char *head, size_t size)
{
	struct interpreter_place place = { 0, 0 };
	char path[PATH_MAX], buffer[PATH_MAX];

	if (!find_interpreter(fd, head, size, &place)) {
		refuse(look, "is no program that this machine runs");
		return;
	}
	if (place.size == 0)
		return;
	if (place.size > sizeof(path) || !read_at(fd, path, (size_t)place.size, place.offset) ||
		path[place.size - 1] != '\0') {
		refuse(look, "is no program that this machine runs: the name of its interpreter is cut");
		return;
	}
	snprintf(look->prefix, sizeof(look->prefix), "is a program whose interpreter %s ", path);
	(void)is_executable(look, probe_path(look->pool, path, buffer));
}

/* ---- any file ---- */

static void look_at_contents(struct look *look, int fd)
{
	char head[HEAD_SIZE];
	ssize_t size = pread(fd, head, sizeof(head), 0);

	if (size < 0)
		refuse_errno(look, "cannot be read", errno);
	else if (size >= 2 && memcmp(head, "#!", 2) == 0)
		look_at_script(look, head, (size_t)size);
	else if (size >= SELFMAG && memcmp(head, ELFMAG, SELFMAG) == 0)
		look_at_elf(look, fd, head, (size_t)size);
	else
		refuse(look, size == 0 ? "is empty" : "is neither a program nor a script with #! in its first line");
}

static void look_at_file(struct look *look, const char *path)
{
	char buffer[PATH_MAX];
	const char *seen = probe_path(look->pool, path, buffer);
	FD_AUTO int fd = -1;

	if (!is_executable(look, seen))
		return;
	/* What may be executed need not be readable, and then is not looked into. */
	fd = open(seen, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd >= 0)
		look_at_contents(look, fd);
}

static void look_at_program(const struct pool_config *pool, struct probe_answer *answer)
{
	const struct program_config *program = &pool->program;
	struct look look = { .pool = pool, .answer = answer };
	const char *directory = program->directory != NULL ? program->directory : "/";
	char buffer[PATH_MAX];

	if (chdir(probe_path(pool, directory, buffer)) < 0) {
		snprintf(look.prefix, sizeof(look.prefix), "cannot be started: directory %s ", directory);
		refuse_errno(&look, "cannot be entered", errno);
		return;
	}
	look_at_file(&look, program->path);
}

int probe_program(const struct pool_config *pool, char *reason, size_t size)
{
	char *answer;
	size_t answer_size;
	int result = probe_run(pool, look_at_program, "cannot be looked at: its process", PROBE_TIMEOUT_MS, &answer,
		&answer_size, reason, size);

	if (result < 0)
		return result;
	free(answer);
	return 0;
}
