/* SPDX-License-Identifier: MIT */
#include "config/limits.h"

#include <sys/resource.h>

#include "config/load.h"

#define COUNT(high)                                                                                                    \
	{                                                                                                              \
		.kind = VALUE_NUMBER, .max = (high), .may_be_unlimited = true                                          \
	}
#define SIZE                                                                                                           \
	{                                                                                                              \
		.kind = VALUE_SIZE, .max = INT64_C(1) << 50, .may_be_unlimited = true                                  \
	}
#define SECONDS                                                                                                        \
	{                                                                                                              \
		.kind = VALUE_DURATION, .min = 1000, .max = INT64_C(86400000) * 365, .step = 1000,                     \
		.may_be_unlimited = true                                                                               \
	}
#define LEVEL(high)                                                                                                    \
	{                                                                                                              \
		.kind = VALUE_NUMBER, .max = (high)                                                                    \
	}

/* clang-format off */
const struct limit_key limit_keys[] = {
	{ "nofile", RLIMIT_NOFILE, COUNT(1 << 30), 0, "Open files." },
	{ "nproc", RLIMIT_NPROC, COUNT(1 << 30), 0, "Processes of the worker's user." },
	{ "core", RLIMIT_CORE, SIZE, 0, "A core dump." },
	{ "cpu", RLIMIT_CPU, SECONDS, 1000, "Time on the processor." },
	{ "fsize", RLIMIT_FSIZE, SIZE, 0, "A file that is written." },
	{ "as", RLIMIT_AS, SIZE, 0, "The address space." },
	{ "data", RLIMIT_DATA, SIZE, 0, "Data and heap." },
	{ "stack", RLIMIT_STACK, SIZE, 0, "The stack." },
	{ "memlock", RLIMIT_MEMLOCK, SIZE, 0, "Locked memory." },
	{ "sigpending", RLIMIT_SIGPENDING, COUNT(1 << 30), 0, "Queued signals of the worker's user." },
	{ "msgqueue", RLIMIT_MSGQUEUE, SIZE, 0, "POSIX message queues of the worker's user." },
	{ "nice", RLIMIT_NICE, LEVEL(40), 0, "The ceiling of the priority: 20 minus the least nice value." },
	{ "rtprio", RLIMIT_RTPRIO, LEVEL(99), 0, "The ceiling of the real-time priority." },
};
/* clang-format on */

_Static_assert(ARRAY_SIZE(limit_keys) == LIMIT_KEYS, "the header knows the number of rows");

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

void limits_dump(const struct pool_config *pool, FILE *out)
{
	if (pool->limit_count == 0)
		return;
	fputs("\tlimits {\n", out);
	for (size_t i = 0; i < pool->limit_count; i++) {
		const struct limit_key *key = limit_key_of(pool->limits[i].resource);
		char text[VALUE_TEXT_MAX];

		fprintf(out, "\t\t%s = %s\n", key->name,
			value_format(&key->rule, number_of(key, pool->limits[i].value), text));
	}
	fputs("\t}\n", out);
}

const char *config_limit_name(int resource)
{
	return limit_key_of(resource)->name;
}
