/* SPDX-License-Identifier: MIT */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "board/board.h"

static struct board make(uint32_t slot_count)
{
	struct board board;

	cr_assert_eq(board_create(&board, slot_count), 0);
	return board;
}

Test(board, is_made_with_its_layout)
{
	struct board board = make(7);

	cr_assert_eq(board.header->magic, BOARD_MAGIC);
	cr_assert_eq(board.header->layout_version, BOARD_LAYOUT_VERSION);
	cr_assert_eq(board.header->slot_count, 7);
	cr_assert_eq(board.header->slot_size, sizeof(struct board_slot));
	cr_assert_eq(board.header->pool_size, sizeof(struct board_pool));
	cr_assert_eq(board.header->pool_count, BOARD_POOLS);
	cr_assert_eq(board.header->size,
		sizeof(struct board_header) + BOARD_POOLS * sizeof(struct board_pool) + 7 * sizeof(struct board_slot));
	cr_assert_eq(board.header->size, board.size);
	cr_assert_eq(board.header->master_pid, (uint32_t)getpid());
	cr_assert_gt(board.header->started_us, 0);
	cr_assert_eq((char *)board.pools - (char *)board.header, board.header->header_size);
	cr_assert_eq((char *)board.slots, (char *)&board.pools[BOARD_POOLS]);
	cr_assert_eq((uintptr_t)board.slots % BOARD_LINE, 0);
	for (uint32_t i = 0; i < 7; i++) {
		cr_assert_eq(board.slots[i].pid, 0);
		cr_assert_eq(board_slot_state(&board.slots[i]), BOARD_EMPTY);
	}
	board_done(&board);
	cr_assert_null(board.header);
	cr_assert_eq(board.fd, -1);
	board_done(&board);
}

Test(board, needs_a_slot)
{
	struct board board;

	cr_assert_eq(board_create(&board, 0), -EINVAL);
}

Test(board, memfd_is_named_closed_on_exec_and_sealed)
{
	struct board board = make(1);
	char path[64];
	char link[128] = "";

	snprintf(path, sizeof(path), "/proc/self/fd/%d", board.fd);
	cr_assert_gt(readlink(path, link, sizeof(link) - 1), 0);
	cr_assert_str_eq(link, "/memfd:" BOARD_MEMFD_NAME " (deleted)");
	cr_assert_eq(fcntl(board.fd, F_GETFD), FD_CLOEXEC);
	cr_assert_lt(ftruncate(board.fd, 1), 0);
	cr_assert_lt(ftruncate(board.fd, 1 << 20), 0);
	cr_assert_lt(fcntl(board.fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
	board_done(&board);
}

Test(board, only_slots_in_use_take_memory)
{
	struct board board = make(100000);
	struct stat status;

	board_slot_claim(&board, 0, "web", 0, 1);
	board_slot_claim(&board, 1, "web", 1, 1);
	cr_assert_eq(fstat(board.fd, &status), 0);
	cr_assert_gt(status.st_size, 100 << 20);
	cr_assert_leq(status.st_blocks * 512, 64 << 10);
	board_done(&board);
}

Test(board, reader_sees_what_a_worker_in_another_process_writes)
{
	struct board board = make(2);
	struct board reader;
	pid_t pid;
	int status;

	board_slot_claim(&board, 1, "web", 4, 9);
	pid = fork();
	if (pid == 0) {
		board_worker_state(&board.slots[1], BOARD_IDLE, 77);
		_exit(0);
	}
	board_slot_born(&board, 1, (uint32_t)pid, 55);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert_eq(board_open(&reader, board.fd), 0);
	cr_assert_eq(reader.fd, -1);
	cr_assert_eq(reader.slots[1].pid, (uint32_t)pid);
	cr_assert_eq(reader.slots[1].born_us, 55);
	cr_assert_eq(reader.slots[1].pool_slot, 4);
	cr_assert_eq(reader.slots[1].generation, 9);
	cr_assert_eq(reader.slots[1].changed_us, 77);
	cr_assert_str_eq(reader.slots[1].pool, "web");
	cr_assert_eq(board_slot_state(&reader.slots[1]), BOARD_IDLE, "born does not undo what the worker wrote");
	board_done(&reader);
	cr_assert_geq(fcntl(board.fd, F_GETFD), 0, "the descriptor is the caller's");
	board_done(&board);
}

Test(board, reader_cannot_write)
{
	struct board board = make(1);
	struct board reader;
	pid_t pid;
	int status;

	cr_assert_eq(board_open(&reader, board.fd), 0);
	pid = fork();
	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL);
		reader.slots[0].pid = 1;
		_exit(0);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFSIGNALED(status) || WEXITSTATUS(status) != 0);
	board_done(&reader);
	board_done(&board);
}

static int memfd(size_t size, bool sealed)
{
	int fd = memfd_create("other", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	cr_assert_eq(ftruncate(fd, (off_t)size), 0);
	if (sealed)
		cr_assert_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	return fd;
}

static void check_not_a_board(int fd)
{
	struct board board = { .fd = 4711 };

	cr_assert_eq(board_open(&board, fd), -EPROTO);
	cr_assert_eq(board.fd, 4711, "the result is untouched");
	close(fd);
}

Test(board, refuses_what_is_no_board)
{
	check_not_a_board(memfd(0, true));
	check_not_a_board(memfd(sizeof(struct board_header) - 1, true));
	check_not_a_board(memfd(1 << 16, true));
	check_not_a_board(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
}

/* A copy of a good header of one slot, in a file of SIZE. */
static int copy_of(const struct board_header *header, size_t size, bool sealed)
{
	int fd = memfd(size, sealed);

	cr_assert_eq(pwrite(fd, header, sizeof(*header), 0), sizeof(*header));
	return fd;
}

Test(board, refuses_other_layouts_and_sizes)
{
	struct board board = make(1);
	struct board_header header;
	struct board found;
	int good = copy_of(board.header, board.size, true);

	cr_assert_eq(board_open(&found, good), 0);
	board_done(&found);
	close(good);
	check_not_a_board(copy_of(board.header, board.size, false));
	check_not_a_board(copy_of(board.header, board.size + 1, true));
	check_not_a_board(copy_of(board.header, board.size - 1, true));
#define CHECK_CHANGED(field)                                                                                           \
	do {                                                                                                           \
		memcpy(&header, board.header, sizeof(header));                                                         \
		header.field++;                                                                                        \
		check_not_a_board(copy_of(&header, board.size, true));                                                 \
	} while (0)
	CHECK_CHANGED(magic);
	CHECK_CHANGED(layout_version);
	CHECK_CHANGED(header_size);
	CHECK_CHANGED(slot_size);
	CHECK_CHANGED(slot_count);
	CHECK_CHANGED(pool_size);
	CHECK_CHANGED(pool_count);
	CHECK_CHANGED(size);
	board_done(&board);
}

static struct sockaddr_in6 peer(void)
{
	struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_port = htons(4711) };

	inet_pton(AF_INET6, "2001:db8::1", &address.sin6_addr);
	return address;
}

Test(board, follows_the_life_of_a_connection)
{
	struct board board = make(1);
	struct board_slot *slot = &board.slots[0];
	struct sockaddr_in6 address = peer();
	struct sockaddr_storage found;

	board_slot_claim(&board, 0, "web", 0, 1);
	cr_assert_eq(board_slot_state(slot), BOARD_STARTING);
	cr_assert_eq(board_slot_peer(slot, &found), 0);
	board_worker_state(slot, BOARD_IDLE, 1000);

	board_worker_accepted(slot, 2, (const struct sockaddr *)&address, sizeof(address), 2000);
	cr_assert_eq(board_slot_state(slot), BOARD_WAITING);
	cr_assert_eq(slot->changed_us, 2000);
	cr_assert_eq(slot->listener, 2);
	cr_assert_eq(slot->connections, 1);
	cr_assert_eq(board_slot_peer(slot, &found), sizeof(address));
	cr_assert_eq(memcmp(&found, &address, sizeof(address)), 0);

	board_worker_request_begin(slot, 3000, 9000);
	cr_assert_eq(board_slot_state(slot), BOARD_BUSY);
	cr_assert_eq(slot->deadline_us, 9000);
	board_worker_request_end(slot, 3007, 10, 20);
	cr_assert_eq(board_slot_state(slot), BOARD_WAITING);
	cr_assert_eq(slot->deadline_us, 0);
	cr_assert_eq(slot->requests, 1);
	cr_assert_eq(histogram_count(&slot->latency), 1);
	cr_assert_eq(histogram_quantile_us(&slot->latency, 500), 7);

	board_worker_request_begin(slot, 4000, 9000);
	board_worker_served(slot);
	cr_assert_eq(board_slot_state(slot), BOARD_BUSY);
	cr_assert_eq(slot->deadline_us, 0, "a request that was cut off has no deadline any more");
	board_worker_closed(slot, 5000, 1, 2, true);
	cr_assert_eq(board_slot_state(slot), BOARD_IDLE);
	cr_assert_eq(slot->changed_us, 5000);
	cr_assert_eq(slot->bytes_in, 11);
	cr_assert_eq(slot->bytes_out, 22);
	cr_assert_eq(slot->failed, 1);
	cr_assert_eq(slot->requests, 1);

	board_worker_accepted(slot, 0, (const struct sockaddr *)&address, sizeof(address), 6000);
	board_worker_closed(slot, 7000, 0, 0, false);
	cr_assert_eq(slot->connections, 2);
	cr_assert_eq(slot->failed, 1);
	board_done(&board);
}

Test(board, keeps_counters_until_the_slot_is_claimed_again)
{
	struct board board = make(1);
	struct board_slot *slot = &board.slots[0];
	struct sockaddr_in6 address = peer();
	struct sockaddr_storage found;

	board_slot_claim(&board, 0, "web", 3, 1);
	board_slot_born(&board, 0, 4711, 1);
	board_worker_accepted(slot, 1, (const struct sockaddr *)&address, sizeof(address), 2);
	board_worker_request_begin(slot, 3, 4);
	board_worker_request_end(slot, 5, 6, 7);
	board_worker_closed(slot, 8, 9, 10, true);

	board_slot_release(&board, 0);
	cr_assert_eq(slot->pid, 0);
	cr_assert_eq(board_slot_state(slot), BOARD_EMPTY);
	cr_assert_eq(slot->requests, 1);
	cr_assert_eq(board_slot_peer(slot, &found), sizeof(address));

	board_slot_claim(&board, 0, "mail", 0, 2);
	cr_assert_str_eq(slot->pool, "mail");
	cr_assert_eq(slot->connections + slot->requests + slot->bytes_in + slot->bytes_out + slot->failed, 0);
	cr_assert_eq(slot->born_us + slot->changed_us + slot->deadline_us + slot->listener, 0);
	cr_assert_eq(board_slot_peer(slot, &found), 0);
	cr_assert_eq(histogram_count(&slot->latency), 0);
	board_done(&board);
}

Test(board, cuts_what_is_too_long)
{
	struct board board = make(1);
	struct board_slot *slot = &board.slots[0];
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct sockaddr_storage found;
	char name[BOARD_POOL_NAME_MAX * 2];
	char pool[BOARD_POOL_NAME_MAX];

	memset(name, 'n', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	board_slot_claim(&board, 0, name, 0, 1);
	cr_assert_eq(strlen(board_slot_pool(slot, pool)), BOARD_POOL_NAME_MAX - 1);
	cr_assert_eq(slot->state, BOARD_STARTING, "the next line is untouched");

	memset(address.sun_path, 'p', sizeof(address.sun_path));
	board_worker_accepted(slot, 0, (const struct sockaddr *)&address, sizeof(address), 1);
	cr_assert_eq(board_slot_peer(slot, &found), BOARD_PEER_MAX);
	cr_assert_eq(histogram_count(&slot->latency), 0, "the next line is untouched");
	board_done(&board);
}

/* What a worker writes is hearsay: a broken one must not hurt a reader. */
Test(board, shows_what_a_program_says_until_the_slot_is_claimed_again)
{
	struct board board = make(1);
	char text[BOARD_STATUS_MAX], longer[2 * BOARD_STATUS_MAX];

	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	board_slot_claim(&board, 0, "app", 0, 1);
	board_slot_notified(&board.slots[0], "a longer one", 5);
	board_slot_notified(&board.slots[0], "serving", 6);
	cr_assert_str_eq(board_slot_status(&board.slots[0], text), "serving");
	board_slot_notified(&board.slots[0], NULL, 7);
	cr_assert_str_eq(board_slot_status(&board.slots[0], text), "serving");
	cr_assert_eq(board.slots[0].notified_us, 7);
	board_slot_notified(&board.slots[0], longer, 8);
	cr_assert_eq(strlen(board_slot_status(&board.slots[0], text)), BOARD_STATUS_MAX - 1);
	memset(board.slots[0].status, 'y', BOARD_STATUS_MAX);
	cr_assert_eq(strlen(board_slot_status(&board.slots[0], text)), BOARD_STATUS_MAX - 1, "whatever it holds");
	board_slot_claim(&board, 0, "app", 0, 1);
	cr_assert_str_empty(board_slot_status(&board.slots[0], text));
	cr_assert_eq(board.slots[0].notified_us, 0);
	board_done(&board);
}

Test(board, reader_survives_nonsense)
{
	struct board board = make(1);
	struct sockaddr_storage found;
	char pool[BOARD_POOL_NAME_MAX];

	memset(&board.slots[0], 0xff, sizeof(board.slots[0]));
	cr_assert_eq(board_slot_state(&board.slots[0]), BOARD_STATES);
	cr_assert_str_eq(board_state_name(board_slot_state(&board.slots[0])), "unknown");
	cr_assert_eq(board_slot_peer(&board.slots[0], &found), BOARD_PEER_MAX);
	cr_assert_eq(strlen(board_slot_pool(&board.slots[0], pool)), BOARD_POOL_NAME_MAX - 1);
	board_done(&board);
}

Test(board, every_state_has_a_name_of_its_own)
{
	for (int i = 0; i < BOARD_STATES; i++) {
		cr_assert_str_neq(board_state_name((enum board_state)i), "unknown");
		for (int j = 0; j < i; j++)
			cr_assert_str_neq(board_state_name((enum board_state)i), board_state_name((enum board_state)j));
	}
	cr_assert_str_eq(board_state_name((enum board_state) - 1), "unknown");
}

/* ---- what the workers of a pool have done that are gone ---- */

static void work(struct board *board, uint32_t slot, const char *pool, unsigned int requests)
{
	struct sockaddr_in6 address = peer();
	struct board_slot *worker = &board->slots[slot];

	board_slot_claim(board, slot, pool, slot, 1);
	board_worker_accepted(worker, 0, (struct sockaddr *)&address, sizeof(address), 100);
	for (unsigned int i = 0; i < requests; i++) {
		board_worker_request_begin(worker, 200, 0);
		board_worker_request_end(worker, 210, 10, 20);
	}
	board_worker_closed(worker, 300, 1, 2, true);
}

Test(board, sums_stand_by_the_name_of_the_pool)
{
	struct board board = make(2);

	work(&board, 0, "web", 3);
	work(&board, 1, "mail", 1);
	board_pool_add(board_pool(&board, "web"), &board.slots[0]);
	board_pool_add(board_pool(&board, "mail"), &board.slots[1]);
	work(&board, 0, "web", 2);
	board_pool_add(board_pool(&board, "web"), &board.slots[0]);
	cr_expect_eq(board_pool(&board, "web"), &board.pools[0]);
	cr_expect_str_eq(board.pools[1].name, "mail");
	/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): make() has looked. */
	cr_expect_eq(board.pools[0].connections, 2);
	cr_expect_eq(board.pools[0].requests, 5);
	cr_expect_eq(board.pools[0].failed, 2);
	cr_expect_eq(board.pools[0].bytes_in, 52);
	cr_expect_eq(board.pools[0].bytes_out, 104);
	cr_expect_eq(histogram_count(&board.pools[0].latency), 5);
	cr_expect_eq(board.pools[1].requests, 1);
	board_done(&board);
}

Test(board, pools_beyond_its_room_share_the_last_place)
{
	struct board board = make(1);
	char name[16];

	for (unsigned int i = 0; i < BOARD_POOLS - 1; i++) {
		snprintf(name, sizeof(name), "pool%u", i);
		cr_assert_eq(board_pool(&board, name), &board.pools[i]);
	}
	cr_expect_eq(board_pool(&board, "more"), &board.pools[BOARD_POOLS - 1]);
	cr_expect_eq(board_pool(&board, "yet more"), &board.pools[BOARD_POOLS - 1]);
	cr_expect_eq(board_pool(&board, "pool7"), &board.pools[7]);
	cr_expect_str_eq(board.pools[BOARD_POOLS - 1].name, "");
	board_done(&board);
}

Test(board, is_adopted_with_all_that_it_says)
{
	struct board board = make(3), adopted;
	int fd;

	work(&board, 2, "web", 4);
	board_slot_born(&board, 2, 4711, 5);
	board_pool_add(board_pool(&board, "web"), &board.slots[2]);
	board.header->master_pid = 1;
	fd = dup(board.fd);
	cr_assert_eq(board_adopt(&adopted, fd, 4), -EPROTO, "another size");
	cr_assert_eq(board_adopt(&adopted, fd, 3), 0);
	cr_expect_eq(adopted.header->master_pid, (uint32_t)getpid());
	cr_expect_eq(adopted.slots[2].pid, 4711);
	cr_expect_eq(adopted.pools[0].requests, 4);
	board_slot_release(&adopted, 2);
	cr_expect_eq(board.slots[2].pid, 0, "it is the same memory");
	board_done(&adopted);
	board_done(&board);
}

/* ---- the spare workers of a pool ---- */

Test(board, counts_those_that_wait)
{
	struct board_pool pool = { .poke_below = 1 };
	struct board_slot slots[2] = { 0 };

	board_spare_enter(&pool, &slots[0]);
	board_spare_enter(&pool, &slots[1]);
	cr_expect_eq(pool.spare, 2);
	cr_expect_not(board_spare_leave(&pool, &slots[0]), "one is left");
	cr_expect_eq(pool.poked, 0);
	cr_expect(board_spare_leave(&pool, &slots[1]));
	cr_expect_eq(pool.spare, 0);
	cr_expect_eq(pool.poked, 1);
	pool.poke_below = INT32_MIN;
	board_spare_enter(&pool, &slots[0]);
	cr_expect_not(board_spare_leave(&pool, &slots[0]), "the master does not want to know");
}

Test(board, the_dead_are_no_spare_workers)
{
	struct board_pool pool = { 0 };
	struct board_slot idle = { 0 }, busy = { 0 };

	board_spare_enter(&pool, &idle);
	board_spare_enter(&pool, &busy);
	board_spare_leave(&pool, &busy);
	board_spare_forget(&pool, &idle);
	board_spare_forget(&pool, &busy);
	cr_expect_eq(pool.spare, 0);
	cr_expect_eq(idle.counted, 0);
}

Test(board, a_wrong_count_is_repaired_unless_it_has_changed)
{
	struct board_pool pool = { .spare = 5 };

	board_spare_repair(&pool, 4, 2);
	cr_expect_eq(pool.spare, 5);
	board_spare_repair(&pool, 5, 2);
	cr_expect_eq(pool.spare, 2);
}
