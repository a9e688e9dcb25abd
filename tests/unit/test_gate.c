/* SPDX-License-Identifier: MIT */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/un.h>
#include <unistd.h>

#include "worker/gate.h"

/* A non-blocking listener that the kernel names, and its address. */
static int listening(sa_family_t family, struct sockaddr_storage *ret_address, socklen_t *ret_size)
{
	struct sockaddr_storage any = { .ss_family = family };
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	cr_assert_eq(bind(fd, (struct sockaddr *)&any, family == AF_UNIX ? sizeof(sa_family_t) : sizeof(any)), 0);
	cr_assert_eq(listen(fd, 8), 0);
	*ret_size = sizeof(*ret_address);
	cr_assert_eq(getsockname(fd, (struct sockaddr *)ret_address, ret_size), 0);
	return fd;
}

static int client(const struct sockaddr_storage *address, socklen_t size)
{
	int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert_eq(connect(fd, (const struct sockaddr *)address, size), 0);
	return fd;
}

static int accept_at(struct gate *gate, uint32_t *ret_listener)
{
	struct sockaddr_storage peer;
	socklen_t size;

	return gate_accept(gate, &peer, &size, ret_listener);
}

static int ready(const struct gate *gate)
{
	struct epoll_event event;

	return epoll_wait(gate->fd, &event, 1, 0);
}

struct pair {
	int listeners[2];
	struct sockaddr_storage addresses[2];
	socklen_t sizes[2];
	struct gate gate;
};

static void open_pair(struct pair *pair)
{
	pair->listeners[0] = listening(AF_INET, &pair->addresses[0], &pair->sizes[0]);
	pair->listeners[1] = listening(AF_UNIX, &pair->addresses[1], &pair->sizes[1]);
	cr_assert_eq(gate_open(&pair->gate, pair->listeners, 2), 0);
}

Test(gate, tells_which_listener_had_the_client)
{
	struct pair pair;

	open_pair(&pair);
	for (uint32_t i = 0; i < 2; i++) {
		int fd = client(&pair.addresses[i], pair.sizes[i]);
		uint32_t listener = 4711;
		int served = accept_at(&pair.gate, &listener);

		cr_assert_geq(served, 0);
		cr_assert_eq(listener, i);
		cr_assert_eq(fcntl(served, F_GETFD), FD_CLOEXEC);
		close(served);
		close(fd);
	}
}

Test(gate, unix_listener_that_was_shut_down_is_emptied_and_left)
{
	struct pair pair;
	uint32_t listener = 4711;
	int queued;
	int later;
	int served;

	open_pair(&pair);
	queued = client(&pair.addresses[1], pair.sizes[1]);
	cr_assert_eq(shutdown(pair.listeners[1], SHUT_RD), 0);
	served = accept_at(&pair.gate, &listener);
	cr_assert_geq(served, 0);
	cr_assert_eq(listener, 1);

	cr_assert_eq(ready(&pair.gate), 1, "the kernel goes on reporting it");
	cr_assert_eq(accept_at(&pair.gate, &listener), -EAGAIN);
	cr_assert_eq(ready(&pair.gate), 0, "the next wait waits");

	later = client(&pair.addresses[0], pair.sizes[0]);
	cr_assert_geq(accept_at(&pair.gate, &listener), 0);
	cr_assert_eq(listener, 0);
	close(queued);
	close(served);
	close(later);
}
