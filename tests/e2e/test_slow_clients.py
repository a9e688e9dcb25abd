# SPDX-License-Identifier: MIT
"""Clients who take their time, on purpose: how long each holds a worker, by what the workers say of themselves.

The attacks are slowhttptest's, and a client that connects and says nothing. Each limit is far below how long the attack
goes on, so that a limit that is not in force is seen."""
import contextlib
import shutil
import subprocess
import threading
import time

import pytest
from brood import connect, echo_pool, receive, receive_all, wait_for

# What a machine under load may add to a limit; the attacks go on for longer than any limit and this.
SLACK_S = 4
ATTACK_S = 25
# What an orderly close may take on top (libbrood(3), brood_close): the peer still sends.
LINGER_S = 2
HELD = ("busy", "waiting")

needs_slowhttptest = pytest.mark.skipif(not shutil.which("slowhttptest"), reason="needs slowhttptest")


class Watch(threading.Thread):
    """Looks at a pool's workers again and again: how long each of their connections was seen."""

    def __init__(self, one, pool):
        super().__init__(daemon=True)
        self.one, self.pool = one, pool
        self.seen = {}
        self.over = threading.Event()

    def run(self):
        while not self.over.is_set():
            now = time.monotonic()
            for slot in self.one.slots(self.pool):
                if slot["state"] in HELD:
                    self.seen.setdefault((slot["pid"], slot["connections"]), [now, now])[1] = now
            self.over.wait(0.05)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *unused):
        self.over.set()
        self.join()

    def longest(self):
        return max((last - first for first, last in self.seen.values()), default=0)


def http_pool(root, extra, workers=2):
    return (f'pool "web" {{\nlisten = "127.0.0.1:0"\nhandler = http\nworkers = {workers}\n{extra}\n'
            f'http {{ root = "{root}" }}\n}}\n')


@pytest.fixture
def root(directory):
    (directory / "small.txt").write_text("small\n")
    with open(directory / "large.bin", "wb") as file:
        file.truncate(64 << 20)
    return directory


@contextlib.contextmanager
def attack(one, path, *options, connections=4):
    """slowhttptest, until the block is over."""
    process = subprocess.Popen(["slowhttptest", "-c", str(connections), "-r", str(connections), "-l", str(ATTACK_S),
                                "-p", "60", "-u", f"http://{one.address('web')}/{path}", *options],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def honest(one, timeout=60):
    """How long a client who asks for a file has to wait for it."""
    begun = time.monotonic()
    with connect(one.address("web"), timeout=timeout) as client:
        client.sendall(b"GET /small.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert receive_all(client).endswith(b"small\n")
    return time.monotonic() - begun


def all_idle(one):
    slots = one.slots("web")
    return slots and all(slot["state"] == "idle" for slot in slots)


def endure(one, watch, process, limit_s, connections=4, workers=2):
    """The attack holds workers, each for no more than the limit, and an honest client is served meanwhile."""
    wait_for(lambda: sum(slot["state"] in HELD for slot in one.slots("web")) == workers, "the attack")
    waited = honest(one)
    wait_for(lambda: len(watch.seen) > connections and all_idle(one) or process.poll() is not None, "the end of it")
    assert waited < limit_s * connections / workers + SLACK_S
    assert 0.5 < watch.longest() < limit_s + SLACK_S < ATTACK_S


# ---- slowhttptest ----

@needs_slowhttptest
def test_slow_headers(brood, root):
    """A byte of a header now and then: the whole head has read_timeout."""
    one = brood(http_pool(root, "idle_timeout = 2s\nread_timeout = 2s")).start()
    with Watch(one, "web") as watch, attack(one, "small.txt", "-H", "-i", "1") as process:
        endure(one, watch, process, 2 + 2 + LINGER_S)


@needs_slowhttptest
def test_slow_headers_are_bounded_by_the_request_too(brood, root):
    one = brood(http_pool(root, "idle_timeout = 2s\nread_timeout = 60s\nrequest_timeout = 3s")).start()
    with Watch(one, "web") as watch, attack(one, "small.txt", "-H", "-i", "1") as process:
        endure(one, watch, process, 2 + 3 + LINGER_S)


@needs_slowhttptest
@pytest.mark.parametrize("extra", ["read_timeout = 2s", "read_timeout = 60s\nrequest_timeout = 2s"])
def test_slow_body(brood, root, extra):
    one = brood(http_pool(root, f"idle_timeout = 2s\n{extra}")).start()
    with Watch(one, "web") as watch, attack(one, "small.txt", "-B", "-i", "1", "-x", "8") as process:
        endure(one, watch, process, 2 + 2 + LINGER_S)


@needs_slowhttptest
def test_slow_read(brood, root):
    """The client takes some bytes each second: there is always progress, and request_timeout alone ends it."""
    one = brood(http_pool(root, "idle_timeout = 2s\nwrite_timeout = 60s\nrequest_timeout = 3s")).start()
    with Watch(one, "web") as watch, attack(one, "large.bin", "-X", "-w", "512", "-y", "1024", "-n", "1", "-z", "512",
                                            "-k", "1") as process:
        endure(one, watch, process, 2 + 3 + LINGER_S)


# ---- a client that says nothing ----

@pytest.mark.parametrize("extra", ["defer_accept = off", ""])
def test_silence(brood, root, extra):
    """It holds a worker for idle_timeout, with defer_accept, which is the default here, after a while in the kernel."""
    one = brood(http_pool(root, f"idle_timeout = 2s\n{extra}")).start()
    with Watch(one, "web") as watch, contextlib.ExitStack() as stack:
        silent = [stack.enter_context(connect(one.address("web"))) for _ in range(4)]
        if extra:
            wait_for(lambda: len(watch.seen) >= 2, "the attack")
        assert honest(one) < 2 * 2 + SLACK_S
        if extra:
            for client in silent:
                assert receive_all(client) == b""
    assert watch.longest() < 2 + LINGER_S + SLACK_S
    assert not extra or watch.longest() > 1


# ---- the four framings, a byte at a time both ways ----

class Drip(threading.Thread):
    """Sends a byte now and then for as long as it can."""

    def __init__(self, client):
        super().__init__(daemon=True)
        self.client = client

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                self.client.sendall(b"\0")
                time.sleep(0.1)


@pytest.mark.parametrize("framing", ["framing = line", "framing = fixed size = 4096", "framing = length"])
def test_a_message_that_drips_in(brood, framing):
    """Each byte comes well within read_timeout."""
    one = brood(echo_pool(workers=1, extra="request_timeout = 2s\nread_timeout = 60s", echo=framing)).start()
    pid, = one.wait_workers(1)
    with Watch(one, "echo") as watch, connect(one.address()) as client:
        if "length" in framing:
            client.sendall((60000).to_bytes(4, "big"))
        drip = Drip(client)
        begun = time.monotonic()
        drip.start()
        with contextlib.suppress(ConnectionResetError):
            assert receive_all(client) == b""
        assert 1.5 < time.monotonic() - begun < 2 + LINGER_S + SLACK_S
        drip.join()
    assert watch.longest() < 2 + LINGER_S + SLACK_S
    assert one.wait_workers(1) == [pid]


SIZE = 16 << 20


@pytest.mark.parametrize("framing,message", [
    ("framing = raw", b"x" * SIZE),
    ("framing = line limit = 16M", b"x" * (SIZE - 1) + b"\n"),
    (f"framing = fixed size = {SIZE} limit = 16M", b"x" * SIZE),
    ("framing = length limit = 16M", (SIZE - 4).to_bytes(4, "big") + b"x" * (SIZE - 4))], ids=lambda v: str(v)[:16])
def test_an_answer_that_drips_out(brood, framing, message):
    """A byte is taken now and then, each well within write_timeout."""
    one = brood(echo_pool(workers=1, echo=framing,
                          extra="request_timeout = 2s\nwrite_timeout = 60s\nread_timeout = 60s")).start()
    pid, = one.wait_workers(1)
    with Watch(one, "echo") as watch, connect(one.address()) as client:
        sender = threading.Thread(target=send, args=(client, message), daemon=True)
        sender.start()
        begun = time.monotonic()
        with contextlib.suppress(ConnectionResetError):
            while not watch.seen or not all(slot["state"] == "idle" for slot in one.slots("echo")):
                receive(client, 1)
                time.sleep(0.05)
        assert time.monotonic() - begun < 2 + 2 + LINGER_S + SLACK_S + 2
        client.close()
        sender.join()
    assert 1 < watch.longest() < 2 + LINGER_S + SLACK_S + 2
    assert one.wait_workers(1) == [pid]


def send(client, message):
    with contextlib.suppress(OSError):
        client.sendall(message)
