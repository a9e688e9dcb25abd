/* SPDX-License-Identifier: MIT */
#include "master/survivors.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/signals.h"
#include "master/master_private.h"
#include "policy/deadline.h"

/* One that was killed and does not end waits for a device that does not answer. */
#define GIVE_UP_MS 10000
#define RETRY_MS   1000

/* ---- the process of a slot ---- */

/* What is known of a process: proc(5), /proc/PID/stat. */
struct process {
	pid_t group;
	uint64_t started_us; /* CLOCK_MONOTONIC */
};

static uint64_t clock_us(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* The kernel counts in ticks, rounded down, and the time in which the machine slept too, which we do not. */
static uint64_t ticks_to_us(unsigned long long ticks)
{
	uint64_t awake_us = clock_us(CLOCK_MONOTONIC);
	uint64_t asleep_us = clock_us(CLOCK_BOOTTIME) - awake_us;
	uint64_t started_us = ticks * 1000000 / (uint64_t)sysconf(_SC_CLK_TCK);

	return started_us > asleep_us ? started_us - asleep_us : 0;
}

static ssize_t read_proc(const char *pid, const char *name, char *buffer, size_t size)
{
	char path[64];
	FD_AUTO int fd = -1;
	ssize_t got;

	snprintf(path, sizeof(path), "/proc/%s/%s", pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	got = fd < 0 ? -1 : read(fd, buffer, size - 1);
	buffer[got > 0 ? got : 0] = '\0';
	return got;
}

/* "PID (NAME) STATE PPID PGRP ... STARTTIME", which is the 22nd; and NAME may hold any byte. */
static bool read_process(const char *pid, struct process *ret_process)
{
	char text[1024];
	const char *behind;
	unsigned long long ticks;
	int group;

	if (read_proc(pid, "stat", text, sizeof(text)) <= 0 || (behind = strrchr(text, ')')) == NULL)
		return false;
	if (sscanf(behind + 1, " %*c %*d %d %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu",
		    &group, &ticks) != 2)
		return false;
	ret_process->group = group;
	ret_process->started_us = ticks_to_us(ticks);
	return true;
}

/* Under systemd a service's processes, and nobody else's, are in its control group: cgroups(7). */
static bool is_in_our_group(const char *pid)
{
	char ours[4096], theirs[4096];

	return read_proc("self", "cgroup", ours, sizeof(ours)) > 0 &&
	       read_proc(pid, "cgroup", theirs, sizeof(theirs)) > 0 && strcmp(ours, theirs) == 0;
}

/*
 * A pidfd for the worker that SLOT speaks of, or -ESRCH where it is gone. Whoever has its number now had to wait for
 * its end, and began after the worker was born.
 */
static int open_worker(const struct board_slot *slot)
{
	pid_t pid = (pid_t)atomic_load_explicit(&slot->pid, memory_order_relaxed);
	uint64_t born_us = atomic_load_explicit(&slot->born_us, memory_order_relaxed);
	struct process process;
	FD_AUTO int pidfd = pid > 1 && pid != getpid() ? pidfd_open(pid, 0) : -1;
	char text[16];

	if (pidfd < 0)
		return pid > 1 && errno != ESRCH && errno != EINVAL ? -errno : -ESRCH;
	snprintf(text, sizeof(text), "%d", pid);
	if (!read_process(text, &process) || process.group != pid || process.started_us > born_us ||
		!is_in_our_group(text))
		return -ESRCH;
	return fd_steal(&pidfd);
}

/* ---- the boards ---- */

static void close_board(struct master *master, struct survivor_board *board)
{
	board_relic_close(&board->relic);
	if (board->current || board->fd < 0)
		return;
	store_drop(&master->store, board->fd);
	fd_close(&board->fd);
}

static void open_board(struct master *master, struct inherited_socket *inherited)
{
	struct survivors *survivors = &master->survivors;
	struct survivor_board *board = &survivors->boards[survivors->board_count];
	int result = survivors->board_count < SURVIVOR_BOARDS_MAX ? 0 : -E2BIG;

	if (result == 0)
		result = board_relic_open(&board->relic, inherited->fd);
	if (result < 0) {
		log_event(LOG_LEVEL_WARNING, "cannot read the scoreboard of the last master: its counters are lost",
			LOG_TEXT("name", inherited->name), LOG_ERRNO("reason", result));
		fd_close(&inherited->fd);
		return;
	}
	board->fd = fd_steal(&inherited->fd);
	board->current = false;
	board->left = 0;
	survivors->board_count++;
	store_keep(&master->store, inherited->name, board->fd);
}

static int reserve(struct survivors *survivors)
{
	for (size_t i = 0; i < survivors->board_count; i++) {
		const struct board_relic *relic = &survivors->boards[i].relic;

		for (uint32_t place = 0; place < relic->slot_count; place++)
			survivors->size += board_slot_is_taken(board_relic_slot(relic, place));
	}
	if (survivors->size == 0)
		return 0;
	survivors->list = memory_unforked(survivors->size, sizeof(*survivors->list));
	return survivors->list == NULL ? -ENOMEM : 0;
}

static void add_survivor(struct survivors *survivors, unsigned int board, uint32_t place)
{
	const struct board_slot *slot = board_relic_slot(&survivors->boards[board].relic, place);
	struct survivor survivor = { .pidfd = -1, .board = board, .place = place, .left = true };
	int pidfd = 0;

	if (!board_slot_is_taken(slot) || survivors->count == survivors->size)
		return;
	survivor.pid = (pid_t)atomic_load_explicit(&slot->pid, memory_order_relaxed);
	if (survivor.pid != 0)
		pidfd = open_worker(slot);
	if (pidfd == -ESRCH)
		return;
	if (pidfd < 0)
		log_event(LOG_LEVEL_WARNING, "cannot watch a worker of the last master", LOG_INT("pid", survivor.pid),
			LOG_ERRNO("reason", pidfd));
	if (survivor.pid != 0)
		survivor.pidfd = pidfd;
	survivors->list[survivors->count++] = survivor;
	survivors->boards[board].left++;
}

static void find_survivors(struct survivors *survivors)
{
	for (unsigned int i = 0; i < survivors->board_count; i++)
		for (uint32_t place = 0; place < survivors->boards[i].relic.slot_count; place++)
			add_survivor(survivors, i, place);
	survivors->left = survivors->count;
}

static uint64_t workers_wanted(const struct config *config)
{
	uint64_t wanted = 0;

	for (size_t i = 0; i < config->pool_count; i++)
		wanted += pool_config_least(&config->pools[i]);
	return wanted;
}

/* Takes the board over if it is as this master would make it, and has room. */
static bool take_board(struct master *master, struct survivor_board *board)
{
	uint32_t slots = master->places;

	if (!board->relic.same_layout || board->relic.slot_count != slots ||
		board->left + workers_wanted(master->config) > master->config->max_workers)
		return false;
	if (board_adopt(&master->board, board->fd, slots) < 0)
		return false;
	board->current = true;
	return true;
}

/* The latest that will do. */
static bool take_a_board(struct master *master)
{
	struct survivors *survivors = &master->survivors;
	bool tried[SURVIVOR_BOARDS_MAX] = { false };

	for (size_t round = 0; round < survivors->board_count; round++) {
		struct survivor_board *latest = NULL;

		for (size_t i = 0; i < survivors->board_count; i++)
			if (!tried[i] &&
				(latest == NULL || survivors->boards[i].relic.started_us > latest->relic.started_us))
				latest = &survivors->boards[i];
		if (latest == NULL)
			break;
		tried[latest - survivors->boards] = true;
		if (take_board(master, latest))
			return true;
	}
	return false;
}

static int make_board(struct master *master)
{
	char name[STORE_NAME_MAX];
	int result = board_create(&master->board, master->places);

	if (result < 0)
		return result;
	if (store_put(&master->store, store_board_name(master->board.fd, name), master->board.fd) < 0)
		log_event(LOG_LEVEL_WARNING, "the scoreboard will not outlive this master");
	return 0;
}

int survivors_make_board(struct master *master, struct inherited *inherited)
{
	struct survivors *survivors = &master->survivors;
	int result;

	store_note_all(&master->store, inherited);
	for (size_t i = 0; i < inherited->count; i++)
		if (inherited->sockets[i].fd >= 0 && store_is_board(inherited->sockets[i].name))
			open_board(master, &inherited->sockets[i]);
	result = reserve(survivors);
	if (result < 0)
		return result;
	find_survivors(survivors);
	return take_a_board(master) ? 0 : make_board(master);
}

/* ---- the beginning ---- */

static struct board_slot *slot_of(const struct master *master, const struct survivor *survivor)
{
	return board_relic_slot(&master->survivors.boards[survivor->board].relic, survivor->place);
}

/* The slots whose worker was gone before anybody looked. */
static void settle_dead(struct master *master, unsigned int index)
{
	const struct survivors *survivors = &master->survivors;
	const struct board_relic *relic = &survivors->boards[index].relic;
	size_t next = 0;

	/* The list is in the order of boards and places. */
	while (next < survivors->count && survivors->list[next].board < index)
		next++;
	for (uint32_t place = 0; place < relic->slot_count; place++) {
		if (next < survivors->count && survivors->list[next].board == index &&
			survivors->list[next].place == place)
			next++;
		else if (board_slot_is_taken(board_relic_slot(relic, place)))
			board_relic_move_slot(relic, place, &master->board);
	}
}

static void settle_board(struct master *master, unsigned int index)
{
	struct survivor_board *board = &master->survivors.boards[index];

	if (!board->current)
		board_relic_move_pools(&board->relic, &master->board);
	settle_dead(master, index);
	if (board->left == 0)
		close_board(master, board);
}

static const struct pool_config *find_pool(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->pool_count; i++)
		if (strncmp(config->pools[i].name, name, BOARD_POOL_NAME_MAX - 1) == 0)
			return &config->pools[i];
	return NULL;
}

/* How a worker is asked to leave that heeds no SIGURG: a program that accepts for itself; and one of a pool that is
 * unknown now, which may be that, unless it serves its one connection. */
static int stop_signal_of(const struct board_slot *slot, const struct pool_config *pool)
{
	if (board_slot_state(slot) == BOARD_RUNNING)
		return 0;
	if (pool == NULL)
		return SIGTERM;
	return pool->kind == HANDLER_ACCEPTS ? pool->program.stop_signal : 0;
}

static void begin_one(struct master *master, struct survivor *survivor, uint32_t index, uint64_t now_ms)
{
	const struct board_slot *slot = slot_of(master, survivor);
	uint64_t timeout_ms = master->config->stop_timeout_ms;
	char name[BOARD_POOL_NAME_MAX];
	const struct pool_config *pool = find_pool(master->config, board_slot_pool(slot, name));

	if (master->survivors.boards[survivor->board].current)
		pool_reserve_place(master, survivor->place);
	if (pool != NULL && pool->stop_timeout_ms < timeout_ms)
		timeout_ms = pool->stop_timeout_ms;
	survivor->timeout_ms = timeout_ms;
	survivor->deadline_ms = deadline_after(now_ms, timeout_ms);
	master->survivors.wake_ms = deadline_earlier(master->survivors.wake_ms, survivor->deadline_ms);
	if (survivor->pidfd < 0)
		return;
	survivor->stop_signal = stop_signal_of(slot, pool);
	/* Again: a program or a module may have changed its user, which takes the death signal away. */
	pidfd_send_signal(survivor->pidfd, SIGURG, NULL, 0);
	if (master_watch(master, survivor->pidfd, &(struct watch){ .kind = WATCH_SURVIVOR, .slot = index }) < 0)
		log_event(LOG_LEVEL_WARNING, "cannot watch a worker of the last master", LOG_INT("pid", survivor->pid));
	log_event(LOG_LEVEL_INFO, "a worker of the last master is still there", LOG_TEXT("pool", name),
		LOG_INT("slot", atomic_load_explicit(&slot->pool_slot, memory_order_relaxed)),
		LOG_INT("pid", survivor->pid), LOG_TEXT("state", board_state_name(board_slot_state(slot))),
		LOG_INT("stop_timeout_ms", (int64_t)timeout_ms));
}

void survivors_begin(struct master *master, uint64_t now_ms)
{
	struct survivors *survivors = &master->survivors;
	bool again = false;

	survivors->wake_ms = survivors->until_ms = DEADLINE_NONE;
	if (survivors->board_count == 0)
		return;
	for (size_t i = 0; i < survivors->board_count; i++)
		again = again || survivors->boards[i].current;
	log_event(LOG_LEVEL_NOTICE, "a master before this one has left its scoreboard",
		LOG_TEXT("board", again ? "used again" : "renewed"), LOG_INT("workers", (int64_t)survivors->left));
	for (uint32_t i = 0; i < survivors->count; i++)
		begin_one(master, &survivors->list[i], i, now_ms);
	for (unsigned int i = 0; i < survivors->board_count; i++)
		settle_board(master, i);
}

void survivors_done(struct master *master)
{
	struct survivors *survivors = &master->survivors;

	for (size_t i = 0; i < survivors->count; i++)
		fd_close(&survivors->list[i].pidfd);
	for (size_t i = 0; i < survivors->board_count; i++) {
		board_relic_close(&survivors->boards[i].relic);
		if (!survivors->boards[i].current)
			fd_close(&survivors->boards[i].fd);
	}
	memory_unforked_free(survivors->list, survivors->size, sizeof(*survivors->list));
	*survivors = (struct survivors){ 0 };
}

/* ---- their ends ---- */

static void forget(struct master *master, struct survivor *survivor)
{
	struct survivors *survivors = &master->survivors;
	struct survivor_board *board = &survivors->boards[survivor->board];

	board_relic_move_slot(&board->relic, survivor->place, &master->board);
	if (board->current)
		pool_free_place(master, survivor->place);
	if (survivor->pidfd >= 0)
		master_unwatch(master, survivor->pidfd);
	fd_close(&survivor->pidfd);
	survivor->left = false;
	survivors->left--;
	if (--board->left == 0)
		close_board(master, board);
	if (survivors->left == 0)
		log_event(LOG_LEVEL_NOTICE, "no worker of the last master is left");
}

void survivors_event(struct master *master, uint32_t index)
{
	struct survivor *survivor = &master->survivors.list[index];
	const struct board_slot *slot;
	char name[BOARD_POOL_NAME_MAX];

	if (index >= master->survivors.count || !survivor->left)
		return;
	slot = slot_of(master, survivor);
	log_event(LOG_LEVEL_INFO, "a worker of the last master has ended",
		LOG_TEXT("pool", board_slot_pool(slot, name)), LOG_INT("pid", survivor->pid),
		LOG_INT("connections", (int64_t)atomic_load_explicit(&slot->connections, memory_order_relaxed)));
	forget(master, survivor);
}

void survivors_hurry(struct master *master, uint64_t now_ms, uint64_t until_ms)
{
	struct survivors *survivors = &master->survivors;
	/* A program is asked first, and has the second half of the time. */
	uint64_t ask_ms = until_ms > now_ms ? now_ms + (until_ms - now_ms) / 2 : now_ms;

	survivors->until_ms = until_ms;
	for (size_t i = 0; i < survivors->count; i++) {
		struct survivor *survivor = &survivors->list[i];

		/* Nobody is known to be there, and its place is for nobody any more. */
		if (survivor->left && survivor->pid == 0)
			forget(master, survivor);
		if (survivor->left && !survivor->killed)
			survivor->deadline_ms =
				deadline_earlier(survivor->deadline_ms, survivor->stop_signal != 0 ? ask_ms : until_ms);
	}
	survivors->wake_ms = deadline_earlier(survivors->wake_ms, ask_ms);
}

void survivors_leave(struct master *master)
{
	struct survivors *survivors = &master->survivors;

	for (size_t i = 0; i < survivors->count; i++) {
		if (survivors->list[i].pidfd >= 0)
			master_unwatch(master, survivors->list[i].pidfd);
		fd_close(&survivors->list[i].pidfd);
		survivors->list[i].left = false;
	}
	survivors->left = 0;
}

/* What a program has made goes with it. As long as the pidfd takes a signal, the group's number is the worker's. */
static void kill_one(struct survivor *survivor)
{
	log_event(LOG_LEVEL_WARNING, "the time of a worker of the last master is over: it is killed",
		LOG_INT("pid", survivor->pid));
	if (pidfd_send_signal(survivor->pidfd, 0, NULL, 0) == 0)
		kill(-survivor->pid, SIGKILL);
	pidfd_send_signal(survivor->pidfd, SIGKILL, NULL, 0);
	survivor->killed = true;
}

/* Its death signal may not have reached it: a program that changes its user has none. Nor was it asked at once, since
 * a second signal makes some give up what they still serve. */
static void ask_one(struct survivors *survivors, struct survivor *survivor, uint64_t now_ms)
{
	log_event(LOG_LEVEL_NOTICE, "a program of the last master is still there, and is asked to leave",
		LOG_INT("pid", survivor->pid), LOG_TEXT("signal", signals_name(survivor->stop_signal)));
	pidfd_send_signal(survivor->pidfd, survivor->stop_signal, NULL, 0);
	survivor->stop_signal = 0;
	survivor->deadline_ms = deadline_earlier(deadline_after(now_ms, survivor->timeout_ms), survivors->until_ms);
}

static void check_one(struct master *master, struct survivor *survivor, uint64_t now_ms)
{
	/* There was no descriptor for it; now there may be. */
	if (survivor->pidfd < 0 && survivor->pid != 0)
		survivor->pidfd = open_worker(slot_of(master, survivor));
	if (survivor->pidfd >= 0 && survivor->stop_signal != 0) {
		ask_one(&master->survivors, survivor, now_ms);
	} else if (survivor->pidfd >= 0 && !survivor->killed) {
		kill_one(survivor);
		survivor->deadline_ms = deadline_after(now_ms, GIVE_UP_MS);
	} else if (survivor->pidfd < 0 && survivor->pidfd != -ESRCH && survivor->pid != 0) {
		survivor->deadline_ms = deadline_after(now_ms, RETRY_MS);
	} else {
		if (survivor->killed)
			log_event(LOG_LEVEL_ERROR, "a killed worker of the last master does not end, and is given up",
				LOG_INT("pid", survivor->pid));
		forget(master, survivor);
	}
}

uint64_t survivors_check(struct master *master, uint64_t now_ms)
{
	struct survivors *survivors = &master->survivors;
	uint64_t wake_ms = DEADLINE_NONE;

	if (survivors->left == 0)
		return DEADLINE_NONE;
	if (!deadline_passed(survivors->wake_ms, now_ms))
		return survivors->wake_ms;
	for (size_t i = 0; i < survivors->count; i++) {
		struct survivor *survivor = &survivors->list[i];

		if (survivor->left && deadline_passed(survivor->deadline_ms, now_ms))
			check_one(master, survivor, now_ms);
		if (survivor->left)
			wake_ms = deadline_earlier(wake_ms, survivor->deadline_ms);
	}
	survivors->wake_ms = wake_ms;
	return wake_ms;
}
