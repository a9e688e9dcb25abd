#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Lets every system call of the master fail once, in every plausible way, in each phase of its life, and prints what
came of it. $BROOD_BUILD is a build with -Dbench=true. The exit status is 0 if nothing came of it that must not."""
import argparse
import collections
import os
import pathlib
import sys

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]

import sweep  # noqa: E402


def parse(arguments):
    parser = argparse.ArgumentParser(prog="faults", description=__doc__)
    parser.add_argument("--phase", action="append", choices=list(sweep.PHASES), help="only this one (may be given again)")
    parser.add_argument("--call", action="append", metavar="NAME", help="only this system call (may be given again)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N", help="daemons at a time")
    parser.add_argument("--of-class", type=int, metavar="N", help="only N calls of those that do the same")
    parser.add_argument("--list", action="store_true", help="print the cases, and try none")
    parser.add_argument("--every", action="store_true", help="print every outcome, not only a line for each class")
    return parser.parse_args(arguments)


def print_table(outcomes):
    """A line for each class of calls: what came of each error."""
    rows = collections.defaultdict(lambda: collections.defaultdict(collections.Counter))
    for outcome in outcomes:
        rows[(outcome.case.phase, outcome.case.call.kind)][outcome.case.error][outcome.verdict] += 1
    for (phase, kind), errors in rows.items():
        told = "; ".join(f"{error}: " + ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
                         for error, verdicts in errors.items())
        print(f"{phase:8} {kind:60} {told}")


def main(arguments):
    settings = parse(arguments)
    outcomes = []
    for phase in sweep.PHASES.values():
        if settings.phase and phase.name not in settings.phase:
            continue
        calls = sweep.enumerate_phase(phase)
        if calls is None:
            print(f"{phase.name}: not possible, the daemon has no such thing")
            continue
        for name in sweep.without_errors(calls):
            print(f"{phase.name}: no errors are known of {name}()")
        cases = [case for case in sweep.cases_of(phase, calls, of_class=settings.of_class) if not settings.call or case.call.name in settings.call]
        print(f"{phase.name}: {len(calls)} calls, {len(cases)} cases", file=sys.stderr, flush=True)
        if settings.list:
            for case in cases:
                print(f"{phase.name:8} {case.call.kind} #{case.call.number} {case.error}")
            continue

        def note(outcome):
            if settings.every or not outcome.good:
                case = outcome.case
                print(f"{case.phase} {case.call.kind} #{case.call.number} {case.error}: {outcome.verdict} "
                      f"{outcome.detail}", file=sys.stderr, flush=True)
        outcomes += sweep.sweep(cases, settings.jobs, note)
    print_table(outcomes)
    totals = collections.Counter((outcome.case.phase, outcome.verdict) for outcome in outcomes)
    print()
    for (phase, verdict), count in sorted(totals.items()):
        print(f"{phase:8} {verdict:20} {count}")
    bad = sum(not outcome.good for outcome in outcomes)
    print(f"\n{len(outcomes)} cases, {bad} bad")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
