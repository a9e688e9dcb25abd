/* SPDX-License-Identifier: MIT */
#ifndef MASTER_STORE_H
#define MASTER_STORE_H
/*
 * What the service manager keeps for the next master, in case this one dies: systemd's descriptor store (FDSTORE=1,
 * sd_pid_notify_with_fds(3)). Our own listeners are there, and the scoreboard; a socket of a socket unit never is, as
 * systemd has it anyway.
 *
 * The store is a list of names and what is wanted of each. It is carried out by store_flush() without waiting: a
 * message that finds the manager's queue full is sent later. Whether the manager keeps anything
 * (FileDescriptorStoreMax=) it does not say.
 *
 * A name says what its descriptor is, and is the only handle by which it can be taken out again; so no two have the
 * same:
 *
 *	brood-listener/ADDRESS      a listener; ADDRESS as in the log
 *	brood-chosen/POOL/ADDRESS   one for which the kernel has chosen the port
 *	brood-board/NUMBER          the scoreboard; NUMBER is the memfd's inode
 *
 * What a name must not contain stands there as %XX.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attrs.h"
#include "net/address.h"
#include "net/inherited.h"
#include "net/listener.h"

struct notify;

/* systemd takes 255 bytes, of ASCII, without colons and control characters. */
#define STORE_NAME_MAX 256

enum store_state {
	STORE_WANTED,   /* to be put there */
	STORE_KEPT,     /* the manager was told to keep it, or has handed it over */
	STORE_REPLACED, /* to be taken out, then to be put there: another one of the name */
	STORE_UNWANTED, /* to be taken out */
};

struct store_entry {
	char name[STORE_NAME_MAX];
	int fd; /* its owner's; -1: nobody's here */
	enum store_state state;
};

struct store {
	struct store_entry *entries;
	size_t count;
	size_t size;       /* of the array, in entries */
	size_t pending;    /* entries that are not STORE_KEPT */
	uint64_t retry_ms; /* when to try again; meaningful while some are pending */
};

void store_done(struct store *store);

/* Wants FD kept under NAME. The descriptor must stay open until store_drop(). Returns 0 or -ENOMEM. */
ATTR_NODISCARD int store_put(struct store *store, const char *name, int fd);
/* The manager has handed over something of that NAME: it is taken out, unless it is kept, and before others come in,
 * since the same descriptor may be wanted under another name. Where there is no memory it stays. */
void store_note(struct store *store, const char *name);
/* All that is ours of what was handed over. */
void store_note_all(struct store *store, const struct inherited *inherited);
/* What was handed over under NAME is FD now, and stays. False: nothing was. */
bool store_keep(struct store *store, const char *name, int fd);
/* Wants FD taken out. Never fails; one that is not there is nothing to do. Before the descriptor is closed. */
void store_drop(struct store *store, int fd);
/* What is there under FD stays there, whatever becomes of the descriptor here. */
void store_leave(struct store *store, int fd);

/* Tells the manager what it was not told yet. Returns when to call again at the latest. */
uint64_t store_flush(struct store *store, struct notify *notify, uint64_t now_ms);

/* ---- names ---- */

/* POOL counts only where the kernel has chosen the port. Returns NAME. */
char *store_listener_name(const struct listener *listener, const char *pool, char name[STORE_NAME_MAX]);
char *store_board_name(int fd, char name[STORE_NAME_MAX]);

/* What the service manager has handed over was ours, by its name. */
bool store_is_ours(const char *name);
bool store_is_board(const char *name);

/* A stored listener of POOL that the kernel chose the port for, at ADDRESS, whatever its port is. NULL: there is
 * none that is unclaimed. */
struct inherited_socket *store_find_chosen(
	const struct inherited *inherited, const char *pool, const struct socket_address *address);

#endif
