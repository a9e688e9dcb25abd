/* SPDX-License-Identifier: MIT */
/* argv in, exit code out. */
#include "ctl/ctl.h"

int main(int argc, char **argv)
{
	return ctl_main(argc, argv);
}
