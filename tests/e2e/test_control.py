# SPDX-License-Identifier: MIT
"""The control socket and broodctl: what is told, who may ask, and that no client slows the daemon."""
import array
import contextlib
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from brood import (BUILD, DEADLINE_S, IS_ROOT, NOBODY, TOP, connect, echo_once, echo_pool, kill, proc_alive, proc_fds,
                   receive_all, wait_for)
from conftest import root_only
from test_store import busy, kill_master, next_master

BROODCTL = BUILD / "src/broodctl"
OK, FAILED, USAGE, NO_DAEMON, SYSTEM, BUSY, PERMISSION = 0, 1, 64, 69, 71, 75, 77
UNAVAILABLE = 69

pytestmark = pytest.mark.skipif(not BROODCTL.exists(), reason="broodctl was not built (jansson)")


def run(*args, **options):
    options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True,
               "timeout": DEADLINE_S, "check": False, **options}
    return subprocess.run([str(a) for a in args], **options)


def ctl(one, *args, **options):
    return run(BROODCTL, "-s", one.control, *args, **options)


def snapshot(one, command="status"):
    result = ctl(one, "--json", command)
    assert (result.returncode, result.stderr) == (0, "")
    return json.loads(result.stdout)


def pool_of(one, name):
    return next(pool for pool in snapshot(one)["pools"] if pool["name"] == name)


def rows_of(table):
    """The rows of a table for people, by its heads."""
    head, *rows = [line.split() for line in table.splitlines()]
    assert all(len(row) == len(head) for row in rows), table
    return [dict(zip(head, row)) for row in rows]


def ask(path, line, timeout=DEADLINE_S):
    """The protocol, without broodctl: the lines of the answer."""
    with connect(f"unix:{path}", timeout) as client:
        client.sendall(line.encode() + b"\n")
        return [json.loads(answer) for answer in receive_all(client).splitlines()]


def as_nobody(script, *args):
    """A Python script, run by another user."""
    return run(sys.executable, "-c", script, *args, user=NOBODY, group=NOBODY, extra_groups=[])


# ---- what is told ----

def test_status_and_ps_for_people(brood):
    one = brood(echo_pool("echo", workers=2) + echo_pool("other", ["127.0.0.1:0", "unix:@brood-test-%d" % os.getpid()], 1)).start()
    one.wait_workers(3)
    result = ctl(one, "status")
    assert (result.returncode, result.stderr) == (0, "")
    head, pools, listeners = result.stdout.split("\n\n")
    assert re.match(r"brood \S+, pid %d, serving, up \S+, generation 1, 3 of 1024 workers\n" % one.pid, head)
    assert head.endswith(f" -c {one.config_path}")
    echo, other = rows_of(pools)
    assert list(echo) == ("POOL HANDLER STATE WORKERS OF READY BUSY IDLE STARTING LEAVING ACCEPTED REQUESTS STARTED "
                          "DEATHS UNREADY RECYCLED SLOW QUEUE FULL").split()
    assert list(echo.values()) == "echo echo serving 2 fixed 2 0 2 0 0 0 0 2 0 0 0 0 0/511 0".split()
    assert list(other.values())[:6] == "other echo serving 1 fixed 1".split()
    addresses = [line.split()[0] for line in listeners.splitlines()[1:]]
    assert addresses == one.addresses()
    workers = [line.split() for line in ctl(one, "ps").stdout.splitlines()]
    assert workers[0] == "POOL SLOT PID GEN STATE FOR AGE ACCEPTED REQUESTS IN OUT MEMORY PEER STATUS".split()
    assert sorted(int(row[2]) for row in workers[1:]) == sorted(one.workers())
    assert {tuple(row[i] for i in (0, 3, 4)) for row in workers[1:]} == {("echo", "1", "idle"), ("other", "1", "idle")}


def test_status_counts_slow_requests_and_recycled_workers(brood):
    one = brood(echo_pool(workers=1, extra="max_requests = 1\nslow_after = 50ms", echo="framing = line"),
                expect=["slow request"]).start()

    def cells():
        row, = rows_of(ctl(one, "status").stdout.split("\n\n")[1])
        return row["RECYCLED"], row["SLOW"]

    assert cells() == ("0", "0")
    with connect(one.address()) as client:
        client.sendall(b"half a ")
        wait_for(lambda: cells() == ("0", "1"), "a slow request")
        client.sendall(b"line\n")
        assert client.recv(100) == b"half a line\n"
    wait_for(lambda: cells() == ("1", "1"), "a worker that was recycled")


def test_a_worker_that_serves_is_seen_with_its_client(brood):
    one = brood(echo_pool()).start()
    with connect(one.address()) as client:
        client.sendall(b"hello")
        assert client.recv(5) == b"hello"
        pool = wait_for(lambda: pool if (pool := pool_of(one, "echo"))["busy"] == 1 else None, "a busy worker")
        worker, = (w for w in pool["workers"] if w["serving"])
        host, port = client.getsockname()
        assert worker["peer"] == f"{host}:{port}"
        assert (worker["connections"], worker["requests"], worker["bytes_in"], worker["bytes_out"]) == (1, 1, 5, 5)
        assert (pool["connections"], pool["requests"], pool["ready"]) == (1, 1, 2)
        assert worker["resident_bytes"] > 4096 and worker["age_ms"] >= worker["state_ms"] >= 0
        row = next(line for line in ctl(one, "ps").stdout.splitlines() if f" {worker['pid']} " in line)
        assert f"{host}:{port}" in row and "waiting" in row


def test_totals_outlive_workers(brood):
    one = brood(echo_pool(workers=1), expect=["worker died"]).start()
    for _ in range(3):
        assert echo_once(one.address()) == b"hello"
        pid, = one.wait_workers(1)
        kill(pid, signal.SIGKILL)
        wait_for(lambda pid=pid: one.workers() not in ([], [pid]), "another worker")
    assert echo_once(one.address()) == b"hello"
    pool = wait_for(lambda: pool if (pool := pool_of(one, "echo"))["requests"] == 4 else None, "four requests")
    assert (pool["connections"], pool["bytes_in"], pool["bytes_out"]) == (4, 20, 20)
    assert (pool["signaled"], pool["started"]) == (3, 4)
    row = rows_of(ctl(one, "status").stdout.split("\n\n")[1])[0]
    assert [row[name] for name in ("ACCEPTED", "REQUESTS", "STARTED", "DEATHS")] == ["4", "4", "4", "3"]


def test_clients_who_wait_are_counted(brood):
    one = brood(echo_pool(listen=["127.0.0.1:0", "unix:@brood-queue-%d" % os.getpid()], workers=1)).start()
    addresses = one.addresses()
    with contextlib.ExitStack() as stack:
        stack.enter_context(connect(addresses[0])).sendall(b"x")
        wait_for(lambda: pool_of(one, "echo")["busy"] == 1, "a busy worker")
        for address in addresses[:1] * 2 + addresses[1:] * 3:
            stack.enter_context(connect(address))
        wait_for(lambda: sum(row["queue"] for row in pool_of(one, "echo")["listeners"]) == 5, "queues")
        listeners = pool_of(one, "echo")["listeners"]
        assert [(row["address"], row["queue"], row["backlog"], row["origin"]) for row in listeners] == [
            (addresses[0], 2, 511, "opened"), (addresses[1], 3, 511, "opened")]
        assert "3/511" in ctl(one, "status").stdout.split("\n\n")[1]


def test_a_pool_that_fails_is_seen(brood):
    one = brood('pool "bad" { listen = "127.0.0.1:0" handler = program command = {"/bin/sh", "-c", "sleep 0.2; exit 3"} '
                "workers = 1 ready_after = 1ms backoff_min = 1m backoff_max = 1m }", expect=["worker died"]).start()
    pool = wait_for(lambda: pool if (pool := pool_of(one, "bad"))["state"] == "backing-off" else None, "backing off")
    assert pool["exited"] >= 1 and pool["failures"] >= 1 and 0 < pool["retry_ms"] <= 60000
    assert re.search(r"^bad +program +backing-off (\d+s|1m00s) ", ctl(one, "status").stdout, re.MULTILINE)


SAY = r"""
import os, signal, socket
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(
    b"READY=1\nSTATUS=a\033]0;bad\007\302\233\377b", os.environ["NOTIFY_SOCKET"].replace("@", "\0", 1))
signal.pause()
"""


def test_what_programs_say_cannot_command_a_terminal(brood, directory):
    script = directory / "say.py"
    script.write_text(SAY)
    one = brood('pool "app" { listen = "127.0.0.1:0" handler = program workers = 1 ready = notify '
                f'command = {{"{sys.executable}", "{script}"}} }}').start()
    for command in ("ps", "status"):
        text = ctl(one, command).stdout
        assert "\033" not in text and "\a" not in text and "\x9b" not in text
    assert "bad" in ctl(one, "ps").stdout
    worker, = pool_of(one, "app")["workers"]
    assert "bad" in worker["status"]


def test_every_member_of_the_json_is_in_the_manual(brood):
    one = brood(echo_pool()).start()
    told = snapshot(one)
    assert told == {**told, "daemon": {**told["daemon"], "pid": one.pid, "scoreboard": True}}
    manual = (TOP / "man/broodctl.1").read_text()
    manual = manual[manual.index(".Sh JSON"):manual.index(".Sh FILES")]
    words = set(re.findall(r"[a-z_]+", manual))
    pool = told["pools"][0]
    for members in (told, told["daemon"], pool, pool["listeners"][0], pool["workers"][0]):
        assert members and set(members) <= words, set(members) - words
    for line in ask(one.control, "status"):
        assert set(line) <= words, set(line) - words
    assert {"reload_at", "reload_generation", "reload_text"} <= words
    assert snapshot(one, "ps").keys() == told.keys()


# ---- the command line ----

@pytest.mark.parametrize("args", [[], ["nonsense"], ["status", "x"], ["restart"], ["restart", "a", "b"], ["check", "a", "b"],
                                  ["check", ""], ["restart", "a\nstop"], ["reload", "--now"], ["-x"], ["-s"]])
def test_wrong_command_line_is_64(args):
    result = run(BROODCTL, *args)
    assert (result.returncode, result.stdout) == (USAGE, "") and "Try 'broodctl --help'." in result.stderr


def test_help_and_version():
    result = run(BROODCTL, "--help")
    assert (result.returncode, result.stderr) == (0, "")
    for word in ("status", "ps", "check", "reload", "upgrade", "stop", "restart", "--socket", "--json", "--now"):
        assert word in result.stdout
    assert run(BROODCTL, "-V").stdout.startswith("broodctl 0.")


def test_no_daemon_is_69(directory):
    path = directory / "brood.sock"
    for prepare in (lambda: None, lambda: socket.socket(socket.AF_UNIX).bind(str(path))):
        prepare()
        result = run(BROODCTL, "-s", path, "status")
        assert (result.returncode, result.stdout) == (NO_DAEMON, "") and f"{path}: no daemon there" in result.stderr


def test_what_is_no_brood_is_70(directory):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(directory / "s"))
        server.listen()

        def answer():
            client, _ = server.accept()
            client.recv(100)
            client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            client.close()
        threading.Thread(target=answer).start()
        result = run(BROODCTL, "-s", directory / "s", "status")
    assert result.returncode == 70 and "no brood" in result.stderr


def test_a_daemon_that_hangs_is_75(brood):
    one = brood(echo_pool()).start()
    one.kill(signal.SIGSTOP)
    try:
        result = ctl(one, "status")
        assert result.returncode == BUSY and "does not answer in time" in result.stderr
    finally:
        one.kill(signal.SIGCONT)


def test_an_answer_that_cannot_be_written_is_an_error(brood):
    one = brood(echo_pool()).start()
    with open("/dev/full", "w") as full:
        for args in (["status"], ["--json", "status"], ["ps"]):
            assert ctl(one, *args, stdout=full).returncode == SYSTEM
        assert run(BROODCTL, "--help", stdout=full).returncode == SYSTEM


# ---- commands ----

def test_check_is_the_daemons_own(brood):
    one = brood(echo_pool()).start()
    result = ctl(one, "check")
    assert (result.returncode, result.stdout, result.stderr) == (0, f"{one.config_path}: OK\n", "")
    (one.directory / "bad.conf").write_text('colour = red\npool "x" { handler = echo }\n')
    result = ctl(one, "check", "bad.conf", cwd=one.directory)
    assert result.returncode == FAILED
    assert [line.partition(": ")[0] for line in result.stdout.splitlines()] == [
        f"{one.directory}/bad.conf:{line}" for line in (1, 2)]
    assert result.stderr == f"broodctl: {one.directory}/bad.conf: would not be loaded\n"
    answer = ask(one.control, "check bad.conf")[-1]
    assert (answer["ok"], answer["code"]) == (False, "failed") and "absolute path" in answer["text"]
    one.config_path.write_text("nonsense")
    assert ctl(one, "check").returncode == FAILED
    assert echo_once(one.address()) == b"hello"
    with contextlib.ExitStack() as stack:
        # One after the other, in one child at a time.
        running = [stack.enter_context(subprocess.Popen([BROODCTL, "-s", one.control, "check"], stdout=subprocess.DEVNULL,
                                                        stderr=subprocess.DEVNULL)) for _ in range(10)]
        assert [one.wait(DEADLINE_S) for one in running] == [FAILED] * 10


def test_each_request_has_a_verdict(brood):
    one = brood(echo_pool(), expect=["no such pool"]).start()
    for line in ("reload", "upgrade", "restart echo", "restart nowhere"):
        lines = ask(one.control, line)
        assert lines[0] == {"type": "accepted", "request": line.split()[0]}
        assert lines[-1]["type"] == "result" and lines[-1]["code"] == ("ok" if lines[-1]["ok"] else "failed")
        result = ctl(one, *line.split())
        assert result.returncode == (OK if lines[-1]["ok"] else FAILED)
        assert lines[-1]["ok"] or lines[-1]["text"] in result.stderr
        assert ctl(one, "-j", *line.split()).stdout.splitlines()[-1].startswith('{"type":"result"')
    assert ctl(one, "restart", "nowhere").returncode == FAILED
    assert one.log("request at the control socket", request="restart", argument="nowhere", uid=os.geteuid())


def test_stop_waits_until_the_daemon_has_gone(brood):
    one = brood(echo_pool()).start()
    with connect(one.address()) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        with subprocess.Popen([BROODCTL, "-s", one.control, "stop"], stdout=subprocess.PIPE, text=True) as stop:
            assert "draining" in stop.stdout.readline()
            one.wait_log("stopping")
            assert snapshot(one)["daemon"]["phase"] in ("draining", "retiring")
            assert stop.poll() is None and one.is_running()
            client.close()
            assert stop.wait(DEADLINE_S) == 0
            # It was waited for: nothing but the reaping is left to do.
            assert not proc_alive(one.pid)
            assert stop.stdout.read().splitlines()[-1] == "stopped, exit status 0"
    assert not one.control.exists()


def test_stop_now_cuts_connections(brood):
    one = brood(echo_pool(), expect=["ending all workers", "worker died"]).start()
    with connect(one.address()) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        assert ctl(one, "stop", "--now").returncode == 0
        assert not proc_alive(one.pid)


def test_a_daemon_that_is_killed_gives_no_verdict(brood):
    one = brood(echo_pool(), status=-signal.SIGKILL).start()
    with connect(one.address()) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        with subprocess.Popen([BROODCTL, "-s", one.control, "stop"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True) as stop:
            stop.stdout.readline()
            one.kill(signal.SIGKILL)
            assert stop.wait(DEADLINE_S) == FAILED
            assert "without a verdict" in stop.stderr.read()
    one.wait()


# ---- who may ----

@root_only
def test_who_may_not_connect(brood):
    one = brood(echo_pool()).start()
    assert one.control.stat().st_mode & 0o777 == 0o600
    copy = one.directory / "broodctl"
    copy.write_bytes(BROODCTL.read_bytes())
    copy.chmod(0o755)
    result = run(copy, "-s", one.control, "status", user=NOBODY, group=NOBODY, extra_groups=[])
    assert result.returncode == PERMISSION and "control_mode" in result.stderr


@root_only
def test_whom_the_mode_lets_in_may_look_and_no_more(brood):
    one = brood("control_mode = 0666\n" + echo_pool()).start()
    copy = one.directory / "broodctl"
    copy.write_bytes(BROODCTL.read_bytes())
    copy.chmod(0o755)

    def nobody(*args):
        return run(copy, "-s", one.control, *args, user=NOBODY, group=NOBODY, extra_groups=[])
    for command in ("status", "ps"):
        assert nobody(command).returncode == 0
    for command in (["reload"], ["stop"], ["upgrade"], ["check"], ["restart", "echo"]):
        result = nobody(*command)
        assert result.returncode == PERMISSION and "only root and the daemon's user" in result.stderr
    assert one.log("is refused: this user may only look", uid=NOBODY)
    assert echo_once(one.address()) == b"hello"


@root_only
def test_the_daemons_user_may_command(brood):
    one = brood(echo_pool(), user=NOBODY).start()
    copy = one.directory / "broodctl"
    copy.write_bytes(BROODCTL.read_bytes())
    copy.chmod(0o755)
    assert ctl(one, "check").returncode == 0
    result = run(copy, "-s", one.control, "stop", user=NOBODY, group=NOBODY, extra_groups=[])
    assert result.returncode == 0, result.stderr


TAKE_BOARD = """
import os, socket, sys
client = socket.socket(socket.AF_UNIX)
client.connect(sys.argv[1])
client.sendall(b"status\\n")
data, fds, _, _ = socket.recv_fds(client, 65536, 4)
board, = fds
assert len(os.pread(board, 64, 0)) == 64
try:
    os.pwrite(board, b"x", 0)
    print("written")
except OSError:
    pass
try:
    os.open(f"/proc/self/fd/{board}", os.O_RDWR)
    print("opened again")
except OSError:
    pass
"""


@root_only
def test_the_scoreboard_that_is_handed_out_cannot_be_written(brood):
    one = brood("control_mode = 0666\n" + echo_pool()).start()
    result = as_nobody(TAKE_BOARD, one.control)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


# ---- clients that are not nice ----

def test_garbage(brood):
    one = brood(echo_pool()).start()
    for data, text in ((b"\0\xff\x80garbage\n", "NUL"), (b"nonsense\n", "known are"), (b"\n", "known are"),
                       (b"stop later\n", "now"), (b"x" * 5000, "too long"), (b"{\"a\":1}\n", "known are"),
                       (b"status\r\n", ""), (b"status\nand more\n" * 100, "")):
        with connect(f"unix:{one.control}") as client:
            with contextlib.suppress(BrokenPipeError):
                client.sendall(data)
            last = json.loads(receive_all(client).splitlines()[-1])
            assert last["type"] == "result" and last["ok"] == (text == "") and text in last["text"], data
    with connect(f"unix:{one.control}") as client:
        client.sendall(b"stat")
        client.shutdown(socket.SHUT_WR)
        assert b"the line has no end" in receive_all(client)
    assert snapshot(one)["daemon"]["phase"] == "serving"


def test_a_client_may_close_its_half(brood):
    one = brood(echo_pool()).start()
    with connect(f"unix:{one.control}") as client:
        client.sendall(b"check\n")
        client.shutdown(socket.SHUT_WR)
        assert b'"ok":true' in receive_all(client)


def test_who_goes_away_is_forgotten(brood):
    one = brood(echo_pool()).start()
    before = len(proc_fds(one.pid))
    with connect(one.address()) as held:
        held.sendall(b"x")
        assert held.recv(1) == b"x"
        for line in (b"", b"sta", b"status\n", b"check\n"):
            for _ in range(20):
                with connect(f"unix:{one.control}") as client:
                    client.sendall(line)
    wait_for(lambda: len(proc_fds(one.pid)) <= before, "all clients forgotten")
    assert snapshot(one)["daemon"]["phase"] == "serving"


def test_descriptors_that_are_sent_along_are_closed(brood):
    one = brood(echo_pool()).start()
    before = len(proc_fds(one.pid))
    read, write = os.pipe()
    with connect(f"unix:{one.control}") as client:
        client.sendmsg([b"sta"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [write] * 50))])
        os.close(write)
        assert os.read(read, 1) == b""  # nobody has it any more
        client.sendall(b"tus\n")
        assert b'"result"' in receive_all(client)
    os.close(read)
    wait_for(lambda: len(proc_fds(one.pid)) <= before, "descriptors closed")


def test_clients_that_stall_are_sent_away_and_slow_nobody(brood):
    """Half a request; an answer that nobody reads, longer than the sockets hold; and those between them."""
    names = ", ".join(f'"unix:@brood-stall-{os.getpid()}-{i}"' for i in range(4000))
    one = brood(f'pool "many" {{ listen = {{{names}}} handler = echo workers = 1 }}\n').start()
    address = f"unix:@brood-stall-{os.getpid()}-7"
    with connect(f"unix:{one.control}") as half, connect(f"unix:{one.control}") as deaf:
        started = time.monotonic()
        half.sendall(b"stat")
        deaf.sendall(b"status\n")
        slowest = 0.0
        while time.monotonic() - started < 3:
            before = time.monotonic()
            assert ask(one.control, "nonsense")[-1]["code"] == "usage"
            assert echo_once(address) == b"hello"
            slowest = max(slowest, time.monotonic() - before)
        assert slowest < 2
        assert b"no whole request came in time" in receive_all(half)
        assert 4 < time.monotonic() - started < 30
        # Its socket holds a part; reading it now would let the rest come.
        hung_up = select.poll()
        hung_up.register(deaf, 0)
        assert hung_up.poll(DEADLINE_S * 1000), "the deaf one is sent away"
        cut = receive_all(deaf)
        assert len(cut) > 10000 and b'"result"' not in cut
    assert len(snapshot(one)["pools"][0]["listeners"]) == 4000


def test_a_thousand_connects(brood):
    one = brood(echo_pool()).start()
    before = len(proc_fds(one.pid))
    with contextlib.ExitStack() as stack:
        for _ in range(1000):
            # It waits where the queue is full.
            stack.enter_context(connect(f"unix:{one.control}", None))
        assert len(proc_fds(one.pid)) <= before + 32 + 1
        started = time.monotonic()
        assert snapshot(one)["daemon"]["phase"] == "serving"
        assert echo_once(one.address()) == b"hello"
        assert time.monotonic() - started < 10
    # All at once, and each is answered.
    results = []

    def look():
        results.append(ask(one.control, "status")[-1]["code"])
    threads = [threading.Thread(target=look) for _ in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == ["ok"] * 200
    wait_for(lambda: len(proc_fds(one.pid)) <= before, "all clients forgotten")


@root_only
def test_those_who_may_only_look_do_not_keep_root_out(brood):
    one = brood("control_mode = 0666\n" + echo_pool()).start()
    script = ("import socket, sys\nheld = []\nfor _ in range(100):\n"
              "    held.append(socket.socket(socket.AF_UNIX))\n    held[-1].connect(sys.argv[1])\n"
              "print('held', flush=True)\nsys.stdin.read()\n")
    with contextlib.ExitStack() as stack:
        # They say nothing, which is a reason to go only where others who may command come.
        kept = [stack.enter_context(connect(f"unix:{one.control}")) for _ in range(10)]
        nobody = stack.enter_context(subprocess.Popen(
            [sys.executable, "-c", script, one.control], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            user=NOBODY, group=NOBODY, extra_groups=[]))
        assert nobody.stdout.readline() == "held\n"
        assert ctl(one, "check").returncode == 0
        for client in kept:
            client.sendall(b"status\n")
            assert b'"ok":true' in receive_all(client)
        nobody.stdin.close()


# ---- the path ----

def test_a_socket_that_was_left_behind_is_replaced(brood):
    one = brood(echo_pool(), status=-signal.SIGKILL).start()
    one.kill(signal.SIGKILL)
    one.wait()
    assert one.control.exists()
    two = brood(f'control = "{one.control}"\n' + echo_pool()).start()
    assert json.loads(run(BROODCTL, "-j", "-s", one.control, "status").stdout)["daemon"]["pid"] == two.pid
    two.stop()
    assert not one.control.exists()


def test_a_socket_that_is_another_daemons_is_not_touched(brood):
    one = brood(echo_pool()).start()
    two = brood(f'control = "{one.control}"\n' + echo_pool(), status=UNAVAILABLE, expect=["cannot open the control socket"])
    two.spawn()
    assert two.wait() == UNAVAILABLE
    row, = two.log("cannot open the control socket")
    assert str(one.control) in row["line"] and "another daemon answers there" in row["line"]
    assert snapshot(one)["daemon"]["pid"] == one.pid


def test_a_file_that_is_no_socket_is_not_touched(brood):
    one = brood(echo_pool(), status=UNAVAILABLE, expect=["cannot open the control socket"])
    one.control.write_text("precious")
    one.spawn()
    assert one.wait() == UNAVAILABLE
    assert one.control.read_text() == "precious"
    one.control.unlink()


@root_only
def test_a_path_that_may_not_be_made_is_77(brood, directory):
    closed = directory / "closed"
    closed.mkdir(mode=0o755)
    one = brood(f'control = "{closed}/brood.sock"\n' + echo_pool(), user=NOBODY, status=PERMISSION,
                expect=["cannot open the control socket"])
    one.spawn()
    assert one.wait() == PERMISSION


def test_off_is_none(brood):
    one = brood("control = off\n" + echo_pool()).start()
    assert not one.control.exists() and not list(one.directory.glob("*.sock"))
    assert echo_once(one.address()) == b"hello"


def usual(tmp):
    """An environment where the usual place is TMP."""
    return {"RUNTIME_DIRECTORY": str(tmp), "XDG_RUNTIME_DIR": None}


def test_the_usual_place_is_found(brood, directory):
    place = directory / "runtime"
    place.mkdir()
    one = brood("control = auto\n" + echo_pool(), env=usual(place)).start()
    assert (place / "brood.sock").exists()
    result = run(BROODCTL, "-j", "ps", env={**os.environ, "RUNTIME_DIRECTORY": str(place)})
    assert json.loads(result.stdout)["daemon"]["pid"] == one.pid
    # One that comes second runs without, and says so.
    two = brood("control = auto\n" + echo_pool(), env=usual(place), expect=["no control socket"]).start()
    row, = two.log("no control socket")
    assert row["level"] == "warning" and "another daemon answers there" in row["line"]
    assert echo_once(two.address()) == b"hello"
    two.stop()
    assert json.loads(run(BROODCTL, "-j", "-s", place / "brood.sock", "ps").stdout)["daemon"]["pid"] == one.pid
    one.stop()
    assert not (place / "brood.sock").exists()


@root_only
def test_an_ordinary_user_has_a_runtime_directory_or_none(brood, directory):
    place = directory / "own"
    place.mkdir()
    os.chown(place, NOBODY, NOBODY)
    one = brood("control = auto\n" + echo_pool(), user=NOBODY, env={"XDG_RUNTIME_DIR": str(place)}).start()
    assert (place / "brood/brood.sock").exists()
    one.stop()
    two = brood("control = auto\n" + echo_pool(), user=NOBODY, expect=["no control socket"],
                env={"XDG_RUNTIME_DIR": None, "RUNTIME_DIRECTORY": str(directory / "nowhere/at/all")}).start()
    assert len(two.log("no control socket")) == 1
    assert echo_once(two.address()) == b"hello"


def test_the_socket_has_its_mode(brood):
    one = brood("control_mode = 0620\n" + echo_pool()).start()
    assert one.control.stat().st_mode & 0o777 == 0o620
    assert IS_ROOT or one.control.stat().st_uid == os.geteuid()


# ---- after a death ----

def test_workers_of_the_last_master_are_seen(brood):
    config = echo_pool(workers=1, extra="idle_timeout = 60s")
    one = brood(config).start()
    wait_for(lambda: len(one.notify.stored) >= 2, "descriptors in the store")
    with busy(one.address()):
        pid, = one.workers()
        assert [worker["survivor"] for worker in pool_of(one, "echo")["workers"]] == [False]
        kill_master(one)
        after = next_master(brood, one, config)
        after.wait_workers(1)
        workers = pool_of(after, "echo")["workers"]
        assert {worker["pid"]: worker["survivor"] for worker in workers} == {pid: True, after.workers()[0]: False}
        assert re.search(rf" {pid} .* waiting\* ", ctl(after, "ps").stdout)
    wait_for(lambda: len(pool_of(after, "echo")["workers"]) == 1, "it has gone")


def test_the_daemon_is_as_old_as_its_process(brood):
    one = brood(echo_pool()).start()
    before = snapshot(one)["daemon"]
    assert abs(before["started_at"] + before["uptime_ms"] / 1000 - time.time()) < 2 and before["uptime_ms"] < 600000
    assert ctl(one, "upgrade").returncode == 0
    after = snapshot(one)["daemon"]
    assert after["pid"] == before["pid"] and after["uptime_ms"] >= before["uptime_ms"]
    assert abs(after["started_at"] - before["started_at"]) <= 1
    # It answers at the same socket, and removes it at last.
    assert ctl(one, "stop").returncode == 0
    assert not one.control.exists()


# ---- reloads ----

WAIT = """
import os, signal, socket, sys, time
while not os.path.exists(sys.argv[1]):
    time.sleep(0.02)
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"READY=1", os.environ["NOTIFY_SOCKET"].replace("@", "\\0", 1))
signal.pause()
"""


def test_who_waits_for_which_reload(brood, directory):
    """The pool's workers are ready when a file is there: a reload waits for it."""
    script, go = directory / "wait.py", directory / "go"
    script.write_text(WAIT)
    go.touch()
    one = brood('pool "app" { listen = "127.0.0.1:0" handler = program workers = 1 ready = notify '
                f'command = {{"{sys.executable}", "{script}", "{go}"}} }}\n', expect=["no such pool"]).start()
    go.unlink()

    def reload():
        return subprocess.Popen([BROODCTL, "-s", one.control, "reload"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True)
    with reload() as first:
        wait_for(lambda: snapshot(one)["daemon"]["reload"] == "trying", "a reload that tries its worker")
        assert pool_of(one, "app")["state"] == "trying" and pool_of(one, "app")["canary"] == "asked"
        assert "a reload is under way: trying" in ctl(one, "status").stdout
        with reload() as second, reload() as third:
            one.wait_log("request at the control socket", count=3, request="reload")
            # What is refused at once ends nobody else's wait.
            with subprocess.Popen([BROODCTL, "-s", one.control, "restart", "app"]) as restart:
                one.wait_log("request at the control socket", request="restart", argument="app")
                assert ctl(one, "restart", "nowhere").returncode == FAILED
                assert [p.poll() for p in (first, second, third, restart)] == [None] * 4
                go.touch()
                assert [p.wait(DEADLINE_S) for p in (first, second, third, restart)] == [0] * 4
                # The second and the third asked for one thing.
                assert second.stdout.read() == third.stdout.read() != first.stdout.read()
    daemon = snapshot(one)["daemon"]
    assert daemon["reload_ok"] is True and daemon["reload_generation"] == 3
    assert "last reload" in ctl(one, "status").stdout


def test_a_refused_reload_is_remembered(brood):
    one = brood(echo_pool(), expect=["configuration", "reload refused"]).start()
    one.config_path.write_text(one.config_path.read_text() + "colour = red\n")
    result = ctl(one, "reload")
    assert result.returncode == FAILED and "unknown key colour" in result.stderr
    daemon = snapshot(one)["daemon"]
    assert daemon["reload_ok"] is False and "unknown key colour" in daemon["reload_text"]
    assert abs(daemon["reload_at"] - time.time()) < 60
    assert "REFUSED" in ctl(one, "status").stdout
