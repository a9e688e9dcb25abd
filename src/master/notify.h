/* SPDX-License-Identifier: MIT */
#ifndef MASTER_NOTIFY_H
#define MASTER_NOTIFY_H
/*
 * What the master tells the service manager: the protocol of sd_notify(3), which is one datagram to $NOTIFY_SOCKET.
 * sd_notify() itself waits when systemd's queue is full; here a message that finds it full is kept and sent later, so
 * that nothing the master does depends on the manager. Where there is no manager the calls do nothing.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/attrs.h"

struct notify {
	int fd; /* -1: nobody to tell */
	struct sockaddr_un address;
	socklen_t address_size;
	uint64_t watchdog_ms; /* half of what the manager asks for: the interval of pings; 0: none is asked for */
	uint64_t next_ping_ms;
	uint64_t retry_ms; /* when to try again to send what is pending; DEADLINE_NONE: nothing is */
	bool failing;      /* a message could not be sent, nor would it be another time; said so once in this episode */
	bool ready;        /* each: to be sent */
	bool stopping;
	bool ends;             /* the stop has begun */
	uint64_t reloading_us; /* the reload's begin, to be sent before all else; 0: none */
	uint64_t extend_ms;    /* when to ask for time again; DEADLINE_NONE: not asked for */
	bool status_changed;
	uint64_t status_ms; /* the status is not said again before */
	char status[256];
};

/* Reads $NOTIFY_SOCKET, $WATCHDOG_USEC and $WATCHDOG_PID, and takes them out of the environment. */
void notify_init(struct notify *notify, uint64_t now_ms);
void notify_done(struct notify *notify);

void notify_ready(struct notify *notify);

/*
 * A stop begins, or goes on past what the manager gives it: from here on it is asked for more time again and again, as
 * long as notify_flush() is called. A master that hangs is not waited for.
 */
void notify_stopping(struct notify *notify);

/* A reload begins now; one that takes long asks for time too. Its end, whatever came of it, is notify_ready(): the
 * protocol knows no other answer. */
void notify_reloading(struct notify *notify, uint64_t monotonic_us, uint64_t now_ms);

/* Sends MESSAGE at once, with FD unless that is negative. Returns false where the manager cannot take it now, and it is
 * to be tried again; true where there is nobody, too. */
ATTR_NODISCARD bool notify_send(struct notify *notify, const char *message, int fd);

/* The loop stood still: what is sent from time to time is sent now. */
void notify_hurry(struct notify *notify, uint64_t now_ms);

/*
 * Whether notify_status() is of use now: a status changes with each connection of an inetd pool, and the manager is
 * told of it once a second, or with what else there is to say.
 */
bool notify_wants_status(const struct notify *notify, uint64_t now_ms);
void notify_status(struct notify *notify, const char *text);

/* Sends what is pending and due. Returns when to call again at the latest, with the status of then. */
uint64_t notify_flush(struct notify *notify, uint64_t now_ms);

#endif
