/* SPDX-License-Identifier: MIT */
#include "master/bind.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/attrs.h"
#include "base/clock.h"
#include "base/exit_status.h"
#include "base/fd.h"
#include "base/log.h"
#include "master/master_private.h"

/* The most socket addresses that one `listen` entry may stand for. */
#define BIND_ADDRESSES_MAX 32

/* How often the kernel may choose a port that another address of the entry does not have free. */
#define BIND_CHOICES_MAX 16

/* How what comes from a socket unit is written. */
static const char systemd_prefix[] = "systemd:";

void bind_report(const struct pool_config *config, const struct bind_failure *failure)
{
	log_event(LOG_LEVEL_ERROR, "cannot listen", LOG_TEXT("pool", config->name),
		LOG_TEXT("address", failure->address), LOG_TEXT("step", failure->step),
		LOG_TEXT("reason", failure->reason));
}

/* ---- the table ---- */

/* Room for one more, closed; -ENOMEM. */
static int table_add(struct listener_table *table, struct listener **ret_listener)
{
	struct listener **list = realloc(table->list, (table->count + 1) * sizeof(struct listener *));
	struct listener *listener = malloc(sizeof(*listener));

	if (list != NULL)
		table->list = list;
	if (list == NULL || listener == NULL) {
		free(listener);
		return -ENOMEM;
	}
	*listener = LISTENER_NONE;
	list[table->count++] = listener;
	*ret_listener = listener;
	return 0;
}

int bind_adopt(struct master *master, const char *pool, const struct listener *listener)
{
	struct listener *place;
	int result = table_add(&master->listeners, &place);
	char name[STORE_NAME_MAX];

	if (result < 0)
		return result;
	*place = *listener;
	/* The manager has it since it was opened. */
	if (listener->origin != LISTENER_SYSTEMD) {
		store_listener_name(listener, pool, name);
		store_note(&master->store, name);
		store_keep(&master->store, name, listener->fd);
	}
	return 0;
}

void bind_close(struct master *master, struct listener *listener)
{
	struct listener_table *table = &master->listeners;
	size_t i = 0;
	int result;

	while (table->list[i] != listener)
		i++;
	table->list[i] = table->list[--table->count];
	store_drop(&master->store, listener->fd);
	result = listener_close(listener);
	if (result < 0)
		log_event(LOG_LEVEL_WARNING, "cannot remove the file of a unix socket",
			LOG_TEXT("address", listener->spec), LOG_ERRNO("reason", result));
	free(listener);
}

void bind_close_all(struct master *master)
{
	while (master->listeners.count > 0)
		bind_close(master, master->listeners.list[master->listeners.count - 1]);
	free(master->listeners.list);
	master->listeners.list = NULL;
}

void bind_leave_stored(struct master *master)
{
	for (size_t i = 0; i < master->listeners.count; i++) {
		struct listener *listener = master->listeners.list[i];

		if (listener->origin != LISTENER_STORE)
			continue;
		/* The service manager's, as it was. */
		listener->origin = LISTENER_SYSTEMD;
		listener->path_owner = 0;
		store_leave(&master->store, listener->fd);
	}
}

void bind_drop_unlistened(struct master *master)
{
	for (size_t i = master->listeners.count; i-- > 0;)
		if (!master->listeners.list[i]->listening)
			bind_close(master, master->listeners.list[i]);
}

/* ---- a set ---- */

/* One pool's listeners on their way. */
struct binder {
	struct master *master;
	const struct pool_config *config;
	struct listener_set *set;
	struct bind_failure *failure;
};

static int binder_failed(const struct binder *binder, const char *address, const char *step, const char *reason)
{
	snprintf(binder->failure->address, sizeof(binder->failure->address), "%s", address);
	snprintf(binder->failure->reason, sizeof(binder->failure->reason), "%s", reason);
	binder->failure->step = step;
	return -1;
}

bool listener_set_has(const struct listener_set *set, const struct listener *listener)
{
	for (size_t i = 0; i < set->count; i++)
		if (set->list[i] == listener)
			return true;
	return false;
}

static int set_add(struct listener_set *set, struct listener *listener)
{
	struct listener **list = realloc(set->list, (set->count + 1) * sizeof(struct listener *));

	if (list == NULL)
		return -ENOMEM;
	set->list = list;
	list[set->count++] = listener;
	return 0;
}

void listener_set_done(struct listener_set *set)
{
	for (size_t i = 0; i < set->count; i++) {
		if (set->keys != NULL)
			free(set->keys[i]);
		if (set->names != NULL)
			free(set->names[i]);
	}
	free(set->keys);
	free(set->names);
	free(set->descriptors);
	free(set->list);
	*set = (struct listener_set){ 0 };
}

/* ---- what is open already ---- */

/* One that takes clients, and that nobody has taken for the reload under way. */
static bool is_free(const struct binder *binder, const struct listener *listener)
{
	if (!listener->listening || listener->refused || listener_set_has(binder->set, listener))
		return false;
	FOR_EACH_POOL (binder->master, pool)
		if (listener_set_has(&pool->next.listeners, listener))
			return false;
	return true;
}

static bool lists(const struct pool_config *config, const char *text)
{
	for (char **entry = config->listen; *entry != NULL; entry++)
		if (strcmp(*entry, text) == 0)
			return true;
	return false;
}

/* Whether the pool of the binder may have it, which was made for an entry of this text: it is its own, or that of a
 * pool that does without such an entry from now on. */
static bool is_ours(const struct binder *binder, const struct listener *listener)
{
	FOR_EACH_POOL (binder->master, pool) {
		bool own = strcmp(pool->config->name, binder->config->name) == 0;

		if (!own && listener_set_has(&pool->listeners, listener) && pool->next.config != NULL &&
			lists(pool->next.config, listener->spec))
			return false;
	}
	return true;
}

/* Whether the pool of that name has it now. */
static bool is_own(const struct binder *binder, const struct listener *listener)
{
	FOR_EACH_POOL (binder->master, pool)
		if (strcmp(pool->config->name, binder->config->name) == 0 &&
			listener_set_has(&pool->listeners, listener))
			return true;
	return false;
}

/* The pool's own come first. */
static struct listener *find_entry(const struct binder *binder, const char *text)
{
	const struct listener_table *table = &binder->master->listeners;
	struct listener *found = NULL;

	for (size_t i = 0; i < table->count; i++) {
		if (strcmp(table->list[i]->spec, text) != 0 || !is_free(binder, table->list[i]) ||
			!is_ours(binder, table->list[i]))
			continue;
		if (is_own(binder, table->list[i]))
			return table->list[i];
		if (found == NULL)
			found = table->list[i];
	}
	return found;
}

/* Takes all open ones of one entry of that text: what no address can be asked for again, a port that the kernel chose,
 * and what came from a socket unit. Returns how many, or a negative errno. */
static int share_entry(const struct binder *binder, const char *text)
{
	const struct listener_table *table = &binder->master->listeners;
	const struct listener *first = find_entry(binder, text);
	int count = 0;

	for (size_t i = 0; i < table->count && first != NULL; i++) {
		struct listener *listener = table->list[i];

		if (strcmp(listener->spec, text) != 0 || !is_free(binder, listener) || !is_ours(binder, listener) ||
			(first->origin != LISTENER_SYSTEMD &&
				address_port(&listener->address) != address_port(&first->address)))
			continue;
		if (set_add(binder->set, listener) < 0)
			return -ENOMEM;
		count++;
	}
	return count;
}

/* Whether its path was taken from it: a new one is bound there, and it ends as one that is removed. */
static bool is_lost(const struct binder *binder, const struct listener *listener)
{
	bool lost = listener_is_lost(listener);

	if (lost)
		log_event(LOG_LEVEL_WARNING, "the file of a listener was removed: it is opened anew",
			LOG_TEXT("pool", binder->config->name), LOG_TEXT("address", listener->spec));
	return lost;
}

/* The open one at ADDRESS; one of the service manager's may serve it without being bound to it. */
static struct listener *find_open(const struct binder *binder, const struct socket_address *address)
{
	const struct listener_table *table = &binder->master->listeners;

	for (size_t i = 0; i < table->count; i++) {
		struct listener *listener = table->list[i];

		if (is_free(binder, listener) && listener_serves(listener, address) && !is_lost(binder, listener))
			return listener;
	}
	return NULL;
}

/* ---- new ones ---- */

/* Takes over a socket of the service manager's: its own, or one of ours that it has kept. Returns 0 or a negative
 * errno. */
static int adopt(const struct binder *binder, struct inherited_socket *socket, const char *spec)
{
	enum listener_origin origin = store_is_ours(socket->name) ? LISTENER_STORE : LISTENER_SYSTEMD;
	struct listener *listener;
	int result = table_add(&binder->master->listeners, &listener);

	if (result < 0)
		return result;
	result = listener_adopt(listener, socket->fd, origin, spec, &binder->config->listener);
	if (result == 0)
		result = set_add(binder->set, listener);
	if (result < 0)
		bind_close(binder->master, listener);
	if (result == 0)
		socket->fd = -1;
	return result;
}

static int bind_systemd(const struct binder *binder, const char *spec, const char *name)
{
	struct inherited *inherited = binder->master->options->inherited;
	struct inherited_socket *socket = inherited_by_name(inherited, name);
	int result = share_entry(binder, spec);

	if (result > 0)
		return 0;
	if (result == 0 && socket == NULL)
		return binder_failed(
			binder, spec, "find", "the service manager has handed over no listening socket of that name");
	for (; socket != NULL && result == 0; socket = inherited_by_name(inherited, name))
		result = adopt(binder, socket, spec);
	return result < 0 ? binder_failed(binder, spec, "take over", log_strerror(result)) : 0;
}

/* Whether a socket of the service manager's that the pool has already serves the address: a dual-stack one, of one
 * entry that stands for both families. */
static bool set_serves(const struct listener_set *set, const struct socket_address *address)
{
	for (size_t i = 0; i < set->count; i++)
		if (set->list[i]->origin == LISTENER_SYSTEMD && listener_serves(set->list[i], address))
			return true;
	return false;
}

static int bind_new(
	const struct binder *binder, const char *spec, const struct socket_address *address, const char **ret_step)
{
	struct listener *listener;
	int result = table_add(&binder->master->listeners, &listener);

	*ret_step = "allocate";
	if (result == 0)
		result = set_add(binder->set, listener);
	if (result == 0)
		result = listener_bind(listener, spec, address, &binder->config->listener, ret_step);
	return result;
}

/* Which of the service manager's is for ADDRESS, if any. */
static struct inherited_socket *find_inherited(const struct binder *binder, const struct socket_address *address)
{
	struct inherited *inherited = binder->master->options->inherited;

	if (address->storage.ss_family != AF_UNIX && address_port(address) == 0)
		return store_find_chosen(inherited, binder->config->name, address);
	return inherited_by_address(inherited, address);
}

/* -ESTALE: it was about to end with its last owner, and a new one takes its address. */
static int adopt_at(const struct binder *binder, const char *spec, const struct socket_address *address)
{
	struct inherited_socket *socket = find_inherited(binder, address);
	int result = socket == NULL ? -ENOENT : adopt(binder, socket, spec);

	if (result == -ESTALE) {
		log_event(LOG_LEVEL_WARNING, "a stored listener hears nobody any more, and is opened anew",
			LOG_TEXT("pool", binder->config->name), LOG_TEXT("name", socket->name));
		fd_close(&socket->fd);
	}
	return result == -ESTALE ? -ENOENT : result;
}

static int bind_address(const struct binder *binder, const char *spec, const struct socket_address *address)
{
	struct listener *open = find_open(binder, address);
	char text[ADDRESS_TEXT_MAX];
	const char *step = "take over";
	int result = open != NULL ? set_add(binder->set, open) : adopt_at(binder, spec, address);

	if (result == -ENOENT)
		result = set_serves(binder->set, address) ? 0 : bind_new(binder, spec, address, &step);
	if (result < 0)
		binder_failed(binder,
			address_format(
				(const struct sockaddr *)&address->storage, address->size, false, text, sizeof(text)),
			step, log_strerror(result));
	return result;
}

/* Gives up what was bound for the entry so far. */
static void drop_since(const struct binder *binder, size_t first)
{
	while (binder->set->count > first) {
		struct listener *listener = binder->set->list[--binder->set->count];

		if (!listener->listening)
			bind_close(binder->master, listener);
	}
}

/*
 * One entry with several addresses and port 0 gets one port for all of them, as whoever wrote one entry expects one:
 * the first address chooses, the others follow. *RET_CHOSEN: that was so.
 */
static int bind_addresses(const struct binder *binder, const char *spec, const struct socket_address *addresses,
	size_t count, bool *ret_chosen)
{
	size_t first = binder->set->count;
	int result = 0;

	*ret_chosen = false;
	for (size_t i = 0; i < count && result == 0; i++) {
		struct socket_address address = addresses[i];

		if (binder->set->count > first && address_port(&address) == 0 && address.storage.ss_family != AF_UNIX) {
			address_set_port(&address, address_port(&binder->set->list[first]->address));
			*ret_chosen = true;
		}
		result = bind_address(binder, spec, &address);
	}
	return result;
}

/* The port that the kernel chose for one address may be taken at another: then it chooses again. */
static int bind_resolved(
	const struct binder *binder, const char *spec, const struct socket_address *addresses, size_t count)
{
	size_t first = binder->set->count;
	bool chosen = false;
	int result = -EADDRINUSE;

	for (int i = 0; i < BIND_CHOICES_MAX && result == -EADDRINUSE; i++) {
		drop_since(binder, first);
		result = bind_addresses(binder, spec, addresses, count, &chosen);
		if (!chosen)
			break;
	}
	return result < 0 ? -1 : 0;
}

static int bind_entry(const struct binder *binder, const char *text)
{
	struct socket_address addresses[BIND_ADDRESSES_MAX];
	struct address_spec spec;
	const char *reason = NULL;
	size_t count = 0;
	int result = address_parse(text, &spec, &reason);

	if (result == 0 && spec.kind == ADDRESS_SYSTEMD)
		return bind_systemd(binder, text, spec.host);
	if (result == 0 && spec.kind == ADDRESS_INET && spec.port == 0) {
		result = share_entry(binder, text);
		if (result > 0)
			return 0;
		reason = log_strerror(result);
	}
	if (result == 0)
		result = address_resolve(&spec, addresses, ARRAY_SIZE(addresses), &count, &reason);
	if (result < 0)
		return binder_failed(binder, text, "resolve", reason);
	return bind_resolved(binder, text, addresses, count);
}

/* ---- what workers are given ---- */

/*
 * What a program is told of a listener: the address as it stands in the configuration, without the "unix:" that is ours
 * (SERVER_STARTER_PORT); and a name (LISTEN_FDNAMES). One of the service manager's stands in the configuration by its
 * name only, so its address is what it is bound to, and the name is the manager's; ours have the pool's name.
 */
static int note_listener(const struct pool_config *config, struct listener_set *set, size_t i)
{
	static const char unix_prefix[] = "unix:";
	const struct listener *listener = set->list[i];
	const char *key = listener->spec, *name = config->name;
	char address[ADDRESS_TEXT_MAX];

	if (strncmp(listener->spec, systemd_prefix, strlen(systemd_prefix)) == 0) {
		key = listener_text(listener, address, sizeof(address));
		name = listener->spec + strlen(systemd_prefix);
	}
	if (strncmp(key, unix_prefix, strlen(unix_prefix)) == 0)
		key += strlen(unix_prefix);
	set->descriptors[i] = listener->fd;
	set->keys[i] = strdup(key);
	set->names[i] = strdup(name);
	return set->keys[i] == NULL || set->names[i] == NULL ? -ENOMEM : 0;
}

static int note_listeners(const struct binder *binder)
{
	struct listener_set *set = binder->set;
	int result = 0;

	set->descriptors = calloc(set->count, sizeof(*set->descriptors));
	set->keys = calloc(set->count, sizeof(*set->keys));
	set->names = calloc(set->count, sizeof(*set->names));
	if (set->descriptors == NULL || set->keys == NULL || set->names == NULL)
		result = -ENOMEM;
	for (size_t i = 0; i < set->count && result == 0; i++)
		result = note_listener(binder->config, set, i);
	return result < 0 ? binder_failed(binder, "all", "allocate", log_strerror(result)) : 0;
}

int bind_pool(struct master *master, const struct pool_config *config, struct listener_set *ret_set,
	struct bind_failure *ret_failure)
{
	const struct binder binder = { .master = master, .config = config, .set = ret_set, .failure = ret_failure };
	int result = 0;

	*ret_set = (struct listener_set){ 0 };
	for (char **entry = config->listen; *entry != NULL && result == 0; entry++)
		result = bind_entry(&binder, *entry);
	if (result == 0)
		result = note_listeners(&binder);
	if (result < 0)
		listener_set_done(ret_set);
	return result;
}

static void warn_of_backlog(const struct pool_config *config)
{
	int somaxconn = listener_somaxconn();

	if (somaxconn < 0 || config->listener.backlog <= somaxconn)
		return;
	log_event(LOG_LEVEL_WARNING, "the kernel cuts the backlog to net.core.somaxconn",
		LOG_TEXT("pool", config->name), LOG_INT("backlog", config->listener.backlog),
		LOG_INT("somaxconn", somaxconn));
}

/* systemd has its own, and would hand one over twice. */
static void store_listener(struct master *master, const struct pool_config *config, const struct listener *listener)
{
	char name[STORE_NAME_MAX];
	int result = 0;

	if (listener->origin == LISTENER_SYSTEMD)
		return;
	store_listener_name(listener, config->name, name);
	if (listener->origin != LISTENER_STORE || !store_keep(&master->store, name, listener->fd))
		result = store_put(&master->store, name, listener->fd);
	if (result < 0)
		log_event(LOG_LEVEL_WARNING, "a listener will not outlive this master", LOG_TEXT("name", name),
			LOG_ERRNO("reason", result));
}

int bind_listen(struct master *master, const struct pool_config *config, const struct listener_set *set,
	struct bind_failure *ret_failure)
{
	const struct binder binder = { .config = config, .failure = ret_failure };

	for (size_t i = 0; i < set->count; i++) {
		int result;
		char text[ADDRESS_TEXT_MAX];

		if (set->list[i]->listening)
			continue;
		result = listener_listen(set->list[i]);
		if (result == 0)
			store_listener(master, config, set->list[i]);
		if (result < 0)
			return binder_failed(&binder, listener_text(set->list[i], text, sizeof(text)), "listen",
				log_strerror(result));
	}
	warn_of_backlog(config);
	return 0;
}

/* ---- the start ---- */

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

int bind_adopt_member(struct master *master, struct pool *pool, int fd)
{
	for (size_t i = 0; i < master->listeners.count; i++)
		if (master->listeners.list[i]->fd == fd)
			return set_add(&pool->listeners, master->listeners.list[i]);
	return -ENOENT;
}

/* Those that were taken over from another image; else all that the configuration says. */
static int find_first(struct master *master, struct pool *pool, struct bind_failure *ret_failure)
{
	const struct binder binder = {
		.master = master, .config = pool->config, .set = &pool->listeners, .failure = ret_failure
	};

	if (pool->listeners.count > 0)
		return note_listeners(&binder);
	return bind_pool(master, pool->config, &pool->listeners, ret_failure);
}

static int bind_first(struct master *master)
{
	struct bind_failure failure;

	FOR_EACH_POOL (master, pool)
		if (find_first(master, pool, &failure) < 0) {
			bind_report(pool->config, &failure);
			return EXIT_STATUS_UNAVAILABLE;
		}
	FOR_EACH_POOL (master, pool)
		if (bind_listen(master, pool->config, &pool->listeners, &failure) < 0) {
			bind_report(pool->config, &failure);
			return EXIT_STATUS_UNAVAILABLE;
		}
	return EXIT_STATUS_OK;
}

int bind_all(struct master *master)
{
	int status = bind_first(master);
	if (status == EXIT_STATUS_OK)
		warn_of_unused(master->options->inherited);
	inherited_done(master->options->inherited);
	return status;
}

/* ---- the end ---- */

void bind_refuse(struct master *master, struct listener *listener)
{
	char text[ADDRESS_TEXT_MAX];
	int result;

	/* The next master would else be given one that hears nobody. */
	store_drop(&master->store, listener->fd);
	store_flush(&master->store, &master->notify, clock_monotonic_ms());
	result = listener_refuse(listener);
	if (result < 0)
		log_event(LOG_LEVEL_WARNING, "cannot refuse new clients",
			LOG_TEXT("address", listener_text(listener, text, sizeof(text))), LOG_ERRNO("reason", result));
}

void bind_refuse_all(struct master *master)
{
	for (size_t i = 0; i < master->listeners.count; i++)
		bind_refuse(master, master->listeners.list[i]);
}

/* Whether the kernel may answer when it is asked again. */
static bool is_shortage(int error)
{
	return error == -EMFILE || error == -ENFILE || error == -ENOBUFS || error == -ENOMEM;
}

bool bind_drained(const struct listener *listener)
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
	for (size_t i = 0; i < master->listeners.count; i++)
		if (!bind_drained(master->listeners.list[i]))
			return false;
	return true;
}

uint32_t bind_queued(const struct master *master)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < master->listeners.count; i++) {
		const struct listener *listener = master->listeners.list[i];
		uint32_t queued;

		if (listener->origin != LISTENER_SYSTEMD && listener->listening &&
			listener_queue(listener, &queued) == 0)
			sum += queued;
	}
	return sum;
}
