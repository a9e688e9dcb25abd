# SPDX-License-Identifier: MIT
"""Programs, and strangers on the same machine, that mean ill: what they do costs the master neither time nor places."""
import os
import pathlib
import resource
import signal
import subprocess
import time

import pytest
from brood import SANITIZED, connect, kill, proc_fds, proc_stat, wait_for
from test_program import nothing_is_left, program_pool, slot_of  # noqa: F401

PYTHON = "/usr/bin/python3"
# So long would a close(2) of a socket wait that has something left to send.
LINGER_S = 30
HEAD = """
import array, os, signal, socket, struct, sys, time

def notify_address():
    path = os.environ["NOTIFY_SOCKET"]
    return "\\0" + path[1:] if path[0] == "@" else path

def say(message, descriptors=()):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        sender.sendmsg([message.encode()], rights, 0, notify_address())

def lingering():
    "A socket whose last close(2) waits: it has more to send than its peer takes. The peer must live."
    server = socket.create_server(("127.0.0.1", 0))
    one = socket.create_connection(server.getsockname())
    peer, _ = server.accept()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, %d))
    one.setblocking(False)
    try:
        while True:
            one.send(bytes(65536))
    except BlockingIOError:
        pass
    return one, peer
""" % LINGER_S


def script(directory, text, name="hostile.py"):
    path = directory / name
    path.write_text(HEAD + text)
    return [PYTHON, str(path)]


STORM_S = 2


def cpu_s(pid):
    """What the process has used."""
    user, system = proc_stat(pid)[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def zombies(parent):
    stats = [proc_stat(entry) for entry in os.listdir("/proc") if entry.isdigit()]
    return sum(stat[:2] == ["Z", str(parent)] for stat in stats)


def test_descriptors_in_a_notification_cost_no_time(brood, directory):
    """The last close of a socket may take as long as its owner has asked for."""
    command = script(directory, """
one, peer = lingering()
say("READY=1\\nSTATUS=armed")
time.sleep(0.2)
say("STATUS=given", [one.fileno()] * 250)
one.close()
say("STATUS=after")
signal.pause()
""")
    one = brood(program_pool(command, extra="ready = notify")).start()
    before = len(proc_fds(one.pid))
    wait_for(lambda: slot_of(one)["status"] == "after", "the message behind it", LINGER_S / 3)
    assert len(proc_fds(one.pid)) == before


def test_descriptors_at_the_socket_for_acks_cost_no_time(brood, directory):
    """Neither what comes with a line, nor what a stranger brings and nobody reads."""
    send = """
def send(path, line):
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.connect(path)
    one, peer = lingering()
    client.sendmsg([line.encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [one.fileno()]))])
    one.close()
    return client, peer
"""
    worker = script(directory, send + """
kept = send(os.environ["EINHORN_SOCK_PATH"], '{"command":"worker:ack","pid":%d}\\n' % os.getpid())
signal.pause()
""")
    stranger = script(directory, send + """
kept = send(sys.argv[1], "hello")
print("sent", flush=True)
sys.stdin.read()
""", "stranger.py")
    one = brood(program_pool(worker, extra="ready = ack"), expect=["a foreign process at the socket"]).spawn()
    wait_for(lambda: "READY=1" in one.notify.lines(), "READY=1", LINGER_S / 2)
    variables = pathlib.Path(f"/proc/{slot_of(one)['pid']}/environ").read_text().split("\0")
    path = next(text.split("=", 1)[1] for text in variables if text.startswith("EINHORN_SOCK_PATH="))
    before = len(proc_fds(one.pid))
    # All of it is there when the master looks.
    one.kill(signal.SIGSTOP)
    with subprocess.Popen([*stranger, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"sent\n"
        one.kill(signal.SIGCONT)
        one.wait_log("a foreign process at the socket", timeout=LINGER_S / 2)
        one.kill(signal.SIGTTOU)
        one.wait_log("pool resized", timeout=LINGER_S / 2)
        assert len(proc_fds(one.pid)) == before
        process.stdin.close()


def test_a_program_that_stops_as_soon_as_it_has_started(brood, directory):
    """And takes its time to end: else there were more and more of them, as fast as they start."""
    command = script(directory, """
say("READY=1\\nSTOPPING=1")
signal.pause()
""")
    one = brood(program_pool(command, extra="ready = notify\nstop_timeout = 1s\nbackoff_min = 10s"),
                expect=["worker died"]).start()
    row = one.wait_log("pool is degraded")[0]
    assert row["last"] == "says that it stops, as soon as it has started"
    assert row["next"].startswith("retry in ")


def test_a_crowd_that_a_program_leaves_behind(brood, directory):
    """They end together: the master looks for the rest of them once a turn, and not once a death."""
    crowd = 1500
    command = script(directory, f"""
for i in range({crowd}):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.pause()
        os._exit(0)
    os.wait()
print("all are there", flush=True)
signal.pause()
""")
    one = brood(program_pool(command), expect=["worker died"]).start()
    one.wait_log("output", text="all are there")
    wait_for(lambda: len(one.children()) > crowd, "the crowd is the master's")
    before = cpu_s(one.pid)
    kill(slot_of(one)["pid"], signal.SIGKILL)
    one.wait_log("a program has left a process behind", crowd)
    wait_for(lambda: not zombies(one.pid), "all are reaped")
    used = cpu_s(one.pid) - before
    assert used < (10 if SANITIZED else 2), f"{used} s"


def test_a_connection_that_cannot_be_accepted(brood, directory):
    """A master without a free descriptor does not spin on the socket for acknowledgements, and recovers."""
    command = script(directory, """
client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
while not os.path.exists(sys.argv[1]):
    time.sleep(0.01)
client.connect(os.environ["EINHORN_SOCK_PATH"])
client.sendall(b'{"command":"worker:ack","pid":%d}\\n' % os.getpid())
signal.pause()
""")
    go = directory / "go"
    one = brood(program_pool([*command, str(go)], extra="ready = ack"),
                expect=["cannot accept acknowledgements"]).spawn()
    wait_for(lambda: slot_of(one)["pid"] != 0, "a worker")
    lowest = next(fd for fd in range(1000) if fd not in proc_fds(one.pid))
    before = resource.prlimit(one.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(one.pid, resource.RLIMIT_NOFILE, (lowest, before[1]))
    go.touch()
    one.wait_log("cannot accept acknowledgements")
    used = cpu_s(one.pid)
    time.sleep(1)
    assert cpu_s(one.pid) - used < 0.3
    resource.prlimit(one.pid, resource.RLIMIT_NOFILE, before)
    one.wait_log("accepting acknowledgements again")
    wait_for(lambda: "READY=1" in one.notify.lines(), "READY=1")
    assert len(one.log("cannot accept acknowledgements")) == 1


@pytest.mark.parametrize("event, ready, text", [
    ("a program says that it has failed|MAINPID= is ignored", "notify", """
say("READY=1")
for i in range(1000000000):
    say(f"ERRNO={i % 3}\\nMAINPID=7\\nSTATUS=" + 4000 * "x")
"""),
    ("an acknowledgement is refused", "ack", """
def ack(line):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(os.environ["EINHORN_SOCK_PATH"])
        client.sendall(line.encode())
ack('{"command":"worker:ack","pid":%d}\\n' % os.getpid())
while True:
    ack("junk\\n")
"""),
], ids=["notify", "ack"])
def test_what_is_said_without_end_does_not_fill_the_log(brood, directory, event, ready, text):
    one = brood(program_pool(script(directory, text), extra=f"ready = {ready}"),
                expect=[event, "were not told of"]).start()
    begin = time.monotonic()
    one.wait_log(event)
    time.sleep(STORM_S)
    assert 1 <= len(one.log(event)) <= 20 + 20 * (time.monotonic() - begin)


def test_an_acknowledgement_before_many_connections(brood, directory):
    """A worker may have a few connections; what it has said on one that makes room for another still counts."""
    command = script(directory, """
def connect():
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.connect(os.environ["EINHORN_SOCK_PATH"])
    return client
while not os.path.exists(sys.argv[1]):
    time.sleep(0.01)
with connect() as client:
    client.sendall(b'{"command":"worker:ack","pid":%d}\\n' % os.getpid())
kept = [connect() for _ in range(20)]
open(sys.argv[2], "w").close()
signal.pause()
""")
    go, done = directory / "go", directory / "done"
    one = brood(program_pool([*command, str(go), str(done)], extra="ready = ack"), expect=["no line came"]).spawn()
    wait_for(lambda: slot_of(one)["pid"] != 0, "a worker")
    one.kill(signal.SIGSTOP)
    go.touch()
    wait_for(done.exists, "all is said")
    one.kill(signal.SIGCONT)
    wait_for(lambda: "READY=1" in one.notify.lines(), "READY=1", 20)


def test_a_listener_that_a_program_shuts_down_listens_again(brood, directory):
    """shutdown(2) ends a listener for all who share it: the next start brings it back, at its address."""
    command = script(directory, """
server = socket.socket(fileno=3)
if not os.path.exists(sys.argv[1]):
    open(sys.argv[1], "w").close()
    time.sleep(1)
    server.shutdown(socket.SHUT_RDWR)
    sys.exit(0)
while True:
    client, _ = server.accept()
    client.sendall(b"served\\n")
    client.close()
""")
    one = brood(program_pool([*command, str(directory / "shut")]), expect=["listens again"]).start()
    one.wait_log("listens again")

    def served():
        try:
            with connect(one.address()) as client:
                return client.recv(16) == b"served\n"
        except ConnectionError:
            return False
    wait_for(served, "an answer at the same address")
