# SPDX-License-Identifier: MIT
"""The installed units under a real systemd, in a machine of its own (systemd.py)."""
import json
import os
import subprocess

import pytest
from brood import BUILD, SANITIZED, wait_for
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


def test_reload_is_not_offered(service):
    """Until there is a reload, systemd is not told that there is one."""
    assert service.show("brood", "CanReload") == "no"


def test_killed_master_is_started_again_and_connections_live_on(service):
    before = master(service)
    with subprocess.Popen(service.inside("/usr/bin/python3", "-c", CLIENT), stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as client:
        def ask(text):
            client.stdin.write(text + "\n")
            client.stdin.flush()
            return client.stdout.readline().strip()
        assert ask("one") == "one"
        service.run("kill", "-9", str(before))
        wait_for(lambda: master(service) not in (0, before) and
                 service.show("brood", "ActiveState") == "active", "another master")
        assert ask("two") == "two", "the connection died with the master: KillMode="
        client.stdin.close()
        client.wait(60)
    assert int(service.show("brood", "NRestarts")) >= 1
    assert echo(service) == "hello"


def test_many_crashes_in_a_row_do_not_end_the_service(service):
    for _ in range(8):
        before = master(service)
        service.run("kill", "-9", str(before))
        wait_for(lambda b=before: master(service) not in (0, b) and
                 service.show("brood", "ActiveState") == "active", "another master")
    assert echo(service) == "hello"


def test_watchdog_ends_a_stuck_master(service):
    service.run("mkdir", "-p", "/run/systemd/system/brood.service.d")
    service.write("/run/systemd/system/brood.service.d/fast.conf", "[Service]\nWatchdogSec=1\nWatchdogSignal=KILL\n")
    service.run("systemctl", "daemon-reload")
    service.run("systemctl", "restart", "brood")
    try:
        before = master(service)
        service.run("sleep", "2.5")
        assert master(service) == before, "a healthy master pings in time"
        service.run("kill", "-STOP", str(before))
        wait_for(lambda: master(service) not in (0, before) and
                 service.show("brood", "ActiveState") == "active", "another master")
        assert echo(service) == "hello"
    finally:
        service.run("rm", "-r", "/run/systemd/system/brood.service.d")
        service.run("systemctl", "daemon-reload")


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
        # A restart refuses nobody: who connects meanwhile waits in systemd's queue.
        machine.run("sh", "-c", "systemctl restart --no-block brood; for i in $(seq 50); do "
                    "echo hello | socat -t10 - TCP:127.0.0.1:7008 | grep -q hello || exit 1; done")
    finally:
        machine.run("systemctl", "stop", "brood.socket", "brood")
        machine.run("rm", "-r", "/run/systemd/system/brood.socket.d")
        machine.run("systemctl", "daemon-reload")
