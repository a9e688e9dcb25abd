/* SPDX-License-Identifier: MIT */
/*
 * burst: many requests at once. C connections are opened one after the other as fast as that goes, each with one
 * request, and for each is noted when its service begins: when the first byte of its answer comes, which the servers of
 * the benchmark send before they take their time over the rest. It ends when all connections have.
 *
 * The result is one JSON object on standard output: times in microseconds since before the first connection was opened,
 * and the shortest time a request was held, which shows that the servers did take their time.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"

#define CONNECTIONS_MAX 4096
#define EVENTS_MAX      64

struct connection {
	int fd;            /* -1: it has ended */
	uint64_t began_ns; /* its service; 0: not yet */
	uint64_t ended_ns; /* 0: not yet, or it failed */
};

static struct settings {
	struct client_address address;
	unsigned int count;
	uint64_t timeout_ns;
	enum client_protocol protocol;
	char message[MESSAGE_SIZE];
} settings;

static struct connection connections[CONNECTIONS_MAX];
static unsigned int open_count;

static void connection_end(struct connection *connection, bool well)
{
	close(connection->fd);
	connection->fd = -1;
	connection->ended_ns = well && connection->began_ns ? client_now_ns() : 0;
	open_count--;
}

static void connection_make(struct connection *connection, int epoll)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = connection };

	connection->fd = socket(settings.address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (connection->fd < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, connection->fd, &event))
		client_die("socket");
	open_count++;
}

/* On the loopback the handshake is over when connect() returns, so the request can be sent at once. */
static void connection_ask(struct connection *connection)
{
	if ((connect(connection->fd, &settings.address.any, settings.address.size) && errno != EINPROGRESS) ||
		send(connection->fd, settings.message, MESSAGE_SIZE, MSG_NOSIGNAL) != MESSAGE_SIZE)
		connection_end(connection, false);
}

static void connection_read(struct connection *connection)
{
	char buffer[4096];
	ssize_t size = recv(connection->fd, buffer, sizeof(buffer), 0);

	if (size < 0 && errno == EAGAIN)
		return;
	if (size <= 0)
		connection_end(connection, size == 0);
	else if (!connection->began_ns) {
		if (client_answer_begins(settings.protocol, buffer, (size_t)size))
			connection->began_ns = client_now_ns();
		else
			connection_end(connection, false);
	}
}

static void run(int epoll, uint64_t begin_ns)
{
	const uint64_t end_ns = begin_ns + settings.timeout_ns;

	while (open_count > 0 && client_now_ns() < end_ns) {
		struct epoll_event events[EVENTS_MAX];
		int count = epoll_wait(epoll, events, EVENTS_MAX, 100);

		if (count < 0 && errno != EINTR)
			client_die("epoll_wait");
		for (int i = 0; i < count; i++)
			connection_read(events[i].data.ptr);
	}
}

static int compare(const void *a, const void *b)
{
	const uint64_t first = *(const uint64_t *)a;
	const uint64_t second = *(const uint64_t *)b;

	return first < second ? -1 : first > second;
}

static void print_result(uint64_t begin_ns)
{
	static uint64_t times_ns[CONNECTIONS_MAX];
	uint64_t held_ns = UINT64_MAX;
	unsigned int served = 0;

	for (unsigned int i = 0; i < settings.count; i++) {
		const struct connection *connection = &connections[i];

		if (!connection->ended_ns)
			continue;
		times_ns[served++] = connection->began_ns - begin_ns;
		if (connection->ended_ns - connection->began_ns < held_ns)
			held_ns = connection->ended_ns - connection->began_ns;
	}
	qsort(times_ns, served, sizeof(times_ns[0]), compare);
	printf("{\"served\": %u, \"failed\": %u, \"held_us\": %.1f, \"began_us\": [", served, settings.count - served,
		served ? (double)held_ns / 1000 : 0);
	for (unsigned int i = 0; i < served; i++)
		printf("%s%.1f", i ? ", " : "", (double)times_ns[i] / 1000);
	printf("]}\n");
}

static _Noreturn void usage(void)
{
	fprintf(stderr,
		"usage: burst (-p PORT | -u SOCKET) [-c CONNECTIONS] [-T TIMEOUT_SECONDS] [-g PATH | -f SCRIPT]\n"
		"  -g  each asks by HTTP for PATH   -f  by FastCGI for SCRIPT; otherwise 128 bytes\n");
	exit(64);
}

static void parse(int argc, char **argv)
{
	int option;

	settings = (struct settings){ .count = 64, .timeout_ns = UINT64_C(30000000000) };
	client_address_init(&settings.address);
	client_message_text(settings.message);
	while ((option = getopt(argc, argv, "p:u:c:T:g:f:")) != -1) {
		switch (option) {
		case 'p':
			client_address_set_port(&settings.address, optarg);
			break;
		case 'u':
			client_address_set_path(&settings.address, optarg);
			break;
		case 'c':
			settings.count = (unsigned int)client_number(optarg);
			break;
		case 'T':
			settings.timeout_ns = (uint64_t)(client_number(optarg) * 1e9);
			break;
		case 'g':
			settings.protocol = CLIENT_HTTP;
			client_message_get(settings.message, optarg, "close");
			break;
		case 'f':
			settings.protocol = CLIENT_FASTCGI;
			client_message_fastcgi(settings.message, optarg, false);
			break;
		default:
			usage();
		}
	}
	if (optind != argc || !client_address_is_set(&settings.address) || !settings.count ||
		settings.count > CONNECTIONS_MAX)
		usage();
}

int main(int argc, char **argv)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	uint64_t begin_ns;

	parse(argc, argv);
	if (epoll < 0)
		client_die("epoll_create1");
	for (unsigned int i = 0; i < settings.count; i++)
		connection_make(&connections[i], epoll);
	begin_ns = client_now_ns();
	for (unsigned int i = 0; i < settings.count; i++)
		connection_ask(&connections[i]);
	run(epoll, begin_ns);
	print_result(begin_ns);
	return 0;
}
