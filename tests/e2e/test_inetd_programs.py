# SPDX-License-Identifier: MIT
"""Real per-connection programs under inetd pools, each with its real client."""
import os
import shutil
import signal
import socket
import struct
import subprocess
import threading

import pytest
from brood import DEADLINE_S, connect, receive_all, wait_for
from conftest import root_only
from test_inetd import PYTHON, inetd_pool, script


def run(*command, **options):
    return subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=DEADLINE_S,
                          check=True, text=True, **options).stdout


def tree(path):
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file() and ".git" not in p.parts}


def fill(path):
    (path / "sub").mkdir(parents=True)
    (path / "large").write_bytes(os.urandom(3 << 20))
    (path / "sub/empty").write_bytes(b"")
    for i in range(200):
        (path / f"sub/file{i}").write_text(f"file {i}\n" * i)


def test_git_daemon_clone_and_fetch(brood, directory):
    work, served = directory / "work", directory / "served"
    fill(work)
    env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@localhost",
           "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@localhost"}
    run("git", "init", "-q", work, env=env)
    run("git", "-C", work, "add", ".", env=env)
    run("git", "-C", work, "commit", "-q", "-m", "one", env=env)
    served.mkdir()
    run("git", "clone", "-q", "--bare", work, served / "repo", env=env)
    one = brood(inetd_pool(["git", "daemon", "--inetd", "--export-all", f"--base-path={served}"],
                           extra='environment = {"HOME=/nonexistent"}')).start()
    url = f"git://{one.address()}/repo"
    clones = [subprocess.Popen(["git", "clone", "-q", url, directory / f"clone{i}"], env=env) for i in range(4)]
    assert [clone.wait(DEADLINE_S) for clone in clones] == [0] * 4
    for i in range(4):
        assert tree(directory / f"clone{i}") == tree(work)
    (work / "sub/new").write_text("more\n")
    run("git", "-C", work, "add", ".", env=env)
    run("git", "-C", work, "commit", "-q", "-m", "two", env=env)
    run("git", "-C", work, "push", "-q", served / "repo", "HEAD", env=env)
    run("git", "-C", directory / "clone0", "pull", "-q", "--ff-only", env=env)
    assert tree(directory / "clone0") == tree(work)
    assert all(row["status"] == 0 for row in one.wait_log("EXIT", count=5))


def test_rsync_daemon(brood, directory):
    source, target = directory / "source", directory / "target"
    fill(source)
    target.mkdir()
    config = directory / "rsyncd.conf"
    config.write_text(f"""
use chroot = no
log file = {directory}/rsync.log
[files]
	path = {source}
	read only = yes
[drop]
	path = {target}
	read only = no
	uid = {os.getuid()}
	gid = {os.getgid()}
""")
    one = brood(inetd_pool(["rsync", "--daemon", f"--config={config}"])).start()
    url = f"rsync://{one.address()}"
    assert {line.split()[0] for line in run("rsync", f"{url}/").splitlines()} == {"files", "drop"}
    run("rsync", "-a", f"{url}/files/", directory / "copy/")
    assert tree(directory / "copy") == tree(source)
    run("rsync", "-a", f"{source}/", f"{url}/drop/")
    assert tree(target) == tree(source)
    assert "127.0.0.1" in (directory / "rsync.log").read_text(), "it knows its client"


@pytest.mark.parametrize("server", ["busybox", "micro-httpd"])
def test_http_servers(brood, directory, server):
    root = directory / "www"
    fill(root)
    (root / "index.html").write_text("<p>the page</p>\n")
    command = {"busybox": ["busybox", "httpd", "-i", "-h", root], "micro-httpd": ["/usr/sbin/micro-httpd", root]}[server]
    one = brood(inetd_pool(command)).start()
    url = f"http://{one.address()}"
    assert run("curl", "-sSf", f"{url}/") == "<p>the page</p>\n"
    run("curl", "-sSf", "-o", directory / "got", f"{url}/large")
    assert (directory / "got").read_bytes() == (root / "large").read_bytes()
    assert run("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", f"{url}/missing") == "404"
    names = [f"sub/file{i}" for i in range(100, 140)]
    run("curl", "-sSf", "--parallel", "--parallel-max", "8",
        *(argument for name in names for argument in ("-o", directory / os.path.basename(name), f"{url}/{name}")))
    for name in names:
        assert (directory / os.path.basename(name)).read_bytes() == (root / name).read_bytes()


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "[::1]:0", "unix"])
def test_cat_with_netcat(brood, directory, listen):
    one = brood(inetd_pool(["cat"], listen=f"unix:{directory}/s.sock" if listen == "unix" else listen)).start()
    to = ["-U", directory / "s.sock"] if listen == "unix" else one.address().replace("[", "").replace("]", "").rsplit(":", 1)
    payload = "a line\n" * 50000
    assert run("nc", "-N", *to, input=payload) == payload


def test_python_script(brood, directory):
    program = script(directory, f"""#!{PYTHON}
import os, sys
for line in sys.stdin:
    print(os.environ["REMOTE_HOST"], line.strip().upper(), flush=True)
""")
    one = brood(inetd_pool([program])).start()
    with connect(one.address()) as client:
        file = client.makefile("rw")
        for word in ("one", "two", "three"):
            file.write(word + "\n")
            file.flush()
            assert file.readline() == f"127.0.0.1 {word.upper()}\n"


def test_five_lines_of_shell(brood, directory):
    program = script(directory, """#!/bin/sh
while read -r line; do
	case $line in quit) exit 0;; esac
	echo "you said: $line"
done
""")
    one = brood(inetd_pool([program])).start()
    with connect(one.address()) as client:
        client.sendall(b"hello\nquit\n")
        assert receive_all(client) == b"you said: hello\n"


class Names:
    """A name server that knows one list of blocked clients; it keeps what it was asked."""

    def __init__(self, address, blocked):
        self.asked = []
        self.blocked = blocked
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, 53))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                query, client = self.socket.recvfrom(512)
            except OSError:
                return
            labels, at = [], 12
            while query[at]:
                labels.append(query[at + 1:at + 1 + query[at]].decode())
                at += 1 + query[at]
            name = ".".join(labels)
            self.asked.append(name)
            question = query[12:at + 5]
            text = b"you are on the list"
            answer = b""
            if name in self.blocked:
                answer = b"\xc0\x0c" + struct.pack(">HHIH", 16, 1, 60, len(text) + 1) + bytes([len(text)]) + text
            flags = 0x8580 if answer else 0x8583
            self.socket.sendto(query[:2] + struct.pack(">HHHHH", flags, 1, 1 if answer else 0, 0, 0) + question + answer, client)

    def close(self):
        self.socket.close()


@root_only
def test_rblsmtpd(brood, directory):
    """UCSPI's: it asks a list for the client that TCPREMOTEIP names, and answers for the mail server or becomes it."""
    names = Names("127.0.1.53", {"1.0.0.127.list.test"})
    try:
        smtpd = script(directory, '#!/bin/sh\nprintf "220 welcome %s\\r\\n" "$TCPREMOTEIP"\n')
        one = brood(inetd_pool(["rblsmtpd", "-r", "list.test", smtpd],
                               extra='environment = {"DNSCACHEIP=127.0.1.53"}')).start()
        with connect(one.address()) as client:
            file = client.makefile("rw", newline="\n")
            assert file.readline().startswith("220 ")
            for command, answer in (("MAIL FROM:<a@b>", "250 "), ("RCPT TO:<c@d>", "451 you are on the list"), ("QUIT", "221 ")):
                file.write(command + "\r\n")
                file.flush()
                assert file.readline().startswith(answer)
        assert names.asked == ["1.0.0.127.list.test"]
        host, port = one.address().rsplit(":", 1)
        with socket.create_connection((host, int(port)), DEADLINE_S, source_address=("127.0.0.2", 0)) as client:
            assert receive_all(client) == b"220 welcome 127.0.0.2\r\n"
        assert names.asked[1] == "2.0.0.127.list.test"
        row = one.wait_log("^output$")[0]
        assert "rblsmtpd: 127.0.0.1" in row["text"], "UCSPI programs write to the server's log"
    finally:
        names.close()


@root_only
def test_s6_access_control_of_unix_clients(brood, directory):
    """UCSPI's on a unix socket: rules by IPCREMOTEEUID."""
    rules = directory / "rules/uid"
    (rules / "0").mkdir(parents=True)
    (rules / "0/allow").touch()
    (rules / "0/env").mkdir()
    (rules / "0/env/GREETING").write_text("hello root\n")
    (rules / "default").mkdir()
    (rules / "default/deny").touch()
    program = script(directory, '#!/bin/sh\necho "$GREETING"\n')
    one = brood(inetd_pool(["s6-ipcserver-access", "-v2", "-E", "-l", "test", "-i", directory / "rules", program],
                           listen=f"unix:{directory}/s.sock", extra='socket_mode = "0666"')).start()
    with connect(one.address()) as client:
        assert receive_all(client) == b"hello root\n"
    text = run(PYTHON, "-c", f"""
import os, socket
os.setuid(65534)
client = socket.socket(socket.AF_UNIX)
client.connect("{directory}/s.sock")
print(client.recv(100))
""")
    assert text == "b''\n"
    assert any("deny" in row["text"] for row in one.wait_log("^output$", count=2))


def test_a_program_outlives_a_stop_for_as_long_as_it_may(brood, directory):
    """A transfer under way when the daemon is told to stop comes to its end."""
    (directory / "large").write_bytes(os.urandom(8 << 20))
    one = brood(inetd_pool(["cat", directory / "large"])).start()
    with connect(one.address()) as client:
        data = client.recv(1000)
        one.kill(signal.SIGTERM)
        wait_for(lambda: "STOPPING=1" in one.notify.lines(), "STOPPING=1")
        data += receive_all(client)
    assert data == (directory / "large").read_bytes()
    assert one.wait() == 0


def test_all_programs_of_this_file_are_here():
    """None of the tests above is left out for want of a program."""
    for name in ("git", "rsync", "busybox", "/usr/sbin/micro-httpd", "curl", "nc", "rblsmtpd", "s6-ipcserver-access"):
        assert shutil.which(name), name
