/* SPDX-License-Identifier: MIT */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H
/* The options of the command line. Errors and the usage are written to standard error, as getopt_long(3) does. */
#include <stdbool.h>
#include <stdio.h>

#include "base/attrs.h"

enum cli_command {
	CLI_RUN,
	CLI_CHECK,
	CLI_DUMP,
	CLI_ADOPT_CHECK, /* asked by the image that an upgrade is to replace: master/adoption.h */
	CLI_VERSION,
	CLI_HELP,
};

struct cli_options {
	enum cli_command command;
	const char *config;
	bool daemonize;
	const char *pidfile;    /* NULL: as configured */
	const char *log_target; /* NULL: as configured */
	int log_level;          /* -1: as configured */
	int state_fd;           /* of CLI_ADOPT_CHECK */
};

/* Returns 0, or -EINVAL after it has said what is wrong and what is accepted. */
ATTR_NODISCARD int options_parse(int argc, char **argv, struct cli_options *ret_options);

void options_usage(FILE *out);

#endif
