# SPDX-License-Identifier: MIT
"""brood as the first process of a pid name space, as in a container: no signal has a default action there, every orphan
comes to it, and when it ends all others do."""
import re
import signal
import socket
import subprocess

import pytest
from brood import BUILD, Brood, IS_ROOT, connect, echo_once, echo_pool, kill, proc_alive, proc_children, proc_stat, \
    receive, receive_all, wait_for

UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child=KILL"]


def may_unshare():
    return subprocess.run([*UNSHARE, "true"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, check=False).returncode == 0


pytestmark = pytest.mark.skipif(not IS_ROOT or not may_unshare(), reason="needs a pid name space of its own")


class FirstProcess(Brood):
    """The process that is started is unshare(1), which waits for the master, and ends as it ends."""

    def command(self):
        return [*UNSHARE, *super().command()]

    def spawn(self):
        super().spawn()
        outer = self.pid
        self.pid = wait_for(lambda: (proc_children(outer) or [None])[0] or not self.is_running(), "the master")
        return self


@pytest.fixture
def first(directory):
    made = []

    def make(config, **options):
        home = directory / str(len(made))
        home.mkdir()
        made.append(FirstProcess(home, config, **options))
        return made[-1]

    yield make
    for one in made:
        one.finish()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_graceful_stop(first, number):
    one = first(echo_pool(extra="idle_timeout = 60s")).start()
    client = connect(one.address())
    client.sendall(b"one")
    assert receive(client, 3) == b"one"
    one.kill(number)
    one.wait_log("stopping")
    client.sendall(b"two")
    assert receive(client, 3) == b"two"
    client.close()
    assert one.wait() == 0


def test_quit(first):
    one = first(echo_pool(extra="idle_timeout = 60s"), expect=["ending all workers"]).start()
    with connect(one.address()) as client:
        client.sendall(b"one")
        assert receive(client, 3) == b"one"
        assert one.stop(signal.SIGQUIT) == 0


def test_other_signals_do_what_they_do(first):
    one = first(echo_pool(workers=2)).start()
    one.kill(signal.SIGTTIN)
    one.wait_log("pool resized", workers=3)
    one.kill(signal.SIGHUP)
    one.wait_log("^reloaded")
    for number in (signal.SIGUSR1, signal.SIGPIPE, signal.SIGALRM):
        one.kill(number)
    assert echo_once(one.address()) == b"hello"
    assert one.stop() == 0


def test_a_worker_that_dies_is_replaced(first):
    one = first(echo_pool(workers=1), expect=["died"]).start()
    before = one.workers()[0]
    kill(before, signal.SIGKILL)
    wait_for(lambda: one.workers() and one.workers() != [before], "another worker")
    assert echo_once(one.address()) == b"hello"


def test_orphans_are_reaped_quietly(first):
    """What the program of an inetd pool leaves behind comes to the first process, and is nobody's to talk about."""
    one = first("""
pool "test" {
	listen = {"127.0.0.1:0"}
	handler = "inetd"
	command = {"sh", "-c", "for i in 1 2 3; do (sleep 0.1 & echo) >/dev/null; done; echo $$; exec >&- 2>&- <&-"}
	workers = 1
}
""").start()
    for _ in range(10):
        with connect(one.address()) as client:
            assert re.fullmatch(rb"\d+\n", receive_all(client))
    wait_for(lambda: len(one.children()) == 3, "the logger, the nursery and one worker, and nothing else")
    wait_for(lambda: not zombies(one.pid), "no zombie")
    assert not one.log("foreign")
    assert one.stop() == 0


def zombies(parent):
    found = subprocess.run(["ps", "-o", "stat=", "--ppid", str(parent)], stdout=subprocess.PIPE, text=True, check=False)
    return [line for line in found.stdout.splitlines() if line.startswith("Z")]


def test_the_end_ends_what_is_left(first):
    """A process that a program has left in a session of its own does not outlive the container."""
    one = first("""
pool "test" {
	listen = {"127.0.0.1:0"}
	handler = "inetd"
	command = {"sh", "-c", "setsid sleep 600 <&- >&- 2>&- & echo done"}
	workers = 1
}
""").start()
    with connect(one.address()) as client:
        assert receive_all(client) == b"done\n"
    left = wait_for(lambda: [pid for pid in proc_children(one.pid) if proc_stat(pid)[3] == str(pid)], "the orphan")[0]
    assert one.stop() == 0
    assert not proc_alive(left)


def test_the_exit_status_of_a_start_that_fails(first):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        one = first(echo_pool(listen=f"127.0.0.1:{taken.getsockname()[1]}"), status=69, expect=["cannot listen"])
        one.spawn()
        assert one.wait() == 69
    one = first("colour = red\n", status=78, expect=["colour"], json_log=False)
    one.spawn()
    assert one.wait() == 78
    one = first("""
pool "test" {
	listen = {"127.0.0.1:0"}
	handler = "program"
	command = {"false"}
	backoff_min = 1ms
	backoff_max = 2ms
}
""", status=75, expect=["."])
    one.spawn()
    assert one.wait() == 75


def test_it_cannot_detach(first):
    one = first(echo_pool(), args=["-d"], status=64, expect=["cannot detach"])
    one.spawn()
    assert one.wait() == 64
    assert "cannot detach" in one.log_text()


def test_a_signal_before_it_serves_ends_it(first):
    """The check of a module takes its time, and no signal would do anything by itself."""
    one = first(f"""
pool "test" {{
	listen = {{"127.0.0.1:0"}}
	handler = "module"
	module = "{BUILD / 'tests/modules/constructor_hangs.so'}"
}}
""", status=128 + signal.SIGTERM)
    one.spawn()
    wait_for(one.children, "the process that loads the module")
    one.kill(signal.SIGTERM)
    assert one.wait() == 128 + signal.SIGTERM
