/* SPDX-License-Identifier: MIT */
#ifndef NET_SOCK_DIAG_H
#define NET_SOCK_DIAG_H
/*
 * What the kernel knows of sockets and getsockopt(2) does not tell: sock_diag(7), without privileges, in the caller's
 * network namespace. Each call asks over a netlink socket of its own and takes at most a second.
 *
 * All return -EOPNOTSUPP where the kernel cannot be asked: no such module, or a sandbox without AF_NETLINK.
 */
#include <stdint.h>

#include "base/attrs.h"
#include "net/address.h"

/* The handshakes under way at a listening TCP socket of that local address (which may be the wildcard): the kernel has
 * answered a SYN, the connection is not in the accept queue yet. The kernel does not say which of several sockets on
 * one address and port (SO_REUSEPORT) they belong to: all count. */
ATTR_NODISCARD int sock_diag_tcp_handshakes(const struct socket_address *local, uint32_t *ret_count);

/* The length of the accept queue of a listening unix socket. */
ATTR_NODISCARD int sock_diag_unix_queue(int fd, uint32_t *ret_queued);

/* The file that a unix socket is bound to, as stat(2) counts devices and inodes. -ENOENT: it is bound to none. */
ATTR_NODISCARD int sock_diag_unix_file(int fd, uint64_t *ret_device, uint64_t *ret_inode);

/* Whether a socket of any process is bound to PATH, spelled so, and does not listen yet. Returns 1, 0 or a negative
 * errno. */
ATTR_NODISCARD int sock_diag_unix_is_reserved(const char *path);

#endif
