/* SPDX-License-Identifier: MIT */
#ifndef BASE_LOGGER_H
#define BASE_LOGGER_H
/*
 * The logger process: the only one that opens, reopens and writes log files, and the only one that may block on a
 * receiver. It is a child of the master's, keeps the privileges of the start, and leaves when it is told to, or when
 * nobody holds the writing end any more.
 *
 * Ownership: the master holds both ends of the socket, so that lines queued at the death of one logger reach the next.
 * SIGUSR1 to the logger reopens files (and it says so, or which failed); SIGTERM makes it write what is queued and
 * leave, within LOGGER_LEAVE_MS. It ignores the other signals a terminal or a process group may send. Block SIGUSR1 and
 * SIGTERM around the fork(): it lets them in when it can take them.
 *
 * Standard error, pipes, FIFOs and devices stall without holding the other outputs: each has a buffer, and what does
 * not fit is lost and counted. syslog(3) and the journal hold the logger while they stall; the socket then fills, and
 * the writers drop. When the receiver takes lines again one line says `log lines dropped count=N` (and error="..."
 * after a write error, as with a full disk), at most one a second; `access log lines dropped file=... count=N`
 * likewise.
 *
 * The forms of a line are described in base/log_format.h. On standard error, lines have "<4>" (the level; sd-daemon(3))
 * in front and no time where the journal reads it ($JOURNAL_STREAM), where it is a socket and $INVOCATION_ID is set,
 * and where the journal was wanted and is not there.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>

#include "base/attrs.h"

enum log_target {
	LOG_TARGET_AUTO, /* the journal under systemd, stderr at a terminal or pipe, syslog when detached */
	LOG_TARGET_STDERR,
	LOG_TARGET_SYSLOG,
	LOG_TARGET_JOURNAL,
	LOG_TARGET_FILE,
};

enum log_format {
	LOG_FORMAT_TEXT,
	LOG_FORMAT_JSON, /* one object a line: time, level, writer (a pid), event, and the fields */
};

struct logger_config {
	enum log_target target;
	const char *file; /* with LOG_TARGET_FILE; absolute */
	enum log_format format;
	const char *const *access_files; /* stream 1 is the first; absolute paths */
	size_t access_count;
	bool detached; /* what "auto" chooses by */
};

/* The two ends and the shared count of dropped lines. */
struct logger_channel {
	int read_fd;
	int write_fd;
	int counters_fd;   /* the memory that `dropped` is in: a memfd, as an upgrade hands it to another image */
	uint64_t *dropped; /* in shared memory; only ever incremented */
};

#define LOGGER_CHANNEL_NONE ((struct logger_channel){ .read_fd = -1, .write_fd = -1, .counters_fd = -1 })

/* Makes the channel. Returns 0 or a negative errno. */
ATTR_NODISCARD int logger_channel_init(struct logger_channel *channel);

/* Takes over the descriptors of a channel that another image of this process has made, and has them close-on-exec. On
 * failure they stay the caller's. Returns 0 or a negative errno: -EPROTO where the memory is none for counters. */
ATTR_NODISCARD int logger_channel_adopt(struct logger_channel *channel, int read_fd, int write_fd, int counters_fd);

/* Whether one of the writers has shut down the socket that they share: no line gets through it any more. */
bool logger_channel_is_shut(const struct logger_channel *channel);

/* New sockets in the place of those, under the same numbers. Who holds the old ones, drops its lines. Returns 0 or a
 * negative errno. */
ATTR_NODISCARD int logger_channel_renew(struct logger_channel *channel);
void logger_channel_done(struct logger_channel *channel);

/* "auto", "stderr", "syslog", "journal", or an absolute path. Returns 0 or -EINVAL. */
int log_target_parse(const char *name, enum log_target *ret_target);

/* What "auto" means in this process now: looks at $JOURNAL_STREAM (sd-journal's convention: device:inode of standard
 * error) and DETACHED. */
enum log_target log_target_resolve(enum log_target target, bool detached);

/*
 * Opens and closes every file of CONFIG for appending (creating it, mode 0640), so that a mistake is found at the
 * start. On failure returns a negative errno and the path in *ret_path.
 */
ATTR_NODISCARD int logger_check(const struct logger_config *config, const char **ret_path);

/* The life of the logger process, after fork(). Closes every descriptor but 0, 1, 2 and the channel's reading end. */
ATTR_NORETURN void logger_main(const struct logger_config *config, struct logger_channel *channel);

#endif
