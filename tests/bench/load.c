/* SPDX-License-Identifier: MIT */
/*
 * load: a load generator with a connection per request. C clients, each: connect, send one message, read until the
 * server closes, close, begin again. It tells how many answers came, how long each took, every failure by its kind, and
 * the longest time in which no client at all got an answer. The result is one JSON object on standard output.
 *
 * With -m a client keeps its connection: it sends a message, waits for the answer, and sends again. The message then
 * begins with its length, as four bytes, and what is counted are messages.
 *
 * The clients are spread over a few threads, each with an epoll of its own. The server closes first, so TIME_WAIT stays
 * at the server's side, and a client's port is free again at once.
 *
 * An answer counts as one only if it is complete and right: the message itself (echo), or an HTTP 200 or an answer of
 * FastCGI's, of exactly the expected size. A failed connection is counted and never repeated in secret: the client goes
 * on with a new one.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"

#define PREFIX_SIZE    4
#define THREADS_MAX    16
#define EVENTS_MAX     64
#define DRAIN_NS       UINT64_C(2000000000) /* how long connections under way may take after the end */
#define REFUSED_PAUSE  UINT64_C(1000000)    /* after a refusal a client waits 1 ms, lest refusals be all that happens */
#define SUB_BITS       5                    /* the histogram: 32 buckets for each power of two, 3 % */
#define HISTOGRAM_SIZE ((64 - SUB_BITS + 1) << SUB_BITS)

enum failure {
	FAILURE_REFUSED,
	FAILURE_RESET,
	FAILURE_SHORT,   /* the end of the stream before the end of the answer */
	FAILURE_WRONG,   /* an answer, but not the expected one */
	FAILURE_TIMEOUT, /* no complete answer in the time given */
	FAILURE_LOCAL,   /* no socket or no port at our side */
	FAILURE_OTHER,
	FAILURES,
};

static const char *const failure_names[FAILURES] = {
	[FAILURE_REFUSED] = "refused",
	[FAILURE_RESET] = "reset",
	[FAILURE_SHORT] = "short",
	[FAILURE_WRONG] = "wrong",
	[FAILURE_TIMEOUT] = "timeout",
	[FAILURE_LOCAL] = "local",
	[FAILURE_OTHER] = "other",
};

struct settings {
	struct client_address address;
	unsigned int clients;
	unsigned int threads;
	uint64_t duration_ns; /* 0: until `count` */
	uint64_t count;       /* connections in all, with `keep` messages; 0: until `duration_ns` */
	uint64_t timeout_ns;
	size_t expected; /* bytes of an answer */
	enum client_protocol protocol;
	bool keep; /* message after message on one connection */
	char message[MESSAGE_SIZE];
};

struct client {
	int fd; /* -1: none */
	uint32_t sent;
	uint32_t received;
	bool wrong;
	bool waits_to_write;
	uint64_t started_ns;
	uint64_t again_ns; /* with fd -1: when to open the next; 0: at once */
};

struct results {
	uint64_t completed; /* before the end of the duration */
	uint64_t late;      /* after it */
	uint64_t unfinished;
	uint64_t failures[FAILURES];
	uint64_t sum_ns;
	uint64_t max_ns;
	uint64_t last_ns; /* when the last answer came */
	uint64_t histogram[HISTOGRAM_SIZE];
};

struct thread {
	pthread_t id;
	int epoll;
	bool opening; /* more connections are to be begun */
	unsigned int clients_open;
	unsigned int client_count;
	struct client *clients;
	struct results results;
};

static struct settings settings;
static uint64_t begin_ns;
static atomic_uint_fast64_t requests_begun; /* all threads, with -n */
static atomic_uint_fast64_t last_answer_ns; /* of any thread */
static atomic_uint_fast64_t longest_gap_ns;

static unsigned int histogram_bucket(uint64_t value)
{
	unsigned int shift;

	if (value < (1u << SUB_BITS))
		return (unsigned int)value;
	shift = 63u - (unsigned int)__builtin_clzll(value) - SUB_BITS;
	return ((shift + 1) << SUB_BITS) + (unsigned int)((value >> shift) & ((1u << SUB_BITS) - 1));
}

/* The middle of a bucket. */
static uint64_t histogram_value(unsigned int bucket)
{
	unsigned int shift = bucket >> SUB_BITS;
	uint64_t low = bucket & ((1u << SUB_BITS) - 1);

	if (!shift)
		return low;
	shift--;
	return ((low + (1u << SUB_BITS)) << shift) + ((UINT64_C(1) << shift) >> 1);
}

static uint64_t histogram_quantile(const struct results *results, unsigned int per_10000)
{
	uint64_t total = 0;
	uint64_t seen = 0;

	for (unsigned int i = 0; i < HISTOGRAM_SIZE; i++)
		total += results->histogram[i];
	for (unsigned int i = 0; i < HISTOGRAM_SIZE; i++) {
		seen += results->histogram[i];
		if (total && seen * 10000 >= total * per_10000)
			return histogram_value(i);
	}
	return 0;
}

/* Any thread: an answer has come at NOW. Keeps the longest time between two answers. */
static void gap_note(uint64_t now)
{
	uint64_t last = atomic_exchange_explicit(&last_answer_ns, now, memory_order_relaxed);
	uint64_t gap = now > last ? now - last : 0;
	uint64_t longest = atomic_load_explicit(&longest_gap_ns, memory_order_relaxed);

	while (gap > longest && !atomic_compare_exchange_weak(&longest_gap_ns, &longest, gap))
		;
}

static bool time_is_up(uint64_t now)
{
	return settings.duration_ns && now - begin_ns >= settings.duration_ns;
}

static enum failure failure_of(int error)
{
	switch (error) {
	case ECONNREFUSED:
		return FAILURE_REFUSED;
	case ECONNRESET:
	case EPIPE:
		return FAILURE_RESET;
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

static void client_close(struct thread *thread, struct client *client)
{
	close(client->fd);
	client->fd = -1;
	client->again_ns = 0;
	thread->clients_open--;
}

static void client_fail(struct thread *thread, struct client *client, enum failure failure)
{
	client_close(thread, client);
	thread->results.failures[failure]++;
	if (failure == FAILURE_REFUSED || failure == FAILURE_LOCAL)
		client->again_ns = client_now_ns() + REFUSED_PAUSE;
}

/* An answer that took since `started_ns` is complete at NOW. */
static void client_note_answer(struct thread *thread, const struct client *client, uint64_t now)
{
	struct results *results = &thread->results;
	uint64_t took = now - client->started_ns;

	if (time_is_up(now)) {
		results->late++;
		return;
	}
	results->completed++;
	results->sum_ns += took;
	results->last_ns = now;
	if (took > results->max_ns)
		results->max_ns = took;
	results->histogram[histogram_bucket(took)]++;
	gap_note(now);
}

/* Takes the right to begin one more connection, or message. */
static bool request_wanted(uint64_t now)
{
	if (settings.count)
		return atomic_fetch_add(&requests_begun, 1) < settings.count;
	return !time_is_up(now);
}

static void client_end(struct thread *thread, struct client *client)
{
	if (client->received < settings.expected)
		client_fail(thread, client, FAILURE_SHORT);
	else if (client->wrong || client->received > settings.expected)
		client_fail(thread, client, FAILURE_WRONG);
	else {
		uint64_t now = client_now_ns();

		client_close(thread, client);
		client_note_answer(thread, client, now);
	}
}

/* Bytes of an answer, from OFFSET of it. */
static bool answer_is_right(const char *bytes, size_t size, size_t offset)
{
	if (settings.protocol == CLIENT_MESSAGE)
		return offset + size <= MESSAGE_SIZE && !memcmp(bytes, settings.message + offset, size);
	return offset || client_answer_begins(settings.protocol, bytes, size);
}

/* Returns false if the client has failed, and is closed. */
static bool client_write(struct thread *thread, struct client *client)
{
	ssize_t count = send(
		client->fd, settings.message + client->sent, MESSAGE_SIZE - client->sent, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (count >= 0)
		client->sent += (uint32_t)count;
	else if (errno != EAGAIN) {
		client_fail(thread, client, failure_of(errno));
		return false;
	}
	return true;
}

static void client_watch(struct thread *thread, struct client *client, int operation)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLRDHUP, .data.ptr = client };

	client->waits_to_write = client->sent < MESSAGE_SIZE;
	if (client->waits_to_write)
		event.events |= EPOLLOUT;
	if (epoll_ctl(thread->epoll, operation, client->fd, &event))
		client_die("epoll_ctl");
}

/* With -m: a whole answer has come. The next message, unless this was the last one. */
static void client_continue(struct thread *thread, struct client *client)
{
	uint64_t now = client_now_ns();

	if (client->wrong || client->received > settings.expected) {
		client_fail(thread, client, FAILURE_WRONG);
		return;
	}
	client_note_answer(thread, client, now);
	thread->opening = thread->opening && request_wanted(now);
	if (!thread->opening) {
		client_close(thread, client);
		return;
	}
	client->started_ns = now;
	client->sent = 0;
	client->received = 0;
	if (client_write(thread, client) && client->sent < MESSAGE_SIZE)
		client_watch(thread, client, EPOLL_CTL_MOD);
}

static void client_read(struct thread *thread, struct client *client, bool peer_has_closed)
{
	char buffer[4096];
	ssize_t count = recv(client->fd, buffer, sizeof(buffer), 0);

	if (count < 0) {
		if (errno != EAGAIN)
			client_fail(thread, client, failure_of(errno));
		return;
	}
	if (count > 0) {
		client->wrong |= !answer_is_right(buffer, (size_t)count, client->received);
		client->received += (uint32_t)count;
		if (settings.keep) {
			if (client->received >= settings.expected)
				client_continue(thread, client);
			return;
		}
		/* Where the end of the stream is known to be there, it needs no call to see it. */
		if (!peer_has_closed || client->received < settings.expected)
			return;
	}
	client_end(thread, client);
}

/* On the loopback the handshake is over when connect() returns, so the message can be sent at once. */
static void client_open(struct thread *thread, struct client *client)
{
	*client = (struct client){ .started_ns = client_now_ns() };
	client->fd = socket(settings.address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (client->fd < 0)
		client_die("socket");
	thread->clients_open++;
	if (connect(client->fd, &settings.address.any, settings.address.size) && errno != EINPROGRESS)
		client_fail(thread, client, failure_of(errno));
	else if (client_write(thread, client))
		client_watch(thread, client, EPOLL_CTL_ADD);
}

static void client_event(struct thread *thread, struct client *client, uint32_t events)
{
	if (events & EPOLLOUT) {
		if (!client_write(thread, client))
			return;
		if (client->waits_to_write && client->sent == MESSAGE_SIZE)
			client_watch(thread, client, EPOLL_CTL_MOD);
	}
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		client_read(thread, client, events & EPOLLRDHUP);
}

/* Begins the client's next connection, if it is closed and due. */
static void thread_open_client(struct thread *thread, struct client *client, uint64_t now)
{
	if (!thread->opening || client->fd >= 0 || client->again_ns > now)
		return;
	thread->opening = request_wanted(now);
	if (thread->opening)
		client_open(thread, client);
}

static void thread_open_clients(struct thread *thread, uint64_t now)
{
	for (unsigned int i = 0; i < thread->client_count; i++)
		thread_open_client(thread, &thread->clients[i], now);
}

static void thread_expire_clients(struct thread *thread, uint64_t now)
{
	for (unsigned int i = 0; i < thread->client_count; i++) {
		struct client *client = &thread->clients[i];

		if (client->fd >= 0 && now > client->started_ns + settings.timeout_ns)
			client_fail(thread, client, FAILURE_TIMEOUT);
	}
}

static void thread_wait(struct thread *thread, int timeout_ms)
{
	struct epoll_event events[EVENTS_MAX];
	int count = epoll_wait(thread->epoll, events, EVENTS_MAX, timeout_ms);

	if (count < 0 && errno != EINTR)
		client_die("epoll_wait");
	for (int i = 0; i < count; i++) {
		struct client *client = events[i].data.ptr;

		client_event(thread, client, events[i].events);
		/* At once, so that all clients have a connection under way at all times. */
		if (client->fd < 0)
			thread_open_client(thread, client, client_now_ns());
	}
}

static bool thread_has_paused_client(const struct thread *thread)
{
	for (unsigned int i = 0; i < thread->client_count; i++)
		if (thread->clients[i].fd < 0)
			return true;
	return false;
}

static void *thread_main(void *argument)
{
	struct thread *thread = argument;
	uint64_t next_expiry = begin_ns;
	uint64_t drain_until = 0;

	thread->opening = true;
	while (thread->opening || thread->clients_open) {
		uint64_t now = client_now_ns();

		thread_open_clients(thread, now);
		if (!thread->opening && !drain_until)
			drain_until = now + (settings.count ? settings.timeout_ns : DRAIN_NS);
		if (drain_until && now > drain_until)
			break;
		if (now >= next_expiry) {
			thread_expire_clients(thread, now);
			next_expiry = now + UINT64_C(50000000);
		}
		thread_wait(thread, thread->opening && thread_has_paused_client(thread) ? 1 : 50);
	}
	thread->results.unfinished = thread->clients_open;
	return NULL;
}

static void thread_start(struct thread *thread, unsigned int clients)
{
	thread->client_count = clients;
	thread->clients = calloc(clients, sizeof(*thread->clients));
	thread->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (!thread->clients || thread->epoll < 0)
		client_die("thread");
	for (unsigned int i = 0; i < clients; i++)
		thread->clients[i].fd = -1;
	if (pthread_create(&thread->id, NULL, thread_main, thread))
		client_die("pthread_create");
}

static void results_merge(struct results *into, const struct results *from)
{
	into->completed += from->completed;
	into->late += from->late;
	into->unfinished += from->unfinished;
	into->sum_ns += from->sum_ns;
	if (from->max_ns > into->max_ns)
		into->max_ns = from->max_ns;
	if (from->last_ns > into->last_ns)
		into->last_ns = from->last_ns;
	for (unsigned int i = 0; i < FAILURES; i++)
		into->failures[i] += from->failures[i];
	for (unsigned int i = 0; i < HISTOGRAM_SIZE; i++)
		into->histogram[i] += from->histogram[i];
}

static double microseconds(uint64_t nanoseconds)
{
	return (double)nanoseconds / 1000;
}

static double processor_us(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static void results_print(const struct results *results)
{
	uint64_t length_ns = settings.duration_ns;
	uint64_t gap_ns = atomic_load(&longest_gap_ns);
	uint64_t last_ns = atomic_load(&last_answer_ns);

	if (!length_ns)
		length_ns = results->last_ns > begin_ns ? results->last_ns - begin_ns : 1;
	/* The silence at the end counts like any other. */
	if (begin_ns + length_ns > last_ns && begin_ns + length_ns - last_ns > gap_ns)
		gap_ns = begin_ns + length_ns - last_ns;
	printf("{\"seconds\": %.6f, \"completed\": %lu, \"late\": %lu, \"unfinished\": %lu, \"rate\": %.1f, ",
		(double)length_ns / 1e9, results->completed, results->late, results->unfinished,
		(double)results->completed * 1e9 / (double)length_ns);
	printf("\"latency_us\": {\"mean\": %.1f, \"p50\": %.1f, \"p90\": %.1f, \"p99\": %.1f, \"p999\": %.1f, \"max\": "
	       "%.1f}, ",
		results->completed ? microseconds(results->sum_ns / results->completed) : 0,
		microseconds(histogram_quantile(results, 5000)), microseconds(histogram_quantile(results, 9000)),
		microseconds(histogram_quantile(results, 9900)), microseconds(histogram_quantile(results, 9990)),
		microseconds(results->max_ns));
	printf("\"gap_us\": %.1f, \"client_cpu_us\": %.0f, \"errors\": {", microseconds(gap_ns), processor_us());
	for (unsigned int i = 0; i < FAILURES; i++)
		printf("%s\"%s\": %lu", i ? ", " : "", failure_names[i], results->failures[i]);
	printf("}}\n");
}

/* A line of text of MESSAGE_SIZE bytes (with -m, its first four say how many follow), or a request for PATH padded to
 * them. */
static void make_message(const char *path)
{
	const uint32_t prefix = htonl(MESSAGE_SIZE - PREFIX_SIZE);

	switch (settings.protocol) {
	case CLIENT_MESSAGE:
		client_message_text(settings.message);
		if (settings.keep)
			memcpy(settings.message, &prefix, PREFIX_SIZE);
		break;
	case CLIENT_HTTP:
		client_message_get(settings.message, path, "close");
		break;
	case CLIENT_FASTCGI:
		client_message_fastcgi(settings.message, path, false);
		break;
	}
}

static _Noreturn void usage(void)
{
	fprintf(stderr,
		"usage: load (-p PORT [-a IPV4] | -u SOCKET) [-c CLIENTS] [-t THREADS] (-d SECONDS | -n CONNECTIONS)\n"
		"            [-T TIMEOUT_SECONDS] [-m | (-g PATH | -f SCRIPT) -e ANSWER_BYTES]\n"
		"  -m  message after message on one connection, each of 128 bytes with a length of four bytes in "
		"front;\n"
		"      -n counts messages\n"
		"  -g  an HTTP GET for PATH, -f  a FastCGI request for SCRIPT, the answer to have ANSWER_BYTES in "
		"all;\n"
		"      otherwise 128 bytes, to be echoed\n");
	exit(64);
}

static void parse(int argc, char **argv)
{
	const char *path = NULL;
	int option;

	settings = (struct settings){
		.clients = 64,
		.threads = 1,
		.timeout_ns = UINT64_C(5000000000),
		.expected = MESSAGE_SIZE,
	};
	client_address_init(&settings.address);
	while ((option = getopt(argc, argv, "p:a:u:c:t:d:n:T:mg:f:e:")) != -1) {
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
		case 'c':
			settings.clients = (unsigned int)client_number(optarg);
			break;
		case 't':
			settings.threads = (unsigned int)client_number(optarg);
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
		case 'm':
			settings.keep = true;
			break;
		case 'g':
		case 'f':
			settings.protocol = option == 'g' ? CLIENT_HTTP : CLIENT_FASTCGI;
			path = optarg;
			break;
		case 'e':
			settings.expected = (size_t)client_number(optarg);
			break;
		default:
			usage();
		}
	}
	make_message(path);
	if (optind != argc || !client_address_is_set(&settings.address) || (settings.keep && path) ||
		!settings.clients || !settings.duration_ns == !settings.count || !settings.threads ||
		settings.threads > THREADS_MAX || settings.threads > settings.clients)
		usage();
}

int main(int argc, char **argv)
{
	static struct thread threads[THREADS_MAX];
	static struct results results;

	parse(argc, argv);
	begin_ns = client_now_ns();
	atomic_store(&last_answer_ns, begin_ns);
	for (unsigned int i = 0; i < settings.threads; i++)
		thread_start(&threads[i], (settings.clients + i) / settings.threads);
	for (unsigned int i = 0; i < settings.threads; i++) {
		pthread_join(threads[i].id, NULL);
		results_merge(&results, &threads[i].results);
	}
	results_print(&results);
	return 0;
}
