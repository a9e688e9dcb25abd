/* SPDX-License-Identifier: MIT */
#ifndef BASE_RIGHTS_H
#define BASE_RIGHTS_H
/*
 * Descriptors that come unasked with messages on unix sockets (SCM_RIGHTS, unix(7)). Whoever takes a message, or
 * closes a socket that has some queued, lets go of them, perhaps as the last who has them; and the last close(2) of a
 * socket waits for as long as its owner has asked for by SO_LINGER (socket(7)), whether it blocks or not. So strangers
 * could stop whoever listens to them. Here they are taken, told not to linger, and closed.
 */
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

/* SCM_MAX_FD of the kernel: no message brings more. */
#define RIGHTS_MAX 253
/* Room for them in a message's control data. */
#define RIGHTS_SPACE CMSG_SPACE(RIGHTS_MAX * sizeof(int))

/* Closes the descriptors that a message has brought. */
void rights_drop(struct msghdr *header);

/* As recv(2), of a stream, without waiting. */
ssize_t rights_receive(int fd, void *buffer, size_t size);

/* As recv(2), of a socket with messages, without waiting. *ret_sender is who has sent the message, as the kernel says
 * where the socket has SO_PASSCRED; else 0. */
ssize_t rights_receive_from(int fd, void *buffer, size_t size, pid_t *ret_sender);

/* Has nothing more come to a socket, and closes the descriptors that are queued there: before it is closed itself. */
void rights_drain(int fd);

#endif
