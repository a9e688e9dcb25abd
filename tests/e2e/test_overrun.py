# SPDX-License-Identifier: MIT
"""Requests over their time-out: warned, killed, or come back; and handlers that ask for more time."""
import time

from brood import connect, receive, receive_all, wait_for
from test_module import ask, module_pool
from test_upgrade import upgrade

OVER = "a request is over request_timeout"
BACK = "an overrun request has ended, and its worker leaves"


def patience(extra, workers=1):
    return module_pool("patience", workers=workers, extra=f"idle_timeout = 60s\n{extra}")


def start(brood, extra, **options):
    return brood(patience(extra, **options), expect=["worker died", "worker crashed", OVER]).start()


def sleep_on(one, milliseconds):
    """A client whose request takes so long. It gets no answer, since the worker's own deadline is over by then."""
    with connect(one.address()) as client:
        client.sendall(b"sleep %d\n" % milliseconds)
        try:
            assert receive_all(client) == b""
        except ConnectionResetError:
            pass


def test_the_signals_come_one_after_the_other(brood):
    one = start(brood, 'request_timeout = 200ms\noverrun_signals = {"TERM", "USR1", "HUP"}\noverrun_grace = 300ms')
    pid, = one.wait_workers(1)
    begun = time.monotonic()
    sleep_on(one, 60000)
    assert time.monotonic() - begun >= 0.2 + 1 + 3 * 0.3
    death, = one.wait_log("worker died")
    assert death["pid"] == pid and death["kind"] == "killed" and death["reason"] == "request_timeout"
    assert "SIGKILL" in death["how"] and death["next"] == "replaced before"
    rows = one.log(OVER)
    assert [row["signal"] for row in rows] == ["SIGTERM", "SIGUSR1", "SIGHUP", "SIGKILL"]
    assert all(row["serving"] == death["serving"] != "none" for row in rows)
    steps = [row["elapsed_ms"] for row in rows]
    assert steps[0] >= 1200 and all(later - sooner >= 290 for sooner, later in zip(steps, steps[1:]))
    assert ask(one.address(), b"sleep 0\n", b"\n") == "done\n"


def test_an_abort_leaves_a_core_where_that_is_wanted(brood):
    one = start(brood, 'request_timeout = 200ms\noverrun_signals = {"TERM", "ABRT"}\noverrun_grace = 300ms')
    sleep_on(one, 60000)
    death, = one.wait_log("worker died")
    assert "SIGABRT" in death["how"] and death["kind"] == "killed" and death["reason"] == "request_timeout"
    assert [row["signal"] for row in one.log(OVER)] == ["SIGTERM", "SIGABRT"]
    crashed, = one.log("worker crashed")
    assert "nanosleep" in crashed["backtrace"] and "patience.so" in crashed["backtrace"]


def test_without_a_warning_the_kill_comes_at_once(brood):
    one = start(brood, 'request_timeout = 200ms\noverrun_signals = {"KILL"}\noverrun_grace = 60s')
    sleep_on(one, 60000)
    death, = one.wait_log("worker died")
    assert "SIGKILL" in death["how"] and death["reason"] == "request_timeout" and death["elapsed_ms"] < 30000
    assert [row["signal"] for row in one.log(OVER)] == ["SIGKILL"]


def test_the_replacement_does_not_wait_for_the_end(brood):
    one = start(brood, "request_timeout = 200ms\noverrun_grace = 60s")
    with connect(one.address()) as client:
        client.sendall(b"sleep 4000\n")
        one.wait_log(OVER)
        assert ask(one.address(), b"sleep 0\n", b"\n") == "done\n"
        assert not one.log("worker died")
        try:
            receive_all(client)
        except ConnectionResetError:
            pass


def test_a_worker_that_comes_back_leaves_in_peace(brood):
    """SIGTERM has retired it already: it ends its request, and itself."""
    one = start(brood, "request_timeout = 200ms\noverrun_grace = 60s")
    pid, = one.wait_workers(1)
    sleep_on(one, 2500)
    death, = one.wait_log("worker died", pid=pid)
    assert death["kind"] == "retired" and death["reason"] == "request_timeout" and death["how"] == "exit status 0"
    assert death["level"] == "notice" and death["serving"] == "none"
    assert [row["signal"] for row in one.log(OVER)] == ["SIGTERM"]


def test_a_second_look_comes_before_the_kill(brood):
    """One that the warning says nothing to, and whose request has ended since, is asked to leave, and not killed."""
    one = start(brood, 'request_timeout = 200ms\noverrun_signals = "USR1"\noverrun_grace = 2s')
    pid, = one.wait_workers(1)
    sleep_on(one, 2200)
    back, = one.wait_log(BACK)
    assert back["pid"] == pid and "serving" not in back
    death, = one.wait_log("worker died", pid=pid)
    assert death["kind"] == "retired" and death["how"] == "exit status 0"
    assert [row["signal"] for row in one.log(OVER)] == ["SIGUSR1"]


def test_another_request_is_not_taken_for_the_one_that_was_overrun(brood):
    """At the moment of the kill the worker is in a request again, of which nobody can say that it is overrun."""
    one = start(brood, 'request_timeout = 1s\noverrun_signals = "USR1"\noverrun_grace = 2s')
    pid, = one.wait_workers(1)
    with connect(one.address()) as client:
        client.sendall(b"sleep 2500 quiet 1\n" + 2 * b"sleep 900 quiet 1\n" + b"sleep 0\n")
        assert receive(client, 5) == b"done\n"
    one.wait_log(BACK, pid=pid)
    death, = one.wait_log("worker died", pid=pid)
    assert death["kind"] == "retired" and death["requests"] == 4


def test_a_stop_does_not_wait_for_warnings(brood):
    one = brood("stop_timeout = 500ms\n" + patience("request_timeout = 200ms\noverrun_grace = 60s"),
                expect=["worker died", OVER, "stop_timeout"]).start()
    with connect(one.address()) as client:
        client.sendall(b"sleep 60000\n")
        one.wait_log(OVER)
        begun = time.monotonic()
        assert one.stop() == 0
        assert time.monotonic() - begun < 30


def test_a_time_out_that_is_switched_off_still_holds_for_who_began_by_it(brood):
    one = start(brood, "request_timeout = 1s\noverrun_grace = 300ms\nstop_timeout = 60s")
    with connect(one.address()) as client:
        client.sendall(b"sleep 60000\n")
        wait_for(lambda: [s for s in one.slots("m") if s["state"] == "busy"], "a busy worker")
        one.reload(patience("overrun_grace = 300ms\nstop_timeout = 60s"))
        death, = one.wait_log("worker died", reason="request_timeout")
    assert "SIGKILL" in death["how"]


# ---- handlers that ask for more ----

def test_a_handler_that_asks_for_time_has_it(brood):
    one = brood(patience("request_timeout = 300ms\noverrun_grace = 100ms")).start()
    pid, = one.wait_workers(1)
    assert ask(one.address(), b"extend 30000 sleep 2500\n", b"\n") == "done\n"
    # Of each request alone.
    assert ask(one.address(), b"extend 1000 extend 2000 extend 5000 sleep 2000\n", b"\n") == "done\n"
    assert one.workers("m") == [pid]


def test_what_was_asked_for_holds_and_ends(brood):
    one = start(brood, "request_timeout = 300ms\noverrun_grace = 100ms")
    begun = time.monotonic()
    with connect(one.address()) as client:
        client.sendall(b"extend 1500 sleep 60000\n")
        death, = one.wait_log("worker died")
    assert "SIGKILL" in death["how"] and death["reason"] == "request_timeout"
    assert death["elapsed_ms"] >= 1500 + 1000 + 100 and time.monotonic() - begun < 60


def test_the_extended_deadline_is_the_worker_s_too(brood):
    """It ends its own calls by it: a client that is silent within the request."""
    one = brood(patience("request_timeout = 300ms\nread_timeout = 60s")).start()
    begun = time.monotonic()
    with connect(one.address()) as client:
        client.sendall(b"sleep 0")
        assert receive_all(client) == b""
    assert 0.3 <= time.monotonic() - begun < 30


def test_a_warned_worker_that_asks_for_time_is_spared_and_leaves(brood):
    one = start(brood, "request_timeout = 200ms\noverrun_grace = 1500ms")
    pid, = one.wait_workers(1)
    assert ask(one.address(), b"sleep 2000 extend 30000 sleep 2500\n", b"\n") == "done\n"
    death, = one.wait_log("worker died", pid=pid)
    assert death["kind"] == "retired" and death["how"] == "exit status 0"
    assert [row["signal"] for row in one.log(OVER)] == ["SIGTERM"]


def test_another_image_goes_on_with_the_escalation(brood):
    one = start(brood, "request_timeout = 200ms\noverrun_grace = 3s\nstop_timeout = 60s")
    pid, = one.wait_workers(1)
    with connect(one.address()) as client:
        client.sendall(b"sleep 60000\n")
        one.wait_log(OVER)
        upgrade(one)
        death, = one.wait_log("worker died", pid=pid)
    assert "SIGKILL" in death["how"] and death["reason"] == "request_timeout"
