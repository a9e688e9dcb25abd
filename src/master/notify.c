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

	*notify = (struct notify){ .fd = -1, .retry_ms = DEADLINE_NONE, .next_ping_ms = DEADLINE_NONE };
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
}

void notify_done(struct notify *notify)
{
	fd_close(&notify->fd);
}

void notify_ready(struct notify *notify)
{
	notify->ready = true;
	notify->retry_ms = 0;
}

void notify_stopping(struct notify *notify)
{
	notify->stopping = true;
	notify->retry_ms = 0;
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

/* Returns false where the manager's queue is full; any other failure would fail again, and counts as sent. */
static bool notify_send(const struct notify *notify, const char *message)
{
	ssize_t sent = sendto(notify->fd, message, strlen(message), MSG_DONTWAIT | MSG_NOSIGNAL,
		(const struct sockaddr *)&notify->address, notify->address_size);

	return sent >= 0 || (errno != EAGAIN && errno != ENOBUFS && errno != EINTR);
}

static void notify_send_pending(struct notify *notify, uint64_t now_ms)
{
	char message[512];

	snprintf(message, sizeof(message), "%s%s%s%s%s", notify->ready ? "READY=1\n" : "",
		notify->stopping ? "STOPPING=1\n" : "", notify->status_changed ? "STATUS=" : "",
		notify->status_changed ? notify->status : "", notify->status_changed ? "\n" : "");
	if (!notify_send(notify, message)) {
		notify->retry_ms = deadline_after(now_ms, NOTIFY_RETRY_MS);
		return;
	}
	if (notify->status_changed)
		notify->status_ms = deadline_after(now_ms, NOTIFY_STATUS_MS);
	notify->ready = false;
	notify->stopping = false;
	notify->status_changed = false;
	notify->retry_ms = DEADLINE_NONE;
}

uint64_t notify_flush(struct notify *notify, uint64_t now_ms)
{
	uint64_t wake_ms;

	if (notify->fd < 0)
		return DEADLINE_NONE;
	if (deadline_passed(notify->retry_ms, now_ms))
		notify_send_pending(notify, now_ms);
	if (deadline_passed(notify->next_ping_ms, now_ms)) {
		bool sent = notify_send(notify, "WATCHDOG=1");

		notify->next_ping_ms = deadline_after(now_ms, sent ? notify->watchdog_ms : NOTIFY_RETRY_MS);
	}
	wake_ms = deadline_earlier(notify->retry_ms, notify->next_ping_ms);
	return deadline_passed(notify->status_ms, now_ms) ? wake_ms : deadline_earlier(wake_ms, notify->status_ms);
}
