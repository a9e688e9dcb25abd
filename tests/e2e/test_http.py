# SPDX-License-Identifier: MIT
"""The handler http as clients meet it: curl, nc, raw sockets, and a client that pipelines as browsers once did."""
import contextlib
import os
import re
import signal
import socket
import subprocess
import threading
import time

import pytest

from brood import DEADLINE_S, NOBODY, connect, receive_all, wait_for
from conftest import root_only

TEXT = b"hello, world\n"
CLOSED = b""


@pytest.fixture
def www(directory):
    """The directory that is served. What is beside it must never be."""
    (directory / "secret.txt").write_bytes(b"secret")
    root = directory / "www"
    root.mkdir()
    root.chmod(0o755)
    (root / "a.txt").write_bytes(TEXT)
    (root / "index.html").write_bytes(b"<h1>index</h1>")
    (root / "big.bin").write_bytes(bytes(range(256)) * 4096)
    (root / "sub").mkdir()
    (root / "sub" / "b.css").write_bytes(b"b {}")
    return root


@pytest.fixture
def serve(brood, www):
    """Starts a pool over www; returns the Brood, with `.at` as its address."""
    def start(extra="", http="", workers=4, **options):
        server = brood(f"""
pool "web" {{
	listen = {{"127.0.0.1:0"}}
	handler = "http"
	workers = {workers}
	{extra}
	http {{
		root = "{www}"
		{http}
	}}
}}
""", **options).start()
        server.at = server.address()
        return server
    return start


# ---- clients ----

def ask(address, request, half_close=False):
    """Says REQUEST (bytes) and returns all that is answered, to the end of the connection."""
    with connect(address) as client:
        client.sendall(request)
        if half_close:
            client.shutdown(socket.SHUT_WR)
        return receive_all(client)


class Answer:
    def __init__(self, status, fields, body):
        self.status = status
        self.fields = fields
        self.body = body

    def __repr__(self):
        return f"{self.status} {self.fields} {self.body[:60]!r}"


class Client:
    """A connection that reads answers one by one, strictly by their Content-Length."""

    def __init__(self, address):
        self.socket = connect(address)
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.socket.close()

    def send(self, method, target, *fields, body=b""):
        lines = [f"{method} {target} HTTP/1.1", "Host: localhost", *fields, "", ""]
        self.socket.sendall("\r\n".join(lines).encode("latin-1") + body)

    def _more(self):
        piece = self.socket.recv(65536)
        if not piece:
            raise EOFError(self.buffer)
        self.buffer += piece

    def answer(self, method="GET"):
        while b"\r\n\r\n" not in self.buffer:
            self._more()
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        line, *rest = head.decode("latin-1").split("\r\n")
        status = int(re.fullmatch(r"HTTP/1\.1 (\d{3}) [A-Za-z ]+", line)[1])
        fields = {}
        for field in rest:
            name, value = re.fullmatch(r"([A-Za-z-]+): (.*)", field).groups()
            assert name.lower() not in fields, field
            fields[name.lower()] = value
        size = 0 if method == "HEAD" or status in (100, 304) else int(fields["content-length"])
        while len(self.buffer) < size:
            self._more()
        body, self.buffer = self.buffer[:size], self.buffer[size:]
        return Answer(status, fields, body)

    def ask(self, method, target, *fields, body=b""):
        self.send(method, target, *fields, body=body)
        return self.answer(method)

    def at_end(self):
        """Whether the server has closed, and in order."""
        return not self.buffer and self.socket.recv(1) == b""


def get(address, target, *fields, method="GET"):
    with Client(address) as client:
        return client.ask(method, target, *fields)


def curl(*args):
    done = subprocess.run(["curl", "-sS", "--noproxy", "*", "-m", str(DEADLINE_S), *map(str, args)],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---- curl ----

def test_curl_gets_files_and_their_fields(serve):
    server = serve()
    url = f"http://{server.at}"
    assert curl(f"{url}/a.txt") == TEXT
    assert curl(f"{url}/") == b"<h1>index</h1>"
    assert curl(f"{url}/big.bin") == bytes(range(256)) * 4096
    head = curl("-I", f"{url}/sub/b.css").decode()
    assert head.startswith("HTTP/1.1 200 OK\r\n")
    assert "\r\nContent-Type: text/css; charset=utf-8\r\n" in head
    assert "\r\nContent-Length: 4\r\n" in head
    assert curl("-L", "-w", " %{http_code} %{num_redirects}", f"{url}/sub") == get(
        server.at, "/sub/").body + b" 403 1"


def test_curl_asks_for_parts_and_changes(serve, directory):
    url = f"http://{serve().at}"
    assert curl("-r", "7-11", f"{url}/a.txt") == b"world"
    assert curl("-r", "-6", f"{url}/a.txt") == b"world\n"
    # It goes on with a file of which it has the beginning.
    begun = directory / "begun"
    begun.write_bytes((bytes(range(256)) * 4096)[:100000])
    curl("-C", "-", "-o", begun, f"{url}/big.bin")
    assert begun.read_bytes() == bytes(range(256)) * 4096
    tags = directory / "tags"
    code = ("-o", "/dev/null", "-w", "%{http_code}")
    assert curl(*code, "--etag-save", tags, f"{url}/a.txt") == b"200"
    assert curl(*code, "--etag-compare", tags, f"{url}/a.txt") == b"304"
    assert curl(*code, "-z", tags, f"{url}/a.txt") == b"304"
    assert curl(*code, "-z", "1 Jan 2001", f"{url}/a.txt") == b"200"


def test_curl_keeps_its_connection(serve):
    url = f"http://{serve().at}"
    assert curl("-w", "%{num_connects}\n", f"{url}/a.txt", f"{url}/a.txt", f"{url}/missing.txt", "-o", "/dev/null",
                "-o", "/dev/null", "-o", "/dev/null") == b"1\n0\n0\n"
    assert curl("-0", "-w", "%{num_connects}\n", f"{url}/a.txt", f"{url}/a.txt", "-o", "/dev/null", "-o",
                "/dev/null") == b"1\n1\n"


def test_curl_uploads_nothing(serve, directory):
    url = f"http://{serve().at}/a.txt"
    code = ("-o", "/dev/null", "-w", "%{http_code}")
    upload = directory / "upload"
    upload.write_bytes(b"x" * 3_000_000)
    assert curl(*code, "-d", "a=b", url) == b"405"
    assert curl(*code, "-T", upload, url) == b"405"
    assert curl(*code, "-T", upload, "-H", "Expect:", url) == b"405"
    assert curl(*code, "-T", upload, "-H", "Transfer-Encoding: chunked", "-X", "GET", url) == b"413"
    assert curl(*code, "-X", "GET", "-d", "a=b", "-H", "Expect: 100-continue", url) == b"200"


def test_nc_speaks_http_1_0(serve):
    host, port = serve().at.split(":")
    done = subprocess.run(["nc", "-w", str(DEADLINE_S), host, port], input=b"GET /a.txt HTTP/1.0\r\n\r\n",
                          stdout=subprocess.PIPE, check=True)
    assert done.stdout.startswith(b"HTTP/1.1 200 OK\r\n")
    assert done.stdout.endswith(b"\r\nConnection: close\r\n\r\n" + TEXT)


# ---- many requests, many connections ----

MIX = [("GET", "/a.txt", (), 200), ("GET", "/missing", (), 404), ("HEAD", "/big.bin", (), 200),
       ("GET", "/big.bin", ("Range: bytes=1000-70000",), 206), ("GET", "/a.txt", ("If-None-Match: *",), 304),
       ("GET", "/sub", (), 301), ("OPTIONS", "*", (), 200), ("POST", "/a.txt", (), 405), ("GET", "/", (), 200)]


def pipeline(address, rounds, problems):
    """All requests are under way before the first answer is read, as far as the buffers reach."""
    try:
        with Client(address) as client:
            sender = threading.Thread(target=lambda: [client.send(method, target, *fields)
                                                      for _ in range(rounds) for method, target, fields, _ in MIX])
            sender.start()
            for _ in range(rounds):
                for method, target, _, status in MIX:
                    answer = client.answer(method)
                    assert answer.status == status, (method, target, answer)
                    if status == 206:
                        assert answer.body == (bytes(range(256)) * 4096)[1000:70001]
            sender.join()
    except Exception as problem:  # for the test's own thread
        problems.append(problem)


def test_a_client_that_pipelines_on_several_connections(serve):
    server = serve()
    problems = []
    threads = [threading.Thread(target=pipeline, args=(server.at, 20, problems)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems


def test_a_request_in_single_bytes(serve):
    with Client(serve().at) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"\r\nGET /a.txt HTTP/1.1\r\nHost: a\r\n\r\n":
            client.socket.sendall(bytes([byte]))
        assert client.answer().body == TEXT
        assert client.ask("GET", "/a.txt").body == TEXT


# ---- what is refused ----

GET_A = b"GET /a.txt HTTP/1.1\r\nHost: a\r\n\r\n"

SHAPES = {
    "both lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    "two lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nContent-Length: 5\r\n\r\n012345",
    "list of lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n01234",
    "signed length": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n01234",
    "obscured chunked": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked in 1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunk size in another base": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\n01234\r\n0\r\n\r\n",
    "chunk of another size": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n01234\r\n0\r\n\r\n",
    "chunk with bare LF": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\n01234\r\n0\r\n\r\n",
    "bare LF": b"GET / HTTP/1.1\nHost: a\n\n",
    "bare LF in a field": b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
    "bare CR": b"GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n",
    "space before the colon": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\n01234",
    "two Hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "folded line": b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n",
    "NUL": b"GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.mark.parametrize("shape", SHAPES)
def test_what_two_programs_could_read_differently_is_400_and_close(serve, shape):
    # The client does not half-close: the answer comes though more could follow, and is not lost in a reset.
    heard = ask(serve(workers=1).at, SHAPES[shape] + GET_A)
    assert heard.startswith(b"HTTP/1.1 400 Bad Request\r\n"), heard
    assert b"\r\nConnection: close\r\n" in heard
    assert heard.count(b"HTTP/1.1") == 1 and TEXT not in heard


def test_limits_and_their_statuses(serve):
    at = serve(http="head_limit = 2K\n target_limit = 500\n body_limit = 1K\n field_limit = 20").at
    for status, request in (
            (414, b"GET /" + b"a" * 500 + b" HTTP/1.1\r\nHost: a\r\n\r\n"),
            (414, b"GET /" + b"a" * 100000),
            (431, b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 100000),
            (431, b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 20 + b"\r\n"),
            (413, b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1025\r\n\r\n" + b"a" * 1025),
            (417, b"GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n"),
            (501, b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n"),
            (505, b"GET / HTTP/2.0\r\nHost: a\r\n\r\n")):
        heard = ask(at, request)
        assert heard.startswith(b"HTTP/1.1 %d " % status), (status, heard)
        assert b"\r\nConnection: close\r\n" in heard
    answer = get(at, "/a.txt", method="DELETE")
    assert answer.status == 405 and answer.fields["allow"] == "GET, HEAD, OPTIONS"


def test_a_client_that_sends_on_after_its_refusal_meets_no_reset(serve):
    """A reset could destroy the answer on its way."""
    with connect(serve().at) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        assert client.recv(9, socket.MSG_WAITALL) == b"HTTP/1.1 "
        for _ in range(10):
            client.sendall(b"a" * 50000)
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client).startswith(b"413 ")


def test_nothing_outside_of_the_root(serve, www, directory):
    (www / "link").symlink_to(directory / "secret.txt")
    (www / "up").symlink_to("../secret.txt")
    (www / "out").symlink_to(directory)
    (www / "inside").symlink_to("sub/b.css")
    at = serve().at
    for target, status in (("/../secret.txt", 400), ("/sub/../../secret.txt", 400), ("/%2e%2e/secret.txt", 400),
                           ("/..%2fsecret.txt", 404), ("/..%5csecret.txt", 404), ("/a.txt%00", 400),
                           ("/link", 403), ("/up", 403), ("/out/secret.txt", 403), ("/out", 403), ("/inside", 200)):
        answer = get(at, target)
        assert answer.status == status, (target, answer)
        assert b"secret" not in answer.body
    answer = get(at, "//sub?x=y")
    assert answer.status == 301 and answer.fields["location"] == "/sub/?x=y"


# ---- time ----

def test_a_head_that_does_not_come_is_408(serve):
    at = serve(extra="read_timeout = 500ms\n idle_timeout = 1m").at
    begin = time.monotonic()
    with connect(at) as client:
        client.sendall(b"GET /a.txt HTTP/1.1\r\nHost: ")
        assert receive_all(client).startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - begin >= 0.5


def test_silence_is_closed_without_a_word(serve):
    at = serve(extra="idle_timeout = 300ms\n read_timeout = 1m").at
    with connect(at) as client:
        assert receive_all(client) == CLOSED
    with Client(at) as client:
        assert client.ask("GET", "/a.txt").status == 200
        assert client.at_end()


def test_a_slow_head_ends_though_bytes_keep_coming(serve):
    at = serve(extra="read_timeout = 500ms").at
    with connect(at) as client:
        client.sendall(b"GET / HTTP/1.1\r\nX: ")

        def drip():
            with contextlib.suppress(OSError):
                client.sendall(b"x")
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                return client.recv(100)
            return None
        assert wait_for(drip).startswith(b"HTTP/1.1 408 ")


# ---- files that change ----

def test_a_file_that_is_replaced_is_whole_in_every_answer(serve, www):
    """Two versions of different sizes, renamed over each other all the time."""
    versions = [b"1" * 100, b"2" * 3000]
    at = serve(http="keepalive_requests = 0").at
    stop = threading.Event()

    def replace():
        turn = 0
        while not stop.is_set():
            (www / "new").write_bytes(versions[turn % 2])
            os.rename(www / "new", www / "a.txt")
            turn += 1
    writer = threading.Thread(target=replace)
    writer.start()
    tags = {}
    try:
        with Client(at) as client:
            for _ in range(2000):
                answer = client.ask("GET", "/a.txt")
                if answer.body == TEXT:
                    continue
                assert answer.status == 200 and answer.body in versions, answer
                tag = answer.fields["etag"]
                assert tags.setdefault(tag, answer.body) == answer.body
    finally:
        stop.set()
        writer.join()
    with Client(at) as client:
        (www / "a.txt").write_bytes(b"last")
        assert client.ask("GET", "/a.txt").body == b"last"


def test_a_file_in_memory_is_never_older_than_the_file(serve, www):
    """The way of a settled file, which is remembered: each change must show at once."""
    (www / "s.txt").write_bytes(b"0000")
    at = serve(workers=1).at
    # Remembered is only what has not just changed.
    wait_for(lambda: time.time() - (www / "s.txt").stat().st_ctime > 4)
    with Client(at) as client:
        for _ in range(50):
            assert client.ask("GET", "/s.txt").body == b"0000"
        (www / "s.txt").write_bytes(b"1111")
        assert client.ask("GET", "/s.txt").body == b"1111"
        (www / "s.txt").unlink()
        assert client.ask("GET", "/s.txt").status == 404
        (www / "s.txt").symlink_to("../secret.txt")
        assert client.ask("GET", "/s.txt").status == 403


def test_a_path_that_becomes_a_link_to_outside_never_shows_it(serve, www):
    """The race that a check before opening loses."""
    at = serve(http="keepalive_requests = 0").at
    stop = threading.Event()
    (www / "real").mkdir()
    (www / "real" / "secret.txt").write_bytes(b"public")

    def swap():
        while not stop.is_set():
            os.symlink("real", www / "new")
            os.rename(www / "new", www / "x")
            os.symlink("..", www / "new")
            os.rename(www / "new", www / "x")
    swapper = threading.Thread(target=swap)
    swapper.start()
    seen = set()
    try:
        with Client(at) as client:
            for _ in range(3000):
                answer = client.ask("GET", "/x/secret.txt")
                assert answer.body != b"secret"
                seen.add(answer.status)
                if answer.status == 200:
                    assert answer.body == b"public"
    finally:
        stop.set()
        swapper.join()
    assert seen <= {200, 403, 404}, seen


def test_a_file_that_is_cut_ends_the_connection(serve, www):
    at = serve().at
    with open(www / "huge.bin", "wb") as file:
        file.truncate(256 << 20)
    with connect(at) as client:
        client.sendall(b"GET /huge.bin HTTP/1.1\r\nHost: a\r\n\r\n" + GET_A)
        first = client.recv(1000)
        assert b"\r\nContent-Length: 268435456\r\n" in first
        os.truncate(www / "huge.bin", 1 << 20)
        size = len(first)
        while piece := client.recv(1 << 20):
            size += len(piece)
            assert TEXT not in piece
        assert size < 256 << 20
    assert get(at, "/a.txt").body == TEXT


# ---- the daemon around it ----

def test_a_retiring_worker_says_close_in_its_next_answer(serve):
    server = serve(workers=2)
    with Client(server.at) as client:
        assert "connection" not in client.ask("GET", "/a.txt").fields
        server.kill(signal.SIGTERM)
        server.wait_log("^stopping")
        # The worker hears of it a little later than the log; until then its answers keep the connection.
        wait_for(lambda: client.ask("GET", "/a.txt").fields.get("connection") == "close", "Connection: close")
        assert client.at_end()
    assert server.wait() == 0


def test_access_log(serve, directory):
    log = directory / "0" / "access.log"
    server = serve(http=f'access_log = "{log}"')
    get(server.at, "/a.txt?b=c")
    get(server.at, "/missing", method="HEAD")
    ask(server.at, b"GET /\"\\\x1b\xff\r\n\r\n")
    rows = wait_for(lambda: (found := log.read_text().splitlines()) and len(found) == 3 and found)
    patterns = [r'"GET /a.txt\?b=c HTTP/1.1" 200 13', r'"HEAD /missing HTTP/1.1" 404 -',
                r'"GET /\\x22\\x5C\\x1B\\xFF" 400 \d+']
    for row, pattern in zip(sorted(rows, key=lambda row: ("400" in row, "404" in row)), patterns, strict=True):
        assert re.fullmatch(r"127\.0\.0\.1 - - \[\d\d/[A-Z][a-z][a-z]/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] " + pattern, row)


def test_counters_of_the_scoreboard(serve):
    server = serve(workers=1)
    with Client(server.at) as client:
        for _ in range(3):
            client.ask("GET", "/a.txt")
        client.send("GET", "/a.txt", "Connection: close")
        assert client.answer().status == 200 and client.at_end()
    wait_for(lambda: [slot["requests"] for slot in server.slots("web")] == [4])


@root_only
def test_a_worker_reads_files_as_its_user(serve, www):
    (www / "closed.txt").write_bytes(b"x")
    (www / "closed.txt").chmod(0o600)
    (www / "closed").mkdir(0o711)
    (www / "closed" / "c.txt").write_bytes(b"c")
    (www / "closed" / "c.txt").chmod(0o644)
    at = serve(extra=f'user = "{NOBODY}"\n group = "{NOBODY}"', http="listing = on").at
    assert get(at, "/closed.txt").status == 403
    assert get(at, "/closed/c.txt").body == b"c"
    assert get(at, "/closed").status == 301
    assert get(at, "/closed/").status == 403
    assert b"b.css" in get(at, "/sub/").body


def test_a_root_that_is_not_there_is_an_error_of_the_configuration(brood, directory):
    server = brood(f'pool "web" {{ listen = {{"127.0.0.1:0"}} handler = "http" '
                   f'http {{ root = "{directory}/nothing" }} }}', status=78, expect=["nothing"])
    server.spawn()
    assert server.wait() == 78
    assert "nothing" in server.log_text()
