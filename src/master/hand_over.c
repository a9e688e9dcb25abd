/* SPDX-License-Identifier: MIT */
#include "master/hand_over.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "build_config.h"
#include "master/master_private.h"

/* A text of the record's; what is too long for it is cut. */
#define SET(member, text) snprintf((member), sizeof(member), "%s", (text))

static void write_master(const struct master *master, struct state_writer *writer)
{
	struct state_record record = {
		.kind = STATE_MASTER,
		.master = {
			.pid = master->pid,
			.generation = master->generation,
			.version = BROOD_VERSION,
			.board_fd = master->board.fd,
			.wake_fd = master->wake_fd,
			.soft_descriptors = master->soft_descriptors,
			.reset_oom_score = master->reset_oom_score,
			.skipped_ms = clock_skipped_ms(),
		},
	};

	SET(record.master.binary, master->options->image->path);
	state_write(writer, &record);
}

static int write_config(const struct master *master, struct state_writer *writer)
{
	struct state_record record = { .kind = STATE_CONFIG };
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	if (out == NULL)
		return -ENOMEM;
	config_dump(master->config, out);
	if (fclose(out) != 0) {
		free(text);
		return -ENOMEM;
	}
	record.config.text = text;
	record.config.text_size = size;
	state_write(writer, &record);
	free(text);
	return 0;
}

static const char *pool_of(const struct master *master, const struct listener *listener)
{
	FOR_EACH_POOL (master, pool)
		if (listener_set_has(&pool->listeners, listener))
			return pool->config->name;
	return "";
}

static void write_listener(const struct master *master, const struct listener *listener, struct state_writer *writer)
{
	struct state_record record = {
		.kind = STATE_LISTENER,
		.listener = {
			.fd = listener->fd,
			.origin = (uint32_t)listener->origin,
			.refused = listener->refused,
			.path_owner = listener->path_owner,
			.path_device = listener->path_device,
			.path_inode = listener->path_inode,
		},
	};

	SET(record.listener.pool, pool_of(master, listener));
	SET(record.listener.spec, listener->spec);
	state_write(writer, &record);
}

static void write_members(const struct pool *pool, struct state_writer *writer)
{
	struct state_record record = { .kind = STATE_MEMBER };

	SET(record.member.pool, pool->config->name);
	for (size_t i = 0; i < pool->listeners.count; i++) {
		record.member.fd = pool->listeners.list[i]->fd;
		state_write(writer, &record);
	}
}

static void write_pool(const struct pool *pool, struct state_writer *writer)
{
	const struct pool_policy *policy = &pool->policy;
	struct state_record record = {
		.kind = STATE_POOL,
		.pool = {
			.generation = policy->generation,
			.spawn_count = pool->spawn_count,
			.slow_count = pool->slow_count,
			.target = policy->target,
			.scaled = pool->scaled,
			.degraded_ms = pool->failures.degraded ? pool->failures.since_ms : 0,
			.failures = pool->failures.in_a_row,
			.last_failure_ms = pool->failures.last_ms,
			.died_unready = pool->failures.died_unready,
			.died_serving = pool->failures.died_serving,
			.was_ready = policy->was_ready,
			.proven = policy->proven,
			.backoff_level = policy->backoff.level,
			.backoff_volley = policy->backoff.volley,
			.backoff_until_ms = policy->backoff.until_ms,
			.recycled_requests = pool->recycled[RECYCLE_REQUESTS],
			.recycled_age = pool->recycled[RECYCLE_AGE],
			.recycled_memory = pool->recycled[RECYCLE_MEMORY],
			.window = policy->sizing.window,
			.short_ms = policy->sizing.short_ms,
			.shrunk_ms = policy->sizing.shrunk_ms,
			.waited_ms = policy->sizing.waited_ms,
		},
	};

	SET(record.pool.name, pool->config->name);
	SET(record.pool.handler, pool->config->handler_name);
	SET(record.pool.last_failure, pool->failures.last);
	state_write(writer, &record);
}

static int graceful_signal(const struct pool_config *config)
{
	return config->kind == HANDLER_ACCEPTS ? (int)config->program.stop_signal : SIGURG;
}

static void write_worker(const struct pool *pool, uint32_t number, struct state_writer *writer)
{
	const struct worker *worker = &pool->workers[number];
	const struct slot *slot = &pool->slots[number];
	struct state_record record = {
		.kind = STATE_WORKER,
		.worker = {
			.pid = worker->pid,
			.slot = number,
			.board_slot = worker->board_slot,
			.serial = worker->serial,
			.generation = slot->generation,
			.kind = (uint32_t)worker->config->kind,
			.signal = worker->signal,
			.stop_signal = graceful_signal(worker->config),
			.notify_fd = worker->notify_fd,
			.error = worker->error,
			.was_ready = slot->was_ready,
			.volley = slot->volley,
			.asked_ms = slot->asked_ms,
			.ready_ms = slot->ready_ms,
			.ready_at_ms = slot->ready_at_ms,
			.deadline_ms = slot->deadline_ms,
			.slow_us = worker->slow_us,
			.worn_ms = slot->worn_ms,
			.worn_at = worker->worn_at,
			.jitter_ppm = slot->jitter_ppm,
			.moved_since_us = worker->moved.since_us,
			.moved_deadline_us = worker->moved.deadline_us,
			.moved_by_us = worker->moved.by_us,
		},
	};

	if (pool->leaving)
		record.worker.deadline_ms = pool_policy_leaves_by(&pool->policy, number);

	/* One that was removed is in no configuration: another may have its name. */
	SET(record.worker.pool, pool->leaving ? "" : pool->config->name);
	/* Whoever reads this sees for himself that a request is overrun. */
	if (slot->state == SLOT_OVERRUN && !pool->leaving)
		record.worker.deadline_ms = slot->leave_by_ms;
	SET(record.worker.state, slot_state_name(slot->state == SLOT_OVERRUN ? SLOT_RETIRING : slot->state));
	SET(record.worker.reason, slot_reason_name(slot->reason));
	SET(record.worker.worn, slot_reason_name(slot->worn));
	state_write(writer, &record);
}

static void write_own(const struct master *master, struct state_writer *writer)
{
	const struct logger_channel *channel = &master->logger.channel;
	struct state_record logger = {
		.kind = STATE_LOGGER,
		.logger = {.pid = master->logger.pid,
			   .read_fd = channel->read_fd,
			   .write_fd = channel->write_fd,
			   .counters_fd = channel->counters_fd},
	};
	struct state_record pidfile = { .kind = STATE_PIDFILE, .pidfile = { .fd = master->pidfile.fd } };
	struct state_record ack = { .kind = STATE_ACK, .ack = { .fd = master->ack.fd } };

	state_write(writer, &logger);
	if (master->pidfile.path != NULL) {
		SET(pidfile.pidfile.path, master->pidfile.path);
		state_write(writer, &pidfile);
	}
	if (master->ack.fd >= 0) {
		SET(ack.ack.directory, master->ack.directory);
		SET(ack.ack.path, master->ack.path);
		state_write(writer, &ack);
	}
}

/* Who waits for a verdict goes on to wait for it. */
static void write_clients(const struct master *master, enum request_kind kind, struct state_writer *writer)
{
	struct state_record record = { .kind = STATE_CLIENT };
	int fds[CONTROL_CLIENTS_MAX];
	size_t count = control_waiting(master, kind, fds, CONTROL_CLIENTS_MAX);

	SET(record.client.request, request_kind_name(kind));
	for (size_t i = 0; i < count; i++) {
		record.client.fd = fds[i];
		state_write(writer, &record);
	}
}

static void write_control(const struct master *master, struct state_writer *writer)
{
	const struct listener *listener = &master->control.listener;
	struct state_record record = {
		.kind = STATE_CONTROL,
		.control = {.fd = listener->fd,
			    .path_device = listener->path_device,
			    .path_inode = listener->path_inode},
	};

	if (listener->fd < 0)
		return;
	SET(record.control.path, listener->spec);
	state_write(writer, &record);
	write_clients(master, REQUEST_UPGRADE, writer);
	write_clients(master, REQUEST_RELOAD, writer);
}

static void write_hunts(const struct master *master, struct state_writer *writer)
{
	for (size_t i = 0; i < ORPHAN_HUNTS_MAX; i++) {
		const struct orphan_hunt *hunt = &master->orphans.hunts[i];
		const struct state_record record = {
			.kind = STATE_HUNT,
			.hunt = {.worker = hunt->worker, .until_ms = hunt->until_ms},
		};

		if (hunt->worker != 0)
			state_write(writer, &record);
	}
}

static void write_child(pid_t pid, const char *what, struct state_writer *writer)
{
	struct state_record record = {
		.kind = STATE_CHILD, .child = {.pid = pid, .stop_signal = SIGTERM}
	};

	SET(record.child.what, what);
	state_write(writer, &record);
}

/* It was asked to finish, and knows it; it may be a program by now, which another signal would end. */
static void write_leaver(const struct leaver *leaver, struct state_writer *writer)
{
	struct state_record record = {
		.kind = STATE_CHILD, .child = {.pid = leaver->pid, .deadline_ms = leaver->deadline_ms}
	};

	SET(record.child.what, "leaver");
	state_write(writer, &record);
}

/* Those that nobody goes on with. */
static void write_children(const struct master *master, struct state_writer *writer)
{
	for (size_t i = 0; i < master->leavers.count; i++)
		write_leaver(&master->leavers.list[i], writer);
	for (size_t i = 0; i < master->children.size; i++) {
		const struct child *child = &master->children.table[i];

		if (child->pid != 0 && child->kind != CHILD_WORKER && child->kind != CHILD_LOGGER)
			write_child(child->pid, "helper", writer);
	}
}

int hand_over_write(const struct master *master, struct state_writer *writer)
{
	int result;

	write_master(master, writer);
	result = write_config(master, writer);
	if (result < 0)
		return result;
	for (size_t i = 0; i < master->listeners.count; i++)
		write_listener(master, master->listeners.list[i], writer);
	write_own(master, writer);
	write_control(master, writer);
	FOR_EACH_POOL (master, pool) {
		if (!pool->leaving) {
			write_pool(pool, writer);
			write_members(pool, writer);
		}
		for (uint32_t slot = 0; slot < pool->policy.rules.capacity; slot++)
			if (pool->workers[slot].pid != 0)
				write_worker(pool, slot, writer);
	}
	output_hand_over(master, writer);
	write_hunts(master, writer);
	write_children(master, writer);
	return state_writer_finish(writer);
}

void hand_over_keep(const struct state_writer *writer, bool keep)
{
	struct state_reader reader;
	struct state_record record;

	if (state_reader_init(&reader, writer->data, writer->size) < 0)
		return;
	while (state_read(&reader, &record) == 1) {
		int fds[STATE_DESCRIPTORS_MAX];
		size_t count = state_descriptors(&record, fds);

		for (size_t i = 0; i < count; i++)
			fd_set_cloexec(fds[i], !keep);
	}
}
