/* SPDX-License-Identifier: MIT */
/* The rules of the keys of a program: what a worker of an inetd or program pool becomes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "config/load.h"
#include "config/root.h"

/* Whether something of the pool was left out, so that what is not given may have been. */
static bool damaged(const struct load *load, const struct pool_draft *draft)
{
	return load->outline.damaged || draft->outline->damaged;
}

/* ---- the environment ---- */

/* More than anybody needs, and few enough to look at each pair of them. */
enum { VARIABLES_MAX = 1000 };

/* How long the NAME of NAME=value is; 0: it is none. */
static size_t name_size(const char *assignment)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";
	size_t size = strspn(assignment, letters);

	return assignment[size] == '=' && !(assignment[0] >= '0' && assignment[0] <= '9') ? size : 0;
}

/* Where NAME, of SIZE bytes, is given before the assignment INDEX; INDEX: nowhere. */
static size_t find_before(const struct program_config *program, size_t index, size_t size)
{
	const char *name = program->environment[index];
	size_t i = 0;

	while (i < index &&
		(name_size(program->environment[i]) != size || memcmp(program->environment[i], name, size) != 0))
		i++;
	return i;
}

static void check_environment(struct load *load, const struct pool_config *pool, const struct pool_draft *draft)
{
	const struct program_config *program = &pool->program;
	const unsigned int *lines = load_list_lines(draft, "environment");
	const char *where = draft->outline->where;

	if (program->environment_count > VARIABLES_MAX) {
		diagnostics_add(&load->diagnostics, lines[VARIABLES_MAX], where,
			"environment has more than %d variables", VARIABLES_MAX);
		return;
	}
	for (size_t i = 0; i < program->environment_count; i++) {
		const char *assignment = program->environment[i];
		size_t size = name_size(assignment), before;
		struct line_run place;

		if (size == 0) {
			diagnostics_add(&load->diagnostics, lines[i], where,
				"environment: \"%.100s\" is not NAME=value with a NAME of letters, digits and _",
				assignment);
			continue;
		}
		before = find_before(program, i, size);
		if (before == i)
			continue;
		place = diagnostics_locate(&load->diagnostics, lines[before]);
		diagnostics_add(&load->diagnostics, lines[i], where, "environment: %.*s is given twice, first in %s:%u",
			(int)size, assignment, place.file, place.file_line);
	}
}

/* ---- the command ---- */

/* The PATH that the program will have. */
static const char *program_search_path(const struct program_config *program)
{
	const char *path = getenv("PATH");

	for (size_t i = 0; i < program->environment_count; i++) {
		if (strncmp(program->environment[i], "PATH=", 5) == 0)
			return program->environment[i] + 5;
	}
	return path && path[0] != '\0' ? path : PROGRAM_PATH_USUAL;
}

/* The first executable file NAME in the directories of PATH; NULL: there is none. */
static char *search(struct load *load, const char *root, const char *path, const char *name)
{
	for (const char *end;; path = end + 1) {
		struct stat status;
		char *candidate;

		end = strchrnul(path, ':');
		/* What is not absolute would depend on where brood is started. */
		candidate = path[0] == '/' ? arena_format(load->arena, "%.*s/%s", (int)(end - path), path, name) : NULL;
		if (candidate && root_stat(root, candidate, &status) == 0 && S_ISREG(status.st_mode) &&
			(status.st_mode & 0111) != 0)
			return candidate;
		if (*end == '\0')
			return NULL;
	}
}

/*
 * Whether the name of a program that is not there is a line for a shell, with its arguments, as other servers take it;
 * then that is said.
 */
static bool refuse_line(
	struct load *load, const struct pool_config *pool, const struct pool_draft *draft, unsigned int line)
{
	const char *program = pool->program.command[0];
	size_t size = strcspn(program, " \t");
	struct stat status;

	if (size == 0 || program[size] == '\0' ||
		(program[0] == '/' && root_stat(pool->chroot, program, &status) != -ENOENT))
		return false;
	diagnostics_add(&load->diagnostics, line, draft->outline->where,
		"command = \"%.100s\" is no program; its arguments are values of their own: { \"%.*s\", \"argument\" }",
		program, size > 100 ? 100 : (int)size, program);
	return true;
}

/* Finds the program. Returns whether there may be one: what can be executed is for others to say. */
static bool resolve_command(struct load *load, struct pool_config *pool, const struct pool_draft *draft)
{
	struct program_config *program = &pool->program;
	unsigned int line = load_pool_line(draft, "command");
	const char *where = draft->outline->where, *path;

	if (program->command_count == 0)
		return false;
	if (program->command[0][0] == '\0') {
		diagnostics_add(&load->diagnostics, line, where, "command: the program's name is empty");
		return false;
	}
	if (program->command[0][0] == '/' && refuse_line(load, pool, draft, line))
		return false;
	if (strchr(program->command[0], '/')) {
		program->path = program->command[0];
		return true;
	}
	path = program_search_path(program);
	program->path = search(load, pool->chroot, path, program->command[0]);
	if (!program->path && !refuse_line(load, pool, draft, line))
		diagnostics_add(&load->diagnostics, line, where,
			"command = \"%.100s\" is in no directory of PATH (%.200s)%s%s", program->command[0], path,
			pool->chroot[0] ? " in " : "", pool->chroot);
	return program->path != NULL;
}

/* ---- what goes with what ---- */

/* A server's connections are its own, so that its standard error can be none of them. */
static void check_stderr(struct load *load, const struct pool_config *pool, const struct pool_draft *draft)
{
	if (pool->kind == HANDLER_ACCEPTS && pool->program.stderr_target == STDERR_CONNECTION)
		diagnostics_add(&load->diagnostics, load_pool_line(draft, "stderr"), draft->outline->where,
			"stderr = connection does not go with handler = %s, which accepts its connections itself; "
			"accepted are log, null",
			pool->handler_name);
}

/* A server that has to live for longer than it may take to become ready would never be. */
static void check_ready_after(struct load *load, const struct pool_config *pool, const struct pool_draft *draft)
{
	const struct key *after = schema_find(KEY_POOL, "ready_after"), *start = schema_find(KEY_POOL, "start_timeout");
	unsigned int after_line = draft->lines[schema_index(after)], start_line = draft->lines[schema_index(start)];
	char after_text[VALUE_TEXT_MAX], start_text[VALUE_TEXT_MAX];

	/* 0: a value that was refused. */
	if (pool->kind != HANDLER_ACCEPTS || pool->program.ready != READY_ALIVE || pool->start_timeout_ms == 0 ||
		pool->program.ready_after_ms <= pool->start_timeout_ms)
		return;
	if (draft->outline->damaged && (after_line == 0 || start_line == 0))
		return;
	diagnostics_add(&load->diagnostics, after_line > start_line ? after_line : start_line, draft->outline->where,
		"ready_after = %s is longer than start_timeout = %s",
		value_format(&after->rule, (int64_t)pool->program.ready_after_ms, after_text),
		value_format(&start->rule, (int64_t)pool->start_timeout_ms, start_text));
}

/* The socket for acknowledgements is the daemon's, which all its pools share. */
static void check_ack(struct load *load, const struct pool_config *pool, const struct pool_draft *draft)
{
	if (pool->kind != HANDLER_ACCEPTS || pool->program.ready != READY_ACK || !pool->chroot ||
		pool->chroot[strspn(pool->chroot, "/")] == '\0')
		return;
	diagnostics_add(&load->diagnostics, load_pool_line(draft, "ready"), draft->outline->where,
		"ready = ack does not go with chroot: its socket is outside; accepted are alive, notify");
}

/* ---- all of it ---- */

void load_check_program(struct load *load, struct pool_config *pool, const struct pool_draft *draft)
{
	size_t errors = load->diagnostics.error_count;
	char reason[LOAD_REASON_MAX] = "";
	struct stat root;

	if (!handler_kind_runs_programs(pool->kind))
		return;
	check_environment(load, pool, draft);
	check_stderr(load, pool, draft);
	check_ready_after(load, pool, draft);
	check_ack(load, pool, draft);
	if (pool->program.directory && pool->chroot && root_stat("", pool->chroot[0] ? pool->chroot : "/", &root) == 0)
		load_check_directory(load, load_pool_line(draft, "directory"), draft->outline->where, "directory",
			pool->chroot, pool->program.directory);
	if (!pool->chroot || damaged(load, draft) || !resolve_command(load, pool, draft))
		return;
	if (load->probe.program && draft->identity_known && errors == load->diagnostics.error_count &&
		load->probe.program(pool, reason, sizeof(reason)) < 0)
		load_refuse_value(load, load_pool_line(draft, "command"), draft->outline->where, "command",
			pool->program.path, reason);
}
