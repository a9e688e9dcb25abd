# SPDX-License-Identifier: MIT
"""A reload as a transaction over listeners and workers: what is new is tried first, held; all of it is undone where
something fails; then it rolls. test_reload_file.py has what becomes of the file, test_reload_keys.py each key."""
import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import time

import pytest
from brood import (BUILD, DEADLINE_S, NOBODY, SANITIZED, Brood, Storm, connect, echo_once, echo_pool, kill, proc_alive,
                   proc_fds, proc_status, proc_text, proc_title, receive, receive_all, wait_for)
from conftest import root_only
from test_module import MODULES, module_pool

STEPS = pathlib.Path(__file__).with_name("steps.py")
PYTHON = "/usr/bin/python3"
REFUSED = "reload refused"


@pytest.fixture(autouse=True)
def no_program_is_left():
    yield
    masters = {f"EINHORN_MASTER_PID={one.pid}" for one in Brood.started}
    wait_for(lambda: not [pid for pid in os.listdir("/proc") if pid.isdigit() and proc_alive(pid)
                          and masters & set(proc_text(pid, "environ").split("\0"))], "no program left", 10)


def pool(handler, name="p", listen="127.0.0.1:0", workers=2, extra=""):
    addresses = ", ".join(f'"{address}"' for address in ([listen] if isinstance(listen, str) else listen))
    return f'pool "{name}" {{\nlisten = {{{addresses}}}\nhandler = "{handler}"\nworkers = {workers}\n{extra}\n}}\n'


def steps_pool(*words, name="app", listen="127.0.0.1:0", workers=1, extra="ready_after = 10ms"):
    command = ", ".join(json.dumps(str(word)) for word in (PYTHON, STEPS, *words))
    return pool("program", name, listen, workers, f"command = {{{command}}}\n{extra}")


def status(one, kind):
    """What the control socket tells of pools or listeners."""
    with connect(f"unix:{one.control}") as client:
        client.sendall(b"status\n")
        rows = [json.loads(line) for line in receive_all(client).splitlines()]
    return [row for row in rows if row["type"] == kind]


def pools(one):
    return {row["name"]: row for row in status(one, "pool")}


def addresses(one, name):
    return [row["address"] for row in status(one, "listener") if row["pool"] == name]


def sockets(one):
    return {what for what in proc_fds(one.pid).values() if what.startswith("socket:")}


def settled_sockets(one):
    """Without those of clients of the control socket."""
    return wait_for(lambda: (first := sockets(one)) == sockets(one) and first, "sockets")


def held(pid):
    """The listening sockets that a process has."""
    return {what for what in proc_fds(pid).values() if what.startswith("socket:")}


def reason(one, before):
    return one.log()[before:] and [row for row in one.log()[before:] if re.search(REFUSED, row["event"])][-1]["reason"]


def wait_stage(one, name, count=1):
    """The log says each; it has to be of the level debug."""
    return one.wait_log("^reload$", count, to=name)


def wait_idle(one, before=0):
    wait_for(lambda: [row for row in one.log()[before:] if row["event"] == "reload"][-1:]
             and [row for row in one.log()[before:] if row["event"] == "reload"][-1]["to"] == "idle", "the end of it")


def pids(one, name):
    """Of a pool's workers; the title of a program is its own."""
    return [slot["pid"] for slot in one.slots(name)]


def wait_new(one, old, count, name=None):
    """COUNT workers, none of the OLD ones."""
    wait_for(lambda: len(one.workers(name)) == count and not set(one.workers(name)) & set(old), "new workers")
    return one.wait_workers(count, name)


def refuses(address):
    try:
        connect(address).close()
        return False
    except (ConnectionRefusedError, FileNotFoundError):
        return True


def listen_inode(one, address):
    return next((row for row in status(one, "listener") if row["address"] == address), None)


DEBUG = 'log_level = "debug"\n'


# ---- the roll ----

def test_workers_are_replaced_and_listeners_are_not(brood, directory):
    one = brood(echo_pool(workers=4, listen=["127.0.0.1:0", f"unix:{directory}/a.sock"])).start()
    old, before = one.workers(), settled_sockets(one)
    inode = (directory / "a.sock").stat().st_ino
    one.reload()
    wait_new(one, old, 4)
    assert settled_sockets(one) == before
    assert (directory / "a.sock").stat().st_ino == inode
    for address in one.addresses():
        assert echo_once(address) == b"hello"
    assert {slot["generation"] for slot in one.slots("echo")} == {2}


def test_ttin_is_forgotten_by_a_reload(brood):
    one = brood(echo_pool(workers=2)).start()
    for count in (3, 4, 5):
        one.kill(signal.SIGTTIN)
        one.wait_workers(count)
    one.reload()
    one.wait_workers(2)


def test_a_long_connection_of_the_old_generation_ends_at_stop_timeout(brood):
    config = echo_pool(workers=2, extra="stop_timeout = 1s idle_timeout = 60s")
    one = brood(config, expect=["worker died"]).start()
    old = one.workers()
    with connect(one.address()) as client:
        client.sendall(b"one")
        assert receive(client, 3) == b"one"
        begun = time.monotonic()
        one.reload()
        with contextlib.suppress(ConnectionError):
            while True:
                client.sendall(b"more")
                if receive(client, 4) != b"more":
                    break
                assert time.monotonic() - begun < 30
                time.sleep(0.02)
        assert time.monotonic() - begun > 0.9
    wait_new(one, old, 2)


@pytest.mark.parametrize("batch, most", [(0, 9), (3, 11)])
def test_no_more_workers_than_the_batch_allows(batch, most, brood):
    """All are busy until stop_timeout: those that finish count, too."""
    config = echo_pool(workers=8, extra=f"roll_batch = {batch}\nstop_timeout = 300ms idle_timeout = 60s")
    one = brood(config, expect=["worker died"]).start()
    old, seen = one.workers(), 0
    with contextlib.ExitStack() as stack:
        for _ in old:
            client = stack.enter_context(connect(one.address()))
            client.sendall(b"x")
            assert receive(client, 1) == b"x"
        before = len(one.log())
        one.kill(signal.SIGHUP)
        while not [row for row in one.log()[before:] if row["event"].startswith("rolled")]:
            seen = max(seen, len(one.workers()))
            time.sleep(0.01)
    wait_new(one, old, 8)
    assert 9 <= seen <= most, seen


def test_running_inetd_programs_go_on(brood):
    one = brood(pool("inetd", extra='command = "/bin/cat" max_workers = 8 stop_timeout = 1s')).start()
    with connect(one.address()) as client:
        client.sendall(b"one")
        assert receive(client, 3) == b"one"
        for _ in range(3):
            one.reload()
        one.wait_log("^rolled")
        time.sleep(1.5)  # past stop_timeout
        client.sendall(b"two")
        assert receive(client, 3) == b"two"


@pytest.mark.parametrize("old", ["echo", "http", "inetd", "program", "module"])
@pytest.mark.parametrize("new", ["echo", "http", "inetd", "program", "module"])
def test_a_pool_changes_its_handler(old, new, brood, directory):
    (directory / "f").write_text("file")
    kinds = {
        "echo": (pool("echo"), b"hello\n", b"hello\n"),
        "http": (pool("http", extra=f'http {{ root = "{directory}" }}'), b"GET /f HTTP/1.0\r\n\r\n", b"HTTP/1.1 200"),
        "inetd": (pool("inetd", extra='command = {"/bin/echo", "inetd"}'), b"", b"inetd\n"),
        "program": (steps_pool("accept", name="p", workers=2), b"", None),
        "module": (module_pool("options", name="p", workers=2), b"hello\n", b"number=5"),
    }

    def is_served_by(kind, address):
        _, request, answer = kinds[kind]
        with connect(address) as client:
            client.sendall(request)
            client.settimeout(0.5)
            got = b""
            with contextlib.suppress(TimeoutError):
                while piece := client.recv(4096):
                    got += piece
        return got.strip().isdigit() if answer is None else answer in got

    one = brood(kinds[old][0]).start()
    address, inode = one.address(), settled_sockets(one)
    assert wait_for(lambda: is_served_by(old, address), "the old one serves")
    before = one.reload(kinds[new][0])
    wait_for(lambda: [row for row in one.log()[before:] if row["event"].startswith("rolled")], "rolled")
    for _ in range(5):
        assert is_served_by(new, address)
    assert inode <= settled_sockets(one) | inode and addresses(one, "p") == [address]


# ---- the canaries are held ----

def slow_pool(flag, name="slow", extra=""):
    script = (f"import os, sys, time\nwhile not os.path.exists({str(flag)!r}): time.sleep(0.01)\n"
              "os.execv(sys.argv[1], sys.argv[1:])")
    words = (PYTHON, "-c", script, PYTHON, STEPS, "say:READY=1", "accept")
    command = ", ".join(json.dumps(str(word)) for word in words)
    return pool("program", name, workers=1, extra=f"command = {{{command}}}\nready = notify\n{extra}")


def canary_of(one, name, old):
    return wait_for(lambda: [pid for pid in pids(one, name) if pid not in old], f"a canary of {name}")[0]


def test_a_canary_accepts_nothing_until_the_commit(brood, directory):
    """One that would accept at once were it not held: the old worker is busy, so that it alone could."""
    flag = directory / "flag"
    flag.touch()
    config = echo_pool(workers=1, extra="idle_timeout = 60s") + slow_pool(flag)
    one = brood(config).start()
    old = one.workers("echo")
    address = one.address("echo")
    flag.unlink()
    with connect(address) as busy:
        busy.sendall(b"x")
        assert receive(busy, 1) == b"x"
        one.kill(signal.SIGHUP)
        canary = canary_of(one, "echo", old)
        one.wait_workers(2, "echo", idle=False)
        wait_for(lambda: canary in {slot["pid"] for slot in one.slots("echo") if slot["state"] == "idle"}, "it is ready")
        with connect(address) as waiting:
            waiting.sendall(b"held")
            waiting.settimeout(0.5)
            with pytest.raises(TimeoutError):
                waiting.recv(4)
            assert pools(one)["echo"]["canary"] == "ready" and pools(one)["slow"]["canary"] != "ready"
            flag.touch()
            waiting.settimeout(30)
            assert receive(waiting, 4) == b"held"
    one.wait_log("^reloaded")
    wait_new(one, old, 1, "echo")


def test_the_old_generation_serves_and_is_replaced_while_canaries_are_tried(brood, directory):
    flag = directory / "flag"
    flag.touch()
    config = echo_pool(workers=2) + slow_pool(flag)
    one = brood(config, expect=["worker died"]).start()
    old = one.workers("echo")
    flag.unlink()
    one.kill(signal.SIGHUP)
    canary = canary_of(one, "echo", old)
    kill(old[0], signal.SIGKILL)
    wait_for(lambda: len(one.workers("echo")) == 3 and old[0] not in one.workers("echo"), "it is replaced")
    generations = {slot["pid"]: slot["generation"] for slot in one.slots("echo")}
    assert generations.pop(canary) == 2 and set(generations.values()) == {1}
    for _ in range(20):
        assert echo_once(one.address("echo")) == b"hello"
    flag.touch()
    one.wait_log("^reloaded")
    wait_new(one, old, 2, "echo")


# ---- refusals ----

def failing(one, config, expected, names=("echo",)):
    """Reloads CONFIG, which is refused for EXPECTED: nothing has changed, and nothing is left."""
    old = {name: sorted(one.workers(name)) for name in names}
    before_fds, known = sorted(proc_fds(one.pid).values()), set(pools(one))
    good = one.config_path.read_text()
    before = one.reload(config, good=False)
    assert re.search(expected, reason(one, before)), reason(one, before)
    one.config_path.write_text(good)
    wait_for(lambda: set(pools(one)) == known, "added pools are gone")
    wait_for(lambda: sorted(proc_fds(one.pid).values()) == before_fds, "descriptors as before")
    wait_for(lambda: {name: sorted(one.workers(name)) for name in names} == old, "the old workers, and they alone")
    for name in names:
        assert echo_once(one.address(name)) == b"hello"
    return before


QUIET = [REFUSED, '"configuration"', "worker died", "worker did not|not ready|start_timeout|told to end|killed",
         "program said|output"]


def test_address_in_use(brood):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        one = brood(echo_pool(), expect=QUIET).start()
        failing(one, echo_pool(listen=["127.0.0.1:0", address]), re.escape(address) + ".*Address already in use")
        failing(one, echo_pool() + echo_pool("more", address), 'pool "more": ' + re.escape(address))
    one.reload(echo_pool() + echo_pool("more", address))
    assert echo_once(address) == b"hello"


@pytest.mark.parametrize("command, expected", [
    (["error:no database", "exit:3"], r'pool "app": .*exit status 3.*: no database'),
    (["sleep:1000"], r'pool "app": .*'),
], ids=["exits", "never-ready"])
def test_a_program_that_fails(command, expected, brood):
    one = brood(echo_pool(), expect=QUIET).start()
    extra = "ready = notify start_timeout = 300ms" if command == ["sleep:1000"] else "ready_after = 10s"
    failing(one, echo_pool() + steps_pool(*command, extra=extra), expected)


def test_a_program_of_a_kept_pool_that_fails(brood):
    """The old program serves on; nothing that it has is touched."""
    one = brood(echo_pool() + steps_pool("accept"), expect=QUIET).start()
    old = pids(one, "app")
    failing(one, echo_pool() + steps_pool("error:broken", "exit:7", extra="ready_after = 10s"),
            r'pool "app": .*exit status 7.*: broken')
    with connect(one.address("app")) as client:
        assert int(receive_all(client)) in old


def test_a_module_that_does_not_start(brood):
    one = brood(echo_pool(), expect=QUIET + ["handler did not start|does not start"]).start()
    failing(one, echo_pool() + module_pool("options", {"fail_start": "true"}, name="m"), r'pool "m": .*')


def test_a_user_that_cannot_be(brood):
    """An ordinary user's daemon cannot run workers as another one."""
    one = brood(echo_pool(), expect=QUIET + ["cannot change"], user=NOBODY).start()
    failing(one, echo_pool() + echo_pool("more", extra='user = "daemon"'), 'pool "more": .*')


test_a_user_that_cannot_be = root_only(test_a_user_that_cannot_be)


@root_only
def test_a_worker_that_cannot_be_made(brood):
    """The verdict has the kernel's reason: the nursery is all of the processes that its user may have."""
    one = brood(echo_pool(), expect=QUIET + ["cannot start a worker"]).start()
    failing(one, echo_pool() + pool("inetd", extra="""command = {"cat"}
user = "61244"
group = "61244"
limits { nproc = 1 }"""), r'pool "p": .*not born.*: Resource temporarily unavailable$')


def test_bound_addresses_are_free_again_at_once(brood):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = "127.0.0.1:%d" % probe.getsockname()[1]
    one = brood(echo_pool(), expect=QUIET).start()
    bad = steps_pool("exit:1", extra="ready_after = 10s")
    failing(one, echo_pool() + echo_pool("more", address) + bad, "exit status 1")
    with socket.socket() as again:
        again.bind(("127.0.0.1", int(address.rpartition(":")[2])))
        again.listen()


def test_unix_path_of_a_refused_reload_is_gone(brood, directory):
    one = brood(echo_pool(), expect=QUIET).start()
    path = directory / "new.sock"
    bad = steps_pool("exit:1", extra="ready_after = 10s")
    failing(one, echo_pool(listen=["127.0.0.1:0", f"unix:{path}"]) + bad, "exit status 1")
    assert not path.exists()


def test_refused_while_an_earlier_one_rolls(brood):
    """The earlier one goes on, to its end."""
    config = echo_pool(workers=3, extra="stop_timeout = 2s idle_timeout = 60s")
    one = brood(DEBUG + config, expect=QUIET).start()
    old = one.workers()
    with contextlib.ExitStack() as stack:
        for _ in old:  # each worker busy, so that the roll lasts
            client = stack.enter_context(connect(one.address()))
            client.sendall(b"x")
            assert receive(client, 1) == b"x"
        one.reload()
        one.reload(DEBUG + config + steps_pool("exit:1", extra="ready_after = 10s"), good=False)
        one.write_config(DEBUG + config)
        wait_new(one, old, 3)
    wait_idle(one)
    assert {slot["generation"] for slot in one.slots("echo")} == {2}
    rolled = len(one.log("^rolled"))
    one.reload()
    one.wait_log("^rolled", rolled + 1)


# ---- listeners ----

def free_address():
    """Of an address that no client of a test has, which the kernel would choose a port for."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.3", 0))
        return "127.0.0.3:%d" % probe.getsockname()[1]


def is_lossless(lost):
    return lost["ok"] > 0 and lost["refused"] + lost["lost"] + lost["stuck"] + lost["other"] == 0


def test_listeners_come_and_go(brood, directory):
    path, other = f"unix:{directory}/a.sock", free_address()
    one = brood(echo_pool()).start()
    first = one.address()
    one.reload(echo_pool(listen=["127.0.0.1:0", other, path]))
    assert addresses(one, "echo") == [first, other, path]
    assert [echo_once(address) for address in (first, other, path)] == [b"hello"] * 3
    one.reload(echo_pool(listen=[other]))
    assert addresses(one, "echo") == [other] and echo_once(other) == b"hello"
    assert refuses(first) and refuses(path) and not (directory / "a.sock").exists()


@pytest.mark.parametrize("kind", ["TCP", "unix"])
def test_what_is_queued_on_a_removed_listener_is_served(kind, brood, directory):
    """The only worker is busy when the reload begins: ten clients wait in the queue of what is removed."""
    gone = free_address() if kind == "TCP" else f"unix:{directory}/gone.sock"
    extra = "idle_timeout = 60s"
    one = brood(DEBUG + echo_pool(workers=1, listen=["127.0.0.1:0", gone], extra=extra)).start()
    with contextlib.ExitStack() as stack:
        busy = stack.enter_context(connect(one.address()))
        busy.sendall(b"x")
        assert receive(busy, 1) == b"x"
        queued = [stack.enter_context(connect(gone)) for _ in range(10)]
        one.write_config(DEBUG + echo_pool(workers=1, extra=extra))
        one.kill(signal.SIGHUP)
        wait_stage(one, "draining")
        wait_for(lambda: refuses(gone), "it refuses")
        busy.close()
        for client in queued:
            client.sendall(b"served")
            assert receive(client, 6) == b"served"
            client.close()
        one.wait_log("^reloaded$")
    assert not (directory / "gone.sock").exists()


def test_entries_with_port_0_in_two_pools_stay_where_they_are(brood):
    config = echo_pool("a", ["127.0.0.1:0", "127.0.0.1:0"]) + echo_pool("b")
    one = brood(config).start()
    before = {name: addresses(one, name) for name in "ab"}
    assert len(set(before["a"] + before["b"])) == 3
    one.reload()
    assert {name: addresses(one, name) for name in "ab"} == before
    one.reload(echo_pool("b") + echo_pool("a", ["127.0.0.1:0", "127.0.0.1:0"]))
    assert {name: addresses(one, name) for name in "ab"} == before
    one.reload(echo_pool("b"))
    assert addresses(one, "b") == before["b"]
    assert all(refuses(address) for address in before["a"])


@pytest.mark.parametrize("handler", ["echo", "inetd"])
def test_one_listener_and_several_while_they_roll(handler, brood, directory):
    """O_NONBLOCK belongs to the shared socket: workers with one listener and such with several have it at a time."""
    def config(listen):
        return pool(handler, "p", listen, 4, "max_workers = 64 command = /bin/cat" if handler == "inetd" else "")
    one = brood(config("127.0.0.1:0")).start()
    address, other = one.address(), f"unix:{directory}/other.sock"
    with Storm(address, "-t", 4) as storm:
        storm.wait_started()
        for i in range(20):
            old = one.workers()
            one.reload(config("127.0.0.1:0") if i % 2 else config(["127.0.0.1:0", other]))
            if i % 2 == 0:
                assert echo_once(other) == b"hello"
            wait_for(lambda old=old: not {s["pid"] for s in one.slots("p") if s["state"] == "idle"} & set(old), "rolled")
        lost = storm.stop()
    assert is_lossless(lost), lost


def test_an_idle_worker_of_several_listeners_leaves_when_it_is_told(brood, directory):
    """While clients of the other listener wake it in vain, it must not be caught in accept(2)."""
    several = ["127.0.0.1:0", f"unix:{directory}/other.sock"]
    config = echo_pool(workers=8, listen=several, extra="stop_timeout = 60s")
    one = brood(config).start()
    single = echo_pool(workers=8, extra="stop_timeout = 60s")
    with Storm(one.address(), "-t", 8) as storm:
        storm.wait_started()
        for _ in range(5):
            one.reload(single)
            one.reload(config)
        lost = storm.stop()
    old = one.workers()
    one.reload(single)
    wait_for(lambda: not set(old) & set(one.workers()), "old workers leave at once", 20)
    assert is_lossless(lost), lost


def test_file_of_a_unix_socket_goes_only_with_its_listener(brood, directory):
    path = directory / "a.sock"
    one = brood(echo_pool("a", f"unix:{path}")).start()
    inode = path.stat().st_ino
    one.reload(echo_pool("b", f"unix:{path}", extra="socket_mode = 0600"))
    wait_for(lambda: path.stat().st_mode & 0o777 == 0o600, "its mode")
    assert path.stat().st_ino == inode and echo_once(f"unix:{path}") == b"hello"
    one.reload(echo_pool("b"))
    assert not path.exists()


@pytest.mark.parametrize("instead", ["nothing", "a file"])
def test_unix_listener_whose_file_was_removed_is_opened_anew(brood, directory, instead):
    """Nobody could find it; who has found it before is served."""
    path = directory / "a.sock"
    one = brood(echo_pool("a", f"unix:{path}") + echo_pool("b"), expect=["file of a listener", "reload"]).start()
    with connect(f"unix:{path}") as client:
        client.sendall(b"one")
        assert client.recv(10) == b"one"
        path.unlink()
        if instead == "a file":
            path.write_text("not a socket")
            failing(one, None, "a.sock", names=("b",))
            assert path.read_text() == "not a socket"
            path.unlink()
        one.reload()
        assert one.log("the file of a listener was removed", pool="a")
        wait_for(lambda: echo_once(f"unix:{path}") == b"hello", "somebody at the new file")
        client.sendall(b"two")
        assert client.recv(10) == b"two"
    one.stop()
    assert not path.exists()


# ---- requests ----

def test_requests_during_a_reload_are_merged(brood, directory):
    flag = directory / "flag"
    flag.touch()
    one = brood(slow_pool(flag) + echo_pool()).start()
    flag.unlink()
    one.kill(signal.SIGHUP)
    canary_of(one, "echo", one.workers("echo"))
    for _ in range(20):
        one.kill(signal.SIGHUP)
        time.sleep(0.01)
    flag.touch()
    one.wait_log("^reloaded$", 2)
    one.wait_log("^rolled", 1)
    time.sleep(0.5)
    assert len(one.log("^reloaded$")) == 2


def test_a_storm_of_signals(brood):
    one = brood(echo_pool(workers=4) + echo_pool("b", workers=2)).start()
    with Storm(one.address("echo"), "-t", 4) as storm:
        storm.wait_started()
        for i in range(200):
            one.kill(signal.SIGHUP)
            one.kill((signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1, signal.SIGCHLD)[i % 4])
            time.sleep(0.005)
        lost = storm.stop()
    assert is_lossless(lost), lost
    wait_for(lambda: len(one.log("^reloading$")) == len(one.log("^reloaded$")), "all have ended")
    old = one.workers()
    one.reload()
    wait_new(one, old, 6)


def test_a_reload_while_it_starts(brood, directory):
    flag = directory / "flag"
    one = brood(slow_pool(flag)).spawn()
    one.wait_log("^brood .* starting")
    one.write_config(slow_pool(flag) + echo_pool())
    wait_for(lambda: pids(one, "slow"), "a worker")
    one.kill(signal.SIGHUP)
    one.kill(signal.SIGHUP)
    time.sleep(0.2)
    assert not one.log("^reloading")
    flag.touch()
    one.wait_log("^reloaded$")
    assert echo_once(addresses(one, "echo")[0]) == b"hello"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT], ids=["TERM", "QUIT"])
@pytest.mark.parametrize("stage", ["checking", "trying", "draining", "rolling", "undoing"])
def test_a_stop_at_each_stage(stage, number, brood, directory):
    flag = directory / "flag"
    flag.touch()
    gone = free_address()
    base = DEBUG + "stop_timeout = 2s\n"
    config = echo_pool("e", ["127.0.0.1:0", gone], workers=2, extra="idle_timeout = 60s")
    one = brood(base + config + slow_pool(flag), expect=[REFUSED, "ending all workers", "worker died", "left"]).start()
    new = echo_pool("e", workers=2, extra="idle_timeout = 60s")
    with contextlib.ExitStack() as stack:
        if stage in ("draining", "rolling"):
            for _ in range(2):
                client = stack.enter_context(connect(one.address("e")))
                client.sendall(b"x")
                assert receive(client, 1) == b"x"
        if stage == "draining":
            queued = stack.enter_context(connect(gone))
            two = stack.enter_context(connect(gone))
            queued.sendall(b"q")
        if stage == "trying":
            flag.unlink()
        after = ""
        if stage == "undoing":
            after = steps_pool("on:TERM:ignore", "sleep:1000", extra="ready = notify start_timeout = 200ms")
        one.write_config(base + new + slow_pool(flag) + after)
        one.kill(signal.SIGHUP)
        wait_stage(one, stage)
        one.kill(number)
        if stage == "draining":
            client.close()
            if number == signal.SIGTERM:
                assert receive(queued, 1) == b"q"
            queued.close()
            two.close()
        assert one.wait(30) == 0
    assert number == signal.SIGQUIT or stage == "rolling" or one.log(REFUSED)


# ---- deaths during a reload ----

def test_the_checker_is_killed(brood):
    one = brood(echo_pool(), expect=QUIET).start()
    one.write_config(module_pool("constructor_hangs"))
    one.kill(signal.SIGHUP)
    checker = wait_for(lambda: [pid for pid in one.children() if proc_title(pid) == "brood: checker"], "a checker")[0]
    kill(checker, signal.SIGKILL)
    row = one.wait_log("^reload refused")[0]
    assert "signal 9" in row["line"] or "SIGKILL" in row["line"], row["line"]
    one.reload(echo_pool(workers=3))
    one.wait_workers(3)


def test_the_canary_is_killed(brood, directory):
    flag = directory / "flag"
    flag.touch()
    one = brood(slow_pool(flag) + echo_pool(), expect=QUIET).start()
    old, slow = sorted(one.workers("echo")), pids(one, "slow")
    flag.unlink()
    before = len(one.log())
    one.kill(signal.SIGHUP)
    kill(canary_of(one, "slow", slow), signal.SIGKILL)
    one.wait_log("^reload refused")
    assert re.search(r'pool "slow": .*signal 9 \(SIGKILL\)', reason(one, before))
    assert sorted(wait_for(lambda: one.workers("echo") if len(one.workers("echo")) == 2 else None, "two")) == old
    flag.touch()
    one.reload()


def test_workers_are_killed_while_they_roll(brood):
    one = brood(echo_pool(workers=4), expect=["worker died"]).start()
    for _ in range(5):
        old = one.workers()
        one.reload()
        for pid in one.workers()[:2]:
            kill(pid, signal.SIGKILL)
        wait_new(one, old, 4)
    assert echo_once(one.address()) == b"hello"


# ---- pools ----

def test_pools_come_and_go(brood):
    gone = free_address()
    one = brood(echo_pool("a", gone) + echo_pool("b")).start()
    first = {name: one.address(name) for name in "ab"}
    one.reload(echo_pool("b") + echo_pool("c", workers=3) + steps_pool("accept", name="d"))
    assert set(pools(one)) >= {"b", "c", "d"}
    assert refuses(first["a"]) and echo_once(first["b"]) == b"hello"
    assert echo_once(addresses(one, "c")[0]) == b"hello"
    wait_for(lambda: set(pools(one)) == {"b", "c", "d"}, "a is gone")
    wait_for(lambda: pools(one)["c"]["ready"] == 3, "its size")
    one.reload(echo_pool("a"))
    wait_for(lambda: set(pools(one)) == {"a"}, "the others are gone")
    assert echo_once(addresses(one, "a")[0]) == b"hello"


def test_a_removed_pools_connections_are_finished(brood):
    one = brood(echo_pool("a", extra="idle_timeout = 60s") + echo_pool("b")).start()
    address = one.address("a")
    with connect(address) as client:
        client.sendall(b"one")
        assert receive(client, 3) == b"one"
        one.reload(echo_pool("b"))
        assert refuses(address)
        client.sendall(b"two")
        assert receive(client, 3) == b"two"
    wait_for(lambda: set(pools(one)) == {"b"}, "a is gone")


def test_running_inetd_programs_of_a_removed_pool_go_on(brood):
    inetd = pool("inetd", "a", extra='command = "/bin/cat" max_workers = 8 stop_timeout = 1s')
    one = brood(inetd + echo_pool("b")).start()
    with connect(one.address("a")) as client:
        client.sendall(b"one")
        assert receive(client, 3) == b"one"
        one.reload(echo_pool("b"))
        time.sleep(1.5)
        client.sendall(b"two")
        assert receive(client, 3) == b"two"
    wait_for(lambda: set(pools(one)) == {"b"}, "a is gone")


def test_ttin_while_an_added_pool_is_tried(brood, directory):
    flag = directory / "flag"
    one = brood(echo_pool()).start()
    one.write_config(echo_pool() + slow_pool(flag))
    one.kill(signal.SIGHUP)
    wait_for(lambda: pids(one, "slow"), "its canary")
    one.kill(signal.SIGTTIN)
    one.wait_log("^pool resized")
    flag.touch()
    one.wait_log("^reloaded$")
    one.wait_workers(3, "echo")
    wait_for(lambda: pools(one)["slow"]["ready"] == 1, "one worker")
    assert len(pids(one, "slow")) == 1


# ---- a program cannot be held ----

def test_a_program_that_is_undone_serves_who_has_come(brood, directory):
    """Its new listener listens from its start on; another pool's first worker fails; who waits in its queue is served
    before the program is told to leave, and the verdict says that the listener was open."""
    flag, gate, new = directory / "flag", directory / "gate", free_address()
    script = (f"import os, socket, time\nlistener = socket.socket(fileno=3)\n"
              f"while not os.path.exists({str(gate)!r}): time.sleep(0.01)\n"
              "while True:\n\tclient, _ = listener.accept()\n\tclient.sendall(b'served')\n\tclient.close()")
    words = ", ".join(json.dumps(word) for word in (PYTHON, "-c", script))
    program = pool("program", "app", new, 1, f"command = {{{words}}}\nready_after = 10ms")
    one = brood(DEBUG + echo_pool(), expect=QUIET).start()
    old = sorted(one.workers("echo"))
    failing_pool = (f'command = {{"/bin/sh", "-c", "while [ ! -e {flag} ]; do sleep 0.01; done; '
                    'echo no luck >&2; exit 4"}\nready = notify')
    one.write_config(DEBUG + echo_pool() + program + pool("program", "bad", workers=1, extra=failing_pool))
    before = len(one.log())
    one.kill(signal.SIGHUP)
    wait_for(lambda: pools(one).get("app", {}).get("canary") == "ready", "the program is ready")
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(new)) for _ in range(3)]
        flag.touch()
        wait_for(lambda: refuses(new), "it refuses")
        assert not one.log("^" + REFUSED)
        gate.touch()
        for client in clients:
            assert receive_all(client) == b"served"
    one.wait_log("^" + REFUSED)
    assert re.search(r'pool "bad": .*exit status 4.*no luck; open to clients meanwhile.* closed after the last of them: .*'
                     + re.escape(new), reason(one, before)), reason(one, before)
    wait_for(lambda: set(pools(one)) == {"echo"}, "added pools are gone")
    assert refuses(new) and sorted(one.workers("echo")) == old
    one.write_config(DEBUG + echo_pool())


# ---- who hears of it ----

def ctl(one, *args):
    return subprocess.run([BUILD / "src/broodctl", "-s", one.control, *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          stdin=subprocess.DEVNULL, text=True, timeout=DEADLINE_S, check=False)


needs_broodctl = pytest.mark.skipif(not (BUILD / "src/broodctl").exists(), reason="broodctl was not built (jansson)")


@needs_broodctl
def test_broodctl_reload_has_the_verdict(brood):
    one = brood(echo_pool(workers=1), expect=QUIET).start()
    one.write_config(echo_pool(workers=3))
    done = ctl(one, "reload")
    assert done.returncode == 0 and "workers: 1 -> 3" in done.stdout and "generation 2 is in force" in done.stdout, done
    one.wait_workers(3)
    one.write_config(echo_pool(workers="many"))
    done = ctl(one, "reload")
    assert done.returncode == 1 and re.search(r"brood\.conf:\d+: pool \"echo\": workers = many", done.stdout), done
    one.write_config(echo_pool(workers=3))


@needs_broodctl
def test_broodctl_restart_rolls_one_pool(brood):
    """With the size that it has, and whatever the file says meanwhile."""
    one = brood(echo_pool("a") + echo_pool("b"), expect=QUIET + ["no such pool"]).start()
    one.kill(signal.SIGTTIN)
    wait_for(lambda: len(one.workers("a")) == 3 and len(one.workers("b")) == 3, "one more")
    a, b = one.workers("a"), sorted(one.workers("b"))
    text = one.config_path.read_text()
    one.config_path.write_text("nonsense")
    done = ctl(one, "restart", "a")
    assert done.returncode == 0, done
    one.config_path.write_text(text)
    wait_new(one, a, 3, "a")
    assert sorted(one.workers("b")) == b and not one.log("^reloaded$")
    assert ctl(one, "restart", "nobody").returncode == 1
    one.reload()
    wait_for(lambda: not set(b) & set(one.workers("b")), "a reload rolls both")


def test_the_service_manager_hears_of_each_reload(brood):
    """RELOADING=1 and READY=1, whatever the verdict; the status says the reason until the next one."""
    one = brood(echo_pool(), expect=QUIET).start()

    def heard(count):
        lines = [line for line in one.notify.lines() if line in ("READY=1", "RELOADING=1")]
        return lines == ["READY=1"] + ["RELOADING=1", "READY=1"] * count
    one.reload()
    wait_for(lambda: heard(1), "both")
    one.reload(echo_pool(workers="many"), good=False)
    wait_for(lambda: heard(2), "both")
    wait_for(lambda: "workers = many" in [line for line in one.notify.lines() if line.startswith("STATUS=")][-1], "the status")
    one.reload(echo_pool())
    wait_for(lambda: heard(3), "both")
    wait_for(lambda: "workers = many" not in [line for line in one.notify.lines() if line.startswith("STATUS=")][-1], "no more")
    assert len([line for line in one.notify.lines() if line.startswith("MONOTONIC_USEC=")]) == 3


def test_the_status_tells_of_what_is_tried(brood, directory):
    flag = directory / "flag"
    one = brood(echo_pool()).start()
    one.write_config(echo_pool() + slow_pool(flag))
    one.kill(signal.SIGHUP)
    wait_for(lambda: pools(one).get("slow", {}).get("state") == "trying", "the state")
    assert pools(one)["echo"]["canary"] in ("asked", "ready")
    flag.touch()
    one.wait_log("^reloaded$")
    wait_for(lambda: pools(one)["slow"]["state"] == "serving" and pools(one)["slow"]["canary"] == "none", "the state")


def test_a_file_with_very_many_errors(brood):
    """More than is kept of what a check says; the verdict is the first line."""
    one = brood(echo_pool(), expect=QUIET).start()
    before = one.reload("\n".join(f"no_such_key_{i} = {i}" for i in range(5000)) + "\n" + echo_pool(), good=False)
    assert "unknown key no_such_key_0" in reason(one, before)
    one.reload(echo_pool())


# ---- many ----

def memory_kib(pid):
    return int(proc_status(pid)["RssAnon"].split()[0])


def test_a_hundred_reloads_leave_nothing(brood, directory):
    """Neither memory nor descriptors; with a connection of the first generation that lasts through all of them."""
    (directory / "f").write_text("file")
    inetd = pool("inetd", "i", extra='command = "/bin/cat" max_workers = 8')
    configs = [echo_pool(workers=2) + inetd + pool("http", "h", extra=f'http {{ root = "{directory}" }}'),
               echo_pool(workers=3) + inetd + steps_pool("accept", name="x", extra="ready_after = 1ms")]
    one = brood(configs[0]).start()
    with connect(one.address("i")) as client:
        client.sendall(b"one")
        assert receive(client, 3) == b"one"
        for i in range(20):
            one.reload(configs[(i + 1) % 2])
        wait_for(lambda: set(pools(one)) == {"echo", "i", "h"}, "pools")
        fds, memory = len(settled_sockets(one)), memory_kib(one.pid)
        for i in range(100):
            one.reload(configs[(i + 1) % 2])
        wait_for(lambda: set(pools(one)) == {"echo", "i", "h"}, "pools")
        wait_for(lambda: len(sockets(one)) == fds, "descriptors")
        if not SANITIZED:  # a sanitizer keeps what is freed
            assert memory_kib(one.pid) - memory < 700, (memory, memory_kib(one.pid))
        client.sendall(b"two")
        assert receive(client, 3) == b"two"
