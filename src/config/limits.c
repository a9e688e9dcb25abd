/* SPDX-License-Identifier: MIT */
#include "config/limits.h"

#include <assert.h>
#include <sys/resource.h>

#include "config/load.h"

/* clang-format off */
#define COUNT       .rule = { .kind = VALUE_NUMBER, .max = 1 << 30, .may_be_unlimited = true }
#define SIZE        .rule = { .kind = VALUE_SIZE, .max = INT64_C(1) << 50, .may_be_unlimited = true }
#define LEVEL(high) .rule = { .kind = VALUE_NUMBER, .max = (high) }
/* In seconds, of up to a year. */
#define TIME        .rule = { .kind = VALUE_DURATION, .min = 1000, .max = INT64_C(365) * 86400 * 1000, .step = 1000, \
		.may_be_unlimited = true }, .divisor = 1000

const struct limit_key limit_keys[] = {
	{ .name = "nofile", .resource = RLIMIT_NOFILE, COUNT, .help = "Open files." },
	{ .name = "nproc", .resource = RLIMIT_NPROC, COUNT, .help = "Processes of the worker's user." },
	{ .name = "core", .resource = RLIMIT_CORE, SIZE, .help = "A core dump." },
	{ .name = "cpu", .resource = RLIMIT_CPU, TIME, .help = "Time on the processor." },
	{ .name = "fsize", .resource = RLIMIT_FSIZE, SIZE, .help = "A file that is written." },
	{ .name = "as", .resource = RLIMIT_AS, SIZE, .help = "The address space." },
	{ .name = "data", .resource = RLIMIT_DATA, SIZE, .help = "Data and heap." },
	{ .name = "stack", .resource = RLIMIT_STACK, SIZE, .help = "The stack." },
	{ .name = "memlock", .resource = RLIMIT_MEMLOCK, SIZE, .help = "Locked memory." },
	{ .name = "sigpending", .resource = RLIMIT_SIGPENDING, COUNT, .help = "Queued signals of the worker's user." },
	{ .name = "msgqueue", .resource = RLIMIT_MSGQUEUE, SIZE, .help = "POSIX message queues of the worker's user." },
	{ .name = "nice", .resource = RLIMIT_NICE, LEVEL(40),
		.help = "The ceiling of the priority: 20 minus the least nice value." },
	{ .name = "rtprio", .resource = RLIMIT_RTPRIO, LEVEL(99), .help = "The ceiling of the real-time priority." },
};
/* clang-format on */

static_assert(ARRAY_SIZE(limit_keys) == LIMIT_KEYS, "the header knows the number of rows");

static uint64_t limit_of(const struct limit_key *key, int64_t number)
{
	if (key->rule.may_be_unlimited && number == VALUE_UNLIMITED)
		return RLIM_INFINITY;
	return (uint64_t)(key->divisor ? number / key->divisor : number);
}

static int64_t number_of(const struct limit_key *key, uint64_t limit)
{
	if (limit == RLIM_INFINITY)
		return VALUE_UNLIMITED;
	return key->divisor ? (int64_t)limit * key->divisor : (int64_t)limit;
}

void limits_fill(struct load *load, cfg_t *section, struct pool_config *pool, const struct pool_draft *draft)
{
	const char *where = arena_format(&load->scratch, "%s: limits", draft->outline->where);
	cfg_t *limits = cfg_size(section, "limits") > 0 ? cfg_getsec(section, "limits") : NULL;

	pool->limits = arena_alloc(load->arena, LIMIT_KEYS * sizeof(*pool->limits));
	if (!pool->limits || !where || !limits)
		return;
	for (size_t i = 0; i < LIMIT_KEYS; i++) {
		const struct limit_key *key = &limit_keys[i];
		const struct setting *setting = parse_setting(limits, key->name, 0);
		int64_t number;

		if (setting && load_read_value(load, where, key->name, &key->rule, setting, "", &number))
			pool->limits[pool->limit_count++] =
				(struct limit_config){ .resource = key->resource, .value = limit_of(key, number) };
	}
}

static const struct limit_key *limit_key_of(int resource)
{
	size_t i = 0;

	while (limit_keys[i].resource != resource)
		i++;
	return &limit_keys[i];
}

void limits_dump_value(const struct limit_config *limit, FILE *out)
{
	const struct limit_key *key = limit_key_of(limit->resource);
	char text[VALUE_TEXT_MAX];

	fputs(value_format(&key->rule, number_of(key, limit->value), text), out);
}

void limits_dump(const struct pool_config *pool, FILE *out)
{
	if (pool->limit_count == 0)
		return;
	fputs("\tlimits {\n", out);
	for (size_t i = 0; i < pool->limit_count; i++) {
		fprintf(out, "\t\t%s = ", config_limit_name(pool->limits[i].resource));
		limits_dump_value(&pool->limits[i], out);
		fputc('\n', out);
	}
	fputs("\t}\n", out);
}

const char *config_limit_name(int resource)
{
	return limit_key_of(resource)->name;
}
