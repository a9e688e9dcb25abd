# SPDX-License-Identifier: MIT
"""Each key of the schema in turn: changed, reloaded, and seen in force; or named as what a reload does not change."""
import ctypes
import json
import os
import pathlib
import re
import resource
import signal
import socket
import struct
import subprocess
import time

import pytest
from brood import (BINARY, IS_ROOT, NOBODY, Brood, connect, echo_once, echo_pool, kill, proc_alive, proc_fds, proc_stat,
                   proc_status, proc_text, receive, receive_all, wait_for)
from test_http import Client, get
from test_module import MODULES, ask, given_values, module_pool

PYTHON = "/usr/bin/python3"
STEPS = pathlib.Path(__file__).with_name("steps.py")
RESTART = ": needs a restart"
BIND = ": for listeners that are opened from now on"
LONG = "60s"

CHECKS = {}
NEEDS_ROOT = set()


def changes(section, key, root=False):
    """Registers what is tried of a key."""
    def register(function):
        assert (section, key) not in CHECKS
        CHECKS[section, key] = function
        if root:
            NEEDS_ROOT.add((section, key))
        return function
    return register


@pytest.fixture(autouse=True)
def no_program_is_left():
    yield
    masters = {f"EINHORN_MASTER_PID={one.pid}" for one in Brood.started}
    wait_for(lambda: not [pid for pid in os.listdir("/proc") if pid.isdigit() and proc_alive(pid)
                          and masters & set(proc_text(pid, "environ").split("\0"))], "no program left")


class Change:
    """A daemon, and what its last reload says of itself."""

    def __init__(self, brood, directory):
        self.brood = brood
        self.directory = directory
        self.one = None
        self.before = 0

    def start(self, config, **options):
        self.one = self.brood(config, **options).start()
        return self.one

    def reload(self, config, named=None, good=True):
        """NAMED: what is said of it."""
        if not good:
            self.one.expect += ["reload refused", '"configuration"']
        self.before = self.one.reload(config, good=good)
        if named is not None:
            self.says(named)

    def says(self, named):
        """The lines follow the verdict."""
        self.until(lambda: any(named in row.get("text", "") for row in self.one.log()[self.before:]), named)

    def until(self, seen, what="in force"):
        return wait_for(seen, what)

    def until_replaced(self):
        """The old workers, which go by what they were started with, may take clients until they are gone."""
        generation = str(len(self.one.log("^reloaded$")) + 1)
        self.until(lambda: {str(slot["generation"]) for slot in self.one.board()["slots"] if slot["pid"]} == {generation},
                   "new workers alone")

    def address(self, pool=None):
        return self.one.address(pool)


# ---- sockets of the master's ----

_libc = ctypes.CDLL(None, use_errno=True)
SYS_PIDFD_GETFD = 438


def borrowed(pid, fd):
    """The same socket in this process."""
    pidfd = os.pidfd_open(pid)
    try:
        copy = _libc.syscall(SYS_PIDFD_GETFD, pidfd, fd, 0)
    finally:
        os.close(pidfd)
    assert copy >= 0, os.strerror(ctypes.get_errno())
    return socket.socket(fileno=copy)


def listeners(pid):
    """What the master listens on, as sockets of this process, to be closed."""
    found = []
    for fd, what in proc_fds(pid).items():
        if not what.startswith("socket:"):
            continue
        one = borrowed(pid, fd)
        is_stream = one.family in (socket.AF_INET, socket.AF_INET6) and one.type == socket.SOCK_STREAM
        if is_stream and one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            found.append(one)
        else:
            one.close()
    return found


def option(pid, level, name, size=0):
    """An option of each of the master's TCP listeners."""
    found = listeners(pid)
    try:
        return [one.getsockopt(level, name, size) if size else one.getsockopt(level, name) for one in found]
    finally:
        for one in found:
            one.close()


def timeout_ms(pid, name):
    return [struct.unpack("ll", value)[0] * 1000 + struct.unpack("ll", value)[1] // 1000
            for value in option(pid, socket.SOL_SOCKET, name, 16)]


SO_RCVTIMEO, SO_SNDTIMEO, IP_FREEBIND, TCP_FASTOPEN, TCP_DEFER_ACCEPT = 20, 21, 15, 23, 9


def queue_limits(pid):
    """tcpi_sacked of a listener: struct tcp_info has eight bytes, and then words."""
    return [struct.unpack_from("I", info, 8 + 4 * 5)[0] for info in option(pid, socket.IPPROTO_TCP, 11, 104)]


def workers_have(one, pool, condition):
    """Every worker of the pool is such."""
    pids = one.workers(pool)
    return pids and all(condition(pid) for pid in pids)


# ---- configurations ----

def inetd_pool(command, extra="", workers=1):
    words = ", ".join(json.dumps(str(word)) for word in command)
    return f'pool "a" {{\nlisten = "127.0.0.1:0"\nhandler = inetd\nworkers = {workers}\ncommand = {{{words}}}\n{extra}\n}}\n'


def program_pool(*steps, extra="ready_after = 10ms"):
    words = ", ".join(json.dumps(str(word)) for word in (PYTHON, STEPS, *steps))
    return f'pool "a" {{\nlisten = "127.0.0.1:0"\nhandler = program\nworkers = 1\ncommand = {{{words}}}\n{extra}\n}}\n'


def http_pool(root, http="", extra=""):
    return (f'pool "a" {{\nlisten = "127.0.0.1:0"\nhandler = http\nworkers = 1\ndefer_accept = off\n{extra}\n'
            f'http {{ root = "{root}"\n{http}\n}}\n}}\n')


def said_by(address):
    with connect(address) as client:
        return receive_all(client).decode()


def program_says(change):
    return said_by(change.address()).strip()


# ---- global keys ----

def global_identity(change, key, field):
    user = 'user = "65534"\n'
    change.start((user if key == "group" else "") + echo_pool())
    before = f"{key} = \"65534\"\n" if key == "user" else user + 'group = "65533"\n'
    number = "65534" if key == "user" else "65533"
    change.reload(before + echo_pool(), f'{key}: "" -> "{number}"')
    change.until(lambda: workers_have(change.one, "echo", lambda pid: proc_status(pid)[field].split() == [number] * 4))


@changes("global", "user", root=True)
def check_global_user(change):
    global_identity(change, "user", "Uid")


@changes("global", "group", root=True)
def check_global_group(change):
    global_identity(change, "group", "Gid")


def is_named_for_a_restart(change, key, before, after, shown_before, shown_after):
    """Named each time: it is what the file says, and not what is in force."""
    change.start(f"{key} = {before}\n" + echo_pool())
    for _ in range(2):
        change.reload(f"{key} = {after}\n" + echo_pool(), f"{key}: {shown_before} -> {shown_after}{RESTART}")
        assert echo_once(change.address()) == b"hello"


@changes("global", "pidfile")
def check_pidfile(change):
    one, other = change.directory / "one.pid", change.directory / "other.pid"
    is_named_for_a_restart(change, "pidfile", f'"{one}"', f'"{other}"', f'"{one}"', f'"{other}"')
    assert int(one.read_text()) == change.one.pid and not other.exists()


@changes("global", "control")
def check_control(change):
    one, other = change.directory / "one.sock", change.directory / "other.sock"
    is_named_for_a_restart(change, "control", f'"{one}"', f'"{other}"', f'"{one}"', f'"{other}"')
    assert one.is_socket() and not other.exists()


@changes("global", "control_mode")
def check_control_mode(change):
    path = change.directory / "c.sock"
    change.start(f'control = "{path}"\n' + echo_pool())
    change.reload(f'control = "{path}"\ncontrol_mode = 0666\n' + echo_pool(), f"control_mode: 0600 -> 0666{RESTART}")
    assert path.stat().st_mode & 0o777 == 0o600


@changes("global", "max_workers")
def check_max_workers(change):
    is_named_for_a_restart(change, "max_workers", 20, 30, 20, 30)
    # What cannot be without it is refused, with its place.
    change.reload("max_workers = 30\n" + echo_pool(workers=25), "max_workers = 20 holds until a restart", good=False)


@changes("global", "log_target")
def check_log_target(change):
    target = change.directory / "other.log"
    change.start(echo_pool())
    change.one.write_config(f'log_target = "{target}"\n' + echo_pool())
    change.one.kill(signal.SIGHUP)

    def said():
        """There, or here if it was written before the other logger took over."""
        texts = [change.one.log_text(), target.read_text() if target.exists() else ""]
        return any(f'log_target: "auto" -> "{target}"' in text.replace('\\"', '"') for text in texts)
    change.until(said)

    def writes_there():
        change.one.kill(signal.SIGTTIN)  # of which there is a line
        return target.exists() and "pool resized" in target.read_text()
    change.until(writes_there)


@changes("global", "log_level")
def check_log_level(change):
    change.start(echo_pool())
    assert not change.one.log(level="debug")
    change.reload("log_level = debug\n" + echo_pool(), "log_level: info -> debug")
    change.until(lambda: change.one.log(level="debug"))


@changes("global", "log_format")
def check_log_format(change):
    change.start(echo_pool(), expect=[".*"])
    text = "log_format = text\n" + echo_pool()
    change.one.write_config(text, json_log=False)
    change.one.kill(signal.SIGHUP)
    change.until(lambda: "log_format: json -> text" in change.one.log_text().replace('\\"', '"'))

    def writes_text():
        change.one.kill(signal.SIGTTIN)  # of which there is a line
        return re.search(r"^\d{4}-\d\d-\d\dT\S+ brood\[\d+\] ", change.one.log_text(), re.MULTILINE)
    change.until(writes_text)


@changes("global", "stop_timeout")
def check_global_stop_timeout(change):
    pool = echo_pool(extra=f"stop_timeout = {LONG}\nidle_timeout = {LONG}", workers=1)
    change.start(pool, expect=["stop_timeout", "killed", "died", "left", "timeout"])
    change.reload("stop_timeout = 300ms\n" + pool, "stop_timeout: 30s -> 300ms")
    with connect(change.address()) as client:
        client.sendall(b"x")
        assert receive(client, 1) == b"x"
        begun = time.monotonic()
        change.one.kill(signal.SIGTERM)
        assert client.recv(1) == b""
    change.one.wait()
    assert time.monotonic() - begun < 20


# ---- keys of every pool ----

@changes("pool", "listen")
def check_listen(change):
    path, other = change.directory / "one.sock", change.directory / "other.sock"
    change.start(echo_pool(listen=["127.0.0.1:0", f"unix:{path}"]))
    change.reload(echo_pool(listen=["127.0.0.1:0", f"unix:{other}"]), f'pool "echo": listen: "unix:{other}": added')
    change.says(f'pool "echo": listen: "unix:{path}": removed')
    assert echo_once(f"unix:{other}") == b"hello"
    assert echo_once(change.address()) == b"hello"
    change.until(lambda: not path.exists(), "the path is gone")


@changes("pool", "backlog")
def check_backlog(change):
    change.start(echo_pool())
    change.reload(echo_pool(extra="backlog = 7"), 'pool "echo": backlog: 511 -> 7')
    change.until(lambda: queue_limits(change.one.pid) == [7])


@changes("pool", "defer_accept")
def check_defer_accept(change):
    change.start(echo_pool())
    change.reload(echo_pool(extra="defer_accept = 7s"), "defer_accept: off -> 7s")
    change.until(lambda: all(7 <= value < 60 for value in option(change.one.pid, socket.IPPROTO_TCP, TCP_DEFER_ACCEPT)))
    change.reload(echo_pool(), "defer_accept: 7s -> off")
    change.until(lambda: option(change.one.pid, socket.IPPROTO_TCP, TCP_DEFER_ACCEPT) == [0])


@changes("pool", "fastopen")
def check_fastopen(change):
    change.start(echo_pool())
    change.reload(echo_pool(extra="fastopen = 9"), "fastopen: off -> 9")
    change.until(lambda: option(change.one.pid, socket.IPPROTO_TCP, TCP_FASTOPEN) == [9])


def holds_for_new_listeners(change, key, level, name):
    change.start(echo_pool())
    change.reload(echo_pool(extra=f"{key} = on"), f"{key}: off -> on{BIND}")
    assert option(change.one.pid, level, name) == [0]
    change.reload(echo_pool(listen=["127.0.0.1:0", "127.0.0.1:0"], extra=f"{key} = on"), '"127.0.0.1:0": added')
    assert sorted(option(change.one.pid, level, name)) == [0, 1]


@changes("pool", "reuse_port")
def check_reuse_port(change):
    holds_for_new_listeners(change, "reuse_port", socket.SOL_SOCKET, socket.SO_REUSEPORT)


@changes("pool", "freebind")
def check_freebind(change):
    holds_for_new_listeners(change, "freebind", socket.IPPROTO_IP, IP_FREEBIND)


def status_of_path(change, before, after, named, expected):
    path = change.directory / "a.sock"
    change.start(echo_pool(listen=f"unix:{path}", extra=before))
    inode = path.stat().st_ino
    change.reload(echo_pool(listen=f"unix:{path}", extra=after), named)
    change.until(lambda: expected(path.stat()))
    assert path.stat().st_ino == inode


@changes("pool", "socket_mode")
def check_socket_mode(change):
    status_of_path(change, "socket_mode = 0600", "socket_mode = 0666", "socket_mode: 0600 -> 0666",
                   lambda status: status.st_mode & 0o777 == 0o666)


@changes("pool", "socket_user", root=True)
def check_socket_user(change):
    status_of_path(change, "", f"socket_user = {NOBODY}", f'socket_user: "" -> "{NOBODY}"',
                   lambda status: status.st_uid == NOBODY)


@changes("pool", "socket_group", root=True)
def check_socket_group(change):
    status_of_path(change, "", f"socket_group = {NOBODY}", f'socket_group: "" -> "{NOBODY}"',
                   lambda status: status.st_gid == NOBODY)


@changes("pool", "handler")
def check_handler(change):
    (change.directory / "a.txt").write_text("from http")
    change.start(echo_pool(name="a"))
    address = change.address()
    change.reload(http_pool(change.directory), 'pool "a": handler: "echo" -> "http"')
    change.until(lambda: b"from http" in raw(address, b"GET /a.txt HTTP/1.0\r\n\r\n"))


def raw(address, request):
    """Both handlers answer something and close: of the echo, the client closes first."""
    with connect(address) as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        return receive_all(client)


@changes("pool", "workers")
def check_workers(change):
    change.start(echo_pool(workers=2))
    change.reload(echo_pool(workers=4), "workers: 2 -> 4")
    change.one.wait_workers(4, "echo")
    change.reload(echo_pool(workers=1), "workers: 4 -> 1")
    change.one.wait_workers(1, "echo")


def load_pool(keys, handler="echo", extra=""):
    return f"""
pool "a" {{
	listen = {{"127.0.0.1:0"}}
	handler = {handler}
	{keys}
	{extra}
}}
"""


@changes("pool", "min_workers")
def check_min_workers(change):
    change.start(load_pool("min_workers = 1\nmax_spare = 40"))
    change.reload(load_pool("min_workers = 5\nmax_spare = 40"), "min_workers: 1 -> 5")
    change.one.wait_workers(5, "a")


@changes("pool", "min_spare")
def check_min_spare(change):
    change.start(load_pool("min_spare = 2\nmax_spare = 9"))
    change.one.wait_workers(2, "a")
    change.reload(load_pool("min_spare = 5\nmax_spare = 9"), "min_spare: 2 -> 5")
    change.one.wait_workers(5, "a")


@changes("pool", "max_spare")
def check_max_spare(change):
    change.start(load_pool("min_workers = 6\nmax_spare = 6"))
    change.one.wait_workers(6, "a")
    change.reload(load_pool("min_workers = 1\nmax_spare = 3"), "max_spare: 6 -> 3")
    change.one.wait_workers(3, "a")


@changes("pool", "idle_exit")
def check_idle_exit(change):
    change.start(load_pool("max_spare = 9\nmin_workers = 6\nidle_exit = off"))
    change.one.wait_workers(6, "a")
    change.reload(load_pool("max_spare = 9\nmin_workers = 1\nidle_exit = 10ms"), "idle_exit: off -> 10ms")
    change.one.wait_workers(1, "a")


@changes("pool", "sample_interval")
def check_sample_interval(change):
    """With the interval that it begins with, a client would wait for a minute before another worker is started."""
    def config(interval):
        command = ", ".join(f'"{word}"' for word in (PYTHON, STEPS, "accept-one"))
        return load_pool(f"max_workers = 2\nsample_interval = {interval}", "program",
                         f"command = {{{command}}}\nready_after = 10ms")
    change.start(config("1m"))
    change.reload(config("10ms"), "sample_interval: 1m -> 10ms")
    change.until(lambda: change.one.log("^rolled"))
    with connect(change.address()) as first, connect(change.address()) as second:
        assert receive(first, 1) and receive(second, 1)


@changes("pool", "roll_batch")
def check_roll_batch(change):
    """So many old workers are told to leave at once: all of them."""
    change.start(echo_pool(workers=8, extra="idle_timeout = 60s"))
    old = change.one.workers("echo")
    change.reload(echo_pool(workers=8, extra="idle_timeout = 60s\nroll_batch = 8"), "roll_batch: 0 -> 8")
    change.until(lambda: change.one.log("^rolled") and not set(old) & set(change.one.workers("echo")))
    change.until(lambda: len(change.one.slots("echo")) == 8)


DEBUG = "log_level = debug\n"


def recycled(change, reason):
    return [row for row in change.one.log("died", kind="recycled") if row["reason"] == reason]


@changes("pool", "max_requests")
def check_max_requests(change):
    change.start(DEBUG + echo_pool())
    change.reload(DEBUG + echo_pool(extra="max_requests = 5", echo="messages = 1"), "max_requests: off -> 5")
    change.until(lambda: echo_once(change.address()) == b"hello" and recycled(change, "max_requests"))


@changes("pool", "max_age")
def check_max_age(change):
    change.start(DEBUG + echo_pool())
    change.reload(DEBUG + echo_pool(extra="max_age = 300ms"), "max_age: off -> 300ms")
    change.until(lambda: recycled(change, "max_age"))


@changes("pool", "max_memory")
def check_max_memory(change):
    """No worker has so little."""
    change.start(echo_pool(), expect=["beyond max_memory"])
    change.reload(echo_pool(extra="max_memory = 4K"), "max_memory: off -> 4K")
    change.until(lambda: recycled(change, "max_memory"))


@changes("pool", "memory_measure")
def check_memory_measure(change):
    change.start(echo_pool(extra="max_memory = 4K"), expect=["beyond max_memory"])
    change.until(lambda: change.one.log("beyond max_memory", measure="rss"))
    change.reload(echo_pool(extra="max_memory = 4K\nmemory_measure = pss"), "memory_measure: rss -> pss")
    change.until(lambda: change.one.log("beyond max_memory", measure="pss"))


@changes("pool", "jitter")
def check_jitter(change):
    """Without it none of the workers could be worn at such an age."""
    change.start(DEBUG + echo_pool(workers=8, extra="max_age = 1h\njitter = 0"))
    change.reload(DEBUG + echo_pool(workers=8, extra="max_age = 30s\njitter = 100"), "jitter: 0 -> 100")
    rows = change.until(lambda: recycled(change, "max_age"))
    assert rows[0]["worn_age_ms"] < 30000


def pool_identity(change, before, after, named, field, number):
    change.start(echo_pool(extra=before))
    change.reload(echo_pool(extra=after), named)
    change.until(lambda: workers_have(change.one, "echo", lambda pid: proc_status(pid)[field].split() == [number] * 4))


@changes("pool", "user", root=True)
def check_user(change):
    pool_identity(change, "", "user = 65534", 'pool "echo": user: "" -> "65534"', "Uid", "65534")


@changes("pool", "group", root=True)
def check_group(change):
    pool_identity(change, "user = 65534", "user = 65534\ngroup = 65533", 'group: "" -> "65533"', "Gid", "65533")


@changes("pool", "chroot", root=True)
def check_chroot(change):
    change.start(echo_pool())
    change.reload(echo_pool(extra=f'chroot = "{change.directory}"'), f'chroot: "" -> "{change.directory}"')
    change.until(lambda: workers_have(change.one, "echo",
                                      lambda pid: os.readlink(f"/proc/{pid}/root") == str(change.directory)))


@changes("pool", "umask")
def check_umask(change):
    change.start(echo_pool())
    change.reload(echo_pool(extra="umask = 077"), "umask: 0022 -> 0077")
    change.until(lambda: workers_have(change.one, "echo", lambda pid: proc_status(pid)["Umask"] == "0077"))


@changes("pool", "start_timeout")
def check_start_timeout(change):
    """A canary that hangs is killed by it."""
    pool = "ready = notify\nstart_timeout = "
    change.start(program_pool("say:READY=1", "wait", extra=pool + LONG), expect=["reload", "died", "killed"])
    begun = time.monotonic()
    change.reload(program_pool("wait", extra=pool + "500ms"), good=False)
    assert time.monotonic() - begun < 30


@changes("pool", "stop_timeout")
def check_stop_timeout(change):
    """A worker that a reload retires, and that serves, is killed by it."""
    pool = f"idle_timeout = {LONG}\nstop_timeout = "
    change.start(echo_pool(extra=pool + LONG, workers=1), expect=["stop_timeout", "killed", "died", "timeout"])
    change.reload(echo_pool(extra=pool + "300ms", workers=1), "stop_timeout: 1m -> 300ms")
    with connect(change.address()) as client:
        client.sendall(b"x")
        assert receive(client, 1) == b"x"
        begun = time.monotonic()
        change.reload(echo_pool(extra=pool + "300ms", workers=1))
        assert client.recv(1) == b""
        assert time.monotonic() - begun < 30


@changes("pool", "request_timeout")
def check_request_timeout(change):
    pool = f"read_timeout = {LONG}\nidle_timeout = {LONG}\n"
    change.start(http_pool(change.directory, extra=pool), expect=["died", "killed", "request_timeout"])
    change.reload(http_pool(change.directory, extra=pool + "request_timeout = 300ms"), "request_timeout: off -> 300ms")
    change.until_replaced()
    is_closed_within(change.address(), b"GET / HTTP")


def overrun_pool(extra):
    return module_pool("patience", extra=f"request_timeout = 200ms\nidle_timeout = {LONG}\n{extra}")


@changes("pool", "overrun_signals")
def check_overrun_signals(change):
    change.start(overrun_pool('overrun_signals = "KILL"'), expect=["died", "crashed", "over request_timeout"])
    change.reload(overrun_pool('overrun_signals = "ABRT"'), 'overrun_signals: { "KILL" } -> { "ABRT" }')
    with connect(change.address()) as client:
        client.sendall(b"sleep 60000\n")
        death, = change.one.wait_log("worker died")
    assert "SIGABRT" in death["how"]


@changes("pool", "overrun_grace")
def check_overrun_grace(change):
    """A worker that is warned is killed by the master's patience of now."""
    change.start(overrun_pool(f'overrun_signals = "TERM"\noverrun_grace = {LONG}'),
                 expect=["died", "over request_timeout"])
    change.reload(overrun_pool('overrun_signals = "TERM"\noverrun_grace = 100ms'), "overrun_grace: 1m -> 100ms")
    with connect(change.address()) as client:
        client.sendall(b"sleep 60000\n")
        death, = change.one.wait_log("worker died")
    assert "SIGKILL" in death["how"] and death["elapsed_ms"] < 30000


def is_closed_within(address, request, seconds=30):
    """Whoever accepts by the old values keeps a client for longer than that."""
    def closed():
        with connect(address, timeout=seconds) as client:
            client.sendall(request)
            try:
                receive_all(client)
            except ConnectionResetError:
                return True
            return True
    assert closed()


@changes("pool", "read_timeout")
def check_read_timeout(change):
    change.start(http_pool(change.directory, extra=f"read_timeout = {LONG}\nidle_timeout = {LONG}"))
    change.reload(http_pool(change.directory, extra=f"read_timeout = 300ms\nidle_timeout = {LONG}"),
                  "read_timeout: 1m -> 300ms")
    change.until_replaced()
    is_closed_within(change.address(), b"GET / HTTP")


@changes("pool", "write_timeout")
def check_write_timeout(change):
    change.start(echo_pool())
    change.reload(echo_pool(extra="write_timeout = 7s"), "write_timeout: 30s -> 7s")
    change.until(lambda: timeout_ms(change.one.pid, SO_SNDTIMEO) == [7000])


@changes("pool", "idle_timeout")
def check_idle_timeout(change):
    change.start(echo_pool(extra=f"idle_timeout = {LONG}"))
    change.reload(echo_pool(extra="idle_timeout = 300ms"), "idle_timeout: 1m -> 300ms")
    change.until(lambda: timeout_ms(change.one.pid, SO_RCVTIMEO) == [300])
    change.until_replaced()
    is_closed_within(change.address(), b"x")


@changes("pool", "slow_after")
def check_slow_after(change):
    """test_slow.py has what it does to a request under way."""
    change.start(echo_pool(extra=f"read_timeout = {LONG}", echo="framing = line"), expect=["slow request"])
    change.reload(echo_pool(extra=f"read_timeout = {LONG}\nslow_after = 100ms", echo="framing = line"),
                  "slow_after: off -> 100ms")
    with connect(change.address()) as client:
        client.sendall(b"x")
        change.one.wait_log("^slow request$")


def failing(change, before, after, named, seen):
    """A program that lives until there is a file, and fails from then on."""
    mark = change.directory / "fail"
    script = f'test -e {mark} && exit 1; while :; do sleep 0.05; test -e {mark} && exit 1; done'
    pool = ('pool "a" {{\nlisten = "127.0.0.1:0"\nhandler = program\nworkers = 1\nready_after = 10ms\n'
            'command = {{"/bin/sh", "-c", "' + script + '"}}\n{}\n}}\n')
    change.start(pool.format(before), expect=["died", "exited", "fail"])
    change.reload(pool.format(after), named)
    mark.write_text("")
    change.until(lambda: any(seen(int(ms)) for ms in re.findall(r"retry in (\d+) ms", change.one.log_text())))


@changes("pool", "backoff_min")
def check_backoff_min(change):
    failing(change, "", "backoff_min = 9s", "backoff_min: 100ms -> 9s", lambda ms: 4000 < ms <= 9000)


@changes("pool", "backoff_max")
def check_backoff_max(change):
    failing(change, "backoff_min = 9s\nbackoff_max = 10s", "backoff_min = 9s\nbackoff_max = 9s", "backoff_max: 10s -> 9s",
            lambda ms: 4000 < ms <= 9000)


@changes("pool", "healthy_after")
def check_healthy_after(change):
    """A worker that dies idle is replaced at once if it was healthy."""
    change.start(echo_pool(workers=1, extra=f"healthy_after = {LONG}"), expect=["died"])
    change.reload(echo_pool(workers=1, extra="healthy_after = 100ms"), "healthy_after: 1m -> 100ms")
    change.until(lambda: change.one.log("^rolled"))
    for _ in range(2):
        pid, = change.one.wait_workers(1)
        change.until(lambda: snapshot_age_ms(pid) >= 300)
        kill(pid, signal.SIGKILL)
        change.until(lambda: change.one.log("died", pid=pid))
        assert change.one.log("died", pid=pid)[0]["next"] == "replaced"


def snapshot_age_ms(pid):
    ticks = int(proc_stat(pid)[19])
    return (time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")) * 1000


@changes("pool", "give_up_after")
def check_give_up_after(change):
    """That of the configuration that is tried says how often its first worker is."""
    change.start(echo_pool(), expect=["died"])
    change.reload(echo_pool(extra="give_up_after = off"), "give_up_after: 5 -> off")
    fails = 'pool "f" { listen = "127.0.0.1:0" handler = program command = {"/bin/false"} ready = notify backoff_max = 100ms '
    for attempts in (3, 1):
        change.reload(echo_pool() + fails + f"give_up_after = {attempts} }}\n", good=False)
        change.until(lambda attempts=attempts: len(change.one.log("died", pool="f")) >= (attempts if attempts > 1 else 4))
        assert len(change.one.log("died", pool="f")) == (attempts if attempts > 1 else 4)


# ---- keys of pools with programs ----

@changes("pool", "command")
def check_command(change):
    change.start(inetd_pool(["/bin/echo", "old"]))
    change.reload(inetd_pool(["/bin/echo", "new"]), 'command: { "/bin/echo", "old" } -> { "/bin/echo", "new" }')
    change.until(lambda: program_says(change) == "new")


@changes("pool", "directory")
def check_directory(change):
    change.start(inetd_pool(["/bin/pwd"]))
    change.reload(inetd_pool(["/bin/pwd"], 'directory = "/usr"'), 'directory: "/" -> "/usr"')
    change.until(lambda: program_says(change) == "/usr")


@changes("pool", "environment")
def check_environment(change):
    change.start(inetd_pool(["/usr/bin/env"]))
    change.reload(inetd_pool(["/usr/bin/env"], 'environment = "SECRET=of-mine"'), "environment: changed")
    assert "of-mine" not in change.one.log_text()
    change.until(lambda: "SECRET=of-mine" in program_says(change).splitlines())


@changes("pool", "stderr")
def check_stderr(change):
    command = ["/bin/sh", "-c", "echo oops >&2"]
    change.start(inetd_pool(command), expect=["oops"])
    change.reload(inetd_pool(command, "stderr = connection"), "stderr: log -> connection")
    change.until(lambda: program_says(change) == "oops")


@changes("pool", "max_workers")
def check_pool_max_workers(change):
    change.start(inetd_pool(["/bin/cat"]), expect=["all workers are busy"])
    change.reload(inetd_pool(["/bin/cat"], "max_workers = 2"), "max_workers: 1024 -> 2")
    change.one.wait_workers(1, "a")
    with connect(change.address()) as first, connect(change.address()) as second:
        for client in first, second:
            client.sendall(b"x")
            assert receive(client, 1) == b"x"
        change.one.wait_log("all workers are busy", limit="max_workers of the pool")


@changes("pool", "stdin")
def check_stdin(change):
    change.start(program_pool("wait"))
    change.reload(program_pool("wait", extra="ready_after = 10ms\nstdin = listener"), "stdin: null -> listener")
    change.until(lambda: workers_of_programs(change, lambda pid: proc_fds(pid).get(0, "").startswith("socket:")))


def workers_of_programs(change, condition):
    """Those of the scoreboard: their titles are the programs'."""
    pids = [slot["pid"] for slot in change.one.slots("a")]
    return pids and all(condition(pid) for pid in pids)


def environment_has(change, name):
    return workers_of_programs(change, lambda pid: any(item.startswith(name + "=")
                                                       for item in proc_text(pid, "environ").split("\0")))


@changes("pool", "stop_signal")
def check_stop_signal(change):
    """The old worker is asked as it was to be asked, the new one as it is to be."""
    steps = ("on:TERM:old way", "on:USR1:new way", "wait")
    change.start(program_pool(*steps), expect=["way"])
    time_to_stand(change)
    change.reload(program_pool(*steps, extra="ready_after = 10ms\nstop_signal = USR1"), "stop_signal: TERM -> USR1")
    change.until(lambda: "old way" in change.one.log_text())
    assert "new way" not in change.one.log_text()
    time_to_stand(change)
    change.one.stop()
    assert "new way" in change.one.log_text()


def time_to_stand(change):
    """Until the handlers of the program are there: bits of SIGTERM and SIGUSR1."""
    both = 1 << signal.SIGTERM - 1 | 1 << signal.SIGUSR1 - 1
    change.until(lambda: workers_of_programs(
        change, lambda pid: int(proc_status(pid).get("SigCgt", "0"), 16) & both == both))


@changes("pool", "ready")
def check_ready(change):
    steps = ("sleep:0.1", "say:READY=1", "wait")
    change.start(program_pool("wait"))
    change.reload(program_pool(*steps, extra="ready = notify"), "ready: alive -> notify")
    change.until(lambda: environment_has(change, "NOTIFY_SOCKET"))


@changes("pool", "ready_after")
def check_ready_after(change):
    change.start(program_pool("wait"))
    begun = time.monotonic()
    change.reload(program_pool("wait", extra="ready_after = 1500ms"), "ready_after: 10ms -> 1500ms")
    assert time.monotonic() - begun > 1.4


@changes("pool", "notify_access")
def check_notify_access(change):
    """A message of another process of the group no longer makes it ready."""
    script = f"exec 3>&-; {PYTHON} {STEPS} say:READY=1; exec sleep 1000"
    pool = ('pool "a" {{\nlisten = "127.0.0.1:0"\nhandler = program\nworkers = 1\nready = notify\nstart_timeout = 5s\n'
            'command = {{"/bin/sh", "-c", "' + script + '"}}\nnotify_access = {}\n}}\n')
    change.start(pool.format("group"), expect=["reload", "died", "killed", "message|notif"])
    change.reload(pool.format("main"), good=False)


@changes("pool", "watchdog_timeout")
def check_watchdog_timeout(change):
    change.start(program_pool("wait"))
    change.reload(program_pool("keep:0.1:WATCHDOG=1", "wait", extra="ready_after = 10ms\nwatchdog_timeout = 20s"),
                  "watchdog_timeout: off -> 20s")
    change.until(lambda: environment_has(change, "WATCHDOG_USEC"))


# ---- keys of pools with a module ----

@changes("pool", "module")
def check_module(change):
    copy = change.directory / "copy.so"
    copy.write_bytes((MODULES / "options.so").read_bytes())
    change.start(module_pool("options"))
    change.reload(module_pool(copy), f'module: "{MODULES}/options.so" -> "{copy}"')
    change.until(lambda: workers_have(change.one, "m", lambda pid: str(copy) in proc_text(pid, "maps")))


MODULE_OPTIONS = {
    "switch": ("on", "1"), "number": ("7", "7"), "limit": ("900", "900"), "size": ("1M", str(1 << 20)),
    "duration": ("7s", "7000"), "text": ('"new"', "new"), "choice": ("blue", "blue"), "list": ('{"x"}', "x"),
    "directory": ('"/usr"', "/usr"), "file": ('"/etc/passwd"', "/etc/passwd"),
}


def check_module_option(change, name):
    written, seen = MODULE_OPTIONS[name]
    change.start(module_pool("options"))
    change.reload(module_pool("options", f"{name} = {written}"), f'pool "m": module_options: {name}: ')
    change.until(lambda: given_values(ask(change.address()))[name] == [seen])


for option_name in MODULE_OPTIONS:
    changes("module_options", option_name)(lambda change, name=option_name: check_module_option(change, name))


@changes("module_options", "access")
def check_module_access(change):
    log = change.directory / "access.log"
    change.start(module_pool("options"))
    change.reload(module_pool("options", f'access = "{log}"'), f'access: "off" -> "{log}"')
    change.until(lambda: ask(change.address()) and log.exists() and "hello" in log.read_text())


@changes("module_options", "fail_start")
def check_module_fail_start(change):
    """In force: so the reload is refused."""
    change.start(module_pool("options"), expect=["."])
    change.reload(module_pool("options", "fail_start = on"), good=False)
    assert "number=5" in ask(change.address())


# ---- limits ----

LIMITS = {
    "nofile": ("100", "200", resource.RLIMIT_NOFILE, 200), "nproc": ("5000", "6000", resource.RLIMIT_NPROC, 6000),
    "core": ("1M", "2M", resource.RLIMIT_CORE, 2 << 20), "cpu": ("1000s", "2000s", resource.RLIMIT_CPU, 2000),
    "fsize": ("1G", "2G", resource.RLIMIT_FSIZE, 2 << 30),
    "as": ("600000G", "700000G", resource.RLIMIT_AS, 700000 << 30),
    "data": ("600000G", "700000G", resource.RLIMIT_DATA, 700000 << 30), "stack": ("16M", "32M", resource.RLIMIT_STACK, 32 << 20),
    "memlock": ("8K", "16K", resource.RLIMIT_MEMLOCK, 16 << 10),
    "sigpending": ("100", "200", resource.RLIMIT_SIGPENDING, 200),
    "msgqueue": ("10K", "20K", resource.RLIMIT_MSGQUEUE, 20 << 10), "nice": ("0", "1", resource.RLIMIT_NICE, 1),
    "rtprio": ("0", "1", resource.RLIMIT_RTPRIO, 1),
}


def may_set(which, number):
    """Whether this machine allows it: who is root in a container may not raise all of them."""
    def attempt():
        resource.setrlimit(which, (number, number))
    try:
        subprocess.run(["true"], preexec_fn=attempt, check=True)
    except subprocess.SubprocessError:
        return False
    return True


def check_limit(change, name):
    before, after, which, number = LIMITS[name]
    change.start(echo_pool(extra=f"limits {{ {name} = {before} }}"))
    if not may_set(which, number):
        # In force: so no worker can be started by it.
        change.one.expect += ["cannot set a limit", "died", "reload"]
        change.reload(echo_pool(extra=f"limits {{ {name} = {after} }}"), good=False)
        return
    change.reload(echo_pool(extra=f"limits {{ {name} = {after} }}"), f'pool "echo": limits: {name}: ')
    change.until(lambda: workers_have(change.one, "echo",
                                      lambda pid: resource.prlimit(pid, which) == (number, number)))


for limit_name in LIMITS:
    changes("limits", limit_name, root=True)(lambda change, name=limit_name: check_limit(change, name))


# ---- options of echo ----

def check_echo_option(change, before, after, request, answer):
    """ANSWER is all that comes before the end, or before nothing more comes."""
    change.start(echo_pool(echo=before, workers=1))
    change.reload(echo_pool(echo=after, workers=1), 'pool "echo": echo: ')

    def seen():
        with connect(change.address()) as client:
            client.sendall(request)
            client.shutdown(socket.SHUT_WR)
            try:
                return receive_all(client) == answer
            except ConnectionResetError:
                return answer == b""
    change.until(seen)


@changes("echo", "framing")
def check_echo_framing(change):
    check_echo_option(change, "", "framing = line", b"whole\nnot", b"whole\n")


@changes("echo", "limit")
def check_echo_limit(change):
    check_echo_option(change, "framing = line", "framing = line\nlimit = 8", b"x" * 20 + b"\n", b"")


@changes("echo", "prefix")
def check_echo_prefix(change):
    check_echo_option(change, "framing = length", "framing = length\nprefix = 2", b"\0\x02ab\0\x02", b"\0\x02ab")


@changes("echo", "size")
def check_echo_size(change):
    check_echo_option(change, "framing = fixed", "framing = fixed\nsize = 4", b"abcdef", b"abcd")


@changes("echo", "messages")
def check_echo_messages(change):
    check_echo_option(change, "framing = line", "framing = line\nmessages = 1", b"one\ntwo\n", b"one\n")


# ---- options of http ----

def prepare_tree(change):
    for name in "one", "two":
        (change.directory / name).mkdir()
        (change.directory / name / "a.txt").write_text(name)
        (change.directory / name / "index.html").write_text("index")
        (change.directory / name / "other.html").write_text("other")
    return change.directory / "one"


def check_http_option(change, http, named, seen):
    root = prepare_tree(change)
    change.start(http_pool(root))
    change.reload(http_pool(root, http), f'pool "a": http: {named}')
    change.until(lambda: seen(change.address()))


@changes("http", "root")
def check_http_root(change):
    root = prepare_tree(change)
    change.start(http_pool(root))
    other = change.directory / "two"
    change.reload(http_pool(other), f'pool "a": http: root: "{root}" -> "{other}"')
    change.until(lambda: get(change.address(), "/a.txt").body == b"two")


@changes("http", "index")
def check_http_index(change):
    check_http_option(change, 'index = {"other.html"}', 'index: { "index.html" } -> { "other.html" }',
                      lambda address: get(address, "/").body == b"other")


@changes("http", "listing")
def check_http_listing(change):
    root = prepare_tree(change)
    change.start(http_pool(root, 'index = {"none"}'))
    change.reload(http_pool(root, 'index = {"none"}\nlisting = on'), "listing: off -> on")
    change.until(lambda: b"other.html" in get(change.address(), "/").body)


@changes("http", "charset")
def check_http_charset(change):
    check_http_option(change, 'charset = "latin1"', 'charset: "utf-8" -> "latin1"',
                      lambda address: "latin1" in get(address, "/a.txt").fields["content-type"])


@changes("http", "mime_types")
def check_http_mime_types(change):
    types = change.directory / "types"
    types.write_text("x/y txt\n")
    check_http_option(change, f'mime_types = "{types}"', "mime_types: ",
                      lambda address: get(address, "/a.txt").fields["content-type"].startswith("x/y"))


@changes("http", "access_log")
def check_http_access_log(change):
    log = change.directory / "access.log"
    check_http_option(change, f'access_log = "{log}"', f'access_log: "off" -> "{log}"',
                      lambda address: get(address, "/a.txt") and log.exists() and "/a.txt" in log.read_text())


@changes("http", "keepalive_requests")
def check_http_keepalive_requests(change):
    check_http_option(change, "keepalive_requests = 1", "keepalive_requests: 1000 -> 1",
                      lambda address: get(address, "/a.txt").fields["connection"] == "close")


def status_of(address, target, *fields, method="GET", body=b""):
    with Client(address) as client:
        return client.ask(method, target, *fields, body=body).status


@changes("http", "head_limit")
def check_http_head_limit(change):
    check_http_option(change, "head_limit = 1K\ntarget_limit = 512", "head_limit: 16K -> 1K",
                      lambda address: status_of(address, "/a.txt", "X: " + "x" * 2000) == 431)


@changes("http", "target_limit")
def check_http_target_limit(change):
    check_http_option(change, "target_limit = 100", "target_limit: 8K -> 100",
                      lambda address: status_of(address, "/" + "x" * 200) == 414)


@changes("http", "field_limit")
def check_http_field_limit(change):
    check_http_option(change, "field_limit = 3", "field_limit: 100 -> 3",
                      lambda address: status_of(address, "/a.txt", *[f"X-{i}: y" for i in range(6)]) == 431)


@changes("http", "body_limit")
def check_http_body_limit(change):
    check_http_option(change, "body_limit = 10", "body_limit: 64K -> 10",
                      lambda address: status_of(address, "/a.txt", "Content-Length: 20", body=b"x" * 20) == 413)


# ---- all of them ----

ALL_KINDS = """
pool e {{ listen = "127.0.0.1:0" handler = echo }}
pool h {{ listen = "127.0.0.1:0" handler = http http {{ root = "/" }} }}
pool i {{ listen = "127.0.0.1:0" handler = inetd command = "/bin/cat" }}
pool p {{ listen = "127.0.0.1:0" handler = program command = "/bin/cat" }}
pool m {{ listen = "127.0.0.1:0" handler = module module = "{module}" }}
pool l {{ listen = "127.0.0.1:0" handler = echo min_workers = 1 }}
pool q {{ listen = "127.0.0.1:0" handler = program command = "/bin/cat" min_workers = 1 }}
"""


def keys_of_the_schema(directory):
    """By what the binary says: its dump has every key but the limits, which an error lists."""
    path = directory / "all.conf"
    path.write_text(ALL_KINDS.format(module=MODULES / "options.so"))
    dumped = subprocess.run([BINARY, "--dump", "-c", path], stdout=subprocess.PIPE, text=True, check=True).stdout
    found, section = set(), ["global"]
    for line in dumped.splitlines():
        line = line.strip()
        if line.endswith("{"):
            name = line.split()[0]
            section.append(name)
        elif line == "}":
            section.pop()
        elif " = " in line and not line.startswith("#"):
            found.add((section[-1], line.split(" = ")[0]))
    path.write_text('pool a { listen = ":1" handler = echo limits { x = 1 } }')
    error = subprocess.run([BINARY, "--check", "-c", path], stderr=subprocess.PIPE, text=True, check=False).stderr
    names = re.search(r"accepted are (.*)", error)[1].split(", ")
    return found | {("limits", name) for name in names if name != "include"}


def test_every_key_is_tried(directory):
    assert keys_of_the_schema(directory) == set(CHECKS)


@pytest.mark.parametrize("section, key", [pytest.param(*which, id="-".join(which)) for which in CHECKS])
def test_key(section, key, brood, directory):
    if (section, key) in NEEDS_ROOT and not IS_ROOT:
        pytest.skip("needs root")
    CHECKS[section, key](Change(brood, directory))
