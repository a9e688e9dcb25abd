# SPDX-License-Identifier: MIT
"""A running server: started in a directory and a control group of its own, known to be ready, and ended with all it
has started."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from . import load, machine
from .programs import PEER_SETTINGS

READY_SECONDS = 60
STOP_SECONDS = 5


class ServerError(Exception):
    """A server did not do its part; the message says which one and what."""


class Server:
    """`with Server(program, port, cgroups) as server`: ready inside, gone afterwards."""

    def __init__(self, program, port, cgroups):
        self.program = program
        self.port = port
        self.cgroups = cgroups
        self.cgroup = None
        self.process = None
        self.directory = None
        self.answer_size = None
        self.ready_seconds = None

    @property
    def address(self):
        """Where the clients go: see benchlib.load."""
        return f"{self.directory}/socket" if self.program.unix else self.port

    def load_settings(self):
        """What bench-load is to be told of this server."""
        sized = self.program.http or self.program.script
        return {"answer_size": self.answer_size if sized else None, "messages": self.program.messages,
                "script": self.program.script}

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_exception):
        self.end()

    def start(self):
        self.directory = tempfile.mkdtemp(prefix="brood-bench-")
        os.chmod(self.directory, 0o755)  # for the workers of another user
        self.cgroup = self.cgroups.make()
        command = self.program.prepare(self.directory, self.port)
        environment = dict(PEER_SETTINGS)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            path = f"{self.directory}/notify"
            notify.bind(path)
            if self.program.notifies:
                environment["NOTIFY_SOCKET"] = path
            with open(f"{self.directory}/output", "wb") as output:
                began = time.monotonic()
                self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                                env=environment, start_new_session=True,
                                                preexec_fn=self.cgroup.join if self.cgroup else None)
            self.wait_ready(notify, began)

    def wait_ready(self, notify, began):
        deadline = time.monotonic() + READY_SECONDS
        if self.program.notifies:
            self.wait_notified(notify, deadline)
            self.ready_seconds = time.monotonic() - began
        while True:
            try:
                self.probe()
                return
            except OSError as error:
                if self.program.notifies or time.monotonic() > deadline or self.process.poll() is not None:
                    raise self.error(f"does not answer ({error})") from error
            except ValueError as error:
                raise self.error(f"answers wrongly: {error}") from error
            time.sleep(0.002)

    def probe(self):
        program = self.program
        if program.script:
            self.answer_size = load.probe_fastcgi(self.address, program.script)
        elif program.probes:
            self.answer_size = load.probe(self.address, program.http, program.messages)

    def wait_notified(self, notify, deadline):
        notify.settimeout(0.1)
        while time.monotonic() < deadline:
            try:
                if b"READY=1" in notify.recv(4096).split(b"\n"):
                    return
            except TimeoutError:
                if self.process.poll() is not None:
                    break
        raise self.error("has not become ready")

    def error(self, what):
        state = self.process.poll()
        output = Path(self.directory, "output").read_text(errors="replace").strip()
        for log in Path(self.directory).glob("error.log"):
            output += log.read_text(errors="replace").strip()
        return ServerError(f"{self.program.name} {what}" + (f"; it ended with {state}" if state is not None else "") +
                           (f"; it said: {output[-600:]}" if output else ""))

    def workers(self):
        return self.program.worker_pids(self.process.pid)

    def wait_workers(self):
        """Waits until all workers are there, and returns their pids."""
        deadline = time.monotonic() + READY_SECONDS
        wanted = self.program.workers if self.program.has_master else 1
        while len(self.workers()) < wanted:
            if time.monotonic() > deadline:
                raise self.error(f"has {len(self.workers())} workers, not {wanted}")
            time.sleep(0.005)
        return self.workers()

    def cpu_us(self):
        return self.cgroup.usage_us() if self.cgroup else None

    def check_alive(self):
        if self.process.poll() is not None:
            raise self.error("has died")

    def end(self):
        if self.process and self.process.poll() is None:
            machine.kill_quietly(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.end_family()
                self.process.wait()
        if self.cgroup:
            self.cgroup.remove()
        if self.directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    def end_family(self):
        """Without a control group the children die with a master that is killed only if they asked for that."""
        children = machine.children_of(self.process.pid)
        self.process.kill()
        for pid in children:
            machine.kill_quietly(pid)
