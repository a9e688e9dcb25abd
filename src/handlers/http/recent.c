/* SPDX-License-Identifier: MIT */
#include "handlers/http/recent.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* More than the granularity of a file's times, which are those of the kernel's tick at best (10 ms at most), and whole
 * seconds or two where the file system keeps no more. */
#define SETTLED_NS       INT64_C(50000000)
#define SETTLED_WHOLE_NS INT64_C(3000000000)

static struct recent_file *find_path(struct recent *recent, const char *path)
{
	for (size_t i = 0; i < RECENT_FILES; i++)
		if (recent->files[i].read != 0 && strcmp(recent->files[i].path, path) == 0)
			return &recent->files[i];
	return NULL;
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool same_state(const struct file_state *a, const struct file_state *b)
{
	return a->device == b->device && a->inode == b->inode && a->size == b->size &&
	       same_time(&a->modified, &b->modified) && same_time(&a->changed, &b->changed);
}

bool recent_find(struct recent *recent, int root_fd, const char *path, time_t now, struct file *ret_file)
{
	const struct recent_file *found = find_path(recent, path);
	struct file_state state;
	struct stat status;

	if (found == NULL || found->read != now)
		return false;
	if (fstatat(root_fd, path, &status, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(status.st_mode))
		return false;
	state = file_state_of(&status);
	if (!same_state(&state, &found->state))
		return false;
	*ret_file = (struct file){ .fd = -1, .kind = FILE_REGULAR, .state = state, .content = found->content };
	return true;
}

/* Any change from NOW on must show in the file's time of change, so that one must be older. */
static bool is_settled(const struct timespec *changed, const struct timespec *now)
{
	int64_t margin_ns = changed->tv_nsec != 0 ? SETTLED_NS : SETTLED_WHOLE_NS;

	if (now->tv_sec - changed->tv_sec > 10)
		return true;
	if (now->tv_sec < changed->tv_sec)
		return false;
	return (now->tv_sec - changed->tv_sec) * 1000000000 + now->tv_nsec - changed->tv_nsec > margin_ns;
}

void recent_keep(struct recent *recent, const char *path, const struct file *file, const char *content,
	const struct timespec *now)
{
	struct recent_file *kept = find_path(recent, path);

	if (file->state.size > RECENT_SIZE_MAX || strlen(path) >= RECENT_PATH_MAX || strchr(path, '/') != NULL)
		return;
	if (!is_settled(&file->state.changed, now))
		return;
	if (kept == NULL) {
		kept = &recent->files[recent->next];
		recent->next = (recent->next + 1) % RECENT_FILES;
	}
	kept->read = now->tv_sec;
	kept->state = file->state;
	memcpy(kept->path, path, strlen(path) + 1);
	memcpy(kept->content, content, file->state.size);
}
