/* SPDX-License-Identifier: MIT */
/* The rules across keys, and what only the machine knows: addresses, users, groups, directories. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/append.h"
#include "config/identity.h"
#include "config/load.h"
#include "config/root.h"
#include "net/address.h"
#include "net/control_path.h"

/* ---- paths ---- */

void load_check_path(
	struct load *load, unsigned int line, const char *where, const char *name, const char *value, const char *path)
{
	const char *slash = strrchr(path, '/');
	char *directory;
	struct stat status;

	if (path[0] != '/') {
		load_refuse_value(load, line, where, name, value, "is not an absolute path");
		return;
	}
	directory = arena_copy(&load->scratch, path, slash == path ? 1 : (size_t)(slash - path));
	if (!directory)
		return;
	if (stat(directory, &status) < 0)
		diagnostics_add(&load->diagnostics, line, where, "%s = \"%s\": directory %s: %s", name, value,
			directory, strerrordesc_np(errno));
	else if (!S_ISDIR(status.st_mode))
		diagnostics_add(
			&load->diagnostics, line, where, "%s = \"%s\": %s is not a directory", name, value, directory);
	else if (stat(path, &status) == 0 && S_ISDIR(status.st_mode))
		load_refuse_value(load, line, where, name, value, "is a directory");
}

bool load_check_directory(
	struct load *load, unsigned int line, const char *where, const char *name, const char *root, const char *path)
{
	struct stat status;
	int result;

	if (path[0] != '/') {
		load_refuse_value(load, line, where, name, path, "is not an absolute path");
		return false;
	}
	result = root_stat(root, path, &status);
	if (result == 0 && S_ISDIR(status.st_mode))
		return true;
	diagnostics_add(&load->diagnostics, line, where, "%s = \"%s\"%s%s: %s", name, path, root[0] ? " in " : "", root,
		strerrordesc_np(result < 0 ? -result : ENOTDIR));
	return false;
}

/* ---- the global keys ---- */

static unsigned int global_line(const struct load *load, const char *name)
{
	return load->lines[schema_index(schema_find(KEY_GLOBAL, name))];
}

static void check_pidfile(struct load *load)
{
	const struct config_overrides *overrides = load->overrides;
	const char *path = load->config->pidfile;

	if (path && path[0] != '\0')
		load_check_path(load, overrides && overrides->pidfile ? 0 : global_line(load, "pidfile"),
			overrides && overrides->pidfile ? "command line" : "", "pidfile", path, path);
}

/* The pool that listens at the unix socket PATH, as it is written; NULL: none. */
static const struct pool_config *pool_at(const struct config *config, const char *path)
{
	for (size_t i = 0; i < config->pool_count; i++)
		for (size_t k = 0; k < config->pools[i].listen_count && config->pools[i].listen[k]; k++)
			if (strncmp(config->pools[i].listen[k], "unix:", 5) == 0 &&
				strcmp(config->pools[i].listen[k] + 5, path) == 0)
				return &config->pools[i];
	return NULL;
}

static void check_control(struct load *load)
{
	const struct pool_config *pool;
	const char *path = load->config->control;
	unsigned int line = global_line(load, "control");

	if (!path || strcmp(path, CONTROL_AUTO) == 0 || strcmp(path, CONTROL_OFF) == 0)
		return;
	if (path[0] != '/')
		load_refuse_value(load, line, "", "control", path, "is neither auto nor off, and not an absolute path");
	else if (strlen(path) >= CONTROL_PATH_MAX)
		load_refuse_value(load, line, "", "control", path, "is too long for a socket: at most 107 bytes");
	else if ((pool = pool_at(load->config, path)) != NULL)
		diagnostics_add(
			&load->diagnostics, line, "", "control = \"%s\": pool \"%s\" listens there", path, pool->name);
	else
		load_check_path(load, line, "", "control", path, path);
}

static void check_log_target(struct load *load)
{
	const struct config_overrides *overrides = load->overrides;
	bool overridden = overrides && overrides->log_target;
	const char *where = overridden ? "command line" : "";
	const char *target = load->config->log_target;
	unsigned int line = overridden ? 0 : global_line(load, "log_target");
	enum log_target parsed;

	if (!target)
		return;
	if (log_target_parse(target, &parsed) < 0)
		load_refuse_value(load, line, where, "log_target", target,
			"is none of auto, stderr, syslog, journal, and not an absolute path");
	else if (parsed == LOG_TARGET_FILE)
		load_check_path(load, line, where, "log_target", target, target);
}

/* ---- listeners ---- */

/* An address, to be compared with all others. */
struct listen_entry {
	struct address_spec spec;
	const struct pool_draft *draft;
	const char *text;
	unsigned int line;
};

/* Port 0 is another port each time. */
static bool listens_anew(const struct listen_entry *entry)
{
	return entry->spec.kind == ADDRESS_INET && entry->spec.port == 0;
}

static int spec_compare(const struct address_spec *a, const struct address_spec *b)
{
	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	if (a->kind == ADDRESS_INET && a->port != b->port)
		return a->port < b->port ? -1 : 1;
	return strcmp(a->host, b->host);
}

static int listen_compare(const void *left, const void *right)
{
	const struct listen_entry *a = left, *b = right;
	int order = spec_compare(&a->spec, &b->spec);

	if (order != 0)
		return order;
	return a->line < b->line ? -1 : a->line > b->line;
}

static void check_duplicates(struct load *load, struct listen_entry *entries, size_t count)
{
	if (count > 0)
		qsort(entries, count, sizeof(*entries), listen_compare);
	for (size_t i = 1; i < count; i++) {
		const struct listen_entry *entry = &entries[i], *before = &entries[i - 1];
		struct line_run place = diagnostics_locate(&load->diagnostics, before->line);

		if (listens_anew(entry) || spec_compare(&entry->spec, &before->spec) != 0)
			continue;
		diagnostics_add(&load->diagnostics, entry->line, entry->draft->outline->where,
			"listen: %s is listened on twice, first by %s in %s:%u", entry->text,
			before->draft->outline->where, place.file, place.file_line);
	}
}

/* Whether TEXT is written as one would write the address of a datagram socket elsewhere. */
static bool is_datagram(const char *text)
{
	static const char *const prefixes[] = { "udp:", "udp4:", "udp6:", "dgram:", "unixgram:", "unix-dgram:" };
	const char *slash = strrchr(text, '/');

	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
		if (strncasecmp(text, prefixes[i], strlen(prefixes[i])) == 0)
			return true;
	}
	return slash && strncmp(text, "unix:", 5) != 0 && strncasecmp(slash, "/udp", 4) == 0;
}

/* Parses the addresses of a pool. Returns how many of them were added to ENTRIES. */
static size_t check_addresses(
	struct load *load, const struct pool_config *pool, const struct pool_draft *draft, struct listen_entry *entries)
{
	const unsigned int *lines = load_list_lines(draft, "listen");
	size_t count = 0;

	for (size_t i = 0; i < pool->listen_count && pool->listen[i]; i++) {
		struct listen_entry *entry = &entries[count];
		const char *reason = "";

		*entry = (struct listen_entry){ .draft = draft, .text = pool->listen[i], .line = lines[i] };
		if (is_datagram(pool->listen[i])) {
			diagnostics_add(&load->diagnostics, entry->line, draft->outline->where,
				"listen: \"%.200s\": UDP and wait services are not brood's: it serves connections",
				pool->listen[i]);
			continue;
		}
		if (address_parse(pool->listen[i], &entry->spec, &reason) < 0) {
			diagnostics_add(&load->diagnostics, entry->line, draft->outline->where,
				"listen: \"%.200s\": %s", pool->listen[i], reason);
			continue;
		}
		if (entry->spec.kind == ADDRESS_UNIX && entry->spec.host[0] == '/')
			load_check_path(
				load, entry->line, draft->outline->where, "listen", entry->text, entry->spec.host);
		count++;
	}
	return count;
}

static void check_listeners(struct load *load)
{
	const struct config *config = load->config;
	struct listen_entry *entries;
	size_t count = 0;

	for (size_t i = 0; i < config->pool_count; i++)
		count += config->pools[i].listen_count;
	entries = arena_alloc(&load->scratch, (count + 1) * sizeof(*entries));
	if (!entries)
		return;
	count = 0;
	for (size_t i = 0; i < config->pool_count; i++)
		count += check_addresses(load, &config->pools[i], &load->drafts[i], entries + count);
	check_duplicates(load, entries, count);
}

static void check_socket_owner(struct load *load, struct pool_config *pool, const struct pool_draft *draft)
{
	const char *where = draft->outline->where;
	char reason[VALUE_REASON_MAX];
	gid_t user_gid;

	pool->listener.socket_uid = UID_NONE;
	pool->listener.socket_gid = GID_NONE;
	if (pool->socket_user && pool->socket_user[0] != '\0' &&
		identity_user(&load->scratch, pool->socket_user, &pool->listener.socket_uid, &user_gid, NULL, reason) <
			0)
		load_refuse_value(
			load, load_pool_line(draft, "socket_user"), where, "socket_user", pool->socket_user, reason);
	if (pool->socket_group && pool->socket_group[0] != '\0' &&
		identity_group(pool->socket_group, &pool->listener.socket_gid, reason) < 0)
		load_refuse_value(
			load, load_pool_line(draft, "socket_group"), where, "socket_group", pool->socket_group, reason);
}

static void check_backoff(struct load *load, const struct pool_config *pool, const struct pool_draft *draft)
{
	const struct key *min = schema_find(KEY_POOL, "backoff_min"), *max = schema_find(KEY_POOL, "backoff_max");
	unsigned int min_line = draft->lines[schema_index(min)], max_line = draft->lines[schema_index(max)];
	char min_text[VALUE_TEXT_MAX], max_text[VALUE_TEXT_MAX];

	/* 0: a value that was refused. */
	if (pool->backoff_min_ms == 0 || pool->backoff_max_ms == 0 || pool->backoff_min_ms <= pool->backoff_max_ms)
		return;
	/* The other one may be in what the outline has left out. */
	if (draft->outline->damaged && (min_line == 0 || max_line == 0))
		return;
	diagnostics_add(&load->diagnostics, max_line > min_line ? max_line : min_line, draft->outline->where,
		"backoff_min = %s is longer than backoff_max = %s",
		value_format(&min->rule, (int64_t)pool->backoff_min_ms, min_text),
		value_format(&max->rule, (int64_t)pool->backoff_max_ms, max_text));
}

/* Whether USER and GROUP are known, each of which is looked at where it is given: at its line, or not at all. */
static bool check_names(struct load *load, const char *where, const char *user, unsigned int user_line,
	const char *group, unsigned int group_line)
{
	char reason[VALUE_REASON_MAX];
	bool known = true;
	uid_t uid;
	gid_t gid;

	if (user[0] != '\0' && identity_user(&load->scratch, user, &uid, &gid, NULL, reason) < 0) {
		known = false;
		if (user_line)
			load_refuse_value(load, user_line, where, "user", user, reason);
	}
	if (group[0] != '\0' && identity_group(group, &gid, reason) < 0) {
		known = false;
		if (group_line)
			load_refuse_value(load, group_line, where, "group", group, reason);
	}
	return known;
}

static void check_global_identity(struct load *load)
{
	const struct config *config = load->config;

	if (config->user && config->group)
		check_names(
			load, "", config->user, global_line(load, "user"), config->group, global_line(load, "group"));
}

static void check_identity(struct load *load, struct pool_config *pool, struct pool_draft *draft)
{
	unsigned int user_line = draft->lines[schema_index(schema_find(KEY_POOL, "user"))];
	unsigned int group_line = draft->lines[schema_index(schema_find(KEY_POOL, "group"))];
	const char *where = draft->outline->where;
	char reason[VALUE_REASON_MAX];

	if (!pool->user || !pool->group || !check_names(load, where, pool->user, user_line, pool->group, group_line))
		return;
	if (identity_resolve(load->arena, pool->user, pool->group, &pool->identity, reason) < 0)
		load_refuse_value(
			load, user_line ? user_line : draft->outline->line, where, "user", pool->user, reason);
	else
		draft->identity_known = true;
}

static void check_chroot(struct load *load, const struct pool_config *pool, struct pool_draft *draft)
{
	if (!pool->chroot || (pool->chroot[0] != '\0' && !load_check_directory(load, load_pool_line(draft, "chroot"),
								 draft->outline->where, "chroot", "", pool->chroot)))
		draft->identity_known = false;
}

/* The place of the section of the pool's handler; of the pool, where there is none. */
static unsigned int section_line(
	const struct load *load, const struct pool_config *pool, const struct pool_draft *draft)
{
	for (size_t i = 0; load->handlers[i]; i++)
		if (load->handlers[i] == pool->handler && draft->outline->section_lines[i] != 0)
			return draft->outline->section_lines[i];
	return draft->outline->line;
}

/* The handler's own rules, where every option by itself is sound. */
static void check_options(struct load *load, const struct pool_config *pool, const struct pool_draft *draft)
{
	const struct brood_module *handler = pool->handler;
	char reason[VALUE_REASON_MAX];

	if (!handler || pool->kind != HANDLER_SERVES || !handler->check || !pool->values || !draft->options_sound)
		return;
	if (handler->check(pool->values, reason, sizeof(reason)) < 0)
		diagnostics_add(&load->diagnostics, section_line(load, pool, draft), draft->outline->where, "%s: %s",
			handler->name, reason);
}

/* ---- requests that take too long ---- */

/* What comes before SIGKILL, which is the last in any case. Returns whether NAME, at INDEX of the list, is one. */
static bool read_overrun_signal(
	struct load *load, struct pool_config *pool, const struct pool_draft *draft, size_t index)
{
	static const struct value_rule rule = { .kind = VALUE_SIGNAL, .max = INT64_MAX };
	const char *name = pool->overrun_signals[index];
	const unsigned int *lines = load_list_lines(draft, "overrun_signals");
	unsigned int line = lines ? lines[index] : 0;
	char reason[VALUE_REASON_MAX];
	int64_t number;

	if (strcmp(name, "KILL") == 0 || strcmp(name, "SIGKILL") == 0) {
		if (index + 1 == pool->overrun_signals_count)
			return true;
		diagnostics_add(&load->diagnostics, line, draft->outline->where,
			"overrun_signals: nothing can come after %s", name);
		return false;
	}
	if (value_parse(&rule, name, &number, reason) < 0) {
		append_text(reason, sizeof(reason), ", KILL");
		load_refuse_value(load, line, draft->outline->where, "overrun_signals", name, reason);
		return false;
	}
	if (pool->overrun_number_count == OVERRUN_SIGNALS_MAX) {
		diagnostics_add(&load->diagnostics, line, draft->outline->where,
			"overrun_signals has more than %d signals before KILL", OVERRUN_SIGNALS_MAX);
		return false;
	}
	pool->overrun_numbers[pool->overrun_number_count++] = (uint8_t)number;
	return true;
}

static void check_overrun(struct load *load, struct pool_config *pool, const struct pool_draft *draft)
{
	bool known = true;

	for (size_t i = 0; i < pool->overrun_signals_count && known; i++)
		known = read_overrun_signal(load, pool, draft, i);
}

void load_check(struct load *load)
{
	struct config *config = load->config;

	check_pidfile(load);
	check_control(load);
	check_log_target(load);
	check_global_identity(load);
	if (config->pool_count == 0 && !load->outline.damaged)
		diagnostics_add(&load->diagnostics, 0, config->file,
			"there is no pool; at least one pool \"NAME\" { ... } is needed");
	for (size_t i = 0; i < config->pool_count; i++) {
		check_backoff(load, &config->pools[i], &load->drafts[i]);
		check_identity(load, &config->pools[i], &load->drafts[i]);
		check_chroot(load, &config->pools[i], &load->drafts[i]);
		check_socket_owner(load, &config->pools[i], &load->drafts[i]);
		load_check_program(load, &config->pools[i], &load->drafts[i]);
		load_check_module(load, &config->pools[i], &load->drafts[i]);
		check_options(load, &config->pools[i], &load->drafts[i]);
		check_overrun(load, &config->pools[i], &load->drafts[i]);
	}
	check_listeners(load);
	size_check(load);
}
