# SPDX-License-Identifier: MIT
"""Shortages: no processes, no descriptors. The master survives, does not spin, and recovers."""
import os
import resource
import signal
import subprocess
import time

import pytest
from brood import SANITIZED, Storm, connect, echo_once, echo_pool, kill, proc_stat, receive, wait_for
from conftest import root_only

UNUSED_UID = 61234  # RLIMIT_NPROC counts all processes of a user: one that has no others


def cpu_ticks(pid):
    fields = proc_stat(pid)
    return int(fields[11]) + int(fields[12])


def assert_does_not_spin(pids, seconds=2):
    """Over some seconds each of PIDS uses less than a quarter of a processor."""
    before = {pid: cpu_ticks(pid) for pid in pids}
    time.sleep(seconds)
    ticks = os.sysconf("SC_CLK_TCK")
    for pid in pids:
        used = (cpu_ticks(pid) - before[pid]) / ticks
        assert used < seconds / 4, f"{pid} used {used} s of {seconds} s"


def limit_processes(one, count):
    """As the user itself: root may have been stripped of the capability that changing another's limit takes."""
    subprocess.run(["prlimit", f"--pid={one.pid}", f"--nproc={count}:"], user=one.user, group=one.user, extra_groups=[],
                   check=True, timeout=60)


@root_only
def test_fork_failure_is_survived(brood):
    """A limit on processes falls while it runs: workers die, cannot be replaced, and come back when they can."""
    one = brood(echo_pool(workers=6, extra="backoff_min = 50ms\n\tbackoff_max = 200ms"), user=UNUSED_UID,
                expect=["died", "cannot start a worker"]).start()
    workers = one.wait_workers(6)
    limit_processes(one, 3)
    for pid in workers[:5]:
        kill(pid, signal.SIGKILL)
    one.wait_log("cannot start a worker")
    assert_does_not_spin([one.pid])
    assert echo_once(one.address()) == b"hello", "the worker that is left serves"
    # One warning an episode, however often it tries.
    assert len(one.log("cannot start a worker")) <= 2, one.log_text()
    limit_processes(one, 100)
    one.wait_workers(6)
    one.wait_log("starting workers again")


@root_only
@pytest.mark.skipif(SANITIZED, reason="at the end LeakSanitizer needs a thread")
def test_fork_failure_does_not_hinder_a_stop(brood):
    one = brood(echo_pool(workers=4, extra="backoff_min = 50ms"), user=UNUSED_UID + 1,
                expect=["died", "cannot start a worker"]).start()
    workers = one.wait_workers(4)
    limit_processes(one, 1)
    for pid in workers:
        kill(pid, signal.SIGKILL)
    one.wait_log("cannot start a worker")
    assert one.stop() == 0


@root_only
@pytest.mark.skipif(SANITIZED, reason="at the end LeakSanitizer needs a thread")
def test_start_without_any_process_fails_with_75(brood):
    one = brood(echo_pool(workers=2, extra="backoff_min = 1ms\n\tbackoff_max = 10ms"), user=UNUSED_UID + 2,
                limits={resource.RLIMIT_NPROC: (0, 0)}, status=None, expect=[".*"])
    one.spawn()
    one.status = one.wait()
    assert one.status in (71, 75), one.log_text()
    assert "Resource temporarily unavailable" in one.log_text()


def exhaust(pid):
    """Lowers the limit on descriptors of PID to its lowest free number: the next one it opens fails with EMFILE."""
    taken = set(map(int, os.listdir(f"/proc/{pid}/fd")))
    used = next(number for number in range(len(taken) + 1) if number not in taken)
    hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
    old = resource.prlimit(pid, resource.RLIMIT_NOFILE, (used, hard))
    return old


@pytest.mark.parametrize("listen", ["127.0.0.1:0", ["127.0.0.1:0", "127.0.0.1:0"]], ids=["one", "several"])
def test_worker_without_descriptors_waits_and_recovers(brood, listen):
    """EMFILE in accept: the client stays in the queue, nothing spins, and it is served when there are descriptors."""
    one = brood(echo_pool(listen=listen, workers=1), expect=["cannot accept"]).start()
    pid, = one.wait_workers(1)
    old = exhaust(pid)
    with connect(one.address()) as client:
        client.sendall(b"hello")
        one.wait_log("cannot accept")
        assert_does_not_spin([pid, one.pid])
        assert len(one.log("cannot accept")) == 1
        resource.prlimit(pid, resource.RLIMIT_NOFILE, old)
        assert receive(client, 5) == b"hello"
    assert one.workers() == [pid]


def test_worker_without_descriptors_retires(brood):
    """Also in that state it obeys, and the client in the queue goes to the next worker."""
    one = brood(echo_pool(workers=1), expect=["cannot accept", "died"]).start()
    pid, = one.wait_workers(1)
    exhaust(pid)
    with connect(one.address()) as client:
        client.sendall(b"hello")
        one.wait_log("cannot accept")
        kill(pid, signal.SIGURG)
        assert receive(client, 5) == b"hello"


def test_master_without_descriptors_replaces_its_workers(brood):
    one = brood(echo_pool(workers=4), expect=["died"]).start()
    one.wait_workers(4)
    old = exhaust(one.pid)
    for pid in one.workers():
        kill(pid, signal.SIGKILL)
    wait_for(lambda: len(one.log("died")) >= 4, "four deaths")
    wait_for(lambda: len(one.workers()) == 4, "four workers")
    assert echo_once(one.address()) == b"hello"
    resource.prlimit(one.pid, resource.RLIMIT_NOFILE, old)
    one.wait_workers(4)


@pytest.mark.skipif(SANITIZED, reason="a sanitizer opens files of its own")
def test_start_with_too_few_descriptors_is_a_clean_failure(brood):
    listen = ["127.0.0.1:0"] * 12
    one = brood(echo_pool(listen=listen), limits={resource.RLIMIT_NOFILE: (12, 12)}, status=None, expect=[".*"])
    one.spawn()
    one.status = one.wait()
    assert one.status in (69, 71), one.log_text()
    assert "Too many open files" in one.log_text()


def test_master_raises_its_descriptor_limit_and_workers_get_the_old_one(brood):
    one = brood(echo_pool(workers=1), limits={resource.RLIMIT_NOFILE: (256, 4096)}).start()
    pid, = one.wait_workers(1)
    assert resource.prlimit(one.pid, resource.RLIMIT_NOFILE) == (4096, 4096)
    assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == (256, 4096)


@root_only
def test_more_clients_than_workers_under_a_process_limit(brood):
    """The pool cannot reach its size, and serves with what it has."""
    one = brood(echo_pool(workers=2, echo="messages = 1", extra="backoff_min = 50ms"), user=UNUSED_UID + 3,
                expect=["cannot start", "died"]).start()
    one.wait_workers(2)
    limit_processes(one, 4)
    with Storm(one.address(), "-t", 8) as storm:
        storm.wait_started()
        for _ in range(5):
            for pid in one.workers()[:1]:
                kill(pid, signal.SIGURG)
            wait_for(lambda: one.workers(), "a worker")
        counts = storm.stop()
    assert counts["lost"] == 0 and counts["ok"] > 0, counts
