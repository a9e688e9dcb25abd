/* SPDX-License-Identifier: MIT */
/*
 * The listeners of all pools. Binding and listening are separate steps: nothing is offered to clients before every
 * address of every pool is ours.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/attrs.h"
#include "base/exit_status.h"
#include "base/log.h"
#include "master/master_private.h"

/* The most socket addresses that one `listen` entry may stand for. */
#define BIND_ADDRESSES_MAX 32

/* How often the kernel may choose a port that another address of the entry does not have free. */
#define BIND_CHOICES_MAX 16

static int bind_failed(const struct pool *pool, const char *spec, const char *step, const char *reason)
{
	log_event(LOG_LEVEL_ERROR, "cannot listen", LOG_TEXT("pool", pool->config->name), LOG_TEXT("address", spec),
		LOG_TEXT("step", step), LOG_TEXT("reason", reason));
	return EXIT_STATUS_UNAVAILABLE;
}

/* Room for one more listener, closed. NULL if there is no memory. */
static struct listener *pool_add_listener(struct pool *pool)
{
	struct listener *listeners = realloc(pool->listeners, (pool->listener_count + 1) * sizeof(*listeners));

	if (listeners == NULL)
		return NULL;
	pool->listeners = listeners;
	listeners[pool->listener_count] = LISTENER_NONE;
	return &listeners[pool->listener_count++];
}

/* Takes over a socket of the service manager's. Returns 0 or a negative errno. */
static int bind_adopt(struct pool *pool, struct inherited_socket *socket, const char *spec)
{
	struct listener *listener = pool_add_listener(pool);
	int result = listener == NULL ? -ENOMEM : 0;

	if (result == 0)
		result = listener_adopt(listener, socket->fd, LISTENER_SYSTEMD, spec, &pool->config->listener);
	if (result == 0)
		socket->fd = -1;
	return result;
}

static int bind_systemd(const struct master *master, struct pool *pool, const char *spec, const char *name)
{
	struct inherited_socket *socket = inherited_by_name(master->options->inherited, name);
	int result = 0;

	if (socket == NULL)
		return bind_failed(
			pool, spec, "find", "the service manager has handed over no listening socket of that name");
	for (; socket != NULL && result == 0; socket = inherited_by_name(master->options->inherited, name))
		result = bind_adopt(pool, socket, spec);
	return result < 0 ? bind_failed(pool, spec, "take over", log_strerror(result)) : EXIT_STATUS_OK;
}

/* Whether a socket of the service manager's that the pool has already serves the address: a dual-stack one, of one
 * entry that stands for both families. */
static bool pool_serves(const struct pool *pool, const struct socket_address *address)
{
	for (size_t i = 0; i < pool->listener_count; i++)
		if (pool->listeners[i].origin == LISTENER_SYSTEMD && listener_serves(&pool->listeners[i], address))
			return true;
	return false;
}

/* What went wrong at which address. */
struct bind_failure {
	const char *step;
	char address[ADDRESS_TEXT_MAX];
};

static int bind_address(const struct master *master, struct pool *pool, const char *spec,
	const struct socket_address *address, struct bind_failure *ret_failure)
{
	struct inherited_socket *inherited = inherited_by_address(master->options->inherited, address);
	const char *step = "take over";
	int result = 0;

	if (inherited != NULL) {
		result = bind_adopt(pool, inherited, spec);
	} else if (!pool_serves(pool, address)) {
		struct listener *listener = pool_add_listener(pool);

		step = "allocate";
		result = listener == NULL ? -ENOMEM
					  : listener_bind(listener, spec, address, &pool->config->listener, &step);
	}
	if (result < 0) {
		ret_failure->step = step;
		address_format((const struct sockaddr *)&address->storage, address->size, false, ret_failure->address,
			sizeof(ret_failure->address));
	}
	return result;
}

static void pool_drop_listeners(struct pool *pool, size_t first)
{
	while (pool->listener_count > first)
		listener_close(&pool->listeners[--pool->listener_count]);
}

/*
 * One entry with several addresses and port 0 gets one port for all of them, as whoever wrote one entry expects one:
 * the first address chooses, the others follow. *RET_CHOSEN: that was so.
 */
static int bind_addresses(const struct master *master, struct pool *pool, const char *spec,
	const struct socket_address *addresses, size_t count, struct bind_failure *ret_failure, bool *ret_chosen)
{
	size_t first = pool->listener_count;
	int result = 0;

	*ret_chosen = false;
	for (size_t i = 0; i < count && result == 0; i++) {
		struct socket_address address = addresses[i];

		if (pool->listener_count > first && address_port(&address) == 0 &&
			address.storage.ss_family != AF_UNIX) {
			address_set_port(&address, address_port(&pool->listeners[first].address));
			*ret_chosen = true;
		}
		result = bind_address(master, pool, spec, &address, ret_failure);
	}
	return result;
}

/* The port that the kernel chose for one address may be taken at another: then it chooses again. */
static int bind_resolved(const struct master *master, struct pool *pool, const char *spec,
	const struct socket_address *addresses, size_t count)
{
	struct bind_failure failure = { 0 };
	size_t first = pool->listener_count;
	bool chosen = false;
	int result = -EADDRINUSE;

	for (int i = 0; i < BIND_CHOICES_MAX && result == -EADDRINUSE; i++) {
		pool_drop_listeners(pool, first);
		result = bind_addresses(master, pool, spec, addresses, count, &failure, &chosen);
		if (!chosen)
			break;
	}
	return result < 0 ? bind_failed(pool, failure.address, failure.step, log_strerror(result)) : EXIT_STATUS_OK;
}

static int bind_entry(const struct master *master, struct pool *pool, const char *text)
{
	struct socket_address addresses[BIND_ADDRESSES_MAX];
	struct address_spec spec;
	const char *reason = NULL;
	size_t count = 0;
	int result = address_parse(text, &spec, &reason);

	if (result == 0 && spec.kind == ADDRESS_SYSTEMD)
		return bind_systemd(master, pool, text, spec.host);
	if (result == 0)
		result = address_resolve(&spec, addresses, ARRAY_SIZE(addresses), &count, &reason);
	if (result < 0)
		return bind_failed(pool, text, "resolve", reason);
	return bind_resolved(master, pool, text, addresses, count);
}

static void warn_of_backlog(const struct pool *pool)
{
	int somaxconn = listener_somaxconn();

	if (somaxconn < 0 || pool->config->listener.backlog <= somaxconn)
		return;
	log_event(LOG_LEVEL_WARNING, "the kernel cuts the backlog to net.core.somaxconn",
		LOG_TEXT("pool", pool->config->name), LOG_INT("backlog", pool->config->listener.backlog),
		LOG_INT("somaxconn", somaxconn));
}

/*
 * What a program is told of a listener: the address as it stands in the configuration, without the "unix:" that is ours
 * (SERVER_STARTER_PORT); and a name (LISTEN_FDNAMES). One of the service manager's stands in the configuration by its
 * name only, so its address is what it is bound to, and the name is the manager's; ours have the pool's name.
 */
static int note_listener(struct pool *pool, size_t i)
{
	static const char unix_prefix[] = "unix:", systemd_prefix[] = "systemd:";
	const struct listener *listener = &pool->listeners[i];
	const char *key = listener->spec, *name = pool->config->name;
	char address[ADDRESS_TEXT_MAX];

	if (strncmp(listener->spec, systemd_prefix, strlen(systemd_prefix)) == 0) {
		key = listener_text(listener, address, sizeof(address));
		name = listener->spec + strlen(systemd_prefix);
	}
	if (strncmp(key, unix_prefix, strlen(unix_prefix)) == 0)
		key += strlen(unix_prefix);
	pool->listener_keys[i] = strdup(key);
	pool->listener_names[i] = strdup(name);
	return pool->listener_keys[i] == NULL || pool->listener_names[i] == NULL ? -ENOMEM : 0;
}

/* The lists that workers are given. */
static int note_listeners(struct pool *pool)
{
	int result = 0;

	pool->descriptors = calloc(pool->listener_count, sizeof(*pool->descriptors));
	pool->listener_keys = calloc(pool->listener_count, sizeof(*pool->listener_keys));
	pool->listener_names = calloc(pool->listener_count, sizeof(*pool->listener_names));
	if (pool->descriptors == NULL || pool->listener_keys == NULL || pool->listener_names == NULL)
		result = -ENOMEM;
	for (size_t i = 0; i < pool->listener_count && result == 0; i++) {
		pool->descriptors[i] = pool->listeners[i].fd;
		result = note_listener(pool, i);
	}
	return result < 0 ? bind_failed(pool, "all", "allocate", log_strerror(result)) : EXIT_STATUS_OK;
}

static void forget_listeners(struct pool *pool)
{
	for (size_t i = 0; i < pool->listener_count; i++) {
		if (pool->listener_keys != NULL)
			free(pool->listener_keys[i]);
		if (pool->listener_names != NULL)
			free(pool->listener_names[i]);
	}
	free(pool->listener_keys);
	free(pool->listener_names);
	free(pool->descriptors);
	pool->listener_keys = NULL;
	pool->listener_names = NULL;
	pool->descriptors = NULL;
}

static int listen_pool(struct pool *pool)
{
	for (size_t i = 0; i < pool->listener_count; i++) {
		int result = listener_listen(&pool->listeners[i]);
		char text[ADDRESS_TEXT_MAX];

		if (result < 0)
			return bind_failed(pool, listener_text(&pool->listeners[i], text, sizeof(text)), "listen",
				log_strerror(result));
	}
	warn_of_backlog(pool);
	return note_listeners(pool);
}

static void warn_of_unused(const struct inherited *inherited)
{
	for (size_t i = 0; i < inherited->count; i++) {
		const struct inherited_socket *socket = &inherited->sockets[i];
		char text[ADDRESS_TEXT_MAX];

		if (socket->fd < 0)
			continue;
		address_format((const struct sockaddr *)&socket->address.storage, socket->address.size, false, text,
			sizeof(text));
		log_event(LOG_LEVEL_WARNING, "a socket of the service manager's is not used, and closed",
			LOG_TEXT("name", socket->name), LOG_TEXT("address", text));
	}
}

int bind_all(struct master *master)
{
	int status = EXIT_STATUS_OK;

	for (size_t i = 0; i < master->pool_count && status == EXIT_STATUS_OK; i++) {
		struct pool *pool = &master->pools[i];

		for (char **entry = pool->config->listen; *entry != NULL && status == EXIT_STATUS_OK; entry++)
			status = bind_entry(master, pool, *entry);
	}
	for (size_t i = 0; i < master->pool_count && status == EXIT_STATUS_OK; i++)
		status = listen_pool(&master->pools[i]);
	if (status == EXIT_STATUS_OK)
		warn_of_unused(master->options->inherited);
	inherited_done(master->options->inherited);
	return status;
}

void bind_refuse_all(struct master *master)
{
	for (size_t i = 0; i < master->pool_count; i++) {
		struct pool *pool = &master->pools[i];

		for (size_t k = 0; k < pool->listener_count; k++) {
			int result = listener_refuse(&pool->listeners[k]);
			char text[ADDRESS_TEXT_MAX];

			if (result < 0)
				log_event(LOG_LEVEL_WARNING, "cannot refuse new clients",
					LOG_TEXT("pool", pool->config->name),
					LOG_TEXT("address", listener_text(&pool->listeners[k], text, sizeof(text))),
					LOG_ERRNO("reason", result));
		}
	}
}

/* Whether the kernel may answer when it is asked again. */
static bool is_shortage(int error)
{
	return error == -EMFILE || error == -ENFILE || error == -ENOBUFS || error == -ENOMEM;
}

static bool listener_drained(const struct listener *listener)
{
	uint32_t queued = 0, handshakes = 0;
	int result;

	/* The queue of a socket unit stays with systemd, for whoever comes next; one that cannot be refused never
	 * empties. */
	if (listener->origin == LISTENER_SYSTEMD || !listener->refused)
		return true;
	result = listener_pending(listener, &queued, &handshakes);
	return result < 0 ? !is_shortage(result) : queued == 0 && handshakes == 0;
}

bool bind_all_drained(const struct master *master)
{
	for (size_t i = 0; i < master->pool_count; i++) {
		const struct pool *pool = &master->pools[i];

		for (size_t k = 0; k < pool->listener_count; k++)
			if (!listener_drained(&pool->listeners[k]))
				return false;
	}
	return true;
}

void bind_close_all(struct master *master)
{
	for (size_t i = 0; i < master->pool_count; i++) {
		struct pool *pool = &master->pools[i];

		for (size_t k = 0; k < pool->listener_count; k++)
			listener_close(&pool->listeners[k]);
		forget_listeners(pool);
		free(pool->listeners);
		pool->listeners = NULL;
		pool->listener_count = 0;
	}
}
