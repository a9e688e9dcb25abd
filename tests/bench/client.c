/* SPDX-License-Identifier: MIT */
#include "client.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Types of FastCGI's records, a role, and a flag of FASTCGI_BEGIN. */
#define FASTCGI_BEGIN     1
#define FASTCGI_PARAMS    4
#define FASTCGI_STDIN     5
#define FASTCGI_STDOUT    6
#define FASTCGI_RESPONDER 1
#define FASTCGI_KEEP      1

static _Noreturn void refuse(const char *what, const char *text)
{
	fprintf(stderr, "%s: %s\n", text, what);
	exit(64);
}

void client_address_init(struct client_address *address)
{
	*address = (struct client_address){
		.ip = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)},
		.size = sizeof(address->ip),
	};
}

void client_address_set_port(struct client_address *address, const char *text)
{
	address->ip.sin_port = htons((uint16_t)client_number(text));
}

void client_address_set_ip(struct client_address *address, const char *text)
{
	if (inet_pton(AF_INET, text, &address->ip.sin_addr) != 1)
		refuse("this is no IPv4 address", text);
}

void client_address_set_path(struct client_address *address, const char *path)
{
	if (strlen(path) >= sizeof(address->path.sun_path))
		refuse("the path of the socket is too long", path);
	*address = (struct client_address){ .path = { .sun_family = AF_UNIX }, .size = sizeof(address->path) };
	memcpy(address->path.sun_path, path, strlen(path));
}

int client_address_is_set(const struct client_address *address)
{
	return address->any.sa_family == AF_UNIX || address->ip.sin_port != 0;
}

uint64_t client_now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * UINT64_C(1000000000) + (uint64_t)time.tv_nsec;
}

double client_number(const char *text)
{
	char *end;
	double value = strtod(text, &end);

	if (*text == '\0' || *end != '\0' || !(value >= 0 && value < 1e12))
		refuse("not a number that makes sense", text);
	return value;
}

_Noreturn void client_die(const char *what)
{
	perror(what);
	exit(71);
}

void client_message_text(char *message)
{
	memset(message, 'x', MESSAGE_SIZE);
	message[MESSAGE_SIZE - 1] = '\n';
}

void client_message_get(char *message, const char *path, const char *connection)
{
	char head[MESSAGE_SIZE + 1];
	int size = snprintf(head, sizeof(head), "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: %s\r\nX-Pad: ", path,
		connection);

	if (size < 0 || size > MESSAGE_SIZE - 5)
		refuse("the path is too long", path);
	client_message_text(message);
	memcpy(message, head, (size_t)size);
	memcpy(message + MESSAGE_SIZE - 4, "\r\n\r\n", 4);
}

static char *record(char *at, int type, size_t size, size_t padding)
{
	const char head[8] = { 1, (char)type, 0, 1, (char)(size >> 8), (char)size, (char)padding, 0 };

	memcpy(at, head, sizeof(head));
	return at + sizeof(head);
}

static char *parameter(char *at, const char *name, const char *value)
{
	size_t name_size = strlen(name);
	size_t value_size = strlen(value);

	*at++ = (char)name_size;
	*at++ = (char)value_size;
	memcpy(at, name, name_size);
	memcpy(at + name_size, value, value_size);
	return at + name_size + value_size;
}

void client_message_fastcgi(char *message, const char *script, int keep)
{
	/* Four heads of records, what the first of them begins with, and the parameters with their two lengths. */
	const size_t fixed = 4 * 8 + 8;
	const size_t size = 2 + strlen("REQUEST_METHODGET") + 2 + strlen("SCRIPT_FILENAME") + strlen(script);
	char *at = message;

	if (fixed + size > MESSAGE_SIZE)
		refuse("the path is too long", script);
	memset(message, 0, MESSAGE_SIZE);
	at = record(at, FASTCGI_BEGIN, 8, 0);
	at[1] = FASTCGI_RESPONDER;
	at[2] = (char)(keep ? FASTCGI_KEEP : 0);
	at = record(at + 8, FASTCGI_PARAMS, size, MESSAGE_SIZE - fixed - size);
	at = parameter(at, "REQUEST_METHOD", "GET");
	parameter(at, "SCRIPT_FILENAME", script);
	record(message + MESSAGE_SIZE - 16, FASTCGI_PARAMS, 0, 0);
	record(message + MESSAGE_SIZE - 8, FASTCGI_STDIN, 0, 0);
}

int client_answer_begins(enum client_protocol protocol, const char *answer, size_t size)
{
	switch (protocol) {
	case CLIENT_MESSAGE:
		break;
	case CLIENT_HTTP:
		return size >= 12 && !memcmp(answer, "HTTP/1.", 7) && !memcmp(answer + 8, " 200", 4);
	case CLIENT_FASTCGI:
		return size >= 2 && answer[0] == 1 && answer[1] == FASTCGI_STDOUT;
	}
	return size >= 1;
}
