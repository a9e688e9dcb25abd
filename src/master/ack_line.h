/* SPDX-License-Identifier: MIT */
#ifndef MASTER_ACK_LINE_H
#define MASTER_ACK_LINE_H
/*
 * One line of what Einhorn's workers send: {"command":"worker:ack","pid":N}. Pure; takes any bytes.
 *
 * Libraries write it as JSON; Einhorn's own for Ruby as YAML, whose line ends are "%0A" on the one line:
 * ---%0Acommand: worker:ack%0Apid: N%0A. An object is flat: names, and values that are texts, numbers or words.
 */
#include <stddef.h>
#include <sys/types.h>

#include "base/attrs.h"

/* With its line end. */
#define ACK_LINE_MAX 1024

enum ack_command {
	ACK_READY, /* worker:ack */
	ACK_PING,  /* worker:ping */
	ACK_OTHER,
};

struct ack_line {
	enum ack_command command;
	pid_t pid; /* 0: none given */
};

/* LINE of SIZE bytes has no line end. -EBADMSG: it is in neither form, or has no command. */
ATTR_NODISCARD int ack_line_parse(const char *line, size_t size, struct ack_line *ret_line);

#endif
