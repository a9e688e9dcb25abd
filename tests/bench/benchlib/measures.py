# SPDX-License-Identifier: MIT
"""What is measured. Each measure takes the bench (settings, programs, ports, control groups) and returns plain data.

A failure of one server costs its sample and is written down; it ends nothing and is not repeated."""

import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from . import inetd, load, machine, programs
from .server import Server, ServerError
from .stats import summary

FAILURES_MAX = 3  # after so many failures in a section a server is left out of the rest of it
SYSCALL_CONNECTIONS = 200
KILL_PAUSE_S = 0.05


class Bench:
    """The settings of a run and what all measures share."""

    def __init__(self, settings, build, brood_binary):
        self.settings = settings
        self.build = build
        self.brood_binary = brood_binary
        self.load_program = self.tool("bench-load")
        self.ports = machine.Ports()
        self.cgroups = machine.Cgroups()
        self.random = random.Random(settings.seed)
        self.skipped = {}
        self.problems = []
        self.foreign = []
        self.wrk_script = None
        self.notes = {}

    def tool(self, name):
        """The path of one of the benchmark's own programs."""
        return str(Path(self.build) / "tests/bench" / name)

    def server(self, program):
        return Server(program, self.ports.of(program.name), self.cgroups)

    def available(self, candidates):
        """Leaves out, and notes, what cannot run here."""
        able = []
        for program in candidates:
            reason = program.missing()
            if reason:
                self.skipped[program.name] = reason
            else:
                able.append(program)
        return able

    def problem(self, where, error):
        text = str(error)
        self.problems.append({"where": where, "what": text})
        self.say(f"  ! {where}: {text}")

    def say(self, text):
        if not self.settings.silent:
            print(text, flush=True)

    def floor(self, *args, **more):
        return programs.floor(self.build, *args, **more)

    def brood(self, *args, **more):
        return programs.brood(self.brood_binary, *args, **more)

    def brood_growing(self, *args, **more):
        return programs.brood_growing(self.brood_binary, self.build, *args, **more)

    def inetd(self, make, *args, **more):
        """A server of benchlib.inetd."""
        binary = [self.brood_binary] if make is inetd.brood else []
        return make(*binary, self.build, *args, **more)


# ---- rate, CPU, latency ----

def sample(bench, program, clients, keep_alive):
    """One start of a server, a warm-up, one measurement."""
    settings = bench.settings
    with bench.server(program) as server:
        server.wait_workers()
        measure_load(bench, server, clients, keep_alive, settings.warm_up)
        before = server.cpu_us()
        quiet = machine.BusyClock()
        result = measure_load(bench, server, clients, keep_alive, settings.seconds)
        used_us = server.cpu_us() - before if before is not None else None
        foreign = None
        if used_us is not None:
            foreign = quiet.foreign_share(used_us + result["client_cpu_us"])
            bench.foreign.append(foreign)
        server.check_alive()
    answers = result["completed"] + result["late"]
    if not result["completed"]:
        raise ServerError(f"{program.name} has answered nothing: {load.errors_in(result)}")
    return {
        "rate": result["rate"],
        "cpu_us": used_us / answers if used_us is not None else None,
        "p50_us": result["latency_us"]["p50"],
        "p99_us": result["latency_us"]["p99"],
        "p999_us": result["latency_us"]["p999"],
        "client_cpu_us": result["client_cpu_us"] / answers,
        "errors": load.errors_in(result),
        "unfinished": result["unfinished"],
        "foreign_cpu_share": foreign,
    }


def measure_load(bench, server, clients, keep_alive, seconds):
    if keep_alive:
        return load.run_keep_alive(bench.wrk_script, server.port, clients=clients, seconds=seconds)
    return load.run_connections(bench.load_program, server.address, clients=clients, seconds=seconds,
                                **server.load_settings())


def section(bench, title, cells, *, clients=64, keep_alive=False):
    """Measures all programs of CELLS in each round. What is compared closely stands in one cell, and is measured one
    right after the other; the order within a cell, and of the cells, is random in each round. A cell may be marked to
    take part in every n-th round only. Returns {name: [sample or None for each round]}."""
    rounds = bench.settings.rounds
    cells = [(every, bench.available(cell)) for every, cell in cells]
    samples = {program.name: [None] * rounds for _every, cell in cells for program in cell}
    bench.notes.setdefault(title, {}).update(
        {program.name: program.note for _every, cell in cells for program in cell if program.note})
    failures = dict.fromkeys(samples, 0)
    for number in range(rounds):
        bench.say(f"  {title}: round {number + 1} of {rounds}")
        order = [list(cell) for every, cell in cells if number % every == 0]
        bench.random.shuffle(order)
        for cell in order:
            bench.random.shuffle(cell)
            for program in cell:
                if failures[program.name] >= FAILURES_MAX:
                    continue
                try:
                    samples[program.name][number] = sample(bench, program, clients, keep_alive)
                except (ServerError, OSError, subprocess.SubprocessError) as error:
                    failures[program.name] += 1
                    bench.problem(f"{title}, round {number + 1}, {program.name}", error)
    return samples


def echo_section(bench):
    """A connection per request, 8 workers, 64 clients: read, answer, close."""
    every = bench.settings.peers_every
    cpus = os.cpu_count()
    return section(bench, "echo", [
        (1, [bench.floor("floor"), bench.floor("floor again"), bench.brood("brood")]),
        (1, [bench.floor("floor defer", defer=True), bench.brood("brood defer", defer=True),
             programs.haproxy("haproxy defer", cpus, defer=True), programs.haproxy("haproxy", cpus),
             programs.haproxy("haproxy x8", 8)]),
        (every, [bench.floor("floor bare", options=False), programs.nginx("nginx"), programs.lighttpd("lighttpd", 1),
                 programs.lighttpd("lighttpd x8", 8), programs.apache("apache")]),
    ])


def many_section(bench):
    """The same with 128 workers."""
    workers = bench.settings.many
    return section(bench, f"{workers} workers", [
        (1, [bench.floor("floor", workers), bench.floor("floor again", workers), bench.brood("brood", workers)]),
    ])


def http_section(bench):
    """HTTP, a connection per request: a file of 128 bytes."""
    every = bench.settings.peers_every
    return section(bench, "http", [
        (1, [bench.floor("floor", http="close"), bench.floor("floor again", http="close"),
             bench.brood("brood", http="close"), programs.nginx("nginx", file=True),
             programs.nginx("nginx no sendfile", file=True, sendfile=False),
             bench.floor("floor defer", http="close", defer=True), bench.brood("brood defer", http="close", defer=True),
             programs.nginx("nginx deferred", file=True, defer=True)]),
        (every, [programs.lighttpd("lighttpd"), programs.apache("apache")]),
    ])


def keep_alive_section(bench):
    """HTTP with keep-alive: 64 connections, as many workers."""
    workers = bench.settings.keep_alive
    every = bench.settings.peers_every
    if not shutil.which("wrk"):
        bench.skipped["keep-alive"] = "wrk is not installed"
        return {}
    with tempfile.NamedTemporaryFile("w", suffix=".lua", prefix="brood-bench-") as script:
        script.write(load.WRK_SCRIPT)
        script.flush()
        bench.wrk_script = script.name
        return section(bench, "keep-alive", [
            (1, [bench.floor("floor", workers, http="keep"), bench.floor("floor again", workers, http="keep"),
                 bench.brood("brood", workers, http="keep"), programs.nginx("nginx", workers, file=True, http="keep"),
                 programs.nginx("nginx x8", 8, file=True, http="keep")]),
            (every, [programs.lighttpd("lighttpd", 1, http="keep"), programs.apache("apache", workers, http="keep")]),
        ], clients=workers, keep_alive=True)


def messages_section(bench):
    """Messages with their length in front, one after the other: a connection for each worker."""
    return section(bench, "messages", [
        (1, [bench.floor("floor", messages=True), bench.floor("floor again", messages=True),
             bench.brood("brood", messages=True)]),
    ], clients=8)


def inetd_section(clients):
    """A connection for each run of a small program."""
    def run(bench):
        every = bench.settings.peers_every
        return section(bench, f"inetd_{clients}", [
            # None of the others collects what programs write to their standard error: configured the same is `null`.
            (1, [bench.inetd(inetd.floor, "floor"), bench.inetd(inetd.floor, "floor again"), bench.inetd(inetd.brood),
                 bench.inetd(inetd.brood, "brood null", stderr="null"),
                 bench.inetd(inetd.tcpserver), bench.inetd(inetd.xinetd),
                 bench.inetd(inetd.xinetd, "xinetd nowrap", wrappers=False)]),
            (every, [bench.inetd(inetd.floor, "floor waiting", waiting=inetd.WAITING),
                     bench.inetd(inetd.tcpsvd), bench.inetd(inetd.s6_tcpserver)]),
        ], clients=clients)
    return run


def confined_section(clients):
    """The same with a user, limits and a root directory."""
    def run(bench):
        every = bench.settings.peers_every
        return section(bench, f"confined_{clients}", [
            (1, [bench.inetd(inetd.floor, "floor", confined=True), bench.inetd(inetd.floor, "floor again", confined=True),
                 bench.inetd(inetd.brood, confined=True), bench.inetd(inetd.tcpserver, confined=True),
                 bench.inetd(inetd.tcpserver_inside)]),
            (every, [bench.inetd(inetd.floor, "floor waiting", waiting=inetd.WAITING, confined=True),
                     bench.inetd(inetd.tcpsvd, confined=True), bench.inetd(inetd.xinetd, confined=True)]),
        ], clients=clients)
    return run


def inetd_unix_section(bench):
    """The same over a unix socket."""
    every = bench.settings.peers_every
    return section(bench, "inetd_unix", [
        (every, [bench.inetd(inetd.floor, "floor", unix=True), bench.inetd(inetd.floor, "floor again", unix=True),
                 bench.inetd(inetd.brood, unix=True), bench.inetd(inetd.s6_ipcserver), bench.inetd(inetd.unixserver)]),
    ], clients=32)


# ---- what a connection costs ----

def family_costs(bench, program):
    """For each of some connections, one after the other: the processor's time and the page faults of the server itself,
    and of its children, which are those that have ended."""
    count = bench.settings.cost_connections
    with bench.server(program) as server:
        server.wait_workers()
        main = server.process.pid
        before = machine.family_usage(main), server.cpu_us()
        result = load.run_connections(bench.load_program, server.address, clients=1, count=count,
                                      **server.load_settings())
        time.sleep(0.05)  # the last ones are waited for
        after = machine.family_usage(main), server.cpu_us()
    if result["completed"] != count:
        raise ServerError(f"{program.name} has lost connections: {load.errors_in(result)}")
    own_us, own_faults, child_faults = ((now - then) / count for now, then in zip(after[0], before[0]))
    all_us = (after[1] - before[1]) / count if after[1] is not None else None
    return {"server_us": own_us, "children_us": all_us - own_us if all_us is not None else None,
            "server_faults": own_faults, "children_faults": child_faults}


def family_calls(bench, program):
    """System calls for each connection, of the server itself and of its children, the program included."""
    with bench.server(program) as server, tempfile.TemporaryDirectory(prefix="brood-bench-") as directory:
        main, log = server.process.pid, f"{directory}/strace"
        waiting = [pid for pid in server.wait_workers() if machine.is_alive(pid)] if program.workers else []
        with Strace([main, *waiting], log):
            result = load.run_connections(bench.load_program, server.address, clients=1, count=SYSCALL_CONNECTIONS,
                                          **server.load_settings())
        lines = Path(log).read_text(errors="replace").splitlines()
    if result["completed"] != SYSCALL_CONNECTIONS:
        raise ServerError(f"{program.name} has lost connections under strace: {load.errors_in(result)}")
    own = [line for line in lines if line.split(maxsplit=1)[0] == str(main)]
    calls = {"server": count_syscalls("\n".join(own)), "all": count_syscalls("\n".join(lines))}
    calls["children"] = {name: count - calls["server"].get(name, 0) for name, count in calls.pop("all").items()}
    return {f"{who}_calls": {name: round(count / SYSCALL_CONNECTIONS, 2) for name, count in sorted(counts.items())
                             if count >= SYSCALL_CONNECTIONS / 10} for who, counts in calls.items()}


def inetd_costs(bench):
    results = {}
    for program in bench.available([
            bench.inetd(inetd.floor), bench.inetd(inetd.floor, "floor waiting", waiting=inetd.WAITING),
            bench.inetd(inetd.brood), bench.inetd(inetd.tcpserver), bench.inetd(inetd.tcpsvd), bench.inetd(inetd.xinetd),
            bench.inetd(inetd.xinetd, "xinetd nowrap", wrappers=False),
            bench.inetd(inetd.brood, "brood confined", confined=True),
            bench.inetd(inetd.tcpserver, "tcpserver confined", confined=True)]):
        bench.say(f"  inetd_costs: {program.name}")
        try:
            results[program.name] = family_costs(bench, program)
            if shutil.which("strace"):
                results[program.name].update(family_calls(bench, program))
        except (ServerError, OSError, subprocess.SubprocessError) as error:
            bench.problem(f"inetd_costs, {program.name}", error)
    return results


# ---- system calls ----

# "12 accept4(3, ...) = 4", "12 <... accept4 resumed>...) = 4"; a call that never returned is not counted.
SYSCALL = re.compile(r"^(\d+)\s+(?:<\.\.\. )?(\w+)(?:\(| resumed>).*=\s(-?\d+|\?|0x[0-9a-f]+)(?:\s(E\w+))?")
INTERRUPTED = {"ERESTARTSYS", "ERESTARTNOINTR", "ERESTARTNOHAND", "ERESTART_RESTARTBLOCK", "EINTR"}


def count_syscalls(text):
    """Counts the calls of an strace log by name. What strace itself interrupts when it attaches is left out."""
    counts = {}
    for line in text.splitlines():
        found = SYSCALL.match(line)
        if found and found.group(4) not in INTERRUPTED:
            counts[found.group(2)] = counts.get(found.group(2), 0) + 1
    return counts


def tracer_is_on(pid):
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return all("TracerPid:\t0\n" not in (task / "status").read_text() for task in tasks)


class Strace:
    """strace on the processes PIDS, attached inside the `with`, detached after it; then `counts` is there."""

    def __init__(self, pids, log):
        self.pids = pids
        self.log = log
        self.process = None
        self.counts = None

    def __enter__(self):
        command = ["strace", "-f", "-qq", "-e", "signal=none", "-o", self.log]
        for pid in self.pids:
            command += ["-p", str(pid)]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE)
        deadline = time.monotonic() + 10
        while not all(tracer_is_on(pid) for pid in self.pids):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.detach()
                raise ServerError(f"strace did not attach: {self.process.stderr.read().decode().strip()}")
            time.sleep(0.01)
        return self

    def __exit__(self, *_exception):
        self.detach()
        self.counts = count_syscalls(Path(self.log).read_text(errors="replace"))

    def detach(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def trace_program(bench, program):
    """The calls of all workers for one connection (of messages: for one message), in the average of many that come one
    after the other."""
    with bench.server(program) as server, tempfile.TemporaryDirectory(prefix="brood-bench-") as directory:
        workers = server.wait_workers()
        with Strace(workers, f"{directory}/strace") as trace:
            result = load.run_connections(bench.load_program, server.address, clients=1, count=SYSCALL_CONNECTIONS,
                                          **server.load_settings())
    if result["completed"] != SYSCALL_CONNECTIONS:
        raise ServerError(f"{program.name} has lost connections under strace: {load.errors_in(result)}")
    # A call in flight when strace leaves is not counted, one it finds may be: hence the rounding.
    each = {name: round(count / SYSCALL_CONNECTIONS, 2) for name, count in sorted(trace.counts.items())}
    return {"total": round(sum(trace.counts.values()) / SYSCALL_CONNECTIONS, 1),
            "each": {name: count for name, count in each.items() if count >= 0.05}}


def syscalls(bench):
    if not shutil.which("strace"):
        bench.skipped["system calls"] = "strace is not installed"
        return {}
    results = {}
    for program in bench.available([
            bench.floor("floor"), bench.floor("floor defer", defer=True), bench.brood("brood"),
            bench.brood("brood defer", defer=True), programs.haproxy("haproxy", os.cpu_count()), programs.nginx("nginx"),
            programs.lighttpd("lighttpd", 1), programs.apache("apache"), bench.floor("floor http", http="close"),
            bench.brood("brood http", http="close"), programs.nginx("nginx file", file=True),
            bench.floor("floor messages", messages=True), bench.brood("brood messages", messages=True)]):
        bench.say(f"  system calls: {program.name}")
        try:
            results[program.name] = trace_program(bench, program)
        except (ServerError, OSError, subprocess.SubprocessError) as error:
            bench.problem(f"system calls, {program.name}", error)
    return results


# ---- memory ----

def memory_of(bench, program):
    """PSS after ten connections for each worker. They come one at a time: a blocking accept() wakes who has waited
    longest, so each worker gets its ten."""
    with bench.server(program) as server:
        workers = server.wait_workers()
        load.run_connections(bench.load_program, server.address, clients=1, count=10 * len(workers),
                             **server.load_settings())
        workers = server.workers()
        everyone = set(server.cgroup.pids() if server.cgroup else workers + [server.process.pid])
        return {
            "workers": len(workers),
            "pss_kb": sum(machine.pss_kb(pid) for pid in workers),
            "private_kb_each": round(sum(machine.private_kb(pid) for pid in workers) / len(workers), 1),
            "pss_kb_with_master": sum(machine.pss_kb(pid) for pid in everyone),
        }


def memory(bench):
    many = bench.settings.many
    results = {}
    for program in bench.available([
            bench.floor("floor", many), bench.brood("brood", many), bench.brood("brood http", many, http="close"),
            programs.nginx("nginx", many), programs.apache("apache", many)]):
        bench.say(f"  memory: {program.name}")
        try:
            results[program.name] = memory_of(bench, program)
        except (ServerError, OSError, subprocess.SubprocessError) as error:
            bench.problem(f"memory, {program.name}", error)
    return results


# ---- start ----

def start(bench):
    """Seconds from the start of the master to READY=1, all workers waiting for connections."""
    workers = bench.settings.start_workers
    candidates = bench.available([bench.floor("floor", workers), bench.floor("floor again", workers),
                                  bench.brood("brood", workers)])
    results = {program.name: [None] * bench.settings.start_rounds for program in candidates}
    for number in range(bench.settings.start_rounds):
        bench.say(f"  start of {workers} workers: round {number + 1} of {bench.settings.start_rounds}")
        bench.random.shuffle(candidates)
        for program in candidates:
            try:
                with bench.server(program) as server:
                    results[program.name][number] = server.ready_seconds
            except (ServerError, OSError) as error:
                bench.problem(f"start, {program.name}", error)
    return results


# ---- kills ----

def kill_workers(bench, server, clients_process):
    """Kills one worker every KILL_PAUSE_S while the load lasts. Returns how many."""
    kills = 0
    due = time.monotonic() + KILL_PAUSE_S
    end = due + bench.settings.kill_seconds
    while due < end:
        try:
            clients_process.wait(max(0, due - time.monotonic()))
            return kills
        except subprocess.TimeoutExpired:
            due += KILL_PAUSE_S
        workers = server.workers()
        if workers:
            kills += machine.kill_child(server.process.pid, bench.random.choice(workers))
    return kills


def kill_run(bench, program, with_kills):
    """A load of some seconds, with or without a worker killed every 50 ms."""
    seconds = bench.settings.kill_seconds
    with bench.server(program) as server:
        server.wait_workers()
        command = load.connections(bench.load_program, server.address, clients=64, seconds=seconds,
                                   **server.load_settings())
        clients_process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            kills = kill_workers(bench, server, clients_process) if with_kills else 0
            output, _ = clients_process.communicate(timeout=seconds + 30)
        finally:
            if clients_process.poll() is None:
                clients_process.kill()
                clients_process.wait()
        server.check_alive()
    result = load.json.loads(output)
    return {"served": result["completed"], "gap_us": result["gap_us"], "kills": kills,
            "errors": load.errors_in(result), "p99_us": result["latency_us"]["p99"]}


def kills(bench):
    """{name: {"quiet": [...], "killed": [...]}}, one for each round."""
    results = {}
    for number in range(bench.settings.kill_rounds):
        runs = [(program, with_kills)
                for program in bench.available([bench.floor("floor"), bench.brood("brood")])
                for with_kills in (False, True)]
        if number == 0:
            runs += [(program, with_kills) for program in bench.available([programs.nginx("nginx"),
                                                                           programs.apache("apache")])
                     for with_kills in (False, True)]
        bench.random.shuffle(runs)
        for program, with_kills in runs:
            bench.say(f"  kills: round {number + 1} of {bench.settings.kill_rounds}, {program.name}"
                      f"{', a worker killed every 50 ms' if with_kills else ''}")
            kind = results.setdefault(program.name, {"quiet": [], "killed": []})["killed" if with_kills else "quiet"]
            try:
                kind.append(kill_run(bench, program, with_kills))
            except (ServerError, OSError, ValueError, subprocess.SubprocessError) as error:
                kind.append(None)
                bench.problem(f"kills, {program.name}", error)
    return results


def foreign_summary(bench):
    return summary(bench.foreign)
