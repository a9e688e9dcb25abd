/* SPDX-License-Identifier: MIT */
#include "look/objects.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

/* ---- files ---- */

static bool is_same_file(const struct proc_map *a, const struct proc_map *b)
{
	return a->inode != 0 && a->inode == b->inode && a->major == b->major && a->minor == b->minor;
}

/* Whether what is mapped at DATA is the file of MAP, by the kernel's word for both: stat(2) has other numbers of a
 * device on some file systems. */
static bool is_file_of(const void *data, const struct proc_map *map)
{
	char *line = NULL;
	size_t size = 0;
	FILE *maps = fopen("/proc/self/maps", "re");
	bool same = false;

	while (maps != NULL && getline(&line, &size, maps) > 0) {
		struct proc_map own;

		if (proc_parse_map(line, &own) != NULL && own.begin == (uint64_t)(uintptr_t)data)
			same = is_same_file(&own, map);
	}
	if (maps != NULL)
		fclose(maps);
	free(line);
	return same;
}

/* An open for reading may do things to a device: only what is known to be a regular file is. */
static int open_regular(int directory, const char *path)
{
	FD_AUTO int there = openat(directory, path, O_PATH | O_CLOEXEC);
	struct stat status;
	char own[64];

	if (there < 0 || fstat(there, &status) < 0 || !S_ISREG(status.st_mode))
		return -1;
	snprintf(own, sizeof(own), "/proc/self/fd/%d", there);
	return open(own, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
}

static bool map_file(int directory, const char *path, const struct proc_map *map, struct elf_file *ret_file)
{
	FD_AUTO int fd = open_regular(directory, path);

	if (fd < 0 || !elf_file_map(fd, ret_file))
		return false;
	if (is_file_of(ret_file->data, map))
		return true;
	elf_file_unmap(ret_file);
	return false;
}

/*
 * First by the mapping itself, which needs a privilege; then by the path, below the process's own root; then the
 * program, which a newer one may have replaced at its path.
 */
static bool find_file(int directory, const struct proc_map *map, struct elf_file *ret_file)
{
	char path[PATH_MAX + 64];

	if (map->inode == 0)
		return false;
	snprintf(path, sizeof(path), "map_files/%" PRIx64 "-%" PRIx64, map->begin, map->end);
	if (map_file(directory, path, map, ret_file))
		return true;
	if (map->path_size < PATH_MAX && map->path[0] == '/') {
		snprintf(path, sizeof(path), "root/%.*s", (int)map->path_size, map->path);
		if (map_file(directory, path, map, ret_file))
			return true;
	}
	return map_file(directory, "exe", map, ret_file);
}

/* ---- objects ---- */

void objects_init(struct objects *objects, int directory, const struct proc_map *maps, size_t map_count)
{
	*objects = (struct objects){ .directory = directory, .maps = maps, .map_count = map_count };
}

void objects_done(struct objects *objects)
{
	for (size_t i = 0; i < objects->count; i++)
		elf_file_unmap(&objects->objects[i].file);
	objects->count = 0;
}

static uint64_t lowest_address(const struct objects *objects, const struct proc_map *map)
{
	for (size_t i = 0; i < objects->map_count; i++)
		if (is_same_file(&objects->maps[i], map))
			return objects->maps[i].begin - objects->maps[i].offset;
	return map->begin;
}

/* The object of MAP. NULL: there are too many. */
static struct object *find_object(struct objects *objects, const struct proc_map *map)
{
	struct object *object;

	for (size_t i = 0; i < objects->count; i++)
		if (objects->objects[i].map == map || is_same_file(objects->objects[i].map, map))
			return &objects->objects[i];
	if (objects->count == OBJECTS_MAX)
		return NULL;
	object = &objects->objects[objects->count++];
	*object = (struct object){ .map = map, .begin = lowest_address(objects, map) };
	find_file(objects->directory, map, &object->file);
	return object;
}

/* ADDRESS as the file has it, by MAP. */
static bool file_address(
	const struct object *object, const struct proc_map *map, uint64_t address, uint64_t *ret_address)
{
	return object->file.data != NULL &&
	       elf_file_address(&object->file, address - map->begin + map->offset, ret_address);
}

bool objects_frame(
	struct objects *objects, const struct machine *machine, uint64_t address, struct cfi_frame *ret_frame)
{
	const struct proc_map *map = proc_find_map(objects->maps, objects->map_count, address);
	const struct object *object = map == NULL ? NULL : find_object(objects, map);
	uint64_t in_file;

	if (object == NULL || !file_address(object, map, address, &in_file) ||
		cfi_find(&object->file, machine, in_file, ret_frame) < 0)
		return false;
	ret_frame->function += address - in_file;
	return true;
}

static void name_object(const struct proc_map *map, struct symbol *symbol)
{
	char path[PATH_MAX + 64];

	snprintf(path, sizeof(path), "%.*s", (int)(map->path_size < PATH_MAX ? map->path_size : PATH_MAX), map->path);
	symbol_name_object(symbol->object, sizeof(symbol->object), path);
}

void objects_symbol(struct objects *objects, uint64_t address, bool is_return, struct symbol *ret_symbol)
{
	uint64_t call = is_return ? address - 1 : address;
	const struct proc_map *map = proc_find_map(objects->maps, objects->map_count, call);
	const struct object *object = map == NULL || map->path_size == 0 ? NULL : find_object(objects, map);
	uint64_t in_file, begin;

	*ret_symbol = (struct symbol){ .name_offset = 0 };
	if (object == NULL)
		return;
	name_object(map, ret_symbol);
	if (!file_address(object, map, call, &in_file)) {
		ret_symbol->object_offset = address - object->begin;
		return;
	}
	ret_symbol->object_offset = in_file + (address - call);
	if (elf_file_function(&object->file, in_file, ret_symbol->name, sizeof(ret_symbol->name), &begin))
		ret_symbol->name_offset = ret_symbol->object_offset - begin;
}
