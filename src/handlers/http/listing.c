/* SPDX-License-Identifier: MIT */
#include "handlers/http/listing.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "handlers/http/date.h"

struct names {
	char **all;
	size_t count;
	size_t capacity;
	bool cut;
};

static void names_done(struct names *names)
{
	for (size_t i = 0; i < names->count; i++)
		free(names->all[i]);
	free(names->all);
}

static int names_add(struct names *names, const char *name)
{
	if (names->count == names->capacity) {
		size_t capacity = names->capacity > 0 ? 2 * names->capacity : 64;
		char **all = reallocarray(names->all, capacity, sizeof(*all));

		if (all == NULL)
			return -ENOMEM;
		names->all = all;
		names->capacity = capacity;
	}
	names->all[names->count] = strdup(name);
	if (names->all[names->count] == NULL)
		return -ENOMEM;
	names->count++;
	return 0;
}

static int names_read(struct names *names, DIR *directory)
{
	for (;;) {
		const struct dirent *entry;
		int ret;

		errno = 0;
		entry = readdir(directory);
		if (entry == NULL)
			return -errno;
		if (entry->d_name[0] == '.')
			continue;
		names->cut = names->count == LISTING_ENTRIES_MAX;
		if (names->cut)
			return 0;
		ret = names_add(names, entry->d_name);
		if (ret < 0)
			return ret;
	}
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void add_entry(struct buffer *page, int directory_fd, const char *name)
{
	struct stat status;
	char date[DATE_SIZE];
	const char *slash = "";

	if (fstatat(directory_fd, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	if (S_ISDIR(status.st_mode))
		slash = "/";
	/* "./" in front: a name with a colon in it would be taken for a scheme (RFC 3986 4.2). */
	buffer_text(page, "<tr><td><a href=\"./");
	buffer_path(page, name, strlen(name));
	buffer_text(page, slash);
	buffer_text(page, "\">");
	buffer_html(page, name, strlen(name));
	buffer_text(page, slash);
	buffer_text(page, "</a></td><td>");
	if (S_ISREG(status.st_mode))
		buffer_number(page, (uint64_t)status.st_size);
	buffer_text(page, "</td><td>");
	if (!S_ISLNK(status.st_mode)) {
		date_format(status.st_mtime, date);
		buffer_bytes(page, date, sizeof(date));
	}
	buffer_text(page, "</td></tr>\n");
}

static void add_path(struct buffer *page, struct span path)
{
	buffer_text(page, "/");
	buffer_html(page, path.text, path.size);
	if (path.size > 0)
		buffer_text(page, "/");
}

static void add_all(struct buffer *page, int directory_fd, struct span path, const struct names *names)
{
	buffer_text(page, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>");
	add_path(page, path);
	buffer_text(page, "</title>\n<style>body{font-family:sans-serif}td{padding:0 2em 0 0}"
			  "td:nth-child(2){text-align:right}</style></head>\n<body><h1>");
	add_path(page, path);
	buffer_text(page, "</h1>\n<table>\n");
	if (path.size > 0)
		buffer_text(page, "<tr><td><a href=\"../\">../</a></td><td></td><td></td></tr>\n");
	for (size_t i = 0; i < names->count; i++)
		add_entry(page, directory_fd, names->all[i]);
	buffer_text(page, "</table>\n");
	if (names->cut)
		buffer_text(page, "<p>There are more.</p>\n");
	buffer_text(page, "</body></html>\n");
}

int listing_page(int directory_fd, struct span path, struct buffer *page)
{
	struct names names = { 0 };
	/* A descriptor of its own, which closedir() closes. */
	int fd = openat(directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
	int ret;

	if (directory == NULL) {
		ret = -errno;
		if (fd >= 0)
			close(fd);
		return ret;
	}
	ret = names_read(&names, directory);
	if (ret == 0) {
		if (names.count > 0)
			qsort(names.all, names.count, sizeof(*names.all), compare_names);
		add_all(page, fd, path, &names);
		ret = page->overflow ? -ENOMEM : 0;
	}
	closedir(directory);
	names_done(&names);
	return ret;
}
