# SPDX-License-Identifier: MIT
"""Pools whose size goes by their load: growth, shrinking, on demand, shares of max_workers."""
import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import pytest
from brood import (BUILD, Brood, connect, echo_once, echo_pool, kill, proc_status, receive, receive_all, wait_for)
from test_inetd import inetd_pool
from test_upgrade import replaceable, upgrade, wait_rolled

STEPS = pathlib.Path(__file__).with_name("steps.py")
FULL = "all workers are busy"
GROWN = "the load asks for another size"
NEVER_MS = 10**9


def load_pool(keys="", name="web", handler="echo", listen="127.0.0.1:0", extra=""):
    return f"""
pool "{name}" {{
	listen = {{"{listen}"}}
	handler = {handler}
	idle_timeout = 60s
	{keys}
	{extra}
}}
"""


def program_pool(keys, *steps, name="app"):
    command = ", ".join(f'"{word}"' for word in ("/usr/bin/python3", STEPS, *steps))
    return f"""
pool "{name}" {{
	listen = {{"127.0.0.1:0"}}
	handler = program
	command = {{{command}}}
	ready_after = 50ms
	{keys}
}}
"""


def busy(one, count, pool=None):
    """So many clients, each of which is being served."""
    clients = [connect(one.address(pool)) for _ in range(count)]
    for client in clients:
        client.sendall(b"hello")
    for client in clients:
        assert receive(client, 5) == b"hello"
    return clients


def close(clients):
    for client in clients:
        client.close()


def size(one, pool="web"):
    """The workers that serve, or will; those that leave are none."""
    return len([slot for slot in one.slots(pool) if slot["state"] != "leaving"])


def wait_size(one, count, pool="web"):
    wait_for(lambda: size(one, pool) == count, f"{count} workers of {pool}")
    one.note_processes()


def switches(pid):
    """How often it has waited."""
    return int(proc_status(pid)["voluntary_ctxt_switches"])


# ---- growth ----

def test_a_burst_is_served_at_once(brood):
    """Nothing but the shortage itself starts workers: were there a tick, it would be a minute away. What is served is 62
    clients more than there were workers, none of whom leaves."""
    one = brood("log_level = debug\nmax_workers = 100\n" + load_pool("min_spare = 2\nmax_spare = 90\nidle_exit = off")).start()
    one.wait_workers(2, "web")
    clients = busy(one, 64)
    wait_for(lambda: 66 <= size(one) <= 72, "one for each, and the spare ones")
    close(clients)
    assert not one.log(FULL)


def test_a_pool_grows_by_all_that_is_missing(brood):
    """One look, when the master comes to it, is enough: a worker for each client that waits, and a spare one."""
    one = brood("log_level = debug\nmax_workers = 100\n" + load_pool("max_spare = 90\nidle_exit = off")).start()
    one.wait_workers(1, "web")
    before = len(one.log(GROWN))
    os.kill(one.pid, signal.SIGSTOP)
    clients = [connect(one.address()) for _ in range(40)]
    for client in clients:
        client.sendall(b"x")
    assert receive(clients[0], 1) == b"x"
    os.kill(one.pid, signal.SIGCONT)
    for client in clients[1:]:
        assert receive(client, 1) == b"x"
    row = one.wait_log(GROWN, before + 1)[before]
    assert (row["busy"], row["queued"], row["workers"]) == (1, 39, 41)
    close(clients)


def test_a_pool_has_its_spare_workers_beside_the_busy(brood):
    one = brood(load_pool("min_workers = 1\nmin_spare = 3\nmax_spare = 5")).start()
    one.wait_workers(3, "web")
    clients = busy(one, 2)
    wait_size(one, 5)
    clients += busy(one, 2)
    wait_size(one, 7)
    close(clients)
    wait_size(one, 5)


def test_a_client_that_is_served_fast_does_not_grow_the_pool_for_ever(brood):
    """A shortage that is over when the master looks is one all the same; but it is made up for once."""
    one = brood("log_level = debug\n" + load_pool("min_spare = 2\nmax_spare = 8\nidle_exit = off")).start()
    one.wait_workers(2, "web")
    for _ in range(200):
        echo_once(one.address())
    # Those that close a connection may not be back before the next one comes.
    assert 3 <= size(one) <= 10
    assert len(one.log(GROWN)) <= 10


def test_a_worker_that_was_killed_is_counted_no_more(brood):
    """The count of those that wait is the workers' own: one that dies while it waits cannot take itself off it."""
    one = brood(load_pool("min_workers = 4\nmin_spare = 2\nmax_spare = 4"), expect=["worker died"]).start()
    for _ in range(3):
        for pid in one.wait_workers(4, "web"):
            kill(pid, signal.SIGKILL)
        wait_for(lambda: len(one.log("worker died")) % 4 == 0, "the deaths")
    one.wait_workers(4, "web")
    clients = busy(one, 12)
    wait_size(one, 14)
    close(clients)


def test_a_worker_that_lies_of_all_the_others(brood):
    """It may write what it likes to the scoreboard: the master counts again, and pools grow as they did."""
    module = f'module = "{BUILD}/tests/modules/trouble.so"'
    keys = "min_workers = 4\nmin_spare = 2\nmax_spare = 4"
    one = brood(load_pool(keys, handler="module", extra=module) + load_pool(keys, "other"),
                expect=["worker died"]).start()
    with connect(one.address("web")) as client:
        client.sendall(b"garble\n")
        one.wait_log("worker died")
    for name in ("web", "other"):
        clients = [connect(one.address(name)) for _ in range(12)]
        wait_size(one, 14, name)
        close(clients)


# ---- shrinking ----

def test_the_idle_leave_and_never_a_busy_one(brood):
    one = brood("log_level = debug\n" + load_pool("min_spare = 1\nmax_spare = 3\nidle_exit = off")).start()
    clients = busy(one, 8)
    wait_size(one, 9)
    kept, gone = clients[:2], clients[2:]
    served = {slot["pid"] for slot in one.slots("web") if slot["state"] in ("busy", "waiting")}
    close(gone)
    wait_size(one, 5)
    for client in kept:
        client.sendall(b"still")
        assert receive(client, 5) == b"still"
    rows = one.log("worker died")
    assert len(rows) == 4 and {row["reason"] for row in rows} == {"scale down"}
    assert {row["kind"] for row in rows} == {"retired"}
    # One a second.
    times = [row["time"] for row in one.log("^worker told to end$")]
    assert len(times) == len(set(time[:19] for time in times))
    assert len(served & {slot["pid"] for slot in one.slots("web")}) >= 2
    close(kept)


def test_idle_exit_ends_at_once_all_that_are_not_needed(brood):
    one = brood(load_pool("min_workers = 2\nmax_spare = 40\nidle_exit = 500ms")).start()
    clients = busy(one, 10)
    wait_size(one, 11)
    close(clients)
    wait_size(one, 2)


# ---- full ----

def test_max_workers_is_reported_once_an_episode(brood):
    one = brood(load_pool("max_workers = 3"), expect=[FULL]).start()
    clients = busy(one, 3)
    clients += [connect(one.address()) for _ in range(4)]
    row = one.wait_log(FULL)[0]
    assert (row["pool"], row["workers"], row["limit"]) == ("web", 3, "max_workers of the pool")
    assert 1 <= row["queued"] <= 4
    # Still so at several looks, which are a second apart.
    time.sleep(3)
    assert len(one.log(FULL)) == 1
    close(clients)


@pytest.mark.parametrize("config, limit", [
    (echo_pool("web", workers=1, extra="idle_timeout = 60s"), "workers of the pool"),
    ("max_workers = 1\n" + load_pool("min_workers = 1"), "max_workers of all pools"),
], ids=["workers", "all"])
def test_the_key_to_raise_is_named(brood, config, limit):
    one = brood(config, expect=[FULL]).start()
    clients = busy(one, 1) + [connect(one.address())]
    assert one.wait_log(FULL)[0]["limit"] == limit
    close(clients)


def test_programs_that_are_too_few_are_reported_too(brood):
    config = program_pool("workers = 1", "accept-one") + program_pool("max_workers = 1", "accept-one", name="other")
    one = brood(config, expect=[FULL]).start()
    clients = [connect(one.address(pool)) for pool in ("app", "other") for _ in range(3)]
    assert one.wait_log(FULL, pool="app")[0]["limit"] == "workers of the pool"
    assert one.wait_log(FULL, pool="other")[0]["limit"] == "max_workers of the pool"
    close(clients)


def test_a_pool_that_is_short_for_moments_is_not_reported(brood):
    one = brood(echo_pool("web", workers=1)).start()
    for _ in range(300):
        echo_once(one.address())
    time.sleep(2)
    assert not one.log(FULL)


# ---- on demand ----

def test_on_demand_from_nothing_and_back(brood):
    one = brood("log_level = debug\n" + load_pool("min_workers = 0\nidle_exit = 300ms")).start()
    assert one.workers("web") == []
    for _ in range(3):
        assert echo_once(one.address()) == b"hello"
        wait_size(one, 0)
    assert len(one.log("a client wakes the pool")) == 3


def test_on_demand_costs_no_useless_wake_ups(brood):
    """The master waits for a client only while there is no worker. 2,000 connections later it has been woken by what a
    few workers have told it, and by a look a second."""
    one = brood(load_pool("min_workers = 0\nmin_spare = 2\nmax_spare = 4\nidle_exit = 60s")).start()
    assert echo_once(one.address()) == b"hello"
    # All that it starts by that are there.
    wait_for(lambda: size(one) >= 2, "its spare workers")
    time.sleep(1)
    before, begun = switches(one.pid), time.monotonic()
    for _ in range(2000):
        assert echo_once(one.address()) == b"hello"
    # A child's beginning and end, and a look a second; each may be several waits, but not one a connection.
    assert switches(one.pid) - before < 100 + 10 * (time.monotonic() - begun)


def test_a_pool_that_sleeps_wakes_nobody(brood):
    one = brood(load_pool("min_workers = 0")).start()
    wait_for(lambda: proc_status(one.pid)["State"].startswith("S"), "the master waits")
    time.sleep(0.5)
    before = switches(one.pid)
    time.sleep(2)
    assert switches(one.pid) - before <= 2


def test_on_demand_several_listeners(brood, directory):
    path = directory / "web.sock"
    one = brood(load_pool("min_workers = 0\nidle_exit = 200ms", listen=f'127.0.0.1:0", "unix:{path}')).start()
    for address in [one.address(), f"unix:{path}"] * 2:
        assert echo_once(address) == b"hello"
        wait_size(one, 0)


def test_on_demand_waits_out_a_backoff(brood, directory):
    """A client does not start what fails again and again."""
    switch = directory / "works"
    command = f'if test -e {switch}; then exec /usr/bin/python3 {STEPS} accept; else exit 3; fi'
    one = brood(f"""
pool "app" {{
	listen = {{"127.0.0.1:0"}}
	handler = program
	command = {{"/bin/sh", "-c", "{command}"}}
	ready_after = 50ms
	min_workers = 0
	idle_exit = 200ms
	backoff_min = 300ms
	backoff_max = 300ms
}}
""", expect=["worker died", "failures", "backing off"]).start()
    with connect(one.address()) as client:
        one.wait_log("worker died", 3)
        starts = len(one.log("worker died"))
        begun = time.monotonic()
        one.wait_log("worker died", starts + 3)
        assert time.monotonic() - begun > 0.5
        switch.touch()
        assert receive_all(client)
    wait_size(one, 0, "app")


def test_a_stop_serves_who_waits_for_a_pool_without_workers(brood):
    """The clients are in the queue when the stop begins: its workers have not been started yet."""
    one = brood(load_pool("min_workers = 0\nidle_exit = 100ms") + load_pool("workers = 1", name="other")).start()
    os.kill(one.pid, signal.SIGSTOP)
    clients = [connect(one.address("web")) for _ in range(5)]
    for client in clients:
        client.sendall(b"hello")
        client.shutdown(socket.SHUT_WR)
    os.kill(one.pid, signal.SIGTERM)
    os.kill(one.pid, signal.SIGCONT)
    for client in clients:
        assert receive_all(client) == b"hello"
    close(clients)
    assert one.wait() == 0


def test_a_stop_of_a_pool_that_sleeps_is_at_once(brood, directory):
    path = directory / "web.sock"
    one = brood("stop_timeout = 30s\n" + load_pool("min_workers = 0", listen=f'127.0.0.1:0", "unix:{path}')).start()
    begun = time.monotonic()
    assert one.stop() == 0
    assert time.monotonic() - begun < 10


def test_inetd_on_demand(brood):
    one = brood("log_level = debug\n" + inetd_pool(["cat"], "a", workers=3, extra="min_workers = 0\nidle_exit = 500ms")).start()
    assert size(one, "a") == 0
    with connect(one.address()) as client:
        client.sendall(b"hello")
        assert receive(client, 5) == b"hello"
        # Three wait beside the program; then nobody comes, and they go. It stays, and the next client is served.
        wait_for(lambda: sorted(slot["state"] for slot in one.slots("a")) == ["idle"] * 3 + ["running"], "three that wait")
        wait_for(lambda: [slot["state"] for slot in one.slots("a")] == ["running"], "none that waits")
        with connect(one.address()) as other:
            other.sendall(b"again")
            assert receive(other, 5) == b"again"
        client.sendall(b"still")
        assert receive(client, 5) == b"still"
    wait_size(one, 0, "a")


# ---- programs ----

def test_programs_by_the_depth_of_their_queue(brood):
    one = brood(program_pool("min_workers = 1\nmax_workers = 6\nidle_exit = 1s\nsample_interval = 20ms", "accept-one")).start()
    clients = [connect(one.address()) for _ in range(4)]
    for client in clients:
        assert receive(client, 1)
    wait_for(lambda: size(one, "app") >= 4, "one each")
    close(clients)
    wait_size(one, 1, "app")


def test_a_program_that_exits_when_it_is_idle_is_no_failure(brood):
    """With min_workers = 0 its exit is the pool's; the next client starts it again."""
    one = brood("log_level = debug\n" + program_pool("min_workers = 0\nidle_exit = off", "accept-for:0.4")).start()
    for _ in range(2):
        with connect(one.address()) as client:
            assert receive_all(client)
        wait_size(one, 0, "app")
    rows = one.log("worker died")
    assert {(row["kind"], row["next"]) for row in rows} == {("recycled", "not replaced")}
    assert not [row for row in rows if row["level"] == "warning"]


# ---- shares ----

def test_hungry_pools_have_equal_shares_of_max_workers(brood):
    keys = "min_workers = 1\nmax_spare = 12\nidle_exit = off"
    one = brood("max_workers = 12\n" + load_pool(keys, name="a") + load_pool(keys, name="b"), expect=[FULL]).start()
    first = busy(one, 10, "a")
    wait_size(one, 11, "a")
    # As b grows, workers of a finish what they have, and go; their clients are not cut off.
    second = [connect(one.address("b")) for _ in range(10)]
    for client in second:
        client.sendall(b"hello")
    for client in first[:5]:
        client.close()
    wait_for(lambda: (size(one, "a"), size(one, "b")) == (6, 6), "equal shares")
    for client in first[5:]:
        client.sendall(b"still")
        assert receive(client, 5) == b"still"
    close(first + second)
    wait_for(lambda: size(one, "a") + size(one, "b") <= 12, "")


# ---- reload and upgrade ----

def test_spare_workers_that_max_workers_has_no_room_for_are_not_waited_for(brood):
    """Each pool has its minimum: it serves, and so the daemon is ready, at its start and after a reload."""
    keys = "min_workers = 1\n min_spare = 2\n max_workers = 2"
    text = "max_workers = 2\n" + load_pool(keys, "a") + load_pool(keys, "b")
    one = brood(text).start()
    assert [size(one, name) for name in "ab"] == [1, 1]
    for name in "ab":
        echo_once(one.address(name))
    one.reload(text + "stop_timeout = 20s\n")
    for name in "ab":
        echo_once(one.address(name))


def test_reload_from_fixed_to_load_and_back(brood):
    fixed, load = echo_pool("web", workers=5, extra="idle_timeout = 60s"), load_pool("max_workers = 30\nidle_exit = off")
    one = brood(fixed).start()
    one.reload(load)
    one.wait_log("^rolled")
    # What it had it gives back one by one.
    wait_size(one, 2)
    clients = busy(one, 9)
    wait_size(one, 10)
    one.reload(load_pool("max_workers = 7\nidle_exit = off"))
    for client in clients:
        client.sendall(b"still")
        assert receive(client, 5) == b"still"
    close(clients)
    one.wait_log("^rolled", 2)
    wait_for(lambda: size(one) <= 7, "its new bound")
    one.reload(fixed)
    one.wait_log("^rolled", 3)
    one.wait_workers(5, "web")


def test_a_reload_keeps_the_size(brood):
    one = brood("log_level = debug\n" + load_pool("max_spare = 20\nidle_exit = off")).start()
    clients = busy(one, 8)
    close(clients)
    one.wait_workers(9, "web")
    one.reload(load_pool("max_spare = 20\nidle_exit = off"))
    one.wait_log("^rolled")
    one.wait_workers(9, "web")


def test_a_reload_of_a_pool_that_sleeps(brood):
    one = brood(load_pool("min_workers = 0\nidle_exit = 200ms")).start()
    one.reload(load_pool("min_workers = 0\nidle_exit = 300ms"))
    wait_size(one, 0)
    assert echo_once(one.address()) == b"hello"
    wait_size(one, 0)
    one.reload(load_pool("min_workers = 0\nidle_exit = 300ms", listen=one.address()))
    wait_size(one, 0)
    assert echo_once(one.address()) == b"hello"


def test_an_upgrade_keeps_the_size_and_who_sleeps(brood):
    config = load_pool("max_spare = 20\nidle_exit = off") + load_pool("min_workers = 0\nidle_exit = 200ms", name="sleeps")
    one = replaceable(brood, config).start()
    close(busy(one, 8, "web"))
    one.wait_workers(9, "web")
    before = one.workers("web")
    upgrade(one)
    wait_rolled(one, before, 9, "web")
    wait_size(one, 0, "sleeps")
    assert echo_once(one.address("sleeps")) == b"hello"
    wait_size(one, 0, "sleeps")


# ---- what is told ----

@pytest.mark.skipif(not (BUILD / "src/broodctl").exists(), reason="broodctl was not built (jansson)")
def test_broodctl_tells(brood):
    one = brood(load_pool("min_workers = 2\nmax_workers = 3") + load_pool("min_workers = 0", name="sleeps"),
                expect=[FULL]).start()

    def told(name):
        done = subprocess.run([BUILD / "src/broodctl", "-s", one.control, "--json", "status"], capture_output=True,
                              text=True, check=True)
        return next(pool for pool in json.loads(done.stdout)["pools"] if pool["name"] == name)
    web = told("web")
    assert (web["size"], web["min_workers"], web["max_workers"], web["share"]) == ("load", 2, 3, None)
    wait_for(lambda: (told("web")["busy"], told("web")["idle"]) == (0, 2), "two idle ones")
    sleeps = told("sleeps")
    assert (sleeps["size"], sleeps["state"], sleeps["wanted"]) == ("demand", "sleeping", 0)
    clients = busy(one, 3, "web") + [connect(one.address("web")) for _ in range(2)]
    one.wait_log(FULL)
    web = told("web")
    assert (web["busy"], web["idle"], web["queued"], web["full_episodes"], web["state"]) == (3, 0, 2, 1, "full")
    table = subprocess.run([BUILD / "src/broodctl", "-s", one.control, "status"], capture_output=True, text=True, check=True)
    assert "2-3" in table.stdout
    close(clients)
