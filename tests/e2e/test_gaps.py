# SPDX-License-Identifier: MIT
"""Gaps in the master's loop, as after a machine was suspended: all deadlines move by the gap, and hold after it."""
import signal
import time

from brood import connect, echo_pool, kill, proc_alive, receive, wait_for
from test_module import module_pool
from test_notify import times_of
from test_overrun import OVER
from test_program import program_pool
from test_upgrade import upgrade

# What has LIMIT_S when the gap begins has at least LEFT_S of it at its end, however slow the way there was.
LIMIT_S, GAP_S, LEFT_S = 5, 6, 1.5
NOTICE = "the loop stood still"
PYTHON = "/usr/bin/python3"
# Ready at once, or never where the file exists.
STARTER = """
import os, signal, socket, sys
if not os.path.exists(sys.argv[1]):
    path = os.environ["NOTIFY_SOCKET"].replace("@", chr(0), 1)
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"READY=1", path)
signal.pause()
"""


def stand_still(one, seconds=GAP_S):
    one.kill(signal.SIGSTOP)
    time.sleep(seconds)
    one.kill(signal.SIGCONT)


def dies_in_its_time(one, pid, seconds=GAP_S):
    """After the gap PID lives for what it had left, and no longer. Returns the line of its death."""
    before = len(one.log(NOTICE))
    stand_still(one, seconds)
    went_on = time.monotonic()
    notice = one.wait_log(NOTICE, before + 1)[-1]
    assert seconds * 1000 - 20 <= notice["gap_ms"] <= (seconds + 30) * 1000
    death, = one.wait_log("worker died", pid=pid)
    assert LEFT_S < time.monotonic() - went_on < 60
    return death


def serving(one, pool, text, answer=b""):
    client = connect(one.address(pool))
    client.sendall(text)
    assert receive(client, len(answer)) == answer
    return client


def test_a_start(brood, directory):
    flag = directory / "hang"
    one = brood(program_pool([PYTHON, "-c", STARTER, flag], extra=f"ready = notify\nstart_timeout = {LIMIT_S}s"),
                expect=["worker died"]).start()
    first = one.slots("app")[0]["pid"]
    flag.touch()
    kill(first, signal.SIGKILL)
    starter = wait_for(lambda: [s["pid"] for s in one.slots("app") if s["pid"] != first], "its replacement")[0]
    assert dies_in_its_time(one, starter)["reason"] == "start_timeout"
    flag.unlink()


def test_a_retirement(brood):
    one = brood(echo_pool(workers=1, extra=f"idle_timeout = 60s\nstop_timeout = {LIMIT_S}s"),
                expect=["worker died"]).start()
    pid, = one.wait_workers(1)
    with serving(one, "echo", b"x", b"x"):
        one.reload()
        wait_for(lambda: len(one.workers("echo")) == 2, "the one that replaces it")
        assert dies_in_its_time(one, pid)["reason"] == "stop_timeout"


def test_a_stop(brood):
    one = brood(f"stop_timeout = {LIMIT_S}s\n" + echo_pool(workers=1, extra="idle_timeout = 60s"),
                expect=["worker died", "stop_timeout"]).start()
    pid, = one.wait_workers(1)
    with serving(one, "echo", b"x", b"x") as client:
        one.kill(signal.SIGTERM)
        wait_for(lambda: one.log("^stopping$"), "the stop")
        stand_still(one)
        went_on = time.monotonic()
        one.wait_log(NOTICE)
        assert proc_alive(pid)
        client.sendall(b"y")
        assert receive(client, 1) == b"y"
        one.wait()
        assert LEFT_S < time.monotonic() - went_on < 60


def test_a_warning(brood):
    one = brood(module_pool("patience", extra=f"request_timeout = 200ms\noverrun_grace = {LIMIT_S}s"),
                expect=["worker died", OVER]).start()
    pid, = one.wait_workers(1)
    with serving(one, "m", b"sleep 60000\n"):
        one.wait_log(OVER)
        death = dies_in_its_time(one, pid)
    assert death["reason"] == "request_timeout" and "SIGKILL" in death["how"]


def test_a_request(brood):
    """One that began before the gap has as much more; one that begins after it has not."""
    one = brood(module_pool("patience", extra=f"request_timeout = {LIMIT_S - 1}s\noverrun_grace = 10ms"),
                expect=["worker died", OVER]).start()
    pid, = one.wait_workers(1)
    with serving(one, "m", b"sleep 60000\n"):
        wait_for(lambda: [s for s in one.slots("m") if s["state"] == "busy"], "the request")
        death = dies_in_its_time(one, pid)
    assert death["reason"] == "request_timeout" and death["elapsed_ms"] >= (GAP_S + LIMIT_S) * 1000 - 600
    pid, = one.wait_workers(1)
    with serving(one, "m", b"sleep 60000\n"):
        death, = one.wait_log("worker died", pid=pid)
    assert LIMIT_S * 1000 <= death["elapsed_ms"] < (GAP_S + LIMIT_S) * 1000


def test_gaps_add_up(brood):
    one = brood(module_pool("patience", extra=f"request_timeout = {LIMIT_S - 1}s\noverrun_grace = 10ms"),
                expect=["worker died", OVER]).start()
    pid, = one.wait_workers(1)
    with serving(one, "m", b"sleep 60000\n"):
        wait_for(lambda: [s for s in one.slots("m") if s["state"] == "busy"], "the request")
        stand_still(one, 3)
        one.wait_log(NOTICE)
        dies_in_its_time(one, pid, 4)
    assert len(one.log(NOTICE)) == 2


def test_what_was_moved_stays_so_over_an_upgrade(brood):
    one = brood(module_pool("patience", extra=f"request_timeout = {LIMIT_S - 1}s\noverrun_grace = 10ms"),
                expect=["worker died", OVER]).start()
    pid, = one.wait_workers(1)
    with serving(one, "m", b"sleep 60000\n"):
        wait_for(lambda: [s for s in one.slots("m") if s["state"] == "busy"], "the request")
        stand_still(one)
        went_on = time.monotonic()
        one.wait_log(NOTICE)
        upgrade(one)
        death, = one.wait_log("worker died", pid=pid)
        assert LEFT_S < time.monotonic() - went_on < 60
    assert death["reason"] == "request_timeout" and death["elapsed_ms"] >= (GAP_S + LIMIT_S) * 1000 - 600


def test_the_manager_hears_at_once(brood):
    """Long before the next of the messages that it waits for would be due."""
    one = brood(echo_pool(), env={"WATCHDOG_USEC": "8000000"}).start()
    wait_for(lambda: times_of(one, "WATCHDOG=1"), "a ping")
    stand_still(one, 7)
    went_on = time.monotonic()
    count = len(times_of(one, "WATCHDOG=1"))
    wait_for(lambda: len(times_of(one, "WATCHDOG=1")) > count or one.log(NOTICE), "the ping")
    wait_for(lambda: [when for when in times_of(one, "WATCHDOG=1") if when > went_on - 1], "the ping", 2)


def test_nothing_is_said_of_a_short_pause(brood):
    one = brood(echo_pool(workers=1, extra="idle_timeout = 60s\nstop_timeout = 60s")).start()
    with serving(one, "echo", b"x", b"x"):
        one.reload()
        for _ in range(5):
            stand_still(one, 0.1)
            time.sleep(0.2)
    assert not one.log(NOTICE)
