# SPDX-License-Identifier: MIT
"""What clients lose while workers are killed and the pool is changed: the short form of tests/bench/loss.py, one run for
each kind of handler and way to use connections. And the client itself: it must see what is lost."""
import contextlib
import json
import pathlib
import random
import re
import socket
import subprocess
import sys
import threading

import pytest
from brood import BINARY, BUILD, SANITIZED, TOP
from systemd import why_not

sys.path.insert(0, str(TOP / "tests/bench"))

from benchlib import loss, loss_systemd  # noqa: E402
from benchlib.server import Server  # noqa: E402

PROGRAM = pathlib.Path(BUILD, "tests/bench/bench-loss")
pytestmark = pytest.mark.skipif(not PROGRAM.exists(), reason="wants a build with -Dbench=true")
TIMES = {"kill": 4, "resize": 1, "reload": 2, "mend": 1, "upgrade": 1}
CONNECTIONS = 1000


class Bench:
    build = BUILD

    def server(self, program):
        return OwnPort(program, 0, NoCgroups())

    def say(self, text):
        print(text)


class OwnPort(Server):
    """Listens on a port of the kernel's choice, which its log tells."""

    @property
    def address(self):
        if self.program.unix:
            return super().address
        return int(loss.wait_until(lambda: re.search(r"bench 127\.0\.0\.1:(\d+) ", loss.output_of(self)), "its port")[1])


class NoCgroups:
    def make(self):
        return None


CELLS = list(loss.brood_cells(str(BINARY), BUILD, TIMES))


@pytest.mark.parametrize("cell", CELLS, ids=[f"{c.server.split()[1]}-{c.transport}-{c.way}" for c in CELLS])
def test_nothing_is_lost_but_what_dies_with_a_worker(cell):
    outcome = loss.run_cell(Bench(), cell, CONNECTIONS, random.Random(1))
    assert outcome.result["answered"] > 100, outcome
    assert outcome.stages["kill"]["killed"] > 0, outcome
    assert [stage for stage in outcome.stages.values() if "times" not in stage] == [], "stages that were not possible"
    assert outcome.excess == 0, outcome


SANITIZED_OR = "the plain build's business" if SANITIZED else why_not()


@pytest.mark.skipif(SANITIZED_OR is not None, reason=SANITIZED_OR or "")
@pytest.mark.xdist_group("systemd")
def test_nothing_is_lost_when_a_master_under_systemd_is_killed_or_restarted():
    outcomes = list(loss_systemd.run(BUILD, {"master": 2, "reload": 1, "stop": 1}, CONNECTIONS, ["echo"], print))
    assert len(outcomes) == 6
    for outcome in outcomes:
        assert not outcome.problems, outcome
        assert outcome.stages["master"]["times"] == 2 and outcome.result["answered"] > 100, outcome
        assert outcome.excess == 0, outcome


# ---- the client sees what is lost ----

def serve(behave):
    """A server of a few connections: BEHAVE(number, connection) for each. Returns its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run():
        number = 0
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):  # where the client has left
                behave(number, connection)
            number += 1
    threading.Thread(target=run, daemon=True).start()
    return listener


def client(listener, *options):
    port = listener.getsockname()[1]
    done = subprocess.run([PROGRAM, "-p", str(port), "-r", "200", "-T", "1", *map(str, options)], stdout=subprocess.PIPE,
                          check=True, text=True, timeout=60)
    result = json.loads(done.stdout.splitlines()[-1])
    result["kinds"] = {name: count for name, count in result["failures"].items() if count}
    assert result["failed"] == sum(result["kinds"].values())
    assert len(result["first"]) == result["failed"]
    return result


def echo(connection):
    message = connection.recv(128, socket.MSG_WAITALL)
    connection.sendall(message)
    return len(message)


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def behave_reset(number, connection):
    connection.recv(128, socket.MSG_WAITALL)
    if number == 1:
        reset(connection)
    else:
        connection.sendall(b"x" * 127 + b"\n")


def behave_short(number, connection):
    connection.recv(128, socket.MSG_WAITALL)
    connection.sendall((b"x" * 127 + b"\n")[:50 if number == 1 else 128])


def behave_wrong(number, connection):
    connection.recv(128, socket.MSG_WAITALL)
    connection.sendall((b"y" if number == 1 else b"x") * 127 + b"\n")


def behave_silent(number, connection):
    if number == 3:
        connection.recv(128, socket.MSG_WAITALL)
        connection.recv(1)  # until the client gives up
    else:
        echo(connection)


@pytest.mark.parametrize("behave, kind", [(behave_reset, "reset"), (behave_short, "short"), (behave_wrong, "wrong"),
                                          (behave_silent, "timeout")])
def test_a_failure_is_counted_by_its_kind(behave, kind):
    with serve(behave) as listener:
        result = client(listener, "-n", 4)
    assert result["kinds"] == {kind: 1}, result
    assert (result["begun"], result["answered"]) == (4, 3)


def test_nobody_listens():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        result = client(bound, "-n", 3)
    assert result["kinds"] == {"refused": 3} and result["answered"] == 0


def test_an_idle_connection_that_is_closed_is_counted_apart():
    """One kept connection, ten requests a second: closed after each answer, long before the next request."""
    with serve(lambda number, connection: echo(connection)) as listener:
        result = client(listener, "-n", 3, "-k", 1, "-r", 10)
    assert result["kinds"] == {} and result["answered"] == 3
    assert result["connections"] == 3 and result["idle_closed"] >= 2


def test_a_request_that_meets_the_end_of_its_connection_is_a_failure():
    def behave(_number, connection):
        echo(connection)
        connection.recv(128, socket.MSG_WAITALL)
    with serve(behave) as listener:
        result = client(listener, "-n", 2, "-k", 1)
    assert result["kinds"] == {"met_close": 1} and result["answered"] == 1
    assert result["idle_closed"] == 0


def test_http_answers_are_read_to_their_announced_end():
    def behave(_number, connection):
        for last in (False, True):
            connection.recv(128, socket.MSG_WAITALL)
            head = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + ("Connection: close\r\n" if last else "") + "\r\n"
            connection.sendall(head.encode())
            connection.sendall(b"hello")
    with serve(behave) as listener:
        result = client(listener, "-n", 4, "-k", 1, "-g", "/x", "-e", 5)
        assert result["kinds"] == {} and result["answered"] == 4
        assert (result["connections"], result["announced"], result["idle_closed"]) == (2, 2, 0)
        assert client(listener, "-n", 2, "-k", 1, "-g", "/x", "-e", 6)["kinds"] == {"wrong": 2}


def test_counts_are_told_while_it_runs():
    with serve(lambda _number, connection: echo(connection)) as listener:
        running = loss.Client(loss.client_command(str(PROGRAM), listener.getsockname()[1], rate=100, http=False, keep=False))
        try:
            before = running.look()
            after = loss.wait_until(lambda: (now := running.look())["answered"] > before["answered"] and now, "an answer")
            assert not before["final"] and not after["final"]
            assert running.stop()["final"]
        finally:
            running.end()
