/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <stdbool.h>
#include <stdlib.h>

#include "master/children.h"

#define MOST     100
#define PID_MOST 5000

static struct child child_of(pid_t pid)
{
	return (struct child){ .pid = pid, .kind = CHILD_WORKER, .pool = (uint32_t)pid % 7, .slot = (uint32_t)pid };
}

Test(children, finds_what_was_added_once)
{
	struct children children;
	struct child found;

	cr_assert_eq(children_init(&children, MOST), 0);
	children_add(&children, &(struct child){ .pid = 4711, .kind = CHILD_LOGGER, .pool = 3, .slot = 9 });
	cr_assert_eq(children_find(&children, 4712, &found), 0);
	cr_assert_eq(children_find(&children, 0, &found), 0, "no entry is none of a child");
	cr_assert_eq(children_find(&children, 4711, &found), 1);
	cr_assert(found.kind == CHILD_LOGGER && found.pool == 3 && found.slot == 9);
	cr_assert_eq(children_remove(&children, 4712, &found), 0);
	cr_assert_eq(children_remove(&children, 4711, &found), 1);
	cr_assert(found.kind == CHILD_LOGGER && found.pool == 3 && found.slot == 9);
	cr_assert_eq(children_remove(&children, 4711, &found), 0, "it was taken out");
	cr_assert_eq(children_find(&children, 4711, &found), 0, "it was taken out");
	cr_assert_eq(children.count, 0);
	children_done(&children);
}

/* Pids that fall on one place, taken out in every order, never hide each other. */
Test(children, colliding_pids_stay_reachable)
{
	struct children children;
	struct child found;
	pid_t pids[4];

	cr_assert_eq(children_init(&children, MOST), 0);
	for (int first = 0; first < 4; first++) {
		for (int i = 0; i < 4; i++) {
			pids[i] = (pid_t)(children.size - 2 + (size_t)i * children.size);
			children_add(&children, &(struct child){ .pid = pids[i], .slot = (uint32_t)i });
		}
		for (int i = 0; i < 4; i++) {
			int k = (first + i) % 4;

			cr_assert_eq(children_remove(&children, pids[k], &found), 1, "pid %d", pids[k]);
			cr_assert_eq(found.slot, (uint32_t)k);
		}
		cr_assert_eq(children.count, 0);
	}
	children_done(&children);
}

/* A million births and deaths against a plain table. */
Test(children, agrees_with_a_plain_table)
{
	static bool living[PID_MOST];
	struct children children;
	uint32_t random = 12345;

	cr_assert_eq(children_init(&children, MOST), 0);
	for (int step = 0; step < 1000000; step++) {
		pid_t pid;
		struct child found;

		random = random * 1664525 + 1013904223;
		pid = (pid_t)(1 + (random >> 8) % (PID_MOST - 1));
		if (!living[pid] && children.count < MOST) {
			struct child child = child_of(pid);

			children_add(&children, &child);
			living[pid] = true;
			continue;
		}
		cr_assert_eq(children_remove(&children, pid, &found), living[pid] ? 1 : 0);
		if (living[pid])
			cr_assert_eq(found.slot, (uint32_t)pid);
		living[pid] = false;
	}
	children_done(&children);
}
