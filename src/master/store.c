/* SPDX-License-Identifier: MIT */
#include "master/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "master/notify.h"
#include "policy/deadline.h"

#define STORE_RETRY_MS 100

#define LISTENER_PREFIX "brood-listener/"
#define CHOSEN_PREFIX   "brood-chosen/"
#define BOARD_PREFIX    "brood-board/"

/* ---- the list ---- */

void store_done(struct store *store)
{
	free(store->entries);
	*store = (struct store){ 0 };
}

static struct store_entry *find(const struct store *store, const char *name)
{
	for (size_t i = 0; i < store->count; i++)
		if (strcmp(store->entries[i].name, name) == 0)
			return &store->entries[i];
	return NULL;
}

static void set_state(struct store *store, struct store_entry *entry, enum store_state state)
{
	if (entry->state != STORE_KEPT)
		store->pending--;
	if (state != STORE_KEPT)
		store->pending++;
	entry->state = state;
}

static struct store_entry *add(struct store *store, const char *name)
{
	struct store_entry *entry;

	if (store->count == store->size) {
		size_t size = store->size == 0 ? 8 : 2 * store->size;
		struct store_entry *entries = realloc(store->entries, size * sizeof(*entries));

		if (entries == NULL)
			return NULL;
		store->entries = entries;
		store->size = size;
	}
	entry = &store->entries[store->count++];
	*entry = (struct store_entry){ .fd = -1, .state = STORE_KEPT };
	snprintf(entry->name, sizeof(entry->name), "%s", name);
	return entry;
}

/* The order of the others stays: the manager is told in the order in which things were wanted. */
static void forget(struct store *store, struct store_entry *entry)
{
	size_t behind = store->count - (size_t)(entry - store->entries) - 1;

	set_state(store, entry, STORE_KEPT);
	memmove(entry, entry + 1, behind * sizeof(*entry));
	store->count--;
}

int store_put(struct store *store, const char *name, int fd)
{
	struct store_entry *entry = find(store, name);
	enum store_state state = entry == NULL || entry->state == STORE_WANTED ? STORE_WANTED : STORE_REPLACED;

	if (entry == NULL)
		entry = add(store, name);
	if (entry == NULL)
		return -ENOMEM;
	entry->fd = fd;
	set_state(store, entry, state);
	store->retry_ms = 0;
	return 0;
}

void store_note(struct store *store, const char *name)
{
	struct store_entry *entry = find(store, name);

	if (entry == NULL)
		entry = add(store, name);
	if (entry != NULL)
		set_state(store, entry, STORE_UNWANTED);
}

void store_note_all(struct store *store, const struct inherited *inherited)
{
	for (size_t i = 0; i < inherited->count; i++)
		if (store_is_ours(inherited->sockets[i].name))
			store_note(store, inherited->sockets[i].name);
}

bool store_keep(struct store *store, const char *name, int fd)
{
	struct store_entry *entry = find(store, name);

	if (entry == NULL || entry->state != STORE_UNWANTED)
		return false;
	entry->fd = fd;
	set_state(store, entry, STORE_KEPT);
	return true;
}

static void drop(struct store *store, struct store_entry *entry)
{
	entry->fd = -1;
	store->retry_ms = 0;
	if (entry->state == STORE_WANTED)
		forget(store, entry);
	else
		set_state(store, entry, STORE_UNWANTED);
}

void store_drop(struct store *store, int fd)
{
	for (size_t i = 0; fd >= 0 && i < store->count; i++)
		if (store->entries[i].fd == fd) {
			drop(store, &store->entries[i]);
			return;
		}
}

void store_leave(struct store *store, int fd)
{
	for (size_t i = 0; fd >= 0 && i < store->count; i++)
		if (store->entries[i].fd == fd && store->entries[i].state == STORE_KEPT)
			store->entries[i].fd = -1;
}

/* ---- telling the manager ---- */

static bool tell_to_remove(const struct store_entry *entry, struct notify *notify)
{
	char message[STORE_NAME_MAX + 40];

	snprintf(message, sizeof(message), "FDSTOREREMOVE=1\nFDNAME=%s\n", entry->name);
	return notify_send(notify, message, -1);
}

/* FDPOLL=0: systemd else throws out a descriptor that reports a hang-up, as a listener that a program has shut down
 * does, which is ours to mend. */
static bool tell_to_keep(const struct store_entry *entry, struct notify *notify)
{
	char message[STORE_NAME_MAX + 40];

	snprintf(message, sizeof(message), "FDSTORE=1\nFDPOLL=0\nFDNAME=%s\n", entry->name);
	return notify_send(notify, message, entry->fd);
}

/* One message. Returns false where the manager cannot take it now. */
static bool tell(struct store *store, struct store_entry *entry, struct notify *notify)
{
	bool told = entry->state == STORE_WANTED ? tell_to_keep(entry, notify) : tell_to_remove(entry, notify);

	if (!told)
		return false;
	if (entry->state == STORE_UNWANTED)
		forget(store, entry);
	else
		set_state(store, entry, entry->state == STORE_REPLACED ? STORE_WANTED : STORE_KEPT);
	return true;
}

static struct store_entry *next_pending(const struct store *store)
{
	for (size_t i = 0; i < store->count; i++)
		if (store->entries[i].state != STORE_KEPT)
			return &store->entries[i];
	return NULL;
}

uint64_t store_flush(struct store *store, struct notify *notify, uint64_t now_ms)
{
	if (store->pending == 0)
		return DEADLINE_NONE;
	if (!deadline_passed(store->retry_ms, now_ms))
		return store->retry_ms;
	while (store->pending > 0)
		if (!tell(store, next_pending(store), notify)) {
			store->retry_ms = deadline_after(now_ms, STORE_RETRY_MS);
			return store->retry_ms;
		}
	return DEADLINE_NONE;
}

/* ---- names ---- */

struct name_writer {
	char *name;
	size_t used;
	uint64_t hash; /* of all of it, where it does not fit */
	bool cut;
};

static void put_byte(struct name_writer *writer, char byte)
{
	/* FNV-1a. */
	writer->hash = (writer->hash ^ (unsigned char)byte) * UINT64_C(0x100000001b3);
	if (writer->used == STORE_NAME_MAX - 1)
		writer->cut = true;
	else
		writer->name[writer->used++] = byte;
}

static void put_text(struct name_writer *writer, const char *text)
{
	for (; *text != '\0'; text++)
		put_byte(writer, *text);
}

/* Slashes are between the parts of a name, and may stand in the last one. */
static void put_escaped(struct name_writer *writer, const char *text, bool slashes)
{
	for (; *text != '\0'; text++) {
		unsigned char byte = (unsigned char)*text;
		char escaped[4];

		if (byte > ' ' && byte < 127 && byte != ':' && byte != '%' && (slashes || byte != '/')) {
			put_byte(writer, *text);
			continue;
		}
		snprintf(escaped, sizeof(escaped), "%%%02X", byte);
		put_text(writer, escaped);
	}
}

static struct name_writer name_begin(char *name)
{
	return (struct name_writer){ .name = name, .hash = UINT64_C(0xcbf29ce484222325) };
}

/* A path of many bytes that need an escape does not fit: its end is a hash of the whole. */
static char *name_end(struct name_writer *writer)
{
	writer->name[writer->used] = '\0';
	if (writer->cut)
		snprintf(writer->name + STORE_NAME_MAX - 18, 18, "~%016llx", (unsigned long long)writer->hash);
	return writer->name;
}

/* Whether it stands in the configuration with port 0. */
static bool port_was_chosen(const struct listener *listener)
{
	size_t size = strlen(listener->spec);

	return listener->address.storage.ss_family != AF_UNIX && size >= 2 &&
	       strcmp(listener->spec + size - 2, ":0") == 0;
}

static void put_pool(struct name_writer *writer, const char *pool)
{
	put_text(writer, CHOSEN_PREFIX);
	put_escaped(writer, pool, false);
	put_text(writer, "/");
}

char *store_listener_name(const struct listener *listener, const char *pool, char name[STORE_NAME_MAX])
{
	struct name_writer writer = name_begin(name);
	char text[ADDRESS_TEXT_MAX];

	if (port_was_chosen(listener))
		put_pool(&writer, pool);
	else
		put_text(&writer, LISTENER_PREFIX);
	put_escaped(&writer, listener_text(listener, text, sizeof(text)), true);
	return name_end(&writer);
}

char *store_board_name(int fd, char name[STORE_NAME_MAX])
{
	struct stat status = { 0 };

	fstat(fd, &status);
	snprintf(name, STORE_NAME_MAX, BOARD_PREFIX "%ju", (uintmax_t)status.st_ino);
	return name;
}

static bool begins_with(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

bool store_is_board(const char *name)
{
	return begins_with(name, BOARD_PREFIX);
}

bool store_is_ours(const char *name)
{
	return begins_with(name, LISTENER_PREFIX) || begins_with(name, CHOSEN_PREFIX) || store_is_board(name);
}

struct inherited_socket *store_find_chosen(
	const struct inherited *inherited, const char *pool, const struct socket_address *address)
{
	char prefix[STORE_NAME_MAX];
	struct name_writer writer = name_begin(prefix);

	put_pool(&writer, pool);
	name_end(&writer);
	for (size_t i = 0; i < inherited->count; i++) {
		struct inherited_socket *socket = &inherited->sockets[i];
		struct socket_address any_port = socket->address;

		if (socket->fd < 0 || !socket->listening || !begins_with(socket->name, prefix))
			continue;
		address_set_port(&any_port, 0);
		if (address_equal((const struct sockaddr *)&any_port.storage, any_port.size,
			    (const struct sockaddr *)&address->storage, address->size))
			return socket;
	}
	return NULL;
}
