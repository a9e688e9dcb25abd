# SPDX-License-Identifier: MIT
"""Signals to the master and to the whole process group, once and repeated."""
import os
import signal
import time

import pytest
from brood import connect, echo_once, echo_pool, kill, proc_alive, receive, receive_all, wait_for

ENDING = "ending all workers"
SIGTERM, SIGINT, SIGQUIT = signal.SIGTERM, signal.SIGINT, signal.SIGQUIT


def busy_client(one, pool=None):
    """A connection inside its conversation: a worker has answered it, and waits for more."""
    client = connect(one.address(pool))
    client.sendall(b"one")
    assert receive(client, 3) == b"one"
    return client


@pytest.mark.parametrize("number", [SIGTERM, SIGINT], ids=["TERM", "INT"])
def test_graceful_stop_finishes_connections(brood, number):
    one = brood(echo_pool(extra="idle_timeout = 60s")).start()
    client = busy_client(one)
    one.kill(number)
    wait_for(lambda: "STOPPING=1" in one.notify.lines(), "STOPPING=1")
    client.sendall(b"two")
    assert receive(client, 3) == b"two", "the connection was cut by a graceful stop"
    client.close()
    assert one.wait() == 0


@pytest.mark.parametrize("number", [SIGTERM, SIGINT], ids=["TERM", "INT"])
def test_stop_refuses_new_clients_while_old_ones_finish(brood, number):
    one = brood(echo_pool(extra="idle_timeout = 60s")).start()
    address = one.address()
    client = busy_client(one)
    one.kill(number)

    def refused():
        try:
            connect(address).close()
        except ConnectionRefusedError:
            return True
        return False
    wait_for(refused, "new clients refused")
    assert one.process.poll() is None
    client.close()
    assert one.wait() == 0


def test_quit_is_immediate(brood):
    one = brood(echo_pool(extra="idle_timeout = 60s") + "stop_timeout = 60s\n", expect=[ENDING]).start()
    client = busy_client(one)
    begin = time.monotonic()
    assert one.stop(SIGQUIT) == 0
    assert time.monotonic() - begin < 20
    with client:
        assert end_of_stream(client)


def end_of_stream(client):
    try:
        return receive_all(client) == b""
    except ConnectionResetError:
        return True


def test_second_int_is_quit(brood):
    one = brood(echo_pool(extra="idle_timeout = 60s") + "stop_timeout = 60s\n", expect=[ENDING]).start()
    with busy_client(one) as client:
        one.kill(SIGINT)
        wait_for(lambda: "STOPPING=1" in one.notify.lines(), "STOPPING=1")
        assert one.process.poll() is None
        one.kill(SIGINT)
        assert one.wait(20) == 0
        assert end_of_stream(client)


def test_second_term_does_not_cut(brood):
    one = brood(echo_pool(extra="idle_timeout = 60s")).start()
    client = busy_client(one)
    one.kill(SIGTERM)
    wait_for(lambda: "STOPPING=1" in one.notify.lines(), "STOPPING=1")
    one.kill(SIGTERM)
    client.sendall(b"two")
    assert receive(client, 3) == b"two"
    client.close()
    assert one.wait() == 0


def test_many_terms_are_one(brood):
    one = brood(echo_pool(extra="idle_timeout = 60s")).start()
    client = busy_client(one)
    for _ in range(200):
        one.kill(SIGTERM)
    client.sendall(b"two")
    assert receive(client, 3) == b"two"
    client.close()
    assert one.wait() == 0


def test_term_and_quit_before_ready(brood):
    for number in (SIGTERM, SIGINT, SIGQUIT):
        one = brood(echo_pool(workers=50), expect=[ENDING])
        one.spawn()
        wait_for(one.children, "the first child")
        one.kill(number)
        assert one.wait() == 0, one.log_text()


def test_stop_timeout_of_the_pool_ends_a_client_that_never_ends(brood):
    one = brood("stop_timeout = 1s\n" + echo_pool(extra="idle_timeout = 600s\n\tstop_timeout = 500ms"),
                expect=["died", "stop"]).start()
    client = busy_client(one)
    begin = time.monotonic()
    assert one.stop() == 0
    took = time.monotonic() - begin
    assert 0.4 < took < 20, took
    with client:
        assert end_of_stream(client)


def test_what_is_left_at_stop_timeout_is_counted(brood):
    """Whoever is being served, and whoever was accepted by the kernel and by no worker."""
    one = brood("stop_timeout = 1s\n" + echo_pool(workers=1, extra="idle_timeout = 600s"),
                expect=["died", "stop_timeout has passed"]).start()
    with busy_client(one), connect(one.address()), connect(one.address()):
        assert one.stop() == 0
    left = one.log("stop_timeout has passed")
    assert [(row["workers"], row["serving"], row["queued"]) for row in left] == [(1, 1, 2)]
    assert one.log("worker died", reason="stop_timeout") or one.log("worker died", reason="stop timeout")


def test_stop_ends_workers_that_are_stopped_themselves(brood):
    """A worker that cannot even handle a signal does not keep the stop from its end."""
    one = brood("stop_timeout = 1s\n" + echo_pool(workers=2), expect=["died", "stop"]).start()
    worker = one.wait_workers(2)[0]
    os.kill(worker, signal.SIGSTOP)
    assert one.stop() == 0
    assert not proc_alive(worker)


def test_ttin_and_ttou_within_their_bounds(brood):
    one = brood("max_workers = 6\n" + echo_pool(workers=2), expect=["max_workers"]).start()
    one.wait_workers(2)
    for count in (3, 4, 5, 6, 6):
        one.kill(signal.SIGTTIN)
        one.wait_workers(count)
    for count in (5, 4, 3, 2, 1, 1, 1):
        one.kill(signal.SIGTTOU)
        one.wait_workers(count)
    assert echo_once(one.address()) == b"hello"


def test_ttou_lets_a_busy_worker_finish(brood):
    one = brood(echo_pool(workers=2, extra="idle_timeout = 60s")).start()
    clients = [busy_client(one), busy_client(one)]
    one.kill(signal.SIGTTOU)
    wait_for(lambda: any(slot["state"] != "empty" for slot in one.slots("echo")), "the board")
    for client in clients:
        client.sendall(b"two")
        assert receive(client, 3) == b"two"
        client.close()
    one.wait_workers(1)


def test_usr1_reopens_the_log_file(brood, directory):
    path = directory / "brood.log"
    one = brood(echo_pool(), args=["-L", str(path)])
    one.log_path = path
    one.start()
    one.wait_log("starting")
    moved = directory / "brood.log.1"
    path.rename(moved)
    one.kill(signal.SIGUSR1)
    wait_for(path.exists, "the new log file")
    one.kill(signal.SIGTTIN)
    one.wait_workers(3)
    one.stop()
    assert path.read_text().strip(), "nothing was written to the new file"
    assert "starting" in moved.read_text() and "starting" not in path.read_text()


def test_signals_of_a_terminal_to_the_whole_group(brood):
    """Ctrl-C reaches the master's group only; workers have groups of their own and end with a connection's end."""
    one = brood(echo_pool(extra="idle_timeout = 60s"), session=True).start()
    client = busy_client(one)
    os.killpg(one.pid, SIGINT)
    wait_for(lambda: "STOPPING=1" in one.notify.lines(), "STOPPING=1")
    client.sendall(b"two")
    assert receive(client, 3) == b"two"
    client.close()
    assert one.wait() == 0


@pytest.mark.parametrize("number", [SIGTERM, SIGINT, SIGQUIT], ids=["TERM", "INT", "QUIT"])
def test_signals_to_master_and_every_child_at_once(brood, number):
    """What a supervisor does that signals a whole control group."""
    one = brood(echo_pool(workers=8), expect=[ENDING, "died"]).start()
    one.wait_workers(8)
    for pid in [one.pid, *one.children()]:
        kill(pid, number)  # some may have gone already, for the master's own stop
    assert one.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGPIPE, signal.SIGALRM, signal.SIGURG, signal.SIGWINCH, signal.SIGIO,
                                    signal.SIGVTALRM, signal.SIGCHLD, signal.SIGCONT],
                         ids=lambda n: n.name)
def test_other_signals_do_not_end_the_master(brood, number):
    one = brood(echo_pool(), expect=["signal"]).start()
    for _ in range(3):
        one.kill(number)
    assert echo_once(one.address()) == b"hello"
    one.wait_workers(2)
    assert one.process.poll() is None


def test_stop_and_continue_of_everything(brood):
    """SIGSTOP and SIGCONT, as a shell's job control or a frozen cgroup does: nothing fails, nobody is replaced."""
    one = brood(echo_pool(extra="idle_timeout = 60s")).start()
    workers = sorted(one.wait_workers(2))
    with busy_client(one) as client:
        for pid in [one.pid, *workers]:
            os.kill(pid, signal.SIGSTOP)
        wait_for(lambda: all(open(f"/proc/{pid}/stat", encoding="ascii").read().rpartition(")")[2].split()[0] == "T"
                             for pid in [one.pid, *workers]), "everything stopped")
        for pid in [one.pid, *workers]:
            os.kill(pid, signal.SIGCONT)
        client.sendall(b"two")
        assert receive(client, 3) == b"two"
    one.wait_workers(2)
    assert sorted(one.workers()) == workers


def test_a_storm_of_mixed_signals(brood):
    one = brood("max_workers = 8\n" + echo_pool(workers=4), expect=[".*"]).start()
    numbers = [signal.SIGTTIN, signal.SIGHUP, signal.SIGTTOU, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD]
    for i in range(600):
        one.kill(numbers[i % len(numbers)])
    assert echo_once(one.address()) == b"hello"
    assert one.stop() == 0
