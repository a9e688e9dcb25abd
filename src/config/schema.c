/* SPDX-License-Identifier: MIT */
#include "config/schema.h"

#include <assert.h>
#include <limits.h>
#include <string.h>

#include "config/limits.h"

#define FIELD(type, member) .offset = offsetof(type, member), .size = sizeof(((type *)0)->member)
#define GLOBAL(member)      .section = KEY_GLOBAL, FIELD(struct config, member)
#define POOL(member)        .section = KEY_POOL, FIELD(struct pool_config, member)
#define POOL_LIST(member)   POOL(member), .count_offset = offsetof(struct pool_config, member##_count)

#define TEXT              .rule = { .kind = VALUE_TEXT, .max = PATH_MAX - 1 }
#define LIST(low, high)   .rule = { .kind = VALUE_LIST, .min = (low), .max = (high) }
#define BOOL              .rule = { .kind = VALUE_BOOL, .max = 1 }
#define MODE              .rule = { .kind = VALUE_MODE, .max = 0777 }
#define SIGNAL            .rule = { .kind = VALUE_SIGNAL, .max = INT64_MAX }
#define NUMBER(low, high) .rule = { .kind = VALUE_NUMBER, .min = (low), .max = (high) }
#define CHOICE(low, list) .rule = { .kind = VALUE_CHOICE, .min = (low), .choices = (list) }
/* In milliseconds. */
#define DURATION(low, high)   .rule = { .kind = VALUE_DURATION, .min = (low), .max = (high) }
#define DURATION_OR_OFF(high) .rule = { .kind = VALUE_DURATION, .max = (high), .zero_is_off = true }
#define SIZE_OR_OFF(high)     .rule = { .kind = VALUE_SIZE, .max = (high), .zero_is_off = true }
#define NUMBER_OR_OFF(high)   .rule = { .kind = VALUE_NUMBER, .max = (high), .zero_is_off = true }
#define WHOLE_SECONDS_OR_OFF(high)                                                                                     \
	.rule = { .kind = VALUE_DURATION, .max = (high), .zero_is_off = true, .step = SECOND }, .divisor = SECOND

/* Which handlers a key goes with; without one of these it goes with all. */
#define PROGRAMS    .kinds = (KEY_KIND(HANDLER_BECOMES) | KEY_KIND(HANDLER_ACCEPTS))
#define INETD_ONLY  .kinds = KEY_KIND(HANDLER_BECOMES)
#define SERVER_ONLY .kinds = KEY_KIND(HANDLER_ACCEPTS)
#define MODULE_ONLY .kinds = KEY_KIND(HANDLER_LOADS)
#define OWN_LOOP    .kinds = (KEY_KIND(HANDLER_SERVES) | KEY_KIND(HANDLER_LOADS))
/* Those whose requests the daemon knows of; an inetd program's run is one. */
#define HAS_REQUESTS .kinds = (KEY_KIND(HANDLER_SERVES) | KEY_KIND(HANDLER_LOADS) | KEY_KIND(HANDLER_BECOMES))
#define ONE_EACH     [HANDLER_BECOMES] = "each of its workers serves one connection already"
#define RECYCLED                                                                                                       \
	.kinds = (KEY_KIND(HANDLER_SERVES) | KEY_KIND(HANDLER_LOADS) | KEY_KIND(HANDLER_ACCEPTS)), .why = { ONE_EACH }
#define COUNTED OWN_LOOP, .why = { ONE_EACH, [HANDLER_ACCEPTS] = "brood does not see its requests" }

/* With what may say how many workers there are; without one of these with all. */
#define SIZE_KEY  .sizes = (KEY_SIZE(SIZE_FIXED) | KEY_SIZE(SIZE_WAITING) | KEY_SIZE(SIZE_ON_DEMAND))
#define LEAST_KEY .sizes = (KEY_SIZE(SIZE_BY_LOAD) | KEY_SIZE(SIZE_ON_DEMAND))
#define MOST_KEY  .sizes = (KEY_SIZE(SIZE_BY_LOAD) | KEY_SIZE(SIZE_WAITING) | KEY_SIZE(SIZE_ON_DEMAND))
#define LOAD_KEY  .sizes = KEY_SIZE(SIZE_BY_LOAD)

/* The longest argument or variable of a program: execve(2) takes no longer one (MAX_ARG_STRLEN, with its NUL). */
enum { ARGUMENT_MAX = 32 * 4096 - 1 };

enum {
	SECOND = 1000,
	MINUTE = 60 * SECOND,
	HOUR = 3600 * SECOND,
	DAY = 24 * HOUR,
};

static const char *const log_levels[] = { "error", "warning", "notice", "info", "debug", NULL };
static const char *const log_formats[] = { "text", "json", NULL };
static const char *const stderr_targets[] = { "log", "connection", "null", NULL };
static const char *const stdin_sources[] = { "null", "listener", NULL };
static const char *const ready_signals[] = { "alive", "notify", "ack", NULL };
static const char *const notify_accesses[] = { "main", "group", NULL };
static const char *const memory_measures[] = { "rss", "pss", NULL };

/* The handlers that are more than a loop of brood's own. All others serve. */
static const char *const kind_handlers[HANDLER_KINDS] = {
	[HANDLER_LOADS] = "module",
	[HANDLER_BECOMES] = "inetd",
	[HANDLER_ACCEPTS] = "program",
};

/* In the order of --dump and of the manual. */
/* clang-format off */
const struct key schema_keys[] = {
	{ .name = "user", GLOBAL(user), TEXT, .fallback = "", .reload = RELOAD_ROLL,
		.help = "The user, by name or number, that workers become; empty: stay as started." },
	{ .name = "group", GLOBAL(group), TEXT, .fallback = "", .reload = RELOAD_ROLL,
		.help = "The group, by name or number, that workers become; empty: the user's own." },
	{ .name = "pidfile", GLOBAL(pidfile), TEXT, .fallback = "", .reload = RELOAD_RESTART,
		.help = "The absolute path of the pid file, which is locked; empty: none." },
	{ .name = "control", GLOBAL(control), TEXT, .fallback = "auto", .reload = RELOAD_RESTART,
		.help = "The absolute path of the control socket; auto: the usual place, off: none." },
	{ .name = "control_mode", GLOBAL(control_mode), MODE, .fallback = "0600", .reload = RELOAD_RESTART,
		.help = "The mode of the control socket, in octal: whom it lets in may look." },
	{ .name = "log_target", GLOBAL(log_target), TEXT, .fallback = "auto", .reload = RELOAD_LIVE,
		.help = "Where the log goes: auto, stderr, syslog, journal, or the absolute path of a file." },
	{ .name = "log_level", GLOBAL(log_level), CHOICE(LOG_LEVEL_ERROR, log_levels), .fallback = "info",
		.reload = RELOAD_LIVE, .help = "The least urgent lines that are logged." },
	{ .name = "log_format", GLOBAL(log_format), CHOICE(LOG_FORMAT_TEXT, log_formats), .fallback = "text",
		.reload = RELOAD_LIVE, .help = "Log lines as text, or each as a JSON object." },
	{ .name = "max_workers", GLOBAL(max_workers), NUMBER(1, 65536), .fallback = "1024",
		.reload = RELOAD_RESTART, .help = "The most workers of all pools together: the size of the scoreboard." },
	{ .name = "stop_timeout", GLOBAL(stop_timeout_ms), DURATION(1, DAY), .fallback = "30s", .reload = RELOAD_LIVE,
		.help = "How long a graceful stop may take before the workers that are left are killed." },

	{ .name = "listen", POOL_LIST(listen), LIST(1, PATH_MAX - 1), .reload = RELOAD_LIVE,
		.help = "The addresses the pool listens on." },
	{ .name = "backlog", POOL(listener.backlog), NUMBER(1, 65535), .fallback = "511", .reload = RELOAD_LIVE,
		.help = "How many connections may wait in a listener's queue." },
	{ .name = "defer_accept", POOL(listener.defer_accept_s), WHOLE_SECONDS_OR_OFF(HOUR), .fallback = "off",
		.reload = RELOAD_LIVE,
		.help = "Wait in the kernel for the client's first bytes, about that long, before a worker is woken (TCP)." },
	{ .name = "fastopen", POOL(listener.fastopen), NUMBER_OR_OFF(65535), .fallback = "off", .reload = RELOAD_LIVE,
		.help = "The length of the queue for TCP Fast Open." },
	{ .name = "reuse_port", POOL(listener.reuse_port), BOOL, .fallback = "off", .reload = RELOAD_BIND,
		.help = "Let other processes of the same user bind the same port (SO_REUSEPORT)." },
	{ .name = "freebind", POOL(listener.freebind), BOOL, .fallback = "off", .reload = RELOAD_BIND,
		.help = "Allow an address that the machine does not have, or not yet (IP_FREEBIND)." },
	{ .name = "socket_mode", POOL(listener.socket_mode), MODE, .fallback = "0660", .reload = RELOAD_LIVE,
		.help = "The mode of unix sockets, in octal." },
	{ .name = "socket_user", POOL(socket_user), TEXT, .fallback = "", .reload = RELOAD_LIVE,
		.help = "The owner of unix sockets, by name or number; empty: as created." },
	{ .name = "socket_group", POOL(socket_group), TEXT, .fallback = "", .reload = RELOAD_LIVE,
		.help = "The group of unix sockets, by name or number; empty: as created." },
	{ .name = "handler", POOL(handler_name), TEXT, .reload = RELOAD_ROLL,
		.help = "What the workers do with a connection." },
	{ .name = "command", POOL_LIST(program.command), LIST(0, ARGUMENT_MAX), PROGRAMS, .reload = RELOAD_ROLL,
		.help = "The program and its arguments." },
	{ .name = "directory", POOL(program.directory), TEXT, PROGRAMS, .fallback = "/", .reload = RELOAD_ROLL,
		.help = "The program's working directory." },
	{ .name = "environment", POOL_LIST(program.environment), LIST(1, ARGUMENT_MAX), PROGRAMS, .fallback = "{}",
		.reload = RELOAD_ROLL, .is_secret = true,
		.help = "Variables of the program's, each NAME=value." },
	{ .name = "stderr", POOL(program.stderr_target), CHOICE(STDERR_LOG, stderr_targets), PROGRAMS,
		.fallback = "log", .reload = RELOAD_ROLL, .help = "Where the program's standard error goes." },
	{ .name = "stdin", POOL(program.stdin_source), CHOICE(STDIN_NULL, stdin_sources), SERVER_ONLY,
		.fallback = "null", .reload = RELOAD_ROLL,
		.help = "The program's standard input: nothing, or the first listener (FastCGI)." },
	{ .name = "stop_signal", POOL(program.stop_signal), SIGNAL, SERVER_ONLY, .fallback = "TERM",
		.reload = RELOAD_ROLL, .help = "The signal that asks the program to finish." },
	{ .name = "ready", POOL(program.ready), CHOICE(READY_ALIVE, ready_signals), SERVER_ONLY, .fallback = "alive",
		.reload = RELOAD_ROLL, .help = "What tells that the program is ready." },
	{ .name = "ready_after", POOL(program.ready_after_ms), DURATION(1, DAY), SERVER_ONLY, .fallback = "1s",
		.reload = RELOAD_LIVE, .help = "With ready = alive: how long the program has to live to count as ready." },
	{ .name = "notify_access", POOL(program.notify_access), CHOICE(NOTIFY_MAIN, notify_accesses), SERVER_ONLY,
		.fallback = "main", .reload = RELOAD_ROLL,
		.help = "Whose notifications count: the worker's own process's, or its whole process group's." },
	{ .name = "watchdog_timeout", POOL(program.watchdog_timeout_ms), DURATION_OR_OFF(DAY), SERVER_ONLY,
		.fallback = "off", .reload = RELOAD_ROLL,
		.help = "The longest time between two WATCHDOG=1 of the program's; a worker over it is killed." },
	{ .name = "module", POOL(module), TEXT, MODULE_ONLY, .reload = RELOAD_ROLL,
		.help = "The path of the shared object that serves connections." },
	{ .name = "workers", POOL(workers), NUMBER(1, 65536), SIZE_KEY, .fallback = "8", .reload = RELOAD_LIVE,
		.help = "How many workers the pool has; of inetd, how many wait." },
	{ .name = "min_workers", POOL(min_workers), NUMBER(0, 65536), LEAST_KEY, .fallback = "1",
		.reload = RELOAD_LIVE,
		.help = "The fewest workers of a pool whose size goes by its load; 0: they start on demand." },
	{ .name = "max_workers", POOL(max_workers), NUMBER(1, 65536), MOST_KEY, .fallback = "",
		.inherits = "max_workers", .reload = RELOAD_LIVE,
		.help = "The most workers of the pool; of inetd, those that wait and those that run programs together." },
	{ .name = "min_spare", POOL(min_spare), NUMBER(1, 65536), OWN_LOOP, LOAD_KEY, .fallback = "1",
		.reload = RELOAD_LIVE, .help = "The fewest idle workers beside those that have a connection." },
	{ .name = "max_spare", POOL(max_spare), NUMBER(1, 65536), OWN_LOOP, LOAD_KEY, .fallback = "2",
		.reload = RELOAD_LIVE,
		.help = "The most of them: what is beyond leaves, one a second; the default is twice min_spare." },
	{ .name = "idle_exit", POOL(idle_exit_ms), DURATION_OR_OFF(DAY), LEAST_KEY, .fallback = "30s",
		.reload = RELOAD_LIVE,
		.help = "How long a worker is idle before it leaves, if it is not needed." },
	{ .name = "sample_interval", POOL(sample_interval_ms), DURATION(10, MINUTE), SERVER_ONLY, LOAD_KEY,
		.fallback = "100ms", .reload = RELOAD_LIVE,
		.help = "How often to look whether clients wait for a program, while there may be more of its workers." },
	{ .name = "roll_batch", POOL(roll_batch), NUMBER(0, 65536), .fallback = "0", .reload = RELOAD_LIVE,
		.help = "How many workers more there may be while a reload replaces them; 0: a tenth, at least one." },
	{ .name = "max_requests", POOL(max_requests), NUMBER_OR_OFF(1000000000), COUNTED, .fallback = "off",
		.reload = RELOAD_ROLL, .help = "About so many requests a worker serves before another takes its place." },
	{ .name = "max_age", POOL(max_age_ms), DURATION_OR_OFF(365LL * DAY), RECYCLED, .fallback = "off",
		.reload = RELOAD_ROLL, .help = "At this age of a worker another takes its place." },
	{ .name = "max_memory", POOL(max_memory), SIZE_OR_OFF(1LL << 50), RECYCLED, .fallback = "off",
		.reload = RELOAD_ROLL, .help = "With more memory of a worker's another takes its place." },
	{ .name = "memory_measure", POOL(memory_measure), CHOICE(MEMORY_RSS, memory_measures), RECYCLED,
		.fallback = "rss", .reload = RELOAD_ROLL,
		.help = "What counts as a worker's memory: all that is resident, or of shared memory its part." },
	{ .name = "jitter", POOL(jitter), NUMBER(0, 100), RECYCLED, .fallback = "10", .reload = RELOAD_ROLL,
		.help = "In percent: each worker's own limits are lower by a part of it, which is drawn for the worker." },
	{ .name = "user", POOL(user), TEXT, .fallback = "", .inherits = "user", .reload = RELOAD_ROLL,
		.help = "The user that this pool's workers become." },
	{ .name = "group", POOL(group), TEXT, .fallback = "", .inherits = "group", .reload = RELOAD_ROLL,
		.help = "The group that this pool's workers become." },
	{ .name = "chroot", POOL(chroot), TEXT, .fallback = "", .reload = RELOAD_ROLL,
		.help = "The directory that becomes the workers' root; empty: none." },
	{ .name = "umask", POOL(umask), MODE, .fallback = "0022", .reload = RELOAD_ROLL,
		.help = "The permissions that files the workers make do not get, in octal." },
	{ .name = "start_timeout", POOL(start_timeout_ms), DURATION(1, DAY), .fallback = "30s", .reload = RELOAD_LIVE,
		.help = "How long a worker may take to become ready before it is killed." },
	{ .name = "stop_timeout", POOL(stop_timeout_ms), DURATION(1, DAY), .fallback = "",
		.inherits = "stop_timeout", .reload = RELOAD_LIVE,
		.help = "How long a retiring worker may take to finish its connection before it is killed." },
	{ .name = "request_timeout", POOL(request_timeout_ms), DURATION_OR_OFF(DAY), OWN_LOOP, .fallback = "off",
		.reload = RELOAD_ROLL,
		.help = "The longest time from a request's first byte to the end of its answer; a worker over it is killed." },
	{ .name = "overrun_signals", POOL_LIST(overrun_signals), LIST(1, 16), OWN_LOOP, .fallback = "{ \"TERM\" }",
		.reload = RELOAD_LIVE,
		.help = "The signals, one after the other, to a worker that is over request_timeout; KILL is the last." },
	{ .name = "overrun_grace", POOL(overrun_grace_ms), DURATION(1, DAY), OWN_LOOP, .fallback = "1s",
		.reload = RELOAD_LIVE, .help = "How long such a worker has after each of these signals." },
	{ .name = "read_timeout", POOL(read_timeout_ms), DURATION_OR_OFF(DAY), OWN_LOOP, .fallback = "30s", .reload = RELOAD_ROLL,
		.help = "The longest wait for the next bytes inside a request." },
	{ .name = "write_timeout", POOL(write_timeout_ms), DURATION_OR_OFF(DAY), OWN_LOOP, .fallback = "30s",
		.reload = RELOAD_ROLL, .help = "The longest wait for room to write an answer." },
	{ .name = "idle_timeout", POOL(idle_timeout_ms), DURATION_OR_OFF(DAY), OWN_LOOP, .fallback = "5s", .reload = RELOAD_ROLL,
		.help = "The longest wait for the first byte of a request." },
	{ .name = "slow_after", POOL(slow_after_ms), DURATION_OR_OFF(DAY), HAS_REQUESTS, .fallback = "off",
		.reload = RELOAD_LIVE,
		.help = "A request that takes longer is logged once, with where its worker is." },
	{ .name = "backoff_min", POOL(backoff_min_ms), DURATION(1, DAY), .fallback = "100ms", .reload = RELOAD_LIVE,
		.help = "The first pause before a worker that keeps failing is started again." },
	{ .name = "backoff_max", POOL(backoff_max_ms), DURATION(1, DAY), .fallback = "30s", .reload = RELOAD_LIVE,
		.help = "The longest such pause; each is twice the one before." },
	{ .name = "healthy_after", POOL(healthy_after_ms), DURATION(100, DAY), .fallback = "10s", .reload = RELOAD_LIVE,
		.help = "How long a worker has to have been ready to count as healthy: then failures before it are forgotten." },
	{ .name = "give_up_after", POOL(give_up_after), NUMBER_OR_OFF(65535), .fallback = "5", .reload = RELOAD_LIVE,
		.help = "So many failures in a row at the start of the pool end the daemon, and refuse a reload; off: none does." },
};
/* clang-format on */

static_assert(ARRAY_SIZE(schema_keys) == SCHEMA_KEYS, "the header knows the number of rows");

const struct key *schema_find(enum key_section section, const char *name)
{
	for (size_t i = 0; i < SCHEMA_KEYS; i++) {
		if (schema_keys[i].section == section && strcmp(schema_keys[i].name, name) == 0)
			return &schema_keys[i];
	}
	return NULL;
}

bool schema_goes_with(const struct key *key, enum handler_kind kind)
{
	return key->kinds == 0 || kind == HANDLER_KINDS || (key->kinds & KEY_KIND(kind)) != 0;
}

bool schema_is_meant(const struct key *key, const struct pool_config *pool)
{
	return schema_goes_with(key, pool->kind) && (key->sizes == 0 || (key->sizes & KEY_SIZE(pool->size)) != 0);
}

enum handler_kind schema_handler_kind(const char *name)
{
	for (enum handler_kind kind = 0; kind < HANDLER_KINDS; kind++) {
		if (kind_handlers[kind] && strcmp(kind_handlers[kind], name) == 0)
			return kind;
	}
	return HANDLER_SERVES;
}

const struct brood_module *schema_options_of(const struct pool_config *pool, const char **ret_section)
{
	bool loads = pool->kind == HANDLER_LOADS;
	const struct brood_module *module = loads ? pool->description : pool->handler;

	if (!module || !module->options || !module->options[0].name)
		return NULL;
	*ret_section = loads ? "module_options" : module->name;
	return module;
}

bool schema_has_section(const struct brood_module *handler)
{
	return schema_handler_kind(handler->name) == HANDLER_SERVES;
}

size_t schema_index(const struct key *key)
{
	return (size_t)(key - schema_keys);
}

/* Fields are of the types their users want; a number goes in and out by the width of the field. */
void schema_set_number(const struct key *key, void *object, int64_t number)
{
	void *field = (char *)object + key->offset;

	if (key->divisor)
		number /= key->divisor;
	if (key->size == sizeof(uint8_t))
		*(uint8_t *)field = (uint8_t)number;
	else if (key->size == sizeof(uint32_t))
		*(uint32_t *)field = (uint32_t)number;
	else
		*(uint64_t *)field = (uint64_t)number;
}

int64_t schema_get_number(const struct key *key, const void *object)
{
	const void *field = (const char *)object + key->offset;
	int64_t number;

	if (key->size == sizeof(uint8_t))
		number = *(const uint8_t *)field;
	else if (key->size == sizeof(uint32_t))
		number = *(const uint32_t *)field;
	else
		number = (int64_t) * (const uint64_t *)field;
	return key->divisor ? number * key->divisor : number;
}

char **schema_text_field(const struct key *key, void *object)
{
	return (char **)(void *)((char *)object + key->offset);
}

char ***schema_list_field(const struct key *key, void *object)
{
	return (char ***)(void *)((char *)object + key->offset);
}

size_t *schema_list_count(const struct key *key, void *object)
{
	return (size_t *)(void *)((char *)object + key->count_offset);
}

size_t schema_count_handlers(const struct brood_module *const *handlers)
{
	size_t count = 0;

	while (handlers[count])
		count++;
	return count;
}

size_t schema_count_options(const struct brood_module *handler)
{
	size_t count = 0;

	while (handler->options && handler->options[count].name)
		count++;
	return count;
}

struct value_rule schema_option_rule(const struct brood_option *option)
{
	static const enum value_kind kinds[] = {
		[BROOD_OPTION_BOOL] = VALUE_BOOL,
		[BROOD_OPTION_NUMBER] = VALUE_NUMBER,
		[BROOD_OPTION_SIZE] = VALUE_SIZE,
		[BROOD_OPTION_DURATION] = VALUE_DURATION,
		[BROOD_OPTION_TEXT] = VALUE_TEXT,
		[BROOD_OPTION_CHOICE] = VALUE_CHOICE,
		[BROOD_OPTION_LIST] = VALUE_LIST,
		[BROOD_OPTION_LOG] = VALUE_TEXT,
		[BROOD_OPTION_DIRECTORY] = VALUE_TEXT,
		[BROOD_OPTION_FILE] = VALUE_TEXT,
	};
	struct value_rule rule = { .kind = kinds[option->type] };

	if (option->type == BROOD_OPTION_CHOICE) {
		rule.choices = option->choices;
		return rule;
	}
	rule.min = option->min;
	rule.max = option->max;
	/* Without bounds; but nobody needs a text that is longer than the longest path. */
	if (rule.min == 0 && rule.max == 0)
		rule.max = rule.kind == VALUE_TEXT || rule.kind == VALUE_LIST ? PATH_MAX - 1 : INT64_MAX;
	return rule;
}

static const char *const reload_names[] = {
	[RELOAD_UNDECIDED] = "",
	[RELOAD_LIVE] = "live",
	[RELOAD_ROLL] = "roll",
	[RELOAD_BIND] = "bind",
	[RELOAD_RESTART] = "restart",
};
static_assert(ARRAY_SIZE(reload_names) == RELOADS, "a name for each way");

static void list_rule(const struct value_rule *rule, FILE *out)
{
	char min[VALUE_TEXT_MAX] = "-", max[VALUE_TEXT_MAX] = "-";

	if (rule->kind == VALUE_NUMBER || rule->kind == VALUE_SIZE || rule->kind == VALUE_DURATION) {
		value_format(rule, rule->min, min);
		value_format(rule, rule->max, max);
	}
	fprintf(out, "%s\t%s\t%s", value_kind_name(rule->kind), min, max);
}

/* "inetd program"; nothing where the key goes with all. */
static void list_kinds(const struct key *key, const struct brood_module *const *handlers, FILE *out)
{
	bool first = true;

	for (; key->kinds && *handlers; handlers++) {
		if (!schema_goes_with(key, schema_handler_kind((*handlers)->name)))
			continue;
		fprintf(out, "%s%s", first ? "" : " ", (*handlers)->name);
		first = false;
	}
}

static void list_choices(const char *const *choices, FILE *out)
{
	for (size_t i = 0; choices && choices[i]; i++)
		fprintf(out, "%s%s", i ? " " : "", choices[i]);
}

static void list_limits(FILE *out)
{
	for (size_t i = 0; i < LIMIT_KEYS; i++) {
		fprintf(out, "limits\t%s\t", limit_keys[i].name);
		list_rule(&limit_keys[i].rule, out);
		fprintf(out, "\t(inherited)\t\t\t%s\n", reload_names[RELOAD_ROLL]);
	}
}

void schema_list(const struct brood_module *const *handlers, FILE *out)
{
	for (size_t i = 0; i < SCHEMA_KEYS; i++) {
		const struct key *key = &schema_keys[i];

		fprintf(out, "%s\t%s\t", key->section == KEY_GLOBAL ? "global" : "pool", key->name);
		list_rule(&key->rule, out);
		fprintf(out, "\t%s\t", key->inherits ? "(global)" : key->fallback ? key->fallback : "(required)");
		list_choices(key->rule.choices, out);
		fprintf(out, "\t");
		list_kinds(key, handlers, out);
		fprintf(out, "\t%s\n", reload_names[key->reload]);
	}
	list_limits(out);
	for (; *handlers; handlers++) {
		for (const struct brood_option *option = (*handlers)->options; option && option->name; option++) {
			struct value_rule rule = schema_option_rule(option);

			fprintf(out, "%s\t%s\t", (*handlers)->name, option->name);
			list_rule(&rule, out);
			fprintf(out, "\t%s\t", option->fallback ? option->fallback : "(required)");
			list_choices(rule.choices, out);
			fprintf(out, "\t\t%s\n", reload_names[RELOAD_ROLL]);
		}
	}
}
