#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measures brood against a bare pre-forking loop and against other servers, interleaved on one machine.

Every sample is a fresh start of one server, a warm-up and a measurement; samples of different servers alternate in
random order, so that what changes in the machine meets all of them. What is compared is the ratio of neighbours; its
median is given with a 95 % interval, and the floor is compared with itself to see what such a ratio is worth here.

It wants root, for the CPU accounting by control groups and a network of its own; without, it does what it can."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

from benchlib import machine, measures, report, sections, verdicts  # noqa: E402

TOP = Path(__file__).resolve().parents[2]
QUICK = {"rounds": 1, "seconds": 0.15, "warm_up": 0.05, "peers_every": 1, "many": 16, "keep_alive": 16,
         "start_workers": 40, "start_rounds": 1, "kill_rounds": 1, "kill_seconds": 1.0,
         "cost_connections": 100, "burst_rounds": 1, "burst_connections": 16, "burst_hold_ms": 100, "burst_settle": 0.0,
         "replace_rounds": 1, "replace_kills": 3}
FULL = {"rounds": 21, "seconds": 1.0, "warm_up": 0.4, "peers_every": 3, "many": 128, "keep_alive": 64,
        "start_workers": 1000, "start_rounds": 11, "kill_rounds": 5, "kill_seconds": 10.0,
        "cost_connections": 2000, "burst_rounds": 21, "burst_connections": 64, "burst_hold_ms": 1000, "burst_settle": 1.0,
        "replace_rounds": 11, "replace_kills": 40}


def parse(arguments):
    parser = argparse.ArgumentParser(prog="bench", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", "--smoke", action="store_true",
                        help="every measure once, far too short to judge by; a test of the benchmark itself")
    parser.add_argument("--build", type=Path, metavar="DIR",
                        help="a build directory with -Dbench=true (default: build-bench, built first)")
    parser.add_argument("--brood", metavar="FILE", help="the brood to measure (default: the one in the build directory)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there too, as JSON")
    parser.add_argument("--only", action="append", choices=list(sections.SECTIONS), metavar="SECTION",
                        help="only this section (may be given again): " + " ".join(sections.SECTIONS))
    parser.add_argument("--rounds", type=int, metavar="N",
                        help=f"rounds of the timed sections ({FULL['rounds']}), of burst ({FULL['burst_rounds']}) and "
                             f"of replace ({FULL['replace_rounds']})")
    parser.add_argument("--seconds", type=float, metavar="S", help=f"length of a sample ({FULL['seconds']:g})")
    parser.add_argument("--seed", type=int, default=None, metavar="N", help="of the random order")
    parser.add_argument("--silent", action="store_true", help="no progress, only the report")
    settings = parser.parse_args(arguments)
    if settings.rounds:
        settings.burst_rounds = settings.replace_rounds = settings.rounds
    for name, value in (QUICK if settings.quick else FULL).items():
        if getattr(settings, name, None) is None:
            setattr(settings, name, value)
    if settings.seed is None:
        settings.seed = int(time.time())
    return settings


def build(directory):
    """Builds the programs of the benchmark, and brood with them."""
    directory = directory or TOP / "build-bench"
    if not (directory / "build.ninja").exists():
        subprocess.run(["meson", "setup", "-Dtests=false", "-Dbench=true", str(directory), str(TOP)], check=True,
                       stdout=subprocess.DEVNULL)
    subprocess.run(["ninja", "-C", str(directory)], check=True, stdout=subprocess.DEVNULL)
    return directory.resolve()


def measure(bench, settings):
    """All sections, in order. Returns (for the verdicts, for the report)."""
    raw, reported = {}, {}
    for name, run in sections.SECTIONS.items():
        if settings.only and name not in settings.only:
            continue
        raw[name] = run(bench)
        reported[name] = raw[name]
        if name in sections.TIMED:
            reported[name] = {"summary": report.summarize_timed(raw[name]), "samples": raw[name]}
    return raw, reported


def describe(bench, own_network, load_before):
    about = machine.describe()
    about["load_average_before"] = load_before
    about["cpu_accounting"] = bench.cgroups.kind
    about["own_network"] = own_network
    about["foreign_cpu_share"] = measures.foreign_summary(bench)
    if bench.foreign:
        about["foreign_cpu_share"]["max"] = max(bench.foreign)
    return about


def main(arguments):
    settings = parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    directory = build(settings.build)
    load_before = os.getloadavg()
    own_network = machine.enter_own_network()
    bench = measures.Bench(settings, directory, settings.brood or str(directory / "src/brood"))
    began = time.monotonic()
    raw, reported = measure(bench, settings)
    full = {
        "settings": {name: getattr(settings, name) for name in ("quick", "seed", *FULL)},
        "machine": describe(bench, own_network, load_before),
        "took_seconds": round(time.monotonic() - began, 1),
        "sections": reported,
        "notes": bench.notes,
        "verdicts": verdicts.all_verdicts(raw, settings),
        "skipped": bench.skipped,
        "problems": bench.problems,
    }
    print(report.render(full))
    if settings.json:
        settings.json.write_text(json.dumps(full, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
