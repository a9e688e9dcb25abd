# SPDX-License-Identifier: MIT
"""Real programs under program pools, each with its own protocol: they serve under load, survive the SIGKILL of their
workers, and stop gracefully. The Python and the Node worker, and the shell script, are those of conf/examples."""
import collections
import http.client
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest
from brood import DEADLINE_S, IS_ROOT, TOP, connect, kill, proc_alive, proc_children, wait_for
from conftest import root_only
from test_program import PYTHON, nothing_is_left, program_pool, slot_of  # noqa: F401 (a fixture)

EXAMPLES = TOP / "conf/examples"
CLIENTS = 8


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def get(address, path="/"):
    """The status and the body of one request on a connection of its own."""
    if address.startswith("unix:"):
        client = UnixConnection(address[5:], DEADLINE_S)
    else:
        host, _, port = address.rpartition(":")
        client = http.client.HTTPConnection(host, int(port), timeout=DEADLINE_S)
    try:
        client.request("GET", path, headers={"Connection": "close"})
        response = client.getresponse()
        return response.status, response.read().decode()
    finally:
        client.close()


class Load:
    """Clients that ask one thing after the other. What fails is kept by kind."""

    def __init__(self, address, path="/", pattern=r"hello from worker \d+\n"):
        self.address, self.path, self.pattern = address, path, re.compile(pattern)
        self.answers = collections.Counter()
        self.failures = collections.Counter()
        self.ending = False
        self.threads = [threading.Thread(target=self._run, daemon=True) for _ in range(CLIENTS)]

    def _one(self):
        try:
            status, body = get(self.address, self.path)
        except (ConnectionRefusedError, FileNotFoundError):
            self.failures["refused"] += 1
            time.sleep(0.005)
        except (OSError, http.client.HTTPException) as error:
            self.failures[f"lost: {error!r}"] += 1
        else:
            if status == 200 and self.pattern.fullmatch(body):
                self.answers[body] += 1
            else:
                self.failures[f"status {status}"] += 1

    def _run(self):
        while not self.ending:
            self._one()

    def count(self):
        return sum(self.answers.values())

    def lost(self):
        return sum(count for kind, count in self.failures.items() if kind != "refused")

    def wait_more(self, more=200):
        before = self.count()
        wait_for(lambda: self.count() >= before + more, f"{more} more answers; {dict(self.failures)}")

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *unused):
        self.ending = True
        for thread in self.threads:
            thread.join(DEADLINE_S)


def serve_kill_and_stop(one, load, kills=3, pool="app", stop_costs=0):
    """The life of a pool under load. A kill costs at most what the worker had in hand: each client has one request.
    STOP_COSTS is what the program itself may lose when it is told to stop."""
    with load:
        load.wait_more(300)
        assert not load.failures, dict(load.failures)
        for number in range(1, kills + 1):
            victim = wait_for(lambda: [slot["pid"] for slot in one.slots(pool) if slot["state"] == "idle"], "a worker")[0]
            kill(victim, signal.SIGKILL)
            wait_for(lambda: len(one.log("worker died", pool=pool, how="signal 9 (SIGKILL)")) >= number, "a death")
            load.wait_more()
            assert load.lost() <= number * CLIENTS, dict(load.failures)
        wait_for(lambda: all(slot["state"] == "idle" for slot in one.slots(pool)), "all ready again")
        load.wait_more()
        before = load.lost()
        assert one.stop() == 0
        # Whoever was let in was served.
        assert load.lost() <= before + stop_costs, dict(load.failures)
    assert not one.log("stop_timeout")


def example(name, workers=2, listen="127.0.0.1:0", command=None):
    """An example's configuration, on another address and with the path of the tree."""
    text = (EXAMPLES / name / f"{name}.conf").read_text()
    text = re.sub(r'"127\.0\.0\.1:\d+"', f'"{listen}"', text)
    text = text.replace(f"/usr/local/share/doc/brood/examples/{name}", str(command or EXAMPLES / name))
    return re.sub(r"workers = \d+\n", f"workers = {workers}\n", text, count=1)


@pytest.fixture
def reachable(directory):
    """A copy of the examples that every user can read."""
    shutil.copytree(EXAMPLES, directory / "examples")
    subprocess.run(["chmod", "-R", "a+rX", directory / "examples"], check=True)
    return directory / "examples"


KILLED = ["worker died"]


@pytest.mark.parametrize("listen", ["tcp", "unix"])
def test_python_example(brood, directory, listen):
    address = "127.0.0.1:0" if listen == "tcp" else f"unix:{directory}/web.sock"
    one = brood(example("python", listen=address), expect=KILLED).start()
    assert {slot["status"] for slot in one.slots("python")} == {"serving"}
    serve_kill_and_stop(one, Load(one.address()), pool="python")


def test_node_example(brood):
    one = brood(example("node"), expect=KILLED).start()
    assert {slot["status"] for slot in one.slots("node")} == {"serving"}
    serve_kill_and_stop(one, Load(one.address()), pool="node")


@root_only
def test_node_example_as_another_user(brood, reachable):
    one = brood(example("node", command=reachable / "node") + 'user = "nobody"\n').start()
    assert get(one.address())[0] == 200
    assert one.stop() == 0


def test_a_plain_http_server_of_python(brood, directory):
    """Not one line of it knows of brood, or of its siblings; it ends at its signal at once."""
    (directory / "index.html").write_text("hello from worker 1\n")
    code = ("import http.server, socket; server = http.server.HTTPServer(('', 0), http.server.SimpleHTTPRequestHandler, False);"
            "server.socket = socket.socket(fileno=3); server.serve_forever()")
    one = brood(program_pool([PYTHON, "-c", code], workers=1, extra=f'ready_after = 300ms\nstderr = null\n'
                                                                        f'directory = "{directory}"'), expect=KILLED).start()
    with Load(one.address()) as load:
        load.wait_more(300)
        assert not load.failures, dict(load.failures)
        kill(slot_of(one)["pid"], signal.SIGKILL)
        load.wait_more(300)
        assert load.lost() <= CLIENTS, dict(load.failures)
    assert one.stop() == 0


def test_gunicorn_by_listen_fds(brood, directory):
    (directory / "app.py").write_text('''
import os

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello from worker %d\\n" % os.getpid()]
''')
    # A worker of gunicorn's that is just being forked may miss its TERM, and is killed by the arbiter after that time.
    gunicorn = ["/usr/bin/gunicorn", "--workers", "2", "--graceful-timeout", "5", "--worker-tmp-dir", "/dev/shm",
                "app:app"]
    one = brood(program_pool(gunicorn, workers=2,
                             extra=f'ready = notify\nstart_timeout = 60s\ndirectory = "{directory}"'),
                expect=KILLED).start()
    assert "Gunicorn" in slot_of(one)["status"]
    load = Load(one.address())
    serve_kill_and_stop(one, load)
    # Each has workers of its own.
    assert len(load.answers) >= 4


def test_starman_by_server_starter(brood, directory):
    (directory / "app.psgi").write_text(
        'my $app = sub { [200, ["Content-Type" => "text/plain"], ["hello from worker $$\\n"]] };\n')
    starman = ["/usr/bin/starman", "--workers", "2", "--disable-keepalive", "app.psgi"]
    one = brood(program_pool(starman, workers=2,
                             extra=f'ready_after = 3s\nstop_signal = QUIT\ndirectory = "{directory}"\n'
                                   f'environment = {{"HOME={directory}"}}'), expect=KILLED).start()
    load = Load(one.address())
    # Net::Server ends a child at once that has accepted and has not noted it yet: one connection of each of the four.
    serve_kill_and_stop(one, load, stop_costs=4)
    assert len(load.answers) >= 4


# ---- FastCGI ----

PHP = "<?php header('Content-Type: text/plain'); echo 'hello from worker ', getmypid(), \"\\n\";\n"


def php_pool(directory, workers=2, stop_signal="USR1", environment=""):
    (directory / "hello.php").write_text(PHP)
    (directory / "hello.php").chmod(0o644)
    return program_pool(["/usr/bin/php-cgi"], workers=workers, listen=f"unix:{directory}/php.sock",
                        extra=f"stdin = listener\nstop_signal = {stop_signal}\nready_after = 100ms\nbackoff_min = 10ms\n{environment}")


class Nginx:
    """nginx before a FastCGI socket; or another place that it is told."""

    def __init__(self, directory, location):
        self.directory = directory / "nginx"
        self.directory.mkdir()
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        (self.directory / "nginx.conf").write_text(f"""
daemon off; worker_processes 1; pid {self.directory}/pid; error_log {self.directory}/error.log info;
{"user root;" if IS_ROOT else ""}
events {{ worker_connections 512; }}
http {{
	access_log off;
	client_body_temp_path {self.directory}/a; proxy_temp_path {self.directory}/b; fastcgi_temp_path {self.directory}/c;
	uwsgi_temp_path {self.directory}/d; scgi_temp_path {self.directory}/e;
	server {{ listen 127.0.0.1:{self.port}; location / {{ {location} }} }}
}}
""")

    def __enter__(self):
        self.process = subprocess.Popen(["/usr/sbin/nginx", "-p", self.directory, "-c", self.directory / "nginx.conf"],
                                        stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(self._answers, "nginx")
        return self

    def _answers(self):
        try:
            connect(f"127.0.0.1:{self.port}").close()
            return True
        except OSError:
            return False

    def cut_off(self):
        """How many requests have been begun and not been answered by the program behind it."""
        text = (self.directory / "error.log").read_text()
        return len(re.findall(r"prematurely closed|reset by peer|recv\(\) failed", text))

    def __exit__(self, *unused):
        self.process.terminate()
        self.process.wait(DEADLINE_S)


def test_php_as_fastcgi_behind_nginx(brood, directory):
    """php-cgi leaves by itself after 500 requests, with status 0: it is replaced, and never held back."""
    one = brood(php_pool(directory), expect=KILLED).start()
    location = (f"fastcgi_pass unix:{directory}/php.sock; fastcgi_param REQUEST_METHOD GET;"
                f"fastcgi_param SCRIPT_FILENAME {directory}/hello.php; fastcgi_param REDIRECT_STATUS 200;")
    with Nginx(directory, location) as nginx, Load(f"127.0.0.1:{nginx.port}") as load:
        load.wait_more(2500)
        assert not load.failures, dict(load.failures)
        assert wait_for(lambda: one.log("worker died", kind="recycled"), "one that leaves by itself")
        assert {row["next"] for row in one.log("worker died")} == {"replaced"}
        for number in range(1, 4):
            kill(wait_for(lambda: one.slots("app"), "a worker")[0]["pid"], signal.SIGKILL)
            load.wait_more()
            assert load.lost() <= number * CLIENTS, dict(load.failures)
        before = nginx.cut_off()
        assert one.stop() == 0
        wait_for(lambda: load.failures["status 502"] > 100, "nobody behind nginx")
        assert nginx.cut_off() == before
    assert not one.log("stop_timeout")


def fastcgi_once(directory):
    """One request of libfcgi's own client."""
    environment = {"REQUEST_METHOD": "GET", "SCRIPT_FILENAME": f"{directory}/hello.php", "REDIRECT_STATUS": "200"}
    return subprocess.run(["/usr/bin/cgi-fcgi", "-bind", "-connect", f"{directory}/php.sock"], env=environment,
                          stdout=subprocess.PIPE, text=True, timeout=DEADLINE_S, check=True).stdout


def test_php_by_a_fastcgi_client(brood, directory):
    one = brood(php_pool(directory, workers=2)).start()
    pids = {str(slot["pid"]) for slot in one.slots("app")}
    for _ in range(20):
        assert re.search(r"hello from worker (\d+)", fastcgi_once(directory))[1] in pids
    assert one.stop() == 0
    assert not (directory / "php.sock").exists()


def test_php_with_children_of_its_own(brood, directory):
    """As under spawn-fcgi -F: one process that keeps others, and stops them at TERM only."""
    one = brood(php_pool(directory, workers=1, stop_signal="TERM", environment='environment = {"PHP_FCGI_CHILDREN=3"}'),
                expect=KILLED).start()
    parent = slot_of(one)["pid"]
    children = wait_for(lambda: len(proc_children(parent)) == 3 and proc_children(parent), "its children")
    assert int(re.search(r"hello from worker (\d+)", fastcgi_once(directory))[1]) in children
    kill(parent, signal.SIGKILL)
    wait_for(lambda: not any(proc_alive(pid) for pid in children), "the end of its children")
    wait_for(lambda: slot_of(one)["state"] == "idle" and slot_of(one)["pid"] != parent, "a new one")
    assert "hello" in fastcgi_once(directory)
    assert one.stop() == 0


# ---- a shell script under inetd ----

def test_lines_example(brood):
    one = brood(example("lines")).start()

    def talk(word):
        with connect(one.address()) as client:
            file = client.makefile("rw", encoding="ascii")
            for text in word, word + " again":
                print(text, file=file, flush=True)
                assert file.readline() == f"127.0.0.1: {text}\n"
    threads = [threading.Thread(target=talk, args=(f"client {i}",)) for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    wait_for(lambda: len(one.log("EXIT", status=0)) == 20, "the end of each")
    assert one.stop() == 0


def test_the_script_is_of_five_lines():
    lines = [line for line in (EXAMPLES / "lines/lines.sh").read_text().splitlines() if "SPDX" not in line]
    assert len(lines) <= 5 + 1  # and what it is
