/* SPDX-License-Identifier: MIT */
/*
 * The listeners of all pools. Binding and listening are separate steps: nothing is offered to clients before every
 * address of every pool is ours.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/attrs.h"
#include "base/exit_status.h"
#include "base/log.h"
#include "master/master_private.h"

/* The most socket addresses that one `listen` entry may stand for. */
#define BIND_ADDRESSES_MAX 32

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

/* Takes over a socket of the service manager's. */
static int bind_adopt(struct pool *pool, struct inherited_socket *socket, const char *spec)
{
	struct listener *listener = pool_add_listener(pool);
	int result = listener == NULL ? -ENOMEM : 0;

	if (result == 0)
		result = listener_adopt(listener, socket->fd, LISTENER_SYSTEMD, spec, &pool->config->listener);
	if (result < 0)
		return bind_failed(pool, spec, "take over", log_strerror(result));
	socket->fd = -1;
	return EXIT_STATUS_OK;
}

static int bind_systemd(const struct master *master, struct pool *pool, const char *spec, const char *name)
{
	struct inherited_socket *socket = inherited_by_name(master->options->inherited, name);
	int status = EXIT_STATUS_OK;

	if (socket == NULL)
		return bind_failed(
			pool, spec, "find", "the service manager has handed over no listening socket of that name");
	for (; socket != NULL && status == EXIT_STATUS_OK; socket = inherited_by_name(master->options->inherited, name))
		status = bind_adopt(pool, socket, spec);
	return status;
}

/*
 * One entry with several addresses and port 0 gets one port for all of them: the first address chooses, the others
 * follow, as whoever wrote one entry expects one port.
 */
static void use_port_of(const struct listener *first, struct socket_address *address)
{
	if (first != NULL && address_port(address) == 0)
		address_set_port(address, address_port(&first->address));
}

/* Whether a socket of the service manager's that the pool has already serves the address: a dual-stack one, of one entry
 * that stands for both families. */
static bool pool_serves(const struct pool *pool, const struct socket_address *address)
{
	for (size_t i = 0; i < pool->listener_count; i++)
		if (pool->listeners[i].origin == LISTENER_SYSTEMD && listener_serves(&pool->listeners[i], address))
			return true;
	return false;
}

static int bind_address(
	const struct master *master, struct pool *pool, const char *spec, const struct socket_address *address)
{
	struct inherited_socket *inherited = inherited_by_address(master->options->inherited, address);
	struct listener *listener;
	const char *step = "allocate";
	int result = -ENOMEM;

	if (inherited != NULL)
		return bind_adopt(pool, inherited, spec);
	if (pool_serves(pool, address))
		return EXIT_STATUS_OK;
	listener = pool_add_listener(pool);
	if (listener != NULL)
		result = listener_bind(listener, spec, address, &pool->config->listener, &step);
	if (result < 0) {
		char text[ADDRESS_TEXT_MAX];

		address_format((const struct sockaddr *)&address->storage, address->size, false, text, sizeof(text));
		return bind_failed(pool, text, step, log_strerror(result));
	}
	return EXIT_STATUS_OK;
}

static int bind_entry(const struct master *master, struct pool *pool, const char *text)
{
	struct socket_address addresses[BIND_ADDRESSES_MAX];
	struct address_spec spec;
	const char *reason = NULL;
	size_t first = pool->listener_count;
	size_t count = 0;
	int result = address_parse(text, &spec, &reason);
	int status = EXIT_STATUS_OK;

	if (result == 0 && spec.kind == ADDRESS_SYSTEMD)
		return bind_systemd(master, pool, text, spec.host);
	if (result == 0)
		result = address_resolve(&spec, addresses, ARRAY_SIZE(addresses), &count, &reason);
	if (result < 0)
		return bind_failed(pool, text, "resolve", reason);
	for (size_t i = 0; i < count && status == EXIT_STATUS_OK; i++) {
		use_port_of(i > 0 ? &pool->listeners[first] : NULL, &addresses[i]);
		status = bind_address(master, pool, text, &addresses[i]);
	}
	return status;
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

/* The list that workers are given. */
static int note_descriptors(struct pool *pool)
{
	pool->descriptors = calloc(pool->listener_count, sizeof(*pool->descriptors));
	if (pool->descriptors == NULL)
		return bind_failed(pool, "all", "allocate", log_strerror(ENOMEM));
	for (size_t i = 0; i < pool->listener_count; i++)
		pool->descriptors[i] = pool->listeners[i].fd;
	return EXIT_STATUS_OK;
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
	return note_descriptors(pool);
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

static bool listener_drained(const struct listener *listener)
{
	uint32_t queued = 0, handshakes = 0;

	/* The queue of a socket unit stays with systemd, for whoever comes next; one that cannot be refused never
	 * empties. */
	if (listener->origin == LISTENER_SYSTEMD || !listener->refused)
		return true;
	return listener_pending(listener, &queued, &handshakes) < 0 || (queued == 0 && handshakes == 0);
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
		free(pool->listeners);
		free(pool->descriptors);
		pool->listeners = NULL;
		pool->descriptors = NULL;
		pool->listener_count = 0;
	}
}
