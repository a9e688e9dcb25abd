/* SPDX-License-Identifier: MIT */
#ifndef LOOK_SYSTEM_CALL_H
#define LOOK_SYSTEM_CALL_H
/* The names of this machine's system calls, as the C library's header (sys/syscall.h) of the build had them. */

/* NULL for a number that has none. */
const char *system_call_name(long number);

#endif
