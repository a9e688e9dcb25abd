/* SPDX-License-Identifier: MIT */
#include "master/orphans.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "master/master_private.h"
#include "policy/deadline.h"

/* For so long after its death a worker's processes are looked for. */
#define HUNT_MS 10000

static bool has_programs(const struct master *master)
{
	FOR_EACH_POOL (master, pool)
		if (pool->config->kind == HANDLER_ACCEPTS ||
			(pool->next.config != NULL && pool->next.config->kind == HANDLER_ACCEPTS))
			return true;
	return false;
}

void orphans_init(struct master *master)
{
	if (master->orphans.adopting || !has_programs(master))
		return;
	master->orphans.programs = true;
	master->orphans.adopting = prctl(PR_SET_CHILD_SUBREAPER, 1) == 0;
	if (!master->orphans.adopting)
		log_event(LOG_LEVEL_WARNING, "processes that programs leave behind will not be found",
			LOG_ERRNO("reason", errno));
}

/* ---- whose it is ---- */

/* The session that PID is in, or 0. /proc/PID/stat: "PID (NAME) STATE PPID PGRP SESSION ...", and NAME may hold any
 * byte. */
static pid_t session_of(pid_t pid)
{
	char path[48], text[512];
	FD_AUTO int fd = -1;
	const char *behind;
	ssize_t size;
	int session;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	size = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (size <= 0)
		return 0;
	text[size] = '\0';
	behind = strrchr(text, ')');
	return behind != NULL && sscanf(behind + 1, " %*c %*d %*d %d", &session) == 1 ? session : 0;
}

/* Reads "LISTEN_PID=NUMBER" byte by byte, out of variables that zero bytes end. */
struct mark_reader {
	size_t matched; /* bytes of the name; SIZE_MAX until the next variable begins */
	pid_t number;   /* so far */
};

/* Returns the number at its end, and 0 before. */
static pid_t read_mark(struct mark_reader *reader, char byte)
{
	static const char name[] = "LISTEN_PID=";
	struct mark_reader before = *reader;

	if (byte == '\0') {
		*reader = (struct mark_reader){ 0 };
		return before.matched == sizeof(name) - 1 ? before.number : 0;
	}
	if (before.matched == SIZE_MAX)
		return 0;
	if (before.matched < sizeof(name) - 1) {
		reader->matched = byte == name[before.matched] ? before.matched + 1 : SIZE_MAX;
		return 0;
	}
	if (byte < '0' || byte > '9' || before.number > INT_MAX / 10 - 1)
		reader->matched = SIZE_MAX;
	else
		reader->number = before.number * 10 + (byte - '0');
	return 0;
}

/* The LISTEN_PID that PID began with, or 0. */
static pid_t mark_of(pid_t pid)
{
	char path[48], text[4096];
	FD_AUTO int fd = -1;
	struct mark_reader reader = { 0 };
	pid_t mark = 0;
	ssize_t size;

	snprintf(path, sizeof(path), "/proc/%d/environ", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	while (fd >= 0 && mark == 0 && (size = read(fd, text, sizeof(text))) > 0)
		for (ssize_t i = 0; i < size && mark == 0; i++)
			mark = read_mark(&reader, text[i]);
	return mark;
}

/* ---- hunting ---- */

static struct orphan_hunt *find_hunt(struct orphans *orphans, pid_t worker, uint64_t now_ms)
{
	for (size_t i = 0; worker != 0 && i < ORPHAN_HUNTS_MAX; i++) {
		struct orphan_hunt *hunt = &orphans->hunts[i];

		if (hunt->worker == worker && !deadline_passed(hunt->until_ms, now_ms))
			return hunt;
	}
	return NULL;
}

static void look_at_child(struct master *master, pid_t pid, uint64_t now_ms)
{
	struct orphan_hunt *hunt;
	struct child child;

	if (children_find(&master->children, pid, &child))
		return;
	hunt = find_hunt(&master->orphans, session_of(pid), now_ms);
	if (hunt == NULL)
		hunt = find_hunt(&master->orphans, mark_of(pid), now_ms);
	if (hunt == NULL)
		return;
	hunt->found = true;
	kill(pid, SIGKILL);
	if (hunt->killed != pid)
		log_event(LOG_LEVEL_INFO, "a program has left a process behind, which is killed",
			LOG_INT("worker", hunt->worker), LOG_INT("pid", pid));
	hunt->killed = pid;
}

/* Calls look_at_child() for each child: numbers with a space behind each. */
static void look_at_children(struct master *master, FILE *list, uint64_t now_ms)
{
	int pid;

	while (fscanf(list, "%d", &pid) == 1)
		look_at_child(master, pid, now_ms);
}

/* The list of children leaves some out while others end (proc(5)): who was killed is left until he is gone. */
static void look_at_killed(struct orphan_hunt *hunt)
{
	siginfo_t info;

	if (hunt->found || hunt->killed == 0)
		return;
	hunt->found = waitid(P_PID, (id_t)hunt->killed, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
	if (!hunt->found)
		hunt->killed = 0;
}

static bool is_hunting(const struct master *master, uint64_t now_ms)
{
	for (size_t i = 0; i < ORPHAN_HUNTS_MAX; i++)
		if (master->orphans.hunts[i].worker != 0 && !deadline_passed(master->orphans.hunts[i].until_ms, now_ms))
			return true;
	return false;
}

void orphans_want_look(struct master *master)
{
	master->orphans.wanted = true;
}

/* Once for all deaths of a turn: each look is at all children, and a program may leave thousands, which end together.
 */
void orphans_look(struct master *master, uint64_t now_ms)
{
	char path[64];
	FILE *list;

	if (!master->orphans.wanted)
		return;
	master->orphans.wanted = false;
	master->orphans.unlooked = 0;
	if (!master->orphans.adopting || !is_hunting(master, now_ms))
		return;
	for (size_t i = 0; i < ORPHAN_HUNTS_MAX; i++)
		master->orphans.hunts[i].found = false;
	snprintf(path, sizeof(path), "/proc/self/task/%d/children", gettid());
	list = fopen(path, "re");
	if (list != NULL) {
		look_at_children(master, list, now_ms);
		fclose(list);
		for (size_t i = 0; i < ORPHAN_HUNTS_MAX; i++)
			look_at_killed(&master->orphans.hunts[i]);
		master->orphans.failing = false;
	} else if (!master->orphans.failing) {
		log_event(LOG_LEVEL_WARNING, "cannot look for processes that programs leave behind",
			LOG_ERRNO("reason", errno));
		master->orphans.failing = true;
	}
}

/* Its pid is its own again. */
void orphans_worker_born(struct master *master, pid_t worker)
{
	for (size_t i = 0; i < ORPHAN_HUNTS_MAX; i++)
		if (master->orphans.hunts[i].worker == worker)
			master->orphans.hunts[i] = (struct orphan_hunt){ 0 };
}

void orphans_worker_died(struct master *master, pid_t worker, uint64_t now_ms)
{
	struct orphans *orphans = &master->orphans;

	if (!orphans->adopting)
		return;
	orphans->hunts[orphans->next] =
		(struct orphan_hunt){ .worker = worker, .until_ms = deadline_after(now_ms, HUNT_MS) };
	orphans->next = (orphans->next + 1) % ORPHAN_HUNTS_MAX;
	orphans->wanted = true;
	/* The next one would take the place of one that was not looked for yet. */
	if (++orphans->unlooked == ORPHAN_HUNTS_MAX)
		orphans_look(master, now_ms);
}

bool orphans_are_left(struct master *master, uint64_t now_ms, uint64_t *ret_wake_ms)
{
	bool left = false;

	/* Once more: now that no worker is left to end meanwhile, none is left out. */
	orphans_want_look(master);
	orphans_look(master, now_ms);
	*ret_wake_ms = DEADLINE_NONE;
	for (size_t i = 0; i < ORPHAN_HUNTS_MAX; i++) {
		const struct orphan_hunt *hunt = &master->orphans.hunts[i];

		if (!hunt->found || deadline_passed(hunt->until_ms, now_ms))
			continue;
		left = true;
		*ret_wake_ms = deadline_earlier(*ret_wake_ms, hunt->until_ms);
	}
	return left;
}
