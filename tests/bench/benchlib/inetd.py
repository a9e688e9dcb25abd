# SPDX-License-Identifier: MIT
"""Servers that give each connection to a program, all to the same one: it reads, writes 128 bytes and exits.

All run at most LIMIT of them at once, listen with the same backlog (xinetd's, which is fixed), log no connection and
look up nothing. Confined, each program runs as an unprivileged user, in a root directory of its own, with the same
three resource limits. brood's pools have a key for each of these; for the others chpst (of runit), which does all of
them in one step, stands between the server and the program, with numbers for the user, so that it looks up nothing."""

import grp
import os
import pwd
import re
import shutil
import subprocess
from pathlib import Path

from .programs import PEER_SETTINGS, Program, unprivileged_user, write

LIMIT = 64
BACKLOG = 64
WAITING = 8  # the workers of brood's, and of the bare loop that has any, which wait for connections
FILES, FILE_SIZE = 64, 1048576  # the limits; and no core dump


def answer(build):
    return str(Path(build) / "tests/bench/bench-answer")


def identity():
    """The unprivileged user's (user, group, uid, gid)."""
    user, group = unprivileged_user()
    return user, group, pwd.getpwnam(user).pw_uid, grp.getgrnam(group).gr_gid


def copy_with_libraries(program, root, name):
    """PROGRAM becomes /NAME in ROOT, and what ldd(1) says it needs stands there in its place."""
    shutil.copy(program, Path(root) / name)
    listed = subprocess.run(["ldd", program], stdout=subprocess.PIPE, text=True, check=True).stdout
    for library in re.findall(r"(/\S+) \(0x", listed):
        place = Path(root) / library.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, place)


def make_root(directory, *programs):
    """A root directory with PROGRAMS, each {name: path}."""
    root = Path(directory) / "root"
    root.mkdir()
    for name, program in programs:
        copy_with_libraries(program, root, name)
    return str(root)


def find(program):
    return shutil.which(program, path=PEER_SETTINGS["PATH"])


def program_of(build, directory, confined):
    """What a server is to run for each connection."""
    if not confined:
        return [answer(build)]
    _user, _group, uid, gid = identity()
    root = make_root(directory, ("answer", answer(build)))
    return [find("chpst"), "-u", f":{uid}:{gid}", "-/", root, "-o", str(FILES), "-c", "0", "-f", str(FILE_SIZE),
            "/answer"]


def listening(directory, port, unix):
    return [f"{directory}/socket"] if unix else ["127.0.0.1", str(port)]


def server(name, prepare, needs, *, confined=False, **more):
    return Program(name, prepare, needs, workers=0, as_root=confined, **more)


def floor(build, name="floor", *, waiting=0, confined=False, unix=False):
    """The bare loop: accept, fork, exec; or, with WAITING children, fork, accept, exec."""
    binary = str(Path(build) / "tests/bench/bench-floor")

    def prepare(directory, port):
        command = [binary, "-n", str(waiting), "-b", str(BACKLOG)]
        command += ["-u", f"{directory}/socket"] if unix else ["-p", str(port)]
        if not confined:
            return [*command, "-x", answer(build)]
        _user, _group, uid, gid = identity()
        root = make_root(directory, ("answer", answer(build)))
        return [*command, "-x", "/answer", "-c", f"{uid}:{gid}:{FILES}:{FILE_SIZE}:{root}"]

    return Program(name, prepare, binary, as_root=confined, notifies=True, unix=unix, workers=waiting,
                   note=(f"{waiting} children wait and exec, the parent forks again" if waiting else
                         "a bare loop of accept, fork and exec") + (", confined by its own calls" if confined else ""))


BROOD_CONF = """\
# SPDX-License-Identifier: MIT
log_level = "error"
max_workers = {limit}
pool "bench" {{
    listen = {{"{listen}"}}
    backlog = {backlog}
    handler = "inetd"
    command = {{"{program}"}}
    stderr = {stderr}
    workers = {waiting}
    max_workers = {limit}
{more}}}
"""
BROOD_CONFINED = """\
    user = "{user}"
    group = "{group}"
    chroot = "{root}"
    limits {{ nofile = {files} core = 0 fsize = {file_size} }}
"""


def brood(binary, build, name="brood", *, confined=False, unix=False, stderr="log"):
    def prepare(directory, port):
        more, program = "", answer(build)
        if confined:
            user, group, _uid, _gid = identity()
            root = make_root(directory, ("answer", program))
            more = BROOD_CONFINED.format(user=user, group=group, root=root, files=FILES, file_size=FILE_SIZE)
            program = "/answer"
        conf = BROOD_CONF.format(listen=f"unix:{directory}/socket" if unix else f"127.0.0.1:{port}", limit=LIMIT,
                                 backlog=BACKLOG, program=program, stderr=stderr, waiting=WAITING, more=more)
        return [binary, "-c", write(Path(directory) / "brood.conf", conf), "-L", "stderr"]

    note = f"{WAITING} workers wait, " + {"log": "standard error goes to the log, a pipe for each program",
                                          "null": "standard error goes nowhere"}[stderr]
    return Program(name, prepare, binary, notifies=True, unix=unix, workers=WAITING, as_root=confined,
                   is_worker=lambda title: title.startswith("brood: bench"),
                   note=note + ("; user, group, chroot and limits are keys of the pool" if confined else ""))


def tcpserver(build, name="tcpserver", *, confined=False):
    def prepare(directory, port):
        return ["tcpserver", "-H", "-R", "-o", "-l", "localhost", "-b", str(BACKLOG), "-c", str(LIMIT),
                *listening(directory, port, False), *program_of(build, directory, confined)]

    return server(name, prepare, "tcpserver", confined=confined, note="-HRo -l localhost" + (", then chpst" if confined else ""))


def tcpserver_inside(build, name="tcpserver inside"):
    """All of it in the root directory, with its limits, and once it listens as the user: nothing is left to be done for
    a connection. That is fast, and gives away that the server is apart from its programs."""
    def prepare(directory, port):
        _user, _group, uid, gid = identity()
        root = make_root(directory, ("answer", answer(build)), ("tcpserver", find("tcpserver")))
        return ["chpst", "-/", root, "-o", str(FILES), "-c", "0", "-f", str(FILE_SIZE), "/tcpserver", "-H", "-R", "-o",
                "-l", "localhost", "-b", str(BACKLOG), "-c", str(LIMIT), "-u", str(uid), "-g", str(gid),
                *listening(directory, port, False), "/answer"]

    return server(name, prepare, "tcpserver", confined=True, note="chpst, then tcpserver -u -g: once, the server itself is confined")


def tcpsvd(build, name="tcpsvd", *, confined=False):
    def prepare(directory, port):
        return ["tcpsvd", "-l", "localhost", "-b", str(BACKLOG), "-c", str(LIMIT),
                *listening(directory, port, False), *program_of(build, directory, confined)]

    return server(name, prepare, "tcpsvd", confined=confined, note="ipsvd's" + (", then chpst" if confined else ""))


XINETD_CONF = """\
defaults
{{
}}
service bench
{{
    type = UNLISTED
    socket_type = stream
    protocol = tcp
    wait = no
    user = {user}
    bind = 127.0.0.1
    port = {port}
    server = {server}
    instances = {limit}
    per_source = UNLIMITED
    cps = 1000000 1
    log_on_success =
    log_on_failure =
{more}}}
"""
XINETD_CONFINED = """\
    server_args = {arguments}
    rlimit_files = {files}
"""


def xinetd(build, name="xinetd", *, wrappers=True, confined=False):
    """As the distribution builds it, it looks into hosts.allow and hosts.deny for each connection; brood, like the
    others, has no such list here, so it is measured without these WRAPPERS too.

    Its own user comes before a chroot in the chain, which would fail then: only the limit of files is its own."""
    def prepare(directory, port):
        program = program_of(build, directory, confined)
        if confined:
            at = program.index("-o")
            del program[at:at + 2]
        more = "" if wrappers else "    flags = NOLIBWRAP\n"
        if confined:
            more += XINETD_CONFINED.format(arguments=" ".join(program[1:]), files=FILES)
        conf = XINETD_CONF.format(user=pwd.getpwuid(os.geteuid()).pw_name, port=port, server=program[0], limit=LIMIT,
                                  more=more)
        return ["xinetd", "-dontfork", "-f", write(Path(directory) / "xinetd.conf", conf), "-pidfile",
                f"{directory}/xinetd.pid"]

    return server(name, prepare, "xinetd", confined=confined, note="cps without effect, " +
                  ("with tcp wrappers, as it comes" if wrappers else "flag NOLIBWRAP: without tcp wrappers") +
                  (", rlimit_files, then chpst for the rest" if confined else ""))


def s6_tcpserver(build, name="s6-tcpserver"):
    def prepare(directory, port):
        return ["s6-tcpserver", "-q", "-c", str(LIMIT), "-C", str(LIMIT), "-b", str(BACKLOG),
                *listening(directory, port, False), answer(build)]

    return server(name, prepare, "s6-tcpserver", note="of s6-networking")


def s6_ipcserver(build, name="s6-ipcserver"):
    def prepare(directory, port):
        return ["s6-ipcserver", "-q", "-c", str(LIMIT), "-C", str(LIMIT), "-b", str(BACKLOG),
                *listening(directory, port, True), answer(build)]

    return server(name, prepare, "s6-ipcserver", unix=True, note="with the client's credentials, as brood's")


def unixserver(build, name="unixserver"):
    def prepare(directory, port):
        return ["unixserver", "-q", "-c", str(LIMIT), "-b", str(BACKLOG), *listening(directory, port, True),
                answer(build)]

    return server(name, prepare, "unixserver", unix=True, note="of ucspi-unix")
