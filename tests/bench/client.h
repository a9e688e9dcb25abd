/* SPDX-License-Identifier: MIT */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H
/*
 * What the load generators have in common: the server's address, the message, the clock, how a failure is called, and
 * the reading of numbers. A wrong argument ends the program with status 64.
 */
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#define MESSAGE_SIZE 128

/* What a client and a server speak. */
enum client_protocol {
	CLIENT_MESSAGE,
	CLIENT_HTTP,
	CLIENT_FASTCGI,
};

struct client_address {
	union {
		struct sockaddr any; /* sa_family 0: none is set */
		struct sockaddr_in ip;
		struct sockaddr_un path;
	};
	socklen_t size;
};

/* 127.0.0.1 without a port, which is none yet. */
void client_address_init(struct client_address *address);
void client_address_set_port(struct client_address *address, const char *text);
void client_address_set_ip(struct client_address *address, const char *text);
void client_address_set_path(struct client_address *address, const char *path);
int client_address_is_set(const struct client_address *address);

/* CLOCK_MONOTONIC. */
uint64_t client_now_ns(void);
/* A number that is not negative and below 1e12. */
double client_number(const char *text);
/* After a call that cannot fail has failed: says WHAT and errno, and ends with status 71. */
_Noreturn void client_die(const char *what);

/* MESSAGE_SIZE bytes: a line of text. */
void client_message_text(char *message);
/* MESSAGE_SIZE bytes: a request for PATH with the header CONNECTION ("close", "keep-alive"), padded. */
void client_message_get(char *message, const char *path, const char *connection);
/* MESSAGE_SIZE bytes: a request of FastCGI's for SCRIPT, on a connection that is kept or not; padded. */
void client_message_fastcgi(char *message, const char *script, int keep);
/* Whether the first SIZE bytes of an answer say that the request is being served, and not refused. */
int client_answer_begins(enum client_protocol protocol, const char *answer, size_t size);

#endif
