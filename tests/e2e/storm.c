/* SPDX-License-Identifier: MIT */
/*
 * A storm of clients for the end-to-end tests: threads that connect, send, read the whole answer until the end of
 * the stream, and start again, as fast as they can. What counts is what became of each connection:
 *
 *	ok       connected, and the answer came back whole
 *	refused  never connected: the server said so at once, and the client loses nothing
 *	lost     connected, and no whole answer came
 *	stuck    connected, and nothing came for ten seconds
 *	other    anything else that kept a connection from being made
 *
 *	storm [-t THREADS] [-b BYTES] [-s SECONDS] [-n CONNECTIONS] [-g FILE] ADDRESS
 *
 * ADDRESS is "a.b.c.d:port", "[v6]:port" or "unix:/path". Prints "started" after the first answer, runs for SECONDS,
 * until SIGTERM, or until so many CONNECTIONS were begun, then prints one JSON object. With -g the request is "GET
 *FILE", and any answer that begins with "HTTP/1.1 200" and reaches its Content-Length is whole.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { ANSWER_MAX = 65536, THREADS_MAX = 256, ERRORS_MAX = 200 };

enum outcome { OUTCOME_OK, OUTCOME_REFUSED, OUTCOME_LOST, OUTCOME_STUCK, OUTCOME_OTHER, OUTCOMES };
static const char *const outcome_names[OUTCOMES] = { "ok", "refused", "lost", "stuck", "other" };

static struct sockaddr_storage address;
static socklen_t address_size;
static char request[ANSWER_MAX];
static size_t request_size = 16;
static bool http;

static uint64_t most = UINT64_MAX; /* connections */
static _Atomic uint64_t begun;
static _Atomic uint64_t counts[OUTCOMES];
static _Atomic uint64_t lost_by_errno[ERRORS_MAX]; /* 0: end of the stream */
static _Atomic uint64_t last_ok_us;
static _Atomic uint64_t longest_gap_us;
static atomic_bool stopping;

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static bool parse_inet(char *text)
{
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address;
	struct sockaddr_in *v4 = (struct sockaddr_in *)&address;
	char *colon = strrchr(text, ':');

	if (colon == NULL)
		return false;
	*colon = '\0';
	if (text[0] == '[') {
		text[strlen(text) - 1] = '\0';
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16_t)atoi(colon + 1));
		address_size = sizeof(*v6);
		return inet_pton(AF_INET6, text + 1, &v6->sin6_addr) == 1;
	}
	v4->sin_family = AF_INET;
	v4->sin_port = htons((uint16_t)atoi(colon + 1));
	address_size = sizeof(*v4);
	return inet_pton(AF_INET, text, &v4->sin_addr) == 1;
}

static bool parse_address(char *text)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&address;

	if (strncmp(text, "unix:", 5) != 0)
		return parse_inet(text);
	if (strlen(text + 5) >= sizeof(un->sun_path))
		return false;
	un->sun_family = AF_UNIX;
	strcpy(un->sun_path, text + 5);
	address_size = sizeof(*un);
	return true;
}

static bool answer_is_whole(const char *answer, size_t size)
{
	const char *body, *length;

	if (!http)
		return size == request_size && memcmp(answer, request, size) == 0;
	if (size < 12 || memcmp(answer, "HTTP/1.1 200", 12) != 0)
		return false;
	body = strstr(answer, "\r\n\r\n");
	length = strcasestr(answer, "\ncontent-length:");
	return body != NULL && length != NULL && size - (size_t)(body + 4 - answer) == strtoul(length + 16, NULL, 10);
}

/* Sends and reads to the end on a connected socket. */
static enum outcome exchange(int fd)
{
	static _Thread_local char answer[ANSWER_MAX + 1];
	size_t size = 0;
	ssize_t n;

	errno = 0;
	if (send(fd, request, request_size, MSG_NOSIGNAL) != (ssize_t)request_size)
		goto lost;
	while ((n = recv(fd, answer + size, ANSWER_MAX - size, 0)) > 0)
		size += (size_t)n;
	answer[size] = '\0';
	if (answer_is_whole(answer, size))
		return OUTCOME_OK;
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return OUTCOME_STUCK;
	if (n == 0)
		errno = 0;
lost:
	atomic_fetch_add(&lost_by_errno[errno < ERRORS_MAX ? errno : ERRORS_MAX - 1], 1);
	return OUTCOME_LOST;
}

static enum outcome try_once(void)
{
	const struct timeval timeout = { .tv_sec = 10 };
	int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	enum outcome outcome;

	if (fd < 0)
		return OUTCOME_OTHER;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	if (connect(fd, (struct sockaddr *)&address, address_size) == 0)
		outcome = exchange(fd);
	else if (errno == ECONNREFUSED || errno == ENOENT)
		outcome = OUTCOME_REFUSED;
	else
		outcome = OUTCOME_OTHER;
	close(fd);
	return outcome;
}

static void note_ok(void)
{
	uint64_t now = now_us();
	uint64_t last = atomic_exchange(&last_ok_us, now);
	uint64_t longest = atomic_load(&longest_gap_us);

	if (last == 0) {
		puts("started");
		fflush(stdout);
		return;
	}
	while (now > last && now - last > longest)
		if (atomic_compare_exchange_weak(&longest_gap_us, &longest, now - last))
			break;
}

static void *storm(void *unused)
{
	while (!atomic_load(&stopping) && atomic_fetch_add(&begun, 1) < most) {
		enum outcome outcome = try_once();

		atomic_fetch_add(&counts[outcome], 1);
		if (outcome == OUTCOME_OK)
			note_ok();
		else if (outcome != OUTCOME_LOST)
			nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL); /* who was refused does not hammer */
	}
	if (!atomic_load(&stopping))
		kill(getpid(), SIGTERM);
	return NULL;
}

static void print_counts(void)
{
	printf("{");
	for (int i = 0; i < OUTCOMES; i++)
		printf("\"%s\": %llu, ", outcome_names[i], (unsigned long long)atomic_load(&counts[i]));
	printf("\"gap_ms\": %.1f, \"lost_by\": {", (double)atomic_load(&longest_gap_us) / 1000.0);
	for (int i = 0, first = 1; i < ERRORS_MAX; i++) {
		unsigned long long n = atomic_load(&lost_by_errno[i]);

		if (n == 0)
			continue;
		printf("%s\"%s\": %llu", first ? "" : ", ", i == 0 ? "EOF" : strerrorname_np(i), n);
		first = 0;
	}
	printf("}}\n");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	pthread_t threads[THREADS_MAX];
	int thread_count = 16, seconds = 60, option;
	sigset_t term;

	memset(request, 'x', sizeof(request));
	while ((option = getopt(argc, argv, "t:b:s:n:g:")) != -1) {
		if (option == 't')
			thread_count = atoi(optarg);
		else if (option == 'b')
			request_size = strtoul(optarg, NULL, 10);
		else if (option == 's')
			seconds = atoi(optarg);
		else if (option == 'n')
			most = strtoull(optarg, NULL, 10);
		else if (option == 'g')
			http = true, request_size = (size_t)snprintf(request, sizeof(request),
					     "GET %s HTTP/1.1\r\nHost: storm\r\nConnection: close\r\n\r\n", optarg);
		else
			return 64;
	}
	if (optind != argc - 1 || thread_count < 1 || thread_count > THREADS_MAX || request_size > sizeof(request) ||
		!parse_address(argv[optind]))
		return 64;
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &term, NULL);
	for (int i = 0; i < thread_count; i++)
		if (pthread_create(&threads[i], NULL, storm, NULL) != 0)
			return 71;
	sigtimedwait(&term, NULL, &(struct timespec){ .tv_sec = seconds });
	atomic_store(&stopping, true);
	for (int i = 0; i < thread_count; i++)
		pthread_join(threads[i], NULL);
	print_counts();
	return 0;
}
