/* SPDX-License-Identifier: MIT */
#ifndef CLI_CLI_H
#define CLI_CLI_H
/* The command line of brood(8), from argv to the exit status. */

#include "base/attrs.h"

ATTR_NODISCARD int cli_main(int argc, char **argv);

#endif
