/* SPDX-License-Identifier: MIT */
#include "master/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/memory.h"
#include "master/master_private.h"
#include "master/state.h"
#include "policy/deadline.h"

/* How often dropped lines are told of, of each stream. */
#define TELL_MS 1000
/* Of a pipe whose worker has died, so many times OUTPUT_READ_MAX is read at once: more than a pipe holds by default. */
#define LAST_READS 4

struct output_left {
	struct output output;
	struct lines_part part;
	enum output_stream stream;
	char pool[BOARD_POOL_NAME_MAX];
	uint32_t slot;
	pid_t pid;
	char peer[ADDRESS_TEXT_MAX];
	uint64_t heard_ms; /* when it last said something */
};

static const char *const stream_names[OUTPUT_STREAMS] = {
	[OUTPUT_STDOUT] = "stdout",
	[OUTPUT_STDERR] = "stderr",
};

/* Whose lines these are, for the log. */
struct source {
	const char *pool;
	uint32_t slot;
	pid_t pid;
	const char *peer; /* "": none */
	enum output_stream stream;
	struct master *master; /* NULL: of a worker that is gone */
	struct pool *from;     /* where it is */
};

/* ---- logging ---- */

static void log_output(enum log_level level, const char *event, const struct source *source, struct log_field what)
{
	struct log_field fields[] = {
		LOG_TEXT("pool", source->pool),
		LOG_INT("slot", source->slot),
		LOG_INT("pid", source->pid),
		LOG_TEXT("stream", stream_names[source->stream]),
		what,
		{ .name = NULL },
		{ .name = NULL },
	};

	if (source->peer[0] != '\0') {
		memmove(&fields[4], &fields[3], 2 * sizeof(fields[0]));
		fields[3] = LOG_TEXT("peer", source->peer);
	}
	log_write(level, event, fields);
}

static void log_line(void *context, const char *line, size_t size)
{
	const struct source *source = context;

	log_output(source->stream == OUTPUT_STDERR ? LOG_LEVEL_NOTICE : LOG_LEVEL_INFO, "output", source,
		LOG_BYTES("text", line, size));
	if (source->master != NULL && source->stream == OUTPUT_STDERR)
		reload_note_line(source->master, source->from, source->slot, line, size);
}

static void tell_dropped(struct lines_flow *flow, const struct source *source)
{
	if (flow->dropped > 0)
		log_output(LOG_LEVEL_WARNING, "output dropped", source, LOG_INT("lines", (int64_t)flow->dropped));
	flow->dropped = 0;
}

/* ---- reading ---- */

static void output_close(struct master *master, struct output *output)
{
	if (!output->open)
		return;
	if (output->watched)
		master_unwatch(master, output->fd);
	close(output->fd);
	output->open = false;
	output->watched = false;
	output->paused = false;
}

/* Reads once. Returns the size, 0 at the end of the stream, or a negative errno. */
static ssize_t output_read(
	struct master *master, struct output *output, struct lines_part *part, struct source *source, uint64_t now_ms)
{
	const struct lines lines = { .part = part, .flow = &output->flow, .sink = log_line, .context = source };
	ssize_t size;

	do
		size = read(output->fd, master->output.buffer, OUTPUT_READ_MAX);
	while (size < 0 && errno == EINTR);
	if (size < 0)
		return -errno;
	if (size > 0)
		lines_take(&lines, master->output.buffer, (size_t)size, now_ms);
	else
		lines_end(&lines, now_ms);
	if (output->flow.dropped > 0 && master->output.tell_ms == DEADLINE_NONE)
		master->output.tell_ms = now_ms + TELL_MS;
	return size;
}

/* The end of the stream. */
static void output_end(struct master *master, struct output *output, const struct source *source)
{
	tell_dropped(&output->flow, source);
	output_close(master, output);
}

static void output_rewatch(struct master *master, struct output *output, const struct watch *watch, bool asked)
{
	struct epoll_event event = { .events = asked ? EPOLLIN : 0, .data.u64 = watch_pack(watch) };

	epoll_ctl(master->epoll_fd, EPOLL_CTL_MOD, output->fd, &event);
}

/* A stream in flood is left alone for a while; its writer waits once the pipe is full. Its end is an event even so. */
static void output_pause(struct master *master, struct output *output, const struct watch *watch, uint64_t now_ms)
{
	if (output->paused || !output->watched || !lines_flood(&output->flow, now_ms))
		return;
	output_rewatch(master, output, watch, false);
	output->paused = true;
	if (master->output.resume_ms == DEADLINE_NONE)
		master->output.resume_ms = now_ms + OUTPUT_PAUSE_MS;
}

/* ---- the pipes of workers ---- */

static struct output *pool_output(struct pool *pool, uint32_t slot, enum output_stream stream)
{
	return &pool->output.streams[slot * OUTPUT_STREAMS + stream];
}

static struct lines_part *pool_part(struct pool *pool, uint32_t slot, enum output_stream stream)
{
	return &pool->output.parts[slot * OUTPUT_STREAMS + stream];
}

static struct watch worker_watch(const struct pool *pool, uint32_t slot, uint32_t serial, enum output_stream stream)
{
	return (struct watch){
		.kind = stream == OUTPUT_STDOUT ? WATCH_STDOUT : WATCH_STDERR,
		.pool = pool->index,
		.slot = slot,
		.serial = serial,
	};
}

/* The peer of the worker in SLOT's connection; "" where it has none. */
static char *worker_peer(
	const struct master *master, const struct pool *pool, uint32_t slot, char buffer[ADDRESS_TEXT_MAX])
{
	const struct board_slot *board_slot = pool_board_slot(master, pool, slot);
	struct sockaddr_storage peer;
	socklen_t size = worker_kind(pool, slot) == HANDLER_BECOMES ? board_slot_peer(board_slot, &peer) : 0;

	buffer[0] = '\0';
	if (size > 0)
		address_format((const struct sockaddr *)&peer, size, true, buffer, ADDRESS_TEXT_MAX);
	return buffer;
}

static struct source worker_source(struct master *master, struct pool *pool, uint32_t slot, enum output_stream stream,
	char buffer[ADDRESS_TEXT_MAX])
{
	return (struct source){
		.pool = pool->config->name,
		.slot = slot,
		.pid = pool->workers[slot].pid,
		.peer = worker_peer(master, pool, slot, buffer),
		.stream = stream,
		.master = master,
		.from = pool,
	};
}

static bool wants_pipe(const struct pool_config *config, enum output_stream stream)
{
	if (stream == OUTPUT_STDOUT)
		return config->kind == HANDLER_ACCEPTS;
	return handler_kind_runs_programs(config->kind) && config->program.stderr_target == STDERR_LOG;
}

static int output_watch(struct master *master, struct output *output, const struct watch *watch)
{
	int result = output->watched ? 0 : master_watch(master, output->fd, watch);

	output->watched |= result == 0;
	return result;
}

/*
 * A writing end by which one could read, too: whoever holds it is a reader, so that a program whose master has died
 * does not die of what it says (SIGPIPE), but goes on until the pipe is full. Without /proc the end stays as it is.
 */
static void hold_open(int *write_fd)
{
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", *write_fd);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return;
	fd_close(write_fd);
	*write_fd = fd;
}

/* Only the reading end does not block: each end is an open file of its own. */
static int make_pipe(struct output *output, int *ret_write_fd)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	*output = (struct output){ .open = true, .fd = ends[0] };
	hold_open(&ends[1]);
	*ret_write_fd = ends[1];
	return fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

int output_open(
	struct master *master, struct pool *pool, uint32_t slot, uint32_t serial, struct host_output *ret_output)
{
	struct host_output made = { .stdout_fd = -1, .stderr_fd = -1 };
	int *const ends[OUTPUT_STREAMS] = { &made.stdout_fd, &made.stderr_fd };
	int result = 0;

	for (int stream = 0; stream < OUTPUT_STREAMS && result == 0; stream++) {
		const struct watch watch = worker_watch(pool, slot, serial, (enum output_stream)stream);
		struct output *output = pool_output(pool, slot, (enum output_stream)stream);

		if (!wants_pipe(pool->workers[slot].config, (enum output_stream)stream))
			continue;
		result = make_pipe(output, ends[stream]);
		if (result == 0 && worker_is_program(pool, slot))
			result = output_watch(master, output, &watch);
		pool_part(pool, slot, (enum output_stream)stream)->used = 0;
	}
	if (result < 0) {
		output_handed_over(&made);
		output_abandon(master, pool, slot);
		return result;
	}
	*ret_output = made;
	return 0;
}

void output_handed_over(struct host_output *output)
{
	fd_close(&output->stdout_fd);
	fd_close(&output->stderr_fd);
}

void output_abandon(struct master *master, struct pool *pool, uint32_t slot)
{
	for (int stream = 0; stream < OUTPUT_STREAMS; stream++)
		output_close(master, pool_output(pool, slot, (enum output_stream)stream));
}

void output_taken(struct master *master, struct pool *pool, uint32_t slot, uint64_t now_ms)
{
	const struct output *output = pool_output(pool, slot, OUTPUT_STDERR);

	if (output->open && !output->watched && master->output.watch_ms == DEADLINE_NONE)
		master->output.watch_ms = now_ms + OUTPUT_WATCH_MS;
}

/* Watches the pipes of programs that are not watched yet; one whose start was not logged yet has its lines after that.
 * Where there is no memory for it, another time. */
static void watch_pool(struct master *master, struct pool *pool, uint64_t now_ms)
{
	for (uint32_t slot = 0; slot < pool->output.capacity; slot++) {
		struct output *output = pool_output(pool, slot, OUTPUT_STDERR);
		const struct worker *worker = &pool->workers[slot];
		const struct watch watch = worker_watch(pool, slot, worker->serial, OUTPUT_STDERR);

		if (!output->open || output->watched || !worker->taken)
			continue;
		if (output_watch(master, output, &watch) < 0)
			output_taken(master, pool, slot, now_ms);
	}
}

static void worker_event(struct master *master, const struct watch *watch, uint64_t now_ms)
{
	enum output_stream stream = watch->kind == WATCH_STDOUT ? OUTPUT_STDOUT : OUTPUT_STDERR;
	struct pool *pool = &master->pools[watch->pool];
	struct output *output = pool_output(pool, watch->slot, stream);
	char peer[ADDRESS_TEXT_MAX];
	struct source source;

	if (!output->open)
		return;
	source = worker_source(master, pool, watch->slot, stream, peer);
	if (output_read(master, output, pool_part(pool, watch->slot, stream), &source, now_ms) == 0)
		output_end(master, output, &source);
	else
		output_pause(master, output, watch, now_ms);
}

/* ---- pipes that outlive their workers ---- */

static struct watch left_watch(const struct output_left *left, const struct output_left *first)
{
	return (struct watch){ .kind = WATCH_LEFT, .slot = (uint32_t)(left - first) };
}

static struct source left_source(const struct output_left *left)
{
	return (struct source){
		.pool = left->pool,
		.slot = left->slot,
		.pid = left->pid,
		.peer = left->peer,
		.stream = left->stream,
	};
}

/* A free place, or that of the one that has been silent longest, which is closed. */
static struct output_left *left_place(struct master *master)
{
	struct output_left *oldest = &master->output.left[0];
	struct source source;

	for (struct output_left *left = oldest; left < master->output.left + OUTPUT_LEFT_MAX; left++) {
		if (!left->output.open)
			return left;
		if (left->heard_ms < oldest->heard_ms)
			oldest = left;
	}
	source = left_source(oldest);
	log_output(LOG_LEVEL_WARNING, "output of a program that has ended is not read any more", &source,
		LOG_INT("most", OUTPUT_LEFT_MAX));
	output_end(master, &oldest->output, &source);
	return oldest;
}

static void left_take(struct master *master, struct output *output, const struct lines_part *part,
	const struct source *source, uint64_t now_ms)
{
	struct output_left *left = left_place(master);
	const struct watch watch = left_watch(left, master->output.left);

	left->output = *output;
	left->part.used = part->used;
	memcpy(left->part.text, part->text, part->used);
	left->stream = source->stream;
	snprintf(left->pool, sizeof(left->pool), "%s", source->pool);
	left->slot = source->slot;
	left->pid = source->pid;
	snprintf(left->peer, sizeof(left->peer), "%s", source->peer);
	left->heard_ms = now_ms;
	*output = (struct output){ 0 };
	if (left->output.watched)
		output_rewatch(master, &left->output, &watch, !left->output.paused);
	else if (output_watch(master, &left->output, &watch) < 0)
		output_end(master, &left->output, source);
}

static void left_event(struct master *master, const struct watch *watch, uint64_t now_ms)
{
	struct output_left *left = &master->output.left[watch->slot];
	struct source source = left_source(left);

	if (!left->output.open)
		return;
	left->heard_ms = now_ms;
	if (output_read(master, &left->output, &left->part, &source, now_ms) == 0)
		output_end(master, &left->output, &source);
	else
		output_pause(master, &left->output, watch, now_ms);
}

void output_event(struct master *master, const struct watch *watch, uint64_t now_ms)
{
	if (watch->kind == WATCH_LEFT)
		left_event(master, watch, now_ms);
	else
		worker_event(master, watch, now_ms);
}

static void stream_worker_died(
	struct master *master, struct pool *pool, uint32_t slot, enum output_stream stream, uint64_t now_ms)
{
	struct output *output = pool_output(pool, slot, stream);
	struct lines_part *part = pool_part(pool, slot, stream);
	char peer[ADDRESS_TEXT_MAX];
	struct source source;
	ssize_t size = 1;

	if (!output->open)
		return;
	source = worker_source(master, pool, slot, stream, peer);
	for (int i = 0; i < LAST_READS && size > 0; i++)
		size = output_read(master, output, part, &source, now_ms);
	if (size == 0)
		output_end(master, output, &source);
	else
		left_take(master, output, part, &source, now_ms);
}

void output_worker_died(struct master *master, struct pool *pool, uint32_t slot, uint64_t now_ms)
{
	for (int stream = 0; stream < OUTPUT_STREAMS; stream++)
		stream_worker_died(master, pool, slot, (enum output_stream)stream, now_ms);
}

/* ---- upgrade ---- */

static void hand_over(const struct output *output, const struct lines_part *part, const struct source *source,
	bool left, struct state_writer *writer)
{
	struct state_record record = {
		.kind = STATE_OUTPUT,
		.output = {.fd = output->fd,
			   .slot = source->slot,
			   .pid = source->pid,
			   .stream = (uint32_t)source->stream,
			   .left = left,
			   .part = part->text,
			   .part_size = part->used},
	};

	if (!output->open)
		return;
	snprintf(record.output.pool, sizeof(record.output.pool), "%s", source->pool);
	snprintf(record.output.peer, sizeof(record.output.peer), "%s", source->peer);
	state_write(writer, &record);
}

void output_hand_over(const struct master *master, struct state_writer *writer)
{
	FOR_EACH_POOL (master, pool)
		for (uint32_t i = 0; pool->output.streams != NULL && i < pool->output.capacity * OUTPUT_STREAMS; i++) {
			const struct source source = {
				.pool = pool->config->name,
				.slot = i / OUTPUT_STREAMS,
				.pid = pool->workers[i / OUTPUT_STREAMS].pid,
				.peer = "",
				.stream = (enum output_stream)(i % OUTPUT_STREAMS),
			};

			hand_over(&pool->output.streams[i], &pool->output.parts[i], &source, false, writer);
		}
	for (size_t i = 0; i < OUTPUT_LEFT_MAX; i++) {
		const struct output_left *left = &master->output.left[i];
		const struct source source = left_source(left);

		hand_over(&left->output, &left->part, &source, true, writer);
	}
}

static void adopt_part(struct lines_part *part, const struct state_output *state)
{
	part->used = (uint32_t)(state->part_size < LINES_TEXT_MAX ? state->part_size : LINES_TEXT_MAX);
	memcpy(part->text, state->part, part->used);
}

static void adopt_left(struct master *master, const struct state_output *state, uint64_t now_ms)
{
	struct output output = { .open = true, .fd = state->fd };
	const struct source source = {
		.pool = state->pool,
		.slot = state->slot,
		.pid = state->pid,
		.peer = state->peer,
		.stream = state->stream == OUTPUT_STDOUT ? OUTPUT_STDOUT : OUTPUT_STDERR,
	};
	struct lines_part part;

	adopt_part(&part, state);
	left_take(master, &output, &part, &source, now_ms);
}

void output_adopt(struct master *master, struct pool *pool, const struct state_output *state, uint64_t now_ms)
{
	enum output_stream stream = state->stream == OUTPUT_STDOUT ? OUTPUT_STDOUT : OUTPUT_STDERR;
	struct output *output;
	struct watch watch;

	if (state->fd < 0 || fd_set_nonblock(state->fd, true) < 0)
		return;
	if (state->left || pool == NULL || pool->output.streams == NULL || state->slot >= pool->output.capacity ||
		pool->workers[state->slot].pid != state->pid || pool_output(pool, state->slot, stream)->open) {
		adopt_left(master, state, now_ms);
		return;
	}
	output = pool_output(pool, state->slot, stream);
	*output = (struct output){ .open = true, .fd = state->fd };
	adopt_part(pool_part(pool, state->slot, stream), state);
	watch = worker_watch(pool, state->slot, pool->workers[state->slot].serial, stream);
	/* As at its start: that of an inetd program is waited for once it has run for a while. */
	if (pool->config->kind == HANDLER_BECOMES)
		output_taken(master, pool, state->slot, now_ms);
	else if (output_watch(master, output, &watch) < 0)
		log_event(LOG_LEVEL_WARNING, "cannot hear what a program writes", LOG_TEXT("pool", state->pool),
			LOG_INT("slot", state->slot), LOG_INT("pid", state->pid));
}

/* ---- what is due ---- */

/* Looks at one open stream. */
static void output_check(struct master *master, struct output *output, const struct watch *watch,
	const struct source *source, uint64_t now_ms)
{
	if (output->paused && deadline_passed(master->output.resume_ms, now_ms)) {
		output->paused = false;
		output_rewatch(master, output, watch, true);
	}
	if (deadline_passed(master->output.tell_ms, now_ms))
		tell_dropped(&output->flow, source);
}

static void check_pool(struct master *master, struct pool *pool, uint64_t now_ms)
{
	uint32_t count = pool->output.capacity * OUTPUT_STREAMS;

	for (uint32_t i = 0; i < count; i++) {
		struct output *output = &pool->output.streams[i];
		uint32_t slot = i / OUTPUT_STREAMS;
		enum output_stream stream = (enum output_stream)(i % OUTPUT_STREAMS);
		char peer[ADDRESS_TEXT_MAX];
		struct source source;
		struct watch watch;

		if (!output->open || (!output->paused && output->flow.dropped == 0))
			continue;
		source = worker_source(master, pool, slot, stream, peer);
		watch = worker_watch(pool, slot, pool->workers[slot].serial, stream);
		output_check(master, output, &watch, &source, now_ms);
	}
}

static void check_left(struct master *master, uint64_t now_ms)
{
	for (uint32_t i = 0; i < OUTPUT_LEFT_MAX; i++) {
		struct output_left *left = &master->output.left[i];
		const struct source source = left_source(left);
		const struct watch watch = left_watch(left, master->output.left);

		if (left->output.open)
			output_check(master, &left->output, &watch, &source, now_ms);
	}
}

static void watch_new(struct master *master, uint64_t now_ms)
{
	master->output.watch_ms = DEADLINE_NONE;
	FOR_EACH_POOL (master, pool)
		watch_pool(master, pool, now_ms);
}

uint64_t output_act(struct master *master, uint64_t now_ms)
{
	struct output_master *output = &master->output;

	if (deadline_passed(output->watch_ms, now_ms))
		watch_new(master, now_ms);
	if (deadline_passed(output->resume_ms, now_ms) || deadline_passed(output->tell_ms, now_ms)) {
		FOR_EACH_POOL (master, pool)
			check_pool(master, pool, now_ms);
		check_left(master, now_ms);
		if (deadline_passed(output->resume_ms, now_ms))
			output->resume_ms = DEADLINE_NONE;
		if (deadline_passed(output->tell_ms, now_ms))
			output->tell_ms = DEADLINE_NONE;
	}
	return deadline_earlier(output->watch_ms, deadline_earlier(output->resume_ms, output->tell_ms));
}

/* ---- tables ---- */

int output_init(struct master *master)
{
	master->output = (struct output_master){
		.buffer = memory_unforked(OUTPUT_READ_MAX, 1),
		.left = memory_unforked(OUTPUT_LEFT_MAX, sizeof(struct output_left)),
		.watch_ms = DEADLINE_NONE,
		.resume_ms = DEADLINE_NONE,
		.tell_ms = DEADLINE_NONE,
	};
	return master->output.buffer == NULL || master->output.left == NULL ? -ENOMEM : 0;
}

void output_done(struct master *master)
{
	for (uint32_t i = 0; i < OUTPUT_LEFT_MAX && master->output.left != NULL; i++)
		output_close(master, &master->output.left[i].output);
	memory_unforked_free(master->output.left, OUTPUT_LEFT_MAX, sizeof(struct output_left));
	memory_unforked_free(master->output.buffer, OUTPUT_READ_MAX, 1);
	master->output = (struct output_master){ 0 };
}

int output_pool_init(struct pool *pool, uint32_t capacity)
{
	size_t count = (size_t)capacity * OUTPUT_STREAMS;

	pool->output = (struct output_pool){ .capacity = capacity };
	pool->output.streams = memory_unforked(count, sizeof(struct output));
	pool->output.parts = memory_unforked(count, sizeof(struct lines_part));
	return pool->output.streams == NULL || pool->output.parts == NULL ? -ENOMEM : 0;
}

void output_pool_done(struct master *master, struct pool *pool)
{
	size_t count = (size_t)pool->output.capacity * OUTPUT_STREAMS;

	for (size_t i = 0; i < count && pool->output.streams != NULL; i++)
		output_close(master, &pool->output.streams[i]);
	memory_unforked_free(pool->output.streams, count, sizeof(struct output));
	memory_unforked_free(pool->output.parts, count, sizeof(struct lines_part));
	pool->output = (struct output_pool){ 0 };
}
