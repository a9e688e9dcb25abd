# SPDX-License-Identifier: MIT
"""module pools: what a module is given, what is said of one that will not do, and what its trouble costs."""
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys

import pytest
import test_syscalls
from brood import (BINARY, BUILD, DEADLINE_S, NOBODY, SANITIZED, TOP, connect, echo_once, echo_pool, kill, proc_alive,
                   proc_stat, proc_status, proc_text, receive, receive_all, wait_for)
from conftest import root_only

MODULES = BUILD / "tests/modules"
PLENTY = "idle_timeout = 60s"


def module_pool(module, options=None, name="m", listen="127.0.0.1:0", workers=1, extra=""):
    """The text of a pool with the handler module, and its options as they would be written."""
    section = "" if options is None else f"module_options {{\n\t\t{options}\n\t}}"
    path = module if pathlib.Path(module).is_absolute() else MODULES / f"{module}.so"
    return f"""
pool "{name}" {{
	listen = {{"{listen}"}}
	handler = "module"
	module = "{path}"
	workers = {workers}
	{extra}
	{section}
}}
"""


def ask(address, line=b"hello\n", end=b"\n\n"):
    """One request and its answer."""
    with connect(address) as client:
        client.sendall(line)
        answer = b""
        while not answer.endswith(end):
            piece = client.recv(65536)
            assert piece, answer
            answer += piece
        return answer.decode()


def given_values(answer):
    values = {}
    for line in answer.strip().splitlines():
        name, _, value = line.partition("=")
        values.setdefault(name, []).append(value)
    return values


def trouble(address, word):
    """Has the module make trouble; the connection ends without an answer."""
    with connect(address) as client:
        client.sendall(word.encode() + b"\n")
        try:
            assert receive_all(client) == b""
        except ConnectionResetError:
            pass


def check(directory, config, *options, user=None):
    """brood --check: its exit status and all it says."""
    file = directory / "check.conf"
    file.write_text(config)
    binary, extra = BINARY, {}
    if user is not None:
        binary = directory / "brood-check"
        shutil.copy(BINARY, binary)
        binary.chmod(0o755)
        file.chmod(0o644)
        extra = {"user": user, "group": user, "extra_groups": []}
    result = subprocess.run([binary, "--check", "-c", file, *options], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, timeout=DEADLINE_S, check=False, **extra)
    return result.returncode, result.stdout.replace(str(file), "check.conf").replace(str(MODULES), "MODULES")


def copy_module(name, directory, mode=0o755):
    """A copy where every user may come."""
    copy = directory / f"{name}.so"
    shutil.copy(MODULES / f"{name}.so", copy)
    copy.chmod(mode)
    return copy


# ---- options ----

@pytest.mark.parametrize("module", ["options", "options_linked"])
def test_options_have_their_defaults(brood, module):
    """However the module is linked, it calls the daemon's own copy of libbrood."""
    one = brood(module_pool(module)).start()
    assert given_values(ask(one.address())) == {
        "switch": ["0"], "number": ["5"], "limit": ["1000"], "size": ["65536"], "duration": ["1500"], "text": ["a text"],
        "choice": ["green"], "list": ["one", "two"], "directory": ["/"], "file": ["/etc/fstab"], "pool": ["m"]}


OPTIONS = r"""switch = on
		number = -3
		limit = 4
		size = 2M
		duration = 2m
		text = "a \"quoted\" text"
		choice = blue
		list = { "x", "y z", "" }
		directory = "there"
		file = "/no/such/file" """
VALUES = {"switch": ["1"], "number": ["-3"], "limit": ["4"], "size": [str(2 << 20)], "duration": ["120000"],
          "text": ['a "quoted" text'], "choice": ["blue"], "list": ["x", "y z", ""], "file": ["/no/such/file"],
          "pool": ["m"]}


def test_options_of_each_type_reach_the_module(brood):
    one = brood(module_pool("options", OPTIONS))
    (one.directory / "there").mkdir()
    one.start()
    assert given_values(ask(one.address())) == {**VALUES, "directory": [str(one.directory / "there")]}


def test_the_dump_has_the_options_and_is_a_configuration(brood, directory):
    (directory / "there").mkdir()
    (directory / "a.conf").write_text(module_pool("options", OPTIONS, listen="127.0.0.1:0"))
    dump = subprocess.run([BINARY, "--dump", "-c", directory / "a.conf"], stdout=subprocess.PIPE, text=True, check=True)
    # The usual control socket may be another daemon's.
    text = dump.stdout.replace("log_format = text", "log_format = json").replace('control = "auto"', 'control = "off"')
    one = brood(text, json_log=False, args=("-L", "stderr")).start()
    assert given_values(ask(one.address())) == {**VALUES, "directory": [str(directory / "there")]}


def test_options_that_are_wrong_have_file_and_line(directory):
    status, text = check(directory, module_pool("options", """number = 101
		size = "many"
		choice = purple
		colour = red
		switch = 5
		list = "no list"
		directory = "/no/such/directory" """))
    assert status == 78
    lines = text.splitlines()
    for line, words in ((9, "number = 101 is out of range (-10 to 100)"), (10, "size = many"), (11, "choice = purple"),
                        (12, "unknown option colour"), (13, "switch = 5"), (15, "/no/such/directory")):
        assert [one for one in lines if one.startswith(f'check.conf:{line}: pool "m": module_options') and words in one], \
            (line, words, text)


def test_the_modules_own_rule(directory):
    status, text = check(directory, module_pool("options", "number = 7\n\t\tlimit = 7"))
    assert (status, text) == (78, 'check.conf:8: pool "m": module_options: number is not below limit\n')


def test_a_module_that_speaks_second_defers_its_clients(directory):
    """client_first of the module's description."""
    for module, expected in (("options", "30s"), ("trouble", "off")):
        (directory / "a.conf").write_text(module_pool(module))
        dump = subprocess.run([BINARY, "--dump", "-c", directory / "a.conf"], stdout=subprocess.PIPE, text=True, check=True)
        found = re.search(r"defer_accept = (\S+)", dump.stdout)[1]
        assert (found == "off") == (expected == "off"), (module, found)


def test_what_the_module_logs(brood):
    one = brood(module_pool("options", 'access = "{0}"'))
    one.config_path.write_text(one.config_path.read_text().replace("{0}", str(one.directory / "access.log")))
    one.start()
    ask(one.address(), b"a line\n")
    ask(one.address(), b"another\n")
    wait_for(lambda: (one.directory / "access.log").read_text() == "a line\nanother\n", "the module's access log")
    one.stop()
    assert one.log("the module stops", pool="m", level="info")


def test_requests_are_counted(brood):
    one = brood(module_pool("options")).start()
    with connect(one.address()) as client:
        for _ in range(3):
            client.sendall(b"x\n")
            while not receive(client, 1) == b"\n" or not client.recv(65536).endswith(b"\n\n"):
                pass
    wait_for(lambda: [s for s in one.slots("m") if s["requests"] == 3 and s["state"] == "idle"], "three requests")


def test_a_connection_costs_what_the_bare_loop_costs(brood, directory):
    def exchange(address):
        with connect(address) as client:
            client.sendall(b"peace\n")
            assert receive(client, 6) == b"peace\n"
            client.shutdown(socket.SHUT_WR)
            assert receive_all(client) == b""
    one = brood(module_pool("trouble")).start()
    assert test_syscalls.calls_of(one, directory / "strace", exchange) == \
        ["accept4", "recvfrom", "sendto", "recvfrom", "close"] * test_syscalls.CONNECTIONS


# ---- modules that will not do ----

BROKEN = {
    "missing": "cannot be loaded: cannot open shared object file: No such file or directory",
    "no_symbol": "is no module: it does not define brood_module",
    "wrong_abi": "was compiled for module ABI 4711, and this brood has 1",
    "wrong_size": r"has a struct brood_module of 8 bytes, and this brood's has \d+",
    "no_name": "has a brood_module without name",
    "no_serve": r"has a brood_module without serve\(\)",
    "unresolved": "cannot be loaded: undefined symbol: nobody_defines_this",
    "constructor_crashes": r"cannot be loaded: its process died by signal 11 \(SIGSEGV\)",
    "constructor_aborts": r"cannot be loaded: its process died by signal 6 \(SIGABRT\)",
    "constructor_exits": "cannot be loaded: its process ended with exit status 0",
    "constructor_hangs": "cannot be loaded: its process did not answer within 5000 ms",
    "hostile_answer": "gives a description of itself that makes no sense",
    "twice": 'has the option "size" twice',
    "bad_key": "has an option's name with a control byte",
    "bad_type": 'has an option "size" of type 77, which is none',
    "bad_choices": 'has an option "size" without choices',
}


@pytest.mark.parametrize("module", BROKEN)
def test_what_is_no_module_is_an_error_of_the_configuration(directory, module):
    status, text = check(directory, module_pool(module))
    assert status == 78
    assert re.fullmatch(rf'check.conf:5: pool "m": module = "MODULES/{module}.so" {BROKEN[module]}\n', text), text


def test_a_start_with_a_broken_module_fails_the_same_way(brood):
    one = brood(module_pool("wrong_abi"), status=78, expect=["ABI"]).spawn()
    assert one.wait() == 78
    assert "was compiled for module ABI 4711" in one.log_text()


def test_all_broken_modules_are_reported(directory):
    status, text = check(directory, module_pool("no_symbol", name="a") + module_pool("wrong_abi", name="b"))
    assert status == 78 and len(text.splitlines()) == 2, text


def test_what_a_constructor_prints_goes_nowhere(directory):
    assert check(directory, module_pool("constructor_prints")) == (0, "check.conf: OK\n")


def test_a_file_that_is_no_object(directory):
    (directory / "text.so").write_text("hello\n")
    status, text = check(directory, module_pool(directory / "text.so"))
    assert status == 78 and 'text.so" cannot be loaded: ' in text, text


def test_nothing_is_left_of_a_check(directory):
    """The child that hangs is gone with the check."""
    copy = str(copy_module("constructor_hangs", directory))
    status, text = check(directory, module_pool(copy))
    assert status == 78 and "did not answer" in text
    left = [pid for pid in filter(str.isdigit, os.listdir("/proc")) if copy in proc_text(pid, "maps")]
    assert not left, left


# ---- where and as whom it is loaded ----

def mapped(pid):
    return {line.split(None, 5)[5] for line in proc_text(pid, "maps").splitlines() if len(line.split(None, 5)) == 6}


def test_foreign_code_is_in_the_workers_alone(brood):
    one = brood(module_pool("options", workers=2) + echo_pool(workers=2)).start()
    echo_once(one.address("echo"))
    for pid in one.wait_workers(2, "m"):
        assert str(MODULES / "options.so") in mapped(pid)
    for pid in [one.pid, *one.wait_workers(2, "echo"), *[p for p in one.children() if p not in one.workers()]]:
        assert not [path for path in mapped(pid) if "options.so" in path], pid


def compilers_library(pid):
    """Where it is mapped."""
    return [line.split()[0] for line in proc_text(pid, "maps").splitlines() if "libgcc" in line]


@pytest.mark.skipif(SANITIZED, reason="every program has it then")
def test_the_compilers_library_is_loaded_once(brood):
    """A backtrace takes it. Workers of modules have it from the master, and a master without such has it not."""
    without = brood(echo_pool()).start()
    assert not compilers_library(without.pid)
    one = brood(module_pool("options", workers=2)).start()
    places = compilers_library(one.pid)
    assert places
    for pid in one.wait_workers(2):
        assert compilers_library(pid) == places


@root_only
def test_a_module_runs_as_the_pools_user(brood, directory):
    copy = copy_module("options", directory)
    one = brood(module_pool(copy, extra=f'user = "{NOBODY}"\n\tgroup = "{NOBODY}"')).start()
    pid, = one.wait_workers(1)
    assert proc_status(pid)["Uid"].split() == [str(NOBODY)] * 4
    assert given_values(ask(one.address()))["number"] == ["5"]


@root_only
def test_a_module_that_only_root_can_read_is_an_error(directory):
    copy = copy_module("options", directory, mode=0o600)
    config = module_pool(copy, extra=f'user = "{NOBODY}"\n\tgroup = "{NOBODY}"')
    status, text = check(directory, config)
    assert status == 78
    assert text.endswith('options.so" cannot be loaded: cannot open shared object file: Permission denied\n'), text
    copy.chmod(0o644)
    assert check(directory, config) == (0, "check.conf: OK\n")


@root_only
def test_a_module_is_loaded_in_the_chroot(brood, directory):
    root = directory / "root"
    (root / "lib").mkdir(parents=True)
    (root / "data").mkdir()
    copy_module("trouble", root / "lib")
    copy_module("options", root / "lib")
    extra = f'chroot = "{root}"\n\tuser = "{NOBODY}"\n\tgroup = "{NOBODY}"'
    status, text = check(directory, module_pool(MODULES / "trouble.so", extra=extra))
    assert status == 78 and "cannot open shared object file" in text, text
    one = brood(module_pool("/lib/options.so", extra=extra, name="o") + module_pool("/lib/trouble.so", extra=extra),
                expect=["crashed", "died"]).start()
    assert given_values(ask(one.address("o")))["pool"] == ["o"]
    assert ask(one.address("m"), b"peace\n", b"\n") == "peace\n"
    trouble(one.address("m"), "segv")
    row, = one.wait_log("worker crashed")
    assert row["function"].startswith("trouble_segv+0x") and row["module"] == "/lib/trouble.so"


@root_only
def test_an_ordinary_user_checks_as_itself_and_from_outside(directory):
    """Neither the user nor the chroot is its to change: what it can see is looked at."""
    root = directory / "root"
    (root / "lib").mkdir(parents=True)
    copy_module("options", root / "lib")
    copy = copy_module("options", directory)
    config = (module_pool(copy, name="a", extra='user = "root"') +
              module_pool("/lib/options.so", name="b", extra=f'chroot = "{root}"'))
    assert check(directory, config, user=NOBODY) == (0, "check.conf: OK\n")
    copy.chmod(0o600)
    status, text = check(directory, config, user=NOBODY)
    assert status == 78 and "Permission denied" in text and "pool \"b\"" not in text, text


@pytest.mark.skipif(SANITIZED, reason="a sanitizer's address space has no such limit")
def test_the_pools_limits_hold_for_what_is_asked_of_a_module(directory):
    status, text = check(directory, module_pool("options", extra="limits { as = 1M }"))
    assert status == 78 and "cannot be loaded" in text, text


TAKE_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_a_module_has_no_terminal(brood, directory):
    """Else it could type into the one of the master's user."""
    one = brood(module_pool("options") + echo_pool(workers=1))
    leader, terminal = os.openpty()
    with open(one.log_path, "ab") as log:
        one.process = subprocess.Popen([sys.executable, "-c", TAKE_TERMINAL, *one.command()], stdin=terminal, stdout=log,
                                       stderr=log, env=one._environment(), cwd=directory)
    one.pid = one.process.pid
    wait_for(lambda: "READY=1" in one.notify.lines(), "READY=1")
    tty = 4
    worker, = one.wait_workers(1, "m")
    assert proc_stat(one.pid)[tty] != "0" and proc_stat(one.wait_workers(1, "echo")[0])[tty] != "0"
    assert proc_stat(worker)[tty] == "0"
    assert one.stop() == 0
    os.close(leader)
    os.close(terminal)


# ---- starting ----

def test_a_module_that_does_not_start(brood):
    one = brood(module_pool("options", "fail_start = on"), status=75, expect=["told not to start", "handler did not start",
                "worker died", "cannot start the pool", "ending all workers"]).spawn()
    assert one.wait() == 75
    assert one.log("told not to start", pool="m", level="warning")
    assert one.log("handler did not start", reason="Input/output error")
    assert one.log("worker died", when="before ready", module=str(MODULES / "options.so"))


def test_a_module_that_crashes_before_it_is_ready(brood):
    one = brood(module_pool("start_crashes"), status=75,
                expect=["worker crashed", "worker died", "cannot start the pool", "ending all workers"]).spawn()
    assert one.wait() == 75
    rows = one.log("worker crashed", signal="SIGSEGV")
    assert rows and all(re.match(r"(start|load).*\(start_crashes\.so\+0x", row["function"]) for row in rows), rows
    assert one.log("worker died", when="before ready")


def test_a_module_that_was_replaced_by_another(brood, directory):
    """The values of its options are those of the module that was asked. The pool recovers when that is back."""
    copy = copy_module("options", directory)
    one = brood(module_pool(copy, workers=1, extra="backoff_min = 20ms\n\tbackoff_max = 50ms"),
                expect=["cannot use the module", "handler did not start", "worker died"]).start()
    assert given_values(ask(one.address()))["number"] == ["5"]
    other = copy_module("trouble", directory)
    old = directory / "old.so"
    os.rename(copy, old)
    os.rename(other, copy)
    pid, = one.wait_workers(1)
    kill(pid, signal.SIGKILL)
    rows = one.wait_log("cannot use the module", module=str(copy))
    assert "is another one than when the configuration was read" in rows[0]["reason"]
    assert not proc_alive(pid)
    os.rename(old, copy)
    assert given_values(ask(one.address()))["number"] == ["5"]


# ---- trouble while serving ----

CRASHES = {
    "segv": ("SIGSEGV", r"trouble_segv\+0x"),
    "bus": ("SIGBUS", r"trouble_bus\+0x"),
    "fpe": ("SIGFPE", r"trouble_fpe\+0x"),
    "ill": ("SIGILL", r"trouble_ill\+0x"),
    "abort": ("SIGABRT", r"trouble_abort\+0x"),
    "overflow": ("SIGSEGV", r"trouble_overflow\+0x"),
    "null_call": ("SIGSEGV", r"trouble_null_call\+0x"),
    "smash": ("SIGSEGV", r"trouble_segv\+0x"),
}


@pytest.mark.parametrize("word", CRASHES)
def test_a_crash_costs_one_connection_and_names_the_function(brood, word):
    one = brood(module_pool("trouble", workers=2, extra=PLENTY), expect=["worker crashed", "worker died"]).start()
    assert ask(one.address(), b"peace\n", b"\n") == "peace\n"
    one.wait_workers(2)
    with connect(one.address()) as other:
        other.sendall(b"one\n")
        assert receive(other, 4) == b"one\n"
        before = set(one.workers())
        trouble(one.address(), word)
        row, = one.wait_log("worker crashed")
        death, = one.wait_log("worker died")
        other.sendall(b"two\n")
        assert receive(other, 4) == b"two\n", "the other connection"
    name, function = CRASHES[word]
    assert row["pool"] == "m" and row["module"] == str(MODULES / "trouble.so") and row["signal"] == name
    assert re.match(function + r"[0-9a-f]+ \(trouble\.so\+0x[0-9a-f]+\)$", row["function"]), row
    assert re.search(function, row["backtrace"]), row
    if word not in ("overflow", "smash", "null_call"):
        assert re.search(r" < serve\+0x\S+ \(trouble\.so\S+\) < .*worker_main", row["backtrace"]), row
    assert f"({name}" in death["how"] and death["module"] == str(MODULES / "trouble.so") and death["pid"] in before
    assert death["serving"].startswith("127.0.0.1:"), "whom it was serving"
    assert len(one.wait_workers(2)) == 2
    assert ask(one.address(), b"peace\n", b"\n") == "peace\n"


def test_one_crash_is_one_line_and_a_storm_of_them_goes_on(brood):
    one = brood(module_pool("trouble", workers=2), expect=["worker crashed", "worker died"]).start()
    assert ask(one.address(), b"peace\n", b"\n") == "peace\n"
    for _ in range(20):
        trouble(one.address(), "segv")
    assert ask(one.address(), b"peace\n", b"\n") == "peace\n"
    assert len(one.wait_log("worker crashed", 20)) == 20


def test_a_worker_of_a_built_in_handler_reports_nothing(brood):
    one = brood(echo_pool(workers=1), expect=["worker died"]).start()
    pid, = one.wait_workers(1)
    kill(pid, signal.SIGSEGV)
    death, = one.wait_log("worker died")
    assert "SIGSEGV" in death["how"] and "module" not in death
    assert not one.log("worker crashed")


def test_a_loop_is_ended_by_request_timeout(brood):
    one = brood(module_pool("trouble", workers=1, extra="request_timeout = 200ms"),
                expect=["worker died", "over request_timeout"]).start()
    assert ask(one.address(), b"peace\n", b"\n") == "peace\n"
    trouble(one.address(), "loop")
    death, = one.wait_log("worker died")
    assert death["reason"] == "request_timeout" and death["module"] == str(MODULES / "trouble.so")
    assert death["next"] == "replaced before"
    assert ask(one.address(), b"peace\n", b"\n") == "peace\n"


# Memory that only the master's tables lead to, which a worker does not have, is lost to the eyes of a leak checker.
@pytest.mark.parametrize("word,status", [("leave", 7), pytest.param("exit", 0, marks=pytest.mark.skipif(
    SANITIZED, reason="exit(3) has a worker looked at for leaks"))])
def test_an_exit_costs_one_connection(brood, word, status):
    one = brood(module_pool("trouble", workers=1), expect=["worker died"]).start()
    assert ask(one.address(), b"peace\n", b"\n") == "peace\n"
    trouble(one.address(), word)
    death, = one.wait_log("worker died")
    assert death["how"].startswith(f"exit status {status}") and death["module"] == str(MODULES / "trouble.so")
    assert death["next"] == "replaced" or death["next"].startswith("retry")
    assert ask(one.address(), b"peace\n", b"\n") == "peace\n"


@pytest.mark.skipif(SANITIZED, reason="a sanitizer's address space has no such limit")
def test_a_leak_ends_with_its_worker(brood):
    """malloc() fails at the pool's limit, the module does not look, and that costs the one connection."""
    one = brood(module_pool("trouble", workers=1, extra="limits { as = 256M }"), expect=["worker crashed", "worker died"])
    one.start()
    assert ask(one.address(), b"peace\n", b"\n") == "peace\n"
    with connect(one.address()) as client:
        for _ in range(100):
            try:
                client.sendall(b"leak\n")
                if receive(client, 5) != b"leak\n":
                    break
            except (BrokenPipeError, ConnectionResetError):
                break
        else:
            pytest.fail("800 MB within a limit of 256")
    row, = one.wait_log("worker crashed")
    assert re.match(r"trouble_leak\+0x", row["function"]) and "limits" not in row
    assert ask(one.address(), b"peace\n", b"\n") == "peace\n"


def test_a_core_is_what_it_would_have_been(brood):
    """The signal has its default action in the end, and the status of the death says so."""
    one = brood(module_pool("trouble", workers=1), expect=["worker crashed", "worker died"]).start()
    assert ask(one.address(), b"peace\n", b"\n") == "peace\n"
    pid, = one.wait_workers(1)
    kill(pid, signal.SIGABRT)
    death, = one.wait_log("worker died", pid=pid)
    assert death["kind"] == "signaled" and "SIGABRT" in death["how"]
    row, = one.wait_log("worker crashed")
    assert row["address"] == f"none, sent by process {os.getpid()}"


# ---- the example ----

def kv(address, *command):
    result = subprocess.run([MODULES / "kv-client", address, *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, timeout=DEADLINE_S, check=False)
    return result.returncode, result.stdout


def test_the_key_value_example(brood, directory):
    """Its own configuration, with what is installed elsewhere."""
    data = directory / "data"
    data.mkdir()
    text = (TOP / "conf/examples/kv/kv.conf").read_text()
    for old, new in (('"kv.so"', f'"{MODULES}/kv.so"'), ("/var/lib/brood/kv", data),
                     ("127.0.0.1:7070", "127.0.0.1:0")):
        assert old in text
        text = text.replace(old, str(new))
    one = brood(text).start()
    address = one.address("kv")
    assert kv(address, "set", "colour", "green")[0] == 0
    assert kv(address, "get", "colour") == (0, "green\n")
    assert kv(address, "set", "colour", "dark blue")[0] == 0
    assert kv(address, "get", "colour") == (0, "dark blue\n")
    assert kv(address, "del", "colour")[0] == 0
    assert kv(address, "get", "colour")[0] != 0
