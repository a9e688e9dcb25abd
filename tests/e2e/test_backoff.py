# SPDX-License-Identifier: MIT
"""Pools that fail: when a start is given up, what healthy means, and that nobody has to do anything for a recovery."""
import json
import re
import resource
import shutil
import signal
import socket
import subprocess
import time

import pytest
from brood import BUILD, DEADLINE_S, IS_ROOT, NOBODY, connect, echo_once, echo_pool, kill, proc_alive, receive_all, wait_for
from test_inetd import inetd_pool
from test_module import MODULES, module_pool
from test_upgrade import replaceable, upgrade

BROODCTL = BUILD / "src/broodctl"
needs_broodctl = pytest.mark.skipif(not BROODCTL.exists(), reason="broodctl was not built (jansson)")

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
    assert (row["pool"], row["failures"], row["last"]) == ("app", attempts, "exit status 3, before ready")


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


# ---- give_up_after, on a reload ----

def reloaded(one, text):
    """What broodctl says, line by line, and whether it is good."""
    one.write_config(text)
    done = subprocess.run([BROODCTL, "-s", one.control, "reload"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=DEADLINE_S, check=False)
    return done.returncode == 0, done.stdout.splitlines(), done.stderr.strip()


@needs_broodctl
@pytest.mark.parametrize("attempts", [1, 3])
@pytest.mark.parametrize("added", [True, False])
def test_a_reload_is_refused_after_so_many_failures(brood, tmp_path, attempts, added):
    """Of a pool that was there, which serves on; and of one that is new. Who waits sees each try."""
    good = tmp_path / "good"
    good.mkdir()
    before = echo_pool() if added else echo_pool() + script_pool(write_script(good))
    one = brood(before, expect=["worker died", "reload refused", "output"]).start()
    script = write_script(tmp_path, f"echo broken $(wc -l < {tmp_path}/starts) >&2; exit 3")
    is_good, lines, reason = reloaded(one, echo_pool() + script_pool(script, extra=f"give_up_after = {attempts}"))
    assert not is_good and starts(tmp_path) == attempts
    times = "" if attempts == 1 else f", {attempts} times"
    assert f'pool "app": its first new worker failed (died{times}): exit status 3: broken {attempts}' in reason, reason
    assert [line for line in lines if "tried again" in line] == [
        f'pool "app": its first new worker failed ({i} so far), and is tried again: exit status 3: broken {i}'
        for i in range(1, attempts)]
    rows = one.wait_log("worker died", attempts, pool="app")
    assert [row["next"] for row in rows] == ["retry in 20 ms", "retry in 40 ms"][:attempts - 1] + ["not replaced"]
    assert echo_once(one.address("echo")) == b"hello"
    assert added or (answer(one.address("app")) == b"served" and not seen(one, "app")["degraded"])


@needs_broodctl
def test_a_reload_whose_worker_fails_at_first_succeeds(brood, tmp_path):
    one = brood(echo_pool(), expect=["worker died"]).start()
    script = write_script(tmp_path, f"test $(wc -l < {tmp_path}/starts) -gt 4 || exit 3")
    is_good, lines, reason = reloaded(one, echo_pool() + script_pool(script))
    assert is_good, (lines, reason)
    assert starts(tmp_path) == 5 and sum("tried again" in line for line in lines) == 4
    assert answer(listener(one, "app")) == b"served"
    assert not one.log("^pool is degraded$"), "the failures were the reload's"


@needs_broodctl
def test_a_reload_of_an_inetd_pool_is_tried_again(brood):
    """By the nursery of the configuration that is tried."""
    one = brood(inetd_pool(["/bin/echo", "old"], "app", workers=1), user=NOBODY if IS_ROOT else None,
                limits={resource.RLIMIT_NOFILE: (90, 90)},
                expect=["worker died", "reload refused", "cannot set a limit", "descriptors"]).start()
    text = inetd_pool(["/bin/echo", "new"], "app", workers=1, extra="""limits { nofile = 100 }
	give_up_after = 3
	backoff_min = 10ms""")
    is_good, lines, reason = reloaded(one, text)
    assert not is_good and "(died, 3 times): exit status 73" in reason, (lines, reason)
    assert len(one.wait_log("worker died", 3)) == 3
    assert answer(one.address()) == b"old\n"


@needs_broodctl
def test_a_reload_that_fails_slowly_has_a_verdict_in_time(brood):
    """The second pause would end later than anybody waits."""
    one = brood(echo_pool(), expect=["worker died", "reload refused"]).start()
    fails = ('pool "f" { listen = "127.0.0.1:0" handler = program command = {"/bin/false"} ready = notify '
             'backoff_min = 40s backoff_max = 40s }\n')
    begun = time.monotonic()
    assert not reloaded(one, echo_pool() + fails)[0]
    assert time.monotonic() - begun < 20 and len(one.wait_log("worker died")) == 1


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


# ---- degraded, and recovered ----

def ctl(one, *words):
    return subprocess.run([BROODCTL, "-s", one.control, *words], stdout=subprocess.PIPE, text=True, timeout=DEADLINE_S,
                          check=True).stdout


def seen(one, pool):
    """What the control socket says of it."""
    with connect(f"unix:{one.control}") as client:
        client.sendall(b"status\n")
        lines = [json.loads(line) for line in receive_all(client).splitlines()]
    row, = (line for line in lines if line["type"] == "pool" and line["name"] == pool)
    row["pools_degraded"] = lines[0]["degraded"]
    return row


def listener(one, pool):
    with connect(f"unix:{one.control}") as client:
        client.sendall(b"status\n")
        lines = [json.loads(line) for line in receive_all(client).splitlines()]
    return next(line["address"] for line in lines if line["type"] == "listener" and line["pool"] == pool)


def statuses(one):
    return [line for line in one.notify.lines() if line.startswith("STATUS=")]


def wait_degraded(one, pool, failures, last):
    """It is seen everywhere. LAST: how its workers fail."""
    row = wait_for(lambda: row if (row := seen(one, pool))["failures"] >= failures else None, f"{failures} failures")
    assert row["degraded"] and row["pools_degraded"] == 1 and row["state"] in ("backing-off", "degraded"), row
    assert re.search(last, row["last_failure"]), row
    assert 0 <= row["last_failure_ms"] <= row["degraded_ms"] + 1000, row
    wait_for(lambda: re.search(rf"{pool} \d/\d \(degraded\).*; {pool}: \d+ failures? in a row, the last: .*{last}",
                               statuses(one)[-1]), "the status for the service manager")
    begin, = one.log("^pool is degraded$")
    assert begin["pool"] == pool and begin["last"] and begin["failures"] == 1, begin
    assert begin["ready"] <= begin["wanted"] and begin["next"].startswith("retry in "), begin
    if BROODCTL.exists():
        head, pools, _ = ctl(one, "status").split("\n\n")
        assert re.search(rf"^pool {pool} is DEGRADED, for \S+: \d+ failures? in a row, the last \S+ ago: .*{last}", head,
                         re.MULTILINE), head
        assert re.search(rf"^{pool} +\S+ +(backing-off|degraded) ", pools, re.MULTILINE), pools
    assert not one.log("^pool has recovered$")
    return row


def wait_recovered(one, pool, served=False):
    """SERVED: because of a connection, after which the next worker may still be on its way."""
    end, = one.wait_log("^pool has recovered$")
    assert end["pool"] == pool and end["failures"] >= 1 and (served or end["ready"] == end["wanted"]), end
    row = wait_for(lambda: row if (row := seen(one, pool))["ready"] == row["wanted"] else None, "all its workers")
    assert (row["degraded"], row["failures"], row["retry_ms"], row["degraded_ms"]) == (False, 0, 0, 0), row
    assert row["state"] == "serving" and row["pools_degraded"] == 0 and row["last_failure"], row
    wait_for(lambda: statuses(one)[-1].endswith(f"{pool} {row['ready']}/{row['wanted']}"), "the status")
    assert len(one.log("^pool is degraded$")) == 1
    if BROODCTL.exists():
        assert "DEGRADED" not in ctl(one, "status")


QUICK = "healthy_after = 300ms\n\tbackoff_min = 20ms\n\tbackoff_max = 100ms"


def test_a_program_that_breaks_and_is_mended(brood, tmp_path):
    """Nothing is told to the daemon: the file is there, is gone, and is there again."""
    script = write_script(tmp_path)
    one = brood(script_pool(script, workers=2, extra="healthy_after = 300ms"), expect=["worker died", "output"]).start()
    assert answer(one.address()) == b"served" and not seen(one, "app")["degraded"]
    script.rename(tmp_path / "away")
    for pid in seen_pids(one, "app"):
        kill(pid, signal.SIGKILL)
    row = wait_degraded(one, "app", 4, "exit status (2|127), before ready")
    assert row["died_unready"] >= 3 and row["signaled"] == 2
    (tmp_path / "away").rename(script)
    wait_recovered(one, "app")
    assert answer(one.address()) == b"served"


def test_a_module_that_is_gone_and_comes_back(brood, tmp_path):
    module = tmp_path / "module.so"
    shutil.copy(MODULES / "options.so", module)
    text = module_pool("options", extra=QUICK).replace(str(MODULES / "options.so"), str(module))
    one = brood(text, expect=["worker died", "cannot use the module", "handler did not start"]).start()
    name = re.search(r'pool "([^"]+)"', text)[1]
    module.unlink()
    for pid in one.workers(name):
        kill(pid, signal.SIGKILL)
    wait_degraded(one, name, 3, "before ready")
    shutil.copy(MODULES / "options.so", tmp_path / "new.so")
    (tmp_path / "new.so").rename(module)
    wait_recovered(one, name)


def test_an_inetd_program_that_may_not_be_executed(brood, tmp_path):
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho served\n")
    program.chmod(0o755)
    one = brood(inetd_pool([program], "app", workers=1, extra=QUICK), expect=["FAIL", "worker died"]).start()
    assert answer(one.address()) == b"served\n"
    program.chmod(0o644)
    for _ in range(3):
        assert answer(one.address()) == b""
    wait_degraded(one, "app", 1, "could not be executed")
    program.chmod(0o755)
    # A worker that waits proves nothing; the next client's program does.
    assert answer(one.address()) == b"served\n"
    wait_recovered(one, "app", served=True)
    assert answer(one.address()) == b"served\n"


def test_a_program_whose_port_is_taken(brood, tmp_path):
    """What it needs for itself is another's at first."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        taken.listen()
        (tmp_path / "own.py").write_text(f"import socket\nown = socket.create_server(('127.0.0.1', {port}))\n" + SERVE)
        script = tmp_path / "script"
        script.write_text(f"exec /usr/bin/python3 {tmp_path}/own.py\n")
        one = brood(script_pool(script, extra="healthy_after = 300ms\n\tgive_up_after = off") + echo_pool(),
                    expect=["worker died", "output"]).start()
        wait_degraded(one, "app", 2, "exit status 1, before ready")
    wait_for(lambda: one.log("^pool has recovered$"), "recovered")
    assert answer(one.address("app")) == b"served"


def test_an_episode_goes_on_over_an_upgrade(brood, tmp_path):
    """One line at its beginning, one at its end, in whichever image."""
    script = write_script(tmp_path, f"test ! -e {tmp_path}/broken || exit 3")
    text = script_pool(script, extra="healthy_after = 300ms\n\tgive_up_after = 2")
    one = replaceable(brood, text, expect=["worker died", "reload refused"]).start()
    (tmp_path / "broken").write_text("")
    kill(seen_pids(one, "app")[0], signal.SIGKILL)
    before = wait_degraded(one, "app", 3, "exit status 3, before ready")
    upgrade(one)
    one.wait_log("^reload refused")
    row = seen(one, "app")
    assert row["degraded"] and row["degraded_ms"] >= before["degraded_ms"] and row["last_failure"] == before["last_failure"]
    assert row["died_unready"] >= before["died_unready"] >= 2
    (tmp_path / "broken").unlink()
    wait_for(lambda: one.log("^pool has recovered$"), "recovered")
    assert len(one.log("^pool is degraded$")) == 1


def seen_pids(one, pool):
    return wait_for(lambda: [slot["pid"] for slot in one.slots(pool) if slot["pid"]], "its pids")


# ---- deaths, apart ----

def test_deaths_are_counted_apart(brood):
    """Before ready, while serving, and the rest."""
    one = brood(echo_pool(workers=2, extra="idle_timeout = 60s"), expect=["died"]).start()
    assert echo_once(one.address()) == b"hello"
    one.wait_workers(2)
    with connect(one.address()) as client:
        client.sendall(b"one")
        assert client.recv(3) == b"one"
        pid, = (slot["pid"] for slot in one.slots("echo") if slot["state"] != "idle")
        kill(pid, signal.SIGKILL)
        wait_for(lambda: not proc_alive(pid), "its end")
    one.wait_workers(2)
    kill(one.workers()[0], signal.SIGKILL)
    row = wait_for(lambda: row if (row := seen(one, "echo"))["signaled"] == 2 else None, "two deaths")
    assert (row["died_unready"], row["died_serving"]) == (0, 1)


def test_deaths_before_ready_are_counted_apart(brood, tmp_path):
    script = write_script(tmp_path, f"test $(wc -l < {tmp_path}/starts) -gt 3 || exit 3")
    one = brood(script_pool(script), expect=["worker died"]).start()
    row = seen(one, "app")
    assert (row["exited"], row["died_unready"], row["died_serving"]) == (3, 3, 0)
    if BROODCTL.exists():
        head, row = [line.split() for line in ctl(one, "status").split("\n\n")[1].splitlines()]
        assert [row[head.index(name)] for name in ("DEATHS", "UNREADY")] == ["3", "3"]


# ---- one client's doing ----

def crash_workers(one, pool, count):
    """A client after the other loses the worker that serves him. Returns what the log says follows."""
    deaths = []
    for _ in range(count):
        with connect(one.address(pool)) as client:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
            peer = "%s:%d" % client.getsockname()
            pid = wait_for(lambda peer=peer: [s["pid"] for s in one.slots(pool) if s["peer"] == peer], "its worker")[0]
            kill(pid, signal.SIGKILL)  # a sanitizer would tell of a SEGV
            deaths.append(wait_for(lambda pid=pid: one.log("died", pid=pid), "its death")[0]["next"])
    return deaths


def test_a_client_who_crashes_workers_holds_nobody_back(brood):
    """From the first connection that was served on: also right after a reload, and in another image of the daemon."""
    text = echo_pool(workers=1, extra="backoff_min = 30s\n\tbackoff_max = 30s")
    one = replaceable(brood, text, expect=["died"]).start()
    assert echo_once(one.address()) == b"hello"
    assert crash_workers(one, "echo", 4) == ["replaced"] * 4
    one.reload()
    wait_for(lambda: len(one.log("^rolled")) == 1, "rolled")
    one.wait_workers(1, "echo")  # the old one may have taken a client yet
    assert crash_workers(one, "echo", 4) == ["replaced"] * 4
    upgrade(one)
    wait_for(lambda: len(one.log("^rolled")) == 2, "rolled")
    one.wait_workers(1, "echo")
    assert crash_workers(one, "echo", 4) == ["replaced"] * 4
    assert not one.log("^pool is degraded$") and seen(one, "echo")["died_serving"] == 12
