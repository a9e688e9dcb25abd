/* SPDX-License-Identifier: MIT */
#ifndef MASTER_STATE_H
#define MASTER_STATE_H
/*
 * The form in which a master hands what it has to the image that takes its place in the same process (SIGUSR2): a
 * header, then records. Descriptors are named by their numbers, which execve(2) keeps. The two images may be of
 * different versions, in either direction. The header says which is the oldest version of a reader that makes sense of
 * it. A record has a kind and a size; one of an unknown kind is skipped. Its fields stand in a fixed order: a reader
 * takes those it knows, and skips what is behind them; those that an older image has not written are zero, but the
 * fields of the first version must be there.
 *
 * So kinds and fields are added at the end of their tables, and are never removed or given another meaning.
 *
 * Pure: memory in, memory out; but for state_memfd_make() and state_memfd_read(). What is read was written by another
 * version of this program: nothing of it is believed to fit. Numbers are checked against the members they go into, and
 * texts against their room; what they mean, the caller has to check. Functions return 0 or a negative errno.
 */
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attrs.h"

#define STATE_VERSION 1
/* The oldest reader of what is written here. */
#define STATE_READER 1

/* The variable that names the descriptor for the new image. */
#define STATE_VARIABLE "BROOD_STATE_FD"

#define STATE_SIZE_MAX (256U * 1024 * 1024)

/* Numbers of the form: for ever. */
enum state_kind {
	STATE_MASTER = 1, /* the first one */
	STATE_CONFIG = 2, /* the effective configuration, as config_dump() writes it */
	STATE_LISTENER = 3,
	STATE_POOL = 4,
	STATE_WORKER = 5, /* of the last STATE_POOL of its name, or of none */
	STATE_OUTPUT = 6, /* a pipe that a worker writes to, or has written to */
	STATE_LOGGER = 7,
	STATE_PIDFILE = 8,
	STATE_ACK = 9, /* the socket for Einhorn's acknowledgements */
	STATE_CONTROL = 10,
	STATE_CHILD = 11,  /* another child, which is to end */
	STATE_HUNT = 12,   /* for what a program has left behind */
	STATE_CLIENT = 13, /* of the control socket, who waits for the verdict */
	STATE_MEMBER = 14, /* a pool has a listener; in the order of the pool's */
	STATE_KINDS,
};

/* Descriptors are -1 where there is none, times are milliseconds of the master's clock
 * (CLOCK_MONOTONIC less state_master's skipped_ms), and UINT64_MAX is "never". */

struct state_master {
	pid_t pid;
	uint32_t generation;
	char version[64]; /* of the image that writes */
	int board_fd;
	int wake_fd;
	uint64_t soft_descriptors;
	char binary[PATH_MAX]; /* which file is executed at an upgrade */
	bool reset_oom_score;
	uint64_t skipped_ms; /* clock_skipped_ms() */
};

struct state_config {
	const char *text; /* in the memory that is read; not ended by 0 */
	size_t text_size;
};

struct state_listener {
	int fd;
	char pool[256]; /* the first one that has it */
	char spec[280];
	uint32_t origin; /* enum listener_origin */
	bool refused;
	pid_t path_owner; /* 0: the path is not ours */
	uint64_t path_device;
	uint64_t path_inode;
};

struct state_pool {
	char name[256];
	char handler[64];
	uint32_t generation;
	uint64_t spawn_count;
	uint32_t target;
	bool was_ready;
	bool proven;
	uint32_t backoff_level;
	uint32_t backoff_volley;
	uint64_t backoff_until_ms;
	bool scaled;
	uint64_t recycled_requests;
	uint64_t recycled_age;
	uint64_t recycled_memory;
	uint64_t degraded_ms; /* since then; 0: it is not */
	uint32_t failures;    /* in a row, at most */
	char last_failure[160];
	uint64_t last_failure_ms;
	uint64_t died_unready;
	uint64_t died_serving;
	uint64_t slow_count; /* requests that were slow */
	uint32_t window;     /* policy/sizing.h */
	uint64_t short_ms;
	uint64_t shrunk_ms;
	uint64_t waited_ms;
};

struct state_worker {
	char pool[256];
	pid_t pid;
	uint32_t slot;
	uint32_t board_slot;
	uint32_t serial;
	uint32_t generation;
	char state[24];  /* slot_state_name() */
	char reason[32]; /* slot_reason_name() */
	uint32_t kind;   /* enum handler_kind */
	int signal;      /* the last one sent to it */
	int stop_signal; /* asks it to finish; for whoever does not know its pool */
	int notify_fd;
	int error;
	bool was_ready;
	uint32_t volley;
	uint64_t asked_ms;
	uint64_t ready_ms;
	uint64_t ready_at_ms;
	uint64_t deadline_ms;
	uint64_t slow_us; /* the last of its requests that was told to be slow */
	char worn[32];    /* slot_reason_name() of the limit that it has reached; "none" */
	uint64_t worn_ms;
	uint64_t worn_at;
	uint32_t jitter_ppm;
	uint64_t moved_since_us; /* of the board's clock, as in master_private.h */
	uint64_t moved_deadline_us;
	uint64_t moved_by_us;
};

struct state_output {
	int fd;
	char pool[256];
	uint32_t slot;
	pid_t pid;
	uint32_t stream; /* enum output_stream */
	bool left;       /* its worker has ended */
	char peer[128];
	const char *part; /* of a line that has not ended; in the memory that is read */
	size_t part_size;
};

struct state_logger {
	pid_t pid; /* 0: none at the moment */
	int read_fd;
	int write_fd;
	int counters_fd;
};

struct state_pidfile {
	char path[PATH_MAX];
	int fd;
};

struct state_ack {
	int fd;
	char directory[256];
	char path[108];
};

struct state_control {
	int fd;
	char path[280];
	uint64_t path_device;
	uint64_t path_inode;
};

struct state_child {
	pid_t pid;
	int stop_signal; /* 0: it was asked already */
	char what[32];
	uint64_t deadline_ms; /* by then it must have ended; 0: not said */
};

struct state_hunt {
	pid_t worker;
	uint64_t until_ms;
};

struct state_client {
	int fd;
	char request[16];
};

struct state_member {
	char pool[256];
	int fd; /* of the listener */
};

struct state_record {
	enum state_kind kind;
	union {
		struct state_master master;
		struct state_config config;
		struct state_listener listener;
		struct state_pool pool;
		struct state_worker worker;
		struct state_output output;
		struct state_logger logger;
		struct state_pidfile pidfile;
		struct state_ack ack;
		struct state_control control;
		struct state_child child;
		struct state_hunt hunt;
		struct state_client client;
		struct state_member member;
	};
};

/* "master", ...; NULL for what is no kind. */
const char *state_kind_name(enum state_kind kind);

/* So many descriptors a record has at most. */
#define STATE_DESCRIPTORS_MAX 3

/* The descriptors that RECORD names. Returns how many. */
size_t state_descriptors(const struct state_record *record, int ret_fds[STATE_DESCRIPTORS_MAX]);

/* ---- writing ---- */

struct state_writer {
	unsigned char *data;
	size_t size;
	size_t room;
	int error; /* the first one: nothing is added after it */
};

void state_writer_init(struct state_writer *writer);
void state_writer_done(struct state_writer *writer);

/* Adds RECORD. What fails, state_writer_finish() tells. */
void state_write(struct state_writer *writer, const struct state_record *record);

/* The whole, in writer->data and ->size, is complete. -ENOMEM, -EFBIG, or -EINVAL: a record was none. */
ATTR_NODISCARD int state_writer_finish(struct state_writer *writer);

/* ---- reading ---- */

struct state_reader {
	uint32_t version; /* of the writer's form */
	const unsigned char *data;
	size_t size; /* what is left */
};

/* DATA must live as long as the records that are read. -EBADMSG: it is no state, or not all of it;
 * -EPROTONOSUPPORT: a later form, which this reader is too old for. */
ATTR_NODISCARD int state_reader_init(struct state_reader *reader, const void *data, size_t size);

/* The next record of a kind that is known. Returns 1, or 0 at the end, or -EBADMSG, which ends it for good. */
ATTR_NODISCARD int state_read(struct state_reader *reader, struct state_record *ret_record);

/* ---- the descriptor ---- */

/* A sealed memfd that holds DATA, close-on-exec. Returns it, or a negative errno. */
ATTR_NODISCARD int state_memfd_make(const void *data, size_t size);

/* All that FD holds, for the caller to free. -EFBIG: more than a state can be. */
ATTR_NODISCARD int state_memfd_read(int fd, void **ret_data, size_t *ret_size);

#endif
