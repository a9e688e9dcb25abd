/* SPDX-License-Identifier: MIT */
#ifndef MASTER_SCALE_H
#define MASTER_SCALE_H
/*
 * An operator moves the size of pools, by TTIN and TTOU or by broodctl. It holds until the next reload, which brings
 * what the file says, and through upgrades. All pools together stay within max_workers.
 *
 * Only the master calls these.
 */
struct control_request;
struct master;

/* TTIN (+1) and TTOU (-1), of all pools. */
void scale_all(struct master *master, int delta);

/* REQUEST_SCALE. Whoever asked has his verdict when this returns; the workers come and go in their time. */
void scale_pool(struct master *master, const struct control_request *request);

#endif
