/* SPDX-License-Identifier: MIT */
#ifndef MASTER_UPGRADE_H
#define MASTER_UPGRADE_H
/*
 * The upgrade in place (SIGUSR2): the file that was called at the start is executed anew in this process, which keeps
 * its pid, its children, its listeners and its scoreboard.
 *
 * At a request the file is looked at, and executed in a child, with --adopt-check: it checks the configuration, and
 * whether it can read the state of now. When it has said so, and no reload is under way, the state is written, and the
 * file is executed in the place of this image, with the arguments, directory and environment of the start.
 *
 * Until then nothing has changed, and whatever fails leaves this image serving, and is told of. What comes behind it is
 * master/adopt.h.
 *
 * Only the master calls these.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/attrs.h"
#include "base/image.h"
#include "worker/checker.h"

struct master;

/* How long the check may take. Each probe in it has a time of its own (worker/probe.h). */
#define UPGRADE_CHECK_MS 60000

/* So long clients of the control socket have for what they are about, once all else is done. */
#define UPGRADE_TALK_MS 2000

enum upgrade_phase {
	UPGRADE_IDLE,
	UPGRADE_CHECKING,
	UPGRADE_CHECKED, /* to be executed as soon as that may be */
};

struct upgrade {
	enum upgrade_phase phase;
	struct checker checker;
	struct image_file file; /* that was checked */
	char version[64];       /* of it, as it says */
	uint64_t ticket;        /* of whoever waits for it: master/requests.h */
	uint64_t talk_by_ms;    /* 0: not yet */
};

/* Begins one. Where one is under way already, it is that one. */
void upgrade_request(struct master *master, uint64_t now_ms);

/* The check has something to say (WATCH_UPGRADE); or has ended. */
void upgrade_event(struct master *master);
void upgrade_reaped(struct master *master, int status, uint64_t now_ms);

/* The new image is executed as soon as no worker of a nursery is asked for: its answer would find nobody. */
bool upgrade_is_imminent(const struct master *master);

/* Ends a check that takes too long; executes what was checked, and then does not return, unless that fails. Returns
 * when to call again at the latest. */
uint64_t upgrade_act(struct master *master, uint64_t now_ms);

/* The daemon stops: there is none. */
void upgrade_abandon(struct master *master);

#endif
