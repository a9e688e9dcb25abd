# SPDX-License-Identifier: MIT
"""--daemonize and the pid file."""
import contextlib
import fcntl
import os
import signal
import struct
import subprocess

import pytest
from brood import (BINARY, Brood, DEADLINE_S, echo_once, echo_pool, proc_alive, proc_children, proc_fds, proc_stat,
                   proc_status, proc_title, wait_for)


class Detached(Brood):
    """A Brood whose starter exits; the master becomes this process's child, which is the subreaper."""

    def __init__(self, directory, config, **options):
        options.setdefault("args", [])
        options["expect"] = ["ending all workers", *options.get("expect", [])]
        self.pidfile = directory / "brood.pid"
        log = directory / "log"
        options["args"] = ["-d", "-p", str(self.pidfile), "-L", str(log), *options["args"]]
        super().__init__(directory, config, **options)
        self.starter_output = directory / "starter"

    def start_detached(self):
        with open(self.starter_output, "wb") as output:
            starter = subprocess.run(self.command(), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                     cwd=self.directory, env=self._environment(), timeout=DEADLINE_S, check=False)
        self.starter_status = starter.returncode
        if starter.returncode == 0:
            self.pid = int(self.pidfile.read_text())
            Brood.started.append(self)
            self.note_processes()
        return starter.returncode

    def is_running(self):
        return proc_alive(self.pid)

    def stop_detached(self, number=signal.SIGTERM):
        self.note_processes()
        os.kill(self.pid, number)
        wait_for(lambda: not self.is_running(), "the master's end")
        # The subreaper that this process is gets the status.
        with contextlib.suppress(ChildProcessError):
            return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return None


@pytest.fixture
def detached(directory):
    made = []

    def make(config, **options):
        home = directory / f"detached-{len(made)}"
        home.mkdir()
        made.append(Detached(home, config, **options))
        return made[-1]
    yield make
    for one in made:
        if one.pid and one.is_running():
            one.stop_detached(signal.SIGQUIT)
        left = [pid for pid in one.known if proc_alive(pid)]
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        one.notify.close()
        assert not left
        assert not one.unexpected(), one.unexpected()


def test_parent_exits_when_pools_are_ready(detached):
    one = detached(echo_pool(workers=3))
    assert one.start_detached() == 0
    assert one.starter_output.read_text() == ""
    # Ready means ready: no waiting here.
    states = [slot["state"] for slot in one.board()["slots"] if slot["pid"]]
    assert states.count("idle") == 3
    assert echo_once(one.address()) == b"hello"
    assert one.stop_detached() == 0
    assert not one.pidfile.exists()


def test_detached_master_has_no_ties(detached):
    one = detached(echo_pool())
    assert one.start_detached() == 0
    fields = proc_stat(one.pid)
    assert int(fields[3]) != os.getsid(0), "it is in the session of the terminal"
    assert int(fields[3]) != one.pid, "a session leader could get a terminal"
    assert int(fields[4]) == 0, "it has a terminal"
    for number in (0, 1, 2):
        assert proc_fds(one.pid)[number] == "/dev/null"
    assert os.readlink(f"/proc/{one.pid}/cwd") == "/"
    assert proc_title(one.pid).startswith("brood: master ")


def test_pid_file(detached):
    one = detached(echo_pool())
    assert one.start_detached() == 0
    assert one.pidfile.read_text() == f"{one.pid}\n"
    assert one.pidfile.stat().st_mode & 0o022 == 0
    assert [p.name for p in one.directory.iterdir() if p.name.startswith("brood.pid")] == ["brood.pid"]
    with open(one.pidfile, "r+", encoding="ascii") as file:
        with pytest.raises(OSError):
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The holder of the lock is the master itself.
        query = struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0)
        holder = struct.unpack("hhqqi4x", fcntl.fcntl(file, fcntl.F_GETLK, query))[4]
        assert holder == one.pid
    one.stop_detached()
    assert not one.pidfile.exists()


def test_second_start_is_refused(detached, brood):
    one = detached(echo_pool())
    assert one.start_detached() == 0
    before = one.pidfile.read_text()
    second = brood(echo_pool(), args=["-p", str(one.pidfile)], status=None, expect=[".*"])
    second.status = second.spawn().wait()
    assert second.status not in (0, 64, 69, 78)
    assert str(one.pidfile) in second.log_text() and str(one.pid) in second.log_text()
    assert one.pidfile.read_text() == before
    assert echo_once(one.address()) == b"hello"


def test_second_detached_start_tells_its_parent(detached, directory):
    one = detached(echo_pool())
    assert one.start_detached() == 0
    result = subprocess.run([BINARY, "-c", one.config_path, "-d", "-p", one.pidfile, "-L", directory / "other.log"],
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            timeout=60, check=False)
    assert result.returncode not in (0, 64, 69, 78)
    assert str(one.pidfile) in result.stdout


def test_stale_pid_file_is_replaced(detached):
    one = detached(echo_pool())
    one.pidfile.write_text("1\n")
    assert one.start_detached() == 0
    assert one.pidfile.read_text() == f"{one.pid}\n"


def test_pid_file_that_belongs_to_another_by_now_is_not_removed(detached):
    one = detached(echo_pool())
    assert one.start_detached() == 0
    one.pidfile.unlink()
    one.pidfile.write_text("another's\n")
    one.stop_detached()
    assert one.pidfile.read_text() == "another's\n"


def test_pid_file_of_the_configuration_in_the_foreground(brood, directory):
    path = directory / "conf.pid"
    one = brood(f'pidfile = "{path}"\n' + echo_pool()).start()
    assert path.read_text() == f"{one.pid}\n"
    one.stop()
    assert not path.exists()


def test_pid_file_in_a_missing_directory(brood, directory):
    path = directory / "absent" / "brood.pid"
    one = brood(echo_pool(), args=["-p", str(path)], status=None, expect=[".*"])
    one.status = one.spawn().wait()
    assert one.status in (71, 77, 78)
    assert str(path) in one.log_text()


@pytest.mark.parametrize("what, status", [("address", 69), ("configuration", 78), ("directory", 78)])
def test_parents_status_tells_why_the_start_failed(detached, what, status):
    import socket
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = "127.0.0.1:%d" % other.getsockname()[1]
        config = {"address": echo_pool(listen=taken), "configuration": echo_pool(extra="colour = red"),
                  "directory": echo_pool()}[what]
        one = detached(config, expect=[".*"])
        if what == "directory":
            one.args[one.args.index("-L") + 1] = "/no/such/directory/log"
        assert one.start_detached() == status, one.starter_output.read_text()
    assert one.starter_output.read_text(), "the reason reaches the terminal"
    assert not one.pidfile.exists()


def test_signals_end_a_detached_master(detached):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
        one = detached(echo_pool(), expect=["ending all workers"])
        assert one.start_detached() == 0
        assert one.stop_detached(number) == 0
        assert not one.pidfile.exists()


def test_workers_of_a_detached_master(detached):
    one = detached(echo_pool(workers=2))
    assert one.start_detached() == 0
    for pid in one.wait_workers(2):
        assert proc_fds(pid)[0] == "/dev/null"
        assert proc_status(pid)["PPid"] == str(one.pid)
    assert not [pid for pid in proc_children(os.getpid()) if proc_title(pid) == "brood: echo"]
