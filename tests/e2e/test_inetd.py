# SPDX-License-Identifier: MIT
"""inetd pools: what a program is given, its output, its end, and that no connection is lost."""
import os
import pathlib
import random
import resource
import signal
import socket
import subprocess
import time

import pytest
from brood import (BUILD, DEADLINE_S, NOBODY, SANITIZED, Storm, connect, kill, proc_alive, proc_children, proc_stat,
                   receive_all, retire_in_storm, wait_for)
from conftest import root_only

SHOW = BUILD / "tests/e2e/show"
ANSWER = BUILD / "tests/e2e/answer"
PYTHON = "/usr/bin/python3"


def inetd_pool(command, name="test", listen="127.0.0.1:0", workers=2, extra=""):
    """The text of a pool with the handler inetd."""
    def listed(items):
        return ", ".join('"' + str(item).replace("\\", "\\\\").replace('"', '\\"') + '"' for item in items)
    addresses = [listen] if isinstance(listen, str) else listen
    return f"""
pool "{name}" {{
	listen = {{{listed(addresses)}}}
	handler = "inetd"
	command = {{{listed(command)}}}
	workers = {workers}
	{extra}
}}
"""


class Shown:
    """What show.c printed."""

    def __init__(self, text):
        self.lines = [line.partition(" ")[::2] for line in text.splitlines()]

    def all(self, name):
        return [value for key, value in self.lines if key == name]

    def __getitem__(self, name):
        values = self.all(name)
        assert len(values) == 1, (name, values)
        return values[0]

    @property
    def env(self):
        return dict(value.partition("=")[::2] for value in self.all("env"))

    @property
    def fds(self):
        return {int(fd): target for fd, _, target in (value.partition(" ") for value in self.all("fd"))}

    @property
    def limits(self):
        return {name: (int(soft), int(hard)) for name, soft, hard in (value.split() for value in self.all("limit"))}


def ask(address, payload=b""):
    with connect(address) as client:
        if payload:
            client.sendall(payload)
        client.shutdown(socket.SHUT_WR)
        return receive_all(client)


def show(address):
    return Shown(ask(address).decode())


def script(directory, text, name="script", mode=0o755):
    path = directory / name
    path.write_text(text)
    path.chmod(mode)
    return path


# ---- what the program is given ----

def test_all_that_a_program_is_given(brood):
    """Signals, mask, umask, directory, limits, descriptors, session: as the contract says."""
    one = brood(inetd_pool([SHOW, "first argument", "-x"]), env={"HOME": "/nowhere", "LISTEN_PID": "1", "EINHORN_X": "y"},
                limits={resource.RLIMIT_NOFILE: (500, 4000)}).start()
    shown = show(one.address())
    assert shown.all("signal") == [] and shown.all("blocked") == [] and shown.all("pending") == []
    assert shown["umask"] == "0022" and shown["directory"] == "/" and shown["root"] == "/"
    assert sorted(shown.fds) == [0, 1, 2]
    assert shown.fds[0].startswith("socket:") and shown.fds[1] == shown.fds[0]
    assert shown.fds[2].startswith("pipe:")
    assert shown.limits["nofile"] == (500, 4000), "the soft limit from before the master raised its own"
    assert shown.all("argument") == [str(SHOW), "first argument", "-x"]
    assert shown["terminal"] == "no"
    assert shown["group"] == shown["pid"] and shown["parent"] == str(one.pid)
    assert shown["deathsignal"] == "0" and shown["oom"] == "0"


def test_a_connection_blocks_and_has_no_time_out(brood, directory):
    """Whatever the listeners need for themselves, and however they are reached."""
    one = brood(inetd_pool([SHOW], listen=["127.0.0.1:0", f"unix:{directory}/s.sock"], name="several") +
                inetd_pool([SHOW], listen="127.0.0.1:0", name="tcp") +
                inetd_pool([SHOW], listen=f"unix:{directory}/t.sock", name="unix")).start()
    for address in one.addresses():
        shown = show(address)
        assert shown["connection"] == "0 0 blocks", address
        assert sorted(shown.fds) == [0, 1, 2]


def test_the_environment_is_path_the_contract_and_the_configuration(brood):
    one = brood(inetd_pool([SHOW], extra='environment = {"NAME=a value=with equals", "EMPTY="}'),
                env={"HOME": "/nowhere", "PATH": "/usr/bin:/bin:/special"}).start()
    host, port = one.address().rsplit(":", 1)
    with connect(one.address()) as client:
        own = client.getsockname()[1]
        env = Shown(receive_all(client).decode()).env
    assert env == {
        "PATH": "/usr/bin:/bin:/special", "NAME": "a value=with equals", "EMPTY": "",
        "PROTO": "TCP", "TCPLOCALIP": host, "TCPLOCALPORT": port, "TCPREMOTEIP": "127.0.0.1", "TCPREMOTEPORT": str(own),
        "TCPCONNNUM": "1", "REMOTE_HOST": "127.0.0.1", "REMOTE_ADDR": "127.0.0.1", "REMOTE_PORT": str(own),
    }


def test_the_configuration_goes_over_the_contract(brood):
    one = brood(inetd_pool([SHOW], extra='environment = {"PATH=/mine", "PROTO=MINE", "TCPCONNNUM="}')).start()
    shown = show(one.address())
    env = shown.env
    assert len(shown.all("env")) == len(env), "nothing is there twice"
    assert env["PATH"] == "/mine" and env["PROTO"] == "MINE" and env["TCPCONNNUM"] == "" and env["TCPREMOTEIP"] == "127.0.0.1"


def test_ipv6(brood):
    one = brood(inetd_pool([SHOW], listen="[::1]:0")).start()
    env = show(one.address()).env
    assert env["PROTO"] == "TCP" and env["TCPREMOTEIP"] == env["REMOTE_ADDR"] == env["REMOTE_HOST"] == "::1"
    assert env["TCPLOCALIP"] == "::1" and env["TCPLOCALPORT"] == one.address().rsplit(":", 1)[1]


def test_a_v4_mapped_address_is_shown_as_v4(brood):
    """A dual-stack socket of a socket unit's sees IPv4 clients as ::ffff:a.b.c.d."""
    with socket.socket(socket.AF_INET6) as both:
        both.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        both.bind(("::", 0))
        both.listen()
        port = both.getsockname()[1]
        one = brood(inetd_pool([SHOW], listen="systemd:both"), sockets=[("both", both)]).start()
        env = show(f"127.0.0.1:{port}").env
        assert env["TCPREMOTEIP"] == env["REMOTE_HOST"] == env["TCPLOCALIP"] == "127.0.0.1"
        one.wait_log("START")
        assert one.log("START")[0]["peer"].startswith("127.0.0.1:")


def test_unix_socket(brood, directory):
    one = brood(inetd_pool([SHOW], listen=f"unix:{directory}/s.sock", extra="environment = {\"PATH=/bin\"}")).start()
    env = show(one.address()).env
    assert env == {"PATH": "/bin", "PROTO": "IPC", "IPCREMOTEEUID": str(os.geteuid()), "IPCREMOTEEGID": str(os.getegid()),
                   "IPCREMOTEPATH": ""}
    with socket.socket(socket.AF_UNIX) as client:
        client.bind(str(directory / "client"))
        client.connect(f"{directory}/s.sock")
        env = Shown(receive_all(client).decode()).env
    assert env["IPCREMOTEPATH"] == env["REMOTE_ADDR"] == str(directory / "client")
    with socket.socket(socket.AF_UNIX) as client:
        client.bind(f"\0brood-test-{os.getpid()}")
        client.connect(f"{directory}/s.sock")
        env = Shown(receive_all(client).decode()).env
    assert env["IPCREMOTEPATH"] == f"@brood-test-{os.getpid()}"


@root_only
def test_credentials_of_a_unix_client(brood, directory):
    one = brood(inetd_pool([SHOW], listen=f"unix:{directory}/s.sock", extra='socket_mode = "0666"')).start()
    text = subprocess.run([PYTHON, "-c", f"""
import os, socket
os.setgid(4321); os.setuid({NOBODY})
client = socket.socket(socket.AF_UNIX)
client.connect("{directory}/s.sock")
while data := client.recv(65536): os.write(1, data)
"""], stdout=subprocess.PIPE, check=True, timeout=DEADLINE_S, text=True).stdout
    env = Shown(text).env
    assert env["IPCREMOTEEUID"] == str(NOBODY) and env["IPCREMOTEEGID"] == "4321"
    assert one.is_running()


def test_connections_of_one_source_are_counted(brood, directory):
    """TCPCONNNUM: those of this address that this pool serves now, this one included."""
    count = script(directory, '#!/bin/sh\necho "$TCPREMOTEIP $TCPCONNNUM"\nread line\n')
    one = brood(inetd_pool([count], listen="127.0.0.1:0", workers=3) +
                inetd_pool([count], name="other", listen="127.0.0.1:0")).start()

    def numbered(source, pool="test"):
        host, port = one.address(pool).rsplit(":", 1)
        client = socket.create_connection((host, int(port)), DEADLINE_S, source_address=(source, 0))
        return client, client.makefile().readline().split()

    held = []
    for number in (1, 2, 3):
        client, answer = numbered("127.0.0.1")
        held.append(client)
        assert answer == ["127.0.0.1", str(number)]
    client, answer = numbered("127.0.0.2")
    held.append(client)
    assert answer == ["127.0.0.2", "1"], "another source"
    client, answer = numbered("127.0.0.1", "other")
    held.append(client)
    assert answer == ["127.0.0.1", "1"], "another pool"
    held.pop(0).close()
    one.wait_log("EXIT")
    # The line comes a moment before the slot is free.
    wait_for(lambda: sum(slot["state"] == "running" for slot in one.slots("test")) == 3, "its slot is free")
    client, answer = numbered("127.0.0.1")
    held.append(client)
    assert answer == ["127.0.0.1", "3"]
    for client in held:
        client.close()


def test_directory_umask_and_limits(brood, directory):
    work = directory / "work"
    work.mkdir()
    one = brood(inetd_pool([SHOW], extra=f"""directory = "{work}"
	umask = 0077
	limits {{ nofile = 77
		core = 0
		fsize = 1M
		cpu = 1000s }}""")).start()
    shown = show(one.address())
    assert shown["umask"] == "0077" and shown["directory"] == str(work)
    assert shown.limits["nofile"] == (77, 77) and shown.limits["core"] == (0, 0)
    assert shown.limits["fsize"] == (1 << 20, 1 << 20) and shown.limits["cpu"] == (1000, 1000)


@root_only
def test_user_chroot_and_limits_together(brood, directory):
    """Limits above the hard ones and the root need privileges, which are gone when the program starts."""
    root = directory / "root"
    for name in ("bin", "work", "proc"):
        (root / name).mkdir(parents=True)
    static = root / "bin/show"
    subprocess.run(["gcc", "-static", "-D_GNU_SOURCE", "-w", "-o", static, pathlib.Path(__file__).parent / "show.c"],
                   check=True)
    (root / "work").chmod(0o700)
    os.chown(root / "work", 61111, 61112)
    one = brood(inetd_pool(["/bin/show"], extra=f"""chroot = "{root}"
	directory = "/work"
	user = "61111"
	group = "61112"
	limits {{ nofile = 700
		nproc = 50 }}"""), limits={resource.RLIMIT_NOFILE: (100, 1000)}).start()
    shown = show(one.address())
    assert shown["ids"] == "61111 61111 61111 61112 61112 61112" and shown["groups"] in ("", "61112")
    assert shown["directory"] == "/work"
    assert shown.limits["nofile"] == (700, 700) and shown.limits["nproc"] == (50, 50)
    assert sorted(shown.fds) == [0, 1, 2]


def test_without_a_terminal(brood, directory):
    """A master with a controlling terminal: its programs have none."""
    config = brood(inetd_pool([SHOW]))
    leader, terminal = os.openpty()
    program = f"""
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
    with open(config.log_path, "ab") as log:
        config.process = subprocess.Popen([PYTHON, "-c", program, *config.command()], stdin=terminal, stdout=log, stderr=log,
                                          env=config._environment(), cwd=directory)
    config.pid = config.process.pid
    wait_for(lambda: "READY=1" in config.notify.lines(), "READY=1")
    assert os.readlink(f"/proc/{config.pid}/fd/0").startswith("/dev/pts/")
    shown = show(config.address())
    assert shown["terminal"] == "no"
    assert shown["session"] == shown["group"] == shown["pid"]
    assert config.stop() == 0
    os.close(leader)
    os.close(terminal)


def test_inherited_signals_that_are_ignored_do_not_reach_a_program(brood, directory):
    """As under nohup, or a parent that ignores what it likes."""
    one = brood(inetd_pool([SHOW]))
    one.command = lambda command=one.command(): [PYTHON, "-c", """
import os, signal, sys
for number in (signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD, signal.SIGUSR1, signal.SIGXFSZ, signal.SIGWINCH, 40):
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGWINCH, signal.SIGUSR2, 41})
os.execv(sys.argv[1], sys.argv[1:])
""", *command]
    one.start()
    shown = show(one.address())
    assert shown.all("signal") == [] and shown.all("blocked") == []


# ---- standard error ----

def test_standard_error_to_the_log(brood, directory):
    program = script(directory, r"""#!/bin/sh
printf 'one\ntwo \033[31m\\ red\npart' >&2
printf 'ial\nno newline' >&2
echo answer
""")
    one = brood(inetd_pool([program])).start()
    with connect(one.address()) as client:
        peer = "127.0.0.1:%d" % client.getsockname()[1]
        assert receive_all(client) == b"answer\n"
    one.wait_log("EXIT")
    rows = one.log("^output$")
    assert [row["text"] for row in rows] == ["one", "two \\x1b[31m\\x5c red", "partial", "no newline"]
    start, end = one.log("START")[0], one.log("EXIT")[0]
    assert end["status"] == 0 and end["peer"] == start["peer"] == peer
    for row in rows:
        assert row["pool"] == "test" and row["pid"] == end["pid"] == start["pid"] and row["peer"] == peer
        assert row["stream"] == "stderr" and row["level"] == "notice"
    events = [row["event"] for row in one.log() if row["event"] in ("START", "output", "EXIT")]
    assert events == ["START", "output", "output", "output", "output", "EXIT"]


def test_any_byte_on_standard_error(brood, directory):
    program = script(directory, f"#!{PYTHON}\nimport os\nos.write(2, bytes(range(1, 10)) + bytes([0, 255]) + b'\\r\\n')\n")
    one = brood(inetd_pool([program])).start()
    ask(one.address())
    one.wait_log("EXIT")
    lines = "".join(row["text"] + "\n" for row in one.log("^output$"))
    assert lines == r"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x00\xff\x0d" + "\n"


def test_standard_error_to_the_connection_and_to_null(brood, directory):
    program = script(directory, "#!/bin/sh\necho complaint >&2\necho answer\n")
    one = brood(inetd_pool([program], name="client", extra="stderr = connection") +
                inetd_pool([program], name="none", extra="stderr = null") +
                inetd_pool([SHOW], name="show", extra="stderr = null")).start()
    assert sorted(ask(one.address("client")).splitlines()) == [b"answer", b"complaint"]
    assert ask(one.address("none")) == b"answer\n"
    assert show(one.address("show")).fds[2] == "/dev/null"
    assert not one.log("^output$")


def test_a_flood_on_standard_error(brood, directory):
    """A program that writes without end neither stops others nor fills the log; the count is told; it is not stopped."""
    program = script(directory, f"""#!{PYTHON}
import os
block = b"a line of the flood\\n" * 1000
for _ in range(500):
    os.write(2, block)
os.write(1, b"done")
""")
    one = brood(inetd_pool([program], name="flood", workers=1) + inetd_pool(["cat"], name="cat"),
                expect=["output dropped"]).start()
    with connect(one.address("flood")) as client:
        latencies = []
        client.setblocking(False)
        while True:
            begin = time.monotonic()
            assert ask(one.address("cat"), b"x") == b"x"
            latencies.append(time.monotonic() - begin)
            try:
                assert client.recv(10) == b"done", "half a million lines were written"
                break
            except BlockingIOError:
                pass
    one.wait_log("EXIT", pool="flood")
    said = len(one.log("^output$"))
    dropped = sum(row["lines"] for row in one.log("output dropped"))
    assert said + dropped == 500000
    assert said < 5000
    assert len(one.log("output dropped")) < 200
    latencies.sort()
    assert latencies[len(latencies) // 2] < 1, "others are served meanwhile"


def test_a_master_does_not_spin_on_a_flood(brood, directory):
    program = script(directory, f"#!{PYTHON}\nimport os\nblock = b'y\\n' * 32768\nwhile True: os.write(2, block)\n")
    one = brood(inetd_pool([program]), expect=["output dropped"]).start()
    with connect(one.address()):
        one.wait_log("output dropped", count=2)
        before, begin = cpu_time(one.pid), time.monotonic()
        rows = one.wait_log("output dropped", count=5)
        used, wall = cpu_time(one.pid) - before, time.monotonic() - begin
        kill(one.log("START")[0]["pid"], signal.SIGKILL)
    # 64 KiB each 20 ms is what is read of a flood; these lines have two bytes.
    read = 2 * sum(row["lines"] for row in rows[2:5])
    assert read < 2 * wall * 65536 / 0.020, (read, wall)
    if not SANITIZED:
        assert used < 0.5 * wall, (used, wall)


def cpu_time(pid):
    fields = proc_stat(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_what_a_program_leaves_behind_goes_on(brood, directory):
    """A background child keeps the pipe open: it is not killed, and its lines are logged, under the program's pid."""
    marker = directory / "marker"
    program = script(directory, f"""#!{PYTHON}
import os, sys, time
sys.stderr.write("parent\\n")
if os.fork() == 0:
    os.close(0); os.close(1)
    while True:
        try:
            os.unlink("{marker}")
            break
        except FileNotFoundError:
            time.sleep(0.01)
    for i in range(3):
        os.write(2, b"child %d\\n" % i)
    os._exit(0)
""")
    one = brood(inetd_pool([program])).start()
    fds = len(os.listdir(f"/proc/{one.pid}/fd"))
    ask(one.address())
    one.wait_log("EXIT")
    ask(one.address())  # the slot's next worker
    one.wait_log("EXIT", count=2)
    marker.touch()
    one.wait_log("^output$", text="child 2")
    marker.touch()  # the first was taken by one child alone
    one.wait_log("^output$", count=2, text="child 2")
    for start in one.log("START"):
        rows = one.log("^output$", pid=start["pid"])
        assert [row["text"] for row in rows] == ["parent", "child 0", "child 1", "child 2"]
        assert {row["peer"] for row in rows} == {start["peer"]}
    wait_for(lambda: len(os.listdir(f"/proc/{one.pid}/fd")) == fds, "no descriptor is kept")


def test_descriptors_of_left_pipes_are_bounded(brood, directory):
    """Whatever programs leave behind, the master's descriptors do not grow without bound."""
    program = script(directory, f"""#!{PYTHON}
import os, signal
if os.fork() == 0:
    os.close(0); os.close(1)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.pause()
""")
    one = brood(inetd_pool([program], workers=4), expect=["not read any more"]).start()
    try:
        for _ in range(80):
            ask(one.address())
        one.wait_log("EXIT", count=80)
        assert one.wait_log("not read any more", count=16)
        assert len(os.listdir(f"/proc/{one.pid}/fd")) < 64 + 4 + 20
    finally:
        for row in one.log("START"):
            for entry in os.listdir("/proc"):
                if entry.isdigit() and proc_stat(entry)[2:3] == [str(row["pid"])]:
                    kill(int(entry), signal.SIGKILL)


# ---- the log's lines, and ends ----

def test_exit_lines(brood, directory):
    program = script(directory, '#!/bin/sh\nread what\ncase $what in exit*) $what;; *) kill -$what $$;; esac\n')
    one = brood(inetd_pool([program]), expect=["EXIT"]).start()
    for payload, field, value in ((b"exit 0\n", "status", 0), (b"exit 7\n", "status", 7), (b"exit 72\n", "status", 72),
                                  (b"SEGV\n", "signal", "SIGSEGV"), (b"KILL\n", "signal", "SIGKILL"),
                                  (b"TERM\n", "signal", "SIGTERM")):
        count = len(one.log("EXIT"))
        ask(one.address(), payload)
        row = one.wait_log("EXIT", count=count + 1)[-1]
        assert row[field] == value and ("status" in row) != ("signal" in row), row
        assert row["duration_ms"] >= 0 and "reason" not in row
    assert len(one.log("START")) == 6 and not one.log("worker died")
    one.wait_workers(2)


def test_duration(brood):
    one = brood(inetd_pool(["sleep", "0.4"])).start()
    ask(one.address())
    assert 400 <= one.wait_log("EXIT")[0]["duration_ms"] < 30000


def test_the_replacement_comes_at_once(brood):
    """One waiting worker, and clients that stay: each is served at once, and a worker waits again."""
    one = brood(inetd_pool(["cat"], workers=1)).start()
    held = []
    for _ in range(20):
        client = connect(one.address())
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        held.append(client)
    wait_for(lambda: sum(slot["state"] == "idle" for slot in one.slots("test")) == 1, "one waits")
    assert sum(slot["state"] == "running" for slot in one.slots("test")) == 20
    for client in held:
        client.close()
    one.wait_log("EXIT", count=20)
    one.wait_workers(1)


def test_max_workers(brood):
    """Programs and waiting workers together; others wait in the queue and are served later. Said once an episode, which
    is over when some have waited for five seconds."""
    one = brood(inetd_pool(["cat"], workers=2, extra="max_workers = 4"), expect=["further clients wait"]).start()
    for episode in (1, 1, 2):
        if episode == 2:
            time.sleep(5.5)  # the episode's end is a silence
        clients = [connect(one.address()) for _ in range(10)]
        for client in clients:
            client.sendall(b"x")
        for client in clients[:4]:
            assert client.recv(1) == b"x"
        row = one.wait_log("further clients wait", count=episode)[-1]
        assert row["pool"] == "test" and row["limit"] == "max_workers of the pool" and row["workers"] == 4
        for client in clients[4:]:
            client.settimeout(0.05)
            with pytest.raises(TimeoutError):
                client.recv(1)
            client.settimeout(DEADLINE_S)
        assert len(one.slots("test")) == 4
        for i, client in enumerate(clients):
            if i >= 4:
                assert client.recv(1) == b"x"
            client.close()
        one.wait_workers(2)
        assert len(one.log("further clients wait")) == episode


def test_max_workers_of_all_pools(brood):
    one = brood("max_workers = 3\n" + inetd_pool(["cat"], workers=2), expect=["further clients wait"]).start()
    clients = [connect(one.address()) for _ in range(4)]
    row = one.wait_log("further clients wait")[-1]
    assert row["limit"] == "max_workers of all pools"
    for client in clients:
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client) == b""
        client.close()


# ---- programs that cannot be executed ----

@pytest.mark.parametrize("args", [["-t"], []], ids=["check", "start"])
@pytest.mark.parametrize("how, message", [("missing", "does not exist"), ("mode", "is not executable"),
                                          ("interpreter", "is a script whose interpreter /nonexistent/interpreter")])
def test_a_program_that_cannot_be_executed_is_an_error_at_the_start(brood, directory, how, message, args):
    program = directory / "script"
    if how == "mode":
        script(directory, "#!/bin/sh\n", mode=0o644)
    elif how == "interpreter":
        script(directory, "#!/nonexistent/interpreter\n")
    one = brood(inetd_pool([program]), args=args, status=78, expect=[message], notify=False).spawn()
    assert one.wait() == 78
    assert message in one.log_text() and f'pool "test": command = "{program}"' in one.log_text()


def test_a_program_that_is_gone_and_comes_back(brood, directory):
    """At run time: a FAIL line with the reason, the connection is closed in order, the pool backs off and recovers."""
    program = script(directory, "#!/bin/sh\necho answer\n")
    one = brood(inetd_pool([program], workers=2, extra="backoff_min = 50ms\n\tbackoff_max = 200ms"),
                expect=["FAIL", "worker died"]).start()
    assert ask(one.address()) == b"answer\n"
    program.rename(directory / "away")
    for _ in range(3):
        assert ask(one.address(), b"request") == b"", "closed, and not reset"
    row = one.wait_log("FAIL")[0]
    assert row["program"] == str(program) and row["reason"] == "No such file or directory"
    assert row["level"] == "error" and row["peer"].startswith("127.0.0.1:")
    row = one.wait_log("worker died")[0]
    assert row["how"] == "exit status 72 (its program could not be executed)"
    (directory / "away").rename(program)
    wait_for(lambda: ask(one.address()) == b"answer\n", "recovery")
    wait_for(lambda: all(ask(one.address()) == b"answer\n" for _ in range(5)), "recovery of all")
    one.wait_workers(2)


@pytest.mark.parametrize("how, reason", [("mode", "Permission denied"), ("interpreter", "No such file or directory"),
                                         ("format", "Exec format error"), ("directory", "Permission denied")])
def test_why_a_program_cannot_be_executed(brood, directory, how, reason):
    program = script(directory, "#!/bin/sh\necho answer\n")
    one = brood(inetd_pool([program], extra="backoff_min = 50ms\n\tbackoff_max = 200ms"),
                expect=["FAIL", "worker died"]).start()
    if how == "mode":
        program.chmod(0o644)
    elif how == "interpreter":
        program.write_text("#!/nonexistent/interpreter\n")
    elif how == "format":
        program.write_bytes(b"\0nothing that can be executed")
    else:
        program.unlink()
        program.mkdir()
    assert ask(one.address()) == b""
    assert one.wait_log("FAIL")[0]["reason"] == reason


def test_failures_back_off(brood, directory):
    """Clients without end and no program: starts are held back, the master does not spin."""
    program = script(directory, "#!/bin/sh\necho answer\n")
    one = brood("stop_timeout = 1s\n" + inetd_pool([program], workers=2, extra="backoff_min = 200ms\n\tbackoff_max = 10s"),
                expect=["FAIL", "worker died", "stop_timeout"]).start()
    program.unlink()
    begin = time.monotonic()
    count = 0
    while time.monotonic() - begin < 2:
        with connect(one.address()) as client:
            client.settimeout(0.1)
            try:
                client.recv(1)
                count += 1
            except TimeoutError:
                pass
    assert len(one.log("FAIL")) <= 12, "0.2 + 0.4 + 0.8 + 1.6 s"
    assert count <= 12


# ---- stopping ----

def test_a_running_program_finishes_at_a_stop(brood):
    one = brood(inetd_pool(["cat"])).start()
    with connect(one.address()) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        one.kill(signal.SIGTERM)
        wait_for(lambda: "STOPPING=1" in one.notify.lines(), "STOPPING=1")
        client.sendall(b"more")
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client) == b"more"
    assert one.wait() == 0
    assert one.log("EXIT")[0]["status"] == 0
    assert not one.log("worker died")


def test_stop_timeout_ends_programs_by_term(brood):
    """Then SIGTERM, to the program's process group."""
    one = brood(inetd_pool(["sh", "-c", "sleep 1000 & sleep 1000"], extra="stop_timeout = 300ms"),
                expect=["stop_timeout", "EXIT", "ending"]).start()
    with connect(one.address()) as client:
        pid = one.wait_log("START")[0]["pid"]
        children = wait_for(lambda: (lambda c: c if len(c) == 2 else None)(proc_children(pid)), "its children")
        begin = time.monotonic()
        assert one.stop() == 0
        assert 0.25 <= time.monotonic() - begin < 20
        assert client.recv(1) == b""
    assert one.log("EXIT")[0]["signal"] == "SIGTERM" and one.log("EXIT")[0]["reason"] == "stop_timeout"
    wait_for(lambda: not any(proc_alive(child) for child in children), "the group is gone")


def test_a_program_that_ignores_term_is_killed(brood, directory):
    program = script(directory, f"""#!{PYTHON}
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.write(1, b"x")
while True: signal.pause()
""")
    one = brood(inetd_pool([program], extra="stop_timeout = 100ms"), expect=["stop_timeout", "EXIT", "ending"]).start()
    with connect(one.address()) as client:
        assert client.recv(1) == b"x"
        assert one.stop() == 0
    assert one.log("EXIT")[0]["signal"] == "SIGKILL"


def test_quit_ends_programs_at_once(brood):
    one = brood(inetd_pool(["cat"]), expect=["ending"]).start()
    with connect(one.address()) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        assert one.stop(signal.SIGQUIT) == 0
        assert client.recv(1) == b""
    assert one.log("EXIT")[0]["signal"] == "SIGTERM"


def test_shrinking_the_pool_leaves_programs_alone(brood):
    """TTOU retires waiting workers by SIGURG, which a program that has just started does not notice."""
    one = brood(inetd_pool(["cat"], workers=3)).start()
    with connect(one.address()) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        for count in (2, 1):
            one.kill(signal.SIGTTOU)
            wait_for(lambda n=count: sum(slot["state"] == "idle" for slot in one.slots("test")) == n, f"{count} wait")
        client.sendall(b"y")
        assert client.recv(1) == b"y"
    one.wait_log("EXIT")


# ---- nothing is lost ----

# Of each of the three storms: more than 20,000 in all. A sanitized build is there for its reports.
STORM_CONNECTIONS = 500 if SANITIZED else 7000


def assert_nothing_lost(counts):
    assert counts["lost"] == counts["stuck"] == counts["other"] == 0, counts


@pytest.mark.parametrize("listen", [["127.0.0.1:0"], ["127.0.0.1:0", "127.0.0.1:0"]], ids=["one", "several"])
def test_no_connection_is_lost_by_retiring_at_any_moment(brood, listen):
    """TTIN and TTOU again and again in a storm: workers are retired waiting, accepting, and as they become programs."""
    one = brood("log_level = notice\n" + inetd_pool([ANSWER], listen=listen, workers=4, extra="max_workers = 64"),
                expect=["further clients wait"]).start()
    served = retired = 0
    while served < STORM_CONNECTIONS:
        with Storm(one.address(), "-t", 16) as storm:
            storm.wait_started()
            end = time.monotonic() + 2
            while time.monotonic() < end:
                for number in (signal.SIGTTIN, signal.SIGTTIN, signal.SIGTTOU, signal.SIGTTOU):
                    one.kill(number)
                    time.sleep(0.002)
                retired += 2
            counts = storm.stop()
        assert_nothing_lost(counts)
        assert counts["refused"] == 0
        served += counts["ok"]
    assert retired > 100
    wait_for(lambda: {slot["state"] for slot in one.slots("test")} == {"idle"}, "all wait")


def test_no_connection_is_lost_by_stops(brood):
    """TERM in a storm, and started again: each client is refused or served."""
    served = stops = 0
    while served < STORM_CONNECTIONS or stops < 10:
        one = brood("log_level = notice\n" + inetd_pool([ANSWER], workers=4)).start()
        with Storm(one.address(), "-t", 16) as storm:
            storm.wait_started()
            time.sleep(random.uniform(0, 1))  # any moment of the storm will do
            assert one.stop() == 0
            counts = storm.stop()
        assert_nothing_lost(counts)
        served += counts["ok"]
        stops += 1
        one.finish()


def test_signals_of_a_whole_control_group(brood):
    """SIGURG to every worker, from outside, whatever it is just doing: none of them costs a connection."""
    one = brood("log_level = notice\n" + inetd_pool([ANSWER], workers=4), expect=["died"]).start()
    counts = retire_in_storm(one, one.children, times=100, clients=8)
    assert counts["ok"] > 0
    assert_nothing_lost(counts)
    one.wait_workers(4)
