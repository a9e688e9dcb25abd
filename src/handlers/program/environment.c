/* SPDX-License-Identifier: MIT */
#include "handlers/program/environment.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

/* A list that is joined by one character. */
struct joined {
	FILE *out;
	char *text;
	size_t size;
};

static FILE *joined_open(struct joined *joined)
{
	*joined = (struct joined){ 0 };
	joined->out = open_memstream(&joined->text, &joined->size);
	return joined->out;
}

static void joined_set(struct joined *joined, struct exec_env *env, const char *name)
{
	if (joined->out == NULL || fclose(joined->out) != 0)
		env->failed = true;
	else
		exec_env_set(env, name, "%s", joined->text);
	free(joined->text);
}

static const char *separator(size_t i, const char *text)
{
	return i > 0 ? text : "";
}

/* ---- systemd: sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3) ---- */

static void set_systemd(const struct brood_host *host, pid_t pid, struct exec_env *env)
{
	uint64_t watchdog_ms = host->pool->program.watchdog_timeout_ms;
	struct joined names;

	exec_env_set(env, "LISTEN_PID", "%d", pid);
	exec_env_set(env, "LISTEN_FDS", "%zu", host->listener_count);
	if (joined_open(&names) != NULL)
		for (size_t i = 0; i < host->listener_count; i++)
			fprintf(names.out, "%s%s", separator(i, ":"), host->listener_names[i]);
	joined_set(&names, env, "LISTEN_FDNAMES");
	if (host->notify_path != NULL)
		exec_env_set(env, "NOTIFY_SOCKET", "%s", host->notify_path);
	if (watchdog_ms != 0) {
		exec_env_set(env, "WATCHDOG_USEC", "%llu", (unsigned long long)watchdog_ms * 1000);
		exec_env_set(env, "WATCHDOG_PID", "%d", pid);
	}
}

/* ---- Server::Starter ---- */

static void set_starter(const struct brood_host *host, struct exec_env *env)
{
	struct joined ports;

	if (joined_open(&ports) != NULL)
		for (size_t i = 0; i < host->listener_count; i++)
			fprintf(ports.out, "%s%s=%zu", separator(i, ";"), host->listener_keys[i],
				(size_t)PROGRAM_STARTER_FD(host->listener_count) + i);
	joined_set(&ports, env, "SERVER_STARTER_PORT");
	exec_env_set(env, "SERVER_STARTER_GENERATION", "%llu", (unsigned long long)host->spawn_count);
}

/* ---- Einhorn ---- */

static const char *family_name(int listener)
{
	int family = AF_UNSPEC;
	socklen_t size = sizeof(family);

	getsockopt(listener, SOL_SOCKET, SO_DOMAIN, &family, &size);
	switch (family) {
	case AF_INET6:
		return "AF_INET6";
	case AF_UNIX:
		return "AF_UNIX";
	default:
		return "AF_INET";
	}
}

static void set_einhorn(const struct brood_host *host, struct exec_env *env)
{
	size_t first = (size_t)PROGRAM_EINHORN_FD(host->listener_count);
	struct joined all;
	char name[48];

	exec_env_set(env, "EINHORN_MASTER_PID", "%d", host->master_pid);
	exec_env_set(env, "EINHORN_CHILD_INDEX", "%u", host->number);
	exec_env_set(env, "EINHORN_FD_COUNT", "%zu", host->listener_count);
	for (size_t i = 0; i < host->listener_count; i++) {
		snprintf(name, sizeof(name), "EINHORN_FD_%zu", i);
		exec_env_set(env, name, "%zu", first + i);
		snprintf(name, sizeof(name), "EINHORN_FD_FAMILY_%zu", i);
		exec_env_set(env, name, "%s", family_name(host->listeners[i]));
	}
	if (joined_open(&all) != NULL)
		for (size_t i = 0; i < host->listener_count; i++)
			fprintf(all.out, "%s%zu", separator(i, " "), first + i);
	joined_set(&all, env, "EINHORN_FDS");
	if (host->ack_path != NULL)
		exec_env_set(env, "EINHORN_SOCK_PATH", "%s", host->ack_path);
}

void program_environment(const struct brood_host *host, pid_t pid, struct exec_env *env)
{
	set_systemd(host, pid, env);
	set_starter(host, env);
	set_einhorn(host, env);
	exec_env_set_all(env, host->pool->program.environment);
}
