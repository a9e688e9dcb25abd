# SPDX-License-Identifier: MIT
"""What pools do besides serving, as far as clients notice it: growing, replacing the dead, recycling, watching the time."""

import json
import subprocess
import time
from statistics import median

from . import machine, programs
from .measures import section
from .server import ServerError

SPARE = 2
MAX_REQUESTS = 1000
HEALTHY_MS = 100  # after so long brood takes a pool for healthy, and replaces at once whoever dies of a connection
REPLACE_PAUSE_MS = 20
REPLACE_SECONDS = 5  # for each way to kill; the slow ones come to fewer kills in it


def run_tool(command, limit):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=limit)
    if done.returncode:
        raise ServerError(f"{command[0].rsplit('/', 1)[-1]} ended with {done.returncode}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def each_round(bench, title, rounds, cells, run):
    """RUN(program) of each program in each round, in random order; a cell may be of every n-th round only. Returns
    {name: [result or None for each round]}."""
    cells = [(every, bench.available(cell)) for every, cell in cells]
    results = {program.name: [None] * rounds for _every, cell in cells for program in cell}
    for number in range(rounds):
        bench.say(f"  {title}: round {number + 1} of {rounds}")
        order = [program for every, cell in cells if number % every == 0 for program in cell]
        bench.random.shuffle(order)
        for program in order:
            try:
                results[program.name][number] = run(program)
            except (ServerError, OSError, ValueError, subprocess.SubprocessError) as error:
                bench.problem(f"{title}, round {number + 1}, {program.name}", error)
    return results


# ---- growth ----

def burst_run(bench, program):
    """From the first of a burst of connections until the last of them is being served, in milliseconds."""
    settings = bench.settings
    with bench.server(program) as server:
        server.wait_workers()
        # Some look after their pool once a second: the burst comes at any time between two looks.
        time.sleep(bench.random.uniform(0.05, 0.05 + settings.burst_settle))
        found = run_tool([bench.tool("bench-burst"), "-p", str(server.port), "-c", str(settings.burst_connections),
                          *program.hold], 60)
        server.check_alive()
    if found["failed"]:
        raise ServerError(f"{program.name} has failed {found['failed']} requests")
    # A client on a busy machine may hear late that it is being served; a server that does not hold holds for nothing.
    if found["held_us"] < settings.burst_hold_ms * 500:
        raise ServerError(f"{program.name} has held a request for {found['held_us']} µs only")
    return {"last_ms": found["began_us"][-1] / 1000, "p50_ms": median(found["began_us"]) / 1000}


def burst(bench):
    """A pool with two workers, both of them idle, and a burst of requests that each take a second."""
    settings = bench.settings
    most, hold = settings.burst_connections, settings.burst_hold_ms
    growing = {"spare": SPARE, "most": most, "hold_ms": hold}
    bare = {"hold_ms": hold, "grows_by": most - SPARE}
    return each_round(bench, "burst", settings.burst_rounds, [
        # The same with all workers there from the start is what the burst itself takes.
        (1, [bench.floor("floor", SPARE, **bare), bench.floor("floor again", SPARE, **bare), bench.brood_growing(**growing),
             bench.floor("floor, all there", most, hold_ms=hold)]),
        (settings.peers_every, [programs.php_fpm_growing(**growing), programs.apache_growing(**growing)]),
    ], lambda program: burst_run(bench, program))


# ---- replacement ----

def replace_command(bench, server, busy):
    program, main = server.program, server.process.pid
    others = set(machine.children_of(main)) - set(server.workers())
    command = [bench.tool("bench-replace"), "-p", str(server.port), "-P", str(main), "-n",
               str(bench.settings.replace_kills), "-d", str(REPLACE_SECONDS), "-w", str(REPLACE_PAUSE_MS)]
    for pid in others:
        command += ["-x", str(pid)]
    if program.http:
        command += ["-g", "/file.txt"]
    if program.script:
        command += ["-f", program.script]
    return command + (["-b"] if busy else [])


def replace_run(bench, program):
    """From a worker's SIGKILL to the answer of its replacement, in µs: of one that waits for a connection, and of one
    amid a connection."""
    ways = ["idle", "busy"]
    bench.random.shuffle(ways)
    result = {}
    with bench.server(program) as server:
        server.wait_workers()
        time.sleep(2 * HEALTHY_MS / 1000)
        for way in ways:
            result[way] = run_tool(replace_command(bench, server, way == "busy"), 60)
            server.check_alive()
    return {f"{way}_us": found["p50_us"] for way, found in result.items()} | {
        f"{way}_kills": found["kills"] for way, found in result.items()}


def replace(bench):
    """A pool of a single worker, which is killed again and again."""
    settings = bench.settings
    return each_round(bench, "replace", settings.replace_rounds, [
        (1, [bench.floor("floor", 1, messages=True), bench.floor("floor again", 1, messages=True),
             bench.brood("brood", 1, messages=True, more={"healthy_after": f"{HEALTHY_MS}ms"})]),
        (settings.peers_every, [programs.php_fpm(workers=1), programs.apache(workers=1, http="keep")]),
    ], lambda program: replace_run(bench, program))


# ---- what recycling and deadlines cost ----

def recycle_section(bench):
    """Workers that leave after a thousand connections, and workers that do not."""
    every = bench.settings.peers_every
    recycled = {"more": {"max_requests": MAX_REQUESTS}}
    return section(bench, "recycle", [
        (1, [bench.floor("floor"), bench.floor("floor again"), bench.floor("floor with", max_requests=MAX_REQUESTS),
             bench.brood("brood"), bench.brood("brood again"), bench.brood("brood with", **recycled)]),
        (1, [bench.brood("brood http", http="close"), bench.brood("brood http again", http="close"),
             bench.brood("brood http with", http="close", **recycled)]),
        (every, [programs.php_fpm(), programs.php_fpm("php-fpm with", max_requests=MAX_REQUESTS),
                 programs.apache(), programs.apache("apache with", max_requests=MAX_REQUESTS)]),
    ])


def deadlines_section(bench):
    """Every deadline that there is, and none."""
    every = bench.settings.peers_every
    without, with_all = {"deadlines": programs.NO_DEADLINES}, {"deadlines": programs.DEADLINES}
    return section(bench, "deadlines", [
        (1, [bench.floor("floor", timeouts=False), bench.floor("floor again", timeouts=False), bench.floor("floor with"),
             bench.brood("brood", **without), bench.brood("brood again", **without), bench.brood("brood with", **with_all)]),
        (1, [bench.brood("brood http", http="close", **without), bench.brood("brood http again", http="close", **without),
             bench.brood("brood http with", http="close", **with_all)]),
        (every, [programs.php_fpm(), programs.php_fpm("php-fpm with", deadlines=True),
                 programs.apache(), programs.apache("apache with", deadlines=True)]),
    ])
