/* SPDX-License-Identifier: MIT */
/*
 * loss: clients that come at a set rate, whatever becomes of those before them, and count every failure by its kind.
 *
 * Without -k each client connects, sends one message, reads until the server closes, and is gone. With -k so many
 * connections are kept; each sends a message when it is its turn, and with -l is closed by the client after so many and
 * opened anew. A server may close a kept connection that has no request under way: that is counted apart
 * (`idle_closed`), and the connection is opened again for its next message. A request that was sent and not answered is
 * a failure.
 *
 * An answer is the message itself, or an HTTP 200 whose body has the size expected. A connection that is answered with
 * "Connection: close" is expected to be closed (`announced`).
 *
 * It ends after -d seconds, -n requests, or at SIGTERM or SIGINT: no more requests are begun, those under way have
 * until their time-out. On standard output it then writes one line, a JSON object; one at its beginning, from which on
 * it takes signals; and one at each SIGUSR1, so that whoever does something to the server can tell what came of it. The
 * first failures stand in it with the time they happened, as CLOCK_MONOTONIC has it.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"

#define EVENTS_MAX  256
#define CLIENTS_MAX 8000 /* connections at a time; beyond that a client fails for want of a place */
#define ANSWER_MAX  4096
#define FIRST_MAX   64 /* failures that are told of one by one */
#define EXPIRY_NS   UINT64_C(100000000)
#define RETRY_NS    UINT64_C(1000000) /* until a unix socket's queue, which was full, is tried again */
#define NS_A_SECOND UINT64_C(1000000000)

enum failure {
	FAILURE_REFUSED,      /* nobody listens there */
	FAILURE_RESET_BEFORE, /* the connection broke before the request was sent */
	FAILURE_RESET,        /* after it was sent */
	FAILURE_MET_CLOSE,    /* a request on a kept connection met its end: not a byte of an answer */
	FAILURE_SHORT,        /* the end of the stream before the end of the answer */
	FAILURE_WRONG,        /* an answer, but not the expected one */
	FAILURE_TIMEOUT,      /* no complete answer in the time given */
	FAILURE_LOCAL,        /* no port, descriptor or place at our side */
	FAILURE_OTHER,
	FAILURES,
};

static const char *const failure_names[FAILURES] = {
	[FAILURE_REFUSED] = "refused",
	[FAILURE_RESET_BEFORE] = "reset_before",
	[FAILURE_RESET] = "reset",
	[FAILURE_MET_CLOSE] = "met_close",
	[FAILURE_SHORT] = "short",
	[FAILURE_WRONG] = "wrong",
	[FAILURE_TIMEOUT] = "timeout",
	[FAILURE_LOCAL] = "local",
	[FAILURE_OTHER] = "other",
};

struct settings {
	struct client_address address;
	double rate;          /* requests a second */
	uint64_t duration_ns; /* 0: no end but the others */
	uint64_t count;       /* requests; 0: no end but the others */
	uint64_t timeout_ns;
	unsigned int kept; /* connections that are kept; 0: one a request */
	uint64_t life;     /* requests of a kept connection; 0: all */
	bool http;
	size_t body; /* bytes of an HTTP answer's body */
	char message[MESSAGE_SIZE];
};

enum client_state {
	CLIENT_NONE,     /* no connection */
	CLIENT_QUEUEING, /* a unix socket's queue is full: connect again at due_ns */
	CLIENT_SENDING,  /* connecting, or the request is not sent whole */
	CLIENT_READING,  /* of a connection a request: until its end */
	CLIENT_IDLE,     /* kept, and no request under way */
};

struct client {
	enum client_state state;
	int fd;
	uint32_t sent;
	uint32_t received;
	uint64_t requests;   /* answered on this connection */
	uint64_t started_ns; /* of the request */
	uint64_t due_ns;     /* CLIENT_QUEUEING: the next try */
	bool whole;          /* the answer is complete */
	bool announced;      /* with "Connection: close" */
	char answer[ANSWER_MAX];
};

struct first {
	uint64_t at_ns;
	enum failure failure;
	int error;
	uint32_t received;
	uint64_t requests; /* answered on that connection before */
};

static struct {
	uint64_t connections; /* that were established, or failed to be */
	uint64_t begun;       /* requests */
	uint64_t answered;
	uint64_t idle_closed;
	uint64_t announced;
	uint64_t queued; /* clients that found a unix socket's queue full, and waited */
	uint64_t failures[FAILURES];
	uint64_t latency_sum_ns;
	uint64_t latency_max_ns;
	uint64_t last_answer_ns;
	uint64_t gap_max_ns; /* between two answers */
	struct first first[FIRST_MAX];
	size_t first_count;
} results;

static struct settings settings;
static struct client *clients;
static uint32_t *free_clients; /* a stack of them */
static uint32_t free_count;
static uint32_t client_count;
static uint32_t under_way; /* requests */
static uint64_t begin_ns;
static uint64_t end_ns; /* when no more were begun; 0: they are */
static int epoll_fd;
static uint32_t next_kept; /* whose turn it is */

/* ---- results ---- */

static uint64_t failed_count(void)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < FAILURES; i++)
		sum += results.failures[i];
	return sum;
}

static void print_first(void)
{
	for (size_t i = 0; i < results.first_count; i++) {
		const struct first *first = &results.first[i];

		printf("%s{\"at\": %.6f, \"kind\": \"%s\", \"error\": \"%s\", \"received\": %u, \"request\": %lu}",
			i ? ", " : "", (double)first->at_ns / 1e9, failure_names[first->failure],
			first->error ? strerrorname_np(first->error) : "", first->received, first->requests + 1);
	}
}

static void print_results(bool final)
{
	uint64_t now = client_now_ns();
	uint64_t until = end_ns ? end_ns : now;
	uint64_t gap_ns = results.gap_max_ns;

	/* The silence that goes on counts like any other. */
	if (until > results.last_answer_ns && until - results.last_answer_ns > gap_ns)
		gap_ns = until - results.last_answer_ns;
	printf("{\"final\": %s, \"at\": %.6f, \"seconds\": %.6f, \"connections\": %lu, \"begun\": %lu, \"answered\": "
	       "%lu, "
	       "\"under_way\": %u, \"idle_closed\": %lu, \"announced\": %lu, \"queued\": %lu, ",
		final ? "true" : "false", (double)now / 1e9, (double)(until - begin_ns) / 1e9, results.connections,
		results.begun, results.answered, under_way, results.idle_closed, results.announced, results.queued);
	printf("\"latency_us\": {\"mean\": %.1f, \"max\": %.1f}, \"gap_us\": %.1f, \"failed\": %lu, \"failures\": {",
		results.answered ? (double)results.latency_sum_ns / 1e3 / (double)results.answered : 0.0,
		(double)results.latency_max_ns / 1e3, (double)gap_ns / 1e3, failed_count());
	for (unsigned int i = 0; i < FAILURES; i++)
		printf("%s\"%s\": %lu", i ? ", " : "", failure_names[i], results.failures[i]);
	printf("}, \"first\": [");
	print_first();
	printf("]}\n");
	fflush(stdout);
}

/* ---- one client ---- */

static void client_disconnect(struct client *client)
{
	if (client->fd >= 0)
		close(client->fd);
	client->fd = -1;
	client->state = CLIENT_NONE;
	client->requests = 0;
}

/* The request is over, whatever came of it. */
static void client_release(struct client *client)
{
	under_way--;
	if (!settings.kept)
		free_clients[free_count++] = (uint32_t)(client - clients);
}

static void client_fail(struct client *client, enum failure failure, int error)
{
	if (results.first_count < FIRST_MAX)
		results.first[results.first_count++] = (struct first){
			.at_ns = client_now_ns(),
			.failure = failure,
			.error = error,
			.received = client->received,
			.requests = client->requests,
		};
	results.failures[failure]++;
	client_disconnect(client);
	client_release(client);
}

static enum failure failure_of(const struct client *client, int error)
{
	switch (error) {
	case ECONNREFUSED:
	case ENOENT: /* of a unix socket */
		return FAILURE_REFUSED;
	case ECONNRESET:
	case EPIPE:
		if (client->requests > 0 && client->received == 0)
			return FAILURE_MET_CLOSE;
		return client->state == CLIENT_READING ? FAILURE_RESET : FAILURE_RESET_BEFORE;
	case ETIMEDOUT:
		return FAILURE_TIMEOUT;
	case EADDRNOTAVAIL:
	case EMFILE:
	case ENFILE:
	case ENOBUFS:
	case ENOMEM:
		return FAILURE_LOCAL;
	default:
		return FAILURE_OTHER;
	}
}

static void client_fail_errno(struct client *client, int error)
{
	client_fail(client, failure_of(client, error), error);
}

static void client_answered(struct client *client)
{
	uint64_t now = client_now_ns();
	uint64_t took = now - client->started_ns;
	uint64_t gap = now - results.last_answer_ns;

	results.answered++;
	results.latency_sum_ns += took;
	if (took > results.latency_max_ns)
		results.latency_max_ns = took;
	if (gap > results.gap_max_ns)
		results.gap_max_ns = gap;
	results.last_answer_ns = now;
	client->requests++;
}

/* EPOLLOUT only while there is something to send. */
static void client_watch(struct client *client, int operation)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLRDHUP, .data.ptr = client };

	if (client->state == CLIENT_SENDING)
		event.events |= EPOLLOUT;
	if (epoll_ctl(epoll_fd, operation, client->fd, &event))
		client_die("epoll_ctl");
}

/* Returns false if the client has failed. */
static bool client_send(struct client *client)
{
	ssize_t count = send(
		client->fd, settings.message + client->sent, MESSAGE_SIZE - client->sent, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (count < 0 && errno != EAGAIN) {
		client_fail_errno(client, errno);
		return false;
	}
	if (count > 0)
		client->sent += (uint32_t)count;
	if (client->sent == MESSAGE_SIZE)
		client->state = CLIENT_READING;
	return true;
}

static void client_connect(struct client *client)
{
	client->fd = socket(settings.address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	client->state = CLIENT_SENDING;
	results.connections++;
	if (client->fd < 0) {
		client_fail_errno(client, errno);
		return;
	}
	if (connect(client->fd, &settings.address.any, settings.address.size) && errno != EINPROGRESS) {
		if (errno != EAGAIN) {
			client_fail_errno(client, errno);
			return;
		}
		/* unix(7): the queue is full. A client that blocks would wait here. */
		client_disconnect(client);
		results.connections--;
		client->state = CLIENT_QUEUEING;
		client->due_ns = client_now_ns() + RETRY_NS;
		return;
	}
	if (client_send(client))
		client_watch(client, EPOLL_CTL_ADD);
}

/* ---- answers ---- */

/* The value of a header of the answer, which ends at END; NULL: it has none. */
static const char *header(const struct client *client, const char *end, const char *name)
{
	size_t size = strlen(name);

	for (const char *line = memchr(client->answer, '\n', (size_t)(end - client->answer));
		line != NULL && line < end; line = memchr(line, '\n', (size_t)(end - line))) {
		line++;
		if (!strncasecmp(line, name, size) && line[size] == ':')
			return line + size + 1 + strspn(line + size + 1, " ");
	}
	return NULL;
}

/* Looks at what has come of an HTTP answer. Returns whether it can be right still. */
static bool http_look(struct client *client)
{
	const char *end = memmem(client->answer, client->received, "\r\n\r\n", 4);
	const char *length;
	const char *connection;
	size_t size;

	if (end == NULL)
		return client->received < ANSWER_MAX;
	length = header(client, end, "Content-Length");
	connection = header(client, end, "Connection");
	if (strncmp(client->answer, "HTTP/1.1 200 ", 13) != 0 || length == NULL ||
		strtoul(length, NULL, 10) != settings.body)
		return false;
	client->announced = connection != NULL && !strncasecmp(connection, "close", 5);
	size = (size_t)(end - client->answer) + 4 + settings.body;
	client->whole = client->received == size;
	return client->received <= size;
}

static bool echo_look(struct client *client)
{
	client->whole = client->received == MESSAGE_SIZE;
	return client->received <= MESSAGE_SIZE && !memcmp(client->answer, settings.message, client->received);
}

/* A whole answer on a kept connection. */
static void client_keep(struct client *client)
{
	client_answered(client);
	under_way--;
	client->state = CLIENT_IDLE;
	results.announced += client->announced;
	if (client->announced || (settings.life && client->requests >= settings.life) || end_ns)
		client_disconnect(client);
}

/* The stream of a request has ended. */
static void client_end(struct client *client)
{
	if (settings.kept && client->received == 0 && client->requests > 0) {
		client_fail(client, FAILURE_MET_CLOSE, 0);
	} else if (!client->whole) {
		client_fail(client, FAILURE_SHORT, 0);
	} else {
		client_answered(client);
		client_disconnect(client);
		client_release(client);
	}
}

static void idle_end(struct client *client, ssize_t count)
{
	if (count > 0) {
		under_way++; /* as each failure is a request's */
		results.begun++;
		client_fail(client, FAILURE_WRONG, 0);
		return;
	}
	results.idle_closed++;
	client_disconnect(client);
}

static void client_read(struct client *client)
{
	ssize_t count =
		recv(client->fd, client->answer + client->received, sizeof(client->answer) - client->received, 0);

	if (count < 0 && errno == EAGAIN)
		return;
	if (client->state == CLIENT_IDLE) {
		idle_end(client, count);
	} else if (count < 0) {
		client_fail_errno(client, errno);
	} else if (count == 0) {
		client_end(client);
	} else {
		client->received += (uint32_t)count;
		if (!(settings.http ? http_look(client) : echo_look(client)))
			client_fail(client, FAILURE_WRONG, 0);
		else if (settings.kept && client->whole)
			client_keep(client);
	}
}

static void client_event(struct client *client, uint32_t events)
{
	if (client->fd < 0)
		return;
	if ((events & EPOLLOUT) && client->state == CLIENT_SENDING) {
		if (!client_send(client))
			return;
		if (client->state == CLIENT_READING)
			client_watch(client, EPOLL_CTL_MOD);
	}
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		client_read(client);
}

/* ---- the clients' turns ---- */

static void client_begin(struct client *client)
{
	client->started_ns = client_now_ns();
	client->sent = 0;
	client->received = 0;
	client->whole = false;
	client->announced = false;
	results.begun++;
	under_way++;
	if (client->state == CLIENT_NONE) {
		client_connect(client);
		return;
	}
	client->state = CLIENT_SENDING;
	if (client_send(client) && client->state == CLIENT_SENDING)
		client_watch(client, EPOLL_CTL_MOD);
}

/* The next kept connection in turn that has no request under way; NULL: all have. */
static struct client *kept_next(void)
{
	for (uint32_t i = 0; i < settings.kept; i++) {
		struct client *client = &clients[next_kept];

		next_kept = (next_kept + 1) % settings.kept;
		if (client->state == CLIENT_NONE || client->state == CLIENT_IDLE)
			return client;
	}
	return NULL;
}

/* Returns false if there is no place for one more. */
static bool request_begin(void)
{
	struct client *client = NULL;

	if (settings.kept)
		client = kept_next();
	else if (free_count > 0)
		client = &clients[free_clients[--free_count]];
	if (client == NULL)
		return false;
	client_begin(client);
	return true;
}

/* When the next request is due. */
static uint64_t next_due_ns(uint64_t requests)
{
	return begin_ns + (uint64_t)((double)requests * 1e9 / settings.rate);
}

static void stop_beginning(uint64_t now)
{
	if (!end_ns)
		end_ns = now;
	for (uint32_t i = 0; settings.kept && i < client_count; i++)
		if (clients[i].state == CLIENT_IDLE)
			client_disconnect(&clients[i]);
}

/* Begins what is due. A kept connection that has no answer yet has its turn later: nothing is skipped. Other clients
 * come regardless, and fail where there is no place for them. */
static void begin_due(uint64_t now)
{
	while (!end_ns && next_due_ns(results.begun) <= now) {
		if ((settings.count && results.begun >= settings.count) ||
			(settings.duration_ns && now - begin_ns >= settings.duration_ns)) {
			stop_beginning(now);
		} else if (!request_begin()) {
			if (settings.kept)
				return;
			results.begun++;
			results.failures[FAILURE_LOCAL]++;
		}
	}
}

static bool is_under_way(const struct client *client)
{
	return client->state != CLIENT_NONE && client->state != CLIENT_IDLE;
}

static void expire(uint64_t now)
{
	for (uint32_t i = 0; i < client_count; i++)
		if (is_under_way(&clients[i]) && now > clients[i].started_ns + settings.timeout_ns)
			client_fail(&clients[i], FAILURE_TIMEOUT, 0);
}

/* Returns whether any client waits to try again. */
static bool retry(uint64_t now)
{
	bool any = false;

	for (uint32_t i = 0; i < client_count; i++) {
		if (clients[i].state != CLIENT_QUEUEING)
			continue;
		any = true;
		if (clients[i].due_ns <= now) {
			results.queued++;
			client_connect(&clients[i]);
		}
	}
	return any;
}

/* ---- the loop ---- */

static int open_signals(void)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		client_die("sigprocmask");
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		client_die("signalfd");
	return fd;
}

static void take_signals(int fd)
{
	struct signalfd_siginfo info;

	while (read(fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGUSR1)
			print_results(false);
		else
			stop_beginning(client_now_ns());
	}
}

static int timeout_ms(uint64_t now, bool retrying)
{
	uint64_t due = next_due_ns(results.begun);

	if (retrying)
		return 1;
	if (end_ns || due > now + EXPIRY_NS)
		return EXPIRY_NS / 1000000;
	/* A kept connection that is behind is served by its answer's event. */
	return due > now ? (int)((due - now) / 1000000) + 1 : 1;
}

static void run(int signal_fd)
{
	struct epoll_event events[EVENTS_MAX];
	struct epoll_event signals = { .events = EPOLLIN };
	uint64_t next_expiry_ns = begin_ns + EXPIRY_NS;

	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, signal_fd, &signals))
		client_die("epoll_ctl");
	while (!end_ns || under_way > 0) {
		uint64_t now = client_now_ns();
		bool retrying = settings.address.any.sa_family == AF_UNIX && retry(now);
		int count;

		begin_due(now);
		if (now >= next_expiry_ns) {
			expire(now);
			next_expiry_ns = now + EXPIRY_NS;
		}
		count = epoll_wait(epoll_fd, events, EVENTS_MAX, timeout_ms(now, retrying));
		if (count < 0 && errno != EINTR)
			client_die("epoll_wait");
		for (int i = 0; i < count; i++) {
			if (events[i].data.ptr == NULL)
				take_signals(signal_fd);
			else
				client_event(events[i].data.ptr, events[i].events);
		}
	}
}

static void make_clients(void)
{
	client_count = settings.kept ? settings.kept : CLIENTS_MAX;
	clients = calloc(client_count, sizeof(*clients));
	free_clients = calloc(client_count, sizeof(*free_clients));
	if (!clients || !free_clients)
		client_die("calloc");
	for (uint32_t i = 0; i < client_count; i++) {
		clients[i].fd = -1;
		free_clients[free_count++] = i;
	}
}

static _Noreturn void usage(void)
{
	fprintf(stderr,
		"usage: loss (-p PORT [-a IPV4] | -u SOCKET) -r RATE [-d SECONDS] [-n REQUESTS] [-T TIMEOUT_SECONDS]\n"
		"            [-k CONNECTIONS [-l REQUESTS]] [-g PATH -e BODY_BYTES]\n"
		"  -r  requests a second, however long those before them take\n"
		"  -k  so many connections are kept, and each sends a message in its turn; with -l REQUESTS a client\n"
		"      closes its connection after so many and opens another one\n"
		"  -g  an HTTP GET for PATH, whose answer has BODY_BYTES besides its head; otherwise 128 bytes to be "
		"echoed\n"
		"SIGUSR1: a line of what there is until now. SIGTERM: the end.\n");
	exit(64);
}

static void parse(int argc, char **argv)
{
	const char *path = NULL;
	int option;

	settings = (struct settings){ .timeout_ns = 5 * NS_A_SECOND };
	client_address_init(&settings.address);
	while ((option = getopt(argc, argv, "p:a:u:r:d:n:T:k:l:g:e:")) != -1) {
		switch (option) {
		case 'p':
			client_address_set_port(&settings.address, optarg);
			break;
		case 'a':
			client_address_set_ip(&settings.address, optarg);
			break;
		case 'u':
			client_address_set_path(&settings.address, optarg);
			break;
		case 'r':
			settings.rate = client_number(optarg);
			break;
		case 'd':
			settings.duration_ns = (uint64_t)(client_number(optarg) * 1e9);
			break;
		case 'n':
			settings.count = (uint64_t)client_number(optarg);
			break;
		case 'T':
			settings.timeout_ns = (uint64_t)(client_number(optarg) * 1e9);
			break;
		case 'k':
			settings.kept = (unsigned int)client_number(optarg);
			break;
		case 'l':
			settings.life = (uint64_t)client_number(optarg);
			break;
		case 'g':
			path = optarg;
			break;
		case 'e':
			settings.body = (size_t)client_number(optarg);
			break;
		default:
			usage();
		}
	}
	settings.http = path;
	if (path)
		client_message_get(settings.message, path, settings.kept ? "keep-alive" : "close");
	else
		client_message_text(settings.message);
	if (optind != argc || !client_address_is_set(&settings.address) || settings.rate <= 0 ||
		settings.kept > CLIENTS_MAX || (settings.life && !settings.kept) || settings.body > ANSWER_MAX / 2)
		usage();
}

int main(int argc, char **argv)
{
	int signal_fd;

	parse(argc, argv);
	signal_fd = open_signals();
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0)
		client_die("epoll_create1");
	make_clients();
	begin_ns = client_now_ns();
	results.last_answer_ns = begin_ns;
	print_results(false);
	run(signal_fd);
	print_results(true);
	return 0;
}
