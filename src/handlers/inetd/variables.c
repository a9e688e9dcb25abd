/* SPDX-License-Identifier: MIT */
#include "handlers/inetd/variables.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "net/address.h"

static const char *const names[] = {
	[VARIABLE_PROTO] = "PROTO",
	[VARIABLE_TCPLOCALIP] = "TCPLOCALIP",
	[VARIABLE_TCPLOCALPORT] = "TCPLOCALPORT",
	[VARIABLE_TCPREMOTEIP] = "TCPREMOTEIP",
	[VARIABLE_TCPREMOTEPORT] = "TCPREMOTEPORT",
	[VARIABLE_TCPCONNNUM] = "TCPCONNNUM",
	[VARIABLE_REMOTE_HOST] = "REMOTE_HOST",
	[VARIABLE_REMOTE_ADDR] = "REMOTE_ADDR",
	[VARIABLE_REMOTE_PORT] = "REMOTE_PORT",
	[VARIABLE_IPCREMOTEEUID] = "IPCREMOTEEUID",
	[VARIABLE_IPCREMOTEEGID] = "IPCREMOTEEGID",
	[VARIABLE_IPCREMOTEPATH] = "IPCREMOTEPATH",
};
static_assert(ARRAY_SIZE(names) == VARIABLES, "a name for each variable");

int variables_init(struct variables *variables, char *const *environment)
{
	struct exec_env *env = &variables->env;

	memset(variables, 0, sizeof(*variables));
	exec_env_init(env);
	exec_env_set_all(env, environment);
	for (int i = 0; i < VARIABLES; i++)
		variables->configured[i] = exec_env_has(env, names[i]);
	variables->base = env->count;
	exec_env_reserve(env, VARIABLES);
	return env->failed ? -ENOMEM : 0;
}

void variables_done(struct variables *variables)
{
	variables->env.count = variables->base;
	exec_env_done(&variables->env);
}

static void begin(struct variables *variables)
{
	variables->env.count = variables->base;
	variables->env.list[variables->base] = NULL;
}

static void set(struct variables *variables, enum variable variable, const char *value)
{
	struct exec_env *env = &variables->env;
	char *text = variables->text[variable];
	char *end = text + VARIABLE_MAX - 1;

	if (variables->configured[variable])
		return;
	text = stpcpy(text, names[variable]);
	*text++ = '=';
	while (*value != '\0' && text < end)
		*text++ = *value++;
	*text = '\0';
	env->list[env->count++] = variables->text[variable];
	env->list[env->count] = NULL;
}

static void set_number(struct variables *variables, enum variable variable, uint32_t number)
{
	char digits[12];

	snprintf(digits, sizeof(digits), "%u", number);
	set(variables, variable, digits);
}

static uint16_t port_of(const struct sockaddr *address, socklen_t size)
{
	struct socket_address copy = { .size = size };

	memcpy(&copy.storage, address, size);
	return address_port(&copy);
}

void variables_set_tcp(struct variables *variables, const struct sockaddr *local, socklen_t local_size,
	const struct sockaddr *peer, socklen_t peer_size, uint32_t peer_count)
{
	char host[ADDRESS_TEXT_MAX];

	begin(variables);
	set(variables, VARIABLE_PROTO, "TCP");
	address_format_host(local, local_size, host, sizeof(host));
	set(variables, VARIABLE_TCPLOCALIP, host);
	set_number(variables, VARIABLE_TCPLOCALPORT, port_of(local, local_size));
	address_format_host(peer, peer_size, host, sizeof(host));
	set(variables, VARIABLE_TCPREMOTEIP, host);
	set(variables, VARIABLE_REMOTE_HOST, host);
	set(variables, VARIABLE_REMOTE_ADDR, host);
	set_number(variables, VARIABLE_TCPREMOTEPORT, port_of(peer, peer_size));
	set_number(variables, VARIABLE_REMOTE_PORT, port_of(peer, peer_size));
	set_number(variables, VARIABLE_TCPCONNNUM, peer_count);
}

/* The client's own path: "" for a client without one, which is the rule; "@name" in the abstract name space. */
static void unix_path(const struct sockaddr *peer, socklen_t peer_size, char path[VARIABLE_MAX])
{
	const struct sockaddr_un *address = (const struct sockaddr_un *)peer;
	size_t size = peer_size > offsetof(struct sockaddr_un, sun_path)
			      ? peer_size - offsetof(struct sockaddr_un, sun_path)
			      : 0;

	if (size > sizeof(address->sun_path))
		size = sizeof(address->sun_path);
	memcpy(path, address->sun_path, size);
	path[size] = '\0';
	if (size > 1 && path[0] == '\0')
		path[0] = '@';
}

void variables_set_unix(
	struct variables *variables, const struct sockaddr *peer, socklen_t peer_size, const struct ucred *credentials)
{
	char path[VARIABLE_MAX];

	begin(variables);
	unix_path(peer, peer_size, path);
	set(variables, VARIABLE_PROTO, "IPC");
	set_number(variables, VARIABLE_IPCREMOTEEUID, credentials->uid);
	set_number(variables, VARIABLE_IPCREMOTEEGID, credentials->gid);
	set(variables, VARIABLE_IPCREMOTEPATH, path);
	if (path[0] != '\0')
		set(variables, VARIABLE_REMOTE_ADDR, path);
}
