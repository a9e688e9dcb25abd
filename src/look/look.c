/* SPDX-License-Identifier: MIT */
#include "look/look.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "look/frames.h"
#include "look/proc.h"

#define TEXT_MAX 1024
/* How often it is tried to read the stack of one that does not keep still. */
#define TRIES 4

const char *look_state_name(char state)
{
	switch (state) {
	case 'R':
		return "running";
	case 'S':
	case 'I':
		return "sleeping";
	case 'D':
		return "sleeping uninterruptibly";
	case 'T':
		return "stopped";
	case 't':
		return "traced";
	case 'Z':
	case 'X':
	case '\0':
		return "ended";
	default:
		return "unknown";
	}
}

static void reach(struct look_result *result, enum look_stage stage)
{
	atomic_store_explicit(&result->stage, (uint32_t)stage, memory_order_release);
}

/* Whether it is there, and the one that is meant. */
static bool read_stat(int directory, const struct look_order *order, struct look_result *result)
{
	char text[TEXT_MAX];
	struct proc_stat stat;

	if (proc_read(directory, "stat", text, sizeof(text)) < 0 || proc_parse_stat(text, &stat) < 0 ||
		stat.parent != order->parent)
		return false;
	result->state = stat.state;
	result->cpu_ms = stat.cpu_ticks * 1000 / (uint64_t)sysconf(_SC_CLK_TCK);
	return true;
}

/* "0" for one that runs, or where the kernel does not tell. */
static void read_kernel(int directory, struct look_result *result)
{
	ssize_t size = proc_read(directory, "wchan", result->kernel, sizeof(result->kernel));

	if (size < 0 || strcmp(result->kernel, "0") == 0)
		result->kernel[0] = '\0';
}

static int read_call(int directory, struct proc_call *ret_call)
{
	char text[TEXT_MAX];
	ssize_t size = proc_read(directory, "syscall", text, sizeof(text));

	return size < 0 ? (int)size : proc_parse_call(text, ret_call);
}

static void look_further(int directory, const struct look_order *order, struct look_result *result)
{
	struct proc_call call = { .number = -1 };

	for (int i = 0; i < TRIES; i++) {
		result->call_error = read_call(directory, &call);
		reach(result, LOOK_KNOWS_STATE);
		if (result->call_error < 0)
			return;
		result->is_running = call.is_running;
		result->system_call = call.number;
		reach(result, LOOK_KNOWS_CALL);
		if (!order->with_frames || call.is_running)
			return;
		result->frames_error = frames_read(
			order->pid, directory, &call, order->outermost, result->frames, sizeof(result->frames));
		if (result->frames_error != -EAGAIN)
			return;
	}
}

static bool has_ended(char state)
{
	return state == 'Z' || state == 'X' || state == '\0';
}

void look_at(const struct look_order *order, struct look_result *result)
{
	FD_AUTO int directory = -1;

	reach(result, LOOK_BEGUN);
	directory = proc_open(order->pid);
	if (directory >= 0 && read_stat(directory, order, result) && !has_ended(result->state)) {
		read_kernel(directory, result);
		look_further(directory, order, result);
	} else if (directory < 0 && (kill(order->pid, 0) == 0 || errno == EPERM)) {
		/* It is there, and hidden: proc(5), "hidepid". */
		result->state = '?';
		result->call_error = -EACCES;
	}
	result->has_moved_on =
		order->mark != NULL && atomic_load_explicit(order->mark, memory_order_relaxed) != order->mark_value;
	reach(result, LOOK_DONE);
}
