# SPDX-License-Identifier: MIT
"""broodctl scale, TTIN and TTOU: pools of fixed size get another one, until the next reload."""
import json
import signal

import pytest
from brood import BUILD, connect, echo_pool, receive, wait_for
from test_control import FAILED, OK, PERMISSION, USAGE, as_nobody, ask, ctl, snapshot
from test_inetd import inetd_pool
from test_upgrade import replaceable, upgrade, wait_rolled
from conftest import root_only

pytestmark = pytest.mark.skipif(not (BUILD / "src/broodctl").exists(), reason="broodctl was not built (jansson)")
REFUSED = "pool not resized"


def wanted(one):
    return {pool["name"]: pool["wanted"] for pool in snapshot(one)["pools"]}


def scale(one, pool, number):
    done = ctl(one, "scale", pool, number)
    assert (done.returncode, done.stderr) == (OK, ""), done
    return done.stdout.strip()


def refused(one, *words):
    done = ctl(one, "scale", *words)
    assert (done.returncode, done.stdout) == (FAILED, ""), done
    return done.stderr.removeprefix("broodctl: ").strip()


def test_a_pool_gets_the_size_that_is_asked_for(brood):
    one = brood(echo_pool("a") + echo_pool("b")).start()
    b = sorted(one.wait_workers(2, "b"))
    before = 2
    for count, (number, size) in enumerate((("5", 5), ("+3", 8), ("-6", 2), ("1", 1), ("1", 1), ("+0", 1), ("012", 12)), 1):
        assert scale(one, "a", number) == f"{size} workers, {before} before"
        one.wait_workers(size, "a")
        row = one.wait_log("^pool resized$", count)[-1]
        assert (row["pool"], row["workers"], row["before"]) == ("a", size, before)
        before = size
    assert sorted(one.workers("b")) == b and wanted(one) == {"a": 12, "b": 2}


def test_the_answer_in_json(brood):
    one = brood(echo_pool("a"), expect=[REFUSED]).start()
    lines = [json.loads(line) for line in ctl(one, "--json", "scale", "a", "3").stdout.splitlines()]
    assert lines == [{"type": "accepted", "request": "scale"},
                     {"type": "result", "ok": True, "code": "ok", "text": "3 workers, 2 before"}]
    assert ask(one.control, "scale a -1")[-1]["text"] == "2 workers, 3 before"
    assert [line["code"] for line in ask(one.control, "scale a 0")[1:]] == ["failed"]
    assert [line["code"] for line in ask(one.control, "scale a many")] == ["usage"]


def test_what_is_refused_says_why(brood):
    config = "max_workers = 10\n" + echo_pool("a") + echo_pool("b", workers=3) + inetd_pool(["cat"], "c", workers=1,
                                                                                          extra="max_workers = 2")
    one = brood(config, expect=[REFUSED]).start()
    assert refused(one, "nowhere", "2") == "there is no such pool"
    assert refused(one, "a", "0") == "a pool has at least 1 worker, and this one has 2"
    assert refused(one, "a", "-2") == "a pool has at least 1 worker, and this one has 2"
    assert refused(one, "a", "7") == "7 workers are too many: at most 6, by max_workers of all pools"
    assert refused(one, "a", "+999999999") == "1000000001 workers are too many: at most 6, by max_workers of all pools"
    assert refused(one, "c", "3") == "3 workers are too many: at most 2, by max_workers of the pool"
    assert wanted(one) == {"a": 2, "b": 3, "c": 1}
    one.wait_log(REFUSED, 6)
    assert not one.log("^pool resized$")
    scale(one, "a", "6")
    assert refused(one, "b", "+1") == "4 workers are too many: at most 3, by max_workers of all pools"
    one.wait_workers(6, "a")


@pytest.mark.parametrize("words", [[], ["a"], ["a", "x"], ["a", ""], ["a", "1.5"], ["a", "1", "2"], ["-1"], ["a", "--", "1", "-1"]])
def test_a_wrong_command_line(brood, words):
    one = brood(echo_pool("a")).start()
    done = ctl(one, "scale", *words)
    assert done.returncode == USAGE and done.stdout == "" and "--help" in done.stderr


@root_only
def test_who_may_only_look_may_not_scale(brood):
    one = brood("control_mode = 0666\n" + echo_pool("a")).start()
    for path in (one.directory, *one.directory.parents):
        if path.stat().st_mode & 0o001 == 0:
            path.chmod(path.stat().st_mode | 0o001)
    script = ("import socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n"
              "s.sendall(b'scale a 5\\n')\nprint(s.recv(999).decode())")
    assert json.loads(as_nobody(script, one.control).stdout)["code"] == "permission"
    assert wanted(one) == {"a": 2} and PERMISSION == 77


def test_a_busy_worker_finishes_before_it_goes(brood):
    one = brood(echo_pool("a", workers=3, extra="idle_timeout = 60s")).start()
    with connect(one.address()) as first, connect(one.address()) as second:
        for client in (first, second):
            client.sendall(b"one")
            assert receive(client, 3) == b"one"
        scale(one, "a", "1")
        wait_for(lambda: wanted(one) == {"a": 1}, "the size")
        for client in (first, second):
            client.sendall(b"two")
            assert receive(client, 3) == b"two"
    one.wait_workers(1, "a")


def test_it_holds_until_the_next_reload(brood):
    """Through a restart; a reload brings what the file says, and a refused one nothing."""
    one = brood(echo_pool("a"), expect=["reload refused", "configuration"]).start()
    scale(one, "a", "5")
    before = one.wait_workers(5, "a")
    assert ctl(one, "restart", "a").returncode == OK
    wait_rolled(one, before, 5, "a")
    good = one.config_path.read_text()
    one.reload("nonsense", good=False)
    assert wanted(one) == {"a": 5}
    one.config_path.write_text(good)
    one.reload()
    one.wait_workers(2, "a")
    assert wanted(one) == {"a": 2}


def test_an_upgrade_keeps_it(brood):
    one = replaceable(brood, echo_pool("a")).start()
    scale(one, "a", "5")
    before = one.wait_workers(5, "a")
    upgrade(one)
    wait_rolled(one, before, 5, "a")
    assert wanted(one) == {"a": 5}
    scale(one, "a", "3")
    one.wait_workers(3, "a")
    upgrade(one)
    wait_for(lambda: len(one.log("^rolled")) == 2, "rolled")
    one.wait_workers(3, "a")
    one.reload()
    one.wait_workers(2, "a")
    upgrade(one)
    wait_for(lambda: len(one.log("^rolled")) == 4, "rolled")
    one.wait_workers(2, "a")


def test_signals_move_all_pools_by_one(brood):
    one = brood("max_workers = 6\n" + echo_pool("a") + echo_pool("b"), expect=["max_workers is reached"]).start()

    def sizes(number, a, b):
        one.kill(number)
        wait_for(lambda: wanted(one) == {"a": a, "b": b}, f"{a} and {b}")
        one.wait_workers(a, "a")
        one.wait_workers(b, "b")
    sizes(signal.SIGTTIN, 3, 3)
    one.kill(signal.SIGTTIN)
    rows = one.wait_log("max_workers is reached", 2)
    assert {(row["pool"], row["limit"], row["max_workers"]) for row in rows} == {
        ("a", "max_workers of all pools", 6), ("b", "max_workers of all pools", 6)}
    scale(one, "b", "1")
    one.wait_workers(1, "b")
    sizes(signal.SIGTTOU, 2, 1)
    sizes(signal.SIGTTOU, 1, 1)
    sizes(signal.SIGTTOU, 1, 1)
    one.reload()
    sizes(signal.SIGTTOU, 1, 1)


def test_scaled_while_a_reload_is_tried(brood):
    """It has the last word: what the file says was asked for before."""
    held = 'pool "p" { listen = "127.0.0.1:0" handler = program command = { "/bin/sleep", "1000" } workers = 1 %s }\n'
    one = brood(echo_pool("a") + held % "ready_after = 10ms").start()
    one.write_config(echo_pool("a", workers=3) + held % "ready_after = 2s")
    one.kill(signal.SIGHUP)
    wait_for(lambda: snapshot(one)["daemon"]["reload"] == "trying", "a canary is tried")
    assert scale(one, "a", "4") == "4 workers, 2 before"
    one.wait_log("^reloaded$")
    wait_for(lambda: snapshot(one)["daemon"]["reload"] == "idle", "rolled")
    one.wait_workers(4, "a")
    assert wanted(one) == {"a": 4, "p": 1}
