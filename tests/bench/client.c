/* SPDX-License-Identifier: MIT */
#include "client.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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
