#!/bin/sh
# SPDX-License-Identifier: MIT
# A service of lines for a pool with handler = inetd (lines.conf): the connection is standard input and output.
while IFS= read -r line; do
	printf '%s: %s\n' "$REMOTE_HOST" "$line"
done
