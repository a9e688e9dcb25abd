/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "base/exit_status.h"
#include "base/log.h"
#include "master/master_private.h"
#include "policy/deadline.h"

#define NOW_MS 1000

/* A master of one pool with one slot and no listener, in PHASE. */
struct daemon {
	struct pool_config pool_config;
	struct config config;
	struct slot slot;
	struct worker worker;
	struct pool pool;
	struct master master;
};

static void make(struct daemon *daemon, enum life_phase phase)
{
	const struct pool_rules rules = {
		.capacity = 1, .give_up_after = POOL_START_ATTEMPTS, .backoff = {.min_ms = 1, .max_ms = 1}
	};
	static char name[] = "test";

	log_set_level(LOG_LEVEL_ERROR);
	*daemon = (struct daemon){
		.pool_config = { .name = name },
		.config = { .stop_timeout_ms = 10 },
		.pool = { .config = &daemon->pool_config, .workers = &daemon->worker },
		.master = {
			.config = &daemon->config,
			.pools = &daemon->pool,
			.pool_count = 1,
			.notify = { .fd = -1 },
			.phase = phase,
			.stop_deadline_ms = DEADLINE_NONE,
		},
	};
	pool_policy_init(&daemon->pool.policy, &rules, 1, &daemon->slot);
}

static void fail_starts(struct daemon *daemon)
{
	for (int i = 0; i < POOL_START_ATTEMPTS; i++) {
		pool_policy_event(&daemon->pool.policy, 0, SLOT_ASK, SLOT_REASON_NONE, NOW_MS);
		pool_policy_event(&daemon->pool.policy, 0, SLOT_FAILED, SLOT_REASON_NONE, NOW_MS);
	}
}

/* The loop is to come back at once, and to be in PHASE. */
static void expect_next(struct daemon *daemon, enum life_phase phase, uint64_t now_ms)
{
	cr_assert_leq(lifecycle_check(&daemon->master, now_ms), now_ms, "it would sleep before %s",
		lifecycle_phase_name(phase));
	cr_assert_eq(daemon->master.phase, phase, "not %s", lifecycle_phase_name(phase));
}

Test(lifecycle, a_start_that_fails_names_the_pool)
{
	char line[LOG_LINE_MAX];
	struct daemon daemon;
	int ends[2];
	ssize_t size;

	make(&daemon, LIFE_STARTING);
	fail_starts(&daemon);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
	log_connect(ends[1], NULL);
	lifecycle_check(&daemon.master, NOW_MS);
	log_connect(-1, NULL);
	size = recv(ends[0], line, sizeof(line), MSG_DONTWAIT);
	cr_assert_gt(size, 0);
	cr_assert_not_null(memmem(line, (size_t)size, "cannot start the pool", strlen("cannot start the pool")));
	cr_assert_not_null(memmem(line, (size_t)size, "test", strlen("test")));
}

Test(lifecycle, a_start_that_fails_with_no_worker_left_ends_at_once)
{
	struct daemon daemon;

	make(&daemon, LIFE_STARTING);
	fail_starts(&daemon);
	expect_next(&daemon, LIFE_QUITTING, NOW_MS);
	expect_next(&daemon, LIFE_GONE, NOW_MS);
	cr_assert_eq(daemon.master.exit_status, EXIT_STATUS_START);
}

Test(lifecycle, a_stop_that_times_out_with_no_worker_left_ends_at_once)
{
	struct daemon daemon;

	make(&daemon, LIFE_DRAINING);
	daemon.master.stop_deadline_ms = NOW_MS;
	expect_next(&daemon, LIFE_QUITTING, NOW_MS);
	expect_next(&daemon, LIFE_GONE, NOW_MS);
	cr_assert_eq(daemon.master.exit_status, EXIT_STATUS_OK);
}

Test(lifecycle, a_stop_goes_through_its_phases_without_a_wait_when_nothing_is_left)
{
	struct daemon daemon;

	make(&daemon, LIFE_SERVING);
	lifecycle_event(&daemon.master, LIFE_STOP, NOW_MS);
	cr_assert_eq(daemon.master.phase, LIFE_DRAINING);
	expect_next(&daemon, LIFE_RETIRING, NOW_MS);
	expect_next(&daemon, LIFE_GONE, NOW_MS);
}

/* The kernel is asked over a socket. Where there is none to be had, nothing is known, and nothing may be closed yet. */
Test(lifecycle, a_shortage_of_descriptors_does_not_count_as_drained)
{
	const struct listener_options options = { .backlog = 8 };
	struct socket_address address = { .size = sizeof(struct sockaddr_in) };
	struct listener listener = LISTENER_NONE;
	struct rlimit none, before;
	struct daemon daemon;
	const char *step;

	make(&daemon, LIFE_SERVING);
	address.storage.ss_family = AF_INET;
	cr_assert_eq(listener_bind(&listener, "test", &address, &options, &step), 0, "%s", step);
	cr_assert_eq(listener_listen(&listener), 0);
	daemon.master.listeners = (struct listener_table){ .list = (struct listener *[]){ &listener }, .count = 1 };
	lifecycle_event(&daemon.master, LIFE_STOP, NOW_MS);
	cr_assert(listener.refused);
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = (struct rlimit){ .rlim_cur = 0, .rlim_max = before.rlim_max };
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	cr_assert_not(bind_all_drained(&daemon.master));
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	cr_assert(bind_all_drained(&daemon.master));
	listener_close(&listener);
}

Test(lifecycle, serving_has_no_deadline_of_its_own)
{
	struct daemon daemon;

	make(&daemon, LIFE_SERVING);
	cr_assert_eq(lifecycle_check(&daemon.master, NOW_MS), DEADLINE_NONE);
	cr_assert_eq(daemon.master.phase, LIFE_SERVING);
}
