/* SPDX-License-Identifier: MIT */
#ifndef BASE_EXIT_STATUS_H
#define BASE_EXIT_STATUS_H
/* The daemon's exit statuses, after sysexits(3head). brood(8) lists them. */
enum exit_status {
	EXIT_STATUS_OK = 0,
	EXIT_STATUS_USAGE = 64,       /* the command line */
	EXIT_STATUS_UNAVAILABLE = 69, /* a listener could not be bound */
	EXIT_STATUS_INTERNAL = 70,
	EXIT_STATUS_SYSTEM = 71, /* a system call failed */
	EXIT_STATUS_START = 75,  /* a pool could not be started */
	EXIT_STATUS_PERMISSION = 77,
	EXIT_STATUS_CONFIG = 78,
};

#endif
