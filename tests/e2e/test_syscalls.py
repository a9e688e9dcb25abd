# SPDX-License-Identifier: MIT
"""What one connection costs in system calls: those of the bare loop and no more. They are counted, not timed."""
import re
import shutil
import subprocess

import pytest
from brood import connect, echo_pool, proc_status, receive_all, wait_for

CONNECTIONS = 100
MESSAGES = 20
# "accept4(3, ...) = 4", "<... accept4 resumed>...) = 4"; what strace interrupts when it attaches is no call of brood's.
RETURNED = re.compile(r"^(?:\d+\s+)?(?:<\.\.\. )?(\w+)(?:\(| resumed>).*=\s(?:-?\d+|\?)(?:\s(E\w+))?")
INTERRUPTED = {"ERESTARTSYS", "EINTR", "ERESTARTNOINTR", "ERESTARTNOHAND"}

pytestmark = pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")


def exchange(address):
    with connect(address) as client:
        client.sendall(b"x" * 128)
        assert receive_all(client) == b"x" * 128


def exchange_messages(address):
    """Several messages over one connection, each with its length in front."""
    with connect(address) as client:
        for size in range(MESSAGES):
            message = size.to_bytes(4, "big") + b"x" * size
            client.sendall(message)
            answer = b""
            while len(answer) < len(message):
                answer += client.recv(len(message))
            assert answer == message


def calls_of(one, log, exchange=exchange):
    """The calls the one worker makes while CONNECTIONS clients come, one after the other, as a list of their names.

    One client before them and one after see to it that none of theirs is cut off where strace comes and goes."""
    pid, = one.wait_workers(1)
    address = one.address()
    strace = subprocess.Popen(["strace", "-qq", "-e", "signal=none", "-o", str(log), "-p", str(pid)],
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: proc_status(pid)["TracerPid"] != "0" or strace.poll() is not None, "strace attaches")
        if strace.poll() is not None:
            pytest.skip(f"strace may not attach here: {strace.stderr.read()}")
        for _ in range(CONNECTIONS + 2):
            exchange(address)
        wait_for(lambda: log.read_text().count("close(") >= CONNECTIONS + 2, "strace has written all")
    finally:
        strace.terminate()
        strace.communicate(timeout=30)
    found = [RETURNED.match(line) for line in log.read_text().splitlines()]
    names = [match[1] for match in found if match and match[2] not in INTERRUPTED]
    first = names.index("close") + 1
    ends = [i for i, name in enumerate(names) if name == "close"]
    return names[first:ends[CONNECTIONS] + 1]


@pytest.mark.parametrize("extra", ["", "max_requests = 1000", "defer_accept = 5s", "idle_timeout = off write_timeout = off",
                                   "idle_timeout = 7s read_timeout = 11s write_timeout = 13s"])
def test_echo_on_tcp_costs_four_calls(brood, directory, extra):
    one = brood(echo_pool(workers=1, extra=extra, echo="messages = 1")).start()
    assert calls_of(one, directory / "strace") == ["accept4", "recvfrom", "sendto", "close"] * CONNECTIONS


def test_every_time_out_together_costs_no_call(brood, directory):
    """The deadline of a request is looked at by the clock, which is no system call; the answer goes by sendmsg."""
    one = brood(echo_pool(workers=1, echo="messages = 1", extra="idle_timeout = 7s read_timeout = 11s "
                          "write_timeout = 13s request_timeout = 17s overrun_signals = {TERM, ABRT} overrun_grace = 2s "
                          "start_timeout = 19s stop_timeout = 23s")).start()
    assert calls_of(one, directory / "strace") == ["accept4", "recvfrom", "sendmsg", "close"] * CONNECTIONS


def test_echo_on_a_unix_socket_sets_the_timeouts_which_it_does_not_inherit(brood, directory):
    one = brood(echo_pool(workers=1, listen=f"unix:{directory}/echo.sock", echo="messages = 1")).start()
    assert calls_of(one, directory / "strace") == [
        "accept4", "setsockopt", "setsockopt", "recvfrom", "sendto", "close"] * CONNECTIONS


def test_several_listeners_cost_one_wait_more(brood, directory):
    one = brood(echo_pool(workers=1, listen=["127.0.0.1:0", "127.0.0.1:0"], echo="messages = 1")).start()
    assert calls_of(one, directory / "strace") == [
        "epoll_wait", "accept4", "recvfrom", "sendto", "close"] * CONNECTIONS


def test_a_message_with_its_length_costs_two_calls(brood, directory):
    one = brood(echo_pool(workers=1, echo="framing = length prefix = 4")).start()
    once = ["accept4"] + ["recvfrom", "sendto"] * MESSAGES + ["recvfrom", "close"]
    assert calls_of(one, directory / "strace", exchange_messages) == once * CONNECTIONS
