/* SPDX-License-Identifier: MIT */
#include "ctl/snapshot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "board/board.h"
#include "net/address.h"

/* ---- workers, by the scoreboard ---- */

static json_int_t word(const _Atomic uint64_t *of)
{
	return (json_int_t)atomic_load_explicit(of, memory_order_relaxed);
}

/* How long it is since; 0 is never, and clocks of two processors may be a moment apart. */
static json_t *since(const _Atomic uint64_t *time_us, uint64_t now_us)
{
	uint64_t then_us = atomic_load_explicit(time_us, memory_order_relaxed);

	if (then_us == 0)
		return json_null();
	return json_integer(now_us > then_us ? (json_int_t)((now_us - then_us) / 1000) : 0);
}

/* Text of a program's own, in whatever encoding: what is no UTF-8 is replaced. */
static json_t *text_or_null(const char *text)
{
	char ascii[BOARD_STATUS_MAX];
	json_t *value;

	if (text[0] == '\0')
		return json_null();
	value = json_string(text);
	if (value != NULL)
		return value;
	snprintf(ascii, sizeof(ascii), "%s", text);
	for (char *at = ascii; *at != '\0'; at++)
		if ((unsigned char)*at >= 0x80)
			*at = '?';
	return json_string(ascii);
}

static json_t *peer_of(const struct board_slot *slot)
{
	struct sockaddr_storage peer = { 0 };
	socklen_t size = board_slot_peer(slot, &peer);
	char text[ADDRESS_TEXT_MAX];

	if (size == 0)
		return json_null();
	return text_or_null(address_format((const struct sockaddr *)&peer, size, true, text, sizeof(text)));
}

/* How things look from here. */
struct view {
	uint64_t now_us;
	pid_t daemon; /* 0: its processes are not seen here, or have other numbers */
};

/* The memory that it has in RAM, shared pages included; null where /proc does not show it. */
static json_t *memory_of(const struct view *view, uint32_t pid)
{
	unsigned long long size, resident;
	char path[64];
	FILE *file = NULL;
	int found;

	snprintf(path, sizeof(path), "/proc/%u/statm", pid);
	if (view->daemon != 0)
		file = fopen(path, "re");
	if (file == NULL)
		return json_null();
	found = fscanf(file, "%llu %llu", &size, &resident);
	fclose(file);
	return found == 2 ? json_integer((json_int_t)resident * sysconf(_SC_PAGESIZE)) : json_null();
}

/* Whether it is a worker of a master before this one: not its child. Its name, which may have any bytes in it, ends
 * with the last parenthesis (proc(5)). */
static bool is_survivor(const struct view *view, uint32_t pid)
{
	char path[64], line[256] = "";
	FILE *file = NULL;
	const char *end;
	int parent;

	snprintf(path, sizeof(path), "/proc/%u/stat", pid);
	if (view->daemon != 0)
		file = fopen(path, "re");
	if (file == NULL)
		return false;
	end = fgets(line, sizeof(line), file) != NULL ? strrchr(line, ')') : NULL;
	fclose(file);
	return end != NULL && sscanf(end, ") %*c %d", &parent) == 1 && parent != view->daemon;
}

static json_t *worker_of(const struct board_slot *slot, uint32_t pid, const struct view *view)
{
	enum board_state state = board_slot_state(slot);
	char status[BOARD_STATUS_MAX];
	json_t *worker = json_object();

	json_object_set_new(worker, "slot", json_integer(atomic_load_explicit(&slot->pool_slot, memory_order_relaxed)));
	json_object_set_new(worker, "pid", json_integer(pid));
	json_object_set_new(
		worker, "generation", json_integer(atomic_load_explicit(&slot->generation, memory_order_relaxed)));
	json_object_set_new(worker, "state", json_string(board_state_name(state)));
	json_object_set_new(worker, "serving", json_boolean(board_state_is_serving(state)));
	json_object_set_new(worker, "age_ms", since(&slot->born_us, view->now_us));
	json_object_set_new(worker, "state_ms", since(&slot->changed_us, view->now_us));
	json_object_set_new(worker, "connections", json_integer(word(&slot->connections)));
	json_object_set_new(worker, "requests", json_integer(word(&slot->requests)));
	json_object_set_new(worker, "bytes_in", json_integer(word(&slot->bytes_in)));
	json_object_set_new(worker, "bytes_out", json_integer(word(&slot->bytes_out)));
	json_object_set_new(worker, "failed", json_integer(word(&slot->failed)));
	json_object_set_new(worker, "peer", peer_of(slot));
	json_object_set_new(worker, "status", text_or_null(board_slot_status(slot, status)));
	json_object_set_new(worker, "resident_bytes", memory_of(view, pid));
	json_object_set_new(worker, "survivor", json_boolean(is_survivor(view, pid)));
	return worker;
}

/* The pool's object; one that the daemon has not told of, since it came or went just now, is told by its name. */
static json_t *find_pool(json_t *pools, const char *name)
{
	json_t *pool;

	for (size_t i = 0; (pool = list_next(pools, &i)) != NULL;)
		if (strcmp(line_text(pool, "name"), name) == 0)
			return pool;
	pool = json_pack("{s:o,s:[],s:[]}", "name", text_or_null(name), "listeners", "workers");
	json_array_append_new(pools, pool);
	return pool;
}

static void add_workers(json_t *pools, const struct board *board, pid_t daemon)
{
	const struct view view = { .now_us = clock_monotonic_us(), .daemon = daemon };

	for (uint32_t i = 0; i < board_slots_used(board); i++) {
		const struct board_slot *slot = &board->slots[i];
		uint32_t pid = atomic_load_explicit(&slot->pid, memory_order_relaxed);
		char name[BOARD_POOL_NAME_MAX];

		if (pid != 0)
			json_array_append_new(json_object_get(find_pool(pools, board_slot_pool(slot, name)), "workers"),
				worker_of(slot, pid, &view));
	}
}

/* ---- order ---- */

static int compare_slots(const void *left, const void *right)
{
	json_int_t a = json_integer_value(json_object_get(*(json_t *const *)left, "slot"));
	json_int_t b = json_integer_value(json_object_get(*(json_t *const *)right, "slot"));

	return a < b ? -1 : a > b;
}

/* By their number in the pool; the scoreboard has them where there was room. */
static void sort_workers(json_t *pool)
{
	json_t *workers = json_object_get(pool, "workers"), *worker, *sorted = json_array();
	size_t count = json_array_size(workers);
	json_t **list = reallocarray(NULL, count, sizeof(json_t *));

	if (list == NULL || sorted == NULL) {
		free(list);
		json_decref(sorted);
		return;
	}
	for (size_t i = 0; (worker = list_next(workers, &i)) != NULL;)
		list[i - 1] = worker;
	qsort(list, count, sizeof(json_t *), compare_slots);
	for (size_t i = 0; i < count; i++)
		json_array_append(sorted, list[i]);
	free(list);
	json_object_set_new(pool, "workers", sorted);
}

/* ---- sums ---- */

/* What the pool has done in all: its workers of the past, and those that live. */
static void add_sum(json_t *pool, const char *name)
{
	const json_t *workers = json_object_get(pool, "workers"), *worker;
	json_int_t sum;
	char past[64];

	snprintf(past, sizeof(past), "past_%s", name);
	sum = json_integer_value(json_object_get(pool, past));
	for (size_t i = 0; (worker = list_next(workers, &i)) != NULL;)
		sum += json_integer_value(json_object_get(worker, name));
	json_object_del(pool, past);
	json_object_set_new(pool, name, json_integer(sum));
}

/* Of all its listeners, as far as it is known. */
static json_t *queued(const json_t *listeners)
{
	const json_t *listener;
	json_int_t sum = 0;

	for (size_t i = 0; (listener = list_next(listeners, &i)) != NULL;)
		sum += json_integer_value(json_object_get(listener, "queue"));
	return json_integer(sum);
}

static void add_sums(json_t *pool)
{
	static const char *const names[] = { "connections", "requests", "bytes_in", "bytes_out", "failed" };
	const json_t *workers = json_object_get(pool, "workers"), *worker;
	bool is_program = strcmp(line_text(pool, "handler"), "program") == 0;
	json_int_t busy = 0, idle = 0;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		add_sum(pool, names[i]);
	for (size_t i = 0; (worker = list_next(workers, &i)) != NULL;)
		busy += json_is_true(json_object_get(worker, "serving"));
	for (size_t i = 0; (worker = list_next(workers, &i)) != NULL;)
		idle += strcmp(line_text(worker, "state"), board_state_name(BOARD_IDLE)) == 0;
	json_object_set_new(pool, "busy", json_integer(busy));
	/* Nobody knows what such a program does. */
	json_object_set_new(pool, "idle", is_program ? json_null() : json_integer(idle));
	json_object_set_new(pool, "queued", queued(json_object_get(pool, "listeners")));
}

/* ---- the daemon's lines ---- */

/* Takes a line over. */
static void add_line(json_t *snapshot, json_t *line)
{
	json_t *pools = json_object_get(snapshot, "pools");
	json_t *last = json_array_get(pools, json_array_size(pools) - 1);
	char type[16];

	snprintf(type, sizeof(type), "%s", line_text(line, "type"));
	json_object_del(line, "type");
	if (strcmp(type, "daemon") == 0) {
		json_object_set(snapshot, "daemon", line);
	} else if (strcmp(type, "pool") == 0) {
		json_object_set_new(line, "listeners", json_array());
		json_object_set_new(line, "workers", json_array());
		json_array_append(pools, line);
	} else if (strcmp(type, "listener") == 0 && last != NULL) {
		json_object_del(line, "pool");
		json_array_append(json_object_get(last, "listeners"), line);
	}
	json_decref(line);
}

/* The daemon's last line: whether the answer is whole. */
static int take_result(const struct client *client, const json_t *line)
{
	if (json_is_true(json_object_get(line, "ok")))
		return CTL_OK;
	fprintf(stderr, "broodctl: %s: %s\n", client->path, line_text(line, "text"));
	return strcmp(line_text(line, "code"), "busy") == 0 ? CTL_BUSY : CTL_FAILED;
}

static int take_lines(struct client *client, json_t *snapshot)
{
	json_t *line;
	int status;

	while ((status = client_next(client, CLIENT_TIMEOUT_MS, &line)) == CTL_OK && line != NULL) {
		if (line_is(line, "result")) {
			status = take_result(client, line);
			json_decref(line);
			return status;
		}
		add_line(snapshot, line);
	}
	if (status == CTL_OK) {
		fprintf(stderr, "broodctl: %s: the answer is cut off\n", client->path);
		status = CTL_PROTOCOL;
	}
	return status;
}

/* A scoreboard of another version's layout is none that can be read; the rest of the answer stands. */
static void add_board(const struct client *client, json_t *snapshot)
{
	json_t *daemon = json_object_get(snapshot, "daemon");
	json_int_t pid = json_integer_value(json_object_get(daemon, "pid"));
	struct board board;
	bool has_board = client->board_fd >= 0 && board_open(&board, client->board_fd) == 0;

	json_object_set_new(daemon, "scoreboard", json_boolean(has_board));
	if (!has_board) {
		fprintf(stderr, "broodctl: %s: cannot read the daemon's scoreboard: its workers are not shown\n",
			client->path);
		return;
	}
	/* By its own word and by the kernel's: else it counts processes differently, in a namespace of its own. */
	add_workers(json_object_get(snapshot, "pools"), &board, pid == client->daemon ? client->daemon : 0);
	board_done(&board);
}

int snapshot_take(struct client *client, json_t **ret_snapshot)
{
	json_t *snapshot = json_pack("{s:{},s:[]}", "daemon", "pools");
	int status = client_ask(client, "status");
	json_t *pool;

	if (status == CTL_OK)
		status = take_lines(client, snapshot);
	if (status != CTL_OK) {
		json_decref(snapshot);
		return status;
	}
	add_board(client, snapshot);
	for (size_t i = 0; (pool = list_next(json_object_get(snapshot, "pools"), &i)) != NULL;) {
		sort_workers(pool);
		add_sums(pool);
	}
	*ret_snapshot = snapshot;
	return CTL_OK;
}
