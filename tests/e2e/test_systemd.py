# SPDX-License-Identifier: MIT
"""The installed units under a real systemd, in a machine of its own (systemd.py)."""
import contextlib
import json
import os
import pathlib
import shutil
import subprocess

import pytest
from brood import BOARDCAT, BUILD, SANITIZED, STORM, wait_for
from systemd import Machine, why_not

REASON = "the plain build's business" if SANITIZED else why_not()
# One machine for all of them, whatever number of processes pytest uses.
pytestmark = [pytest.mark.skipif(REASON is not None, reason=REASON or ""), pytest.mark.xdist_group("systemd")]

CONFIG = """
user = "brood"
stop_timeout = 10s
pool "echo" {
	listen = {"127.0.0.1:7007", "unix:/run/brood/echo.sock"}
	handler = "echo"
	workers = 3
	idle_timeout = 60s
}
pool "once" {
	listen = {"127.0.0.1:7009"}
	handler = "echo"
	workers = 3
	echo { messages = 1 }
}
"""
SOCKET_CONFIG = """
user = "brood"
pool "web" {
	listen = {"systemd:web"}
	handler = "echo"
	workers = 2
}
"""
# A client that keeps its connection: answers each line of its input with what it got for it.
CLIENT = r"""
import socket, sys
s = socket.create_connection(("127.0.0.1", 7007), 30)
for line in sys.stdin:
    s.sendall(line.encode())
    print(s.recv(100).decode().strip(), flush=True)
"""


def install(tree):
    """What `make install` would do, with the units where this build puts them, and brood's own user."""
    subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", tree], check=True, timeout=120,
                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env={**os.environ, "DESTDIR": ""})
    for tool in (STORM, BOARDCAT):
        (pathlib.Path(tree) / "usr/local/bin").mkdir(parents=True, exist_ok=True)
        shutil.copy(tool, pathlib.Path(tree) / "usr/local/bin")


@pytest.fixture(scope="module")
def machine():
    with Machine(install) as made:
        made.run("systemd-sysusers")
        made.run("systemd-tmpfiles", "--create")
        made.write("/usr/local/etc/brood/brood.conf", CONFIG)
        yield made


@pytest.fixture
def service(machine):
    """The service running on CONFIG; stopped at the end."""
    machine.write("/usr/local/etc/brood/brood.conf", CONFIG)
    machine.run("systemctl", "start", "brood")
    yield machine
    machine.run("systemctl", "stop", "brood", "brood.socket", check=False)
    machine.run("systemctl", "reset-failed", "brood", check=False)


def echo(machine, address="TCP:127.0.0.1:7007"):
    return machine.run("socat", "-t10", "-", address, text="hello\n", check=False).strip()


def master(machine):
    return int(machine.show("brood", "MainPID"))


def journal(machine, *options):
    lines = machine.run("journalctl", "-u", "brood", "-o", "json", "--no-pager", *options).splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def test_start_means_ready(service):
    assert service.show("brood", "ActiveState") == "active"
    assert "3" in service.show("brood", "StatusText") and "echo" in service.show("brood", "StatusText")
    assert echo(service) == "hello"
    assert echo(service, "UNIX-CONNECT:/run/brood/echo.sock") == "hello"


def test_workers_are_the_user_of_sysusers_and_not_protected_from_the_oom_killer(service):
    rows = service.run("ps", "-o", "user=,pid=,args=", "--ppid", str(master(service))).splitlines()
    workers = [row.split()[1] for row in rows if row.rstrip().endswith("brood: echo")]
    assert len(workers) == 3, rows
    assert all(row.split()[0] == "brood" for row in rows if row.split()[1] in workers), rows
    for pid in workers:
        # The master's may be 0 too: lowering it takes a capability that this machine's root may not have.
        assert int(service.run("cat", f"/proc/{pid}/oom_score_adj")) == 0


def test_stop_leaves_nothing(service):
    service.run("systemctl", "stop", "brood")
    assert service.show("brood", "ActiveState") == "inactive"
    assert service.show("brood", "Result") == "success"
    assert service.run("sh", "-c", "pgrep -x brood || true") == ""
    assert "no" in service.run("sh", "-c", "test -e /run/brood/echo.sock || echo no")


def test_restart(service):
    before = master(service)
    service.run("systemctl", "restart", "brood")
    assert master(service) != before
    assert echo(service) == "hello"


def test_reload_waits_for_the_verdict_and_tells_it(service):
    assert service.show("brood", "CanReload") == "yes"
    before = master(service)
    service.write("/usr/local/etc/brood/brood.conf", CONFIG.replace("127.0.0.1:7007", "127.0.0.1:7017"))
    service.run("systemctl", "reload", "brood")
    assert service.show("brood", "ActiveState") == "active" and master(service) == before
    assert echo(service, "TCP:127.0.0.1:7017") == "hello", "the verdict was waited for"
    assert echo(service) != "hello"
    wait_for(lambda: service.show("brood", "NFileDescriptorStore") == "4", "one more listener, one fewer")
    service.run("kill", "-9", str(before))
    wait_next_master(service, before)
    assert echo(service, "TCP:127.0.0.1:7017") == "hello" and origins(service) == {"store"}


def test_a_reload_that_is_refused_fails_and_changes_nothing(service):
    before = master(service)
    service.write("/usr/local/etc/brood/brood.conf", CONFIG + "colour = red\n")
    answer = service.run("sh", "-c", "systemctl reload brood || echo failed")
    assert "failed" in answer
    assert service.show("brood", "ActiveState") == "active" and master(service) == before
    wait_for(lambda: "colour" in service.show("brood", "StatusText"), "why, in the status")
    assert echo(service) == "hello"
    service.write("/usr/local/etc/brood/brood.conf", CONFIG)
    service.run("systemctl", "reload", "brood")
    wait_for(lambda: "colour" not in service.show("brood", "StatusText"), "it is mended")


def test_a_reload_by_signal_is_seen_by_systemd(service):
    """RELOADING=1, and READY=1 at the end: the state of the unit follows."""
    service.run("kill", "-HUP", str(master(service)))
    wait_for(lambda: any(row.get("BROOD_EVENT") == "reloaded" for row in journal(service)), "the reload")
    wait_for(lambda: service.show("brood", "ActiveState") == "active", "active again")
    assert echo(service) == "hello"


def test_an_upgrade_keeps_the_service_and_the_store(service):
    """The new image feeds the watchdog, and knows what the store has: what it drops leaves, what it has is found."""
    with drop_in(service, "[Service]\nWatchdogSec=2\n"):
        before = master(service)
        storm = StormInside(service)
        service.run("/usr/local/bin/broodctl", "upgrade")
        service.run("sleep", "3")
        assert master(service) == before and service.show("brood", "ActiveState") == "active"
        assert service.show("brood", "NFileDescriptorStore") == "4"
        service.run("kill", "-9", str(before))
        wait_next_master(service, before)
        assert origins(service) == {"store"}
        service.run("/usr/local/bin/broodctl", "upgrade")
        result = storm.stop()
        assert result["lost"] == result["stuck"] == result["refused"] == result["other"] == 0, result
        service.run("systemctl", "restart", "brood")
        assert origins(service) == {"opened"}
        assert echo(service) == "hello"


@contextlib.contextmanager
def client(machine):
    """A client that keeps its connection: a function that sends a line, and returns the answer."""
    with subprocess.Popen(machine.inside("/usr/bin/python3", "-c", CLIENT), stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as process:
        def ask(text):
            process.stdin.write(text + "\n")
            process.stdin.flush()
            return process.stdout.readline().strip()
        yield ask
        process.stdin.close()
        process.wait(60)


class StormInside:
    """The storm of clients of storm.c, in the machine."""

    def __init__(self, machine, address="127.0.0.1:7009"):
        self.machine = machine
        self.process = subprocess.Popen(machine.inside("/usr/local/bin/storm", "-s", "100", "-t", "8", address),
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "started\n"

    def stop(self):
        self.machine.run("pkill", "-x", "storm")
        output, _ = self.process.communicate(timeout=60)
        return json.loads(output.splitlines()[-1])


@contextlib.contextmanager
def drop_in(machine, text):
    """Further settings of the service, which is restarted with them."""
    machine.write("/run/systemd/system/brood.service.d/test.conf", text)
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", "brood")
    try:
        yield
    finally:
        machine.run("rm", "-r", "/run/systemd/system/brood.service.d")
        machine.run("systemctl", "daemon-reload")


def wait_next_master(machine, before):
    wait_for(lambda: master(machine) not in (0, before) and machine.show("brood", "ActiveState") == "active",
             "another master")


def origins(machine):
    """Of the listeners of the master that was started last, by the log."""
    starts = [row for row in journal(machine) if "starting" in row.get("BROOD_EVENT", "")]
    return {item.split()[2].strip("(),") for item in starts[-1]["BROOD_LISTENERS"].split(", ")}


def sums(machine, pool="echo"):
    """The pool's connections in all, as the scoreboard has them."""
    board = json.loads(machine.run("/usr/local/bin/boardcat", str(master(machine))))
    slots = [slot for slot in board["slots"] if slot["pid"] and slot["pool"] == pool]
    return sum(slot["connections"] for slot in slots) + board["pools"][pool]["connections"]


def test_the_store_has_the_listeners_and_the_scoreboard(service):
    assert wait_for(lambda: service.show("brood", "NFileDescriptorStore") == "4", "three listeners and the board")


def test_a_killed_master_loses_nobody(service):
    """Neither who is served, nor who waits in a queue; and the counters go on."""
    before = master(service)
    with client(service) as ask:
        assert ask("one") == "one"
        storm = StormInside(service)
        service.run("kill", "-9", str(before))
        wait_next_master(service, before)
        result = storm.stop()
        assert result["lost"] == result["stuck"] == result["refused"] == result["other"] == 0, result
        assert origins(service) == {"store"}
        assert ask("two") == "two", "the connection died with the master: KillMode="
    assert int(service.show("brood", "NRestarts")) >= 1
    assert echo(service) == "hello" and echo(service, "UNIX-CONNECT:/run/brood/echo.sock") == "hello"
    wait_for(lambda: any(row.get("BROOD_EVENT") == "no worker of the last master is left" for row in journal(service)),
             "the end of the last worker of the old master")
    assert sums(service) == 3 and sums(service, "once") >= result["ok"]


def test_a_restart_begins_with_new_listeners_and_old_counters(service):
    for _ in range(5):
        assert echo(service) == "hello"
    assert sums(service) == 5
    service.run("systemctl", "restart", "brood")
    assert origins(service) == {"opened"}, "those of the store would hear nobody"
    assert echo(service) == "hello"
    assert sums(service) == 6
    service.run("systemctl", "stop", "brood")
    service.run("systemctl", "start", "brood")
    assert sums(service) == 0


def test_a_stop_under_load_loses_nobody(service):
    storm = StormInside(service)
    service.run("systemctl", "stop", "brood")
    assert service.show("brood", "Result") == "success"
    result = storm.stop()
    assert result["lost"] == result["stuck"] == 0, result
    assert result["ok"] > 0 and result["refused"] > 0, result


def test_a_long_stop_is_given_time(service):
    """TimeoutStopSec= is short, stop_timeout is not."""
    with drop_in(service, "[Service]\nTimeoutStopSec=2\n"), client(service) as ask:
        assert ask("one") == "one"
        pid = master(service)
        service.run("systemctl", "stop", "--no-block", "brood")
        service.run("sleep", "4")
        assert service.show("brood", "ActiveState") == "deactivating"
        assert master(service) == pid
        assert ask("two") == "two"
    wait_for(lambda: service.show("brood", "ActiveState") == "inactive", "the end of the stop")
    assert service.show("brood", "Result") == "success"


def test_many_crashes_in_a_row_do_not_end_the_service(service):
    storm = StormInside(service)
    for _ in range(8):
        before = master(service)
        service.run("kill", "-9", str(before))
        wait_next_master(service, before)
    result = storm.stop()
    assert result["lost"] == result["stuck"] == result["refused"] == result["other"] == 0, result
    assert echo(service) == "hello"
    assert service.show("brood", "NFileDescriptorStore") == "4"


def test_watchdog_ends_a_stuck_master_and_nobody_is_lost(service):
    """With the unit's own signal, SIGABRT; and the clients who wait meanwhile are served."""
    with drop_in(service, "[Service]\nWatchdogSec=1\nLimitCORE=0\n"), client(service) as ask:
        assert ask("one") == "one"
        before = master(service)
        service.run("sleep", "2.5")
        assert master(service) == before, "a healthy master pings in time"
        storm = StormInside(service)
        service.run("kill", "-STOP", str(before))
        wait_next_master(service, before)
        result = storm.stop()
        assert result["lost"] == result["stuck"] == result["refused"] == result["other"] == 0, result
        assert origins(service) == {"store"}
        assert ask("two") == "two"


def test_journal_has_fields_and_priorities(service):
    service.run("sh", "-c", f"kill -SEGV $(pgrep -P {master(service)} -u brood | head -1)")
    rows = wait_for(lambda: [row for row in journal(service) if row.get("BROOD_EVENT") == "worker died"],
                    "the death in the journal")
    assert rows[-1]["PRIORITY"] == "4" and rows[-1]["BROOD_POOL"] == "echo", rows[-1]
    assert rows[-1]["SYSLOG_IDENTIFIER"] == "brood" and "SIGSEGV" in rows[-1]["BROOD_HOW"]
    starts = [row for row in journal(service) if "starting" in row.get("BROOD_EVENT", "")]
    assert starts and "127.0.0.1:7007" in starts[-1]["MESSAGE"]


def test_configuration_error_fails_the_start_with_its_line(machine):
    machine.write("/usr/local/etc/brood/brood.conf", "colour = red\n")
    machine.run("systemctl", "start", "--no-block", "brood")
    wait_for(lambda: machine.show("brood", "ExecMainStatus") == "78", "exit status 78")
    assert any("brood.conf:1" in str(row.get("MESSAGE")) for row in journal(machine))
    machine.run("systemctl", "stop", "brood")
    machine.run("systemctl", "reset-failed", "brood", check=False)


def test_socket_unit_by_name_starts_the_service_and_keeps_clients(machine):
    machine.write("/usr/local/etc/brood/brood.conf", SOCKET_CONFIG)
    machine.run("mkdir", "-p", "/run/systemd/system/brood.socket.d")
    machine.write("/run/systemd/system/brood.socket.d/port.conf", "[Socket]\nListenStream=\nListenStream=7008\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "brood.socket")
    try:
        assert machine.show("brood", "ActiveState") != "active"
        assert echo(machine, "TCP:127.0.0.1:7008") == "hello"
        assert machine.show("brood", "ActiveState") == "active"
        starts = [row for row in journal(machine) if "starting" in row.get("BROOD_EVENT", "")]
        assert "(systemd)" in starts[-1]["MESSAGE"]
        # A master that is killed is given the socket once, by its unit; the store has the scoreboard alone.
        before = master(machine)
        machine.run("kill", "-9", str(before))
        wait_next_master(machine, before)
        assert origins(machine) == {"systemd"}
        assert machine.show("brood", "NFileDescriptorStore") == "1"
        assert echo(machine, "TCP:127.0.0.1:7008") == "hello"
        # A restart refuses nobody: who connects meanwhile waits in systemd's queue.
        machine.run("sh", "-c", "systemctl restart --no-block brood; for i in $(seq 50); do "
                    "echo hello | socat -t10 - TCP:127.0.0.1:7008 | grep -q hello || exit 1; done")
    finally:
        machine.run("systemctl", "stop", "brood.socket", "brood")
        machine.run("rm", "-r", "/run/systemd/system/brood.socket.d")
        machine.run("systemctl", "daemon-reload")
