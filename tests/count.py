#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Counts what a run of tests did, for ./dev test: prints "passed failed skipped".

    count.py meson BUILDDIR    the last `meson test` there; a Criterion program counts test by test
    count.py pytest FILE       a JUnit file of pytest's
"""
import json
import os
import sys
import xml.etree.ElementTree as ElementTree


def count_criterion(path):
    passed = failed = skipped = 0
    for case in ElementTree.parse(path).iter("testcase"):
        status = case.get("status")
        passed += status == "PASSED"
        skipped += status == "SKIPPED"
        failed += status not in ("PASSED", "SKIPPED")
    return passed, failed, skipped


def count_one(build, row):
    """One line of meson's log: its own verdict holds, whatever its program wrote before it ended."""
    good = row["result"] in ("OK", "EXPECTEDFAIL")
    if row["result"] == "SKIP":
        return 0, 0, 1
    name = row["name"].split(" / ")[-1].split(":")[-1].strip()
    report = os.path.join(build, "tests", "unit", name + ".xml")
    if "unit" in row.get("suite", []) or os.path.exists(report):
        try:
            passed, failed, skipped = count_criterion(report)
            if good == (failed == 0) and passed + failed + skipped > 0:
                return passed, failed, skipped
            return passed, max(failed, 0 if good else 1), skipped
        except (OSError, ElementTree.ParseError):
            pass
    return int(good), int(not good), 0


def count_meson(build):
    path = os.path.join(build, "meson-logs", "testlog.json")
    if not os.path.exists(path):
        return 0, 0, 0
    with open(path, encoding="utf-8") as log:
        rows = [count_one(build, json.loads(line)) for line in log if line.strip()]
    return [sum(column) for column in zip(*rows)] or [0, 0, 0]


def count_pytest(path):
    totals = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    for suite in ElementTree.parse(path).iter("testsuite"):
        for name in totals:
            totals[name] += int(suite.get(name, 0))
    failed = totals["failures"] + totals["errors"]
    return max(totals["tests"] - failed - totals["skipped"], 0), failed, totals["skipped"]


def main():
    kind, path = sys.argv[1:]
    print(*(count_meson(path) if kind == "meson" else count_pytest(path)))


if __name__ == "__main__":
    main()
