# SPDX-License-Identifier: MIT
"""SIGUSR2: another binary takes over in the same process, and nobody notices but by its version."""
import os
import shutil
import signal
import threading
import time

import pytest
from brood import (BINARY, Storm, connect, echo_once, echo_pool, proc_alive, proc_environment, proc_fds, proc_title, receive,
                   wait_for)

REFUSED = "upgrade refused"
CHECK = "upgrade check"


def binary_of(one):
    return one.directory / "brood-binary"


def put_binary(one, version=None):
    """A copy of the binary, in the place of the one that is there; of another version, it says."""
    data = BINARY.read_bytes()
    if version is not None:
        assert len(version) == 5 and data.count(b"0.1.0") > 0
        data = data.replace(b"0.1.0", version.encode())
    new = one.directory / "brood-new"
    new.write_bytes(data)
    new.chmod(0o755)
    new.rename(binary_of(one))


def replaceable(brood, config, **options):
    """A start of a copy of the binary, which a test may replace."""
    one = brood(config, **options)
    put_binary(one)
    one._binary = lambda: binary_of(one)
    return one


def upgrade(one):
    """Asks for an upgrade, and waits until the new image has said that it is there."""
    count = len(one.log("^upgraded$"))
    one.kill(signal.SIGUSR2)
    return one.wait_log("^upgraded$", count + 1)[-1]


def refused(one, count=1):
    one.kill(signal.SIGUSR2)
    return one.wait_log(REFUSED, count)[-1]


def wait_rolled(one, before, count, pool=None):
    """Waits until the pool has COUNT workers, none of which was there BEFORE."""
    def rolled():
        workers = one.workers(pool)
        return workers if len(workers) == count and not set(workers) & set(before) else None
    workers = wait_for(rolled, "new workers only")
    one.note_processes()
    return workers


class Clients:
    """Threads that connect, and expect an echo, until they are stopped."""

    def __init__(self, address, count=4):
        self.address = address
        self.served = 0
        self.failures = []
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self._run) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def _run(self):
        while not self.over.is_set():
            try:
                assert echo_once(self.address) == b"hello"
                self.served += 1
            except Exception as problem:
                self.failures.append(repr(problem))

    def wait_more(self, count=100):
        end = self.served + count
        wait_for(lambda: self.served >= end or self.failures, f"{count} more connections")

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join()
        return self.failures


# ---- what is kept, and what is new ----

def test_the_process_stays_and_its_workers_are_replaced(brood):
    one = replaceable(brood, echo_pool(workers=3)).start()
    address = one.address()
    before = one.wait_workers(3)
    put_binary(one, "9.9.9")
    said = upgrade(one)
    assert (said["from"], said["to"], int(said["pid"])) == ("0.1.0", "9.9.9", one.pid)
    assert (int(said["workers"]), int(said["listeners"]), int(said["leaving"])) == (3, 1, 0)
    assert one.is_running()
    assert echo_once(address) == b"hello"
    wait_rolled(one, before, 3)
    assert echo_once(address) == b"hello"
    assert proc_title(one.pid).startswith("brood: master ")
    assert all(slot["generation"] == 2 for slot in one.slots("echo"))


def test_nobody_is_lost_under_load(brood):
    one = replaceable(brood, echo_pool(workers=4)).start()
    clients = Clients(one.address())
    try:
        for version in ("9.9.1", "9.9.2", "9.9.3"):
            clients.wait_more()
            before = one.workers()
            put_binary(one, version)
            assert upgrade(one)["to"] == version
            wait_rolled(one, before, 4)
        clients.wait_more()
    finally:
        failures = clients.stop()
    assert not failures, failures[:5]
    assert clients.served >= 400


def test_a_connection_goes_on(brood):
    one = replaceable(brood, echo_pool(workers=2, extra="idle_timeout = 60s")).start()
    before = one.wait_workers(2)
    with connect(one.address()) as client:
        client.sendall(b"one")
        assert receive(client, 3) == b"one"
        upgrade(one)
        wait_for(lambda: len(set(one.workers()) - set(before)) == 2, "new workers")
        client.sendall(b"two")
        assert receive(client, 3) == b"two"
    wait_rolled(one, before, 2)


# ---- what is refused, and changes nothing ----

def script(text):
    def put(one):
        binary_of(one).unlink()
        binary_of(one).write_text(text)
        binary_of(one).chmod(0o755)
    return put


def missing(one):
    binary_of(one).unlink()


def not_executable(one):
    put_binary(one)
    binary_of(one).chmod(0o644)


def directory_instead(one):
    binary_of(one).unlink()
    binary_of(one).mkdir()


def other_architecture(one):
    """The machine that the header names is none that there is."""
    data = bytearray(BINARY.read_bytes())
    data[18:20] = (0x7ead).to_bytes(2, "little")
    binary_of(one).unlink()
    binary_of(one).write_bytes(data)
    binary_of(one).chmod(0o755)


def cut_off(one):
    binary_of(one).unlink()
    binary_of(one).write_bytes(BINARY.read_bytes()[:64])
    binary_of(one).chmod(0o755)


def broken_configuration(one):
    one.config_path.write_text(one.config_path.read_text() + "\nno_such_key = 1\n")


@pytest.mark.parametrize("spoil, reason", [
    (missing, "No such file"),
    (not_executable, "Permission denied"),
    (directory_instead, "directory"),
    (other_architecture, "cannot be executed"),
    (cut_off, "cannot be executed"),
    (script("#!/no/such/interpreter\n"), "cannot be executed"),
    (script("#!/bin/sh\nkill -SEGV $$\n"), "crashes"),
    (script("#!/bin/sh\nexit 0\n"), "none that can take over"),
    (script("#!/bin/sh\necho takes over: frog 1.0\n"), "none that can take over"),
    (script("#!/bin/sh\nexit 64\n"), "does not know"),
    (script("#!/bin/sh\nexit 65\n"), "cannot read the state"),
    (script("#!/bin/sh\necho one; echo two >&2; exit 3\n"), "check failed"),
    (broken_configuration, "refuses the configuration"),
], ids=["missing", "not-executable", "directory", "architecture", "cut-off", "interpreter", "crash", "another-program",
        "another-answer", "too-old", "state", "failure", "configuration"])
def test_what_cannot_take_over_changes_nothing(brood, spoil, reason):
    one = replaceable(brood, echo_pool(workers=2), expect=[REFUSED, CHECK]).start()
    before = sorted(one.wait_workers(2))
    fds = len(proc_fds(one.pid))
    config = one.config_path.read_text()
    spoil(one)
    for count in (1, 2):
        assert reason in refused(one, count)["reason"]
    assert sorted(one.workers()) == before
    assert echo_once(one.address()) == b"hello"
    assert len(proc_fds(one.pid)) <= fds
    # And mended, it takes over.
    shutil.rmtree(binary_of(one), ignore_errors=True)
    put_binary(one, "9.9.9")
    one.config_path.write_text(config)
    assert upgrade(one)["to"] == "9.9.9"
    assert echo_once(one.address()) == b"hello"
    wait_rolled(one, before, 2)


def test_the_reason_is_in_the_log(brood):
    one = replaceable(brood, echo_pool(), expect=[REFUSED, CHECK]).start()
    broken_configuration(one)
    refused(one)
    assert any("no_such_key" in row["text"] and str(one.config_path) in row["text"] for row in one.log(CHECK))


def test_a_check_that_hangs_holds_nothing_and_is_given_up_at_a_stop(brood):
    one = replaceable(brood, echo_pool(), expect=[REFUSED, CHECK]).start()
    script("#!/bin/sh\nwhile :; do sleep 1; done\n")(one)
    one.kill(signal.SIGUSR2)
    one.wait_log("the new binary is checked")
    assert echo_once(one.address()) == b"hello"
    one.kill(signal.SIGUSR2)
    one.wait_log("under way already")
    assert one.stop() == 0
    assert "stops" in one.log(REFUSED)[0]["reason"]


def test_an_upgrade_is_refused_during_a_stop(brood):
    one = replaceable(brood, echo_pool(extra="idle_timeout = 60s"), expect=[REFUSED]).start()
    with connect(one.address()) as client:
        client.sendall(b"one")
        assert receive(client, 3) == b"one"
        one.kill(signal.SIGTERM)
        one.wait_log("^stopping$")
        assert "the daemon is" in refused(one)["reason"]
        client.sendall(b"two")
        assert receive(client, 3) == b"two"
    assert one.wait() == 0
