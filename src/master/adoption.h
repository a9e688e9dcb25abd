/* SPDX-License-Identifier: MIT */
#ifndef MASTER_ADOPTION_H
#define MASTER_ADOPTION_H
/*
 * What this image finds when it was executed in the place of another one: its state (master/state.h), or, where that
 * cannot be read, the descriptors and children that it was left with. Taken first thing; what the master does with it
 * is master/adopt.c's.
 */
#include <stdbool.h>
#include <stddef.h>

#include "base/attrs.h"
#include "base/image.h"
#include "base/logger.h"
#include "master/state.h"

#define ADOPTION_REASON_MAX 128

/* How an image asks a new one whether it can take over: `brood --adopt-check FD ...`, with the arguments of the start,
 * checks the configuration and reads the state in FD. If all is well its last line of standard output is the answer,
 * and the version, and it ends with status 0. */
#define ADOPT_CHECK_OPTION "--adopt-check"
#define ADOPT_CHECK_ANSWER "takes over: brood "
/* Exit statuses beside those of brood(8): the state cannot be read; the file cannot be executed at all. */
#define ADOPT_CHECK_EXIT_STATE 65
#define ADOPT_CHECK_EXIT_EXEC  126

/* So often an image is executed anew that could not start: what it lacked, it may have by then. The workers of the
 * image before serve meanwhile. */
#define ADOPTION_AGAIN_MAX 4

struct adoption {
	bool there;    /* this image was executed in the place of another one */
	bool readable; /* and its state was read, all of it */
	char reason[ADOPTION_REASON_MAX];
	void *data;
	size_t size;
	struct state_master master;
	const char *config_text; /* in `data`; NULL: none */
	size_t config_size;
	unsigned int again; /* how often it was executed anew already */
	bool in_force;      /* it is what this image goes by: the caller's to say */
	bool has_logger;    /* its channel is taken over: lines go there from now on */
	pid_t logger_pid;
	struct logger_channel channel;
};

/* Looks for $BROOD_STATE_FD, and removes it. The descriptors that the state names are close-on-exec from then on. */
void adoption_take(struct adoption *adoption);
void adoption_done(struct adoption *adoption);

/* Whether what cannot be taken over now had better end the start of this image, which then is executed anew. */
bool adoption_may_again(const struct adoption *adoption);

/*
 * The start has failed: executes IMAGE anew, after a short time, with the state that this one was given. Nothing that
 * the state names may have been closed. Returns only where that may not be, or fails. All signals are blocked.
 */
void adoption_again(const struct adoption *adoption, const struct image *image);

/* Goes through the records of a state that is readable. */
ATTR_NODISCARD int adoption_reader(const struct adoption *adoption, struct state_reader *ret_reader);

/*
 * Whether the state in FD can be read by this image, all of it: for a check before anything is executed. Returns 0, or
 * a negative errno with the reason in REASON.
 */
ATTR_NODISCARD int adoption_check(int fd, char reason[ADOPTION_REASON_MAX]);

#endif
