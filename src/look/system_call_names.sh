#!/bin/sh
# SPDX-License-Identifier: MIT
# system_call_names.sh COMPILER...: a line of an array for each system call that the C library's header knows.
set -eu
printf '#include <sys/syscall.h>\n' | "$@" -x c -E -dM - | LC_ALL=C sort |
	sed -n 's/^#define SYS_\([a-z0-9_]*\) __NR_.*$/[SYS_\1] = "\1",/p'
