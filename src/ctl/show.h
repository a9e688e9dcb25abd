/* SPDX-License-Identifier: MIT */
#ifndef CTL_SHOW_H
#define CTL_SHOW_H
/* A snapshot (ctl/snapshot.h) for people. Each returns false where there was no memory, or nothing could be written. */
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/* The daemon, a line for each pool, a line for each listener. */
bool show_status(const json_t *snapshot, FILE *out);
/* A line for each worker. */
bool show_workers(const json_t *snapshot, FILE *out);

#endif
