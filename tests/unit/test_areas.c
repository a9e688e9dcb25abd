/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "worker/areas.h"

#define COUNT 5

struct user {
	int number;
	int seen;
	char more[1000];
};

static struct areas areas;

static void open_all(void)
{
	cr_assert_eq(areas_init(&areas, COUNT), 0);
	for (int i = 0; i < COUNT; i++) {
		cr_assert_eq(areas_open(&areas), i);
		cr_assert_eq(areas_take(&areas), -EAGAIN, "it is taken");
	}
	cr_assert_eq(areas_open(&areas), -EAGAIN);
	for (int i = 0; i < COUNT; i++)
		areas_give_back(&areas, i);
}

Test(areas, one_after_the_other_is_taken_and_the_lowest_free_one_again)
{
	open_all();
	for (int i = 0; i < COUNT; i++)
		cr_assert_eq(areas_take(&areas), i);
	cr_assert_eq(areas_take(&areas), -EAGAIN);
	areas_give_back(&areas, 3);
	areas_give_back(&areas, 1);
	cr_assert_eq(areas_take(&areas), 1);
	cr_assert_eq(areas_take(&areas), 3);
	cr_assert_eq(areas_take(&areas), -EAGAIN);
}

Test(areas, only_what_is_open_is_taken)
{
	cr_assert_eq(areas_init(&areas, COUNT), 0);
	cr_assert_eq(areas_take(&areas), -EAGAIN);
	cr_assert_eq(areas_open(&areas), 0);
	areas_give_back(&areas, 0);
	cr_assert_eq(areas_take(&areas), 0);
	cr_assert_eq(areas_take(&areas), -EAGAIN);
}

Test(areas, their_tops_are_apart_and_aligned)
{
	open_all();
	for (int i = 0; i < COUNT; i++) {
		char *top = areas_top(&areas, i, sizeof(struct user));

		cr_assert_eq((uintptr_t)top % 64, 0);
		((struct user *)top)->number = i;
		cr_assert(i == 0 || top - (char *)areas_top(&areas, i - 1, sizeof(struct user)) > 16 * 1024);
	}
	for (int i = 0; i < COUNT; i++)
		cr_assert_eq(((struct user *)areas_top(&areas, i, sizeof(struct user)))->number, i);
}

Test(areas, a_process_with_a_stack_of_its_own_is_in_none)
{
	cr_assert_null(areas_here(sizeof(struct user)));
	open_all();
	cr_assert_null(areas_here(sizeof(struct user)));
}

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define HAS_ADDRESS_SANITIZER
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define HAS_ADDRESS_SANITIZER
#endif

#ifndef HAS_ADDRESS_SANITIZER
/* Only raw system calls that write nothing: this process's memory is the test's. */
static int find_itself(void *argument)
{
	struct user *here = areas_here(sizeof(struct user));

	(void)argument;
	here->seen = here->number;
	return 0;
}

static int fall(void *argument)
{
	(void)argument;
	raise(SIGKILL);
	return 0;
}

static int born(int index, int (*entry)(void *))
{
	struct user *user = areas_top(&areas, index, sizeof(*user));
	int status = -1;
	pid_t pid;

	*user = (struct user){ .number = 100 + index };
	pid = clone(entry, user, CLONE_VM | CLONE_CHILD_CLEARTID | SIGCHLD, NULL, NULL, NULL, &areas.taken[index]);
	cr_assert_gt(pid, 0);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	return status;
}

Test(areas, a_process_finds_its_own_and_its_end_gives_it_back)
{
	open_all();
	for (int i = 0; i < COUNT; i++)
		cr_assert_eq(areas_take(&areas), i);
	for (int i = COUNT - 1; i >= 0; i--) {
		cr_assert_eq(born(i, find_itself), 0);
		cr_assert_eq(((struct user *)areas_top(&areas, i, sizeof(struct user)))->seen, 100 + i);
		cr_assert_eq(areas_take(&areas), i, "the only one that is free");
	}
}

Test(areas, an_end_by_a_signal_gives_it_back_too)
{
	open_all();
	for (int i = 0; i < COUNT; i++)
		cr_assert_eq(areas_take(&areas), i);
	cr_assert_eq(WTERMSIG(born(2, fall)), SIGKILL);
	cr_assert_eq(areas_take(&areas), 2);
	cr_assert_eq(areas_take(&areas), -EAGAIN);
}
#endif
