/* SPDX-License-Identifier: MIT */
#ifndef CTL_OPTIONS_H
#define CTL_OPTIONS_H
/* The command line of broodctl(1). Errors and the usage are written to standard error. */
#include <stdbool.h>
#include <stdio.h>

#include "base/attrs.h"

enum ctl_command {
	CTL_STATUS,
	CTL_PS,
	CTL_CHECK,
	CTL_RELOAD,
	CTL_UPGRADE,
	CTL_STOP,
	CTL_RESTART,
	CTL_SCALE,
	CTL_VERSION,
	CTL_HELP,
	CTL_COMMANDS,
};

struct ctl_options {
	enum ctl_command command;
	const char *socket;   /* NULL: the usual places */
	const char *argument; /* of check, restart and scale; NULL: none */
	const char *number;   /* of scale */
	bool json;
	bool now; /* of stop */
};

/* Returns 0, or -EINVAL after it has said what is wrong. */
ATTR_NODISCARD int ctl_options_parse(int argc, char **argv, struct ctl_options *ret_options);

void ctl_options_usage(FILE *out);

#endif
