/* SPDX-License-Identifier: MIT */
#ifndef NET_ADDRESS_H
#define NET_ADDRESS_H
/*
 * Addresses of listeners as they are written in the configuration, and socket addresses as text.
 *
 *	host:port, name:port    all addresses of the name (getaddrinfo(3), passive, SOCK_STREAM)
 *	:port, *:port           any address: 0.0.0.0 and [::]
 *	[v6]:port
 *	unix:/path, unix:@name  a path in the file system; the abstract name space
 *	systemd:NAME            sockets of that name from $LISTEN_FDS
 *
 * A port is decimal, 0 to 65535; 0 lets the kernel choose. address_resolve() may wait for a name service and is for
 * the start only; nothing here keeps a socket. Errors are negative errnos.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/attrs.h"

enum address_kind {
	ADDRESS_INET, /* host and port, to be resolved */
	ADDRESS_UNIX,
	ADDRESS_SYSTEMD,
};

struct address_spec {
	enum address_kind kind;
	char host[256]; /* INET: "" for any address; UNIX: the path or "@name"; SYSTEMD: the name */
	uint16_t port;
};

struct socket_address {
	socklen_t size;
	struct sockaddr_storage storage;
};

/* Enough for any address_format(). */
#define ADDRESS_TEXT_MAX 128

/* Parses TEXT. On failure returns -EINVAL and *ret_reason says, in a few words, what is wrong and what is accepted. */
ATTR_NODISCARD int address_parse(const char *text, struct address_spec *ret_spec, const char **ret_reason);

/*
 * Turns a spec of kind INET or UNIX into its socket addresses, at most MAX, in *ret_count; each comes once. A family
 * that the machine does not have is left out where another one is there. On failure returns a negative errno (-ENOENT:
 * no such name, -EAGAIN: the name service does not answer, -ENOBUFS: more than MAX) and *ret_reason (static, or from
 * gai_strerror(3)).
 */
ATTR_NODISCARD int address_resolve(const struct address_spec *spec, struct socket_address *ret_addresses, size_t max,
	size_t *ret_count, const char **ret_reason);

/* "192.0.2.1:80", "[2001:db8::1]:80", "unix:/path", "unix:@name", "unix:" (unnamed). v4-mapped addresses as v4 where
 * UNMAP. Returns BUFFER. */
char *address_format(const struct sockaddr *address, socklen_t size, bool unmap, char *buffer, size_t buffer_size);

/* The same without the port: "192.0.2.1", "2001:db8::1", "unix". v4-mapped addresses as v4. */
char *address_format_host(const struct sockaddr *address, socklen_t size, char *buffer, size_t buffer_size);

/* The port of an IPv4 or IPv6 address; 0 for others, where setting it does nothing. */
uint16_t address_port(const struct socket_address *address);
void address_set_port(struct socket_address *address, uint16_t port);

/* Whether the socket FD, which is bound to BOUND, serves ADDRESS too, under another name: a dual-stack socket at [::],
 * as systemd's ListenStream=PORT is one, serves 0.0.0.0 of the same port. */
bool address_covers(const struct socket_address *bound, int fd, const struct socket_address *address);

bool address_equal(const struct sockaddr *a, socklen_t a_size, const struct sockaddr *b, socklen_t b_size);

#endif
