# SPDX-License-Identifier: MIT
"""The report: one table a section for the terminal, and the summaries that go to the JSON file."""

from statistics import median

from .sections import TIMED
from .stats import summary
from .verdicts import beyond_floor, column, ratio_of, way_to_floor

FOREIGN_MAX = 0.1  # of the CPUs; the kernel's own threads are some of it

TITLES = {
    "echo": "A connection per request: {workers} workers, 64 clients, 128 bytes there and back",
    "many": "The same with {many} workers",
    "http": "HTTP, a connection per request: {workers} workers, 64 clients, a file of 128 bytes",
    "keep_alive": "HTTP with keep-alive: {keep_alive} workers, {keep_alive} connections, a file of 128 bytes",
    "messages": "Messages of 128 bytes with their length in front, one after the other: {workers} workers, as many "
                "connections",
    "recycle": "Workers that leave after 1,000 connections (with), and workers that stay: {workers} workers, 64 clients",
    "deadlines": "Every deadline configured (with), and none: {workers} workers, 64 clients",
    "inetd_1": "A program for each connection: 1 client",
    "inetd_2": "A program for each connection: 2 clients",
    "inetd_32": "A program for each connection: 32 clients",
    "confined_2": "The same with a user, limits and a root directory: 2 clients",
    "confined_32": "The same with a user, limits and a root directory: 32 clients",
    "inetd_unix": "A program for each connection, on a unix socket: 32 clients",
}


def merged_errors(samples):
    merged = {}
    for entry in samples:
        for kind, count in (entry or {}).get("errors", {}).items():
            merged[kind] = merged.get(kind, 0) + count
    return merged


def summarize_timed(samples):
    """For each server the medians with their intervals, and the ratios to the floor, round by round."""
    return {name: {
        **{key: summary(column(samples, name, key))
           for key in ("rate", "cpu_us", "p50_us", "p99_us", "p999_us", "client_cpu_us")},
        "rate_to_floor": ratio_of(samples, name, "floor", "rate"),
        "cpu_to_floor": ratio_of(samples, name, "floor", "cpu_us"),
        "errors": merged_errors(samples[name]),
    } for name in samples}


def number(value, form):
    return "-" if value is None else format(value, form)


def middle(entry, form):
    return number(entry and entry["median"], form)


def spread(entry):
    if not entry:
        return "-"
    return f"{entry['median']:.3f} ({entry['low']:.3f}-{entry['high']:.3f})"


def span(entry, form):
    if not entry:
        return "-"
    return f"{entry['median']:{form}} ({entry['low']:{form}}-{entry['high']:{form}})"


def table(rows, head):
    """The first column to the left, all others to the right."""
    rows = [head, *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    return ["  " + "  ".join(cell.ljust(width) if i == 0 else cell.rjust(width)
                             for i, (cell, width) in enumerate(zip(row, widths))).rstrip() for row in rows]


def timed_table(entries):
    rows = [[name, middle(entry["rate"], ",.0f"), spread(entry["rate_to_floor"]), middle(entry["cpu_us"], ".1f"),
             spread(entry["cpu_to_floor"]), middle(entry["p50_us"], ",.0f"), middle(entry["p99_us"], ",.0f"),
             middle(entry["p999_us"], ",.0f"),
             " ".join(f"{kind}:{count}" for kind, count in entry["errors"].items()) or "0"]
            for name, entry in entries.items()]
    return table(rows, ["server", "rate/s", "rate to floor", "CPU µs", "CPU to floor", "p50 µs", "p99 µs", "p99.9 µs",
                        "errors"])


def pairs_table(samples):
    """What is added to a server (with) against the same server without, and that one against itself (again)."""
    rows = []
    for name in samples:
        ratios = [[ratio_of(samples, f"{name} {which}", name, key) for key in ("rate", "cpu_us")]
                  for which in ("with", "again")]
        if ratios[0][0]:
            rows.append([name, *(spread(ratio) for which in ratios for ratio in which)])
    return table(rows, ["server", "rate, with to without", "CPU", "rate, again to without", "CPU"]) if rows else []


def burst_table(found):
    rows = []
    for name, runs in found.items():
        last, half = (summary(column(found, name, key)) for key in ("last_ms", "p50_ms"))
        beyond = beyond_floor(found, name)
        rows.append([name, span(last, ",.1f"), middle(half, ",.1f"), span(beyond, ",.1f")])
    return table(rows, ["server", "last ms", "half of them ms", "last, beyond floor ms"])


def replace_table(found):
    rows = []
    for name in found:
        times = [summary(column(found, name, f"{way}_us")) for way in ("idle", "busy")]
        rows.append([name, *(span(time, ",.0f") for time in times),
                     *(spread(way_to_floor(found, name, way)) for way in ("idle", "busy"))])
    return table(rows, ["server", "idle µs", "serving µs", "idle to floor", "serving to floor"])


def syscalls_table(found):
    return table([[name, f"{entry['total']:g}",
                   " ".join(f"{call}:{count:g}" for call, count in entry["each"].items())]
                  for name, entry in found.items()], ["server", "calls", "each"])


def costs_table(found):
    def calls(entry, who):
        return number(sum(entry[f"{who}_calls"].values()) if f"{who}_calls" in entry else None, ".1f")

    return table([[name, calls(entry, "server"), calls(entry, "children"), f"{entry['server_faults']:.1f}",
                   f"{entry['children_faults']:.1f}", f"{entry['server_us']:.0f}", number(entry["children_us"], ".0f")]
                  for name, entry in found.items()],
                 ["server", "calls", "children's", "page faults", "children's", "CPU µs", "children's"])


def memory_table(found):
    return table([[name, str(entry["workers"]), f"{entry['pss_kb']:,}", f"{entry['pss_kb_with_master']:,}",
                   f"{entry['private_kb_each']:g}"] for name, entry in found.items()],
                 ["server", "workers", "PSS kB", "with master kB", "private kB each"])


def start_table(found):
    rows = []
    for name, seconds in found.items():
        entry = summary(seconds)
        rows.append([name, middle(entry, ".3f"), f"{entry['low']:.3f}-{entry['high']:.3f}" if entry else "-"])
    return table(rows, ["server", "seconds", "interval"])


def kills_table(found):
    rows = []
    for name, kinds in found.items():
        for kind, runs in kinds.items():
            runs = [run for run in runs if run]
            if runs:
                rows.append([f"{name}, {kind}", f"{median(run['served'] for run in runs):,.0f}",
                             f"{median(run['gap_us'] for run in runs) / 1000:.1f}",
                             f"{max(run['gap_us'] for run in runs) / 1000:.1f}", str(sum(run["kills"] for run in runs)),
                             " ".join(f"{key}:{count}" for key, count in merged_errors(runs).items()) or "0"])
    return table(rows, ["server", "served", "gap ms", "worst gap ms", "kills", "errors"])


def verdict_table(verdicts):
    rows = []
    for verdict in verdicts:
        value = number(verdict["value"], ".3f")
        if verdict["low"] is not None and verdict["low"] != verdict["high"]:
            value += f" ({verdict['low']:.3f}-{verdict['high']:.3f})"
        rows.append([verdict["name"], verdict["target"], value, verdict["outcome"], verdict["why"]])
    return table(rows, ["measure", "target", "median (95 % interval)", "verdict", ""])


UNTIMED = {
    "syscalls": ("System calls of the workers for one connection", syscalls_table),
    "inetd_costs": ("A program for each connection, one after the other: what the server itself does for each, and its "
                    "children, with the program", costs_table),
    "memory": ("Memory after ten connections for each worker", memory_table),
    "start": ("From the start to {start_workers} workers ready", start_table),
    "burst": ("A burst of {burst_connections} requests of {burst_hold_ms} ms each on a pool with 2 idle workers: until "
              "the last of them is being served", burst_table),
    "replace": ("From the SIGKILL of the only worker until its replacement has answered", replace_table),
    "kills": ("A worker killed every 50 ms for {kill_seconds:g} s, 8 workers, 64 clients", kills_table),
}


def render(report):
    """The whole report as text."""
    settings = report["settings"]
    lines = []
    for name, found in report["sections"].items():
        if name in TIMED:
            lines += ["", TITLES[name].format(workers=8, **settings), *timed_table(found["summary"])]
            lines += pairs_table(found["samples"])
            lines += [f"  {server}: {note}" for server, note in report["notes"].get(name, {}).items()]
        else:
            title, draw = UNTIMED[name]
            lines += ["", title.format(**settings), *draw(found)]
    lines += ["", "Targets", *verdict_table(report["verdicts"]), ""]
    if settings["quick"]:
        lines[-len(report["verdicts"]) - 3:] = ["", "A quick run judges nothing.", ""]
    foreign = report["machine"]["foreign_cpu_share"]
    if foreign:
        lines.append(f"Others had {foreign['median']:.1%} of the CPUs while it measured (at most {foreign['max']:.1%})." +
                     (" That is too much to trust any of this." if foreign["median"] > FOREIGN_MAX else ""))
    lines += [f"Skipped: {name}: {why}" for name, why in report["skipped"].items()]
    lines += [f"Problem: {problem['where']}: {problem['what']}" for problem in report["problems"]]
    return "\n".join(lines)
