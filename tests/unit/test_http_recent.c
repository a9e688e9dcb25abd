/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "handlers/http/recent.h"

static struct recent recent;
static char root[64];
static int root_fd;
static time_t later; /* when files made now are settled */

static void path_of(const char *name, char *path, size_t size)
{
	snprintf(path, size, "%s/%s", root, name);
}

static void put_text(const char *name, const char *text)
{
	char path[128];
	FILE *file;

	path_of(name, path, sizeof(path));
	file = fopen(path, "we");
	cr_assert_not_null(file);
	fputs(text, file);
	fclose(file);
}

static void set_up(void)
{
	strcpy(root, "/tmp/brood-test-recent-XXXXXX");
	cr_assert_not_null(mkdtemp(root));
	root_fd = file_open_root(root);
	cr_assert_geq(root_fd, 0);
	later = time(NULL) + 100;
	put_text("a", "first");
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk)
{
	return remove(path);
}

static void tear_down(void)
{
	close(root_fd);
	nftw(root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

TestSuite(http_recent, .init = set_up, .fini = tear_down);

static void keep(const char *path, const char *content, time_t now)
{
	struct file file;

	cr_assert_eq(file_open(root_fd, path, &file), 0);
	recent_keep(&recent, path, &file, content, &(struct timespec){ .tv_sec = now });
	close(file.fd);
}

/* The content that is remembered for PATH, or "". */
static const char *find(const char *path, time_t now)
{
	static char text[RECENT_SIZE_MAX + 1];
	struct file file;

	if (!recent_find(&recent, root_fd, path, now, &file))
		return "";
	cr_expect_eq(file.fd, -1);
	cr_expect_eq(file.kind, FILE_REGULAR);
	snprintf(text, sizeof(text), "%.*s", (int)file.state.size, file.content);
	return text;
}

Test(http_recent, what_is_kept_is_found)
{
	cr_expect_str_eq(find("a", later), "");
	keep("a", "first", later);
	cr_expect_str_eq(find("a", later), "first");
	cr_expect_str_eq(find("b", later), "");
}

Test(http_recent, for_a_second_only)
{
	keep("a", "first", later);
	cr_expect_str_eq(find("a", later + 1), "");
	cr_expect_str_eq(find("a", later - 1), "");
}

Test(http_recent, not_while_it_may_change_unseen)
{
	static const struct {
		struct timespec changed, now;
		bool kept;
	} table[] = {
		{{ 1000, 5 },          { 1000, 5 },         false},
		{ { 1000, 5 },         { 1000, 40000000 },  false},
		{ { 1000, 5 },         { 1000, 60000000 },  true },
		{ { 1000, 990000000 }, { 1001, 30000000 },  false},
		{ { 1000, 990000000 }, { 1001, 50000000 },  true },
		{ { 1000, 0 },         { 1002, 999999999 }, false}, /* whole seconds, it seems */
		{ { 1000, 0 },         { 1003, 1 },         true },
		{ { 1000, 5 },         { 999, 999999999 },  false}, /* a clock that was set back */
		{ { 1000, 5 },         { 5, 0 },            false},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct file file;

		recent = (struct recent){ 0 };
		cr_assert_eq(file_open(root_fd, "a", &file), 0);
		file.state.changed = table[i].changed;
		recent_keep(&recent, "a", &file, "first", &table[i].now);
		cr_expect_eq(recent.files[0].read != 0, table[i].kept, "row %zu", i);
		close(file.fd);
	}
}

Test(http_recent, not_after_a_write_in_place)
{
	struct timespec times[2];
	struct stat status;
	char path[128];

	path_of("a", path, sizeof(path));
	keep("a", "first", later);
	cr_assert_eq(stat(path, &status), 0);
	usleep(20000); /* beyond the granularity of the kernel's clock */
	put_text("a", "other");
	times[0] = status.st_atim;
	times[1] = status.st_mtim;
	cr_assert_eq(utimensat(AT_FDCWD, path, times, 0), 0); /* as one who hides it would */
	cr_expect_str_eq(find("a", later), "");
}

Test(http_recent, not_after_a_rename)
{
	char from[128], to[128];

	keep("a", "first", later);
	put_text("b", "other");
	path_of("b", from, sizeof(from));
	path_of("a", to, sizeof(to));
	cr_assert_eq(rename(from, to), 0);
	cr_expect_str_eq(find("a", later), "");
}

Test(http_recent, not_after_its_permissions_were_taken)
{
	char path[128];

	keep("a", "first", later);
	usleep(20000);
	path_of("a", path, sizeof(path));
	cr_assert_eq(chmod(path, 0), 0);
	cr_expect_str_eq(find("a", later), "");
}

Test(http_recent, not_when_a_link_stands_in_its_place)
{
	char path[128], moved[128];

	keep("a", "first", later);
	path_of("a", path, sizeof(path));
	path_of("../brood-test-recent-moved", moved, sizeof(moved));
	/* The very same file, now outside of the root. */
	cr_assert_eq(rename(path, moved), 0);
	cr_assert_eq(symlink("../brood-test-recent-moved", path), 0);
	cr_expect_str_eq(find("a", later), "");
	unlink(moved);
}

Test(http_recent, not_what_is_gone)
{
	char path[128];

	keep("a", "first", later);
	path_of("a", path, sizeof(path));
	cr_assert_eq(unlink(path), 0);
	cr_expect_str_eq(find("a", later), "");
}

Test(http_recent, not_below_a_directory)
{
	char path[128];

	path_of("d", path, sizeof(path));
	cr_assert_eq(mkdir(path, 0755), 0);
	put_text("d/a", "deep");
	keep("d/a", "deep", later);
	cr_expect_str_eq(find("d/a", later), "");
}

Test(http_recent, sizes)
{
	static char text[RECENT_SIZE_MAX + 2];

	memset(text, 'x', RECENT_SIZE_MAX);
	put_text("most", text);
	keep("most", text, later);
	cr_expect_str_eq(find("most", later), text);
	text[RECENT_SIZE_MAX] = 'x';
	put_text("more", text);
	keep("more", text, later);
	cr_expect_str_eq(find("more", later), "");
	put_text("none", "");
	keep("none", "", later);
	cr_expect(recent_find(&recent, root_fd, "none", later, &(struct file){ 0 }));
}

Test(http_recent, the_oldest_is_forgotten)
{
	char name[8];

	keep("a", "first", later);
	for (int i = 0; i < RECENT_FILES; i++) {
		sprintf(name, "f%d", i);
		put_text(name, name);
		keep(name, name, later);
		keep(name, name, later); /* takes no second place */
	}
	cr_expect_str_eq(find("a", later), "");
	for (int i = 0; i < RECENT_FILES; i++) {
		sprintf(name, "f%d", i);
		cr_expect_str_eq(find(name, later), name);
	}
}
