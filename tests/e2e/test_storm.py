# SPDX-License-Identifier: MIT
"""Storms: stops in the middle of one, and workers killed in the middle of one."""
import os
import random
import signal
import socket
import subprocess
import threading
import time

import pytest
from brood import SANITIZED, STORM, Storm, echo_once, echo_pool, kill, retire_in_storm, wait_for

# A sanitized build is some times slower, and is there for its reports: the figures are the plain build's.
STOPS = 20 if SANITIZED else 100
KILLS = 40 if SANITIZED else 200


def assert_nothing_lost(counts, allowed=0):
    assert counts["ok"] > 0 and counts["other"] == 0 and counts["stuck"] == 0, counts
    assert counts["lost"] <= allowed, counts


@pytest.mark.parametrize("kind", ["tcp", "unix", "several", "defer_accept"])
def test_no_connection_is_lost_over_many_stops(brood, directory, kind):
    """TERM in a storm of connections: each client is either refused or served. 100 stops in all, on four kinds."""
    path = directory / "storm.sock"
    listen = {"tcp": "127.0.0.1:0", "unix": f"unix:{path}", "several": ["127.0.0.1:0", "127.0.0.1:0"],
              "defer_accept": "127.0.0.1:0"}[kind]
    extra = "defer_accept = 1s" if kind == "defer_accept" else ""
    stops = {"tcp": STOPS // 2}.get(kind, STOPS // 6 + 1)
    config = echo_pool(listen=listen, workers=4, extra=extra, echo="messages = 1")
    total = {"ok": 0, "lost": 0, "refused": 0}
    for _ in range(stops):
        one = brood(config, expect=["backlog"]).start()
        with Storm(one.address(), "-t", 32) as storm:
            storm.wait_started()
            time.sleep(random.uniform(0, 0.05))  # any moment of the storm will do
            assert one.stop() == 0
            counts = storm.stop()
        assert_nothing_lost(counts)
        for name in total:
            total[name] += counts[name]
        one.finish()
    assert total["refused"] > 0, total


def test_no_http_request_is_lost_over_stops(brood, directory):
    """The same for whole answers of a file."""
    (directory / "page").write_bytes(b"x" * 5000)
    config = f"""
pool "web" {{
	listen = {{"127.0.0.1:0"}}
	handler = "http"
	workers = 4
	http {{ root = "{directory}" }}
}}
"""
    for _ in range(STOPS // 6):
        one = brood(config).start()
        with Storm(one.address(), "-t", 32, "-g", "/page") as storm:
            storm.wait_started()
            time.sleep(random.uniform(0, 0.05))
            assert one.stop() == 0
            counts = storm.stop()
        assert_nothing_lost(counts)
        one.finish()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
def test_stop_in_a_storm_with_every_process_signalled(brood, number):
    """As when a control group is stopped: workers retire at once, and what they had accepted they serve."""
    for _ in range(5):
        one = brood(echo_pool(workers=4, echo="messages = 1"), expect=["died"]).start()
        with Storm(one.address(), "-t", 16) as storm:
            storm.wait_started()
            for pid in [one.pid, *one.children()]:
                kill(pid, number)
            assert one.wait() == 0
            counts = storm.stop()
        assert_nothing_lost(counts)


def test_stop_of_many_clients_that_wait_in_the_queue(brood):
    """All workers busy and a full queue: at TERM the queue is served to its end."""
    one = brood(echo_pool(workers=1, extra="idle_timeout = 60s\n\tbacklog = 64", echo="messages = 1")).start()
    address = one.address()
    program = f"""
import socket, sys
clients = [socket.create_connection({tuple(address.rsplit(':', 1))!r}) for _ in range(40)]
print("connected", flush=True)
sys.stdin.readline()
for client in clients:
    client.settimeout(60)
    client.sendall(b"hello")
answers = [client.recv(5) for client in clients]
print(answers.count(b"hello"), flush=True)
"""
    with subprocess.Popen(["/usr/bin/python3", "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as clients:
        assert clients.stdout.readline() == "connected\n"
        one.kill(signal.SIGTERM)
        wait_for(lambda: "STOPPING=1" in one.notify.lines(), "STOPPING=1")
        clients.stdin.write("\n")
        clients.stdin.flush()
        assert clients.stdout.readline() == "40\n"
    assert one.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT], ids=["KILL", "SEGV", "ABRT"])
def test_a_killed_worker_costs_at_most_its_connection(brood, number):
    kills = KILLS if number == signal.SIGKILL else KILLS // 4
    one = brood(echo_pool(workers=8, echo="messages = 1"), expect=["died"]).start()
    one.wait_workers(8)
    with Storm(one.address(), "-t", 16) as storm:
        storm.wait_started()
        for i in range(kills):
            pids = wait_for(one.workers, "a worker")
            kill(random.choice(pids), number)
            wait_for(lambda n=i: len(one.log("died")) > n, f"death {i}")
        counts = storm.stop()
    assert_nothing_lost(counts, allowed=kills)
    assert len(one.log("died")) == kills
    one.wait_workers(8)
    assert echo_once(one.address()) == b"hello"


def test_all_workers_killed_at_once_again_and_again(brood):
    one = brood(echo_pool(workers=8, echo="messages = 1"), expect=["died", "backing off", "fail"]).start()
    with Storm(one.address(), "-t", 8) as storm:
        storm.wait_started()
        for _ in range(20):
            pids = wait_for(one.workers, "a worker")
            for pid in pids:
                kill(pid, signal.SIGKILL)
            wait_for(lambda p=pids: not set(p) & set(one.children()), "their end")
        counts = storm.stop()
    assert counts["ok"] > 0 and counts["other"] == 0, counts
    one.wait_workers(8)


def test_retiring_under_load_loses_nothing(brood):
    """SIGURG to every worker, again and again, in a storm: all of them finish what they have accepted."""
    one = brood(echo_pool(workers=4, echo="messages = 1"), expect=["died"]).start()
    assert_nothing_lost(retire_in_storm(one, one.workers, times=50, clients=16))
    one.wait_workers(4)


def test_kill_at_every_stage_of_a_workers_start(brood):
    """Killed between fork and ready, at whatever point the kill finds it: no slot is lost, the pool recovers."""
    one = brood(echo_pool(workers=4, extra="backoff_min = 1ms\n\tbackoff_max = 20ms"), expect=[".*"]).start()
    one.wait_workers(4)
    for _ in range(4):
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            for pid in one.workers() or one.children():
                if os.path.exists(f"/proc/{pid}"):
                    kill(pid, signal.SIGKILL)
    one.wait_workers(4)
    assert echo_once(one.address()) == b"hello"


def test_the_storm_program_itself_notices_a_loss(brood):
    """The instrument: a server that closes after accept is a loss, one that is not there is a refusal."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        address = "127.0.0.1:%d" % server.getsockname()[1]
        output = subprocess.run([STORM, "-t", "2", "-s", "1", address], stdout=subprocess.PIPE, text=True, timeout=60,
                                check=True).stdout
        assert '"ok": 0, ' in output and '"lost": 0' in output and '"refused": 0' not in output
        server.listen()

        def close_all():
            for _ in range(10):
                server.accept()[0].close()
        thread = threading.Thread(target=close_all)
        thread.start()
        with Storm(address, "-t", 1) as storm:
            thread.join(60)
            server.close()
            counts = storm.stop()
        assert counts["lost"] >= 9, counts
