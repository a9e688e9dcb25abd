/* SPDX-License-Identifier: MIT */
#ifndef LIBBROOD_RESOLVE_H
#define LIBBROOD_RESOLVE_H
/*
 * Names to addresses, within a time. Inside libbrood only. Times are CLOCK_MONOTONIC in microseconds.
 */
#include <netdb.h>
#include <stdint.h>

/*
 * The addresses of HOST with the decimal PORT, for stream sockets, in *ret_list for freeaddrinfo(3); HOST in numbers
 * asks no name service. Returns 0; -ETIMEDOUT at END_US, or WAIT_FOR_EVER; -ENOENT, -EAGAIN, -EIO or -ENOMEM as
 * brood_connect() says.
 */
int resolve_host(const char *host, const char *port, uint64_t end_us, struct addrinfo **ret_list);

#endif
