#!/bin/sh
# SPDX-License-Identifier: MIT
# Each header under a source directory, compiled alone and twice: it includes what it needs, and guards itself.
# usage: headers.sh DIRECTORY COMPILER [OPTION...]
set -u
directory=$1
shift
status=0
count=0

for header in $(cd "$directory" && find . -name '*.h' | sort); do
	name=${header#./}
	count=$((count + 1))
	# A public header is included as its users do.
	include=${name#libbrood/}
	if ! printf '#include "%s"\n#include "%s"\n' "$include" "$include" |
		"$@" -x c -std=gnu17 -D_GNU_SOURCE -Wall -Wextra -Wno-unused-parameter -Werror -fsyntax-only \
			-I "$directory" -I "$directory/libbrood" -; then
		echo "$name: does not compile alone" >&2
		status=1
	fi
done
[ "$count" -gt 0 ] || { echo "no headers in $directory" >&2; status=1; }
exit $status
