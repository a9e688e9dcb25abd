/* SPDX-License-Identifier: MIT */
#include "ctl/show.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ctl/client.h"
#include "ctl/table.h"
#include "ctl/units.h"

/* ---- cells ---- */

static json_int_t number(const json_t *object, const char *name)
{
	return json_integer_value(json_object_get(object, name));
}

/* "-" where the daemon has not told. */
static bool is_known(const json_t *object, const char *name)
{
	return json_is_integer(json_object_get(object, name));
}

static void add_number(struct table *table, const json_t *object, const char *name)
{
	char text[UNITS_MAX];

	snprintf(text, sizeof(text), "%lld", (long long)number(object, name));
	table_add(table, is_known(object, name) ? text : "-");
}

static void add_units(
	struct table *table, const json_t *object, const char *name, char *(*units)(uint64_t, char[UNITS_MAX]))
{
	char text[UNITS_MAX];

	table_add(table, is_known(object, name) ? units((uint64_t)number(object, name), text) : "-");
}

static void add_text(struct table *table, const json_t *object, const char *name)
{
	table_add(table, line_text(object, name));
}

/* ---- the daemon ---- */

static void put_clean(const char *text, FILE *out)
{
	char *clean = table_clean(text);

	fputs(clean != NULL ? clean : "?", out);
	free(clean);
}

static void show_reload(const json_t *daemon, FILE *out)
{
	const char *stage = line_text(daemon, "reload");
	const json_t *good = json_object_get(daemon, "reload_ok");
	time_t at = (time_t)number(daemon, "reload_at");
	struct tm local;
	char when[40] = "";

	if (stage[0] != '\0' && strcmp(stage, "idle") != 0) {
		fputs("a reload is under way: ", out);
		put_clean(stage, out);
		putc('\n', out);
	}
	if (!json_is_boolean(good))
		return;
	if (localtime_r(&at, &local) != NULL)
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &local);
	fprintf(out, "last reload %s, generation %lld: %s", when, (long long)number(daemon, "reload_generation"),
		json_is_true(good) ? "done" : "REFUSED");
	if (line_text(daemon, "reload_text")[0] != '\0') {
		fputs(": ", out);
		put_clean(line_text(daemon, "reload_text"), out);
	}
	putc('\n', out);
}

static void show_daemon(const json_t *daemon, FILE *out)
{
	char uptime[UNITS_MAX];

	fputs("brood ", out);
	put_clean(line_text(daemon, "version"), out);
	fprintf(out, ", pid %lld, ", (long long)number(daemon, "pid"));
	put_clean(line_text(daemon, "phase"), out);
	fprintf(out, ", up %s, generation %lld, %lld of %lld workers\n",
		units_duration((uint64_t)number(daemon, "uptime_ms"), uptime), (long long)number(daemon, "generation"),
		(long long)number(daemon, "workers"), (long long)number(daemon, "max_workers"));
	put_clean(line_text(daemon, "binary"), out);
	fputs(" -c ", out);
	put_clean(line_text(daemon, "config"), out);
	putc('\n', out);
	show_reload(daemon, out);
}

/* Pools that fail, and how. */
static void show_degraded(const json_t *pools, FILE *out)
{
	char since[UNITS_MAX], last[UNITS_MAX];
	const json_t *pool;

	for (size_t i = 0; (pool = list_next(pools, &i)) != NULL;) {
		if (!json_is_true(json_object_get(pool, "degraded")))
			continue;
		fputs("pool ", out);
		put_clean(line_text(pool, "name"), out);
		fprintf(out, " is DEGRADED, for %s: %lld failure%s in a row, the last %s ago: ",
			units_duration((uint64_t)number(pool, "degraded_ms"), since),
			(long long)number(pool, "failures"), number(pool, "failures") == 1 ? "" : "s",
			units_duration((uint64_t)number(pool, "last_failure_ms"), last));
		put_clean(line_text(pool, "last_failure"), out);
		putc('\n', out);
	}
}

/* ---- pools and listeners ---- */

/* "serving", "backing-off 3s". */
static void add_state(struct table *table, const json_t *pool)
{
	char text[128], units[UNITS_MAX];

	if (number(pool, "retry_ms") > 0)
		snprintf(text, sizeof(text), "%.60s %s", line_text(pool, "state"),
			units_duration((uint64_t)number(pool, "retry_ms"), units));
	else
		snprintf(text, sizeof(text), "%.60s", line_text(pool, "state"));
	table_add(table, text);
}

/* Of workers that nobody has asked to go. */
static json_int_t deaths_of(const json_t *pool)
{
	return number(pool, "exited") + number(pool, "signaled") + number(pool, "killed");
}

/* By any of their limits. */
static void add_recycled(struct table *table, const json_t *pool)
{
	char text[UNITS_MAX];
	json_int_t sum =
		number(pool, "recycled_requests") + number(pool, "recycled_age") + number(pool, "recycled_memory");

	table_add(table, is_known(pool, "recycled_requests") ? units_count((uint64_t)sum, text) : "-");
}

static void add_queue(struct table *table, const json_t *listener)
{
	char text[2 * UNITS_MAX];

	if (!is_known(listener, "queue"))
		snprintf(text, sizeof(text), "-/%lld", (long long)number(listener, "backlog"));
	else
		snprintf(text, sizeof(text), "%lld/%lld", (long long)number(listener, "queue"),
			(long long)number(listener, "backlog"));
	table_add(table, text);
}

/* The fullest of its listeners' queues. */
static void add_queues(struct table *table, const json_t *pool)
{
	const json_t *listeners = json_object_get(pool, "listeners"), *listener, *most = NULL;

	for (size_t i = 0; (listener = list_next(listeners, &i)) != NULL;)
		if (most == NULL || number(listener, "queue") > number(most, "queue"))
			most = listener;
	if (most != NULL)
		add_queue(table, most);
	else
		table_add(table, "-");
}

/* "2-80"; of a pool of fixed size "fixed". */
static void add_bounds(struct table *table, const json_t *pool)
{
	char text[2 * UNITS_MAX] = "-";

	if (is_known(pool, "max_workers") && strcmp(line_text(pool, "size"), "fixed") == 0)
		snprintf(text, sizeof(text), "fixed");
	else if (is_known(pool, "max_workers"))
		snprintf(text, sizeof(text), "%lld-%lld", (long long)number(pool, "min_workers"),
			(long long)number(pool, "max_workers"));
	table_add(table, text);
}

static void add_pool(struct table *table, const json_t *pool)
{
	char deaths[UNITS_MAX];

	add_text(table, pool, "name");
	add_text(table, pool, "handler");
	add_state(table, pool);
	add_number(table, pool, "wanted");
	add_bounds(table, pool);
	add_number(table, pool, "ready");
	add_number(table, pool, "busy");
	add_number(table, pool, "idle");
	add_number(table, pool, "starting");
	add_number(table, pool, "leaving");
	add_units(table, pool, "connections", units_count);
	add_units(table, pool, "requests", units_count);
	add_units(table, pool, "started", units_count);
	table_add(table, units_count((uint64_t)deaths_of(pool), deaths));
	add_units(table, pool, "died_unready", units_count);
	add_recycled(table, pool);
	add_units(table, pool, "slow", units_count);
	add_queues(table, pool);
	add_number(table, pool, "full_episodes");
}

static void add_listener(struct table *table, const json_t *pool, const json_t *listener)
{
	add_text(table, listener, "address");
	add_text(table, pool, "name");
	add_queue(table, listener);
	add_text(table, listener, "origin");
	table_add(table, json_is_true(json_object_get(listener, "refusing")) ? "refusing" : "");
}

static bool show_pools(const json_t *pools, FILE *out)
{
	/* clang-format off */
	static const struct column columns[] = {
		{ "POOL",     false },
		{ "HANDLER",  false },
		{ "STATE",    false },
		{ "WORKERS",  true  },
		{ "OF",       true  },
		{ "READY",    true  },
		{ "BUSY",     true  },
		{ "IDLE",     true  },
		{ "STARTING", true  },
		{ "LEAVING",  true  },
		{ "ACCEPTED", true  },
		{ "REQUESTS", true  },
		{ "STARTED",  true  },
		{ "DEATHS",   true  },
		{ "UNREADY",  true  },
		{ "RECYCLED", true  },
		{ "SLOW",     true  },
		{ "QUEUE",    true  },
		{ "FULL",     true  },
		{ NULL,       false },
	};
	/* clang-format on */
	struct table table;
	const json_t *pool;
	bool good;

	table_init(&table, columns);
	for (size_t i = 0; (pool = list_next(pools, &i)) != NULL;)
		add_pool(&table, pool);
	good = table_print(&table, out);
	table_done(&table);
	return good;
}

static bool show_listeners(const json_t *pools, FILE *out)
{
	/* clang-format off */
	static const struct column columns[] = {
		{ "LISTENER", false },
		{ "POOL",     false },
		{ "QUEUE",    true  },
		{ "ORIGIN",   false },
		{ "",         false },
		{ NULL,       false },
	};
	/* clang-format on */
	const json_t *pool, *listener;
	struct table table;
	bool good;

	table_init(&table, columns);
	for (size_t i = 0; (pool = list_next(pools, &i)) != NULL;)
		for (size_t k = 0; (listener = list_next(json_object_get(pool, "listeners"), &k)) != NULL;)
			add_listener(&table, pool, listener);
	good = table_print(&table, out);
	table_done(&table);
	return good;
}

bool show_status(const json_t *snapshot, FILE *out)
{
	const json_t *pools = json_object_get(snapshot, "pools");

	show_daemon(json_object_get(snapshot, "daemon"), out);
	show_degraded(pools, out);
	putc('\n', out);
	if (!show_pools(pools, out))
		return false;
	putc('\n', out);
	return show_listeners(pools, out) && !ferror(out);
}

/* ---- workers ---- */

/* "waiting"; of a worker of the last master "waiting*". */
static void add_worker_state(struct table *table, const json_t *worker)
{
	char text[64];

	snprintf(text, sizeof(text), "%.60s%s", line_text(worker, "state"),
		json_is_true(json_object_get(worker, "survivor")) ? "*" : "");
	table_add(table, text);
}

static void add_worker(struct table *table, const json_t *pool, const json_t *worker)
{
	add_text(table, pool, "name");
	add_number(table, worker, "slot");
	add_number(table, worker, "pid");
	add_number(table, worker, "generation");
	add_worker_state(table, worker);
	add_units(table, worker, "state_ms", units_duration);
	add_units(table, worker, "age_ms", units_duration);
	add_units(table, worker, "connections", units_count);
	add_units(table, worker, "requests", units_count);
	add_units(table, worker, "bytes_in", units_bytes);
	add_units(table, worker, "bytes_out", units_bytes);
	add_units(table, worker, "resident_bytes", units_bytes);
	/* The last one that it served is of no interest once it waits. */
	table_add(table, json_is_true(json_object_get(worker, "serving")) ? line_text(worker, "peer") : "");
	add_text(table, worker, "status");
}

bool show_workers(const json_t *snapshot, FILE *out)
{
	/* clang-format off */
	static const struct column columns[] = {
		{ "POOL",     false },
		{ "SLOT",     true  },
		{ "PID",      true  },
		{ "GEN",      true  },
		{ "STATE",    false },
		{ "FOR",      true  },
		{ "AGE",      true  },
		{ "ACCEPTED", true  },
		{ "REQUESTS", true  },
		{ "IN",       true  },
		{ "OUT",      true  },
		{ "MEMORY",   true  },
		{ "PEER",     false },
		{ "STATUS",   false },
		{ NULL,       false },
	};
	/* clang-format on */
	const json_t *pools = json_object_get(snapshot, "pools"), *pool, *worker;
	struct table table;
	bool good;

	table_init(&table, columns);
	for (size_t i = 0; (pool = list_next(pools, &i)) != NULL;)
		for (size_t k = 0; (worker = list_next(json_object_get(pool, "workers"), &k)) != NULL;)
			add_worker(&table, pool, worker);
	good = table_print(&table, out);
	table_done(&table);
	return good && !ferror(out);
}
