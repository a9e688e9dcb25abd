# SPDX-License-Identifier: MIT
"""What a worker is, seen from outside, and what signals to it do."""
import os
import signal
import socket

import pytest
from brood import (connect, echo_once, echo_pool, kill, proc_alive, proc_children, proc_environment, proc_fds, proc_stat, proc_status,
                   proc_text, proc_title, receive, wait_for)


def served_by(one, count):
    """COUNT clients, each with a worker of its own that has answered: {worker's pid: client}."""
    clients = {}
    for _ in range(count):
        client = connect(one.address())
        client.sendall(b"one")
        assert receive(client, 3) == b"one"
        peer = "%s:%d" % client.getsockname()
        slot = wait_for(lambda p=peer: [s for s in one.slots("echo") if s["peer"] == p], f"the slot of {peer}")[0]
        clients[slot["pid"]] = client
    return clients


def test_titles(brood):
    one = brood(echo_pool("web") + echo_pool("other-name")).start()
    assert proc_title(one.pid) == f"brood: master {one.config_path}"
    assert len(one.wait_workers(2, "web")) == 2
    assert len(one.wait_workers(2, "other-name")) == 2


def test_master_does_not_move_when_workers_change(brood):
    one = brood(echo_pool(), expect=["died"]).start()
    before = proc_title(one.pid)
    for pid in one.wait_workers(2):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: len(one.log("died")) >= 2, "two deaths")
    one.wait_workers(2)
    assert proc_title(one.pid) == before


def test_workers_are_direct_children_each_in_a_group_of_its_own(brood):
    one = brood(echo_pool(workers=4)).start()
    workers = one.wait_workers(4)
    groups = {pid: int(proc_stat(pid)[2]) for pid in workers}
    assert groups == {pid: pid for pid in workers}
    assert all(int(proc_stat(pid)[1]) == one.pid for pid in workers)


def test_workers_hold_no_stray_descriptors(brood):
    """The listeners of its own pool, the log's socket, the master's event descriptor, the null device, and 0 to 2."""
    one = brood(echo_pool("one", workers=2) + echo_pool("two", listen=["127.0.0.1:0"] * 2, workers=2)).start()
    one.wait_workers(4)
    listeners = {pool: set(listener_inodes(one, pool)) for pool in ("one", "two")}
    for pool, count in (("one", 1), ("two", 2)):
        assert len(listeners[pool]) == count
        for pid in one.workers(pool):
            fds = {n: t for n, t in proc_fds(pid).items() if n > 2}
            sockets = {t for t in fds.values() if t.startswith("socket:")}
            assert listeners[pool] <= sockets
            assert len(sockets - listeners[pool]) <= 1, fds  # the log's
            rest = sorted(t for t in fds.values() if not t.startswith("socket:"))
            allowed = {"anon_inode:[eventfd]": 1, "anon_inode:[eventpoll]": int(pool == "two"), "/dev/null": 1}
            assert all(rest.count(t) <= allowed.get(t, 0) for t in rest), fds


def listener_inodes(one, pool):
    ports = {int(a.rpartition(":")[2]) for a in one.addresses(pool)}
    return listening_sockets(one.pid, ports)


def test_connection_is_close_on_exec(brood):
    one = brood(echo_pool(workers=1)).start()
    listeners = set(proc_fds(one.wait_workers(1)[0]).values())
    (pid, client), = served_by(one, 1).items()
    with client:
        number, = [n for n, t in proc_fds(pid).items() if t not in listeners and t.startswith("socket:")]
        flags = [line for line in proc_text(pid, f"fdinfo/{number}").splitlines() if line.startswith("flags:")][0]
        assert int(flags.split()[1], 8) & os.O_CLOEXEC, flags


def test_environment_of_the_service_manager_does_not_reach_workers(brood):
    """The variables are gone from the workers' own environment, which is what a program would inherit."""
    with socket.socket() as given:
        given.bind(("127.0.0.1", 0))
        given.listen()
        one = brood(echo_pool(listen="systemd:web", workers=1), sockets=[("web", given)],
                    env={"WATCHDOG_USEC": "60000000", "KEPT": "yes"}).start()
    pid, = one.wait_workers(1)
    names = proc_environment(pid)
    assert "KEPT" in names, "this is not the environment"
    assert not names & {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"}


def test_signal_masks_and_dispositions(brood):
    one = brood(echo_pool(workers=1)).start()
    pid, = one.wait_workers(1)
    status = proc_status(pid)
    ignored, caught = int(status["SigIgn"], 16), int(status["SigCgt"], 16)

    def bit(number):
        return 1 << (number - 1)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU,
                   signal.SIGPIPE):
        assert ignored & bit(number), number
    for number in (signal.SIGURG, signal.SIGTERM, signal.SIGQUIT):
        assert caught & bit(number), number
    assert int(status["SigBlk"], 16) == 0


@pytest.mark.parametrize("number", [signal.SIGURG, signal.SIGTERM], ids=["URG", "TERM"])
def test_retired_worker_finishes_its_connection_and_is_replaced(brood, number):
    one = brood(echo_pool(workers=2, extra="idle_timeout = 60s"), expect=["died"]).start()
    (pid, client), = served_by(one, 1).items()
    os.kill(pid, number)
    for text in (b"two", b"six"):
        client.sendall(text)
        assert receive(client, 3) == text, "the connection was cut"
    assert proc_alive(pid)
    client.close()
    wait_for(lambda: not proc_alive(pid), "the retired worker's end")
    assert pid not in one.wait_workers(2)


@pytest.mark.parametrize("number", [signal.SIGURG, signal.SIGTERM], ids=["URG", "TERM"])
def test_idle_worker_retires_at_once(brood, number):
    # No time-out on the listener: nothing but the signal ends the wait.
    one = brood(echo_pool(workers=2, extra="idle_timeout = off"), expect=["died"]).start()
    for _ in range(20):
        pid = one.wait_workers(2)[0]
        os.kill(pid, number)
        wait_for(lambda p=pid: not proc_alive(p), "the retired worker's end")
    one.wait_workers(2)


def test_retiring_hangs_nowhere(brood):
    """The signal may land between any two instructions of the accept loop: 400 workers retired as they come back from a
    connection, and none waits for another one first."""
    one = brood(echo_pool(workers=4, extra="idle_timeout = off", echo="messages = 1"), expect=["died"]).start()
    address = one.address()
    assert echo_once(address) == b"hello"
    for _ in range(100):
        pids = wait_for(lambda: len(one.workers()) == 4 and one.workers(), "four workers")
        for _ in range(4):
            assert echo_once(address) == b"hello"
        for pid in pids:
            kill(pid, signal.SIGURG)
        wait_for(lambda p=pids: not any(map(proc_alive, p)), "the end of all four")
    one.wait_workers(4)


def test_quit_ends_a_worker_now(brood):
    one = brood(echo_pool(workers=2, extra="idle_timeout = 60s"), expect=["died"]).start()
    (pid, client), = served_by(one, 1).items()
    os.kill(pid, signal.SIGQUIT)
    wait_for(lambda: not proc_alive(pid), "the worker's end")
    with client:
        try:
            assert client.recv(10) == b""
        except ConnectionResetError:
            pass
    one.wait_workers(2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN,
                                    signal.SIGTTOU, signal.SIGPIPE], ids=lambda n: n.name)
def test_ignored_by_workers(brood, number):
    one = brood(echo_pool(workers=2, extra="idle_timeout = 60s")).start()
    workers = sorted(one.wait_workers(2))
    clients = served_by(one, 2)
    for pid in workers:
        os.kill(pid, number)
    for client in clients.values():
        client.sendall(b"two")
        assert receive(client, 3) == b"two"
        client.close()
    assert sorted(one.wait_workers(2)) == workers


def test_killed_master_leaves_workers_to_finish(brood):
    """SIGKILL of the master: idle workers leave at once, busy ones when their client has done."""
    one = brood(echo_pool(workers=4, extra="idle_timeout = 60s"), status=-signal.SIGKILL).start()
    one.wait_workers(4)
    (pid, client), = served_by(one, 1).items()
    idle = [worker for worker in one.workers() if worker != pid]
    one.note_processes()
    one.kill(signal.SIGKILL)
    one.wait()
    wait_for(lambda: not any(map(proc_alive, idle)), "the idle workers' end")
    client.sendall(b"two")
    assert receive(client, 3) == b"two", "the connection died with the master"
    assert proc_alive(pid)
    client.close()
    wait_for(lambda: not proc_alive(pid), "the last worker's end")
    wait_for(lambda: not one.leftovers(), "everything gone, the logger too")


@pytest.mark.parametrize("listen", ["127.0.0.1:0", ["127.0.0.1:0", "127.0.0.1:0"]], ids=["one", "several"])
def test_worker_without_a_master_lets_go_of_its_listeners(brood, listen):
    """The next master binds the same addresses while a worker of the dead one still serves."""
    first = brood(echo_pool(listen=listen, workers=2, extra="idle_timeout = 60s"), status=-signal.SIGKILL).start()
    addresses = first.addresses()
    (pid, client), = served_by(first, 1).items()
    first.note_processes()
    first.kill(signal.SIGKILL)
    first.wait()
    wait_for(lambda: not set(listening_sockets(pid)) & set(proc_fds(pid).values()), "the listeners closed")
    # This service manager keeps no descriptors.
    first.notify.forget()
    second = brood(echo_pool(listen=addresses)).start()
    for address in addresses:
        assert echo_once(address) == b"hello"
    client.sendall(b"two")
    assert receive(client, 3) == b"two"
    client.close()
    second.stop()


def listening_sockets(pid, ports=None):
    """The sockets of the name space of PID that listen on TCP, on those ports, as /proc/PID/fd shows them."""
    for line in proc_text(pid, "net/tcp").splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and (ports is None or int(fields[1].rpartition(":")[2], 16) in ports):
            yield f"socket:[{fields[9]}]"


def test_master_killed_during_the_start(brood):
    """Killed while it forks: no worker misses the death of a master that died before it could ask to be told."""
    for _ in range(10):
        one = brood(echo_pool(workers=60), status=-signal.SIGKILL, expect=[".*"])
        one.spawn()
        wait_for(one.children, "the first child")
        one.note_processes()
        one.kill(signal.SIGKILL)
        one.wait()
        wait_for(lambda: not one.leftovers(), "no orphan")


def test_connections_are_spread_evenly(brood):
    """Blocking accept() on one socket wakes workers in turn."""
    one = brood(echo_pool(workers=4, echo="messages = 1")).start()
    one.wait_workers(4)
    for _ in range(200):
        assert echo_once(one.address()) == b"hello"
        one_idle = wait_for(lambda: all(s["state"] == "idle" for s in one.slots("echo")), "all idle")
        assert one_idle
    served = [slot["requests"] for slot in one.slots("echo")]
    assert sum(served) == 200 and min(served) >= 40, served


def test_several_listeners_are_served_by_every_worker(brood, directory):
    listen = ["127.0.0.1:0", "127.0.0.1:0", "unix:@brood-several-%d" % os.getpid()]
    one = brood(echo_pool(listen=listen, workers=2, extra="idle_timeout = 60s")).start()
    one.wait_workers(2)
    for address in one.addresses() * 10:
        assert echo_once(address) == b"hello"
    # Two workers busy: the third client waits, and is served when one is free.
    busy = [connect(address) for address in one.addresses()[:2]]
    for client in busy:
        client.sendall(b"x")
        assert receive(client, 1) == b"x"
    with connect(one.addresses()[2]) as third:
        third.sendall(b"y")
        busy[0].close()
        assert receive(third, 1) == b"y"
    busy[1].close()


def test_no_process_but_workers_and_logger(brood):
    one = brood(echo_pool(workers=3)).start()
    one.wait_workers(3)
    assert len(proc_children(one.pid)) <= 4
