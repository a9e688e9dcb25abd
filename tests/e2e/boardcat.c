/* SPDX-License-Identifier: MIT */
/* boardcat MASTER_PID: the master's scoreboard as JSON, for the end-to-end tests. Exit status 1: it has none (any
 * more). */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "board/board.h"
#include "net/address.h"

/* Whether PATH is a board of master PID's: it may keep those of masters before it, too. */
static int open_board(const char *path, const char *pid, struct board *board)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || board_open(board, fd) < 0)
		return -1;
	if (atomic_load(&board->header->master_pid) == (uint32_t)strtoul(pid, NULL, 10))
		return fd;
	board_done(board);
	close(fd);
	return -1;
}

/* A descriptor of the memfd of that name that process PID holds, or -1. */
static int find_board(const char *pid, struct board *board)
{
	char folder[64], path[400], target[sizeof(BOARD_MEMFD_NAME) + 32];
	struct dirent *entry;
	int found = -1;
	DIR *dir;

	snprintf(folder, sizeof(folder), "/proc/%s/fd", pid);
	dir = opendir(folder);
	while (dir != NULL && found < 0 && (entry = readdir(dir)) != NULL) {
		ssize_t size;

		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		size = readlink(path, target, sizeof(target) - 1);
		if (size < 0)
			continue;
		target[size] = '\0';
		if (strncmp(target, "/memfd:" BOARD_MEMFD_NAME, strlen("/memfd:" BOARD_MEMFD_NAME)) == 0)
			found = open_board(path, pid, board);
	}
	if (dir != NULL)
		closedir(dir);
	return found;
}

static void print_text(const char *name, const char *text)
{
	printf("\"%s\": \"", name);
	for (; *text != '\0'; text++)
		printf(*text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
	printf("\", ");
}

#define WORD(slot, name) printf("\"" #name "\": %llu, ", (unsigned long long)atomic_load(&(slot)->name))

static void print_pools(const struct board *board)
{
	bool first = true;

	printf("\"pools\": {");
	for (uint32_t i = 0; i < board->header->pool_count && board->pools[i].name[0] != '\0'; i++) {
		printf("%s\"%.*s\": {", first ? "" : ", ", (int)sizeof(board->pools[i].name), board->pools[i].name);
		WORD(&board->pools[i], connections);
		WORD(&board->pools[i], requests);
		WORD(&board->pools[i], bytes_in);
		WORD(&board->pools[i], bytes_out);
		printf("\"latency_count\": %llu}", (unsigned long long)histogram_count(&board->pools[i].latency));
		first = false;
	}
	printf("}, ");
}

static void print_slot(const struct board_slot *slot)
{
	struct sockaddr_storage peer = { 0 };
	socklen_t peer_size = board_slot_peer(slot, &peer);
	char pool[BOARD_POOL_NAME_MAX], status[BOARD_STATUS_MAX], text[ADDRESS_TEXT_MAX] = "";

	if (peer_size > 0)
		address_format((const struct sockaddr *)&peer, peer_size, true, text, sizeof(text));
	printf("{");
	print_text("pool", board_slot_pool(slot, pool));
	print_text("state", board_state_name(board_slot_state(slot)));
	print_text("peer", text);
	print_text("status", board_slot_status(slot, status));
	WORD(slot, pid);
	WORD(slot, generation);
	WORD(slot, born_us);
	WORD(slot, pool_slot);
	WORD(slot, listener);
	WORD(slot, changed_us);
	WORD(slot, deadline_us);
	WORD(slot, connections);
	WORD(slot, requests);
	WORD(slot, bytes_in);
	WORD(slot, bytes_out);
	WORD(slot, failed);
	WORD(slot, notified_us);
	WORD(slot, watchdog_us);
	WORD(slot, extended_us);
	printf("\"latency_count\": %llu, \"latency_median_us\": %llu}",
		(unsigned long long)histogram_count(&slot->latency),
		(unsigned long long)histogram_quantile_us(&slot->latency, 500));
}

int main(int argc, char **argv)
{
	struct board board;
	bool first = true;
	int fd;

	if (argc != 2)
		return 64;
	fd = find_board(argv[1], &board);
	if (fd < 0) {
		fprintf(stderr, "process %s has no scoreboard\n", argv[1]);
		return 1;
	}
	printf("{\"layout_version\": %u, \"slot_count\": %u, \"master_pid\": %u, \"generation\": %u, ",
		board.header->layout_version, board.header->slot_count, atomic_load(&board.header->master_pid),
		atomic_load(&board.header->generation));
	print_pools(&board);
	printf("\"slots\": [");
	for (uint32_t i = 0; i < board.header->slot_count; i++) {
		if (board.slots[i].pool[0] == '\0')
			continue; /* never used */
		printf(first ? "" : ",\n");
		first = false;
		print_slot(&board.slots[i]);
	}
	printf("]}\n");
	board_done(&board);
	close(fd);
	return 0;
}
