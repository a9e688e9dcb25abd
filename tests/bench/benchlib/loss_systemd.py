# SPDX-License-Identifier: MIT
"""The cells of loss.py under a real systemd, in a machine of its own (tests/e2e/systemd.py): the master is killed, and the
service is stopped and started while a socket unit holds its sockets."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from . import loss
from .programs import web_root

TOP = Path(__file__).resolve().parents[3]
PROGRAMS = "/usr/local/lib/brood-bench"  # in the machine
CONF = "/usr/local/etc/brood/brood.conf"
DROP_IN = "/run/systemd/system/brood.socket.d/address.conf"
PORT = 7007
SOCKET = "/run/brood-loss.sock"  # not in brood's own directory, which systemd removes at a stop
NAMES = ("bench-answer", "bench-loss", "bench-module.so", "bench-program")


def modules():
    """(brood, systemd) of the end-to-end tests. The former makes this process one that orphans come to: not before it
    is needed."""
    sys.path.insert(0, str(TOP / "tests/e2e"))
    import brood
    import systemd
    return brood, systemd


def why_not():
    return modules()[1].why_not()


def tree(build):
    """What the machine has besides the files of this one."""
    def put(directory):
        subprocess.run(["meson", "install", "-C", build, "--no-rebuild", "--destdir", directory], check=True,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env={**os.environ, "DESTDIR": ""})
        programs = Path(f"{directory}{PROGRAMS}")
        programs.mkdir(parents=True)
        for name in NAMES:
            shutil.copy(f"{build}/tests/bench/{name}", programs / name)
        web_root(programs)
    return put


class MachineClient(loss.Client):
    """bench-loss in the machine: the process that is started here only waits for the one there."""

    def __init__(self, brood, machine, command):
        super().__init__(machine.inside(*command))
        self.children = brood.proc_children
        self.pid = self.find()

    def find(self):
        for pid in self.children(self.process.pid):
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/exe").resolve().name == "bench-loss":
                    return pid
        raise RuntimeError("the client in the machine has ended")

    def signal(self, number):
        os.kill(self.pid, number)

    def end(self):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        super().end()


class Service:
    """brood as a service of the machine: what the stages do things to."""

    def __init__(self, machine, cell, handler):
        self.machine = machine
        self.cell = cell
        self.handler = handler
        self.sockets = "socket unit" in cell.server

    @property
    def address(self):
        return SOCKET if self.cell.unix else PORT

    def __enter__(self):
        where = f"unix:{SOCKET}" if self.cell.unix else f"127.0.0.1:{PORT}"
        listen = "systemd:web" if self.sockets else where
        conf = loss.brood_conf(self.handler, PROGRAMS, f"{PROGRAMS}/www", listen, self.cell.keep)
        self.machine.write(CONF, conf)
        if self.sockets:
            stream = SOCKET if self.cell.unix else f"127.0.0.1:{PORT}"
            self.machine.write(DROP_IN, f"[Socket]\nListenStream=\nListenStream={stream}\n")
            self.machine.run("systemctl", "daemon-reload")
            self.machine.run("systemctl", "start", "brood.socket")
        self.machine.run("systemctl", "start", "brood")
        return self

    def __exit__(self, *unused):
        self.machine.run("systemctl", "stop", "brood.socket", "brood", check=False)
        self.machine.run("rm", "-rf", os.path.dirname(DROP_IN), SOCKET)
        self.machine.run("systemctl", "daemon-reload")
        self.machine.run("systemctl", "reset-failed", "brood", check=False)

    def master(self):
        return int(self.machine.show("brood", "MainPID"))

    def is_active(self):
        return self.machine.show("brood", "ActiveState") == "active"


def kill_master(service):
    """Nothing may fail: the workers finish, the queues are in systemd's store, the next master takes them."""
    before = service.master()
    service.machine.run("kill", "-9", str(before))
    loss.wait_until(lambda: service.master() not in (0, before) and service.is_active(), "another master")


def stop_and_start(service):
    service.machine.run("systemctl", "stop", "brood.service")
    service.machine.run("systemctl", "start", "brood.service")


def restart(service):
    service.machine.run("systemctl", "restart", "brood.service")


def reload(service):
    if service.machine.show("brood", "CanReload") != "yes":
        raise loss.NotPossible("systemctl reload: the unit has none")
    service.machine.run("systemctl", "reload", "brood.service")


def cells(times):
    for handler in loss.HANDLERS:
        for unix in (False, True):
            for keep in (False, True):
                yield handler, loss.Cell(f"brood {handler.name}, systemd", unix, keep, None, (
                    loss.Stage("master", times["master"], kill_master),
                    loss.Stage("reload", times["reload"], reload)), handler.rate, handler.http)
        for unix in (False, True):
            yield handler, loss.Cell(f"brood {handler.name}, socket unit", unix, False, None, (
                loss.Stage("master", times["master"], kill_master),
                loss.Stage("stop", times["stop"], stop_and_start),
                loss.Stage("restart", times["stop"], restart)), handler.rate, handler.http)


def run_cell(brood, machine, cell, handler, connections, say):
    outcome = loss.Outcome(cell)
    say(f"{cell.server}, {cell.transport}, {cell.way}")
    with Service(machine, cell, handler) as service:
        client = MachineClient(brood, machine, loss.client_command(
            f"{PROGRAMS}/bench-loss", service.address, rate=cell.rate, http=cell.http, keep=cell.keep))
        try:
            time.sleep(loss.SETTLE_S)
            loss.run_stages(outcome, service, client, connections, say)
        except (AssertionError, RuntimeError) as problem:
            say(f"  ! {problem}")
            outcome.problems.append(str(problem))
        finally:
            client.end()
    return outcome


def run(build, times, connections, only, say):
    """Yields the outcomes."""
    brood, systemd = modules()
    with systemd.Machine(tree(build)) as machine:
        machine.run("systemd-sysusers")
        machine.run("systemd-tmpfiles", "--create")
        for handler, cell in cells(times):
            if not only or any(name in cell.server for name in only):
                yield run_cell(brood, machine, cell, handler, connections, say)
