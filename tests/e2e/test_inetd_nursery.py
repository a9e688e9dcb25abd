# SPDX-License-Identifier: MIT
"""The nurseries of inetd pools: what is made by them, and that their end, however it comes, costs no connection."""
import ctypes
import os
import pathlib
import resource
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest
from brood import (IS_ROOT, NOBODY, SANITIZED, Storm, connect, kill, proc_alive, proc_fds, proc_is_nursery, proc_stat, proc_status,
                   proc_title, receive_all, wait_for)
from conftest import root_only
from test_inetd import ANSWER, SHOW, Shown, ask, inetd_pool, show


def nursery_of(one, pool="test"):
    """Its pid, once there is exactly one."""
    return wait_for(lambda: (lambda n: n[0] if len(n) == 1 else None)(one.nurseries(pool)), "one nursery")


def memory_of(pid):
    """What tells whether two processes share their memory: where their stacks and heap are does not, this does."""
    libc = ctypes.CDLL(None, use_errno=True)
    KCMP, KCMP_VM = 312, 1
    return lambda other: libc.syscall(KCMP, pid, other, KCMP_VM, 0, 0)


# ---- what it is ----

def test_a_nursery_makes_the_workers(brood):
    """One a pool; a child of the master's as its workers are, of the same title, and told from them by its name."""
    one = brood(inetd_pool([SHOW], name="first", workers=3) + inetd_pool([SHOW], name="second")).start()
    assert len(one.workers("first")) == 3
    for pool in ("first", "second"):
        nursery = nursery_of(one, pool)
        assert proc_title(nursery) == f"brood: {pool}" and proc_is_nursery(nursery)
        for worker in one.workers(pool):
            assert proc_stat(worker)[1] == str(one.pid)
            assert proc_status(worker)["Name"] == f"brood: {pool}"
            assert proc_stat(worker)[2] == str(worker), "a process group of its own"
    assert show(one.address("first"))["parent"] == str(one.pid)


@pytest.mark.skipif(SANITIZED, reason="a sanitizer's marks on a stack are for one process")
def test_workers_share_the_memory_of_their_nursery(brood):
    one = brood(inetd_pool(["cat"], workers=3) + "pool \"echo\" {\n\tlisten = \"127.0.0.1:0\"\n\thandler = \"echo\"\n}\n").start()
    shares = memory_of(nursery_of(one))
    if shares(os.getpid()) < 0:
        pytest.skip("kcmp(2) is not to be had")
    assert [shares(worker) for worker in one.workers("test")] == [0, 0, 0]
    assert shares(one.pid) != 0 and shares(one.workers("echo")[0]) != 0
    with connect(one.address("test")) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        assert shares(one.wait_log("START")[0]["pid"]) != 0, "the program has its own"


def test_no_descriptor_stays_in_the_nursery(brood):
    one = brood(inetd_pool(["cat"], workers=2)).start()
    nursery = nursery_of(one)
    before = proc_fds(nursery)
    for _ in range(50):
        assert ask(one.address(), b"x") == b"x"
    one.wait_log("EXIT", count=50)
    assert proc_fds(nursery) == before and nursery_of(one) == nursery


@root_only
def test_programs_cannot_take_what_their_nursery_has(brood, directory):
    """They are of one user; but its memory and descriptors, and those of the workers that wait, are out of reach."""
    thief = directory / "thief.py"
    thief.write_text("""
import os, sys
for pid in set(sys.stdin.readline().split()) - {str(os.getpid())}:  # one of them has become this
    for name in "fd", "mem", "environ":
        try:
            found = os.listdir(f"/proc/{pid}/fd") if name == "fd" else open(f"/proc/{pid}/{name}", "rb").close()
            print(pid, name, found)
        except PermissionError:
            pass
os.listdir("/proc/self/fd")
print("done")
""")
    extra = f'user = "{NOBODY}"\n\tgroup = "{NOBODY}"'
    one = brood(inetd_pool(["/usr/bin/python3", thief], workers=3, extra=extra)).start()
    pids = [nursery_of(one), *one.workers("test")]
    assert len(pids) == 4
    assert ask(one.address(), " ".join(map(str, pids)).encode() + b"\n") == b"done\n"


def test_nurseries_end_with_the_daemon(brood):
    one = brood(inetd_pool(["cat"], name="first") + inetd_pool(["cat"], name="second")).start()
    nurseries = [nursery_of(one, "first"), nursery_of(one, "second")]
    assert one.stop() == 0
    assert not any(proc_alive(pid) for pid in nurseries)


def test_a_nursery_does_not_outlive_a_master_that_is_killed(brood):
    one = brood(inetd_pool(["cat"]), status=-signal.SIGKILL, leave=["brood.pid"]).start()
    processes = one.nurseries("test") + one.workers("test")
    assert len(processes) == 3
    one.kill(signal.SIGKILL)
    one.wait()
    wait_for(lambda: not any(proc_alive(pid) for pid in processes), "they leave")


def test_the_time_of_a_nursery_is_not_that_of_a_program(brood):
    """`cpu` is a program's limit: the nursery lives on."""
    one = brood(inetd_pool([SHOW], extra="limits { cpu = 7s }")).start()
    assert show(one.address()).limits["cpu"] == (7, 7)
    assert resource.prlimit(nursery_of(one), resource.RLIMIT_CPU) != (7, 7)


def test_a_limit_of_descriptors_that_leaves_little_room(brood):
    one = brood(inetd_pool([ANSWER], extra="limits { nofile = 5 }")).start()
    for _ in range(5):
        assert ask(one.address(), b"x") == b"x"
    assert one.stop() == 0
    assert not one.log("stop_timeout has passed"), "they retire as others do"


def test_an_environment_of_many_variables(brood):
    """More than an area holds."""
    variables = ", ".join(f'"VARIABLE_{i}={i}"' for i in range(200))
    one = brood(inetd_pool([SHOW], workers=3, extra=f"environment = {{{variables}}}")).start()
    for _ in range(10):
        env = show(one.address()).env
        assert all(env[f"VARIABLE_{i}"] == str(i) for i in range(200)) and env["TCPREMOTEIP"] == "127.0.0.1"


def test_waiters_that_work_at_the_same_time_do_not_mix_up_what_they_write(brood):
    """They share their memory: each program has its own client's variables."""
    one = brood("log_level = notice\n" + inetd_pool([SHOW], workers=16, extra="max_workers = 64")).start()
    wrong = []

    def clients():
        for _ in range(20 if SANITIZED else 60):
            with connect(one.address()) as client:
                own = client.getsockname()[1]
                if Shown(receive_all(client).decode()).env["TCPREMOTEPORT"] != str(own):
                    wrong.append(own)
    threads = [threading.Thread(target=clients) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_many_workers_at_once(brood):
    """More than are asked for at a time; and more when all of them are taken together."""
    count = 60 if SANITIZED else 300
    one = brood("log_level = notice\n" + inetd_pool(["cat"], workers=count, extra=f"max_workers = {2 * count}")).start()
    one.wait_workers(count)
    clients = [connect(one.address()) for _ in range(count)]
    for client in clients:
        client.sendall(b"x")
    for client in clients:
        assert client.recv(1) == b"x"
    wait_for(lambda: sum(slot["state"] == "idle" for slot in one.slots("test")) == count, "as many wait again")
    for client in clients:
        client.close()


# ---- its death ----

def assert_nothing_lost(counts):
    assert counts["lost"] == counts["stuck"] == counts["other"] == counts["refused"] == 0, counts


@pytest.mark.parametrize("listen", [["127.0.0.1:0"], ["127.0.0.1:0", "127.0.0.1:0"], None], ids=["one", "several", "unix"])
def test_no_connection_is_lost_by_the_death_of_nurseries(brood, directory, listen):
    one = brood("log_level = notice\n" + inetd_pool([ANSWER], listen=listen or f"unix:{directory}/s", workers=4,
                                                    extra="backoff_min = 10ms\n\tbackoff_max = 50ms"),
                expect=["nursery died", "cannot start a worker"]).start()
    killed = 0
    with Storm(one.address(), "-t", 8) as storm:
        storm.wait_started()
        end = time.monotonic() + 3
        while time.monotonic() < end or killed < 5:
            for pid in one.nurseries("test"):
                kill(pid, signal.SIGKILL)
                killed += 1
            time.sleep(0.02)
        counts = storm.stop()
    assert_nothing_lost(counts)
    assert counts["ok"] > 0
    one.wait_workers(4)
    assert one.wait_log("nursery died")[0]["how"] == "SIGKILL"
    assert not one.log("worker died")


def test_waiting_workers_outlive_their_nursery(brood):
    """What waits is as good as before; the next worker that is wanted brings a new nursery."""
    one = brood(inetd_pool(["cat"], workers=2), expect=["nursery died"]).start()
    first, workers = nursery_of(one), one.workers("test")
    kill(first, signal.SIGKILL)
    one.wait_log("nursery died", pool="test", pid=first)
    assert one.workers("test") == workers
    assert ask(one.address(), b"x") == b"x"
    one.wait_workers(2)
    assert nursery_of(one) != first and not one.log("cannot start")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGURG, signal.SIGUSR1])
def test_signals_do_nothing_to_a_nursery(brood, number):
    one = brood(inetd_pool(["cat"])).start()
    nursery = nursery_of(one)
    kill(nursery, number)
    for _ in range(3):
        assert ask(one.address(), b"x") == b"x"
    assert nursery_of(one) == nursery


def test_a_nursery_that_does_not_answer_is_replaced(brood):
    """Its user may stop it. What waits serves on; then others are made."""
    one = brood(inetd_pool(["cat"], workers=1, extra="backoff_min = 10ms"), expect=["does not answer", "cannot start"]).start()
    nursery = nursery_of(one)
    kill(nursery, signal.SIGSTOP)
    begin = time.monotonic()
    assert [ask(one.address(), b"x") for _ in range(3)] == [b"x"] * 3
    assert time.monotonic() - begin > 3, "it was given time"
    row = one.wait_log("nursery does not answer")[0]
    assert row["pid"] == nursery and row["asked"] == 1
    assert nursery_of(one) != nursery
    one.wait_log("starting workers again")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_a_stopped_nursery_does_not_hold_up_a_stop(brood, number):
    one = brood("stop_timeout = 30s\n" + inetd_pool(["cat"], workers=1),
                expect=["does not answer", "cannot start", "ending all"]).start()
    kill(nursery_of(one), signal.SIGSTOP)
    assert ask(one.address(), b"x") == b"x"  # and now it is asked for another
    begin = time.monotonic()
    assert one.stop(number) == 0
    assert time.monotonic() - begin < 20


def test_a_stop_while_workers_are_made(brood):
    for _ in range(5 if SANITIZED else 15):
        one = brood("log_level = notice\n" + inetd_pool([ANSWER], workers=40), notify=False).spawn()
        time.sleep(0.02 + 0.03 * (os.urandom(1)[0] / 256))  # any moment will do
        assert one.stop() in (0, -signal.SIGTERM)
        one.status = one.process.returncode
        one.finish()


# ---- what comes after it ----

def test_a_reload_brings_another_nursery(brood):
    """One for each generation; the canary is made by the new one, and a reload that is refused leaves the old one alone."""
    one = brood(inetd_pool([SHOW], workers=3, extra='environment = {"NAME=one"}'),
                expect=["reload refused", "configuration"]).start()
    first = nursery_of(one)
    one.reload(inetd_pool([SHOW], workers=3, extra='environment = {"NAME=two"}'))
    wait_for(lambda: one.nurseries("test") not in ([], [first]) and len(one.nurseries("test")) == 1, "the new one alone")
    assert {show(one.address()).env["NAME"] for _ in range(6)} == {"two"}
    second = nursery_of(one)
    one.reload(inetd_pool([SHOW], workers=3, extra='directory = "/nonexistent/directory"'), good=False)
    for _ in range(6):
        assert show(one.address()).env["NAME"] == "two"
    assert nursery_of(one) == second


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR2], ids=["reload", "upgrade"])
def test_no_connection_is_lost_by_changes(brood, number):
    """The asks that are open when the new image takes over are answered before."""
    said = {signal.SIGHUP: "^reloaded", signal.SIGUSR2: "^upgraded$"}[number]
    one = brood("log_level = notice\n" + inetd_pool([ANSWER], workers=4)).start()
    with Storm(one.address(), "-t", 8) as storm:
        storm.wait_started()
        for count in range(1, 3 if SANITIZED else 6):
            one.kill(number)
            one.wait_log(said, count)
        counts = storm.stop()
    assert_nothing_lost(counts)
    assert counts["ok"] > 0
    one.wait_workers(4)
    wait_for(lambda: len(one.nurseries("test")) <= 1, "no nursery is left over")
    assert ask(one.address(), b"x") == b"x"
    nursery_of(one)


# ---- what it cannot do ----

@root_only
def test_a_limit_of_processes(brood, directory):
    """The nursery counts, and the programs do: beyond it workers are not to be had, which is said; later they are."""
    uid = 61234
    one = brood("log_level = info\n" + inetd_pool(["cat"], workers=2, extra=f"""user = "{uid}"
	group = "{uid}"
	backoff_min = 20ms
	backoff_max = 100ms
	limits {{ nproc = 5 }}"""), expect=["cannot start a worker"]).start()
    clients = [connect(one.address()) for _ in range(6)]
    for client in clients:
        client.sendall(b"x")
    for client in clients[:4]:
        assert client.recv(1) == b"x"
    row = one.wait_log("cannot start a worker")[0]
    assert row["reason"] == "Resource temporarily unavailable" and "RLIMIT_NPROC" in row["limit"]
    for client in clients:
        client.close()
    one.wait_log("starting workers again")
    one.wait_workers(2)
    assert ask(one.address(), b"x") == b"x"


@root_only
@pytest.mark.parametrize("what, event, how", [
    ("directory", "cannot enter the directory", "exit status 74 (it could not enter its root or its directory)"),
    ("chroot", "cannot enter the chroot", "exit status 74 (it could not enter its root or its directory)"),
])
def test_a_set_up_that_fails(brood, directory, what, event, how):
    """As of any worker: the step is named, the workers die before they are ready, the daemon gives up; or recovers."""
    place = directory / "place"
    place.mkdir()
    extra = f'{what} = "{place}"\n\tbackoff_min = 20ms\n\tbackoff_max = 50ms'
    one = brood(inetd_pool([SHOW] if what == "directory" else ["/show"], extra=extra), expect=[event, "worker died", "cannot start"])
    if what == "chroot":
        subprocess.run(["gcc", "-static", "-D_GNU_SOURCE", "-w", "-o", place / "show", pathlib.Path(__file__).parent / "show.c"],
                       check=True)
    one.start()
    assert ask(one.address())
    one.wait_workers(2)
    place.rename(directory / "away")
    if what == "chroot":  # which is for as long as its nursery lives
        kill(nursery_of(one), signal.SIGKILL)
        one.expect.append("nursery died")
    for _ in range(2):
        assert ask(one.address())
    assert one.wait_log(event)[0]["reason"] == "No such file or directory"
    row = one.wait_log("worker died")[0]
    assert row["how"] == how and row["when"] == "before ready"
    (directory / "away").rename(place)
    one.wait_workers(2)
    assert ask(one.address())


def test_a_set_up_that_never_succeeds(brood):
    """Exit status 75 after some attempts."""
    one = brood(inetd_pool(["cat"], extra="""limits { nofile = 100 }
	backoff_min = 10ms
	backoff_max = 20ms"""), limits={resource.RLIMIT_NOFILE: (50, 50)}, user=NOBODY if IS_ROOT else None,
                expect=["cannot set a limit", "worker died", "cannot start", "ending"], status=75, notify=False).spawn()
    assert one.wait() == 75
    assert one.log("cannot set a limit")[0]["limit"] == "nofile"
    assert {row["how"] for row in one.log("worker died")} == {"exit status 73 (its limits could not be set)"}


# ---- what its user may do to the master ----

def forge(nursery, data):
    """Sends DATA to the master on the nursery's socket, as a program of the pool's user could."""
    fds = [fd for fd, target in proc_fds(nursery).items() if target.startswith("socket:")]
    pidfd = os.pidfd_open(nursery)
    libc = ctypes.CDLL(None, use_errno=True)
    sent = 0
    for fd in fds:
        own = libc.syscall(438, pidfd, fd, 0)
        if own < 0:
            continue
        with socket.socket(fileno=own) as stolen:
            if stolen.type == socket.SOCK_SEQPACKET:
                stolen.send(data, socket.MSG_DONTWAIT)
                sent += 1
    os.close(pidfd)
    return sent


def test_the_master_believes_no_stranger(brood):
    """A message that names a slot, from a process that is no child of the master's: it is nobody's birth."""
    one = brood(inetd_pool(["cat"], workers=1, extra="backoff_min = 10ms"), expect=["does not answer", "cannot start", "log lines dropped"]).start()
    nursery = nursery_of(one)
    kill(nursery, signal.SIGSTOP)
    assert ask(one.address(), b"x") == b"x"
    # Whatever its number: one is asked for now, in a slot and with a serial that are easily guessed.
    sent = [forge(nursery, struct.pack("=IIi", slot, serial, 0)) for slot in range(3) for serial in range(1, 6)]
    if not any(sent):
        pytest.skip("pidfd_getfd(2) is not to be had")
    forge(nursery, b"short")
    one.wait_log("nursery does not answer")
    assert ask(one.address(), b"x") == b"x"
    one.wait_workers(1)
    assert os.getpid() not in [row["pid"] for row in one.log("START")]
