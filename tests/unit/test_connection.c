/* SPDX-License-Identifier: MIT */
#include "tests/unit/stream_pair.h"

#include "worker/connection.h"

/* A connection that violates its protocol in the middle of a request, of which more is on its way. */
static int refuse_midway(void *state, struct brood_stream *stream)
{
	const char *text;

	cr_assert_eq(brood_peek(stream, 0, 1, &text), 1);
	brood_request_begin(stream);
	cr_assert_neq(((struct board_slot *)state)->deadline_us, 0);
	return -EMSGSIZE;
}

struct client {
	int fd;
	struct board_slot *slot;
	uint64_t deadline_us; /* while the worker waits for the client's end */
};

static void *see_the_end(void *argument)
{
	struct client *client = argument;
	char byte;

	cr_assert_eq(recv(client->fd, &byte, 1, 0), 0);
	client->deadline_us = client->slot->deadline_us;
	close(client->fd);
	return NULL;
}

/* What a close waits for a client who still sends is none of the request's time: nobody is to be killed for it. */
Test(connection, an_orderly_close_is_not_bounded_by_the_request)
{
	static const struct brood_module handler = { .name = "test", .serve = refuse_midway };
	static struct board_slot slot;
	static char name[] = "test";
	const struct pool_config pool = { .name = name, .handler = &handler, .request_timeout_ms = FAR_MS };
	const struct worker_start start = { .pool = &pool, .slot = &slot };
	struct client client = { .slot = &slot };
	int ends[2];
	pthread_t thread;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	client.fd = ends[1];
	cr_assert_eq(send(client.fd, "x", 1, 0), 1);
	connection_init(&start);
	connection_peer()->ss_family = AF_UNIX;
	*connection_peer_size() = sizeof(sa_family_t);
	thread = in_thread(see_the_end, &client);
	connection_serve(ends[0], 0, &slot);
	pthread_join(thread, NULL);
	cr_assert_eq(client.deadline_us, 0);
	cr_assert_eq(board_slot_state(&slot), BOARD_IDLE);
	cr_assert_eq(slot.failed, 1);
	cr_assert_eq(slot.requests, 0);
}
