/* SPDX-License-Identifier: MIT */
/* argv in, exit code out. */
#include "cli/cli.h"

int main(int argc, char **argv)
{
	return cli_main(argc, argv);
}
