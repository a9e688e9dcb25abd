/* SPDX-License-Identifier: MIT */
#ifndef MASTER_SHARES_H
#define MASTER_SHARES_H
/*
 * How many workers each pool may have, where together they want more than the global max_workers: the hands of
 * policy/share.h. Without memory for it they have what they had.
 *
 * Only the master calls this.
 */
struct master;

/* After the pools were looked at, which says what they want; before their plans are asked for. */
void shares_divide(struct master *master);

#endif
