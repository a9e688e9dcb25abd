# SPDX-License-Identifier: MIT
"""Recycling: workers that have reached a limit are replaced, and nobody notices."""
import json
import signal
import threading
import time

import pytest
from brood import (DEADLINE_S, IS_ROOT, RELOAD_GOOD, SANITIZED, Storm, connect, echo_once, echo_pool, kill, receive, receive_all, wait_for)
from test_http import Client
from test_module import MODULES, module_pool
from test_program import PYTHON, program_pool, steps
from test_storm import assert_nothing_lost
from test_upgrade import replaceable, upgrade

DEBUG = "log_level = debug\n"
CONNECTIONS = 5000 if SANITIZED else 100000


def status(one):
    """The master's answer, which is all of one moment: what it says of its pools, by their names."""
    with connect(f"unix:{one.control}") as client:
        client.sendall(b"status\n")
        answers = [json.loads(line) for line in receive_all(client).splitlines()]
    return {answer["name"]: answer for answer in answers if answer["type"] == "pool"}


def recycled(one, reason=None):
    return [row for row in one.log("died", kind="recycled") if reason in (None, row["reason"])]


class Watch:
    """Looks at a pool's status all the time: how few workers were ready, and how many there were."""

    def __init__(self, one, pool="echo"):
        self.one = one
        self.pool = pool
        self.looks = []
        self.error = None
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        try:
            while not self.over.wait(0.001):
                row = status(self.one)[self.pool]
                self.looks.append((row["ready"], row["ready"] + row["starting"], row["leaving"]))
        except (OSError, KeyError, ValueError) as error:
            self.error = error

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, failed, *unused):
        """A busy machine may have had no time to look."""
        try:
            if failed is None:
                wait_for(lambda: len(self.looks) > 20 or self.error, "looks at the pool")
        finally:
            self.over.set()
            self.thread.join(DEADLINE_S)

    def assert_never_short(self, size):
        assert self.error is None, repr(self.error)
        assert min(ready for ready, _, _ in self.looks) >= size
        # One more than the size, and one that leaves.
        assert max(there for _, there, _ in self.looks) <= size + 1
        assert max(leaving for _, _, leaving in self.looks) <= 1


@pytest.mark.parametrize("kind", ["tcp", "unix", "several"])
def test_no_connection_is_lost_to_recycling(brood, directory, kind):
    """100,000 connections to workers that are replaced, one after the other, as soon as each has served ten of them."""
    connections = CONNECTIONS if kind == "tcp" else CONNECTIONS // 5
    listen = {"tcp": "127.0.0.1:0", "unix": f"unix:{directory}/echo", "several": ["127.0.0.1:0", "127.0.0.1:0"]}[kind]
    one = brood(echo_pool(listen=listen, workers=4, extra="max_requests = 10", echo="messages = 1")).start()
    one.wait_workers(4)
    with Watch(one) as watch, Storm(one.addresses()[0], "-t", 16, "-n", connections) as storm:
        counts = storm.wait_started().wait(300)
    assert_nothing_lost(counts)
    assert counts["ok"] == connections and counts["refused"] == 0, counts
    watch.assert_never_short(4)
    pool = status(one)["echo"]
    assert pool["recycled"] == pool["recycled_requests"] >= (3 if SANITIZED else connections / 500), pool
    assert pool["exited"] == pool["signaled"] == pool["killed"] == 0


def test_no_request_of_kept_connections_is_cut(brood, directory):
    """A worker that is recycled says so in an answer, and the client comes again."""
    (directory / "page").write_bytes(b"x" * 1000)
    one = brood(f"""
pool "web" {{
	listen = {{"127.0.0.1:0"}}
	handler = "http"
	workers = 2
	max_requests = 10
	http {{ root = "{directory}" }}
}}
""").start()
    closed, lost = [], []

    def visit():
        for _ in range(10 if SANITIZED else 50):
            with Client(one.address()) as client:
                fields = {}
                while fields.get("connection") != "close":
                    try:
                        found = client.ask("GET", "/page")
                    except (EOFError, OSError) as error:
                        lost.append(error)
                        return
                    fields = found.fields
                    assert (found.status, found.body) == (200, b"x" * 1000)
                closed.append(fields)
    visitors = [threading.Thread(target=visit) for _ in range(2)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join(DEADLINE_S)
    assert not lost
    assert len(closed) == 2 * (10 if SANITIZED else 50)
    wait_for(lambda: status(one)["web"]["recycled_requests"] >= len(closed) / 2, "workers that were recycled")


def test_a_worker_leaves_at_its_own_limit(brood):
    """The jitter spreads what each may serve; one after the other, hardly one serves more."""
    one = brood(DEBUG + echo_pool(workers=1, extra="max_requests = 100\njitter = 50", echo="messages = 1")).start()
    one.wait_workers(1)
    for _ in range(1500):
        assert echo_once(one.address()) == b"hello"
    rows = wait_for(lambda: len(recycled(one)) >= 12 and recycled(one), "twelve that were recycled")
    reached = [row["worn_requests"] for row in rows]
    assert min(reached) >= 50 and len(set(reached)) >= 4, reached
    assert {row["reason"] for row in rows} == {"max_requests"}
    assert {row["next"] for row in rows} == {"replaced before"}
    assert {row["requests"] >= row["worn_requests"] for row in rows} == {True}


def test_a_worker_leaves_at_its_age(brood):
    one = brood(DEBUG + echo_pool(workers=4, extra="max_age = 400ms\njitter = 50")).start()
    first = set(one.wait_workers(4))
    with Watch(one) as watch:
        wait_for(lambda: len(recycled(one, "max_age")) >= 12, "workers of an age")
        assert echo_once(one.address()) == b"hello"
    watch.assert_never_short(4)
    rows = recycled(one)
    assert first <= {row["pid"] for row in rows}
    assert all(row["worn_age_ms"] >= 200 for row in rows)
    assert len({row["worn_age_ms"] for row in rows}) > 3


def test_a_connection_outlasts_any_limit(brood):
    """A client who stays is served by the worker that he has, however long; the pool goes on without it."""
    one = brood("max_workers = 2\n" + DEBUG + echo_pool(workers=2, extra="max_age = 300ms\nidle_timeout = 60s\n"
                                                        "stop_timeout = 200ms"), expect=["worker died"]).start()
    one.wait_workers(2)
    with connect(one.address()) as client:
        client.sendall(b"a")
        assert client.recv(1) == b"a"
        pid, = (slot["pid"] for slot in one.slots("echo") if slot["state"] in ("busy", "waiting"))
        wait_for(lambda: one.log("told to end", pid=pid), "the end of its worker")
        wait_for(lambda: status(one)["echo"]["ready"] == 2 and echo_once(one.address()) == b"hello", "two others")
        # It takes no place from others, although there are max_workers.
        other = next(slot["pid"] for slot in one.slots("echo") if slot["pid"] != pid and slot["state"] == "idle")
        kill(other, signal.SIGKILL)
        wait_for(lambda: one.log("died", pid=other), "a death")
        wait_for(lambda: status(one)["echo"]["ready"] == 2, "another one")
        time.sleep(1)  # several times the stop_timeout
        client.sendall(b"b")
        assert client.recv(1) == b"b"
    wait_for(lambda: [row for row in recycled(one) if row["pid"] == pid], "it leaves once its client has")


def test_programs_are_recycled_by_age(brood):
    one = brood(DEBUG + steps("wait", workers=2, extra="ready_after = 50ms\nmax_age = 500ms")).start()
    with Watch(one, "app") as watch:
        rows = wait_for(lambda: len(recycled(one, "max_age")) >= 6 and recycled(one), "programs of an age")
    watch.assert_never_short(2)
    assert {row["next"] for row in rows} == {"replaced before"}
    assert status(one)["app"]["recycled_age"] >= 6


# As it may be, where a test is in a hurry.
SOON = "beyond max_memory soon after its start"


def leak(one):
    """Eight megabytes of a worker's, whoever it is."""
    with connect(one.address()) as client:
        client.sendall(b"leak\n")
        return receive(client, 5) == b"leak\n"


def test_a_module_that_leaks(brood):
    limit = 400 << 20 if SANITIZED else 60 << 20
    one = brood(module_pool(MODULES / "trouble.so", workers=2, extra=f"max_memory = {limit}"), expect=[SOON]).start()
    first = set(one.wait_workers(2))
    with Watch(one, "m") as watch:
        wait_for(lambda: leak(one) and len(recycled(one, "max_memory")) >= 2, "workers that were recycled")
    watch.assert_never_short(2)
    rows = recycled(one)
    assert all(row["worn_memory"] > limit * 9 // 10 for row in rows)
    assert {row["pid"] for row in rows} & first
    assert status(one)["m"]["recycled_memory"] == len(recycled(one))


GROWS = "import time\nkept = []\nwhile True:\n    kept.append(b'x' * (1 << 22))\n    time.sleep(0.05)\n"
SHARES = """
import os, time
kept = b"x" * (96 << 20)
for _ in range(3):
    if os.fork() == 0:
        break
time.sleep(1000)
"""


def test_a_program_that_grows(brood):
    one = brood(program_pool([PYTHON, "-c", GROWS], extra="ready_after = 50ms\nmax_memory = 200M"),
                expect=[SOON]).start()
    wait_for(lambda: len(recycled(one, "max_memory")) >= 2, "programs that were recycled")
    assert status(one)["app"]["ready"] == 1


def test_memory_is_measured_as_configured(brood):
    """A program that shares what it has with its children is beyond a limit by its RSS, and within it by its PSS."""
    pool = "ready_after = 2s\nmax_memory = 64M\njitter = 0\nmemory_measure = {}"
    one = brood(program_pool([PYTHON, "-c", SHARES], "rss", extra=pool.format("rss")) +
                program_pool([PYTHON, "-c", SHARES], "pss", extra=pool.format("pss")),
                expect=[SOON]).start()
    wait_for(lambda: len(recycled(one)) >= 2, "programs that were recycled")
    assert {row["pool"] for row in recycled(one)} == {"rss"}
    # It can never hold, and it was said once.
    assert len(one.log(SOON, pool="rss")) == 1
    assert status(one)["pss"]["recycled"] == 0


# Each lets look at a process of another user.
RIGHTS = "-sys_ptrace,-sys_admin,-perfmon"


@pytest.mark.skipif(not IS_ROOT, reason="to lose a right, one has to have it")
def test_memory_that_may_not_be_read(brood):
    one = brood(echo_pool(workers=2, extra="user = 65534\nmax_memory = 1M\nmemory_measure = pss"),
                expect=["cannot read how much memory"])
    command = one.command()
    one.command = lambda: ["/usr/bin/setpriv", f"--inh-caps={RIGHTS}", f"--bounding-set={RIGHTS}", *command]
    one.start()
    wait_for(lambda: one.log("cannot read how much memory"), "a warning")
    time.sleep(6)  # another round
    rows = one.log("cannot read how much memory")
    assert [(row["pool"], row["measure"]) for row in rows] == [("echo", "pss")]
    assert status(one)["echo"]["recycled"] == 0


def test_a_replacement_that_does_not_start_retires_nobody(brood, directory):
    mark = directory / "fail"
    script = f"test -e {mark} && exit 1; exec sleep 1000"
    one = brood(DEBUG + program_pool(["/bin/sh", "-c", script], workers=2,
                                     extra="ready_after = 50ms\nmax_age = 5s\njitter = 0\nbackoff_max = 200ms"),
                expect=["died"]).start()
    mark.write_text("")
    wait_for(lambda: len(one.log("died", kind="exited")) >= 4, "replacements that fail")
    pool = status(one)["app"]
    assert (pool["ready"], pool["recycled"]) == (2, 0)
    mark.unlink()
    wait_for(lambda: len(recycled(one, "max_age")) >= 2, "those that could not leave")


def test_a_canary_that_has_served_enough_before_the_commit(brood, directory):
    """It serves while a listener that leaves is drained; once it is the pool's own, its limit counts."""
    kept, dropped = f"unix:{directory}/kept", f"unix:{directory}/dropped"
    extra = "max_requests = 3\njitter = 0\nidle_timeout = 60s"
    one = brood(DEBUG + echo_pool(listen=[kept, dropped], workers=1, extra=extra, echo="messages = 1")).start()
    one.wait_workers(1)
    with connect(dropped) as held, connect(dropped) as queued:
        wait_for(lambda: [slot for slot in one.slots("echo") if slot["state"] == "waiting"], "a busy worker")
        queued.sendall(b"later")
        one.write_config(DEBUG + echo_pool(listen=kept, workers=1, extra=extra, echo="messages = 1"))
        one.kill(signal.SIGHUP)
        for _ in range(3):
            assert echo_once(kept) == b"hello"
        assert not one.log(RELOAD_GOOD) and not recycled(one)
        held.close()
        assert receive(queued, 5) == b"later"
    wait_for(lambda: one.log(RELOAD_GOOD), "the commit")
    rows = wait_for(lambda: recycled(one, "max_requests"), "the canary's end")
    assert rows[0]["worn_requests"] == 3


@pytest.mark.parametrize("change", ["reload", "upgrade"])
def test_nothing_is_lost_to_changes_while_workers_are_recycled(brood, change):
    config = echo_pool(workers=4, extra="max_requests = 10", echo="messages = 1")
    one = replaceable(brood, config).start()
    one.wait_workers(4)
    with Storm(one.address(), "-t", 8) as storm:
        storm.wait_started()
        before = 0
        for _ in range(3):
            wait_for(lambda n=before: status(one)["echo"]["recycled_requests"] > n, "more that were recycled")
            if change == "reload":
                one.reload(config)
            else:
                upgrade(one)
            before = status(one)["echo"]["recycled_requests"]
            assert before > 0
        counts = storm.stop()
    assert_nothing_lost(counts)
    assert counts["refused"] == 0
