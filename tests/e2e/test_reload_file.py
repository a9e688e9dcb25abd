# SPDX-License-Identifier: MIT
"""What a reload makes of the file: its check, which holds nobody up; which pools and listeners are the old ones."""
import os
import re
import signal
import time

import pytest
from brood import connect, echo_once, echo_pool, proc_children, proc_fds, proc_title, receive, wait_for
from test_daemonize import detached  # noqa: F401  a fixture
from test_module import MODULES, ask, module_pool


def texts(one, before):
    return [row.get("text", row.get("reason", "")) for row in one.log()[before:]]


def socket_inodes(one):
    """The sockets among the master's descriptors; those that it listens on are of them."""
    return {what for what in proc_fds(one.pid).values() if what.startswith("socket:")}


# ---- the check ----

BAD_FILES = {
    "syntax": ('pool "a" {\n', r"brood\.conf:\d+: "),
    "value": (echo_pool(workers="many"), r'brood\.conf:\d+: pool "echo": workers = many is not a decimal number'),
    "user": (echo_pool(extra="user = no-such-user"), r'brood\.conf:\d+: pool "echo": user = no-such-user '),
    "program": ('pool "p" {\nlisten = "127.0.0.1:0"\nhandler = program\ncommand = "/no/such" }\n',
                r'brood\.conf:\d+: pool "p": command = "/no/such" does not exist'),
    "module": (module_pool("constructor_crashes"),
               r'brood\.conf:\d+: pool "m": module = ".*constructor_crashes\.so" cannot be loaded'),
    "nothing": ("", r"brood\.conf: there is no pool"),
}


@pytest.mark.parametrize("name", sorted(BAD_FILES))
def test_bad_file_changes_nothing(name, brood):
    config, said = BAD_FILES[name]
    one = brood(echo_pool(), expect=["configuration", "reload refused"]).start()
    workers, sockets = sorted(one.workers("echo")), socket_inodes(one)
    before = one.reload(config, good=False)
    assert any(re.search(said, text) for text in texts(one, before)), texts(one, before)
    assert sorted(pid for pid in one.children() if proc_title(pid) == "brood: echo") == workers
    assert socket_inodes(one) == sockets
    assert echo_once(one.address()) == b"hello"
    one.write_config(echo_pool())


def test_missing_file_changes_nothing(brood):
    one = brood(echo_pool(), expect=["configuration", "reload refused"]).start()
    one.config_path.unlink()
    before = one.reload(good=False)
    assert f"{one.config_path}: No such file or directory" in texts(one, before)
    one.write_config(echo_pool())
    one.reload()
    assert echo_once(one.address()) == b"hello"


def test_the_check_holds_nobody_up(brood):
    """While a module hangs in the checker's probe, the master serves, resizes and replaces."""
    one = brood(echo_pool(workers=2), expect=["configuration", "reload refused", "worker died"]).start()
    one.write_config(module_pool("constructor_hangs"))
    one.kill(signal.SIGHUP)
    checker = wait_for(lambda: [pid for pid in one.children() if proc_title(pid) == "brood: checker"], "a checker")[0]
    wait_for(lambda: proc_children(checker), "its probe")
    one.write_config(echo_pool())
    killed = one.workers("echo")[0]
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: len(one.workers("echo")) == 2 and killed not in one.workers("echo"), "another worker")
    one.kill(signal.SIGTTIN)
    one.wait_workers(3, "echo")
    assert echo_once(one.address()) == b"hello"
    assert not one.log("^reload refused"), "all of that while it was checked"
    row = one.wait_log("^reload refused")[0]
    assert "constructor_hangs.so" in row["line"] and "did not answer within 5000 ms" in row["line"]


def test_a_stop_does_not_wait_for_the_check(brood):
    one = brood(echo_pool(), expect=["reload refused"]).start()
    one.write_config(module_pool("constructor_hangs"))
    one.kill(signal.SIGHUP)
    wait_for(lambda: [pid for pid in one.children() if proc_title(pid) == "brood: checker"], "a checker")
    begun = time.monotonic()
    assert one.stop() == 0
    assert time.monotonic() - begun < 4
    one.write_config(echo_pool())


def test_relative_name_of_a_detached_master(detached):  # noqa: F811
    """It has left the directory that the name begins in."""
    one = detached(echo_pool())
    one.command = lambda: [str(one._binary()), "-c", "brood.conf", *one.args]
    assert one.start_detached() == 0
    assert os.readlink(f"/proc/{one.pid}/cwd") == "/"
    assert proc_title(one.pid) == "brood: master brood.conf"
    one.reload(echo_pool(workers=3))
    one.wait_workers(3, "echo")
    assert one.stop_detached() == 0


def test_file_that_is_a_link(brood, directory):
    """Whoever puts another file behind the link means that one."""
    one = brood(echo_pool(workers=1)).start()
    text = one.config_path.read_text()
    (directory / "a").write_text(text)
    (directory / "b").write_text(text.replace("workers = 1", "workers = 3"))
    one.config_path.unlink()
    one.config_path.symlink_to(directory / "a")
    one.reload()
    (directory / "link").symlink_to(directory / "b")
    (directory / "link").rename(one.config_path)
    one.reload()
    one.wait_workers(3, "echo")


# ---- pools and listeners ----

def test_renamed_pool_keeps_its_listeners(brood):
    one = brood(echo_pool(name="old")).start()
    address, sockets = one.address("old"), socket_inodes(one)
    before = one.reload(echo_pool(name="new"))
    wait_for(lambda: 'pool "old": renamed to "new"' in texts(one, before), "it is said")
    assert socket_inodes(one) == sockets
    wait_for(lambda: not [pid for pid in one.children() if proc_title(pid) == "brood: old"], "the old workers are gone")
    assert len(one.workers("new")) == 2
    assert echo_once(address) == b"hello"


def test_listener_that_changes_its_pool(brood, directory):
    path = directory / "a.sock"
    one = brood(echo_pool(name="a", listen=["127.0.0.1:0", f"unix:{path}"]) + module_pool("options")).start()
    inode, sockets = path.stat().st_ino, socket_inodes(one)
    before = one.reload(echo_pool(name="a") + module_pool("options", listen=f'127.0.0.1:0", "unix:{path}'))
    wait_for(lambda: f'pool "m": listen: "unix:{path}": taken over from pool "a"' in texts(one, before), "it is said")
    wait_for(lambda: "number=5" in answer_or_echo(f"unix:{path}"), "the module answers")
    assert path.stat().st_ino == inode and socket_inodes(one) == sockets


def answer_or_echo(address):
    with connect(address) as client:
        client.sendall(b"hello\n")
        return receive(client, 6).decode() + receive_more(client)


def receive_more(client):
    client.settimeout(0.5)
    data = b""
    try:
        while not data.endswith(b"\n\n"):
            piece = client.recv(4096)
            if not piece:
                break
            data += piece
    except TimeoutError:
        pass
    return data.decode()


def test_module_that_is_another_one_under_its_name(brood, directory):
    """The file has not changed, and neither has a key: all workers are new, with the new code."""
    path = directory / "m.so"
    path.symlink_to(MODULES / "options.so")
    one = brood(module_pool(path)).start()
    assert "number=5" in ask(one.address())
    (directory / "new").symlink_to(MODULES / "trouble.so")
    (directory / "new").rename(path)
    old = one.workers("m")
    before = one.reload()
    wait_for(lambda: one.workers("m") and not set(one.workers("m")) & set(old), "new workers")
    wait_for(lambda: any("module_options: number: 5 -> not given" in text for text in texts(one, before)), "it is said")


def test_all_is_kept_where_nothing_changes(brood, directory):
    one = brood(echo_pool(listen=["127.0.0.1:0", f"unix:{directory}/a.sock"])).start()
    sockets, old = socket_inodes(one), one.workers("echo")
    for _ in range(3):
        before = one.reload()
        assert not one.log()[before:] or not [row for row in one.log()[before:] if row["event"] == "changed"]
    wait_for(lambda: len(one.workers("echo")) == 2 and not set(one.workers("echo")) & set(old), "new workers")
    assert socket_inodes(one) == sockets
