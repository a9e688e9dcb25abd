# SPDX-License-Identifier: MIT
"""What is lost while a server is changed under its clients: the cells (a handler, a transport, a way to use connections),
what is done to a server (the stages), and the run of a cell.

A client keeps a set rate of requests through all of it (bench-loss). It is asked for its counts before and after each
stage, so a failure is known with what was done to the server when it happened. A stage that a server does not have is
"not possible": it counts as nothing, least of all as passed."""

import json
import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Optional

from . import load, machine
from .programs import APACHE_CONF, BACKLOG, NGINX_CONF, Program, unprivileged_user, web_root, write

KEPT = 6  # connections of a client with keep-alive, fewer than workers: each holds one
LIFE = 10  # requests of such a connection
WORKERS = 8
TIMEOUT_S = 10  # of a request
SETTLE_S = 0.3  # after a stage, for what it may have done to the connections under way
DEADLINE_S = 30
KILL_PAUSE_S = 0.1


class NotPossible(Exception):
    """A server does not have what a stage does; the message says how that is known."""


# ---- the client ----

def client_command(program, address, *, rate, http, keep):
    command = [program, "-r", str(rate), "-T", str(TIMEOUT_S)]
    command += ["-u", address] if isinstance(address, str) else ["-p", str(address)]
    command += ["-k", str(KEPT), "-l", str(LIFE)] if keep else []
    return command + (["-g", load.PATH, "-e", str(len(load.BODY))] if http else [])


class Client:
    """bench-loss in the background."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.read()  # from here on it takes signals

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"bench-loss has ended with {self.process.wait()}")
        return json.loads(line)

    def signal(self, number):
        self.process.send_signal(number)

    def look(self):
        """What there is until now."""
        self.signal(signal.SIGUSR1)
        return self.read()

    def stop(self):
        self.signal(signal.SIGTERM)
        result = self.read()
        self.process.wait()
        return result

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()


# ---- brood ----

@dataclass(frozen=True)
class Handler:
    """What stands in the pool: each text has {programs}, a directory, and {root}, the one of the files."""
    name: str
    once: str  # a connection a request
    kept: str
    http: bool = False
    rate: int = 1000
    resizable: bool = True


HANDLERS = (
    Handler("echo", "echo {{ framing = raw messages = 1 }}", "echo {{ framing = raw }}"),
    Handler("http", 'http {{ root = "{root}" }}', 'http {{ root = "{root}" keepalive_requests = 0 }}', http=True),
    Handler("inetd", 'command = {{"{programs}/bench-answer"}} max_workers = 64 stderr = null',
            'command = {{"/bin/cat"}} max_workers = 64 stderr = null', rate=500),
    Handler("program", 'command = {{"{programs}/bench-program", "1"}} ready = alive ready_after = 50ms',
            'command = {{"{programs}/bench-program"}} ready = alive ready_after = 50ms'),
    Handler("module", 'module = "{programs}/bench-module.so" module_options {{ messages = 1 }}',
            'module = "{programs}/bench-module.so"'),
)

BROOD_CONF = """\
# SPDX-License-Identifier: MIT
log_level = "notice"
max_workers = 256
stop_timeout = 10s
pool "bench" {{
    listen = {{"{listen}"}}
    backlog = {backlog}
    handler = "{handler}"
    workers = {workers}
    stop_timeout = 10s
    {more}
}}
"""


def brood_conf(handler, programs, root, listen, keep, workers=WORKERS):
    more = (handler.kept if keep else handler.once).format(programs=programs, root=root)
    return BROOD_CONF.format(listen=listen, backlog=BACKLOG, handler=handler.name, workers=workers, more=more)


def brood(binary, build, handler, unix, keep):
    def prepare(directory, port):
        listen = f"unix:{directory}/socket" if unix else f"127.0.0.1:{port}"
        conf = brood_conf(handler, f"{build}/tests/bench", web_root(directory), listen, keep)
        return [binary, "-c", write(Path(directory) / "brood.conf", conf), "-L", "stderr"]

    return Program("brood " + handler.name, prepare, binary, http="keep" if handler.http and keep else
                   "close" if handler.http else None, unix=unix, notifies=True, workers=WORKERS,
                   is_worker=lambda title: title != "brood: logger")


def output_of(server):
    return Path(server.directory, "output").read_text(errors="replace")


def wait_until(condition, what):
    deadline = time.monotonic() + DEADLINE_S
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"in {DEADLINE_S} s never: {what}")
        time.sleep(0.01)
    return value


def wait_said(server, before, patterns, what):
    """Waits for a line of the log after the first BEFORE characters of it, and returns the name of its pattern."""
    def found():
        server.check_alive()
        said = output_of(server)[before:]
        return next((name for name, pattern in patterns.items() if re.search(pattern, said)), None)
    return wait_until(found, what)


RELOAD = {"impossible": r"reload is not built", "refused": r"reload refused|not reloaded|reload failed",
          "done": r"reloaded|reload done"}
UPGRADE = {"impossible": r"upgrade in place is not built", "refused": r"upgrade refused|not upgraded|upgrade failed",
           "done": r"upgraded|upgrade done"}


def reload_once(server, wanted="done"):
    before = len(output_of(server))
    os.kill(server.process.pid, signal.SIGHUP)
    said = wait_said(server, before, RELOAD, "the verdict of a reload")
    if said == "impossible":
        raise NotPossible("SIGHUP: reload is not built")
    if said != wanted:
        raise AssertionError(f"a reload was {said}, not {wanted}: {output_of(server)[before:]}")


def wait_rolled(server, old):
    """Until none of the OLD workers is left: connections that are kept end after some requests, so that it ends."""
    wait_until(lambda: not set(old) & set(server.workers()), "the end of the old workers")


def brood_reload(server):
    old = server.workers()
    reload_once(server)
    wait_rolled(server, old)


def brood_break_and_mend(server):
    path = Path(server.directory, "brood.conf")
    good = path.read_text()
    path.write_text(good.replace("backlog", "backlok"))
    try:
        reload_once(server, "refused")
    finally:
        path.write_text(good)
    brood_reload(server)


def brood_upgrade(server):
    before, old = len(output_of(server)), server.workers()
    os.kill(server.process.pid, signal.SIGUSR2)
    said = wait_said(server, before, UPGRADE, "the verdict of an upgrade")
    if said == "impossible":
        raise NotPossible("SIGUSR2: upgrade is not built")
    if said != "done":
        raise AssertionError(f"an upgrade was {said}: {output_of(server)[before:]}")
    wait_rolled(server, old)


def brood_resize(server):
    """Three workers more and three fewer."""
    count = len(server.workers())
    for number, wanted in ((signal.SIGTTIN, 3), (signal.SIGTTOU, 0)):
        for _ in range(3):
            before = len(server.workers())
            os.kill(server.process.pid, number)
            wait_until(lambda b=before: len(server.workers()) != b, "another number of workers")
        assert len(server.workers()) >= count + wanted, "fewer workers than before"


def kill_worker(server):
    """Kills one, and waits for another. What is under way in it is lost: one death."""
    victim = server.random.choice(wait_until(server.workers, "workers"))
    if not machine.kill_child(server.process.pid, victim):
        return 0
    wait_until(lambda: len(server.workers()) >= WORKERS, "another worker")
    return 1


# ---- peers ----

NGINX_UNIX = "listen 127.0.0.1:{port} backlog={backlog}{defer};"


def nginx(unix, keep):
    """A file, as brood's http; its workers keep a connection up to a thousand requests."""
    def prepare(directory, port):
        user, group = unprivileged_user()
        text = NGINX_CONF
        if unix:
            text = text.replace(NGINX_UNIX, "listen unix:{directory}/socket backlog={backlog};")
        conf = text.format(user=user, group=group, workers=WORKERS, directory=directory, port=port, backlog=BACKLOG,
                           answer=f"root {web_root(directory)};", sendfile="on", defer="")
        return ["nginx", "-c", write(Path(directory) / "nginx.conf", conf), "-p", str(directory),
                "-e", f"{directory}/error.log"]

    return Program("nginx", prepare, "nginx", http="keep" if keep else "close", unix=unix, workers=WORKERS)


def apache(_unix, keep):
    def prepare(directory, port):
        user, group = unprivileged_user()
        conf = APACHE_CONF.format(directory=directory, user=user, group=group, port=port, backlog=BACKLOG,
                                  workers=WORKERS, spare=WORKERS + 1, timeout=60, root=web_root(directory))
        return ["apache2", "-f", write(Path(directory) / "apache.conf", conf), "-D", "FOREGROUND"]

    return Program("Apache", prepare, "apache2", http="keep" if keep else "close", workers=WORKERS)


def peer_reload(number):
    """The signal that reloads it; it has happened when there are workers that were not there before."""
    def run(server):
        old = set(server.workers())
        os.kill(server.process.pid, number)
        wait_until(lambda: set(server.workers()) - old, "new workers")
        deadline = time.monotonic() + 2
        while set(server.workers()) & old and time.monotonic() < deadline:
            time.sleep(0.01)
    return run


def nginx_break_and_mend(server):
    path = Path(server.directory, "nginx.conf")
    good = path.read_text()
    path.write_text("nonsense {\n" + good)
    os.kill(server.process.pid, signal.SIGHUP)
    wait_until(lambda: "nonsense" in Path(server.directory, "error.log").read_text(), "nginx refuses")
    path.write_text(good)
    peer_reload(signal.SIGHUP)(server)


def apache_break_and_mend(_server):
    raise NotPossible("Apache ends where it is reloaded with a broken file, unless apachectl has looked at it before")


# ---- cells and stages ----

@dataclass(frozen=True)
class Stage:
    """Something that is done to a server, so many times in each cell."""
    name: str
    times: int
    run: Callable  # of the server; returns how many workers it has killed, or None


@dataclass(frozen=True)
class Cell:
    server: str
    unix: bool
    keep: bool
    program: Optional[Program]
    stages: tuple
    rate: int
    http: bool

    @property
    def transport(self):
        return "unix" if self.unix else "TCP"

    @property
    def way(self):
        return "kept" if self.keep else "once"


@dataclass
class Outcome:
    cell: Cell
    result: Optional[dict] = None
    stages: dict = field(default_factory=dict)  # name: {"times", "failed", "killed"} or {"not possible": why}
    problems: list = field(default_factory=list)

    @property
    def killed(self):
        return sum(stage.get("killed", 0) for stage in self.stages.values())

    @property
    def excess(self):
        """Failures beyond one for each worker that was killed, stage by stage; and what failed in none of them."""
        beyond = sum(max(0, stage["failed"] - stage["killed"]) for stage in self.stages.values() if "failed" in stage)
        return beyond + self.unattributed

    @property
    def unattributed(self):
        return self.result["failed"] - sum(stage.get("failed", 0) for stage in self.stages.values())


def brood_cells(binary, build, times):
    for handler in HANDLERS:
        for unix in (False, True):
            for keep in (False, True):
                stages = [Stage("kill", times["kill"], kill_worker), Stage("resize", times["resize"], brood_resize),
                          Stage("reload", times["reload"], brood_reload),
                          Stage("mend", times["mend"], brood_break_and_mend),
                          Stage("upgrade", times["upgrade"], brood_upgrade)]
                if handler.name == "inetd":  # its pool is between two sizes
                    stages = [stage for stage in stages if stage.name != "resize"]
                yield Cell(f"brood {handler.name}", unix, keep, brood(binary, build, handler, unix, keep), tuple(stages),
                           handler.rate, handler.http)


def peer_cells(times):
    for name, make, number, mend, transports in (
            ("nginx", nginx, signal.SIGHUP, nginx_break_and_mend, (False, True)),
            ("Apache", apache, signal.SIGUSR1, apache_break_and_mend, (False,))):
        stages = (Stage("kill", times["kill"], kill_worker), Stage("reload", times["reload"], peer_reload(number)),
                  Stage("mend", times["mend"], mend))
        for unix in transports:
            for keep in (False, True):
                yield Cell(name, unix, keep, make(unix, keep), stages, 1000, True)


def run_stage(stage, server, client, say):
    """Returns what stands in the outcome of it."""
    before = client.look()
    killed, times = 0, 0
    try:
        for _ in range(stage.times):
            killed += stage.run(server) or 0
            times += 1
            time.sleep(KILL_PAUSE_S)
    except NotPossible as why:
        return {"not possible": str(why)}
    time.sleep(SETTLE_S)
    after = client.look()
    entry = {"times": times, "killed": killed, "failed": after["failed"] - before["failed"],
             "idle_closed": after["idle_closed"] - before["idle_closed"]}
    say(f"    {stage.name}: {entry}")
    return entry


def run_stages(outcome, server, client, connections, say):
    """All stages of a cell, and then on until there were so many CONNECTIONS."""
    for stage in outcome.cell.stages:
        outcome.stages[stage.name] = run_stage(stage, server, client, say)
    while not outcome.cell.keep and client.look()["connections"] < connections:
        time.sleep(0.2)
    outcome.result = client.stop()


def run_cell(bench, cell, connections, random):
    """One start of the server, and all stages under the client."""
    outcome = Outcome(cell)
    with bench.server(cell.program) as server:
        server.random = random
        server.wait_workers()
        client = Client(client_command(f"{bench.build}/tests/bench/bench-loss", server.address, rate=cell.rate,
                                       http=cell.http, keep=cell.keep))
        try:
            time.sleep(SETTLE_S)
            run_stages(outcome, server, client, connections, bench.say)
            server.check_alive()
        finally:
            client.end()
    return outcome
