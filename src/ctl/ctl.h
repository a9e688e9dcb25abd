/* SPDX-License-Identifier: MIT */
#ifndef CTL_CTL_H
#define CTL_CTL_H
/* broodctl(1), from argv to the exit status. */
#include "base/attrs.h"

/* After sysexits(3head). broodctl(1) lists them. */
enum ctl_status {
	CTL_OK = 0,
	CTL_FAILED = 1,     /* the daemon has refused, or failed, and has said why */
	CTL_USAGE = 64,     /* the command line */
	CTL_NO_DAEMON = 69, /* nobody answers at the socket */
	CTL_PROTOCOL = 70,  /* what answers there is not understood */
	CTL_SYSTEM = 71,    /* a system call failed */
	CTL_BUSY = 75,      /* the daemon has too many clients, or does not answer in time */
	CTL_PERMISSION = 77,
};

ATTR_NODISCARD int ctl_main(int argc, char **argv);

#endif
