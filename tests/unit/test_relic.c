/* SPDX-License-Identifier: MIT */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "board/relic.h"

static struct board make(uint32_t slot_count)
{
	struct board board;

	cr_assert_eq(board_create(&board, slot_count), 0);
	return board;
}

static struct board_relic open_relic(int fd)
{
	struct board_relic relic;

	cr_assert_eq(board_relic_open(&relic, fd), 0);
	return relic;
}

/* A worker of POOL in PLACE, who has served. */
static void work(struct board *board, uint32_t place, const char *pool, uint32_t pid)
{
	struct board_slot *slot = &board->slots[place];
	const struct sockaddr nobody = { 0 };

	board_slot_claim(board, place, pool, place, 1);
	board_slot_born(board, place, pid, 1);
	board_worker_accepted(slot, 0, &nobody, sizeof(nobody), 100);
	board_worker_request_begin(slot, 200, 0);
	board_worker_request_end(slot, 210, 10, 20);
	board_worker_closed(slot, 300, 1, 2, true);
}

Test(relic, counters_move_once)
{
	struct board old = make(4), new = make(5);
	struct board_relic relic = open_relic(old.fd);

	work(&old, 1, "web", 11);
	work(&old, 2, "web", 12);
	work(&old, 3, "mail", 13);
	board_pool_add(board_pool(&old, "web"), &old.slots[1]);
	old.pools[0].deaths[2] = 1;
	board_slot_release(&old, 1);
	cr_expect_not(board_slot_is_taken(board_relic_slot(&relic, 1)));
	cr_expect(board_slot_is_taken(board_relic_slot(&relic, 2)));
	for (int i = 0; i < 2; i++) {
		board_relic_move_pools(&relic, &new);
		cr_expect_eq(board_pool(&new, "web")->connections, 1);
		cr_expect_eq(board_pool(&new, "web")->deaths[2], 1);
		cr_expect_eq(histogram_count(&board_pool(&new, "web")->latency), 1);
	}
	for (int i = 0; i < 2; i++) {
		board_relic_move_slot(&relic, 2, &new);
		board_relic_move_slot(&relic, 3, &new);
		cr_expect_eq(board_pool(&new, "web")->connections, 2);
		cr_expect_eq(board_pool(&new, "web")->bytes_in, 22);
		cr_expect_eq(board_pool(&new, "web")->bytes_out, 44);
		cr_expect_eq(board_pool(&new, "web")->failed, 2);
		cr_expect_eq(board_pool(&new, "mail")->requests, 1);
		cr_expect_eq(histogram_count(&board_pool(&new, "mail")->latency), 1);
	}
	cr_expect_not(board_slot_is_taken(board_relic_slot(&relic, 2)));
	board_relic_close(&relic);
	board_done(&old);
	board_done(&new);
}

Test(relic, a_worker_that_was_being_made_has_its_slot)
{
	struct board old = make(1);
	struct board_relic relic = open_relic(old.fd);

	cr_expect_not(board_slot_is_taken(board_relic_slot(&relic, 0)));
	board_slot_claim(&old, 0, "web", 0, 1);
	cr_expect(board_slot_is_taken(board_relic_slot(&relic, 0)));
	board_relic_close(&relic);
	board_done(&old);
}

/* A board as a later version might make it: everything has grown at its end. */
static int later_board(uint32_t slots)
{
	const uint32_t header_size = sizeof(struct board_header) + BOARD_LINE;
	const uint32_t pool_size = sizeof(struct board_pool) + BOARD_LINE;
	const uint32_t slot_size = sizeof(struct board_slot) + 2 * BOARD_LINE;
	size_t size = header_size + 3 * pool_size + slots * slot_size;
	int fd = memfd_create("later", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct board_header *header;

	cr_assert_eq(ftruncate(fd, (off_t)size), 0);
	header = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	header->magic = BOARD_MAGIC;
	header->layout_version = BOARD_LAYOUT_VERSION + 1;
	header->header_size = header_size;
	header->pool_size = pool_size;
	header->pool_count = 3;
	header->slot_size = slot_size;
	header->slot_count = slots;
	header->size = size;
	munmap(header, size);
	cr_assert_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
	return fd;
}

Test(relic, of_another_layout_is_read_by_what_stays)
{
	struct board new = make(1), unused;
	int fd = later_board(2);
	struct board_relic relic = open_relic(fd);
	struct board_slot *slot = board_relic_slot(&relic, 1);

	cr_expect_not(relic.same_layout);
	cr_expect_eq(board_open(&unused, fd), -EPROTO);
	strcpy(slot->pool, "web");
	slot->pid = 4711;
	slot->connections = 3;
	slot->latency.count[7] = 9;
	board_relic_move_slot(&relic, 1, &new);
	cr_expect_eq(board_pool(&new, "web")->connections, 3);
	cr_expect_eq(histogram_count(&board_pool(&new, "web")->latency), 0, "another version's may be another");
	cr_expect_eq(slot->pid, 0);
	board_relic_close(&relic);
	board_done(&new);
	close(fd);
}

/* Any worker may have written to the header. */
Test(relic, sizes_that_do_not_hold_are_refused)
{
	struct board old = make(4);
	struct board_relic relic;
	struct board_header good = *old.header;

#define CHECK_REFUSED(field, value)                                                                                    \
	do {                                                                                                           \
		old.header->field = (value);                                                                           \
		cr_expect_eq(board_relic_open(&relic, old.fd), -EPROTO, #field);                                       \
		old.header->field = good.field;                                                                        \
	} while (0)
	CHECK_REFUSED(magic, 1);
	CHECK_REFUSED(layout_version, 2);
	CHECK_REFUSED(header_size, 0);
	CHECK_REFUSED(header_size, 0xffffffc0);
	CHECK_REFUSED(pool_size, 64);
	CHECK_REFUSED(pool_size, good.pool_size + 1);
	CHECK_REFUSED(pool_count, 0xffffffff);
	CHECK_REFUSED(pool_count, BOARD_POOLS + 8);
	CHECK_REFUSED(slot_size, 64);
	CHECK_REFUSED(slot_size, 0xffffffc0);
	CHECK_REFUSED(slot_count, 5);
	CHECK_REFUSED(slot_count, 0xffffffff);
	cr_assert_eq(board_relic_open(&relic, old.fd), 0);
	board_relic_close(&relic);
	cr_expect_eq(board_relic_open(&relic, open("/dev/null", O_RDWR | O_CLOEXEC)), -EPROTO);
	board_done(&old);
}

Test(relic, no_child_has_it)
{
	struct board old = make(1);
	struct board_relic relic = open_relic(old.fd);
	unsigned char resident;
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(mincore(relic.memory, 1, &resident) < 0 && errno == ENOMEM ? 0 : 1);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_expect_eq(status, 0);
	board_relic_close(&relic);
	board_done(&old);
}
