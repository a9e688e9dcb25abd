# SPDX-License-Identifier: MIT
"""SIGUSR2: another binary takes over in the same process, and nobody notices but by its version."""
import fcntl
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest
from brood import (BINARY, BUILD, connect, echo_once, echo_pool, proc_alive, proc_environment, proc_fds, proc_text, proc_title,
                   receive, receive_all, wait_for)
from test_daemonize import Detached

REFUSED = "upgrade refused"
CHECK = "upgrade check"


def binary_of(one):
    return one.directory / "brood-binary"


def put_binary(one, version=None):
    """A copy of the binary, in the place of the one that is there; of another version, it says."""
    data = BINARY.read_bytes()
    if version is not None:
        assert len(version) == 5 and data.count(b"0.1.0") > 0
        data = data.replace(b"0.1.0", version.encode())
    new = one.directory / "brood-new"
    new.write_bytes(data)
    new.chmod(0o755)
    new.rename(binary_of(one))


def replaceable(brood, config, **options):
    """A start of a copy of the binary, which a test may replace."""
    one = brood(config, **options)
    put_binary(one)
    one._binary = lambda: binary_of(one)
    return one


def upgrade(one):
    """Asks for an upgrade, and waits until the new image has said that it is there."""
    count = len(one.log("^upgraded$"))
    one.kill(signal.SIGUSR2)
    return one.wait_log("^upgraded$", count + 1)[-1]


def refused(one, count=1):
    one.kill(signal.SIGUSR2)
    return one.wait_log(REFUSED, count)[-1]


def wait_rolled(one, before, count, pool=None):
    """Waits until the pool has COUNT workers, none of which was there BEFORE."""
    def rolled():
        workers = one.workers(pool)
        return workers if len(workers) == count and not set(workers) & set(before) else None
    workers = wait_for(rolled, "new workers only")
    one.note_processes()
    return workers


class Clients:
    """Threads that connect, and expect an echo, until they are stopped."""

    def __init__(self, address, count=4):
        self.address = address
        self.served = 0
        self.failures = []
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self._run) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def _run(self):
        while not self.over.is_set():
            try:
                assert echo_once(self.address) == b"hello"
                self.served += 1
            except Exception as problem:
                self.failures.append(repr(problem))

    def wait_more(self, count=100):
        end = self.served + count
        wait_for(lambda: self.served >= end or self.failures, f"{count} more connections")

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join()
        return self.failures


# ---- what is kept, and what is new ----

def test_the_process_stays_and_its_workers_are_replaced(brood):
    one = replaceable(brood, echo_pool(workers=3)).start()
    address = one.address()
    before = one.wait_workers(3)
    put_binary(one, "9.9.9")
    said = upgrade(one)
    assert (said["from"], said["to"], int(said["pid"])) == ("0.1.0", "9.9.9", one.pid)
    assert (int(said["workers"]), int(said["listeners"]), int(said["leaving"])) == (3, 1, 0)
    assert one.is_running()
    assert echo_once(address) == b"hello"
    wait_rolled(one, before, 3)
    assert echo_once(address) == b"hello"
    assert proc_title(one.pid).startswith("brood: master ")
    assert all(slot["generation"] == 2 for slot in one.slots("echo"))


@pytest.mark.parametrize("kind", ["tcp", "unix", "several", "inetd"])
def test_nobody_is_lost_under_load(brood, directory, kind):
    listen = {"unix": f"unix:{directory}/load.sock", "several": ["127.0.0.1:0", "127.0.0.1:0"]}.get(kind, "127.0.0.1:0")
    config = echo_pool(listen=listen, workers=4)
    if kind == "inetd":
        config = config.replace('handler = "echo"', 'handler = "inetd"\n\tcommand = {"/bin/cat"}').replace("echo {  }", "")
    one = replaceable(brood, config).start()
    clients = Clients(one.address())
    try:
        for version in ("9.9.1", "9.9.2", "9.9.3"):
            clients.wait_more()
            before = {slot["pid"] for slot in one.slots("echo")}
            put_binary(one, version)
            assert upgrade(one)["to"] == version
            wait_for(lambda before=before: one.log("^rolled") and not before & set(one.workers()), "new workers only")
        clients.wait_more()
    finally:
        failures = clients.stop()
    assert not failures, failures[:5]
    assert clients.served >= 400


def test_a_connection_goes_on(brood):
    one = replaceable(brood, echo_pool(workers=2, extra="idle_timeout = 60s")).start()
    before = one.wait_workers(2)
    with connect(one.address()) as client:
        client.sendall(b"one")
        assert receive(client, 3) == b"one"
        upgrade(one)
        wait_for(lambda: set(one.workers()) - set(before), "a new worker")
        client.sendall(b"two")
        assert receive(client, 3) == b"two"
    wait_rolled(one, before, 2)


# ---- what is refused, and changes nothing ----

def script(text):
    def put(one):
        binary_of(one).unlink()
        binary_of(one).write_text(text)
        binary_of(one).chmod(0o755)
    return put


def missing(one):
    binary_of(one).unlink()


def not_executable(one):
    put_binary(one)
    binary_of(one).chmod(0o644)


def directory_instead(one):
    binary_of(one).unlink()
    binary_of(one).mkdir()


def other_architecture(one):
    """The machine that the header names is none that there is."""
    data = bytearray(BINARY.read_bytes())
    data[18:20] = (0x7ead).to_bytes(2, "little")
    binary_of(one).unlink()
    binary_of(one).write_bytes(data)
    binary_of(one).chmod(0o755)


def cut_off(one):
    binary_of(one).unlink()
    binary_of(one).write_bytes(BINARY.read_bytes()[:64])
    binary_of(one).chmod(0o755)


def broken_configuration(one):
    one.config_path.write_text(one.config_path.read_text() + "\nno_such_key = 1\n")


@pytest.mark.parametrize("spoil, reason", [
    (missing, "No such file"),
    (not_executable, "Permission denied"),
    (directory_instead, "directory"),
    (other_architecture, "cannot be executed"),
    (cut_off, "cannot be executed"),
    (script("#!/no/such/interpreter\n"), "cannot be executed"),
    (script("#!/bin/sh\nkill -SEGV $$\n"), "crashes"),
    (script("#!/bin/sh\nexit 0\n"), "none that can take over"),
    (script("#!/bin/sh\necho takes over: frog 1.0\n"), "none that can take over"),
    (script("#!/bin/sh\nexit 64\n"), "does not know"),
    (script("#!/bin/sh\nexit 65\n"), "cannot read the state"),
    (script("#!/bin/sh\necho one; echo two >&2; exit 3\n"), "check failed"),
    (broken_configuration, "refuses the configuration"),
], ids=["missing", "not-executable", "directory", "architecture", "cut-off", "interpreter", "crash", "another-program",
        "another-answer", "too-old", "state", "failure", "configuration"])
def test_what_cannot_take_over_changes_nothing(brood, spoil, reason):
    one = replaceable(brood, echo_pool(workers=2), expect=[REFUSED, CHECK]).start()
    before = sorted(one.wait_workers(2))
    fds = len(proc_fds(one.pid))
    config = one.config_path.read_text()
    spoil(one)
    for count in (1, 2):
        assert reason in refused(one, count)["reason"]
    assert sorted(one.workers()) == before
    assert echo_once(one.address()) == b"hello"
    wait_for(lambda: len(proc_fds(one.pid)) <= fds, "descriptors as before")
    # And mended, it takes over.
    shutil.rmtree(binary_of(one), ignore_errors=True)
    put_binary(one, "9.9.9")
    one.config_path.write_text(config)
    assert upgrade(one)["to"] == "9.9.9"
    assert echo_once(one.address()) == b"hello"
    wait_rolled(one, before, 2)


def test_the_reason_is_in_the_log(brood):
    one = replaceable(brood, echo_pool(), expect=[REFUSED, CHECK]).start()
    broken_configuration(one)
    refused(one)
    assert any("no_such_key" in row["text"] and str(one.config_path) in row["text"] for row in one.log(CHECK))


def test_a_check_that_hangs_holds_nothing_and_is_given_up_at_a_stop(brood):
    one = replaceable(brood, echo_pool(), expect=[REFUSED, CHECK]).start()
    script("#!/bin/sh\nwhile :; do sleep 1; done\n")(one)
    one.kill(signal.SIGUSR2)
    one.wait_log("the new binary is checked")
    assert echo_once(one.address()) == b"hello"
    one.kill(signal.SIGUSR2)
    one.wait_log("under way already")
    assert one.stop() == 0
    assert "stops" in one.log(REFUSED)[0]["reason"]


def close_on_exec(pid):
    """Of each descriptor that is none of standard input, output and error, and that no test has left to it."""
    flags = {}
    for fd in proc_fds(pid):
        found = [line for line in proc_text(pid, f"fdinfo/{fd}").splitlines() if line.startswith("flags:")]
        if fd > 2 and found:
            flags[fd] = bool(int(found[0].split()[1], 8) & 0o2000000)
    return flags


def test_what_fails_at_the_last_moment_changes_nothing(brood):
    """The check was passed, and then the file is another one, or its execution fails: all is as it was."""
    one = replaceable(brood, echo_pool(workers=2), expect=[REFUSED, CHECK]).start()
    before = sorted(one.wait_workers(2))
    flags = close_on_exec(one.pid)
    interpreter = one.directory / "interpreter"
    interpreter.symlink_to("/bin/sh")
    script("#!/bin/sh\necho takes over: brood 9.9.9\ntouch $0\n")(one)
    assert "another one" in refused(one)["reason"]
    script(f"#!{interpreter}\necho takes over: brood 9.9.9\nrm {interpreter}\n")(one)
    assert "cannot be executed: No such file" in refused(one, 2)["reason"]
    assert close_on_exec(one.pid) == flags
    assert os.readlink(f"/proc/{one.pid}/cwd") == str(one.directory)
    assert sorted(one.workers()) == before
    assert echo_once(one.address()) == b"hello"
    put_binary(one, "9.9.9")
    upgrade(one)
    wait_rolled(one, before, 2)


def test_an_upgrade_is_refused_during_a_stop(brood):
    one = replaceable(brood, echo_pool(extra="idle_timeout = 60s"), expect=[REFUSED]).start()
    with connect(one.address()) as client:
        client.sendall(b"one")
        assert receive(client, 3) == b"one"
        one.kill(signal.SIGTERM)
        one.wait_log("^stopping$")
        assert "the daemon is" in refused(one)["reason"]
        client.sendall(b"two")
        assert receive(client, 3) == b"two"
    assert one.wait() == 0


# ---- how it was started ----

def test_a_detached_daemon_with_relative_paths_keeps_its_pid_file(directory):
    """Called as ./brood-binary -c brood.conf, from a directory that it has left since."""
    one = Detached(directory, "log_format = json\n" + echo_pool(), json_log=False)
    try:
        put_binary(one)
        one._binary = lambda: "./brood-binary"
        one.command = lambda: ["./brood-binary", "-c", "brood.conf", *map(str, one.args)]
        assert one.start_detached() == 0
        before = one.wait_workers(2)
        inode = one.pidfile.stat().st_ino
        for version in ("9.9.1", "9.9.2"):
            put_binary(one, version)
            assert upgrade(one)["to"] == version
            before = wait_rolled(one, before, 2)
            assert one.pidfile.read_text() == f"{one.pid}\n"
            assert one.pidfile.stat().st_ino == inode
            assert is_locked_by(one.pidfile, one.pid)
        assert os.readlink(f"/proc/{one.pid}/cwd") == "/"
        assert {proc_fds(one.pid)[fd] for fd in (0, 1, 2)} == {"/dev/null"}
        # Another start on the same file is still refused.
        other = subprocess.run([BINARY, "-c", one.config_path, "-p", one.pidfile], capture_output=True, text=True,
                               timeout=60, check=False)
        assert other.returncode == 71 and "already running" in other.stderr
        assert one.stop_detached() == 0
        assert not one.pidfile.exists()
        one.finished = True
    finally:
        one.kill_leftovers()
        one.notify.close()


def is_locked_by(path, pid):
    with open(path, "r+b") as file:
        answer = fcntl.fcntl(file, fcntl.F_GETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    kind, _, _, _, holder = struct.unpack("hhqqi4x", answer)
    return kind == fcntl.F_WRLCK and holder == pid


def test_a_link_may_be_what_changes(brood):
    """The path is the one that was called: a link to a directory of a version."""
    one = brood(echo_pool())
    for version in ("9.9.1", "9.9.2"):
        put_binary(one, version)
        (one.directory / version).mkdir()
        binary_of(one).rename(one.directory / version / "brood-binary")
    link = one.directory / "current"
    link.symlink_to("9.9.1")
    one._binary = lambda: link / "brood-binary"
    one.start()
    link.unlink()
    link.symlink_to("9.9.2")
    said = upgrade(one)
    assert (said["from"], said["to"]) == ("9.9.1", "9.9.2")


def test_a_unix_socket_goes_with_the_image_that_ends(brood, directory):
    path = directory / "0" / "echo.sock"
    one = replaceable(brood, echo_pool(listen=[f"unix:{path}", "unix:@brood-upgrade-%d" % os.getpid()])).start()
    inode = path.stat().st_ino
    for version in ("9.9.1", "9.9.2"):
        put_binary(one, version)
        upgrade(one)
        assert path.stat().st_ino == inode
        assert echo_once(f"unix:{path}") == b"hello"
    assert one.stop() == 0
    assert not path.exists()


def test_the_service_manager_hears_of_it(brood):
    """NOTIFY_SOCKET and WATCHDOG_USEC are there for each image, and for no worker; LISTEN_FDS is gone."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = replaceable(brood, echo_pool(listen="systemd:web"), sockets=[("web", listener)],
                          env={"WATCHDOG_USEC": 2000000}).start()
        address = one.address()
        for version in ("9.9.1", "9.9.2"):
            begin = len(one.notify.messages)
            put_binary(one, version)
            before = one.workers()
            upgrade(one)
            wait_rolled(one, before, 2)
            wait_for(lambda begin=begin: any("READY=1" in text for _, text in one.notify.messages[begin:]), "READY=1")
            wait_for(lambda begin=begin: any("WATCHDOG=1" in text for _, text in one.notify.messages[begin:]), "a ping")
            assert not any("MAINPID" in text or "STOPPING" in text for _, text in one.notify.messages)
            assert echo_once(address) == b"hello"
            for pid in [one.pid, *one.workers()]:
                names = proc_environment(pid)
                assert not {"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "BROOD_STATE_FD", "NOTIFY_SOCKET"} & names
        assert one.stop() == 0
        # The socket is the manager's, who has it still: nobody has made it refuse.
        with connect(address):
            pass


def test_counters_go_on(brood):
    one = replaceable(brood, echo_pool(workers=1)).start()
    for _ in range(7):
        echo_once(one.address())
    before = one.wait_workers(1)
    upgrade(one)
    wait_rolled(one, before, 1)
    for _ in range(5):
        echo_once(one.address())
    one.wait_workers(1)
    wait_for(lambda: connections(one) == 12, "twelve connections")


def connections(one):
    """As the scoreboard has them: those of workers that are gone, and of those that live."""
    board = one.board()
    return (sum(pool["connections"] for pool in board["pools"].values())
            + sum(slot["connections"] for slot in board["slots"] if slot["pid"] != 0))


# ---- together with other requests ----

@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT], ids=["TERM", "INT", "QUIT"])
def test_a_stop_right_after_it(brood, number):
    """The stop comes at any moment: it ends the check, or waits for the new image, and is obeyed."""
    for pause in (0, 0.01, 0.03, 0.06, 0.1):
        one = replaceable(brood, echo_pool(), expect=[REFUSED, CHECK, "ending all workers", "reload refused"]).start()
        one.kill(signal.SIGUSR2)
        time.sleep(pause)
        one.kill(number)
        assert one.wait() == 0
        one.finish()


def test_many_at_once_with_reloads(brood):
    one = replaceable(brood, echo_pool(workers=3), expect=[REFUSED]).start()
    clients = Clients(one.address(), 2)
    try:
        for _ in range(30):
            one.kill(random.choice([signal.SIGUSR2, signal.SIGHUP, signal.SIGUSR2, signal.SIGUSR1]))
            time.sleep(random.uniform(0, 0.03))
        clients.wait_more()
        one.wait_log("^upgraded$")
        before = one.workers()
        upgrade(one)
        wait_rolled(one, before, 3)
    finally:
        failures = clients.stop()
    assert not failures, failures[:5]


def test_a_changed_configuration_comes_with_it(brood):
    one = replaceable(brood, echo_pool(workers=1) + echo_pool("other", workers=1)).start()
    address, other = one.address("echo"), one.address("other")
    one.config_path.write_text("log_format = json\n" + echo_pool(workers=3))
    with connect(other) as client:
        client.sendall(b"one")
        assert receive(client, 3) == b"one"
        upgrade(one)
        one.wait_log("^reloaded$")
        client.sendall(b"two")
        assert receive(client, 3) == b"two"
    one.wait_workers(3, "echo")
    assert echo_once(address) == b"hello"
    wait_for(lambda: is_refused(other), "the listener's end")


def is_refused(address):
    try:
        connect(address).close()
    except ConnectionRefusedError:
        return True
    return False


# ---- programs ----

def test_a_program_and_its_output_go_on(brood, directory):
    """Its pipe is read on, half a line included; its NOTIFY_SOCKET is heard; its stop signal is used."""
    (directory / "say").touch()
    config = program_pool(directory, r'''
import os, signal, socket, sys, time
listener = socket.socket(fileno=3)
def tell(text):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        path = os.environ["NOTIFY_SOCKET"]
        notify.sendto(text.encode(), "\0" + path[1:] if path[0] == "@" else path)
def stop(*unused):
    os.write(2, b" second half\n")
    tell("STATUS=bye")
    os._exit(0)
signal.signal(signal.SIGUSR1, stop)
os.write(2, b"first half,")
tell("READY=1")
while True:
    client, _ = listener.accept()
    client.sendall(b"%d" % os.getpid())
    client.close()
''')
    one = replaceable(brood, config).start()
    before = [slot["pid"] for slot in one.slots("prog")]
    assert [int(ask(one.address()))] == before
    upgrade(one)
    assert one.wait_log("^output$", pid=before[0])[0]["text"] == "first half, second half"
    wait_for(lambda: not proc_alive(before[0]), "the end of the old one")
    assert int(ask(one.address())) in [slot["pid"] for slot in one.slots("prog")]


def ask(address):
    with connect(address) as client:
        return receive_all(client)


def program_pool(directory, text, handler="program", extra="ready = notify\n\tstop_signal = USR1"):
    (directory / "program.py").write_text(text)
    return f"""
pool "prog" {{
	listen = {{"127.0.0.1:0"}}
	handler = "{handler}"
	command = {{"/usr/bin/python3", "{directory}/program.py"}}
	workers = 1
	{extra}
}}
"""


def test_an_inetd_program_serves_on(brood, directory):
    config = program_pool(directory, r'''
import sys
for line in sys.stdin.buffer.raw:
    sys.stderr.write("heard " + line.decode())
    sys.stderr.flush()
    sys.stdout.buffer.raw.write(line)
''', "inetd", "")
    one = replaceable(brood, config).start()
    with connect(one.address()) as client:
        client.sendall(b"one\n")
        assert receive(client, 4) == b"one\n"
        upgrade(one)
        one.wait_log("^reloaded$")
        client.sendall(b"two\n")
        assert receive(client, 4) == b"two\n"
    assert [row["text"] for row in one.wait_log("^output$", 2)] == ["heard one", "heard two"]
    one.wait_log("EXIT|exited|finished")


def leaving_program(brood, directory, stop_timeout):
    """An inetd pool is removed while its program serves; returns the daemon and the connection."""
    program = program_pool(directory, r'''
import sys
for line in sys.stdin.buffer.raw:
    sys.stdout.buffer.raw.write(line)
''', "inetd", "")
    settings = f"stop_timeout = {stop_timeout}\n"
    one = replaceable(brood, settings + echo_pool(workers=1) + program).start()
    client = connect(one.address("prog"))
    client.sendall(b"one\n")
    assert receive(client, 4) == b"one\n"
    one.config_path.write_text("log_format = json\n" + settings + echo_pool(workers=1))
    one.kill(signal.SIGHUP)
    one.wait_log("^reloaded$")
    return one, client


def test_a_program_whose_pool_was_removed_serves_on_through_upgrades(brood, directory):
    one, client = leaving_program(brood, directory, "60s")
    with client:
        for number in range(3):
            assert upgrade(one)["leaving"] == 1
            client.sendall(b"two\n")
            assert receive(client, 4) == b"two\n", number
            one.wait_log("^reloaded$", number + 2)


def test_upgrades_do_not_put_a_deadline_off(brood, directory):
    one, client = leaving_program(brood, directory, "5s")
    ended, count = time.monotonic() + 60, 0
    with client:
        client.settimeout(0)
        while time.monotonic() < ended:
            upgrade(one)
            count += 1
            one.wait_log("^reloaded$", count + 1)
            try:
                assert client.recv(1) == b""
                break
            except BlockingIOError:
                pass
            except ConnectionResetError:
                break
        else:
            pytest.fail("it has all the time it wants")


# ---- states that this version has not written ----

# What was before: it listens, has a child, and executes the binary in its own place with a state of its making.
BEFORE = r'''
import os, socket, struct, sys, time
mode, config, binary = sys.argv[1:4]
listener = socket.create_server(("127.0.0.1", 0), backlog=64)
listener.set_inheritable(True)
port = listener.getsockname()[1]
with open(config) as file:
    text = file.read().replace("PORT", str(port))
with open(config, "w") as file:
    file.write(text)
child = os.fork()
if child == 0:
    os.close(listener.fileno())
    time.sleep(1000)
def number(value):
    return struct.pack("<Q", value & (1 << 64) - 1)
def string(value):
    return struct.pack("<I", len(value)) + value.encode()
def record(kind, *fields):
    return struct.pack("<II", kind, len(b"".join(fields))) + b"".join(fields)
def state(*records, version=1, reader=1):
    body = b"".join(records)
    return b"broodup\n" + struct.pack("<IIQ", version, reader, 24 + len(body)) + body
def master(pid=os.getpid(), *more):
    return record(1, number(pid), number(7), string("9.9.9"), number(-1), number(-1), number(0), string(binary),
                  number(0), *more)
found = record(3, number(listener.fileno()), string("echo"), string(f"127.0.0.1:{port}"), number(0), number(0), number(0),
               number(0), number(0), string("later"))
member = record(14, string("echo"), number(listener.fileno()), number(5))
pool = record(4, string("echo"), string("echo"), number(6), number(100), number(2), number(1), number(1), number(0),
              number(0), number(0), number(0), number(0), number(0), number(0), number(0), number(0), string(""),
              number(0), number(0), number(0), number(1), number(0), number(0), number(0), number(0), string("x"))
gone = record(5, string("gone"), number(child), number(0), number(0), number(1), number(7), string("ready"),
              string("none"), number(0), number(0), number(15), number(-1), number(0), number(1), number(0), number(1),
              number(1), number(-1), number(-1), number(0))
unknown = record(900, b"anything")
data = {
    "newer": state(master(os.getpid(), string("more")), unknown, record(2, string(text)), found, unknown, pool, member,
                   gone, unknown, version=99),
    "without-configuration": state(master(), found, pool, member, gone),
    "configuration-of-another": state(master(), record(2, string("no_such_key = 1\n")), found, pool, member, gone),
    "without-the-child": state(master(), found, pool, member),
    "garbage": b"no state, and longer than the header of one is",
    "empty": b"",
    "too-new": state(master(), found, version=99, reader=99),
    "cut-off": state(master(), found)[:-1],
    "of-another": state(master(1), found),
    "no-master": state(found),
    "broken-record": state(master(), record(3, number(1))),
}
fd = os.memfd_create("state", 0)
os.write(fd, data.get(mode, b""))
os.environ["BROOD_STATE_FD"] = {"no-number": "x", "no-descriptor": "1000"}.get(mode, str(fd))
os.execv(binary, [binary, "-c", config])
'''


def start_after(brood, directory, mode, **options):
    script = directory / "before.py"
    script.write_text(BEFORE)
    one = brood("stop_timeout = 1s\n" + echo_pool(listen="127.0.0.1:PORT"), **options)
    one.command = lambda: ["/usr/bin/python3", str(script), mode, str(one.config_path), str(BINARY)]
    return one.start()


@pytest.mark.parametrize("mode", ["newer", "without-configuration", "configuration-of-another"])
def test_a_state_of_another_version_is_read(brood, directory, mode):
    """Where it is another configuration that this version understands, that of the file is what it goes by."""
    one = start_after(brood, directory, mode, expect=["is not understood by this version"])
    assert bool(one.log("is not understood")) == (mode == "configuration-of-another")
    assert echo_once(one.address()) == b"hello"
    said = one.wait_log("^upgraded$")[0]
    assert (said["from"], said["listeners"], said["leaving"]) == ("9.9.9", 1, 1)
    one.wait_log("^rolled|^reloaded$")
    one.wait_workers(2)
    assert {slot["generation"] for slot in one.slots("echo")} <= {7, 8}
    wait_for(lambda: len(one.children()) == 3, "the end of the child whose pool is gone")


def test_children_that_are_nobodys_are_left_alone(brood, directory):
    """What a program has left behind, or the orphans of a container."""
    one = start_after(brood, directory, "without-the-child")
    assert one.wait_log("^upgraded$")[0]["leaving"] == 0
    one.wait_workers(2)
    child = next(pid for pid in one.children() if "before.py" in proc_title(pid))
    time.sleep(2.5)  # longer than stop_timeout, and what comes after it: nothing tells that nothing happens
    assert proc_alive(child)
    os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("mode", ["garbage", "empty", "too-new", "cut-off", "of-another", "no-master", "broken-record",
                                  "no-number", "no-descriptor"])
def test_without_a_state_the_listeners_are_taken_over(brood, directory, mode):
    """And all children are asked to finish, and ended at stop_timeout."""
    one = start_after(brood, directory, mode, expect=["upgraded without a state"])
    assert echo_once(one.address()) == b"hello"
    row = one.wait_log("upgraded without a state")[0]
    assert row["reason"] and (row["listeners"], row["leaving"]) == (1, 1)
    one.wait_workers(2)
    wait_for(lambda: len(one.children()) == 3, "the end of the child that it does not know")


# ---- broodctl ----

def broodctl(one, *words):
    return subprocess.run([BINARY.parent / "broodctl", "-s", one.directory / "brood.sock", *words], capture_output=True,
                          text=True, timeout=60, check=False)


def test_broodctl_waits_for_the_verdict(brood):
    one = replaceable(brood, echo_pool(workers=2), expect=[REFUSED, CHECK]).start()
    before = one.wait_workers(2)
    put_binary(one, "9.9.9")
    done = broodctl(one, "upgrade")
    assert done.returncode == 0, done
    assert "9.9.9" in done.stdout and "generation 2" in done.stdout
    wait_rolled(one, before, 2)
    assert '"9.9.9"' in broodctl(one, "status", "--json").stdout
    binary_of(one).unlink()
    done = broodctl(one, "upgrade")
    assert done.returncode == 1 and "No such file" in done.stdout + done.stderr, done
    put_binary(one)
    broken_configuration(one)
    done = broodctl(one, "upgrade")
    assert done.returncode == 1 and "no_such_key" in done.stdout + done.stderr, done


def test_who_waits_for_a_check_has_its_verdict_before(brood, directory):
    """The check of another file, which takes a while, goes on to its end, and the upgrade comes after it."""
    slow = directory / "slow.conf"
    slow.write_text(f"""
pool "slow" {{
	listen = {{"127.0.0.1:0"}}
	handler = "module"
	module = "{BUILD}/tests/modules/constructor_hangs.so"
}}
""")
    one = replaceable(brood, echo_pool()).start()
    waiting = subprocess.Popen([BINARY.parent / "broodctl", "-s", one.directory / "brood.sock", "check", slow],
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wait_for(lambda: any(proc_title(pid) == "brood: checker" for pid in one.children()), "the check")
    one.kill(signal.SIGUSR2)
    one.wait_log("the new binary is checked")
    assert echo_once(one.address()) == b"hello"
    output, _ = waiting.communicate(timeout=60)
    assert waiting.returncode == 1 and "did not answer within" in output, output
    one.wait_log("^upgraded$")


def test_an_answer_of_the_control_socket_comes_to_its_end(brood):
    """Who asks while the new binary is checked is answered by the old one; who never does holds up nothing."""
    one = replaceable(brood, echo_pool()).start()
    with connect(f"unix:{one.control}") as asking, connect(f"unix:{one.control}") as silent:
        asking.sendall(b"sta")
        silent.sendall(b"sta")
        one.kill(signal.SIGUSR2)
        one.wait_log("the new binary is checked")
        wait_for(lambda: not any("--adopt-check" in proc_title(pid) for pid in one.children()), "the check's end")
        asking.sendall(b"tus\n")
        assert receive_all(asking).endswith(b'"type":"result","ok":true,"code":"ok","text":""}\n')
        one.wait_log("^upgraded$")
        assert receive_all(silent) == b""
