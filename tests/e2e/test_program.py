# SPDX-License-Identifier: MIT
"""Program pools: what a program is given, how it becomes ready, what it says of itself, how it ends."""
import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import pytest
from brood import (BINARY, DEADLINE_S, IS_ROOT, NOBODY, Brood, connect, kill, proc_alive, proc_stat, proc_text, receive_all,
                   wait_for)
from conftest import root_only

STEPS = pathlib.Path(__file__).with_name("steps.py")
PYTHON = "/usr/bin/python3"


@pytest.fixture(autouse=True)
def nothing_is_left():
    """Programs are not the binary that the harness looks for; they carry the master's pid in their environment."""
    yield
    masters = {f"EINHORN_MASTER_PID={one.pid}" for one in Brood.started}

    def left():
        return [pid for pid in os.listdir("/proc") if pid.isdigit() and proc_alive(pid)
                and masters & set(proc_text(pid, "environ").split("\0"))]
    try:
        wait_for(lambda: not left(), "no program left", 10)
    finally:
        for pid in left():
            kill(int(pid), signal.SIGKILL)


def program_pool(command, name="app", listen="127.0.0.1:0", workers=1, extra="ready_after = 10ms"):
    addresses = [listen] if isinstance(listen, str) else listen
    listed = ", ".join(f'"{a}"' for a in addresses)
    words = ", ".join(json.dumps(str(word), ensure_ascii=False) for word in command)
    return f"""
pool "{name}" {{
	listen = {{{listed}}}
	handler = "program"
	command = {{{words}}}
	workers = {workers}
	{extra}
}}
"""


def steps(*words, **options):
    return program_pool([PYTHON, STEPS, *words], **options)


def dumped(path):
    return json.loads(wait_for(lambda: path.exists() and path.read_text(), f"{path}"))


def slot_of(one, pid=None, pool="app"):
    slots = [slot for slot in one.slots(pool) if pid is None or slot["pid"] == pid]
    return slots[0] if slots else {"state": "none", "status": "", "pid": 0}


def wait_state(one, state, pool="app"):
    return wait_for(lambda: slot_of(one, pool=pool)["state"] == state and slot_of(one, pool=pool), state)


def appended(path):
    return path.read_text().splitlines() if path.exists() else []


def answer(address):
    with connect(address) as client:
        return receive_all(client).decode().strip()


# ---- what it is given ----

# Of the Python and the shell that the test runs, not of brood.
OF_THE_PROGRAM = {"LC_CTYPE"}


def test_everything_it_is_given(brood, directory):
    path = directory / "unix.sock"
    one = brood(steps(f"dump:{directory}/dump", "wait", listen=["127.0.0.1:0", f"unix:{path}", "localhost:0"],
                      extra='ready_after = 10ms\nenvironment = {"ONE=1", "TWO=a b=c"}'),
                env={"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": None, "LISTEN_PIDFDID": "17", "LEAK": "1"}).start()
    data = dumped(directory / "dump")
    pid, count = data["pid"], len(one.addresses())
    assert count in (3, 4)  # localhost may be one address or two
    keys = ["127.0.0.1:0", str(path)] + ["localhost:0"] * (count - 2)
    einhorn = range(3 + 2 * count, 3 + 3 * count)
    names = {str(i): name for i, name in enumerate(["AF_INET", "AF_UNIX"])}
    environment = {name: value for name, value in data["environment"].items() if name not in OF_THE_PROGRAM}
    for i in range(2, count):
        names[str(i)] = environment[f"EINHORN_FD_FAMILY_{i}"]
        assert names[str(i)] in ("AF_INET", "AF_INET6")
    assert environment == {
        "PATH": os.environ["PATH"], "ONE": "1", "TWO": "a b=c",
        "LISTEN_PID": str(pid), "LISTEN_FDS": str(count), "LISTEN_FDNAMES": ":".join(["app"] * count),
        "SERVER_STARTER_PORT": ";".join(f"{key}={3 + count + i}" for i, key in enumerate(keys)),
        "SERVER_STARTER_GENERATION": "1",
        "EINHORN_MASTER_PID": str(one.pid), "EINHORN_CHILD_INDEX": "0", "EINHORN_FD_COUNT": str(count),
        "EINHORN_FDS": " ".join(map(str, einhorn)),
        **{f"EINHORN_FD_{i}": str(fd) for i, fd in enumerate(einhorn)},
        **{f"EINHORN_FD_FAMILY_{i}": name for i, name in names.items()},
    }
    assert data["ppid"] == one.pid
    assert data["group"] == data["session"] == pid
    assert data["directory"] == "/"
    assert int(data["blocked"], 16) == 0
    # Python itself ignores SIGPIPE and SIGXFSZ.
    assert int(data["ignored"], 16) & ~(1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1) == 0
    fds = {int(fd): what for fd, what in data["descriptors"].items() if not what.startswith("/proc")}
    assert sorted(fds) == list(range(3 + 3 * count))
    assert fds[0] == "/dev/null"
    assert fds[1].startswith("pipe:") and fds[2].startswith("pipe:")
    assert data["close_on_exec"] == []
    for i, address in enumerate(one.addresses()):
        for first in 3, 3 + count, 3 + 2 * count:
            name = data["names"][str(first + i)]
            assert address == f"unix:{name}" if isinstance(name, str) else address.endswith(f":{name[1]}")
    assert one.stop() == 0


def test_standard_input_is_the_first_listener(brood, directory):
    one = brood(steps(f"dump:{directory}/dump", "wait", listen=[f"unix:{directory}/a.sock", "127.0.0.1:0"],
                      extra="ready_after = 10ms\nstdin = listener\nstderr = null\ndirectory = \"/tmp\"\numask = 027")
                ).start()
    data = dumped(directory / "dump")
    assert data["names"]["0"] == data["names"]["3"] == f"{directory}/a.sock"
    assert data["descriptors"]["2"] == "/dev/null"
    assert data["directory"] == "/tmp"
    assert data["umask"] == "0027"
    assert one.stop() == 0


def test_the_names_of_systemds_sockets(brood, directory):
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    one = brood(steps(f"dump:{directory}/dump", "wait", listen=["systemd:web", "127.0.0.1:0"]),
                sockets=[("web", listener)]).start()
    listener.close()
    environment = dumped(directory / "dump")["environment"]
    assert environment["LISTEN_FDNAMES"] == "web:app"
    assert environment["SERVER_STARTER_PORT"] == f"127.0.0.1:{port}=5;127.0.0.1:0=6"


def test_each_start_has_a_number_and_each_living_one_an_index(brood, directory):
    one = brood(program_pool(["/bin/sh", "-c", f"echo $SERVER_STARTER_GENERATION $EINHORN_CHILD_INDEX >>{directory}/numbers;"
                              "exec sleep 1000"], workers=3), expect=["died"]).start()
    path = directory / "numbers"
    wait_for(lambda: len(appended(path)) == 3, "three starts")
    assert sorted(appended(path)) == ["1 0", "2 1", "3 2"]
    kill([slot["pid"] for slot in one.slots("app") if slot["pool_slot"] == 1][0], signal.SIGKILL)
    wait_for(lambda: len(appended(path)) == 4, "the fourth")
    assert appended(path)[3] == "4 1"


@root_only
def test_it_runs_as_its_user_with_its_limits(brood, directory):
    (directory / "out").mkdir()
    os.chown(directory / "out", NOBODY, NOBODY)
    path = directory / "out/dump"
    one = brood(steps(f"dump:{path}", "wait",
                      extra='ready_after = 10ms\nuser = "nobody"\nlimits { nofile = 77 }')).start()
    data = dumped(path)
    assert data["files"] == [77, 77]
    assert path.stat().st_uid == NOBODY
    assert one.stop() == 0


def test_what_it_writes_comes_into_the_log(brood):
    one = brood(steps("print:to out", "error:to err", "wait")).start()
    out = one.wait_log("output", stream="stdout", text="to out")[0]
    assert (out["pool"], out["slot"], out["pid"]) == ("app", 0, slot_of(one)["pid"])
    assert one.wait_log("output", stream="stderr", text="to err")
    assert one.stop() == 0


def test_a_program_that_is_gone_by_the_time_of_its_start(brood, directory):
    program = directory / "program"
    program.write_text("#!/bin/sh\nexec sleep 1000\n")
    program.chmod(0o755)
    one = brood(program_pool([program], extra="ready_after = 10ms\nbackoff_min = 10ms"),
                expect=["cannot be executed", "did not start", "died"]).start()
    program.unlink()
    kill(slot_of(one)["pid"], signal.SIGKILL)
    row = one.wait_log("cannot be executed")[0]
    assert str(program) in row["line"] and "No such file" in row["line"]
    program.write_text("#!/bin/sh\nexec sleep 1000\n")
    program.chmod(0o755)
    wait_state(one, "idle")
    assert one.stop() == 0


# ---- O_NONBLOCK of the shared socket ----

def nonblocking(one, pid):
    flags = next(line for line in proc_text(pid, "fdinfo/3").splitlines() if line.startswith("flags:"))
    return bool(int(flags.split()[1], 8) & os.O_NONBLOCK)


def test_nonblock_is_cleared_for_the_first_one_only(brood, directory):
    code = "import os,time; os.set_blocking(3, False); open(os.environ['DONE'] + str(os.getpid()), 'w'); time.sleep(1000)"
    one = brood(program_pool([PYTHON, "-c", code], workers=2,
                             extra=f'ready_after = 10ms\nenvironment = {{"DONE={directory}/done"}}\nbackoff_min = 10ms'),
                expect=["died"]).start()
    first, second = [slot["pid"] for slot in one.slots("app")]
    wait_for(lambda: (directory / f"done{first}").exists() and (directory / f"done{second}").exists(), "both")
    assert nonblocking(one, first)
    # A sibling lives: the socket stays as that one wants it.
    kill(first, signal.SIGKILL)
    wait_for(lambda: len(one.log("worker died")) == 1, "a death")
    wait_for(lambda: len(one.slots("app")) == 2, "its successor")
    assert nonblocking(one, second)


def test_nonblock_is_cleared_once_nobody_uses_it(brood, directory):
    """As when a pool of Node's is changed into one of Python's."""
    code = ("import os,time; print('blocking', os.get_blocking(3), flush=True); os.set_blocking(3, False);"
            f"open({str(directory / 'done')!r}, 'a').write('x'); time.sleep(1000)")
    one = brood(program_pool([PYTHON, "-c", code], extra="ready_after = 10ms\nbackoff_min = 10ms"), expect=["died"]).start()
    for count in 1, 2, 3:
        wait_for(lambda: (directory / "done").exists() and len((directory / "done").read_text()) == count, "its turn")
        assert len(one.wait_log("output", count, text="blocking True")) == count
        kill(slot_of(one)["pid"], signal.SIGKILL)
    assert not one.log("output", text="blocking False")


def test_a_listener_that_comes_nonblocking_blocks_for_a_program(brood):
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    one = brood(steps("accept", listen="systemd:web"), sockets=[("web", listener)]).start()
    address = "127.0.0.1:%d" % listener.getsockname()[1]
    listener.close()
    assert answer(address) == str(slot_of(one)["pid"])


# ---- ready: alive ----

def test_alive_is_ready_once_it_has_lived(brood):
    one = brood(steps("wait", extra="ready_after = 300ms")).start()
    started = [at for at, message in one.notify.messages if "READY=1" in message][0]
    assert slot_of(one)["state"] == "idle"
    assert time.monotonic() - started < DEADLINE_S
    assert one.stop() == 0


def test_alive_that_dies_before_is_never_ready(brood):
    one = brood(steps("exit:3", extra="ready_after = 10s\nbackoff_min = 1ms\nbackoff_max = 2ms"), status=75,
                expect=["died", "cannot start the pool", "ending all"]).spawn()
    assert one.wait() == 75
    assert "exit status 3" in one.log("died")[0]["how"]


# ---- ready: notify ----

NOTIFY = "ready = notify\nstart_timeout = 20s\n"


def test_notify(brood, directory):
    one = brood(steps("say:STATUS=loading", f"append:{directory}/begun", "sleep:0.3",
                      "say:READY=1\\nSTATUS=serving \"all\" \xe4", "wait", extra=NOTIFY)).spawn()
    wait_for(lambda: appended(directory / "begun"), "the start")
    slot = wait_for(lambda: slot_of(one)["status"] == "loading" and slot_of(one), "the first status")
    assert slot["state"] == "starting" and slot["notified_us"] > 0
    assert "READY=1" not in one.notify.lines()
    wait_for(lambda: "READY=1" in one.notify.lines(), "ready")
    slot = slot_of(one)
    assert (slot["state"], slot["status"]) == ("idle", 'serving "all" \xe4')
    assert one.stop() == 0


def test_notify_that_never_comes_is_a_start_timeout(brood):
    one = brood(steps("wait", extra="ready = notify\nstart_timeout = 200ms\nbackoff_min = 1ms\nbackoff_max = 2ms"),
                status=75, expect=["died", "cannot start the pool", "ending all"]).spawn()
    assert one.wait() == 75
    row = one.log("worker died")[0]
    assert (row["kind"], row["reason"], row["when"]) == ("killed", "start_timeout", "before ready")


def test_alive_does_not_make_a_notifying_one_ready(brood):
    one = brood(steps("sleep:1.5", "say:READY=1", "wait", extra=NOTIFY)).spawn()
    begin = time.monotonic()
    wait_for(lambda: "READY=1" in one.notify.lines(), "ready")
    assert time.monotonic() - begin > 1.4
    assert one.stop() == 0


def test_time_to_start_can_be_extended(brood):
    one = brood(steps("say:EXTEND_TIMEOUT_USEC=30000000", "sleep:0.8", "say:READY=1", "wait",
                      extra="ready = notify\nstart_timeout = 400ms")).start()
    assert slot_of(one)["extended_us"] > 0
    assert one.stop() == 0


INTRUSION = b"READY=1\nSTATUS=intruder"


def notify_from_outside(path):
    """By a process that has gone when this returns."""
    code = ("import socket,sys; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM);"
            f"s.sendto({INTRUSION!r}, chr(0) + sys.argv[1][1:])")
    subprocess.run([sys.executable, "-c", code, path], check=True, timeout=DEADLINE_S)


@pytest.mark.parametrize("sender", ["lives", "has gone"])
@pytest.mark.parametrize("access", ["main", "group"])
def test_a_foreign_process_is_not_heard(brood, directory, access, sender):
    # Of one that has gone before it is looked up the user has to be the worker's.
    user = 'user = "nobody"' if IS_ROOT else ""
    if access == "group" and not IS_ROOT:
        pytest.skip("needs two users")
    (directory / "out").mkdir()
    (directory / "out").chmod(0o777)
    one = brood(steps(f"dump:{directory}/out/dump", "wait", extra=NOTIFY + f"notify_access = {access}\n{user}"),
                expect=["is refused"]).spawn()
    path = dumped(directory / "out/dump")["environment"]["NOTIFY_SOCKET"]
    assert path.startswith("@")
    if sender == "has gone":
        one.kill(signal.SIGSTOP)
        notify_from_outside(path)
        one.kill(signal.SIGCONT)
    else:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
            own.sendto(INTRUSION, "\0" + path[1:])
    row = one.wait_log("is refused")[0]
    assert row["notify_access"] == access and row["uid"] == os.geteuid()
    assert slot_of(one)["status"] == "" and slot_of(one)["state"] == "starting"
    assert "READY=1" not in one.notify.lines()
    assert one.stop() == 0


SHELL_WORKER = "systemd-notify --status=from-shell; systemd-notify --ready; while :; do sleep 0.05; done"


@pytest.mark.parametrize("user", ["", pytest.param('user = "nobody"', marks=root_only)])
def test_a_shell_script_notifies_from_its_group(brood, user):
    one = brood(program_pool(["/bin/sh", "-c", SHELL_WORKER], extra=f"{NOTIFY}notify_access = group\n{user}")).start()
    assert slot_of(one)["status"] == "from-shell"
    assert one.stop() == 0


@root_only
def test_a_shell_script_is_not_heard_as_the_main_process(brood):
    one = brood(program_pool(["/bin/sh", "-c", SHELL_WORKER], extra=f'{NOTIFY}notify_access = main\nuser = "nobody"'),
                expect=["is refused"]).spawn()
    one.wait_log("is refused", notify_access="main")
    assert slot_of(one)["state"] == "starting" and slot_of(one)["status"] == ""
    assert one.stop() == 0


def test_no_variable_of_the_masters_leaks(brood, directory):
    one = brood(steps(f"dump:{directory}/dump", "say:READY=1", "wait", extra=NOTIFY),
                env={"WATCHDOG_USEC": "60000000"}).start()
    environment = dumped(directory / "dump")["environment"]
    assert environment["NOTIFY_SOCKET"] != one.notify.path
    assert "WATCHDOG_USEC" not in environment and "WATCHDOG_PID" not in environment
    assert one.stop() == 0


# ---- ready: ack ----

ACK = "ready = ack\nstart_timeout = 20s\n"
ACKS = {"json": '{"command":"worker:ack","pid":PID}', "ruby": "---%0Acommand: worker:ack%0Apid: PID%0A"}


@pytest.mark.parametrize("form", ACKS)
@pytest.mark.parametrize("user", ["", pytest.param('user = "nobody"', marks=root_only)])
def test_ack(brood, directory, form, user):
    (directory / "out").mkdir()
    (directory / "out").chmod(0o777)
    one = brood(steps(f"dump:{directory}/out/dump", "sleep:0.3", "ack:" + ACKS[form], "wait", workers=2,
                      extra=ACK + user)).spawn()
    path = pathlib.Path(dumped(directory / "out/dump")["environment"]["EINHORN_SOCK_PATH"])
    assert path.exists() and path.parent.stat().st_mode & 0o777 == 0o711
    wait_for(lambda: "READY=1" in one.notify.lines(), "ready")
    assert [slot["state"] for slot in one.slots("app")] == ["idle"] * 2
    assert one.stop() == 0
    assert not path.exists() and not path.parent.exists()


@pytest.mark.parametrize("line, reason", [
    ('{"command":"worker:ack","pid":1}', "no worker's"),
    ('{"command":"worker:ack"}', "no worker's"),
    ("worker:ack", "form"),
    ('{"command":"inc"}', "only worker:ack"),
    ("x" * 2000, "too long"),
], ids=["wrong", "none", "form", "command", "long"])
def test_an_ack_that_does_not_hold(brood, line, reason):
    one = brood(steps("ack:" + line, "ack:" + ACKS["json"], "wait", extra=ACK), expect=["acknowledgement"]).start()
    assert reason in one.wait_log("an acknowledgement is refused")[0]["reason"]
    assert one.stop() == 0


def test_an_ack_for_another_worker_is_refused(brood, directory):
    """The second names the first, which has said nothing yet."""
    code = f"""
import os, socket, time
path = {str(directory / "pid")!r}
def ack(pid):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(os.environ["EINHORN_SOCK_PATH"])
        client.sendall(b'{{"command":"worker:ack","pid":%d}}\\n' % pid)
        client.recv(1)
if os.environ["EINHORN_CHILD_INDEX"] == "0":
    open(path + ".new", "w").write(str(os.getpid()))
    os.rename(path + ".new", path)
else:
    while not os.path.exists(path):
        time.sleep(0.01)
    ack(int(open(path).read()))
    ack(os.getpid())
time.sleep(1000)
"""
    one = brood(program_pool([PYTHON, "-c", code], workers=2, extra=ACK), expect=["acknowledgement"]).spawn()
    assert "another worker's" in one.wait_log("an acknowledgement is refused")[0]["reason"]
    wait_for(lambda: sorted(slot["state"] for slot in one.slots("app")) == ["idle", "starting"], "one is ready")
    assert one.stop() == 0


def test_a_foreign_process_at_the_socket_for_acks(brood, directory):
    one = brood(steps(f"dump:{directory}/dump", "wait", extra=ACK), expect=["is sent away"]).spawn()
    data = dumped(directory / "dump")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(data["environment"]["EINHORN_SOCK_PATH"])
        client.settimeout(DEADLINE_S)
        # It may be closed before, while or after the line is written.
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            client.sendall(b'{"command":"worker:ack","pid":%d}\n' % data["pid"])
            assert client.recv(1) == b""
    one.wait_log("is sent away", pid=os.getpid())
    assert slot_of(one)["state"] == "starting"
    assert one.stop() == 0


def test_no_ack_is_a_start_timeout(brood):
    one = brood(steps('ack:{"command":"worker:ping","pid":PID,"request_id":"1"}', "wait",
                      extra="ready = ack\nstart_timeout = 300ms\nbackoff_min = 1ms\nbackoff_max = 2ms"), status=75,
                expect=["died", "cannot start the pool", "ending all"]).spawn()
    assert one.wait() == 75
    assert one.log("worker died")[0]["reason"] == "start_timeout"


# ---- what it says of itself ----

def test_a_watchdog_that_is_fed(brood, directory):
    one = brood(steps(f"dump:{directory}/dump", "keep:0.1:WATCHDOG=1", "wait",
                      extra="ready_after = 10ms\nwatchdog_timeout = 3s")).start()
    data = dumped(directory / "dump")
    assert data["environment"]["WATCHDOG_USEC"] == "3000000"
    assert data["environment"]["WATCHDOG_PID"] == str(data["pid"])
    first = wait_for(lambda: slot_of(one)["watchdog_us"], "a sign of life")
    wait_for(lambda: slot_of(one)["watchdog_us"] > first + 3500000, "many more")
    assert slot_of(one)["pid"] == data["pid"]
    assert one.stop() == 0


def test_a_watchdog_that_was_fed_while_the_master_could_not_look(brood):
    one = brood(steps("keep:0.05:READY=1\\nWATCHDOG=1", "wait", extra="ready = notify\nwatchdog_timeout = 700ms")).start()
    pid = slot_of(one)["pid"]
    for _ in range(3):
        one.kill(signal.SIGSTOP)
        time.sleep(1)
        one.kill(signal.SIGCONT)
        begin = slot_of(one)["watchdog_us"]
        wait_for(lambda: slot_of(one)["watchdog_us"] > begin + 200000, "more signs of life")
    assert slot_of(one)["pid"] == pid
    assert one.stop() == 0


def test_one_that_became_ready_while_the_master_could_not_look(brood, directory):
    one = brood(steps(f"append:{directory}/begun", "sleep:0.2", "say:READY=1", f"append:{directory}/said", "wait",
                      extra="ready = notify\nstart_timeout = 900ms")).spawn()
    wait_for(lambda: appended(directory / "begun"), "its start")
    one.kill(signal.SIGSTOP)
    wait_for(lambda: appended(directory / "said"), "its word")
    time.sleep(1)
    one.kill(signal.SIGCONT)
    wait_for(lambda: "READY=1" in one.notify.lines(), "ready")
    assert one.stop() == 0


def test_a_watchdog_that_is_missed(brood):
    one = brood(steps("say:READY=1\\nWATCHDOG=1\\nSTATUS=thinking", "wait",
                      extra="ready = notify\nwatchdog_timeout = 300ms\nbackoff_min = 10ms"),
                expect=["worker died"]).start()
    row = one.wait_log("worker died")[0]
    assert (row["kind"], row["reason"], row["when"]) == ("killed", "watchdog_timeout", "after ready")
    assert "SIGABRT" in row["how"]
    assert one.wait_log("last words", status="thinking", pid=row["pid"])
    one.stop()


def test_a_watchdog_that_is_missed_by_one_that_does_not_abort(brood):
    one = brood(steps("on:ABRT:ignore", "on:TERM:ignore", "say:READY=1", "wait",
                      extra="ready = notify\nwatchdog_timeout = 300ms\nstop_timeout = 300ms"),
                expect=["worker died", "stop_timeout"]).start()
    row = one.wait_log("worker died")[0]
    assert (row["kind"], row["reason"]) == ("killed", "watchdog_timeout")
    assert "SIGKILL" in row["how"] and row["age_ms"] >= 1300
    one.stop()


def test_a_watchdog_that_is_triggered(brood):
    one = brood(steps("say:READY=1", "sleep:0.2", "say:WATCHDOG=trigger", "wait",
                      extra="ready = notify\nwatchdog_timeout = 1h\nbackoff_min = 10ms"), expect=["worker died"]).start()
    assert one.wait_log("worker died")[0]["reason"] == "watchdog_timeout"
    one.stop()


def test_one_that_stops_is_replaced_and_not_signalled(brood, directory):
    one = brood(steps(f"append:{directory}/born", "on:TERM:told", "sleep:0.3", "say:READY=1", "sleep:0.2",
                      "say:STOPPING=1\\nSTATUS=bye", "sleep:1", "print:done", "exit:0",
                      extra="ready = notify")).start()
    first, = appended(directory / "born")
    wait_for(lambda: slot_of(one, int(first))["state"] == "leaving", "leaving")
    assert slot_of(one, int(first))["status"] == "bye"
    # Its successor is there before it has gone.
    wait_for(lambda: len(appended(directory / "born")) == 2, "a second one")
    assert proc_alive(int(first))
    row = one.wait_log("worker died", pid=first)[0]
    assert (row["kind"], row["reason"]) == ("recycled", "itself")
    assert one.log("output", text="done", pid=first) and not one.log("output", text="told", pid=first)
    one.stop()


def test_one_that_says_it_stops_and_does_not(brood):
    one = brood(steps("say:READY=1", "sleep:0.2", "say:STOPPING=1", "wait", extra="ready = notify\nstop_timeout = 300ms"),
                expect=["worker died", "stop_timeout"]).start()
    row = one.wait_log("worker died")[0]
    assert (row["kind"], row["reason"]) == ("killed", "stop_timeout")
    one.stop()


def test_errno_and_mainpid(brood):
    one = brood(steps("say:ERRNO=2\\nSTATUS=no data\\nMAINPID=1", "exit:1", extra="ready = notify\nbackoff_min = 10s"),
                expect=["worker died", "says that it has failed", "ending all"]).spawn()
    row = one.wait_log("says that it has failed")[0]
    assert row["reason"] == "No such file or directory"
    assert one.wait_log("last words", status="no data", errno=2)
    assert one.wait_log("MAINPID= is ignored", main_pid=1)
    one.stop()


# ---- how it ends ----

@pytest.mark.parametrize("name", ["TERM", "INT", "QUIT", "HUP", "USR1", "USR2"])
def test_stop_signal(brood, name):
    one = brood(steps(f"on:{name}:told {name}", "say:READY=1", "wait", workers=2,
                      extra=f"ready = notify\nstop_signal = {name}")).start()
    assert one.stop() == 0
    assert len(one.log("output", text=f"told {name}")) == 2


def test_one_that_has_no_handler_dies_of_the_stop_signal(brood):
    one = brood(steps("wait", workers=2, extra="ready_after = 10ms\nstop_signal = USR2"), args=["-l", "debug"]).start()
    assert one.stop() == 0
    assert [row["kind"] for row in one.log("worker died")] == ["retired", "retired"]


@pytest.mark.parametrize("pause", [0, 0.01, 0.02, 0.03, 0.05])
def test_a_stop_signal_is_not_lost_while_a_program_is_being_made(brood, pause):
    one = brood(program_pool(["/bin/sleep", "1000"], workers=16,
                             extra="ready_after = 1ms\nstop_signal = USR2\nstop_timeout = 10s")).start()
    one.kill(signal.SIGTTIN)
    time.sleep(pause)
    begin = time.monotonic()
    assert one.stop() == 0
    assert time.monotonic() - begin < 5


def test_one_that_does_not_stop_is_killed_by_its_deadline(brood):
    one = brood(steps("on:TERM:ignore", "say:READY=1", "wait", extra="ready = notify\nstop_timeout = 300ms"),
                expect=["worker died", "stop_timeout"]).start()
    begin = time.monotonic()
    assert one.stop() == 0
    assert 1.2 < time.monotonic() - begin < 10
    row = one.log("worker died")[0]
    assert (row["kind"], row["reason"]) == ("killed", "stop_timeout") and "SIGKILL" in row["how"]


def test_time_to_finish_can_be_extended(brood):
    one = brood(steps("finish:1.5", "say:READY=1", "wait", extra="ready = notify\nstop_timeout = 300ms")).start()
    begin = time.monotonic()
    assert one.stop() == 0
    assert time.monotonic() - begin > 1.5
    assert not one.log("worker died", kind="killed")


def test_the_stop_of_the_daemon_is_not_put_off(brood):
    one = brood("stop_timeout = 500ms\n" + steps("finish:50", "say:READY=1", "wait", extra="ready = notify"),
                expect=["worker died", "stop_timeout"]).start()
    begin = time.monotonic()
    assert one.stop() == 0
    assert time.monotonic() - begin < 10


def test_quit(brood):
    one = brood(steps("on:TERM:quickly", "on:USR2:slowly", "say:READY=1", "wait",
                      extra="ready = notify\nstop_signal = USR2"), expect=["ending all"]).start()
    assert one.stop(signal.SIGQUIT) == 0
    assert one.log("output", text="quickly") and not one.log("output", text="slowly")


def test_the_masters_death_is_its_stop_signal(brood):
    one = brood(steps("on:USR1:orphaned", "say:READY=1", "wait", extra="ready = notify\nstop_signal = USR1"),
                status=-signal.SIGKILL).start()
    pid = slot_of(one)["pid"]
    one.kill(signal.SIGKILL)
    wait_for(lambda: not proc_alive(pid), "the program's end")
    one.wait()


# ---- what it leaves behind ----

LEFT = ["group", "session", "double", "chain", "empty"]


def left_behind(directory, how):
    path = directory / how
    return int(wait_for(lambda: path.exists() and path.read_text(), how))


@pytest.mark.parametrize("end", ["killed", "stopped", "exits"])
@pytest.mark.parametrize("how", LEFT)
def test_what_it_leaves_behind_is_killed_with_it(brood, directory, how, end):
    last = ["sleep:0.5", "exit:0"] if end == "exits" else ["wait"]
    one = brood(steps(f"run:{how}:{directory}/{how}", "say:READY=1", *last, extra="ready = notify\nbackoff_min = 20s"),
                expect=["worker died"]).start()
    pid = left_behind(directory, how)
    assert proc_alive(pid)
    if end == "killed":
        kill(slot_of(one)["pid"], signal.SIGKILL)
    if end == "stopped":
        assert one.stop() == 0
        assert not proc_alive(pid)
    wait_for(lambda: not proc_alive(pid), "its end", 10)


def test_what_a_living_one_has_started_is_left_alone(brood, directory):
    one = brood(steps(f"run:double:{directory}/double", "say:READY=1", "wait", extra="ready = notify"), expect=["died"])
    one.config_path.write_text(one.config_path.read_text() + steps("wait", name="other"))
    one.start()
    pid = left_behind(directory, "double")
    kill(slot_of(one, pool="other")["pid"], signal.SIGKILL)
    one.wait_log("worker died", pool="other")
    wait_state(one, "idle", pool="other")
    assert proc_alive(pid)
    assert one.stop() == 0
    assert not proc_alive(pid)


def test_what_a_program_of_inetd_has_left_is_left_alone(brood, directory):
    """The master adopts it, as it does all orphans."""
    script = f"setsid sleep 1000 >/dev/null 2>&1 </dev/null & echo $! >{directory}/new; mv {directory}/new {directory}/pid"
    one = brood(f"""
pool "inetd" {{
	listen = {{"127.0.0.1:0"}}
	handler = "inetd"
	command = {{"/bin/sh", "-c", "{script}"}}
	workers = 1
}}
""" + steps("wait"), expect=["died"]).start()
    connect(one.address("inetd")).close()
    pid = left_behind(directory, "pid")
    try:
        one.wait_log("EXIT")
        kill(slot_of(one)["pid"], signal.SIGKILL)
        one.wait_log("worker died", pool="app")
        wait_state(one, "idle")
        assert proc_alive(pid) and proc_stat(pid)[1] == str(one.pid)
        assert one.stop() == 0
        assert proc_alive(pid)
    finally:
        kill(pid, signal.SIGKILL)


def test_processes_of_its_group_do_not_outlive_a_shell(brood, directory):
    script = f"sleep 1000 & echo $! >{directory}/new; mv {directory}/new {directory}/pid; exit 1"
    one = brood(program_pool(["/bin/sh", "-c", script], extra="backoff_min = 20s"), expect=["died", "ending all"]).spawn()
    pid = left_behind(directory, "pid")
    wait_for(lambda: not proc_alive(pid), "its end")
    one.stop()
