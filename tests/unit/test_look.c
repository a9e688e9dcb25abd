/* SPDX-License-Identifier: MIT */
/* A look at a child of the test's, which waits, runs, or has ended. */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/attrs.h"
#include "look/look.h"
#include "look/machine.h"
#include "look/proc.h"
#include "look/system_call.h"

static volatile int sink;
static pid_t child;

static ATTR_NOINLINE void wait_in_poll(void)
{
	poll(NULL, 0, -1);
	sink = 1;
}

static ATTR_NOINLINE void called_by_a_function(void)
{
	wait_in_poll();
	sink = 1;
}

static ATTR_NOINLINE void the_outermost(void)
{
	called_by_a_function();
	sink = 1;
}

static ATTR_NOINLINE void run_for_ever(void)
{
	while (sink == 0)
		;
}

static void make_child(void (*function)(void), bool dumpable)
{
	child = fork();
	cr_assert_geq(child, 0);
	if (child > 0)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_DUMPABLE, (unsigned long)dumpable);
	function();
	_exit(0);
}

static void end_child(void)
{
	if (child > 0) {
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
}

TestSuite(look, .fini = end_child);

/* Once it is where it is to be. */
static struct look_result look_until(const struct look_order *order, bool (*there)(const struct look_result *result))
{
	static struct look_result result;

	for (int i = 0; i < 3000; i++) {
		memset(&result, 0, sizeof(result));
		look_at(order, &result);
		if (there(&result))
			break;
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	}
	return result;
}

static bool waits(const struct look_result *result)
{
	const char *name = result->call_error == 0 ? system_call_name(result->system_call) : NULL;

	return name != NULL && strstr(name, "poll") != NULL && result->frames_error != -EAGAIN;
}

static bool runs(const struct look_result *result)
{
	return result->is_running;
}

Test(look, a_child_that_waits, .timeout = 60)
{
	struct look_order order = {
		.parent = getpid(), .with_frames = true, .outermost = (const void *)(uintptr_t)the_outermost
	};
	const char *inner, *middle, *outer;
	struct look_result result;

	make_child(the_outermost, true);
	order.pid = child;
	result = look_until(&order, waits);
	cr_assert_eq(result.call_error, 0, "%d", result.call_error);
	if (machine_own() == NULL) {
		cr_expect_eq(result.frames_error, -ENOTSUP);
		return;
	}
	cr_expect_eq(result.stage, LOOK_DONE);
	cr_expect_str_eq(look_state_name(result.state), "sleeping");
	cr_assert_eq(result.frames_error, 0, "%d", result.frames_error);
	inner = strstr(result.frames, "wait_in_poll+0x");
	middle = strstr(result.frames, " < called_by_a_function+0x");
	outer = strstr(result.frames, " < the_outermost+0x");
	cr_assert(inner && middle && outer && inner < middle && middle < outer, "%s", result.frames);
	cr_expect_null(strstr(outer + 3, " < "), "it ends there: %s", result.frames);
	cr_expect_null(strchr(result.frames, '?'), "%s", result.frames);
}

Test(look, one_without_frames, .timeout = 60)
{
	struct look_order order = { .parent = getpid() };
	struct look_result result;

	make_child(the_outermost, true);
	order.pid = child;
	result = look_until(&order, waits);
	cr_expect_eq(result.call_error, 0);
	cr_expect_str_eq(result.frames, "");
}

Test(look, a_child_that_runs, .timeout = 60)
{
	struct look_order order = { .parent = getpid(), .with_frames = true };
	struct look_result result;

	make_child(run_for_ever, true);
	order.pid = child;
	result = look_until(&order, runs);
	cr_expect(result.is_running);
	cr_expect_str_eq(result.frames, "");
	cr_expect_eq(result.frames_error, 0);
	while (result.cpu_ms == 0)
		look_at(&order, &result);
}

Test(look, one_that_has_ended, .timeout = 60)
{
	struct look_order order = { .parent = getpid(), .with_frames = true };
	struct look_result result = { 0 };
	siginfo_t info;

	make_child(run_for_ever, true);
	order.pid = child;
	kill(child, SIGKILL);
	cr_assert_eq(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
	look_at(&order, &result);
	cr_expect_eq(result.stage, LOOK_DONE);
	cr_expect_str_eq(look_state_name(result.state), "ended");
	cr_expect_eq(result.call_error, 0);
	waitpid(child, NULL, 0);
	child = 0;
	memset(&result, 0, sizeof(result));
	look_at(&order, &result);
	cr_expect_eq(result.stage, LOOK_DONE);
	cr_expect_str_eq(look_state_name(result.state), "ended");
}

/* Its number is that of another process, which is nobody's business. */
Test(look, one_of_another_parent, .timeout = 60)
{
	struct look_order order = { .parent = getpid() + 1, .with_frames = true };
	struct look_result result = { 0 };

	make_child(the_outermost, true);
	order.pid = child;
	look_at(&order, &result);
	cr_expect_eq(result.stage, LOOK_DONE);
	cr_expect_eq(result.state, '\0');
	cr_expect_str_eq(result.frames, "");
}

Test(look, a_mark_that_has_changed, .timeout = 60)
{
	_Atomic uint64_t mark = 5;
	struct look_order order = { .parent = getpid(), .mark = &mark, .mark_value = 5 };
	struct look_result result = { 0 };

	make_child(the_outermost, true);
	order.pid = child;
	look_at(&order, &result);
	cr_expect_not(result.has_moved_on);
	mark = 6;
	look_at(&order, &result);
	cr_expect(result.has_moved_on);
}

static bool says_why(const struct look_result *result)
{
	return result->call_error != 0;
}

/* As an ordinary user, of one that is not dumpable. */
Test(look, one_that_may_not_be_looked_at, .timeout = 60)
{
	struct look_order order = { .parent = getpid(), .with_frames = true };
	struct look_result result;

	if (geteuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0))
		cr_skip_test("root without the right to be another user");
	prctl(PR_SET_DUMPABLE, 1);
	make_child(the_outermost, false);
	order.pid = child;
	result = look_until(&order, says_why);
	cr_expect(result.call_error == -EPERM || result.call_error == -EACCES, "%d", result.call_error);
	cr_expect_eq(result.stage, LOOK_DONE);
	cr_expect_str_eq(result.frames, "");
}
