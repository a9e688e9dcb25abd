# SPDX-License-Identifier: MIT
"""The harness: the real binary, started on a configuration in a directory of its own, and watched until it has gone.

Every Brood that a test starts is looked at again when the test ends (finish()): the exit status, processes that are left,
lines of the log that the test did not expect, reports of a sanitizer, unix sockets and pid files that are left.
"""
import contextlib
import ctypes
import fcntl
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import subprocess
import threading
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("BROOD_BIN", TOP / "build/src/brood"))
BUILD = pathlib.Path(os.environ.get("BROOD_BUILD", BINARY.parents[1]))
STORM = BUILD / "tests/e2e/storm"
BOARDCAT = BUILD / "tests/e2e/boardcat"
SANITIZED = bool(os.environ.get("BROOD_SANITIZED"))
IS_ROOT = os.geteuid() == 0
NOBODY = 65534
# Generous: a test that waits this long has found something.
DEADLINE_S = 60

# How a reload's verdict begins.
RELOAD_GOOD, RELOAD_BAD = "^reloaded$", "^reload refused"

PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)
# What loses its parent becomes this process's child, and is found.
_libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def wait_for(condition, what="", timeout=DEADLINE_S):
    """Calls CONDITION until it returns something true, and returns that."""
    end = time.monotonic() + timeout
    pause = 0.002
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"in {timeout} s never: {what or condition}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)


# ---- processes, as /proc shows them ----

def proc_text(pid, name):
    try:
        return pathlib.Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def proc_status(pid):
    return dict(line.split(":\t", 1) for line in proc_text(pid, "status").splitlines() if ":\t" in line)


def proc_stat(pid):
    """The fields of /proc/PID/stat from the state on: state, ppid, pgrp, session, ..."""
    return proc_text(pid, "stat").rpartition(")")[2].split()


def proc_alive(pid):
    fields = proc_stat(pid)
    return bool(fields) and fields[0] not in "ZX"


def proc_title(pid):
    return proc_text(pid, "cmdline").rstrip("\0").replace("\0", " ").rstrip()


def proc_is_nursery(pid):
    return proc_text(pid, "comm") == "brood-nursery\n"


def proc_children(parent):
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            fields = proc_stat(entry)
            if len(fields) > 1 and fields[1] == str(parent) and fields[0] not in "ZX":
                found.append(int(entry))
    return sorted(found)


def proc_fds(pid):
    """Descriptor number -> what it is."""
    fds = {}
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                fds[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
    return fds


def proc_environment(pid):
    """The names in the environment that the process has now, which its execve() would pass on: `environ` of its libc.
    (/proc/PID/environ shows the memory of the beginning, whatever has become of it.)"""
    maps = [line.split() for line in proc_text(pid, "maps").splitlines()]
    libc = next(fields for fields in maps if fields[-1].endswith("/libc.so.6"))
    base = int(libc[0].split("-")[0], 16)
    table = subprocess.run(["nm", "-D", libc[-1]], stdout=subprocess.PIPE, text=True, check=True).stdout
    offset = next(int(line.split()[0], 16) for line in table.splitlines() if line.split()[-1].startswith("environ@"))
    names = set()
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:
        def word(address):
            memory.seek(address)
            return int.from_bytes(memory.read(8), "little")

        def string(address):
            memory.seek(address)
            return memory.read(4096).split(b"\0")[0].decode(errors="replace")
        array = word(base + offset)
        while array and word(array):
            names.add(string(word(array)).partition("=")[0])
            array += 8
    return names


def kill(pid, number):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


# ---- clients ----

def split_address(text):
    """"127.0.0.1:80" -> (family, sockaddr)."""
    if text.startswith("unix:@"):
        return socket.AF_UNIX, "\0" + text[6:]
    if text.startswith("unix:"):
        return socket.AF_UNIX, text[5:]
    host, _, port = text.rpartition(":")
    if host.startswith("["):
        return socket.AF_INET6, (host[1:-1], int(port))
    return socket.AF_INET, (host, int(port))


def connect(text, timeout=DEADLINE_S):
    family, address = split_address(text)
    client = socket.socket(family, socket.SOCK_STREAM)
    client.settimeout(timeout)
    try:
        client.connect(address)
    except BaseException:
        client.close()
        raise
    return client


def receive(client, size):
    data = b""
    while len(data) < size:
        piece = client.recv(size - len(data))
        if not piece:
            break
        data += piece
    return data


def receive_all(client):
    data = b""
    while True:
        piece = client.recv(65536)
        if not piece:
            return data
        data += piece


def echo_once(text, payload=b"hello"):
    with connect(text) as client:
        client.sendall(payload)
        return receive(client, len(payload))


class Storm:
    """The storm of clients of storm.c, in the background."""

    def __init__(self, address, *options, seconds=120):
        self.process = subprocess.Popen([STORM, "-s", str(seconds), *map(str, options), address],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)

    def wait_started(self):
        assert self.process.stdout.readline() == "started\n"
        return self

    def stop(self):
        self.process.terminate()
        return self.wait(DEADLINE_S)

    def wait(self, timeout):
        """Until it ends by itself."""
        output, _ = self.process.communicate(timeout=timeout)
        return json.loads(output.splitlines()[-1])

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def retire_in_storm(one, pids, times, clients):
    """SIGURG to every process that PIDS names, again and again, in a storm of CLIENTS. Returns what became of it."""
    with Storm(one.address(), "-t", clients) as storm:
        storm.wait_started()
        for _ in range(times):
            for pid in pids():
                kill(pid, signal.SIGURG)
            time.sleep(0.01)
        return storm.stop()


# ---- what systemd is to a service ----

class Stored:
    """A descriptor that the service manager keeps."""

    def __init__(self, fd):
        self.fd = fd

    def fileno(self):
        return self.fd


class NotifySocket:
    """The receiving end of $NOTIFY_SOCKET: keeps every message with the time it came, and what it is given to store."""

    def __init__(self, path):
        self.path = str(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        os.chmod(self.path, 0o666)
        self.messages = []
        self.stored = {}
        self.thread = threading.Thread(target=self._receive, daemon=True)
        self.thread.start()

    def _receive(self):
        while True:
            try:
                message, fds, _, _ = socket.recv_fds(self.socket, 65536, 16)
            except OSError:
                return
            if not message:
                return
            self._store(dict(line.split("=", 1) for line in message.decode().splitlines()), fds)
            self.messages.append((time.monotonic(), message.decode()))

    def _store(self, fields, fds):
        """As systemd does: several may be of one name, and leave together."""
        name = fields.get("FDNAME", "stored")
        if fields.get("FDSTORE") == "1":
            self.stored.setdefault(name, []).extend(fds)
            return
        for fd in fds + (self.stored.pop(name, []) if fields.get("FDSTOREREMOVE") == "1" else []):
            os.close(fd)

    def sockets(self):
        """What a next start is handed: the `sockets` of a Brood."""
        return [(name, Stored(fd)) for name, fds in self.stored.items() for fd in fds]

    def lines(self):
        return [line for _, message in list(self.messages) for line in message.splitlines()]

    def forget(self):
        """Closes what it was given to store."""
        for fd in [fd for fds in self.stored.values() for fd in fds]:
            os.close(fd)
        self.stored = {}

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join(DEADLINE_S)
        self.socket.close()
        self.forget()
        with contextlib.suppress(OSError):
            os.unlink(self.path)


# ---- brood itself ----

class Brood:
    """One start of the binary.

    config    the text of the configuration file
    args      more arguments
    expect    patterns of the warnings and errors that the test provokes; any other one fails it
    status    the exit status it must end with; a negative number is a signal's
    user      run as this uid and gid, without supplementary groups
    sockets   [(name, socket)], handed over as systemd would
    limits    {RLIMIT_x: (soft, hard)} at the start
    env       changes to the environment; None removes
    leave     names of files that may be left, by design: what a master that was killed could not remove
    """

    started = []

    def __init__(self, directory, config, *, args=(), expect=(), status=0, user=None, sockets=(), limits=None, env=None,
                 notify=True, json_log=True, session=False,
                 leave=()):
        self.directory = pathlib.Path(directory)
        self.expect = list(expect)
        self.status = status
        self.user = user
        self.args = list(args)
        self.sockets = sockets
        self.limits = limits or {}
        self.env = env or {}
        self.session = session
        self.leave = set(leave)
        self.process = None
        self.pid = None
        self.known = set()
        self.finished = False
        self.config_path = self.directory / "brood.conf"
        self.log_path = self.directory / "log"
        self.sanitizer_dir = self.directory / "sanitizer"
        self.sanitizer_dir.mkdir(exist_ok=True)
        self.sanitizer_dir.chmod(0o1777)
        self.control = self.directory / "brood.sock"
        self.json_log = json_log
        self.write_config(config)
        self.notify = NotifySocket(self.directory / "notify") if notify else None

    def write_config(self, config, json_log=None):
        """Puts another file in the place of the configuration."""
        head = "log_format = json\n" if (self.json_log if json_log is None else json_log) else ""
        # Daemons that run side by side: each has a control socket of its own.
        if not re.search(r"^\s*control\s*=", config, re.MULTILINE):
            head += f'control = "{self.control}"\n'
        new = self.config_path.with_suffix(".new")
        new.write_text(head + config)
        new.rename(self.config_path)

    # -- starting --

    def _environment(self):
        env = {name: value for name, value in os.environ.items()
               if name not in ("NOTIFY_SOCKET", "JOURNAL_STREAM", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES",
                               "WATCHDOG_USEC", "WATCHDOG_PID")}
        for name, kind in (("ASAN_OPTIONS", "asan"), ("UBSAN_OPTIONS", "ubsan")):
            env[name] = ":".join(filter(None, [env.get(name), f"log_path={self.sanitizer_dir}/{kind}"]))
        if self.notify:
            env["NOTIFY_SOCKET"] = self.notify.path
        if self.sockets:
            env["LISTEN_FDS"] = str(len(self.sockets))
            env["LISTEN_FDNAMES"] = ":".join(name for name, _ in self.sockets)
        for name, value in self.env.items():
            if value is None:
                env.pop(name, None)
            else:
                env[name] = str(value)
        return env

    def _binary(self):
        if self.user is None:
            return BINARY
        # The source tree may be out of another user's reach.
        copy = self.directory / "brood-binary"
        if not copy.exists():
            shutil.copy(BINARY, copy)
            copy.chmod(0o755)
        return copy

    def _child_setup(self):
        for which, values in self.limits.items():
            resource.setrlimit(which, values)

    def command(self):
        return [str(self._binary()), "-c", str(self.config_path), *map(str, self.args)]

    def spawn(self):
        """Starts it and does not wait."""
        command = self.command()
        high = [fcntl.fcntl(s.fileno(), fcntl.F_DUPFD, 100) for _, s in self.sockets]
        if high:
            moves = " ".join(f"{3 + i}<&{fd} {fd}<&-" for i, fd in enumerate(high))
            command = ["bash", "-c", f'exec {moves}; export LISTEN_PID=$$; exec "$@"', "bash", *command]
        options = {}
        if self.user is not None:
            options = {"user": self.user, "group": self.user, "extra_groups": []}
        if self.limits:
            options["preexec_fn"] = self._child_setup
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory, pass_fds=high,
                env=self._environment(), process_group=None if self.session else 0, start_new_session=self.session,
                **options)
        for fd in high:
            os.close(fd)
        self.pid = self.process.pid
        Brood.started.append(self)
        return self

    def start(self):
        """Starts it and waits until it says READY=1."""
        self.spawn()
        wait_for(lambda: "READY=1" in self.notify.lines() or self.process.poll() is not None, "READY=1")
        assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.log_text()}"
        self.note_processes()
        return self

    # -- looking --

    def log_text(self):
        try:
            return self.log_path.read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def log(self, event=None, **fields):
        """The log's lines as dictionaries; those whose event matches the pattern and that have the fields' values."""
        rows = []
        for line in self.log_text().splitlines(keepends=True):
            if not line.endswith("\n"):
                continue
            if line.startswith("{"):
                row = json.loads(line)
            else:
                # Before there is a logger: "brood: LEVEL: EVENT ..."
                found = re.match(r"brood: (error|warning|notice|info|debug): (.*)", line)
                row = {"event": found[2], "level": found[1]} if found else {"event": line.rstrip("\n"), "level": "raw"}
            row["line"] = line.rstrip("\n")
            if event is not None and not re.search(event, row["event"]):
                continue
            if all(str(row.get(name)) == str(value) for name, value in fields.items()):
                rows.append(row)
        return rows

    def wait_log(self, event, count=1, timeout=DEADLINE_S, **fields):
        wait_for(lambda: len(self.log(event, **fields)) >= count, f"log: {event} {fields}\n", timeout)
        return self.log(event, **fields)

    def children(self):
        return proc_children(self.pid)

    def workers(self, pool=None):
        """Pids of the pool's workers (of all pools'), in no order that means anything. Nurseries have their title."""
        names = [pool] if pool else re.findall(r'^\s*pool\s+"?([^"\s]+)"?', self.config_path.read_text(), re.MULTILINE)
        titles = {f"brood: {name}" for name in names}
        return [pid for pid in self.children() if proc_title(pid) in titles and not proc_is_nursery(pid)]

    def nurseries(self, pool):
        """Pids of the processes that make the pool's workers, as far as they wait. A worker has their name, too, but not
        when it sleeps; both come from one look."""
        return [pid for pid in self.children()
                if "(brood-nursery) S " in proc_text(pid, "stat") and proc_title(pid) == f"brood: {pool}"]

    def addresses(self, pool=None, origin=None):
        """What it listens on, from the first lines of its log: "POOL ADDRESS (ORIGIN), ..."."""
        started = r"^brood \S+ starting"
        if self.is_running():
            # The log is written by another process: it may come after READY=1.
            wait_for(lambda: self.log(started) or not self.is_running(), "the line that says what it listens on")
        found = []
        for row in self.log(started + "|^also listening"):
            for item in filter(None, row["listeners"].split(", ")):
                name, address, kind = re.fullmatch(r"(.*) (\S+) \((\w+)\)", item).groups()
                if pool in (None, name) and origin in (None, kind):
                    found.append(address)
        return found

    def address(self, pool=None):
        return self.addresses(pool)[0]

    def board(self):
        result = subprocess.run([BOARDCAT, str(self.pid)], stdout=subprocess.PIPE, timeout=DEADLINE_S, check=False)
        return json.loads(result.stdout) if result.returncode == 0 else {"slots": []}

    def slots(self, pool):
        return [slot for slot in self.board()["slots"] if slot["pool"] == pool and slot["pid"] != 0]

    def wait_workers(self, count, pool=None, idle=True):
        """Waits until the pool has COUNT workers, all of them waiting for a connection."""
        def settled():
            workers = self.workers(pool)
            if len(workers) != count:
                return None
            if idle:
                states = {slot["pid"]: slot["state"] for slot in self.board()["slots"]}
                if any(states.get(pid) != "idle" for pid in workers):
                    return None
            return workers
        workers = wait_for(settled, f"{count} workers of {pool or 'all pools'}")
        self.note_processes()
        return workers

    def note_processes(self):
        if self.pid:
            self.known.update(self.children())

    # -- acting --

    def kill(self, number):
        kill(self.pid, number)

    def reload(self, config=None, good=True):
        """Reloads, with another configuration, and waits for the verdict. Returns how many lines the log had before."""
        if config is not None:
            self.write_config(config)
        before = len(self.log())
        self.note_processes()
        self.kill(signal.SIGHUP)

        def verdict():
            return [row for row in self.log()[before:] if re.search(RELOAD_GOOD + "|" + RELOAD_BAD, row["event"])]
        row = wait_for(verdict, "the verdict of the reload")[-1]
        assert bool(re.search(RELOAD_GOOD, row["event"])) == good, row["line"]
        self.note_processes()
        return before

    def wait(self, timeout=DEADLINE_S):
        """Waits for the end; returns the exit status."""
        self.note_processes()
        return self.process.wait(timeout)

    def stop(self, number=signal.SIGTERM, timeout=DEADLINE_S):
        self.note_processes()
        if self.process.poll() is None:
            self.kill(number)
        return self.wait(timeout)

    # -- the end --

    def _is_ours(self, pid):
        exe = ""
        with contextlib.suppress(OSError):
            exe = os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)")
        return exe in (str(BINARY.resolve()), str(self.directory / "brood-binary"))

    def leftovers(self):
        """Processes that are still there: known ones, and those that lost their parent and became this process's."""
        masters = {one.pid for one in Brood.started if one.is_running()}
        return [pid for pid in sorted(self.known | set(proc_children(os.getpid())))
                if pid not in masters and proc_alive(pid) and self._is_ours(pid)]

    def is_running(self):
        return self.process.poll() is None

    def kill_leftovers(self):
        if self.process is not None and self.process.poll() is None:
            self.note_processes()
            self.process.kill()
            self.process.wait(DEADLINE_S)
        for pid in self.leftovers():
            kill(pid, signal.SIGKILL)
        # Orphans that came to this process are reaped by it, one by one: others of its children are Popen's.
        for pid in self.known:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)

    def unexpected(self):
        rows = []
        for row in self.log():
            if row["level"] in ("info", "notice", "debug"):
                continue
            # It follows the line of a failure, which is expected or is not.
            if row["event"] == "pool is degraded":
                continue
            # Tests bring more clients than there are workers, as many as they like.
            if not any(re.search(pattern, row["line"]) for pattern in [*self.expect, "all workers are busy"]):
                rows.append(row["line"])
        return rows

    def finish(self):
        """Stops it if it runs, and asserts all that must hold at an end."""
        if self.finished:
            return
        self.finished = True
        try:
            if self.process is None:
                return
            status = self.stop() if self.process.poll() is None else self.process.returncode
            with contextlib.suppress(AssertionError):
                wait_for(lambda: not self.leftovers(), "no process left", 30)
            left = [f"{pid} {proc_title(pid)}" for pid in self.leftovers()]
            reports = "\n".join(p.read_text(errors="replace") for p in sorted(self.sanitizer_dir.iterdir()))
            assert not reports, reports
            assert status == self.status, f"exit status {status}, not {self.status}:\n{self.log_text()}"
            assert not left, f"processes are left: {left}\n{self.log_text()}"
            assert not self.unexpected(), "unexpected in the log:\n" + "\n".join(self.unexpected())
            leave = self.leave | ({self.control.name} if status == -signal.SIGKILL else set())
            files = [str(p) for p in self.directory.rglob("*") if p.suffix in (".sock", ".pid") and p.name not in leave]
            assert not files, f"files are left: {files}"
        finally:
            self.kill_leftovers()
            if self.notify:
                self.notify.close()


def echo_pool(name="echo", listen="127.0.0.1:0", workers=2, extra="", echo=""):
    """The text of a pool with the handler echo."""
    addresses = [listen] if isinstance(listen, str) else listen
    listed = ", ".join(f'"{a}"' for a in addresses)
    return f"""
pool "{name}" {{
	listen = {{{listed}}}
	handler = "echo"
	workers = {workers}
	{extra}
	echo {{ {echo} }}
}}
"""
