# SPDX-License-Identifier: MIT
"""Pools that fail: when a start is given up, what healthy means, and that nobody has to do anything for a recovery."""
import signal
import time

import pytest
from brood import connect, echo_once, echo_pool, kill, receive_all, wait_for

SERVE = r"""
import os, socket, sys
one = socket.fromfd(3, socket.AF_INET, socket.SOCK_STREAM)
while True:
    client, _ = one.accept()
    client.sendall(b"served")
    client.close()
"""


def script_pool(script, name="app", workers=1, extra=""):
    """A program that is a shell script; READY is within 10 ms of its life."""
    return f"""
pool "{name}" {{
	listen = "127.0.0.1:0"
	handler = program
	command = {{ "/bin/sh", "{script}" }}
	workers = {workers}
	ready_after = 300ms
	backoff_min = 20ms
	backoff_max = 100ms
	{extra}
}}
"""


def write_script(directory, *lines):
    """Each start of it leaves a line in `starts`."""
    (directory / "serve.py").write_text(SERVE)
    script = directory / "script"
    script.write_text("\n".join([f"echo $$ >> {directory}/starts", *lines,
                                 f"exec /usr/bin/python3 {directory}/serve.py"]) + "\n")
    return script


def starts(directory):
    path = directory / "starts"
    return len(path.read_text().splitlines()) if path.exists() else 0


def answer(address):
    with connect(address) as client:
        return receive_all(client)


# ---- give_up_after, at the first start ----

@pytest.mark.parametrize("attempts", [1, 3, 5, 7])
def test_a_start_is_given_up_after_so_many_failures(brood, tmp_path, attempts):
    extra = "" if attempts == 5 else f"give_up_after = {attempts}"
    one = brood(script_pool(write_script(tmp_path, "exit 3"), extra=extra) + echo_pool(), status=75,
                expect=["worker died", "cannot start the pool", "ending all"]).spawn()
    assert one.wait() == 75
    assert starts(tmp_path) == attempts
    row, = one.log("cannot start the pool")
    assert (row["pool"], row["failures"]) == ("app", attempts)


def test_a_start_that_fails_at_first_may_succeed_yet(brood, tmp_path):
    script = write_script(tmp_path, f"test $(wc -l < {tmp_path}/starts) -gt 4 || exit 3")
    one = brood(script_pool(script), expect=["worker died"]).start()
    assert answer(one.address("app")) == b"served"
    assert starts(tmp_path) == 5


def test_a_pool_that_is_never_given_up_keeps_nobody_waiting(brood, tmp_path):
    """The daemon is ready without it, serves with the others, and the pool comes when it can."""
    script = write_script(tmp_path, f"test -e {tmp_path}/mended || exit 3")
    one = brood(script_pool(script, extra="give_up_after = off") + echo_pool(), expect=["worker died"]).start()
    assert echo_once(one.address("echo")) == b"hello"
    wait_for(lambda: starts(tmp_path) >= 12, "it is tried on and on")
    (tmp_path / "mended").write_text("")
    assert answer(one.address("app")) == b"served"


# ---- healthy_after ----

def test_a_worker_that_was_ready_for_long_enough_is_replaced_at_once(brood):
    """Nobody was ever served: its age alone tells."""
    one = brood(echo_pool(workers=1, extra="healthy_after = 400ms\n\tbackoff_min = 30s\n\tbackoff_max = 30s"),
                expect=["died"]).start()
    for _ in range(3):
        pid, = one.wait_workers(1)
        time.sleep(0.6)  # an age
        kill(pid, signal.SIGKILL)
        row = wait_for(lambda pid=pid: one.log("died", pid=pid), "its death")[0]
        assert row["next"] == "replaced", row


def test_failures_are_forgotten_after_a_healthy_worker(brood):
    """The wait doubles from failure to failure, and begins anew after a worker that stood for healthy_after."""
    one = brood(echo_pool(workers=1, extra="healthy_after = 2s\n\tbackoff_min = 100ms\n\tbackoff_max = 10s"),
                expect=["died"]).start()
    waits = []
    for pause in (0, 0, 0, 2.5, 0, 0):
        pid, = one.wait_workers(1)
        time.sleep(pause)
        kill(pid, signal.SIGKILL)
        waits.append(wait_for(lambda pid=pid: one.log("died", pid=pid), "its death")[0]["next"])
    # Times are rounded down, to the millisecond at which the death is seen.
    assert [text.split()[2][:2] if text != "replaced" else text for text in waits[:3]] == ["10", "20", "40"], waits
    assert waits[3] == "replaced", waits
    assert [text.split()[2][:2] for text in waits[4:]] == ["10", "20"], waits
