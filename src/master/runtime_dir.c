/* SPDX-License-Identifier: MIT */
#include "master/runtime_dir.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SYSTEM_DIR "/run/brood"

/* What mkdtemp(3) makes is its maker's alone. */
static int make_in(const char *parent, size_t parent_size, char ret_path[RUNTIME_DIR_MAX])
{
	char path[RUNTIME_DIR_MAX];
	int size = snprintf(path, sizeof(path), "%.*s/brood-XXXXXX", (int)parent_size, parent);

	if (parent_size == 0 || parent[0] != '/' || size >= (int)sizeof(path))
		return -ENOENT;
	if (mkdtemp(path) == NULL)
		return -errno;
	if (chmod(path, 0711) < 0) {
		int result = -errno;

		rmdir(path);
		return result;
	}
	memcpy(ret_path, path, sizeof(path));
	return 0;
}

int runtime_dir_make(char ret_path[RUNTIME_DIR_MAX])
{
	const char *given = getenv("RUNTIME_DIRECTORY");
	const char *own = geteuid() == 0 ? NULL : getenv("XDG_RUNTIME_DIR");

	/* A list joined by colons: systemd.exec(5). */
	if (given != NULL && make_in(given, strcspn(given, ":"), ret_path) == 0)
		return 0;
	if (geteuid() == 0)
		mkdir(SYSTEM_DIR, 0755);
	if (make_in(SYSTEM_DIR, strlen(SYSTEM_DIR), ret_path) == 0)
		return 0;
	if (own != NULL && make_in(own, strlen(own), ret_path) == 0)
		return 0;
	return make_in("/tmp", strlen("/tmp"), ret_path);
}

void runtime_dir_remove(char path[RUNTIME_DIR_MAX])
{
	if (path[0] != '\0')
		rmdir(path);
	path[0] = '\0';
}
