# SPDX-License-Identifier: MIT
"""The log: its targets and forms, and receivers that stall, fill, die and come back. None stops or slows the daemon."""
import contextlib
import datetime
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import threading

import pytest
from brood import BINARY, Brood, SANITIZED, connect, echo_once, echo_pool, kill, proc_alive, proc_children, proc_fds, \
    proc_stat, proc_status, proc_text, proc_title, wait_for
from conftest import root_only
from systemd import Machine, why_not

SIGKILL, SIGTTIN, SIGTTOU, SIGUSR1 = signal.SIGKILL, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1
# What flood() provokes, and what the logger says of it.
FLOODED = ["log lines dropped"]
O_NONBLOCK = os.O_NONBLOCK


class PipedBrood(Brood):
    """Its standard error is a FIFO, which a thread reads into the log's file while `flows` is set."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.fifo = self.directory / "stderr"
        os.mkfifo(self.fifo)
        self.reader = os.open(self.fifo, os.O_RDONLY | O_NONBLOCK)
        self.flows = threading.Event()
        self.flows.set()
        self.ended = False
        self.at_end = False
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def command(self):
        return ["sh", "-c", 'exec 2>"$0" "$@"', str(self.fifo), *super().command()]

    def _read(self):
        with open(self.log_path, "ab", buffering=0) as log:
            while not self.ended:
                if self.flows.wait(0.05) and select.select([self.reader], [], [], 0.05)[0]:
                    data = os.read(self.reader, 65536)
                    log.write(data)
                    self.at_end = not data  # no writer: not yet, or no more
                    if self.at_end:
                        threading.Event().wait(0.01)

    def finish(self):
        try:
            self.flows.set()
            if self.process is not None and not self.finished:
                self.stop()
            self.close()
            super().finish()
        finally:
            self.close()

    def close(self):
        """Reads the rest. No process holds the writing end any more, or this finds out."""
        if self.ended:
            return
        with contextlib.suppress(AssertionError):
            wait_for(lambda: self.at_end or self.process is None, "the pipe's end", 10)
        self.ended = True
        self.thread.join()
        os.close(self.reader)


@pytest.fixture
def piped(directory):
    made = []

    def make(config, **options):
        home = directory / f"piped-{len(made)}"
        home.mkdir()
        made.append(PipedBrood(home, config, **options))
        return made[-1]
    yield make
    for one in made:
        one.finish()


def logger_of(one):
    """The pid of its logger, once there is one."""
    def find():
        return next((pid for pid in one.children() if proc_title(pid) == "brood: logger"), None)
    return wait_for(find, "the logger")


def flood(one, rounds):
    """Makes the master log four lines a round, and waits for it each time: it must not stop."""
    for _ in range(rounds):
        for number in (SIGTTOU, SIGTTIN):
            one.kill(number)
        wait_for(lambda: int(proc_status(one.pid)["ShdPnd"], 16) == 0, "the master takes its signals")


def expect_service(one):
    """The master supervises and the workers serve, whatever the log does."""
    for _ in range(10):
        assert echo_once(one.address()) == b"hello"
    before = set(one.workers())
    os.kill(min(before), SIGKILL)
    wait_for(lambda: len(one.workers()) == len(before) and min(before) not in one.workers(), "a new worker")
    assert echo_once(one.address()) == b"hello"


def reported(lines):
    """The sum of what the reports say was dropped."""
    return sum(int(re.search(r'count"?[=:](\d+)', line)[1]) for line in lines if "log lines dropped" in line)


def is_blocked(pid):
    """It sleeps in a send(2): for the receiver's queue, or for the memory of its own."""
    return bool(re.search("unix_wait|sock", proc_text(pid, "wchan")))


# ---- forms ----

TEXT_LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z brood\[(\d+)\] (error|warning|notice|info|debug): \S.*")


def test_text_lines(brood):
    one = brood(echo_pool(), json_log=False, expect=[".*"]).start()
    one.stop()
    lines = [line for line in one.log_text().splitlines() if not line.startswith("brood: ")]
    assert lines
    for line in lines:
        assert TEXT_LINE.fullmatch(line), line
    assert int(TEXT_LINE.fullmatch(lines[0])[1]) == one.pid, "the writer of the line, not the logger"


def test_json_lines(brood):
    one = brood(echo_pool(), expect=["died"]).start()
    one.kill(SIGTTOU)
    expect_service(one)
    one.stop()
    lines = one.log_text().splitlines()
    assert len(lines) > 5
    for line in lines:
        def once(pairs, text=line):
            assert len({name for name, _ in pairs}) == len(pairs), f"a name twice: {text}"
            return dict(pairs)
        row = json.loads(line, object_pairs_hook=once)
        assert list(row)[:4] == ["time", "level", "writer", "event"]
        datetime.datetime.strptime(row["time"], "%Y-%m-%dT%H:%M:%S.%fZ")
        assert row["level"] in ("error", "warning", "notice", "info", "debug")
        assert row["writer"] == one.pid
        assert all(isinstance(value, (str, int)) for value in row.values())


def test_prefixes_under_systemd(piped):
    one = piped(echo_pool() + "log_target = stderr\n", json_log=False, expect=[".*"])
    status = os.stat(one.fifo)
    one.env["JOURNAL_STREAM"] = f"{status.st_dev}:{status.st_ino}"
    one.start()
    one.kill(SIGTTOU)
    wait_for(lambda: "pool resized" in one.log_text(), "the answer to SIGTTOU")
    one.stop()
    lines = [line for line in one.log_text().splitlines() if not line.startswith("brood: ")]
    assert lines
    for line in lines:
        assert re.fullmatch(rf"<[3-7]>\[{one.pid}\] \S.*", line), line
    assert any(line.startswith("<5>") and "pool resized" in line for line in lines)


def test_prefixes_where_the_journal_is_missing(piped):
    if os.path.exists("/run/systemd/journal/socket"):
        pytest.skip("there is a journal here")
    one = piped(echo_pool() + "log_target = journal\n", json_log=False, expect=[".*"]).start()
    one.stop()
    text = one.log_text()
    assert len(re.findall("journal not available, logging to standard error", text)) == 1
    assert re.search(rf"^<5>\[{one.pid}\] ready ", text, re.MULTILINE)


# ---- stalls ----

def test_nobody_reads_standard_error(piped):
    one = piped(echo_pool(), expect=[*FLOODED, "died"]).start()
    one.address()
    one.flows.clear()
    flood(one, 2000)
    expect_service(one)
    one.flows.set()
    wait_for(lambda: reported(one.log_text().splitlines()) > 0, "the report of lost lines")
    one.kill(SIGTTOU)
    wait_for(lambda: "pool resized" in one.log_text().splitlines()[-1], "lines after the report")


def test_nobody_reads_standard_error_at_the_end(piped):
    one = piped(echo_pool(), expect=FLOODED).start()
    one.address()
    one.flows.clear()
    flood(one, 2000)
    assert one.stop() == 0, "a log that stalls does not hold the end"


def test_inherited_standard_error_stays_blocking(piped):
    one = piped(echo_pool(), expect=FLOODED).start()
    one.address()
    one.flows.clear()
    flood(one, 1000)
    flags = re.search(r"flags:\s*(\d+)", proc_text(one.pid, "fdinfo/2"))[1]
    assert int(flags, 8) & O_NONBLOCK == 0
    logger = logger_of(one)
    flags = re.search(r"flags:\s*(\d+)", proc_text(logger, "fdinfo/2"))[1]
    assert int(flags, 8) & O_NONBLOCK == 0


class Receiver:
    """A mount namespace whose /dev has nothing but what we need, for a syslog daemon and for brood."""

    SETUP = """set -e
        mount -t tmpfs -o mode=0755 dev /dev
        mknod -m 666 /dev/null c 1 3; mknod -m 666 /dev/zero c 1 5; mknod -m 666 /dev/full c 1 7
        mknod -m 666 /dev/random c 1 8; mknod -m 666 /dev/urandom c 1 9
        mount -t tmpfs run /run
        """

    def __init__(self, script, *args):
        self.process = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sh", "-c",
                                         self.SETUP + script, "receiver", *map(str, args)], stdin=subprocess.DEVNULL)

    @property
    def pid(self):
        return self.process.pid

    def path(self, inside):
        return f"/proc/{self.pid}/root{inside}"

    def enter(self, command):
        return ["nsenter", f"--mount=/proc/{self.pid}/ns/mnt", f"--wd={os.getcwd()}", *command]

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        kill(self.pid, signal.SIGCONT)
        self.process.kill()
        self.process.wait()


class BroodInside(Brood):
    """Runs in a Receiver's namespace."""

    receiver = None

    def command(self):
        return self.receiver.enter(super().command())


@pytest.fixture
def inside(directory):
    made = []

    def make(receiver, config, **options):
        home = directory / f"inside-{len(made)}"
        home.mkdir()
        one = BroodInside(home, config, **options)
        one.receiver = receiver
        made.append(one)
        return one
    yield make
    for one in made:
        one.finish()


def wait_for_syslogd(receiver):
    wait_for(lambda: os.path.exists(receiver.path("/dev/log")) or receiver.process.poll() is not None, "syslogd")
    assert receiver.process.poll() is None


def serve_by(one, read_log):
    """As expect_service(), for a log that the harness does not read."""
    address = wait_for(lambda: re.search(r'listeners="\S+ (\S+) \(', read_log()), "the first line")[1]
    for _ in range(10):
        assert echo_once(address) == b"hello"
    before = set(one.workers())
    os.kill(min(before), SIGKILL)
    wait_for(lambda: len(one.workers()) == len(before) and min(before) not in one.workers(), "a new worker")
    assert echo_once(address) == b"hello"


@root_only
@pytest.mark.skipif(not shutil.which("busybox"), reason="needs busybox's syslogd")
def test_syslogd_that_stops(inside, directory):
    output = directory / "messages"
    with Receiver('exec busybox syslogd -n -O "$1"', output) as syslogd:
        wait_for_syslogd(syslogd)
        one = inside(syslogd, echo_pool() + "log_target = syslog\n", json_log=False).start()
        wait_for(lambda: output.exists() and " ready " in output.read_text(), "the log's first lines")
        for line in output.read_text().splitlines():
            assert "brood[" not in line or re.search(rf" daemon\.\w+ brood\[{one.pid}\]: \S", line), line
        first = output.read_text()
        os.kill(syslogd.pid, signal.SIGSTOP)
        flood(one, 3000)
        wait_for(lambda: is_blocked(logger_of(one)), "the logger is held by syslogd")
        serve_by(one, lambda: first)
        os.kill(syslogd.pid, signal.SIGCONT)
        wait_for(lambda: reported(output.read_text(errors="replace").splitlines()) > 0, "the report of lost lines")
        os.kill(syslogd.pid, signal.SIGSTOP)
        flood(one, 200)
        assert one.stop() == 0, "a syslogd that stalls does not hold the end"


@root_only
@pytest.mark.skipif(not shutil.which("rsyslogd"), reason="needs rsyslogd")
def test_rsyslogd_gets_levels_and_writer(inside, directory):
    output = directory / "messages"
    (directory / "rsyslog.conf").write_text(
        'module(load="imuxsock")\n'
        'template(name="t" type="string" string="%syslogfacility-text%.%syslogseverity-text% %syslogtag% %msg%\\n")\n'
        f'*.* action(type="omfile" file="{output}" template="t")\n')
    with Receiver('exec rsyslogd -n -i NONE -f "$1"', directory / "rsyslog.conf") as syslogd:
        wait_for_syslogd(syslogd)
        one = inside(syslogd, echo_pool() + "log_target = syslog\n", json_log=False).start()
        one.kill(SIGTTOU)
        wait_for(lambda: output.exists() and "pool resized" in output.read_text(), "the answer to SIGTTOU")
        assert one.stop() == 0
        text = output.read_text()
        assert re.search(rf"^daemon\.notice brood\[{one.pid}\]: +ready pools=1 workers=2$", text, re.MULTILINE)
        assert re.search(rf"^daemon\.notice brood\[{one.pid}\]: +pool resized", text, re.MULTILINE)


@root_only
def test_full_disk(inside, directory):
    """A small file system: it fills, it is found out, there is room again, and the log says what it lost."""
    (directory / "disk").mkdir()
    with Receiver('mount -t tmpfs -o size=64k disk "$1"; echo up >/dev/up; exec sleep 1000',
                  directory / "disk") as holder:
        wait_for(lambda: os.path.exists(holder.path("/dev/up")), "the file system")
        log = directory / "disk" / "log"
        # The log's file, as seen from here.
        seen = holder.path(str(log))

        def read_log():
            with open(seen, encoding="ascii") as file:
                return file.read()
        one = inside(holder, echo_pool() + f'log_target = "{log}"\n', json_log=False, expect=["log cannot be written"])
        one.start()
        first = wait_for(read_log, "the first line")
        flood(one, 1000)
        wait_for(lambda: "log cannot be written" in one.log_text(), "the complaint on standard error")
        assert one.log_text().count("log cannot be written") == 1
        assert "No space left on device" in one.log_text()
        serve_by(one, lambda: first)
        os.rename(seen, seen + ".1")
        one.kill(SIGUSR1)
        wait_for(lambda: os.path.exists(seen), "the new file")
        os.truncate(seen + ".1", 0)
        one.kill(SIGTTOU)
        wait_for(lambda: reported(read_log().splitlines()) > 0, "the report")
        report = next(line for line in read_log().splitlines() if "log lines dropped" in line)
        assert 'error="No space left on device"' in report
        assert one.stop() == 0
        assert re.search(r"notice: stopped exit_status=0\n\Z", read_log())


# ---- files ----

def test_reopening(brood, directory):
    log = directory / "brood.log"
    one = brood(echo_pool() + f'log_target = "{log}"\n').start()
    wait_for(lambda: log.exists() and '"event":"ready"' in log.read_text(), "the first lines")
    assert log.stat().st_mode & 0o7777 == 0o640 & ~0o022
    for number in range(20):
        old = directory / f"brood.log.{number}"
        log.rename(old)
        size = old.stat().st_size
        one.kill(SIGUSR1)
        wait_for(lambda: log.exists() and "log files reopened" in log.read_text(), "the new file")
        # The line about the signal may have been on its way; then the old file is at rest.
        size = old.stat().st_size
        one.kill(SIGTTOU)
        wait_for(lambda: "pool resized" in log.read_text(), "lines in the new file")
        assert old.stat().st_size == size
    assert one.stop() == 0
    assert '"event":"stopped"' in log.read_text()
    assert one.log_text() == "", "nothing of it goes to standard error"


def http_pool(root, access_log):
    return f"""
pool "web" {{
	listen = {{"127.0.0.1:0"}}
	handler = "http"
	workers = 2
	http {{ root = "{root}" access_log = "{access_log}" }}
}}
"""


def ask_many(address, count):
    """COUNT requests, one after the other, a hundred on a connection."""
    for first in range(0, count, 100):
        with connect(address) as client:
            for number in range(first, min(first + 100, count)):
                client.sendall(b"HEAD /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number)
                answer = b""
                while not answer.endswith(b"\r\n\r\n"):
                    piece = client.recv(65536)
                    assert piece
                    answer += piece


def test_access_log_is_reopened(brood, directory):
    access = directory / "access.log"
    one = brood(http_pool(directory, access)).start()
    ask_many(one.address(), 3)
    wait_for(lambda: access.read_text().count("\n") == 3, "three lines")
    access.rename(directory / "access.log.1")
    one.kill(SIGUSR1)
    one.wait_log("log files reopened")
    ask_many(one.address(), 2)
    wait_for(lambda: access.read_text().count("\n") == 2, "two lines in the new file")
    assert (directory / "access.log.1").read_text().count("\n") == 3


def test_nobody_reads_the_access_log(brood, directory):
    """Neither the workers nor the log itself are held, and what is lost is told to the line."""
    access = directory / "access.fifo"
    os.mkfifo(access)
    count = 6000
    one = brood(http_pool(directory, access), expect=["access log lines dropped"])
    reader = os.open(access, os.O_RDONLY | O_NONBLOCK)
    try:
        one.start()
        ask_many(one.address(), count)
        one.kill(SIGTTOU)
        one.wait_log("pool resized")
        data = b""

        def complete():
            nonlocal data
            with contextlib.suppress(BlockingIOError):
                data += os.read(reader, 1 << 20)
            lost = sum(row["count"] for row in one.log("access log lines dropped", file=access))
            return lost > 0 and data.count(b"\n") + lost == count
        wait_for(complete, "all lines, or the word that they are lost")
    finally:
        one.stop()
        os.close(reader)


def test_a_file_that_cannot_be_opened(brood, directory):
    one = brood(echo_pool() + f'log_target = "{directory}/none/log"\n', status=78, expect=["none/log"]).spawn()
    assert one.wait() == 78
    assert "No such file or directory" in one.log_text()
    two = brood(echo_pool() + f'log_target = "{directory}"\n', status=78, expect=["is a directory"]).spawn()
    assert two.wait() == 78
    assert "is a directory" in two.log_text()
    (directory / "loop").symlink_to("loop")
    three = brood(echo_pool() + f'log_target = "{directory}/loop"\n', status=71, expect=["loop"]).spawn()
    assert three.wait() == 71
    assert "Too many levels of symbolic links" in three.log_text()


# ---- the logger's own death ----

def test_logger_is_killed(brood):
    one = brood(echo_pool(), expect=["logger died"]).start()
    address = one.address()
    workers = one.workers()
    for _ in range(5):
        logger = logger_of(one)
        os.kill(logger, SIGKILL)
        for _ in range(50):
            assert echo_once(address) == b"hello"
        wait_for(lambda: logger_of(one) != logger, "another logger", 60)
        one.wait_log("logger died", pid=logger)
    assert sorted(one.workers()) == sorted(workers), "nothing but lines"
    one.kill(SIGTTOU)
    one.wait_log("pool resized")


def test_logger_ends_with_its_master(brood):
    one = brood(echo_pool(), status=-SIGKILL).start()
    logger = logger_of(one)
    one.note_processes()
    one.kill(SIGKILL)
    one.wait()
    wait_for(lambda: not proc_alive(logger), "the logger's end")


def test_logger_survives_the_process_group(brood):
    one = brood(echo_pool()).start()
    logger = logger_of(one)
    assert proc_stat(logger)[2] != proc_stat(one.pid)[2], "a process group of its own"
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR2, SIGTTIN, SIGTTOU, signal.SIGTSTP):
        os.kill(logger, number)
    one.kill(SIGTTOU)
    one.wait_log("pool resized")
    assert logger_of(one) == logger


def test_logger_holds_no_descriptor_of_the_master(brood):
    one = brood(echo_pool()).start()
    logger = logger_of(one)
    wait_for(lambda: len([target for target in proc_fds(logger).values() if target.startswith("socket:")]) == 1,
             "its end of the channel, and no listener")


# ---- the journal of a real systemd ----

UNIT = """[Service]
Type=notify
ExecStart=/usr/local/bin/brood-log-trial -c /usr/local/bin/brood-log-trial.conf
LogRateLimitIntervalSec=0
"""

class Trial:
    """The service's master, seen from outside the machine, for flood() and logger_of()."""

    def __init__(self, machine):
        self.cgroup = machine.cgroup.name
        self.pid = wait_for(self._find, "the service's master")

    def _find(self):
        for name in filter(str.isdigit, os.listdir("/proc")):
            if proc_title(name).startswith("brood: master") and self.cgroup in proc_text(name, "cgroup"):
                return int(name)
        return None

    def children(self):
        return proc_children(self.pid)

    def kill(self, number):
        os.kill(self.pid, number)


def install_trial(tree):
    target = tree / "usr/local/bin"
    target.mkdir(parents=True)
    shutil.copy(BINARY, target / "brood-log-trial")
    (target / "brood-log-trial.conf").write_text(echo_pool(listen="127.0.0.1:7007"))
    units = tree / "etc/systemd/system"
    units.mkdir(parents=True)
    (units / "brood-log-trial.service").write_text(UNIT)


@pytest.mark.skipif(SANITIZED or why_not() is not None, reason="no throw-away machine here")
def test_journald_that_stops():
    with Machine(install_trial) as machine:
        machine.run("systemctl", "start", "brood-log-trial")
        master = machine.show("brood-log-trial", "MainPID")

        def journal():
            lines = machine.run("journalctl", "-u", "brood-log-trial", "-o", "json", "--no-pager", check=False)
            return [json.loads(line) for line in lines.splitlines() if line.startswith("{")]

        def entry(event):
            return next((row for row in journal() if row.get("BROOD_EVENT") == event), None)
        ready = wait_for(lambda: entry("ready"), "the line in the journal")
        assert ready["MESSAGE"] == "ready pools=1 workers=2"
        assert ready["BROOD_POOLS"] == "1" and ready["BROOD_WORKERS"] == "2"
        assert ready["PRIORITY"] == "5" and ready["SYSLOG_IDENTIFIER"] == "brood" and ready["SYSLOG_PID"] == master

        one = Trial(machine)
        logger = logger_of(one)
        machine.run("systemctl", "kill", "-s", "STOP", "systemd-journald")
        try:
            flood(one, 3000)
            assert is_blocked(logger), "the journal does not read"
            for _ in range(10):
                assert machine.run("socat", "-t10", "-", "TCP:127.0.0.1:7007", text="hello") == "hello"
            assert proc_alive(one.pid) and logger_of(one) == logger
        finally:
            machine.run("systemctl", "kill", "-s", "CONT", "systemd-journald")
        report = wait_for(lambda: entry("log lines dropped"), "the report of lost lines")
        assert int(report["BROOD_COUNT"]) > 0 and report["PRIORITY"] == "4"
        machine.run("systemctl", "stop", "brood-log-trial")
        assert machine.show("brood-log-trial", "Result") == "success"
