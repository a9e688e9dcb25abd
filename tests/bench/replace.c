/* SPDX-License-Identifier: MIT */
/*
 * replace: how long a server with a single worker is without it. The worker is killed by SIGKILL, the client connects
 * as soon as it is dead (a dying one may still take a connection with it), and the time from the kill until the first
 * byte of the answer is what the server took to notice, to start another, and to have it accept. This is done again and
 * again, with a pause before each kill in which the server comes to rest.
 *
 * The worker waits for a connection when it is killed, or with -b it is amid one: its client has an answer, and keeps
 * the connection.
 *
 * Which process the worker is, /proc tells: the one child of the master besides those that -x names.
 *
 * The result is one JSON object on standard output, with times in microseconds.
 */
#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "client.h"

#define KILLS_MAX   100000
#define OTHERS_MAX  16
#define PREFIX_SIZE 4
#define TIMEOUT_S   10

static struct settings {
	struct client_address address;
	pid_t master;
	pid_t others[OTHERS_MAX]; /* children of the master that are no workers */
	unsigned int other_count;
	unsigned int kills;
	uint64_t duration_ns; /* no kill begins later; 0: no limit */
	useconds_t pause_us;
	bool busy;
	enum client_protocol protocol;
	char message[MESSAGE_SIZE];
} settings;

static bool is_other(pid_t pid)
{
	for (unsigned int i = 0; i < settings.other_count; i++)
		if (settings.others[i] == pid)
			return true;
	return false;
}

/* The master's only worker besides OLD, which may be waited for still; 0 where it has none, or several. */
static pid_t find_worker(pid_t old)
{
	char path[64];
	pid_t found = 0;
	int count = 0;
	int pid;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", settings.master, settings.master);
	file = fopen(path, "re");
	if (!file)
		client_die(path);
	while (fscanf(file, "%d", &pid) == 1) {
		if (pid != old && !is_other(pid)) {
			found = pid;
			count++;
		}
	}
	fclose(file);
	return count == 1 ? found : 0;
}

/* Connects, asks, and waits for the first bytes of the answer. Returns the connection. */
static int ask(void)
{
	const struct timeval timeout = { .tv_sec = TIMEOUT_S };
	int fd = socket(settings.address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char answer[4096];
	ssize_t size;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)))
		client_die("socket");
	if (connect(fd, &settings.address.any, settings.address.size))
		client_die("connect");
	if (send(fd, settings.message, MESSAGE_SIZE, MSG_NOSIGNAL) != MESSAGE_SIZE)
		client_die("send");
	size = recv(fd, answer, sizeof(answer), 0);
	if (size <= 0 || !client_answer_begins(settings.protocol, answer, (size_t)size))
		client_die(size < 0 ? "no answer" : "a wrong answer");
	return fd;
}

static void kill_and_wait(pid_t worker)
{
	struct pollfd death = { .fd = (int)syscall(SYS_pidfd_open, worker, 0), .events = POLLIN };

	if (death.fd < 0 || kill(worker, SIGKILL))
		client_die("kill");
	while (poll(&death, 1, TIMEOUT_S * 1000) < 0)
		;
	close(death.fd);
}

/* Kills the worker. Returns how long it was until there was an answer again. */
static uint64_t replace(pid_t worker)
{
	uint64_t began_ns = client_now_ns();
	uint64_t took_ns;
	int fd;

	kill_and_wait(worker);
	fd = ask();
	took_ns = client_now_ns() - began_ns;
	close(fd);
	return took_ns;
}

/* Has the worker in the state in which it is to be killed. Returns its connection, or -1 where it waits for one. */
static int prepare(void)
{
	int fd = settings.busy ? ask() : -1;

	usleep(settings.pause_us);
	return fd;
}

static int compare(const void *a, const void *b)
{
	const uint64_t first = *(const uint64_t *)a;
	const uint64_t second = *(const uint64_t *)b;

	return first < second ? -1 : first > second;
}

static void print_result(uint64_t *times_ns, unsigned int count)
{
	qsort(times_ns, count, sizeof(times_ns[0]), compare);
	printf("{\"kills\": %u", count);
	if (count > 0)
		printf(", \"p50_us\": %.1f, \"p90_us\": %.1f, \"max_us\": %.1f", (double)times_ns[count / 2] / 1000,
			(double)times_ns[count * 9 / 10] / 1000, (double)times_ns[count - 1] / 1000);
	printf("}\n");
}

static _Noreturn void usage(void)
{
	fprintf(stderr,
		"usage: replace (-p PORT | -u SOCKET) -P MASTER [-x OTHER_CHILD]... [-n KILLS] [-d SECONDS]\n"
		"               [-w PAUSE_MS] [-b] [-g PATH | -f SCRIPT]\n"
		"  -b  kill it amid a connection   -g  ask by HTTP for PATH   -f  by FastCGI for SCRIPT; otherwise a\n"
		"      message of 128 bytes with its length in front\n");
	exit(64);
}

static void make_message(const char *path)
{
	const uint32_t prefix = htonl(MESSAGE_SIZE - PREFIX_SIZE);

	switch (settings.protocol) {
	case CLIENT_MESSAGE:
		client_message_text(settings.message);
		memcpy(settings.message, &prefix, PREFIX_SIZE);
		break;
	case CLIENT_HTTP:
		client_message_get(settings.message, path, "keep-alive");
		break;
	case CLIENT_FASTCGI:
		client_message_fastcgi(settings.message, path, true);
		break;
	}
}

static void parse(int argc, char **argv)
{
	const char *path = NULL;
	int option;

	settings = (struct settings){ .kills = 20, .pause_us = 20000 };
	client_address_init(&settings.address);
	while ((option = getopt(argc, argv, "p:u:P:x:n:d:w:bg:f:")) != -1) {
		switch (option) {
		case 'p':
			client_address_set_port(&settings.address, optarg);
			break;
		case 'u':
			client_address_set_path(&settings.address, optarg);
			break;
		case 'P':
			settings.master = (pid_t)client_number(optarg);
			break;
		case 'x':
			if (settings.other_count == OTHERS_MAX)
				usage();
			settings.others[settings.other_count++] = (pid_t)client_number(optarg);
			break;
		case 'n':
			settings.kills = (unsigned int)client_number(optarg);
			break;
		case 'd':
			settings.duration_ns = (uint64_t)(client_number(optarg) * 1e9);
			break;
		case 'w':
			settings.pause_us = (useconds_t)(client_number(optarg) * 1000);
			break;
		case 'b':
			settings.busy = true;
			break;
		case 'g':
		case 'f':
			settings.protocol = option == 'g' ? CLIENT_HTTP : CLIENT_FASTCGI;
			path = optarg;
			break;
		default:
			usage();
		}
	}
	make_message(path);
	if (optind != argc || !client_address_is_set(&settings.address) || !settings.master ||
		settings.kills > KILLS_MAX)
		usage();
}

int main(int argc, char **argv)
{
	static uint64_t times_ns[KILLS_MAX];
	unsigned int count = 0;
	uint64_t begin_ns;
	pid_t old = 0;

	parse(argc, argv);
	begin_ns = client_now_ns();
	while (count < settings.kills && !(settings.duration_ns && client_now_ns() - begin_ns > settings.duration_ns)) {
		int fd = prepare();
		pid_t worker = find_worker(old);

		if (!worker) {
			fprintf(stderr, "there is not exactly one worker\n");
			return 70;
		}
		times_ns[count++] = replace(worker);
		if (fd >= 0)
			close(fd);
		old = worker;
	}
	print_result(times_ns, count);
	return 0;
}
