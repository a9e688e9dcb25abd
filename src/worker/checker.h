/* SPDX-License-Identifier: MIT */
#ifndef WORKER_CHECKER_H
#define WORKER_CHECKER_H
/*
 * A short-lived child that loads and checks a configuration as `brood --check` does, while its parent goes on: name
 * services, file systems and foreign code, which probes load, may keep it waiting for long. What it finds comes through
 * a pipe; whether the file is accepted is its exit status.
 *
 * The owner has one wait for all it does, so that each step is a call of its own:
 *
 *	checker_start()    forks
 *	checker_read()     whenever errors_fd is readable
 *	checker_expire()   once deadline_ms has passed
 *	checker_reaped()   with the status that waitpid(2) gave for the pid: the verdict
 *	checker_done()     frees what it has said
 *
 * The child dies with its parent. The parent's process has one thread.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "base/attrs.h"
#include "config/config.h"

/* Each probe in it has PROBE_TIMEOUT_MS of its own (worker/probe.h). */
#define CHECKER_TIMEOUT_MS 60000

/* So much is kept of what it says. The rest is read, so that it comes to its end, and forgotten. */
#define CHECKER_TEXT_MAX (64U * 1024)

enum checker_verdict {
	CHECKER_ACCEPTS,
	CHECKER_REFUSES, /* the lines are the errors of the file */
	CHECKER_FAILED,  /* it could not look at it */
	CHECKER_DIED,    /* by a signal that was not ours */
	CHECKER_OVERDUE, /* it was killed at its deadline */
	CHECKER_VERDICTS,
};

const char *checker_verdict_name(enum checker_verdict verdict);

struct checker {
	pid_t pid;            /* 0: none */
	int errors_fd;        /* the reading end of the pipe, non-blocking; -1: closed */
	int findings_fd;      /* what it leaves: worker/findings.h; -1: closed */
	uint64_t deadline_ms; /* UINT64_MAX once it was killed */
	uint32_t timeout_ms;
	bool killed; /* at its deadline */
	bool cut;    /* it had more to say */
	char *text;  /* whole lines in the end, each `FILE:LINE: ...`; NULL: none yet */
	size_t size;
};

#define CHECKER_NONE ((struct checker){ .errors_fd = -1, .findings_fd = -1 })

/* Forks a child that loads ORIGIN, which it reads in memory that is inherited. Returns 0 or a negative errno. */
ATTR_NODISCARD int checker_start(
	struct checker *checker, const struct config_origin *origin, uint32_t timeout_ms, uint64_t now_ms);

/* Reads a bounded part of what is there. Returns false once nothing more will come: then errors_fd is to be taken out
 * of every epoll set and closed, which checker_reaped() does too. */
bool checker_read(struct checker *checker);

/* Kills the child if its deadline has passed. It is still to be reaped. */
void checker_expire(struct checker *checker, uint64_t now_ms);

/* Kills the child, of which nobody wants to know any more. It is still to be reaped. */
void checker_stop(struct checker *checker);

/* The child was reaped: reads what is left, closes the pipe, forgets the pid. Unless the verdict is CHECKER_ACCEPTS,
 * `text` says why, whatever the reason. */
enum checker_verdict checker_reaped(struct checker *checker, const struct config_origin *origin, int status);

/*
 * After CHECKER_ACCEPTS: loads the file once more, in this process, by what the child has found out. No probe is asked.
 * As config_load(); a file that has changed meanwhile is refused with a line that says so.
 */
ATTR_NODISCARD int checker_load(
	const struct checker *checker, const struct config_origin *origin, FILE *errors, struct config **ret_config);

/* Frees the text, and what was found. Only where there is no child. */
void checker_done(struct checker *checker);

#endif
