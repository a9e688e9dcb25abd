#!/bin/sh
# SPDX-License-Identifier: MIT
# The installed headers, each alone, with nothing defined before it: strict C11, and C++.
# usage: public_headers.sh DIRECTORY COMPILER...; a COMPILER that cannot compile C++ is used for C alone.
set -u
directory=$1
shift
status=0
cxx_seen=no

check() { # NAME COMPILER OPTION...
	name=$1
	shift
	if ! printf '#include <%s>\n#include <%s>\n' "$name" "$name" |
		"$@" -Wall -Wextra -pedantic-errors -Werror -fsyntax-only -I "$directory" -; then
		echo "$name: fails with: $*" >&2
		status=1
	fi
}

for compiler; do
	echo 'int x;' | "$compiler" -x c++ -fsyntax-only - 2>/dev/null && cxx=yes cxx_seen=yes || cxx=no
	for header in "$directory"/brood/*.h; do
		check "brood/${header##*/}" "$compiler" -std=c11 -x c
		[ "$cxx" = no ] || check "brood/${header##*/}" "$compiler" -std=c++11 -x c++
	done
done
[ $cxx_seen = yes ] || echo "no compiler here knows C++: not tried" >&2
exit $status
