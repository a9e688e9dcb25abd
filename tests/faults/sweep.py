# SPDX-License-Identifier: MIT
"""The fault sweep: every system call that the master makes in a phase of its life fails once, in every way that is
plausible, and what becomes of the daemon is judged.

A phase is run once under strace to see which calls there are. Then for each of these and each error of its kind the
daemon is started anew, strace injects the error once, and the phase goes on as it can. strace follows no children: only
the master's calls fail. Calls that do the same thing to the same kind of object are one class, so that a shorter sweep
can take some of each, and the table is no longer than it has to be.

The master has to succeed (every listener answers and it stops with status 0) or to report: it ends with a documented
status and the error's text in its log, or it goes on and says so. It must not crash, hang, spin, lose a listener or leave
a process behind."""
import errno
import multiprocessing
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from typing import Callable

from brood import BUILD, Brood, connect, kill, proc_alive, proc_children, proc_fds, proc_status, receive, wait_for

PROGRAM = pathlib.Path(BUILD, "tests/bench/bench-program")
MODULE = pathlib.Path(BUILD, "tests/bench/bench-module.so")
DEADLINE_S = 30
LOOK_S = 0.1  # how long the master is watched for a loop without rest
SPIN_CALLS = 100  # of epoll_wait in that time
DOCUMENTED = {0, 64, 69, 70, 71, 75, 77, 78}

HEAD = """
pidfile = "{home}/brood.pid"
control = "{home}/brood.sock"
max_workers = 64
stop_timeout = 3s
pool "echo" {{
	listen = {{"127.0.0.1:0", "unix:{home}/echo.sock"}}
	handler = "echo"
	workers = 2
	backoff_min = 10ms
	echo {{ messages = 1 }}
}}
"""
CAT = """
pool "cat" {{
	listen = {{"127.0.0.1:0"}}
	handler = "inetd"
	command = {{"/bin/cat"}}
	workers = 1
	max_workers = 4
	backoff_min = 10ms
}}
"""
MORE = """
pool "more" {{
	listen = {{"127.0.0.1:0", "unix:{home}/more.sock"}}
	handler = "echo"
	workers = 1
	backoff_min = 10ms
	echo {{ messages = 1 }}
}}
"""
TAIL = """
pool "program" {{
	listen = {{"127.0.0.1:0"}}
	handler = "program"
	command = {{"{program}", "1"}}
	workers = 1
	ready = alive
	ready_after = 20ms
	backoff_min = 10ms
}}
pool "module" {{
	listen = {{"127.0.0.1:0"}}
	handler = "module"
	module = "{module}"
	workers = 1
	backoff_min = 10ms
	module_options {{ messages = 1 }}
}}
"""
CONFIG = HEAD + CAT + TAIL
CHANGED = HEAD + MORE + TAIL  # a pool goes, with its listener, and another one comes
WORKERS = 4  # with titles of ours: the program has its own
TCP_LISTENERS = 4

# ---- which errors a call may have ----

ERRORS = {
    "accept4": "ECONNABORTED EMFILE EINTR",
    "access": "EACCES",
    "bind": "EADDRINUSE EACCES",
    "chdir": "ENOENT",
    "chmod": "EPERM",
    "chown": "EPERM",
    "clone": "EAGAIN ENOMEM",
    "clone3": "EAGAIN ENOMEM ENOSYS",
    "connect": "ECONNREFUSED EAGAIN",
    "dup": "EMFILE",
    "dup2": "EMFILE",
    "dup3": "EMFILE",
    "epoll_create1": "EMFILE ENOMEM",
    "epoll_ctl": "ENOMEM ENOSPC",
    "epoll_wait": "EINTR",
    "eventfd2": "EMFILE",
    "execve": "ENOENT EACCES ENOEXEC ETXTBSY ENOMEM",
    "faccessat2": "EACCES ENOENT",
    "fallocate": "ENOSPC EOPNOTSUPP",
    "fchmod": "EPERM",
    "fchmodat": "EPERM",
    "fchown": "EPERM",
    "fsync": "EIO",
    "fdatasync": "EIO",
    "flock": "EWOULDBLOCK ENOLCK",
    "ftruncate": "ENOSPC EINTR",
    "getcwd": "ENOENT",
    "getdents64": "ENOENT",
    "getrandom": "EAGAIN ENOSYS",
    "getsockname": "ENOBUFS",
    "getsockopt": "ENOBUFS EOPNOTSUPP",
    "kill": "EPERM",
    "lchown": "EPERM",
    "link": "ENOSPC EACCES EEXIST",
    "linkat": "ENOSPC EACCES EEXIST",
    "listen": "EADDRINUSE",
    "lseek": "ESPIPE",
    "lstat": "EACCES",
    "madvise": "ENOMEM",
    "memfd_create": "EMFILE ENOSYS",
    "mkdir": "EACCES ENOSPC",
    "mmap": "ENOMEM",
    "mprotect": "ENOMEM",
    "mremap": "ENOMEM",
    "newfstatat": "EACCES ENOENT",
    "openat": "EMFILE EACCES ENOENT",
    "pidfd_open": "EMFILE ENOSYS",
    "pidfd_send_signal": "EPERM",
    "pipe2": "EMFILE ENFILE",
    "poll": "EINTR ENOMEM",
    "ppoll": "EINTR ENOMEM",
    "prctl": "EINVAL",
    "pread64": "EIO",
    "preadv2": "EINTR EAGAIN EOPNOTSUPP",
    "prlimit64": "EPERM",
    "read": "EIO EINTR",
    "readlink": "EACCES ENOENT",
    "readlinkat": "EACCES ENOENT",
    "recvfrom": "EINTR ENOBUFS",
    "recvmmsg": "EINTR ENOBUFS",
    "recvmsg": "EINTR ENOBUFS EMFILE",
    "rename": "ENOSPC EACCES",
    "renameat2": "ENOSPC EACCES EINVAL",
    "sendmsg": "EAGAIN ECONNREFUSED ENOBUFS",
    "sendto": "EAGAIN ECONNREFUSED ENOBUFS",
    "setsid": "EPERM",
    "setsockopt": "ENOPROTOOPT EPERM ENOMEM",
    "shutdown": "ENOTCONN",
    "signalfd4": "EMFILE ENOMEM",
    "socket": "EMFILE EAFNOSUPPORT ENOBUFS",
    "socketpair": "EMFILE ENOBUFS",
    "statx": "EACCES ENOENT",
    "timerfd_create": "EMFILE",
    "unlink": "EACCES EROFS",
    "unlinkat": "EACCES EROFS",
    "vfork": "EAGAIN",
    "wait4": "EINTR",
    "waitid": "EINTR",
    "write": "ENOSPC EIO EINTR",
    "writev": "ENOSPC EIO EINTR",
}
# Of these other errors, or with such arguments only: elsewhere the call cannot fail, for its arguments are right.
ONLY = {"newfstatat": {"AT_EMPTY": "EIO"},
        # What a socket is it always says.
        "getsockopt": {"SO_DOMAIN": "", "SO_TYPE": "", "SO_PROTOCOL": "", "SO_ACCEPTCONN": "", "": "ENOBUFS EOPNOTSUPP"},
        "write": {"eventfd": "", "": "ENOSPC EIO EINTR"},  # it has room for 2^64 wake-ups
        "fcntl": {"F_DUPFD": "EMFILE", "F_SETLK": "ENOLCK", "F_OFD_SETLK": "ENOLCK", "F_ADD_SEALS": "EPERM"}}
# Calls that do not fail with these arguments, or whose failure strace cannot show: a close() that it lets fail is not
# made, and the descriptor stays open, as with no error of Linux; brk() answers with the old break, not with an error.
NEVER = {"brk", "close", "munmap", "exit_group", "getpid", "gettid", "getppid", "geteuid", "getegid", "getuid", "getgid",
         "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "restart_syscall", "umask", "ioctl", "uname", "sysinfo", "sched_yield",
         "clock_nanosleep", "clock_gettime", "futex", "fadvise64", "set_robust_list", "rseq", "arch_prctl",
         "set_tid_address", "getpgrp", "getpgid", "setpgid", "alarm", "close_range", "getgroups"}
NO_ERROR = ("EPOLL_CTL_DEL",)


@dataclass(frozen=True)
class Call:
    name: str
    number: int  # which of its name, from the beginning of the trace
    kind: str  # its class

    def errors(self):
        if any(word in self.kind for word in NO_ERROR):
            return []
        for word, errors in ONLY.get(self.name, {}).items():
            if word in self.kind:
                return errors.split()
        return ERRORS.get(self.name, "").split()


CALL = re.compile(r"^(\w+)\((.*)$")


def kind_of(name, rest):
    """What a call does: its name, the kind of its descriptor, and its words; no numbers, and no text but paths'."""
    text = rest.rpartition(") = ")[0] or rest
    text = re.sub(r'"(?!/)(?:[^"\\]|\\.)*"(?:\.\.\.)?', '""', text)
    text = re.sub(r"0x[0-9a-f]+|\d+", "#", text)
    text = re.sub(r"/tmp/brood-faults-[^/\"<>]*", "HOME", text)
    if name not in ("setsockopt", "getsockopt", "openat", "newfstatat", "unlink", "fcntl", "epoll_ctl", "socket", "kill",
                    "rename", "link", "chmod", "mmap", "prctl"):
        text = text.split(",")[0]
    return f"{name}({text}"[:90]


def calls_of(trace, after=None):
    """The calls of a trace; with AFTER only those after the first line that has this in it. What the dynamic loader does
    for a new image is left out: its last call is the first munmap()."""
    counts, found, begun, loading = {}, [], after is None, False
    for line in trace.read_text(errors="replace").splitlines():
        match = CALL.match(line)
        if not match:
            continue
        name = match[1]
        counts[name] = counts.get(name, 0) + 1
        begun = begun or after in line
        if begun and not loading:
            found.append(Call(name, counts[name], kind_of(name, match[2])))
        if name in ("execve", "munmap"):
            loading = name == "execve" and line.endswith("= 0")
    return found


# ---- phases ----

class NotPossible(Exception):
    """The daemon has no such phase."""


class Bad(Exception):
    """What the daemon did that it must not."""


@dataclass(frozen=True)
class Phase:
    """`act(one)` makes it happen, and returns when it is over: it succeeds or raises. `lasts`: the daemon serves after
    it. `after(one)` looks at more than that every listener answers."""
    name: str
    act: Callable = None
    from_start: bool = False
    lasts: bool = True
    after: Callable = None


def kill_one_worker(one):
    victim = one.workers("echo")[0]
    kill(victim, signal.SIGKILL)
    wait_for(lambda: victim not in one.workers("echo") and len(one.workers("echo")) == 2 or not one.is_running(),
             "another worker", DEADLINE_S)


def resize(one):
    for number, wanted in ((signal.SIGTTIN, 3), (signal.SIGTTOU, 2)):
        one.kill(number)
        wait_for(lambda w=wanted: len(one.workers("echo")) == w or not one.is_running(), "another size", DEADLINE_S)


def stop(one):
    one.stop(timeout=DEADLINE_S)


VERDICT = "^reloaded|^reload refused"


def configure(one, text):
    one.config_path.write_text("log_format = json\n" + text.format(home=one.directory, program=PROGRAM, module=MODULE))


def status_refuses(one):
    """The status that the service manager has: whether it is that of a reload that was refused."""
    said = [line for line in one.notify.lines() if line.startswith("STATUS=")]
    return bool(said) and "reload refused" in said[-1]


def request(one, number, verdict, over):
    """A signal, and the wait for what is said of it, and for what OVER, given the workers before it, says is its end."""
    said, old, refused = len(one.log(verdict)), set(one.workers()), status_refuses(one)

    def ended():
        if one.log("is not built"):
            raise NotPossible
        # The line may be what is lost; the workers are seen anyway, and the status.
        if not one.is_running() or over(old) or (status_refuses(one) and not refused):
            return True
        return len(one.log(verdict)) > said and one.log(verdict)[-1]["level"] == "error"
    one.kill(number)
    wait_for(ended, "the end of the request", DEADLINE_S)


def reload(one):
    request(one, signal.SIGHUP, VERDICT, lambda old: not old & set(one.workers()) and len(one.workers()) >= len(old))


def change(one):
    configure(one, CHANGED)
    reload(one)


def refuse(one):
    """A file that is no configuration: nothing changes."""
    configure(one, CONFIG.replace("workers = 2", "workers = two"))
    old = set(one.workers())
    request(one, signal.SIGHUP, VERDICT, lambda _: False)
    if not old <= set(one.workers()):
        raise Bad("a reload that was refused has ended workers")


def upgrade(one):
    """The same binary in place of itself."""
    request(one, signal.SIGUSR2, "^upgraded|^upgrade refused", lambda old: not old & set(one.workers()) and
            len(one.workers()) >= len(old))


def after_change(one):
    """All of the new configuration, or all of the old one; and the next reload is as good as any."""
    verdicts = one.log(VERDICT)
    path = one.directory / "more.sock"
    if verdicts and verdicts[-1]["level"] == "error" and path.exists():
        raise Bad("a reload that was refused leaves its new listener")
    if verdicts and verdicts[-1]["level"] != "error" and ask(f"unix:{path}") != b"x" * 128:
        raise Bad("a reload has not opened its new listener")
    after_reload(one)
    wait_for(lambda: not path.exists(), "the end of a listener that is gone", DEADLINE_S)


def after_reload(one):
    configure(one, CONFIG)
    said = len(one.log("^reloaded"))
    reload(one)
    wait_for(lambda: len(one.log("^reloaded")) > said, "the next reload", DEADLINE_S)
    wait_for(lambda: len(one.ports()) == TCP_LISTENERS, "the old listeners", DEADLINE_S)


PHASES = {phase.name: phase for phase in (
    Phase("start", from_start=True),
    Phase("death", kill_one_worker),
    Phase("resize", resize),
    Phase("reload", reload, after=after_reload),
    Phase("change", change, after=after_change),
    Phase("refuse", refuse, after=after_reload),
    Phase("upgrade", upgrade, after=after_reload),
    Phase("stop", stop, lasts=False),
)}


# ---- one case ----

@dataclass(frozen=True)
class Case:
    phase: str
    call: Call
    error: str


@dataclass
class Outcome:
    case: Case
    verdict: str = ""  # "served", "served, reported", "reported", "not reached"; all else is bad
    detail: str = ""

    @property
    def good(self):
        return self.verdict in GOOD


GOOD = ("served", "served and reported", "ended and reported", "not reached")


class Faulty(Brood):
    """A Brood whose master strace looks at, from its start or later."""

    def __init__(self, home, phase, inject=None):
        super().__init__(home, CONFIG.format(home=home, program=PROGRAM, module=MODULE))
        self.trace = pathlib.Path(home, "trace")
        names = f"{inject[0]},epoll_wait" if inject else "all"
        self.strace = ["strace", "-qq", "-yy", "-e", "signal=none", "-o", str(self.trace), "-e", f"trace={names}"]
        if inject:
            self.strace += ["-e", f"inject={inject[0]}:error={inject[2]}:when={inject[1]}"]
        self.phase = phase
        self.tracer = None

    def command(self):
        # The tracer is a process apart, and the one that is started is the master.
        return [*self.strace, "-D", *super().command()] if self.phase.from_start else super().command()

    def attach(self):
        self.tracer = subprocess.Popen([*self.strace, "-p", str(self.pid)], stdin=subprocess.DEVNULL,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: proc_status(self.pid).get("TracerPid", "0") != "0", "strace attaches")

    def wait_ready(self):
        """READY=1 may be what is lost."""
        try:
            wait_for(lambda: "READY=1" in self.notify.lines() or self.log("^ready$") or not self.is_running(), "READY=1",
                     DEADLINE_S)
        except AssertionError:
            raise Bad("hangs: neither ready nor gone") from None

    def ports(self):
        """Of the sockets that the master listens on: its lines of the log may be what is lost."""
        mine = {what[8:-1] for what in proc_fds(self.pid).values() if what.startswith("socket:")}
        rows = [line.split() for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return [int(row[1].split(":")[1], 16) for row in rows if row[3] == "0A" and row[9] in mine]

    def close(self):
        self.kill_leftovers()
        if self.tracer is not None:
            self.tracer.kill()
            self.tracer.wait()
        self.notify.close()


def ask(address):
    with connect(address, DEADLINE_S) as client:
        client.sendall(b"x" * 128)
        client.shutdown(socket.SHUT_WR)
        return receive(client, 128)


def check_serves(one):
    """Every listener answers."""
    addresses = [f"127.0.0.1:{port}" for port in one.ports()] + [f"unix:{one.directory}/echo.sock"]
    if len(addresses) != TCP_LISTENERS + 1:
        raise Bad(f"has lost a listener: {addresses}")
    for address in addresses:
        try:
            if ask(address) != b"x" * 128:
                raise Bad(f"{address} does not answer")
        except OSError as error:
            raise Bad(f"{address}: {error}") from None


def check_rests(one):
    def waits():
        return one.trace.read_text(errors="replace").count("epoll_wait(")
    before = waits()
    time.sleep(LOOK_S)
    if waits() - before > SPIN_CALLS:
        raise Bad(f"spins: {waits() - before} waits in {LOOK_S} s")


def check_children_are_not_traced(one):
    for pid in proc_children(one.pid):
        if proc_status(pid).get("TracerPid", "0") != "0":
            raise Bad(f"the child {pid} is traced")


# Where the daemon says more than the error's own text.
ALSO = {"EADDRINUSE": "another daemon answers there"}


def says(one, error):
    said = one.log_text()
    return any(text in said for text in (os.strerror(getattr(errno, error)), error, ALSO.get(error, error)))


# To whom a file is not there it is not to be removed either.
NOT_THERE = ("ENOENT",)


def check_end(one, error):
    """It has ended. Returns whether it has reported ERROR; the status 0 needs no reason."""
    status = one.process.returncode
    try:
        wait_for(lambda: not any(proc_alive(pid) for pid in one.known), "no process left", 5)
    except AssertionError:
        left = [pid for pid in one.known if proc_alive(pid)]
        raise Bad(f"ends with {status} and leaves {left}") from None
    if status < 0:
        raise Bad(f"crashes: {signal.Signals(-status).name}")
    if status not in DOCUMENTED:
        raise Bad(f"ends with {status}, which is not documented")
    files = [path.name for path in pathlib.Path(one.directory).iterdir() if re.search(r"\.(sock|pid)(\.\d+)?$", path.name)]
    if (status != 0 or (files and error not in NOT_THERE)) and not says(one, error):
        raise Bad(f"ends with {status}, leaves {files}, and does not say why: {one.log_text()[-300:]}")
    return status


def act(one, phase, error=None):
    """What does not happen must be said, and then the daemon serves as before."""
    one.note_processes()
    try:
        phase.act(one)
    except (AssertionError, subprocess.TimeoutExpired) as problem:
        if error is None or not phase.lasts or not says(one, error):
            raise Bad(f"hangs: {problem}") from None


def settle(one, phase):
    try:
        phase.after(one)
    except AssertionError as problem:
        raise Bad(f"afterwards: {problem}") from None


def live(one, phase, error):
    """The life of the daemon with the fault. Returns the verdict."""
    if phase.from_start:
        one.spawn()
        one.wait_ready()
    else:
        one.start()
        one.wait_workers(WORKERS, idle=False)
        one.attach()
        act(one, phase, error)
    if phase.lasts and one.is_running():
        one.note_processes()
        if phase.after:
            settle(one, phase)
        check_serves(one)
        check_children_are_not_traced(one)
        check_rests(one)
        one.note_processes()
        try:
            one.stop(timeout=DEADLINE_S)
        except subprocess.TimeoutExpired:
            raise Bad("does not stop") from None
        if check_end(one, error) != 0:
            raise Bad(f"has served and then ends with {one.process.returncode}")
        return "served and reported" if says(one, error) else "served"
    if check_end(one, error) != 0:
        return "ended and reported"
    if phase.lasts:
        raise Bad("ends with 0 and has not served")
    return "served and reported" if says(one, error) else "served"


def was_injected(one):
    if not one.trace.exists():
        return None
    with_it = [line for line in one.trace.read_text(errors="replace").splitlines() if "(INJECTED)" in line]
    return with_it[0] if with_it else None


def last_error(one):
    """What it says that it has ended for."""
    errors = [line for line in one.log() if line.get("level") == "error"]
    return f"{errors[-1]['event']}: {errors[-1].get('reason', '')}" if errors else ""


def run_case(case):
    home = make_home()
    outcome = Outcome(case)
    call = case.call
    phase = PHASES[case.phase]
    one = Faulty(home, phase, (call.name, call.number, case.error))
    try:
        outcome.verdict = live(one, phase, case.error)
        if outcome.verdict == "ended and reported":
            outcome.detail = last_error(one)
    except Bad as problem:
        outcome.verdict, outcome.detail = "BAD", str(problem)
    except Exception as problem:  # whatever it is, the sweep goes on, and the case is not good
        outcome.verdict, outcome.detail = "BAD", f"{type(problem).__name__}: {problem}"
    finally:
        one.close()
    if not was_injected(one):
        if outcome.good:
            outcome.verdict = "not reached"
        else:
            outcome.detail += " (and the call was not reached)"
    shutil.rmtree(home, ignore_errors=True)
    return outcome


def make_home():
    home = pathlib.Path(tempfile.mkdtemp(prefix="brood-faults-"))
    home.chmod(0o755)
    return home


# ---- the sweep ----

def enumerate_phase(phase):
    """The calls of the phase, in order, as a run without faults makes them; None: the daemon has no such phase yet."""
    home = make_home()
    one = Faulty(home, phase)
    try:
        if phase.from_start:
            one.spawn()
            one.wait_ready()
            assert one.is_running(), f"it does not start: {one.log_text()}"
            one.note_processes()
            calls = calls_of(one.trace, after="/brood.conf")  # what the dynamic loader does before is not ours
            one.stop()
        else:
            one.start()
            one.wait_workers(WORKERS, idle=False)
            one.attach()
            act(one, phase)
            calls = calls_of(one.trace)
            one.stop()
        return calls
    except NotPossible:
        return None
    finally:
        one.close()
        shutil.rmtree(home, ignore_errors=True)


def cases_of(phase, calls, *, of_class=None, errors_max=None):
    """Each of the CALLS with each of its errors; with OF_CLASS only so many calls of each class."""
    chosen = {}
    for call in calls:
        chosen.setdefault(call.kind, []).append(call)
    for of_kind in chosen.values():
        for call in of_kind[:of_class]:
            for error in call.errors()[:errors_max]:
                yield Case(phase.name, call, error)


def without_errors(calls):
    """Names of calls that the tables do not know."""
    return sorted({call.name for call in calls} - set(ERRORS) - set(ONLY) - NEVER)


def sweep(cases, jobs, note=lambda outcome: None):
    """Tries all of them. Each job is a process: whoever loses its parent becomes a child of the process that knows it."""
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        outcomes = []
        for outcome in pool.imap(run_case, cases):
            note(outcome)
            outcomes.append(outcome)
        return outcomes
