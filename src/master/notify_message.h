/* SPDX-License-Identifier: MIT */
#ifndef MASTER_NOTIFY_MESSAGE_H
#define MASTER_NOTIFY_MESSAGE_H
/*
 * What a program says of itself in one datagram of sd_notify(3): lines NAME=value. Pure; takes any bytes.
 *
 * An unknown name is ignored, as the protocol wants; so is a known one whose value does not hold, such as a number with
 * a sign. Of a name that comes twice the last counts.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/attrs.h"
#include "board/layout.h"

/* What is longer, the service manager would not read either. */
#define NOTIFY_MESSAGE_MAX 4096
/* Terminated; what is longer is cut between characters. */
#define NOTIFY_STATUS_MAX BOARD_STATUS_MAX
/* More is taken for this: a program's wish is no reason to compute with numbers that overflow. */
#define NOTIFY_EXTEND_MAX_US UINT64_C(3600000000000)

struct notify_message {
	bool ready;
	bool stopping;
	bool watchdog;         /* WATCHDOG=1 */
	bool watchdog_trigger; /* WATCHDOG=trigger: as if it had been missed */
	bool has_status;
	char status[NOTIFY_STATUS_MAX]; /* UTF-8; what is none, and control bytes, are question marks */
	bool has_error;
	int error;          /* ERRNO= */
	uint64_t extend_us; /* EXTEND_TIMEOUT_USEC=; 0: none */
	pid_t main_pid;     /* MAINPID=; 0: none */
};

/* Reads SIZE bytes of DATA. -EBADMSG: a zero byte before the last. */
ATTR_NODISCARD int notify_message_parse(const char *data, size_t size, struct notify_message *ret_message);

#endif
