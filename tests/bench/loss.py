#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Counts what clients lose while brood is reloaded, upgraded, broken and mended, and while its workers are killed: each
kind of handler, TCP and unix sockets, a connection per request and kept connections; and beside it nginx and Apache.

The exit status is 0 if brood's clients lost nothing but what died with a worker that was killed, one request each."""

import argparse
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

from bench import build  # noqa: E402
from benchlib import loss, loss_systemd, machine  # noqa: E402
from benchlib.server import Server, ServerError  # noqa: E402

FULL = {"connections": 20000, "times": {"kill": 20, "resize": 3, "reload": 6, "mend": 2, "upgrade": 2, "master": 1, "stop": 2}}
QUICK = {"connections": 500, "times": {"kill": 2, "resize": 1, "reload": 1, "mend": 1, "upgrade": 1, "master": 1, "stop": 1}}


class Bench:
    """What a cell needs: a server on a port of its own."""

    def __init__(self, build_directory, silent):
        self.build = build_directory
        self.ports = machine.Ports()
        self.cgroups = machine.Cgroups()
        self.silent = silent

    def server(self, program):
        return Server(program, self.ports.of(program.name), self.cgroups)

    def say(self, text):
        if not self.silent:
            print(text, file=sys.stderr, flush=True)


def parse(arguments):
    parser = argparse.ArgumentParser(prog="loss", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="each stage once: a test of the run itself")
    parser.add_argument("--build", type=Path, metavar="DIR", help="a build directory with -Dbench=true (build-bench)")
    parser.add_argument("--brood", metavar="FILE", help="the brood to try (default: the one in the build directory)")
    parser.add_argument("--only", action="append", metavar="SERVER",
                        help="only servers whose name has this in it: echo, http, inetd, program, module, systemd, "
                        "\"socket unit\", nginx, Apache")
    parser.add_argument("--connections", type=int, metavar="N",
                        help=f"of each cell with a connection per request, at least ({FULL['connections']})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all counts there too")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--silent", action="store_true", help="no progress, only the table")
    return parser.parse_args(arguments)


# ---- the table ----

STAGES = ("kill", "resize", "reload", "mend", "upgrade", "master", "stop", "restart")
HEAD = ("server", "socket", "way", "connections", "requests", "answered", *STAGES, "else", "failed", "allowed", "idle closed",
        "longest gap ms")


def stage_text(entry):
    if entry is None:
        return "-"
    if "not possible" in entry:
        return "not possible"
    return f"{entry['failed']} in {entry['times']}"


def row(outcome):
    cell, result = outcome.cell, outcome.result
    start = (cell.server, cell.transport, cell.way)
    if result is None:
        return (*start, "did not run: " + "; ".join(outcome.problems))
    return (*start, result["connections"], result["begun"], result["answered"],
            *(stage_text(outcome.stages.get(name)) for name in STAGES), outcome.unattributed, result["failed"],
            outcome.killed, result["idle_closed"], f"{result['gap_us'] / 1000:.1f}")


def table(outcomes):
    """Columns that nobody has an entry in are left out."""
    rows = [HEAD] + [tuple(map(str, row(outcome))) for outcome in outcomes]
    whole = [line for line in rows[1:] if len(line) == len(HEAD)]
    kept = [i for i in range(len(HEAD)) if any(line[i] != "-" for line in whole)]
    rows = [tuple(line[i] for i in kept) if len(line) == len(HEAD) else line for line in rows]
    widths = [max(len(line[i]) for line in rows if len(line) == len(kept)) for i in range(len(kept))]
    for line in rows:
        yield "  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip()


def kinds(outcomes):
    """The failures of a server by their kind."""
    for outcome in outcomes:
        found = {name: count for name, count in outcome.result["failures"].items() if count} if outcome.result else {}
        if found:
            cell = outcome.cell
            yield f"{cell.server}, {cell.transport}, {cell.way}: " + ", ".join(
                f"{name} {count}" for name, count in found.items())


def not_possible(outcomes):
    return sorted({f"{outcome.cell.server.split()[0]}, {name}: {entry['not possible']}" for outcome in outcomes
                   for name, entry in outcome.stages.items() if "not possible" in entry})


def print_report(outcomes):
    print("Failures in so many times; of a worker that is killed one failure is allowed.\n")
    print("\n".join(table(outcomes)))
    ours = [outcome for outcome in outcomes if outcome.cell.server.startswith("brood") and outcome.result]
    for title, lines in (("Failures by kind", list(kinds(outcomes))), ("Not possible, and not counted", not_possible(outcomes))):
        if lines:
            print(f"\n{title}:\n  " + "\n  ".join(lines))
    print("\nbrood: {} connections, {} failures, {} workers killed, {} failures beyond one for each of them".format(
        sum(outcome.result["connections"] for outcome in ours), sum(outcome.result["failed"] for outcome in ours),
        sum(outcome.killed for outcome in ours), sum(outcome.excess for outcome in ours)))


# ---- the run ----

def run(bench, cell, connections, chance):
    bench.say(f"{cell.server}, {cell.transport}, {cell.way}")
    missing = cell.program.missing()
    if missing:
        return loss.Outcome(cell, problems=[missing])
    try:
        return loss.run_cell(bench, cell, connections, chance)
    except (ServerError, AssertionError, RuntimeError) as problem:
        bench.say(f"  ! {problem}")
        return loss.Outcome(cell, problems=[str(problem)])


def as_data(outcome):
    cell = outcome.cell
    return {"server": cell.server, "socket": cell.transport, "way": cell.way, "stages": outcome.stages,
            "result": outcome.result, "problems": outcome.problems,
            "killed": outcome.killed, "excess": outcome.excess if outcome.result else None}


def main(arguments):
    settings = parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    directory = build(settings.build)
    amounts = QUICK if settings.quick else FULL
    machine.enter_own_network()
    bench = Bench(directory, settings.silent)
    chance = random.Random(settings.seed)
    cells = [*loss.brood_cells(settings.brood or str(directory / "src/brood"), directory, amounts["times"]),
             *loss.peer_cells(amounts["times"])]
    connections = settings.connections or amounts["connections"]
    outcomes = [run(bench, cell, connections, chance) for cell in cells
                if not settings.only or any(name in cell.server for name in settings.only)]
    missing = loss_systemd.why_not()
    if missing:
        bench.say(f"no machine with a systemd: {missing}")
    else:
        outcomes += loss_systemd.run(directory, amounts["times"], connections // 10, settings.only, bench.say)
    print_report(outcomes)
    if settings.json:
        settings.json.write_text(json.dumps([as_data(outcome) for outcome in outcomes], indent=1) + "\n")
    ours = [outcome for outcome in outcomes if outcome.cell.server.startswith("brood")]
    return 1 if any(outcome.result is None or outcome.excess for outcome in ours) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
