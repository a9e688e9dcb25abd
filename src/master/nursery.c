/* SPDX-License-Identifier: MIT */
#include "master/nursery.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/rights.h"
#include "base/signals.h"
#include "master/master_private.h"
#include "master/spawn.h"
#include "policy/deadline.h"
#include "worker/nursery.h"

/* So many workers may be asked for and not born: no more than the socket holds. */
#define ASKED_MAX 64
/* Beyond this the next ones wake the master when they are ready, so that it goes on asking. */
#define ASKED_QUIETLY (ASKED_MAX / 2)
/* So many messages are read at a turn from one nursery: whoever floods the master with them does not stop it. */
#define ANSWERS_A_TURN 128
/* At the end of the daemon: how long a nursery that was killed is waited for. */
#define END_MS 5000

static bool nursery_lives(const struct nursery *nursery)
{
	return nursery->pid != 0 && nursery->fd >= 0;
}

static struct nursery *nursery_of(struct pool *pool, uint32_t generation)
{
	for (size_t i = 0; i < POOL_NURSERIES; i++)
		if (nursery_lives(&pool->nurseries[i]) && pool->nurseries[i].generation == generation)
			return &pool->nurseries[i];
	return NULL;
}

/* A place for a new one; NULL where the old ones have not died yet. */
static struct nursery *nursery_place(struct pool *pool)
{
	for (size_t i = 0; i < POOL_NURSERIES; i++)
		if (pool->nurseries[i].pid == 0)
			return &pool->nurseries[i];
	return NULL;
}

/* ---- answers ---- */

static bool is_asked_for(const struct pool *pool, const struct nursery *nursery, const struct nursery_answer *answer)
{
	const struct slot *slot;

	if (answer->number >= pool->policy.rules.capacity)
		return false;
	slot = &pool->slots[answer->number];
	return slot->state == SLOT_ASKED && slot->generation == nursery->generation &&
	       pool->workers[answer->number].serial == answer->serial;
}

/* DEAD was reaped, and so was one. */
static bool is_new_child(const struct master *master, pid_t pid, pid_t dead)
{
	siginfo_t info;
	struct child child;

	if (pid <= 0 || children_find(&master->children, pid, &child))
		return false;
	/* Nothing but ECHILD says that it is none: a child that nobody knows would never be reaped. */
	return pid == dead || waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 || errno != ECHILD;
}

/* Takes one message. Returns false where there is none. */
static bool nursery_hear(struct master *master, struct pool *pool, struct nursery *nursery, pid_t dead, uint64_t now_ms)
{
	struct nursery_answer answer;
	pid_t sender;
	ssize_t size = rights_receive_from(nursery->fd, &answer, sizeof(answer), &sender);

	if (size <= 0)
		return false;
	if (size != (ssize_t)sizeof(answer) || !is_asked_for(pool, nursery, &answer))
		return true;
	if (answer.error >= 0 && !is_new_child(master, sender, dead))
		return true;
	nursery->asked--;
	nursery->heard_ms = now_ms;
	if (answer.error < 0)
		pool_not_born(master, pool, answer.number, answer.error);
	else
		pool_born(master, pool, answer.number, sender);
	return true;
}

static void nursery_listen(
	struct master *master, struct pool *pool, struct nursery *nursery, pid_t dead, uint64_t now_ms)
{
	for (int i = 0; i < ANSWERS_A_TURN && nursery->asked > 0; i++)
		if (!nursery_hear(master, pool, nursery, dead, now_ms))
			break;
}

void nurseries_listen(struct master *master, pid_t dead, uint64_t now_ms)
{
	FOR_EACH_POOL (master, pool)
		for (size_t i = 0; i < POOL_NURSERIES; i++)
			nursery_listen(master, pool, &pool->nurseries[i], dead, now_ms);
}

/* ---- the end of one ---- */

/*
 * Nobody talks with it any more. Workers whose word is in the socket are born; from the shutdown on none can say so
 * any more, and leaves. The others that were asked for are not to come.
 */
static void nursery_let_go(struct master *master, struct pool *pool, struct nursery *nursery, uint64_t now_ms)
{
	shutdown(nursery->fd, SHUT_RD);
	nursery_listen(master, pool, nursery, 0, now_ms);
	for (uint32_t slot = 0; slot < pool->policy.rules.capacity && nursery->asked > 0; slot++) {
		if (pool->slots[slot].state != SLOT_ASKED || pool->slots[slot].generation != nursery->generation)
			continue;
		nursery->asked--;
		pool_not_born(master, pool, slot, -ESRCH);
	}
	nursery->asked = 0;
	rights_drain(nursery->fd);
	fd_close(&nursery->fd);
}

static void nursery_end(struct master *master, struct pool *pool, struct nursery *nursery, uint64_t now_ms)
{
	kill(nursery->pid, SIGKILL);
	nursery_let_go(master, pool, nursery, now_ms);
}

void nursery_died(struct master *master, const struct child *child, int status, uint64_t now_ms)
{
	struct pool *pool = &master->pools[child->pool];
	struct nursery *nursery = &pool->nurseries[child->slot];

	master->nurseries.count--;
	/* Of a pool that is gone. */
	if (nursery->pid != child->pid)
		return;
	if (nursery->fd >= 0) {
		/* It leaves by itself only where its set-up has failed, and has said so. */
		if (WIFSIGNALED(status))
			log_event(LOG_LEVEL_WARNING, "nursery died, and is replaced",
				LOG_TEXT("pool", pool->config->name), LOG_INT("pid", child->pid),
				LOG_TEXT("how", signals_name(WTERMSIG(status))));
		nursery_let_go(master, pool, nursery, now_ms);
	}
	*nursery = (struct nursery){ .fd = -1 };
}

/* ---- the beginning of one ---- */

static void nursery_entry(void *argument)
{
	nursery_main(argument);
}

/* The other end is for the child alone. What is sent here says who has sent it, by the kernel's word. */
static int make_sockets(int *ret_own, int *ret_other)
{
	static const int on = 1;
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	if (setsockopt(ends[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0) {
		int error = -errno;

		close(ends[0]);
		close(ends[1]);
		return error;
	}
	*ret_own = ends[0];
	*ret_other = ends[1];
	return 0;
}

/* For the worker in SLOT, and those that come after it. */
static int nursery_start(struct master *master, struct pool *pool, struct nursery *nursery, uint32_t slot)
{
	const struct board board = master->board;
	struct nursery_start start = {
		.worker = pool_worker_start(master, pool, slot, &board),
		.most = master->places,
	};
	struct child child = { .kind = CHILD_NURSERY, .pool = pool->index };
	int fd = -1;
	int result = make_sockets(&fd, &start.worker.nursery_fd);

	if (result < 0)
		return result;
	child.pid = spawn(nursery_entry, &start);
	close(start.worker.nursery_fd);
	if (child.pid < 0) {
		close(fd);
		return child.pid;
	}
	*nursery = (struct nursery){ .pid = child.pid, .fd = fd, .generation = pool->slots[slot].generation };
	child.slot = (uint32_t)(nursery - pool->nurseries);
	children_add(&master->children, &child);
	master->nurseries.count++;
	log_event(LOG_LEVEL_DEBUG, "nursery started", LOG_TEXT("pool", pool->config->name), LOG_INT("pid", child.pid));
	return 0;
}

/* ---- asking ---- */

bool nursery_is_free(struct master *master, struct pool *pool, const struct pool_action *action, uint64_t now_ms)
{
	const struct pool_policy *policy = &pool->policy;
	struct nursery *nursery =
		nursery_of(pool, action->reason == SLOT_REASON_RELOAD ? policy->reload.generation : policy->generation);

	if (nursery == NULL)
		return nursery_place(pool) != NULL;
	if (nursery->asked >= ASKED_MAX)
		nursery_listen(master, pool, nursery, 0, now_ms);
	return nursery->asked < ASKED_MAX;
}

static int send_request(int socket, const struct nursery_request *request, int stderr_fd)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct nursery_request copy = *request; /* iovec knows no const */
	struct iovec data = { .iov_base = &copy, .iov_len = sizeof(copy) };
	struct msghdr header = { .msg_iov = &data, .msg_iovlen = 1 };

	if (stderr_fd >= 0) {
		struct cmsghdr *rights;

		header.msg_control = control;
		header.msg_controllen = sizeof(control);
		rights = CMSG_FIRSTHDR(&header);
		*rights = (struct cmsghdr){
			.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS
		};
		memcpy(CMSG_DATA(rights), &stderr_fd, sizeof(stderr_fd));
	}
	return sendmsg(socket, &header, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int nursery_ask(struct master *master, struct pool *pool, uint32_t slot, int stderr_fd, bool quiet, uint64_t now_ms)
{
	struct nursery *nursery = nursery_of(pool, pool->slots[slot].generation);
	struct nursery_request request = {
		.number = slot,
		.place = pool->workers[slot].board_slot,
		.serial = pool->workers[slot].serial,
		.held = pool->slots[slot].generation > pool->policy.generation,
	};
	int result = 0;

	if (nursery == NULL) {
		nursery = nursery_place(pool);
		result = nursery == NULL ? -EAGAIN : nursery_start(master, pool, nursery, slot);
	}
	if (result < 0)
		return result;
	request.quiet = quiet && nursery->asked < ASKED_QUIETLY;
	result = send_request(nursery->fd, &request, stderr_fd);
	if (result < 0)
		return result;
	if (nursery->asked++ == 0)
		nursery->heard_ms = now_ms;
	return 0;
}

/* ---- what is due ---- */

static bool is_wanted(const struct pool *pool, const struct nursery *nursery)
{
	const struct pool_policy *policy = &pool->policy;

	return policy->phase == POOL_SERVING &&
	       (nursery->generation == policy->generation ||
		       (policy->reload.canary != CANARY_NONE && nursery->generation == policy->reload.generation));
}

static uint64_t nursery_check(struct master *master, struct pool *pool, struct nursery *nursery, uint64_t now_ms)
{
	uint64_t answer_by_ms = deadline_after(nursery->heard_ms, NURSERY_ANSWER_MS);

	if (!nursery_lives(nursery))
		return DEADLINE_NONE;
	if (nursery->asked == 0) {
		if (!is_wanted(pool, nursery))
			nursery_end(master, pool, nursery, now_ms);
		return DEADLINE_NONE;
	}
	if (!deadline_passed(answer_by_ms, now_ms))
		return answer_by_ms;
	log_event(LOG_LEVEL_WARNING, "nursery does not answer, and is replaced", LOG_TEXT("pool", pool->config->name),
		LOG_INT("pid", nursery->pid), LOG_INT("asked", nursery->asked));
	nursery_end(master, pool, nursery, now_ms);
	return now_ms;
}

uint64_t nurseries_check(struct master *master, uint64_t now_ms)
{
	uint64_t wake_ms = DEADLINE_NONE;

	FOR_EACH_POOL (master, pool)
		for (size_t i = 0; i < POOL_NURSERIES; i++)
			wake_ms = deadline_earlier(wake_ms, nursery_check(master, pool, &pool->nurseries[i], now_ms));
	return wake_ms;
}

bool nurseries_are_asked(const struct master *master)
{
	FOR_EACH_POOL (master, pool)
		for (size_t i = 0; i < POOL_NURSERIES; i++)
			if (pool->nurseries[i].asked > 0)
				return true;
	return false;
}

bool nurseries_are_left(struct master *master, uint64_t now_ms, uint64_t *ret_until_ms)
{
	struct nurseries *nurseries = &master->nurseries;

	if (nurseries->end_by_ms == 0)
		nurseries->end_by_ms = deadline_after(now_ms, END_MS);
	*ret_until_ms = nurseries->end_by_ms;
	return nurseries->count > 0 && !deadline_passed(nurseries->end_by_ms, now_ms);
}

void nurseries_done(struct master *master, struct pool *pool)
{
	for (size_t i = 0; i < POOL_NURSERIES; i++)
		if (nursery_lives(&pool->nurseries[i]))
			nursery_end(master, pool, &pool->nurseries[i], clock_monotonic_ms());
}
