/* SPDX-License-Identifier: MIT */
#include "master/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "policy/deadline.h"

#define NOTIFY_RETRY_MS  100
#define NOTIFY_STATUS_MS 1000

/* How much time is asked for at once, and how often. */
#define NOTIFY_EXTEND_MS       30000
#define NOTIFY_EXTEND_AGAIN_MS 10000

/* "/path", or "@name" in the abstract name space. */
static bool notify_address(struct notify *notify, const char *path)
{
	size_t length = strlen(path);

	if ((path[0] != '/' && path[0] != '@') || length < 2 || length >= sizeof(notify->address.sun_path))
		return false;
	notify->address.sun_family = AF_UNIX;
	memcpy(notify->address.sun_path, path, length);
	if (path[0] == '@')
		notify->address.sun_path[0] = '\0';
	notify->address_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
	return true;
}

/* $WATCHDOG_USEC counts where $WATCHDOG_PID is this process, or is not set (sd_watchdog_enabled(3)). */
static uint64_t watchdog_interval_ms(void)
{
	const char *usec = getenv("WATCHDOG_USEC");
	const char *pid = getenv("WATCHDOG_PID");

	if (usec == NULL || (pid != NULL && strtol(pid, NULL, 10) != getpid()))
		return 0;
	return strtoull(usec, NULL, 10) / 1000 / 2;
}

void notify_init(struct notify *notify, uint64_t now_ms)
{
	const char *path = getenv("NOTIFY_SOCKET");

	*notify = (struct notify){
		.fd = -1, .retry_ms = DEADLINE_NONE, .next_ping_ms = DEADLINE_NONE, .extend_ms = DEADLINE_NONE
	};
	if (path != NULL && !notify_address(notify, path))
		log_event(LOG_LEVEL_WARNING, "NOTIFY_SOCKET is no address of a unix socket", LOG_TEXT("value", path));
	else if (path != NULL && (notify->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) < 0)
		log_event(
			LOG_LEVEL_WARNING, "the service manager will not be told anything", LOG_ERRNO("reason", errno));
	if (notify->fd >= 0)
		notify->watchdog_ms = watchdog_interval_ms();
	if (notify->watchdog_ms != 0)
		notify->next_ping_ms = now_ms;
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	unsetenv("FDSTORE");
}

void notify_done(struct notify *notify)
{
	fd_close(&notify->fd);
}

void notify_ready(struct notify *notify)
{
	notify->ready = true;
	if (!notify->ends)
		notify->extend_ms = DEADLINE_NONE;
	notify->retry_ms = 0;
}

void notify_stopping(struct notify *notify)
{
	notify->stopping = true;
	notify->ends = true;
	notify->extend_ms = 0;
	notify->retry_ms = 0;
}

void notify_reloading(struct notify *notify, uint64_t monotonic_us, uint64_t now_ms)
{
	/* A reload before it may have ended without the manager's hearing of it: now it has not. */
	notify->ready = false;
	notify->reloading_us = monotonic_us;
	notify->extend_ms = deadline_after(now_ms, NOTIFY_EXTEND_AGAIN_MS);
	notify->retry_ms = 0;
}

void notify_hurry(struct notify *notify, uint64_t now_ms)
{
	if (notify->watchdog_ms != 0)
		notify->next_ping_ms = now_ms;
	if (notify->extend_ms != DEADLINE_NONE)
		notify->extend_ms = now_ms;
}

bool notify_wants_status(const struct notify *notify, uint64_t now_ms)
{
	return notify->fd >= 0 && (notify->ready || notify->stopping || deadline_passed(notify->status_ms, now_ms));
}

void notify_status(struct notify *notify, const char *text)
{
	if (strncmp(notify->status, text, sizeof(notify->status) - 1) == 0)
		return;
	snprintf(notify->status, sizeof(notify->status), "%s", text);
	notify->status_changed = true;
	notify->retry_ms = 0;
}

/* As many descriptors may be on their way as a process may have open; and a queue holds so many messages. */
static bool is_congestion(int error)
{
	return error == EAGAIN || error == ENOBUFS || error == EINTR || error == ETOOMANYREFS;
}

static void attach(struct msghdr *header, int fd)
{
	struct cmsghdr *control;

	control = CMSG_FIRSTHDR(header);
	control->cmsg_level = SOL_SOCKET;
	control->cmsg_type = SCM_RIGHTS;
	control->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(control), &fd, sizeof(fd));
}

/* Once an episode: whoever waits for the message waits in vain. */
static void note_failure(struct notify *notify, int error)
{
	if (!notify->failing)
		log_event(LOG_LEVEL_WARNING, "the service manager cannot be told", LOG_ERRNO("reason", error));
	notify->failing = true;
}

/* A failure other than a congestion would fail again, and counts as sent. */
bool notify_send(struct notify *notify, const char *message, int fd)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(fd))] = { 0 };
	struct sockaddr_un address = notify->address;
	struct iovec text = { .iov_base = (void *)(uintptr_t)message, .iov_len = strlen(message) };
	struct msghdr header = {
		.msg_name = &address, .msg_namelen = notify->address_size, .msg_iov = &text, .msg_iovlen = 1
	};

	if (notify->fd < 0)
		return true;
	if (fd >= 0) {
		header.msg_control = control;
		header.msg_controllen = sizeof(control);
		attach(&header, fd);
	}
	if (sendmsg(notify->fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) {
		notify->failing = false;
		return true;
	}
	if (is_congestion(errno))
		return false;
	note_failure(notify, errno);
	return true;
}

/* What the manager waits for, and the time of its begin, are one message (sd_notify(3)). */
static bool send_reloading(struct notify *notify)
{
	char message[80];

	if (notify->reloading_us == 0)
		return true;
	snprintf(message, sizeof(message), "RELOADING=1\nMONOTONIC_USEC=%llu\n",
		(unsigned long long)notify->reloading_us);
	if (!notify_send(notify, message, -1))
		return false;
	notify->reloading_us = 0;
	return true;
}

static bool send_states(struct notify *notify, uint64_t now_ms)
{
	char message[512];

	if (!notify->ready && !notify->stopping && !notify->status_changed)
		return true;
	snprintf(message, sizeof(message), "%s%s%s%s%s", notify->ready ? "READY=1\n" : "",
		notify->stopping ? "STOPPING=1\n" : "", notify->status_changed ? "STATUS=" : "",
		notify->status_changed ? notify->status : "", notify->status_changed ? "\n" : "");
	if (!notify_send(notify, message, -1))
		return false;
	if (notify->status_changed)
		notify->status_ms = deadline_after(now_ms, NOTIFY_STATUS_MS);
	notify->ready = false;
	notify->stopping = false;
	notify->status_changed = false;
	return true;
}

static void send_pending(struct notify *notify, uint64_t now_ms)
{
	bool sent = send_reloading(notify) && send_states(notify, now_ms);

	notify->retry_ms = sent ? DEADLINE_NONE : deadline_after(now_ms, NOTIFY_RETRY_MS);
}

static void send_extension(struct notify *notify, uint64_t now_ms)
{
	char message[64];
	bool sent;

	snprintf(message, sizeof(message), "EXTEND_TIMEOUT_USEC=%llu", NOTIFY_EXTEND_MS * 1000ULL);
	sent = notify_send(notify, message, -1);
	notify->extend_ms = deadline_after(now_ms, sent ? NOTIFY_EXTEND_AGAIN_MS : NOTIFY_RETRY_MS);
}

uint64_t notify_flush(struct notify *notify, uint64_t now_ms)
{
	uint64_t wake_ms;

	if (notify->fd < 0)
		return DEADLINE_NONE;
	if (deadline_passed(notify->retry_ms, now_ms))
		send_pending(notify, now_ms);
	if (deadline_passed(notify->extend_ms, now_ms))
		send_extension(notify, now_ms);
	if (deadline_passed(notify->next_ping_ms, now_ms)) {
		bool sent = notify_send(notify, "WATCHDOG=1", -1);

		notify->next_ping_ms = deadline_after(now_ms, sent ? notify->watchdog_ms : NOTIFY_RETRY_MS);
	}
	wake_ms = deadline_earlier(notify->retry_ms, notify->next_ping_ms);
	wake_ms = deadline_earlier(wake_ms, notify->extend_ms);
	return deadline_passed(notify->status_ms, now_ms) ? wake_ms : deadline_earlier(wake_ms, notify->status_ms);
}
