#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Every text file of the source tree says its licence in its first lines. Prints those that do not; exit status 1."""
import os
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LINE = "SPDX-License-" + "Identifier: MIT"
# Seeds of the fuzzers and files that clients fetch are data; a directory of these names is left out.
DATA_DIRS = {".git", "corpus", "__pycache__", ".pytest_cache", "bad", "data"}
# The licence itself, and prose for people.
EXEMPT = {"LICENSE"}


def source_files():
    for folder, folders, names in os.walk(TOP):
        folders[:] = sorted(f for f in folders if f not in DATA_DIRS and not f.startswith("build"))
        for name in sorted(names):
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not os.path.islink(path) and not name.endswith((".pyc", ".swp", "~")):
                yield os.path.relpath(path, TOP)


def without_licence():
    for path in source_files():
        with open(os.path.join(TOP, path), "rb") as file:
            head = file.read(400)
        if path in EXEMPT or path == ".git" or b"\0" in head:
            continue
        if LINE.encode() not in head:
            yield path


def main():
    bad = list(without_licence())
    for path in bad:
        print(f"{path}: no SPDX line")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
