/* SPDX-License-Identifier: MIT */
#include "master/control.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/exit_status.h"
#include "base/fd.h"
#include "base/json_line.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/rights.h"
#include "master/master_private.h"
#include "policy/deadline.h"

/* For a whole request; and for taking at least some of what is queued. */
#define REQUEST_TIMEOUT_MS 5000
#define TAKE_TIMEOUT_MS    10000
#define ACCEPTS_A_TURN     16
#define CONTROL_BACKLOG    511
/* Of those who may only look. */
#define LOOKERS_MAX (CONTROL_CLIENTS_MAX / 2)
/* Refusals for want of permission are logged once in so long. */
#define DENIED_LOG_MS 1000
/* A verdict and a line of progress are cut to this. */
#define TEXT_MAX 4096

/* ---- the socket ---- */

static int bind_at(const struct master *master, struct listener *listener, const char *path, const char **ret_step)
{
	const struct listener_options options = {
		.backlog = CONTROL_BACKLOG,
		.socket_mode = master->config->control_mode,
		.socket_uid = (uid_t)-1,
		.socket_gid = (gid_t)-1,
	};
	struct address_spec spec = { .kind = ADDRESS_UNIX };
	struct socket_address address;
	const char *reason;
	size_t count;
	int result;

	snprintf(spec.host, sizeof(spec.host), "%s", path);
	*ret_step = "bind";
	result = address_resolve(&spec, &address, 1, &count, &reason);
	if (result == 0)
		result = listener_bind(listener, path, &address, &options, ret_step);
	if (result < 0)
		return result;
	*ret_step = "listen";
	result = listener_listen(listener);
	if (result == 0)
		result = fd_set_nonblock(listener->fd, true);
	if (result < 0)
		listener_close(listener);
	return result;
}

static const char *why(int error)
{
	return error == -EADDRINUSE ? "another daemon answers there" : log_strerror(error);
}

static int open_configured(const struct master *master, struct listener *listener)
{
	const char *path = master->config->control, *step;
	int result = bind_at(master, listener, path, &step);

	if (result == 0)
		return EXIT_STATUS_OK;
	log_event(LOG_LEVEL_ERROR, "cannot open the control socket", LOG_TEXT("path", path), LOG_TEXT("step", step),
		LOG_TEXT("reason", why(result)));
	return result == -EACCES || result == -EPERM ? EXIT_STATUS_PERMISSION : EXIT_STATUS_UNAVAILABLE;
}

/* A directory that is there, or cannot be made, tells when the socket is bound. */
static void make_directory_of(const char *path)
{
	char directory[CONTROL_PATH_MAX];
	const char *slash = strrchr(path, '/');

	snprintf(directory, sizeof(directory), "%.*s", (int)(slash - path), path);
	mkdir(directory, 0755);
}

/* At the first of the usual places that can be had. A socket that answers there is another daemon's: broodctl would
 * find that one, wherever else this one were. */
static void open_usual(const struct master *master, struct listener *listener)
{
	char path[CONTROL_PATH_MAX] = "";
	const char *step = "bind";
	int result = -ENOENT;

	for (size_t i = 0; result < 0 && result != -EADDRINUSE && control_path_usual(i, path); i++) {
		make_directory_of(path);
		result = bind_at(master, listener, path, &step);
	}
	if (result < 0)
		log_event(LOG_LEVEL_WARNING,
			"no control socket: broodctl will not reach this daemon (control = PATH gives it one, off "
			"none)",
			LOG_TEXT("path", path), LOG_TEXT("step", step), LOG_TEXT("reason", why(result)));
}

static int open_listener(const struct master *master, struct listener *listener)
{
	const char *path = master->config->control;

	/* From before an upgrade. */
	if (listener->fd >= 0)
		return EXIT_STATUS_OK;
	if (strcmp(path, CONTROL_OFF) == 0)
		return EXIT_STATUS_OK;
	if (strcmp(path, CONTROL_AUTO) != 0)
		return open_configured(master, listener);
	open_usual(master, listener);
	return EXIT_STATUS_OK;
}

/* ---- what the status tells ---- */

/* How old this process is, which stays itself through upgrades: field 22 of its stat, behind its name in parentheses
 * (proc(5)), is its start in ticks since boot. */
static uint64_t find_age_ms(void)
{
	FD_AUTO int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	uint64_t now_ms, start_ms;
	struct timespec now;
	char text[1024] = "";
	const char *at;

	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0 || clock_gettime(CLOCK_BOOTTIME, &now) < 0)
		return 0;
	at = strrchr(text, ')');
	for (int field = 2; at != NULL && field < 22; field++)
		at = strchr(at + 1, ' ');
	if (at == NULL)
		return 0;
	now_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
	start_ms = strtoull(at, NULL, 10) * 1000 / (uint64_t)sysconf(_SC_CLK_TCK);
	return now_ms > start_ms ? now_ms - start_ms : 0;
}

/* A descriptor by which nobody can write, and that nobody can open again for it: board_create() has seen to the mode.
 * Without a /proc there is none. */
static int open_board(const struct master *master)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", master->board.fd);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static int make_tables(struct master *master)
{
	struct control *control = &master->control;

	control->clients = memory_unforked(CONTROL_CLIENTS_MAX, sizeof(*control->clients));
	control->buffers = memory_unforked(CONTROL_CLIENTS_MAX, sizeof(*control->buffers));
	if (control->clients == NULL || control->buffers == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
		control->clients[i].fd = -1;
	control->opened_us = clock_monotonic_us();
	control->age_ms = find_age_ms();
	control->started_us = clock_realtime_us() - control->age_ms * 1000;
	control->board_fd = open_board(master);
	return 0;
}

int control_open(struct master *master)
{
	static const struct watch watch = { .kind = WATCH_CONTROL_LISTENER };
	struct control *control = &master->control;
	int status = open_listener(master, &control->listener);
	int result;

	if (status != EXIT_STATUS_OK || control->listener.fd < 0)
		return status;
	result = make_tables(master);
	if (result == 0)
		result = accept_gate_open(
			master, &control->gate, control->listener.fd, &watch, "clients of the control socket");
	if (result == 0)
		return EXIT_STATUS_OK;
	log_event(LOG_LEVEL_ERROR, "cannot serve the control socket", LOG_ERRNO("reason", result));
	return EXIT_STATUS_SYSTEM;
}

/* ---- a client's queue ---- */

static struct control_buffer *buffer_of(const struct master *master, const struct control_client *client)
{
	return &master->control.buffers[client - master->control.clients];
}

static void client_close(struct master *master, struct control_client *client)
{
	if (client->fd >= 0) {
		master_unwatch(master, client->fd);
		rights_drain(client->fd);
		close(client->fd);
		master->control.client_count--;
	}
	client->fd = -1;
	client->serial++;
}

/* What is free at the end of the queue, once the sent part is gone. */
static size_t queue_room(const struct master *master, struct control_client *client)
{
	struct control_buffer *buffer = buffer_of(master, client);

	if (client->sent > 0)
		memmove(buffer->queue, buffer->queue + client->sent, client->queued - client->sent);
	client->queued -= client->sent;
	client->sent = 0;
	return sizeof(buffer->queue) - client->queued;
}

static void queue_begin(const struct master *master, struct control_client *client, struct json_line *json)
{
	size_t room = queue_room(master, client);

	json_line_begin(json, buffer_of(master, client)->queue + client->queued, room);
}

/* A line that did not fit is left out. */
static void queue_end(struct control_client *client, struct json_line *json)
{
	client->queued += json_line_end(json);
}

/* TEXT, cut where it is very long. */
static void queue_text(struct json_line *json, const char *text)
{
	char cut[TEXT_MAX];

	snprintf(cut, sizeof(cut), "%s", text);
	json_line_text(json, "text", cut);
}

static void queue_result(
	const struct master *master, struct control_client *client, bool good, const char *code, const char *text)
{
	struct json_line json;

	queue_begin(master, client, &json);
	json_line_text(&json, "type", "result");
	json_line_bool(&json, "ok", good);
	json_line_text(&json, "code", code);
	queue_text(&json, text);
	queue_end(client, &json);
	client->phase = CONTROL_ENDING;
}

/* Room for a line of progress, and for the last line after it. */
static bool has_room(const struct master *master, struct control_client *client)
{
	return queue_room(master, client) >= 2 * CONTROL_LINE_MAX;
}

/* ---- sending ---- */

/* One call. With the first bytes of a status goes the scoreboard. */
static ssize_t send_queue(const struct master *master, struct control_client *client)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec data = { .iov_base = buffer_of(master, client)->queue + client->sent,
		.iov_len = client->queued - client->sent };
	struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1 };

	if (client->board_due) {
		struct cmsghdr *rights = (struct cmsghdr *)(void *)control;

		*rights = (struct cmsghdr){
			.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS
		};
		memcpy(CMSG_DATA(rights), &master->control.board_fd, sizeof(int));
		message.msg_control = control;
		message.msg_controllen = sizeof(control);
	}
	return sendmsg(client->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Returns whether the client is there still. */
static bool client_flush(const struct master *master, struct control_client *client, uint64_t now_ms)
{
	ssize_t sent;

	if (client->queued == client->sent) {
		if (client->phase != CONTROL_READING)
			client->deadline_ms = DEADLINE_NONE;
		return true;
	}
	sent = send_queue(master, client);
	if (sent < 0 && errno != EAGAIN && errno != EINTR)
		return false;
	if (sent > 0) {
		client->sent += (size_t)sent;
		client->board_due = false;
	}
	/* A socket that takes all may yet not be writable (unix(7): a quarter of it must be free), and is waited for.
	 */
	if (client->sent == client->queued && client->phase != CONTROL_TELLING)
		client->deadline_ms = DEADLINE_NONE;
	else if (sent > 0 || client->deadline_ms == DEADLINE_NONE)
		client->deadline_ms = deadline_after(now_ms, TAKE_TIMEOUT_MS);
	return true;
}

/* ---- a client's turn ---- */

static void client_tell(const struct master *master, struct control_client *client, uint64_t now_ms)
{
	while (has_room(master, client)) {
		struct json_line json;

		queue_begin(master, client, &json);
		if (!control_status_next(master, &client->cursor, now_ms, &json)) {
			queue_result(master, client, true, "ok", "");
			return;
		}
		queue_end(client, &json);
	}
}

/* Its request, room for more of an answer, or nothing but its end: what else it may send is not awaited. */
static void client_watch(const struct master *master, struct control_client *client)
{
	struct watch watch = {
		.kind = WATCH_CONTROL, .slot = (uint32_t)(client - master->control.clients), .serial = client->serial
	};
	uint32_t events = 0;

	if (client->phase == CONTROL_READING)
		events = EPOLLIN;
	else if (client->queued > client->sent || client->phase == CONTROL_TELLING)
		events = EPOLLOUT;
	if (events == client->events)
		return;
	client->events = events;
	master_watch_for(master, client->fd, &watch, events);
}

/* As far as it goes without waiting. */
static void client_go_on(struct master *master, struct control_client *client, uint64_t now_ms)
{
	if (client->phase == CONTROL_TELLING)
		client_tell(master, client, now_ms);
	if (!client_flush(master, client, now_ms) ||
		(client->phase == CONTROL_ENDING && client->queued == client->sent))
		client_close(master, client);
	else
		client_watch(master, client);
}

static void client_refuse(
	struct master *master, struct control_client *client, const char *code, const char *text, uint64_t now_ms)
{
	queue_result(master, client, false, code, text);
	client_go_on(master, client, now_ms);
}

/* ---- requests ---- */

/* Whoever may connect may ask without end. */
static void log_denied(struct master *master, const struct control_client *client, uint64_t now_ms)
{
	struct control *control = &master->control;

	if (control->denied_ms != 0 && now_ms - control->denied_ms < DENIED_LOG_MS)
		return;
	control->denied_ms = now_ms;
	log_event(LOG_LEVEL_NOTICE, "a request at the control socket is refused: this user may only look",
		LOG_TEXT("request", request_kind_name(client->kind)), LOG_INT("pid", client->pid),
		LOG_INT("uid", client->uid));
}

static void begin_command(
	struct master *master, struct control_client *client, const struct control_request *request, uint64_t now_ms)
{
	struct json_line json;

	log_event(LOG_LEVEL_NOTICE, "request at the control socket",
		LOG_TEXT("request", request_kind_name(request->kind)), LOG_TEXT("argument", request->argument),
		LOG_INT("pid", client->pid), LOG_INT("uid", client->uid));
	client->phase = CONTROL_WAITING;
	client->deadline_ms = DEADLINE_NONE;
	client->ticket = ++master->control.ticket;
	queue_begin(master, client, &json);
	json_line_text(&json, "type", "accepted");
	json_line_text(&json, "request", request_kind_name(request->kind));
	queue_end(client, &json);
	client_go_on(master, client, now_ms);
	request_begin(master, request, now_ms);
}

static void take_request(struct master *master, struct control_client *client, size_t size, uint64_t now_ms)
{
	struct control_request request;
	const char *reason;

	if (control_request_parse(buffer_of(master, client)->request, size, &request, &reason) < 0) {
		client_refuse(master, client, "usage", reason, now_ms);
		return;
	}
	client->kind = request.kind;
	if (!client->may_command && !request_only_looks(request.kind)) {
		log_denied(master, client, now_ms);
		client_refuse(master, client, "permission", "only root and the daemon's user may do this", now_ms);
		return;
	}
	if (request.kind != REQUEST_STATUS) {
		begin_command(master, client, &request, now_ms);
		return;
	}
	client->phase = CONTROL_TELLING;
	client->deadline_ms = DEADLINE_NONE;
	client->board_due = master->control.board_fd >= 0;
	client_go_on(master, client, now_ms);
}

static void client_read(struct master *master, struct control_client *client, uint64_t now_ms)
{
	char *request = buffer_of(master, client)->request;
	ssize_t size = rights_receive(client->fd, request + client->size, CONTROL_REQUEST_MAX - client->size);
	const char *end;

	if (size < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (size < 0 || (size == 0 && client->size == 0)) {
		client_close(master, client);
		return;
	}
	client->size += (size_t)size;
	end = memchr(request, '\n', client->size);
	if (end != NULL)
		take_request(master, client, (size_t)(end - request), now_ms);
	else if (size == 0)
		client_refuse(master, client, "usage", "the line has no end", now_ms);
	else if (client->size == CONTROL_REQUEST_MAX)
		client_refuse(master, client, "usage", "the line is too long", now_ms);
}

/* ---- new clients ---- */

/* A place for a client: a free one, or of the one that has sat there for longest without a whole request. NULL: there
 * is neither. */
static struct control_client *find_place(struct control *control, bool may_command)
{
	struct control_client *free = NULL, *oldest = NULL;
	size_t lookers = 0;

	for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
		struct control_client *one = &control->clients[i];

		if (one->fd < 0) {
			free = one;
			continue;
		}
		lookers += !one->may_command;
		if (one->phase == CONTROL_READING && (may_command || !one->may_command) &&
			(oldest == NULL || one->accepted < oldest->accepted))
			oldest = one;
	}
	if (free != NULL && (may_command || lookers < LOOKERS_MAX))
		return free;
	return oldest;
}

/* One that has to go may have sent its request already. */
static struct control_client *make_place(struct master *master, bool may_command, uint64_t now_ms)
{
	struct control_client *client = find_place(&master->control, may_command);

	if (client == NULL || client->fd < 0)
		return client;
	client_read(master, client, now_ms);
	if (client->fd >= 0 && client->phase == CONTROL_READING)
		client_close(master, client);
	return client->fd < 0 ? client : NULL;
}

static void send_away(int fd)
{
	static const char line[] =
		"{\"type\":\"result\",\"ok\":false,\"code\":\"busy\",\"text\":\"too many clients\"}\n";

	send(fd, line, sizeof(line) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	rights_drain(fd);
	close(fd);
}

/* Takes FD over; or returns NULL, and FD stays the caller's. */
static struct control_client *add_client(struct master *master, int fd, uint64_t now_ms)
{
	struct ucred peer = { .uid = (uid_t)-1 };
	socklen_t size = sizeof(peer);
	struct watch watch = { .kind = WATCH_CONTROL };
	struct control_client *client;
	bool may_command;

	getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size);
	may_command = peer.uid == 0 || peer.uid == geteuid();
	client = make_place(master, may_command, now_ms);
	if (client == NULL)
		return NULL;
	*client = (struct control_client){
		.fd = fd,
		.serial = client->serial,
		.may_command = may_command,
		.pid = peer.pid,
		.uid = peer.uid,
		.accepted = ++master->control.accepted,
		.deadline_ms = deadline_after(now_ms, REQUEST_TIMEOUT_MS),
		.events = EPOLLIN,
	};
	master->control.client_count++;
	watch.slot = (uint32_t)(client - master->control.clients);
	watch.serial = client->serial;
	if (master_watch(master, fd, &watch) == 0)
		return client;
	client->fd = -1;
	client->serial++;
	master->control.client_count--;
	return NULL;
}

void control_accept(struct master *master, uint64_t now_ms)
{
	for (int i = 0; i < ACCEPTS_A_TURN; i++) {
		int fd = accept_gate_next(master, &master->control.gate, now_ms);
		struct control_client *client;

		if (fd < 0)
			return;
		client = add_client(master, fd, now_ms);
		/* Most have sent their request by now. */
		if (client != NULL)
			client_read(master, client, now_ms);
		else
			send_away(fd);
	}
}

/* ---- at its turn ---- */

static bool has_hung_up(int fd)
{
	struct pollfd polled = { .fd = fd };

	return poll(&polled, 1, 0) > 0 && (polled.revents & (POLLHUP | POLLERR)) != 0;
}

void control_event(struct master *master, const struct watch *watch, uint64_t now_ms)
{
	struct control_client *client = &master->control.clients[watch->slot];

	if (client->fd < 0 || (client->serial & WATCH_SERIAL_MASK) != watch->serial)
		return;
	if (client->phase == CONTROL_READING)
		client_read(master, client, now_ms);
	else if (has_hung_up(client->fd))
		client_close(master, client);
	else
		client_go_on(master, client, now_ms);
}

static void client_late(struct master *master, struct control_client *client, uint64_t now_ms)
{
	if (client->phase == CONTROL_READING)
		client_refuse(master, client, "usage", "no whole request came in time", now_ms);
	else
		client_close(master, client);
}

uint64_t control_check(struct master *master, uint64_t now_ms)
{
	struct control *control = &master->control;
	uint64_t wake_ms;

	if (control->listener.fd < 0)
		return DEADLINE_NONE;
	wake_ms = accept_gate_check(master, &control->gate, now_ms);
	/* At nearly every turn of the master's. */
	for (size_t i = 0; control->client_count > 0 && i < CONTROL_CLIENTS_MAX; i++) {
		struct control_client *client = &control->clients[i];

		if (client->fd >= 0 && deadline_passed(client->deadline_ms, now_ms))
			client_late(master, client, now_ms);
		if (client->fd >= 0)
			wake_ms = deadline_earlier(wake_ms, client->deadline_ms);
	}
	return wake_ms;
}

/* ---- answers to requests ---- */

uint64_t control_ticket(const struct master *master)
{
	return master->control.ticket;
}

static bool client_waits(const struct control_client *client, enum request_kind kind, uint64_t ticket)
{
	return client->fd >= 0 && client->phase == CONTROL_WAITING && client->kind == kind && client->ticket <= ticket;
}

bool control_next(
	const struct master *master, enum request_kind kind, struct control_request *ret_request, uint64_t *ret_ticket)
{
	const struct control *control = &master->control;
	const struct control_client *first = NULL;
	const char *request, *reason;

	for (size_t i = 0; control->clients != NULL && i < CONTROL_CLIENTS_MAX; i++) {
		const struct control_client *client = &control->clients[i];

		if (client_waits(client, kind, control->ticket) && (first == NULL || client->ticket < first->ticket))
			first = client;
	}
	if (first == NULL)
		return false;
	request = buffer_of(master, first)->request;
	*ret_ticket = first->ticket;
	return control_request_parse(request, strcspn(request, "\n"), ret_request, &reason) == 0;
}

static void put_progress(const struct master *master, struct control_client *client, const char *text)
{
	struct json_line json;

	queue_begin(master, client, &json);
	json_line_text(&json, "type", "progress");
	queue_text(&json, text);
	queue_end(client, &json);
}

/* A client that does not keep up loses lines, but not the last. */
void control_progress(struct master *master, enum request_kind kind, uint64_t ticket, const char *text)
{
	struct control *control = &master->control;

	for (size_t i = 0; control->clients != NULL && i < CONTROL_CLIENTS_MAX; i++) {
		struct control_client *client = &control->clients[i];

		if (!client_waits(client, kind, ticket))
			continue;
		if (has_room(master, client))
			put_progress(master, client, text);
		client_go_on(master, client, clock_monotonic_ms());
	}
}

static void keep_verdict(struct master *master, bool good, const char *text)
{
	struct control_verdict *verdict = &master->control.last_reload;

	verdict->time_us = clock_realtime_us();
	verdict->generation = master->generation;
	verdict->good = good;
	snprintf(verdict->text, sizeof(verdict->text), "%s", text);
}

void control_verdict(struct master *master, enum request_kind kind, uint64_t ticket, bool good, const char *text)
{
	struct control *control = &master->control;

	if (kind == REQUEST_RELOAD)
		keep_verdict(master, good, text);
	for (size_t i = 0; control->clients != NULL && i < CONTROL_CLIENTS_MAX; i++) {
		struct control_client *client = &control->clients[i];

		if (!client_waits(client, kind, ticket))
			continue;
		queue_result(master, client, good, good ? "ok" : "failed", text);
		client_go_on(master, client, clock_monotonic_ms());
	}
}

void control_refuse(struct master *master, enum request_kind kind, uint64_t ticket, const char *text)
{
	struct control *control = &master->control;

	for (size_t i = 0; control->clients != NULL && i < CONTROL_CLIENTS_MAX; i++) {
		struct control_client *client = &control->clients[i];

		if (client_waits(client, kind, ticket) && client->ticket == ticket)
			client_refuse(master, client, "failed", text, clock_monotonic_ms());
	}
}

void control_note_phase(struct master *master)
{
	char text[80];

	snprintf(text, sizeof(text), "%s, %u workers are left", lifecycle_phase_name(master->phase),
		pools_living(master));
	control_progress(master, REQUEST_STOP, control_ticket(master), text);
}

/* ---- the end, and an upgrade ---- */

static void say_end(struct master *master)
{
	char text[80];

	snprintf(text, sizeof(text), "stopped, exit status %d", master->exit_status);
	control_verdict(master, REQUEST_STOP, control_ticket(master), true, text);
	for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
		struct control_client *client = &master->control.clients[i];

		if (client->fd >= 0 && client->phase == CONTROL_WAITING)
			client_refuse(master, client, "failed", "the daemon has stopped", clock_monotonic_ms());
	}
}

void control_close(struct master *master)
{
	struct control *control = &master->control;
	int result;

	if (control->clients != NULL)
		say_end(master);
	for (size_t i = 0; control->clients != NULL && i < CONTROL_CLIENTS_MAX; i++)
		client_close(master, &control->clients[i]);
	result = listener_close(&control->listener);
	if (result < 0)
		log_event(LOG_LEVEL_WARNING, "cannot remove the file of the control socket",
			LOG_TEXT("path", control->listener.spec), LOG_ERRNO("reason", result));
	fd_close(&control->board_fd);
	memory_unforked_free(control->clients, CONTROL_CLIENTS_MAX, sizeof(*control->clients));
	memory_unforked_free(control->buffers, CONTROL_CLIENTS_MAX, sizeof(*control->buffers));
	*control = CONTROL_NONE;
}

bool control_is_talking(const struct master *master)
{
	const struct control *control = &master->control;

	for (size_t i = 0; control->client_count > 0 && i < CONTROL_CLIENTS_MAX; i++)
		if (control->clients[i].fd >= 0 && control->clients[i].phase != CONTROL_WAITING)
			return true;
	return false;
}

size_t control_waiting(const struct master *master, enum request_kind kind, int *ret_fds, size_t max)
{
	const struct control *control = &master->control;
	size_t count = 0;

	for (size_t i = 0; control->clients != NULL && i < CONTROL_CLIENTS_MAX && count < max; i++)
		if (client_waits(&control->clients[i], kind, control->ticket))
			ret_fds[count++] = control->clients[i].fd;
	return count;
}

int control_adopt(struct master *master, int fd, enum request_kind kind)
{
	struct control_client *client;

	if (master->control.clients == NULL)
		return -ENOTCONN;
	client = add_client(master, fd, clock_monotonic_ms());
	if (client == NULL)
		return -EMFILE;
	client->phase = CONTROL_WAITING;
	client->deadline_ms = DEADLINE_NONE;
	client->kind = kind;
	client->ticket = control_ticket(master);
	client_watch(master, client);
	return 0;
}
