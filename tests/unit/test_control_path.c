/* SPDX-License-Identifier: MIT */
#include "net/control_path.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[CONTROL_PATH_MAX];

static void set(const char *runtime, const char *own)
{
	if (runtime != NULL)
		setenv("RUNTIME_DIRECTORY", runtime, 1);
	else
		unsetenv("RUNTIME_DIRECTORY");
	if (own != NULL)
		setenv("XDG_RUNTIME_DIR", own, 1);
	else
		unsetenv("XDG_RUNTIME_DIR");
}

static void assert_paths(const char *const *expected)
{
	size_t i = 0;

	for (; expected[i] != NULL; i++) {
		cr_assert(control_path_usual(i, path), "%s", expected[i]);
		cr_assert_str_eq(path, expected[i]);
	}
	cr_assert_not(control_path_usual(i, path));
}

Test(control_path, of_root)
{
	if (geteuid() != 0)
		cr_skip_test("needs root");
	set(NULL, "/own");
	assert_paths((const char *const[]){ "/run/brood/brood.sock", NULL });
	set("/run/one:/run/two", "/own");
	assert_paths((const char *const[]){ "/run/one/brood.sock", "/run/brood/brood.sock", NULL });
}

Test(control_path, of_another_user)
{
	if (geteuid() == 0)
		cr_assert_eq(seteuid(65534), 0);
	set(NULL, "/own");
	assert_paths((const char *const[]){ "/own/brood/brood.sock", "/run/brood/brood.sock", NULL });
	set("/run/one", "/own");
	assert_paths(
		(const char *const[]){ "/run/one/brood.sock", "/own/brood/brood.sock", "/run/brood/brood.sock", NULL });
}

Test(control_path, what_makes_no_path_is_passed_over)
{
	char longest[200];

	memset(longest, 'x', sizeof(longest) - 1);
	longest[0] = '/';
	longest[sizeof(longest) - 1] = '\0';
	set("", NULL);
	assert_paths((const char *const[]){ "/run/brood/brood.sock", NULL });
	set("relative", NULL);
	assert_paths((const char *const[]){ "/run/brood/brood.sock", NULL });
	set(longest, NULL);
	assert_paths((const char *const[]){ "/run/brood/brood.sock", NULL });
}
