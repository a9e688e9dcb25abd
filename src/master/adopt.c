/* SPDX-License-Identifier: MIT */
#include "master/adopt.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "build_config.h"
#include "master/adoption.h"
#include "master/master_private.h"
#include "policy/deadline.h"

static const struct adoption *adoption_of(const struct master *master)
{
	return master->options->adoption;
}

static bool is_readable(const struct master *master)
{
	return adoption_of(master) != NULL && adoption_of(master)->readable;
}

static bool is_unreadable(const struct master *master)
{
	return adoption_of(master) != NULL && adoption_of(master)->there && !adoption_of(master)->readable;
}

/* Whether what fails now had better fail the start: see adoption_again(). */
bool adopt_may_again(const struct master *master)
{
	return adoption_of(master) != NULL && adoption_may_again(adoption_of(master));
}

/* Where there is nothing to read, it is at its end. */
static struct state_reader reader_of(const struct master *master)
{
	struct state_reader reader = { 0 };

	if (is_readable(master) && adoption_reader(adoption_of(master), &reader) < 0)
		reader.size = 0;
	return reader;
}

/* The next record of KIND. */
static bool next_of(struct state_reader *reader, enum state_kind kind, struct state_record *ret_record)
{
	while (state_read(reader, ret_record) == 1)
		if (ret_record->kind == kind)
			return true;
	return false;
}

/* ---- the master ---- */

void adopt_master(struct master *master)
{
	const struct state_master *state = &adoption_of(master)->master;

	if (!is_readable(master))
		return;
	master->generation = state->generation;
	master->soft_descriptors = state->soft_descriptors;
	master->reset_oom_score = state->reset_oom_score;
	master->skipped_ms = state->skipped_ms;
}

/* Workers of the image before write to it. */
bool adopt_wake_fd(struct master *master)
{
	int fd = is_readable(master) ? adoption_of(master)->master.wake_fd : -1;
	int flags = fd < 0 ? -1 : fcntl(fd, F_GETFL);

	if (flags < 0)
		return false;
	master->wake_fd = fd;
	return true;
}

bool adopt_pidfile(struct master *master)
{
	struct state_reader reader = reader_of(master);
	struct state_record record;

	while (next_of(&reader, STATE_PIDFILE, &record)) {
		const struct state_pidfile *state = &record.pidfile;

		if (strcmp(state->path, master->config->pidfile) == 0 &&
			pidfile_adopt(&master->pidfile, master->config->pidfile, state->fd) == 0)
			return true;
	}
	return false;
}

/* Its workers are survivors of it. */
static int keep_board(struct master *master, int fd)
{
	struct inherited_socket socket = { .fd = fd };
	struct inherited board = { .sockets = &socket, .count = 1 };
	int result;

	store_board_name(fd, socket.name);
	result = survivors_make_board(master, &board);
	fd_close(&socket.fd);
	return result;
}

int adopt_board(struct master *master)
{
	int fd = is_readable(master) ? adoption_of(master)->master.board_fd : -1;
	char name[STORE_NAME_MAX];
	int result;

	if (fd < 0)
		return -ENODATA;
	result = board_adopt(&master->board, fd, master->places);
	if (result < 0 && result != -EPROTO && adopt_may_again(master))
		return result;
	if (result < 0) {
		log_event(LOG_LEVEL_NOTICE, "the scoreboard is another one: workers of the image before are to finish");
		return keep_board(master, fd);
	}
	store_board_name(fd, name);
	store_note(&master->store, name);
	store_keep(&master->store, name, fd);
	return 0;
}

bool adopt_ack(struct master *master)
{
	struct state_reader reader = reader_of(master);
	struct ack_server *server = &master->ack;
	struct state_record record;

	while (next_of(&reader, STATE_ACK, &record)) {
		const struct state_ack *state = &record.ack;

		if (state->fd < 0 || fcntl(state->fd, F_GETFD) < 0 ||
			strlen(state->directory) >= sizeof(server->directory))
			continue;
		server->fd = state->fd;
		snprintf(server->directory, sizeof(server->directory), "%s", state->directory);
		snprintf(server->path, sizeof(server->path), "%s", state->path);
		return true;
	}
	return false;
}

/* ---- listeners ---- */

static struct pool *find_pool(const struct master *master, const char *name)
{
	FOR_EACH_POOL (master, pool)
		if (strcmp(pool->config->name, name) == 0)
			return pool;
	return NULL;
}

/* What the pool of that name wants of its listeners; of one that is gone, nothing that changes them. */
static struct listener_options options_of(const struct config *config, const char *pool)
{
	const struct listener_options none = { .backlog = SOMAXCONN, .socket_uid = (uid_t)-1, .socket_gid = (gid_t)-1 };

	for (size_t i = 0; i < config->pool_count; i++)
		if (strcmp(config->pools[i].name, pool) == 0)
			return config->pools[i].listener;
	return none;
}

static int adopt_listener(struct master *master, const struct state_listener *state)
{
	const struct listener_options options = options_of(master->config, state->pool);
	enum listener_origin origin =
		state->origin < LISTENER_ORIGINS ? (enum listener_origin)state->origin : LISTENER_OPENED;
	struct listener adopted;
	/* It is ours already, whoever had it first: nothing of it is changed. */
	int result = listener_adopt(&adopted, state->fd, LISTENER_OPENED, state->spec, &options);

	if (result == 0) {
		adopted.origin = origin;
		adopted.listening = true;
		adopted.refused = state->refused;
		adopted.path_owner = state->path_owner == master->pid ? master->pid : 0;
		adopted.path_device = (dev_t)state->path_device;
		adopted.path_inode = (ino_t)state->path_inode;
		result = bind_adopt(master, state->pool, &adopted);
	}
	if (result < 0) {
		int fd = state->fd;

		if (adopt_may_again(master))
			return result;
		log_event(LOG_LEVEL_ERROR, "a listener of the image before cannot be taken over",
			LOG_TEXT("pool", state->pool), LOG_TEXT("address", state->spec), LOG_ERRNO("reason", result));
		fd_close(&fd);
	}
	return 0;
}

/* The path is ours to remove: nobody else goes on with it. */
static void claim_path(struct listener *listener, pid_t pid)
{
	const struct sockaddr_un *address = (const struct sockaddr_un *)&listener->address.storage;
	struct stat status;

	if (listener->address.storage.ss_family != AF_UNIX || address->sun_path[0] == '\0' ||
		lstat(address->sun_path, &status) < 0 || !S_ISSOCK(status.st_mode))
		return;
	listener->path_owner = pid;
	listener->path_device = status.st_dev;
	listener->path_inode = status.st_ino;
}

/* What is known of FD is what the kernel knows. */
static void adopt_unknown(struct master *master, int fd)
{
	const struct listener_options options = options_of(master->config, "");
	struct listener adopted;

	if (listener_adopt(&adopted, fd, LISTENER_OPENED, "", &options) < 0)
		return;
	listener_text(&adopted, adopted.spec, sizeof(adopted.spec));
	adopted.listening = true;
	claim_path(&adopted, master->pid);
	if (bind_adopt(master, "", &adopted) < 0)
		fd_close(&fd);
}

/* Without a state: all descriptors that listen. */
static void adopt_found(struct master *master)
{
	DIR *directory = opendir("/proc/self/fd");
	struct dirent *entry;

	if (directory == NULL) {
		log_event(LOG_LEVEL_ERROR, "cannot look for the listeners of the image before",
			LOG_ERRNO("reason", errno));
		return;
	}
	while ((entry = readdir(directory)) != NULL) {
		int fd = (int)strtol(entry->d_name, NULL, 10);

		if (fd > STDERR_FILENO && fd != dirfd(directory))
			adopt_unknown(master, fd);
	}
	closedir(directory);
}

/* Where this image goes by another configuration, pools find their listeners by that. */
static void adopt_members(struct master *master)
{
	struct state_reader reader = reader_of(master);
	struct state_record record;

	while (next_of(&reader, STATE_MEMBER, &record)) {
		struct pool *pool = find_pool(master, record.member.pool);
		int result = pool == NULL ? -ENOENT : bind_adopt_member(master, pool, record.member.fd);

		if (result < 0)
			log_event(LOG_LEVEL_ERROR, "a pool cannot have its listener",
				LOG_TEXT("pool", record.member.pool), LOG_ERRNO("reason", result));
	}
}

int adopt_listeners(struct master *master)
{
	struct state_reader reader = reader_of(master);
	struct state_record record;
	int result = 0;

	while (result == 0 && next_of(&reader, STATE_LISTENER, &record))
		result = adopt_listener(master, &record.listener);
	if (result < 0)
		return result;
	if (is_readable(master) && adoption_of(master)->in_force)
		adopt_members(master);
	if (is_unreadable(master))
		adopt_found(master);
	return 0;
}

static bool is_used(const struct master *master, const struct listener *listener)
{
	FOR_EACH_POOL (master, pool)
		if (listener_set_has(&pool->listeners, listener))
			return true;
	return false;
}

void adopt_close_unused(struct master *master)
{
	char text[ADDRESS_TEXT_MAX];

	if (adoption_of(master) == NULL || !adoption_of(master)->there)
		return;
	for (size_t i = master->listeners.count; i-- > 0;) {
		struct listener *listener = master->listeners.list[i];

		if (is_used(master, listener))
			continue;
		log_event(LOG_LEVEL_WARNING, "a listener of the image before is in no pool, and closed",
			LOG_TEXT("address", listener_text(listener, text, sizeof(text))));
		bind_close(master, listener);
	}
}

/* ---- the control socket ---- */

bool adopt_control(struct master *master)
{
	const struct listener_options options = options_of(master->config, "");
	struct state_reader reader = reader_of(master);
	struct listener *listener = &master->control.listener;
	struct state_record record;

	while (next_of(&reader, STATE_CONTROL, &record)) {
		const struct state_control *state = &record.control;

		if (listener_adopt(listener, state->fd, LISTENER_OPENED, state->path, &options) < 0)
			continue;
		listener->listening = true;
		listener->path_owner = master->pid;
		listener->path_device = (dev_t)state->path_device;
		listener->path_inode = (ino_t)state->path_inode;
		return true;
	}
	return false;
}

static void adopt_client(struct master *master, const struct state_client *state)
{
	int fd = state->fd;

	/* Whatever it has asked for, the reload that follows is what is left of it. */
	if (control_adopt(master, fd, REQUEST_RELOAD) < 0)
		fd_close(&fd);
}

/* ---- the logger ---- */

bool adopt_logger_channel(struct master *master)
{
	if (!is_readable(master) || !adoption_of(master)->has_logger)
		return false;
	master->logger.channel = adoption_of(master)->channel;
	return true;
}

bool adopt_logger(struct master *master, uint64_t now_ms)
{
	pid_t pid = is_readable(master) && adoption_of(master)->has_logger ? adoption_of(master)->logger_pid : 0;

	if (pid <= 0)
		return false;
	master->logger.pid = pid;
	master->logger.started_ms = now_ms;
	children_add(&master->children, &(struct child){ .pid = pid, .kind = CHILD_LOGGER });
	/* The next one is of this image. */
	logger_process_replace(master, now_ms);
	return true;
}

/* ---- workers ---- */

static void adopt_pool(struct pool *pool, const struct state_pool *state)
{
	const struct pool_memory memory = {
		.generation = state->generation,
		.target = state->target,
		.backoff = {.level = state->backoff_level,
			    .volley = state->backoff_volley,
			    .until_ms = state->backoff_until_ms},
		.proven = state->proven,
		.was_ready = state->was_ready,
		.sizing = { .window = state->window,
			    .short_ms = state->short_ms,
			    .shrunk_ms = state->shrunk_ms,
			    .waited_ms = state->waited_ms },
	};

	pool->spawn_count = state->spawn_count;
	pool->slow_count = state->slow_count;
	pool->recycled[RECYCLE_REQUESTS] = state->recycled_requests;
	pool->recycled[RECYCLE_AGE] = state->recycled_age;
	pool->recycled[RECYCLE_MEMORY] = state->recycled_memory;
	pool->scaled = state->scaled;
	pool->failures = (struct pool_failures){
		.degraded = state->degraded_ms != 0,
		.since_ms = state->degraded_ms,
		.in_a_row = state->failures,
		.last_ms = state->last_failure_ms,
		.died_unready = state->died_unready,
		.died_serving = state->died_serving,
	};
	snprintf(pool->failures.last, sizeof(pool->failures.last), "%s", state->last_failure);
	pool_policy_resume(&pool->policy, &memory);
}

/* SLOT_STATES, or SLOT_REASON_NONE, for a name of another version's. */
static enum slot_state parse_state(const char *name)
{
	unsigned int state = 0;

	while (state < SLOT_STATES && strcmp(slot_state_name((enum slot_state)state), name) != 0)
		state++;
	return (enum slot_state)state;
}

static enum slot_reason parse_reason(const char *name)
{
	for (unsigned int reason = 0; reason < SLOT_REASONS; reason++)
		if (strcmp(slot_reason_name((enum slot_reason)reason), name) == 0)
			return (enum slot_reason)reason;
	return SLOT_REASON_NONE;
}

/* No more than there can be. */
#define JITTER_PPM_MAX 1000000

static struct slot slot_of(const struct state_worker *state)
{
	enum slot_reason worn = parse_reason(state->worn);

	return (struct slot){
		.state = parse_state(state->state),
		.reason = parse_reason(state->reason),
		.was_ready = state->was_ready,
		.worn = slot_reason_is_recycling(worn) ? worn : SLOT_REASON_NONE,
		.worn_ms = state->worn_ms,
		.jitter_ppm = state->jitter_ppm < JITTER_PPM_MAX ? state->jitter_ppm : JITTER_PPM_MAX,
		.generation = state->generation,
		.volley = state->volley,
		.asked_ms = state->asked_ms,
		.ready_ms = state->ready_ms,
		.ready_at_ms = state->ready_at_ms,
		.deadline_ms = state->deadline_ms,
	};
}

/* Whether it has a place of its own on the board that both images know. */
static bool has_board_slot(const struct master *master, const struct state_worker *state)
{
	return adoption_of(master)->master.board_fd == master->board.fd && state->board_slot < master->places &&
	       !master->board_used[state->board_slot];
}

static bool has_room(const struct master *master, const struct pool *pool, const struct state_worker *state)
{
	return pool != NULL && state->kind == (uint32_t)pool->config->kind &&
	       state->generation <= pool->policy.generation && has_board_slot(master, state) &&
	       master->children.count < master->places;
}

static void watch_notify_socket(struct master *master, const struct pool *pool, uint32_t slot)
{
	const struct worker *worker = &pool->workers[slot];
	const struct watch watch = {
		.kind = WATCH_NOTIFY, .pool = pool->index, .slot = slot, .serial = worker->serial
	};

	if (worker->notify_fd >= 0 && master_watch(master, worker->notify_fd, &watch) < 0)
		log_event(LOG_LEVEL_WARNING, "cannot hear what a program says of itself",
			LOG_TEXT("pool", pool->config->name), LOG_INT("slot", slot), LOG_INT("pid", worker->pid));
}

static bool adopt_into(struct master *master, struct pool *pool, const struct state_worker *state)
{
	const struct slot slot = slot_of(state);
	struct child child = { .pid = state->pid, .kind = CHILD_WORKER, .slot = state->slot };

	if (!has_room(master, pool, state) || !pool_policy_adopt(&pool->policy, state->slot, &slot))
		return false;
	child.pool = pool->index;
	children_add(&master->children, &child);
	pool->workers[state->slot] = (struct worker){
		.pid = state->pid,
		.config = pool->config,
		.board_slot = state->board_slot,
		.serial = state->serial & WATCH_SERIAL_MASK,
		.signal = state->signal,
		.notify_fd = state->notify_fd,
		.error = state->error,
		.slow_us = state->slow_us,
		.worn_at = state->worn_at,
		.moved = {state->moved_since_us, state->moved_deadline_us, state->moved_by_us},
	};
	pool_reserve_place(master, state->board_slot);
	watch_notify_socket(master, pool, state->slot);
	return true;
}

/* One that was asked to leave has its time from then on, however often the image changes. */
static uint64_t leaves_by(const struct state_worker *state)
{
	return parse_state(state->state) == SLOT_RETIRING ? state->deadline_ms : DEADLINE_NONE;
}

static void adopt_worker(struct master *master, const struct state_worker *state, uint64_t now_ms)
{
	struct pool *pool = find_pool(master, state->pool);
	int notify_fd = state->notify_fd;

	if (state->pid <= 0 || adopt_into(master, pool, state))
		return;
	fd_close(&notify_fd);
	log_event(LOG_LEVEL_NOTICE, "a worker of the image before has no place in this one, and is to finish",
		LOG_TEXT("pool", state->pool), LOG_INT("pid", state->pid));
	leavers_add(master, state->pid,
		state->stop_signal > 0 && state->stop_signal < NSIG ? state->stop_signal : SIGURG, leaves_by(state),
		now_ms);
}

static void adopt_child(struct master *master, const struct state_child *state, uint64_t now_ms)
{
	if (state->pid > 0)
		leavers_add(master, state->pid,
			state->stop_signal >= 0 && state->stop_signal < NSIG ? state->stop_signal : SIGTERM,
			state->deadline_ms == 0 ? DEADLINE_NONE : state->deadline_ms, now_ms);
}

static void adopt_hunt(struct master *master, const struct state_hunt *state)
{
	struct orphans *orphans = &master->orphans;

	if (state->worker <= 0)
		return;
	orphans->hunts[orphans->next] = (struct orphan_hunt){ .worker = state->worker, .until_ms = state->until_ms };
	orphans->next = (orphans->next + 1) % ORPHAN_HUNTS_MAX;
	orphans->wanted = true;
}

static void adopt_record(struct master *master, const struct state_record *record, uint64_t now_ms)
{
	switch (record->kind) {
	case STATE_WORKER:
		adopt_worker(master, &record->worker, now_ms);
		break;
	case STATE_OUTPUT:
		output_adopt(master, find_pool(master, record->output.pool), &record->output, now_ms);
		break;
	case STATE_HUNT:
		adopt_hunt(master, &record->hunt);
		break;
	case STATE_CLIENT:
		adopt_client(master, &record->client);
		break;
	case STATE_CHILD:
		adopt_child(master, &record->child, now_ms);
		break;
	default:
		break;
	}
}

/* Of a state that was not read: all that are there. */
static void adopt_unknown_children(struct master *master, uint64_t now_ms)
{
	char path[64];
	struct child child;
	FILE *list;
	int pid;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", gettid());
	list = fopen(path, "re");
	if (list == NULL) {
		log_event(
			LOG_LEVEL_WARNING, "cannot look for children of the image before", LOG_ERRNO("reason", errno));
		return;
	}
	while (fscanf(list, "%d", &pid) == 1)
		if (!children_find(&master->children, pid, &child) && !leavers_has(&master->leavers, pid))
			leavers_add(master, pid, SIGURG, DEADLINE_NONE, now_ms);
	fclose(list);
}

void adopt_workers(struct master *master, uint64_t now_ms)
{
	struct state_reader reader = reader_of(master);
	struct state_record record;

	if (adoption_of(master) == NULL || !adoption_of(master)->there)
		return;
	/* A pool learns what it was before it has workers. */
	while (next_of(&reader, STATE_POOL, &record)) {
		struct pool *pool = find_pool(master, record.pool.name);

		if (pool != NULL)
			adopt_pool(pool, &record.pool);
	}
	reader = reader_of(master);
	while (state_read(&reader, &record) == 1)
		adopt_record(master, &record, now_ms);
	/* Else they are none of ours: what programs have left, or a container's orphans. */
	if (is_unreadable(master))
		adopt_unknown_children(master, now_ms);
}

static void tell_clients(struct master *master, const struct adoption *adoption)
{
	char text[256];

	snprintf(text, sizeof(text), "%s has taken over from %s, and replaces the workers", BROOD_VERSION,
		adoption->master.version);
	control_progress(master, REQUEST_RELOAD, control_ticket(master), text);
}

void adopt_report(struct master *master)
{
	const struct adoption *adoption = adoption_of(master);

	if (adoption == NULL || !adoption->there)
		return;
	if (adoption->readable)
		tell_clients(master, adoption);
	if (adoption->readable)
		log_event(LOG_LEVEL_NOTICE, "upgraded", LOG_TEXT("from", adoption->master.version),
			LOG_TEXT("to", BROOD_VERSION), LOG_INT("pid", master->pid),
			LOG_INT("listeners", (int64_t)master->listeners.count),
			LOG_INT("workers", pools_living(master)),
			LOG_INT("leaving", (int64_t)leavers_left(&master->leavers)));
	else
		log_event(LOG_LEVEL_ERROR, "upgraded without a state: workers of the image before are to finish",
			LOG_TEXT("to", BROOD_VERSION), LOG_TEXT("reason", adoption->reason),
			LOG_INT("listeners", (int64_t)master->listeners.count),
			LOG_INT("leaving", (int64_t)leavers_left(&master->leavers)));
}
