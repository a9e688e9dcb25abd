# SPDX-License-Identifier: MIT
"""slow_after: once for each slow request a line of the log, with where its worker is."""
import os
import re
import shutil
import signal
import subprocess
import time

import pytest
from brood import (BUILD, NOBODY, SANITIZED, connect, echo_pool, kill, proc_children, proc_stat,
                   proc_text, proc_title, receive, receive_all, wait_for)
from conftest import root_only
from test_inetd import inetd_pool
from test_module import module_pool
from test_reload_keys import http_pool

SLOW = "^slow request$"
SLOW_LINE = "slow request"
# Long enough for a machine that is busy to look while the request is under way, and as long as the request takes, which
# has to end by itself.
AFTER, TAKES_MS = "100ms", 3000
RIGHT = "no right to look: it takes CAP_SYS_PTRACE"


def why_not_here():
    """Why strace cannot tamper with system calls."""
    if SANITIZED:
        return "the plain build's business"
    if not shutil.which("strace"):
        return "needs strace"
    probe = subprocess.run(["strace", "-e", "inject=getppid:error=EPERM", "true"], capture_output=True, check=False)
    return None if probe.returncode == 0 else f"strace: {probe.stderr.decode().strip()}"


def slow_module(module="slow", **options):
    extra = options.pop("extra", f"slow_after = {AFTER}")
    return module_pool(module, extra=f"idle_timeout = 60s\nread_timeout = 60s\n{extra}", **options)


def be_slow(client, word, ms=TAKES_MS):
    line = f"{word} {ms}\n".encode()
    client.sendall(line)
    return line


def slow_once(one, word, count=1, ms=TAKES_MS):
    """One slow request, to its end; the line that the log has of it."""
    with connect(one.address()) as client:
        line = be_slow(client, word, ms)
        row = one.wait_log(SLOW, count)[-1]
        assert receive(client, len(line)) == line, "it goes through"
    return row


def slow_count(one):
    """What broodctl says, where it was built."""
    broodctl = BUILD / "src/broodctl"
    if not broodctl.exists():
        return None
    told = subprocess.run([broodctl, "-s", one.control, "status", "--json"], capture_output=True, text=True, check=True)
    return int(re.search(r'"slow":\s*(\d+)', told.stdout)[1])


def functions(row):
    """The names of the frames, from where it is to its callers; those that may be others are marked."""
    return [re.sub(r"\+0x.*", "", frame) for frame in row["frames"].split(" < ")]


def is_subsequence(names, all_names):
    rest = iter(all_names)
    return all(name in rest for name in names)


@pytest.fixture
def tampering():
    reason = why_not_here()
    if reason:
        pytest.skip(reason)


CALLERS = ["middle_function", "outer_function", "serve", "connection_serve"]


@pytest.mark.parametrize("module", ["slow", "slow_plain"])
@pytest.mark.parametrize("word, function, calls", [
    ("read", "slow_read", {"read"}),
    ("poll", "slow_poll", {"poll", "ppoll"}),
    ("sleep", "slow_sleep", {"nanosleep", "clock_nanosleep"}),
    ("mutex", "slow_mutex", {"futex"}),
])
def test_a_blocked_module_names_its_functions(brood, module, word, function, calls):
    one = brood(slow_module(module), expect=[SLOW_LINE]).start()
    worker, = one.wait_workers(1)
    row = slow_once(one, word)
    assert row["pool"] == "m" and row["slot"] == 0 and row["pid"] == worker
    assert re.fullmatch(r"127\.0\.0\.1:\d+", row["peer"]), row
    assert 100 <= row["elapsed_ms"] < TAKES_MS and row["state"] == "sleeping", row
    name, number = re.fullmatch(r"(\w+) \((\d+)\)", row["system_call"]).groups()
    assert name in calls and int(number) > 0 or (name, number) == ("read", "0"), row
    names = functions(row)
    assert names[-5:] == [function] + CALLERS, row
    assert "libc.so.6+0x" in row["frames"].split(" < ")[0], row
    assert f"({module}.so+0x" in row["frames"] and "(brood+0x" in row["frames"], row
    assert "look" not in row


def test_the_kernels_function_where_it_tells(brood):
    one = brood(slow_module(), expect=[SLOW_LINE]).start()
    row = slow_once(one, "sleep")
    told = proc_text(one.workers()[0], "wchan")
    if told == "0" and "kernel" not in row:
        pytest.skip("this kernel does not tell")
    assert "nanosleep" in row["kernel"]


@pytest.mark.parametrize("module", ["slow", "slow_plain"])
def test_what_is_left_on_the_stack_does_not_mislead(brood, module):
    row = slow_once(brood(slow_module(module), expect=[SLOW_LINE]).start(), "traces")
    assert functions(row)[-6:] == ["slow_sleep", "slow_behind_traces"] + CALLERS, row


def test_a_call_by_a_pointer(brood):
    """No call names the function: what is found may be another frame, and then is marked."""
    row = slow_once(brood(slow_module(), expect=[SLOW_LINE]).start(), "pointer")
    names = functions(row)
    assert names[-6:] == ["slow_sleep", "slow_pointer"] + CALLERS or \
        names[-6:] == ["slow_sleep"] + [f"?{name}" for name in ["slow_pointer"] + CALLERS], row


def test_a_running_one_is_reported_as_running(brood):
    row = slow_once(brood(slow_module(), expect=[SLOW_LINE]).start(), "loop")
    assert row["state"] == "running" and row["cpu_ms"] > 0, row
    assert not {"frames", "system_call", "look", "kernel"} & set(row), row


def test_once_for_each_request(brood):
    """Two requests on one connection: a line for each, however often it was looked."""
    one = brood(slow_module(extra="slow_after = 50ms"), expect=[SLOW_LINE]).start()
    with connect(one.address()) as client:
        for count in (1, 2):
            line = be_slow(client, "sleep", 1000)
            one.wait_log(SLOW, count)
            assert receive(client, len(line)) == line
        line = be_slow(client, "sleep", 0)
        assert receive(client, len(line)) == line
    assert len(one.log(SLOW)) == 2
    assert slow_count(one) in (2, None)


def test_waiting_is_not_slow(brood):
    """Between two requests, and before the first, nobody is slow."""
    one = brood(slow_module(extra="slow_after = 20ms"), expect=[SLOW_LINE]).start()
    with connect(one.address()) as idle:
        wait_for(lambda: one.slots("m")[0]["state"] == "waiting")
        time.sleep(0.3)
        line = be_slow(idle, "sleep", 0)
        assert receive(idle, len(line)) == line
        time.sleep(0.3)
    assert not one.log(SLOW)


def test_off_by_default(brood):
    one = brood(slow_module(extra="")).start()
    with connect(one.address()) as client:
        line = be_slow(client, "sleep", 500)
        assert receive(client, len(line)) == line
    assert not one.log(SLOW)


def test_a_client_that_reads_slowly(brood, directory):
    """A built-in handler waits for room to write."""
    (directory / "much").write_bytes(bytes(32 << 20))
    one = brood(http_pool(directory, extra=f"write_timeout = 60s\nslow_after = {AFTER}"), expect=[SLOW_LINE]).start()
    with connect(one.address()) as client:
        client.sendall(b"GET /much HTTP/1.0\r\n\r\n")
        row, = one.wait_log(SLOW)
        assert len(receive_all(client)) > 32 << 20
    assert row["state"] == "sleeping", row
    assert row["system_call"].split()[0] in ("sendfile", "sendfile64", "sendto", "poll", "ppoll"), row
    assert is_subsequence(["connection_serve"], functions(row)), row


def test_a_client_that_sends_slowly(brood):
    """The wait is in a system call of brood's own, several frames deep."""
    one = brood(echo_pool(workers=1, extra=f"read_timeout = 60s\nslow_after = {AFTER}",
                          echo="framing = line"), expect=[SLOW_LINE]).start()
    with connect(one.address()) as client:
        client.sendall(b"hel")
        row, = one.wait_log(SLOW)
        client.sendall(b"lo\n")
        assert receive(client, 6) == b"hello\n"
    assert row["system_call"].split()[0] in ("recvfrom", "poll", "ppoll"), row
    assert functions(row)[-1] == "connection_serve" and len(functions(row)) > 3, row


def test_a_program_of_an_inetd_pool(brood):
    one = brood(inetd_pool(["/bin/sleep", "3"], extra=f"slow_after = {AFTER}"), expect=[SLOW_LINE]).start()
    with connect(one.address()) as client:
        row, = one.wait_log(SLOW)
        assert receive_all(client) == b""
    start, = one.wait_log("^START$")
    assert (row["pid"], row["peer"]) == (start["pid"], start["peer"])
    assert re.fullmatch(r"(clock_)?nanosleep \(\d+\)", row["system_call"]), row
    assert row["state"] == "sleeping" and row["cpu_ms"] >= 0 and "frames" not in row, row
    one.wait_log("^EXIT$")
    assert len(one.log(SLOW)) == 1


def test_a_program_that_runs(brood):
    one = brood(inetd_pool(["/bin/sh", "-c", "while :; do :; done"], extra=f"slow_after = {AFTER}"),
                expect=[SLOW_LINE]).start()
    with connect(one.address()):
        row, = one.wait_log(SLOW)
        kill(row["pid"], signal.SIGKILL)
        one.wait_log("^EXIT$")
    assert row["state"] == "running" and "system_call" not in row, row


def test_a_program_pool_has_no_requests(brood):
    one = brood('pool "p" { listen = "127.0.0.1:0" handler = program command = {"/bin/true"} slow_after = 1s }\n',
                notify=False, status=78, expect=[".*"])
    one.spawn().wait()
    assert 'slow_after does not go with handler = program; it goes with' in one.log_text()


@root_only
@pytest.mark.parametrize("other", ["another", "fifo", "nothing"])
def test_another_file_in_the_place_of_the_module(brood, other):
    """What stands at the path now is not believed, nor waited for: no names then, but the places."""
    one = brood("", user=NOBODY, expect=[SLOW_LINE])
    path = one.directory / "copied.so"
    shutil.copy(BUILD / "tests/modules/slow.so", path)
    path.chmod(0o755)
    one.write_config(slow_module(path))
    one.start()
    with connect(one.address()) as client:
        assert receive(client, len(be_slow(client, "sleep", 0))) == b"sleep 0\n"
        path.unlink()
        if other == "another":
            shutil.copy(BUILD / "tests/modules/slow.so", path)
        elif other == "fifo":
            os.mkfifo(path)
        line = be_slow(client, "sleep")
        row, = one.wait_log(SLOW)
        assert receive(client, len(line)) == line
    assert "nanosleep" in row["system_call"] and "copied.so" in row["frames"], row
    assert "slow_sleep" not in row["frames"] and "look" not in row, row


@root_only
def test_root_finds_a_module_that_was_replaced(brood):
    """By what is mapped, and not by its path."""
    one = brood("", expect=[SLOW_LINE])
    path = one.directory / "copied.so"
    shutil.copy(BUILD / "tests/modules/slow.so", path)
    one.write_config(f'user = "{NOBODY}"\n' + slow_module(path))
    path.chmod(0o755)
    one.start()
    one.wait_workers(1)
    path.unlink()
    assert functions(slow_once(one, "sleep"))[-5:] == ["slow_sleep"] + CALLERS


# ---- rights ----

@root_only
def test_an_ordinary_user_may_look_at_its_own(brood):
    """The workers are of the same user, and may be looked at."""
    yama = "/proc/sys/kernel/yama/ptrace_scope"
    if os.path.exists(yama) and open(yama).read().strip() != "0":
        pytest.skip("yama does not let it")
    one = brood(slow_module("slow"), user=NOBODY, expect=[SLOW_LINE])
    row = slow_once(one.start(), "sleep")
    assert functions(row)[-5:] == ["slow_sleep"] + CALLERS, row


@root_only
def test_without_the_right_it_says_so(brood):
    """A program whose file its user may not read cannot be looked at but by who may trace every process."""
    one = brood(inetd_pool(["/bin/sleep", "3"], extra=f"slow_after = {AFTER}"), user=NOBODY, expect=[SLOW_LINE])
    secret = one.directory / "secret-sleep"
    secret.write_bytes(open("/bin/sleep", "rb").read())
    secret.chmod(0o711)
    one.write_config(inetd_pool([secret, "3"], extra=f"slow_after = {AFTER}"))
    one.start()
    with connect(one.address()) as client:
        row, = one.wait_log(SLOW)
        assert receive_all(client) == b""
    assert row["look"] == RIGHT and row["state"] == "sleeping", row
    assert not {"system_call", "frames"} & set(row), row


@root_only
def test_root_without_the_capability(brood):
    """As a unit may restrict it: the pool's user is another one."""
    one = brood(f'user = "{NOBODY}"\n' + slow_module(), expect=[SLOW_LINE])
    command = one.command
    one.command = lambda: ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace", *command()]
    row = slow_once(one.start(), "sleep")
    assert row["look"] == RIGHT, row


@pytest.mark.parametrize("error, text", [("EPERM", RIGHT), ("ENOSYS", "Function not implemented")])
def test_a_memory_that_cannot_be_read(brood, tampering, error, text):
    one = brood(slow_module(), expect=[SLOW_LINE])
    command = one.command
    one.command = lambda: ["strace", "-qq", "-f", "-D", "-o", "/dev/null", "-e", "trace=process_vm_readv", "-e",
                           f"inject=process_vm_readv:error={error}", *command()]
    row = slow_once(one.start(), "sleep")
    assert row["look"] == text and "frames" not in row, row
    assert re.fullmatch(r"(clock_)?nanosleep \(\d+\)", row["system_call"]), row


# ---- a look that fails ----

def looker(one):
    return wait_for(lambda: next((pid for pid in proc_children(one.pid)
                                  if proc_title(pid).startswith("brood: looking")), None), "somebody looks")


def hang_the_look(one):
    """Every look stops for ever at its first look into /proc/PID/wchan; the rest is not disturbed."""
    command = one.command
    one.command = lambda: ["strace", "-qq", "-f", "-D", "-o", "/dev/null", "-e", "trace=alarm", "-e",
                           "inject=alarm:signal=SIGSTOP", *command()]
    return one


def test_a_look_that_hangs(brood, tampering):
    one = hang_the_look(brood(slow_module(workers=2), expect=[SLOW_LINE]))
    row = slow_once(one.start(), "sleep", ms=5000)
    assert row["look"] == "it did not end in time" and row["elapsed_ms"] < 2000, row
    wait_for(lambda: not [pid for pid in proc_children(one.pid) if proc_title(pid).startswith("brood: looking")])


def test_a_look_that_is_killed(brood, tampering):
    """What it has found until then is told; nothing, if it is killed at once. And the next one looks."""
    one = hang_the_look(brood(slow_module(), expect=[SLOW_LINE])).start()
    with connect(one.address()) as client:
        be_slow(client, "sleep", 5000)
        kill(looker(one), signal.SIGKILL)
        row, = one.wait_log(SLOW)
        assert row["look"] == "it died by signal 9 (SIGKILL)", row


def test_a_worker_that_ends_while_it_is_looked_at(brood, tampering):
    one = hang_the_look(brood(slow_module(), expect=[SLOW_LINE, "died"])).start()
    with connect(one.address()) as client:
        be_slow(client, "sleep", 5000)
        pid = looker(one)
        wait_for(lambda: proc_stat(pid)[:1] in (["T"], ["t"]), "it is stopped")
        kill(one.workers()[0], signal.SIGKILL)
        one.wait_log("^worker died$")
        kill(pid, signal.SIGCONT)
        row, = one.wait_log(SLOW)
    assert row["state"] == "ended" and not {"frames", "system_call", "look"} & set(row), row
    one.wait_workers(1)


def test_many_at_once_are_counted(brood):
    """So many are told a second; of the rest the number."""
    one = brood(slow_module(workers=12), expect=[SLOW_LINE, "more slow requests"]).start()
    clients = [connect(one.address()) for _ in range(12)]
    for client in clients:
        be_slow(client, "sleep", 4000)
    rows = lambda: len(one.log(SLOW)) + sum(row["count"] for row in one.log("^more slow requests"))
    wait_for(lambda: rows() >= 12, "all are told or counted")
    assert rows() == 12
    assert len(one.log(SLOW)) >= 4
    for client in clients:
        client.close()


# ---- reload, upgrade ----

def test_reload_changes_it_live(brood):
    """For requests under way, too."""
    one = brood(slow_module(extra="slow_after = 1h"), expect=[SLOW_LINE]).start()
    with connect(one.address()) as client:
        line = be_slow(client, "sleep", 8000)
        wait_for(lambda: any(slot["state"] == "busy" for slot in one.slots("m")))
        worker, = one.workers("m")
        assert not one.log(SLOW)
        one.reload(slow_module(extra="slow_after = 200ms"))
        row, = one.wait_log(SLOW)
        assert row["pid"] == worker
        one.reload(slow_module(extra="slow_after = off"))
        assert receive(client, len(line)) == line
        line = be_slow(client, "sleep", 600)
        assert receive(client, len(line)) == line
    assert len(one.log(SLOW)) == 1


def test_an_upgrade_tells_none_twice(brood):
    one = brood(slow_module(), expect=[SLOW_LINE]).start()
    with connect(one.address()) as client:
        line = be_slow(client, "sleep", 4000)
        one.wait_log(SLOW)
        one.note_processes()
        one.kill(signal.SIGUSR2)
        one.wait_log("^reloaded$")
        assert receive(client, len(line)) == line
    assert len(one.log(SLOW)) == 1
    assert slow_count(one) in (1, None)


def test_nobody_is_woken_more_than_needed(brood):
    """An idle pool costs a look each slow_after."""
    one = brood(echo_pool(extra="slow_after = 1s")).start()
    one.wait_workers(2)

    def wakes():
        return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", proc_text(one.pid, "status"), re.MULTILINE)[1])
    time.sleep(0.5)
    before = wakes()
    time.sleep(3)
    assert wakes() - before <= 8
