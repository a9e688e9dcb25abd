/* SPDX-License-Identifier: MIT */
#include <sys/eventfd.h>

#include "tests/unit/stream_pair.h"

#include "libbrood/wait.h"
#include "worker/connection.h"

/* What the workers of the pool share: the master wants to hear nothing. */
static struct board_pool no_count = { .poke_below = INT32_MIN };

#define SOON_MS 1000

/* A connection that violates its protocol in the middle of a request, of which more is on its way. */
static int refuse_midway(void *state, struct brood_stream *stream)
{
	const char *text;

	cr_assert_eq(brood_peek(stream, 0, 1, &text), 1);
	brood_request_begin(stream);
	cr_assert_neq(((struct board_slot *)state)->deadline_us, 0);
	return -EMSGSIZE;
}

static struct board_slot *extended;

static uint64_t due_us(void)
{
	return extended->deadline_us;
}

/* Both deadlines move together, and only ahead; one of the handler's own that is nearer stays. */
static int extend(void *state, struct brood_stream *stream)
{
	uint64_t before_us, now_us = wait_clock_us();

	extended = state;
	brood_extend(stream, FAR_MS);
	cr_expect_eq(due_us(), 0, "no request");
	cr_expect_eq(stream->deadline_us, 0);
	brood_request_begin(stream);
	before_us = due_us();
	cr_expect_eq(stream->deadline_us, before_us);
	brood_extend(stream, 1);
	cr_expect_eq(due_us(), before_us, "it takes no time");
	brood_extend(stream, 2 * FAR_MS);
	cr_expect_geq(due_us(), now_us + (uint64_t)2 * FAR_MS * 1000);
	cr_expect_eq(stream->deadline_us, due_us());
	brood_request_end(stream);
	cr_expect_eq(stream->deadline_us, 0);
	cr_expect_eq(due_us(), 0);

	brood_request_begin(stream);
	brood_set_deadline(stream, SOON_MS);
	before_us = stream->deadline_us;
	brood_extend(stream, 2 * FAR_MS);
	cr_expect_eq(stream->deadline_us, before_us, "set within the request");
	brood_request_end(stream);
	brood_set_deadline(stream, FAR_MS + SOON_MS);
	before_us = stream->deadline_us;
	brood_request_begin(stream);
	cr_expect_lt(stream->deadline_us, before_us);
	brood_extend(stream, 2 * FAR_MS);
	cr_expect_eq(stream->deadline_us, before_us, "set before it");
	cr_expect_gt(due_us(), before_us);
	brood_request_end(stream);
	stream->given_up = true;
	return 0;
}

static void serve_once(const struct pool_config *pool, struct board_slot *slot)
{
	const struct worker_start start = { .pool = pool, .slot = slot, .on_board = &no_count };
	int ends[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	connection_init(&start);
	connection_peer()->ss_family = AF_UNIX;
	*connection_peer_size() = sizeof(sa_family_t);
	connection_serve(ends[0], 0, slot);
	close(ends[1]);
}

Test(connection, a_handler_may_extend_its_request)
{
	static const struct brood_module handler = { .name = "test", .serve = extend };
	static struct board_slot slot;
	static char name[] = "test";

	serve_once(&(struct pool_config){ .name = name, .handler = &handler, .request_timeout_ms = FAR_MS }, &slot);
}

static int extend_nothing(void *state, struct brood_stream *stream)
{
	brood_request_begin(stream);
	brood_extend(stream, FAR_MS);
	cr_expect_eq(((struct board_slot *)state)->deadline_us, 0);
	cr_expect_eq(stream->deadline_us, 0);
	brood_request_end(stream);
	stream->given_up = true;
	return 0;
}

Test(connection, without_a_time_out_there_is_nothing_to_extend)
{
	static const struct brood_module handler = { .name = "test", .serve = extend_nothing };
	static struct board_slot slot;
	static char name[] = "test";

	serve_once(&(struct pool_config){ .name = name, .handler = &handler }, &slot);
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
	const struct worker_start start = { .pool = &pool, .on_board = &no_count, .slot = &slot };
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

/* ---- the limit of requests ---- */

static int serve_four(void *state, struct brood_stream *stream)
{
	for (int i = 0; i < 4; i++) {
		brood_request_begin(stream);
		brood_request_end(stream);
	}
	return 0;
}

static void serve_one_connection(struct board_slot *slot)
{
	int ends[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	connection_peer()->ss_family = AF_UNIX;
	*connection_peer_size() = sizeof(sa_family_t);
	close(ends[1]);
	connection_serve(ends[0], 0, slot);
}

/* How often the master was woken since the last look. */
static uint64_t wakes(int fd)
{
	eventfd_t count = 0;

	return eventfd_read(fd, &count) == 0 ? count : 0;
}

/* Once, by the request that reaches the limit, whatever connection it is on; and the worker serves on. */
Test(connection, wakes_the_master_at_the_limit_of_requests)
{
	static const struct brood_module handler = { .name = "test", .serve = serve_four };
	static const uint64_t limits[] = { 0, 1, 4, 6, 8 };

	for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
		static char name[] = "test";
		struct board_slot slot = { 0 };
		const struct pool_config pool = { .name = name, .handler = &handler };
		const struct worker_start start = {
			.pool = &pool,
			.on_board = &no_count,
			.slot = &slot,
			.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
			.max_requests = limits[i],
		};

		connection_init(&start);
		for (uint64_t served = 0; served < 16; served += 4) {
			serve_one_connection(&slot);
			cr_assert_eq(slot.requests, served + 4);
			cr_expect_eq(wakes(start.wake_fd), limits[i] > served && limits[i] <= served + 4,
				"limit %llu, %llu served", (unsigned long long)limits[i],
				(unsigned long long)served + 4);
		}
		close(start.wake_fd);
	}
}

/* ---- the master is woken by the worker that leaves too few others to wait ---- */

static int see_the_count(void *state, struct brood_stream *stream)
{
	const struct worker_start *start = state;

	(void)stream;
	cr_assert_eq(start->on_board->spare, 2);
	cr_assert_eq(start->slot->counted, 0);
	cr_assert_eq(board_slot_state(start->slot), BOARD_WAITING);
	return 0;
}

static void serve_one(const struct worker_start *start)
{
	int ends[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	close(ends[1]);
	connection_peer()->ss_family = AF_UNIX;
	*connection_peer_size() = sizeof(sa_family_t);
	connection_serve(ends[0], 0, (void *)(uintptr_t)start);
	cr_assert_eq(start->on_board->spare, 3);
	cr_assert_eq(start->slot->counted, 1);
}

Test(connection, wakes_the_master_where_too_few_are_left_to_wait)
{
	static const struct brood_module handler = { .name = "test", .serve = see_the_count };
	static struct board_slot slot;
	static struct board_pool on_board = { .spare = 2 };
	static char name[] = "test";
	const struct pool_config pool = { .name = name, .handler = &handler };
	const struct worker_start start = {
		.pool = &pool, .slot = &slot, .on_board = &on_board, .wake_fd = eventfd(0, EFD_NONBLOCK)
	};
	eventfd_t wakes;

	connection_init(&start);
	board_spare_enter(&on_board, &slot);
	on_board.poke_below = 2;
	serve_one(&start);
	cr_assert_eq(eventfd_read(start.wake_fd, &wakes), -1, "two are left");
	on_board.poke_below = 3;
	serve_one(&start);
	serve_one(&start);
	cr_assert_eq(eventfd_read(start.wake_fd, &wakes), 0);
	cr_assert_eq(wakes, 1, "one wakes it for both");
	cr_assert_eq(on_board.poked, 3, "two were left, and one");
	close(start.wake_fd);
}
