/* SPDX-License-Identifier: MIT */
#ifndef MASTER_HAND_OVER_H
#define MASTER_HAND_OVER_H
/* The master's state as records (master/state.h), for the image that takes its place. */
#include "base/attrs.h"
#include "master/state.h"

struct master;

/* Writes all of it to WRITER, which is the caller's to be done with. Returns 0 or a negative errno. */
ATTR_NODISCARD int hand_over_write(const struct master *master, struct state_writer *writer);

/* Whether the descriptors that WRITER's records name stay open when another program is executed. */
void hand_over_keep(const struct state_writer *writer, bool keep);

#endif
