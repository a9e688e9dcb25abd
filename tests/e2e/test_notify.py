# SPDX-License-Identifier: MIT
"""What the master tells the service manager."""
import os
import signal
import socket
import time

from brood import Brood, connect, echo_once, echo_pool, receive, wait_for


def times_of(one, line):
    return [when for when, message in one.notify.messages if line in message.splitlines()]


def test_ready_comes_when_every_pool_is_ready(brood):
    one = brood(echo_pool("one", workers=3) + echo_pool("two", workers=4))
    one.spawn()
    wait_for(lambda: times_of(one, "READY=1"), "READY=1")
    states = [slot["state"] for slot in one.board()["slots"] if slot["pid"]]
    assert states.count("idle") == 7, states
    assert any(line.startswith("STATUS=") for line in one.notify.lines())


def test_ready_once_stopping_once(brood):
    one = brood(echo_pool()).start()
    one.stop()
    wait_for(lambda: times_of(one, "STOPPING=1"), "STOPPING=1")
    assert len(times_of(one, "READY=1")) == 1 and len(times_of(one, "STOPPING=1")) == 1
    assert times_of(one, "READY=1")[0] <= times_of(one, "STOPPING=1")[0]


def test_status_says_workers(brood):
    one = brood(echo_pool(workers=5)).start()
    wait_for(lambda: any(line.startswith("STATUS=") and "5" in line for line in one.notify.lines()), "STATUS with 5")


def test_connections_of_programs_do_not_flood_the_manager(brood):
    """Each of them changes how many workers wait: that is told once a second, the last state at the end."""
    one = brood("""
pool "test" {
	listen = {"127.0.0.1:0"}
	handler = "inetd"
	command = {"cat"}
	workers = 2
}
""").start()
    begin = time.monotonic()
    for _ in range(100):
        with connect(one.address()) as client:
            client.sendall(b"hello")
            client.shutdown(socket.SHUT_WR)
            assert receive(client, 5) == b"hello"
    wait_for(lambda: [line for line in one.notify.lines() if line.startswith("STATUS=")][-1].endswith("test 2/2"),
             "all wait again")
    said = [line for line in one.notify.lines() if line.startswith("STATUS=")]
    assert len(said) <= time.monotonic() - begin + 3, said


def test_abstract_notify_socket(brood):
    name = f"brood-notify-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind("\0" + name)
        receiver.settimeout(60)
        one = brood(echo_pool(), env={"NOTIFY_SOCKET": "@" + name})
        one.spawn()
        received = ""
        while "READY=1" not in received.splitlines():
            received += receiver.recv(65536).decode() + "\n"
        one.stop()


def test_watchdog_at_half_the_interval(brood):
    one = brood(echo_pool(), env={"WATCHDOG_USEC": "400000"}).start()
    wait_for(lambda: len(times_of(one, "WATCHDOG=1")) >= 11, "eleven pings")
    times = times_of(one, "WATCHDOG=1")
    gaps = sorted(b - a for a, b in zip(times, times[1:]))
    # The median, as single pings may be late on a loaded machine; none comes much too early.
    assert 0.15 < gaps[len(gaps) // 2] < 0.3, gaps


def test_watchdog_of_another_process_is_not_ours(brood):
    one = brood(echo_pool(), env={"WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"}).start()
    for _ in range(20):
        echo_once(one.address())
    time.sleep(0.2)
    assert not times_of(one, "WATCHDOG=1")


def test_a_stuck_master_does_not_ping(brood):
    one = brood(echo_pool(), env={"WATCHDOG_USEC": "200000"}).start()
    wait_for(lambda: len(times_of(one, "WATCHDOG=1")) >= 2, "two pings")
    one.kill(signal.SIGSTOP)
    before = wait_for(lambda: stable(one), "silence")
    time.sleep(0.5)
    assert len(times_of(one, "WATCHDOG=1")) == before
    one.kill(signal.SIGCONT)
    wait_for(lambda: len(times_of(one, "WATCHDOG=1")) > before, "pings again")


def stable(one):
    before = len(times_of(one, "WATCHDOG=1"))
    time.sleep(0.3)
    return len(times_of(one, "WATCHDOG=1")) == before and before


def test_watchdog_goes_on_while_stopping(brood):
    one = brood(echo_pool(extra="idle_timeout = 60s"), env={"WATCHDOG_USEC": "200000"}).start()
    with connect(one.address()) as client:
        client.sendall(b"x")
        assert receive(client, 1) == b"x"
        one.kill(signal.SIGTERM)
        wait_for(lambda: times_of(one, "STOPPING=1"), "STOPPING=1")
        count = len(times_of(one, "WATCHDOG=1"))
        wait_for(lambda: len(times_of(one, "WATCHDOG=1")) > count + 2, "pings during the stop")
    one.wait()


def test_a_manager_that_does_not_read_does_not_stop_the_master(brood, directory):
    """A full queue of the notification socket costs messages, never time."""
    path = directory / "deaf"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(str(path))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler:
            filler.setblocking(False)
            try:
                while True:
                    filler.sendto(b"x", str(path))
            except BlockingIOError:
                pass
        one = brood(echo_pool(), env={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "100000"})
        one.spawn()
        wait_for(one.addresses, "the listener")
        one.wait_workers(2)
        for _ in range(5):
            assert echo_once(one.address()) == b"hello"
        one.kill(signal.SIGTTIN)
        one.wait_workers(3)
        assert one.stop() == 0


def test_without_a_notify_socket(brood):
    one: Brood = brood(echo_pool(), notify=False)
    one.spawn()
    wait_for(one.addresses, "the listener")
    one.wait_workers(2)
    assert echo_once(one.address()) == b"hello"
    assert one.stop() == 0


def test_nonsense_in_notify_socket_is_a_warning(brood):
    one = brood(echo_pool(), env={"NOTIFY_SOCKET": "nonsense"}, expect=["NOTIFY_SOCKET"])
    one.spawn()
    one.wait_workers(2)
    assert one.log("NOTIFY_SOCKET")


def test_a_manager_that_cannot_be_told_is_a_line_in_the_log(brood):
    one = brood(echo_pool(), expect=["the service manager cannot be told"])
    os.unlink(one.notify.path)
    one.spawn()
    one.wait_log("the service manager cannot be told.*No such file or directory")  # before there is a logger
    one.wait_log("^ready")
    assert echo_once(one.address()) == b"hello"
    one.stop()
    assert len(one.log("cannot be told")) == 1


def test_reload_says_when_it_begins_and_when_it_ends(brood):
    """As Type=notify-reload wants it: the begin with its time in one message, the end whatever came of it."""
    one = brood(echo_pool(), expect=["reload refused", "colour"]).start()
    for count, text, status in ((2, one.config_path.read_text(), "serving:"),
                                (3, one.config_path.read_text() + "colour = red\n", "colour")):
        begin_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        one.config_path.write_text(text)
        one.kill(signal.SIGHUP)
        wait_for(lambda c=count: len(times_of(one, "READY=1")) == c, "the end of the reload")
        begins = [message for _, message in one.notify.messages if "RELOADING=1" in message.splitlines()]
        assert len(begins) == count - 1
        said_us = int(begins[-1].split("MONOTONIC_USEC=")[1].split()[0])
        assert begin_us <= said_us <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        assert times_of(one, "RELOADING=1")[-1] <= times_of(one, "READY=1")[-1]
        wait_for(lambda s=status: s in [line for line in one.notify.lines() if line.startswith("STATUS=")][-1], status)


def test_a_stop_asks_for_time(brood):
    one = brood(echo_pool(extra="idle_timeout = 60s")).start()
    with connect(one.address()) as client:
        client.sendall(b"x")
        assert receive(client, 1) == b"x"
        one.kill(signal.SIGTERM)
        wait_for(lambda: any(line.startswith("EXTEND_TIMEOUT_USEC=") for line in one.notify.lines()), "more time")
    one.wait()
