/* SPDX-License-Identifier: MIT */
#include "worker/variables.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/digits.h"
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

/* Whether ASSIGNMENT sets NAME. */
static bool sets(const char *assignment, const char *name)
{
	size_t size = strlen(name);

	return strncmp(assignment, name, size) == 0 && assignment[size] == '=';
}

static void add(struct variables *variables, char *assignment)
{
	struct exec_env *env = &variables->env;

	env->list[env->count++] = assignment;
	env->list[env->count] = NULL;
}

/* What the configuration sets. */
static void add_configured(struct variables *variables, char *assignment)
{
	add(variables, assignment);
	for (int i = 0; i < VARIABLES; i++)
		variables->configured[i] |= sets(assignment, names[i]);
}

int variables_init(struct variables *variables, char *const *environment, size_t count)
{
	struct exec_env *env = &variables->env;
	bool own_path = false;

	*env = (struct exec_env){ .list = variables->local, .capacity = 1 + count + VARIABLES + 1 };
	if (env->capacity > VARIABLES_LOCAL)
		env->list = calloc(env->capacity, sizeof(*env->list));
	if (env->list == NULL)
		return -ENOMEM;
	for (int i = 0; i < VARIABLES; i++)
		variables->configured[i] = false;
	for (size_t i = 0; i < count; i++)
		own_path |= sets(environment[i], "PATH");
	if (!own_path)
		add(variables, exec_path());
	for (size_t i = 0; i < count; i++)
		add_configured(variables, environment[i]);
	variables->base = env->count;
	return 0;
}

void variables_done(struct variables *variables)
{
	if (variables->env.list != variables->local)
		free(variables->env.list);
	variables->env = (struct exec_env){ 0 };
}

static void begin(struct variables *variables)
{
	variables->env.count = variables->base;
	variables->env.list[variables->base] = NULL;
}

static void set(struct variables *variables, enum variable variable, const char *value)
{
	char *text = variables->text[variable];
	char *end = text + VARIABLE_MAX - 1;

	if (variables->configured[variable])
		return;
	text = stpcpy(text, names[variable]);
	*text++ = '=';
	while (*value != '\0' && text < end)
		*text++ = *value++;
	*text = '\0';
	add(variables, variables->text[variable]);
}

static void set_number(struct variables *variables, enum variable variable, uint32_t number)
{
	char text[DIGITS_MAX + 1];

	*digits_put(text, number, 10) = '\0';
	set(variables, variable, text);
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
