/* SPDX-License-Identifier: MIT */
/* What a reload changes: every key of the schema in turn; pools that come, go and are renamed; listeners that move. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "config/diff.h"
#include "config/limits.h"
#include "config_dumped.h"
#include "config_modules.h"

/* A pool of each kind. */
#define ALL_KINDS                                                                                                      \
	"pool \"serves\" { listen = \"127.0.0.1:1001\" handler = kinds }\n"                                            \
	"pool \"loads\" { listen = \"127.0.0.1:1002\" handler = module module = \"/kinds.so\" }\n"                     \
	"pool \"becomes\" { listen = \"127.0.0.1:1003\" handler = inetd command = \"/bin/cat\" }\n"                    \
	"pool \"accepts\" { listen = \"127.0.0.1:1004\" handler = program command = \"/bin/cat\" }\n"                  \
	"pool \"load\" { listen = \"127.0.0.1:1005\" handler = kinds min_workers = 3 }\n"                              \
	"pool \"queue\" { listen = \"127.0.0.1:1006\" handler = program command = \"/bin/cat\" min_workers = 3 }\n"

static struct config *load(const char *text)
{
	struct config *config = NULL;

	cr_assert_eq(config_load_text(text, strlen(text), "t.conf", &test_host, NULL, stderr, &config), 0, "%s", text);
	return config;
}

static struct config_diff *compare(const struct config *before, const struct config *after)
{
	struct config_diff *diff = NULL;

	cr_assert_eq(config_diff(before, after, &diff), 0);
	return diff;
}

/* What is said of the difference. To be freed. */
static char *said(const struct config_diff *diff)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	cr_assert(out);
	config_diff_print(diff, out);
	fclose(out);
	return text;
}

static void expect_said(const char *before, const char *after, const char *expected)
{
	struct config *a = load(before), *b = load(after);
	struct config_diff *diff = compare(a, b);
	char *text = said(diff);

	cr_expect_str_eq(text, expected, "%s%s\n%s", before, after, text);
	cr_expect_eq(config_diff_is_empty(diff), expected[0] == '\0');
	free(text);
	config_diff_free(diff);
	config_free(a);
	config_free(b);
}

/* ---- every key ---- */

/* Gives the key another value, allowed or not. */
static void change_key(const struct key *key, void *object)
{
	static char other[] = "another", *others[] = { other, NULL };

	if (key->rule.kind == VALUE_TEXT) {
		*schema_text_field(key, object) = other;
	} else if (key->rule.kind == VALUE_LIST) {
		*schema_list_field(key, object) = others;
		*schema_list_count(key, object) = 1;
	} else {
		int64_t step = key->divisor ? key->divisor : 1, number = schema_get_number(key, object);

		schema_set_number(key, object, number == key->rule.min ? number + step : number - step);
	}
}

static size_t find_pool_for(const struct config *config, const struct key *key)
{
	for (size_t i = 0; i < config->pool_count; i++)
		if (schema_is_meant(key, &config->pools[i]))
			return i;
	cr_assert_fail("no pool for %s", key->name);
	return 0;
}

/* How a line that tells of the change has to end. */
static const char *remark(const struct key *key)
{
	static const char *const remarks[] = {
		[RELOAD_LIVE] = "",
		[RELOAD_ROLL] = "",
		[RELOAD_BIND] = ": for listeners that are opened from now on",
		[RELOAD_RESTART] = ": needs a restart",
	};

	cr_assert(key->reload == RELOAD_LIVE || key->reload == RELOAD_ROLL || key->reload == RELOAD_BIND ||
			  key->reload == RELOAD_RESTART,
		"the row of %s does not say how a reload takes it", key->name);
	return remarks[key->reload];
}

static void expect_change(const struct key *key, const char *pool, const struct config_diff *diff, size_t place)
{
	const struct diff_change *change = pool ? diff->pools[place].changes : diff->changes;
	size_t count = pool ? diff->pools[place].change_count : diff->change_count;
	char *text = said(diff), expected[1024], where[64] = "";

	cr_assert_eq(count, 1, "%s", key->name);
	cr_expect_str_eq(change->name, key->name);
	cr_expect_str_eq(change->section, "");
	cr_expect_eq(change->reload, key->reload, "%s", key->name);
	cr_expect_str_neq(change->before, change->after);
	if (pool)
		snprintf(where, sizeof(where), "pool \"%s\": ", pool);
	if (key->is_secret)
		snprintf(expected, sizeof(expected), "%s%s: changed%s\n", where, key->name, remark(key));
	else
		snprintf(expected, sizeof(expected), "%s%s: %s -> %s%s\n", where, key->name, change->before,
			change->after, remark(key));
	cr_expect_str_eq(text, expected);
	free(text);
}

/* A new configuration in which that key alone has another value. */
static void check_key(const struct key *key)
{
	struct config *before = load(ALL_KINDS), *after = load(ALL_KINDS);
	bool global = key->section == KEY_GLOBAL;
	size_t place = global ? 0 : find_pool_for(after, key);
	char *line = NULL, *dumped = config_dumped(before), *kept;
	struct config_diff *diff;

	change_key(key, global ? (void *)after : &after->pools[place]);
	diff = compare(before, after);
	cr_expect_not(config_diff_is_empty(diff), "%s", key->name);
	if (strcmp(key->name, "listen") != 0)
		expect_change(key, global ? NULL : after->pools[place].name, diff, place);
	config_diff_free(diff);

	/* What needs a restart is in force as it was; all else as it is wanted. */
	line = config_dumped(after);
	cr_assert_eq(config_keep_unchangeable(before, after, stderr), 0, "%s", key->name);
	kept = config_dumped(after);
	if (key->reload == RELOAD_RESTART)
		cr_expect_str_eq(kept, dumped, "%s", key->name);
	else
		cr_expect_str_eq(kept, line, "%s", key->name);
	free(kept);
	free(line);
	free(dumped);
	config_free(before);
	config_free(after);
}

Test(config_diff, every_key)
{
	for (size_t i = 0; i < SCHEMA_KEYS; i++)
		check_key(&schema_keys[i]);
}

Test(config_diff, every_limit)
{
	for (size_t i = 0; i < LIMIT_KEYS; i++) {
		const char *name = limit_keys[i].name;
		const char *one = limit_keys[i].divisor ? "1s" : "1", *two = limit_keys[i].divisor ? "2s" : "2";
		char before[256], after[256], none[256], text[256];

		snprintf(none, sizeof(none), "pool a { listen = \":1\" handler = plain }");
		snprintf(before, sizeof(before), "pool a { listen = \":1\" handler = plain limits { %s = %s } }", name,
			one);
		snprintf(after, sizeof(after), "pool a { listen = \":1\" handler = plain limits { %s = %s } }", name,
			two);
		snprintf(text, sizeof(text), "pool \"a\": limits: %s: %s -> %s\n", name, one, two);
		expect_said(before, after, text);
		snprintf(text, sizeof(text), "pool \"a\": limits: %s: not given -> %s\n", name, one);
		expect_said(none, before, text);
		snprintf(text, sizeof(text), "pool \"a\": limits: %s: %s -> not given\n", name, one);
		expect_said(before, none, text);
		expect_said(before, before, "");
	}
}

/* What kinds_options has, and another value of each. */
static const char *const option_changes[][3] = {
	{"bool",        "on",              "off -> on"                            },
	{ "number",     "11",              "10 -> 11"                             },
	{ "any_number", "1",               "0 -> 1"                               },
	{ "size",       "1M",              "64K -> 1M"                            },
	{ "duration",   "2s",              "1500ms -> 2s"                         },
	{ "text",       "b",               "\"a \\\"quoted\\\" \\$text\" -> \"b\""},
	{ "choice",     "blue",            "green -> blue"                        },
	{ "list",       "{ \"one\" }",     "{ \"one\", \"two\" } -> { \"one\" }"  },
	{ "empty_list", "{ \"one\" }",     "{ } -> { \"one\" }"                   },
	{ "log",        "\"/tmp/log\"",    "\"off\" -> \"/tmp/log\""              },
	{ "error_log",  "\"/tmp/log\"",    "\"off\" -> \"/tmp/log\""              },
	{ "directory",  "\"/usr\"",        "\"/\" -> \"/usr\""                    },
	{ "file",       "\"/etc/passwd\"", "\"/etc/fstab\" -> \"/etc/passwd\""    },
};

Test(config_diff, every_option)
{
	size_t count = sizeof(option_changes) / sizeof(option_changes[0]);

	cr_assert_eq(count, schema_count_options(&module_kinds));
	for (size_t i = 0; i < count; i++) {
		char text[512], expected[256];

		cr_assert_str_eq(option_changes[i][0], kinds_options[i].name);
		snprintf(text, sizeof(text), "pool a { listen = \":1\" handler = kinds kinds { %s = %s } }",
			option_changes[i][0], option_changes[i][1]);
		snprintf(expected, sizeof(expected), "pool \"a\": kinds: %s: %s\n", option_changes[i][0],
			option_changes[i][2]);
		expect_said("pool a { listen = \":1\" handler = kinds }", text, expected);
		snprintf(text, sizeof(text),
			"pool a { listen = \":1\" handler = module module = \"/kinds.so\" module_options { %s = %s } }",
			option_changes[i][0], option_changes[i][1]);
		snprintf(expected, sizeof(expected), "pool \"a\": module_options: %s: %s\n", option_changes[i][0],
			option_changes[i][2]);
		expect_said("pool a { listen = \":1\" handler = module module = \"/kinds.so\" }", text, expected);
	}
}

/* A module that is replaced by another version has other options, whatever the file says. */
Test(config_diff, options_of_another_version)
{
	expect_said("pool a { listen = \":1\" handler = module module = \"/strict.so\" "
		    "module_options { root = \"/\" names = { x } } }",
		"pool a { listen = \":1\" handler = module module = \"/plain.so\" }",
		"pool \"a\": module: \"/strict.so\" -> \"/plain.so\"\n"
		"pool \"a\": module_options: root: \"/\" -> not given\n"
		"pool \"a\": module_options: names: { \"x\" } -> not given\n");
	expect_said("pool a { listen = \":1\" handler = module module = \"/plain.so\" }",
		"pool a { listen = \":1\" handler = module module = \"/strict.so\" "
		"module_options { root = \"/\" names = { x } } }",
		"pool \"a\": module: \"/plain.so\" -> \"/strict.so\"\n"
		"pool \"a\": module_options: root: not given -> \"/\"\n"
		"pool \"a\": module_options: names: not given -> { \"x\" }\n");
}

/* ---- in words ---- */

/* clang-format off */
static const char *const words[][3] = {
	{ALL_KINDS, ALL_KINDS, ""},
	/* Order, comments and what is given as it is by default are no difference. */
	{"pool b { listen = \":2\" handler = plain } pool a { listen = \":1\" handler = plain }",
		"log_level = info pool a { handler = plain workers = 8 listen = \":1\" } # x\n"
		"pool b { listen = \":2\" handler = plain }",
		""},
	{"pool web { listen = \":1\" handler = plain workers = 4 }",
		"log_level = debug max_workers = 512 pool web { listen = \":1\" handler = plain workers = 9 }",
		"log_level: info -> debug\n"
		"max_workers: 1024 -> 512: needs a restart\n"
		"pool \"web\": workers: 4 -> 9\n"},
	{"pool a { listen = \":1\" handler = plain }",
		"pool a { listen = \":1\" handler = plain } pool x { listen = \":2\" handler = plain }",
		"pool \"x\": added\n"},
	{"pool a { listen = \":1\" handler = plain } pool x { listen = \":2\" handler = plain }",
		"pool a { listen = \":1\" handler = plain }",
		"pool \"x\": removed\n"},
	/* A handler that changes takes its keys and its section along. */
	{"pool a { listen = \":1\" handler = kinds read_timeout = 7s kinds { number = 7 } }",
		"pool a { listen = \":1\" handler = program command = \"/bin/cat\" ready_after = 7s }",
		"pool \"a\": handler: \"kinds\" -> \"program\"\n"},
	{"pool a { listen = \":1\" handler = kinds kinds { number = 7 } }",
		"pool a { listen = \":1\" handler = plain workers = 2 }",
		"pool \"a\": handler: \"kinds\" -> \"plain\"\npool \"a\": workers: 8 -> 2\n"},
	/* A pool that goes by the global key, and one that goes beyond the one that is in force. */
	/* What has no meaning on one side is not given there. */
	{"pool a { listen = \":1\" handler = plain workers = 4 }",
		"pool a { listen = \":1\" handler = plain min_workers = 2 max_workers = 9 max_spare = 5 }",
		"pool \"a\": workers: 4 -> not given\npool \"a\": min_workers: not given -> 2\n"
		"pool \"a\": max_workers: not given -> 9\npool \"a\": min_spare: not given -> 1\n"
		"pool \"a\": max_spare: not given -> 5\npool \"a\": idle_exit: not given -> 30s\n"},
	{"pool a { listen = \":1\" handler = inetd command = \"/bin/cat\" idle_exit = 1s min_workers = 0 }",
		"pool a { listen = \":1\" handler = inetd command = \"/bin/cat\" }",
		"pool \"a\": min_workers: 0 -> not given\npool \"a\": idle_exit: 1s -> not given\n"},
	{"max_workers = 10 pool a { listen = \":1\" handler = inetd command = \"/bin/cat\" }",
		"max_workers = 20 pool a { listen = \":1\" handler = inetd command = \"/bin/cat\" }",
		"max_workers: 10 -> 20: needs a restart\n"},
	{"max_workers = 10 pool a { listen = \":1\" handler = inetd command = \"/bin/cat\" max_workers = 9 }",
		"max_workers = 20 pool a { listen = \":1\" handler = inetd command = \"/bin/cat\" max_workers = 11 }",
		"max_workers: 10 -> 20: needs a restart\npool \"a\": max_workers: 9 -> 11: needs a restart\n"},
	{"max_workers = 10 pool a { listen = \":1\" handler = inetd command = \"/bin/cat\" }",
		"max_workers = 9 pool a { listen = \":1\" handler = inetd command = \"/bin/cat\" }",
		"max_workers: 10 -> 9: needs a restart\npool \"a\": max_workers: 10 -> 9\n"},
	/* A name and nothing else; and a name and something else. */
	{"pool a { listen = {\":1\", \":0\"} handler = plain } pool b { listen = \":2\" handler = plain }",
		"pool b { listen = \":2\" handler = plain } pool c { listen = {\":1\", \":0\"} handler = plain }",
		"pool \"a\": renamed to \"c\"\n"},
	{"pool a { listen = \":1\" handler = plain } ", "pool c { listen = \":1\" handler = plain workers = 2 }",
		"pool \"c\": added\npool \"c\": listen: \":1\": taken over from pool \"a\"\npool \"a\": removed\n"},
	/* A pool is renamed to one other pool. */
	{"pool a { listen = \":0\" handler = plain }",
		"pool c { listen = \":0\" handler = plain } pool d { listen = \":0\" handler = plain }",
		"pool \"d\": added\npool \"a\": renamed to \"c\"\n"},
	/* Listeners: those that stay, go and come; that move; that change places. */
	{"pool a { listen = {\":1\", \":2\"} handler = plain }",
		"pool a { listen = {\":2\", \":3\"} handler = plain }",
		"pool \"a\": listen: \":3\": added\npool \"a\": listen: \":1\": removed\n"},
	{"pool a { listen = {\":1\", \":2\"} handler = plain } pool b { listen = \":3\" handler = plain }",
		"pool a { listen = \":1\" handler = plain } pool b { listen = {\":3\", \":2\"} handler = plain }",
		"pool \"b\": listen: \":2\": taken over from pool \"a\"\n"},
	{"pool a { listen = {\":1\", \":2\"} handler = plain }",
		"pool a { listen = {\":2\", \":1\"} handler = plain }",
		"pool \"a\": listen: { \":1\", \":2\" } -> { \":2\", \":1\" }\n"},
	{"pool a { listen = \":1\" handler = plain } pool b { listen = \":2\" handler = plain }",
		"pool a { listen = \":2\" handler = plain } pool b { listen = \":1\" handler = plain }",
		"pool \"a\": listen: \":2\": taken over from pool \"b\"\n"
		"pool \"b\": listen: \":1\": taken over from pool \"a\"\n"},
	/* As many of one text as both have. */
	{"pool a { listen = {\":0\", \":0\", \":0\"} handler = plain }",
		"pool a { listen = {\":0\"} handler = plain }",
		"pool \"a\": listen: \":0\": removed\npool \"a\": listen: \":0\": removed\n"},
	{"pool a { listen = {\":0\"} handler = plain }", "pool a { listen = {\":0\", \":0\"} handler = plain }",
		"pool \"a\": listen: \":0\": added\n"},
	/* Those of its own pool first. */
	{"pool a { listen = \":0\" handler = plain } pool b { listen = \":0\" handler = plain }",
		"pool b { listen = {\":0\", \":0\"} handler = plain }",
		"pool \"b\": listen: \":0\": taken over from pool \"a\"\npool \"a\": removed\n"},
};
/* clang-format on */

Test(config_diff, words)
{
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		expect_said(words[i][0], words[i][1], words[i][2]);
}

/* What is secret is not in the log, and what is long is cut between two characters. */
Test(config_diff, values_that_are_not_shown)
{
	char text[2048], long_text[600], *shown;
	struct config *before, *after;
	struct config_diff *diff;

	expect_said("pool a { listen = \":1\" handler = inetd command = \"/bin/cat\" }",
		"pool a { listen = \":1\" handler = inetd command = \"/bin/cat\" environment = \"KEY=secret\" }",
		"pool \"a\": environment: changed\n");

	long_text[0] = 'x';
	for (size_t i = 0; i < 150; i++)
		memcpy(long_text + 1 + 2 * i, "\xc3\xa9", 3);
	snprintf(text, sizeof(text), "pool a { listen = \":1\" handler = inetd command = {\"/bin/cat\", \"%s\"} }",
		long_text);
	before = load("pool a { listen = \":1\" handler = inetd command = \"/bin/cat\" }");
	after = load(text);
	diff = compare(before, after);
	shown = said(diff);
	cr_expect(strstr(shown, "{ \"/bin/cat\" } -> { \"/bin/cat\", \"x\xc3\xa9"));
	cr_expect(strstr(shown, "\xc3\xa9...\n"), "%s", shown);
	cr_expect_lt(strlen(shown), 300);
	free(shown);
	config_diff_free(diff);
	config_free(before);
	config_free(after);
}

/* ---- what the master goes by ---- */

static void expect_listen(
	const struct diff_listen *entry, enum diff_state state, size_t pool, size_t place, size_t place_after)
{
	cr_expect_eq(entry->state, state, "%s", entry->text);
	cr_expect_eq(entry->pool_before, pool, "%s", entry->text);
	cr_expect_eq(entry->place_before, place, "%s", entry->text);
	cr_expect_eq(entry->place_after, place_after, "%s", entry->text);
}

Test(config_diff, places)
{
	struct config *before = load("pool gone { listen = {\":1\", \":2\"} handler = plain }\n"
				     "pool kept { listen = {\":3\", \":4\", \":0\"} handler = plain }\n"
				     "pool old { listen = {\":5\", \":0\"} handler = plain }\n");
	struct config *after = load("pool new { listen = {\":5\", \":0\"} handler = plain }\n"
				    "pool kept { listen = {\":0\", \":2\", \":4\", \":6\", \":0\"} handler = plain }\n"
				    "pool fresh { listen = {\":7\"} handler = plain }\n");
	struct config_diff *diff = compare(before, after);
	const struct diff_pool *pools = diff->pools;

	cr_assert_eq(diff->pool_count, 5);
	cr_expect(pools[0].state == DIFF_ADDED && pools[0].before == DIFF_NONE && pools[0].after == 0);
	cr_expect(pools[0].renamed == 2);
	cr_assert_eq(pools[0].listen_count, 2);
	expect_listen(&pools[0].listen[0], DIFF_KEPT, 2, 0, 0);
	expect_listen(&pools[0].listen[1], DIFF_KEPT, 2, 1, 1);

	cr_expect(pools[1].state == DIFF_KEPT && pools[1].before == 1 && pools[1].after == 1);
	cr_assert_eq(pools[1].listen_count, 6);
	expect_listen(&pools[1].listen[0], DIFF_KEPT, 1, 2, 0);
	expect_listen(&pools[1].listen[1], DIFF_KEPT, 0, 1, 1);
	expect_listen(&pools[1].listen[2], DIFF_KEPT, 1, 1, 2);
	expect_listen(&pools[1].listen[3], DIFF_ADDED, DIFF_NONE, DIFF_NONE, 3);
	expect_listen(&pools[1].listen[4], DIFF_ADDED, DIFF_NONE, DIFF_NONE, 4);
	expect_listen(&pools[1].listen[5], DIFF_REMOVED, 1, 0, DIFF_NONE);

	cr_expect(pools[2].state == DIFF_ADDED && pools[2].renamed == DIFF_NONE && pools[2].after == 2);
	expect_listen(&pools[2].listen[0], DIFF_ADDED, DIFF_NONE, DIFF_NONE, 0);

	cr_expect(pools[3].state == DIFF_REMOVED && pools[3].before == 0 && pools[3].after == DIFF_NONE);
	cr_expect(pools[3].renamed == DIFF_NONE);
	cr_assert_eq(pools[3].listen_count, 1);
	expect_listen(&pools[3].listen[0], DIFF_REMOVED, 0, 0, DIFF_NONE);

	cr_expect(pools[4].state == DIFF_REMOVED && pools[4].before == 2 && pools[4].renamed == 0);
	cr_expect_eq(pools[4].listen_count, 0);
	config_diff_free(diff);
	config_free(before);
	config_free(after);
}

/* ---- any two configurations ---- */

static unsigned int seed = 1;

static unsigned int below(unsigned int limit)
{
	seed = seed * 1103515245 + 12345;
	return (seed >> 16) % limit;
}

/* Some of four pools, each with some entries; but for port 0 no address is there twice. */
static struct config *any_config(void)
{
	char text[2048];
	size_t size = 0;
	unsigned int ports = below(1U << 6), pools = 1 + below((1U << 4) - 1);

	for (unsigned int pool = 0; pool < 4; pool++) {
		if (!(pools >> pool & 1))
			continue;
		size += (size_t)snprintf(text + size, sizeof(text) - size,
			"pool %c { handler = plain workers = %u listen = { \":0\"", 'a' + pool, 1 + below(2));
		for (unsigned int port = 1; port <= 6; port++) {
			if (!(ports >> (port - 1) & 1) || below(2))
				continue;
			ports &= ~(1U << (port - 1));
			size += (size_t)snprintf(text + size, sizeof(text) - size, ", \":%u\"", port);
		}
		size += (size_t)snprintf(text + size, sizeof(text) - size, "%s } }\n", below(2) ? ", \":0\"" : "");
	}
	return load(text);
}

/* Each entry of both has one place in the result, and those that are kept are of one text. */
static void check_entries(
	const struct config *before, const struct config *after, const struct config_diff *diff, bool seen[4][16])
{
	for (size_t i = 0; i < diff->pool_count; i++) {
		const struct diff_pool *pool = &diff->pools[i];
		size_t listed = 0;

		for (size_t k = 0; k < pool->listen_count; k++) {
			const struct diff_listen *entry = &pool->listen[k];

			if (entry->state != DIFF_ADDED) {
				cr_assert_not(seen[entry->pool_before][entry->place_before]);
				seen[entry->pool_before][entry->place_before] = true;
				cr_assert_str_eq(
					before->pools[entry->pool_before].listen[entry->place_before], entry->text);
			}
			if (entry->state == DIFF_REMOVED) {
				cr_assert_eq(entry->pool_before, pool->before);
				continue;
			}
			cr_assert_eq(entry->place_after, listed++);
			cr_assert_str_eq(after->pools[pool->after].listen[entry->place_after], entry->text);
		}
		cr_assert_eq(listed, pool->after == DIFF_NONE ? 0 : after->pools[pool->after].listen_count);
	}
}

static size_t count_entries(const struct config *config)
{
	size_t count = 0;

	for (size_t i = 0; i < config->pool_count; i++)
		count += config->pools[i].listen_count;
	return count;
}

Test(config_diff, any_two)
{
	unsigned int renamed = 0, moved = 0;

	for (int round = 0; round < 2000; round++) {
		struct config *before = any_config(), *after = any_config();
		struct config_diff *diff = compare(before, after), *none = compare(before, before);
		bool seen[4][16] = { 0 };
		size_t count = 0;

		check_entries(before, after, diff, seen);
		for (size_t i = 0; i < 4 * 16; i++)
			count += seen[i / 16][i % 16];
		cr_assert_eq(count, count_entries(before), "none is forgotten");
		cr_assert(config_diff_is_empty(none));
		for (size_t i = 0; i < diff->pool_count; i++) {
			renamed += diff->pools[i].renamed != DIFF_NONE;
			for (size_t k = 0; k < diff->pools[i].listen_count; k++)
				moved += diff->pools[i].listen[k].state == DIFF_KEPT &&
					 diff->pools[i].listen[k].pool_before != diff->pools[i].before;
		}
		config_diff_free(none);
		config_diff_free(diff);
		config_free(before);
		config_free(after);
	}
	cr_expect_gt(renamed, 20, "%u", renamed);
	cr_expect_gt(moved, 500, "%u", moved);
}

/* ---- what is kept in force ---- */

/* Returns the result; *RET_ERRORS is to be freed. */
static int keep(const struct config *in_force, struct config *config, char **ret_errors)
{
	size_t size;
	FILE *errors = open_memstream(ret_errors, &size);
	int result;

	cr_assert(errors);
	result = config_keep_unchangeable(in_force, config, errors);
	fclose(errors);
	return result;
}

/* The board does not grow without a restart: who needs more is refused, with his place. */
Test(config_diff, more_workers_than_the_board_has)
{
	struct config *before = load("max_workers = 10 pool a { listen = \":1\" handler = plain workers = 4 }");
	struct config *after = load("max_workers = 100\npool a { listen = \":1\" handler = plain workers = 4 }\n"
				    "pool b {\n listen = \":2\" handler = plain workers = 7 }\n"
				    "pool c { listen = \":3\" handler = plain workers = 7 }\n");
	char *errors;

	cr_expect_eq(keep(before, after, &errors), -EINVAL);
	cr_expect_str_eq(errors, "t.conf:3: pool \"b\": workers = 7 brings all pools to 11 workers; max_workers = 10 "
				 "holds until a restart\n");
	free(errors);
	config_free(before);
	config_free(after);
}

/* A pool that goes by the global key goes by the one that is in force. */
Test(config_diff, a_pool_within_the_old_limit)
{
	struct config *before =
		load("max_workers = 10 pool a { listen = \":1\" handler = inetd command = \"/bin/cat\" }");
	struct config *after =
		load("max_workers = 100 pool a { listen = \":1\" handler = inetd command = \"/bin/cat\" }");
	char *errors;

	cr_assert_eq(after->pools[0].max_workers, 100);
	cr_expect_eq(keep(before, after, &errors), 0);
	cr_expect_eq(after->max_workers, 10);
	cr_expect_eq(after->pools[0].max_workers, 10);
	free(errors);
	config_free(before);
	config_free(after);
}

/* What is kept outlives the configuration that it comes from. */
Test(config_diff, kept_texts_are_copies)
{
	struct config *before = load("pidfile = \"/tmp/before.pid\" pool a { listen = \":1\" handler = plain }");
	struct config *after = load("pidfile = \"/tmp/after.pid\" pool a { listen = \":1\" handler = plain }");
	char *errors;

	cr_assert_eq(keep(before, after, &errors), 0);
	config_free(before);
	cr_expect_str_eq(after->pidfile, "/tmp/before.pid");
	free(errors);
	config_free(after);
}

/* Workers that live write by the old numbers, while new ones use the new ones. */
Test(config_diff, access_logs_keep_their_numbers)
{
	struct config *before = load("pool a { listen = \":1\" handler = kinds kinds { log = \"/tmp/1\" } }\n"
				     "pool b { listen = \":2\" handler = kinds kinds { log = \"/tmp/2\" } }\n");
	struct config *after = load("pool b { listen = \":2\" handler = kinds kinds { log = \"/tmp/3\" "
				    "error_log = \"/tmp/2\" } }\n"
				    "pool c { listen = \":3\" handler = kinds kinds { log = \"/tmp/3\" } }\n"
				    "pool d { listen = \":4\" handler = kinds }\n");
	char *errors, *dumped = config_dumped(after), *kept;

	cr_assert_eq(keep(before, after, &errors), 0);
	config_free(before);
	cr_assert_eq(after->access_count, 3);
	cr_expect_str_eq(after->access_files[0], "/tmp/1");
	cr_expect_str_eq(after->access_files[1], "/tmp/2");
	cr_expect_str_eq(after->access_files[2], "/tmp/3");
	cr_expect_eq(after->pools[0].values[9].number, 3);
	cr_expect_eq(after->pools[0].values[10].number, 2);
	cr_expect_eq(after->pools[1].values[9].number, 3);
	cr_expect_eq(after->pools[2].values[9].number, 0);
	kept = config_dumped(after);
	cr_expect_str_eq(kept, dumped);
	free(kept);
	free(dumped);
	free(errors);
	config_free(after);
}
