# SPDX-License-Identifier: MIT
"""What a newcomer gets: the demo's configuration, and the script that runs it."""
import os
import shutil
import signal
import socket
import subprocess
import textwrap

import pytest
from brood import BINARY, SANITIZED, TOP, connect, echo_once, proc_children, receive_all, wait_for


def run(*command):
    return subprocess.run([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=300, check=False)


@pytest.mark.parametrize("name", ["brood.conf", "demo.conf"])
def test_shipped_configurations_are_without_errors(name):
    result = run(BINARY, "--check", "-c", TOP / "conf" / name)
    assert (result.returncode, result.stdout) == (0, f"{TOP / 'conf' / name}: OK\n")


def examples():
    """The configurations that README.md and the manual show."""
    readme = (TOP / "README.md").read_text()
    yield textwrap.dedent(readme.split("## A configuration\n\n")[1].split("\n\n`brood --check")[0])
    manual = (TOP / "man/brood.8").read_text()
    yield manual.split(".Bd -literal -offset indent\n")[1].split(".Ed")[0]


def test_documented_configurations_are_without_errors(directory):
    for text in examples():
        assert "pool" in text and "http" in text
        for path in ("/var/www/html", "/run/brood"):
            (directory / path[1:]).mkdir(parents=True, exist_ok=True)
            text = text.replace(path, str(directory / path[1:]))
        file = directory / "example.conf"
        file.write_text(text)
        result = run(BINARY, "--check", "-c", file)
        assert result.returncode == 0, result.stdout + text


def test_the_demo_serves_its_page_and_echoes(brood, directory):
    """Its text, with ports that are free."""
    text = (TOP / "conf/demo.conf").read_text()
    one = brood(text.replace(":8080", ":0").replace(":7007", ":0"))
    shutil.copytree(TOP / "conf/www", one.directory / "www")
    one.start()
    with connect(one.address("web")) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = receive_all(client)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ") and b"text/html" in head
    assert body == (TOP / "conf/www/index.html").read_bytes()
    assert echo_once(one.address("echo")) == b"hello"
    assert len(one.wait_workers(8, "web")) == 8 and len(one.wait_workers(4, "echo")) == 4


def ports_are_free():
    for port in (8080, 7007):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


@pytest.mark.skipif(SANITIZED, reason="it builds its own, which is plain")
@pytest.mark.skipif(not ports_are_free(), reason="port 8080 or 7007 is taken")
def test_dev_run_says_what_listens_and_what_to_try(directory):
    """The command of README.md, from another directory; the build it makes is the tree's own build/."""
    output = directory / "output"
    with open(output, "wb") as file, \
            subprocess.Popen([TOP / "dev", "run", "-l", "notice"], cwd=directory, stdin=subprocess.DEVNULL, stdout=file,
                             stderr=file, env={**os.environ, "CI": "true"}) as process:
        try:
            wait_for(lambda: "ready" in output.read_text() or process.poll() is not None, "ready", 300)
            text = output.read_text()
            assert process.poll() is None, text
            for words in ("http://127.0.0.1:8080/", "127.0.0.1:7007", "curl", "nc 127.0.0.1 7007", "./dev test"):
                assert words in text, words
            assert echo_once("127.0.0.1:7007") == b"hello"
            assert "<html" in run("curl", "-sS", "http://127.0.0.1:8080/").stdout
            children = proc_children(process.pid)
            assert len(children) >= 12
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
    wait_for(lambda: not [pid for pid in children if os.path.exists(f"/proc/{pid}")], "no process left")
