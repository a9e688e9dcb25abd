/* SPDX-License-Identifier: MIT */
#include "ctl/client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/rights.h"

/* The longest line is a fraction of it. */
#define DATA_MAX (16 * 1024 * 1024)
#define READ_MAX 65536

static int fail(const struct client *client, enum ctl_status status, const char *what)
{
	fprintf(stderr, "broodctl: %s: %s\n", client->path, what);
	return (int)status;
}

/* ---- connecting ---- */

static int try_path(struct client *client, const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	FD_AUTO int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(client->path, sizeof(client->path), "%s", path);
	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path));
	if (fd < 0)
		return -errno;
	/* A daemon that hangs has a full queue at some time. */
	fd_set_timeout(fd, SO_SNDTIMEO, CLIENT_TIMEOUT_MS);
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	client->fd = fd_steal(&fd);
	return 0;
}

/* Says why there is no connection. */
static int explain(const struct client *client, int error)
{
	switch (-error) {
	case ENOENT:
		return fail(client, CTL_NO_DAEMON, "no daemon there: no such socket");
	case ECONNREFUSED:
		return fail(client, CTL_NO_DAEMON, "no daemon there: nobody answers");
	case EACCES:
	case EPERM:
		return fail(
			client, CTL_PERMISSION, "no permission: the daemon's control_mode does not let this user in");
	case EAGAIN:
		return fail(client, CTL_BUSY, "the daemon does not answer");
	default:
		return fail(client, CTL_NO_DAEMON, strerror(-error));
	}
}

static bool nobody_is_there(int error)
{
	return error == -ENOENT || error == -ECONNREFUSED || error == -ENOTDIR;
}

static int connect_usual(struct client *client)
{
	char path[CONTROL_PATH_MAX];
	int result = -ENOENT;

	for (size_t i = 0; nobody_is_there(result) && control_path_usual(i, path); i++)
		result = try_path(client, path);
	return result;
}

int client_connect(struct client *client, const char *path)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);
	int result = path != NULL ? try_path(client, path) : connect_usual(client);

	if (result < 0)
		return explain(client, result);
	if (getsockopt(client->fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0)
		client->daemon = peer.pid;
	return CTL_OK;
}

void client_done(struct client *client)
{
	fd_close(&client->fd);
	fd_close(&client->board_fd);
	free(client->data);
	*client = CLIENT_NONE;
}

/* A daemon that has too many clients says so, and closes: then the answer is there, and sending fails. */
int client_ask(struct client *client, const char *line)
{
	char *text;
	int size = asprintf(&text, "%s\n", line);
	ssize_t sent;

	if (size < 0)
		return fail(client, CTL_SYSTEM, strerror(ENOMEM));
	sent = send(client->fd, text, (size_t)size, MSG_NOSIGNAL);
	free(text);
	if (sent == size || errno == EPIPE)
		return CTL_OK;
	return sent >= 0 || errno == EAGAIN ? fail(client, CTL_BUSY, "the daemon does not answer")
					    : fail(client, CTL_SYSTEM, strerror(errno));
}

/* ---- answers ---- */

static int make_room(struct client *client)
{
	size_t size = client->size == 0 ? 2 * (size_t)READ_MAX : 2 * client->size;
	char *data;

	if (client->taken > 0)
		memmove(client->data, client->data + client->taken, client->used - client->taken);
	client->used -= client->taken;
	client->taken = 0;
	if (client->size - client->used >= READ_MAX)
		return CTL_OK;
	if (size > DATA_MAX)
		return fail(client, CTL_PROTOCOL, "a line without an end");
	data = realloc(client->data, size);
	if (data == NULL)
		return fail(client, CTL_SYSTEM, strerror(ENOMEM));
	client->data = data;
	client->size = size;
	return CTL_OK;
}

/* Keeps the one descriptor that is expected, and no other. */
static void take_rights(struct client *client, struct msghdr *message)
{
	struct cmsghdr *control = CMSG_FIRSTHDR(message);

	if (control != NULL && control->cmsg_level == SOL_SOCKET && control->cmsg_type == SCM_RIGHTS &&
		control->cmsg_len == CMSG_LEN(sizeof(int)) && client->board_fd < 0)
		memcpy(&client->board_fd, CMSG_DATA(control), sizeof(int));
	else
		rights_drop(message);
}

/* RET_SIZE: 0 at the end of the connection. */
static int receive(struct client *client, size_t *ret_size)
{
	_Alignas(struct cmsghdr) char control[RIGHTS_SPACE];
	struct iovec data = { .iov_base = client->data + client->used, .iov_len = client->size - client->used };
	struct msghdr message = {
		.msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
	};
	ssize_t size = recvmsg(client->fd, &message, MSG_CMSG_CLOEXEC);

	if (size < 0 && errno == ECONNRESET)
		size = 0;
	if (size < 0)
		return fail(client, CTL_SYSTEM, strerror(errno));
	take_rights(client, &message);
	client->used += (size_t)size;
	*ret_size = (size_t)size;
	return CTL_OK;
}

static int wait_readable(const struct client *client, uint64_t deadline_ms)
{
	struct pollfd polled = { .fd = client->fd, .events = POLLIN };
	int count;

	do {
		uint64_t now_ms = clock_monotonic_ms();
		int left_ms = deadline_ms > now_ms ? (int)(deadline_ms - now_ms) : 0;

		count = poll(&polled, 1, deadline_ms == UINT64_MAX ? -1 : left_ms);
	} while (count < 0 && errno == EINTR);
	if (count == 0)
		return fail(client, CTL_BUSY, "the daemon does not answer in time");
	return count < 0 ? fail(client, CTL_SYSTEM, strerror(errno)) : CTL_OK;
}

static char *find_end(const struct client *client)
{
	return client->used > client->taken ? memchr(client->data + client->taken, '\n', client->used - client->taken)
					    : NULL;
}

static int take_line(struct client *client, const char *end, json_t **ret_line)
{
	const char *start = client->data + client->taken;
	json_t *line = json_loadb(start, (size_t)(end - start), 0, NULL);

	client->taken += (size_t)(end - start) + 1;
	if (!json_is_object(line)) {
		json_decref(line);
		return fail(client, CTL_PROTOCOL, "what answers there is no brood");
	}
	*ret_line = line;
	return CTL_OK;
}

int client_next(struct client *client, int timeout_ms, json_t **ret_line)
{
	uint64_t deadline_ms = timeout_ms < 0 ? UINT64_MAX : clock_monotonic_ms() + (uint64_t)timeout_ms;
	size_t size = 1;
	int status = CTL_OK;
	char *end;

	*ret_line = NULL;
	while ((end = find_end(client)) == NULL && size > 0 && status == CTL_OK) {
		status = wait_readable(client, deadline_ms);
		if (status == CTL_OK)
			status = make_room(client);
		if (status == CTL_OK)
			status = receive(client, &size);
	}
	return status == CTL_OK && end != NULL ? take_line(client, end, ret_line) : status;
}

const char *line_text(const json_t *line, const char *name)
{
	const char *text = json_string_value(json_object_get(line, name));

	return text != NULL ? text : "";
}

bool line_is(const json_t *line, const char *type)
{
	return strcmp(line_text(line, "type"), type) == 0;
}
