/* SPDX-License-Identifier: MIT */
#ifndef MASTER_NOTIFY_SOCKET_H
#define MASTER_NOTIFY_SOCKET_H
/*
 * The receiving end of one worker's NOTIFY_SOCKET: a datagram socket in the abstract name space, which a chroot does
 * not hide. Its name is no secret (/proc/net/unix shows it): who counts is said by the sender's credentials, which the
 * kernel vouches for. Only the master calls these. Functions return 0 or a negative errno.
 */
#include <stdbool.h>
#include <sys/socket.h>

#include "base/attrs.h"
#include "master/notify_message.h"

#define NOTIFY_PATH_MAX 64

/* Opens one, close-on-exec and non-blocking. RET_PATH is what the program is given: "@brood/...". */
ATTR_NODISCARD int notify_socket_open(int *ret_fd, char ret_path[NOTIFY_PATH_MAX]);

/*
 * Takes one message, never waits. Descriptors that came with it are closed, which is all that a sender who waits for
 * that (sd_notify_barrier(3)) asks for. -EAGAIN: there is none. -EBADMSG: it was none, or too long, or without
 * credentials; there may be another.
 */
ATTR_NODISCARD int notify_socket_receive(int fd, struct notify_message *ret_message, struct ucred *ret_sender);

#endif
