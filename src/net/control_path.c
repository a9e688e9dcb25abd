/* SPDX-License-Identifier: MIT */
#include "net/control_path.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Returns whether DIRECTORY of SIZE bytes makes a path. */
static bool put_path(const char *directory, size_t size, const char *name, char ret_path[CONTROL_PATH_MAX])
{
	if (directory == NULL || size == 0 || directory[0] != '/' || size + strlen(name) >= CONTROL_PATH_MAX)
		return false;
	snprintf(ret_path, CONTROL_PATH_MAX, "%.*s%s", (int)size, directory, name);
	return true;
}

bool control_path_usual(size_t index, char ret_path[CONTROL_PATH_MAX])
{
	const char *given = getenv("RUNTIME_DIRECTORY");
	const char *own = geteuid() == 0 ? NULL : getenv("XDG_RUNTIME_DIR");
	size_t found = 0;

	/* A list joined by colons: systemd.exec(5). */
	if (given != NULL && put_path(given, strcspn(given, ":"), "/brood.sock", ret_path) && found++ == index)
		return true;
	if (own != NULL && put_path(own, strlen(own), "/brood/brood.sock", ret_path) && found++ == index)
		return true;
	return put_path("/run", strlen("/run"), "/brood/brood.sock", ret_path) && found == index;
}
