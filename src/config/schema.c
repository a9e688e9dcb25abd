/* SPDX-License-Identifier: MIT */
#include "config/schema.h"

#include <inttypes.h>
#include <limits.h>
#include <string.h>

#define FIELD(type, member) .offset = offsetof(type, member), .size = sizeof(((type *)0)->member)
#define GLOBAL(member)      .section = KEY_GLOBAL, FIELD(struct config, member)
#define POOL(member)        .section = KEY_POOL, FIELD(struct pool_config, member)

#define TEXT              .rule = { .kind = VALUE_TEXT, .max = PATH_MAX - 1 }
#define LIST              .rule = { .kind = VALUE_LIST, .min = 1, .max = PATH_MAX - 1 }
#define BOOL              .rule = { .kind = VALUE_BOOL, .max = 1 }
#define MODE              .rule = { .kind = VALUE_MODE, .max = 0777 }
#define NUMBER(low, high) .rule = { .kind = VALUE_NUMBER, .min = (low), .max = (high) }
#define CHOICE(low, list) .rule = { .kind = VALUE_CHOICE, .min = (low), .choices = (list) }
/* In milliseconds. */
#define DURATION(low, high)   .rule = { .kind = VALUE_DURATION, .min = (low), .max = (high) }
#define DURATION_OR_OFF(high) .rule = { .kind = VALUE_DURATION, .max = (high), .zero_is_off = true }
#define NUMBER_OR_OFF(high)   .rule = { .kind = VALUE_NUMBER, .max = (high), .zero_is_off = true }
#define WHOLE_SECONDS_OR_OFF(high)                                                                                     \
	.rule = { .kind = VALUE_DURATION, .max = (high), .zero_is_off = true, .step = SECOND }, .divisor = SECOND

enum {
	SECOND = 1000,
	HOUR = 3600 * SECOND,
	DAY = 24 * HOUR,
};

static const char *const log_levels[] = { "error", "warning", "notice", "info", "debug", NULL };
static const char *const log_formats[] = { "text", "json", NULL };

/* In the order of --dump and of the manual. */
/* clang-format off */
const struct key schema_keys[] = {
	{ .name = "user", GLOBAL(user), TEXT, .fallback = "", .reload = RELOAD_ROLL,
		.help = "The user, by name or number, that workers become; empty: stay as started." },
	{ .name = "group", GLOBAL(group), TEXT, .fallback = "", .reload = RELOAD_ROLL,
		.help = "The group, by name or number, that workers become; empty: the user's own." },
	{ .name = "pidfile", GLOBAL(pidfile), TEXT, .fallback = "", .reload = RELOAD_RESTART,
		.help = "The absolute path of the pid file, which is locked; empty: none." },
	{ .name = "log_target", GLOBAL(log_target), TEXT, .fallback = "auto", .reload = RELOAD_RESTART,
		.help = "Where the log goes: auto, stderr, syslog, journal, or the absolute path of a file." },
	{ .name = "log_level", GLOBAL(log_level), CHOICE(LOG_LEVEL_ERROR, log_levels), .fallback = "info",
		.reload = RELOAD_LIVE, .help = "The least urgent lines that are logged." },
	{ .name = "log_format", GLOBAL(log_format), CHOICE(LOG_FORMAT_TEXT, log_formats), .fallback = "text",
		.reload = RELOAD_RESTART, .help = "Log lines as text, or each as a JSON object." },
	{ .name = "max_workers", GLOBAL(max_workers), NUMBER(1, 65536), .fallback = "1024",
		.reload = RELOAD_RESTART, .help = "The most workers of all pools together: the size of the scoreboard." },
	{ .name = "stop_timeout", GLOBAL(stop_timeout_ms), DURATION(1, DAY), .fallback = "30s", .reload = RELOAD_LIVE,
		.help = "How long a graceful stop may take before the workers that are left are killed." },

	{ .name = "listen", POOL(listen), LIST, .reload = RELOAD_LIVE,
		.help = "The addresses the pool listens on." },
	{ .name = "backlog", POOL(listener.backlog), NUMBER(1, 65535), .fallback = "511", .reload = RELOAD_LIVE,
		.help = "How many connections may wait in a listener's queue." },
	{ .name = "defer_accept", POOL(listener.defer_accept_s), WHOLE_SECONDS_OR_OFF(HOUR), .fallback = "off",
		.reload = RELOAD_LIVE,
		.help = "Wait in the kernel for the client's first bytes, about that long, before a worker is woken (TCP)." },
	{ .name = "fastopen", POOL(listener.fastopen), NUMBER_OR_OFF(65535), .fallback = "off", .reload = RELOAD_LIVE,
		.help = "The length of the queue for TCP Fast Open." },
	{ .name = "reuse_port", POOL(listener.reuse_port), BOOL, .fallback = "off", .reload = RELOAD_RESTART,
		.help = "Let other processes of the same user bind the same port (SO_REUSEPORT)." },
	{ .name = "freebind", POOL(listener.freebind), BOOL, .fallback = "off", .reload = RELOAD_RESTART,
		.help = "Allow an address that the machine does not have, or not yet (IP_FREEBIND)." },
	{ .name = "socket_mode", POOL(listener.socket_mode), MODE, .fallback = "0660", .reload = RELOAD_RESTART,
		.help = "The mode of unix sockets, in octal." },
	{ .name = "socket_user", POOL(socket_user), TEXT, .fallback = "", .reload = RELOAD_RESTART,
		.help = "The owner of unix sockets, by name or number; empty: as created." },
	{ .name = "socket_group", POOL(socket_group), TEXT, .fallback = "", .reload = RELOAD_RESTART,
		.help = "The group of unix sockets, by name or number; empty: as created." },
	{ .name = "handler", POOL(handler_name), TEXT, .reload = RELOAD_ROLL,
		.help = "What the workers do with a connection." },
	{ .name = "workers", POOL(workers), NUMBER(1, 65536), .fallback = "8", .reload = RELOAD_LIVE,
		.help = "How many workers the pool has." },
	{ .name = "user", POOL(user), TEXT, .fallback = "", .inherits = "user", .reload = RELOAD_ROLL,
		.help = "The user that this pool's workers become." },
	{ .name = "group", POOL(group), TEXT, .fallback = "", .inherits = "group", .reload = RELOAD_ROLL,
		.help = "The group that this pool's workers become." },
	{ .name = "start_timeout", POOL(start_timeout_ms), DURATION(1, DAY), .fallback = "30s", .reload = RELOAD_LIVE,
		.help = "How long a worker may take to become ready before it is killed." },
	{ .name = "stop_timeout", POOL(stop_timeout_ms), DURATION(1, DAY), .fallback = "",
		.inherits = "stop_timeout", .reload = RELOAD_LIVE,
		.help = "How long a retiring worker may take to finish its connection before it is killed." },
	{ .name = "request_timeout", POOL(request_timeout_ms), DURATION_OR_OFF(DAY), .fallback = "off",
		.reload = RELOAD_ROLL,
		.help = "The longest time from a request's first byte to the end of its answer; a worker over it is killed." },
	{ .name = "read_timeout", POOL(read_timeout_ms), DURATION_OR_OFF(DAY), .fallback = "30s", .reload = RELOAD_ROLL,
		.help = "The longest wait for the next bytes inside a request." },
	{ .name = "write_timeout", POOL(write_timeout_ms), DURATION_OR_OFF(DAY), .fallback = "30s",
		.reload = RELOAD_ROLL, .help = "The longest wait for room to write an answer." },
	{ .name = "idle_timeout", POOL(idle_timeout_ms), DURATION_OR_OFF(DAY), .fallback = "5s", .reload = RELOAD_ROLL,
		.help = "The longest wait for the first byte of a request." },
	{ .name = "backoff_min", POOL(backoff_min_ms), DURATION(1, DAY), .fallback = "100ms", .reload = RELOAD_LIVE,
		.help = "The first pause before a worker that keeps failing is started again." },
	{ .name = "backoff_max", POOL(backoff_max_ms), DURATION(1, DAY), .fallback = "30s", .reload = RELOAD_LIVE,
		.help = "The longest such pause; each is twice the one before." },
};
/* clang-format on */

_Static_assert(ARRAY_SIZE(schema_keys) == SCHEMA_KEYS, "the header knows the number of rows");

const struct key *schema_find(enum key_section section, const char *name)
{
	for (size_t i = 0; i < SCHEMA_KEYS; i++) {
		if (schema_keys[i].section == section && strcmp(schema_keys[i].name, name) == 0)
			return &schema_keys[i];
	}
	return NULL;
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

static void list_rule(const struct value_rule *rule, FILE *out)
{
	char min[VALUE_TEXT_MAX] = "-", max[VALUE_TEXT_MAX] = "-";

	if (rule->kind == VALUE_NUMBER || rule->kind == VALUE_SIZE || rule->kind == VALUE_DURATION) {
		value_format(rule, rule->min, min);
		value_format(rule, rule->max, max);
	}
	fprintf(out, "%s\t%s\t%s", value_kind_name(rule->kind), min, max);
}

static void list_choices(const char *const *choices, FILE *out)
{
	for (size_t i = 0; choices && choices[i]; i++)
		fprintf(out, "%s%s", i ? " " : "", choices[i]);
}

void schema_list(const struct brood_module *const *handlers, FILE *out)
{
	for (size_t i = 0; i < SCHEMA_KEYS; i++) {
		const struct key *key = &schema_keys[i];

		fprintf(out, "%s\t%s\t", key->section == KEY_GLOBAL ? "global" : "pool", key->name);
		list_rule(&key->rule, out);
		fprintf(out, "\t%s\t", key->inherits ? "(global)" : key->fallback ? key->fallback : "(required)");
		list_choices(key->rule.choices, out);
		fprintf(out, "\n");
	}
	for (; *handlers; handlers++) {
		for (const struct brood_option *option = (*handlers)->options; option && option->name; option++) {
			struct value_rule rule = schema_option_rule(option);

			fprintf(out, "%s\t%s\t", (*handlers)->name, option->name);
			list_rule(&rule, out);
			fprintf(out, "\t%s\t", option->fallback ? option->fallback : "(required)");
			list_choices(rule.choices, out);
			fprintf(out, "\n");
		}
	}
}
