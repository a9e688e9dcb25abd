# SPDX-License-Identifier: MIT
"""The log of a worker's death, and what follows one: replaced at once, or held back."""
import os
import signal
import time

import pytest
from brood import connect, echo_once, echo_pool, kill, proc_alive, receive, wait_for


def serving(one):
    """A client, and the worker that serves it."""
    client = connect(one.address())
    client.sendall(b"one")
    assert receive(client, 3) == b"one"
    peer = "%s:%d" % client.getsockname()
    slot = wait_for(lambda: [s for s in one.slots("echo") if s["peer"] == peer], f"the slot of {peer}")[0]
    return client, slot["pid"], peer


def one_death(one, pid):
    wait_for(lambda: one.log("died", pid=pid), f"the death of {pid}")
    rows = one.log("died", pid=pid)
    assert len(rows) == 1, rows
    return rows[0]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS],
                         ids=lambda n: n.name)
def test_death_by_signal_names_everything(brood, number):
    one = brood(echo_pool(extra="idle_timeout = 60s"), expect=["died"]).start()
    assert echo_once(one.address()) == b"hello"
    one.wait_workers(2)  # the connection is over: the pool has proven that it works
    client, pid, peer = serving(one)
    kill(pid, number)
    row = one_death(one, pid)
    client.close()
    text = row["line"]
    assert row["level"] in ("warning", "error")
    assert row["pool"] == "echo" and row["slot"] in (0, 1)
    assert number.name in text, "how"
    assert peer in text, "whom it was serving"
    assert any("age" in name for name in row), row
    assert any("served" in name or "requests" in name for name in row), row
    assert row["next"] == "replaced", "what follows"
    assert pid not in one.wait_workers(2)


def test_an_idle_worker_was_serving_nobody(brood):
    one = brood(echo_pool(workers=1), expect=["died"]).start()
    assert echo_once(one.address()) == b"hello"
    pid, = one.wait_workers(1)
    kill(pid, signal.SIGKILL)
    assert "127.0.0.1:" not in one_death(one, pid)["line"]


def test_age_and_requests_are_counted(brood):
    one = brood(echo_pool(workers=1, echo="messages = 1"), expect=["died"]).start()
    pid, = one.wait_workers(1)
    for _ in range(7):
        assert echo_once(one.address()) == b"hello"
    time.sleep(1.1)  # an age that is not zero
    one.wait_workers(1)
    kill(pid, signal.SIGKILL)
    row = one_death(one, pid)
    assert row["requests"] == 7, row
    age_ms = row["age_ms"]
    assert 1000 <= age_ms < 120000, row


def test_replacement_is_immediate(brood):
    one = brood(echo_pool(workers=1, extra="backoff_min = 30s\n\tbackoff_max = 30s", echo="messages = 1"),
                expect=["died"]).start()
    assert echo_once(one.address()) == b"hello"
    for _ in range(5):
        pid, = one.wait_workers(1)
        kill(pid, signal.SIGKILL)
        wait_for(lambda p=pid: not proc_alive(p), "its end")
        begin = time.monotonic()
        one.wait_workers(1)
        assert echo_once(one.address()) == b"hello"
        assert time.monotonic() - begin < 15, "a pool that has proven healthy is not held back"


def test_a_pool_that_has_never_served_backs_off(brood):
    """Deaths before anything was served: each start waits longer than the one before, and the log says how long."""
    one = brood(echo_pool(workers=1, extra="backoff_min = 50ms\n\tbackoff_max = 400ms"), expect=["died"]).start()
    waits = []
    for _ in range(6):
        pid, = one.wait_workers(1)
        died = time.monotonic()
        kill(pid, signal.SIGKILL)
        row = one_death(one, pid)
        one.wait_workers(1)
        assert row["next"].startswith("retry in "), row
        waits.append(int(row["next"].split()[2]))
        assert (time.monotonic() - died) * 1000 >= waits[-1] - 5, "started before its time"
    assert waits == sorted(waits) and waits[0] <= 50 and waits[-1] >= 300 and max(waits) <= 400, waits


def test_slot_is_taken_over_by_the_replacement(brood):
    one = brood(echo_pool(workers=3), expect=["died"]).start()
    one.wait_workers(3)
    before = {slot["pool_slot"]: slot["pid"] for slot in one.slots("echo")}
    kill(before[1], signal.SIGKILL)
    wait_for(lambda: before[1] not in one.children(), "its end")
    one.wait_workers(3)
    after = {slot["pool_slot"]: slot["pid"] for slot in one.slots("echo")}
    assert after.keys() == before.keys()
    assert after[0] == before[0] and after[2] == before[2] and after[1] != before[1]


def test_retired_worker_is_no_warning(brood):
    one = brood(echo_pool(workers=2)).start()
    assert echo_once(one.address()) == b"hello"
    pid = one.wait_workers(2)[0]
    os.kill(pid, signal.SIGURG)
    wait_for(lambda: not proc_alive(pid), "its end")
    one.wait_workers(2)
    assert not [row for row in one.log() if row["level"] in ("warning", "error")]


def test_workers_killed_by_the_master_say_why(brood):
    one = brood("stop_timeout = 500ms\n" + echo_pool(extra="idle_timeout = 600s"), expect=["died", "stop"]).start()
    client, pid, peer = serving(one)
    os.kill(pid, signal.SIGSTOP)
    assert one.stop() == 0
    client.close()
    row = one.log("died", pid=pid)[0]
    assert "stop_timeout" in row["line"] or "stop timeout" in row["line"], row
    assert peer in row["line"]


def test_request_timeout_ends_a_worker_that_hangs(brood):
    """The handler cannot end it by itself, as it does not run: the master does."""
    one = brood(echo_pool(workers=1, extra="request_timeout = 300ms\n\tread_timeout = 60s", echo="framing = line"),
                expect=["died", "over request_timeout"]).start()
    with connect(one.address()) as client:
        peer = "%s:%d" % client.getsockname()[:2]
        client.sendall(b"half a li")
        pid = wait_for(lambda: [s["pid"] for s in one.slots("echo") if s["state"] == "busy"], "a busy worker")[0]
        os.kill(pid, signal.SIGSTOP)
        wait_for(lambda: pid not in one.children(), "its end")
    row = one_death(one, pid)
    assert row["kind"] == "killed" and row["reason"] == "request_timeout" and "SIGKILL" in row["how"]
    assert row["serving"] == peer
    assert 300 + 1000 + 1000 <= row["elapsed_ms"] < 60000
    warned, = one.log("a request is over request_timeout", signal="SIGTERM")
    assert warned["pid"] == pid and warned["serving"] == peer and 1300 <= warned["elapsed_ms"] < row["elapsed_ms"]
    one.wait_workers(1)
