/* SPDX-License-Identifier: MIT */
#include "master/ack.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/rights.h"
#include "master/adopt.h"
#include "master/master_private.h"
#include "policy/deadline.h"

/* Of one worker: more than any library opens; a further one closes its oldest. */
#define WORKER_CONNECTIONS_MAX 4
#define LINE_TIMEOUT_MS        5000
#define LINES_A_TURN           8
#define REPORTS_A_SECOND       10

/* ---- the socket ---- */

static bool acknowledges(const struct pool_config *config)
{
	return config->kind == HANDLER_ACCEPTS && config->program.ready == READY_ACK;
}

static bool is_wanted(const struct master *master)
{
	FOR_EACH_POOL (master, pool)
		if (acknowledges(pool->config) || (pool->next.config != NULL && acknowledges(pool->next.config)))
			return true;
	return false;
}

static int open_socket(struct ack_server *server)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	FD_AUTO int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int size = snprintf(address.sun_path, sizeof(address.sun_path), "%s/ack.sock", server->directory);

	if (fd < 0)
		return -errno;
	if (size >= (int)sizeof(address.sun_path))
		return -ENAMETOOLONG;
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	memcpy(server->path, address.sun_path, sizeof(server->path));
	if (chmod(server->path, 0666) < 0 || listen(fd, SOMAXCONN) < 0)
		return -errno;
	server->fd = fd_steal(&fd);
	return 0;
}

static const struct watch listener_watch = { .kind = WATCH_ACK_LISTENER };

int ack_open(struct master *master)
{
	struct ack_server *server = &master->ack;
	int result;

	if (server->fd >= 0 || !is_wanted(master))
		return 0;
	server->connections = memory_unforked(ACK_CONNECTIONS_MAX, sizeof(*server->connections));
	if (server->connections == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < ACK_CONNECTIONS_MAX; i++)
		server->connections[i].fd = -1;
	result = adopt_ack(master) ? 0 : runtime_dir_make(server->directory);
	if (result == 0 && server->fd < 0)
		result = open_socket(server);
	if (result == 0)
		result = accept_gate_open(master, &server->gate, server->fd, &listener_watch, "acknowledgements");
	return result;
}

/* Of what comes with the lines nothing is taken, nor waited for. */
static void close_peer(int fd)
{
	rights_drain(fd);
	close(fd);
}

static void connection_close(const struct master *master, struct ack_connection *connection)
{
	if (connection->fd >= 0) {
		master_unwatch(master, connection->fd);
		close_peer(connection->fd);
	}
	connection->fd = -1;
	connection->serial++;
}

void ack_close(struct master *master)
{
	struct ack_server *server = &master->ack;

	for (size_t i = 0; server->connections != NULL && i < ACK_CONNECTIONS_MAX; i++)
		connection_close(master, &server->connections[i]);
	memory_unforked_free(server->connections, ACK_CONNECTIONS_MAX, sizeof(*server->connections));
	server->connections = NULL;
	fd_close(&server->fd);
	if (server->path[0] != '\0')
		unlink(server->path);
	server->path[0] = '\0';
	runtime_dir_remove(server->directory);
}

/* ---- who it is ---- */

/* The pid of the worker that process PID is, or whose group it is in; 0: of none. */
static pid_t worker_of(const struct master *master, pid_t pid)
{
	struct child child;
	pid_t group;

	if (children_find(&master->children, pid, &child) && child.kind == CHILD_WORKER)
		return pid;
	group = getpgid(pid);
	if (group > 0 && children_find(&master->children, group, &child) && child.kind == CHILD_WORKER)
		return group;
	return 0;
}

/* Whether the peer may speak at all. One that has gone already may have been a worker's: its line tells whose. */
static bool peer_counts(const struct master *master, int fd, struct ucred *ret_peer, pid_t *ret_worker)
{
	socklen_t size = sizeof(*ret_peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, ret_peer, &size) < 0 || ret_peer->pid <= 0)
		return false;
	*ret_worker = worker_of(master, ret_peer->pid);
	return *ret_worker != 0 || getpgid(ret_peer->pid) < 0;
}

/* ---- connections ---- */

/* A free place. Where there is none, or the worker has its share, the one that was taken first goes: of the worker's,
 * or of those on which nothing is awaited. */
static struct ack_connection *free_connection(struct ack_server *server, pid_t worker)
{
	struct ack_connection *free = NULL, *oldest = NULL, *idle = NULL;
	size_t count = 0;

	for (size_t i = 0; i < ACK_CONNECTIONS_MAX; i++) {
		struct ack_connection *one = &server->connections[i];

		if (one->fd < 0) {
			free = one;
			continue;
		}
		if (one->deadline_ms == DEADLINE_NONE && (idle == NULL || one->accepted < idle->accepted))
			idle = one;
		if (one->worker != worker)
			continue;
		count++;
		if (oldest == NULL || one->accepted < oldest->accepted)
			oldest = one;
	}
	if (count >= WORKER_CONNECTIONS_MAX)
		return oldest;
	return free != NULL ? free : idle;
}

/* Whoever may speak here may do so without end. What is not said is counted, and told with the next one. */
static bool may_report(struct ack_server *server)
{
	uint64_t now_ms = clock_monotonic_ms();

	if (now_ms - server->reports_ms >= 1000) {
		if (server->reports > REPORTS_A_SECOND)
			log_event(LOG_LEVEL_WARNING, "refusals at the socket for acknowledgements were not told of",
				LOG_INT("number", server->reports - REPORTS_A_SECOND));
		server->reports_ms = now_ms;
		server->reports = 0;
	}
	return ++server->reports <= REPORTS_A_SECOND;
}

/* ---- what they say ---- */

static void refuse(struct master *master, const struct ack_connection *connection, const char *reason, pid_t named)
{
	if (!may_report(&master->ack))
		return;
	log_event(LOG_LEVEL_WARNING, "an acknowledgement is refused", LOG_INT("worker", connection->worker),
		LOG_TEXT("reason", reason), LOG_INT("named_pid", named));
}

/* The pid on the line is the worker's own, whichever process of its group has sent it. */
static void take_ack(struct master *master, const struct ack_connection *connection, pid_t named, uint64_t now_ms)
{
	struct child child;
	const struct pool_config *config;
	struct pool *pool;

	if (!children_find(&master->children, named, &child) || child.kind != CHILD_WORKER) {
		refuse(master, connection, "the pid is no worker's", named);
		return;
	}
	pool = &master->pools[child.pool];
	config = pool->workers[child.slot].config;
	if (!acknowledges(config))
		refuse(master, connection, "the worker's pool does not wait for it (ready = ack)", named);
	else if (connection->worker != 0 && connection->worker != named)
		refuse(master, connection, "the pid is another worker's", named);
	else if (connection->worker == 0 && connection->uid != program_uid(config))
		refuse(master, connection, "its sender has gone, and was another user's", named);
	else
		program_became_ready(master, pool, child.slot, now_ms);
}

/* Returns whether another line may follow: after an acknowledgement Einhorn closes the connection. */
static bool take_line(struct master *master, const struct ack_connection *connection, size_t size, uint64_t now_ms)
{
	struct ack_line line;

	if (ack_line_parse(connection->line, size, &line) < 0) {
		refuse(master, connection, "it is not in the form of Einhorn's messages", 0);
		return false;
	}
	if (line.command == ACK_READY)
		take_ack(master, connection, line.pid, now_ms);
	if (line.command == ACK_OTHER)
		refuse(master, connection, "only worker:ack and worker:ping are known", line.pid);
	return line.command == ACK_PING;
}

/* Takes the whole lines out of the buffer. Returns whether the connection goes on. */
static bool take_lines(struct master *master, struct ack_connection *connection, uint64_t now_ms)
{
	char *end;

	while ((end = memchr(connection->line, '\n', connection->size)) != NULL) {
		size_t used = (size_t)(end - connection->line) + 1;

		if (!take_line(master, connection, used - 1, now_ms))
			return false;
		connection->size -= used;
		memmove(connection->line, end + 1, connection->size);
		connection->deadline_ms = DEADLINE_NONE;
	}
	if (connection->size > 0 && connection->deadline_ms == DEADLINE_NONE)
		connection->deadline_ms = deadline_after(now_ms, LINE_TIMEOUT_MS);
	if (connection->size < sizeof(connection->line))
		return true;
	refuse(master, connection, "the line is too long", 0);
	return false;
}

static bool connection_read(struct master *master, struct ack_connection *connection, uint64_t now_ms)
{
	ssize_t size = rights_receive(
		connection->fd, connection->line + connection->size, sizeof(connection->line) - connection->size);

	if (size < 0)
		return errno == EAGAIN || errno == EINTR;
	if (size == 0)
		return false;
	connection->size += (size_t)size;
	return take_lines(master, connection, now_ms);
}

/* ---- new connections ---- */

static void take_connection(struct master *master, int fd, uint64_t now_ms)
{
	struct ack_server *server = &master->ack;
	struct ack_connection *connection;
	struct watch watch = { .kind = WATCH_ACK };
	struct ucred peer = { 0 };
	pid_t worker = 0;

	if (!peer_counts(master, fd, &peer, &worker)) {
		if (may_report(server))
			log_event(LOG_LEVEL_WARNING,
				"a foreign process at the socket for acknowledgements is sent away",
				LOG_INT("pid", peer.pid), LOG_INT("uid", peer.uid));
		close_peer(fd);
		return;
	}
	connection = free_connection(server, worker);
	if (connection == NULL) {
		if (may_report(server))
			log_event(LOG_LEVEL_WARNING, "too many connections to the socket for acknowledgements",
				LOG_INT("pid", peer.pid));
		close_peer(fd);
		return;
	}
	/* One that has to go may have said its word already: in a flood its event comes after those of the listener. */
	if (connection->fd >= 0)
		connection_read(master, connection, now_ms);
	connection_close(master, connection);
	*connection = (struct ack_connection){
		.fd = fd,
		.serial = connection->serial,
		.worker = worker,
		.uid = peer.uid,
		.accepted = ++server->accepted,
		.deadline_ms = deadline_after(now_ms, LINE_TIMEOUT_MS),
	};
	watch.slot = (uint32_t)(connection - server->connections);
	watch.serial = connection->serial;
	if (master_watch(master, fd, &watch) < 0)
		connection_close(master, connection);
}

void ack_accept(struct master *master, uint64_t now_ms)
{
	for (int i = 0; i < LINES_A_TURN; i++) {
		int fd = accept_gate_next(master, &master->ack.gate, now_ms);

		if (fd < 0)
			return;
		take_connection(master, fd, now_ms);
	}
}

/* ---- at its turn ---- */

void ack_read(struct master *master, const struct watch *watch, uint64_t now_ms)
{
	struct ack_connection *connection = &master->ack.connections[watch->slot];

	if (connection->fd < 0 || (connection->serial & WATCH_SERIAL_MASK) != watch->serial)
		return;
	if (!connection_read(master, connection, now_ms))
		connection_close(master, connection);
}

/* What has been said before a death counts, also where its event is still to come. */
void ack_read_all(struct master *master, uint64_t now_ms)
{
	struct ack_server *server = &master->ack;

	if (server->fd < 0)
		return;
	ack_accept(master, now_ms);
	for (size_t i = 0; i < ACK_CONNECTIONS_MAX; i++)
		if (server->connections[i].fd >= 0 && !connection_read(master, &server->connections[i], now_ms))
			connection_close(master, &server->connections[i]);
}

uint64_t ack_check(struct master *master, uint64_t now_ms)
{
	struct ack_server *server = &master->ack;
	uint64_t wake_ms;

	if (server->fd < 0)
		return DEADLINE_NONE;
	wake_ms = accept_gate_check(master, &server->gate, now_ms);
	for (size_t i = 0; i < ACK_CONNECTIONS_MAX; i++) {
		struct ack_connection *connection = &server->connections[i];

		if (connection->fd < 0)
			continue;
		if (deadline_passed(connection->deadline_ms, now_ms)) {
			refuse(master, connection, "no line came in time", 0);
			connection_close(master, connection);
			continue;
		}
		wake_ms = deadline_earlier(wake_ms, connection->deadline_ms);
	}
	return wake_ms;
}
