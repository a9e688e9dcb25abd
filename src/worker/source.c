/* SPDX-License-Identifier: MIT */
#include "worker/source.h"

#include <netinet/in.h>
#include <string.h>

/* An IPv4 address as its v4-mapped form: a client is the same by either. Returns false for other families. */
static bool source_key(const struct sockaddr *peer, socklen_t size, struct in6_addr *ret_key)
{
	if (size >= sizeof(struct sockaddr_in) && peer->sa_family == AF_INET) {
		*ret_key = (struct in6_addr){
			.s6_addr = {[10] = 0xff, [11] = 0xff}
		};
		memcpy(&ret_key->s6_addr[12], &((const struct sockaddr_in *)peer)->sin_addr, 4);
		return true;
	}
	if (size >= sizeof(struct sockaddr_in6) && peer->sa_family == AF_INET6) {
		*ret_key = ((const struct sockaddr_in6 *)peer)->sin6_addr;
		return true;
	}
	return false;
}

static bool slot_serves(
	const struct board_slot *slot, const char own_pool[BOARD_POOL_NAME_MAX], const struct in6_addr *key)
{
	char pool[BOARD_POOL_NAME_MAX];
	struct sockaddr_storage peer;
	struct in6_addr other;
	socklen_t size;

	/* Its pid may not have been noted by the master yet. */
	if (board_slot_state(slot) != BOARD_RUNNING)
		return false;
	size = board_slot_peer(slot, &peer);
	return source_key((const struct sockaddr *)&peer, size, &other) && memcmp(&other, key, sizeof(other)) == 0 &&
	       strcmp(board_slot_pool(slot, pool), own_pool) == 0;
}

uint32_t source_count(
	const struct board *board, const struct board_slot *own, const struct sockaddr *peer, socklen_t peer_size)
{
	uint32_t used = board_slots_used(board);
	char pool[BOARD_POOL_NAME_MAX];
	struct in6_addr key;
	uint32_t count = 1;

	if (!source_key(peer, peer_size, &key))
		return count;
	board_slot_pool(own, pool);
	for (uint32_t i = 0; i < used; i++)
		if (&board->slots[i] != own && slot_serves(&board->slots[i], pool, &key))
			count++;
	return count;
}
