/* SPDX-License-Identifier: MIT */
#ifndef MASTER_WATCH_H
#define MASTER_WATCH_H
/*
 * What an event of the master's one epoll descriptor is about, packed into the 64 bits that epoll_ctl(2) keeps. A
 * descriptor of a worker's carries the worker's serial, since a child that is just being made holds a duplicate of it:
 * an event may still come after the master has closed its own, and then belongs to nobody.
 */
#include <stdint.h>

/* What is kept of a serial. */
#define WATCH_SERIAL_MASK 0xffffU

enum watch_kind {
	WATCH_SIGNALS,
	WATCH_WAKE,   /* workers write to the eventfd */
	WATCH_STDOUT, /* a pipe that a worker's program writes to */
	WATCH_STDERR,
	WATCH_LEFT,         /* such a pipe that has outlived its worker; `slot` is its number there */
	WATCH_CHECKER,      /* what the checker of a reload has to say */
	WATCH_NOTIFY,       /* a worker's NOTIFY_SOCKET */
	WATCH_ACK_LISTENER, /* the socket for Einhorn's acknowledgements */
	WATCH_ACK,          /* a connection to it; `slot` is its number there */
	WATCH_CHECK,        /* what the child of a check has to say */
	WATCH_CONTROL_LISTENER,
	WATCH_UPGRADE,  /* what the new binary says before it takes over */
	WATCH_CONTROL,  /* a client of the control socket; `slot` is its number there */
	WATCH_DEMAND,   /* a listener of a pool that sleeps */
	WATCH_SURVIVOR, /* the pidfd of a worker of the last master's; `slot` is its number in survivors.h */
};

struct watch {
	enum watch_kind kind;
	uint32_t pool;   /* its index, below 2^16 */
	uint32_t slot;   /* of the worker in its pool, below 2^24 */
	uint32_t serial; /* of the worker; the bits of WATCH_SERIAL_MASK */
};

static inline uint64_t watch_pack(const struct watch *watch)
{
	return (uint64_t)watch->kind << 56 | (uint64_t)(watch->pool & 0xffff) << 40 |
	       (uint64_t)(watch->slot & 0xffffff) << 16 | (watch->serial & WATCH_SERIAL_MASK);
}

static inline struct watch watch_unpack(uint64_t packed)
{
	return (struct watch){
		.kind = (enum watch_kind)(packed >> 56),
		.pool = packed >> 40 & 0xffff,
		.slot = packed >> 16 & 0xffffff,
		.serial = packed & WATCH_SERIAL_MASK,
	};
}

#endif
